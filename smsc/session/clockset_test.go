package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
)

// A refused message waits as long as it is told to, though the clock was hours ahead
// when the refusal was stored and has been set since.
func TestRetryAfterTheClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := 6 * time.Hour
		clock := func(c *OutletConfig) {
			c.Now = func() time.Time { return time.Now().Add(ahead) }
		}
		e := newEdge(t, options{outlet: clock})
		e.handOn(message(1, "+639170000001", "one"))
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary})
		if r := e.want(1, messages.State_DEFERRED); !time.UnixMilli(r.AtUnixMs).Equal(time.Now().Add(ahead).Truncate(time.Millisecond)) {
			t.Errorf("the result is of %v", time.UnixMilli(r.AtUnixMs))
		}
		ahead = 0
		e = e.crash(options{smsc: e.smsc, outlet: clock})
		e.smsc.silent(29 * time.Second)
		time.Sleep(9 * time.Second) // a pause may be longer by a quarter
		e.smsc.expect("one")(accepted("a"))
	})
}

// Deadlines are another machine's word: they are compared with what the clock shows,
// also once it was set.
func TestDeadlinesFollowTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Duration(0)
		e := newEdge(t, options{outlet: func(c *OutletConfig) {
			c.Now = func() time.Time { return time.Now().Add(ahead) }
		}})
		m := message(1, "+639170000001", "one")
		m.DeadlineUnixMs = time.Now().Add(2 * time.Hour).UnixMilli()
		e.handOn(m)
		answer := e.smsc.expect("one")
		late := message(2, "+639170000002", "two")
		late.DeadlineUnixMs = m.DeadlineUnixMs
		e.handOn(late)
		ahead = 3 * time.Hour
		answer(accepted("a"))
		e.want(1, messages.State_PROCESSED)
		e.want(2, messages.State_EXPIRED)
	})
}

// A deadline that is not past when it falls due, since the clock was set back, falls
// due again; what is held by differences goes when its time is up.
func TestPlanLooksAgain(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := newPlan()
	waits := &job{task: &journal.Task{Seq: 1}, message: &messages.Message{To: "+1"}}
	waits.expireAt(now.Add(10*time.Minute), now)
	waits.deadline = now.Add(time.Hour) // as after 50 minutes were taken back
	held := &job{task: &journal.Task{Seq: 2}, message: &messages.Message{To: "+2"}}
	p.add(waits)
	p.add(held)
	p.hold(held, now.Add(20*time.Minute))
	if got := p.nextDue(); !got.Equal(now.Add(10 * time.Minute)) {
		t.Fatalf("due %v", got)
	}
	for _, at := range []time.Duration{10 * time.Minute, 20 * time.Minute} {
		if l, expired := p.fallen(now.Add(at)); l == nil || len(expired) > 0 {
			t.Fatalf("after %v: lane %v, expired %v", at, l, expired)
		}
	}
	for range 2 {
		if p.next("a") == nil {
			t.Error("the one that was held does not go")
		}
	}
	p.giveBack(waits)
	if got := p.nextDue(); !got.Equal(now.Add(time.Hour)) {
		t.Fatalf("due %v", got)
	}
	if l, expired := p.fallen(now.Add(time.Hour)); l == nil || len(expired) != 1 {
		t.Errorf("lane %v, expired %v", l, expired)
	}
}

// What a clock that was ahead wrote down is of now: nothing waits the hours until it
// would be old, and what a person says again is not taken for a repetition that long.
func TestNotesOfLaterThanNow(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	later := now.Add(6 * time.Hour)
	all := newTexts(10)
	if bad := all.load(map[string][]byte{
		wholeNote + "text/w": encodeNote(&whole{At: later, Again: &assembly{Since: later}}),
		"text/a":             encodeNote(&assembly{Since: later}),
	}, now); len(bad) > 0 {
		t.Fatal(bad)
	}
	if w := all.wholes["text/w"]; !w.At.Equal(now) || !w.Again.Since.Equal(now) {
		t.Errorf("whole at %v, again at %v", w.At, w.Again.Since)
	}
	if due := all.due(now, now); len(due) != 1 {
		t.Errorf("due are %v", due)
	}
	if all.expire(now.Add(repeatWithin)); len(all.order) != 0 {
		t.Error("what was whole is still remembered")
	}
}
