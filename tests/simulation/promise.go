package simulation

import (
	"fmt"
	"slices"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"
)

// said is all that one side has ever told the other about one ring, true or not.
// Whatever it was, the side's disk must know it when its process starts again
// (I5): an interruption would mend a Confirmed that was not true, so that nobody
// would miss anything, most of the time.
type said struct{ confirmed, answered, released sequences }

// sequences are a set: everything up to last, and more.
type sequences struct {
	last uint64
	more map[uint64]bool
}

func (s *sequences) has(seq uint64) bool { return seq <= s.last || s.more[seq] }

func (s *sequences) add(seq uint64) (news bool) {
	if s.has(seq) {
		return false
	}
	if s.more == nil {
		s.more = map[uint64]bool{}
	}
	s.more[seq] = true
	return true
}

func (s *sequences) addAll(p *messages.Progress) (news bool) {
	news = p.Last > s.last
	s.last = max(s.last, p.Last)
	for i, octet := range p.Bitmap {
		for bit := range 8 {
			if octet&(1<<bit) != 0 {
				news = s.add(p.Last+1+uint64(i*8+bit)) || news
			}
		}
	}
	return news
}

func (s *sequences) addView(v *messages.View) (news bool) {
	news = v.GetLastProcessed() > s.last
	s.last = max(s.last, v.GetLastProcessed())
	for _, h := range v.GetHeld() {
		if ring.Flags(h.Flags)&ring.Processed != 0 {
			news = s.add(h.Sequence) || news
		}
	}
	return news
}

func (s *sequences) above(seq uint64) []uint64 {
	var all []uint64
	for n := seq + 1; n <= s.last; n++ {
		all = append(all, n)
	}
	for n := range s.more {
		if n > max(seq, s.last) {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

// promises are by ring: the receiver's confirmed and answered, the sender's
// released; and up to where the hub has status events.
type promises struct {
	rings   [3]said
	applied uint64
}

// said notes what a frame acknowledges as it leaves.
func (w *world) said(by *process, side int, f *messages.Frame) {
	news := false
	for _, p := range f.Confirmed {
		news = w.promises.rings[p.Ring].confirmed.addAll(p) || news
	}
	for _, p := range f.Released {
		news = w.promises.rings[p.Ring].released.addAll(p) || news
	}
	// Hello and Welcome say too which of what their sender sends is processed.
	news = w.promises.rings[messages.Ring_UP].released.addView(f.GetHello().GetUp()) || news
	news = w.promises.rings[messages.Ring_DOWN].released.addView(f.GetWelcome().GetDown()) || news
	for _, a := range f.Answers {
		news = w.promises.rings[a.Ring].answered.add(a.Sequence) || news
	}
	if side == atHub && f.EventsApplied > w.promises.applied {
		w.promises.applied, news = f.EventsApplied, true
	}
	if news {
		by.acknowledged()
	}
}

// kept compares what a side has said with what its disk holds.
func (w *world) kept(by string, receives messages.Ring, mirror journal.Mirror, origin journal.Origin, applied uint64) {
	broken := func(format string, args ...any) {
		if w.failed == nil {
			w.failed = fmt.Errorf("simulation: the %s said before it was on disk: %s", by, fmt.Sprintf(format, args...))
		}
	}
	state, err := mirror.Load()
	if err != nil {
		w.failed = fmt.Errorf("simulation: the %s cannot read its mirror: %w", by, err)
		return
	}
	held := map[uint64]journal.Entry{}
	for _, e := range state.Held {
		held[e.Seq] = e
	}
	mine := &w.promises.rings[receives]
	for _, seq := range mine.confirmed.above(state.Released) {
		e, ok := held[seq]
		switch {
		case mine.released.has(seq):
		case !ok:
			broken("%s sequence %d is Confirmed", receives, seq)
		case mine.answered.has(seq) && e.Result == nil:
			broken("%s sequence %d is answered", receives, seq)
		}
	}
	sends := messages.Ring_DOWN + messages.Ring_UP - receives
	sent, err := origin.Load()
	if err != nil {
		w.failed = fmt.Errorf("simulation: the %s cannot read its ring: %w", by, err)
		return
	}
	for _, e := range sent.Held {
		if w.promises.rings[sends].released.has(e.Seq) {
			broken("%s sequence %d is Released", sends, e.Seq)
		}
	}
	if receives == messages.Ring_UP && applied < w.promises.applied {
		broken("status events up to %d are applied, and it knows %d", w.promises.applied, applied)
	}
}
