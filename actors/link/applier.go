package link

import (
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// ApplierConfig is what the hub's applier of status events needs.
type ApplierConfig struct {
	Edge    string
	Session *actor.PID // takes *EventsAppliedOut
	Owner   *actor.PID // hears StorageFailed; nil: nobody
	// Apply makes events durable in the order of their numbers, skipping those
	// applied before (journal.Rings).
	Apply   func(events []*messages.Event, done func(applied uint64, err error))
	Applied func() (uint64, error)
	Log     *zap.Logger
}

// NewApplier returns the props of the actor that applies an edge's status
// events at the hub: in order, without gaps, one write at a time.
func NewApplier(cfg ApplierConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &applier{cfg: cfg, waiting: map[uint64]*messages.Event{}} })
}

type applier struct {
	cfg     ApplierConfig
	applied uint64
	busy    bool
	waiting map[uint64]*messages.Event // came out of order or while a write was under way
}

type eventsApplied struct {
	applied uint64
	err     error
}

func (a *applier) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		var err error
		if a.applied, err = a.cfg.Applied(); err != nil {
			panic(err)
		}
	case *LinkUp: // an edge that joined anew goes on elsewhere
		if n, err := a.cfg.Applied(); err == nil && n > a.applied && !a.busy {
			clear(a.waiting)
			a.applied = n
		}
	case *EventsIn:
		a.onEvents(ctx, m)
	case *eventsApplied:
		a.onApplied(ctx, m)
	case *Handled:
		m.on(ctx)
	}
}

func (a *applier) onEvents(ctx actor.Context, m *EventsIn) {
	stale, ahead := false, false
	for _, e := range m.Events {
		switch {
		case e.GetNumber() <= a.applied:
			stale = true
		case e.Number > a.applied+2*statusWindow:
			if !ahead { // once a frame, which holds thousands
				a.cfg.Log.Warn("status event far ahead; the edge will send it again", zap.Uint64("number", e.Number), zap.Uint64("applied", a.applied))
			}
			ahead = true
		default:
			a.waiting[e.Number] = e
		}
	}
	if stale {
		ctx.Send(a.cfg.Session, &EventsAppliedOut{Number: a.applied})
	}
	a.apply(ctx)
}

func (a *applier) apply(ctx actor.Context) {
	if a.busy {
		return
	}
	var next []*messages.Event
	for n := a.applied + 1; a.waiting[n] != nil; n++ {
		next = append(next, a.waiting[n])
	}
	if len(next) == 0 {
		return
	}
	a.busy = true
	root, self := ctx.ActorSystem().Root, ctx.Self()
	a.cfg.Apply(next, func(applied uint64, err error) { root.Send(self, &eventsApplied{applied, err}) })
}

func (a *applier) onApplied(ctx actor.Context, m *eventsApplied) {
	a.busy = false
	if m.err != nil {
		ctx.Send(a.cfg.Session, &ProtocolError{m.err})
		tellFailed(ctx, a.cfg.Owner, m.err)
		return
	}
	for n := a.applied + 1; n <= m.applied; n++ {
		delete(a.waiting, n)
	}
	a.applied = m.applied
	ctx.Send(a.cfg.Session, &EventsAppliedOut{Number: a.applied})
	a.apply(ctx)
}
