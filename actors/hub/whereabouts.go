package hub

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/ringway-im/ringway/messages"
)

// WhereaboutsConfig is what a user's client grain needs. No field may be zero.
type WhereaboutsConfig struct {
	Now func() time.Time
	// Member says whether a hub of that id is in the cluster: the devices of one that
	// is not are gone with it.
	Member func(hub string) bool
	// ForgetAfter is how long an announcement stands that is not made again.
	ForgetAfter time.Duration
}

// NewWhereabouts is the client grain of one user of a cluster: at which hubs he has
// devices. It holds nothing durable: each hub announces its users anew.
func NewWhereabouts(cfg WhereaboutsConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &whereabouts{cfg: cfg, hubs: map[string]stay{}}
	})
}

type whereabouts struct {
	cfg  WhereaboutsConfig
	hubs map[string]stay
}

// stay of a user at one hub.
type stay struct{ since, heard time.Time }

type forgetDue struct{}

func (w *whereabouts) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		later(ctx, w.cfg.ForgetAfter, forgetDue{})
	case *messages.Announce:
		if m.SinceUnixMs == 0 {
			delete(w.hubs, m.Hub)
		} else {
			w.hubs[m.Hub] = stay{since: time.UnixMilli(m.SinceUnixMs), heard: w.cfg.Now()}
		}
		ctx.Respond(&messages.Announced{})
	case *messages.GetPresence:
		w.forget()
		ctx.Respond(w.presence())
	case forgetDue:
		if w.forget(); len(w.hubs) == 0 {
			ctx.Poison(ctx.Self()) // the next announcement or question starts another
			return
		}
		later(ctx, w.cfg.ForgetAfter, forgetDue{})
	}
}

// presence is online since the first of the present devices came.
func (w *whereabouts) presence() *messages.PresenceOf {
	var p messages.PresenceOf
	for _, s := range w.hubs {
		if ms := s.since.UnixMilli(); !p.Online || ms < p.SinceUnixMs {
			p.Online, p.SinceUnixMs = true, ms
		}
	}
	return &p
}

func (w *whereabouts) forget() {
	now := w.cfg.Now()
	for hub, s := range w.hubs {
		if now.Sub(s.heard) >= w.cfg.ForgetAfter || !w.cfg.Member(hub) {
			delete(w.hubs, hub)
		}
	}
}
