package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"
)

// book is one user's events.
type book struct {
	mu     sync.Mutex
	events []journal.UserEvent
	seen   []time.Time
	reads  int
}

func (b *book) add(state messages.State, final bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, journal.UserEvent{Number: uint64(len(b.events) + 1), State: state, Final: final})
}

func (b *book) Seen(_ string, at time.Time, done func(error)) {
	b.mu.Lock()
	b.seen = append(b.seen, at)
	b.mu.Unlock()
	done(nil)
}

func (b *book) LastEvent(string) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return uint64(len(b.events)), nil
}

func (b *book) read(after uint64, limit int, fits func(journal.UserEvent) bool) (found []journal.UserEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	for _, e := range b.events {
		if e.Number > after && fits(e) && len(found) < limit {
			found = append(found, e)
		}
	}
	return found
}

func (b *book) Events(_ string, after uint64, limit int) ([]journal.UserEvent, error) {
	return b.read(after, limit, func(journal.UserEvent) bool { return true }), nil
}

func (b *book) Pending(_, _ string, after uint64, limit int) ([]journal.UserEvent, error) {
	return b.read(after, limit, func(e journal.UserEvent) bool { return e.State == 0 && !e.Received }), nil
}

type (
	attached struct{ pid *actor.PID }
	detached struct{}
)

// people is a clients actor over one user's book.
type people struct {
	t       *testing.T
	book    *book
	system  *actor.ActorSystem
	clients *actor.PID
	asker   *probe.Probe
}

func inClients(t *testing.T, test func(p *people)) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		p := &people{t: t, book: &book{}, system: system, asker: probe.New(t, system, "asker")}
		p.clients = system.Root.Spawn(NewClients(ClientsConfig{
			Store: p.book, Now: time.Now, Batch: 2, IdleAfter: time.Minute, SweepEvery: time.Hour, Log: zap.NewNop(),
		}))
		test(p)
		if err := system.Root.StopFuture(p.clients).Wait(); err != nil {
			t.Error(err)
		}
	})
}

// device attaches a probe that gets batches as []journal.UserEvent.
func (p *people) device(cfg DeviceConfig) (*probe.Probe, *actor.PID) {
	pr := probe.New(p.t, p.system)
	root := p.system.Root
	cfg.Attached = func(pid *actor.PID) bool { root.Send(pr.PID(), attached{pid}); return true }
	cfg.Deliver = func(events []journal.UserEvent) { root.Send(pr.PID(), events) }
	cfg.Detached = func() { root.Send(pr.PID(), detached{}) }
	p.asker.Tell(p.clients, &Attach{User: "ann", Device: cfg})
	return pr, probe.Expect[attached](pr).pid
}

func numbers(events []journal.UserEvent) string {
	var all []string
	for _, e := range events {
		all = append(all, fmt.Sprint(e.Number))
	}
	return strings.Join(all, " ")
}

func (p *people) expect(device *probe.Probe, want string) {
	p.t.Helper()
	if got := numbers(probe.Expect[[]journal.UserEvent](device)); got != want {
		p.t.Fatalf("delivered %s, want %s", got, want)
	}
}

func (p *people) presence() *PresenceIs {
	p.asker.Tell(p.clients, &Presence{User: "ann"})
	return probe.Expect[*PresenceIs](p.asker)
}

func TestDeviceIsGivenNoMoreThanItAsksFor(t *testing.T) {
	inClients(t, func(p *people) {
		for range 5 {
			p.book.add(messages.State_SENT, false)
		}
		device, pid := p.device(DeviceConfig{Resume: true, After: 1})
		p.expect(device, "2 3")
		p.asker.Tell(p.clients, &Changed{Users: []string{"ann"}})
		device.ExpectNothing(time.Minute)
		p.asker.Tell(pid, More{})
		p.expect(device, "4 5")
		p.asker.Tell(pid, More{})
		device.ExpectNothing(time.Minute)
		p.book.add(messages.State_SENT, false)
		device.ExpectNothing(time.Minute)
		p.asker.Tell(p.clients, &Changed{Users: []string{"bob", "ann"}})
		p.expect(device, "6")
	})
}

func TestPendingFirstThenWhatIsNew(t *testing.T) {
	inClients(t, func(p *people) {
		for range 3 {
			p.book.add(0, false) // messages 1 3 5
			p.book.add(messages.State_SENT, false)
		}
		p.book.events[0].Received = true
		device, pid := p.device(DeviceConfig{})
		p.book.add(0, false)
		p.expect(device, "3 5")
		p.asker.Tell(pid, More{})
		p.expect(device, "7")

		resumed, pid := p.device(DeviceConfig{Resume: true, After: 3})
		p.expect(resumed, "3")
		p.asker.Tell(pid, More{})
		p.expect(resumed, "4 5")
		p.asker.Tell(pid, More{})
		p.expect(resumed, "6 7")

		// A position ahead of the store's must not hide what comes.
		ahead, pid := p.device(DeviceConfig{Resume: true, After: 1000})
		p.expect(ahead, "3 5")
		p.asker.Tell(pid, More{})
		p.expect(ahead, "7")
		p.asker.Tell(pid, More{})
		p.book.add(messages.State_SENT, false)
		p.asker.Tell(p.clients, &Changed{Users: []string{"ann"}})
		p.expect(ahead, "8")
	})
}

func TestFinalStatesOnly(t *testing.T) {
	inClients(t, func(p *people) {
		device, _ := p.device(DeviceConfig{Resume: true, FinalOnly: true})
		for range 7 {
			p.book.add(messages.State_SENT, false)
		}
		p.book.add(messages.State_DELIVERED, true)
		p.book.add(0, false)
		p.asker.Tell(p.clients, &Changed{Users: []string{"ann"}})
		p.expect(device, "8")
	})
}

func TestLostWakeUp(t *testing.T) {
	inClients(t, func(p *people) {
		device, _ := p.device(DeviceConfig{})
		synctest.Wait() // it has looked for the first time
		p.book.add(messages.State_SENT, false)
		device.ExpectNothing(time.Hour - time.Minute)
		probe.Expect[[]journal.UserEvent](device, 2*time.Minute)
	})
}

func TestPresence(t *testing.T) {
	inClients(t, func(p *people) {
		if is := p.presence(); is.Online || !is.Since.IsZero() {
			t.Errorf("before: %+v", is)
		}
		began := time.Now()
		one, pidOne := p.device(DeviceConfig{Name: "one"})
		two, pidTwo := p.device(DeviceConfig{Name: "two"})
		time.Sleep(time.Minute)
		if is := p.presence(); !is.Online || !is.Since.Equal(began) {
			t.Errorf("two devices: %+v", is)
		}
		p.system.Root.Stop(pidOne)
		probe.Expect[detached](one)
		if is := p.presence(); !is.Online || !is.Since.Equal(began) {
			t.Errorf("one device left: %+v", is)
		}
		p.system.Root.Stop(pidTwo)
		probe.Expect[detached](two)
		synctest.Wait()
		left := time.Now()
		if is := p.presence(); is.Online || !is.Since.Equal(left) {
			t.Errorf("none left: %+v", is)
		}
		if !slices.EqualFunc(p.book.seen, []time.Time{began, left}, time.Time.Equal) {
			t.Errorf("stored %v", p.book.seen)
		}
		// The client ends after a minute, unless somebody comes back.
		time.Sleep(59 * time.Second)
		_, pid := p.device(DeviceConfig{})
		time.Sleep(time.Hour)
		if is := p.presence(); !is.Online {
			t.Errorf("came back: %+v", is)
		}
		p.system.Root.Stop(pid)
		time.Sleep(2 * time.Minute)
		if is := p.presence(); is.Online || !is.Since.IsZero() {
			t.Errorf("the client is still there: %+v", is)
		}
	})
}

func TestSubscriberThatHasGone(t *testing.T) {
	inClients(t, func(p *people) {
		gone := probe.New(t, p.system)
		p.asker.Tell(p.clients, &Attach{User: "ann", Device: DeviceConfig{
			Attached: func(*actor.PID) bool { return false },
			Deliver:  func([]journal.UserEvent) { t.Error("delivered") },
			Detached: func() { p.system.Root.Send(gone.PID(), detached{}) },
		}})
		p.book.add(0, false)
		probe.Expect[detached](gone)
		synctest.Wait()
		if is := p.presence(); is.Online {
			t.Errorf("presence %+v", is)
		}
	})
}

func TestDeviceThatFailsIsStopped(t *testing.T) {
	inClients(t, func(p *people) {
		probe.Failures(t, p.system) // it is meant to fail
		failing := probe.New(t, p.system)
		p.book.add(0, false)
		p.asker.Tell(p.clients, &Attach{User: "ann", Device: DeviceConfig{
			Attached: func(*actor.PID) bool { return true },
			Deliver:  func([]journal.UserEvent) { panic("as in a bug") },
			Detached: func() { p.system.Root.Send(failing.PID(), detached{}) },
		}})
		probe.Expect[detached](failing)
		failing.ExpectNothing(time.Minute)
		if is := p.presence(); is.Online {
			t.Errorf("presence %+v", is)
		}
	})
}
