package hubstore

import (
	"fmt"
	"math"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// maxDevices of one user are told apart; the one that is furthest behind makes
// room for a new one.
const maxDevices = 32

// PutUser implements journal.Hub. A zero Seen leaves what is stored.
func (s *Store) PutUser(u journal.User, done func(error)) {
	s.update(func(t *tx) error {
		if u.Name == "" {
			return fmt.Errorf("%w: user without a name", errBadCall)
		}
		if b, ok := t.get(keyOf('U', u.Name)); ok && u.Seen.IsZero() {
			old, err := decodeUser(u.Name, b)
			t.note(err)
			u.Seen = old.Seen
		}
		if known := t.user(u.Name); !known.exists { // asked before it is written
			known.exists = true
			s.accounts.Add(1)
		}
		t.Set(keyOf('U', u.Name), encodeUser(u))
		return nil
	}, done)
}

// User implements journal.Hub.
func (s *Store) User(name string) (journal.User, bool, error) {
	b, ok, err := s.db.Get(keyOf('U', name))
	if err != nil || !ok {
		return journal.User{}, false, err
	}
	u, err := decodeUser(name, b)
	return u, err == nil, s.noted(err)
}

// Seen implements journal.Hub.
func (s *Store) Seen(name string, at time.Time, done func(error)) {
	s.update(func(t *tx) error {
		b, ok := t.get(keyOf('U', name))
		if !ok {
			return fmt.Errorf("%w: %q", journal.ErrNoUser, name)
		}
		u, err := decodeUser(name, b)
		t.note(err)
		u.Seen = at
		t.Set(keyOf('U', name), encodeUser(u))
		return nil
	}, done)
}

// LastEvent implements journal.Hub.
func (s *Store) LastEvent(user string) (uint64, error) {
	s.mu.Lock()
	hidden, ok := s.undurable[user]
	s.mu.Unlock()
	b, found, err := s.db.Get(keyOf('N', user))
	if err != nil || !found {
		return 0, err
	}
	r := reader{b: b}
	last := r.uint()
	if ok {
		last = min(last, hidden.first-1)
	}
	return last, s.noted(r.err)
}

// Events implements journal.Hub.
func (s *Store) Events(user string, after uint64, limit int) ([]journal.UserEvent, error) {
	last, err := s.LastEvent(user)
	if err != nil || after >= last || limit <= 0 {
		return nil, err
	}
	inbox, err := s.inbox(user, after, last, limit)
	if err != nil {
		return nil, err
	}
	var states []journal.UserEvent
	if err := scanEvents(s.db, 'e', user, after, last, decodeStateEvent, func(e journal.UserEvent) bool {
		states = append(states, e)
		return len(states) < limit
	}); err != nil {
		return nil, s.noted(err)
	}
	return mergeEvents(inbox, states, limit), nil
}

// Inbox implements journal.Hub.
func (s *Store) Inbox(user string, after uint64, limit int) ([]journal.UserEvent, error) {
	last, err := s.LastEvent(user)
	if err != nil || after >= last || limit <= 0 {
		return nil, err
	}
	return s.inbox(user, after, last, limit)
}

func (s *Store) inbox(user string, after, last uint64, limit int) ([]journal.UserEvent, error) {
	var events []journal.UserEvent
	err := scanEvents(s.db, 'i', user, after, last, decodeMessageEvent, func(e journal.UserEvent) bool {
		events = append(events, e)
		return len(events) < limit
	})
	if err != nil || len(events) == 0 {
		return nil, s.noted(err)
	}
	fresh := map[uint64]bool{}
	if err := scanNumbers(s.db, keyOf('u', user), after, events[len(events)-1].Number, func(n uint64) bool {
		fresh[n] = true
		return true
	}); err != nil {
		return nil, err
	}
	for i := range events {
		events[i].Received = !fresh[events[i].Number]
	}
	return events, nil
}

// Pending implements journal.Hub. A device is known from its first call on: that
// call waits for the disk. Device "" is none: only what nobody has taken.
func (s *Store) Pending(user, device string, after uint64, limit int) ([]journal.UserEvent, error) {
	floor := uint64(math.MaxUint64)
	if device != "" {
		b, known, err := s.db.Get(keyOf('P', user, device))
		if err != nil {
			return nil, err
		}
		if known {
			r := reader{b: b}
			floor, err = r.uint(), r.err
		} else {
			err = s.wait(func(t *tx) error {
				floor = t.addDevice(user, device)
				return nil
			})
		}
		if err != nil {
			return nil, err
		}
	}
	last, err := s.LastEvent(user)
	if err != nil || after >= last || limit <= 0 {
		return nil, err
	}
	// What nobody has taken.
	var fresh []journal.UserEvent
	var missing error
	if err := scanNumbers(s.db, keyOf('u', user), after, last, func(n uint64) bool {
		var e journal.UserEvent
		b, ok, err := s.db.Get(keyOf('i', user).number(n))
		if err == nil && ok {
			e, err = decodeMessageEvent(n, b)
			fresh = append(fresh, e)
		}
		missing = err
		return err == nil && len(fresh) < limit
	}); err != nil || missing != nil {
		return nil, fmt.Errorf("hubstore: pending of %s: %w", user, s.noted(firstError(err, missing)))
	}
	if floor >= last {
		return fresh, nil
	}
	// What this device has not.
	begin := max(after, floor)
	isFresh := map[uint64]bool{}
	for _, e := range fresh {
		isFresh[e.Number] = true
	}
	taken := map[uint64]bool{}
	if err := scanNumbers(s.db, keyOf('r', user, device), begin, last, func(n uint64) bool {
		taken[n] = true
		return true
	}); err != nil {
		return nil, err
	}
	var others []journal.UserEvent
	if err := scanEvents(s.db, 'i', user, begin, last, decodeMessageEvent, func(e journal.UserEvent) bool {
		if !isFresh[e.Number] && !taken[e.Number] {
			e.Received = true
			others = append(others, e)
		}
		return len(others) < limit
	}); err != nil {
		return nil, s.noted(err)
	}
	return mergeEvents(fresh, others, limit), nil
}

// addDevice begins to count for a device, and returns where.
func (t *tx) addDevice(user, device string) (floor uint64) {
	k := keyOf('P', user, device)
	if b, ok := t.get(k); ok {
		return t.floor(b)
	}
	var n int
	var furthest key
	least := uint64(math.MaxUint64)
	t.note(scanPrefix(t, keyOf('P', user), func(k, v []byte) bool {
		n++
		if f := t.floor(v); f < least {
			least, furthest = f, append(key(nil), k...)
		}
		return true
	}))
	if n >= maxDevices {
		t.Delete(furthest)
		taken := append(key{'r'}, furthest[1:]...)
		t.DeleteRange(taken, kv.PrefixEnd(taken))
	}
	floor = t.user(user).last
	var w writer
	w.uint(floor)
	t.Set(k, w)
	return floor
}

func (t *tx) floor(b []byte) uint64 {
	r := reader{b: b}
	n := r.uint()
	t.note(r.err)
	return n
}

// Received implements journal.Hub.
func (s *Store) Received(user, device string, id []byte, done func(found bool, err error)) {
	var found bool
	s.update(func(t *tx) error {
		m := t.message(id)
		if m == nil || m.inbox == 0 || m.Message.To != user {
			return nil
		}
		found = true
		if device != "" {
			t.take(user, device, m.inbox)
		}
		if m.Final {
			delete(s.live, string(id)) // read for this only
			return nil
		}
		at := s.opts.Now()
		t.Delete(keyOf('u', user).number(m.inbox))
		s.fresh.Add(-1)
		t.rollHour(user, t.user(user)) // the event may have outlived its hour in the retention index
		if m.Reach(messages.State_DELIVERED, at) {
			t.tell(m, at)
		}
		t.save(m)
		return nil
	}, func(err error) { done(found && err == nil, err) })
}

// take notes that a device has a message. What it took in order is in its floor.
func (t *tx) take(user, device string, n uint64) {
	k := keyOf('P', user, device)
	b, known := t.get(k)
	if !known {
		return
	}
	floor := t.floor(b)
	if n <= floor {
		return
	}
	taken := keyOf('r', user, device)
	raised := false
	t.note(scanNumbers(t, keyOf('i', user), floor, math.MaxUint64, func(next uint64) bool {
		if next != n {
			if _, ok := t.get(taken[:len(taken):len(taken)].number(next)); !ok {
				return false
			}
			t.Delete(taken[:len(taken):len(taken)].number(next))
		}
		floor, raised = next, true
		return true
	}))
	if n > floor {
		t.Set(taken[:len(taken):len(taken)].number(n), nil)
	}
	if raised {
		var w writer
		w.uint(floor)
		t.Set(k, w)
	}
}

// scanEvents calls f with the user's events after < number <= last.
func scanEvents(r scanner, prefix byte, user string, after, last uint64,
	decode func(uint64, []byte) (journal.UserEvent, error), f func(journal.UserEvent) bool,
) error {
	if after >= last {
		return nil
	}
	var bad error
	k := keyOf(prefix, user)
	err := r.Scan(append(key(nil), k...).number(after+1), kv.PrefixEnd(append(key(nil), k...).number(last)), func(k, v []byte) bool {
		var e journal.UserEvent
		if e, bad = decode(lastNumber(k), v); bad != nil {
			return false
		}
		return f(e)
	})
	return firstError(err, bad)
}

// scanNumbers calls f with the numbers after < n <= last that stand behind prefix.
func scanNumbers(r scanner, prefix key, after, last uint64, f func(n uint64) bool) error {
	if after >= last {
		return nil
	}
	return r.Scan(append(key(nil), prefix...).number(after+1), kv.PrefixEnd(append(key(nil), prefix...).number(last)), func(k, _ []byte) bool {
		return f(lastNumber(k))
	})
}

func scanPrefix(r scanner, prefix key, f func(k, v []byte) bool) error {
	return r.Scan(prefix, kv.PrefixEnd(prefix), f)
}

// mergeEvents merges two ascending lists.
func mergeEvents(a, b []journal.UserEvent, limit int) []journal.UserEvent {
	merged := make([]journal.UserEvent, 0, min(len(a)+len(b), limit))
	for len(merged) < limit && len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Number < b[0].Number {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return merged
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
