package hub

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	nodemetrics "github.com/ringway-im/ringway/nodes/metrics"
)

// newRing returns the props of the actor that has one edge's rings at this hub.
// begun, where there is one, is called once: with the error that a hub alone
// cannot start with, or nil when the rings are served.
func newRing(h *Hub, cfg config.HubEdge, begun func(error)) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &ring{hub: h, cfg: cfg, begun: begun} })
}

// ring claims the rings of an edge and is the parent of all that serves them
// here: link session, buffer, mirror, applier and router. With it all of them end.
//
// In a cluster it is a grain, and leaves when another hub is to have the rings: the
// edge connects there first (link.Move), then all ends here, and with this actor the
// claim.
//
//	claiming ──claimed──▶ serving ──Leave──▶ leaving ──MoveReady──▶ giving up ──all stopped──▶ ended
//	                         └── Stop, Fenced, a write was fenced, a child failed for good ──▶
type ring struct {
	hub   *Hub
	cfg   config.HubEdge
	begun func(error)
	edge  *edge // nil: not claimed yet

	to   string       // link address of the hub that is to have them
	left []*actor.PID // giving up: children that have not stopped yet, the session aside

	unwatch []func() // what is measured of the edge here
}

// claimed is the store's word.
type claimed struct {
	rings journal.Rings
	err   error
}

type claimDue struct{}

// claimAgain is how soon a hub asks for rings again that another owned just now.
const claimAgain = 50 * time.Millisecond

func (r *ring) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started, claimDue:
		r.claim(ctx)
	case *claimed:
		r.onClaimed(ctx, m)
	case *messages.GetRings:
		r.onGetRings(ctx, m)
	case *messages.Leave:
		r.onLeave(ctx, m)
	case *link.MoveReady:
		r.onMoveReady(ctx)
	case *link.StorageFailed:
		if errors.Is(m.Err, journal.ErrFenced) {
			r.beginAnew(ctx, m.Err)
		}
	case *actor.Terminated:
		r.onTerminated(ctx, m)
	case *messages.Fenced:
		ctx.Stop(ctx.Self())
	case *actor.Stopping:
		if r.edge != nil {
			r.hub.disown(r.edge)
		}
	case *actor.Stopped: // and all below
		for _, unwatch := range r.unwatch {
			unwatch()
		}
		if r.edge != nil {
			r.hub.log.Info("rings are no longer served here", zap.String("edge", r.cfg.ID), zap.Uint64("epoch", r.edge.rings.Epoch()))
		}
	}
}

// claim asks the store, which waits for its disk or its database.
func (r *ring) claim(ctx actor.Context) {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	go func() {
		rings, err := r.hub.store.Claim(r.cfg.ID)
		root.Send(self, &claimed{rings, err})
	}()
}

func (r *ring) onClaimed(ctx actor.Context, m *claimed) {
	if m.err != nil {
		r.onRefused(ctx, m.err)
		return
	}
	r.serve(ctx, m.rings)
	if r.begun != nil {
		r.begun(nil)
	}
}

func (r *ring) onRefused(ctx actor.Context, err error) {
	if r.begun != nil {
		r.begun(fmt.Errorf("hub: claiming the rings of edge %s: %w", r.cfg.ID, r.hub.failed(err)))
		return
	}
	wait := claimAgain
	if owned := new(journal.OwnedError); !errors.As(err, &owned) {
		r.hub.log.Warn("rings could not be claimed: trying again", zap.String("edge", r.cfg.ID), zap.Error(err))
		wait = time.Second
	}
	root, self := ctx.ActorSystem().Root, ctx.Self()
	time.AfterFunc(wait, func() { root.Send(self, claimDue{}) })
}

// serve spawns the link session and the ring actors; Attach has them begin.
func (r *ring) serve(ctx actor.Context, rings journal.Rings) {
	h, id, slots := r.hub, r.cfg.ID, r.cfg.Ring.Slots
	log, m := h.log.With(zap.String("edge", id)), nodemetrics.Link(h.registerer, id, nodemetrics.Down)
	spawn := func(name string, props *actor.Props) *actor.PID {
		props, unwatch := h.metrics.mailboxes.Watch(id, name, props)
		r.unwatch = append(r.unwatch, unwatch)
		return ctx.Spawn(props)
	}
	r.unwatch = append(r.unwatch, func() { // what stood last stands no longer
		m.Unconfirmed(nodemetrics.Down, 0)
		m.Waiting(nodemetrics.Down, 0)
	})
	log.Info("rings are served here", zap.Uint64("epoch", rings.Epoch()))
	e := &edge{cfg: r.cfg, rings: rings, rejoins: newRejoins()}
	e.router = spawn("router", newRouter(h, r.cfg, rings))
	e.session = spawn("session", link.NewSession(link.SessionConfig{
		Edge: id, Sends: messages.Ring_DOWN, Supervisor: h.supervisor, Metrics: m, Log: log, Flush: -1,
	}))
	e.buffer = spawn("buffer", link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_DOWN, Slots: slots, Journal: rings.Down(), Session: e.session, Owner: ctx.Self(), Metrics: m, Log: log,
	}))
	e.mirror = spawn("mirror", link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_UP, Slots: slots, Journal: rings.Up(), Session: e.session, Next: e.router, Owner: ctx.Self(), Metrics: m, Log: log,
	}))
	e.events = spawn("applier", link.NewApplier(link.ApplierConfig{
		Edge: id, Session: e.session, Owner: ctx.Self(), Apply: rings.Apply, Applied: rings.Applied, Log: log,
	}))
	r.edge = e
	h.own(e)
	// Only now: the session makes the supervisor ask for this edge at once.
	ctx.Send(e.session, &link.Attach{Buffer: e.buffer, Mirror: e.mirror, Events: e.events})
}

// onLeave has the edge connect to the hub that is to have the rings, while all goes on.
func (r *ring) onLeave(ctx actor.Context, m *messages.Leave) {
	r.to = m.To.Attributes[linkAttribute]
	if r.edge == nil || r.to == "" {
		ctx.Stop(ctx.Self())
		return
	}
	r.hub.log.Info("rings move", zap.String("edge", r.cfg.ID), zap.String("to", m.To.Name))
	ctx.Request(r.edge.session, &link.Move{To: r.to, Within: m.Within / 3})
}

// onMoveReady stops what writes.
func (r *ring) onMoveReady(ctx actor.Context) {
	if r.left != nil {
		return
	}
	r.hub.disown(r.edge)
	r.left = []*actor.PID{r.edge.buffer, r.edge.mirror, r.edge.events, r.edge.router}
	for _, pid := range r.left {
		ctx.Stop(pid)
	}
}

// onTerminated: once nobody writes any more, the edge is sent to the other hub. What
// the store had not written is fenced there, and was acknowledged to nobody.
func (r *ring) onTerminated(ctx actor.Context, m *actor.Terminated) {
	if r.left == nil {
		r.beginAnew(ctx, fmt.Errorf("hub: actor %s has failed for good", m.Who.Id))
		return
	}
	if m.Who.Equal(r.edge.session) {
		ctx.Stop(ctx.Self())
		return
	}
	r.left = slices.DeleteFunc(r.left, m.Who.Equal)
	if len(r.left) == 0 {
		ctx.Send(r.edge.session, &link.Moved{To: r.to})
		ctx.Poison(r.edge.session)
	}
}

// beginAnew ends this actor although the placement wants it to run: that releases the
// rings and makes them anew, under a higher epoch, if they belong here still. It heals
// what took the epoch away behind its back, as a claim that was late. A hub alone has no
// placement. What is ending already ends.
func (r *ring) beginAnew(ctx actor.Context, why error) {
	if r.hub.cluster == nil || r.hub.owned(r.cfg.ID) != r.edge {
		return
	}
	r.hub.log.Warn("rings begin anew", zap.String("edge", r.cfg.ID), zap.Uint64("epoch", r.edge.rings.Epoch()), zap.Error(why))
	ctx.Stop(ctx.Self())
}

// onGetRings has the picture drawn for another hub: the actors below take their time.
func (r *ring) onGetRings(ctx actor.Context, m *messages.GetRings) {
	if r.edge == nil {
		ctx.Respond(&messages.RingsAre{Owner: r.hub.name, Link: string(LinkUnknown)})
		return
	}
	root, asker, e := ctx.ActorSystem().Root, ctx.Sender(), r.edge
	go func() { root.Send(asker, r.hub.picture(e, m.Ring).onWire()) }()
}

// newRouter returns the props of what takes messages.HandOn from the up mirror.
func newRouter(h *Hub, cfg config.HubEdge, rings journal.Rings) *actor.Props {
	return hubactors.NewRouter(hubactors.RouterConfig{
		Edge: cfg.ID, Service: cfg.Number, Suffixes: cfg.SuffixDigits > 0, Rings: rings, Now: h.now, Routed: func(route hubactors.Route) { h.metrics.routed(cfg.ID, route) }, Log: h.log,
		Exists: func(name string) (bool, error) {
			_, ok, err := h.store.User(name)
			return ok, h.failed(err)
		},
	})
}
