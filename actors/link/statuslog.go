package link

import (
	"fmt"

	"github.com/ringway-im/ringway/actors/journal"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// statusWindow is how many status events may be on their way.
const statusWindow = 2048

// StatusLogConfig is what the edge's status log needs.
type StatusLogConfig struct {
	Journal journal.StatusLog
	Session *actor.PID // takes *messages.Event
	Log     *zap.Logger
}

// NewStatusLog returns the props of the actor that sends the edge's durable
// status events to the hub, in order, and trims what the hub has (invariant I13).
func NewStatusLog(cfg StatusLogConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &statusLog{cfg: cfg} })
}

// ──── applied ─────────── sent ───────────── last ──▶ number
//
//	└ at most statusWindow ┘└── in the journal ─┘
type statusLog struct {
	cfg           StatusLogConfig
	up            bool
	applied, sent uint64
}

func (s *statusLog) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		root, self := ctx.ActorSystem().Root, ctx.Self()
		s.cfg.Journal.NotifyEvents(func() { root.Send(self, wake{}) })
	case wake:
		s.send(ctx)
	case *EventsApplied: // also with Welcome, before LinkUp
		s.onApplied(ctx, m)
	case *EventsLost:
		s.sent = min(s.sent, max(s.applied, m.From-1))
		s.send(ctx)
	case *LinkUp:
		s.up, s.sent = true, s.applied
		s.send(ctx)
	case *LinkDown:
		s.up = false
	case *Handled:
		m.on(ctx)
	}
}

func (s *statusLog) onApplied(ctx actor.Context, m *EventsApplied) {
	if m.Number <= s.applied {
		return
	}
	if last := s.cfg.Journal.LastEvent(); m.Number > last { // they would be trimmed, and the next ones taken for old
		ctx.Send(s.cfg.Session, &ProtocolError{fmt.Errorf("%w: the hub has status events up to %d, this edge has written %d: its data directory is older than what the hub knows", ErrProtocol, m.Number, last)})
		return
	}
	s.applied = m.Number
	s.sent = max(s.sent, s.applied)
	s.cfg.Journal.TrimEvents(s.applied)
	s.send(ctx)
}

func (s *statusLog) send(ctx actor.Context) {
	room := int(s.applied + statusWindow - s.sent)
	if !s.up || room <= 0 {
		return
	}
	events, err := s.cfg.Journal.EventsAfter(s.sent, room)
	if err != nil {
		s.cfg.Log.Error("cannot read the status log", zap.Error(err))
		return
	}
	for _, e := range events {
		s.sent = e.Number
		ctx.Send(s.cfg.Session, e)
	}
}
