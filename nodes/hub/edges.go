package hub

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/cluster/linkrpc"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	edgenode "github.com/ringway-im/ringway/nodes/edge"
	nodemetrics "github.com/ringway-im/ringway/nodes/metrics"
	"github.com/ringway-im/ringway/nodes/pki"
)

// This file is the hub's end of each edge: claim, router, rings, link session,
// and the port that edges dial.

// edge is a configured edge whose rings this hub owns.
type edge struct {
	cfg                             config.HubEdge
	rings                           journal.Rings
	router                          *actor.PID
	session, buffer, mirror, events *actor.PID
	local                           *edgenode.Edge // inside this process; nil: it dials in
}

// startEdges claims each edge's rings, starts what serves them, and opens the
// link port.
func (h *Hub) startEdges() error {
	h.supervisor = h.system.Root.Spawn(link.NewSupervisor(link.SupervisorConfig{Sync: h.sync, Log: h.log}))
	for _, cfg := range h.cfg.Edges {
		rings, err := h.store.Claim(cfg.ID)
		if err != nil {
			return fmt.Errorf("hub: claiming the rings of edge %s: %w", cfg.ID, h.failed(err))
		}
		e := &edge{cfg: cfg, rings: rings}
		e.router = h.startRouter(e)
		h.startLink(e)
		h.mu.Lock()
		h.edges = append(h.edges, e)
		h.mu.Unlock()
		// Only now: the session makes the supervisor ask for this edge at once.
		h.system.Root.Send(e.session, &link.Attach{Buffer: e.buffer, Mirror: e.mirror, Events: e.events})
		if cfg.LocalEdge != nil {
			if err := h.startLocal(e); err != nil {
				return fmt.Errorf("hub: edge %s in this process: %w", cfg.ID, err)
			}
		}
	}
	return h.listenLink()
}

// startLink spawns the link session and the ring actors of an edge; Attach has
// them begin.
func (h *Hub) startLink(e *edge) {
	root, slots, log := h.system.Root, e.cfg.Ring.Slots, h.log.With(zap.String("edge", e.cfg.ID))
	m := nodemetrics.Link(h.registerer, e.cfg.ID)
	e.session = root.Spawn(link.NewSession(link.SessionConfig{
		Edge: e.cfg.ID, Sends: messages.Ring_DOWN, Supervisor: h.supervisor, Metrics: m, Log: log, Flush: -1,
	}))
	e.buffer = root.Spawn(link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_DOWN, Slots: slots, Journal: e.rings.Down(), Session: e.session, Metrics: m, Log: log,
	}))
	e.mirror = root.Spawn(link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_UP, Slots: slots, Journal: e.rings.Up(), Session: e.session, Next: e.router, Metrics: m, Log: log,
	}))
	e.events = root.Spawn(link.NewApplier(link.ApplierConfig{
		Edge: e.cfg.ID, Session: e.session, Apply: e.rings.Apply, Applied: e.rings.Applied, Log: log,
	}))
}

// sync makes a synchronisation actor for the supervisor.
func (h *Hub) sync(id string, session *actor.PID, gen uint64) *actor.Props {
	e := h.owned(id)
	if e == nil {
		return nil
	}
	cfg := link.HubSyncConfig{
		Edge: id, Hub: h.name, Epoch: e.rings.Epoch(), Gen: gen, Session: session, Buffer: e.buffer, Mirror: e.mirror,
		Metrics: nodemetrics.Link(h.registerer, id), Log: h.log.With(zap.String("edge", id)), Applied: e.rings.Applied,
		Instance:    func() ([]byte, error) { return h.store.Instance(id) },
		SetInstance: func(instance []byte, done func(error)) { h.store.SetInstance(id, instance, done) },
	}
	h.withRejoin(&cfg, e)
	return link.NewHubSync(cfg)
}

// startLocal runs an edge inside this process, over stripes that are actors.
func (h *Hub) startLocal(e *edge) error {
	id := e.cfg.ID
	dialer := linkrpc.NewLocalDialer(func() (*actor.PID, bool) { return h.session(id) })
	cfg := *e.cfg.LocalEdge
	cfg.Hubs, cfg.Link.Stripes = []string{"local"}, 1
	var err error
	e.local, err = edgenode.New(cfg, edgenode.WithDialer(dialer), edgenode.WithLogger(h.log), edgenode.WithRegisterer(h.registerer), edgenode.WithActorSystem(h.system))
	if err == nil {
		go func() {
			if err := e.local.Failed(); err != nil {
				h.die(err)
			}
		}()
	}
	return err
}

// listenLink opens the port that edges dial; none is configured where all are
// local.
func (h *Hub) listenLink() error {
	cfg := h.cfg.Link
	if cfg.Listen == "" {
		return nil
	}
	tls, err := pki.ServerTLS(cfg.TLS.Cert, cfg.TLS.Key, cfg.TLS.CA)
	if err != nil {
		return fmt.Errorf("hub: link.tls: %w", err)
	}
	l, err := linkrpc.Listen(cfg.Listen, cfg.Congestion)
	if err != nil {
		return fmt.Errorf("hub: link.listen: %w; choose a free address", err)
	}
	h.linkListener = l
	h.link = linkrpc.NewServer(linkrpc.ServerConfig{
		System: h.system, TLS: linkrpc.Credentials(tls, false), Identity: pki.Identity, Session: h.session, Log: h.log,
	})
	go func() {
		if err := h.link.Serve(l); err != nil {
			h.die(fmt.Errorf("hub: link port: %w", err))
		}
	}()
	return nil
}

// LinkAddr is where edges dial; nil: nowhere, or not yet.
func (h *Hub) LinkAddr() net.Addr {
	if h.linkListener == nil {
		return nil
	}
	return h.linkListener.Addr()
}

func (h *Hub) owned(id string) *edge {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.edges {
		if e.cfg.ID == id {
			return e
		}
	}
	return nil
}

// session finds the link session of an edge.
func (h *Hub) session(id string) (*actor.PID, bool) {
	if e := h.owned(id); e != nil {
		return e.session, true
	}
	return nil, false
}

// stopEdges stops them again, the link first.
func (h *Hub) stopEdges() {
	h.mu.Lock()
	edges := h.edges
	h.edges = nil
	h.mu.Unlock()
	for _, e := range edges {
		if e.local != nil {
			if err := e.local.Close(); err != nil {
				h.log.Warn("local edge did not close", zap.String("edge", e.cfg.ID), zap.Error(err))
			}
		}
	}
	if h.link != nil {
		h.link.Stop()
	}
	var pids []*actor.PID
	if h.supervisor != nil {
		pids = append(pids, h.supervisor)
	}
	for _, e := range edges {
		pids = append(pids, e.session, e.buffer, e.mirror, e.events, e.router)
	}
	for _, pid := range pids {
		if err := h.system.Root.StopFuture(pid).Wait(); err != nil {
			h.log.Warn("actor did not stop", zap.Stringer("pid", pid), zap.Error(err))
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

// view asks the actors for a picture; with a ring named, that one has sequences.
func (o ownEdges) view(cfg config.HubEdge, ring messages.Ring) EdgeRings {
	v := EdgeRings{ID: cfg.ID, Link: LinkUnknown}
	e := o.hub.owned(cfg.ID)
	if e == nil {
		return v
	}
	v.Owner, v.Epoch, v.Link = o.hub.name, e.rings.Epoch(), LinkInterrupted
	l, err := ask[*link.LinkState](o.hub.system, e.session, &link.GetLink{})
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
	v.Hub.Down, _ = ask[*messages.RingState](o.hub.system, e.buffer, &link.GetState{Sequences: ring == messages.Ring_DOWN})
	v.Hub.Up, _ = ask[*messages.RingState](o.hub.system, e.mirror, &link.GetState{Sequences: ring == messages.Ring_UP})
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

// die ends Run with an error.
func (h *Hub) die(err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	select {
	case h.fatal <- err:
	default:
	}
}
