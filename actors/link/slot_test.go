package link

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// ---- journals whose disk is the test's

// disk has writes under way, by sequence, that end when the test says so.
type disk struct {
	mu     sync.Mutex
	writes map[uint64]func(error)
}

func (d *disk) write(seq uint64, done func(error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes[seq] = done
}

func (d *disk) writing(seq uint64) bool {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes[seq] != nil
}

// end ends a write that an actor has begun.
func (d *disk) end(t *testing.T, seq uint64, err error) {
	t.Helper()
	if !d.writing(seq) {
		t.Fatalf("nothing is being written about %d", seq)
	}
	d.mu.Lock()
	done := d.writes[seq]
	d.mu.Unlock()
	done(err)
}

// originProbe is a journal.Origin on a disk of the test's.
type originProbe struct {
	disk
	waiting  []journal.Entry // Retrieve takes from here at once
	progress []string
}

func newOriginProbe(texts ...string) *originProbe {
	j := &originProbe{disk: disk{writes: map[uint64]func(error){}}}
	for i, text := range texts {
		j.waiting = append(j.waiting, entry(uint64(i)+1, text))
	}
	return j
}

func entry(seq uint64, text string) journal.Entry {
	id := make([]byte, 16)
	copy(id, text)
	return journal.Entry{Seq: seq, Message: &messages.Message{Id: id, Text: text}}
}

func (j *originProbe) Load() (journal.OriginState, error) { return journal.OriginState{}, nil }
func (j *originProbe) Retrieve(_ uint64, n int, done func([]journal.Entry, error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n = min(n, len(j.waiting))
	entries := j.waiting[:n]
	j.waiting = j.waiting[n:]
	done(entries, nil)
}

func (j *originProbe) Progress(s messages.State, entries []journal.Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range entries {
		j.progress = append(j.progress, fmt.Sprint(e.Seq, " ", s))
	}
}

func (j *originProbe) Processed(e journal.Entry, _ *messages.Result, done func(error)) {
	j.write(e.Seq, done)
}

func (j *originProbe) Waiting() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiting)
}
func (j *originProbe) Notify(func()) {}

func (j *originProbe) told() []string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.progress)
}

// mirrorProbe is a journal.Mirror on a disk of the test's.
type mirrorProbe struct{ disk }

func newMirrorProbe() *mirrorProbe { return &mirrorProbe{disk{writes: map[uint64]func(error){}}} }

func (j *mirrorProbe) Load() (journal.MirrorState, error)     { return journal.MirrorState{}, nil }
func (j *mirrorProbe) Keep(e journal.Entry, done func(error)) { j.write(e.Seq, done) }
func (j *mirrorProbe) Release(uint64, []uint64)               {}

func processed() *messages.Result { return &messages.Result{State: messages.State_PROCESSED} }

func answerTo(seq uint64, text string) *messages.Answer {
	return &messages.Answer{Ring: messages.Ring_DOWN, Sequence: seq, Id: entry(seq, text).Message.Id, Result: processed()}
}

func progress(r messages.Ring, last uint64, more ...uint64) *ProgressIn {
	return &ProgressIn{progressOf(r, last, more)}
}

// child spawns props under a probe, so that what the actor tells its parent
// comes to the probe.
func child(t *testing.T, system *actor.ActorSystem, props *actor.Props) (pid *actor.PID, parent *probe.Probe) {
	t.Helper()
	parent = probe.New(t, system, "parent")
	made := make(chan *actor.PID, 1)
	system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			made <- ctx.Spawn(props)
		case actor.SystemMessage, actor.AutoReceiveMessage:
		default:
			ctx.Forward(parent.PID())
		}
	}))
	return <-made, parent
}

// ---- the sender's slot

func TestSlotFromRetrievedToProcessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, j := probe.New(t, system, "session"), newOriginProbe()
		pid, parent := child(t, system, NewSlot(SlotConfig{Ring: messages.Ring_DOWN, Address: 2, Journal: j, Session: link.PID()}))
		tell := func(m any) { system.Root.Send(pid, m) }

		tell(&Transmit{Seq: 5}) // free: there is nothing to send
		tell(&Fill{Entry: journal.Entry{Seq: 5, After: 3, Message: entry(5, "five").Message}})
		link.ExpectNothing(time.Hour)

		tell(&Transmit{Seq: 5})
		d := probe.Expect[*messages.Data](link)
		if d.Sequence != 5 || d.Address != 2 || d.After != 3 || d.Ring != messages.Ring_DOWN || d.Message.Text != "five" {
			t.Errorf("sent %v", d)
		}
		tell(&Transmit{Seq: 5}) // a stripe died
		probe.Expect[*messages.Data](link)
		tell(&Transmit{Seq: 8}) // stale or early: another message's
		tell(&Confirmed{Seq: 8})
		tell(&Process{Seq: 8, Result: processed()})
		tell(&Fill{Entry: entry(8, "eight")}) // occupied
		tell(&Confirmed{Seq: 5})
		tell(&Transmit{Seq: 5}) // the other side has lost it
		if d := probe.Expect[*messages.Data](link); d.Message.Text != "five" {
			t.Errorf("sent %v", d)
		}
		tell(&Process{Seq: 5, Result: processed()})
		tell(&Process{Seq: 5, Result: processed()})
		tell(&Transmit{Seq: 5}) // too late
		link.ExpectNothing(time.Hour)
		parent.ExpectNothing(time.Hour) // not durable yet
		j.end(t, 5, nil)
		if m := probe.Expect[*Processed](parent); m.Seq != 5 {
			t.Errorf("processed %d", m.Seq)
		}
		tell(&Transmit{Seq: 5})
		link.ExpectNothing(time.Hour)

		tell(&Fill{Entry: entry(8, "eight")})
		tell(&Transmit{Seq: 8})
		if d := probe.Expect[*messages.Data](link); d.Message.Text != "eight" {
			t.Errorf("sent %v", d)
		}
		if want := []string{"5 SENT", "5 CONFIRMED", "8 SENT"}; !slices.Equal(j.told(), want) {
			t.Errorf("journal: %v, want %v", j.told(), want)
		}
	})
}

func TestSlotIsProcessedInAnyState(t *testing.T) {
	for _, before := range map[string][]any{
		"retrieved": {}, "sent": {&Transmit{Seq: 1}}, "confirmed": {&Transmit{Seq: 1}, &Confirmed{Seq: 1}}, "confirmed before a restart": {&Confirmed{Seq: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			system := probe.System(t)
			link, j := probe.New(t, system, "session"), newOriginProbe()
			pid, parent := child(t, system, NewSlot(SlotConfig{Journal: j, Session: link.PID()}))
			for _, m := range append([]any{&Fill{Entry: entry(1, "one")}}, append(before, &Process{Seq: 1, Result: processed()})...) {
				system.Root.Send(pid, m)
			}
			j.end(t, 1, nil)
			probe.Expect[*Processed](parent)
		})
	}
}

func TestSlotKeepsItsMessageWhenTheJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, j := probe.New(t, system, "session"), newOriginProbe()
		pid, parent := child(t, system, NewSlot(SlotConfig{Journal: j, Session: link.PID()}))
		for _, m := range []any{&Fill{Entry: entry(1, "one")}, &Transmit{Seq: 1}, &Process{Seq: 1, Result: processed()}} {
			system.Root.Send(pid, m)
		}
		probe.Expect[*messages.Data](link)
		synctest.Wait()
		broken := errors.New("disk is full")
		j.end(t, 1, broken)
		if m := probe.Expect[*StorageFailed](parent); !errors.Is(m.Err, broken) {
			t.Errorf("told its parent %v", m.Err)
		}
		parent.ExpectNothing(time.Second)
		system.Root.Send(pid, &Transmit{Seq: 1})
		if d := probe.Expect[*messages.Data](link); d.Message.Text != "one" {
			t.Errorf("the message is lost: %v", d)
		}
	})
}

// ---- the receiver's slot

func TestMirrorSlotFromStoredToReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, outlet, j := probe.New(t, system, "session"), probe.New(t, system, "outlet"), newMirrorProbe()
		pid, parent := child(t, system, NewMirrorSlot(MirrorSlotConfig{Ring: messages.Ring_DOWN, Journal: j, Session: link.PID(), Next: outlet.PID()}))
		tell := func(m any) { system.Root.Send(pid, m) }

		tell(&HandOn{Seq: 3})
		tell(&Release{Seq: 3})
		tell(&Fill{Entry: journal.Entry{Seq: 3, After: 2, Message: entry(3, "three").Message}})
		tell(&HandOn{Seq: 3}) // not before it is on disk
		outlet.ExpectNothing(time.Hour)
		parent.ExpectNothing(0)
		j.end(t, 3, nil)
		if m := probe.Expect[*Stored](parent); m.Seq != 3 || m.After != 2 {
			t.Errorf("stored %+v", m)
		}
		tell(&AnswerAgain{Seq: 3}) // there is none
		tell(&HandOn{Seq: 6})
		outlet.ExpectNothing(time.Second)
		tell(&HandOn{Seq: 3})
		if m := probe.Expect[*messages.HandOn](outlet); m.Seq != 3 || m.Message.Text != "three" {
			t.Errorf("handed on %+v", m)
		}
		tell(&HandOn{Seq: 3}) // the outlet has started anew
		probe.Expect[*messages.HandOn](outlet)
		outlet.Reply(&messages.Answered{Seq: 6, Result: processed()})
		link.ExpectNothing(time.Second)
		outlet.Reply(&messages.Answered{Seq: 3, Result: processed()})
		outlet.Reply(&messages.Answered{Seq: 3, Result: processed()})
		if m := probe.Expect[*Answered](parent); m.Seq != 3 {
			t.Errorf("answered %+v", m)
		}
		a := probe.Expect[*messages.Answer](link)
		if a.Sequence != 3 || a.Ring != messages.Ring_DOWN || string(a.Id[:5]) != "three" || a.Result.State != messages.State_PROCESSED {
			t.Errorf("answer %v", a)
		}
		link.ExpectNothing(time.Second)
		tell(&AnswerAgain{Seq: 6})
		tell(&AnswerAgain{Seq: 3})
		probe.Expect[*messages.Answer](link)
		tell(&Release{Seq: 6})
		tell(&AnswerAgain{Seq: 3})
		probe.Expect[*messages.Answer](link)
		tell(&Release{Seq: 3})
		tell(&AnswerAgain{Seq: 3})
		link.ExpectNothing(time.Second)
		tell(&Fill{Entry: entry(6, "six")})
		if !j.writing(6) {
			t.Error("the slot took no new message after release")
		}
	})
}

// A sender that has a message's result, though this side (back from a backup)
// does not know to have given it, releases it: whatever its state, the slot
// must take the next one.
func TestMirrorSlotIsReleasedInAnyState(t *testing.T) {
	for _, state := range []string{"storing", "stored", "handed"} {
		synctest.Test(t, func(t *testing.T) {
			system := probe.System(t)
			link, outlet, j := probe.New(t, system, "session"), probe.New(t, system, "outlet"), newMirrorProbe()
			pid, parent := child(t, system, NewMirrorSlot(MirrorSlotConfig{Journal: j, Session: link.PID(), Next: outlet.PID()}))
			system.Root.Send(pid, &Fill{Entry: entry(1, "one")})
			synctest.Wait()
			if state != "storing" {
				j.end(t, 1, nil)
				probe.Expect[*Stored](parent)
			}
			if state == "handed" {
				system.Root.Send(pid, &HandOn{Seq: 1})
				probe.Expect[*messages.HandOn](outlet)
			}
			system.Root.Send(pid, &Release{Seq: 1})
			system.Root.Send(pid, &Fill{Entry: entry(4, "four")})
			if !j.writing(4) {
				t.Fatalf("%s: the slot takes no message any more", state)
			}
			if state == "storing" {
				j.end(t, 1, nil) // late
				parent.ExpectNothing(time.Second)
			}
			j.end(t, 4, nil)
			if m := probe.Expect[*Stored](parent); m.Seq != 4 {
				t.Errorf("%s: stored %d", state, m.Seq)
			}
		})
	}
}

// ---- a probe in a slot's place

// The slot is the only holder of its message: with a probe in its place the
// ring can fill it and ask it, but not move that message; the others move.
func TestRingCannotMoveAMessageWithoutItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, stand := probe.New(t, system, "session"), probe.New(t, system, "slot 2")
		j := newOriginProbe("one", "two", "three")
		buffer := system.Root.Spawn(NewBuffer(BufferConfig{
			Ring: messages.Ring_DOWN, Slots: 4, Journal: j, Session: link.PID(), Metrics: Nop{}, Log: zap.NewNop(),
			Slot: func(ctx actor.Context, address uint32) *actor.PID {
				if address == 2 {
					return stand.PID()
				}
				return ctx.Spawn(NewSlot(SlotConfig{Ring: messages.Ring_DOWN, Address: address, Journal: j, Session: link.PID()}))
			},
		}))
		system.Root.Send(buffer, &LinkUp{})
		if f := probe.Expect[*Fill](stand); f.Entry.Message.Text != "two" {
			t.Errorf("filled with %v", f.Entry)
		}
		if m := probe.Expect[*Transmit](stand); m.Seq != 2 {
			t.Errorf("transmit %d", m.Seq)
		}
		sent := func() (texts []string) {
			synctest.Wait()
			for _, m := range link.Received() {
				if d, ok := m.(*messages.Data); ok {
					texts = append(texts, d.Message.Text)
				}
			}
			slices.Sort(texts)
			return texts
		}
		if got := sent(); !slices.Equal(got, []string{"one", "three"}) {
			t.Errorf("sent %v", got)
		}
		// Whatever the link does, the message stays with its slot.
		for range 3 {
			system.Root.Send(buffer, &AgainLost{[]ring.Seq{1, 2, 3}})
			system.Root.Send(buffer, &LinkDown{})
			system.Root.Send(buffer, &LinkUp{})
		}
		for _, text := range sent() {
			if text == "two" {
				t.Error("the ring has sent a message that its slot did not")
			}
		}
		// An answer cannot end it either: only its slot records the result.
		system.Root.Send(buffer, answerTo(2, "two"))
		probe.Fish[*Process](stand, nil)
		for _, seq := range []uint64{1, 3} {
			system.Root.Send(buffer, answerTo(seq, map[uint64]string{1: "one", 3: "three"}[seq]))
			j.end(t, seq, nil)
		}
		view := viewOfActor(t, system, buffer)
		if view.LastProcessed != 1 || len(view.Held) != 2 || view.Held[0].Sequence != 2 || ring.Flags(view.Held[0].Flags)&ring.Processed != 0 {
			t.Errorf("ring: %v", view)
		}
		system.Root.Send(buffer, &Processed{Seq: 2}) // the slot, after all
		if view := viewOfActor(t, system, buffer); view.LastProcessed != 3 {
			t.Errorf("ring: %v", view)
		}
	})
}

func viewOfActor(t *testing.T, system *actor.ActorSystem, pid *actor.PID) *messages.View {
	t.Helper()
	synctest.Wait()
	r, err := system.Root.RequestFuture(pid, &GetView{}, time.Second).Result()
	if err != nil {
		t.Fatal(err)
	}
	return r.(*ViewIs).View
}

func TestMirrorCannotMoveAMessageWithoutItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, outlet, stand, j := probe.New(t, system, "session"), probe.New(t, system, "outlet"), probe.New(t, system, "slot"), newMirrorProbe()
		mirror := system.Root.Spawn(NewMirror(MirrorConfig{
			Ring: messages.Ring_DOWN, Slots: 2, Journal: j, Session: link.PID(), Next: outlet.PID(), Metrics: Nop{}, Log: zap.NewNop(),
			Slot: func(actor.Context, uint32) *actor.PID { return stand.PID() },
		}))
		system.Root.Send(mirror, &LinkUp{})
		probe.Expect[*ConfirmedOut](link)
		system.Root.Send(mirror, dataOf(1, 2, "one"))
		probe.Expect[*Fill](stand)
		outlet.ExpectNothing(time.Hour)
		link.ExpectNothing(0)
		if j.writing(1) {
			t.Error("the ring has stored what its slot did not")
		}
		system.Root.Send(mirror, &Stored{Seq: 1})
		probe.Expect[*HandOn](stand)
		if c := probe.Expect[*ConfirmedOut](link); c.Progress.Last != 1 {
			t.Errorf("confirmed %v", c.Progress)
		}
		outlet.ExpectNothing(time.Hour)
	})
}

func dataOf(seq, slots uint64, text string) *messages.Data {
	e := entry(seq, text)
	return &messages.Data{Ring: messages.Ring_DOWN, Sequence: seq, Address: uint32(seq % slots), Message: e.Message}
}

// ---- durability before words

// Nothing is Confirmed before it is on disk, whatever comes meanwhile.
func TestI5_NoConfirmedBeforeSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, outlet, j := probe.New(t, system, "session"), probe.New(t, system, "outlet"), newMirrorProbe()
		mirror := system.Root.Spawn(NewMirror(MirrorConfig{
			Ring: messages.Ring_DOWN, Slots: 4, Journal: j, Session: link.PID(), Next: outlet.PID(), Metrics: Nop{}, Log: zap.NewNop(),
		}))
		system.Root.Send(mirror, &LinkUp{})
		probe.Expect[*ConfirmedOut](link)
		for range 3 { // duplicates too
			system.Root.Send(mirror, dataOf(1, 4, "one"))
			system.Root.Send(mirror, dataOf(2, 4, "two"))
		}
		link.ExpectNothing(time.Hour)
		system.Root.Send(mirror, &LinkDown{})
		system.Root.Send(mirror, &LinkUp{})
		if c := probe.Expect[*ConfirmedOut](link); c.Progress.Last != 0 || len(c.Progress.Bitmap) != 0 {
			t.Errorf("confirmed without a sync: %v", c.Progress)
		}
		if v := viewOfActor(t, system, mirror); len(v.Held) != 0 {
			t.Errorf("a Hello would claim %v", v.Held)
		}
		outlet.ExpectNothing(time.Hour)
		j.end(t, 2, nil)
		c := probe.Expect[*ConfirmedOut](link)
		if last, more := sequences(c.Progress); last != 0 || !slices.Equal(more, []uint64{2}) {
			t.Errorf("confirmed %d %v", last, more)
		}
		j.end(t, 1, nil)
		if c := probe.Expect[*ConfirmedOut](link); c.Progress.Last != 2 {
			t.Errorf("confirmed %v", c.Progress)
		}
		// Nor is anything Confirmed whose sync failed.
		system.Root.Send(mirror, dataOf(3, 4, "three"))
		synctest.Wait()
		broken := errors.New("disk is full")
		j.end(t, 3, broken)
		if e := probe.Expect[*ProtocolError](link); !errors.Is(e.Err, broken) {
			t.Errorf("the session hears %v", e.Err)
		}
		system.Root.Send(mirror, dataOf(4, 4, "four")) // it has stopped
		link.ExpectNothing(time.Hour)
	})
}

// The sender says Released only after its result is on disk (I12), and gives
// the slot to nobody before.
func TestI12_NoReleasedBeforeSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link := probe.New(t, system, "session")
		j := newOriginProbe("one", "two")
		buffer := system.Root.Spawn(NewBuffer(BufferConfig{Ring: messages.Ring_DOWN, Slots: 1, Journal: j, Session: link.PID(), Metrics: Nop{}, Log: zap.NewNop()}))
		system.Root.Send(buffer, &LinkUp{})
		probe.Expect[*ReleasedOut](link)
		probe.Expect[*messages.Data](link)
		system.Root.Send(buffer, progress(messages.Ring_DOWN, 1))
		system.Root.Send(buffer, answerTo(1, "one"))
		link.ExpectNothing(time.Hour)
		j.end(t, 1, nil)
		if r := probe.Expect[*ReleasedOut](link); r.Progress.Last != 1 {
			t.Errorf("released %v", r.Progress)
		}
		if d := probe.Expect[*messages.Data](link); d.Sequence != 2 || d.Message.Text != "two" {
			t.Errorf("sent %v", d)
		}
	})
}

// Both ends go on retrieving while the link is interrupted (patent, figure 3).
func TestRetrievingGoesOnWithoutALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link := probe.New(t, system, "session")
		buffer := system.Root.Spawn(NewBuffer(BufferConfig{
			Ring: messages.Ring_DOWN, Slots: 2, Journal: newOriginProbe("one", "two", "three"), Session: link.PID(), Metrics: Nop{}, Log: zap.NewNop(),
		}))
		synctest.Wait()
		if v := viewOfActor(t, system, buffer); v.LastRetrieved != 2 || v.LastSent != 0 {
			t.Errorf("without a link: %v", v)
		}
		link.ExpectNothing(time.Hour)
		system.Root.Send(buffer, &LinkUp{})
		probe.Expect[*ReleasedOut](link)
		for seq := uint64(1); seq <= 2; seq++ {
			if d := probe.Expect[*messages.Data](link); d.Sequence != seq {
				t.Errorf("sent %v, want sequence %d", d, seq)
			}
		}
	})
}

// What a dead stripe carried goes out again: what was sent and is not confirmed,
// nothing else.
func TestWhatADeadStripeCarriedIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link := probe.New(t, system, "session")
		buffer := system.Root.Spawn(NewBuffer(BufferConfig{
			Ring: messages.Ring_DOWN, Slots: 3, Journal: newOriginProbe("one", "two", "three"), Session: link.PID(), Metrics: Nop{}, Log: zap.NewNop(),
		}))
		system.Root.Send(buffer, &LinkUp{})
		probe.Expect[*ReleasedOut](link)
		for range 3 {
			probe.Expect[*messages.Data](link)
		}
		system.Root.Send(buffer, progress(messages.Ring_DOWN, 0, 2))
		system.Root.Send(buffer, &AgainLost{Seqs: []uint64{1, 2}})
		if d := probe.Expect[*messages.Data](link); d.Sequence != 1 {
			t.Errorf("sent %v again, want sequence 1", d)
		}
		link.ExpectNothing(time.Hour) // 2 is confirmed, 3 went over another stripe
	})
}

// events is a status log of three events.
type events struct {
	journal.StatusLog
	trimmed []uint64
}

func (e *events) LastEvent() uint64   { return 3 }
func (e *events) NotifyEvents(func()) {}
func (e *events) TrimEvents(n uint64) { e.trimmed = append(e.trimmed, n) }
func (e *events) EventsAfter(n uint64, _ int) (found []*messages.Event, err error) {
	for n++; n <= 3; n++ {
		found = append(found, &messages.Event{Number: n})
	}
	return found, nil
}

// The edge forgets a status event when the hub has it, not when it was sent.
func TestI13_TrimmedWhenApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, log := probe.New(t, system, "session"), &events{}
		status := system.Root.Spawn(NewStatusLog(StatusLogConfig{Journal: log, Session: link.PID(), Log: zap.NewNop()}))
		system.Root.Send(status, &LinkUp{})
		for n := uint64(1); n <= 3; n++ {
			if e := probe.Expect[*messages.Event](link); e.Number != n {
				t.Errorf("sent %v, want event %d", e, n)
			}
		}
		system.Root.Send(status, &EventsApplied{Number: 1})
		synctest.Wait()
		if !slices.Equal(log.trimmed, []uint64{1}) {
			t.Errorf("trimmed %v: the hub has event 1", log.trimmed)
		}
		system.Root.Send(status, &EventsLost{From: 3})
		if e := probe.Expect[*messages.Event](link); e.Number != 3 {
			t.Errorf("sent %v again, want event 3", e)
		}
		link.ExpectNothing(time.Hour)
	})
}
