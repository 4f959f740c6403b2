package link

import (
	"bytes"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// HubSyncConfig is what the hub's synchronisation actor needs.
type HubSyncConfig struct {
	Edge, Hub               string
	Epoch                   uint64
	Gen                     uint64
	Session, Buffer, Mirror *actor.PID
	Metrics                 Metrics
	Log                     *zap.Logger

	// Instance of the edge's journal, as it was first seen; nil: never.
	Instance    func() ([]byte, error)
	SetInstance func(instance []byte, done func(error))
	Applied     func() (uint64, error) // status events durable here
	Hubs        func() []string        // addresses of other hubs; nil: none

	// Standing and Rejoin serve an edge that does not stand where the hub remembers;
	// nil: such an edge is refused.
	Standing func() (journal.Standing, error)
	Rejoin   func(what journal.Rejoin, done func(journal.Rejoined, error))
}

// NewHubSync returns the props of the hub's synchronisation actor.
func NewHubSync(cfg HubSyncConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &hubSync{cfg: cfg, rings: rings{buffer: cfg.Buffer, mirror: cfg.Mirror, sends: messages.Ring_DOWN}}
	})
}

// hubSync is the hub's end of figure 3: it waits for the edge's Hello, compares,
// answers with Welcome, and ends when the rings agree. Until its Welcome the
// edge's mirror is a lower bound of what the edge holds.
type hubSync struct {
	cfg   HubSyncConfig
	rings rings
	hello *messages.Hello
	tlsAt time.Time

	rejoining *messages.Hello // under way for this one
	looks     int
	above     uint64
	answer    journal.Rejoined
}

type instanceStored struct{ err error }

func (s *hubSync) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Request(s.cfg.Session, &Synchronise{Gen: s.cfg.Gen})
	case *HelloArrived:
		s.hello, s.tlsAt = m.Hello, m.TLSAt
		if s.rejoining == nil {
			s.onHello(ctx)
		}
	case *ViewIs:
		s.onView(ctx, m)
	case lookAgain:
		if m.hello == s.hello {
			ctx.Request(s.cfg.Mirror, &GetView{})
		} else if s.rejoining == m.hello {
			s.rejoining = nil
			s.onHello(ctx)
		}
	case *Rejoined:
		s.onRejoined(ctx, m)
	case *instanceStored:
		if m.err != nil {
			s.refuse(ctx, "storage", m.err.Error())
			return
		}
		s.rings.resync(ctx, s.hello.Down, s.hello.Up)
	case *Resynced:
		s.onResynced(ctx, m)
	case *Agreed:
		if s.rings.agree(m) {
			took := s.rings.lastAt.Sub(s.tlsAt)
			s.cfg.Metrics.Resynchronised(took)
			ctx.Send(ctx.Parent(), &Synchronised{Edge: s.cfg.Edge, Gen: s.cfg.Gen, Connected: s.tlsAt, Took: took, Resent: s.rings.resent})
		}
	}
}

func (s *hubSync) onHello(ctx actor.Context) {
	h := s.hello
	if why := CheckHello(h, s.cfg.Epoch); why != nil {
		s.refuse(ctx, why.Code, why.Text)
		return
	}
	known, err := s.cfg.Instance()
	switch {
	case err != nil:
		s.refuse(ctx, "storage", err.Error())
	case known != nil && !bytes.Equal(known, h.Instance):
		why := otherInstance(s.cfg.Edge)
		s.refuse(ctx, why.Code, why.Text)
	case s.rejoins(ctx):
	case known == nil:
		root, self := ctx.ActorSystem().Root, ctx.Self()
		s.cfg.SetInstance(h.Instance, func(err error) { root.Send(self, &instanceStored{err}) })
	default:
		s.rings.resync(ctx, h.Down, h.Up)
	}
}

func (s *hubSync) onResynced(ctx actor.Context, m *Resynced) {
	if !s.rings.resynced(m) {
		return
	}
	if s.rings.trouble != nil {
		s.cfg.Log.Error("the rings do not fit together", zap.Error(s.rings.trouble))
		s.refuse(ctx, "rings", s.rings.trouble.Error())
		return
	}
	applied, err := s.cfg.Applied()
	if err != nil {
		s.refuse(ctx, "storage", err.Error())
		return
	}
	var hubs []string
	if s.cfg.Hubs != nil {
		hubs = s.cfg.Hubs()
	}
	down, up := s.rings.downUp()
	ctx.Send(s.cfg.Session, &SayWelcome{Session: s.hello.Session, Welcome: &messages.Welcome{
		Epoch: s.cfg.Epoch, Hub: s.cfg.Hub, Down: down, Up: up, Hubs: hubs, EventsApplied: applied,
	}})
}

func (s *hubSync) refuse(ctx actor.Context, code, text string) {
	ctx.Send(s.cfg.Session, &SayRefused{Session: s.hello.GetSession(), Refused: &messages.Refused{Code: code, Text: text}})
}

// otherInstance is the answer to an edge with another journal than the one that
// has these rings.
func otherInstance(edge string) *messages.Refused {
	return &messages.Refused{Code: "other_instance", Text: fmt.Sprintf("edge %q has connected with another data directory before: two edges must not share an id; start it with that directory, or give it an id and a certificate of its own; if that directory is lost: ringway edge replace %s", edge, edge)}
}
