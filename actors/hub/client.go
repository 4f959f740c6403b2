package hub

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

func newClient(cfg ClientsConfig, user string) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &client{cfg: cfg, user: user}
	}, actor.WithSupervisor(stopped))
}

// client is one user: present while at least one device is.
//
//	offline ──first device──▶ online ──last device gone──▶ offline ──IdleAfter──▶ stopped by its parent
type client struct {
	cfg  ClientsConfig
	user string

	devices  int
	attached int       // Attaches ever seen
	counted  bool      // as online
	since    time.Time // of the present presence
}

// idleDue is stale when another device has attached since it was set.
type idleDue struct{ attached int }

func (c *client) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Attach:
		c.attached++
		c.devices++
		ctx.Spawn(newDevice(c.cfg, c.user, m.Device))
		if c.devices == 1 {
			c.change(ctx)
		}
	case wake:
		for _, device := range ctx.Children() {
			ctx.Send(device, m)
		}
	case *Presence:
		ctx.Respond(&PresenceIs{Online: c.devices > 0, Since: c.since})
	case *actor.Terminated:
		c.devices--
		if c.devices == 0 {
			c.change(ctx)
			later(ctx, c.cfg.IdleAfter, idleDue{c.attached})
		}
	case *actor.Stopping:
		c.count(false)
	case idleDue:
		if c.devices == 0 && m.attached == c.attached {
			ctx.Send(ctx.Parent(), idle{c.user, c.attached})
		}
	}
}

// change notes that presence has changed. That it did is no reason to wait for
// the disk: after a crash "since" is at worst the change before.
func (c *client) change(ctx actor.Context) {
	c.count(c.devices > 0)
	c.since = c.cfg.Now()
	if c.cfg.Announcer != nil {
		is := IsPresent{User: c.user}
		if c.devices > 0 {
			is.Since = c.since
		}
		ctx.Send(c.cfg.Announcer, is)
	}
	log, user := c.cfg.Log, c.user
	c.cfg.Store.Seen(user, c.since, func(err error) {
		if err != nil {
			log.Warn("presence was not stored", zap.String("user", user), zap.Error(err))
		}
	})
}

func (c *client) count(online bool) {
	if online == c.counted || c.cfg.Online == nil {
		return
	}
	c.counted = online
	if online {
		c.cfg.Online(1)
	} else {
		c.cfg.Online(-1)
	}
}
