package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// pieces are a text's parts as a handset sends them.
func pieces(t *testing.T, from, body string, reference uint16) []smsc.Part {
	t.Helper()
	coding, data, err := text.Encode(body)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := text.Split(coding, data, text.Reference{Number: reference})
	if err != nil {
		t.Fatal(err)
	}
	var parts []smsc.Part
	for _, p := range cut {
		parts = append(parts, smsc.Part{
			From: smsc.ParseAddress(from), To: smsc.ParseAddress("63917000"), Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data,
		})
	}
	return parts
}

// deliver hands a part to the edge and waits for the answer.
func (e *edge) deliver(p smsc.Part) smsc.DeliverAnswered {
	e.t.Helper()
	e.smsc.one().handle(smsc.ServerDeliver{Ref: 1, Deliver: smsc.Deliver{Part: p, At: "260101120000"}})
	return e.smsc.answeredDeliver()
}

func (e *edge) accept(p smsc.Part) {
	e.t.Helper()
	if a := e.deliver(p); !a.OK {
		e.t.Fatalf("the edge answered %+v", a)
	}
}

// up takes what stands in the up ring's queue, in order.
func (e *edge) up() []*messages.Message {
	e.t.Helper()
	state, err := e.store.Up().Load()
	if err != nil {
		e.t.Fatal(err)
	}
	var found []*messages.Message
	e.store.Up().Retrieve(state.LastRetrieved+1, 1000, func(entries []journal.Entry, err error) {
		if err != nil {
			e.t.Error(err)
		}
		for _, entry := range entries {
			found = append(found, entry.Message)
		}
	})
	e.settle()
	return found
}

// slowDisk is a journal whose fsync of an intake takes as long as the test says.
type slowDisk struct {
	journal.Edge
	synced chan func()
}

func (d *slowDisk) Receive(in journal.Intake, done func(error)) {
	d.Edge.Receive(in, func(err error) { d.synced <- func() { done(err) } })
}

// The SMSC is answered when the message is durable, not before: it would forget it.
func TestI5_TheSMSCIsAnsweredAfterTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{synced: make(chan func(), 10)}
		e := newEdge(t, options{inlet: func(cfg *InletConfig) { disk.Edge, cfg.Journal = cfg.Journal, disk }})
		part := pieces(t, "+639170000001", "not yet", 0)[0]
		e.smsc.one().handle(smsc.ServerDeliver{Ref: 1, Deliver: smsc.Deliver{Part: part}})
		e.smsc.silent(9 * time.Second)
		(<-disk.synced)()
		if a := e.smsc.answeredDeliver(); !a.OK {
			t.Errorf("answered %+v", a)
		}
	})
}

func TestMessageFromAHandset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.accept(pieces(t, "+639170000001", "good morning ç", 0)[0])
		e.accept(smsc.Part{From: smsc.ParseAddress("+639170000001"), To: smsc.ParseAddress("63917000"), Class: -1, Coding: text.Binary, Data: []byte{1, 2, 3}})
		e = e.crash(options{smsc: e.smsc}) // what was accepted is durable
		ms := e.up()
		if len(ms) != 2 || ms[0].Text != "good morning ç" || ms[0].From != "+639170000001" || ms[0].To != "63917000" ||
			len(ms[0].Id) != 16 || ms[0].Class != 1 || ms[0].PossibleDuplicate || string(ms[1].Data) != "\x01\x02\x03" || ms[1].Text != "" {
			t.Errorf("up queue %v", ms)
		}
	})
}

func TestReassemblyInAnyOrderWithDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := strings.Repeat("ang bilis ng pagdating ", 20)
		parts := pieces(t, "+639170000001", body, 200)
		other := pieces(t, "+639170000002", body, 200)
		within := func(c *InletConfig) { c.AssembleWithin = 2 * time.Hour }
		e := newEdge(t, options{inlet: within})
		e.accept(parts[2])
		e.accept(other[0])
		e.accept(parts[0])
		e.accept(parts[2])
		if e.store.Up().Waiting() != 0 {
			t.Fatal("the text went on before it was whole")
		}
		e = e.crash(options{smsc: e.smsc, inlet: within}) // parts are durable
		for _, p := range parts[3:] {
			e.accept(p)
		}
		e.accept(parts[1])
		ms := e.up()
		if len(ms) != 1 || ms[0].Text != body || ms[0].From != "+639170000001" {
			t.Fatalf("up queue %v", ms)
		}
		time.Sleep(2*time.Hour + 2*time.Minute)
		synctest.Wait()
		ms = e.up()
		if len(ms) != 1 || ms[0].From != "+639170000002" || ms[0].Text != text.Decode(other[0].Coding, other[0].Data) || e.counts.get("incomplete") != 1 {
			t.Errorf("after two hours %v, want what is there of the other text", ms)
		}
	})
}

// A part that comes again when its text is whole is answered, and gives nothing,
// also after a restart; nothing of it is left.
func TestPartsOfAWholeTextComeAgain(t *testing.T) {
	for _, end := range []string{"restart", "none"} {
		synctest.Test(t, func(t *testing.T) {
			body := strings.Repeat("0123456789", 40)
			parts := pieces(t, "+639170000001", body, 200)
			within := func(c *InletConfig) { c.AssembleWithin = 15 * time.Minute }
			e := newEdge(t, options{inlet: within})
			for _, p := range parts {
				e.accept(p)
			}
			if end == "restart" {
				e = e.crash(options{smsc: e.smsc, inlet: within})
			}
			e.accept(parts[1])
			e.accept(parts[2])
			if end == "restart" {
				e = e.crash(options{smsc: e.smsc, inlet: within})
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			if ms := e.up(); len(ms) != 1 || ms[0].Text != body || e.counts.get("incomplete") != 0 {
				t.Errorf("end %s: up queue %v", end, ms)
			}
			e.store.LoadInlet(func(notes map[string][]byte, err error) {
				for name := range notes {
					if !strings.HasPrefix(name, lastNote) {
						t.Errorf("end %s: %s is left (%v)", end, name, err)
					}
				}
			})
			e.settle()
		})
	}
}

func TestReferenceUsedAgainStartsANewText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := pieces(t, "+639170000001", strings.Repeat("a", 200), 3)
		two := pieces(t, "+639170000001", strings.Repeat("b", 200), 3)
		e := newEdge(t, options{})
		e.accept(one[0])
		e.accept(two[0])
		e = e.crash(options{smsc: e.smsc})
		e.accept(two[1])
		ms := e.up()
		if len(ms) != 2 || ms[0].Text != strings.Repeat("a", 153) || ms[1].Text != strings.Repeat("b", 200) {
			t.Errorf("up queue %v", ms)
		}
	})
}

func TestI7_RedeliveryIsSwallowedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, smpp.Protocol)
		e := newEdge(t, options{smsc: s, protocol: s.protocol})
		part := pieces(t, "+639170000001", "ok", 0)[0]
		e.accept(part)
		e.accept(part) // on the same connection: a person who says it twice
		if n := len(e.up()); n != 2 {
			t.Fatalf("%d messages, want 2", n)
		}
		s.one().hangup()
		time.Sleep(time.Second)
		e.accept(part) // the answer may not have arrived
		if n := len(e.up()); n != 0 || e.counts.get("redelivered") != 1 {
			t.Fatalf("%d messages, %d redeliveries, want 0 and 1", n, e.counts.get("redelivered"))
		}
		e.accept(part)
		if n := len(e.up()); n != 1 {
			t.Fatalf("%d messages: only one redelivery may be swallowed", n)
		}
		e = e.crash(options{smsc: s, protocol: s.protocol}) // it is known across restarts
		e.accept(part)
		if n := len(e.up()); n != 0 {
			t.Fatalf("%d messages after the restart", n)
		}
		s.one().hangup()
		time.Sleep(11 * time.Minute)
		e.accept(part)
		if n := len(e.up()); n != 1 {
			t.Fatalf("%d messages: long after the session is bound again it is a new one", n)
		}
	})
}

func TestI7_RedeliveryIsSwallowedBehindOthers(t *testing.T) {
	for _, after := range []string{"loss", "crash"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStub(t, smpp.Protocol)
			e := newEdge(t, options{smsc: s, protocol: s.protocol})
			doubted := pieces(t, "+639170000001", "was it taken?", 0)[0]
			e.accept(doubted)
			if after == "loss" {
				s.one().hangup()
				time.Sleep(time.Second)
			} else {
				e = e.crash(options{smsc: s, protocol: s.protocol})
			}
			e.report("unheard of")
			e.accept(pieces(t, "+639170000002", "another", 0)[0])
			e = e.crash(options{smsc: s, protocol: s.protocol})
			before := e.counts.get("redelivered")
			e.accept(doubted)
			if n := e.counts.get("redelivered") - before; n != 1 {
				t.Errorf("after a %s: %d redeliveries were recognised, want 1", after, n)
			}
		})
	}
}

func TestSpillBoundLeavesTheRestToTheSMSC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{inlet: func(c *InletConfig) { c.SpillMessages = 2 }})
		for i := range 2 {
			e.accept(pieces(t, "+639170000001", fmt.Sprint(i), 0)[0])
		}
		if a := e.deliver(pieces(t, "+639170000001", "2", 0)[0]); a.OK || !a.Temporary {
			t.Fatalf("the edge answered %+v, want a temporary refusal", a)
		}
		e.report("unheard of") // receipts have a reserve of their own
		if n := len(e.up()); n != 2 || e.counts.get("refused message") != 1 {
			t.Fatalf("%d messages, %d refused", n, e.counts.get("refused message"))
		}
		e.accept(pieces(t, "+639170000001", "2", 0)[0])
	})
}

// A long cut of the link with many receipts does not fill the disk to the last octet:
// what was taken on needs room to be finished.
func TestDiskNearlyFullLeavesTheRestToTheSMSC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var space error
		e := newEdge(t, options{inlet: func(c *InletConfig) { c.Space = func() error { return space } }})
		for _, c := range []struct {
			space             error
			messages, reports bool
		}{
			{nil, true, true},
			{journal.ErrSpace, false, true},
			{fmt.Errorf("%w: %w", journal.ErrSpace, journal.ErrScarce), false, false},
			{nil, true, true},
		} {
			space = c.space
			if a := e.deliver(pieces(t, "+639170000001", "hello", 0)[0]); a.OK != c.messages || !a.OK && !a.Temporary {
				t.Errorf("%v: a message is answered with %+v", c.space, a)
			}
			if a := e.reported("unheard of"); a.OK != c.reports || !a.OK && !a.Temporary {
				t.Errorf("%v: a receipt is answered with %+v", c.space, a)
			}
		}
		if n, m := e.counts.get("refused message"), e.counts.get("refused receipt"); n != 2 || m != 1 {
			t.Errorf("%d messages and %d receipts are counted as refused", n, m)
		}
	})
}

// report sends a receipt: delivered.
func (e *edge) report(smscID string) {
	e.t.Helper()
	if a := e.reported(smscID); !a.OK {
		e.t.Fatalf("the edge answered a receipt with %+v", a)
	}
}

func (e *edge) reported(smscID string) smsc.DeliverAnswered {
	e.t.Helper()
	e.smsc.one().handle(smsc.ServerReport{
		Ref: 2, Receipt: smsc.Receipt{ID: smscID, State: smsc.ReceiptDelivered}, Submitted: time.Now(), Done: time.Now(),
		Part: smsc.Part{From: smsc.ParseAddress("63917000"), To: smsc.ParseAddress("+639170000001"), Class: -1},
	})
	return e.smsc.answeredDeliver()
}

func TestReceipts(t *testing.T) {
	for _, order := range []string{"response first", "receipt first"} {
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(t, options{})
			e.handOn(message(1, "+639170000001", "one"))
			answer := e.smsc.expect("one")
			if order == "response first" {
				answer(accepted("a"))
				e.want(1, messages.State_PROCESSED)
				e = e.crash(options{smsc: e.smsc})
				e.report("a")
			} else {
				e.report("a")
				if n := len(e.events()); n != 0 {
					t.Fatalf("%d events before the response", n)
				}
				answer(accepted("a"))
				e.want(1, messages.State_PROCESSED)
			}
			events := e.events()
			if len(events) != 1 || string(events[0].Id) != string(id(1)) || events[0].GetReceipt().GetState() != messages.State_DELIVERED ||
				events[0].GetReceipt().SmscId != "a" || events[0].GetReceipt().Parts != 1 {
				t.Fatalf("%s: events %v", order, events)
			}
			e.report("a") // again: it has no part any more
			if n := len(e.events()); n != 1 {
				t.Errorf("%s: %d events", order, n)
			}
		})
	}
}

func TestReceiptsOfOneIDGoToTheOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		for seq := uint64(1); seq <= 2; seq++ {
			e.handOn(message(seq, "+639170000001", fmt.Sprint(seq)))
			e.smsc.expect(fmt.Sprint(seq))(accepted("same"))
			e.want(seq, messages.State_PROCESSED)
		}
		e.report("same")
		e.report("same")
		events := e.events()
		if len(events) != 2 || string(events[0].Id) != string(id(1)) || string(events[1].Id) != string(id(2)) {
			t.Errorf("events %v", events)
		}
		e.store.TrimEvents(1)
		e.settle()
		if left, err := e.store.EventsAfter(0, 10); err != nil || len(left) != 1 || left[0].Number != 2 || e.store.EventsKept() != 1 {
			t.Errorf("after trimming 1: %v, %v", left, err)
		}
	})
}

func TestParkedReceiptsAreBoundedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{inlet: func(c *InletConfig) { c.MaxParked = 2; c.ParkReceipts = time.Hour }})
		for i := range 3 {
			e.report(fmt.Sprint("early", i))
			time.Sleep(time.Second)
		}
		if e.counts.get("receipt parked") != 3 || e.counts.get("receipt forgotten") != 1 {
			t.Fatalf("counts %v", e.counts.n)
		}
		e.handOn(message(1, "+639170000001", "one"))
		answer := e.smsc.expect("one")
		answer(accepted("early0")) // forgotten
		e.want(1, messages.State_PROCESSED)
		e.handOn(message(2, "+639170000001", "two"))
		e.smsc.expect("two")(accepted("early1"))
		e.want(2, messages.State_PROCESSED)
		if n := len(e.events()); n != 1 {
			t.Fatalf("%d events, want the one for early1", n)
		}
		time.Sleep(2 * time.Hour)
		e.handOn(message(3, "+639170000001", "three"))
		e.smsc.expect("three")(accepted("early2")) // too old
		e.want(3, messages.State_PROCESSED)
		if n := len(e.events()); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// busyDisk is a journal that takes nothing the first time.
type busyDisk struct {
	journal.Edge
	refused bool
}

func (d *busyDisk) Receive(in journal.Intake, done func(error)) {
	if !d.refused {
		d.refused = true
		done(journal.ErrFull)
		return
	}
	d.Edge.Receive(in, done)
}

// A part that the disk had no room for is kept after the one that makes its text whole:
// nothing of the text is left that would go on as another one.
func TestPartsThatTheDiskTakesInAnotherOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		within := func(c *InletConfig) { c.AssembleWithin = 15 * time.Minute }
		disk := &busyDisk{}
		e := newEdge(t, options{inlet: func(c *InletConfig) {
			within(c)
			disk.Edge, c.Journal = c.Journal, disk
		}})
		body := strings.Repeat("0123456789", 20)
		for i, p := range pieces(t, "+639170000001", body, 200) {
			e.smsc.one().handle(smsc.ServerDeliver{Ref: uint64(i + 1), Deliver: smsc.Deliver{Part: p, At: "260101120000"}})
		}
		for range 2 {
			if a := e.smsc.answeredDeliver(); !a.OK {
				t.Fatalf("the edge answered %+v", a)
			}
		}
		if !disk.refused {
			t.Fatal("the disk took everything at once")
		}
		e = e.crash(options{smsc: e.smsc, inlet: within})
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if ms := e.up(); len(ms) != 1 || ms[0].Text != body || e.counts.get("incomplete") != 0 {
			t.Errorf("up queue %v", ms)
		}
	})
}

// A note that cannot be read may hold parts that were acknowledged: nothing goes on.
func TestDamagedNoteIsNotPassedOver(t *testing.T) {
	for _, name := range []string{assemblyNote + "x", wholeNote + "x", lastNote + "x"} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			store := openStore(t, fs)
			store.Receive(journal.Intake{Put: map[string][]byte{name: []byte("{")}}, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			var said []error
			e := newEdge(t, options{fs: fs, inlet: func(c *InletConfig) { c.Damaged = func(err error) { said = append(said, err) } }})
			e.settle()
			if len(said) != 1 || !strings.Contains(said[0].Error(), name) {
				t.Errorf("%s: the process ends with %v", name, said)
			}
		})
	}
}
