package pgstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/pgtest"
)

// told collects what Options.Queued is told.
type told chan string

func (q told) queued(edges []string) {
	for _, edge := range edges {
		q <- edge
	}
}

func (q told) take() (edges []string) {
	for len(q) > 0 {
		edges = append(edges, <-q)
	}
	return edges
}

// accepted accepts a message for the edge, however long the database takes.
func accepted(t *testing.T, s *Store, ref string) {
	t.Helper()
	sub := down("anna", ref)
	sub.Ref = ref
	for {
		_, err := accept(t, s, sub)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrAway) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// A hub that has given rings up, or lost them, has their next owner told what it
// accepts for them.
func TestFormerOwnerTells(t *testing.T) {
	for how, lose := range map[string]func(t *testing.T, a, b *Store, r journal.Rings){
		"released": func(t *testing.T, a, _ *Store, r journal.Rings) {
			must(t, a.Release(t.Context(), kindRing, edge, "a", r.Epoch()))
		},
		"lease ended": func(t *testing.T, a, _ *Store, _ journal.Rings) { must(t, a.End(t.Context(), "a")) },
		"fenced": func(t *testing.T, _, b *Store, r journal.Rings) {
			must(t, b.End(t.Context(), "a")) // as if its time had come
			_, err := b.Claim(edge)
			must(t, err)
			found := make(chan struct{}, 9)
			r.Down().Notify(func() { found <- struct{}{} })
			if _, err := wait(t, func(done func(*messages.Result, error)) {
				r.Deliver(1, journal.Delivery{Message: &messages.Message{Id: make([]byte, 16)}, Keep: true}, done)
			}); !errors.Is(err, journal.ErrFenced) {
				t.Errorf("delivered: %v; want ErrFenced", err)
			}
			<-found // whoever serves the rings looks, and is refused too
		},
	} {
		t.Run(how, func(t *testing.T) {
			dsn, q := pgtest.Shared(t).Database(t), make(told, 99)
			a, b := open(t, Options{DSN: dsn, Node: "a", Queued: q.queued}), open(t, Options{DSN: dsn, Node: "b"})
			for _, s := range []*Store{a, b} {
				_, err := s.Renew(t.Context(), s.opts.Node, time.Hour)
				must(t, err)
			}
			r := claim(t, a)
			accepted(t, a, "own")
			if told := q.take(); len(told) > 0 {
				t.Errorf("the owner tells others: %v", told)
			}
			lose(t, a, b, r)
			second := claim(t, b)
			accepted(t, a, "another's")
			if told := q.take(); len(told) != 1 || told[0] != edge {
				t.Errorf("told %v; want %s", told, edge)
			}
			if err := waitErr(t, func(done func(error)) { a.SetInstance(edge, []byte("stale"), done) }); !errors.Is(err, journal.ErrFenced) {
				t.Errorf("instance set by who has the rings no more: %v", err)
			}
			must(t, waitErr(t, func(done func(error)) { b.SetInstance(edge, []byte("new"), done) }))
			if i, err := a.Instance(edge); string(i) != "new" || err != nil {
				t.Errorf("instance %q, %v", i, err)
			}
			if n := second.Down().Waiting(); n != 2 {
				waitFor(t, "both to be seen", func() bool { return second.Down().Waiting() == 2 })
			}
		})
	}
}

// Release of an epoch that is not the claim's takes nothing away from it.
func TestReleaseOfAnotherEpoch(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t), Node: "a"})
	_, err := s.Renew(t.Context(), "a", time.Hour)
	must(t, err)
	r := claim(t, s)
	must(t, s.Release(t.Context(), kindRing, edge, "a", r.Epoch()+1))
	must(t, s.Release(t.Context(), "client", edge, "a", r.Epoch()))
	if s.owned(edge) != r {
		t.Error("it is forgotten")
	}
}

// A claim that comes late takes the epoch from rings that are served: those who serve
// them are woken, though nothing waits, and find out.
func TestLateClaim(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t)})
	first := claim(t, s)
	woken := make(chan struct{}, 9)
	first.Down().Notify(func() { woken <- struct{}{} })
	claim(t, s)
	select {
	case <-woken:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was woken")
	}
	if _, err := retrieve(t, first, 1, 9); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("retrieved: %v; want ErrFenced", err)
	}
}

// A claim in the midst of a commit: the new rings' count is taken from the database as
// ever, so that they see what another hub accepts.
func TestClaimDuringCommit(t *testing.T) {
	dsn := pgtest.Shared(t).Database(t)
	s, other := open(t, Options{DSN: dsn}), open(t, Options{DSN: dsn, Node: "other"})
	claim(t, s)
	committing := newTx(s, nil, 0)
	committing.counts[edge] = 1
	committing.countingBegins()
	r := claim(t, s)
	committing.countingEnds()
	accepted(t, other, "x")
	waitFor(t, "it to be counted", func() bool { return r.Down().Waiting() == 1 })
}

// A count that is wrong is put right by who finds nothing to take.
func TestEmptyRetrieveCounts(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t)})
	r := claim(t, s)
	r.(*rings).addWaiting(5)
	if entries, err := retrieve(t, r, 1, 9); len(entries) > 0 || err != nil {
		t.Errorf("retrieved %v, %v", entries, err)
	}
	if n := r.Down().Waiting(); n != 0 {
		t.Errorf("%d are said to wait", n)
	}
}

// An edge that joins anew does not have all messages read that are kept, nor the
// entries of those that are settled, whatever the planner knew when it planned.
func TestRejoinByIndex(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t)})
	claim(t, s)
	plan := func() string {
		t.Helper()
		tx, err := s.pool.Begin(t.Context())
		must(t, err)
		defer tx.Rollback(context.Background())
		_, err = tx.Exec(t.Context(), s.settings)
		must(t, err)
		_, err = tx.Exec(t.Context(), `DEALLOCATE ALL; PREPARE begun (text, smallint, smallint) AS `+selectBegun, pgx.QueryExecModeSimpleProtocol)
		must(t, err)
		rows, _ := tx.Query(t.Context(), `EXPLAIN EXECUTE begun ('manila-1', 5, 8)`, pgx.QueryExecModeSimpleProtocol)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		return strings.Join(lines, "\n")
	}
	for _, when := range []string{"empty", "full", "analysed"} {
		var err error
		switch when {
		case "full":
			_, err = s.pool.Exec(t.Context(), `INSERT INTO messages (id, sender, recipient, edge, ref, coding, planned, body, state, seq, slots, inbox, settled, detail)
				SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 'anna', '+63917', CASE WHEN n % 2 = 0 THEN 'manila-1' ELSE 'cebu-1' END, '', 'gsm7', 1, '', 7, n, 255, 0, n % 50 <> 0, '' FROM generate_series(1, 4000) n`)
		case "analysed":
			_, err = s.pool.Exec(t.Context(), `ANALYZE`)
		}
		must(t, err)
		if p := plan(); !strings.Contains(p, "messages_open") {
			t.Errorf("%s: %s", when, p)
		}
	}
}
