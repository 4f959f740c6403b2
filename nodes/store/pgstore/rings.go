package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

const (
	// kindRing is the kind of rings in table owners: identity is the edge.
	kindRing = "ring"

	maxConversations = 200
)

// Claim implements journal.Hub: Acquire of kind "ring" for this hub, so that the
// error is *journal.OwnedError or journal.ErrNoLease where the rings may not be had.
// With Options.Alone they are taken from whoever has them. It waits for the database.
func (s *Store) Claim(edge string) (journal.Rings, error) {
	if r := s.owned(edge); r != nil { // what its owner of before has asked for comes first
		_, _ = ask(r, nil, func(*tx, *struct{}) error { return nil })
	}
	var epoch uint64
	var found int64
	err := s.tryFor(longPatience, "claiming edge "+edge, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			var restored int64
			err := tx.QueryRow(ctx, `SELECT coalesce(max(value), 0)::bigint FROM meta WHERE key = 'restored'`).Scan(&restored)
			if err != nil {
				return err
			}
			if epoch, err = s.acquire(ctx, tx, kindRing, edge, s.opts.Node, uint64(restored), s.opts.Alone); err != nil {
				return err
			}
			if _, err = tx.Exec(ctx, `INSERT INTO edges (edge) VALUES ($1) ON CONFLICT (edge) DO NOTHING`, column(edge)); err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT last FROM edges WHERE edge = $1`, column(edge)).Scan(&found)
		})
	})
	if err != nil {
		return nil, err
	}
	r := newRings(s, edge, epoch)
	r.found = uint64(found)
	var n int64
	s.mu.Lock()
	fenced := s.claimed[edge]
	s.claimed[edge] = r
	s.mu.Unlock()
	if fenced != nil {
		fenced.callWake() // whoever serves them finds out: a claim that comes late is nobody's
	}
	before := r.quiet()
	if err := s.tryFor(longPatience, "counting the queue of edge "+edge, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `SELECT coalesce(sum(n), 0)::bigint FROM queue_counts WHERE edge = $1`, column(edge)).Scan(&n)
	}); err != nil {
		return nil, err
	}
	r.polled(before, n)
	return r, nil
}

// Instance implements journal.Hub.
func (s *Store) Instance(edge string) (instance []byte, err error) {
	err = s.read("reading the instance of edge "+edge, func(ctx context.Context) error {
		rows, _ := s.pool.Query(ctx, `SELECT instance FROM edges WHERE edge = $1`, column(edge))
		_, err := pgx.ForEachRow(rows, []any{&instance}, func() error { return nil })
		return err
	})
	return instance, err
}

// SetInstance implements journal.Hub. Only who owns the rings may.
func (s *Store) SetInstance(edge string, instance []byte, done func(error)) {
	r := s.owned(edge)
	if r == nil {
		done(fmt.Errorf("%w: edge %s is not claimed here", journal.ErrFenced, edge))
		return
	}
	r.lane.write(&op{
		until: time.Now().Add(patience),
		do: func(t *tx) error {
			t.writes = append(t.writes, func(b *pgx.Batch) {
				b.Queue(`UPDATE edges SET instance = $2 WHERE edge = $1`, column(edge), instance)
			})
			return nil
		},
		done: done,
	})
}

type (
	origin struct{ *rings }
	mirror struct{ *rings }
)

func (r *rings) Epoch() uint64        { return r.epoch }
func (r *rings) Down() journal.Origin { return origin{r} }
func (r *rings) Up() journal.Mirror   { return mirror{r} }

// ask reads what is in memory under the fence. It blocks.
func ask[T any](r *rings, need func(t *tx), read func(t *tx, answer *T) error) (T, error) {
	var answer T
	done := make(chan error, 1)
	r.lane.write(&op{
		need:  need,
		do:    func(t *tx) error { return read(t, &answer) },
		done:  func(err error) { done <- err },
		until: time.Now().Add(longPatience),
	})
	if err := <-done; err != nil {
		var none T
		return none, err // the lane may be reading still
	}
	return answer, nil
}

// Load implements journal.Origin. It waits for the database.
func (o origin) Load() (journal.OriginState, error) {
	state, err := ask(o.rings, o.needHeld, func(t *tx, state *journal.OriginState) error {
		*state = journal.OriginState{LastRetrieved: o.last}
		for seq, slot := range o.down {
			m := t.message(slot.id)
			if m == nil {
				t.damaged("message %x of sequence %d of edge %s is missing", slot.id, seq, o.edge)
				return nil
			}
			state.Held = append(state.Held, journal.Entry{Seq: seq, After: slot.after, Message: m.Message})
		}
		return nil
	})
	bySeq(state.Held)
	return state, err
}

func (r *rings) needHeld(t *tx) {
	for _, slot := range r.down {
		t.needID(slot.id)
	}
}

func bySeq(entries []journal.Entry) {
	slices.SortFunc(entries, func(a, b journal.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
}

// Waiting implements journal.Origin. What other hubs have accepted counts within a
// quarter of a second.
func (o origin) Waiting() int { return int(max(0, o.waiting.Load())) }

// Notify implements journal.Origin.
func (o origin) Notify(wake func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake = wake
}

// heads are messages from the beginning of the queue, as they were read.
type heads struct {
	list []*message
	at   []queued
}

// Retrieve implements journal.Origin.
func (o origin) Retrieve(first uint64, most int, done func([]journal.Entry, error)) {
	var entries []journal.Entry
	var h heads
	slots := o.s.opts.Slots(o.edge)
	o.lane.write(&op{
		need: func(t *tx) {
			t.lengths[o.edge] = true
			t.more = append(t.more, func(b *pgx.Batch) {
				h = heads{}
				// Under the lock of the owner nobody else takes from it; rows that appear
				// meanwhile, whatever their numbers, are the next one's.
				each(b.Queue(`SELECT `+messageColumns+`, q.class, q.n, q.id FROM (SELECT class, n, id FROM queue WHERE edge = $1 ORDER BY class, n LIMIT $2) q
					LEFT JOIN messages m ON m.id = q.id ORDER BY q.class, q.n`, column(o.edge), max(most, 1)), func(row pgx.Rows) error {
					q := queued{edge: o.edge}
					m, err := scanMessage(row, &q.class, &q.n, &q.id)
					if err == nil {
						h.list, h.at = append(h.list, m), append(h.at, q)
					}
					return err
				})
			})
		},
		users: func(*tx) (names []string, known bool) {
			for _, m := range h.list {
				names = append(names, m.sender())
			}
			return names, false
		},
		do: func(t *tx) error {
			entries = nil
			if first <= o.last {
				return fmt.Errorf("%w: retrieve from sequence %d of edge %s: %d was assigned already", errBadCall, first, o.edge, o.last)
			}
			for i, m := range h.list {
				if len(entries) == most {
					break
				}
				if !t.takeFrom(queuedAt{h.at[i].class, h.at[i].n}) {
					continue // taken before, in this group
				}
				t.counts[o.edge]--
				t.hold(m)
				if d := m.Message.DeadlineUnixMs; d != 0 && d < t.now.UnixMilli() {
					m.Reason = &messages.Reason{Code: "expired", Text: "its time ran out before it could be sent"}
					m.Reach(messages.State_EXPIRED, t.now)
					t.tell(m, t.now)
					t.save(m)
					continue
				}
				seq := first + uint64(len(entries))
				slot := o.place(t, seq, m)
				m.Seq, m.Slots = seq, slots
				if m.Reach(messages.State_RETRIEVED, t.now) {
					t.tell(m, t.now)
				}
				t.save(m)
				entries = append(entries, journal.Entry{Seq: seq, After: slot.after, Message: m.Message})
			}
			if n := len(entries); n > 0 {
				o.last = entries[n-1].Seq
				t.ring().standing = true
			} else if len(h.list) > 0 && t.waiting[o.edge]+t.counts[o.edge] > 0 {
				t.wake = true // all were expired: there is more
			}
			return nil
		},
		done: func(err error) {
			if err != nil {
				done(nil, err)
				return
			}
			done(entries, nil)
		},
	})
}

// place puts a message into the down ring.
func (r *rings) place(t *tx, seq uint64, m *message) *downSlot {
	slot := &downSlot{id: m.Message.Id, order: orderKey(m.Message)}
	slot.after = r.tail[slot.order]
	r.occupy(seq, slot)
	t.ring().occupy(seq)
	return slot
}

// senders of these messages, if all were read.
func senders(t *tx, ids ...[]byte) (names []string, known bool) {
	known = true
	for _, id := range ids {
		if m := t.message(id); m != nil {
			names = append(names, m.sender())
		} else if len(id) > 0 {
			known = false
		}
	}
	return names, known
}

func entryIDs(entries []journal.Entry) [][]byte {
	ids := make([][]byte, len(entries))
	for i, e := range entries {
		ids[i] = e.Message.GetId()
	}
	return ids
}

// concern says that a write changes the messages with these ids.
func concern(o *op, ids ...[]byte) *op {
	o.need = func(t *tx) {
		for _, id := range ids {
			t.needID(id)
		}
	}
	o.users = func(t *tx) ([]string, bool) { return senders(t, ids...) }
	return o
}

// Progress implements journal.Origin.
func (o origin) Progress(state messages.State, entries []journal.Entry) {
	if state != messages.State_SENT && state != messages.State_CONFIRMED || len(entries) == 0 {
		return
	}
	at := o.s.opts.Now()
	ids := entryIDs(entries)
	o.lane.write(concern(&op{
		do: func(t *tx) error {
			for _, id := range ids {
				m := t.message(id)
				if m == nil {
					continue
				}
				steps := len(m.History)
				if m.Reach(state, at) {
					t.tell(m, at)
				} else if len(m.History) == steps {
					continue // sent again
				}
				t.save(m)
			}
			return nil
		},
	}, ids...))
}

// Processed implements journal.Origin. Done twice, it changes nothing.
func (o origin) Processed(entry journal.Entry, result *messages.Result, done func(error)) {
	switch result.GetState() {
	case messages.State_PROCESSED, messages.State_DEFERRED, messages.State_UNKNOWN, messages.State_FAILED, messages.State_EXPIRED:
	default:
		done(fmt.Errorf("%w: result of sequence %d is %v", errBadCall, entry.Seq, result.GetState()))
		return
	}
	id := entry.Message.GetId()
	o.lane.write(concern(&op{
		do: func(t *tx) error {
			slot := o.down[entry.Seq]
			if slot == nil {
				return nil
			}
			if !bytes.Equal(slot.id, id) {
				return fmt.Errorf("%w: sequence %d of edge %s holds message %x, the result is of %x", errBadCall, entry.Seq, o.edge, slot.id, id)
			}
			o.vacate(entry.Seq)
			t.ring().vacate(entry.Seq)
			if m := t.message(id); m != nil {
				t.answer(m, result)
			}
			return nil
		},
		done: done,
	}, id))
}

// answer applies a result.
func (t *tx) answer(m *message, result *messages.Result) {
	if result.AtUnixMs == 0 {
		result = proto.CloneOf(result)
		result.AtUnixMs = t.now.UnixMilli()
	}
	if m.Answer(result) {
		t.tell(m, time.UnixMilli(result.AtUnixMs))
	}
	if result.State != messages.State_DEFERRED {
		t.settle(m)
	}
	t.save(m)
}

// Apply implements journal.Rings.
func (r *rings) Apply(events []*messages.Event, done func(uint64, error)) {
	var applied uint64
	ids := make([][]byte, len(events))
	for i, ev := range events {
		ids[i] = ev.Id
	}
	r.lane.write(concern(&op{
		do: func(t *tx) error {
			before := r.applied
			for _, ev := range events {
				if ev.Number <= r.applied {
					continue
				}
				r.applied = ev.Number
				if m := t.message(ev.Id); m != nil && m.Edge == r.edge && m.goesDown() {
					t.learn(m, ev)
				}
			}
			if applied = r.applied; applied != before {
				t.ring().standing = true
			}
			return nil
		},
		done: func(err error) {
			if err != nil {
				done(0, err)
				return
			}
			done(applied, nil)
		},
	}, ids...))
}

// learn applies one event.
func (t *tx) learn(m *message, ev *messages.Event) {
	at := time.UnixMilli(ev.AtUnixMs)
	raised := false
	switch what := ev.What.(type) {
	case *messages.Event_Result:
		t.answer(m, what.Result)
		return
	case *messages.Event_Receipt:
		if !journal.IsFinal(what.Receipt.GetState()) {
			return
		}
		raised = m.Receive(what.Receipt, m.planned, at)
	case *messages.Event_Doubt:
		raised = m.Doubt(what.Doubt, at)
	}
	if raised {
		t.tell(m, at)
	}
	t.save(m)
}

// Applied implements journal.Rings. It waits for the database.
func (r *rings) Applied() (uint64, error) {
	return ask(r, nil, func(_ *tx, n *uint64) error { *n = r.applied; return nil })
}

// Load implements journal.Mirror. It waits for the database.
func (m mirror) Load() (journal.MirrorState, error) {
	state, err := ask(m.rings, nil, func(_ *tx, state *journal.MirrorState) error {
		*state = journal.MirrorState{Released: m.released}
		for seq, slot := range m.up {
			state.Held = append(state.Held, journal.Entry{Seq: seq, After: slot.after, Message: slot.message, Result: slot.result})
		}
		return nil
	})
	bySeq(state.Held)
	return state, err
}

// Keep implements journal.Mirror. The same message again changes nothing;
// another one at its sequence is refused.
func (m mirror) Keep(entry journal.Entry, done func(error)) {
	if n := len(entry.Message.GetId()); n != 16 {
		done(fmt.Errorf("%w: sequence %d of edge %s: an id has 16 octets, this one %d", errBadCall, entry.Seq, m.edge, n))
		return
	}
	if _, err := marshal(entry.Message); err != nil {
		done(fmt.Errorf("sequence %d of edge %s: %w", entry.Seq, m.edge, err))
		return
	}
	m.lane.write(&op{
		do: func(t *tx) error {
			if held := m.up[entry.Seq]; held != nil {
				if !bytes.Equal(held.message.Id, entry.Message.Id) {
					return fmt.Errorf("%w: sequence %d of edge %s holds message %x, not %x", errBadCall, entry.Seq, m.edge, held.message.Id, entry.Message.Id)
				}
				return nil
			}
			m.up[entry.Seq] = &upSlot{message: entry.Message, after: entry.After}
			w := t.ring()
			w.arrived[entry.Seq] = true
			return nil
		},
		done: done,
	})
}

// Release implements journal.Mirror.
func (m mirror) Release(released uint64, seqs []uint64) {
	m.lane.write(&op{do: func(t *tx) error {
		forget := func(seq uint64) {
			if m.up[seq] == nil {
				return
			}
			delete(m.up, seq)
			t.ring().leave(seq)
		}
		if released > m.released {
			for seq := range m.up {
				if seq <= released {
					forget(seq)
				}
			}
			m.released = released
			t.ring().standing = true
		}
		for _, seq := range seqs {
			forget(seq)
		}
		return nil
	}})
}

// Deliver implements journal.Rings.
func (r *rings) Deliver(seq uint64, d journal.Delivery, done func(*messages.Result, error)) {
	var notice []byte
	var result *messages.Result
	var err error
	if d.Notice != nil {
		notice, err = newID()
	}
	if err == nil && d.User == "" && !d.Keep {
		err = fmt.Errorf("%w: message %x: neither a user nor to be kept", errBadCall, d.Message.GetId())
	}
	if err != nil {
		done(nil, err)
		return
	}
	id := d.Message.GetId()
	release := map[string]bool{} // those kept are true, once it is known
	for _, name := range d.Release {
		if id, err := hex.DecodeString(name); err == nil && len(id) == 16 {
			release[string(id)] = false
		}
	}
	r.lane.write(&op{
		need: func(t *tx) {
			t.needID(id)
			if d.User == "" {
				return
			}
			t.names[d.User] = true
			if len(release) == 0 {
				return
			}
			var ids [][]byte
			for id := range release {
				release[id] = false
				ids = append(ids, []byte(id))
				t.needID([]byte(id))
			}
			t.more = append(t.more, func(b *pgx.Batch) {
				each(b.Queue(`SELECT id FROM kept WHERE edge = $1 AND handset = $2 AND id = ANY($3)`, column(r.edge), column(d.Message.GetFrom()), ids), func(row pgx.Rows) error {
					var id []byte
					err := row.Scan(&id)
					release[string(id)] = true
					return err
				})
			})
		},
		do: func(t *tx) error {
			slot := r.up[seq]
			if slot == nil || !bytes.Equal(slot.message.Id, id) {
				return fmt.Errorf("%w: message %x is not at sequence %d of edge %s", errBadCall, id, seq, r.edge)
			}
			if slot.result != nil {
				result = slot.result
				return nil
			}
			if d.User != "" && !t.accounts[d.User] {
				return fmt.Errorf("%w: %q", journal.ErrNoUser, d.User)
			}
			if t.message(id) == nil { // else it came before, at another sequence
				r.deliver(t, seq, d, notice, release)
			}
			result = &messages.Result{State: messages.State_PROCESSED, AtUnixMs: t.now.UnixMilli()}
			slot.result = result
			t.ring().answered[seq] = true
			return nil
		},
		done: func(err error) {
			if err != nil {
				done(nil, err)
				return
			}
			done(result, nil)
		},
	})
}

func (r *rings) deliver(t *tx, seq uint64, d journal.Delivery, notice []byte, release map[string]bool) {
	now, handset := t.now, d.Message.From
	if d.User != "" {
		for _, name := range d.Release {
			if id, err := hex.DecodeString(name); err == nil && release[string(id)] && !t.freed[string(id)] {
				r.release(t, handset, id, d.User)
			}
		}
	}
	m := &message{}
	m.Edge = r.edge
	m.Message = proto.CloneOf(d.Message)
	m.Message.To = d.User
	if d.Only {
		m.Reach(messages.State_PROCESSED, now)
		t.settle(m)
		t.create(m)
		return
	}
	if m.Message.AcceptedUnixMs == 0 {
		m.Message.AcceptedUnixMs = now.UnixMilli()
	}
	if d.Keep {
		m.Message.To = ""
		m.Reach(messages.State_ACCEPTED, now)
		body, err := marshal(d.Message)
		t.note(err)
		t.writes = append(t.writes, func(b *pgx.Batch) {
			b.Queue(`INSERT INTO kept (edge, handset, seq, id, body) VALUES ($1, $2, $3, $4, $5)`, column(r.edge), column(handset), int64(seq), d.Message.Id, body)
		})
	} else {
		m.Message.Text = d.Text
		t.intoInbox(m, now)
	}
	t.create(m)
	if d.Notice != nil {
		n := &message{}
		n.Edge = r.edge
		n.Message = proto.CloneOf(d.Notice)
		n.Message.Id, n.Message.Kind = notice, messages.Message_NOTICE
		if n.Message.AcceptedUnixMs == 0 {
			n.Message.AcceptedUnixMs = now.UnixMilli()
		}
		n.Reach(messages.State_ACCEPTED, now)
		t.enqueue(r.edge, n)
		t.create(n)
	}
}

// release gives a kept message to a user.
func (r *rings) release(t *tx, handset string, id []byte, user string) {
	m := t.message(id)
	if m == nil {
		return
	}
	if t.freed == nil {
		t.freed = map[string]bool{}
	}
	t.freed[string(id)] = true
	t.writes = append(t.writes, func(b *pgx.Batch) {
		b.Queue(`DELETE FROM kept WHERE edge = $1 AND handset = $2 AND id = $3`, column(r.edge), column(handset), id)
	})
	m.Message = proto.CloneOf(m.Message)
	m.Message.To = user
	t.intoInbox(m, t.now)
	t.saveAll(m)
}

// Kept implements journal.Rings.
func (r *rings) Kept(handset string) (kept []*messages.Message, err error) {
	err = r.s.read("reading kept messages", func(ctx context.Context) error {
		rows, _ := r.s.pool.Query(ctx, `SELECT body FROM kept WHERE edge = $1 AND handset = $2 ORDER BY seq, id`, column(r.edge), column(handset))
		kept, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*messages.Message, error) {
			var body []byte
			m := &messages.Message{}
			if err := row.Scan(&body); err != nil {
				return nil, err
			}
			return m, unmarshal(body, m)
		})
		return err
	})
	return kept, err
}

// selectConversations reads a handset's by the primary key; all of them are read, as
// they are to give one its number.
const selectConversations = `SELECT name, at, number FROM conversations
	WHERE edge = $1 AND handset = $2 AND ($3 = '' OR ltrim(number, '+') = $3) ORDER BY at DESC, name LIMIT $4`

// Conversations implements journal.Rings.
func (r *rings) Conversations(handset, number string) (found []journal.Conversation, err error) {
	err = r.s.read("reading conversations", func(ctx context.Context) error {
		rows, _ := r.s.pool.Query(ctx, selectConversations, column(r.edge), column(handset), column(strings.TrimPrefix(number, "+")), maxConversations)
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (journal.Conversation, error) { return scanConversation(row) })
		return err
	})
	return found, err
}
