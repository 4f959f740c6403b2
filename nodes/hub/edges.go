package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/cluster/linkrpc"
	"github.com/ringway-im/ringway/nodes/config"
	edgenode "github.com/ringway-im/ringway/nodes/edge"
	nodemetrics "github.com/ringway-im/ringway/nodes/metrics"
	"github.com/ringway-im/ringway/nodes/pki"
)

// This file is where edges meet the hub: which of them have their rings here, and
// the port that they dial.

// edge is a configured edge whose rings this hub owns.
type edge struct {
	cfg                                     config.HubEdge
	rings                                   journal.Rings
	session, buffer, mirror, events, router *actor.PID // children of its ring
	rejoins                                 *rate.Limiter
}

// startEdges claims each edge's rings and opens the link port.
func (h *Hub) startEdges() error {
	h.supervisor = h.system.Root.Spawn(h.metrics.watch("supervisor", link.NewSupervisor(link.SupervisorConfig{Sync: h.sync, Log: h.log})))
	if err := h.listenLink(); err != nil {
		return err
	}
	link, err := h.linkAddress()
	if err != nil && (h.cluster != nil || h.cfg.Gossip != nil) {
		return err
	}
	if err := h.startGossip(link); err != nil {
		return err
	}
	if h.cluster != nil {
		return h.startMember(link)
	}
	for _, cfg := range h.cfg.Edges {
		begun := make(chan error, 1)
		h.rings = append(h.rings, h.system.Root.Spawn(newRing(h, cfg, func(err error) { begun <- err })))
		if err := <-begun; err != nil {
			return err
		}
		if cfg.LocalEdge != nil {
			if err := h.startBeside(cfg); err != nil {
				return fmt.Errorf("hub: edge %s in this process: %w", cfg.ID, err)
			}
		}
	}
	h.serveLink()
	return nil
}

// startMember joins the cluster, which gives this hub its rings. Edges dial it at link,
// those of this process like others.
func (h *Hub) startMember(link string) error {
	if err := h.cluster.join(link); err != nil {
		return err
	}
	h.serveLink()
	for _, cfg := range h.cfg.Edges {
		if cfg.LocalEdge == nil {
			continue
		}
		if err := h.startLocal(cfg, *cfg.LocalEdge); err != nil {
			return fmt.Errorf("hub: edge %s in this process: %w", cfg.ID, err)
		}
	}
	return nil
}

// linkAddress is where edges are told to dial this hub; "": nowhere.
func (h *Hub) linkAddress() (string, error) {
	switch {
	case h.cfg.Link.Advertise != "":
		return h.cfg.Link.Advertise, nil
	case h.linkListener == nil:
		return "", nil
	}
	at := h.linkListener.Addr().String()
	if ap, err := netip.ParseAddrPort(at); err == nil && ap.Addr().IsUnspecified() {
		return "", fmt.Errorf("hub: link.listen is %s, which no edge can be told to dial: give link.advertise", at)
	}
	return at, nil
}

// sync makes a synchronisation actor for the supervisor.
func (h *Hub) sync(id string, session *actor.PID, gen uint64) *actor.Props {
	e := h.owned(id)
	if e == nil {
		return nil
	}
	cfg := link.HubSyncConfig{
		Edge: id, Hub: h.name, Epoch: e.rings.Epoch(), Gen: gen, Session: session, Buffer: e.buffer, Mirror: e.mirror,
		Metrics: nodemetrics.Link(h.registerer, id, nodemetrics.Down), Log: h.log.With(zap.String("edge", id)), Applied: e.rings.Applied,
		Instance:    func() ([]byte, error) { return h.store.Instance(id) },
		SetInstance: func(instance []byte, done func(error)) { h.store.SetInstance(id, instance, done) },
	}
	if h.cluster != nil {
		cfg.Hubs = h.cluster.links
	}
	h.withRejoin(&cfg, e)
	return link.NewHubSync(cfg)
}

// startBeside runs an edge inside this process, over stripes that are actors.
func (h *Hub) startBeside(of config.HubEdge) error {
	dialer := linkrpc.NewLocalDialer(func() (*actor.PID, bool) { return h.session(of.ID) })
	cfg := *of.LocalEdge
	cfg.Hubs, cfg.Link.Stripes = []string{"local"}, 1
	return h.startLocal(of, cfg, edgenode.WithDialer(dialer))
}

// startLocal runs an edge inside this process.
func (h *Hub) startLocal(of config.HubEdge, cfg config.Edge, options ...edgenode.Option) error {
	local, err := edgenode.New(cfg, append(options, edgenode.WithLogger(h.log.With(zap.String("edge", of.ID))), edgenode.WithRegisterer(h.registerer), edgenode.WithActorSystem(h.system))...)
	if err != nil {
		return err
	}
	h.locals = append(h.locals, local)
	go func() {
		if err := local.Failed(); err != nil {
			h.die(err)
		}
	}()
	return nil
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
		System: h.system, TLS: linkrpc.Credentials(tls, false), Identity: pki.Identity, Session: h.serving, Log: h.log,
	})
	return nil
}

// serveLink lets the edges in.
func (h *Hub) serveLink() {
	if h.link == nil {
		return
	}
	go func() {
		if err := h.link.Serve(h.linkListener); err != nil {
			h.die(fmt.Errorf("hub: link port: %w", err))
		}
	}()
}

// LinkAddr is where edges dial; nil: nowhere, or not yet.
func (h *Hub) LinkAddr() net.Addr {
	if h.linkListener == nil {
		return nil
	}
	return h.linkListener.Addr()
}

// own notes that this hub serves an edge's rings from now on.
func (h *Hub) own(e *edge) {
	h.metrics.ownedTotal.WithLabelValues(e.cfg.ID).Inc()
	h.mu.Lock()
	h.edges[e.cfg.ID] = e
	h.mu.Unlock()
	if h.cluster != nil {
		h.cluster.wake()
	}
}

// disown notes that it no longer does.
func (h *Hub) disown(e *edge) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.edges[e.cfg.ID] == e {
		delete(h.edges, e.cfg.ID)
	}
}

func (h *Hub) owned(id string) *edge {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.edges[id]
}

// session finds the link session of an edge.
func (h *Hub) session(id string) (*actor.PID, bool) {
	if e := h.owned(id); e != nil {
		return e.session, true
	}
	return nil, false
}

// serving tells the link port who serves an edge.
func (h *Hub) serving(ctx context.Context, id string) (session *actor.PID, redirect string, err error) {
	if _, ok := h.edge(id); !ok {
		return nil, "", linkrpc.ErrUnknownEdge
	}
	if h.cluster != nil {
		return h.cluster.serving(ctx, id)
	}
	if session, ok := h.session(id); ok {
		return session, "", nil
	}
	return nil, "", errors.New("hub: the rings of this edge are not owned here at the moment")
}

// stopEdges stops them again: edges of this process, the link, the supervisor,
// the rings.
func (h *Hub) stopEdges() {
	for _, local := range h.locals {
		if err := local.Close(); err != nil {
			h.log.Warn("local edge did not close", zap.Error(err))
		}
	}
	h.stopGossip()
	if h.link != nil {
		h.link.Stop()
		_ = h.linkListener.Close() // where it was not served
	}
	var pids []*actor.PID
	if h.cluster != nil {
		pids = h.cluster.leave()
	}
	if h.supervisor != nil {
		pids = append(pids, h.supervisor)
	}
	for _, pid := range append(pids, h.rings...) {
		if err := h.system.Root.StopFuture(pid).Wait(); err != nil {
			h.log.Warn("actor did not stop", zap.Stringer("pid", pid), zap.Error(err))
		}
	}
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
