-- What an edge that joins anew may have had: few, among all that are kept. On a big
-- table make it before the upgrade (docs/postgresql.md): here it holds up writers.
CREATE INDEX IF NOT EXISTS messages_open ON messages (edge, id) WHERE NOT settled AND inbox = 0;
