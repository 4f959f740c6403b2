package probe

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/extensions"
)

// System makes an actor system that ends with the test. It is quiet: the
// library's warnings go to the test's log, which shows them only when the test
// fails. An actor that fails (panics) fails the test, unless [Failures] was
// called. At the end every actor is stopped, parents with their children, and
// one that does not stop fails the test.
func System(t testing.TB, options ...actor.ConfigOption) *actor.ActorSystem {
	t.Helper()
	k := &kit{t: t}
	system := actor.NewActorSystem(append([]actor.ConfigOption{
		// With the first dead letter of an interval the library starts a goroutine that waits for the interval's end.
		actor.WithDeadLetterThrottleInterval(time.Nanosecond),
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(k) }),
	}, options...)...)
	system.Extensions.Register(k)
	system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*actor.SupervisorEvent); ok {
			k.failed(e)
		}
	})
	t.Cleanup(func() {
		stopAll(t, system)
		k.end()
		system.Shutdown()
		// A bubble must not end before that goroutine does. Others' timers are due at whole
		// milliseconds, and may begin one in the moment in which they are.
		<-time.After(time.Millisecond + 313*time.Nanosecond)
	})
	return system
}

// DeadLetters is a probe that gets a [*actor.DeadLetterEvent] for each message
// that from now on finds nobody.
func DeadLetters(t testing.TB, system *actor.ActorSystem) *Probe {
	t.Helper()
	return subscribe[*actor.DeadLetterEvent](t, system, "deadletters")
}

// Failures is a probe that gets a [*actor.SupervisorEvent] for each actor that
// from now on fails; they no longer fail the test by themselves.
func Failures(t testing.TB, system *actor.ActorSystem) *Probe {
	t.Helper()
	if k, ok := system.Extensions.Get(kitID).(*kit); ok {
		k.expectFailures()
	}
	return subscribe[*actor.SupervisorEvent](t, system, "failures")
}

// subscribe makes a probe that gets the event stream's events of one type.
func subscribe[T any](t testing.TB, system *actor.ActorSystem, name string) *Probe {
	t.Helper()
	p := New(t, system, name)
	var mu sync.Mutex
	on := true
	system.EventStream.Subscribe(func(event any) {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := event.(T); ok && on {
			system.Root.Send(p.pid, event)
		}
	})
	t.Cleanup(func() { // or its own end would make dead letters of dead letters
		mu.Lock()
		defer mu.Unlock()
		on = false
	})
	return p
}

// stopAll stops the actors that have no parent, which stop their children first.
func stopAll(t testing.TB, system *actor.ActorSystem) {
	var roots []string
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		bucket.IterCb(func(id string, process any) {
			if _, ok := process.(*actor.ActorProcess); ok && !strings.Contains(id, "/") {
				roots = append(roots, id)
			}
		})
	}
	futures := make(map[string]*actor.Future, len(roots))
	for _, id := range roots {
		futures[id] = system.Root.StopFuture(system.NewLocalPID(id))
	}
	for id, f := range futures {
		if err := f.Wait(); err != nil {
			t.Errorf("probe: actor %s did not stop: %v; does its Receive block?", id, err)
		}
	}
}

// kit is what a system knows of its test. It is the system's log handler too.
type kit struct {
	mu       sync.Mutex
	t        testing.TB // nil when the test has ended: it must not be touched any more
	failures bool       // are expected
}

var kitID = extensions.NextExtensionID()

func (k *kit) ExtensionID() extensions.ExtensionID { return kitID }

func (k *kit) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.t = nil
}

func (k *kit) expectFailures() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures = true
}

func (k *kit) failed(e *actor.SupervisorEvent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.t != nil && !k.failures {
		k.t.Errorf("probe: actor %s failed: %v (%v); call probe.Failures first if it is meant to", e.Child.GetId(), e.Reason, e.Directive)
	}
}

// Enabled and the following make kit a [slog.Handler].
func (k *kit) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle writes to the test's log.
func (k *kit) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		line.WriteString(" " + a.String())
		return true
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.t != nil {
		k.t.Logf("%v %s", r.Level, line.String())
	}
	return nil
}

// WithAttrs leaves the attributes out: they name the library and the system.
func (k *kit) WithAttrs([]slog.Attr) slog.Handler { return k }

// WithGroup does nothing.
func (k *kit) WithGroup(string) slog.Handler { return k }
