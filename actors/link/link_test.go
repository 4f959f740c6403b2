package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// ---- both ends of a link over a wire that the test owns, in virtual time

// memory is a journal for one ring's end; every write takes a while.
type memory struct {
	mu      sync.Mutex
	queue   []*messages.Message
	last    uint64
	held    map[uint64]journal.Entry
	ended   []string // texts with a result, in the order of recording
	notify  func()
	release uint64
	keep    map[uint64]journal.Entry
}

func newMemory() *memory {
	return &memory{held: map[uint64]journal.Entry{}, keep: map[uint64]journal.Entry{}}
}

const diskTime = 300 * time.Microsecond

func later(f func()) { time.AfterFunc(diskTime, f) }

type memoryOrigin struct{ *memory }

func (m memoryOrigin) Load() (journal.OriginState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := journal.OriginState{LastRetrieved: m.last}
	for _, e := range m.held {
		s.Held = append(s.Held, e)
	}
	slices.SortFunc(s.Held, func(a, b journal.Entry) int { return int(a.Seq) - int(b.Seq) })
	return s, nil
}

func (m memoryOrigin) Retrieve(first uint64, n int, done func([]journal.Entry, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []journal.Entry
	for len(entries) < n && len(m.queue) > 0 {
		e := journal.Entry{Seq: first + uint64(len(entries)), Message: m.queue[0]}
		for seq, h := range m.held {
			if h.Message.To == e.Message.To && seq > e.After {
				e.After = seq
			}
		}
		m.queue = m.queue[1:]
		m.held[e.Seq] = e
		m.last = e.Seq
		entries = append(entries, e)
	}
	later(func() { done(entries, nil) })
}

func (m memoryOrigin) Progress(messages.State, []journal.Entry) {}

func (m memoryOrigin) Processed(e journal.Entry, _ *messages.Result, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.held[e.Seq]; !ok {
		panic(fmt.Sprintf("processed twice: %d", e.Seq))
	}
	delete(m.held, e.Seq)
	m.ended = append(m.ended, e.Message.Text)
	later(func() { done(nil) })
}

func (m memoryOrigin) Waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

func (m memoryOrigin) Notify(wake func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notify = wake
}

func (m *memory) recorded() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ended)
}

func (m *memory) put(to, text string) {
	m.mu.Lock()
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id, rand.Uint64())
	m.queue = append(m.queue, &messages.Message{Id: id, To: to, Text: text})
	wake := m.notify
	m.mu.Unlock()
	if wake != nil {
		wake()
	}
}

type memoryMirror struct{ *memory }

func (m memoryMirror) Load() (journal.MirrorState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := journal.MirrorState{Released: m.release}
	for _, e := range m.keep {
		s.Held = append(s.Held, e)
	}
	slices.SortFunc(s.Held, func(a, b journal.Entry) int { return int(a.Seq) - int(b.Seq) })
	return s, nil
}

func (m memoryMirror) Keep(e journal.Entry, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep[e.Seq] = e
	later(func() { done(nil) })
}

func (m memoryMirror) Release(released uint64, seqs []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release = max(m.release, released)
	for _, s := range seqs {
		delete(m.keep, s)
	}
}

// taker is the outlet or router: it notes what it is handed and answers after a
// while, one message at a time.
type taker struct {
	mu     *sync.Mutex
	got    *[]*messages.Message
	mirror *memory
	each   time.Duration
	queue  []*messages.HandOn
	from   []*actor.PID
}

type takerDone struct{}

func (k *taker) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.HandOn:
		k.queue, k.from = append(k.queue, m), append(k.from, ctx.Sender())
		if len(k.queue) == 1 {
			after(ctx, k.each, takerDone{})
		}
	case takerDone:
		oldest := 0 // as the outlet does: the window waits for it
		for i, h := range k.queue {
			if h.Seq < k.queue[oldest].Seq {
				oldest = i
			}
		}
		h, from := k.queue[oldest], k.from[oldest]
		k.queue, k.from = slices.Delete(k.queue, oldest, oldest+1), slices.Delete(k.from, oldest, oldest+1)
		k.mu.Lock()
		*k.got = append(*k.got, h.Message)
		k.mu.Unlock()
		result := &messages.Result{State: messages.State_PROCESSED}
		k.mirror.mu.Lock()
		e := k.mirror.keep[h.Seq]
		e.Result = result
		k.mirror.keep[h.Seq] = e
		k.mirror.mu.Unlock()
		ctx.Send(from, &messages.Answered{Seq: h.Seq, ID: h.Message.Id, Result: result})
		if len(k.queue) > 0 {
			after(ctx, k.each, takerDone{})
		}
	}
}

// wire joins the two sessions; it can delay, cut and break stripes.
type wire struct {
	order  sync.Mutex // of arrival
	mu     sync.Mutex
	system *actor.ActorSystem
	oneWay time.Duration
	cut    bool
	queue  []func() // under way, in order: as a connection keeps it
	held   int      // of those, by the cut
	hubEnd *actor.PID
	hubs   map[string]*actor.PID // by address, other than hubEnd
}

func (w *wire) carry(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, f)
	if w.cut {
		w.held++
		return
	}
	time.AfterFunc(w.oneWay, w.arrive)
}

// arrive runs what is longest under way, one at a time and in order.
func (w *wire) arrive() {
	w.order.Lock()
	defer w.order.Unlock()
	w.mu.Lock()
	if w.cut {
		w.held++
		w.mu.Unlock()
		return
	}
	f := w.queue[0]
	w.queue = w.queue[1:]
	w.mu.Unlock()
	f()
}

func (w *wire) restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
	for range w.held {
		time.AfterFunc(w.oneWay, w.arrive)
	}
	w.held = 0
}

type wireConn struct {
	w     *wire
	self  *actor.PID
	owner *actor.PID
	other *wireConn
	dead  bool
	atHub bool
	said  bool // hub's end: the first frame has come
	index uint32
}

func (c *wireConn) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Frame:
		c.w.carry(func() { c.other.deliver(m) })
	case *messages.Hangup:
		c.die(m.Cause)
		c.w.carry(func() { c.other.die(errors.New("peer closed")) })
	}
}

func (c *wireConn) deliver(f *messages.Frame) {
	c.w.mu.Lock()
	dead, said, atHub := c.dead, c.said, c.atHub
	c.said = true
	c.w.mu.Unlock()
	if dead {
		return
	}
	root := c.w.system.Root
	if atHub && !said {
		c.index = f.GetJoin().GetStripe() + f.GetHello().GetStripe()
		root.Send(c.owner, &messages.StripeUp{Conn: c.self, Stripe: c.index, First: f, TLSAt: time.Now()})
		return
	}
	root.Send(c.owner, &messages.FrameIn{Conn: c.self, Frame: f})
}

func (c *wireConn) die(err error) {
	c.w.mu.Lock()
	dead := c.dead
	c.dead = true
	c.w.mu.Unlock()
	if !dead {
		c.w.system.Root.Send(c.owner, &messages.StripeDown{Conn: c.self, Err: err})
	}
}

// wireDialer opens stripes over the wire: one round trip, or none where that was made
// ahead.
type wireDialer struct {
	w      *wire
	alive  []*wireConn
	warm   map[string]int
	warmed int
	deaf   bool // an edge of a release that knows no Prepare
}

func (d *wireDialer) Receive(ctx actor.Context) {
	root, edge := ctx.ActorSystem().Root, ctx.Sender()
	there := func(f func()) { d.w.carry(func() { d.w.carry(f) }) }
	switch m := ctx.Message().(type) {
	case *messages.DialStripe:
		d.w.mu.Lock()
		warm := d.warm[m.Hub] > 0
		if warm {
			d.warm[m.Hub]--
		}
		d.w.mu.Unlock()
		if open := func() { d.open(root, edge, m) }; warm {
			open()
		} else {
			there(open)
		}
	case *messages.WarmHub:
		if d.deaf {
			return
		}
		there(func() {
			d.w.mu.Lock()
			d.warm = map[string]int{m.Hub: m.Stripes}
			d.warmed++
			d.w.mu.Unlock()
			root.Send(edge, &messages.HubWarm{Hub: m.Hub, Stripes: m.Stripes})
		})
	}
}

func (d *wireDialer) open(root *actor.RootContext, edge *actor.PID, m *messages.DialStripe) {
	d.w.mu.Lock()
	hub := d.w.hubs[m.Hub]
	if hub == nil {
		hub = d.w.hubEnd
	}
	d.w.mu.Unlock()
	a, b := &wireConn{w: d.w, owner: edge}, &wireConn{w: d.w, owner: hub, atHub: true}
	a.other, b.other = b, a
	a.self = root.Spawn(actor.PropsFromFunc(a.Receive))
	b.self = root.Spawn(actor.PropsFromFunc(b.Receive))
	d.w.mu.Lock()
	d.alive = append(d.alive, a)
	d.w.mu.Unlock()
	root.Send(edge, &messages.StripeUp{Conn: a.self, Stripe: m.Stripe, Try: m.Try, TLSAt: time.Now()})
}

// edgeMemory is the rest of the edge's journal.
type edgeMemory struct {
	epoch  uint64
	hellos uint64
	owner  []byte
	events []*messages.Event
	mu     sync.Mutex
	trim   uint64
	wake   func()
}

func (e *edgeMemory) Instance() []byte     { return []byte("instance") }
func (e *edgeMemory) HighestEpoch() uint64 { return e.epoch }
func (e *edgeMemory) EpochOwner() []byte   { return e.owner }
func (e *edgeMemory) SetHighestEpoch(n uint64, owner []byte, done func(error)) {
	e.epoch, e.owner = n, owner
	later(func() { done(nil) })
}
func (e *edgeMemory) NextHello() uint64    { e.hellos++; return e.hellos }
func (e *edgeMemory) HellosAbove(n uint64) { e.hellos = max(e.hellos, n) }
func (e *edgeMemory) LastEvent() uint64    { return uint64(len(e.events)) }
func (e *edgeMemory) EventsAfter(n uint64, max int) ([]*messages.Event, error) {
	return e.events[n:min(len(e.events), int(n)+max)], nil
}

func (e *edgeMemory) TrimEvents(n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trim = n
}

func (e *edgeMemory) trimmed() uint64 {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trim
}
func (e *edgeMemory) NotifyEvents(w func()) { e.wake = w }
func (e *edgeMemory) EventsKept() int       { return len(e.events) - int(e.trimmed()) }
func (e *edgeMemory) Deferred() [][]byte    { return nil }

// pair is a hub and an edge.
type pair struct {
	t                          *testing.T
	system                     *actor.ActorSystem
	wire                       *wire
	dialer                     *wireDialer
	hubDown, hubUp             *memory // queue behind the down ring; mirror of the up ring
	edgeDown, edgeUp           *memory
	edge                       *edgeMemory
	applied                    []uint64
	mu                         sync.Mutex
	atSMSC, atInbox            []*messages.Message
	hubSession, edgeSession    *actor.PID
	hubRouter                  *actor.PID
	hubSupervisor, edgeSupervr *actor.PID
	epoch                      uint64
	slots                      int
	noSupervisor               bool
	log                        *zap.Logger
	spawned                    []*actor.PID
	hubAttach, edgeAttach      *Attach
}

func newPair(t *testing.T, oneWay time.Duration) *pair {
	p := &pair{
		t: t, hubDown: newMemory(), hubUp: newMemory(), edgeDown: newMemory(), edgeUp: newMemory(),
		edge: &edgeMemory{}, slots: 255, log: zap.NewNop(),
	}
	p.system = probe.System(t)
	p.wire = &wire{system: p.system, oneWay: oneWay}
	return p
}

func (p *pair) spawn(props *actor.Props) *actor.PID {
	pid := p.system.Root.Spawn(props)
	p.spawned = append(p.spawned, pid)
	return pid
}

// start brings both ends up with what their journals hold.
func (p *pair) start() {
	log := p.log
	p.edgeSupervr = p.spawn(NewSupervisor(SupervisorConfig{Log: log, Sync: p.edgeSync}))
	p.dialer = &wireDialer{w: p.wire}
	dialer := p.spawn(actor.PropsFromFunc(p.dialer.Receive))

	p.startHub()
	p.wire.mu.Lock()
	p.wire.hubEnd = p.hubSession
	p.wire.mu.Unlock()
	p.edgeSession = p.spawn(NewSession(SessionConfig{Edge: "e", Sends: messages.Ring_UP, Dialer: dialer, Supervisor: p.edgeSupervr, Stripes: 8, Metrics: Nop{}, Log: log, Flush: -1}))
	outlet := p.spawn(actor.PropsFromProducer(func() actor.Actor {
		return &taker{mu: &p.mu, got: &p.atSMSC, mirror: p.edgeDown, each: time.Millisecond}
	}))
	edge := &Attach{
		Buffer: p.spawn(NewBuffer(BufferConfig{Ring: messages.Ring_UP, Slots: p.slots, Journal: memoryOrigin{p.edgeUp}, Session: p.edgeSession, Metrics: Nop{}, Log: log})),
		Mirror: p.spawn(NewMirror(MirrorConfig{Ring: messages.Ring_DOWN, Slots: p.slots, Journal: memoryMirror{p.edgeDown}, Session: p.edgeSession, Next: outlet, Metrics: Nop{}, Log: log})),
		Events: p.spawn(NewStatusLog(StatusLogConfig{Journal: p.edge, Session: p.edgeSession, Log: log})),
	}
	p.edgeAttach = edge
	p.system.Root.Send(p.edgeSession, edge)
}

// startHub has a hub take the rings over.
func (p *pair) startHub() {
	p.epoch++
	log, epoch, hub := p.log, p.epoch, &Attach{}
	if !p.noSupervisor {
		p.hubSupervisor = p.spawn(NewSupervisor(SupervisorConfig{Log: log, Sync: func(edge string, session *actor.PID, gen uint64) *actor.Props {
			return p.hubSync(edge, session, gen, epoch, hub)
		}}))
	}
	p.hubSession = p.spawn(NewSession(SessionConfig{Edge: "e", Sends: messages.Ring_DOWN, Supervisor: p.hubSupervisor, Metrics: Nop{}, Log: log, Flush: -1}))
	p.hubRouter = p.spawn(actor.PropsFromProducer(func() actor.Actor { return &taker{mu: &p.mu, got: &p.atInbox, mirror: p.hubUp} }))
	hub.Buffer = p.spawn(NewBuffer(BufferConfig{Ring: messages.Ring_DOWN, Slots: p.slots, Journal: memoryOrigin{p.hubDown}, Session: p.hubSession, Metrics: Nop{}, Log: log}))
	hub.Mirror = p.spawn(NewMirror(MirrorConfig{Ring: messages.Ring_UP, Slots: p.slots, Journal: memoryMirror{p.hubUp}, Session: p.hubSession, Next: p.hubRouter, Metrics: Nop{}, Log: log}))
	hub.Events = p.spawn(NewApplier(ApplierConfig{Session: p.hubSession, Log: log, Applied: p.lastApplied, Apply: p.apply}))
	p.hubAttach = hub
	p.system.Root.Send(p.hubSession, hub)
}

func (p *pair) lastApplied() (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(len(p.applied)), nil
}

func (p *pair) apply(events []*messages.Event, done func(uint64, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		if e.Number != uint64(len(p.applied))+1 {
			p.t.Errorf("event %d after %d", e.Number, len(p.applied))
		}
		p.applied = append(p.applied, e.Number)
	}
	n := uint64(len(p.applied))
	later(func() { done(n, nil) })
}

func (p *pair) hubSync(edge string, session *actor.PID, gen, epoch uint64, hub *Attach) *actor.Props {
	return NewHubSync(HubSyncConfig{
		Edge: edge, Hub: "h", Epoch: epoch, Gen: gen, Session: session, Buffer: hub.Buffer, Mirror: hub.Mirror,
		Metrics: Nop{}, Log: p.log, Applied: p.lastApplied, Instance: func() ([]byte, error) { return []byte("instance"), nil },
	})
}

func (p *pair) edgeSync(edge string, session *actor.PID, gen uint64) *actor.Props {
	return NewEdgeSync(EdgeSyncConfig{
		Edge: edge, Hubs: []string{"h"}, Stripes: 8, Gen: gen, Session: session, Buffer: p.edgeAttach.Buffer, Mirror: p.edgeAttach.Mirror,
		Journal: p.edge, Metrics: Nop{}, Log: p.log,
	})
}

func (p *pair) stop() {
	for _, pid := range p.spawned {
		p.system.Root.StopFuture(pid).Wait()
	}
	p.spawned = nil
}

func (p *pair) link(session *actor.PID) *LinkState {
	r, err := p.system.Root.RequestFuture(session, &GetLink{}, time.Second).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return r.(*LinkState)
}

// within waits in virtual time until cond holds.
func (p *pair) within(d time.Duration, what string, cond func() bool) time.Duration {
	p.t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if cond() {
			return time.Since(began)
		}
		if time.Since(began) > d {
			h, e := p.link(p.hubSession), p.link(p.edgeSession)
			p.t.Fatalf("not within %v: %s\nhub %s stripes %d sync %v %v\nedge %s stripes %d sync %v %v", d, what, h.State, h.Stripes, h.Synchronising, h.Own, e.State, e.Stripes, e.Synchronising, e.Own)
		}
	}
}

func (p *pair) count(got *[]*messages.Message) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(*got)
}

// check: everything exactly once, and in order for each recipient.
func check(t *testing.T, got []*messages.Message, n int) {
	t.Helper()
	seen := map[string]bool{}
	last := map[string]int{}
	for _, m := range got {
		if seen[m.Text] {
			t.Errorf("twice: %s", m.Text)
		}
		seen[m.Text] = true
		var i int
		fmt.Sscanf(m.Text, "%d", &i)
		if l, ok := last[m.To]; ok && l > i {
			t.Errorf("to %s: %d after %d", m.To, i, l)
		}
		last[m.To] = i
	}
	if len(seen) != n {
		t.Errorf("%d of %d arrived", len(seen), n)
	}
}

func TestBothWaysOverALongLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 150*time.Millisecond)
		const n = 3000
		for i := range n {
			p.hubDown.put(fmt.Sprint("to", i%100), fmt.Sprint(i))
			p.edgeUp.put(fmt.Sprint("to", i%100), fmt.Sprint(i))
		}
		p.start()
		const laps = 2 * 255 // until the rings turn steadily
		p.within(time.Minute, "two laps", func() bool { return p.count(&p.atSMSC) >= laps && p.count(&p.atInbox) >= laps })
		left := n - min(p.count(&p.atSMSC), p.count(&p.atInbox))
		took := p.within(time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == n && p.count(&p.atInbox) == n })
		check(t, p.atSMSC, n)
		check(t, p.atInbox, n)
		rate, limit := float64(left)/took.Seconds(), 255/0.3
		t.Logf("%.0f messages/s each way at 300 ms, limit %.0f", rate, limit)
		if rate < 0.9*limit {
			t.Errorf("%.0f messages/s each way, at 300 ms 255 slots could carry %.0f", rate, limit)
		}
		p.within(10*time.Second, "all is recorded", func() bool {
			return p.hubDown.recorded() == n && p.edgeUp.recorded() == n && p.kept() == 0
		})
		p.stop()
	})
}

// Figure 3: both ends go on retrieving while the link is cut, and everything
// from LastConfirmed to LastSent is sent again; the time is two round trips at
// most after the first stripe is up.
func TestCutInMidFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 150*time.Millisecond)
		const n = 4000
		for i := range n {
			p.hubDown.put(fmt.Sprint("to", i%100), fmt.Sprint(i))
			p.edgeUp.put(fmt.Sprint("to", i%100), fmt.Sprint(i))
		}
		p.start()
		p.within(time.Minute, "traffic", func() bool { return p.count(&p.atSMSC) > 700 })
		p.wire.mu.Lock()
		p.wire.cut = true
		p.wire.mu.Unlock()
		time.Sleep(30 * time.Second)
		if s := p.link(p.edgeSession); s.State == "up" {
			t.Errorf("edge says %s after 30 s of silence", s.State)
		}
		p.wire.restore()
		p.within(time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == n && p.count(&p.atInbox) == n })
		check(t, p.atSMSC, n)
		check(t, p.atInbox, n)
		for side, pid := range map[string]*actor.PID{"hub": p.hubSession, "edge": p.edgeSession} {
			s := p.link(pid)
			t.Logf("%s: resynchronised in %v", side, s.LastResync)
			if s.LastResync > 700*time.Millisecond {
				t.Errorf("%s: resynchronisation took %v, two round trips and 100 ms are 700 ms", side, s.LastResync)
			}
		}
		p.stop()
	})
}

func TestWithoutSupervisorNoLinkComesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 10*time.Millisecond)
		p.noSupervisor = true
		p.hubDown.put("to", "1")
		p.start()
		time.Sleep(10 * time.Minute)
		if n := p.count(&p.atSMSC); n != 0 {
			t.Errorf("%d messages crossed a link that nobody synchronised", n)
		}
		if s := p.link(p.hubSession); s.State == "up" {
			t.Error("the hub's link is up")
		}
		p.stop()
	})
}

// A link that was up and is cut stays down while the supervisor of either end is
// switched off, and resynchronises once it is there again.
func TestWithoutSupervisorNoLinkResynchronises(t *testing.T) {
	for _, off := range []string{"hub", "edge", "hub and edge"} {
		t.Run(off, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { withoutSupervisor(t, strings.Contains(off, "hub"), strings.Contains(off, "edge")) })
		})
	}
}

func withoutSupervisor(t *testing.T, offAtHub, offAtEdge bool) {
	p := newPair(t, 10*time.Millisecond)
	sent := 0
	up := func() bool {
		return p.link(p.hubSession).State == "up" && p.link(p.edgeSession).State == "up" && p.count(&p.atSMSC) == sent && p.count(&p.atInbox) == sent
	}
	put := func() {
		sent++
		p.hubDown.put("to", fmt.Sprint(sent))
		p.edgeUp.put("to", fmt.Sprint(sent))
	}
	cut := func() {
		p.wire.mu.Lock()
		p.wire.cut = true
		p.wire.mu.Unlock()
		put()
		p.within(time.Minute, "both ends notice the cut", func() bool {
			return p.link(p.hubSession).State == "interrupted" && p.link(p.edgeSession).State != "up"
		})
	}
	put()
	p.start()
	p.within(time.Minute, "the link is up", up)

	var off []*actor.PID
	if offAtHub {
		off = append(off, p.hubSupervisor)
	}
	if offAtEdge {
		off = append(off, p.edgeSupervr)
	}
	for _, pid := range off {
		if err := p.system.Root.StopFuture(pid).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	before := [2]*LinkState{p.link(p.hubSession), p.link(p.edgeSession)}
	cut()
	p.wire.restore()
	for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(100 * time.Millisecond) {
		for i, session := range []*actor.PID{p.hubSession, p.edgeSession} {
			if s := p.link(session); s.State == "up" || s.LastResync != before[i].LastResync || s.Interruptions != before[i].Interruptions+1 {
				t.Fatalf("%s resynchronised %v after the cut without a supervisor: %+v", []string{"hub", "edge"}[i], time.Since(began), s)
			}
		}
	}
	if p.count(&p.atSMSC) != sent-1 || p.count(&p.atInbox) != sent-1 {
		t.Errorf("%d and %d messages have arrived, %d were put before the cut", p.count(&p.atSMSC), p.count(&p.atInbox), sent-1)
	}

	// Again under its old name, by which the sessions know it. What it has missed it is told.
	again := func(old, session *actor.PID, sync func(edge string, session *actor.PID, gen uint64) *actor.Props) {
		pid, err := p.system.Root.SpawnNamed(NewSupervisor(SupervisorConfig{Log: p.log, Sync: sync}), old.Id)
		if err != nil {
			t.Fatal(err)
		}
		p.system.Root.Send(pid, &Interrupted{Edge: "e", Session: session})
	}
	if offAtHub {
		again(p.hubSupervisor, p.hubSession, func(edge string, session *actor.PID, gen uint64) *actor.Props {
			return p.hubSync(edge, session, gen, p.epoch, p.hubAttach)
		})
	}
	if offAtEdge {
		again(p.edgeSupervr, p.edgeSession, p.edgeSync)
	}
	p.within(time.Minute, "the link is up again", up)
	cut() // now they hear of it themselves
	p.wire.restore()
	p.within(time.Minute, "the link is up for the third time", up)
	p.stop()
}

// Stripes die one by one, the whole link is cut, and both ends restart, all at
// random: nothing is lost, nothing is doubled, order holds.
func TestChaos(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			p := newPair(t, time.Duration(r.IntN(200))*time.Millisecond)
			p.slots = 1 + r.IntN(64)
			const n = 600
			for i := range n {
				p.hubDown.put(fmt.Sprint("to", r.IntN(10)), fmt.Sprint(i))
				p.edgeUp.put(fmt.Sprint("to", r.IntN(10)), fmt.Sprint(i))
			}
			p.start()
			for range 30 {
				time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
				switch r.IntN(4) {
				case 0, 1:
					p.wire.mu.Lock()
					alive := p.dialer.alive
					p.wire.mu.Unlock()
					if len(alive) > 0 {
						c := alive[r.IntN(len(alive))]
						c.die(errors.New("broken"))
						c.other.die(errors.New("broken"))
					}
				case 2:
					p.wire.mu.Lock()
					p.wire.cut = true
					p.wire.mu.Unlock()
					time.Sleep(time.Duration(r.IntN(8000)) * time.Millisecond)
					p.wire.restore()
				case 3:
					p.stop()
					time.Sleep(time.Second)
					p.start()
				}
			}
			p.within(10*time.Minute, fmt.Sprintf("seed %d: all arrive", seed), func() bool { return p.count(&p.atSMSC) >= n && p.count(&p.atInbox) >= n })
			time.Sleep(time.Second)
			check(t, p.atSMSC, n)
			check(t, p.atInbox, n)
			p.stop()
		})
	}
}

// A node that stops while a link is down does not start its synchronisation anew.
func TestSupervisorStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		session := probe.New(t, system)
		supervisor := system.Root.Spawn(NewSupervisor(SupervisorConfig{Log: zap.NewNop(), Sync: func(string, *actor.PID, uint64) *actor.Props {
			return actor.PropsFromFunc(func(actor.Context) {})
		}}))
		session.Tell(supervisor, &Interrupted{Edge: "e", Session: session.PID()})
		synctest.Wait()
		began := time.Now()
		if err := system.Root.StopFuture(supervisor).Wait(); err != nil || time.Since(began) > 0 {
			t.Errorf("stopped after %v: %v", time.Since(began), err)
		}
	})
}
