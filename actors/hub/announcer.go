package hub

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// IsPresent (a client to the announcer): the user has devices at this hub since then;
// zero: none any more.
type IsPresent struct {
	User  string
	Since time.Time
}

// AnnounceAll (the cluster to the announcer): members have come or gone, and with
// them what they were told.
type AnnounceAll struct{}

// AnnouncerConfig is what the announcer needs. No field may be zero.
type AnnouncerConfig struct {
	// Announce tells the user's client grain, wherever it is. It must not block.
	Announce func(IsPresent)
	Every    time.Duration // so often all are announced again
}

// NewAnnouncer is the actor that tells the cluster which users are online at this
// hub.
func NewAnnouncer(cfg AnnouncerConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &announcer{cfg: cfg, present: map[string]time.Time{}}
	})
}

type announcer struct {
	cfg     AnnouncerConfig
	present map[string]time.Time // since when
}

type announceDue struct{}

func (a *announcer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		later(ctx, a.cfg.Every, announceDue{})
	case IsPresent:
		if m.Since.IsZero() {
			delete(a.present, m.User)
		} else {
			a.present[m.User] = m.Since
		}
		a.cfg.Announce(m)
	case AnnounceAll:
		a.all()
	case announceDue:
		a.all()
		later(ctx, a.cfg.Every, announceDue{})
	}
}

func (a *announcer) all() {
	for user, since := range a.present {
		a.cfg.Announce(IsPresent{user, since})
	}
}
