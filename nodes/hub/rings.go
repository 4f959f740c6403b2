package hub

import (
	"time"

	"github.com/ringway-im/ringway/messages"
)

// LinkState is how the link to an edge stands.
type LinkState string

// The states of a link.
const (
	LinkUp            LinkState = "up"
	LinkInterrupted   LinkState = "interrupted"
	LinkSynchronising LinkState = "synchronising"
	LinkUnknown       LinkState = "unknown" // another hub has it, or it never came
)

// EdgeRings is a picture of both sides of one edge's rings, for people.
type EdgeRings struct {
	ID            string
	Owner         string // the hub that owns the rings; "": none known
	Epoch         uint64
	Link          LinkState
	Synchronising bool // a synchronisation runs
	Hub           Side
	Edge          Side      // as the edge last told
	EdgeAsOf      time.Time // when that was; zero: never
}

// Side is one end's two rings; nil: not known. Flags are by address; Sequences
// too, and may be empty in RingViews.Rings.
type Side struct{ Down, Up *messages.RingState }

// RingViews shows the rings of the edges. It must not block for long.
type RingViews interface {
	Rings() []EdgeRings
	// Ring gives one edge with the sequences of the asked ring's slots on both
	// sides, as far as they are known.
	Ring(edge string, ring messages.Ring) (EdgeRings, bool)
}

// Rings shows every configured edge's rings.
func (h *Hub) Rings() []EdgeRings { return h.views.Rings() }

// Ring shows one edge's.
func (h *Hub) Ring(edge string, ring messages.Ring) (EdgeRings, bool) {
	return h.views.Ring(edge, ring)
}
