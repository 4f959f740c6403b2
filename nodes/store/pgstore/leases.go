package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ringway-im/ringway/actors/journal"
)

// Renew implements journal.Leases.
func (s *Store) Renew(ctx context.Context, node string, ttl time.Duration) (live []string, err error) {
	return s.renew(ctx, node, ttl, `INSERT INTO leases (node, until) VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond') ON CONFLICT (node) DO UPDATE SET until = excluded.until`)
}

// Prolong implements journal.Leases.
func (s *Store) Prolong(ctx context.Context, node string, ttl time.Duration) (live []string, err error) {
	return s.renew(ctx, node, ttl, `UPDATE leases SET until = clock_timestamp() + $2 * interval '1 microsecond' WHERE node = $1 AND until > clock_timestamp()`)
}

func (s *Store) renew(ctx context.Context, node string, ttl time.Duration, write string) (live []string, err error) {
	err = tryUntil(ctx, "renewing the lease of "+node, s.answered, func(ctx context.Context) error {
		b := &pgx.Batch{}
		var renewed int64
		b.Queue(write, column(node), ttl.Microseconds()).Exec(func(tag pgconn.CommandTag) error {
			renewed = tag.RowsAffected()
			return nil
		})
		live = nil
		each(b.Queue(`SELECT node FROM leases WHERE until > clock_timestamp() ORDER BY node`), func(row pgx.Rows) error {
			var node string
			err := row.Scan(&node)
			live = append(live, text(node))
			return err
		})
		if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if renewed == 0 {
			return fmt.Errorf("%w: node %s", journal.ErrNoLease, node)
		}
		return nil
	})
	return live, err
}

// End implements journal.Leases.
func (s *Store) End(ctx context.Context, node string) error {
	given := s.claims(node)
	err := tryUntil(ctx, "ending the lease of "+node, s.answered, func(ctx context.Context) error {
		b := &pgx.Batch{} // one transaction
		b.Queue(`UPDATE owners SET node = '' WHERE node = $1`, column(node))
		b.Queue(`DELETE FROM leases WHERE node = $1`, column(node))
		return s.pool.SendBatch(ctx, b).Close()
	})
	if err == nil {
		for _, r := range given {
			s.disown(r)
		}
	}
	return err
}

// Acquire implements journal.Leases.
func (s *Store) Acquire(ctx context.Context, kind, identity, node string) (epoch uint64, err error) {
	err = tryUntil(ctx, fmt.Sprintf("acquiring %s %q", kind, identity), s.answered, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			epoch, err = s.acquire(ctx, tx, kind, identity, node, 0, false)
			return err
		})
	})
	return epoch, err
}

// acquire makes node the owner under an epoch higher than all before, and than above.
// The row of the owner is locked before clocks are looked at: a write under the epoch
// before is done by then, or finds itself fenced.
func (s *Store) acquire(ctx context.Context, tx pgx.Tx, kind, identity, node string, above uint64, force bool) (uint64, error) {
	var owner string
	var epoch int64
	var mine, running bool
	b := &pgx.Batch{}
	b.Queue(s.settings)
	b.Queue(`INSERT INTO owners (kind, identity, node, epoch) VALUES ($1, $2, '', 0) ON CONFLICT (kind, identity) DO NOTHING`, kind, column(identity))
	b.Queue(`SELECT node, epoch FROM owners WHERE kind = $1 AND identity = $2 FOR UPDATE`, kind, column(identity)).QueryRow(func(row pgx.Row) error { return row.Scan(&owner, &epoch) })
	b.Queue(`SELECT EXISTS (SELECT 1 FROM leases WHERE node = $1 AND until > clock_timestamp())`, column(node)).QueryRow(func(row pgx.Row) error { return row.Scan(&mine) })
	b.Queue(`SELECT EXISTS (SELECT 1 FROM leases l JOIN owners o USING (node) WHERE o.kind = $1 AND o.identity = $2 AND l.until > clock_timestamp())`, kind, column(identity)).QueryRow(func(row pgx.Row) error { return row.Scan(&running) })
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return 0, err
	}
	switch {
	case force:
	case !mine:
		return 0, fmt.Errorf("%w: node %s", journal.ErrNoLease, node)
	case running && text(owner) != node:
		return 0, &journal.OwnedError{Kind: kind, Identity: identity, Node: text(owner)}
	}
	next := max(uint64(epoch), above) + 1
	_, err := tx.Exec(ctx, `UPDATE owners SET node = $3, epoch = $4 WHERE kind = $1 AND identity = $2`, kind, column(identity), column(node), int64(next))
	return next, err
}

func owned(err error) bool {
	var e *journal.OwnedError
	return errors.As(err, &e)
}

// Release implements journal.Leases.
func (s *Store) Release(ctx context.Context, kind, identity, node string, epoch uint64) error {
	given := s.claims(node)[identity]
	err := tryUntil(ctx, fmt.Sprintf("releasing %s %q", kind, identity), s.answered, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `UPDATE owners SET node = '' WHERE kind = $1 AND identity = $2 AND node = $3 AND epoch = $4`, kind, column(identity), column(node), int64(epoch))
		return err
	})
	if err == nil && kind == kindRing && given != nil && given.epoch == epoch {
		s.disown(given)
	}
	return err
}

// Owner implements journal.Leases.
func (s *Store) Owner(ctx context.Context, kind, identity string) (node string, epoch uint64, err error) {
	err = tryUntil(ctx, fmt.Sprintf("reading the owner of %s %q", kind, identity), s.answered, func(ctx context.Context) error {
		node, epoch = "", 0
		var n int64
		var running bool
		rows, _ := s.pool.Query(ctx, `SELECT o.node, o.epoch, coalesce(l.until > clock_timestamp(), false) FROM owners o LEFT JOIN leases l USING (node) WHERE o.kind = $1 AND o.identity = $2`, kind, column(identity))
		_, err := pgx.ForEachRow(rows, []any{&node, &n, &running}, func() error {
			epoch, node = uint64(n), text(node)
			if !running {
				node = ""
			}
			return nil
		})
		return err
	})
	return node, epoch, err
}
