package hub

import (
	"context"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
)

// This file is the hub's end of each edge: claim, router, rings, link session.

// edge is a configured edge whose rings this hub owns.
type edge struct {
	cfg    config.HubEdge
	rings  journal.Rings
	router *actor.PID
}

// startEdges claims each edge's rings and starts what serves them.
func (h *Hub) startEdges(context.Context) error {
	for _, cfg := range h.cfg.Edges {
		rings, err := h.store.Claim(cfg.ID)
		if err != nil {
			return fmt.Errorf("hub: claiming the rings of edge %s: %w", cfg.ID, h.failed(err))
		}
		e := &edge{cfg: cfg, rings: rings}
		e.router = h.startRouter(e)
		h.mu.Lock()
		h.edges = append(h.edges, e)
		h.mu.Unlock()
		// LINK: the ring actors on rings.Down() and rings.Up(), whose mirror slots
		// hand on to e.router, and the link session of this edge start here.
	}
	return nil
}

// stopEdges stops them again, the link first.
func (h *Hub) stopEdges() {
	h.mu.Lock()
	edges := h.edges
	h.edges = nil
	h.mu.Unlock()
	for _, e := range edges {
		// LINK: session and ring actors stop here.
		if err := h.system.Root.StopFuture(e.router).Wait(); err != nil {
			h.log.Warn("router did not stop", zap.String("edge", e.cfg.ID), zap.Error(err))
		}
	}
}

// startRouter starts what takes messages.HandOn from the edge's up mirror.
func (h *Hub) startRouter(e *edge) *actor.PID {
	return h.system.Root.Spawn(hubactors.NewRouter(hubactors.RouterConfig{
		Edge: e.cfg.ID, Service: e.cfg.Number, Rings: e.rings, Now: h.now, Routed: h.metrics.routed, Log: h.log,
		Exists: func(name string) (bool, error) {
			_, ok, err := h.store.User(name)
			return ok, h.failed(err)
		},
	}))
}

// ownEdges shows the rings of the configured edges.
type ownEdges struct{ hub *Hub }

func (o ownEdges) Rings() []EdgeRings {
	all := []EdgeRings{}
	for _, cfg := range o.hub.cfg.Edges {
		all = append(all, o.view(cfg))
	}
	return all
}

func (o ownEdges) Ring(id string, _ messages.Ring) (EdgeRings, bool) {
	cfg, ok := o.hub.edge(id)
	if !ok {
		return EdgeRings{}, false
	}
	return o.view(cfg), true
}

func (o ownEdges) view(cfg config.HubEdge) EdgeRings {
	v := EdgeRings{ID: cfg.ID, Link: LinkUnknown}
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	for _, e := range o.hub.edges {
		if e.cfg.ID == cfg.ID {
			v.Owner, v.Epoch, v.Link = o.hub.name, e.rings.Epoch(), LinkInterrupted
			// LINK: pointers, flags and the edge's picture come from the ring actors and the session.
		}
	}
	return v
}
