CREATE TABLE secrets (                   -- that all hubs share: what signs logins
	name  text PRIMARY KEY,
	value bytea NOT NULL
);
