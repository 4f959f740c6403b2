package hub

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
)

// Store is what clients and devices need of journal.Hub.
type Store interface {
	Seen(name string, at time.Time, done func(error))
	Events(user string, after uint64, limit int) ([]journal.UserEvent, error)
	LastEvent(user string) (uint64, error)
	Pending(user, device string, after uint64, limit int) ([]journal.UserEvent, error)
}

// Attach (a subscriber to clients): start a device for User. There is no
// answer but the calls in Device.
type Attach struct {
	User   string
	Device DeviceConfig
}

// Changed (the store's watch to clients): these users' events grew. It may come
// twice or for nothing.
type Changed struct{ Users []string }

// Presence (anybody to clients): is User connected? PresenceIs comes back.
type Presence struct{ User string }

// PresenceIs answers Presence.
type PresenceIs struct {
	Online bool
	Since  time.Time // zero: this hub does not know, the store may
}

// ClientsConfig is what the clients actor needs. No field may be zero but Announcer
// and Online.
type ClientsConfig struct {
	Store Store
	Now   func() time.Time
	Batch int // most events read and pushed at once
	// IdleAfter is how long a client without devices is kept.
	IdleAfter time.Duration
	// SweepEvery is how often all devices look into the store without having
	// been woken: a wake-up is a hint and may be lost.
	SweepEvery time.Duration
	Announcer  *actor.PID // takes IsPresent; nil: a hub alone
	// Online counts users with a device here: 1 more, or 1 less. nil: nobody asks.
	Online func(change int)
	Log    *zap.Logger
}

// NewClients is the parent of all clients.
func NewClients(cfg ClientsConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &clients{cfg: cfg, byUser: map[string]*clientRef{}}
	}, actor.WithSupervisor(stopped))
}

// clients finds or starts one client a user.
type clients struct {
	cfg    ClientsConfig
	byUser map[string]*clientRef
}

type clientRef struct {
	pid      *actor.PID
	attached int // Attaches passed on: an idle report that has not seen them all is stale
}

// idle (client to clients): no device for IdleAfter, having seen so many Attaches.
type idle struct {
	user     string
	attached int
}

type sweepDue struct{}

// wake (clients to client to device): look into the store.
type wake struct{}

func (c *clients) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		later(ctx, c.cfg.SweepEvery, sweepDue{})
	case *Attach:
		c.onAttach(ctx, m)
	case *Changed:
		for _, user := range m.Users {
			if ref := c.byUser[user]; ref != nil {
				ctx.Send(ref.pid, wake{})
			}
		}
	case *Presence:
		if ref := c.byUser[m.User]; ref != nil {
			ctx.Forward(ref.pid)
		} else {
			ctx.Respond(&PresenceIs{})
		}
	case sweepDue:
		for _, ref := range c.byUser {
			ctx.Send(ref.pid, wake{})
		}
		later(ctx, c.cfg.SweepEvery, sweepDue{})
	case idle:
		if ref := c.byUser[m.user]; ref != nil && ref.attached == m.attached {
			delete(c.byUser, m.user)
			ctx.Poison(ref.pid) // behind what was passed on to it: a question gets its answer
		}
	case *actor.Terminated:
		for user, ref := range c.byUser {
			if ref.pid.Equal(m.Who) {
				delete(c.byUser, user)
			}
		}
	}
}

func (c *clients) onAttach(ctx actor.Context, m *Attach) {
	ref := c.byUser[m.User]
	if ref == nil {
		ref = &clientRef{pid: ctx.Spawn(newClient(c.cfg, m.User))}
		c.byUser[m.User] = ref
	}
	ref.attached++
	ctx.Send(ref.pid, m)
}
