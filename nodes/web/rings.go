package web

import (
	"net/http"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/hub"
)

type edgeRings struct {
	ID            string        `json:"id"`
	Owner         string        `json:"owner,omitempty"`
	Epoch         uint64        `json:"epoch"`
	Link          hub.LinkState `json:"link"`
	Synchronising bool          `json:"synchronising"`
	Hub           side          `json:"hub"`
	Edge          side          `json:"edge"`
	EdgeAsOf      timestamp     `json:"edge_as_of,omitzero"`
	Gossip        string        `json:"gossip,omitempty"`
}

type side struct {
	Down *ring `json:"down,omitempty"`
	Up   *ring `json:"up,omitempty"`
}

type ring struct {
	Slots    uint32   `json:"slots"`
	Pointers pointers `json:"pointers"`
	Counts   counts   `json:"counts"`
	Queue    uint64   `json:"queue"`
	Flags    string   `json:"flags,omitempty"` // a character a slot, by address: . r s c p
	// With one ring only.
	SlotStates []slotState `json:"slot_states,omitempty"`
}

type pointers struct {
	LastRetrieved uint64 `json:"last_retrieved"`
	LastSent      uint64 `json:"last_sent"`
	LastConfirmed uint64 `json:"last_confirmed"`
	LastProcessed uint64 `json:"last_processed"`
}

// counts has each slot once, under the furthest flag it has.
type counts struct {
	Free      int `json:"free"`
	Retrieved int `json:"retrieved"`
	Sent      int `json:"sent"`
	Confirmed int `json:"confirmed"`
	Processed int `json:"processed"`
}

type slotState struct {
	Address  int      `json:"address"`
	Sequence uint64   `json:"sequence"` // 0: not known
	Flags    []string `json:"flags"`
}

// flags of a slot, the furthest last.
var flags = []struct {
	bit  byte
	name string
}{{1, "retrieved"}, {2, "sent"}, {4, "confirmed"}, {8, "processed"}}

func (s *Server) getRings(w http.ResponseWriter, _ *http.Request, _ caller) error {
	edges := []edgeRings{}
	for _, e := range s.hub.Rings() {
		edges = append(edges, edgeRingsJSON(e))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"edges": edges})
}

// getRing shows one ring only, with its slots.
func (s *Server) getRing(w http.ResponseWriter, r *http.Request, _ caller) error {
	which, ok := map[string]messages.Ring{"down": messages.Ring_DOWN, "up": messages.Ring_UP}[r.PathValue("direction")]
	if !ok {
		return newProblem(http.StatusNotFound, "not_found", "a ring is down or up, not %q", r.PathValue("direction"))
	}
	edge, ok := s.hub.Ring(r.PathValue("edge"), which)
	if !ok {
		return newProblem(http.StatusNotFound, "not_found", "there is no edge %q", r.PathValue("edge"))
	}
	if which == messages.Ring_DOWN {
		edge.Hub.Up, edge.Edge.Up = nil, nil
	} else {
		edge.Hub.Down, edge.Edge.Down = nil, nil
	}
	view := edgeRingsJSON(edge)
	view.Hub.withSlots(edge.Hub)
	view.Edge.withSlots(edge.Edge)
	return writeJSON(w, http.StatusOK, view)
}

func edgeRingsJSON(e hub.EdgeRings) edgeRings {
	return edgeRings{
		ID: e.ID, Owner: e.Owner, Epoch: e.Epoch, Link: e.Link, Synchronising: e.Synchronising, Gossip: e.Gossip,
		Hub: side{ringJSON(e.Hub.Down), ringJSON(e.Hub.Up)}, Edge: side{ringJSON(e.Edge.Down), ringJSON(e.Edge.Up)},
		EdgeAsOf: timestamp(e.EdgeAsOf),
	}
}

func ringJSON(s *messages.RingState) *ring {
	if s == nil {
		return nil
	}
	r := &ring{
		Slots: s.GetSlots(), Queue: s.GetQueue(),
		Pointers: pointers{s.GetLastRetrieved(), s.GetLastSent(), s.GetLastConfirmed(), s.GetLastProcessed()},
	}
	line := make([]byte, len(s.GetFlags()))
	for i, f := range s.GetFlags() {
		switch {
		case f&8 != 0:
			line[i], r.Counts.Processed = 'p', r.Counts.Processed+1
		case f&4 != 0:
			line[i], r.Counts.Confirmed = 'c', r.Counts.Confirmed+1
		case f&2 != 0:
			line[i], r.Counts.Sent = 's', r.Counts.Sent+1
		case f&1 != 0:
			line[i], r.Counts.Retrieved = 'r', r.Counts.Retrieved+1
		default:
			line[i], r.Counts.Free = '.', r.Counts.Free+1
		}
	}
	r.Flags = string(line)
	return r
}

func (s *side) withSlots(of hub.Side) {
	s.Down.withSlots(of.Down)
	s.Up.withSlots(of.Up)
}

func (r *ring) withSlots(of *messages.RingState) {
	if r == nil {
		return
	}
	for address, f := range of.GetFlags() {
		slot := slotState{Address: address, Flags: []string{}}
		if address < len(of.GetSequences()) {
			slot.Sequence = of.GetSequences()[address]
		}
		for _, flag := range flags {
			if f&flag.bit != 0 {
				slot.Flags = append(slot.Flags, flag.name)
			}
		}
		r.SlotStates = append(r.SlotStates, slot)
	}
}
