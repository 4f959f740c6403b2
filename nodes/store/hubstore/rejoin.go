package hubstore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// What is stored of an edge that was replaced, and of a hub that was restored.
const (
	edgeReplaced = 'o' // instance of the journal that was given up
	edgeJoined   = 'b' // the hub's restore after which the edge has joined
)

// restoredKey holds when this store was restored from a backup, in seconds since
// 1970. Epochs go on above it: edges have seen higher ones than the backup has.
var restoredKey = key{'Z'}

// Backup copies the store into a new folder while it is in use.
func (s *Store) Backup(dir string) error { return s.db.Backup(dir) }

// MarkRestored notes that this store comes from a backup: epochs go on above it, and
// every edge joins anew. Call it before any edge is claimed.
func (s *Store) MarkRestored(now time.Time) error {
	return s.wait(func(t *tx) error {
		at := max(uint64(now.Unix()), s.restored+1) // clocks differ
		for name := range s.edges {
			joined, _ := t.get(keyOf('E', name).byte(edgeJoined))
			at = max(at, lastNumber(joined)+1)
		}
		t.Set(restoredKey, key(nil).number(at))
		s.restored = at
		return nil
	})
}

// ReplaceEdge gives up the edge's journal: the next one that comes under its id is
// taken, and what was not final goes out again.
func (s *Store) ReplaceEdge(name string) error {
	return s.wait(func(t *tx) error {
		if s.edges[name] == nil {
			return fmt.Errorf("%w: no edge %q was ever connected", errBadCall, name)
		}
		k := keyOf('E', name).byte(edgeInstance)
		if instance, ok := t.get(k); ok {
			t.Set(keyOf('E', name).byte(edgeReplaced), instance)
			t.Delete(k)
		}
		return nil
	})
}

// Standing returns what is remembered of an edge.
func (s *Store) Standing(name string) (st journal.Standing, err error) {
	number := func(kind byte) uint64 {
		b, ok, e := s.db.Get(keyOf('E', name).byte(kind))
		if e != nil {
			err = e
		}
		if !ok {
			return 0
		}
		return lastNumber(b)
	}
	replaced, _, e := s.db.Get(keyOf('E', name).byte(edgeReplaced))
	st.Replaced = replaced
	st.Behind = number(edgeJoined) < s.restored
	st.Used = replaced != nil || number(edgeReleased) > 0 || number(edgeApplied) > 0
	return st, firstError(err, e)
}

// queuedAt is where a message waits.
type queuedAt struct {
	class byte
	n     uint64
}

// Rejoin makes the journal go on from what the edge holds.
//
// What the ring holds and the edge does not goes out again; where this side is
// behind it goes back to the head of the queue first, as its sequence has been
// another message's since. What the edge holds keeps its address, known here or not.
// What the edge had in its retry queue and lost is queued again. Whatever may have
// been submitted by an edge that has forgotten it is counted as unknown.
func (r *rings) Rejoin(what journal.Rejoin, done func(journal.Rejoined, error)) {
	waiting, begun, err := r.search()
	if err != nil {
		done(journal.Rejoined{}, err)
		return
	}
	var answer journal.Rejoined
	r.update(func(t *tx) error {
		j := joining{tx: t, e: r.e, found: r.found, waiting: waiting, now: t.s.opts.Now(), headed: map[string]bool{}}
		err := j.do(what, begun)
		answer = j.answer
		return err
	}, func(err error) { done(answer, err) })
}

// search reads what no index has: where each message waits in the queue, and which
// have been with the edge and are not settled. The link is down meanwhile: the
// former only shrinks, the latter does not grow.
func (r *rings) search() (waiting map[string]queuedAt, begun [][]byte, err error) {
	waiting = map[string]queuedAt{}
	prefix := keyOf('Q', r.e.name)
	err = scanPrefix(r.s.db, prefix, func(k, v []byte) bool {
		waiting[string(v)] = queuedAt{k[len(prefix)], lastNumber(k)}
		return true
	})
	var bad error
	err = firstError(err, scanPrefix(r.s.db, key{'S'}, func(k, state []byte) bool {
		id := slices.Clone(k[1:])
		body, ok, err := r.s.db.Get(key{'M'}.raw(id))
		if bad = err; err != nil || !ok {
			return err == nil
		}
		m, err := decodeMessage(body, state)
		if bad = err; err != nil {
			return false
		}
		if _, queued := waiting[string(id)]; !queued && m.Edge == r.e.name && m.goesDown() && m.open() && m.State >= messages.State_DEFERRED {
			begun = append(begun, id)
		}
		return true
	}))
	return waiting, begun, firstError(err, bad)
}

// open: the edge has not settled it.
func (m *message) open() bool { return !m.Final && !m.indexed }

// joining is one Rejoin.
type joining struct {
	*tx
	e       *edge
	found   uint64 // as rings.found
	waiting map[string]queuedAt
	now     time.Time
	headed  map[string]bool // put back at the head of the queue
	answer  journal.Rejoined
}

func (j *joining) do(what journal.Rejoin, begun [][]byte) error {
	held := map[uint64][]byte{}
	for _, h := range what.Held {
		held[h.Seq] = h.ID
	}
	behind := j.behind()
	last, err := what.Check(j.e.last, j.e.applied, behind)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadCall, err)
	}
	retrying := map[string]bool{}
	for _, id := range what.Deferred {
		retrying[string(id)] = true
		j.retrying(id, behind)
	}
	j.ring(what, held, behind)
	if behind {
		j.adopt(held)
		j.e.last = max(j.e.last, last)
		j.setEdge(j.e, edgeLast, j.e.last)
		j.e.applied = max(j.e.applied, what.EventsTrimmed)
		j.setEdge(j.e, edgeApplied, j.e.applied)
	}
	for _, id := range slices.Backward(begun) {
		if m := j.message(id); m != nil && m.open() && !retrying[string(id)] && !j.inRing(id) && !j.headed[string(id)] {
			j.doubt(m)
			j.toHead(m)
		}
	}
	j.answer.Applied = j.e.applied
	j.answer.Open = slices.Sorted(maps.Keys(j.e.down))
	j.Set(keyOf('E', j.e.name).byte(edgeInstance), what.Instance)
	j.setEdge(j.e, edgeJoined, j.s.restored)
	return nil
}

func (j *joining) behind() bool {
	b, _ := j.get(keyOf('E', j.e.name).byte(edgeJoined))
	return lastNumber(b) < j.s.restored
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
		j.vacateID(id)
		if m.State < messages.State_DEFERRED {
			j.tx.answer(m, &messages.Result{State: messages.State_DEFERRED})
		}
	}
}

// ring goes through what the hub's ring holds.
func (j *joining) ring(what journal.Rejoin, held map[uint64][]byte, behind bool) {
	elsewhere := func(id []byte) bool { // the edge holds it, under another sequence: adopt gives it that
		return slices.ContainsFunc(what.Held, func(h journal.Held) bool { return bytes.Equal(h.ID, id) })
	}
	var seqs []uint64
	for seq := range j.e.down {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for _, seq := range slices.Backward(seqs) {
		slot := j.e.down[seq]
		here := bytes.Equal(held[seq], slot.id)
		m := j.message(slot.id)
		switch {
		case m == nil:
		case here && !what.Restored:
		case !here && m.Message.From == "" && m.Message.To == "": // adopted once, and lost: its text is nowhere
			j.vacate(seq)
		case m.State >= messages.State_SENT || seq <= j.found || behind:
			// The word that the edge has it may have been lost in a cut. It goes out before
			// Sent is written: only under this claim is what is not Sent surely unsent.
			j.doubt(m)
		}
		if behind && !here && m != nil && j.e.down[seq] != nil {
			j.vacate(seq)
			if !elsewhere(slot.id) {
				j.toHead(m)
			}
		}
	}
}

// adopt gives what the edge holds its place in the ring.
func (j *joining) adopt(held map[uint64][]byte) {
	for seq, id := range held {
		if j.e.down[seq] != nil || len(id) != 16 {
			continue
		}
		m := j.message(id)
		if m != nil && !m.open() {
			continue // the edge forgets it: its sequence counts as processed
		}
		j.take(id)
		if m == nil { // accepted after the backup: who sent it is not known any more
			m = &message{}
			m.Edge = j.e.name
			m.Message = &messages.Message{Id: id}
			j.create(m)
		}
		m.Reach(messages.State_CONFIRMED, j.now)
		slot := &downSlot{id: id, order: orderKey(m.Message)}
		j.e.occupy(seq, slot)
		j.Set(keyOf('D', j.e.name).number(seq), encodeDown(slot))
		m.Seq, m.Slots = seq, j.s.opts.Slots(j.e.name)
		j.save(m)
		j.answer.Adopted++
	}
}

func (j *joining) inRing(id []byte) bool {
	for _, slot := range j.e.down {
		if bytes.Equal(slot.id, id) {
			return true
		}
	}
	return false
}

func (j *joining) vacateID(id []byte) {
	for seq, slot := range j.e.down {
		if bytes.Equal(slot.id, id) {
			j.vacate(seq)
			return
		}
	}
}

func (j *joining) vacate(seq uint64) {
	j.e.vacate(seq)
	j.Delete(keyOf('D', j.e.name).number(seq))
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
	k := queueKey(j.e.name, at.class).number(at.n)
	if _, still := j.get(k); !still {
		return
	}
	j.Delete(k)
	q := j.e.queue(at.class)
	q.window = slices.DeleteFunc(q.window, func(w queued) bool { return w.n == at.n })
	q.count--
	j.e.waiting.Add(-1)
}

// toHead puts a message before all that wait in its class.
func (j *joining) toHead(m *message) {
	j.answer.Requeued++
	j.headed[string(m.Message.Id)] = true
	q := j.e.queue(byte(min(m.Message.Class, 255)))
	if q.head <= 1 && q.count == 0 {
		q.head, q.next = firstQueued, firstQueued
	}
	if q.head <= 1 { // a store of an earlier version, in which fewer were ever taken
		j.enqueue(j.e, m)
		return
	}
	whole := len(q.window) > 0 || q.count == 0
	q.head--
	entry := queued{n: q.head, id: m.Message.Id}
	if whole {
		q.window = slices.Insert(q.window, 0, entry)
	}
	q.count++
	j.Set(queueKey(j.e.name, q.class).number(entry.n), entry.id)
	if j.e.waiting.Add(1) == 1 {
		j.woken = append(j.woken, j.e)
	}
}

// loadRestored reads whether and when the store was restored.
func (s *Store) loadRestored(db *kv.DB) error {
	b, _, err := db.Get(restoredKey)
	s.restored = lastNumber(b)
	return err
}

// Node is whose data a hub's directory says it holds.
const Node = "hub"

// Restore puts a backup of a hub's store in a folder that has none, marked as
// restored at this time.
func Restore(backup, dir string, now time.Time) error {
	return kv.Restore(backup, dir, Node, func(dir string) error {
		s, err := Open(Options{Dir: dir, Node: Node, ReserveBytes: -1})
		if err != nil {
			return err
		}
		return errors.Join(s.MarkRestored(now), s.Close())
	})
}
