package hubstore

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

const (
	// maxExpired bounds what one Retrieve finishes as expired.
	maxExpired = 1000

	maxConversations = 200
)

// Claim implements journal.Hub. It waits for the disk.
func (s *Store) Claim(name string) (journal.Rings, error) {
	r := &rings{s: s}
	claim := func(t *tx) error {
		r.e = t.edge(name)
		r.e.epoch = max(r.e.epoch, s.restored) + 1
		r.epoch = r.e.epoch
		r.found = r.e.last
		t.setEdge(r.e, edgeEpoch, r.epoch)
		r.e.setWake(func() {})
		return nil
	}
	err := s.db.Wait(func(done func(error)) { s.updateIn(s.ringWrites(), claim, done) })
	if err != nil {
		return nil, fmt.Errorf("hubstore: claim edge %s: %w", name, err)
	}
	return r, nil
}

// Instance implements journal.Hub.
func (s *Store) Instance(edge string) ([]byte, error) {
	b, _, err := s.db.Get(keyOf('E', edge).byte(edgeInstance))
	return b, err
}

// SetInstance implements journal.Hub.
func (s *Store) SetInstance(edge string, instance []byte, done func(error)) {
	s.updateIn(s.ringWrites(), func(t *tx) error {
		t.Set(keyOf('E', edge).byte(edgeInstance), instance)
		return nil
	}, done)
}

// rings are an edge's under one epoch.
type rings struct {
	s     *Store
	e     *edge
	epoch uint64
	found uint64 // highest sequence that an owner before has assigned
}

type (
	origin struct{ *rings }
	mirror struct{ *rings }
)

func (r *rings) Epoch() uint64        { return r.epoch }
func (r *rings) Down() journal.Origin { return origin{r} }
func (r *rings) Up() journal.Mirror   { return mirror{r} }

// update is Store.update under the fence.
func (r *rings) update(f func(t *tx) error, done func(error)) {
	r.s.updateIn(r.s.ringWrites(), func(t *tx) error {
		if r.epoch != r.e.epoch {
			return fmt.Errorf("%w: edge %s, epoch %d, now %d", journal.ErrFenced, r.e.name, r.epoch, r.e.epoch)
		}
		return f(t)
	}, done)
}

// wait is update for those who may block.
func (r *rings) wait(f func(t *tx) error) error {
	return r.s.db.Wait(func(done func(error)) { r.update(f, done) })
}

// Load implements journal.Origin. It waits for the disk.
func (o origin) Load() (journal.OriginState, error) {
	var state journal.OriginState
	err := o.wait(func(t *tx) error {
		state.LastRetrieved = o.e.last
		for seq, slot := range o.e.down {
			m := t.message(slot.id)
			if m == nil {
				t.note(fmt.Errorf("hubstore: message %x of sequence %d is missing", slot.id, seq))
				return nil
			}
			state.Held = append(state.Held, journal.Entry{Seq: seq, After: slot.after, Message: m.Message})
		}
		return nil
	})
	bySeq(state.Held)
	return state, err
}

func bySeq(entries []journal.Entry) {
	slices.SortFunc(entries, func(a, b journal.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
}

// Waiting implements journal.Origin.
func (o origin) Waiting() int { return int(o.e.waiting.Load()) }

// Notify implements journal.Origin.
func (o origin) Notify(wake func()) { o.e.setWake(wake) }

// Retrieve implements journal.Origin.
func (o origin) Retrieve(first uint64, most int, done func([]journal.Entry, error)) {
	var entries []journal.Entry
	slots := o.s.opts.Slots(o.e.name)
	o.update(func(t *tx) error {
		e, now := o.e, o.s.opts.Now()
		if first <= e.last {
			return fmt.Errorf("%w: retrieve from sequence %d of edge %s: %d was assigned already", errBadCall, first, e.name, e.last)
		}
		for expired := 0; len(entries) < most && expired < maxExpired; {
			id, ok := t.dequeue(e)
			if !ok {
				break
			}
			m := t.message(id)
			if m == nil {
				t.note(fmt.Errorf("hubstore: message %x of the queue of edge %s is missing", id, e.name))
				return nil
			}
			if d := m.Message.DeadlineUnixMs; d != 0 && d < now.UnixMilli() {
				expired++
				m.Reason = &messages.Reason{Code: "expired", Text: "its time ran out before it could be sent"}
				m.Reach(messages.State_EXPIRED, now)
				t.tell(m, now)
				t.save(m)
				continue
			}
			seq := first + uint64(len(entries))
			slot := &downSlot{id: id, order: orderKey(m.Message)}
			slot.after = e.tail[slot.order]
			e.occupy(seq, slot)
			t.Set(keyOf('D', e.name).number(seq), encodeDown(slot))
			m.Seq, m.Slots = seq, slots
			if m.Reach(messages.State_RETRIEVED, now) {
				t.tell(m, now)
			}
			t.save(m)
			entries = append(entries, journal.Entry{Seq: seq, After: slot.after, Message: m.Message})
		}
		if n := len(entries); n > 0 {
			e.last = entries[n-1].Seq
			t.setEdge(e, edgeLast, e.last)
		} else if e.waiting.Load() > 0 {
			t.woken = append(t.woken, e) // all were expired: there is more
		}
		return nil
	}, func(err error) {
		if err != nil {
			entries = nil
		}
		done(entries, err)
	})
}

// Progress implements journal.Origin.
func (o origin) Progress(state messages.State, entries []journal.Entry) {
	if state != messages.State_SENT && state != messages.State_CONFIRMED || len(entries) == 0 {
		return
	}
	at := o.s.opts.Now()
	o.update(func(t *tx) error {
		for _, entry := range entries {
			m := t.message(entry.Message.GetId())
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
	}, nil)
}

// Processed implements journal.Origin. Done twice, it changes nothing.
func (o origin) Processed(entry journal.Entry, result *messages.Result, done func(error)) {
	switch result.GetState() {
	case messages.State_PROCESSED, messages.State_DEFERRED, messages.State_UNKNOWN, messages.State_FAILED, messages.State_EXPIRED:
	default:
		done(fmt.Errorf("%w: result of sequence %d is %v", errBadCall, entry.Seq, result.GetState()))
		return
	}
	o.update(func(t *tx) error {
		slot := o.e.down[entry.Seq]
		if slot == nil {
			return nil
		}
		if !bytes.Equal(slot.id, entry.Message.GetId()) {
			return fmt.Errorf("%w: sequence %d of edge %s holds message %x, the result is of %x",
				errBadCall, entry.Seq, o.e.name, slot.id, entry.Message.GetId())
		}
		o.e.vacate(entry.Seq)
		t.Delete(keyOf('D', o.e.name).number(entry.Seq))
		if m := t.message(slot.id); m != nil {
			t.answer(m, result)
		}
		return nil
	}, done)
}

// answer applies a result.
func (t *tx) answer(m *message, result *messages.Result) {
	if result.AtUnixMs == 0 {
		result = proto.CloneOf(result)
		result.AtUnixMs = t.s.opts.Now().UnixMilli()
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
	r.update(func(t *tx) error {
		for _, ev := range events {
			if ev.Number <= r.e.applied {
				continue
			}
			r.e.applied = ev.Number
			if m := t.message(ev.Id); m != nil && m.Edge == r.e.name && m.goesDown() {
				t.learn(m, ev)
			}
		}
		if applied = r.e.applied; applied > 0 {
			t.setEdge(r.e, edgeApplied, applied)
		}
		return nil
	}, func(err error) { done(applied, err) })
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

// Applied implements journal.Rings. It waits for the disk.
func (r *rings) Applied() (n uint64, err error) {
	err = r.wait(func(*tx) error { n = r.e.applied; return nil })
	return n, err
}

// Load implements journal.Mirror. It waits for the disk.
func (m mirror) Load() (journal.MirrorState, error) {
	var state journal.MirrorState
	err := m.wait(func(*tx) error {
		state.Released = m.e.released
		for seq, slot := range m.e.up {
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
	if m.s.Space() != nil { // the edge keeps it until there is room
		time.AfterFunc(time.Second, func() { m.Keep(entry, done) })
		return
	}
	if len(entry.Message.GetId()) != 16 {
		done(fmt.Errorf("%w: sequence %d of edge %s: an id has 16 octets, this one %d", errBadCall, entry.Seq, m.e.name, len(entry.Message.GetId())))
		return
	}
	m.update(func(t *tx) error {
		if held := m.e.up[entry.Seq]; held != nil {
			if !bytes.Equal(held.message.Id, entry.Message.Id) {
				return fmt.Errorf("%w: sequence %d of edge %s holds message %x, not %x", errBadCall, entry.Seq, m.e.name, held.message.Id, entry.Message.Id)
			}
			return nil
		}
		slot := &upSlot{message: entry.Message, after: entry.After}
		b, err := encodeUp(slot)
		if err != nil {
			return fmt.Errorf("%w: sequence %d of edge %s: %w", errBadCall, entry.Seq, m.e.name, err)
		}
		m.e.up[entry.Seq] = slot
		t.Set(keyOf('W', m.e.name).number(entry.Seq), b)
		return nil
	}, done)
}

// Release implements journal.Mirror.
func (m mirror) Release(released uint64, seqs []uint64) {
	m.update(func(t *tx) error {
		forget := func(seq uint64) {
			slot := m.e.up[seq]
			if slot == nil {
				return
			}
			delete(m.e.up, seq)
			t.Delete(keyOf('W', m.e.name).number(seq))
			t.Delete(keyOf('X', m.e.name).number(seq))
		}
		if released > m.e.released {
			for seq := range m.e.up {
				if seq <= released {
					forget(seq)
				}
			}
			m.e.released = released
			t.setEdge(m.e, edgeReleased, released)
		}
		for _, seq := range seqs {
			forget(seq)
		}
		return nil
	}, nil)
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
	r.update(func(t *tx) error {
		slot := r.e.up[seq]
		if slot == nil || !bytes.Equal(slot.message.Id, d.Message.GetId()) {
			return fmt.Errorf("%w: message %x is not at sequence %d of edge %s", errBadCall, d.Message.GetId(), seq, r.e.name)
		}
		if slot.result != nil {
			result = slot.result
			return nil
		}
		if d.User != "" && !t.user(d.User).exists {
			return fmt.Errorf("%w: %q", journal.ErrNoUser, d.User)
		}
		now := t.s.opts.Now()
		if t.message(slot.message.Id) == nil { // else it came before, at another sequence
			r.deliver(t, seq, d, notice, now)
		}
		result = &messages.Result{State: messages.State_PROCESSED, AtUnixMs: now.UnixMilli()}
		slot.result = result
		b, err := proto.Marshal(result)
		t.note(err)
		t.Set(keyOf('X', r.e.name).number(seq), b)
		return nil
	}, func(err error) {
		if err != nil {
			result = nil
		}
		done(result, err)
	})
}

func (r *rings) deliver(t *tx, seq uint64, d journal.Delivery, notice []byte, now time.Time) {
	handset := d.Message.From
	if d.User != "" {
		for _, name := range d.Release {
			r.release(t, handset, name, d.User, now)
		}
	}
	m := &message{}
	m.Edge = r.e.name
	m.Message = proto.CloneOf(d.Message)
	m.Message.To = d.User
	if d.Only { // settled, as nothing comes after: else it looks like one on its way down
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
		b, err := proto.Marshal(d.Message)
		t.note(err)
		t.Set(keyOf('H', r.e.name, handset).number(seq).raw(d.Message.Id), b)
	} else {
		m.Message.Text = d.Text
		t.intoInbox(m, now)
	}
	t.create(m)
	if d.Notice != nil {
		n := &message{}
		n.Edge = r.e.name
		n.Message = proto.CloneOf(d.Notice)
		n.Message.Id, n.Message.Kind = notice, messages.Message_NOTICE
		if n.Message.AcceptedUnixMs == 0 {
			n.Message.AcceptedUnixMs = now.UnixMilli()
		}
		n.Reach(messages.State_ACCEPTED, now)
		t.enqueue(r.e, n)
		t.create(n)
	}
}

// release gives a kept message to a user.
func (r *rings) release(t *tx, handset, hexID, user string, now time.Time) {
	id, err := hex.DecodeString(hexID)
	if err != nil || len(id) != 16 {
		return
	}
	var found key
	t.note(scanPrefix(t, keyOf('H', r.e.name, handset), func(k, _ []byte) bool {
		if bytes.HasSuffix(k, id) {
			found = slices.Clone(k)
		}
		return found == nil
	}))
	m := t.message(id)
	if found == nil || m == nil {
		return // given to somebody before
	}
	t.Delete(found)
	m.Message = proto.CloneOf(m.Message)
	m.Message.To = user
	t.intoInbox(m, now)
	t.create(m)
}

// Kept implements journal.Rings.
func (r *rings) Kept(handset string) ([]*messages.Message, error) {
	var kept []*messages.Message
	var bad error
	err := scanPrefix(r.s.db, keyOf('H', r.e.name, handset), func(_, v []byte) bool {
		m := &messages.Message{}
		bad = proto.Unmarshal(v, m)
		kept = append(kept, m)
		return bad == nil
	})
	return kept, firstError(err, r.s.noted(bad))
}

// Conversations implements journal.Rings.
func (r *rings) Conversations(handset, number string) ([]journal.Conversation, error) {
	var found []journal.Conversation
	number = strings.TrimPrefix(number, "+")
	err := conversations(r.s.db, r.e.name, handset, func(c journal.Conversation) {
		if number == "" || strings.TrimPrefix(c.Number, "+") == number {
			found = append(found, c)
		}
	})
	slices.SortFunc(found, func(a, b journal.Conversation) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.User, b.User))
	})
	return found[:min(len(found), maxConversations)], err
}
