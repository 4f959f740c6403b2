package link

import (
	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// SupervisorConfig is what the supervisor needs.
type SupervisorConfig struct {
	// Sync makes the props of the synchronisation actor for an edge's link;
	// nil: not an edge of this node (any more).
	Sync func(edge string, session *actor.PID, gen uint64) *actor.Props
	Log  *zap.Logger
}

// NewSupervisor returns the props of the supervisor: it hears of each link that
// is interrupted and starts a synchronisation actor for it. No link comes back
// without one; one edge's trouble never slows another.
func NewSupervisor(cfg SupervisorConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &supervisor{cfg: cfg, links: map[string]*watched{}}
	}, actor.WithSupervisor(actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })))
}

type supervisor struct {
	cfg      SupervisorConfig
	links    map[string]*watched
	stopping bool // a synchronisation that ends now is not replaced: it would have to be waited for
}

// watched is one edge's link. gen tells an interruption from the one before: a
// synchronisation that ends is stale when the link broke again meanwhile.
type watched struct {
	session *actor.PID
	gen     uint64
	sync    *actor.PID
}

func (s *supervisor) Receive(ctx actor.Context) {
	if s.stopping {
		return
	}
	switch m := ctx.Message().(type) {
	case *actor.Stopping:
		s.stopping = true
	case *Interrupted:
		s.onInterrupted(ctx, m)
	case *Synchronised:
		s.onSynchronised(ctx, m)
	case *actor.Terminated:
		s.onTerminated(ctx, m)
	}
}

func (s *supervisor) onInterrupted(ctx actor.Context, m *Interrupted) {
	w := s.links[m.Edge]
	if w == nil {
		w = &watched{}
		s.links[m.Edge] = w
	}
	w.session = m.Session
	s.start(ctx, m.Edge, w)
}

// start begins a synchronisation, in the place of one that is under way.
func (s *supervisor) start(ctx actor.Context, edge string, w *watched) {
	if w.sync != nil {
		ctx.Unwatch(w.sync)
		ctx.Stop(w.sync)
		w.sync = nil
	}
	w.gen++
	props := s.cfg.Sync(edge, w.session, w.gen)
	if props == nil {
		delete(s.links, edge)
		return
	}
	w.sync = ctx.SpawnPrefix(props, "sync")
	ctx.Watch(w.sync)
}

func (s *supervisor) onSynchronised(ctx actor.Context, m *Synchronised) {
	w := s.links[m.Edge]
	if w == nil || w.gen != m.Gen || w.sync == nil {
		return
	}
	ctx.Unwatch(w.sync)
	ctx.Stop(w.sync)
	w.sync = nil
	ctx.Send(w.session, m)
	s.cfg.Log.Info("link synchronised", zap.String("edge", m.Edge), zap.Duration("took", m.Took), zap.Int("resent", m.Resent))
}

// onTerminated: a synchronisation actor that failed is replaced.
func (s *supervisor) onTerminated(ctx actor.Context, m *actor.Terminated) {
	for edge, w := range s.links {
		if w.sync != nil && w.sync.Equal(m.Who) {
			w.sync = nil
			s.cfg.Log.Error("synchronisation failed: starting anew", zap.String("edge", edge))
			s.start(ctx, edge, w)
			return
		}
	}
}
