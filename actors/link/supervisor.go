package link

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// SupervisorConfig is what the supervisor needs.
type SupervisorConfig struct {
	// Sync makes the props of the synchronisation actor for an edge's link;
	// nil: not an edge of this node, or not yet: it is asked again in a second, for
	// as long as the session lives.
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

// askAgain: there was no synchronisation to be had for an edge.
type askAgain struct {
	edge string
	gen  uint64
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
	case askAgain:
		if w := s.links[m.edge]; w != nil && w.gen == m.gen {
			s.start(ctx, m.edge, w)
		}
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
	if w.session == nil || !w.session.Equal(m.Session) {
		ctx.Watch(m.Session)
		w.session = m.Session
	}
	s.start(ctx, m.Edge, w)
}

// start begins a synchronisation, in the place of one that is under way.
func (s *supervisor) start(ctx actor.Context, edge string, w *watched) {
	s.end(ctx, w)
	w.gen++
	props := s.cfg.Sync(edge, w.session, w.gen)
	if props == nil {
		after(ctx, time.Second, askAgain{edge, w.gen})
		return
	}
	w.sync = ctx.SpawnPrefix(props, "sync")
	ctx.Watch(w.sync)
}

// end ends a synchronisation that is under way.
func (s *supervisor) end(ctx actor.Context, w *watched) {
	if w.sync != nil {
		ctx.Unwatch(w.sync)
		ctx.Stop(w.sync)
		w.sync = nil
	}
}

func (s *supervisor) onSynchronised(ctx actor.Context, m *Synchronised) {
	w := s.links[m.Edge]
	if w == nil || w.gen != m.Gen || w.sync == nil {
		return
	}
	s.end(ctx, w)
	ctx.Send(w.session, m)
	s.cfg.Log.Info("link synchronised", zap.String("edge", m.Edge), zap.Time("connected", m.Connected), zap.Duration("took", m.Took), zap.Int("resent", m.Resent))
}

// onTerminated: a synchronisation actor that failed is replaced; a session that has
// stopped needs none.
func (s *supervisor) onTerminated(ctx actor.Context, m *actor.Terminated) {
	for edge, w := range s.links {
		if w.session.Equal(m.Who) {
			s.end(ctx, w)
			delete(s.links, edge)
			return
		}
		if w.sync != nil && w.sync.Equal(m.Who) {
			w.sync = nil
			s.cfg.Log.Error("synchronisation failed: starting anew", zap.String("edge", edge))
			s.start(ctx, edge, w)
			return
		}
	}
}
