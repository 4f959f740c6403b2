package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// newID mints a message's id: 16 octets whose beginning grows with time, so that what
// is written together lies together (RFC 9562 §5.7, UUID version 7).
func newID() ([]byte, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("pgstore: no random numbers: %w", err)
	}
	return id[:], nil
}

// Accept implements journal.Hub. An error that is no refusal does not say that the
// message was not stored: the same again under the same ref finds it.
func (s *Store) Accept(sub journal.Submission, done func(journal.Accepted, error)) {
	id, err := newID()
	if err == nil && (sub.From == "" || sub.To == "") {
		err = fmt.Errorf("%w: message from %q to %q: both must be given", errBadCall, sub.From, sub.To)
	}
	if err != nil {
		done(journal.Accepted{}, err)
		return
	}
	if sub.At.IsZero() {
		sub.At = s.opts.Now()
	}
	var a journal.Accepted
	s.lane(sub.From).write(&op{
		until: time.Now().Add(patience), from: sub.From,
		need: func(t *tx) {
			if sub.Ref != "" {
				t.asked[pair{sub.From, sub.Ref}] = true
			}
			switch {
			case sub.Edge == "":
				t.names[sub.To] = true
			case sub.QueueLimit > 0:
				t.lengths[sub.Edge] = true
			}
			if sub.Edge != "" && sub.SuffixDigits > 0 {
				t.handsets[pair{sub.Edge, sub.To}] = true
			}
		},
		users: func(*tx) ([]string, bool) {
			if sub.Edge != "" {
				return nil, true
			}
			return []string{sub.From}, true
		},
		do: func(t *tx) (err error) {
			a, err = t.accept(id, sub)
			return err
		},
		done: func(err error) {
			if err != nil {
				done(journal.Accepted{}, err)
				return
			}
			done(a, nil)
		},
	})
}

func (t *tx) accept(id []byte, s journal.Submission) (journal.Accepted, error) {
	ref := pair{s.From, s.Ref}
	if m := t.refs[ref]; m != nil && s.Ref != "" {
		if !bytes.Equal(m.hash, s.Body[:]) {
			return journal.Accepted{}, fmt.Errorf("%w: %q of user %q is message %x", journal.ErrRefConflict, s.Ref, s.From, m.Message.Id)
		}
		return journal.Accepted{ID: m.Message.Id, Again: true, Edge: m.Edge, Parts: m.planned, Coding: m.Coding}, nil
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
		if !t.accounts[s.To] {
			return journal.Accepted{}, fmt.Errorf("%w: %q", journal.ErrNoUser, s.To)
		}
		t.intoInbox(m, s.At)
		t.tell(m, s.At)
	} else {
		if n := t.waiting[s.Edge] + t.counts[s.Edge]; s.QueueLimit > 0 && n >= int64(s.QueueLimit) {
			return journal.Accepted{}, fmt.Errorf("%w: %d messages wait for edge %s", journal.ErrFull, n, s.Edge)
		}
		m.Message.Originator = t.converse(s)
		t.enqueue(s.Edge, m)
	}
	if s.Ref != "" {
		m.hash = slices.Clone(s.Body[:])
		t.refs[ref] = m
	}
	t.create(m)
	return journal.Accepted{ID: id, Edge: s.Edge, Parts: s.Parts, Coding: s.Coding}, nil
}

// converse notes that a person writes to a handset, and says under which number.
func (t *tx) converse(s journal.Submission) string {
	c := journal.Conversation{User: s.From, At: s.At, Number: s.Number}
	if s.SuffixDigits > 0 {
		c.Number = t.suffixed(s)
		t.conversations(s.Edge, s.To)[s.From] = c
	}
	k := talk{s.Edge, s.To, s.From}
	t.talked[k] = c
	delete(t.ended, k)
	return c.Number
}

// suffixed is the conversation's own number: the one it has, else the lowest
// free one, else that of the conversation that was used longest ago, which ends.
func (t *tx) suffixed(s journal.Submission) string {
	fits := func(number string) (uint64, bool) {
		suffix, ok := strings.CutPrefix(number, s.Number)
		n, err := strconv.ParseUint(suffix, 10, 63)
		return n, ok && len(suffix) == s.SuffixDigits && err == nil
	}
	all := t.conversations(s.Edge, s.To)
	if c, ok := all[s.From]; ok {
		if _, ok := fits(c.Number); ok {
			return c.Number
		}
	}
	used := map[uint64]bool{}
	var oldest journal.Conversation
	for _, c := range all {
		n, ok := fits(c.Number)
		if !ok {
			continue
		}
		used[n] = true
		if oldest.User == "" || c.At.Before(oldest.At) || c.At.Equal(oldest.At) && c.User < oldest.User {
			oldest = c
		}
	}
	free := uint64(0)
	for used[free] {
		free++
	}
	if float64(free) >= math.Pow10(s.SuffixDigits) {
		delete(all, oldest.User)
		k := talk{s.Edge, s.To, oldest.User}
		t.ended[k] = true
		delete(t.talked, k)
		return oldest.Number
	}
	return s.Number + fmt.Sprintf("%0*d", s.SuffixDigits, free)
}

// Message implements journal.Hub.
func (s *Store) Message(id []byte) (*journal.Record, bool, error) {
	return s.record(`SELECT `+messageColumns+` FROM messages m WHERE m.id = $1`, id)
}

// MessageByRef implements journal.Hub.
func (s *Store) MessageByRef(user, ref string) (*journal.Record, bool, error) {
	return s.record(`SELECT `+messageColumns+` FROM messages m WHERE m.sender = $1 AND m.ref = $2 AND m.ref <> ''`, column(user), column(ref))
}

func (s *Store) record(sql string, args ...any) (*journal.Record, bool, error) {
	var found []*message
	err := s.read("reading a message", func(ctx context.Context) error {
		rows, _ := s.pool.Query(ctx, sql, args...)
		var err error
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*message, error) { return scanMessage(row) })
		return err
	})
	if err != nil || len(found) == 0 {
		return nil, false, err
	}
	return &found[0].Record, true, nil
}
