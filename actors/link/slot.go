package link

import (
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// SlotConfig is what a sender's slot needs.
type SlotConfig struct {
	Ring    messages.Ring
	Address uint32
	Journal journal.Origin
	Session *actor.PID // takes *messages.Data
}

// NewSlot returns the props of one slot of the sender's ring.
func NewSlot(cfg SlotConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		s := &slot{cfg: cfg, behavior: actor.NewBehavior()}
		s.behavior.Become(s.free)
		return s
	}, inline)
}

// inline has slots run on the goroutine of whoever tells them something: they
// never wait, and a goroutine for each of a message's ten steps would cost more
// than the steps.
var inline = actor.WithDispatcher(actor.NewSynchronizedDispatcher(300))

// slot holds one message from Retrieved to Processed, and is its only holder.
//
//	free ──Fill──▶ retrieved ──Transmit──▶ sent ──Confirmed──▶ confirmed
//	  ▲                          ↺ Transmit: a stripe died      │ Process
//	  └───────── the result is durable ──── recording ◀─────────┘
//
// Process may overtake Confirmed. A slot that fails is resumed, never
// restarted: a restart would lose the message.
type slot struct {
	behavior actor.Behavior
	cfg      SlotConfig
	entry    journal.Entry // of the message held; no message in free
}

type recorded struct {
	seq uint64
	err error
}

func (s *slot) Receive(ctx actor.Context) { s.behavior.Receive(ctx) }

func (s *slot) free(ctx actor.Context) {
	if m, ok := ctx.Message().(*Fill); ok {
		s.entry = m.Entry
		s.behavior.Become(s.retrieved)
	}
}

func (s *slot) retrieved(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Transmit:
		if m.Seq == s.entry.Seq {
			s.transmit(ctx)
			s.cfg.Journal.Progress(messages.State_SENT, []journal.Entry{s.entry})
			s.behavior.Become(s.sent)
		}
	case *Confirmed: // sent before a restart, as the other side's view tells
		s.onConfirmed(m)
	case *Process:
		s.onProcess(ctx, m)
	}
}

func (s *slot) sent(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Transmit:
		if m.Seq == s.entry.Seq {
			s.transmit(ctx)
		}
	case *Confirmed:
		s.onConfirmed(m)
	case *Process:
		s.onProcess(ctx, m)
	}
}

func (s *slot) confirmed(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Transmit: // the other side has lost it
		if m.Seq == s.entry.Seq {
			s.transmit(ctx)
		}
	case *Process:
		s.onProcess(ctx, m)
	}
}

func (s *slot) recording(ctx actor.Context) {
	m, ok := ctx.Message().(*recorded)
	if !ok || m.seq != s.entry.Seq {
		return
	}
	if m.err != nil {
		s.behavior.Become(s.confirmed)
		ctx.Send(ctx.Parent(), &StorageFailed{Err: m.err})
		return
	}
	s.entry.Message = nil
	s.behavior.Become(s.free)
	ctx.Send(ctx.Parent(), &Processed{Seq: m.seq})
}

func (s *slot) transmit(ctx actor.Context) {
	ctx.Send(s.cfg.Session, &messages.Data{
		Ring:     s.cfg.Ring,
		Sequence: s.entry.Seq,
		Address:  s.cfg.Address,
		After:    s.entry.After,
		Message:  s.entry.Message,
	})
}

func (s *slot) onConfirmed(m *Confirmed) {
	if m.Seq == s.entry.Seq {
		s.cfg.Journal.Progress(messages.State_CONFIRMED, []journal.Entry{s.entry})
		s.behavior.Become(s.confirmed)
	}
}

func (s *slot) onProcess(ctx actor.Context, m *Process) {
	if m.Seq != s.entry.Seq {
		return
	}
	root, self, seq := ctx.ActorSystem().Root, ctx.Self(), m.Seq
	s.cfg.Journal.Processed(s.entry, m.Result, func(err error) { root.Send(self, &recorded{seq, err}) })
	s.behavior.Become(s.recording)
}
