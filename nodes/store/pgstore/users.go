package pgstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// maxDevices of one user are told apart; the one that is furthest behind makes
// room for a new one.
const maxDevices = 32

// PutUser implements journal.Hub. A zero Seen leaves what is stored.
func (s *Store) PutUser(u journal.User, done func(error)) {
	if u.Name == "" {
		done(fmt.Errorf("%w: user without a name", errBadCall))
		return
	}
	if u.Password == nil {
		u.Password = []byte{}
	}
	s.lane(u.Name).write(&op{
		until: time.Now().Add(patience),
		users: only(u.Name), // lock and row
		do: func(t *tx) error {
			t.accounts[u.Name] = true
			t.writes = append(t.writes, func(b *pgx.Batch) {
				b.Queue(`UPDATE users SET account = true, password = $2, seen = CASE WHEN $3::bigint = 0 THEN seen ELSE $3::bigint END WHERE name = $1`,
					column(u.Name), u.Password, millis(u.Seen))
			})
			return nil
		},
		done: done,
	})
}

// only says that a write touches the events of these users, and no others.
func only(names ...string) func(*tx) ([]string, bool) {
	return func(*tx) ([]string, bool) { return names, true }
}

// User implements journal.Hub.
func (s *Store) User(name string) (journal.User, bool, error) {
	u, found := journal.User{Name: name}, false
	err := s.read("reading a user", func(ctx context.Context) error {
		var seen int64
		rows, _ := s.pool.Query(ctx, `SELECT password, seen FROM users WHERE name = $1 AND account`, column(name))
		_, err := pgx.ForEachRow(rows, []any{&u.Password, &seen}, func() error {
			found, u.Seen = true, fromMillis(seen)
			return nil
		})
		return err
	})
	if err != nil || !found {
		return journal.User{}, false, err
	}
	return u, true, nil
}

// Seen implements journal.Hub.
func (s *Store) Seen(name string, at time.Time, done func(error)) {
	s.lane(name).write(&op{
		until: time.Now().Add(patience),
		need:  func(t *tx) { t.names[name] = true },
		do: func(t *tx) error {
			if !t.accounts[name] {
				return fmt.Errorf("%w: %q", journal.ErrNoUser, name)
			}
			t.writes = append(t.writes, func(b *pgx.Batch) {
				b.Queue(`UPDATE users SET seen = $2 WHERE name = $1`, column(name), millis(at))
			})
			return nil
		},
		done: done,
	})
}

// LastEvent implements journal.Hub.
func (s *Store) LastEvent(user string) (last uint64, err error) {
	err = s.read("reading a user's last event", func(ctx context.Context) error {
		var n int64
		rows, _ := s.pool.Query(ctx, `SELECT last_event FROM users WHERE name = $1`, column(user))
		_, err := pgx.ForEachRow(rows, []any{&n}, func() error {
			last = uint64(n)
			return nil
		})
		return err
	})
	return last, err
}

const (
	eventColumns = `SELECT e.n, e.at, e.id, e.state, e.ref, m.body, m.edge, f.n IS NULL FROM events e
		LEFT JOIN messages m ON e.state = 0 AND m.id = e.id
		LEFT JOIN fresh f ON e.state = 0 AND f.name = e.name AND f.n = e.n `
	ordered = ` ORDER BY e.n LIMIT `
)

// Events implements journal.Hub.
func (s *Store) Events(user string, after uint64, limit int) ([]journal.UserEvent, error) {
	return s.events(limit, eventColumns+`WHERE e.name = $1 AND e.n > $2`+ordered+`$3`, column(user), clamp(after), limit)
}

// Inbox implements journal.Hub.
func (s *Store) Inbox(user string, after uint64, limit int) ([]journal.UserEvent, error) {
	return s.events(limit, eventColumns+`WHERE e.name = $1 AND e.n > $2 AND e.state = 0`+ordered+`$3`, column(user), clamp(after), limit)
}

// Pending implements journal.Hub. A device is known from its first call on: that
// call writes.
func (s *Store) Pending(user, device string, after uint64, limit int) ([]journal.UserEvent, error) {
	if device == "" {
		return s.events(limit, eventColumns+`JOIN fresh w ON w.name = e.name AND w.n = e.n WHERE e.name = $1 AND e.n > $2 AND e.state = 0`+ordered+`$3`, column(user), clamp(after), limit)
	}
	floor, known, err := s.floor(user, device)
	if err == nil && !known {
		floor, err = s.addDevice(user, device)
	}
	if err != nil {
		return nil, err
	}
	return s.events(limit, `SELECT * FROM (
		(`+eventColumns+`JOIN fresh w ON w.name = e.name AND w.n = e.n WHERE e.name = $1 AND e.n > $2 AND e.state = 0`+ordered+`$3)
		UNION
		(`+eventColumns+`WHERE e.name = $1 AND e.n > $2 AND e.n > $5 AND e.state = 0
			AND NOT EXISTS (SELECT 1 FROM taken k WHERE k.name = e.name AND k.device = $4 AND k.n = e.n)`+ordered+`$3)
		) AS both_kinds ORDER BY 1 LIMIT $3`, column(user), clamp(after), limit, column(device), int64(floor))
}

func (s *Store) events(limit int, sql string, args ...any) (events []journal.UserEvent, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = s.read("reading events", func(ctx context.Context) error {
		rows, _ := s.pool.Query(ctx, sql, args...)
		events, err = pgx.CollectRows(rows, scanEvent)
		return err
	})
	return events, err
}

func scanEvent(row pgx.CollectableRow) (journal.UserEvent, error) {
	var e journal.UserEvent
	var n, at int64
	var state int16
	var body []byte
	var edge *string
	if err := row.Scan(&n, &at, &e.ID, &state, &e.Ref, &body, &edge, &e.Received); err != nil {
		return e, err
	}
	e.Number, e.At, e.State, e.Ref = uint64(n), fromMillis(at), messages.State(state), text(e.Ref)
	e.Final = journal.IsFinal(e.State)
	if state != 0 {
		e.Received = false
		return e, nil
	}
	m := &messages.Message{}
	if err := unmarshal(body, m); err != nil {
		return e, fmt.Errorf("message %x: %w", e.ID, err)
	}
	e.From, e.To, e.Text, e.PossibleDuplicate = m.From, m.To, m.Text, m.PossibleDuplicate
	if edge != nil {
		e.Edge = text(*edge)
	}
	return e, nil
}

// clamp makes a number of a caller's one that the database can compare.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func (s *Store) floor(user, device string) (floor uint64, known bool, err error) {
	err = s.read("reading a device", func(ctx context.Context) error {
		var n int64
		rows, _ := s.pool.Query(ctx, `SELECT floor FROM devices WHERE name = $1 AND device = $2`, column(user), column(device))
		_, err := pgx.ForEachRow(rows, []any{&n}, func() error {
			floor, known = uint64(n), true
			return nil
		})
		return err
	})
	return floor, known, err
}

// addDevice begins to count for a device, and returns where.
func (s *Store) addDevice(user, device string) (uint64, error) {
	err := s.tryFor(patience, "adding a device", func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			name, dev := column(user), column(device)
			b.Queue(`INSERT INTO users (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`, name)
			b.Queue(`SELECT 1 FROM users WHERE name = $1 FOR UPDATE`, name)
			b.Queue(`INSERT INTO devices (name, device, floor) SELECT name, $2, last_event FROM users WHERE name = $1 ON CONFLICT (name, device) DO NOTHING`, name, dev)
			b.Queue(`DELETE FROM devices WHERE name = $1 AND device <> $2 AND device NOT IN
				(SELECT device FROM devices WHERE name = $1 AND device <> $2 ORDER BY floor DESC, device LIMIT $3)`, name, dev, maxDevices-1)
			b.Queue(`DELETE FROM taken WHERE name = $1 AND device NOT IN (SELECT device FROM devices WHERE name = $1)`, name)
			return tx.SendBatch(ctx, b).Close()
		})
	})
	if err != nil {
		return 0, err
	}
	floor, known, err := s.floor(user, device)
	if err == nil && !known {
		err = fmt.Errorf("%w: device %q of %q was forgotten at once", errStored, device, user)
	}
	return floor, err
}

// Received implements journal.Hub.
func (s *Store) Received(user, device string, id []byte, done func(found bool, err error)) {
	var found bool
	s.lane(user).write(&op{
		until: time.Now().Add(patience),
		need: func(t *tx) {
			t.needID(id)
			t.again = true // another client of his may have taken it
		},
		users: func(t *tx) ([]string, bool) {
			if m := t.message(id); m != nil && m.Message.To == user {
				return []string{user, m.sender()}, true
			}
			return nil, false
		},
		do: func(t *tx) error {
			m := t.message(id)
			found = m != nil && m.inbox != 0 && m.Message.To == user && t.users[user] != nil
			if !found {
				return nil
			}
			if device != "" {
				t.take(user, device, m.inbox)
			}
			if m.Final {
				return nil
			}
			t.fresh[event2{user, m.inbox}] = false
			t.rollHour(user, t.users[user]) // the event may have outlived its hour in the retention index
			if m.Reach(messages.State_DELIVERED, t.now) {
				t.tell(m, t.now)
			}
			t.save(m)
			return nil
		},
		done: func(err error) {
			if err != nil {
				done(false, err)
				return
			}
			done(found, nil)
		},
	})
}

// take notes that a device has a message. What it took in order is in its floor.
func (t *tx) take(user, device string, n uint64) {
	t.writes = append(t.writes, func(b *pgx.Batch) {
		name, dev := column(user), column(device)
		b.Queue(`INSERT INTO taken (name, device, n) SELECT name, device, $3 FROM devices WHERE name = $1 AND device = $2 AND floor < $3 ON CONFLICT (name, device, n) DO NOTHING`, name, dev, int64(n))
		// The floor goes up to before the first message that is not taken.
		b.Queue(`UPDATE devices d SET floor = coalesce((
			SELECT max(e.n) FROM events e WHERE e.name = d.name AND e.state = 0 AND e.n > d.floor AND e.n < coalesce((
				SELECT x.n FROM events x WHERE x.name = d.name AND x.state = 0 AND x.n > d.floor
					AND NOT EXISTS (SELECT 1 FROM taken k WHERE k.name = d.name AND k.device = d.device AND k.n = x.n) ORDER BY x.n LIMIT 1), 9223372036854775807)
			), d.floor) WHERE d.name = $1 AND d.device = $2 AND d.floor < $3`, name, dev, int64(n))
		b.Queue(`DELETE FROM taken k USING devices d WHERE d.name = $1 AND d.device = $2 AND k.name = d.name AND k.device = d.device AND k.n <= d.floor`, name, dev)
	})
}
