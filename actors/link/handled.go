package link

import (
	"slices"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// Handled goes from the session through the actors that frames were forwarded to, and
// comes back to it behind all that these said because of the frames.
type Handled struct{ then []*actor.PID }

// on sends it to the next one.
func (h *Handled) on(ctx actor.Context) {
	next := h.then[0]
	h.then = h.then[1:]
	ctx.Send(next, h)
}

// handling holds the frames whose peer waits until they are handled. Else a peer that
// sends faster than the rings work would fill their mailboxes, which have no bound.
//
//	begin ──▶ came ──pass──▶ passed ──Handled is back──▶ Taken
type handling struct {
	came, passed []*messages.FrameIn
	under        *Handled // at most one
}

// begin notes a frame; one that is nobody's is handled already.
func (h *handling) begin(m *messages.FrameIn, ours bool) {
	switch {
	case m.Taken == nil:
	case ours:
		h.came = append(h.came, m)
	default:
		m.Taken()
	}
}

// pass sends Handled behind what was forwarded, if none is under way.
func (h *handling) pass(ctx actor.Context, through ...*actor.PID) {
	if h.under != nil || len(h.came) == 0 {
		return
	}
	through = slices.DeleteFunc(through, func(p *actor.PID) bool { return p == nil })
	h.under = &Handled{then: append(through, ctx.Self())}
	h.came, h.passed = nil, h.came
	h.under.on(ctx)
}

func (h *handling) back(m *Handled) {
	if m != h.under {
		return // of a link before this one
	}
	for _, m := range h.passed {
		m.Taken()
	}
	h.passed, h.under = nil, nil
}

// end lets everybody go on: the link is down.
func (h *handling) end() {
	for _, m := range append(h.passed, h.came...) {
		m.Taken()
	}
	*h = handling{}
}
