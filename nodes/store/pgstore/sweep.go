package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Sweep forgets what has been kept long enough, at most about max messages and
// max hours of users' events, and returns how many entries of the retention
// index it has dealt with: call it again at once while that is max or more. A
// message goes once it is settled (final, or answered by the SMSC) and
// KeepMessages have passed, with its ref; an event when its hour is older than
// KeepEvents, but for messages that nobody has taken. Several hubs may do it at once.
func (s *Store) Sweep(now time.Time, most int) (int, error) {
	dealt := 0
	sweep := func(keep time.Duration, what string, f func(ctx context.Context, tx pgx.Tx, limit int) (int, error)) error {
		if keep <= 0 {
			return nil
		}
		for sum := 0; sum < most; { // in pieces, so that nothing waits long behind one
			var n int
			limit := min(100, most-sum)
			if err := s.tryFor(longPatience, what, func(ctx context.Context) error {
				return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
					n, err = f(ctx, tx, limit)
					return err
				})
			}); err != nil {
				return err
			}
			sum += n
			dealt = max(dealt, sum)
			if n < limit {
				return nil
			}
		}
		return nil
	}
	if err := sweep(s.opts.KeepMessages, "forgetting messages", func(ctx context.Context, tx pgx.Tx, limit int) (int, error) {
		return forgetMessages(ctx, tx, now, now.Add(-s.opts.KeepMessages), limit)
	}); err != nil {
		return dealt, err
	}
	if err := sweep(s.opts.KeepEvents, "forgetting events", func(ctx context.Context, tx pgx.Tx, limit int) (int, error) {
		return forgetHours(ctx, tx, now.Add(-s.opts.KeepEvents), limit)
	}); err != nil {
		return dealt, err
	}
	return dealt, s.tryFor(longPatience, "forgetting markers", func(ctx context.Context) error {
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM markers WHERE at < $1`, now.Add(-24*time.Hour).UnixMilli()) // of hubs that have ended
		b.Queue(`DELETE FROM leases WHERE until < clock_timestamp() - interval '1 day'`)
		return s.pool.SendBatch(ctx, b).Close()
	})
}

// forgetMessages deletes messages whose entry of the retention index is due.
func forgetMessages(ctx context.Context, tx pgx.Tx, now, until time.Time, limit int) (int, error) {
	rows, _ := tx.Query(ctx, `DELETE FROM settled WHERE (at, id) IN (SELECT at, id FROM settled WHERE at < $1 ORDER BY at, id LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id`, until.UnixMilli(), limit)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || len(ids) == 0 {
		return len(ids), err
	}
	b := &pgx.Batch{}
	// Those whose receipt was ahead of their result wait for that.
	b.Queue(`INSERT INTO settled (at, id) SELECT $2, m.id FROM messages m WHERE m.id = ANY($1)
		AND (m.state < 6 OR EXISTS (SELECT 1 FROM down d WHERE d.edge = m.edge AND d.seq = m.seq AND d.id = m.id)) ON CONFLICT (at, id) DO NOTHING`, ids, now.UnixMilli())
	gone := `FROM messages m WHERE m.id = ANY($1) AND m.state >= 6 AND NOT EXISTS (SELECT 1 FROM down d WHERE d.edge = m.edge AND d.seq = m.seq AND d.id = m.id)`
	b.Queue(`DELETE FROM events e USING (SELECT m.recipient, m.inbox `+gone+` AND m.inbox <> 0) AS g WHERE e.name = g.recipient AND e.n = g.inbox`, ids)
	b.Queue(`DELETE `+gone, ids)
	return len(ids), tx.SendBatch(ctx, b).Close()
}

// forgetHours deletes users' events up to the end of an hour.
func forgetHours(ctx context.Context, tx pgx.Tx, until time.Time, limit int) (int, error) {
	rows, _ := tx.Query(ctx, `DELETE FROM event_hours WHERE (hour, name) IN (SELECT hour, name FROM event_hours WHERE hour < $1 ORDER BY hour, name LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING name, last`, max(0, until.Unix())/3600, limit)
	var names []string
	var last []*int64
	var name string
	var n *int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		names, last, n = append(names, name), append(last, n), nil
		return nil
	}); err != nil || len(names) == 0 {
		return len(names), err
	}
	_, err := tx.Exec(ctx, `DELETE FROM events e USING (
			SELECT a.name, coalesce(a.last, u.last_event) AS last FROM unnest($1::text[], $2::bigint[]) AS a (name, last) JOIN users u ON u.name = a.name
		) AS g WHERE e.name = g.name AND e.n <= g.last AND NOT EXISTS (SELECT 1 FROM fresh f WHERE f.name = e.name AND f.n = e.n)`, names, last)
	return len(names), err
}
