package session

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
	"github.com/ringway-im/ringway/tests/probe"
)

// window sets it for outlet and machines.
func window(w int) func(*OutletConfig) {
	return func(c *OutletConfig) {
		c.Window = w
		for i := range c.Sessions {
			c.Sessions[i].Machine.Window = w
		}
	}
}

// Whatever the SMSC answers, and in whatever order: never more than the window is
// unanswered, never two of one recipient, each recipient's in order, each message
// accepted once.
func TestI14_WindowKeepsOrder(t *testing.T) {
	for _, protocol := range []smsc.Protocol{smpp.Protocol, cimd2.Protocol} {
		t.Run(protocol.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const w, n, recipients = 4, 60, 7
				random := rand.New(rand.NewPCG(7, 0))
				e := newEdge(t, options{protocol: protocol, outlet: window(w)})
				for seq := uint64(1); seq <= n; seq++ {
					e.handOn(message(seq, fmt.Sprintf("+63917000000%d", random.IntN(recipients)), fmt.Sprint(seq)))
				}
				type under struct {
					on  *stubSession
					got smsc.SubmitReceived
				}
				var open []under
				last, most, taken := map[string]int{}, 0, 0
				for taken < n {
					synctest.Wait()
					for len(e.smsc.seen) > 0 {
						on, got := e.smsc.submitted()
						for _, other := range open {
							if other.got.Part.To == got.Part.To {
								t.Fatalf("two messages to %v are under way", got.Part.To)
							}
						}
						open = append(open, under{on, got})
					}
					most = max(most, len(open))
					if len(open) > w {
						t.Fatalf("%d are unanswered, the window is %d", len(open), w)
					}
					if len(open) == 0 {
						time.Sleep(time.Second) // paused
						continue
					}
					at := random.IntN(len(open))
					u := open[at]
					open = append(open[:at], open[at+1:]...)
					outcome := accepted(protocol.NewID(u.got.Part.To, time.Now(), uint64(taken)))
					if random.IntN(5) == 0 {
						outcome = smsc.Outcome{Fate: smsc.Throttled}
					} else {
						var number int
						if _, err := fmt.Sscan(text.Decode(u.got.Part.Coding, u.got.Part.Data), &number); err != nil {
							t.Fatal(err)
						}
						if to := u.got.Part.To.String(); number <= last[to] {
							t.Fatalf("%s got %d after %d", to, number, last[to])
						} else {
							last[to] = number
						}
						taken++
					}
					u.on.handle(smsc.ServerAnswer{Ref: u.got.Ref, Outcome: outcome})
				}
				done := map[uint64]bool{}
				for range n {
					a := probe.Expect[*messages.Answered](e.slots)
					if done[a.Seq] || a.Result.State != messages.State_PROCESSED || a.Result.PossibleDuplicate {
						t.Errorf("%d: %v", a.Seq, a.Result)
					}
					done[a.Seq] = true
				}
				if most != w {
					t.Errorf("at most %d were unanswered, the window of %d was never used", most, w)
				}
			})
		})
	}
}

// With a window of W at most W parts are in doubt: those that were unanswered,
// whether the session dies or the process.
func TestI7_DoubtIsBoundedByTheWindow(t *testing.T) {
	for _, end := range []string{"session", "process"} {
		synctest.Test(t, func(t *testing.T) {
			const w, n = 3, 8
			e := newEdge(t, options{outlet: window(w)})
			for seq := uint64(1); seq <= n; seq++ {
				e.handOn(message(seq, fmt.Sprintf("+63917000000%d", seq), fmt.Sprint(seq)))
			}
			var on *stubSession
			for range w {
				on, _ = e.smsc.submitted()
			}
			e.smsc.silent(time.Second)
			if end == "session" {
				on.hangup()
			} else {
				e = e.crash(options{smsc: e.smsc, outlet: window(w)})
				for seq := uint64(1); seq <= n; seq++ {
					e.slots.Tell(e.outlet, &messages.HandOn{Seq: seq, Message: e.held(seq)})
				}
			}
			for range n {
				c, m := e.smsc.submitted()
				c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(fmt.Sprint("id", m.Part.To.Digits))})
			}
			doubled := 0
			for seq := uint64(1); seq <= n; seq++ {
				if r := e.want(seq, messages.State_PROCESSED); r.PossibleDuplicate {
					doubled++
				}
			}
			if got := e.counts.get("doubt"); got != w || doubled != w || len(e.events()) != w {
				t.Errorf("the %s died: %d doubts, %d possible duplicates, %d events, want %d of each", end, got, doubled, len(e.events()), w)
			}
		})
	}
}

// Each part's outcome is in the journal: after a power cut two long texts side by
// side go on with the parts that have none.
func TestI15_WindowJournalsEachPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := options{outlet: window(2)}
		e := newEdge(t, with)
		for seq := uint64(1); seq <= 2; seq++ {
			e.handOn(message(seq, fmt.Sprintf("+63917000000%d", seq), strings.Repeat("0123456789", 40))) // three parts
		}
		answer := func(number uint8) {
			t.Helper()
			c, m := e.smsc.submitted()
			if place, _ := text.Concatenation(m.Part.UDH); place.Number != number {
				t.Fatalf("%v got part %d, want %d", m.Part.To, place.Number, number)
			}
			c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(fmt.Sprintf("%s/%d", m.Part.To.Digits, number))})
		}
		answer(1)
		answer(1)
		e.smsc.submitted() // the second parts are under way
		e.smsc.submitted()
		with.smsc = e.smsc
		e = e.crash(with)
		for seq := uint64(1); seq <= 2; seq++ {
			e.slots.Tell(e.outlet, &messages.HandOn{Seq: seq, Message: e.held(seq)})
		}
		for _, number := range []uint8{2, 2, 3, 3} {
			answer(number)
		}
		for seq := uint64(1); seq <= 2; seq++ {
			r := e.want(seq, messages.State_PROCESSED)
			if len(r.Parts) != 3 || r.Attempts != 4 || !r.PossibleDuplicate || r.Parts[0].SmscId != fmt.Sprintf("63917000000%d/1", seq) {
				t.Errorf("%d: %v", seq, r)
			}
		}
	})
}

// One throttled answer pauses the session for all; what was under way with it is
// not counted against it twice.
func TestThrottlingPausesTheWholeWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{outlet: window(3)})
		for seq := uint64(1); seq <= 5; seq++ {
			e.handOn(message(seq, fmt.Sprintf("+63917000000%d", seq), fmt.Sprint(seq)))
		}
		one, two, three := e.smsc.expect("1"), e.smsc.expect("2"), e.smsc.expect("3")
		two(smsc.Outcome{Fate: smsc.Throttled})
		three(smsc.Outcome{Fate: smsc.Throttled})
		one(accepted("a"))
		e.smsc.silent(time.Second - time.Millisecond)
		for seq := uint64(2); seq <= 5; seq++ { // the machine's window has shrunk
			e.smsc.expect(fmt.Sprint(seq))(accepted(fmt.Sprint("id", seq)))
		}
		for seq := uint64(1); seq <= 5; seq++ {
			if r := e.want(seq, messages.State_PROCESSED); r.PossibleDuplicate {
				t.Errorf("%d: %v", seq, r)
			}
		}
	})
}

// However many the session has beyond the machine's window, which throttling has
// made smaller: none goes in the pause, and what was throttled goes first.
func TestThrottlingPausesAShrunkenWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{outlet: window(4)})
		for seq := uint64(1); seq <= 6; seq++ {
			e.handOn(message(seq, fmt.Sprintf("+63917000000%d", seq), fmt.Sprint(seq)))
		}
		var answers []func(smsc.Outcome)
		for seq := 1; seq <= 4; seq++ {
			answers = append(answers, e.smsc.expect(fmt.Sprint(seq)))
		}
		for _, answer := range answers {
			answer(smsc.Outcome{Fate: smsc.Throttled})
		}
		e.smsc.silent(time.Second - time.Millisecond)
		one, two := e.smsc.expect("1"), e.smsc.expect("2")
		one(smsc.Outcome{Fate: smsc.Throttled})
		two(accepted("id2"))
		e.smsc.silent(2*time.Second - time.Millisecond)
		for _, seq := range []uint64{1, 3, 4, 5, 6} {
			e.smsc.expect(fmt.Sprint(seq))(accepted(fmt.Sprint("id", seq)))
		}
		attempts := []uint32{3, 2, 2, 2, 1, 1}
		for _, seq := range []uint64{2, 1, 3, 4, 5, 6} {
			if r := e.want(seq, messages.State_PROCESSED); r.PossibleDuplicate || r.Attempts != attempts[seq-1] {
				t.Errorf("%d: %v, want %d attempts", seq, r, attempts[seq-1])
			}
		}
	})
}

// slowSteps is a journal whose fsync of a step takes as long as the test says,
// while it is slow.
type slowSteps struct {
	journal.Outlet
	slow   atomic.Bool
	synced chan func()
}

func (d *slowSteps) Record(step journal.OutletStep, done func(error)) {
	if !d.slow.Load() {
		d.Outlet.Record(step, done)
		return
	}
	d.Outlet.Record(step, func(err error) { d.synced <- func() { done(err) } })
}

// What is being made durable when the SMSC throttles does not go in the pause.
func TestThrottlingPausesWhatIsBeingRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowSteps{synced: make(chan func(), 10)}
		e := newEdge(t, options{outlet: func(c *OutletConfig) {
			window(2)(c)
			disk.Outlet, c.Journal = c.Journal, disk
		}})
		e.handOn(message(1, "+639170000001", "1"))
		one := e.smsc.expect("1")
		disk.slow.Store(true)
		e.handOn(message(2, "+639170000002", "2"))
		intent := <-disk.synced
		one(smsc.Outcome{Fate: smsc.Throttled})
		throttled := <-disk.synced
		disk.slow.Store(false)
		intent()
		throttled()
		e.smsc.silent(time.Second - 2*time.Millisecond)
		for seq := uint64(1); seq <= 2; seq++ {
			e.smsc.expect(fmt.Sprint(seq))(accepted(fmt.Sprint("id", seq)))
			if r := e.want(seq, messages.State_PROCESSED); r.PossibleDuplicate || r.Attempts != uint32(3-seq) {
				t.Errorf("%d: %v", seq, r)
			}
		}
	})
}

// A submit that meets a throttled answer on its way goes back: the outlet had not
// heard of it.
func TestSubmitBehindAThrottledAnswerGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{}) // for its inlet
		e.system.Root.Stop(e.outlet)
		synctest.Wait()
		s := newStub(t, smpp.Protocol)
		outlet := probe.New(t, e.system, "instead of an outlet")
		cfg := OutletConfig{SMSC: "globe", Inlet: e.inlet, Metrics: e.counts, Logger: zap.NewNop(), Jitter: rand.Float64}
		var session *actor.PID
		parent := e.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch ctx.Message().(type) {
			case *actor.Started:
				session = ctx.Spawn(newSession(Config{
					Name: "one", Protocol: smpp.Protocol, Dial: s.dial,
					Machine: smsc.Config{User: "ringway", Password: "secret", Window: 2, ResponseTimeout: 10 * time.Second},
				}, &cfg))
			case sessionUp, answered:
				ctx.Forward(outlet.PID())
			}
		}))
		defer e.system.Root.Stop(parent)
		probe.Expect[sessionUp](outlet)
		submits := func(ref, throttled uint64) {
			e.system.Root.Send(session, submit{ref, pieces(t, "63917000", fmt.Sprint(ref), 0)[0], throttled})
		}
		submits(1, 0)
		s.expect("1")(smsc.Outcome{Fate: smsc.Throttled})
		if a := probe.Expect[answered](outlet); a.ref != 1 || !a.sent || a.outcome.Fate != smsc.Throttled {
			t.Fatalf("answered %+v, want 1 throttled", a)
		}
		submits(2, 0)
		if a := probe.Expect[answered](outlet); a.ref != 2 || a.sent {
			t.Fatalf("answered %+v, want 2 unsent", a)
		}
		submits(1, 1)
		s.expect("1")(accepted("id1"))
	})
}

// Neither protocol can ask about what was never answered: it goes again, and the
// log says why.
func TestI7_QueryIsResendAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		e := newEdge(t, options{outlet: func(c *OutletConfig) { c.Unknown, c.Logger = Query, zap.New(core) }})
		e.handOn(message(1, "+639170000001", "one"))
		c, _ := e.smsc.submitted()
		c.hangup()
		e.smsc.expect("one")(accepted("a"))
		if r := e.want(1, messages.State_PROCESSED); r.Attempts != 2 || !r.PossibleDuplicate || len(e.events()) != 1 {
			t.Errorf("result %v, events %v", r, e.events())
		}
		doubts := logs.FilterMessageSnippet("never answered").All()
		if len(doubts) != 1 || !strings.Contains(fmt.Sprint(doubts[0].ContextMap()["why"]), "no id to query it by") {
			t.Errorf("logged %v", doubts)
		}
	})
}

func TestRetryAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, options{outlet: func(c *OutletConfig) { c.RetryAttempts = 3 }})
		e.handOn(message(1, "+639170000001", "one"))
		busy := smsc.Outcome{Fate: smsc.Temporary, Code: "ESME_RSYSERR (0x08)", Text: "system error"}
		e.smsc.expect("one")(busy)
		e.want(1, messages.State_DEFERRED)
		e.smsc.silent(30*time.Second - time.Millisecond)
		e.smsc.expect("one")(busy)
		e.smsc.silent(60*time.Second - time.Millisecond)
		e.smsc.expect("one")(busy)
		e.smsc.silent(23 * time.Hour)
		events := e.events()
		if len(events) != 1 || events[0].GetResult().GetState() != messages.State_FAILED || events[0].GetResult().GetReason().GetCode() != "rejected" ||
			events[0].GetResult().GetReason().GetSmscCode() == "" || events[0].GetResult().GetAttempts() != 3 {
			t.Errorf("events %v", events)
		}
	})
}

// What a person has to mend is tried rarely, and the log says what to do; a line
// that broke is dialled again soon.
func TestCertificateErrorsAreTriedRarely(t *testing.T) {
	for _, c := range []struct {
		err    error
		soon   bool
		remedy string
	}{
		{fmt.Errorf("TLS with stub: %w", x509.UnknownAuthorityError{}), false, "set tls.ca"},
		{fmt.Errorf("TLS with stub: %w", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "stub"}), false, "set tls.server_name"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, false, "set tls.cert"},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			dials := 0
			newEdge(t, options{outlet: func(o *OutletConfig) {
				o.Logger = zap.New(core)
				o.Sessions[0].Dial = func(context.Context) (net.Conn, error) { dials++; return nil, c.err }
			}})
			time.Sleep(25 * time.Second)
			synctest.Wait()
			if soon := dials > 1; soon != c.soon {
				t.Errorf("%v: %d dials in 25 s", c.err, dials)
			}
			if all := logs.FilterMessageSnippet("TLS").All(); c.soon != (len(all) == 0) || !c.soon && !strings.Contains(fmt.Sprint(all[0].ContextMap()["remedy"]), c.remedy) {
				t.Errorf("%v: logged %v", c.err, all)
			}
		})
	}
}

func TestEncoding(t *testing.T) {
	long := strings.Repeat("0123456789", 32) // three parts
	for _, c := range []struct {
		encoding Encoding
		text     string
		coding   text.Coding
		parts    int
		udh      string // of the first
	}{
		{Encoding{}, "a€", text.GSM7, 1, ""},
		{Encoding{}, long, text.GSM7, 3, "050003070301"},
		{Encoding{Wide: true}, long, text.GSM7, 3, "060804"},
		{Encoding{LongTexts: smsc.LongSAR}, long, text.GSM7, 3, "050003070301"}, // the machine makes parameters of it
		{Encoding{LongTexts: smsc.LongPayload}, long, text.GSM7, 1, ""},
		{Encoding{LongTexts: smsc.LongPayload}, strings.Repeat("ж", 200), text.UCS2, 1, ""},
		{Encoding{LongTexts: smsc.LongPayload}, "short", text.GSM7, 1, ""},
		{Encoding{Alphabet: smsc.AlphabetLatin1}, "é[@", text.GSM7, 1, ""},
		{Encoding{Alphabet: smsc.AlphabetLatin1}, "a€", text.UCS2, 1, ""},
		{Encoding{Alphabet: smsc.AlphabetLatin1}, "Δ", text.UCS2, 1, ""},
		{Encoding{Alphabet: smsc.AlphabetASCII}, "[a@", text.GSM7, 1, ""},
		{Encoding{Alphabet: smsc.AlphabetASCII}, "é", text.UCS2, 1, ""},
		{Encoding{}, "garçon", text.UCS2, 1, ""},
		{Encoding{Cedilla: true}, "Ça va", text.GSM7, 1, ""},
		{Encoding{Cedilla: true}, "garçon ж", text.UCS2, 1, ""}, // and keeps its ç
		{Encoding{Cedilla: true, National: []text.Language{text.Turkish}}, strings.Repeat("çş", 50), text.GSM7, 1, "03250101"},
		{Encoding{National: []text.Language{text.Turkish}}, strings.Repeat("ş", 100), text.GSM7, 1, "03250101"},
		{Encoding{National: []text.Language{text.Turkish}, LongTexts: smsc.LongSAR}, strings.Repeat("ş", 200), text.GSM7, 2, "08000307020125"},
		{Encoding{National: []text.Language{text.Turkish}, LongTexts: smsc.LongPayload}, strings.Repeat("ş", 200), text.UCS2, 1, ""},
	} {
		parts, err := c.encoding.cut(message(7, "+639170000001", c.text), 7, true)
		if err != nil || len(parts) != c.parts || parts[0].Coding != c.coding || !strings.HasPrefix(fmt.Sprintf("%X", parts[0].UDH), c.udh) {
			t.Errorf("%+v, %.10q: %d parts, %+v, %v", c.encoding, c.text, len(parts), parts, err)
			continue
		}
		var a assembly
		for _, p := range parts {
			a.add(p, false)
		}
		if got := a.message().Text; got != c.text {
			t.Errorf("%+v: %q comes back as %q", c.encoding, c.text, got)
		}
	}
	// ç and Ç share a code.
	parts, err := Encoding{Cedilla: true}.cut(message(7, "+639170000001", "garçon"), 7, true)
	if err != nil || len(parts) != 1 || parts[0].Coding != text.GSM7 || string(parts[0].Data) != "gar\x09on" {
		t.Errorf("%+v, %v", parts, err)
	}
	// The wide reference is of the message, and differs where the narrow one is the same.
	wide := func(seq uint64) string {
		parts, err := Encoding{Wide: true}.cut(message(seq, "+639170000001", long), 7, true)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%X", parts[0].UDH)
	}
	if first := wide(1); wide(1) != first || wide(2) == first {
		t.Errorf("references %s and %s", first, wide(2))
	}
}

// Long texts by each way that an SMPP SMSC may want them arrive whole.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("0123456789", 40)
	for way, parts := range map[smsc.LongTexts]int{smsc.LongUDH: 3, smsc.LongSAR: 3, smsc.LongPayload: 1} {
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(t, options{outlet: func(c *OutletConfig) {
				c.Encoding.LongTexts, c.Sessions[0].Machine.Quirks.LongTexts = way, way
			}})
			e.handOn(message(1, "+639170000001", long))
			var a assembly
			for i := range parts {
				c, m := e.smsc.submitted()
				a.add(m.Part, false)
				c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(fmt.Sprint("id", i))})
			}
			r := e.want(1, messages.State_PROCESSED)
			if got := a.message().Text; got != long || len(r.Parts) != parts {
				t.Errorf("%v: %d of %d octets, %v", way, len(got), len(long), r)
			}
		})
	}
}

// What CIMD2's steps would make too long goes as a date on the SMSC's clock, if its
// zone is known.
func TestValidityInTheZoneOfTheSMSC(t *testing.T) {
	for _, zone := range []*time.Location{nil, time.FixedZone("+08:00", 8*3600)} {
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(t, options{protocol: cimd2.Protocol, outlet: func(c *OutletConfig) { c.Sessions[0].Zone = zone }})
			m := message(1, "+639170000001", "one")
			until := time.Now().Add(25 * time.Hour)
			m.DeadlineUnixMs = until.UnixMilli()
			e.handOn(m)
			_, submit := e.smsc.submitted()
			want := smsc.When{After: 48 * time.Hour} // one day is too short
			if zone != nil {
				at := until.In(zone)
				want = smsc.When{At: time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)} // CIMD2 names no zone
			}
			if submit.Expires != want {
				t.Errorf("zone %v: expires %+v, want %+v", zone, submit.Expires, want)
			}
		})
	}
}
