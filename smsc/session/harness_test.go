package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
	"github.com/ringway-im/ringway/tests/probe"
)

// stub is an SMSC that does what the test says. It speaks a real protocol with
// the protocol's server machine, over pipes.
type stub struct {
	t        testing.TB
	protocol smsc.Protocol
	config   smsc.ServerConfig
	seen     chan seen // submits, answers to delivers and reports

	clock   func() time.Time // what it tells of its time; nil: it never answers. With config.Manage
	hangsUp bool             // when it is asked for its time
	asked   int              // for the time, with mu

	mu       sync.Mutex
	sessions map[*stubSession]bool
	binds    int
	refuse   bool // logins
	away     bool // dials fail
}

type stubSession struct {
	s       *stub
	socket  net.Conn
	mu      sync.Mutex
	machine smsc.ServerMachine
	closed  bool
}

// seen is an effect of a server's machine.
type seen struct {
	on     *stubSession
	effect smsc.Effect
}

func newStub(t testing.TB, protocol smsc.Protocol) *stub {
	return &stub{
		t: t, protocol: protocol, config: smsc.ServerConfig{Window: 10, ResponseTimeout: time.Hour},
		seen: make(chan seen, 10_000), sessions: map[*stubSession]bool{},
	}
}

func (s *stub) dial(context.Context) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errors.New("stub: away")
	}
	here, there := net.Pipe()
	c := &stubSession{s: s, socket: here, machine: s.protocol.NewServer(s.config)}
	s.sessions[c] = true
	s.binds++
	go c.run()
	return there, nil
}

func (c *stubSession) run() {
	c.handle(smsc.Connected{})
	r := bufio.NewReader(c.socket)
	for {
		packet, err := c.s.protocol.Read(r)
		if err != nil {
			c.handle(smsc.Disconnected{Err: err})
			c.hangup()
			return
		}
		c.handle(smsc.Received{Packet: packet})
	}
}

func (c *stubSession) hangup() {
	c.s.mu.Lock()
	delete(c.s.sessions, c)
	c.s.mu.Unlock()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	_ = c.socket.Close()
}

func (c *stubSession) handle(ev smsc.Event) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	effects := c.machine.Handle(ev, nil)
	c.mu.Unlock()
	for _, e := range effects {
		switch e := e.(type) {
		case smsc.Write:
			_, _ = c.socket.Write(e.Octets) // who does not read is the test's business
		case smsc.LoginReceived:
			c.s.mu.Lock()
			refuse := c.s.refuse
			c.s.mu.Unlock()
			c.handle(smsc.LoginResult{OK: !refuse})
		case smsc.TimeRequested:
			c.s.mu.Lock()
			c.s.asked++
			tell := c.s.clock
			c.s.mu.Unlock()
			switch {
			case c.s.hangsUp:
				c.hangup()
			case tell != nil:
				c.handle(smsc.TimeAnswer{Ref: e.Ref, At: tell()})
			}
		case smsc.SubmitReceived, smsc.DeliverAnswered:
			c.s.seen <- seen{c, e}
		case smsc.Close:
			c.hangup()
		}
	}
}

// one returns the only session, waiting for it.
func (s *stub) one() *stubSession {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) != 1 {
		s.t.Fatalf("%d sessions, want one", len(s.sessions))
	}
	for c := range s.sessions {
		return c
	}
	return nil
}

func (s *stub) next(within time.Duration) (seen, bool) {
	select {
	case e := <-s.seen:
		return e, true
	case <-time.After(within):
		return seen{}, false
	}
}

// submitted waits for a submit.
func (s *stub) submitted() (*stubSession, smsc.SubmitReceived) {
	s.t.Helper()
	e, ok := s.next(time.Hour)
	if !ok {
		s.t.Fatal("the SMSC waited an hour for a submit")
	}
	m, ok := e.effect.(smsc.SubmitReceived)
	if !ok {
		s.t.Fatalf("the SMSC waited for a submit, got %T %+v", e.effect, e.effect)
	}
	return e.on, m
}

// expect waits for a submit with this text and returns a function that answers it.
func (s *stub) expect(want string) func(smsc.Outcome) {
	s.t.Helper()
	c, m := s.submitted()
	if got := text.Decode(m.Part.Coding, m.Part.Data); got != want {
		s.t.Fatalf("the SMSC got %q, want %q", got, want)
	}
	return func(o smsc.Outcome) { c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: o}) }
}

func (s *stub) silent(during time.Duration) {
	s.t.Helper()
	if e, ok := s.next(during); ok {
		s.t.Fatalf("the SMSC expected nothing for %v, got %T %+v", during, e.effect, e.effect)
	}
}

func (s *stub) answeredDeliver() smsc.DeliverAnswered {
	s.t.Helper()
	e, ok := s.next(time.Hour)
	if !ok {
		s.t.Fatal("the SMSC waited an hour for the answer to a deliver")
	}
	m, ok := e.effect.(smsc.DeliverAnswered)
	if !ok {
		s.t.Fatalf("the SMSC waited for the answer to a deliver, got %T", e.effect)
	}
	return m
}

func (s *stub) setRefuse(on bool) { s.mu.Lock(); s.refuse = on; s.mu.Unlock() }
func (s *stub) setAway(on bool)   { s.mu.Lock(); s.away = on; s.mu.Unlock() }

func accepted(id string) smsc.Outcome { return smsc.Outcome{Fate: smsc.Accepted, ID: id} }

// edge is what stands between the ring and the SMSC, on a file system in memory.
type edge struct {
	t      testing.TB
	system *actor.ActorSystem
	fs     *vfs.MemFS
	store  *edgestore.Store
	smsc   *stub
	slots  *probe.Probe // stands for all slots of the down mirror
	outlet *actor.PID
	inlet  *actor.PID
	counts *counts
}

type options struct {
	outlet   func(*OutletConfig)
	inlet    func(*InletConfig)
	sessions int
	protocol smsc.Protocol
	fs       *vfs.MemFS
	smsc     *stub
}

func newEdge(t testing.TB, o options) *edge {
	t.Helper()
	if o.protocol.Name == "" {
		o.protocol = smpp.Protocol
	}
	if o.fs == nil {
		o.fs = vfs.NewCrashableMem()
	}
	if o.smsc == nil {
		o.smsc = newStub(t, o.protocol)
	}
	e := &edge{t: t, system: probe.System(t), fs: o.fs, smsc: o.smsc, counts: &counts{n: map[string]int{}}}
	e.store = openStore(t, o.fs)
	t.Cleanup(func() { _ = e.store.Close() })
	e.slots = probe.New(t, e.system, "slots")

	in := InletConfig{
		SMSC: "globe", Journal: e.store, SpillMessages: 1000, SpillEvents: 1000, AssembleWithin: 24 * time.Hour, MaxTexts: 100,
		RedeliverWithin: 10 * time.Minute, ParkReceipts: 48 * time.Hour, MaxParked: 100, Metrics: e.counts,
	}
	if o.inlet != nil {
		o.inlet(&in)
	}
	e.inlet = e.system.Root.Spawn(NewInlet(in))
	out := OutletConfig{
		SMSC: "globe", Inlet: e.inlet, Journal: e.store, Validity: 24 * time.Hour, Receipts: true, ReceiptsAfter: 24 * time.Hour,
		Throttle: Backoff{time.Second, 30 * time.Second}, Retry: Backoff{30 * time.Second, 30 * time.Minute}, RetryMessages: 100,
		Respawn: Backoff{time.Second, time.Minute}, Jitter: func() float64 { return 0 }, Metrics: e.counts,
	}
	for i := range max(o.sessions, 1) {
		out.Sessions = append(out.Sessions, Config{
			Name: fmt.Sprintf("stub/%d", i), Address: "stub", Protocol: o.protocol, Dial: o.smsc.dial,
			Machine: smsc.Config{User: "ringway", Password: "secret", Window: 1, ResponseTimeout: 10 * time.Second},
			Redial:  Backoff{200 * time.Millisecond, 30 * time.Second}, RedialSlow: Backoff{30 * time.Second, 5 * time.Minute},
		})
	}
	if o.outlet != nil {
		o.outlet(&out)
	}
	e.outlet = e.system.Root.Spawn(NewOutlet(out))
	synctest.Wait()
	return e
}

func openStore(t testing.TB, fs *vfs.MemFS) *edgestore.Store {
	t.Helper()
	store, err := edgestore.Open(edgestore.Options{KV: kv.Options{Dir: "edge", FS: fs, Node: "edge/manila-1"}})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func id(seq uint64) []byte { return fmt.Appendf(nil, "id-%013d", seq) }

func message(seq uint64, to, body string) *messages.Message {
	return &messages.Message{
		Id: id(seq), From: "maria", To: to, Text: body, Originator: "63917000", Class: 1, AcceptedUnixMs: time.Now().UnixMilli(),
	}
}

// settle waits for writes that have time.
func (e *edge) settle() {
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
}

// handOn has the mirror keep a message, and a slot hand it on.
func (e *edge) handOn(m *messages.Message) {
	e.t.Helper()
	var seq uint64
	if _, err := fmt.Sscanf(string(m.Id), "id-%d", &seq); err != nil {
		e.t.Fatal(err)
	}
	kept := make(chan error, 1)
	e.store.Down().Keep(journal.Entry{Seq: seq, Message: m}, func(err error) { kept <- err })
	if err := <-kept; err != nil {
		e.t.Fatal(err)
	}
	e.slots.Tell(e.outlet, &messages.HandOn{Seq: seq, Message: m})
}

// result waits for the answer to a slot, which must be durable.
func (e *edge) result(seq uint64) *messages.Result {
	e.t.Helper()
	a := probe.Fish(e.slots, func(a *messages.Answered) bool { return a.Seq == seq }, time.Hour)
	if string(a.ID) != string(id(seq)) {
		e.t.Fatalf("answer to %d carries id %q", seq, a.ID)
	}
	r, found, err := e.store.Result(seq, a.ID)
	if err != nil || !found || r.State != a.Result.State {
		e.t.Fatalf("answered %v, in the journal %v (%v, %v)", a.Result, r, found, err)
	}
	return a.Result
}

func (e *edge) want(seq uint64, state messages.State) *messages.Result {
	e.t.Helper()
	r := e.result(seq)
	if r.State != state {
		e.t.Fatalf("sequence %d: %v, want %v", seq, r, state)
	}
	return r
}

func (e *edge) events() []*messages.Event {
	e.t.Helper()
	synctest.Wait()
	events, err := e.store.EventsAfter(0, 1000)
	if err != nil {
		e.t.Fatal(err)
	}
	for i, ev := range events {
		if ev.Number != uint64(i+1) {
			e.t.Fatalf("event %d has number %d", i+1, ev.Number)
		}
	}
	return events
}

// crash returns an edge as it would be after a power cut now, and ends this one.
func (e *edge) crash(o options) *edge {
	e.t.Helper()
	synctest.Wait()
	o.fs = e.fs.CrashClone(vfs.CrashCloneCfg{})
	e.system.Root.Stop(e.outlet)
	e.system.Root.Stop(e.inlet)
	synctest.Wait()
	return newEdge(e.t, o)
}

// counts are metrics.
type counts struct {
	NoMetrics
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(what string)        { c.mu.Lock(); c.n[what]++; c.mu.Unlock() }
func (c *counts) set(what string, n int) { c.mu.Lock(); c.n[what] = n; c.mu.Unlock() }
func (c *counts) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[what]
}

func (c *counts) Submitted(_ string, fate smsc.Fate, status string, _ time.Duration) {
	c.add(fate.String())
	c.add("status " + status)
}
func (c *counts) Doubt(string, bool)             { c.add("doubt") }
func (c *counts) InFlight(parts int)             { c.set("in flight", parts) }
func (c *counts) Undefined(class smsc.CodeClass) { c.add("undefined " + class.String()) }
func (c *counts) Redelivered()                   { c.add("redelivered") }
func (c *counts) Refused(what string)            { c.add("refused " + what) }
func (c *counts) Receipt(fate string)            { c.add("receipt " + fate) }
func (c *counts) ReceiptMatched(after time.Duration) {
	c.set("receipt after ms", int(after.Milliseconds()))
}
func (c *counts) Incomplete(int)        { c.add("incomplete") }
func (c *counts) State(_, state string) { c.add("state " + state) }
