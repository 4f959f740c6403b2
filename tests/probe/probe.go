// Package probe is a test kit for protoactor-go: a probe is an actor whose
// messages a test reads, one after the other, from its own goroutine. Give its
// PID to the actor under test in place of an owner, a connection or a child.
//
//	conn, owner := probe.New(t, system, "conn"), probe.New(t, system, "owner")
//	pid := system.Root.Spawn(NewSession(Config{Conn: conn.PID(), Owner: owner.PID()}))
//	owner.Tell(pid, &Submit{Text: "one"})
//	pdu := probe.Expect[*SubmitSM](conn)
//
// What waits does so for [Patience] unless it is told otherwise, and fails the
// test with what it waited for and what came instead.
//
// It works in real time and inside a [testing/synctest] bubble. There the
// clock is virtual: a wait of an hour costs nothing, and silence is certain
// rather than likely, since time moves on only when every actor has nothing
// left to do. What falls due at the very instant at which a wait ends may be
// seen or not: wait a little less or more. Make the system inside the bubble.
//
// The functions that may fail a test belong in the test's goroutine, as
// [testing.TB.FailNow] does.
package probe

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Patience is how long Expect, Fish and ExpectTerminated wait.
const Patience = 3 * time.Second

// Probe is an actor that keeps what it is sent until the test asks for it.
// There is no bound: nobody who writes to a probe ever waits for the test.
type Probe struct {
	t      testing.TB
	system *actor.ActorSystem
	name   string
	pid    *actor.PID

	sender *actor.PID // of the last message that the test took
	taken  []any      // the last few that the test took, for failure messages

	mu         sync.Mutex
	waiting    []letter
	terminated []*actor.Terminated
	pilot      func(message any) (replies []any)
	arrival    chan struct{} // capacity 1: something has come since the test last looked
}

type letter struct {
	message any
	sender  *actor.PID
}

// watch asks the probe's own actor to watch a PID: only an actor can.
type watch struct{ pid *actor.PID }

// New starts a probe that ends with the test. The name, "probe" if none is
// given, stands in its PID and in failure messages.
func New(t testing.TB, system *actor.ActorSystem, name ...string) *Probe {
	t.Helper()
	p := &Probe{t: t, system: system, name: "probe", arrival: make(chan struct{}, 1)}
	if len(name) > 0 {
		p.name = strings.Join(name, "-")
	}
	p.pid = system.Root.SpawnPrefix(actor.PropsFromFunc(p.receive), p.name)
	t.Cleanup(func() { system.Root.Stop(p.pid) })
	return p
}

func (p *Probe) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started, *actor.Stopping, *actor.Stopped, *actor.Restarting:
	case watch:
		ctx.Watch(m.pid)
	case *actor.Terminated:
		p.mu.Lock()
		p.terminated = append(p.terminated, m)
		p.mu.Unlock()
		p.announce()
	default:
		p.mu.Lock()
		p.waiting = append(p.waiting, letter{m, ctx.Sender()})
		pilot := p.pilot
		p.mu.Unlock()
		p.announce()
		if pilot == nil {
			return
		}
		for _, reply := range pilot(m) {
			if ctx.Sender() != nil {
				ctx.Request(ctx.Sender(), reply)
			}
		}
	}
}

func (p *Probe) announce() {
	select {
	case p.arrival <- struct{}{}:
	default: // the test has not looked since the last one
	}
}

// PID is the probe's address.
func (p *Probe) PID() *actor.PID { return p.pid }

// Tell sends a message with the probe as its sender, so that answers come back
// to the probe.
func (p *Probe) Tell(pid *actor.PID, message any) {
	p.system.Root.RequestWithCustomSender(pid, message, p.pid)
}

// Sender is who sent the message that Expect or Fish returned last; nil if it
// named nobody.
func (p *Probe) Sender() *actor.PID { return p.sender }

// Reply tells the sender of the message that Expect or Fish returned last.
func (p *Probe) Reply(message any) {
	p.t.Helper()
	if p.sender == nil {
		p.t.Fatalf("%s: nobody to reply %s to: the last message taken names no sender; have it sent with Request or Tell", p.name, show(message))
	}
	p.Tell(p.sender, message)
}

// Expect returns the next message, which must be a T. It waits [Patience], or
// as long as is given.
func Expect[T any](p *Probe, within ...time.Duration) T {
	p.t.Helper()
	wait := patience(within)
	l, ok := p.take(wait)
	if !ok {
		p.t.Fatalf("%s: waited %v for %v, nothing came%s", p.name, wait, reflect.TypeFor[T](), p.before())
	}
	m, ok := l.message.(T)
	if !ok {
		p.t.Fatalf("%s: waited for %v, got %s%s%s", p.name, reflect.TypeFor[T](), l, p.behind(), p.before())
	}
	p.took(l)
	return m
}

// Fish passes over messages until one is a T for which pred holds, and returns
// that one. A nil pred takes any T. The wait is for all together.
func Fish[T any](p *Probe, pred func(T) bool, within ...time.Duration) T {
	p.t.Helper()
	wait := patience(within)
	end := time.Now().Add(wait)
	var passed []letter
	for {
		l, ok := p.take(time.Until(end))
		if !ok {
			break
		}
		if m, ok := l.message.(T); ok && (pred == nil || pred(m)) {
			p.took(l)
			return m
		}
		passed = append(passed, l)
	}
	came := "nothing came"
	if len(passed) > 0 {
		came = fmt.Sprintf("%d others came: %s", len(passed), list(passed))
	}
	p.t.Fatalf("%s: fished %v for a %v that fits, %s", p.name, wait, reflect.TypeFor[T](), came)
	panic("unreachable: Fatalf ends the test's goroutine")
}

// ExpectNothing waits for the whole duration and fails if a message comes, or
// came before and was not yet taken. A [actor.Terminated] is no message.
func (p *Probe) ExpectNothing(during time.Duration) {
	p.t.Helper()
	if l, ok := p.take(during); ok {
		p.t.Fatalf("%s: expected nothing for %v, got %s%s%s", p.name, during, l, p.behind(), p.before())
	}
}

// Received takes all messages that have come and were not yet taken, oldest first.
func (p *Probe) Received() []any {
	p.mu.Lock()
	letters := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	messages := make([]any, 0, len(letters))
	for _, l := range letters {
		p.took(l)
		messages = append(messages, l.message)
	}
	return messages
}

// AutoPilot answers every message from now on with what react returns, in this
// order; messages without a sender get no answer. It runs in the probe's actor,
// while the test does something else; Expect still sees each message. nil ends it.
func (p *Probe) AutoPilot(react func(message any) (replies []any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pilot = react
}

// Watch makes the probe learn when the actor ends. One that has ended already
// counts at once.
func (p *Probe) Watch(pid *actor.PID) {
	p.system.Root.Send(p.pid, watch{pid})
}

// ExpectTerminated waits until a watched actor has ended. Messages stay where
// they are: the runtime lets Terminated overtake them.
func (p *Probe) ExpectTerminated(pid *actor.PID, within ...time.Duration) *actor.Terminated {
	p.t.Helper()
	wait := patience(within)
	var found *actor.Terminated
	p.await(wait, func() bool {
		i := slices.IndexFunc(p.terminated, func(m *actor.Terminated) bool { return m.Who.Equal(pid) })
		if i < 0 {
			return false
		}
		found = p.terminated[i]
		p.terminated = slices.Delete(p.terminated, i, i+1)
		return true
	})
	if found == nil {
		p.t.Fatalf("%s: waited %v for %v to end; it lives, or nobody called Watch%s", p.name, wait, pid, p.behind())
	}
	return found
}

// take waits for the next message.
func (p *Probe) take(wait time.Duration) (l letter, ok bool) {
	ok = p.await(wait, func() bool {
		if len(p.waiting) == 0 {
			return false
		}
		l, p.waiting = p.waiting[0], p.waiting[1:]
		return true
	})
	return l, ok
}

// await tries until it holds, anew after each arrival. try runs under the lock.
func (p *Probe) await(wait time.Duration, try func() bool) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for last := false; ; {
		p.mu.Lock()
		done := try()
		p.mu.Unlock()
		if done || last {
			return done
		}
		select {
		case <-p.arrival:
		case <-timer.C:
			last = true // it may have come in the same instant
		}
	}
}

// took remembers what the test has taken, for Sender and for failure messages.
func (p *Probe) took(l letter) {
	const kept = 5
	p.sender = l.sender
	p.taken = append(p.taken, l.message)
	if len(p.taken) > kept {
		p.taken = p.taken[1:]
	}
}

// before tells of the messages that the test took earlier.
func (p *Probe) before() string {
	if len(p.taken) == 0 {
		return ""
	}
	shown := make([]string, len(p.taken))
	for i, m := range p.taken {
		shown[i] = fmt.Sprintf("%T", m)
	}
	return "; taken before: " + strings.Join(shown, ", ")
}

// behind tells of the messages that wait.
func (p *Probe) behind() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return ""
	}
	return "; behind it: " + list(p.waiting)
}

func (l letter) String() string {
	if l.sender == nil {
		return show(l.message)
	}
	return show(l.message) + " from " + l.sender.Id
}

func list(letters []letter) string {
	const most = 10
	var shown []string
	for _, l := range letters[:min(len(letters), most)] {
		shown = append(shown, show(l.message))
	}
	if len(letters) > most {
		shown = append(shown, "...")
	}
	return strings.Join(shown, ", ")
}

func show(message any) string {
	const most = 300 // bytes
	s := fmt.Sprintf("%T %+v", message, message)
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

func patience(within []time.Duration) time.Duration {
	if len(within) > 0 {
		return within[0]
	}
	return Patience
}
