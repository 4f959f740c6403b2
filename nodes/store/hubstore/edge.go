package hubstore

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// What is stored of an edge beside its rings.
const (
	edgeEpoch    = 'e'
	edgeInstance = 'i'
	edgeLast     = 'l' // highest sequence assigned in the down ring
	edgeApplied  = 'a' // number of the last event applied
	edgeReleased = 'r' // up to which the up ring is forgotten
)

// maxWindow is how many heads of a queue are held in memory: reading them from
// Pebble each time would step over what was deleted before them.
const maxWindow = 1024

// firstQueued leaves room before it for what comes back from the ring.
const firstQueued = 1 << 32

// edge is what the committer knows of one. waiting and wake are anybody's.
type edge struct {
	name                           string
	epoch, last, applied, released uint64

	queues []*queue // by class
	down   map[uint64]*downSlot
	tail   map[string]uint64 // by order key: the last unprocessed sequence
	up     map[uint64]*upSlot

	waiting atomic.Int64
	mu      sync.Mutex
	wake    func()
}

// queue is one class of an edge's queue.
//
//	head            head+len(window)            next
//	  ├── window ──────┼── on disk only ──────────┤
type queue struct {
	class  byte
	head   uint64 // nothing stands before it
	next   uint64
	count  int
	window []queued
}

type queued struct {
	n  uint64
	id []byte
}

type downSlot struct {
	id    []byte
	order string
	after uint64
}

type upSlot struct {
	message *messages.Message
	after   uint64
	result  *messages.Result
}

func newEdge(name string) *edge {
	return &edge{name: name, down: map[uint64]*downSlot{}, tail: map[string]uint64{}, up: map[uint64]*upSlot{}, wake: func() {}}
}

func (t *tx) edge(name string) *edge {
	e := t.s.edges[name]
	if e == nil {
		e = newEdge(name)
		t.s.edges[name] = e
	}
	return e
}

func (t *tx) setEdge(e *edge, kind byte, n uint64) {
	t.Set(keyOf('E', e.name).byte(kind), key(nil).number(n))
}

func (e *edge) callWake() {
	e.mu.Lock()
	wake := e.wake
	e.mu.Unlock()
	wake()
}

func (e *edge) setWake(wake func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake = wake
}

func (e *edge) queue(class byte) *queue {
	i, ok := slices.BinarySearchFunc(e.queues, class, func(q *queue, c byte) int { return int(q.class) - int(c) })
	if !ok {
		e.queues = slices.Insert(e.queues, i, &queue{class: class, head: firstQueued, next: firstQueued})
	}
	return e.queues[i]
}

// enqueue puts a message at the end of its class.
func (t *tx) enqueue(e *edge, m *message) {
	class := byte(min(m.Message.Class, 255))
	q := e.queue(class)
	entry := queued{n: q.next, id: m.Message.Id}
	if len(q.window) == q.count && q.count < maxWindow {
		q.window = append(q.window, entry)
	}
	q.next++
	q.count++
	t.Set(queueKey(e.name, class).number(entry.n), entry.id)
	if e.waiting.Add(1) == 1 {
		t.woken = append(t.woken, e)
	}
}

// dequeue takes the head of the lowest class.
func (t *tx) dequeue(e *edge) (id []byte, ok bool) {
	for _, q := range e.queues {
		if q.count == 0 {
			continue
		}
		if len(q.window) == 0 {
			t.note(scanQueue(t, e.name, q))
			if len(q.window) == 0 {
				t.note(fmt.Errorf("hubstore: queue of edge %s, class %d: %d messages are missing from %d on", e.name, q.class, q.count, q.head))
				return nil, false
			}
		}
		entry := q.window[0]
		if q.window = q.window[1:]; len(q.window) == 0 {
			q.window = nil
		}
		q.head = entry.n + 1
		q.count--
		e.waiting.Add(-1)
		t.Delete(queueKey(e.name, q.class).number(entry.n))
		return entry.id, true
	}
	return nil, false
}

func queueKey(edge string, class byte) key { return keyOf('Q', edge).byte(class) }

// scanQueue fills the window from the head.
func scanQueue(r scanner, edge string, q *queue) error {
	prefix := queueKey(edge, q.class)
	return r.Scan(append(key(nil), prefix...).number(q.head), kv.PrefixEnd(prefix), func(k, v []byte) bool {
		q.window = append(q.window, queued{n: lastNumber(k), id: slices.Clone(v)})
		return len(q.window) < maxWindow
	})
}

// occupy notes a down slot.
func (e *edge) occupy(seq uint64, slot *downSlot) {
	e.down[seq] = slot
	e.tail[slot.order] = max(e.tail[slot.order], seq)
}

// vacate forgets a down slot.
func (e *edge) vacate(seq uint64) {
	slot := e.down[seq]
	if slot == nil {
		return
	}
	delete(e.down, seq)
	if e.tail[slot.order] != seq {
		return
	}
	delete(e.tail, slot.order)
	for s, other := range e.down { // it was answered before an earlier one: rare
		if s < seq && slot.after != 0 && other.order == slot.order {
			e.tail[slot.order] = max(e.tail[slot.order], s)
		}
	}
}

// orderKey names those who must stay in order on the way down.
func orderKey(m *messages.Message) string {
	return string(append([]byte(m.To), byte(min(m.Class, 255))))
}

func encodeDown(slot *downSlot) []byte {
	var w writer
	w.string(string(slot.id))
	w.uint(slot.after)
	w.string(slot.order)
	return w
}

func decodeDown(b []byte) (*downSlot, error) {
	r := reader{b: b}
	slot := &downSlot{id: []byte(r.string()), after: r.uint(), order: r.string()}
	return slot, r.err
}

func encodeUp(slot *upSlot) ([]byte, error) {
	var w writer
	w.uint(slot.after)
	return proto.MarshalOptions{}.MarshalAppend(w, slot.message)
}

func decodeUp(b []byte) (*upSlot, error) {
	r := reader{b: b}
	slot := &upSlot{after: r.uint(), message: &messages.Message{}}
	if r.err != nil {
		return nil, r.err
	}
	return slot, proto.Unmarshal(r.b, slot.message)
}

// loadEdges reads what the committer must know before its first transaction.
func (s *Store) loadEdges() error {
	get := func(name string) *edge {
		if s.edges[name] == nil {
			s.edges[name] = newEdge(name)
		}
		return s.edges[name]
	}
	var bad error
	load := func(prefix byte, f func(e *edge, rest, value []byte) error) error {
		if err := scanPrefix(s.db, key{prefix}, func(k, v []byte) bool {
			r := reader{b: k[1:]}
			e := get(r.string())
			if bad = r.err; bad == nil {
				bad = f(e, r.b, v)
			}
			return bad == nil
		}); err != nil {
			return err
		}
		if bad != nil {
			return fmt.Errorf("hubstore: entry %c: %w", prefix, bad)
		}
		return nil
	}
	numbers := func(f func(e *edge, n uint64, value []byte) error) func(*edge, []byte, []byte) error {
		return func(e *edge, rest, value []byte) error {
			if len(rest) != 8 {
				return errShort
			}
			return f(e, lastNumber(rest), value)
		}
	}
	return firstError(
		load('E', func(e *edge, rest, v []byte) error {
			if len(rest) != 1 {
				return errShort
			}
			n := lastNumber(v)
			switch rest[0] {
			case edgeEpoch:
				e.epoch = n
			case edgeLast:
				e.last = n
			case edgeApplied:
				e.applied = n
			case edgeReleased:
				e.released = n
			}
			return nil
		}),
		load('Q', func(e *edge, rest, _ []byte) error {
			if len(rest) != 9 {
				return errShort
			}
			q, n := e.queue(rest[0]), lastNumber(rest)
			if q.count == 0 {
				q.head = n
			}
			q.count++
			q.next = n + 1
			e.waiting.Add(1)
			return nil
		}),
		load('D', numbers(func(e *edge, seq uint64, v []byte) error {
			slot, err := decodeDown(v)
			if err == nil {
				e.occupy(seq, slot)
			}
			return err
		})),
		load('W', numbers(func(e *edge, seq uint64, v []byte) (err error) {
			e.up[seq], err = decodeUp(v)
			return err
		})),
		load('X', numbers(func(e *edge, seq uint64, v []byte) error {
			if e.up[seq] == nil {
				return nil
			}
			e.up[seq].result = &messages.Result{}
			return proto.Unmarshal(v, e.up[seq].result)
		})),
	)
}
