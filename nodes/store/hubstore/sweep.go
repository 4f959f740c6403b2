package hubstore

import (
	"bytes"
	"math"
	"slices"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// Sweep forgets what has been kept long enough, at most about max messages and
// max hours of users' events, and returns how many entries of the retention
// index it has dealt with: call it again at once while that is max or more. A
// message goes once it is settled (final, or answered by the SMSC) and
// KeepMessages have passed, with its ref; an event when its hour is older than
// KeepEvents, but for messages that nobody has taken. It waits for the disk.
func (s *Store) Sweep(now time.Time, most int) (int, error) {
	var due, hours []key
	collect := func(kind byte, keep time.Duration, until uint64, into *[]key) error {
		if keep <= 0 {
			return nil
		}
		return s.db.Scan(key{'T', kind}, key{'T', kind}.number(until), func(k, _ []byte) bool {
			*into = append(*into, slices.Clone(k))
			return len(*into) < most
		})
	}
	if err := firstError(
		collect('m', s.opts.KeepMessages, uint64(max(0, now.Add(-s.opts.KeepMessages).UnixMilli())), &due),
		collect('e', s.opts.KeepEvents, uint64(max(0, now.Add(-s.opts.KeepEvents).Unix()))/3600, &hours),
	); err != nil {
		return 0, err
	}
	// In pieces, so that no group waits long behind one.
	for piece := range slices.Chunk(due, 100) {
		if err := s.wait(func(t *tx) error {
			for _, k := range piece {
				t.forget(k, now)
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	for piece := range slices.Chunk(hours, 100) {
		if err := s.wait(func(t *tx) error {
			for _, k := range piece {
				t.forgetHour(k)
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return max(len(due), len(hours)), nil
}

// forget deletes a message whose entry of the retention index is due.
func (t *tx) forget(due key, now time.Time) {
	id := due[len(due)-min(16, len(due)):]
	t.Delete(due)
	m := t.message(id)
	if m == nil {
		return
	}
	if t.inRing(m) || m.State < messages.State_UNKNOWN { // its receipt was ahead of its result
		t.Set(settledKey(now, id), nil)
		return
	}
	t.Delete(key{'M'}.raw(id))
	t.Delete(key{'S'}.raw(id))
	delete(t.s.live, string(id))
	if m.Ref != "" {
		t.Delete(keyOf('R', m.Message.From).raw([]byte(m.Ref)))
	}
	if m.inbox != 0 {
		t.Delete(keyOf('i', m.Message.To).number(m.inbox))
	}
}

func (t *tx) inRing(m *message) bool {
	e := t.s.edges[m.Edge]
	return e != nil && e.down[m.Seq] != nil && bytes.Equal(e.down[m.Seq].id, m.Message.Id)
}

// forgetHour deletes a user's events up to the end of an hour.
func (t *tx) forgetHour(due key) {
	r := reader{b: due[10:]}
	name := r.string()
	t.note(r.err)
	value, ok := t.get(due)
	if !ok {
		return
	}
	t.Delete(due)
	last := t.user(name).last
	if len(value) > 0 {
		r = reader{b: value}
		last = r.uint()
		t.note(r.err)
	}
	if last == 0 {
		return
	}
	states := keyOf('e', name)
	t.DeleteRange(states, kv.PrefixEnd(append(key(nil), states...).number(last)))
	fresh := map[uint64]bool{}
	t.note(scanNumbers(t, keyOf('u', name), 0, last, func(n uint64) bool {
		fresh[n] = true
		return true
	}))
	var old []uint64
	t.note(scanNumbers(t, keyOf('i', name), 0, last, func(n uint64) bool {
		if !fresh[n] {
			old = append(old, n)
		}
		return len(old) < math.MaxInt32
	}))
	for _, n := range old {
		t.Delete(keyOf('i', name).number(n))
	}
}
