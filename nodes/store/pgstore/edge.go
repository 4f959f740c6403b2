package pgstore

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// maxLive messages on their way are held in memory, so that each step need not read them.
const maxLive = 20_000

// rings are an edge's under one epoch. What they hold is in memory too: under the
// fence nobody else changes it. After a transaction that failed it is read again.
type rings struct {
	s     *Store
	lane  *lane
	edge  string
	epoch uint64
	found uint64 // highest sequence that an owner before has assigned

	// The lane's.
	loaded                          bool
	last, applied, released, joined uint64
	restored                        uint64 // meta.restored
	down                            map[uint64]*downSlot
	tail                            map[string]uint64 // by order key: the last unprocessed sequence
	up                              map[uint64]*upSlot
	live                            map[string]*message
	waiting, changes, underway      atomic.Int64

	mu   sync.Mutex
	wake func()
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

func newRings(s *Store, edge string, epoch uint64) *rings {
	r := &rings{s: s, edge: edge, epoch: epoch, wake: func() {}}
	r.lane = &lane{s: s, name: s.laneName(fmt.Sprint("rings/", edge, "/", epoch)), rings: r, spacing: ringSpacing, shard: s.shard(userLanes)}
	r.unload()
	return r
}

func (r *rings) unload() {
	r.loaded = false
	r.down, r.tail, r.up, r.live = map[uint64]*downSlot{}, map[string]uint64{}, map[uint64]*upSlot{}, map[string]*message{}
}

func (r *rings) callWake() {
	r.mu.Lock()
	wake := r.wake
	r.mu.Unlock()
	wake()
}

// quiet is what polled compares with; -1: a count is being changed.
func (r *rings) quiet() int64 {
	if r.underway.Load() != 0 {
		return -1
	}
	return r.changes.Load()
}

// polled takes over how many wait, unless that has changed meanwhile.
func (r *rings) polled(before, n int64) {
	if before >= 0 && r.quiet() == before {
		r.waiting.Store(n)
	}
	if n > 0 {
		r.callWake()
	}
}

func (r *rings) addWaiting(delta int64) {
	r.changes.Add(1)
	if n := r.waiting.Add(delta); delta > 0 && n <= delta {
		r.callWake()
	}
}

func (r *rings) setWaiting(n int64) {
	r.changes.Add(1)
	if before := r.waiting.Swap(n); before <= 0 && n > 0 {
		r.callWake()
	}
}

// remember keeps a message while more is to come. Whatever falls out is in the database.
func (r *rings) remember(m *message) {
	for id := range r.live {
		if len(r.live) < maxLive {
			break
		}
		delete(r.live, id)
	}
	r.live[string(m.Message.Id)] = m
}

// queueFence reads who owns the rings, and keeps him while the transaction lasts.
func (r *rings) queueFence(b *pgx.Batch, fence *error) {
	b.Queue(`SELECT node, epoch FROM owners WHERE kind = $1 AND identity = $2 FOR UPDATE`, kindRing, column(r.edge)).Query(func(rows pgx.Rows) error {
		node, epoch := "", int64(0)
		for rows.Next() {
			if err := rows.Scan(&node, &epoch); err != nil {
				return err
			}
		}
		if uint64(epoch) != r.epoch || text(node) != r.s.opts.Node {
			*fence = fmt.Errorf("%w: edge %s, epoch %d of node %s, now %d of %q", journal.ErrFenced, r.edge, r.epoch, r.s.opts.Node, epoch, text(node))
		}
		return rows.Err()
	})
}

// queueLoad reads all that is held in memory.
func (r *rings) queueLoad(b *pgx.Batch) {
	r.unload()
	edge := column(r.edge)
	each(b.Queue(`SELECT last, applied, released, joined, coalesce((SELECT value FROM meta WHERE key = 'restored'), 0) FROM edges WHERE edge = $1`, edge), func(row pgx.Rows) error {
		var last, applied, released, joined, restored int64
		err := row.Scan(&last, &applied, &released, &joined, &restored)
		r.last, r.applied, r.released, r.joined, r.restored = uint64(last), uint64(applied), uint64(released), uint64(joined), uint64(restored)
		return err
	})
	each(b.Queue(`SELECT seq, id, after, order_key FROM down WHERE edge = $1`, edge), func(row pgx.Rows) error {
		var seq, after int64
		var order []byte
		slot := &downSlot{}
		err := row.Scan(&seq, &slot.id, &after, &order)
		slot.order, slot.after = string(order), uint64(after)
		r.occupy(uint64(seq), slot)
		return err
	})
	each(b.Queue(`SELECT `+messageColumns+` FROM down d JOIN messages m ON m.id = d.id WHERE d.edge = $1`, edge), func(row pgx.Rows) error {
		m, err := scanMessage(row)
		if err == nil {
			r.remember(m)
		}
		return err
	})
	each(b.Queue(`SELECT seq, after, body, result FROM up WHERE edge = $1`, edge), func(row pgx.Rows) error {
		var seq, after int64
		var body, result []byte
		if err := row.Scan(&seq, &after, &body, &result); err != nil {
			return err
		}
		slot := &upSlot{after: uint64(after), message: &messages.Message{}}
		if err := unmarshal(body, slot.message); err != nil {
			return err
		}
		if result != nil {
			slot.result = &messages.Result{}
			if err := unmarshal(result, slot.result); err != nil {
				return err
			}
		}
		r.up[uint64(seq)] = slot
		return nil
	})
}

// occupy notes a down slot.
func (r *rings) occupy(seq uint64, slot *downSlot) {
	r.down[seq] = slot
	r.tail[slot.order] = max(r.tail[slot.order], seq)
}

// vacate forgets a down slot.
func (r *rings) vacate(seq uint64) {
	slot := r.down[seq]
	if slot == nil {
		return
	}
	delete(r.down, seq)
	if r.tail[slot.order] != seq {
		return
	}
	delete(r.tail, slot.order)
	for s, other := range r.down { // it was answered before an earlier one: rare
		if s < seq && slot.after != 0 && other.order == slot.order {
			r.tail[slot.order] = max(r.tail[slot.order], s)
		}
	}
}

func (r *rings) inRing(id []byte) (seq uint64, ok bool) {
	for seq, slot := range r.down {
		if bytes.Equal(slot.id, id) {
			return seq, true
		}
	}
	return 0, false
}

// orderKey names those who must stay in order on the way down.
func orderKey(m *messages.Message) string {
	return string(append([]byte(m.To), byte(min(m.Class, 255))))
}

// ringWrites are what a transaction changes of the rings.
type ringWrites struct {
	standing bool // last, applied, released
	occupied map[uint64]bool
	vacated  map[uint64]bool
	arrived  map[uint64]bool
	answered map[uint64]bool
	left     map[uint64]bool
}

func newRingWrites() *ringWrites {
	return &ringWrites{
		occupied: map[uint64]bool{}, vacated: map[uint64]bool{},
		arrived: map[uint64]bool{}, answered: map[uint64]bool{}, left: map[uint64]bool{},
	}
}

func (w *ringWrites) occupy(seq uint64) { w.occupied[seq] = true }

func (w *ringWrites) vacate(seq uint64) {
	if w.occupied[seq] {
		delete(w.occupied, seq)
		return
	}
	w.vacated[seq] = true
}

func (w *ringWrites) leave(seq uint64) {
	delete(w.answered, seq)
	if w.arrived[seq] {
		delete(w.arrived, seq)
		return
	}
	w.left[seq] = true
}

// write has it written: the memory says what.
func (r *rings) write(b *pgx.Batch, w *ringWrites) error {
	edge := column(r.edge)
	if w.standing {
		b.Queue(`UPDATE edges SET last = $2, applied = $3, released = $4 WHERE edge = $1`, edge, int64(r.last), int64(r.applied), int64(r.released))
	}
	if len(w.vacated) > 0 {
		b.Queue(`DELETE FROM down WHERE edge = $1 AND seq = ANY($2)`, edge, numbers(w.vacated))
	}
	if len(w.occupied) > 0 {
		seqs := numbers(w.occupied)
		ids, orders, after := make([][]byte, len(seqs)), make([][]byte, len(seqs)), make([]int64, len(seqs))
		for i, seq := range seqs {
			slot := r.down[uint64(seq)]
			ids[i], orders[i], after[i] = slot.id, []byte(slot.order), int64(slot.after)
		}
		b.Queue(`INSERT INTO down (edge, seq, id, after, order_key) SELECT $1::text, * FROM unnest($2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[])`, edge, seqs, ids, after, orders)
	}
	if len(w.left) > 0 {
		b.Queue(`DELETE FROM up WHERE edge = $1 AND seq = ANY($2)`, edge, numbers(w.left))
	}
	if len(w.arrived) > 0 {
		seqs := numbers(w.arrived)
		bodies, after := make([][]byte, len(seqs)), make([]int64, len(seqs))
		for i, seq := range seqs {
			slot := r.up[uint64(seq)]
			body, err := marshal(slot.message)
			if err != nil {
				return err
			}
			bodies[i], after[i] = body, int64(slot.after)
		}
		b.Queue(`INSERT INTO up (edge, seq, after, body) SELECT $1::text, * FROM unnest($2::bigint[], $3::bigint[], $4::bytea[])`, edge, seqs, after, bodies)
	}
	if len(w.answered) > 0 {
		seqs := numbers(w.answered)
		results := make([][]byte, len(seqs))
		for i, seq := range seqs {
			result, err := proto.Marshal(r.up[uint64(seq)].result)
			if err != nil {
				return fmt.Errorf("%w: %w", errBadCall, err)
			}
			results[i] = result
		}
		b.Queue(`UPDATE up u SET result = a.result FROM unnest($2::bigint[], $3::bytea[]) AS a (seq, result) WHERE u.edge = $1 AND u.seq = a.seq`, edge, seqs, results)
	}
	return nil
}

func numbers(set map[uint64]bool) []int64 {
	list := make([]int64, 0, len(set))
	for _, n := range slices.Sorted(maps.Keys(set)) {
		list = append(list, int64(n))
	}
	return list
}
