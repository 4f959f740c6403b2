package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

func TestI9_StopAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.handOn(message(2, "+639170000002", "two"))
		answer := e.smsc.expect("one")
		e.smsc.silent(9 * time.Second) // two waits for the answer to one
		answer(accepted("a"))
		r := e.want(1, messages.State_PROCESSED)
		if len(r.Parts) != 1 || r.Parts[0].SmscId != "a" || r.Attempts != 1 || r.PossibleDuplicate {
			t.Errorf("result %v", r)
		}
		e.smsc.expect("two")(accepted("b"))
		e.want(2, messages.State_PROCESSED)
	})
}

func TestOneSyncPerMessageInSteadyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		const n = 50
		for seq := uint64(1); seq <= n; seq++ {
			e.handOn(message(seq, fmt.Sprintf("+6391700000%02d", seq), fmt.Sprint(seq)))
		}
		synctest.Wait()
		before := e.store.Stats().Groups
		for seq := uint64(1); seq <= n; seq++ {
			e.smsc.expect(fmt.Sprint(seq))(accepted(fmt.Sprint("id", seq)))
		}
		e.want(n, messages.State_PROCESSED)
		if syncs := e.store.Stats().Groups - before; syncs != n {
			t.Errorf("%d syncs for %d messages; the first intent was durable before", syncs, n)
		}
	})
}

func TestThrottlingPausesTheSessionAndKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		for seq := uint64(1); seq <= 3; seq++ {
			e.handOn(message(seq, fmt.Sprint("+63917000000", seq), fmt.Sprint(seq)))
		}
		throttled := smsc.Outcome{Fate: smsc.Throttled}
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			e.smsc.expect("1")(throttled)
			e.smsc.silent(pause*time.Second - time.Millisecond)
		}
		e.smsc.expect("1")(accepted("a"))
		e.smsc.expect("2")(throttled)
		e.smsc.silent(time.Second - time.Millisecond) // from the shortest again
		e.smsc.expect("2")(accepted("b"))
		e.smsc.expect("3")(accepted("c"))
		r := e.want(1, messages.State_PROCESSED)
		if r.Attempts != 8 || r.PossibleDuplicate {
			t.Errorf("result %v, want 8 attempts and no doubt", r)
		}
		e.want(3, messages.State_PROCESSED)
	})
}

func TestI7_LostResponseIsADoubtAndIsResent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.handOn(message(2, "+639170000002", "two"))
		c, _ := e.smsc.submitted()
		c.hangup() // the answer to one is lost
		e.smsc.expect("one")(accepted("a"))
		e.smsc.expect("two")(accepted("b"))
		r := e.want(1, messages.State_PROCESSED)
		if r.Attempts != 2 || !r.PossibleDuplicate {
			t.Errorf("result %v, want 2 attempts and a possible duplicate", r)
		}
		if r := e.want(2, messages.State_PROCESSED); r.PossibleDuplicate {
			t.Errorf("two was not in doubt: %v", r)
		}
		events := e.events()
		if len(events) != 1 || string(events[0].Id) != string(id(1)) || !events[0].GetDoubt().GetAgain() ||
			events[0].GetDoubt().Attempt != 1 || events[0].GetDoubt().Session != "stub/0" || events[0].GetDoubt().Why == "" {
			t.Errorf("events %v, want one doubt about 1", events)
		}
	})
}

func TestI7_NoAnswerInTimeIsADoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.smsc.submitted() // and never answered
		e.smsc.expect("one")(accepted("a"))
		if r := e.want(1, messages.State_PROCESSED); !r.PossibleDuplicate {
			t.Errorf("result %v", r)
		}
	})
}

func TestI7_GiveUpLeavesTheDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{outlet: func(c *OutletConfig) { c.Unknown = GiveUp }})
		e.handOn(message(1, "+639170000001", "one"))
		c, _ := e.smsc.submitted()
		c.hangup()
		r := e.want(1, messages.State_UNKNOWN)
		if r.GetReason().GetCode() != "no_answer" {
			t.Errorf("result %v", r)
		}
		e.smsc.silent(time.Hour)
	})
}

// A power cut at each step: what may have been submitted is in doubt, what
// cannot have been is not.
func TestI15_CrashFindsExactlyTheDoubt(t *testing.T) {
	for _, policy := range []Unknown{Resend, GiveUp} {
		synctest.Test(t, func(t *testing.T) {
			with := options{outlet: func(c *OutletConfig) { c.Unknown = policy }}
			e := newEdge(t, with)
			e.smsc.setAway(true)
			e.smsc.one().hangup()
			synctest.Wait()
			e.handOn(message(1, "+639170000001", "one"))
			with.smsc = e.smsc

			e = e.crash(with) // kept, not handed to a session
			e.slots.Tell(e.outlet, &messages.HandOn{Seq: 1, Message: e.held(1)})
			if n := len(e.events()); n != 0 {
				t.Fatalf("%d events: nothing was submitted", n)
			}
			e.smsc.setAway(false)
			e.smsc.submitted() // one is at the SMSC, unanswered

			e = e.crash(with)
			e.slots.Tell(e.outlet, &messages.HandOn{Seq: 1, Message: e.held(1)})
			if n := len(e.events()); n != 1 || e.counts.get("doubt") != 1 {
				t.Fatalf("%d events, %d doubts, want 1 and 1", n, e.counts.get("doubt"))
			}
			if policy == GiveUp {
				e.want(1, messages.State_UNKNOWN)
				e.smsc.silent(time.Hour)
				return
			}
			e.smsc.expect("one")(accepted("a"))
			if r := e.want(1, messages.State_PROCESSED); r.Attempts != 2 || !r.PossibleDuplicate {
				t.Errorf("result %v", r)
			}

			e = e.crash(with) // the result stands
			if r := e.state().Held[0].Result; r.GetState() != messages.State_PROCESSED {
				t.Fatalf("after the restart: %v", r)
			}
			e.slots.Tell(e.outlet, &messages.HandOn{Seq: 1, Message: e.held(1)})
			e.want(1, messages.State_PROCESSED)
			e.smsc.silent(time.Hour)
			if n := len(e.events()); n != 1 {
				t.Errorf("%d events, want the one doubt", n)
			}
		})
	}
}

func TestI15_RestartGoesOnWithTheNextPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("0123456789", 40) // three parts
		e := newEdge(t, options{})
		e.handOn(message(7, "+639170000001", long))
		c, first := e.smsc.submitted()
		c.handle(smsc.ServerAnswer{Ref: first.Ref, Outcome: accepted("a")})
		_, second := e.smsc.submitted()
		if place, ok := text.Concatenation(second.Part.UDH); !ok || place.Number != 2 || place.Total != 3 || place.Ref.Number != 7 {
			t.Fatalf("second part %v %v", place, ok)
		}
		e = e.crash(options{smsc: e.smsc})
		e.slots.Tell(e.outlet, &messages.HandOn{Seq: 7, Message: e.held(7)})
		for number := uint8(2); number <= 3; number++ {
			c, m := e.smsc.submitted()
			if place, _ := text.Concatenation(m.Part.UDH); place.Number != number || place.Ref.Number != 7 {
				t.Fatalf("part %d of reference %d, want %d of 7", place.Number, place.Ref.Number, number)
			}
			c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(fmt.Sprint(number))})
		}
		r := e.want(7, messages.State_PROCESSED)
		if len(r.Parts) != 3 || r.Parts[0].SmscId != "a" || r.Parts[1].SmscId != "2" || r.Attempts != 4 {
			t.Errorf("result %v", r)
		}
	})
}

func TestDeferredHoldsBackOnlyItsRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary})
		e.want(1, messages.State_DEFERRED)
		e.handOn(message(2, "+639170000001", "two"))
		e.want(2, messages.State_DEFERRED) // behind one
		e.handOn(message(3, "+639170000002", "three"))
		e.smsc.expect("three")(accepted("c"))
		e.want(3, messages.State_PROCESSED)
		if n := len(e.store.Deferred()); n != 2 {
			t.Fatalf("%d deferred, want 2", n)
		}
		e.smsc.silent(29 * time.Second)
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary})
		e.smsc.silent(59 * time.Second)

		e = e.crash(options{smsc: e.smsc}) // the retry queue is durable
		e.smsc.expect("one")(accepted("a"))
		e.smsc.expect("two")(accepted("b"))
		events := e.events()
		if len(events) != 2 || events[0].GetResult().GetState() != messages.State_PROCESSED || string(events[0].Id) != string(id(1)) ||
			events[0].GetResult().Attempts != 3 || string(events[1].Id) != string(id(2)) {
			t.Errorf("events %v", events)
		}
		if n := len(e.store.Deferred()); n != 0 {
			t.Errorf("%d still deferred", n)
		}
	})
}

func TestDeferredExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		m := message(1, "+639170000001", "one")
		m.DeadlineUnixMs = time.Now().Add(20 * time.Second).UnixMilli()
		e.handOn(m)
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary})
		e.want(1, messages.State_DEFERRED)
		time.Sleep(21 * time.Second)
		events := e.events()
		if len(events) != 1 || events[0].GetResult().GetState() != messages.State_EXPIRED {
			t.Errorf("events %v", events)
		}
		e.smsc.silent(time.Hour)
	})
}

func TestFullRetryQueueLeavesTheMessageInItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{outlet: func(c *OutletConfig) { c.RetryMessages = 1 }})
		e.handOn(message(1, "+639170000001", "one"))
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary})
		e.want(1, messages.State_DEFERRED)
		e.handOn(message(2, "+639170000002", "two"))
		e.smsc.expect("two")(smsc.Outcome{Fate: smsc.Temporary})
		e.slots.ExpectNothing(29 * time.Second)
		e.smsc.expect("one")(accepted("a"))
		e.smsc.expect("two")(accepted("b"))
		e.want(2, messages.State_PROCESSED)
	})
}

func TestRejectedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		late := message(2, "+639170000002", "late")
		late.DeadlineUnixMs = time.Now().Add(time.Second).UnixMilli()
		e.handOn(late)
		answer := e.smsc.expect("one")
		time.Sleep(2 * time.Second)
		answer(smsc.Outcome{Fate: smsc.Permanent})
		r := e.want(1, messages.State_FAILED)
		if r.GetReason().GetCode() != "rejected" || r.Reason.SmscCode == "" || r.Reason.Text == "" {
			t.Errorf("result %v", r)
		}
		e = e.crash(options{smsc: e.smsc})
		if r := e.state().Held[1].Result; r.GetState() != messages.State_EXPIRED {
			t.Errorf("late: %v", r)
		}
		e.smsc.silent(time.Hour)
	})
}

func TestBadSessionLogsInAnewAndKeepsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.BadSession})
		e.smsc.expect("one")(accepted("a"))
		if r := e.want(1, messages.State_PROCESSED); r.PossibleDuplicate {
			t.Errorf("result %v: there was no doubt", r)
		}
		if e.smsc.binds != 2 {
			t.Errorf("%d binds, want 2", e.smsc.binds)
		}
	})
}

func TestRateIsPacedEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{outlet: func(c *OutletConfig) { c.Rate = 10 }})
		for seq := uint64(1); seq <= 5; seq++ {
			e.handOn(message(seq, fmt.Sprint("+63917000000", seq), fmt.Sprint(seq)))
		}
		e.smsc.expect("1")(accepted("1"))
		e.smsc.expect("2")(accepted("2"))
		for seq := 3; seq <= 5; seq++ {
			e.smsc.silent(99 * time.Millisecond)
			e.smsc.expect(fmt.Sprint(seq))(accepted(fmt.Sprint(seq)))
		}
		began := time.Now()
		time.Sleep(time.Second)
		e.handOn(message(6, "+639170000006", "6")) // after a pause nothing is made up for
		e.handOn(message(7, "+639170000007", "7"))
		e.smsc.expect("6")(accepted("6"))
		e.smsc.expect("7")(accepted("7"))
		if took := time.Since(began); took < 1090*time.Millisecond {
			t.Errorf("two parts in a burst after a pause: %v", took-time.Second)
		}
	})
}

func TestI9_RecipientStaysWithItsSession(t *testing.T) {
	for _, first := range []string{"the recipient's is the first session", "it is the second"} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { recipientStays(t, first == "it is the second") })
		})
	}
}

func recipientStays(t *testing.T, second bool) {
	e := newEdge(t, options{sessions: 2})
	if second {
		e.handOn(message(5, "+639170000002", "b"))
	}
	for seq := uint64(1); seq <= 4; seq++ {
		e.handOn(message(seq, "+639170000001", fmt.Sprint("a", seq)))
	}
	if !second {
		e.handOn(message(5, "+639170000002", "b"))
	}
	ca, a := e.smsc.submitted()
	cb, b := e.smsc.submitted()
	if ca == cb {
		t.Fatal("both sessions should be at work")
	}
	if string(a.Part.Data) == "b" { // which of them is first is no matter
		ca, a, cb, b = cb, b, ca, a
	}
	cb.handle(smsc.ServerAnswer{Ref: b.Ref, Outcome: accepted("b")})
	e.smsc.silent(5 * time.Second) // that session is free, but not the recipient's
	for seq := 1; ; seq++ {
		if got := text.Decode(a.Part.Coding, a.Part.Data); got != fmt.Sprint("a", seq) {
			t.Fatalf("got %s, want a%d", got, seq)
		}
		ca.handle(smsc.ServerAnswer{Ref: a.Ref, Outcome: accepted(fmt.Sprint(seq))})
		if seq == 4 {
			break
		}
		var c *stubSession
		if c, a = e.smsc.submitted(); c != ca {
			t.Fatal("the recipient changed its session")
		}
	}
}

func TestWrongPasswordIsTriedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, smpp.Protocol)
		s.setRefuse(true)
		e := newEdge(t, options{smsc: s})
		e.handOn(message(1, "+639170000001", "one"))
		time.Sleep(29 * time.Second)
		s.mu.Lock()
		binds := s.binds
		s.mu.Unlock()
		if binds != 1 {
			t.Fatalf("%d logins within 29 s of a refused one", binds)
		}
		s.setRefuse(false)
		s.expect("one")(accepted("a"))
	})
}

func TestDrainWaitsForTheAnswerAndLogsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		e.handOn(message(2, "+639170000002", "two"))
		answer := e.smsc.expect("one")
		e.slots.Watch(e.outlet)
		e.system.Root.Send(e.outlet, Drain{})
		synctest.Wait()
		answer(accepted("a"))
		e.want(1, messages.State_PROCESSED)
		e.slots.ExpectTerminated(e.outlet, time.Minute)
		e.smsc.silent(time.Minute)
		if n := len(e.events()); n != 0 {
			t.Errorf("%d events: nothing is in doubt", n)
		}
	})
}

func TestCIMD2SessionCarriesAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{protocol: cimd2.Protocol})
		e.handOn(message(1, "+639170000001", "one"))
		c, m := e.smsc.submitted()
		c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(cimd2.Protocol.NewID(m.Part.To, time.Now(), 1))})
		if r := e.want(1, messages.State_PROCESSED); len(r.Parts) != 1 || r.Parts[0].SmscId == "" {
			t.Errorf("result %v", r)
		}
	})
}

func (e *edge) state() journal.MirrorState {
	e.t.Helper()
	state, err := e.store.Down().Load()
	if err != nil {
		e.t.Fatal(err)
	}
	return state
}

// held is a message as the mirror finds it after a restart.
func (e *edge) held(seq uint64) *messages.Message {
	e.t.Helper()
	for _, h := range e.state().Held {
		if h.Seq == seq {
			return h.Message
		}
	}
	e.t.Fatalf("the mirror has lost %d", seq)
	return nil
}
