package hub

import (
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/messages"
)

// hintsName is the actor's, the same on every hub.
const hintsName = "hints"

// hintsGather is how long hints wait for company: a busy hub would otherwise tell the
// others of each commit alone.
const hintsGather = 3 * time.Millisecond

// newHints returns the props of the actor that tells the other hubs what grew here,
// and takes what they tell. A hint that is lost costs time, never a message: whoever
// waits for it looks into the store from time to time.
func newHints(h *Hub) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &hints{hub: h, users: map[string]bool{}, edges: map[string]bool{}}
	})
}

type hints struct {
	hub     *Hub
	users   map[string]bool // whose events grew
	edges   map[string]bool // whose queues grew, and whose rings another hub has
	waiting bool
}

// queuesGrew (the store to hints): messages wait for edges whose rings are not here.
type queuesGrew struct{ edges []string }

type hintsDue struct{}

func (t *hints) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *hubactors.Changed:
		for _, user := range m.Users {
			t.users[user] = true
		}
		t.gather(ctx)
	case queuesGrew:
		for _, edge := range m.edges {
			t.edges[edge] = true
		}
		t.gather(ctx)
	case hintsDue:
		t.waiting = false
		t.tell()
	case *messages.UsersChanged:
		ctx.Send(t.hub.clients, &hubactors.Changed{Users: m.Users})
	case *messages.QueuesGrew:
		t.wake(m.Edges)
	}
}

// wake has the rings of these edges look into their queues.
func (t *hints) wake(edges []string) {
	if store, ok := t.hub.store.(interface{ Wake(edge string) }); ok {
		for _, edge := range edges {
			store.Wake(edge)
		}
	}
}

func (t *hints) gather(ctx actor.Context) {
	if t.waiting {
		return
	}
	t.waiting = true
	root, self := ctx.ActorSystem().Root, ctx.Self()
	time.AfterFunc(hintsGather, func() { root.Send(self, hintsDue{}) })
}

func (t *hints) tell() {
	if len(t.users) > 0 {
		t.hub.cluster.tellAll(&messages.UsersChanged{Users: slices.Collect(maps.Keys(t.users))})
		clear(t.users)
	}
	for edge := range t.edges {
		t.hub.cluster.tellOwner(edge, &messages.QueuesGrew{Edges: []string{edge}})
	}
	clear(t.edges)
}
