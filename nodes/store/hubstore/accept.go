package hubstore

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// newID mints a message's id: 16 octets whose beginning grows with time, so that what
// is written together lies together (RFC 9562 §5.7, UUID version 7).
func newID() ([]byte, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("hubstore: no random numbers: %w", err)
	}
	return id[:], nil
}

// Accept implements journal.Hub.
func (s *Store) Accept(sub journal.Submission, done func(journal.Accepted, error)) {
	id, err := newID()
	if err == nil && (sub.From == "" || sub.To == "") {
		err = fmt.Errorf("%w: message from %q to %q: both must be given", errBadCall, sub.From, sub.To)
	}
	if err == nil {
		err = s.Space()
	}
	if err != nil {
		done(journal.Accepted{}, err)
		return
	}
	if sub.At.IsZero() {
		sub.At = s.opts.Now()
	}
	var a journal.Accepted
	s.update(func(t *tx) (err error) {
		a, err = t.accept(id, sub)
		return err
	}, func(err error) {
		if err != nil {
			a = journal.Accepted{}
		}
		done(a, err)
	})
}

func (t *tx) accept(id []byte, s journal.Submission) (journal.Accepted, error) {
	ref := keyOf('R', s.From).raw([]byte(s.Ref))
	if s.Ref != "" {
		if b, ok := t.get(ref); ok {
			return t.again(b, s)
		}
	}
	m := &message{planned: s.Parts}
	m.Message = &messages.Message{
		Id: id, From: s.From, To: s.To, Text: s.Text, Class: s.Class,
		AcceptedUnixMs: s.At.UnixMilli(), Sender: s.Sender,
	}
	if !s.Until.IsZero() {
		m.Message.DeadlineUnixMs = s.Until.UnixMilli()
	}
	m.Ref, m.Coding, m.Edge = s.Ref, s.Coding, s.Edge
	m.Reach(messages.State_ACCEPTED, s.At)
	if s.Edge == "" {
		if !t.user(s.To).exists {
			return journal.Accepted{}, fmt.Errorf("%w: %q", journal.ErrNoUser, s.To)
		}
		t.intoInbox(m, s.At)
		t.tell(m, s.At)
	} else {
		e := t.edge(s.Edge)
		if n := e.waiting.Load(); s.QueueLimit > 0 && n >= int64(s.QueueLimit) {
			return journal.Accepted{}, fmt.Errorf("%w: %d messages wait for edge %s", journal.ErrFull, n, s.Edge)
		}
		m.Message.Originator = t.converse(s)
		t.enqueue(e, m)
	}
	if s.Ref != "" {
		t.Set(ref, append(slices.Clone(id), s.Body[:]...))
	}
	t.create(m)
	return journal.Accepted{ID: id, Edge: s.Edge, Parts: s.Parts, Coding: s.Coding}, nil
}

func (t *tx) again(known []byte, s journal.Submission) (journal.Accepted, error) {
	if len(known) != 16+len(s.Body) {
		t.note(errShort)
		return journal.Accepted{}, nil
	}
	id := known[:16:16]
	if !bytes.Equal(known[16:], s.Body[:]) {
		return journal.Accepted{}, fmt.Errorf("%w: %q of user %q is message %x", journal.ErrRefConflict, s.Ref, s.From, id)
	}
	m := t.message(id)
	if m == nil {
		t.note(fmt.Errorf("hubstore: message %x of ref %q is missing", id, s.Ref))
		return journal.Accepted{}, nil
	}
	return journal.Accepted{ID: id, Again: true, Edge: m.Edge, Parts: m.planned, Coding: m.Coding}, nil
}

// intoInbox gives a new message to its recipient. The caller creates or saves it.
func (t *tx) intoInbox(m *message, at time.Time) {
	to := m.Message.To
	m.inbox = t.grow(to)
	t.Set(keyOf('i', to).number(m.inbox), encodeMessageEvent(journal.UserEvent{
		At: at, ID: m.Message.Id, From: m.Message.From, To: to, Edge: m.Edge, Text: m.Message.Text,
		PossibleDuplicate: m.Message.PossibleDuplicate,
	}))
	t.Set(keyOf('u', to).number(m.inbox), nil)
	t.s.fresh.Add(1)
	m.Reach(messages.State_PROCESSED, at)
}

// MessageByRef implements journal.Hub.
func (s *Store) MessageByRef(user, ref string) (*journal.Record, bool, error) {
	b, ok, err := s.db.Get(keyOf('R', user).raw([]byte(ref)))
	if err != nil || !ok || len(b) < 16 {
		return nil, false, err
	}
	return s.Message(b[:16])
}

// Message implements journal.Hub.
func (s *Store) Message(id []byte) (*journal.Record, bool, error) {
	body, ok, err := s.db.Get(key{'M'}.raw(id))
	if err != nil || !ok {
		return nil, false, err
	}
	state, ok, err := s.db.Get(key{'S'}.raw(id))
	if err != nil || !ok {
		return nil, false, err
	}
	m, err := decodeMessage(body, state)
	if err != nil {
		return nil, false, s.noted(err)
	}
	return &m.Record, true, nil
}

// converse notes that a person writes to a handset, and says under which number.
func (t *tx) converse(s journal.Submission) string {
	number := s.Number
	if s.SuffixDigits > 0 {
		number = t.suffixed(s)
	}
	t.Set(keyOf('C', s.Edge, s.To, s.From), encodeConversation(journal.Conversation{At: s.At, Number: number}))
	return number
}

// suffixed is the conversation's own number: the one it has, else the lowest
// free one, else that of the conversation that was used longest ago, which ends.
func (t *tx) suffixed(s journal.Submission) string {
	fits := func(number string) (uint64, bool) {
		suffix, ok := strings.CutPrefix(number, s.Number)
		n, err := strconv.ParseUint(suffix, 10, 63)
		return n, ok && len(suffix) == s.SuffixDigits && err == nil
	}
	if b, ok := t.get(keyOf('C', s.Edge, s.To, s.From)); ok {
		c, err := decodeConversation(s.From, b)
		t.note(err)
		if _, ok := fits(c.Number); ok {
			return c.Number
		}
	}
	used := map[uint64]bool{}
	var oldest journal.Conversation
	t.note(conversations(t.Tx, s.Edge, s.To, func(c journal.Conversation) {
		n, ok := fits(c.Number)
		if !ok {
			return
		}
		used[n] = true
		if oldest.User == "" || c.At.Before(oldest.At) {
			oldest = c
		}
	}))
	free := uint64(0)
	for used[free] {
		free++
	}
	if float64(free) >= math.Pow10(s.SuffixDigits) {
		t.Delete(keyOf('C', s.Edge, s.To, oldest.User))
		return oldest.Number
	}
	return s.Number + fmt.Sprintf("%0*d", s.SuffixDigits, free)
}

type scanner interface {
	Scan(from, to []byte, f func(key, value []byte) bool) error
}

// conversations calls f for each of a handset's.
func conversations(r scanner, edge, handset string, f func(journal.Conversation)) error {
	prefix := keyOf('C', edge, handset)
	var bad error
	err := scanPrefix(r, prefix, func(k, v []byte) bool {
		names := reader{b: k[len(prefix):]}
		c, err := decodeConversation(names.string(), v)
		if err != nil || names.err != nil {
			bad = errShort
			return false
		}
		f(c)
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}
