package edgestore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// LoadOutlet implements journal.Outlet.
func (s *Store) LoadOutlet(done func([]*journal.Task, error)) {
	var tasks []*journal.Task
	s.owed(0).Update(func(tx *kv.Tx) error {
		var bad error
		err := tx.Scan([]byte{'t'}, []byte{'t' + 1}, func(key, value []byte) bool {
			var t *journal.Task
			if t, bad = decodeTask(value); bad != nil {
				bad = fmt.Errorf("edgestore: task %x: %w", key[1:], bad)
				return false
			}
			tasks = append(tasks, t)
			return true
		})
		if err == nil {
			err = bad
		}
		for _, t := range tasks {
			if !t.Deferred || err != nil {
				continue
			}
			value, found, e := tx.Get(named('k', t.ID))
			if t.Message = new(messages.Message); e == nil && found {
				e = proto.Unmarshal(value, t.Message)
			} else if e == nil {
				e = fmt.Errorf("%w: the text of deferred message %x", errMissing, t.ID)
			}
			err = e
		}
		return err
	}, func(err error) { done(tasks, s.failure(err)) })
}

// write is a key and its value; nil: delete it.
type write struct{ key, value []byte }

// Record implements journal.Outlet.
func (s *Store) Record(step journal.OutletStep, done func(error)) {
	writes, events, err := encodeStep(step)
	if err != nil {
		done(s.failure(err))
		return
	}
	sent := append([]journal.Sent(nil), step.Sent...)
	var left, joined [][]byte
	for _, t := range step.Ended {
		if t.Deferred {
			left = append(left, t.ID)
		}
	}
	for _, t := range step.Defer {
		joined = append(joined, t.ID)
	}
	s.owed(0).Update(func(tx *kv.Tx) error {
		var ahead []write
		for _, p := range sent {
			w, event, err := s.expect(tx, p)
			if err != nil {
				return err
			}
			ahead = append(ahead, w...)
			if event != nil {
				events = append(events, event)
			}
		}
		put(tx, writes)
		put(tx, ahead)
		s.putEvents(tx, events)
		return nil
	}, func(err error) {
		if err == nil {
			s.mu.Lock()
			for _, id := range joined {
				s.deferred[string(id)] = true
			}
			for _, id := range left {
				delete(s.deferred, string(id))
			}
			s.mu.Unlock()
			s.eventsDone(len(events))
		}
		done(s.failure(err))
	})
}

func encodeStep(step journal.OutletStep) (writes []write, events [][]byte, err error) {
	for _, t := range append(append([]*journal.Task(nil), step.Tasks...), step.Defer...) {
		writes = append(writes, write{named('t', t.ID), encodeTask(t)})
	}
	for _, t := range step.Defer {
		value, err := marshal(t.Message)
		if err != nil {
			return nil, nil, err
		}
		writes = append(writes, write{named('k', t.ID), value})
	}
	for _, t := range step.Ended {
		writes = append(writes, write{key: named('t', t.ID)})
		if t.Deferred {
			writes = append(writes, write{key: named('k', t.ID)})
		}
	}
	for _, r := range step.Results {
		value, err := marshal(r.Result)
		if err != nil {
			return nil, nil, err
		}
		writes = append(writes, write{numbered('r', r.Seq), value})
	}
	for _, e := range step.Events {
		value, err := marshal(e)
		if err != nil {
			return nil, nil, err
		}
		events = append(events, value)
	}
	return writes, events, nil
}

// putEvents writes encoded events that lack their number. A field that follows
// is as good as one within (protobuf encoding, "last one wins").
func (s *Store) putEvents(tx *kv.Tx, events [][]byte) {
	for _, e := range events {
		s.events++
		e = protowire.AppendTag(e, 1, protowire.VarintType)
		e = protowire.AppendVarint(e, s.events)
		tx.Set(numbered('e', s.events), e)
	}
}

// eventsDone: n more events are durable. Callbacks run in the order of the writes.
func (s *Store) eventsDone(n int) {
	if n == 0 {
		return
	}
	s.lastEvent.Add(uint64(n))
	s.mu.Lock()
	wake := s.wakeEvents
	s.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// expect makes a sent part findable by its receipt, or gives it the receipt
// that was ahead of it.
func (s *Store) expect(tx *kv.Tx, p journal.Sent) (writes []write, event []byte, err error) {
	if s.parked > 0 {
		key, value, err := first(tx, correlation('p', p.SMSC, p.SMSCID))
		if err != nil {
			return nil, nil, err
		}
		if key != nil {
			var r journal.Report
			if err := json.Unmarshal(value, &r); err != nil {
				return nil, nil, fmt.Errorf("edgestore: parked receipt: %w", err)
			}
			if event, err = receiptEvent(p, r); err != nil {
				return nil, nil, err
			}
			s.parked--
			tx.Delete(key) // at once, so that the next part of this step does not find it
			return []write{{key: expiry('y', r.Until, key)}}, event, nil
		}
	}
	s.count++
	key := binary.BigEndian.AppendUint64(correlation('c', p.SMSC, p.SMSCID), s.count)
	return []write{{key, encodeSent(p)}, {expiry('x', p.Until, key), key}, {meta("count"), be64(s.count)}}, nil, nil
}

// Report implements journal.Inlet.
func (s *Store) Report(r journal.Report, done func(journal.Reported, error)) {
	var reported journal.Reported
	writes := notes(r.Put)
	s.db.Spaced(soon).Update(func(tx *kv.Tx) error {
		reported = journal.Reported{}
		put(tx, writes)
		key, value, err := first(tx, correlation('c', r.SMSC, r.SMSCID))
		if err != nil {
			return err
		}
		if key != nil {
			p, err := decodeSent(value)
			if err != nil {
				return fmt.Errorf("edgestore: sent part: %w", err)
			}
			p.SMSCID = r.SMSCID
			event, err := receiptEvent(p, r)
			if err != nil {
				return err
			}
			tx.Delete(key)
			tx.Delete(expiry('x', p.Until, key))
			s.putEvents(tx, [][]byte{event})
			reported.Matched, reported.After = true, max(0, r.At.Sub(p.At))
			return nil
		}
		if value, err = json.Marshal(r); err != nil {
			return fmt.Errorf("edgestore: encode receipt: %w", err)
		}
		for s.parked >= max(r.MaxParked, 1) {
			index, oldest, err := first(tx, []byte{'y'})
			if err != nil || index == nil {
				return err
			}
			tx.Delete(index)
			tx.Delete(oldest)
			s.parked--
			reported.Forgotten++
		}
		s.count++
		s.parked++
		key = binary.BigEndian.AppendUint64(correlation('p', r.SMSC, r.SMSCID), s.count)
		tx.Set(key, value)
		tx.Set(expiry('y', r.Until, key), key)
		tx.Set(meta("count"), be64(s.count))
		return nil
	}, func(err error) {
		if err == nil && reported.Matched {
			s.eventsDone(1)
		}
		done(reported, s.failure(err))
	})
}

func receiptEvent(p journal.Sent, r journal.Report) ([]byte, error) {
	return marshal(&messages.Event{Id: p.ID, AtUnixMs: r.At.UnixMilli(), What: &messages.Event_Receipt{Receipt: &messages.Receipt{
		Part: p.Part, Parts: p.Parts, State: r.State, SmscId: p.SMSCID, SmscCode: r.Code,
	}}})
}

// Purge implements journal.Inlet. It takes up to 10,000 at a time.
func (s *Store) Purge(now time.Time, done func(int, error)) {
	const most = 10_000
	purged := 0
	s.db.Update(func(tx *kv.Tx) error {
		purged = 0
		for _, kind := range []byte{'x', 'y'} {
			var due [][2][]byte
			err := tx.Scan([]byte{kind}, numbered(kind, uint64(now.UnixMilli())), func(key, value []byte) bool {
				due = append(due, [2][]byte{append([]byte{}, key...), append([]byte{}, value...)})
				return len(due) < most
			})
			if err != nil {
				return err
			}
			for _, d := range due {
				tx.Delete(d[0])
				tx.Delete(d[1])
			}
			if kind == 'y' {
				s.parked -= len(due)
			}
			purged += len(due)
		}
		return nil
	}, func(err error) { done(purged, s.failure(err)) })
}

// LoadInlet implements journal.Inlet.
func (s *Store) LoadInlet(done func(map[string][]byte, error)) {
	found := map[string][]byte{}
	s.db.Update(func(tx *kv.Tx) error {
		return tx.Scan([]byte{'i'}, []byte{'i' + 1}, func(key, value []byte) bool {
			found[string(key[1:])] = append([]byte{}, value...)
			return true
		})
	}, func(err error) { done(found, s.failure(err)) })
}

// Receive implements journal.Inlet.
func (s *Store) Receive(in journal.Intake, done func(error)) {
	var writes []write
	for _, name := range in.Drop { // before Put: a name may be taken again
		writes = append(writes, write{key: named('i', []byte(name))})
	}
	writes = append(writes, notes(in.Put)...)
	var queued [][]byte
	for _, m := range in.Messages {
		value, err := marshal(m)
		if err != nil {
			done(s.failure(err))
			return
		}
		queued = append(queued, value)
	}
	s.waiting.Add(int64(len(queued)))
	wasEmpty := false
	s.db.Update(func(tx *kv.Tx) error {
		put(tx, writes)
		wasEmpty = s.head == s.tail && len(queued) > 0
		for _, value := range queued {
			if s.head+uint64(len(s.heads)) == s.tail && len(s.heads) < mostHeads {
				s.heads = append(s.heads, value)
			}
			s.tail++
			tx.Set(numbered('q', s.tail), value)
		}
		return nil
	}, func(err error) {
		if err != nil {
			s.waiting.Add(-int64(len(queued)))
		} else if wasEmpty {
			s.mu.Lock()
			wake := s.wakeQueue
			s.mu.Unlock()
			if wake != nil {
				wake()
			}
		}
		done(s.failure(err))
	})
}

func notes(values map[string][]byte) (writes []write) {
	for name, value := range values {
		writes = append(writes, write{named('i', []byte(name)), append([]byte{}, value...)})
	}
	return writes
}

func put(tx *kv.Tx, writes []write) {
	for _, w := range writes {
		if w.value == nil {
			tx.Delete(w.key)
		} else {
			tx.Set(w.key, w.value)
		}
	}
}

// LastEvent implements journal.StatusLog.
func (s *Store) LastEvent() uint64 { return s.lastEvent.Load() }

// EventsKept implements journal.StatusLog.
func (s *Store) EventsKept() int { return int(s.lastEvent.Load() - s.trimmed.Load()) }

// EventsAfter implements journal.StatusLog.
func (s *Store) EventsAfter(n uint64, most int) (events []*messages.Event, err error) {
	var bad error
	err = s.db.Scan(numbered('e', n+1), numbered('e', s.lastEvent.Load()+1), func(key, value []byte) bool {
		if len(events) >= most {
			return false
		}
		e := new(messages.Event)
		if bad = proto.Unmarshal(value, e); bad != nil {
			bad = fmt.Errorf("edgestore: status event %x: %w", key[1:], bad)
			return false
		}
		events = append(events, e)
		return true
	})
	if err == nil {
		err = bad
	}
	s.noted(err)
	return events, err
}

// TrimEvents implements journal.StatusLog.
func (s *Store) TrimEvents(n uint64) {
	n = min(n, s.lastEvent.Load())
	var b kv.Batch
	for from := s.trimmed.Load() + 1; from <= n; from++ {
		b.Delete(numbered('e', from))
	}
	if b.Len() == 0 || n <= s.trimmed.Load() {
		return
	}
	b.Set(meta("trimmed"), be64(n))
	s.trimmed.Store(n)
	s.owed(whenever).Commit(&b, nil)
}

// NotifyEvents implements journal.StatusLog.
func (s *Store) NotifyEvents(wake func()) {
	s.mu.Lock()
	s.wakeEvents = wake
	s.mu.Unlock()
	if s.EventsKept() > 0 {
		wake()
	}
}

// Deferred implements journal.StatusLog.
func (s *Store) Deferred() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([][]byte, 0, len(s.deferred))
	for id := range s.deferred {
		ids = append(ids, []byte(id))
	}
	return ids
}

// first returns the first key with this prefix, and its value.
func first(tx *kv.Tx, prefix []byte) (key, value []byte, err error) {
	err = tx.Scan(prefix, kv.PrefixEnd(prefix), func(k, v []byte) bool {
		key, value = append([]byte{}, k...), append([]byte{}, v...)
		return false
	})
	return key, value, err
}

// correlation is the key of c and p, up to n.
func correlation(kind byte, smsc, id string) []byte {
	key := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(smsc)))
	key = append(key, smsc...)
	key = binary.BigEndian.AppendUint16(key, uint16(len(id)))
	return append(key, id...)
}

func expiry(kind byte, at time.Time, key []byte) []byte {
	return append(numbered(kind, uint64(at.UnixMilli())), key...)
}
