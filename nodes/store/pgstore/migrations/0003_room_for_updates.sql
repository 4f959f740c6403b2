-- A message is written three times within seconds, a conversation with each message:
-- room on the page saves the entries in the indexes (HOT updates).
ALTER TABLE messages SET (fillfactor = 50);
ALTER TABLE conversations SET (fillfactor = 70);
