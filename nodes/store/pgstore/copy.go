package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
)

// ErrNotEmpty: there is something in the database already.
var ErrNotEmpty = errors.New("pgstore: the database is not empty")

// copyRows is how many rows one transaction of Copy writes.
const copyRows = 5000

// Copy writes all that an embedded store holds into an empty database: what hubs
// have then goes on where the store stood. Nobody may use either meanwhile. moved is
// called when all is there, before hubs may open the database; a copy that ended
// before that leaves it refused by Open. It returns how many rows of each table were
// written.
func Copy(ctx context.Context, from *hubstore.Store, dsn string, moved func() error) (map[string]int, error) {
	pool, err := connect(ctx, dsn, 2)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	if err := prepare(ctx, pool); err != nil {
		return nil, err
	}
	if err := beginCopy(ctx, pool); err != nil {
		return nil, err
	}
	c := &copier{ctx: ctx, pool: pool, rows: map[string][][]any{}, written: map[string]int{}, accounts: map[string]journal.User{}, events: map[string]hubstore.Events{}}
	err = from.Export(c.item)
	if err == nil {
		err = c.finish()
	}
	if err == nil {
		err = moved()
	}
	if err == nil {
		_, err = pool.Exec(ctx, `DELETE FROM meta WHERE key = 'copying'`)
	}
	if err != nil {
		return c.written, fmt.Errorf("pgstore: copying: %w", err)
	}
	return c.written, nil
}

// beginCopy marks the database as unfinished, if it is empty.
func beginCopy(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var one int
		var full bool
		if err := errors.Join(
			tx.QueryRow(ctx, `SELECT one FROM schema WHERE one = 1 FOR UPDATE`).Scan(&one),
			tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM messages) OR EXISTS (SELECT 1 FROM edges)
				OR EXISTS (SELECT 1 FROM queue) OR EXISTS (SELECT 1 FROM owners) OR EXISTS (SELECT 1 FROM leases) OR EXISTS (SELECT 1 FROM meta)`).Scan(&full),
		); err != nil {
			return fmt.Errorf("pgstore: looking whether the database is empty: %w", err)
		}
		if full {
			return fmt.Errorf("%w: a hub has used it, or a copy was begun; give one that is", ErrNotEmpty)
		}
		_, err := tx.Exec(ctx, `INSERT INTO meta (key, value) VALUES ('copying', 1)`)
		return err
	})
}

// whole refuses a database into which a copy was begun and not finished.
func whole(ctx context.Context, pool *pgxpool.Pool) error {
	var copying bool
	if err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'copying')`).Scan(&copying); err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	if copying {
		return errors.New("pgstore: a copy into this database has not ended: wait for it, or make the database anew and copy again")
	}
	return nil
}

// copier gathers rows by table.
type copier struct {
	ctx      context.Context
	pool     *pgxpool.Pool
	rows     map[string][][]any
	written  map[string]int
	accounts map[string]journal.User
	events   map[string]hubstore.Events
}

var copyColumns = map[string][]string{
	"meta":          {"key", "value"},
	"edges":         {"edge", "instance", "replaced", "joined", "last", "applied", "released"},
	"owners":        {"kind", "identity", "node", "epoch"},
	"queue":         {"edge", "class", "n", "id"},
	"queue_counts":  {"edge", "shard", "n"},
	"down":          {"edge", "seq", "id", "after", "order_key"},
	"up":            {"edge", "seq", "after", "body", "result"},
	"kept":          {"edge", "handset", "seq", "id", "body"},
	"conversations": {"edge", "handset", "name", "at", "number"},
	"messages":      {"id", "sender", "recipient", "edge", "ref", "hash", "coding", "planned", "body", "state", "seq", "slots", "inbox", "settled", "detail"},
	"users":         {"name", "account", "password", "seen", "last_event", "hour"},
	"events":        {"name", "n", "at", "id", "state", "ref"},
	"fresh":         {"name", "n"},
	"devices":       {"name", "device", "floor"},
	"taken":         {"name", "device", "n"},
	"settled":       {"at", "id"},
	"event_hours":   {"hour", "name", "last"},
}

// item takes one of Export's.
func (c *copier) item(item any) error {
	switch i := item.(type) {
	case hubstore.Restored:
		return c.add("meta", "restored", int64(i))
	case hubstore.Edge:
		return errors.Join(
			c.add("edges", column(i.Name), i.Instance, i.Replaced, int64(i.Joined), int64(i.Last), int64(i.Applied), int64(i.Released)),
			c.add("owners", kindRing, column(i.Name), "", int64(i.Epoch)))
	case hubstore.Queued:
		return c.add("queue", column(i.Edge), int16(i.Class), int64(i.N), i.ID)
	case hubstore.Down:
		return c.add("down", column(i.Edge), int64(i.Seq), i.ID, int64(i.After), []byte(i.Order))
	case hubstore.Up:
		body, err := marshal(i.Message)
		var result []byte
		if err == nil && i.Result != nil {
			result, err = marshal(i.Result)
		}
		if err != nil {
			return err
		}
		return c.add("up", column(i.Edge), int64(i.Seq), int64(i.After), body, result)
	case hubstore.Kept:
		body, err := marshal(i.Message)
		if err != nil {
			return err
		}
		return c.add("kept", column(i.Edge), column(i.Handset), int64(i.Seq), i.ID, body)
	case hubstore.Talk:
		return c.add("conversations", column(i.Edge), column(i.Handset), column(i.User), millis(i.At), column(i.Number))
	case hubstore.Message:
		m := &message{Record: i.Record, planned: i.Planned}
		body, err := marshal(m.Message)
		if err != nil {
			return err
		}
		return c.add("messages", m.Message.Id, column(m.Message.From), column(m.Message.To), column(m.Edge), column(m.Ref), i.Body, column(m.Coding), int32(i.Planned),
			body, int16(m.State), int64(m.Seq), int32(m.Slots), int64(i.Inbox), i.Settled, m.detail())
	case journal.User:
		c.accounts[i.Name] = i
	case hubstore.Events:
		c.events[i.User] = i
	case hubstore.Event:
		return c.add("events", column(i.User), int64(i.Number), millis(i.At), i.ID, int16(i.State), column(i.Ref))
	case hubstore.Fresh:
		return c.add("fresh", column(i.User), int64(i.N))
	case hubstore.Device:
		return c.add("devices", column(i.User), column(i.Device), int64(i.Floor))
	case hubstore.Taken:
		return c.add("taken", column(i.User), column(i.Device), int64(i.N))
	case hubstore.Settled:
		return c.add("settled", int64(i.At), i.ID)
	case hubstore.Hour:
		var last *int64
		if i.Last != 0 {
			n := int64(i.Last)
			last = &n
		}
		return c.add("event_hours", int64(i.Hour), column(i.User), last)
	default:
		return fmt.Errorf("%w: %T is not known here", errStored, item)
	}
	return nil
}

func (c *copier) add(table string, values ...any) error {
	c.rows[table] = append(c.rows[table], values)
	if len(c.rows[table]) < copyRows {
		return nil
	}
	return c.flush(table)
}

func (c *copier) flush(table string) error {
	rows := c.rows[table]
	if len(rows) == 0 {
		return nil
	}
	n, err := c.pool.CopyFrom(c.ctx, pgx.Identifier{table}, copyColumns[table], pgx.CopyFromRows(rows))
	if err != nil {
		return fmt.Errorf("table %s: %w", table, err)
	}
	c.written[table] += int(n)
	c.rows[table] = c.rows[table][:0]
	return nil
}

// finish writes the rest: users, whose rows come from two places, and counts.
func (c *copier) finish() error {
	names := map[string]bool{}
	for name := range c.accounts {
		names[name] = true
	}
	for name := range c.events {
		names[name] = true
	}
	for name := range names {
		u, account := c.accounts[name]
		password := u.Password
		if password == nil {
			password = []byte{}
		}
		e := c.events[name]
		if err := c.add("users", column(name), account, password, millis(u.Seen), int64(e.Last), int64(e.Hour)); err != nil {
			return err
		}
	}
	for table := range copyColumns {
		if err := c.flush(table); err != nil {
			return err
		}
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO queue_counts (edge, shard, n) SELECT edge, 0, count(*) FROM queue GROUP BY edge`)
	b.Queue(`SELECT setval('queue_n', (SELECT greatest(max(n) + 1, $1::bigint) FROM queue))`, int64(firstQueued))
	b.Queue(`ANALYZE`)
	return c.pool.SendBatch(c.ctx, b).Close()
}
