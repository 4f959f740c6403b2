package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// all waits until there are n sessions, and returns them.
func (s *stub) all(n int) (found []*stubSession) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		found = append(found, c)
	}
	if len(found) != n {
		s.t.Fatalf("%d sessions, want %d", len(found), n)
	}
	return found
}

// reportOn sends a receipt for the only message on c.
func (e *edge) reportOn(c *stubSession, smscID string, state smsc.ReceiptState) {
	e.t.Helper()
	c.handle(smsc.ServerReport{
		Ref: 2, Receipt: smsc.Receipt{ID: smscID, State: state}, Submitted: time.Now(), Done: time.Now(),
		Part: smsc.Part{From: smsc.ParseAddress("63917000"), To: smsc.ParseAddress("+639170000001"), Class: -1},
	})
	if a := e.smsc.answeredDeliver(); !a.OK {
		e.t.Fatalf("the edge answered a receipt with %+v", a)
	}
}

// A receipt finds its message whatever comes first and wherever it comes, and
// once, in both protocols: over the real journal, power cuts included.
func TestReceiptFindsItsMessage(t *testing.T) {
	for _, protocol := range []smsc.Protocol{smpp.Protocol, cimd2.Protocol} {
		for name, story := range map[string]func(e *edge, on, other *stubSession, answer func(), report func(*stubSession)) *edge{
			"behind the response": func(e *edge, on, _ *stubSession, answer func(), report func(*stubSession)) *edge {
				answer()
				report(on)
				return e
			},
			"ahead of the response": func(e *edge, on, _ *stubSession, answer func(), report func(*stubSession)) *edge {
				report(on)
				answer()
				return e
			},
			"on another bind": func(e *edge, _, other *stubSession, answer func(), report func(*stubSession)) *edge {
				answer()
				report(other)
				return e
			},
			"on another bind, ahead of the response": func(e *edge, _, other *stubSession, answer func(), report func(*stubSession)) *edge {
				report(other)
				answer()
				return e
			},
			"after a power cut": func(e *edge, _, _ *stubSession, answer func(), report func(*stubSession)) *edge {
				answer()
				e = e.crash(options{smsc: e.smsc, protocol: e.smsc.protocol, sessions: 2})
				report(e.smsc.all(2)[0])
				return e
			},
			"ahead of the response, then a power cut": func(e *edge, on, _ *stubSession, answer func(), report func(*stubSession)) *edge {
				report(on)
				answer()
				return e.crash(options{smsc: e.smsc, protocol: e.smsc.protocol, sessions: 2})
			},
		} {
			states := []smsc.ReceiptState{smsc.ReceiptDelivered}
			if name == "behind the response" {
				states = append(states, smsc.ReceiptUndeliverable, smsc.ReceiptExpired)
			}
			for _, state := range states {
				t.Run(protocol.Name+"/"+name+"/"+state.String(), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						e := newEdge(t, options{protocol: protocol, sessions: 2})
						both := e.smsc.all(2)
						e.handOn(message(1, "+639170000001", "one"))
						on, m := e.smsc.submitted()
						other := both[0]
						if other == on {
							other = both[1]
						}
						smscID := protocol.NewID(smsc.ParseAddress("+639170000001"), time.Now(), 7)
						answer := func() {
							on.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(smscID)})
							e.want(1, messages.State_PROCESSED)
						}
						report := func(c *stubSession) { e.reportOn(c, smscID, state) }
						e = story(e, on, other, answer, report)
						events := e.events()
						if len(events) != 1 || string(events[0].Id) != string(id(1)) || events[0].GetReceipt().GetState() != finalState(state) ||
							events[0].GetReceipt().SmscId == "" {
							t.Fatalf("events %v, want one receipt of 1", events)
						}
						e.reportOn(e.smsc.all(2)[0], smscID, state) // again: it has no part any more
						if n := len(e.events()); n != 1 {
							t.Errorf("%d events", n)
						}
					})
				})
			}
		}
	}
}

// A receipt that is ahead of the response to a submit that is never answered waits
// for what is submitted again; what is not final never counts.
func TestReceiptOfADoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		c, _ := e.smsc.submitted()
		e.reportOn(c, "a", smsc.ReceiptEnroute)
		e.reportOn(c, "a", smsc.ReceiptDelivered)
		c.hangup() // "a" was taken, and nobody is told
		e.smsc.expect("one")(accepted("b"))
		e.want(1, messages.State_PROCESSED)
		e.reportOn(e.smsc.one(), "b", smsc.ReceiptDelivered)
		receipts := 0
		for _, ev := range e.events() {
			if r := ev.GetReceipt(); r != nil {
				receipts++
				if r.SmscId != "b" {
					t.Errorf("receipt %v", r)
				}
			}
		}
		if receipts != 1 || e.counts.get("receipt parked") != 1 || e.counts.get("receipt passing") != 1 {
			t.Errorf("%d receipts, %d parked, %d passing", receipts, e.counts.get("receipt parked"), e.counts.get("receipt passing"))
		}
	})
}

// A power cut while a receipt is parked.
func TestParkedReceiptOutlivesAPowerCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{})
		e.handOn(message(1, "+639170000001", "one"))
		on, _ := e.smsc.submitted()
		e.reportOn(on, "a", smsc.ReceiptDelivered)
		stub := e.smsc
		e = e.crash(options{smsc: stub, fs: e.fs.CrashClone(vfs.CrashCloneCfg{})})
		e.slots.Tell(e.outlet, &messages.HandOn{Seq: 1, Message: e.held(1)})
		stub.expect("one")(accepted("a")) // the same SMSC recognises it, and names the same id
		e.want(1, messages.State_PROCESSED)
		matched := false
		for _, ev := range e.events() {
			matched = matched || ev.GetReceipt().GetSmscId() == "a"
		}
		if !matched {
			t.Errorf("events %v", e.events())
		}
	})
}
