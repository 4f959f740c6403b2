package link

import (
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// MirrorSlotConfig is what a receiver's slot needs.
type MirrorSlotConfig struct {
	Ring    messages.Ring
	Journal journal.Mirror
	Session *actor.PID // takes *messages.Answer
	Next    *actor.PID // takes messages.HandOn: the outlet or the router
}

// NewMirrorSlot returns the props of one slot of the receiver's ring.
func NewMirrorSlot(cfg MirrorSlotConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		s := &mirrorSlot{cfg: cfg, behavior: actor.NewBehavior()}
		s.behavior.Become(s.free)
		return s
	}, inline)
}

// mirrorSlot holds the receiver's copy of a message until the sender has
// recorded what became of it.
//
//	free ──Fill──▶ storing ──durable──▶ stored ──HandOn──▶ handed ──Answered──▶ answered
//	  ▲                                                                           │ Release
//	  └───────────────────────────────────────────────────────────────────────────┘
//
// The answer is durable when it comes: whoever gives it has written it. Release
// may come in any state: after a restore from a backup the sender has answers
// that this side forgot.
type mirrorSlot struct {
	behavior actor.Behavior
	cfg      MirrorSlotConfig
	entry    journal.Entry
}

type kept struct {
	seq uint64
	err error
}

func (s *mirrorSlot) Receive(ctx actor.Context) {
	if m, ok := ctx.Message().(*Release); ok {
		if m.Seq == s.entry.Seq {
			s.entry = journal.Entry{}
			s.behavior.Become(s.free)
		}
		return
	}
	s.behavior.Receive(ctx)
}

func (s *mirrorSlot) free(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Fill:
		s.entry = m.Entry
		root, self, seq := ctx.ActorSystem().Root, ctx.Self(), m.Entry.Seq
		s.cfg.Journal.Keep(s.entry, func(err error) { root.Send(self, &kept{seq, err}) })
		s.behavior.Become(s.storing)
	case *restored:
		s.onRestored(m)
	}
}

func (s *mirrorSlot) storing(ctx actor.Context) {
	m, ok := ctx.Message().(*kept)
	if !ok || m.seq != s.entry.Seq {
		return
	}
	if m.err != nil {
		ctx.Send(ctx.Parent(), &StorageFailed{Err: m.err})
		return
	}
	s.behavior.Become(s.stored)
	ctx.Send(ctx.Parent(), &Stored{Seq: m.seq, After: s.entry.After})
}

// restored is told instead of Fill by a mirror that finds the entry in its journal.
type restored struct{ entry journal.Entry }

func (s *mirrorSlot) onRestored(m *restored) {
	s.entry = m.entry
	if m.entry.Result != nil {
		s.behavior.Become(s.answered)
		return
	}
	s.behavior.Become(s.stored)
}

func (s *mirrorSlot) stored(ctx actor.Context) {
	if m, ok := ctx.Message().(*HandOn); ok && m.Seq == s.entry.Seq {
		ctx.Request(s.cfg.Next, &messages.HandOn{Seq: s.entry.Seq, Message: s.entry.Message})
		s.behavior.Become(s.handed)
	}
}

func (s *mirrorSlot) handed(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Answered:
		if m.Seq != s.entry.Seq {
			return
		}
		s.entry.Result = m.Result
		s.behavior.Become(s.answered)
		ctx.Send(ctx.Parent(), &Answered{Seq: m.Seq})
		s.answer(ctx)
	case *HandOn: // the one it was handed to has started anew
		if m.Seq == s.entry.Seq {
			ctx.Request(s.cfg.Next, &messages.HandOn{Seq: s.entry.Seq, Message: s.entry.Message})
		}
	}
}

func (s *mirrorSlot) answered(ctx actor.Context) {
	if m, ok := ctx.Message().(*AnswerAgain); ok && m.Seq == s.entry.Seq {
		s.answer(ctx)
	}
}

func (s *mirrorSlot) answer(ctx actor.Context) {
	ctx.Send(s.cfg.Session, &messages.Answer{
		Ring: s.cfg.Ring, Sequence: s.entry.Seq, Id: s.entry.Message.GetId(), Result: s.entry.Result,
	})
}
