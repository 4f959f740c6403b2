package probe_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/scheduler"

	"github.com/ringway-im/ringway/tests/probe"
)

type (
	hello struct{ N int }
	other struct{}
)

// echo answers hello at once, and other never.
func echo(ctx actor.Context) {
	if m, ok := ctx.Message().(hello); ok {
		ctx.Respond(m)
	}
}

func TestExpectTakesMessagesInOrder(t *testing.T) {
	system := probe.System(t)
	p := probe.New(t, system)
	pid := system.Root.Spawn(actor.PropsFromFunc(echo))
	p.Tell(pid, hello{1})
	p.Tell(pid, hello{2})
	for want := 1; want <= 2; want++ {
		if got := probe.Expect[hello](p); got.N != want {
			t.Fatalf("got %d, want %d", got.N, want)
		}
	}
	if p.Sender() != nil {
		t.Fatalf("sender %v: Respond names none", p.Sender())
	}
}

func TestExpectTakesAnInterface(t *testing.T) {
	system := probe.System(t)
	p := probe.New(t, system)
	system.Root.Send(p.PID(), time.Second)
	if got := probe.Expect[fmt.Stringer](p); got.String() != "1s" {
		t.Fatalf("got %v", got)
	}
}

func TestReplyGoesToTheSender(t *testing.T) {
	system := probe.System(t)
	a, b := probe.New(t, system, "a"), probe.New(t, system, "b")
	a.Tell(b.PID(), hello{1})
	probe.Expect[hello](b)
	if !b.Sender().Equal(a.PID()) {
		t.Fatalf("sender %v, want %v", b.Sender(), a.PID())
	}
	b.Reply(hello{2})
	if got := probe.Expect[hello](a); got.N != 2 {
		t.Fatalf("got %v", got)
	}
}

func TestFishPassesOverTheRest(t *testing.T) {
	system := probe.System(t)
	p := probe.New(t, system)
	for _, m := range []any{other{}, hello{1}, hello{2}, hello{3}} {
		p.Tell(p.PID(), m)
	}
	if got := probe.Fish(p, func(m hello) bool { return m.N == 2 }); got.N != 2 {
		t.Fatalf("got %v", got)
	}
	if got := probe.Fish[hello](p, nil); got.N != 3 {
		t.Fatalf("got %v, want the one after it", got)
	}
}

func TestReceivedTakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := probe.New(t, probe.System(t))
		p.Tell(p.PID(), hello{1})
		p.Tell(p.PID(), other{})
		synctest.Wait()
		if got := p.Received(); len(got) != 2 || got[0] != (hello{1}) || got[1] != (other{}) {
			t.Fatalf("got %v", got)
		}
		p.ExpectNothing(time.Hour)
	})
}

func TestAutoPilotAnswersAndStillShows(t *testing.T) {
	system := probe.System(t)
	a, server := probe.New(t, system, "a"), probe.New(t, system, "server")
	server.AutoPilot(func(m any) []any {
		h := m.(hello)
		return []any{hello{h.N + 1}, hello{h.N + 2}}
	})
	a.Tell(server.PID(), hello{1})
	for want := 2; want <= 3; want++ {
		if got := probe.Expect[hello](a); got.N != want {
			t.Fatalf("got %d, want %d", got.N, want)
		}
	}
	if !a.Sender().Equal(server.PID()) {
		t.Fatalf("sender %v", a.Sender())
	}
	if got := probe.Expect[hello](server); got.N != 1 {
		t.Fatalf("got %v", got)
	}
	system.Root.Send(server.PID(), hello{5}) // from nobody: no answer, and no dead letter
	probe.Expect[hello](server)
}

func TestExpectTerminated(t *testing.T) {
	system := probe.System(t)
	p := probe.New(t, system)
	pid := system.Root.Spawn(actor.PropsFromFunc(echo))
	p.Watch(pid)
	p.Tell(p.PID(), hello{1})
	system.Root.Stop(pid)
	p.ExpectTerminated(pid)
	probe.Expect[hello](p) // left where it was

	p.Watch(pid) // ended already
	if m := p.ExpectTerminated(pid); m.Why != actor.TerminatedReason_NotFound {
		t.Fatalf("why: %v", m.Why)
	}
}

// An hour of virtual time, to the nanosecond.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		p := probe.New(t, system)
		start := time.Now()
		pid := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch ctx.Message().(type) {
			case *actor.Started:
				scheduler.NewTimerScheduler(system.Root).SendRepeatedly(time.Hour, time.Hour, ctx.Self(), other{})
			case other:
				ctx.Send(p.PID(), hello{})
			}
		}))
		p.ExpectNothing(time.Hour - 1)
		probe.Expect[hello](p)
		if d := time.Since(start); d != time.Hour {
			t.Fatalf("came after %v", d)
		}
		probe.Expect[hello](p, 2*time.Hour)
		if d := time.Since(start); d != 2*time.Hour {
			t.Fatalf("came after %v", d)
		}
		p.Watch(pid)
		system.Root.Stop(pid)
		p.ExpectTerminated(pid)
	})
}

func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		dead := probe.DeadLetters(t, system)
		gone := system.NewLocalPID("gone")
		system.Root.Send(gone, hello{7})
		if e := probe.Expect[*actor.DeadLetterEvent](dead); e.Message != (hello{7}) || !e.PID.Equal(gone) {
			t.Fatalf("got %+v", e)
		}
		dead.ExpectNothing(time.Minute)
	})
}

func boom(ctx actor.Context) {
	if _, ok := ctx.Message().(hello); ok {
		panic("boom")
	}
}

func TestFailuresCanBeExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		failures := probe.Failures(t, system)
		pid := system.Root.Spawn(actor.PropsFromFunc(boom))
		system.Root.Send(pid, hello{})
		if e := probe.Expect[*actor.SupervisorEvent](failures); e.Reason != "boom" || e.Directive != actor.RestartDirective {
			t.Fatalf("got %+v", e)
		}
	})
}

func TestSystemStopsItsActors(t *testing.T) {
	stopped := make(chan string, 2)
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		child := actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Stopping); ok {
				stopped <- "child"
			}
		})
		system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch ctx.Message().(type) {
			case *actor.Started:
				ctx.Spawn(child)
			case *actor.Stopped:
				stopped <- "parent"
			}
		}))
	})
	if a, b := <-stopped, <-stopped; a != "child" || b != "parent" {
		t.Fatalf("stopped %s, then %s", a, b)
	}
}

func TestExample(t *testing.T) { testSender(t) }

// Each of these must fail, and say why.
func TestFails(t *testing.T) {
	tests := []struct {
		name string
		do   func(t testing.TB)
		want []string // parts of what it says
	}{
		{"nothing came", func(t testing.TB) {
			probe.Expect[hello](probe.New(t, probe.System(t), "conn"))
		}, []string{"conn: waited 3s for probe_test.hello, nothing came"}},
		{"another type", func(t testing.TB) {
			p := probe.New(t, probe.System(t), "conn")
			p.Tell(p.PID(), hello{1})
			p.Tell(p.PID(), other{})
			p.Tell(p.PID(), hello{2})
			synctest.Wait()
			probe.Expect[hello](p)
			probe.Expect[hello](p)
		}, []string{
			"conn: waited for probe_test.hello, got probe_test.other {} from conn$",
			"behind it: probe_test.hello {N:2}", "taken before: probe_test.hello",
		}},
		{"nothing fits", func(t testing.TB) {
			p := probe.New(t, probe.System(t))
			p.Tell(p.PID(), hello{1})
			p.Tell(p.PID(), other{})
			probe.Fish(p, func(m hello) bool { return m.N == 2 }, time.Minute)
		}, []string{"fished 1m0s for a probe_test.hello that fits, 2 others came: probe_test.hello {N:1}, probe_test.other {}"}},
		{"fished in vain", func(t testing.TB) {
			probe.Fish[hello](probe.New(t, probe.System(t)), nil)
		}, []string{"fished 3s for a probe_test.hello that fits, nothing came"}},
		{"not silent", func(t testing.TB) {
			p := probe.New(t, probe.System(t))
			time.AfterFunc(59*time.Second, func() { p.Tell(p.PID(), hello{1}) })
			p.ExpectNothing(time.Minute)
		}, []string{"expected nothing for 1m0s, got probe_test.hello {N:1}"}},
		{"not ended", func(t testing.TB) {
			s := probe.System(t)
			p := probe.New(t, s)
			pid := s.Root.Spawn(actor.PropsFromFunc(echo))
			p.Watch(pid)
			p.ExpectTerminated(pid)
		}, []string{"waited 3s for ", "to end; it lives"}},
		{"watched another", func(t testing.TB) {
			s := probe.System(t)
			p := probe.New(t, s)
			a, b := s.Root.Spawn(actor.PropsFromFunc(echo)), s.Root.Spawn(actor.PropsFromFunc(echo))
			p.Watch(a)
			s.Root.Stop(a)
			p.ExpectTerminated(b)
		}, []string{"it lives"}},
		{"nobody to reply to", func(t testing.TB) {
			s := probe.System(t)
			p := probe.New(t, s)
			s.Root.Send(p.PID(), hello{1})
			probe.Expect[hello](p)
			p.Reply(other{})
		}, []string{"nobody to reply probe_test.other {} to"}},
		{"an actor panics", func(t testing.TB) {
			s := probe.System(t)
			s.Root.Send(s.Root.Spawn(actor.PropsFromFunc(boom)), hello{})
			synctest.Wait()
		}, []string{"failed: boom"}},
		{"an actor blocks", func(t testing.TB) {
			s := probe.System(t)
			s.Root.Send(s.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
				if _, ok := ctx.Message().(hello); ok {
					<-time.After(time.Hour)
				}
			})), hello{})
			synctest.Wait()
		}, []string{"did not stop: future: timeout; does its Receive block?"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said := failing(t, tt.do)
				for _, want := range tt.want {
					if !strings.Contains(said, want) {
						t.Errorf("it said\n\t%s\nwhich lacks\n\t%s", said, want)
					}
				}
			})
		})
	}
}

// failing runs a test that must fail and returns what it says.
func failing(t *testing.T, do func(testing.TB)) string {
	t.Helper()
	fake := &fakeTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer fake.cleanup()
		do(fake)
	}()
	<-done
	<-time.After(2 * time.Hour) // virtual: what a test left running ends before the bubble does
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if len(fake.said) == 0 {
		t.Fatal("the test passed")
	}
	return strings.Join(fake.said, "\n")
}

// fakeTB takes down failures instead of failing.
type fakeTB struct {
	testing.TB
	mu       sync.Mutex
	said     []string
	cleanups []func()
}

func (f *fakeTB) Helper()             {}
func (f *fakeTB) Cleanup(c func())    { f.cleanups = append(f.cleanups, c) }
func (f *fakeTB) Logf(string, ...any) {}
func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func (f *fakeTB) cleanup() {
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.cleanups[i]()
	}
}
