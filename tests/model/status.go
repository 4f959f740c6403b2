package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/model/search"
)

// status is the world of I13: what the edge learns about one message beside its
// slot's result goes into a log with numbers of its own, and to the hub in any
// order and any number of times. The hub's record of the message is the
// production's (journal.Record).
type status struct {
	last, trimmed uint8   // the edge's disk
	applied       uint8   // the hub's disk
	facts         []uint8 // in the order in which the hub's disk got them; 0: the slot's result

	writing       bool // edge: event last+1 is on its way to its disk
	up            bool
	known, sent   uint8 // edge's memory: applied at the hub, sent up to
	waiting       uint8 // hub's memory: bits
	upTo          uint8 // hub: being written up to here; 0: nothing
	result        uint8 // the slot's: 0 not yet, 1 being written, 2 durable
	frames, acks  uint8 // bits: events, and "applied up to", on the link
	crashes, cuts uint8
}

// StatusModel is that world's rules.
type StatusModel struct {
	Crashes, Cuts int
	Break         string
}

// facts about a message of one part, as they happen: in doubt, submitted again
// and taken over, delivered. The result of its slot ("deferred") may reach the
// hub before, between or after them.
var facts = []func(*journal.Record){
	func(r *journal.Record) {
		r.Answer(&messages.Result{State: messages.State_DEFERRED, AtUnixMs: 1, Attempts: 1})
	},
	func(r *journal.Record) { r.Doubt(&messages.Doubt{Attempt: 1}, time.UnixMilli(2)) },
	func(r *journal.Record) {
		r.Answer(&messages.Result{State: messages.State_PROCESSED, AtUnixMs: 3, Attempts: 2, Parts: []*messages.PartState{{State: messages.State_PROCESSED, SmscId: "7"}}})
	},
	func(r *journal.Record) {
		r.Receive(&messages.Receipt{Part: 0, Parts: 1, State: messages.State_DELIVERED}, 1, time.UnixMilli(4))
	},
}

var lastEvent = uint8(len(facts) - 1)

// record is what the hub knows after facts in this order; fell: a state was
// followed by a lower one.
func (m *StatusModel) record(order []uint8) (state messages.State, fell bool) {
	r := &journal.Record{Message: &messages.Message{}}
	for _, n := range order {
		before := r.State
		if m.Break == "rank replaced by what came last" {
			r.State = 0
		}
		facts[n](r)
		fell = fell || r.State < before
	}
	return r.State, fell
}

// System gives the search this world.
func (m *StatusModel) System() search.System[*status, string] {
	return search.System[*status, string]{
		Init: &status{}, Next: m.next, Check: m.check,
		AppendKey: func(s *status, b []byte) []byte {
			b = append(b, s.last, s.trimmed, s.applied, s.known, s.sent, s.waiting, s.upTo, s.result, s.frames, s.acks, s.crashes, s.cuts, byte(len(s.facts)))
			for _, x := range []bool{s.writing, s.up} {
				n := byte(0)
				if x {
					n = 1
				}
				b = append(b, n)
			}
			return append(b, s.facts...)
		},
		Done: func(s *status) bool {
			state, _ := m.record(s.facts)
			return s.applied == lastEvent && s.trimmed == lastEvent && s.result == 2 && state == messages.State_DELIVERED
		},
	}
}

func (m *StatusModel) check(s *status) error {
	if _, fell := m.record(s.facts); fell {
		return &Error{"I13", fmt.Sprintf("the message's state fell: facts %v", s.facts)}
	}
	if s.trimmed > s.applied {
		return &Error{"I13", fmt.Sprintf("the edge has forgotten events up to %d, the hub has applied %d", s.trimmed, s.applied)}
	}
	for n := uint8(1); n <= s.applied; n++ {
		if !slices.Contains(s.facts, n) {
			return &Error{"I13", fmt.Sprintf("event %d was skipped: applied up to %d, facts %v", n, s.applied, s.facts)}
		}
	}
	return nil
}

func (m *StatusModel) next(s *status, yield func(string, bool, *status)) {
	do := func(name string, fault bool, f func(*status)) {
		c := *s
		c.facts = slices.Clone(s.facts)
		f(&c)
		yield(name, fault, &c)
	}
	if s.last < lastEvent && !s.writing {
		do(fmt.Sprintf("edge: learns event %d", s.last+1), false, func(s *status) { s.writing = true })
	}
	if s.writing {
		do("edge: fsync of the event", false, func(s *status) { s.writing, s.last = false, s.last+1 })
	}
	if s.result == 0 {
		do("hub: gets the slot's result", false, func(s *status) { s.result = 1 })
	}
	if s.result == 1 {
		do("hub: fsync of the slot's result", false, func(s *status) { s.result, s.facts = 2, append(s.facts, 0) })
	}
	if !s.up {
		do("Hello and Welcome", false, func(s *status) {
			s.up, s.known, s.sent = true, s.applied, s.applied
			s.trimmed = max(s.trimmed, s.known)
		})
	}
	if s.up && s.sent < s.last {
		do(fmt.Sprintf("edge: sends event %d", s.sent+1), false, func(s *status) { s.sent++; s.frames |= 1 << s.sent })
	}
	for n := uint8(1); s.up && n <= lastEvent; n++ {
		if s.frames&(1<<n) != 0 {
			do(fmt.Sprintf("hub: gets event %d", n), false, func(s *status) { m.arrives(s, n) })
		}
		if s.acks&(1<<n) != 0 {
			do(fmt.Sprintf("edge: hears that %d are applied", n), false, func(s *status) {
				s.known, s.sent, s.trimmed = max(s.known, n), max(s.sent, n), max(s.trimmed, n)
			})
		}
	}
	if s.upTo != 0 {
		do("hub: fsync of the events", false, func(s *status) { m.applied(s); m.begin(s) })
	}
	if s.up && int(s.cuts) < m.Cuts {
		do("CUT", true, func(s *status) { s.up, s.frames, s.acks = false, 0, 0; s.cuts++ })
	}
	if int(s.crashes) >= m.Crashes {
		return
	}
	for _, survives := range []bool{false, true} {
		if survives && s.upTo == 0 && s.result != 1 {
			continue
		}
		do(fmt.Sprintf("CRASH of the hub, what was being written survives: %v", survives), true, func(s *status) {
			if survives && s.result == 1 {
				s.result, s.facts = 2, append(s.facts, 0)
			}
			if survives && s.upTo != 0 {
				m.applied(s)
			}
			s.up, s.frames, s.acks, s.waiting, s.upTo = false, 0, 0, 0, 0
			if s.result == 1 {
				s.result = 0
			}
			s.crashes++
		})
	}
	do("CRASH of the edge", true, func(s *status) {
		s.up, s.frames, s.acks, s.writing, s.known, s.sent = false, 0, 0, false, 0, 0
		s.crashes++
	})
}

// arrives is the applier of events (actors/link): it waits for what is missing
// and writes what follows without a gap.
func (m *StatusModel) arrives(s *status, n uint8) {
	if n <= s.applied {
		s.acks |= 1 << s.applied
	} else {
		s.waiting |= 1 << n
	}
	m.begin(s)
}

func (m *StatusModel) begin(s *status) {
	if s.upTo != 0 {
		return
	}
	upTo := s.applied
	for s.waiting&(1<<(upTo+1)) != 0 {
		upTo++
	}
	if m.Break == "a gap is skipped" {
		for n := upTo + 1; n <= lastEvent; n++ {
			if s.waiting&(1<<n) != 0 {
				upTo = n
			}
		}
	}
	if upTo == s.applied {
		return
	}
	s.upTo = upTo
	if m.Break == "applied is said before sync" {
		s.acks |= 1 << upTo
	}
}

// applied is the hub's transaction.
func (m *StatusModel) applied(s *status) {
	for n := s.applied + 1; n <= s.upTo; n++ {
		if s.waiting&(1<<n) != 0 {
			s.facts = append(s.facts, n)
		}
	}
	s.applied, s.waiting, s.upTo = s.upTo, s.waiting&^(1<<(s.upTo+1)-1), 0
	s.acks |= 1 << s.applied
}

// Line shows a state for a trace.
func (m *StatusModel) Line(s *status) string {
	state, _ := m.record(s.facts)
	return fmt.Sprintf("edge: written %d, trimmed %d | hub: applied %d, facts %v, the message is %v", s.last, s.trimmed, s.applied, s.facts, state)
}
