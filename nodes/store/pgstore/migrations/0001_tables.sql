-- Times are milliseconds since 1970 by the hubs' clocks, but for leases.
-- State numbers are those of messages.State.

CREATE TABLE users (
	name       text PRIMARY KEY,
	account    boolean NOT NULL DEFAULT false, -- false: only a name with events
	password   bytea NOT NULL DEFAULT '',
	seen       bigint NOT NULL DEFAULT 0,
	last_event bigint NOT NULL DEFAULT 0,      -- given under this row's lock, so that numbers have no gaps
	hour       bigint NOT NULL DEFAULT 0       -- of the last event, since 1970
) WITH (fillfactor = 80);

CREATE TABLE messages (
	id        bytea PRIMARY KEY,
	sender    text NOT NULL,
	recipient text NOT NULL,
	edge      text NOT NULL,
	ref       text NOT NULL,
	hash      bytea,                 -- of what must be the same under the same ref
	coding    text NOT NULL,
	planned   integer NOT NULL,      -- short messages
	body      bytea NOT NULL,        -- protobuf ringway.Message
	state     smallint NOT NULL,
	seq       bigint NOT NULL,       -- in the down ring; 0: not yet
	slots     integer NOT NULL,
	inbox     bigint NOT NULL,       -- number among the recipient's events; 0: not in an inbox
	settled   boolean NOT NULL,      -- stands in table settled
	detail    bytea NOT NULL         -- reason, parts, history
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX messages_ref ON messages (sender, ref) WHERE ref <> '';

CREATE TABLE events (
	name  text NOT NULL,
	n     bigint NOT NULL,
	at    bigint NOT NULL,
	id    bytea NOT NULL,
	state smallint NOT NULL,         -- 0: the message itself, in the inbox
	ref   text NOT NULL,
	PRIMARY KEY (name, n)
);
CREATE INDEX events_inbox ON events (name, n) WHERE state = 0;

CREATE TABLE fresh (                     -- messages that no client has taken
	name text NOT NULL,
	n    bigint NOT NULL,
	PRIMARY KEY (name, n)
);

CREATE TABLE devices (
	name   text NOT NULL,
	device text NOT NULL,
	floor  bigint NOT NULL,          -- up to there the device needs nothing more
	PRIMARY KEY (name, device)
);

CREATE TABLE taken (                     -- by the device, beyond its floor
	name   text NOT NULL,
	device text NOT NULL,
	n      bigint NOT NULL,
	PRIMARY KEY (name, device, n)
);

CREATE TABLE event_hours (
	hour bigint NOT NULL,
	name text NOT NULL,
	last bigint,                     -- event of that hour; null: that of users.last_event
	PRIMARY KEY (hour, name)
);

CREATE TABLE settled (
	at bigint NOT NULL,
	id bytea NOT NULL,
	PRIMARY KEY (at, id)
);

CREATE TABLE edges (
	edge     text PRIMARY KEY,
	instance bytea,
	replaced bytea,
	joined   bigint NOT NULL DEFAULT 0,   -- meta.restored when it last joined
	last     bigint NOT NULL DEFAULT 0,   -- highest sequence assigned in the down ring
	applied  bigint NOT NULL DEFAULT 0,   -- number of the last event applied
	released bigint NOT NULL DEFAULT 0    -- up to which the up ring is forgotten
);

CREATE SEQUENCE queue_n START 4294967296; -- room before it for what comes back from a ring

CREATE TABLE queue (
	edge  text NOT NULL,
	class smallint NOT NULL,
	n     bigint NOT NULL DEFAULT nextval('queue_n'),
	id    bytea NOT NULL,
	PRIMARY KEY (edge, class, n)
);

CREATE TABLE queue_counts (              -- their sum is the length of the queue
	edge  text NOT NULL,
	shard smallint NOT NULL,
	n     bigint NOT NULL,
	PRIMARY KEY (edge, shard)
);

CREATE TABLE down (
	edge      text NOT NULL,
	seq       bigint NOT NULL,
	id        bytea NOT NULL,
	after     bigint NOT NULL,
	order_key bytea NOT NULL,
	PRIMARY KEY (edge, seq)
);

CREATE TABLE up (
	edge   text NOT NULL,
	seq    bigint NOT NULL,
	after  bigint NOT NULL,
	body   bytea NOT NULL,           -- protobuf ringway.Message, as it arrived
	result bytea,                    -- protobuf ringway.Result
	PRIMARY KEY (edge, seq)
);

CREATE TABLE kept (                      -- until the handset says whom it is for
	edge    text NOT NULL,
	handset text NOT NULL,
	seq     bigint NOT NULL,
	id      bytea NOT NULL,
	body    bytea NOT NULL,
	PRIMARY KEY (edge, handset, seq, id)
);

CREATE TABLE conversations (
	edge    text NOT NULL,
	handset text NOT NULL,
	name    text NOT NULL,
	at      bigint NOT NULL,
	number  text NOT NULL,
	PRIMARY KEY (edge, handset, name)
);

CREATE TABLE handsets (                  -- locked by who gives a conversation its number
	edge    text NOT NULL,
	handset text NOT NULL,
	PRIMARY KEY (edge, handset)
);

CREATE TABLE leases (
	node  text PRIMARY KEY,
	until timestamptz NOT NULL       -- by the database's clock
);

CREATE TABLE owners (
	kind     text NOT NULL,
	identity text NOT NULL,
	node     text NOT NULL,          -- '': nobody
	epoch    bigint NOT NULL,
	PRIMARY KEY (kind, identity)
);

CREATE TABLE markers (                   -- which group of writes a lane committed last
	lane text PRIMARY KEY,
	n    bigint NOT NULL,
	at   bigint NOT NULL
);

CREATE TABLE meta (
	key   text PRIMARY KEY,
	value bigint NOT NULL
);
