package link

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// move has another hub, at address to, take the rings over as a ring actor does, and
// returns how long the edge was without a link: from the last frame at the old hub to
// the first one of the new hub's link at the edge.
func (p *pair) move(to string, prepareWithin time.Duration) (ready *MoveReady, pause time.Duration) {
	p.t.Helper()
	root, old, ring := p.system.Root, p.hubSession, p.hubAttach
	asks := probe.New(p.t, p.system, "ring")
	asks.Tell(old, &Move{To: to, Within: prepareWithin})
	ready = probe.Expect[*MoveReady](asks, time.Minute)
	if s := p.link(p.edgeSession); s.State != "up" {
		p.t.Errorf("link is %s while the move is prepared", s.State)
	}
	for _, pid := range []*actor.PID{p.hubSupervisor, ring.Buffer, ring.Mirror, ring.Events, p.hubRouter} {
		root.StopFuture(pid).Wait()
	}
	p.startHub()
	synctest.Wait()
	p.wire.mu.Lock()
	p.wire.hubs = map[string]*actor.PID{to: p.hubSession}
	p.wire.mu.Unlock()
	began := time.Now()
	root.Send(old, &Moved{To: to})
	for p.link(p.edgeSession).Epoch != p.epoch || p.link(p.edgeSession).State == "interrupted" {
		if time.Since(began) > time.Minute {
			p.t.Fatalf("no link to the new hub within a minute: %+v", p.link(p.edgeSession))
		}
		time.Sleep(time.Millisecond)
	}
	pause = time.Since(began)
	root.StopFuture(old).Wait()
	return ready, pause
}

// Make before break: under traffic both ways the rings go to another hub, there and
// back; the link is down for one and a half round trips.
func TestPlannedMove(t *testing.T) {
	const oneWay = 50 * time.Millisecond
	for name, c := range map[string]struct {
		deaf   bool
		within time.Duration
		pause  time.Duration // at most
		ready  int
	}{
		"prepared":                {false, 2 * time.Second, 3*oneWay + 10*time.Millisecond, 8},
		"an edge of before":       {true, 300 * time.Millisecond, 5*oneWay + 10*time.Millisecond, 0},
		"the hub does not wait":   {false, time.Millisecond, 5*oneWay + 10*time.Millisecond, 0},
		"the edge answers late":   {false, 3 * oneWay, 5*oneWay + 10*time.Millisecond, 0},
		"the hub waits just long": {false, 4*oneWay + time.Millisecond, 3*oneWay + 10*time.Millisecond, 8},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, oneWay)
				const n = 2000
				for i := range n {
					p.hubDown.put(fmt.Sprint("to", i%100), fmt.Sprint(i))
					p.edgeUp.put(fmt.Sprint("to", i%100), fmt.Sprint(i))
				}
				p.start()
				p.dialer.deaf = c.deaf
				for i := range 2 {
					p.within(time.Minute, "traffic", func() bool { return p.count(&p.atSMSC) > 400*(i+1) })
					ready, pause := p.move(fmt.Sprintf("h%d:1", i), c.within)
					t.Logf("ready with %d stripes; paused for %v, a round trip is %v", ready.Stripes, pause, 2*oneWay)
					if ready.Stripes != c.ready || pause > c.pause {
						t.Errorf("move %d: ready with %d stripes, paused for %v, at most %d and %v", i, ready.Stripes, pause, c.ready, c.pause)
					}
				}
				p.within(2*time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == n && p.count(&p.atInbox) == n })
				check(t, p.atSMSC, n)
				check(t, p.atInbox, n)
				p.stop()
			})
		})
	}
}

// ---- the session alone

func TestMoveIsAnsweredAtOnceWhereThereIsNothingToPrepare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN})
		asks := probe.New(t, r.system, "ring")
		began := time.Now()
		asks.Tell(r.session, &Move{To: "b:1", Within: time.Hour}) // the link is down
		probe.Expect[*MoveReady](asks)
		r = hubRig(t)
		asks = probe.New(t, r.system, "ring")
		asks.Tell(r.session, &Move{To: "b:1", Within: time.Hour})
		if f := probe.Fish(r.conn, func(f *messages.Frame) bool { return f.Prepare != nil }); f.Prepare.Hub != "b:1" || f.Prepare.Ready {
			t.Errorf("the edge hears %v", f.Prepare)
		}
		asks.ExpectNothing(time.Minute)
		asks.Tell(r.session, &Move{To: "c:1", Within: time.Hour}) // another plan
		probe.Expect[*MoveReady](asks)
		r.frame(&messages.Frame{Epoch: 7, Prepare: &messages.Prepare{Hub: "b:1", Ready: true}}) // of the plan before
		asks.ExpectNothing(time.Minute)
		r.tell(&messages.StripeDown{Conn: r.conn.PID(), Err: errors.New("gone")}) // the link breaks
		probe.Expect[*MoveReady](asks)
		asks.ExpectNothing(2 * time.Hour) // once is enough
		if took := time.Since(began); took > 5*time.Hour {
			t.Errorf("took %v", took)
		}
	})
}

// The last word goes out on every stripe; who comes later is sent on.
func TestMovedIsTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hubRig(t)
		second := probe.New(t, r.system, "second")
		r.tell(&messages.StripeUp{Conn: second.PID(), Stripe: 1, First: &messages.Frame{Join: &messages.Join{Edge: "e", Session: []byte(sessionID), Stripe: 1}}})
		synctest.Wait()
		r.tell(&Moved{To: "b:1"})
		for _, conn := range []*probe.Probe{r.conn, second} {
			if f := probe.Fish(conn, func(f *messages.Frame) bool { return f.Moved != nil }); f.Moved.Hub != "b:1" || f.Epoch != 7 {
				t.Errorf("the edge hears %v", f)
			}
			probe.Expect[*messages.Hangup](conn)
		}
		later := probe.New(t, r.system, "later")
		r.tell(&messages.StripeUp{Conn: later.PID(), First: helloOf("another--another")})
		if f := probe.Expect[*messages.Frame](later); f.Redirect.GetHub() != "b:1" {
			t.Errorf("who comes later hears %v", f)
		}
		probe.Expect[*messages.Hangup](later)
		r.supervisor.ExpectNothing(time.Minute) // nothing to bring back
		for _, m := range r.sync.Received() {
			if h, ok := m.(*HelloArrived); ok && string(h.Hello.Session) != sessionID {
				t.Error("the synchronisation hears of it")
			}
		}
	})
}

// ---- the fence (I8)

func TestI8_OneEpochHasOneOwner(t *testing.T) {
	for name, c := range map[string]struct {
		stored, welcome string
		epoch           uint64
		refused, store  bool
	}{
		"the same":                {"one", "one", 5, false, false},
		"another":                 {"one", "other", 5, true, false},
		"another, of a new epoch": {"one", "other", 6, false, true},
		"another, of an old one":  {"one", "other", 4, true, false},
		"the same, of an old one": {"one", "one", 4, true, false},
		"a hub that names none":   {"one", "", 5, false, false},
		"none was stored":         {"", "one", 5, false, true},
		"a name without end":      {"one", string(make([]byte, 65)), 5, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			system, session, rings, sync, journal := edgeSyncRigOf(t, &edgeMemory{epoch: 5, owner: []byte(c.stored)})
			began := time.Now()
			system.Root.Send(sync, &messages.Welcome{Epoch: c.epoch, Owner: []byte(c.welcome)})
			if c.refused {
				if e := probe.Expect[*ProtocolError](session); !errors.Is(e.Err, ErrOldEpoch) && !errors.Is(e.Err, ErrProtocol) {
					t.Errorf("%s: %v", name, e.Err)
				}
				rings.ExpectNothing(time.Hour)
				return
			}
			probe.Expect[*Resync](rings)
			if stored := time.Since(began) >= diskTime; stored != c.store {
				t.Errorf("%s: stored before it was taken: %v", name, stored)
			}
			if c.store && (journal.epoch != c.epoch || string(journal.owner) != c.welcome) {
				t.Errorf("%s: stored %d %q", name, journal.epoch, journal.owner)
			}
		})
	}
}

// Each link session at a hub is an ownership of its own, also under one name.
func TestI8_EachOwnershipHasItsName(t *testing.T) {
	names := map[string]bool{}
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, SessionConfig{Sends: messages.Ring_DOWN})
			for range 2 {
				r.tell(&messages.StripeUp{Conn: r.conn.PID(), First: helloOf(sessionID)})
				probe.Expect[*HelloArrived](r.sync)
				r.sync.Tell(r.session, &SayWelcome{Session: []byte(sessionID), Welcome: &messages.Welcome{Epoch: 7}})
				f := probe.Fish(r.conn, func(f *messages.Frame) bool { return f.Welcome != nil })
				names[string(f.Welcome.Owner)] = true
				r.tell(&messages.StripeDown{Conn: r.conn.PID(), Err: errors.New("gone")})
				probe.Expect[*Interrupted](r.supervisor)
				r.sync.Tell(r.session, &Synchronise{Gen: 2})
			}
		})
	}
	if len(names) != 2 || names[""] {
		t.Errorf("two ownerships with two links each have the names %v", names)
	}
}

// A hub of an older epoch cannot have the edge throw its numbers away.
func TestI8_NoRejoinForAnOlderEpoch(t *testing.T) {
	for epoch, want := range map[uint64]bool{4: false, 5: true, 6: true} {
		synctest.Test(t, func(t *testing.T) {
			taken := false
			system := probe.System(t)
			session := probe.New(t, system, "session")
			sync := system.Root.Spawn(NewEdgeSync(EdgeSyncConfig{
				Edge: "e", Hubs: []string{"a:1"}, Session: session.PID(), Buffer: session.PID(), Mirror: session.PID(),
				Journal: &edgeMemory{epoch: 5}, Metrics: Nop{}, Log: zap.NewNop(), Rejoin: func(*messages.Rejoin) { taken = true },
			}))
			system.Root.Send(sync, &Synchronising{})
			probe.Fish[*Connect](session, nil)
			system.Root.Send(sync, &ConnectFailed{&RejoinError{&messages.Rejoin{Epoch: epoch}}})
			synctest.Wait()
			if taken != want {
				t.Errorf("epoch %d: taken over %v", epoch, taken)
			}
		})
	}
}
