package link

import (
	"cmp"
	"slices"

	"github.com/ringway-im/ringway/messages"

	"google.golang.org/protobuf/proto"
)

// maxFrame bounds a frame in octets unless a single entry is larger: about
// three packets, so that what is resent after a cut spreads over the stripes.
const maxFrame = 3600

// On a lossy link a frame is one packet, and goes out over three stripes at once:
// the window does not stand still for TCP's retransmission unless all three copies
// are lost or stuck behind a loss. The more packets a frame has, the more often is
// one of them lost.
const (
	lossyFrame  = 1200
	lossyCopies = 3
)

// outItem is one thing to put into a frame.
type outItem struct {
	data   *messages.Data
	answer *messages.Answer
	event  *messages.Event
}

// outbox gathers what is ready for the link and packs it into frames.
type outbox struct {
	items []outItem

	confirmed, released *messages.Progress // repeated state, latest
	applied             uint64
	fresh               bool // the state has news
}

type packed struct {
	frame *messages.Frame
	held  carried
}

// pack empties the outbox into frames.
func (o *outbox) pack(lossy bool) []packed {
	limit := maxFrame
	if lossy {
		limit = lossyFrame
	}
	// Slots speak in any order; the window waits for its oldest one.
	slices.SortStableFunc(o.items, func(a, b outItem) int { return cmp.Compare(a.data.GetSequence(), b.data.GetSequence()) })
	items, withState := o.items, o.fresh
	o.items, o.fresh = nil, false

	var frames []packed
	var p packed
	size := 0
	if withState {
		p.frame = &messages.Frame{EventsApplied: o.applied}
		if o.confirmed != nil {
			p.frame.Confirmed = append(p.frame.Confirmed, o.confirmed)
		}
		if o.released != nil {
			p.frame.Released = append(p.frame.Released, o.released)
		}
	}
	for _, it := range items {
		n := it.size()
		if p.frame == nil || (size > 0 && size+n > limit) {
			if p.frame != nil {
				frames = append(frames, p)
			}
			p, size = packed{frame: &messages.Frame{}}, 0
		}
		p.add(it)
		size += n
	}
	if p.frame != nil {
		frames = append(frames, p)
	}
	return frames
}

// copy is the same frame for another stripe, which numbers it anew.
func (p *packed) copy() *messages.Frame {
	f := p.frame
	return &messages.Frame{
		Data: f.Data, Answers: f.Answers, Events: f.Events,
		Confirmed: f.Confirmed, Released: f.Released, EventsApplied: f.EventsApplied,
	}
}

func (p *packed) add(it outItem) {
	switch {
	case it.data != nil:
		p.frame.Data = append(p.frame.Data, it.data)
		p.held.data = append(p.held.data, it.data.Sequence)
	case it.answer != nil:
		p.frame.Answers = append(p.frame.Answers, it.answer)
		p.held.answers = append(p.held.answers, it.answer.Sequence)
	default:
		p.frame.Events = append(p.frame.Events, it.event)
		if p.held.firstEvent == 0 || it.event.Number < p.held.firstEvent {
			p.held.firstEvent = it.event.Number
		}
	}
}

func (it outItem) size() int {
	switch {
	case it.data != nil:
		return proto.Size(it.data)
	case it.answer != nil:
		return proto.Size(it.answer)
	}
	return proto.Size(it.event)
}
