package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// firstQueued is where the sequence of table queue begins: what comes back from a
// ring is put before it.
const firstQueued = 1 << 32

// MarkRestored notes that the database comes from a backup: epochs go on above it,
// and every edge joins anew. Call it before any edge is claimed.
func (s *Store) MarkRestored(now time.Time) error {
	return s.tryFor(longPatience, "noting the restore", func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `INSERT INTO meta (key, value) VALUES ('restored', $1) ON CONFLICT (key) DO UPDATE SET value = greatest(excluded.value, meta.value + 1)`, now.Unix()) // clocks differ
		return err
	})
}

// ReplaceEdge gives up the edge's journal: the next one that comes under its id is
// taken, and what was not final goes out again.
func (s *Store) ReplaceEdge(name string) error {
	return s.tryFor(longPatience, "replacing edge "+name, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, `UPDATE edges SET replaced = coalesce(instance, replaced), instance = NULL WHERE edge = $1`, column(name))
		if err == nil && tag.RowsAffected() == 0 {
			return fmt.Errorf("%w: no edge %q was ever connected", errBadCall, name)
		}
		return err
	})
}

// Standing returns what is remembered of an edge.
func (s *Store) Standing(name string) (st journal.Standing, err error) {
	err = s.read("reading the standing of edge "+name, func(ctx context.Context) error {
		rows, _ := s.pool.Query(ctx, `SELECT e.replaced, coalesce(e.joined, 0) < m.restored, e.replaced IS NOT NULL OR coalesce(e.released, 0) <> 0 OR coalesce(e.applied, 0) <> 0
			FROM (SELECT coalesce(max(value), 0) AS restored FROM meta WHERE key = 'restored') m LEFT JOIN edges e ON e.edge = $1`, column(name))
		_, err := pgx.ForEachRow(rows, []any{&st.Replaced, &st.Behind, &st.Used}, func() error { return nil })
		return err
	})
	return st, err
}

// Rejoin makes the journal go on from what the edge holds.
//
// What the ring holds and the edge does not goes out again; where this side is
// behind it goes back to the head of the queue first, as its sequence has been
// another message's since. What the edge holds keeps its address, known here or not.
// What the edge had in its retry queue and lost is queued again. Whatever may have
// been submitted by an edge that has forgotten it is counted as unknown.
func (r *rings) Rejoin(what journal.Rejoin, done func(journal.Rejoined, error)) {
	var answer journal.Rejoined
	var j joining
	r.lane.write(&op{
		slow: true,
		need: func(t *tx) {
			j = joining{tx: t, r: r, waiting: map[string]queuedAt{}, heads: map[int16]int64{}, headed: map[string]bool{}}
			r.needHeld(t)
			ids := slices.Clone(what.Deferred)
			for _, h := range what.Held {
				ids = append(ids, h.ID)
			}
			for _, id := range ids {
				t.needID(id)
			}
			edge := column(r.edge)
			t.more = append(t.more, func(b *pgx.Batch) { j.search(b, edge, ids) })
		},
		users: func(t *tx) ([]string, bool) {
			var ids [][]byte
			for _, slot := range r.down {
				ids = append(ids, slot.id)
			}
			ids = append(ids, what.Deferred...)
			for _, h := range what.Held {
				ids = append(ids, h.ID)
			}
			names, _ := senders(t, append(ids, j.begun...)...)
			return names, false
		},
		do: func(t *tx) error {
			err := j.do(what)
			answer = j.answer
			return err
		},
		done: func(err error) {
			if err != nil {
				done(journal.Rejoined{}, err)
				return
			}
			done(answer, nil)
		},
	})
}

// joining is one Rejoin.
type joining struct {
	*tx
	r       *rings
	waiting map[string]queuedAt // where those that are concerned wait in the queue
	begun   [][]byte            // have been with the edge and are not settled
	heads   map[int16]int64     // number before which nothing stands, by class
	headed  map[string]bool     // put back at the head of the queue
	answer  journal.Rejoined
}

// selectBegun reads by index messages_open, whose condition it has.
const selectBegun = `SELECT ` + messageColumns + ` FROM messages m WHERE m.edge = $1 AND NOT m.settled AND m.inbox = 0 AND m.recipient <> '' AND m.state >= $2 AND m.state < $3
	AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.edge = $1 AND q.id = m.id) ORDER BY m.id`

// search reads the whole of the edge's queue: the link is down meanwhile.
func (j *joining) search(b *pgx.Batch, edge string, ids [][]byte) {
	each(b.Queue(`SELECT id, class, n FROM queue WHERE edge = $1 AND id = ANY($2)`, edge, ids), func(row pgx.Rows) error {
		var id []byte
		var at queuedAt
		err := row.Scan(&id, &at.class, &at.n)
		j.waiting[string(id)] = at
		return err
	})
	each(b.Queue(`SELECT class, min(n) FROM queue WHERE edge = $1 GROUP BY class`, edge), func(row pgx.Rows) error {
		var class int16
		var n int64
		err := row.Scan(&class, &n)
		j.heads[class] = n
		return err
	})
	each(b.Queue(selectBegun, edge, int16(messages.State_DEFERRED), int16(messages.State_DELIVERED)), func(row pgx.Rows) error {
		m, err := scanMessage(row)
		if err != nil {
			return err
		}
		if j.message(m.Message.Id) == nil {
			j.hold(m)
		}
		j.begun = append(j.begun, m.Message.Id)
		return nil
	})
}

func (j *joining) do(what journal.Rejoin) error {
	held := map[uint64][]byte{}
	for _, h := range what.Held {
		held[h.Seq] = h.ID
	}
	behind := j.r.joined < j.r.restored
	last, err := what.Check(j.r.last, j.r.applied, behind)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadCall, err)
	}
	retrying := map[string]bool{}
	for _, id := range what.Deferred {
		retrying[string(id)] = true
		j.retrying(id, behind)
	}
	j.ringHolds(what, held, behind)
	if behind {
		j.adopt(held)
		j.r.last = max(j.r.last, last)
		j.r.applied = max(j.r.applied, what.EventsTrimmed)
		j.ring().standing = true
	}
	for _, id := range slices.Backward(j.begun) {
		if m := j.message(id); m != nil && m.open() && !retrying[string(id)] && !j.headed[string(id)] {
			if _, in := j.r.inRing(id); !in {
				j.doubt(m)
				j.toHead(m)
			}
		}
	}
	j.answer.Applied = j.r.applied
	j.answer.Open = slices.Sorted(maps.Keys(j.r.down))
	j.r.joined = j.r.restored
	j.writes = append(j.writes, func(b *pgx.Batch) {
		b.Queue(`UPDATE edges SET instance = $2, joined = $3 WHERE edge = $1`, column(j.r.edge), what.Instance, int64(j.r.restored))
	})
	return nil
}

// retrying decides on a message in the edge's retry queue.
func (j *joining) retrying(id []byte, behind bool) {
	m := j.message(id)
	switch {
	case m == nil && behind: // accepted after the backup: the edge finishes it
	case m == nil, !m.open():
		j.answer.Settled = append(j.answer.Settled, id)
	default:
		j.take(id)
		if seq, in := j.r.inRing(id); in {
			j.vacate(seq)
		}
		if m.State < messages.State_DEFERRED {
			j.tx.answer(m, &messages.Result{State: messages.State_DEFERRED})
		}
	}
}

// ringHolds goes through what the hub's ring holds.
func (j *joining) ringHolds(what journal.Rejoin, held map[uint64][]byte, behind bool) {
	elsewhere := func(id []byte) bool { // the edge holds it, under another sequence: adopt gives it that
		return slices.ContainsFunc(what.Held, func(h journal.Held) bool { return bytes.Equal(h.ID, id) })
	}
	for _, seq := range slices.Backward(slices.Sorted(maps.Keys(j.r.down))) {
		slot := j.r.down[seq]
		here := bytes.Equal(held[seq], slot.id)
		m := j.message(slot.id)
		switch {
		case m == nil:
		case here && !what.Restored:
		case !here && m.Message.From == "" && m.Message.To == "": // adopted once, and lost: its text is nowhere
			j.vacate(seq)
		case m.State >= messages.State_SENT || seq <= j.r.found || behind:
			// The word that the edge has it may have been lost in a cut. It goes out before
			// Sent is written: only under this claim is what is not Sent surely unsent.
			j.doubt(m)
		}
		if behind && !here && m != nil && j.r.down[seq] != nil {
			j.vacate(seq)
			if !elsewhere(slot.id) {
				j.toHead(m)
			}
		}
	}
}

// adopt gives what the edge holds its place in the ring.
func (j *joining) adopt(held map[uint64][]byte) {
	for _, seq := range slices.Sorted(maps.Keys(held)) {
		id := held[seq]
		if j.r.down[seq] != nil || len(id) != 16 {
			continue
		}
		m := j.message(id)
		if m != nil && !m.open() {
			continue // the edge forgets it: its sequence counts as processed
		}
		j.take(id)
		if m == nil { // accepted after the backup: who sent it is not known any more
			m = &message{}
			m.Edge = j.r.edge
			m.Message = &messages.Message{Id: id}
			j.create(m)
		}
		m.Reach(messages.State_CONFIRMED, j.now)
		slot := &downSlot{id: id, order: orderKey(m.Message)}
		j.r.occupy(seq, slot)
		j.ring().occupy(seq)
		m.Seq, m.Slots = seq, j.s.opts.Slots(j.r.edge)
		j.save(m)
		j.answer.Adopted++
	}
}

func (j *joining) vacate(seq uint64) {
	j.r.vacate(seq)
	j.ring().vacate(seq)
}

// doubt: it may have been submitted, and nobody knows.
func (j *joining) doubt(m *message) {
	j.answer.Doubts++
	if m.Doubt(&messages.Doubt{Attempt: m.Attempts, Again: true}, j.now) {
		j.tell(m, j.now)
	}
	j.save(m)
}

// take removes a message from the queue, if it waits there.
func (j *joining) take(id []byte) {
	at, ok := j.waiting[string(id)]
	if !ok {
		return
	}
	delete(j.waiting, string(id))
	if j.takeFrom(at) {
		j.counts[j.r.edge]--
	}
}

// toHead puts a message before all that wait in its class.
func (j *joining) toHead(m *message) {
	j.answer.Requeued++
	j.headed[string(m.Message.Id)] = true
	c := class(m.Message)
	if _, ok := j.heads[c]; !ok {
		j.heads[c] = firstQueued
	}
	j.heads[c]--
	j.queued = append(j.queued, queued{edge: j.r.edge, class: c, n: j.heads[c], id: m.Message.Id})
	j.counts[j.r.edge]++
}
