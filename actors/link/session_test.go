package link

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// rig is a session whose neighbours are all probes.
type rig struct {
	t                                               *testing.T
	system                                          *actor.ActorSystem
	session                                         *actor.PID
	buffer, mirror, events, supervisor, sync, dials *probe.Probe
	conn                                            *probe.Probe // carries Hello
}

func newRig(t *testing.T, cfg SessionConfig) *rig {
	system := probe.System(t)
	r := &rig{
		t: t, system: system, buffer: probe.New(t, system, "buffer"), mirror: probe.New(t, system, "mirror"), events: probe.New(t, system, "events"),
		supervisor: probe.New(t, system, "supervisor"), sync: probe.New(t, system, "sync"), conn: probe.New(t, system, "conn"),
	}
	if cfg.Sends == messages.Ring_UP {
		r.dials = probe.New(t, system, "dialer")
		cfg.Dialer = r.dials.PID()
	}
	cfg.Edge, cfg.Supervisor, cfg.Metrics, cfg.Log = "e", r.supervisor.PID(), Nop{}, zap.NewNop()
	r.session = system.Root.Spawn(NewSession(cfg))
	system.Root.Send(r.session, &Attach{Buffer: r.buffer.PID(), Mirror: r.mirror.PID(), Events: r.events.PID()})
	probe.Expect[*Interrupted](r.supervisor)
	r.sync.Tell(r.session, &Synchronise{Gen: 1})
	if r.dials != nil {
		probe.Expect[*Synchronising](r.sync)
	}
	return r
}

func (r *rig) tell(m any) { r.system.Root.Send(r.session, m) }

func helloOf(session string) *messages.Frame {
	return &messages.Frame{Hello: &messages.Hello{Edge: "e", Version: Version, Session: []byte(session)}}
}

const sessionID = "session-session-"

// hubRig streams under epoch 7 on one stripe.
func hubRig(t *testing.T) *rig {
	r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN, Heartbeat: time.Hour})
	r.tell(&messages.StripeUp{Conn: r.conn.PID(), First: helloOf(sessionID), TLSAt: time.Now()})
	probe.Expect[*HelloArrived](r.sync)
	r.sync.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
	if f := probe.Expect[*messages.Frame](r.conn); f.Welcome == nil || f.Epoch != 7 {
		t.Fatalf("first frame %v", f)
	}
	probe.Fish[*LinkUp](r.buffer, nil)
	return r
}

// edgeRig streams under epoch 7 on one stripe of two.
func edgeRig(t *testing.T) *rig {
	r := newRig(t, SessionConfig{Sends: messages.Ring_UP, Stripes: 2})
	r.dialled()
	r.tell(&messages.FrameIn{Conn: r.conn.PID(), Frame: &messages.Frame{Epoch: 7, Number: 1, Welcome: &messages.Welcome{Epoch: 7}}})
	probe.Expect[*messages.Welcome](r.sync)
	r.sync.Tell(r.session, &Established{Epoch: 7})
	probe.Fish[*LinkUp](r.buffer, nil)
	return r
}

// dialled brings the edge's session to where its Hello is out.
func (r *rig) dialled() {
	r.sync.Tell(r.session, &Connect{Hub: "h:1", Within: time.Minute})
	d := probe.Expect[*messages.DialStripe](r.dials)
	probe.Expect[*messages.DialStripe](r.dials)
	r.tell(&messages.StripeUp{Conn: r.conn.PID(), Try: d.Try, TLSAt: time.Now()})
	probe.Expect[*Connected](r.sync)
	r.sync.Tell(r.session, &SayHello{Hello: &messages.Hello{Edge: "e"}})
	if f := probe.Expect[*messages.Frame](r.conn); f.Hello == nil || len(f.Hello.Session) != 16 {
		r.t.Fatalf("first frame %v", f)
	}
}

func (r *rig) frame(f *messages.Frame) {
	r.tell(&messages.FrameIn{Conn: r.conn.PID(), Frame: f})
}

func (r *rig) state() *LinkState {
	s, err := r.system.Root.RequestFuture(r.session, &GetLink{}, time.Second).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return s.(*LinkState)
}

// closed expects the session to hang up for that reason and the supervisor to hear.
func (r *rig) closed(want error) error {
	r.t.Helper()
	h := probe.Fish[*messages.Hangup](r.conn, nil)
	if !errors.Is(h.Cause, want) {
		r.t.Errorf("closed with %v, want %v", h.Cause, want)
	}
	return h.Cause
}

// ---- frames that break the protocol

var bothEnds = map[string]func(*testing.T) *rig{"hub": hubRig, "edge": edgeRig}

func TestFramesThatCloseTheLink(t *testing.T) {
	for end, make := range bothEnds {
		mine, theirs := messages.Ring_DOWN, messages.Ring_UP
		if end == "edge" {
			mine, theirs = theirs, mine
		}
		many := []*messages.Progress{}
		for range 100 {
			many = append(many, &messages.Progress{Ring: mine})
		}
		for name, c := range map[string]struct {
			frame *messages.Frame
			want  error
			text  string
		}{
			"older epoch":        {&messages.Frame{Epoch: 6}, ErrOldEpoch, "6, here is 7"},
			"newer epoch":        {&messages.Frame{Epoch: 8}, ErrOldEpoch, "8, here is 7"},
			"no epoch":           {&messages.Frame{}, ErrOldEpoch, "0, here is 7"},
			"data of our ring":   {&messages.Frame{Epoch: 7, Data: []*messages.Data{{Ring: mine}}}, ErrProtocol, "data of ring"},
			"data of no ring":    {&messages.Frame{Epoch: 7, Data: []*messages.Data{{}}}, ErrProtocol, "data of ring"},
			"data of ring 99":    {&messages.Frame{Epoch: 7, Data: []*messages.Data{{Ring: 99}}}, ErrProtocol, "data of ring 99"},
			"nil entries":        {&messages.Frame{Epoch: 7, Data: []*messages.Data{nil}}, ErrProtocol, "data of ring"},
			"confirms theirs":    {&messages.Frame{Epoch: 7, Confirmed: []*messages.Progress{{Ring: theirs}}}, ErrProtocol, "confirmed of ring"},
			"confirms nil":       {&messages.Frame{Epoch: 7, Confirmed: []*messages.Progress{nil}}, ErrProtocol, "confirmed of ring"},
			"releases ours":      {&messages.Frame{Epoch: 7, Released: []*messages.Progress{{Ring: mine}}}, ErrProtocol, "released of ring"},
			"answers theirs":     {&messages.Frame{Epoch: 7, Answers: []*messages.Answer{{Ring: theirs, Result: processed()}}}, ErrProtocol, "answer of ring"},
			"answers nothing":    {&messages.Frame{Epoch: 7, Answers: []*messages.Answer{{Ring: mine}}}, ErrProtocol, "answer"},
			"confirms 100 times": {&messages.Frame{Epoch: 7, Confirmed: many}, ErrProtocol, "confirms 100 times"},
			"hears 1000 stripes": {&messages.Frame{Epoch: 7, Heard: make1000()}, ErrProtocol, "hears 1000 stripes"},
			"shows 9 rings":      {&messages.Frame{Epoch: 7, Heartbeat: &messages.Heartbeat{Rings: []*messages.RingState{{}, {}, {}, {}, {}, {}, {}, {}, {}}}}, ErrProtocol, "shows 9 rings"},
		} {
			t.Run(end+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := make(t)
					r.frame(c.frame)
					if err := r.closed(c.want); !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), "link: ") {
						t.Errorf("says %q, want %q in it", err, c.text)
					}
					probe.Expect[*Interrupted](r.supervisor)
					if s := r.state(); s.State != "interrupted" || s.Interruptions != 1 {
						t.Errorf("state %+v", s)
					}
				})
			})
		}
	}
}

func make1000() []uint64 { return make([]uint64, 1000) }

// What is odd and harmless: words of the other role, clocks that lie, stripes
// that never were.
func TestFramesThatDoNothing(t *testing.T) {
	for end, make := range bothEnds {
		synctest.Test(t, func(t *testing.T) {
			r := make(t)
			frames := []*messages.Frame{
				{Epoch: 7, Heartbeat: &messages.Heartbeat{SentUs: -1 << 63, EchoUs: 1<<63 - 1, HeldUs: 1<<63 - 1}},
				{Epoch: 7, Heartbeat: &messages.Heartbeat{SentUs: 1, EchoUs: 1, HeldUs: -1 << 40}},
				{Epoch: 7, Number: 1<<64 - 1, Heard: []uint64{1<<64 - 1, 1<<64 - 1, 3, 4}},
				{Epoch: 7, Join: &messages.Join{Stripe: 1 << 31}},
				{Epoch: 7, Hello: &messages.Hello{}},
			}
			if end == "hub" {
				frames = append(frames, &messages.Frame{Epoch: 7, Welcome: &messages.Welcome{Epoch: 99}, Redirect: nil},
					&messages.Frame{Epoch: 7, Redirect: &messages.Redirect{Hub: "evil:1"}}, &messages.Frame{Epoch: 7, Moved: &messages.Moved{Hub: "evil:1"}},
					&messages.Frame{Epoch: 7, Refused: &messages.Refused{Code: "x"}}, &messages.Frame{Epoch: 7, EventsApplied: 99})
			} else {
				frames = append(frames, &messages.Frame{Epoch: 7, Events: []*messages.Event{{Number: 1}}})
			}
			for _, f := range frames {
				r.frame(f)
			}
			synctest.Wait()
			if s := r.state(); s.State != "synchronising" || s.Interruptions != 0 || s.RTT < 0 || s.RTT > time.Minute {
				t.Errorf("%s: %+v", end, s)
			}
			for _, m := range r.events.Received() {
				switch m.(type) {
				case *EventsIn, *EventsApplied:
					if e, ok := m.(*EventsApplied); !ok || e.Number != 0 {
						t.Errorf("%s: %T went to the events", end, m)
					}
				}
			}
		})
	}
}

// Frames of a connection that is no stripe of this session are nobody's.
func TestFramesOfAStrangerAreIgnored(t *testing.T) {
	for end, make := range bothEnds {
		synctest.Test(t, func(t *testing.T) {
			r := make(t)
			stranger := probe.New(t, r.system, "stranger")
			taken := 0
			r.tell(&messages.FrameIn{Conn: stranger.PID(), Frame: &messages.Frame{Epoch: 3}, Taken: func() { taken++ }})
			r.tell(&messages.StripeDown{Conn: stranger.PID(), Err: errors.New("gone")})
			synctest.Wait()
			if s := r.state(); s.Interruptions != 0 || s.Stripes != 1 {
				t.Errorf("%s: %+v", end, s)
			}
			if taken != 1 {
				t.Errorf("%s: taken %d times", end, taken)
			}
		})
	}
}

// ---- before Welcome

func TestFramesBeforeWelcomeAreBounded(t *testing.T) {
	big := &messages.Frame{Epoch: 7, Data: []*messages.Data{{Ring: messages.Ring_DOWN, Message: &messages.Message{Text: strings.Repeat("x", 4<<20-100)}}}}
	for name, c := range map[string]struct {
		frame *messages.Frame
		most  int
	}{
		"many":  {&messages.Frame{Epoch: 7}, maxEarly},
		"large": {big, maxEarlyBytes / proto.Size(big)},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, SessionConfig{Sends: messages.Ring_UP, Stripes: 2})
			r.dialled()
			for range c.most {
				r.frame(c.frame)
			}
			if s := r.state(); s.Stripes != 1 {
				t.Errorf("%s: closed within the bound", name)
			}
			r.frame(c.frame)
			r.closed(ErrProtocol)
			if f := probe.Fish[*ConnectFailed](r.sync, nil); !errors.Is(f.Err, ErrProtocol) {
				t.Errorf("%s: the synchronisation hears %v", name, f.Err)
			}
		})
	}
}

// The hub keeps nothing of an edge to which it has not said Welcome.
func TestHubIgnoresDataBeforeWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN})
		r.tell(&messages.StripeUp{Conn: r.conn.PID(), First: helloOf(sessionID)})
		probe.Expect[*HelloArrived](r.sync)
		for range 10 * maxEarly {
			r.frame(&messages.Frame{Epoch: 7, Data: []*messages.Data{{Ring: messages.Ring_UP, Sequence: 1}}})
		}
		r.sync.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
		probe.Fish[*LinkUp](r.mirror, nil)
		synctest.Wait()
		for _, m := range r.mirror.Received() {
			if _, ok := m.(*messages.Data); ok {
				t.Fatal("data from before Welcome went to the mirror")
			}
		}
	})
}

// ---- Hello and Join

func TestNewerHelloWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hubRig(t)
		newer := probe.New(t, r.system, "newer")
		r.tell(&messages.StripeUp{Conn: newer.PID(), First: helloOf("another--another")})
		r.closed(ErrSuperseded)
		probe.Expect[*Interrupted](r.supervisor)
		r.sync.ExpectNothing(time.Second) // the synchronisation of before is over
		next := probe.New(t, r.system, "next sync")
		next.Tell(r.session, &Synchronise{Gen: 2})
		if h := probe.Expect[*HelloArrived](next); string(h.Hello.Session) != "another--another" {
			t.Errorf("hello of %q", h.Hello.Session)
		}
		// An answer to the older one reaches nobody.
		next.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
		next.Tell(r.session, &SayRefused{Session: []byte(sessionID), Refused: &messages.Refused{Code: "x"}})
		newer.ExpectNothing(time.Second)
		next.Tell(r.session, &SayWelcome{Session: []byte("another--another"), Welcome: &messages.Welcome{Epoch: 7}})
		if f := probe.Expect[*messages.Frame](newer); f.Welcome == nil {
			t.Errorf("the newer one gets %v", f)
		}
		r.tell(&messages.FrameIn{Conn: r.conn.PID(), Frame: &messages.Frame{Epoch: 1}}) // late, of the older one
		synctest.Wait()
		if s := r.state(); s.Stripes != 1 || s.Interruptions != 1 {
			t.Errorf("state %+v", s)
		}
	})
}

// An edge with another data directory under the same id does not disturb the
// one that streams.
func TestHelloOfAnotherInstanceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hubRig(t)
		other := probe.New(t, r.system, "other")
		hello := helloOf("another--another")
		hello.Hello.Instance = []byte("elsewhere")
		r.tell(&messages.StripeUp{Conn: other.PID(), First: hello})
		if f := probe.Expect[*messages.Frame](other); f.Refused.GetCode() != "other_instance" {
			t.Errorf("it hears %v", f)
		}
		probe.Expect[*messages.Hangup](other)
		r.supervisor.ExpectNothing(time.Second)
		if s := r.state(); s.Stripes != 1 || s.Interruptions != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

// A Hello that was long on its way, of a process that was killed since, neither ends the
// link that its successor has nor takes the rings back to where they stood.
func TestOvertakenHelloIsRefused(t *testing.T) {
	numbered := func(n uint64, session, instance string) *messages.Frame {
		f := helloOf(session)
		f.Hello.Number, f.Hello.Instance = n, []byte(instance)
		return f
	}
	for name, tt := range map[string]struct {
		first, second *messages.Frame
		overtaken     bool
	}{
		"overtaken":             {numbered(8, sessionID, "one"), numbered(7, "another--another", "one"), true},
		"of a start before":     {numbered(1<<32+1, sessionID, "one"), numbered(9, "another--another", "one"), true},
		"next":                  {numbered(8, sessionID, "one"), numbered(9, "another--another", "one"), false},
		"of the next start":     {numbered(8, sessionID, "one"), numbered(1<<32+1, "another--another", "one"), false},
		"twice":                 {numbered(8, sessionID, "one"), numbered(8, sessionID, "one"), false},
		"highest":               {numbered(maxNumber, sessionID, "one"), numbered(maxNumber, "another--another", "one"), false},
		"out of range":          {numbered(1<<63, sessionID, "one"), numbered(7, "another--another", "one"), false}, // it was refused itself
		"not numbered":          {numbered(8, sessionID, "one"), numbered(0, "another--another", "one"), false},
		"the first not":         {numbered(0, sessionID, "one"), numbered(7, "another--another", "one"), false},
		"of a replaced journal": {numbered(8, sessionID, "one"), numbered(1, "another--another", "two"), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN, Heartbeat: time.Hour})
			r.tell(&messages.StripeUp{Conn: r.conn.PID(), First: tt.first, TLSAt: time.Now()})
			probe.Expect[*HelloArrived](r.sync)
			second := probe.New(t, r.system, "second")
			if !tt.overtaken {
				r.tell(&messages.StripeUp{Conn: second.PID(), First: tt.second})
				if h := probe.Expect[*HelloArrived](r.sync); h.Hello != tt.second.Hello {
					t.Errorf("%s: hello %v", name, h.Hello)
				}
				return
			}
			for range 2 { // while the first waits for its answer, and while it streams
				r.tell(&messages.StripeUp{Conn: second.PID(), First: tt.second})
				if f := probe.Expect[*messages.Frame](second); f.Refused.GetCode() != "older_hello" || f.Refused.Number != tt.first.Hello.Number {
					t.Errorf("%s: it hears %v", name, f)
				}
				probe.Expect[*messages.Hangup](second)
				r.sync.ExpectNothing(time.Second)
				r.supervisor.ExpectNothing(time.Second)
				if r.state().State != "up" {
					r.sync.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
					probe.Fish[*LinkUp](r.buffer, nil)
					r.tell(&Synchronised{})
				}
			}
			if s := r.state(); s.State != "up" || s.Stripes != 1 || s.Interruptions != 0 {
				t.Errorf("%s: state %+v", name, s)
			}
		})
	}
}

// A session may ask before its node knows the edge: its link comes up all the same.
func TestSupervisorAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system, asked, started := probe.System(t), 0, 0
		session := probe.New(t, system)
		supervisor := system.Root.Spawn(NewSupervisor(SupervisorConfig{Log: zap.NewNop(), Sync: func(string, *actor.PID, uint64) *actor.Props {
			if asked++; asked < 3 {
				return nil
			}
			return actor.PropsFromFunc(func(ctx actor.Context) {
				if _, ok := ctx.Message().(*actor.Started); ok {
					started++
				}
			})
		}}))
		session.Tell(supervisor, &Interrupted{Edge: "e", Session: session.PID()})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if asked != 3 || started != 1 {
			t.Errorf("asked %d times, started %d; want 3 and 1", asked, started)
		}
		asked = 0
		session.Tell(supervisor, &Interrupted{Edge: "e", Session: session.PID()})
		synctest.Wait()
		system.Root.Stop(session.PID())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if asked != 1 {
			t.Errorf("asked %d times for a session that has stopped; want once, before", asked)
		}
		if err := system.Root.StopFuture(supervisor).Wait(); err != nil {
			t.Error(err)
		}
	})
}

// A link that breaks while entries wait for company sends again after it.
func TestFlushOutlivesAnInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN, Flush: 10 * time.Millisecond, Heartbeat: time.Hour})
		for range 2 {
			conn := probe.New(t, r.system, "conn")
			r.tell(&messages.StripeUp{Conn: conn.PID(), First: helloOf(sessionID)})
			probe.Expect[*HelloArrived](r.sync)
			r.sync.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
			probe.Fish[*LinkUp](r.buffer, nil)
			r.tell(&messages.Data{Sequence: 1})
			probe.Fish(conn, func(f *messages.Frame) bool { return len(f.Data) == 1 })
			r.tell(&messages.Data{Sequence: 2})
			r.tell(&messages.StripeDown{Conn: conn.PID(), Err: errors.New("gone")})
			probe.Expect[*Interrupted](r.supervisor)
			time.Sleep(time.Second)
			r.sync.Tell(r.session, &Synchronise{Gen: 2})
		}
	})
}

// A hub whose end of the link is gone takes connections, keeps them for a while in case a
// Hello comes, and says nothing. To connect is not to be heard.
func TestStripesThatOnlyConnectKeepNoLinkUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := edgeRig(t)
		began := time.Now()
		for time.Since(began) < time.Minute && r.state().Interruptions == 0 {
			r.tell(&messages.StripeUp{Conn: probe.New(t, r.system, "fresh").PID(), Stripe: 1, Try: 1, TLSAt: time.Now()})
			time.Sleep(700 * time.Millisecond)
		}
		probe.Expect[*Interrupted](r.supervisor)
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("interrupted after %v without a word, want three heartbeats", took)
		}
	})
}

func TestTwoHellosBeforeWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN})
		newer := probe.New(t, r.system, "newer")
		r.tell(&messages.StripeUp{Conn: r.conn.PID(), First: helloOf(sessionID)})
		r.tell(&messages.StripeUp{Conn: newer.PID(), First: helloOf("another--another")})
		r.closed(ErrSuperseded)
		probe.Expect[*HelloArrived](r.sync)
		if h := probe.Expect[*HelloArrived](r.sync); string(h.Hello.Session) != "another--another" {
			t.Errorf("hello of %q", h.Hello.Session)
		}
		r.tell(&messages.StripeDown{Conn: r.conn.PID()}) // the older one's last word
		r.sync.Tell(r.session, &SayWelcome{Session: []byte("another--another"), Welcome: &messages.Welcome{Epoch: 7}})
		if f := probe.Expect[*messages.Frame](newer); f.Welcome == nil {
			t.Errorf("the newer one gets %v", f)
		}
	})
}

func joinOf(session string, stripe uint32) *messages.Frame {
	return &messages.Frame{Join: &messages.Join{Edge: "e", Session: []byte(session), Stripe: stripe}}
}

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hubRig(t)
		join := func(session string, stripe uint32) *probe.Probe {
			p := probe.New(t, r.system, fmt.Sprint("stripe ", stripe))
			r.tell(&messages.StripeUp{Conn: p.PID(), Stripe: stripe, First: joinOf(session, stripe)})
			return p
		}
		join(sessionID, 1)
		if s := r.state(); s.Stripes != 2 {
			t.Errorf("%d stripes", s.Stripes)
		}
		if h := probe.Expect[*messages.Hangup](join(sessionID, 1<<30)); !errors.Is(h.Cause, ErrProtocol) {
			t.Errorf("stripe 2^30: %v", h.Cause)
		}
		stray := join("of-nobody-at-all", 1)
		stray.ExpectNothing(5 * time.Second)
		if h := probe.Expect[*messages.Hangup](stray, 6*time.Second); !strings.Contains(h.Cause.Error(), "join without a hello") {
			t.Errorf("stray: %v", h.Cause)
		}
		// Joins without a Hello are bounded.
		for i := range uint32(maxStripes) {
			join("of-nobody-at-all", i)
		}
		probe.Expect[*messages.Hangup](join("of-nobody-at-all", 0))
		if s := r.state(); s.Interruptions != 0 {
			t.Errorf("strays have interrupted the link: %+v", s)
		}
	})
}

// A Join may overtake its Hello; one that ends before counts for nothing.
func TestJoinBeforeHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN})
		a, b := probe.New(t, r.system, "a"), probe.New(t, r.system, "b")
		r.tell(&messages.StripeUp{Conn: a.PID(), Stripe: 1, First: joinOf(sessionID, 1)})
		r.tell(&messages.StripeUp{Conn: b.PID(), Stripe: 2, First: joinOf(sessionID, 2)})
		r.tell(&messages.StripeDown{Conn: b.PID(), Err: errors.New("gone")})
		r.tell(&messages.StripeUp{Conn: r.conn.PID(), First: helloOf(sessionID)})
		probe.Expect[*HelloArrived](r.sync)
		r.sync.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
		probe.Expect[*messages.Frame](a)
		if s := r.state(); s.Stripes != 2 {
			t.Errorf("%d stripes live, the one of Hello and one Join do", s.Stripes)
		}
	})
}

// ---- the edge dials

// A stripe that failed or died before Welcome is dialled again after it.
func TestStripesLostBeforeWelcomeAreDialledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_UP, Stripes: 3})
		r.sync.Tell(r.session, &Connect{Hub: "h:1", Within: time.Minute})
		var try uint64
		for range 3 {
			try = probe.Expect[*messages.DialStripe](r.dials).Try
		}
		r.tell(&messages.StripeUp{Conn: r.conn.PID(), Try: try})
		probe.Expect[*Connected](r.sync)
		r.tell(&messages.StripeFailed{Stripe: 1, Try: try, Err: errors.New("refused")})
		died := probe.New(t, r.system, "died")
		r.tell(&messages.StripeUp{Conn: died.PID(), Stripe: 2, Try: try})
		r.tell(&messages.StripeDown{Conn: died.PID(), Err: errors.New("reset")})
		r.dials.ExpectNothing(10 * time.Second) // no link yet
		r.frame(&messages.Frame{Epoch: 7, Welcome: &messages.Welcome{Epoch: 7}})
		r.sync.Tell(r.session, &Established{Epoch: 7})
		again := map[uint32]bool{}
		for range 2 {
			again[probe.Expect[*messages.DialStripe](r.dials).Stripe] = true
		}
		if !again[1] || !again[2] {
			t.Errorf("dialled again: %v", again)
		}
	})
}

func TestEdgeGivesUpOnAHubThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_UP, Stripes: 2})
		r.dialled()
		began := time.Now()
		f := probe.Expect[*ConnectFailed](r.sync, 2*time.Minute)
		if took := time.Since(began); took > time.Minute+ownerWait || !strings.Contains(f.Err.Error(), "no welcome from h:1 in time") {
			t.Errorf("after %v: %v", took, f.Err)
		}
		late := probe.New(t, r.system, "late")
		r.tell(&messages.StripeUp{Conn: late.PID(), Stripe: 1, Try: 1})
		probe.Expect[*messages.Hangup](late)
	})
}

func TestEdgeHearsWhyItIsNotWanted(t *testing.T) {
	for name, c := range map[string]struct {
		frame *messages.Frame
		check func(error) bool
	}{
		"refused": {&messages.Frame{Refused: &messages.Refused{Code: "unknown_edge", Text: "add it"}}, func(err error) bool {
			var r *RefusedError
			return errors.As(err, &r) && r.Code == "unknown_edge" && strings.Contains(err.Error(), "add it")
		}},
		"redirected": {&messages.Frame{Redirect: &messages.Redirect{Hub: "other:1"}}, func(err error) bool {
			var r *RedirectError
			return errors.As(err, &r) && r.Hub == "other:1"
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, SessionConfig{Sends: messages.Ring_UP, Stripes: 2})
			r.dialled()
			r.frame(c.frame)
			if f := probe.Expect[*ConnectFailed](r.sync); !c.check(f.Err) {
				t.Errorf("%s: %v", name, f.Err)
			}
		})
	}
}

// ---- synchronisation: what is refused

func hubSyncRig(t *testing.T, epoch uint64) (system *actor.ActorSystem, session *probe.Probe, sync *actor.PID) {
	system = probe.System(t)
	session = probe.New(t, system, "session")
	ringActor := probe.New(t, system, "rings")
	ringActor.AutoPilot(func(m any) []any {
		if r, ok := m.(*Resync); ok {
			return []any{&Resynced{Try: r.Try, View: &messages.View{}}}
		}
		return nil
	})
	sync, _ = child(t, system, NewHubSync(HubSyncConfig{
		Edge: "e", Hub: "h", Epoch: epoch, Session: session.PID(), Buffer: ringActor.PID(), Mirror: ringActor.PID(), Metrics: Nop{}, Log: zap.NewNop(),
		Instance: func() ([]byte, error) { return []byte("this data directory"), nil },
		Applied:  func() (uint64, error) { return 0, nil },
	}))
	probe.Expect[*Synchronise](session)
	return system, session, sync
}

func goodHello() *messages.Hello {
	return &messages.Hello{
		Edge: "e", Version: Version, Session: []byte(sessionID), Instance: []byte("this data directory"), HighestEpoch: 4,
		Down: &messages.View{}, Up: &messages.View{},
	}
}

func TestHubRefusesHello(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*messages.Hello)
		code  string
		text  []string // what a person needs to read
	}{
		"good":             {func(*messages.Hello) {}, "", nil},
		"wrong version":    {func(h *messages.Hello) { h.Version = 9 }, "wrong_version", []string{"version 9", "this hub 1", "same release"}},
		"higher epoch":     {func(h *messages.Hello) { h.HighestEpoch = 6 }, "older_epoch", []string{"epoch 6", "under 5"}},
		"same epoch":       {func(h *messages.Hello) { h.HighestEpoch = 5 }, "", nil},
		"other instance":   {func(h *messages.Hello) { h.Instance = []byte("another directory") }, "other_instance", []string{`"e"`, "another data directory", "certificate of its own"}},
		"a made-up number": {func(h *messages.Hello) { h.Number = 1<<62 + 1 }, "protocol", []string{"malformed"}},
		"no session":       {func(h *messages.Hello) { h.Session = nil }, "protocol", []string{"malformed"}},
		"no view":          {func(h *messages.Hello) { h.Down = nil }, "protocol", []string{"malformed"}},
		"no instance":      {func(h *messages.Hello) { h.Instance = nil }, "protocol", []string{"malformed"}},
		"a large instance": {func(h *messages.Hello) { h.Instance = make([]byte, 65) }, "protocol", []string{"malformed"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			system, session, sync := hubSyncRig(t, 5)
			h := goodHello()
			c.spoil(h)
			system.Root.Send(sync, &HelloArrived{Hello: h})
			if c.code == "" {
				if w := probe.Expect[*SayWelcome](session); w.Welcome.Epoch != 5 || !bytes.Equal(w.Session, h.Session) {
					t.Errorf("%s: %+v", name, w)
				}
				return
			}
			r := probe.Expect[*SayRefused](session)
			if r.Refused.Code != c.code || !bytes.Equal(r.Session, h.Session) {
				t.Errorf("%s: %+v", name, r)
			}
			for _, want := range c.text {
				if !strings.Contains(r.Refused.Text, want) {
					t.Errorf("%s: %q does not say %q", name, r.Refused.Text, want)
				}
			}
		})
	}
}

// edgeSyncRig has a journal whose epoch is 5, and is past Hello.
func edgeSyncRig(t *testing.T) (system *actor.ActorSystem, session, rings *probe.Probe, sync *actor.PID, journal *edgeMemory) {
	return edgeSyncRigOf(t, &edgeMemory{epoch: 5})
}

func edgeSyncRigOf(t *testing.T, j *edgeMemory) (system *actor.ActorSystem, session, rings *probe.Probe, sync *actor.PID, journal *edgeMemory) {
	system = probe.System(t)
	session, rings = probe.New(t, system, "session"), probe.New(t, system, "rings")
	sync, _ = child(t, system, NewEdgeSync(EdgeSyncConfig{
		Edge: "e", Hubs: []string{"a:1", "b:1"}, Stripes: 2, Session: session.PID(), Buffer: rings.PID(), Mirror: rings.PID(),
		Journal: j, Metrics: Nop{}, Log: zap.NewNop(),
	}))
	probe.Expect[*Synchronise](session)
	system.Root.Send(sync, &Synchronising{})
	if c := probe.Expect[*Connect](session); c.Hub != "a:1" {
		t.Errorf("dials %s first", c.Hub)
	}
	return system, session, rings, sync, j
}

// An edge whose journal is older than the one it had numbers its Hellos from further
// back: it goes on above what the hub has heard, and at once.
func TestEdgeGoesOnAboveTheHelloThatWasHeard(t *testing.T) {
	for name, tt := range map[string]struct{ heard, next uint64 }{
		"far ahead": {9 << 32, 9<<32 + 1},
		"no number": {1<<64 - 1, maxNumber},
	} {
		synctest.Test(t, func(t *testing.T) {
			system, session, rings, sync, _ := edgeSyncRig(t)
			hello := func() uint64 {
				system.Root.Send(sync, &Connected{TLSAt: time.Now()})
				for _, r := range []messages.Ring{messages.Ring_DOWN, messages.Ring_UP} {
					probe.Expect[*GetView](rings)
					system.Root.Send(sync, &ViewIs{Ring: r, View: &messages.View{}})
				}
				return probe.Expect[*SayHello](session).Hello.Number
			}
			if n := hello(); n != 1 {
				t.Errorf("%s: the first hello is %d", name, n)
			}
			refused := time.Now()
			system.Root.Send(sync, &ConnectFailed{&RefusedError{Code: "older_hello", Number: tt.heard}})
			probe.Expect[*Connect](session)
			if n := hello(); n != tt.next || time.Since(refused) > time.Second {
				t.Errorf("%s: hello %d after %v", name, n, time.Since(refused))
			}
		})
	}
}

func TestEdgeRefusesALowerEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system, session, rings, sync, _ := edgeSyncRig(t)
		system.Root.Send(sync, &messages.Welcome{Epoch: 4})
		if e := probe.Expect[*ProtocolError](session); !errors.Is(e.Err, ErrOldEpoch) || !strings.Contains(e.Err.Error(), "epoch 4, this edge has seen 5") {
			t.Errorf("%v", e.Err)
		}
		rings.ExpectNothing(time.Hour)
	})
}

// The epoch is on disk before anything of Welcome is taken.
func TestI8_EpochIsStoredBeforeWelcomeIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system, session, rings, sync, _ := edgeSyncRig(t)
		began := time.Now()
		system.Root.Send(sync, &messages.Welcome{Epoch: 9})
		probe.Expect[*Resync](rings)
		if took := time.Since(began); took < diskTime {
			t.Errorf("the rings were asked after %v, the disk takes %v", took, diskTime)
		}
		session.ExpectNothing(time.Second)
	})
}

// What an attempt that failed has under way still is nothing to the next one.
func TestStaleWordsOfAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system, session, rings, sync, _ := edgeSyncRig(t)
		system.Root.Send(sync, &messages.Welcome{Epoch: 5})
		a := probe.Expect[*Resync](rings)
		probe.Expect[*Resync](rings)
		system.Root.Send(sync, &ConnectFailed{errors.New("the stripe died")})
		for _, r := range []messages.Ring{messages.Ring_DOWN, messages.Ring_UP} {
			system.Root.Send(sync, &Resynced{Ring: r, Try: a.Try, View: &messages.View{}})
			system.Root.Send(sync, &Agreed{Ring: r, Try: a.Try})
		}
		if c := probe.Expect[*Connect](session); c.Hub != "b:1" { // and no Established
			t.Errorf("dials %s next", c.Hub)
		}
		// The epoch is stored too late.
		system.Root.Send(sync, &messages.Welcome{Epoch: 6})
		system.Root.Send(sync, &ConnectFailed{errors.New("the stripe died")})
		probe.Expect[*Connect](session)
		rings.ExpectNothing(time.Second)
		session.ExpectNothing(time.Second)
	})
}

// ---- the status log

func TestEdgeRefusesEventsItNeverWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		session := probe.New(t, system, "session")
		j := &edgeMemory{events: []*messages.Event{{Number: 1}, {Number: 2}}}
		pid := system.Root.Spawn(NewStatusLog(StatusLogConfig{Journal: j, Session: session.PID(), Log: zap.NewNop()}))
		system.Root.Send(pid, &LinkUp{})
		probe.Expect[*messages.Event](session)
		probe.Expect[*messages.Event](session)
		system.Root.Send(pid, &EventsApplied{3})
		if e := probe.Expect[*ProtocolError](session); !errors.Is(e.Err, ErrProtocol) || !strings.Contains(e.Err.Error(), "up to 3, this edge has written 2") {
			t.Errorf("%v", e.Err)
		}
		if j.trimmed() != 0 {
			t.Errorf("trimmed up to %d", j.trimmed())
		}
		system.Root.Send(pid, &EventsApplied{2})
		session.ExpectNothing(time.Second)
		if j.trimmed() != 2 {
			t.Errorf("trimmed up to %d", j.trimmed())
		}
	})
}

// A hub's applier keeps no more than two windows of events.
func TestApplierIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		session := probe.New(t, system, "session")
		var a *applier
		pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
			a = &applier{cfg: ApplierConfig{Session: session.PID(), Log: zap.NewNop(), Applied: func() (uint64, error) { return 0, nil }}, waiting: map[uint64]*messages.Event{}}
			return a
		}))
		for n := uint64(2); n < 20_000; n++ { // 1 never comes
			system.Root.Send(pid, &EventsIn{[]*messages.Event{{Number: n}}})
		}
		system.Root.Send(pid, &EventsIn{[]*messages.Event{{Number: 1<<64 - 1}}})
		synctest.Wait()
		if err := system.Root.StopFuture(pid).Wait(); err != nil {
			t.Fatal(err)
		}
		if len(a.waiting) > 2*statusWindow {
			t.Errorf("%d events are kept", len(a.waiting))
		}
	})
}
