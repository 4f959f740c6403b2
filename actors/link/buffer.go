package link

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// BufferConfig is what a sender's ring needs.
type BufferConfig struct {
	Ring    messages.Ring
	Slots   int
	Journal journal.Origin
	Session *actor.PID
	Owner   *actor.PID // hears StorageFailed; nil: nobody
	Metrics Metrics
	Log     *zap.Logger
	// Slot makes the slot at an address; nil: NewSlot. Tests put probes here.
	Slot func(ctx actor.Context, address uint32) *actor.PID
}

// NewBuffer returns the props of a sender's ring: parent and supervisor of its
// slots and owner of the pointers. It holds no message.
func NewBuffer(cfg BufferConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &buffer{cfg: cfg, ring: ring.New(cfg.Slots)} },
		actor.WithSupervisor(resume))
}

// resume is the fate of slots: a restart would lose their message.
var resume = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.ResumeDirective })

type buffer struct {
	cfg   BufferConfig
	ring  *ring.Ring
	slots []*actor.PID

	up         bool
	stopped    bool // the journal has refused: another owner, or a broken disk
	retrieving bool
	sentAt     []time.Time       // by address: when last transmitted
	heldSince  []time.Time       // by address: since when it is in the ring, here and now
	resync     map[ring.Seq]bool // to be confirmed before the synchronisation actor hears Agreed
	sync       *actor.PID
	try        int
	rejoin     *Rejoin // wanted or under way
	rejoiner   *actor.PID
}

// errStopped: the journal has refused or failed; only a restart helps.
var errStopped = errors.New("link: this ring has stopped because its journal refused or failed")

type wake struct{}

type retrieved struct {
	entries []journal.Entry
	err     error
}

func (b *buffer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		b.onStarted(ctx)
	case wake:
		b.retrieve(ctx)
	case *retrieved:
		b.onRetrieved(ctx, m)
	case *Processed:
		b.onProcessed(ctx, m)
	case *ProgressIn:
		b.onConfirmed(ctx, m)
	case *messages.Answer:
		b.onAnswer(ctx, m)
	case *AgainLost:
		b.onLost(ctx, m)
	case *AskAgain:
		b.onAskAgain(ctx, m)
	case *GetView:
		ctx.Respond(&ViewIs{Ring: b.cfg.Ring, View: viewOf(b.ring.View())})
	case *Resync:
		b.onResync(ctx, m)
	case *LinkUp:
		b.onLinkUp(ctx)
	case *LinkDown:
		b.up = false
	case *GetState:
		ctx.Respond(b.state(m.Sequences))
	case *Rejoin:
		b.onRejoin(ctx, m)
	case *rejoined:
		b.onRejoined(ctx, m)
	case *Handled:
		m.on(ctx)
	case *StorageFailed:
		b.onStorageFailed(ctx, m)
	}
}

func (b *buffer) onStarted(ctx actor.Context) {
	state, err := b.cfg.Journal.Load()
	if err != nil {
		panic(fmt.Errorf("link: %s ring: %w", name(b.cfg.Ring), err))
	}
	held := make([]ring.Held, len(state.Held))
	for i, e := range state.Held {
		held[i] = ring.Held{Seq: e.Seq, ID: idOf(e.Message.GetId())}
	}
	if err := b.ring.Restore(state.LastRetrieved, held); err != nil {
		panic(err)
	}
	spawn := b.cfg.Slot
	if spawn == nil {
		spawn = func(ctx actor.Context, address uint32) *actor.PID {
			return ctx.SpawnPrefix(NewSlot(SlotConfig{Ring: b.cfg.Ring, Address: address, Journal: b.cfg.Journal, Session: b.cfg.Session}), "slot")
		}
	}
	b.slots = make([]*actor.PID, b.cfg.Slots)
	b.sentAt, b.heldSince = make([]time.Time, b.cfg.Slots), make([]time.Time, b.cfg.Slots)
	for i := range b.slots {
		b.slots[i] = spawn(ctx, uint32(i))
	}
	now := time.Now()
	for _, e := range state.Held {
		b.heldSince[b.address(e.Seq)] = now
		ctx.Send(b.slot(e.Seq), &Fill{Entry: e})
	}
	root, self := ctx.ActorSystem().Root, ctx.Self()
	b.cfg.Journal.Notify(func() { root.Send(self, wake{}) })
	b.retrieve(ctx)
}

// retrieve takes what waits in the queue into free slots, link or no link.
func (b *buffer) retrieve(ctx actor.Context) {
	if b.retrieving || b.stopped {
		return
	}
	free := b.ring.Free()
	if free == 0 {
		b.cfg.Metrics.RingFull(name(b.cfg.Ring))
		return
	}
	b.retrieving = true
	root, self := ctx.ActorSystem().Root, ctx.Self()
	b.cfg.Journal.Retrieve(b.ring.Next(), free, func(entries []journal.Entry, err error) {
		root.Send(self, &retrieved{entries, err})
	})
}

func (b *buffer) onRetrieved(ctx actor.Context, m *retrieved) {
	b.retrieving = false
	if b.rejoin != nil { // what was retrieved is found when the ring is loaded anew
		b.beginRejoin(ctx)
		return
	}
	if m.err != nil {
		b.onStorageFailed(ctx, &StorageFailed{m.err})
		return
	}
	now := time.Now()
	for _, e := range m.entries {
		b.ring.Retrieve(idOf(e.Message.GetId()))
		b.heldSince[b.address(e.Seq)] = now
		ctx.Send(b.slot(e.Seq), &Fill{Entry: e})
	}
	b.cfg.Metrics.Passed(StageRetrieved, len(m.entries))
	b.transmit(ctx)
	if len(m.entries) > 0 || b.cfg.Journal.Waiting() > 0 {
		b.retrieve(ctx)
	}
}

// transmit puts on the link what has not been there.
func (b *buffer) transmit(ctx actor.Context) {
	if !b.up {
		return
	}
	sent := 0
	for seq, ok := b.ring.Send(); ok; seq, ok = b.ring.Send() {
		b.transmitOne(ctx, seq)
		sent++
	}
	b.cfg.Metrics.Passed(StageSent, sent)
}

func (b *buffer) transmitOne(ctx actor.Context, seq ring.Seq) {
	b.sentAt[b.address(seq)] = time.Now()
	ctx.Send(b.slot(seq), &Transmit{Seq: seq})
}

func (b *buffer) onConfirmed(ctx actor.Context, m *ProgressIn) {
	last, more := sequences(m.Progress)
	news, err := b.ring.Confirm(last, more)
	if err != nil {
		ctx.Send(b.cfg.Session, &ProtocolError{err})
		return
	}
	for _, seq := range news {
		ctx.Send(b.slot(seq), &Confirmed{Seq: seq})
	}
	b.cfg.Metrics.Passed(StageConfirmed, len(news))
	b.agree(ctx, news)
}

func (b *buffer) onAnswer(ctx actor.Context, m *messages.Answer) {
	news, err := b.ring.Answered(m.Sequence, idOf(m.Id))
	if err != nil {
		ctx.Send(b.cfg.Session, &ProtocolError{err})
		return
	}
	if news {
		ctx.Send(b.slot(m.Sequence), &Process{Seq: m.Sequence, Result: m.Result})
		b.agree(ctx, []ring.Seq{m.Sequence})
	}
}

func (b *buffer) onProcessed(ctx actor.Context, m *Processed) {
	overtaken := b.ring.Is(m.Seq, 0, ring.Confirmed) // the answer came before the confirmation
	if b.ring.Process(m.Seq) {
		if overtaken {
			b.cfg.Metrics.Passed(StageConfirmed, 1)
		}
		b.cfg.Metrics.Passed(StageProcessed, 1)
		b.release(ctx)
		b.retrieve(ctx)
	}
}

func (b *buffer) release(ctx actor.Context) {
	last, more := b.ring.Released()
	ctx.Send(b.cfg.Session, &ReleasedOut{progressOf(b.cfg.Ring, last, more)})
}

func (b *buffer) onLost(ctx actor.Context, m *AgainLost) {
	resent := 0
	for _, seq := range m.Seqs {
		if b.up && b.ring.Is(seq, ring.Sent, ring.Confirmed|ring.Processed) {
			b.transmitOne(ctx, seq)
			resent++
		}
	}
	b.cfg.Metrics.Resent(resent)
}

// onAskAgain repairs what should never happen: a sequence that was sent over
// living stripes long ago and is not confirmed (invariant I4).
func (b *buffer) onAskAgain(ctx actor.Context, m *AskAgain) {
	if !b.up {
		return
	}
	for _, seq := range b.ring.Unconfirmed() {
		if time.Since(b.sentAt[b.address(seq)]) > m.OlderThan {
			b.cfg.Metrics.Gap()
			b.cfg.Log.Warn("sequence is not confirmed for too long: sending again", zap.String("ring", name(b.cfg.Ring)), zap.Uint64("sequence", seq))
			b.transmitOne(ctx, seq)
		}
	}
}

// onResync finds out what the other side lacks (patent, figure 3). Sending
// begins with LinkUp.
func (b *buffer) onResync(ctx actor.Context, m *Resync) {
	if b.stopped {
		ctx.Respond(&Resynced{Ring: b.cfg.Ring, Try: m.Try, Err: errStopped})
		return
	}
	before := b.confirmed()
	resend, err := b.ring.Resync(viewIn(m.Peer))
	if err != nil {
		ctx.Respond(&Resynced{Ring: b.cfg.Ring, Try: m.Try, Err: err})
		return
	}
	b.cfg.Metrics.Passed(StageConfirmed, max(0, b.confirmed()-before))
	b.try, b.sync, b.resync = m.Try, ctx.Sender(), map[ring.Seq]bool{}
	for _, seq := range resend {
		b.resync[seq] = true
	}
	for _, h := range b.ring.View().Held {
		if h.Flags&(ring.Confirmed|ring.Processed) == ring.Confirmed {
			ctx.Send(b.slot(h.Seq), &Confirmed{Seq: h.Seq})
		}
	}
	ctx.Respond(&Resynced{Ring: b.cfg.Ring, Try: m.Try, View: viewOf(b.ring.View()), Missing: len(resend)})
}

func (b *buffer) onLinkUp(ctx actor.Context) {
	b.up = true
	for _, seq := range b.ring.Unconfirmed() {
		b.transmitOne(ctx, seq)
	}
	b.cfg.Metrics.Resent(len(b.resync))
	b.release(ctx)
	b.agree(ctx, nil)
	b.transmit(ctx)
	b.retrieve(ctx)
}

func (b *buffer) agree(ctx actor.Context, confirmed []ring.Seq) {
	for _, seq := range confirmed {
		delete(b.resync, seq)
	}
	if b.sync != nil && len(b.resync) == 0 {
		ctx.Send(b.sync, &Agreed{Ring: b.cfg.Ring, Try: b.try, At: time.Now()})
		b.sync = nil
	}
}

func (b *buffer) onStorageFailed(ctx actor.Context, m *StorageFailed) {
	if b.stopped {
		return
	}
	b.stopped, b.up = true, false
	if errors.Is(m.Err, journal.ErrFenced) {
		b.cfg.Log.Warn("another hub owns these rings now", zap.String("ring", name(b.cfg.Ring)), zap.Error(m.Err))
	} else {
		b.cfg.Log.Error("the journal failed: this ring stops", zap.String("ring", name(b.cfg.Ring)), zap.Error(m.Err))
	}
	ctx.Send(b.cfg.Session, &ProtocolError{m.Err})
	tellFailed(ctx, b.cfg.Owner, m.Err)
}

func tellFailed(ctx actor.Context, owner *actor.PID, err error) {
	if owner != nil {
		ctx.Send(owner, &StorageFailed{err})
	}
}

func (b *buffer) state(withSequences bool) *messages.RingState {
	view := b.ring.View()
	s := stateOf(b.cfg.Ring, view, withSequences)
	s.Queue = uint64(b.cfg.Journal.Waiting())
	report(b.cfg.Metrics, s)
	b.cfg.Metrics.Unconfirmed(name(b.cfg.Ring), b.oldest(view))
	return s
}

// confirmed is how many of the ring's messages the other side is known to have.
func (b *buffer) confirmed() (n int) {
	for _, h := range b.ring.View().Held {
		if h.Flags&ring.Confirmed != 0 {
			n++
		}
	}
	return n
}

// oldest is how long the first message that the other side has not confirmed is in
// the ring, sent or not.
func (b *buffer) oldest(view ring.View) time.Duration {
	i := slices.IndexFunc(view.Held, func(h ring.Held) bool { return h.Flags&(ring.Confirmed|ring.Processed) == 0 })
	if i < 0 {
		return 0
	}
	return time.Since(b.heldSince[b.address(view.Held[i].Seq)])
}

func (b *buffer) address(seq ring.Seq) int     { return int(seq % uint64(b.cfg.Slots)) }
func (b *buffer) slot(seq ring.Seq) *actor.PID { return b.slots[b.address(seq)] }
