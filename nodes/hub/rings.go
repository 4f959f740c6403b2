package hub

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
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
	Gossip        string    // what gossip says of the edge: "alive", "gone"; "": nothing
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

// ownEdges shows the rings of the configured edges.
type ownEdges struct{ hub *Hub }

func (o ownEdges) Rings() []EdgeRings {
	all := []EdgeRings{}
	for _, cfg := range o.hub.cfg.Edges {
		all = append(all, o.view(cfg, messages.Ring_RING_UNSPECIFIED))
	}
	return all
}

func (o ownEdges) Ring(id string, ring messages.Ring) (EdgeRings, bool) {
	cfg, ok := o.hub.edge(id)
	if !ok {
		return EdgeRings{}, false
	}
	return o.view(cfg, ring), true
}

func (o ownEdges) view(cfg config.HubEdge, ring messages.Ring) EdgeRings {
	e := o.hub.owned(cfg.ID)
	if e == nil {
		return EdgeRings{ID: cfg.ID, Link: LinkUnknown, Gossip: o.hub.heard(cfg.ID)}
	}
	return o.hub.picture(e, ring)
}

// picture asks the actors of an edge; with a ring named, that one has sequences.
func (h *Hub) picture(e *edge, ring messages.Ring) EdgeRings {
	v := EdgeRings{ID: e.cfg.ID, Owner: h.name, Epoch: e.rings.Epoch(), Link: LinkInterrupted, Gossip: h.heard(e.cfg.ID)}
	l, err := ask[*link.LinkState](h.system, e.session, &link.GetLink{})
	if err != nil {
		return v
	}
	v.Link, v.Synchronising, v.EdgeAsOf = LinkState(l.State), l.Synchronising, l.PeerAsOf
	for _, r := range l.Peer {
		if r.Ring == messages.Ring_DOWN {
			v.Edge.Down = r
		} else {
			v.Edge.Up = r
		}
	}
	v.Hub.Down, _ = ask[*messages.RingState](h.system, e.buffer, &link.GetState{Sequences: ring == messages.Ring_DOWN})
	v.Hub.Up, _ = ask[*messages.RingState](h.system, e.mirror, &link.GetState{Sequences: ring == messages.Ring_UP})
	return v
}

func ask[T any](system *actor.ActorSystem, pid *actor.PID, question any) (T, error) {
	r, err := system.Root.RequestFuture(pid, question, time.Second).Result()
	if err != nil {
		var none T
		return none, fmt.Errorf("hub: %T: %w", question, err)
	}
	return r.(T), nil
}

// onWire is a picture as one hub gives it to another.
func (v EdgeRings) onWire() *messages.RingsAre {
	m := &messages.RingsAre{
		Owner: v.Owner, Epoch: v.Epoch, Link: string(v.Link), Synchronising: v.Synchronising,
		HubDown: v.Hub.Down, HubUp: v.Hub.Up, EdgeDown: v.Edge.Down, EdgeUp: v.Edge.Up,
	}
	if !v.EdgeAsOf.IsZero() {
		m.EdgeAsOfUnixMs = v.EdgeAsOf.UnixMilli()
	}
	return m
}

func fromWire(id string, m *messages.RingsAre) EdgeRings {
	v := EdgeRings{
		ID: id, Owner: m.Owner, Epoch: m.Epoch, Link: LinkState(m.Link), Synchronising: m.Synchronising,
		Hub: Side{m.HubDown, m.HubUp}, Edge: Side{m.EdgeDown, m.EdgeUp},
	}
	if m.EdgeAsOfUnixMs != 0 {
		v.EdgeAsOf = time.UnixMilli(m.EdgeAsOfUnixMs)
	}
	return v
}
