package model

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/ringway-im/ringway/actors/ring"
)

// Invariant is a sentence of docs/invariants.md as a predicate over every state.
type Invariant struct {
	Name     string
	Sentence string
	// Violated says how a state breaks it; "": it holds.
	Violated func(m *Model, w *world) string
}

// Error is a violated invariant.
type Error struct{ Name, How string }

func (e *Error) Error() string { return e.Name + ": " + e.How }

// Check asks the invariants with these names; none: all.
func (m *Model) Check(names ...string) func(*world) error {
	var asked []Invariant
	for _, i := range Invariants {
		if len(names) == 0 || slices.Contains(names, i.Name) {
			asked = append(asked, i)
		}
	}
	return func(w *world) error {
		for _, i := range asked {
			if how := i.Violated(m, w); how != "" {
				return &Error{i.Name, how}
			}
		}
		return nil
	}
}

// Invariants in the order of docs/invariants.md.
var Invariants = []Invariant{
	{"I1", "A slot takes a new message only when its last one is Processed.", func(m *Model, w *world) string {
		for seq := uint8(m.Slots) + 1; seq <= w.last; seq++ {
			if old := seq - uint8(m.Slots); w.processed&bit(old) == 0 {
				return fmt.Sprintf("slot %d was given sequence %d while %d is not processed", int(seq)%m.Slots, seq, old)
			}
		}
		for n := range w.at {
			if r := w.at[n].ring; r != nil {
				if p := r.Pointers(); p.LastProcessed > p.LastConfirmed || p.LastConfirmed > p.LastSent || p.LastSent > p.LastRetrieved || p.LastRetrieved > p.LastProcessed+ring.Seq(m.Slots) {
					return fmt.Sprintf("pointers of %v: %v", node(n), r)
				}
			}
		}
		return ""
	}},
	{"I2", "A message is its id; its place is (ring, sequence), which goes on across epochs and restarts; the same sequence with another id is never Confirmed.", func(_ *Model, w *world) string {
		var at [maxSeq + 1]uint8
		for seq := uint8(1); seq <= w.last; seq++ {
			msg := w.assigned[seq]
			if msg == 0 || at[msg] != 0 {
				return fmt.Sprintf("message %d has the sequences %d and %d", msg, at[msg], seq)
			}
			at[msg] = seq
		}
		for _, seq := range list(w.kept) {
			if w.keptMsg[seq] != w.assigned[seq] {
				return fmt.Sprintf("sequence %d is message %d at the sender and %d at the receiver", seq, w.assigned[seq], w.keptMsg[seq])
			}
		}
		if w.alarm != "" {
			return "an honest peer raised an alarm: " + w.alarm
		}
		return ""
	}},
	{"I3", "Confirmed: durable at the other side. Processed: the other side has durably taken over all that remains to be done, and the sender has recorded that durably.", func(_ *Model, w *world) string {
		for n := range w.at {
			r := w.at[n].ring
			if r == nil {
				continue
			}
			for _, h := range r.View().Held {
				seq := uint8(h.Seq)
				if h.Flags&ring.Confirmed != 0 && (w.kept|w.processed)&bit(seq) == 0 {
					return fmt.Sprintf("%d counts as Confirmed at %v and is not durable at the other side", seq, node(n))
				}
				if h.Flags&ring.Processed != 0 && w.processed&bit(seq) == 0 {
					return fmt.Sprintf("%d counts as Processed at %v, which has not recorded it durably", seq, node(n))
				}
			}
		}
		for _, seq := range list(w.processed) {
			if w.count[w.assigned[seq]] == 0 || w.answered&bit(uint8(seq)) == 0 {
				return fmt.Sprintf("%d is recorded as Processed and nobody has durably taken message %d over", seq, w.assigned[seq])
			}
		}
		return ""
	}},
	{"I4", "A frame of an older epoch is refused. A gap in the sequence is repaired by asking again, never skipped.", func(_ *Model, w *world) string {
		if w.staleTaken {
			return "a frame or a welcome of another epoch was taken"
		}
		for n := range w.at {
			p := &w.at[n]
			if p.stopped {
				continue
			}
			if p.mirror != nil {
				for seq := uint8(1); ring.Seq(seq) <= p.mirror.Pointers().LastRetrieved; seq++ {
					if (w.kept|w.processed)&bit(seq) == 0 {
						return fmt.Sprintf("LastRetrieved of %v is %d and has skipped %d", node(n), p.mirror.Pointers().LastRetrieved, seq)
					}
				}
			}
			if p.ring != nil {
				for seq := uint8(1); ring.Seq(seq) <= p.ring.Pointers().LastConfirmed; seq++ {
					if (w.kept|w.processed)&bit(seq) == 0 {
						return fmt.Sprintf("LastConfirmed of %v is %d and has skipped %d", node(n), p.ring.Pointers().LastConfirmed, seq)
					}
				}
			}
		}
		return ""
	}},
	{"I5", "Nothing is acknowledged (to a client, to the SMSC, to the peer as Confirmed) before it is on disk.", func(_ *Model, w *world) string {
		if w.acked > w.accepted {
			return fmt.Sprintf("message %d is acknowledged and not durable", w.acked)
		}
		for _, f := range w.frames {
			switch f.kind {
			case confirmed:
				for seq := uint8(1); seq <= maxSeq; seq++ {
					if (seq <= f.seq || f.more&bit(seq) != 0) && (w.kept|w.processed)&bit(seq) == 0 {
						return fmt.Sprintf("%v, and %d is not durable", f, seq)
					}
				}
			case answer:
				if w.answered&bit(f.seq) == 0 {
					return fmt.Sprintf("%v, and its outcome is not durable", f)
				}
			}
		}
		return ""
	}},
	{"I6", "Hub to edge and edge to hub are exactly once, as seen by the SMSC session and by the inbox: the receiver keeps a message's id until the sender has durably recorded Processed and said so.", func(m *Model, w *world) string {
		for msg := 1; msg <= m.Messages; msg++ {
			if w.count[msg] > 1+w.doubts[msg] {
				return fmt.Sprintf("message %d came %d times, with %d doubts", msg, w.count[msg], w.doubts[msg])
			}
		}
		for seq := uint8(1); seq <= w.last; seq++ {
			if w.answered&bit(seq) != 0 && w.kept&bit(seq) == 0 && w.processed&bit(seq) == 0 {
				return fmt.Sprintf("the receiver has forgotten %d, which the sender has not recorded as Processed", seq)
			}
		}
		return ""
	}},
	{"I7", "The outcome of submit n is synced before submit n+1 goes out; therefore at most one message part per session is in doubt.", func(_ *Model, w *world) string {
		doubt := w.intent
		for seq, o := range w.at[edge].open {
			if o == submitted || o == taken {
				doubt |= bit(uint8(seq))
			}
		}
		if bits.OnesCount16(doubt) > 1 {
			return fmt.Sprintf("a crash now would leave the sequences %v in doubt", list(doubt))
		}
		return ""
	}},
	{"I8", "One owner per edge's rings: every journal write is conditional on the epoch. The edge syncs the highest epoch it has seen before it accepts a Welcome, refuses lower ones.", func(_ *Model, w *world) string {
		switch {
		case w.staleWrite:
			return "a hub has written under an epoch that is over"
		case w.acted > w.highest:
			return fmt.Sprintf("the edge acts under epoch %d and has stored %d: a restart would forget it", w.acted, w.highest)
		case w.staleTaken:
			return "the edge has taken a lower epoch than before"
		}
		return ""
	}},
	{"I9", "A session has one request outstanding in each direction.", func(_ *Model, w *world) string {
		n := 0
		for _, o := range w.at[edge].open {
			if o == submitted || o == taken {
				n++
			}
		}
		if n > 1 {
			return fmt.Sprintf("%d submits are unanswered", n)
		}
		return ""
	}},
	{"I10", "Which message has which sequence is durable before the first transmission, and never changes.", func(_ *Model, w *world) string {
		if w.reassigned {
			return "a sequence was given to a second message"
		}
		for _, f := range w.frames {
			if f.kind == data && w.assigned[f.seq] != f.msg {
				return fmt.Sprintf("%v is on the link, and on disk the sequence is message %d", f, w.assigned[f.seq])
			}
		}
		return ""
	}},
	{"I12", "The sender transmits sequence s+N only after Processed(s) is durable at the sender. The receiver forgets s only on Released(s) or on seeing s+N.", func(m *Model, w *world) string {
		for _, f := range w.frames {
			if f.kind == data && int(f.seq) > m.Slots && w.processed&bit(f.seq-uint8(m.Slots)) == 0 {
				return fmt.Sprintf("%v is on the link while %d is not durably processed", f, int(f.seq)-m.Slots)
			}
			if f.kind == released {
				for seq := uint8(1); seq <= maxSeq; seq++ {
					if (seq <= f.seq || f.more&bit(seq) != 0) && w.processed&bit(seq) == 0 {
						return fmt.Sprintf("%v, and %d is not durably processed", f, seq)
					}
				}
			}
		}
		for n := range w.at {
			if r := w.at[n].mirror; r != nil {
				for seq := uint8(1); ring.Seq(seq) <= r.Pointers().LastProcessed; seq++ {
					if w.processed&bit(seq) == 0 {
						return fmt.Sprintf("%v has forgotten %d, which is not processed", node(n), seq)
					}
				}
			}
		}
		return ""
	}},
	{"I14", "A message enters a ring only from the head of its durable queue. Order is kept from acceptance to the SMSC per order key.", func(m *Model, w *world) string {
		for seq := uint8(2); seq <= w.last; seq++ {
			if w.assigned[seq] < w.assigned[seq-1] && !w.reassigned {
				return fmt.Sprintf("message %d entered the ring after %d", w.assigned[seq], w.assigned[seq-1])
			}
		}
		for seq := uint8(1); seq <= w.last; seq++ {
			if w.assigned[seq] > seq {
				return fmt.Sprintf("message %d entered the ring past the head of the queue", w.assigned[seq])
			}
		}
		for i, a := range w.order {
			for _, b := range w.order[:i] {
				if b > a && m.key(a) == m.key(b) {
					return fmt.Sprintf("message %d came after %d, which has the same order key", a, b)
				}
			}
		}
		return ""
	}},
	{"I15", "An intent is synced before a submit, so that what was never sent is never in doubt; each doubt enters the message's history and is counted.", func(m *Model, w *world) string {
		for seq, o := range w.at[edge].open {
			if (o == submitted || o == taken) && w.intent&bit(uint8(seq)) == 0 {
				return fmt.Sprintf("%d was submitted and no intent is on disk", seq)
			}
		}
		doubts := 0
		for msg := 1; msg <= m.Messages; msg++ {
			doubts += int(w.doubts[msg])
			if w.count[msg] > 1+w.doubts[msg] && !m.Up {
				return fmt.Sprintf("message %d went to the SMSC %d times and its history has %d doubts", msg, w.count[msg], w.doubts[msg])
			}
		}
		if doubts > int(w.sessions) {
			return fmt.Sprintf("%d doubts after %d broken sessions", doubts, w.sessions)
		}
		return ""
	}},
}

// Line shows a state for a trace.
func (m *Model) Line(w *world) string {
	s := fmt.Sprintf("disk: assigned %v processed %v | kept %v answered %v intent %v released %d | epoch %d/%d", w.assigned[1:w.last+1], list(w.processed), list(w.kept), list(w.answered), list(w.intent), w.released, w.epoch, w.highest)
	for n := range w.at {
		p := &w.at[n]
		switch {
		case !p.alive:
			continue
		case p.ring != nil:
			s += fmt.Sprintf("\n      %v: ring %v", node(n), p.ring)
		default:
			s += fmt.Sprintf("\n      %v: mirror %v", node(n), p.mirror)
		}
		if len(p.log) > 0 {
			s += fmt.Sprintf(", not synced %v", p.log)
		}
	}
	return s
}
