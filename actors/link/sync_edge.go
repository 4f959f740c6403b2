package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// EdgeSyncConfig is what the edge's synchronisation actor needs.
type EdgeSyncConfig struct {
	Edge                    string
	Hubs                    []string // as configured
	Stripes                 int
	Gen                     uint64
	Session, Buffer, Mirror *actor.PID
	Journal                 EdgeJournal
	Metrics                 Metrics
	Log                     *zap.Logger

	// Rejoin takes over what the hub says, starts this edge's rings anew, and does not
	// wait for that; nil: the hub's word is refused.
	Rejoin func(*messages.Rejoin)

	// Known are hubs that the edge has heard of, the one that worked last first; Learn
	// keeps them, and does not wait for that. nil: only the configured ones are tried.
	Known func() []string
	Learn func(hubs []string)

	DialWithin time.Duration  // of the first attempt to reach a hub; 0: 3 s
	MaxBackOff time.Duration  // after each hub was tried; 0: 0.5 s. Ten times that where a person has to act
	Jitter     func() float64 // 0 <= x < 1, of the back-off; nil: random
}

// EdgeJournal is the part of journal.Edge that is about the link.
type EdgeJournal interface {
	Instance() []byte
	HighestEpoch() uint64
	EpochOwner() []byte
	SetHighestEpoch(epoch uint64, owner []byte, done func(error))
	NextHello() uint64
	HellosAbove(n uint64)
	journal.StatusLog
}

// NewEdgeSync returns the props of the edge's synchronisation actor.
func NewEdgeSync(cfg EdgeSyncConfig) *actor.Props {
	if cfg.DialWithin == 0 {
		cfg.DialWithin = 3 * time.Second
	}
	if cfg.MaxBackOff == 0 {
		cfg.MaxBackOff = 500 * time.Millisecond
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	return actor.PropsFromProducer(func() actor.Actor {
		return &edgeSync{cfg: cfg, rings: rings{buffer: cfg.Buffer, mirror: cfg.Mirror, sends: messages.Ring_UP}}
	})
}

// edgeSync brings an interrupted link back (patent, figure 3): reconnect while
// both ends keep receiving, say Hello, compare, resend what is missing, end.
//
//	dial ──Connected──▶ Hello ──Welcome──▶ epoch on disk ──▶ compare ──▶ resend ──Agreed twice──▶ end
//	 ▲                                        │
//	 └── back-off, next hub ── failed at any step
type edgeSync struct {
	cfg      EdgeSyncConfig
	rings    rings
	route    *route
	hub      string // that is being tried; "": none is
	since    time.Time
	within   time.Duration
	failures int
	tlsAt    time.Time
	welcome  *messages.Welcome
}

type dialDue struct{}

type epochStored struct {
	epoch uint64
	err   error
}

func (s *edgeSync) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Request(s.cfg.Session, &Synchronise{Gen: s.cfg.Gen})
	case *Synchronising:
		s.route = newRoute(s.cfg.Hubs, nil, m.Hub)
		s.dial(ctx)
	case dialDue:
		s.dial(ctx)
	case *Connected:
		s.tlsAt = m.TLSAt
		s.rings.ask(ctx)
	case *ViewIs:
		if s.rings.viewArrived(m) {
			s.hello(ctx)
		}
	case *messages.Welcome:
		s.onWelcome(ctx, m)
	case *epochStored:
		s.onEpochStored(ctx, m)
	case *Resynced:
		s.onResynced(ctx, m)
	case *Agreed:
		if s.rings.agree(m) {
			s.end(ctx)
		}
	case *ConnectFailed:
		if s.hub != "" {
			s.onFailed(ctx, m.Err)
		}
	}
}

func (s *edgeSync) dial(ctx actor.Context) {
	s.route.hear(s.cfg.Hubs, s.known())
	s.since = time.Now()
	s.hub = s.route.choose(s.since)
	// A path or a machine that was too slow for one attempt gets longer for the next.
	s.within = s.cfg.DialWithin * time.Duration(2+min(s.route.lates, 4)) / 2
	ctx.Request(s.cfg.Session, &Connect{Hub: s.hub, Within: s.within})
}

func (s *edgeSync) known() []string {
	if s.cfg.Known == nil {
		return nil
	}
	return s.cfg.Known()
}

func (s *edgeSync) hello(ctx actor.Context) {
	down, up := s.rings.downUp()
	restored, trimmed := false, uint64(0)
	if j, ok := s.cfg.Journal.(interface{ Standing() (bool, uint64) }); ok {
		restored, trimmed = j.Standing()
	}
	ctx.Request(s.cfg.Session, &SayHello{Hello: &messages.Hello{
		Restored: restored, EventsTrimmed: trimmed, Number: min(s.cfg.Journal.NextHello(), maxNumber),
		Edge: s.cfg.Edge, Version: Version, Instance: s.cfg.Journal.Instance(),
		HighestEpoch: s.cfg.Journal.HighestEpoch(), Down: down, Up: up,
		Deferred: s.cfg.Journal.Deferred(), Stripes: uint32(s.cfg.Stripes), EventsLast: s.cfg.Journal.LastEvent(),
	}})
}

func (s *edgeSync) onWelcome(ctx actor.Context, m *messages.Welcome) {
	highest, owner := s.cfg.Journal.HighestEpoch(), s.cfg.Journal.EpochOwner()
	store, err := CheckWelcome(m.Epoch, highest)
	if err == nil && !store {
		store, err = CheckOwner(m.Epoch, m.Owner, owner)
	}
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	s.welcome = m
	if !store {
		s.rings.resync(ctx, m.Down, m.Up)
		return
	}
	root, self := ctx.ActorSystem().Root, ctx.Self()
	s.cfg.Journal.SetHighestEpoch(m.Epoch, m.Owner, func(err error) { root.Send(self, &epochStored{m.Epoch, err}) })
}

func (s *edgeSync) onEpochStored(ctx actor.Context, m *epochStored) {
	if s.welcome == nil || s.welcome.Epoch != m.epoch {
		return // of an attempt that has failed meanwhile
	}
	if m.err != nil {
		s.refuse(ctx, fmt.Errorf("link: storing epoch %d: %w", m.epoch, m.err))
		return
	}
	s.rings.resync(ctx, s.welcome.Down, s.welcome.Up)
}

func (s *edgeSync) onResynced(ctx actor.Context, m *Resynced) {
	if !s.rings.resynced(m) {
		return
	}
	if s.rings.trouble != nil {
		s.refuse(ctx, s.rings.trouble)
		return
	}
	if s.cfg.Learn != nil {
		s.cfg.Learn(KnownHubs(s.hub, s.welcome.Hubs, s.known()))
	}
	ctx.Send(s.cfg.Session, &Established{Epoch: s.welcome.Epoch, Applied: s.welcome.EventsApplied})
}

func (s *edgeSync) end(ctx actor.Context) {
	took := s.rings.lastAt.Sub(s.tlsAt)
	s.cfg.Metrics.Resynchronised(took)
	ctx.Send(ctx.Parent(), &Synchronised{Edge: s.cfg.Edge, Gen: s.cfg.Gen, Connected: s.tlsAt, Took: took, Resent: s.rings.resent})
}

// refuse ends the attempt from this side; ConnectFailed comes back.
func (s *edgeSync) refuse(ctx actor.Context, err error) {
	s.cfg.Log.Error("cannot agree with the hub", zap.Error(err))
	ctx.Send(s.cfg.Session, &ProtocolError{err})
}

// onFailed tries the next hub; with back-off after each was tried.
func (s *edgeSync) onFailed(ctx actor.Context, err error) {
	now := time.Now()
	next := s.route.failed(s.hub, err, now.Sub(s.since) >= s.within, now)
	hub := s.hub
	s.welcome, s.hub = nil, ""
	s.rings.try++ // what is still asked belongs to this attempt
	var refused *RefusedError
	var redirect *RedirectError
	var rejoin *RejoinError
	switch {
	case errors.As(err, &rejoin) && rejoin.Rejoin.GetEpoch() < s.cfg.Journal.HighestEpoch():
		s.cfg.Log.Error("a hub of an older epoch wants this edge to join anew: not done", zap.String("hub", hub), zap.Uint64("epoch", rejoin.Rejoin.GetEpoch()))
	case errors.As(err, &rejoin) && CheckRejoin(rejoin.Rejoin) != nil:
		s.cfg.Log.Error("the hub's word on how to join anew cannot be taken", zap.String("hub", hub), zap.Error(CheckRejoin(rejoin.Rejoin)))
		next = slowly
	case errors.As(err, &rejoin) && s.cfg.Rejoin != nil:
		s.cfg.Log.Warn("the hub has this edge join anew")
		s.cfg.Rejoin(rejoin.Rejoin)
		next = slowly
	case errors.As(err, &redirect) && next == notAtAll:
		s.cfg.Log.Debug("sent on to another hub", zap.String("hub", redirect.Hub))
	case errors.As(err, &refused) && refused.Code == "older_hello":
		s.cfg.Log.Info("the hub has heard a later hello of this edge: going on above it", zap.Uint64("number", refused.Number))
		s.cfg.Journal.HellosAbove(min(refused.Number, maxNumber))
	case errors.As(err, &refused) && next != shortly:
		s.cfg.Log.Warn("the hub refuses this edge", zap.String("code", refused.Code), zap.String("reason", refused.Text))
	case s.failures == 0, s.failures%20 == 0:
		s.cfg.Log.Info("no hub reached; trying on", zap.Error(err), zap.Int("attempts", s.failures+1))
	}
	s.failures++
	after(ctx, s.wait(next), dialDue{})
}

func (s *edgeSync) wait(p pause) time.Duration {
	var shortest, more time.Duration
	switch p {
	case shortly:
		shortest, more = 100*time.Millisecond, 150*time.Millisecond
	case longer:
		shortest = min(s.cfg.MaxBackOff, 50*time.Millisecond<<min(s.route.rounds, 10)) / 2
		more = shortest
	case slowly:
		shortest, more = 5*s.cfg.MaxBackOff, 5*s.cfg.MaxBackOff
	}
	return shortest + time.Duration(s.cfg.Jitter()*float64(more))
}
