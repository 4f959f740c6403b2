package link

import (
	"errors"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// MirrorConfig is what a receiver's ring needs.
type MirrorConfig struct {
	Ring    messages.Ring
	Slots   int
	Journal journal.Mirror
	Session *actor.PID
	Next    *actor.PID // outlet or router: takes messages.HandOn
	Owner   *actor.PID // hears StorageFailed; nil: nobody
	Metrics Metrics
	Log     *zap.Logger
	// Slot makes the slot at an address; nil: NewMirrorSlot. Tests put probes here.
	Slot func(ctx actor.Context, address uint32) *actor.PID
}

// NewMirror returns the props of a receiver's ring.
func NewMirror(cfg MirrorConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &mirror{cfg: cfg, ring: ring.NewMirror(cfg.Slots)} },
		actor.WithSupervisor(resume))
}

// mirror keeps the same message at the same address as the sender. It stores
// first, says Confirmed then, hands on in the order of each conversation, and
// repeats answers until the sender has recorded them.
type mirror struct {
	cfg   MirrorConfig
	ring  *ring.Mirror
	slots []*actor.PID

	up      bool
	stopped bool
	missing map[ring.Seq]bool // to be stored before the synchronisation actor hears Agreed
	sync    *actor.PID
	try     int
	repeats bool // Confirmed will be said again for duplicates
}

// repeatDue: as many duplicates as came one behind the other are answered once.
type repeatDue struct{}

func (m *mirror) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.onStarted(ctx)
	case *messages.Data:
		m.onData(ctx, msg)
	case *Stored:
		m.onStored(ctx, msg)
	case *Answered:
		m.cfg.Metrics.Passed(StageAnswered, 1)
		m.handOn(ctx, m.ring.Answer(msg.Seq))
	case *ProgressIn:
		m.onReleased(ctx, msg)
	case *AgainLost:
		m.onLost(ctx, msg)
	case *GetView:
		ctx.Respond(&ViewIs{Ring: m.cfg.Ring, View: viewOf(m.ring.View()), Storing: m.ring.Storing()})
	case *Resync:
		m.onResync(ctx, msg)
	case *LinkUp:
		m.onLinkUp(ctx)
	case *LinkDown:
		m.up = false
	case *GetState:
		s := stateOf(m.cfg.Ring, m.ring.View(), msg.Sequences)
		report(m.cfg.Metrics, s)
		ctx.Respond(s)
	case repeatDue:
		m.repeats = false
		m.confirm(ctx)
	case *Handled:
		msg.on(ctx)
	case *StorageFailed:
		m.onStorageFailed(ctx, msg)
	}
}

func (m *mirror) onStarted(ctx actor.Context) {
	state, err := m.cfg.Journal.Load()
	if err != nil {
		panic(fmt.Errorf("link: %s mirror: %w", name(m.cfg.Ring), err))
	}
	held := make([]ring.Restored, len(state.Held))
	for i, e := range state.Held {
		held[i] = ring.Restored{Held: ring.Held{Seq: e.Seq, ID: idOf(e.Message.GetId())}, After: e.After}
		if e.Result != nil {
			held[i].Flags = ring.Confirmed
		}
	}
	handOn, err := m.ring.Restore(state.Released, held)
	if err != nil {
		panic(err)
	}
	spawn := m.cfg.Slot
	if spawn == nil {
		spawn = func(ctx actor.Context, _ uint32) *actor.PID {
			return ctx.SpawnPrefix(NewMirrorSlot(MirrorSlotConfig{Ring: m.cfg.Ring, Journal: m.cfg.Journal, Session: m.cfg.Session, Next: m.cfg.Next}), "slot")
		}
	}
	m.slots = make([]*actor.PID, m.cfg.Slots)
	for i := range m.slots {
		m.slots[i] = spawn(ctx, uint32(i))
	}
	for _, e := range state.Held {
		ctx.Send(m.slot(e.Seq), &restored{entry: e})
	}
	m.handOn(ctx, handOn)
}

func (m *mirror) onData(ctx actor.Context, d *messages.Data) {
	if m.stopped {
		return
	}
	if err := checkData(d, uint32(m.cfg.Slots)); err != nil {
		ctx.Send(m.cfg.Session, &ProtocolError{err})
		return
	}
	released := m.ring.Pointers().LastProcessed
	verdict, err := m.ring.Accept(d.Sequence, idOf(d.Message.Id))
	if err != nil {
		ctx.Send(m.cfg.Session, &ProtocolError{err})
		return
	}
	if p := m.ring.Pointers().LastProcessed; p > released {
		m.forget(ctx, p, between(released, p))
	}
	switch verdict {
	case ring.Fresh:
		ctx.Send(m.slot(d.Sequence), &Fill{Entry: journal.Entry{Seq: d.Sequence, After: d.After, Message: d.Message}})
	case ring.Duplicate, ring.Stale:
		m.cfg.Metrics.Duplicate(1)
		if !m.repeats {
			m.repeats = true
			ctx.Send(ctx.Self(), repeatDue{})
		}
	}
}

func (m *mirror) onStored(ctx actor.Context, s *Stored) {
	m.cfg.Metrics.Passed(StageReceived, 1)
	if m.ring.Store(s.Seq, s.After) {
		m.handOn(ctx, []ring.Seq{s.Seq})
	}
	m.confirm(ctx)
	if m.missing[s.Seq] {
		delete(m.missing, s.Seq)
		m.agree(ctx)
	}
}

func (m *mirror) handOn(ctx actor.Context, seqs []ring.Seq) {
	for _, seq := range seqs {
		m.ring.HandOn(seq)
		ctx.Send(m.slot(seq), &HandOn{Seq: seq})
	}
}

func (m *mirror) confirm(ctx actor.Context) {
	if m.up {
		last, more := m.ring.Stored()
		ctx.Send(m.cfg.Session, &ConfirmedOut{progressOf(m.cfg.Ring, last, more)})
	}
}

func (m *mirror) onReleased(ctx actor.Context, p *ProgressIn) {
	last, more := sequences(p.Progress)
	forgotten, err := m.ring.Release(last, more)
	if err != nil {
		ctx.Send(m.cfg.Session, &ProtocolError{err})
		return
	}
	m.forget(ctx, m.ring.Pointers().LastProcessed, forgotten)
}

func (m *mirror) forget(ctx actor.Context, released ring.Seq, seqs []ring.Seq) {
	if len(seqs) == 0 {
		return
	}
	m.cfg.Journal.Release(released, seqs)
	for _, seq := range seqs {
		ctx.Send(m.slot(seq), &Release{Seq: seq})
	}
}

// onLost repeats answers that a stripe carried last when it died.
func (m *mirror) onLost(ctx actor.Context, l *AgainLost) {
	for _, seq := range l.Seqs {
		if m.ring.Holds(seq, ring.Confirmed) {
			ctx.Send(m.slot(seq), &AnswerAgain{Seq: seq})
		}
	}
}

func (m *mirror) onResync(ctx actor.Context, r *Resync) {
	if m.stopped {
		ctx.Respond(&Resynced{Ring: m.cfg.Ring, Try: r.Try, Err: errStopped})
		return
	}
	before := m.ring.Pointers().LastProcessed
	forgotten, missing, err := m.ring.Resync(viewIn(r.Peer))
	if err != nil {
		ctx.Respond(&Resynced{Ring: m.cfg.Ring, Try: r.Try, Err: err})
		return
	}
	if p := m.ring.Pointers().LastProcessed; p > before || len(forgotten) > 0 {
		m.cfg.Journal.Release(p, forgotten)
	}
	for _, seq := range forgotten {
		ctx.Send(m.slot(seq), &Release{Seq: seq})
	}
	m.handOn(ctx, m.ring.Blocked())
	m.try, m.sync, m.missing = r.Try, ctx.Sender(), map[ring.Seq]bool{}
	for _, seq := range missing {
		m.missing[seq] = true
	}
	ctx.Respond(&Resynced{Ring: m.cfg.Ring, Try: r.Try, View: viewOf(m.ring.View()), Missing: len(missing)})
}

func (m *mirror) onLinkUp(ctx actor.Context) {
	m.up = true
	m.confirm(ctx)
	for _, h := range m.ring.View().Held {
		if m.ring.Holds(h.Seq, ring.Confirmed) {
			ctx.Send(m.slot(h.Seq), &AnswerAgain{Seq: h.Seq})
		}
	}
	m.agree(ctx)
}

func (m *mirror) agree(ctx actor.Context) {
	if m.sync != nil && m.up && len(m.missing) == 0 {
		ctx.Send(m.sync, &Agreed{Ring: m.cfg.Ring, Try: m.try, At: time.Now()})
		m.sync = nil
	}
}

func (m *mirror) onStorageFailed(ctx actor.Context, s *StorageFailed) {
	if m.stopped {
		return
	}
	m.stopped, m.up = true, false
	if errors.Is(s.Err, journal.ErrFenced) {
		m.cfg.Log.Warn("another hub owns these rings now", zap.String("ring", name(m.cfg.Ring)), zap.Error(s.Err))
	} else {
		m.cfg.Log.Error("the journal failed: this mirror stops", zap.String("ring", name(m.cfg.Ring)), zap.Error(s.Err))
	}
	ctx.Send(m.cfg.Session, &ProtocolError{s.Err})
	tellFailed(ctx, m.cfg.Owner, s.Err)
}

func (m *mirror) slot(seq ring.Seq) *actor.PID { return m.slots[seq%uint64(m.cfg.Slots)] }
