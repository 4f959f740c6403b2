package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
)

// undefinedCodes returns the codes that the log spoke of.
func undefinedCodes(logs *observer.ObservedLogs) (codes []string) {
	for _, entry := range logs.FilterMessageSnippet("smsc.quirks.fates").All() {
		codes = append(codes, fmt.Sprint(entry.ContextMap()["smsc"], " ", entry.ContextMap()["code"], " ", entry.ContextMap()["taken_for"]))
	}
	return codes
}

// A code that nobody has defined is tried three times, over a restart too; the
// operator is told once an hour, the sender what the SMSC said.
func TestUndefinedCodesAreTriedAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		o := options{outlet: func(c *OutletConfig) { c.Logger = zap.New(core) }}
		e := newEdge(t, o)
		e.handOn(message(1, "+639170000001", "one"))
		vendor := smsc.Outcome{Fate: smsc.Temporary, Code: "0x4A1"}
		e.smsc.expect("one")(vendor)
		e.want(1, messages.State_DEFERRED)
		e.smsc.silent(30*time.Second - time.Millisecond)
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary, Code: "ESME_RSYSERR"}) // a known one is none of them
		e.settle()
		o.smsc = e.smsc
		e = e.crash(o)
		e.smsc.expect("one")(vendor)
		e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary, Code: "0x600"})
		e.smsc.silent(10 * time.Minute)
		events := e.events()
		if len(events) != 1 || events[0].GetResult().GetState() != messages.State_FAILED || events[0].GetResult().GetReason().GetCode() != "rejected" ||
			events[0].GetResult().GetReason().GetSmscCode() != "status (0x600)" || events[0].GetResult().GetAttempts() != 4 {
			t.Errorf("events %v", events)
		}
		if v, u := e.counts.get("undefined vendor"), e.counts.get("undefined undefined"); v != 1 || u != 1 {
			t.Errorf("since the restart %d of the vendor's, %d undefined", v, u)
		}
		if n, other := e.counts.get("status 0x4A1"), e.counts.get("status other"); n != 1 || other != 1 || e.counts.get("in flight") != 0 {
			t.Errorf("answers %v", e.counts.n)
		}
		if got := undefinedCodes(logs); len(got) != 3 || got[0] != "globe status (0x4A1) temporary" || got[2] != "globe status (0x600) temporary" {
			t.Errorf("the log says %q", got) // the second is of the restarted one
		}
	})
}

// The log says it once an hour and code, and no more of an SMSC that invents them.
func TestUndefinedCodesDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		e := newEdge(t, options{protocol: cimd2.Protocol, outlet: func(c *OutletConfig) { c.Logger = zap.New(core) }})
		seq := uint64(0)
		answered := func(code int) {
			seq++
			e.handOn(message(seq, "+639170000001", "text"))
			e.smsc.expect("text")(smsc.Outcome{Fate: smsc.Permanent, Code: fmt.Sprintf("CIMD2 %d", code)})
			if r := e.want(seq, messages.State_FAILED); r.Attempts != 1 || r.GetReason().GetSmscCode() != fmt.Sprintf("CIMD2 %d", code) {
				t.Errorf("result %v", r)
			}
		}
		answered(300) // known
		for range 3 {
			answered(450)
		}
		if got := undefinedCodes(logs); len(got) != 1 || got[0] != "globe CIMD2 450 permanent" {
			t.Errorf("the log says %q", got)
		}
		time.Sleep(alarmAgain)
		answered(450)
		for code := range maxAlarmed + 10 {
			answered(903 + code)
		}
		if got := undefinedCodes(logs); len(got) != 2+maxAlarmed {
			t.Errorf("the log says %q", got)
		}
		if n := e.counts.get("undefined undefined"); n != 4+maxAlarmed+10 {
			t.Errorf("%d counted", n)
		}
		if e.counts.get("status 450") != 4 || e.counts.get("status 300") != 1 || e.counts.get("status 903") != 1 {
			t.Errorf("answers %v", e.counts.n)
		}
	})
}

// What the operator has said of a code holds: it is no longer undefined.
func TestFatesDefineACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		e := newEdge(t, options{outlet: func(c *OutletConfig) {
			c.Logger = zap.New(core)
			c.Sessions[0].Machine.Quirks.Fates = map[uint32]smsc.Fate{0x4A1: smsc.Temporary}
		}})
		e.handOn(message(1, "+639170000001", "one"))
		for range 6 {
			e.smsc.expect("one")(smsc.Outcome{Fate: smsc.Temporary, Code: "0x4A1"})
		}
		e.smsc.expect("one")(accepted("a"))
		events := e.events()
		if len(events) != 1 || events[0].GetResult().GetState() != messages.State_PROCESSED || events[0].GetResult().GetAttempts() != 7 {
			t.Errorf("events %v", events)
		}
		if got := undefinedCodes(logs); len(got) != 0 || e.counts.get("undefined vendor") != 0 || e.counts.get("status 0x4A1") != 6 {
			t.Errorf("the log says %q, counted %v", got, e.counts.n)
		}
	})
}

// A receipt says how long after the part's acceptance it came; what is in flight is
// what is not answered.
func TestLatencyOfReceiptsAndWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		answer := e.smsc.expect("one")
		if n := e.counts.get("in flight"); n != 1 {
			t.Errorf("%d in flight before the answer", n)
		}
		answer(accepted("a"))
		e.want(1, messages.State_PROCESSED)
		if n := e.counts.get("in flight"); n != 0 || e.counts.get("status ESME_ROK") != 1 {
			t.Errorf("%d in flight after it, %v", n, e.counts.n)
		}
		time.Sleep(time.Minute)
		e.report("a")
		if ms := e.counts.get("receipt after ms"); ms < 60_000 || ms > 61_000 {
			t.Errorf("the receipt came after %d ms", ms)
		}
		e.report("b")
		if e.counts.get("receipt parked") != 1 {
			t.Errorf("counted %v", e.counts.n)
		}
	})
}
