package edgestore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"google.golang.org/protobuf/proto"
)

// Down implements journal.Edge.
func (s *Store) Down() journal.Mirror { return down{s} }

// Up implements journal.Edge.
func (s *Store) Up() journal.Origin { return up{s} }

// down is the mirror of the ring from hub to SMSC.
type down struct{ s *Store }

func (d down) Load() (journal.MirrorState, error) {
	var state journal.MirrorState
	value, found, err := d.s.db.Get(meta("released"))
	if err != nil {
		return state, d.s.failure(err)
	}
	if found {
		state.Released = binary.BigEndian.Uint64(value)
	}
	held, err := d.s.entries('d')
	if err != nil {
		return state, d.s.failure(err)
	}
	for _, e := range held {
		if e.Seq <= state.Released {
			continue
		}
		if e.Result, _, err = d.s.result(e.Seq); err != nil {
			return state, d.s.failure(err)
		}
		state.Held = append(state.Held, e)
	}
	return state, nil
}

func (d down) Keep(e journal.Entry, done func(error)) { d.keep(e, d.s.joined.Load(), done) }

func (d down) keep(e journal.Entry, joined uint64, done func(error)) {
	if d.s.joined.Load() != joined {
		return // the ring has begun anew without it: its sequence may be another message's by now
	}
	if d.s.Space() != nil { // the hub keeps it until there is room
		time.AfterFunc(time.Second, func() { d.keep(e, joined, done) })
		return
	}
	value, err := encodeEntry(messages.Ring_DOWN, e)
	if err != nil {
		done(d.s.failure(err))
		return
	}
	var b kv.Batch
	b.Set(numbered('d', e.Seq), value)
	b.Delete(numbered('r', e.Seq)) // of an earlier ring, should there have been one
	d.s.owed(soon).Commit(&b, func(err error) { done(d.s.failure(err)) })
}

func (d down) Release(released uint64, seqs []uint64) {
	var b kv.Batch
	for _, seq := range seqs {
		b.Delete(numbered('d', seq))
		b.Delete(numbered('r', seq))
	}
	b.Set(meta("released"), be64(released))
	d.s.owed(whenever).Commit(&b, nil)
}

// Result implements journal.Outlet.
func (s *Store) Result(seq uint64, id []byte) (*messages.Result, bool, error) {
	value, found, err := s.db.Get(numbered('d', seq))
	if err != nil || !found {
		return nil, false, err
	}
	e, err := decodeEntry(seq, value)
	s.noted(err)
	if err != nil || string(e.Message.GetId()) != string(id) {
		return nil, false, err
	}
	return s.result(seq)
}

func (s *Store) result(seq uint64) (*messages.Result, bool, error) {
	value, found, err := s.db.Get(numbered('r', seq))
	if err != nil || !found {
		return nil, false, err
	}
	r := new(messages.Result)
	if err := proto.Unmarshal(value, r); err != nil {
		s.noted(err)
		return nil, false, fmt.Errorf("edgestore: result of slot sequence %d: %w", seq, err)
	}
	return r, true, nil
}

// up is the origin of the ring from SMSC to hub.
type up struct{ s *Store }

func (u up) Load() (journal.OriginState, error) {
	held, err := u.s.entries('u')
	if err != nil {
		return journal.OriginState{}, u.s.failure(err)
	}
	state := journal.OriginState{Held: held}
	value, found, err := u.s.db.Get(meta("retrieved"))
	if found {
		state.LastRetrieved = binary.BigEndian.Uint64(value)
	}
	return state, u.s.failure(err)
}

func (u up) Retrieve(first uint64, most int, done func([]journal.Entry, error)) {
	s := u.s
	var entries []journal.Entry
	taken := uint64(0)
	s.owed(soon).Update(func(tx *kv.Tx) error {
		entries, taken = nil, 0
		if first <= s.retrieved {
			return fmt.Errorf("edgestore: sequence %d was given to another message, the last was %d", first, s.retrieved)
		}
		now := s.now().UnixMilli()
		var bad error
		err := s.fromHead(tx, func(value []byte) bool {
			if len(entries) == most {
				return false
			}
			m := new(messages.Message)
			if bad = proto.Unmarshal(value, m); bad != nil {
				bad = fmt.Errorf("edgestore: queue entry %d: %w", s.head+taken+1, bad)
				return false
			}
			taken++
			if m.DeadlineUnixMs == 0 || m.DeadlineUnixMs > now {
				entries = append(entries, journal.Entry{Seq: first + uint64(len(entries)), Message: m})
			}
			return true
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return err
		}
		values := make([][]byte, len(entries))
		for i := range entries {
			e := &entries[i]
			e.After = s.last[orderKey(e.Message)]
			s.last[orderKey(e.Message)] = e.Seq
			if values[i], err = encodeEntry(messages.Ring_UP, *e); err != nil {
				return err
			}
		}
		for n := range taken {
			tx.Delete(numbered('q', s.head+1+n))
		}
		for i, e := range entries {
			tx.Set(numbered('u', e.Seq), values[i])
		}
		if len(entries) > 0 {
			s.retrieved = entries[len(entries)-1].Seq
			tx.Set(meta("retrieved"), be64(s.retrieved))
		}
		s.head += taken
		s.heads = s.heads[min(int(taken), len(s.heads)):]
		return nil
	}, func(err error) {
		if err != nil {
			done(nil, u.s.failure(err))
			return
		}
		s.waiting.Add(-int64(taken))
		done(entries, nil)
	})
}

// fromHead calls f for the messages of the queue in order, until it returns false.
func (s *Store) fromHead(tx *kv.Tx, f func(value []byte) bool) error {
	for _, value := range s.heads {
		if !f(value) {
			return nil
		}
	}
	next := s.head + 1 + uint64(len(s.heads))
	if next > s.tail {
		return nil
	}
	return tx.Scan(numbered('q', next), numbered('q', s.tail+1), func(_, value []byte) bool { return f(value) })
}

// Progress records nothing: the history of a message is kept at the hub.
func (u up) Progress(messages.State, []journal.Entry) {}

func (u up) Processed(e journal.Entry, _ *messages.Result, done func(error)) {
	s := u.s
	s.owed(soon).Update(func(tx *kv.Tx) error {
		tx.Delete(numbered('u', e.Seq))
		if key := orderKey(e.Message); s.last[key] == e.Seq {
			delete(s.last, key)
		}
		return nil
	}, func(err error) { done(u.s.failure(err)) })
}

func (u up) Waiting() int { return int(u.s.waiting.Load()) }

func (u up) Notify(wake func()) {
	u.s.mu.Lock()
	u.s.wakeQueue = wake
	u.s.mu.Unlock()
	if u.Waiting() > 0 {
		wake()
	}
}

// orderKey on the way up is handset and addressee (invariant I14).
func orderKey(m *messages.Message) string { return m.GetFrom() + "\x00" + m.GetTo() }

func encodeEntry(ring messages.Ring, e journal.Entry) ([]byte, error) {
	return marshal(&messages.Data{Ring: ring, Sequence: e.Seq, After: e.After, Message: e.Message})
}

func decodeEntry(seq uint64, value []byte) (journal.Entry, error) {
	d := new(messages.Data)
	if err := proto.Unmarshal(value, d); err != nil {
		return journal.Entry{}, fmt.Errorf("edgestore: ring entry %d: %w", seq, err)
	}
	return journal.Entry{Seq: seq, After: d.After, Message: d.Message}, nil
}

// entries reads a ring, ascending.
func (s *Store) entries(kind byte) ([]journal.Entry, error) { return scanEntries(s.db, kind) }

func scanEntries(from interface {
	Scan(from, to []byte, f func(key, value []byte) bool) error
}, kind byte,
) (entries []journal.Entry, err error) {
	var bad error
	err = from.Scan([]byte{kind}, []byte{kind + 1}, func(key, value []byte) bool {
		var e journal.Entry
		if e, bad = decodeEntry(binary.BigEndian.Uint64(key[1:]), value); bad != nil {
			return false
		}
		entries = append(entries, e)
		return true
	})
	if err == nil {
		err = bad
	}
	return entries, err
}
