package edgestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// Backup copies the journal into a new folder while it is in use.
func (s *Store) Backup(dir string) error { return s.db.Backup(dir) }

// MarkRestored notes that this journal comes from a backup: nothing is submitted, and
// nothing taken from the SMSC, before the hub has said how to go on.
func (s *Store) MarkRestored() error {
	var b kv.Batch
	b.Set(meta("restored"), []byte{1})
	done := make(chan error, 1)
	s.db.Commit(&b, func(err error) { done <- err })
	err := <-done
	if err == nil {
		s.restored.Store(true)
	}
	return err
}

// Standing says whether the journal is from a backup, and up to which number status
// events are forgotten.
func (s *Store) Standing() (restored bool, eventsTrimmed uint64) {
	return s.restored.Load(), s.trimmed.Load()
}

// Rejoin takes over what the hub says. Nothing else may use the journal meanwhile.
// What stands in the up ring under numbers that the hub knows as others' gets new
// ones above both; the hub tells by the ids what it has had. Status events of a new
// journal get new numbers likewise, those of a restored one that the hub has are
// forgotten.
func (s *Store) Rejoin(r *messages.Rejoin) error {
	s.joined.Add(1)
	fresh := s.HighestEpoch() == 0
	s.mu.Lock()
	settled := slices.DeleteFunc(slices.Clone(r.Settled), func(id []byte) bool { return !s.deferred[string(id)] })
	s.mu.Unlock()
	done := make(chan error, 1)
	s.owed(0).Update(func(tx *kv.Tx) error {
		for _, id := range settled {
			tx.Delete(named('t', id))
			tx.Delete(named('k', id))
		}
		if err := forgetDown(tx, r.Open); err != nil {
			return err
		}
		if fresh || r.UpAbove > s.retrieved {
			if err := s.renumberUp(tx, max(r.UpAbove, s.retrieved)); err != nil {
				return err
			}
		}
		if err := s.renumberEvents(tx, r.EventsAbove, fresh); err != nil {
			return err
		}
		if r.Epoch > s.HighestEpoch() {
			tx.Set(meta("epoch"), be64(r.Epoch))
			tx.Delete(meta("owner"))
		}
		tx.Delete(meta("restored"))
		return nil
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return s.failure(err)
	}
	s.mu.Lock()
	for _, id := range settled {
		delete(s.deferred, string(id))
	}
	s.mu.Unlock()
	if r.Epoch > s.HighestEpoch() {
		s.epoch.Store(r.Epoch)
		s.owner.Store(nil)
	}
	s.restored.Store(false)
	return nil
}

// forgetDown removes what the hub does not wait for any more.
func forgetDown(tx *kv.Tx, open []uint64) error {
	held, err := scanEntries(tx, 'd')
	if err != nil {
		return err
	}
	for _, e := range held {
		if !slices.Contains(open, e.Seq) {
			tx.Delete(numbered('d', e.Seq))
			tx.Delete(numbered('r', e.Seq))
			if _, retrying, err := tx.Get(named('k', e.Message.GetId())); err != nil {
				return err
			} else if !retrying {
				tx.Delete(named('t', e.Message.GetId()))
			}
		}
	}
	return nil
}

// renumberUp gives the up ring's entries the sequences above one.
func (s *Store) renumberUp(tx *kv.Tx, above uint64) error {
	held, err := scanEntries(tx, 'u')
	if err != nil {
		return err
	}
	clear(s.last)
	for _, e := range held {
		tx.Delete(numbered('u', e.Seq))
	}
	for i, e := range held {
		moved := journal.Entry{Seq: above + uint64(i) + 1, After: s.last[orderKey(e.Message)], Message: e.Message}
		s.last[orderKey(e.Message)] = moved.Seq
		value, err := encodeEntry(messages.Ring_UP, moved)
		if err != nil {
			return err
		}
		tx.Set(numbered('u', moved.Seq), value)
	}
	s.retrieved = above + uint64(len(held))
	tx.Set(meta("retrieved"), be64(s.retrieved))
	return nil
}

func (s *Store) renumberEvents(tx *kv.Tx, above uint64, fresh bool) error {
	if above <= s.trimmed.Load() {
		return nil
	}
	var kept [][]byte
	var gone [][]byte
	err := tx.Scan([]byte{'e'}, []byte{'e' + 1}, func(key, value []byte) bool {
		if fresh || binary.BigEndian.Uint64(key[1:]) <= above {
			gone = append(gone, bytes.Clone(key))
		}
		if fresh {
			kept = append(kept, bytes.Clone(value))
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("edgestore: status log: %w", err)
	}
	for _, key := range gone {
		tx.Delete(key)
	}
	if fresh {
		s.events = above
	} else {
		s.events = max(s.events, above)
	}
	for _, e := range kept {
		s.events++
		e = protowire.AppendTag(e, 1, protowire.VarintType) // the last one counts, see putEvents
		tx.Set(numbered('e', s.events), protowire.AppendVarint(e, s.events))
	}
	tx.Set(meta("trimmed"), be64(above))
	s.trimmed.Store(above)
	s.lastEvent.Store(s.events)
	return nil
}

// Restore puts a backup of this edge's journal in a folder that has none, marked as
// restored.
func Restore(backup, dir, edge string) error {
	node := Node(edge)
	return kv.Restore(backup, dir, node, func(dir string) error {
		s, err := Open(Options{KV: kv.Options{Dir: dir, Node: node, ReserveBytes: -1}})
		if err != nil {
			return err
		}
		return errors.Join(s.MarkRestored(), s.Close())
	})
}

// Node is whose data an edge's directory says it holds.
func Node(edge string) string { return "edge/" + edge }
