package simulation

import (
	"cmp"
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// sim is the one thread: who goes next, what falls due, and what was done.
type sim struct {
	dice   *rand.Rand
	system *actor.ActorSystem
	began  time.Time

	ready  []*mailbox // with something to do, in no order: the dice choose
	events events
	serial uint64
	boxes  int
	inline bool // actors that run on their caller's goroutine do so here, too

	mu       sync.Mutex
	waiting  bool      // the thread waits: whoever leaves something is another goroutine
	arrivals []arrival // left by other goroutines
	wake     chan struct{}
	sockets  []socketNews
	dials    []*dial

	trace  strings.Builder // when wanted
	traced bool
	sum    uint64 // of the trace
	steps  int
	failed error          // an actor has panicked
	seen   map[string]int // what has happened, how often
}

// arrival is a message of another goroutine's.
type arrival struct {
	to      *mailbox
	message any
}

// event is something that happens at its time.
type event struct {
	at     time.Time
	serial uint64
	name   string
	do     func()
}

type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].serial, e[j].serial)) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newSim(system *actor.ActorSystem, seed uint64, traced bool) *sim {
	return &sim{
		dice: rand.New(rand.NewPCG(seed, 1)), system: system, began: time.Now(),
		wake: make(chan struct{}, 1), traced: traced, sum: fnvOffset, seen: map[string]int{},
	}
}

// after has do run in that time, on the thread.
func (s *sim) after(d time.Duration, name string, do func()) {
	s.serial++
	heap.Push(&s.events, &event{time.Now().Add(max(d, 0)), s.serial, name, do})
}

// between is a time the dice choose, short ones as likely as long ones.
func (s *sim) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	scale := s.dice.Float64()
	return from + time.Duration(float64(to-from)*scale*scale)
}

// happened counts what the summary of many histories shows.
func (s *sim) happened(what string) { s.seen[what]++ }

// chance is true with that probability.
func (s *sim) chance(p float64) bool { return s.dice.Float64() < p }

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// note adds a line to the trace.
func (s *sim) note(format string, args ...any) {
	at := time.Since(s.began)
	s.mix(uint64(at))
	if s.traced {
		line := fmt.Sprintf(format, args...)
		h := fnv.New64a()
		_, _ = h.Write([]byte(line))
		s.mix(h.Sum64())
		fmt.Fprintf(&s.trace, "%14.6f %s\n", at.Seconds(), line)
	}
}

func (s *sim) mix(n uint64) { s.sum = (s.sum ^ n) * fnvPrime }

// maxSteps of one history: more is a loop in which time does not pass.
const maxSteps = 300_000

// run goes on until that time.
func (s *sim) run(end time.Time) {
	for s.failed == nil {
		if s.steps > maxSteps {
			s.failed = fmt.Errorf("simulation: %d steps and no end", s.steps)
			return
		}
		s.settle()
		due := len(s.events) > 0 && !s.events[0].at.After(time.Now())
		var box *mailbox
		if !due || s.chance(0.7) {
			box = s.next()
		}
		switch {
		case due && box == nil:
			e := heap.Pop(&s.events).(*event)
			s.steps++
			s.mix(e.serial)
			s.note("event %s", e.name)
			e.do()
		case box != nil:
			s.steps++
			box.step()
		case !time.Now().Before(end):
			return
		default:
			s.wait(end)
		}
	}
}

// next takes a mailbox out of those that have something to do.
func (s *sim) next() *mailbox {
	runnable := 0
	for _, b := range s.ready {
		if !b.process.paused {
			runnable++
		}
	}
	if runnable == 0 {
		return nil
	}
	pick := s.dice.IntN(runnable)
	for i, b := range s.ready {
		if b.process.paused {
			continue
		}
		if pick == 0 {
			s.ready[i] = s.ready[len(s.ready)-1]
			s.ready = s.ready[:len(s.ready)-1]
			b.queued = false
			return b
		}
		pick--
	}
	return nil
}

// settle lets the other goroutines come to rest, and takes in what they left.
func (s *sim) settle() {
	s.mu.Lock()
	s.waiting = true
	s.mu.Unlock()
	synctest.Wait()
	s.takeIn()
}

// wait lets time pass until the next event, or until a timer has left something.
func (s *sim) wait(end time.Time) {
	if len(s.events) > 0 && s.events[0].at.Before(end) {
		end = s.events[0].at
	}
	s.mu.Lock()
	s.waiting = true
	s.mu.Unlock()
	timer := time.NewTimer(time.Until(end))
	select {
	case <-s.wake:
	case <-timer.C:
	}
	timer.Stop()
	synctest.Wait()
	s.takeIn()
}

// takeIn puts what other goroutines have left in an order that is the same each time.
func (s *sim) takeIn() {
	s.mu.Lock()
	s.waiting = false
	arrivals, news, dials := s.arrivals, s.sockets, s.dials
	s.arrivals, s.sockets, s.dials = nil, nil, nil
	select {
	case <-s.wake:
	default:
	}
	s.mu.Unlock()
	if len(arrivals) > 1 {
		slices.SortStableFunc(arrivals, func(a, b arrival) int {
			return cmp.Or(cmp.Compare(a.to.number, b.to.number), compareMessages(a.message, b.message))
		})
	}
	for _, a := range arrivals {
		a.to.push(a.message, false)
	}
	slices.SortStableFunc(news, func(a, b socketNews) int { return cmp.Compare(a.of.number, b.of.number) })
	for i, n := range news {
		if next := i + 1; next < len(news) && news[next].of == n.of && !n.closed && !news[next].closed {
			news[next].octets = append(n.octets, news[next].octets...) // in how many pieces they were written is chance
			continue
		}
		n.of.heard(n)
	}
	slices.SortStableFunc(dials, func(a, b *dial) int { return cmp.Compare(a.session, b.session) })
	for _, d := range dials {
		d.smsc.dialled(d)
	}
}

// compareMessages orders what came to one mailbox in one instant: a socket's
// messages as they came, before timers; these by name and contents.
func compareMessages(a, b any) int {
	x, y := ofSocket(a), ofSocket(b)
	switch {
	case x && y:
		return 0
	case x:
		return -1
	case y:
		return 1
	}
	if c := cmp.Compare(typeName(a), typeName(b)); c != 0 {
		return c
	}
	return cmp.Compare(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b))
}

// left is how another goroutine leaves something; the caller holds mu.
func (s *sim) left() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
