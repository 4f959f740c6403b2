package simulation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/session"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
	"github.com/ringway-im/ringway/tests/history"
)

// Options of Run.
type Options struct {
	Trace bool        // keep every step
	Log   *zap.Logger // of hub and edge; nil: nowhere
	// Calm leaves all faults out.
	Calm bool
}

// Outcome is what became of one seed.
type Outcome struct {
	Seed    uint64
	Verdict history.Verdict
	// Err is what the history does not show: an actor that panicked, a ring that
	// did not come to rest, an event that changed after it had been read.
	Err     error
	Records []history.Record
	Faults  []string
	Trace   string // with Options.Trace
	Sum     uint64 // of the trace, always
	Steps   int
	Virtual time.Duration
	Seen    map[string]int // faults that struck, and what came of them
}

// OK says that nothing was found.
func (o Outcome) OK() bool { return o.Err == nil && o.Verdict.OK }

// system is of all histories: one is costly to make, and keeps nothing of them.
var system = newSystem()

func newSystem() *actor.ActorSystem {
	s := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(math.MaxInt64),
	)
	// The first dead letter of an interval has the library start a goroutine: here,
	// and not in a bubble.
	s.Root.Send(s.NewLocalPID("nobody"), "")
	return s
}

// Run runs the history of a seed. One at a time: it sets the process's source of
// random numbers.
func Run(t *testing.T, seed uint64, opts Options) (o Outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		w := newWorld(seed, opts)
		w.play()
		o = w.outcome(seed)
	})
	return o
}

const (
	edgeID     = "edge-1"
	smscName   = "smsc"
	service    = "63917000"
	troubles   = 40 * time.Second // how long things go wrong
	mostToRest = 45 * time.Minute // how long everything may take to come to rest afterwards
	validity   = 24 * time.Hour   // of a message without a deadline
	queueBytes = 4 << 10          // that may wait for a disk: four writes, so that it happens

	receiptsAfter = 24 * time.Hour // its end
)

// world is everything there is in one history.
type world struct {
	*sim
	opts Options
	log  *zap.Logger

	slots    int
	stripes  int
	sessions int
	wire     wire
	smsc     *smscSim

	window  int             // of a session with the SMSC
	unknown session.Unknown // what follows a doubt

	hubDisk, edgeDisk   *disk
	hubClock, edgeClock time.Duration // how wrong they are
	skew                time.Duration // both together, at worst
	dark, long          time.Time     // until when no process runs; until when something lasts
	hub, edge           *process      // nil: not yet; dead: between two lives
	hubs                []*process    // that run: hub, and those who were before
	hubLives, edgeLives int
	hubStore            *hubstore.Store
	edgeStore           *edgestore.Store
	promises            promises
	all                 []*process

	people  []*person
	lines   []*line
	texts   int
	calm    bool // no more trouble
	records []history.Record
	faults  []string
	ids     map[string]string // of accepted messages, to their names
}

// person is a user of the hub, with a client that reads all there is.
type person struct {
	name  string
	after uint64
	read  map[uint64]string // events by number, as they were read
	busy  bool
}

// line is a sender's connection: what it sends is sent again, in order, until it
// is acknowledged.
type line struct {
	from   *person
	name   string
	unsent []*submission // in order; those before next wait for their answer
	next   int
	hub    *process // which they were given to
	again  bool     // one was refused: they are sent again soon
}

type submission struct {
	name     string
	to       string
	body     string
	class    uint32
	until    time.Time
	first    time.Time // given to a hub
	accepted bool
	behind   string // the one sent before it that was refused when this was on its way: their order is given up
}

func newWorld(seed uint64, opts Options) *world {
	w := &world{sim: newSim(system, seed, opts.Trace), opts: opts, log: opts.Log, ids: map[string]string{}}
	counting := tally{&w.mu, w.seen}
	if w.log == nil {
		w.log = zap.New(counting)
	} else {
		w.log = zap.New(zapcore.NewTee(w.log.Core(), counting))
	}
	w.inline = w.chance(0.7)
	w.slots = []int{1, 2, 3, 4, 8, 16}[w.dice.IntN(6)]
	w.stripes = 1 + w.dice.IntN(4)
	w.sessions = 1 + w.dice.IntN(2)
	w.wire = wire{sim: w.sim, world: w, latency: w.between(time.Millisecond, 200*time.Millisecond), spread: w.between(0, 100*time.Millisecond)}
	if w.chance(0.4) {
		w.wire.loss = 0.1 * w.dice.Float64()
	}
	w.hubDisk, w.edgeDisk = newDisk(), newDisk()
	if w.window = 1; w.chance(0.4) {
		w.window = 2 + w.dice.IntN(7)
	}
	w.unknown = []session.Unknown{session.Resend, session.Resend, session.GiveUp, session.Query}[w.dice.IntN(4)]
	w.happened(fmt.Sprintf("window %d", w.window))
	w.happened("policy " + string(w.unknown))
	protocol := smpp.Protocol
	if w.chance(0.5) {
		protocol = cimd2.Protocol
	}
	w.smsc = &smscSim{
		sim: w.sim, record: w.record, protocol: protocol, latency: w.between(0, 50*time.Millisecond),
		receipts: w.chance(0.5), clock: time.Now(), final: map[string]map[int]smsc.ReceiptState{}, acked: func() { w.edge.acknowledged() },
	}
	for i := range 2 {
		w.people = append(w.people, &person{name: fmt.Sprintf("u%d", i+1), read: map[uint64]string{}})
	}
	w.note("seed %d: %d slots, %d stripes, %d sessions of %s, window %d, doubts: %s, inline %v", seed, w.slots, w.stripes, w.sessions, protocol.Name, w.window, w.unknown, w.inline)
	return w
}

func (w *world) record(r history.Record) {
	r.At = time.Now().UnixMicro()
	w.records = append(w.records, r)
}

// play is the history: load and trouble, then calm until everything rests.
func (w *world) play() {
	w.startHub()
	w.startEdge()
	w.load()
	if !w.opts.Calm {
		w.planFaults()
	}
	w.run(time.Now().Add(troubles))
	w.mend()
	w.run(w.long)
	end := time.Now().Add(mostToRest)
	for calm := 0; calm < 3 && time.Now().Before(end) && w.failed == nil; calm++ { // the rings' pictures are up to 0.5 s old
		if w.run(time.Now().Add(time.Second)); w.unrest() != "" {
			calm = -1
		}
	}
	unrest := w.unrest()
	w.lastLook(unrest == "")
	w.stop()
	if unrest != "" && w.failed == nil {
		w.failed = fmt.Errorf("simulation: not at rest %v after the last trouble: %s", mostToRest, unrest)
	}
}

// ---- the hub

func (w *world) hubNow() time.Time { return time.Now().Add(w.hubClock).Round(0) }

func (w *world) edgeNow() time.Time {
	now := time.Now()
	return reading(now.Add(w.edgeClock), time.Duration(now.UnixNano()))
}

// startHub starts a store and the hub that uses it.
func (w *world) startHub() {
	if w.offYet("hub", w.startHub) {
		return
	}
	host := w.start("the hub's store", w.hubLives+1, nil)
	host.disk, host.fs = w.hubDisk, w.hubDisk.fs()
	store, err := hubstore.Open(hubstore.Options{
		Dir: "data", FS: host.fs, Logger: w.log, Node: "hub", Slots: func(string) uint32 { return uint32(w.slots) },
		Defer: host.commit, Fatal: func(error) { w.fatal(host) }, Now: w.hubNow, QueueBytes: queueBytes,
	})
	if err != nil {
		host.dead = true
		w.again("hub", err, w.startHub)
		return
	}
	host.close = store.Close
	host.kill = func(powerCut bool) { w.endHub(host, powerCut, false) }
	w.all = append(w.all, host)
	w.hubStore = store
	if w.hubLives == 0 {
		for _, person := range w.people {
			store.PutUser(journal.User{Name: person.name}, func(err error) {
				if err != nil {
					w.failed = err
				}
			})
		}
	}
	store.Watch(func(users []string) {
		for _, name := range users {
			w.look(w.hub, name)
		}
	})
	w.serve(host)
}

// again has a process that did not start for want of space try later.
func (w *world) again(name string, err error, start func()) {
	if !errors.Is(err, kv.ErrFailed) && !errors.Is(err, syscall.ENOSPC) {
		w.failed = fmt.Errorf("simulation: the %s does not start: %w", name, err)
		return
	}
	w.happened("a process did not start, its disk was full")
	w.after(w.between(time.Second, 5*time.Second), "the "+name+" starts", start)
}

// serve claims the edge's rings in a store and starts what uses them.
func (w *world) serve(host *process) {
	store := w.hubStore
	rings, err := store.Claim(edgeID)
	if err != nil {
		if !errors.Is(err, kv.ErrFailed) { // else the store ends its process
			w.failed = fmt.Errorf("simulation: claim: %w", err)
		}
		return
	}
	applied, err := rings.Applied()
	if err != nil {
		return
	}
	w.kept("hub", messages.Ring_UP, rings.Up(), rings.Down(), applied)
	w.hubLives++
	p := w.start("hub", w.hubLives, host)
	w.all = append(w.all, p)
	w.hub, w.hubs = p, append(w.hubs, p)
	p.observe = w.pointers("hub", p, "down")
	log := w.log
	var buffer, mirror *actor.PID
	supervisor := p.spawn(link.NewSupervisor(link.SupervisorConfig{Log: log, Sync: func(id string, s *actor.PID, gen uint64) *actor.Props {
		return link.NewHubSync(link.HubSyncConfig{
			Edge: id, Hub: "hub", Epoch: rings.Epoch(), Gen: gen, Session: s, Buffer: buffer, Mirror: mirror,
			Metrics: link.Nop{}, Log: log, Applied: rings.Applied,
			Instance:    func() ([]byte, error) { return store.Instance(id) },
			SetInstance: func(instance []byte, done func(error)) { store.SetInstance(id, instance, done) },
		})
	}}), "supervisor")
	router := p.spawn(hubactors.NewRouter(hubactors.RouterConfig{
		Edge: edgeID, Service: service, Rings: rings, Now: w.hubNow, Log: log,
		Exists: func(name string) (bool, error) { _, ok, err := store.User(name); return ok, err },
	}), "router")
	p.session = p.spawn(link.NewSession(link.SessionConfig{
		Edge: edgeID, Sends: messages.Ring_DOWN, Supervisor: supervisor, Metrics: link.Nop{}, Log: log, Flush: -1, Jitter: w.dice.Float64,
	}), "session")
	buffer = p.spawn(link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_DOWN, Slots: w.slots, Journal: awake{rings.Down(), p}, Session: p.session, Metrics: link.Nop{}, Log: log,
	}), "buffer")
	mirror = p.spawn(link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_UP, Slots: w.slots, Journal: patient{rings.Up(), p, store.Space}, Session: p.session, Next: router, Metrics: link.Nop{}, Log: log,
	}), "mirror")
	applier := p.spawn(link.NewApplier(link.ApplierConfig{
		Edge: edgeID, Session: p.session, Apply: rings.Apply, Applied: rings.Applied, Log: log,
	}), "applier")
	p.tell(p.session, &link.Attach{Buffer: buffer, Mirror: mirror, Events: applier})
	for _, l := range w.lines { // clients connect anew
		w.after(w.between(10*time.Millisecond, time.Second), "a client connects", func() { w.send(l) })
	}
	for _, person := range w.people {
		w.look(p, person.name)
	}
}

// awake has each hub hear of new messages, as from a shared database: also the one
// that owns the rings no more.
type awake struct {
	journal.Origin
	process *process
}

func (o awake) Notify(wake func()) {
	o.process.wake = wake
	o.Origin.Notify(wake)
}

// patient waits for room on the thread, where a store would on a timer of its own:
// several of those at one moment have no order.
type patient struct {
	journal.Mirror
	process *process
	space   func() error
}

func (m patient) Keep(e journal.Entry, done func(error)) {
	if m.space() != nil {
		m.process.sim.happened("a message was not confirmed for want of space")
		m.process.sim.after(time.Second, "keep, later", func() {
			if !m.process.deaf() {
				m.Keep(e, done)
			}
		})
		return
	}
	m.Mirror.Keep(e, done)
}

// ---- the edge

func (w *world) startEdge() {
	if w.offYet("edge", w.startEdge) {
		return
	}
	w.edgeLives++
	p := w.start("edge", w.edgeLives, nil)
	p.disk, p.fs = w.edgeDisk, w.edgeDisk.fs()
	store, err := edgestore.Open(edgestore.Options{Now: w.edgeNow, KV: kv.Options{
		Dir: "data", FS: p.fs, Logger: w.log, Node: "edge/" + edgeID, Defer: p.commit, Fatal: func(error) { w.fatal(p) }, QueueBytes: queueBytes,
	}})
	if err != nil {
		p.dead = true
		w.again("edge", err, w.startEdge)
		return
	}
	p.close = store.Close
	w.all = append(w.all, p)
	w.edge, w.edgeStore = p, store
	p.kill = func(powerCut bool) { w.killEdge(powerCut, false) }
	p.observe = w.pointers("edge", p, "up")
	w.kept("edge", messages.Ring_DOWN, store.Down(), store.Up(), 0)
	inlet := p.spawn(session.NewInlet(session.InletConfig{
		SMSC: smscName, Journal: store, SpillMessages: 1000, SpillEvents: 1000, Space: store.Space, AssembleWithin: 24 * time.Hour, MaxTexts: 1000,
		RedeliverWithin: 10 * time.Minute, ParkReceipts: 48 * time.Hour, MaxParked: 1000, Now: w.edgeNow, Logger: w.log,
	}), "inlet")
	var sessions []session.Config
	for i := range w.sessions {
		name := fmt.Sprintf("bind-%d", i+1)
		sessions = append(sessions, session.Config{
			Name: name, Address: "smsc", Protocol: w.smsc.protocol, Dial: w.smsc.dialler(name), DialTimeout: 10 * time.Second,
			Machine: smsc.Config{
				User: "u", Password: "p", Mode: "transceiver", Window: w.window, PollEvery: time.Second, KeepAlive: 30 * time.Second,
				ResponseTimeout: 5 * time.Second, LoginTimeout: 15 * time.Second, LogoutTimeout: 3 * time.Second, DefaultValidity: validity,
			},
			Redial:     session.Backoff{First: 200 * time.Millisecond, Max: 10 * time.Second},
			RedialSlow: session.Backoff{First: 3 * time.Second, Max: 10 * time.Second},
		})
	}
	outlet := p.spawn(session.NewOutlet(session.OutletConfig{
		SMSC: smscName, Sessions: sessions, Inlet: inlet, Journal: store, Window: w.window, Unknown: w.unknown, Validity: validity,
		Receipts: true, ReceiptsAfter: receiptsAfter,
		Throttle: session.Backoff{First: time.Second, Max: 5 * time.Second},
		Retry:    session.Backoff{First: time.Second, Max: 10 * time.Second}, RetryMessages: 100,
		Respawn: session.Backoff{First: time.Second, Max: 10 * time.Second}, Jitter: w.dice.Float64, Now: w.edgeNow, Logger: w.log,
	}), "outlet")
	dialer := p.spawn(w.wire.newDialer(p), "dialer")
	var buffer, mirror *actor.PID
	supervisor := p.spawn(link.NewSupervisor(link.SupervisorConfig{Log: w.log, Sync: func(id string, s *actor.PID, gen uint64) *actor.Props {
		return link.NewEdgeSync(link.EdgeSyncConfig{
			Edge: id, Hubs: []string{"hub"}, Stripes: w.stripes, Gen: gen, Session: s, Buffer: buffer, Mirror: mirror,
			Journal: store, Metrics: link.Nop{}, Log: w.log, Jitter: w.dice.Float64,
		})
	}}), "supervisor")
	linkSession := p.spawn(link.NewSession(link.SessionConfig{
		Edge: edgeID, Sends: messages.Ring_UP, Dialer: dialer, Supervisor: supervisor, Stripes: w.stripes,
		Metrics: link.Nop{}, Log: w.log, Flush: -1, Jitter: w.dice.Float64,
	}), "session")
	buffer = p.spawn(link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_UP, Slots: w.slots, Journal: store.Up(), Session: linkSession, Metrics: link.Nop{}, Log: w.log,
	}), "buffer")
	mirror = p.spawn(link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_DOWN, Slots: w.slots, Journal: patient{store.Down(), p, store.Space}, Session: linkSession, Next: outlet, Metrics: link.Nop{}, Log: w.log,
	}), "mirror")
	events := p.spawn(link.NewStatusLog(link.StatusLogConfig{Journal: store, Session: linkSession, Log: w.log}), "statuslog")
	p.tell(linkSession, &link.Attach{Buffer: buffer, Mirror: mirror, Events: events})
}

// pointers records every picture of a ring that a process makes for its session.
func (w *world) pointers(by string, p *process, sends string) func(*messages.RingState) {
	return func(s *messages.RingState) {
		by := by
		if p.host != p && p != w.hub {
			by = fmt.Sprintf("%s of life %d, which owns nothing any more", by, p.life)
		}
		ring := strings.ToLower(s.Ring.String())
		role := "receiver"
		if ring == sends {
			role = "sender"
		}
		w.record(history.Record{
			Kind: history.Pointers, By: by, Ring: ring, Role: role, Life: p.life, Slots: uint64(s.Slots),
			Retrieved: s.LastRetrieved, Sent: s.LastSent, Confirmed: s.LastConfirmed, Processed: s.LastProcessed,
		})
	}
}

// ---- people and handsets

// load plans what is sent, at what time.
func (w *world) load() {
	for _, p := range w.people {
		for i := range 1 + w.dice.IntN(2) {
			w.lines = append(w.lines, &line{from: p, name: fmt.Sprintf("%s/%d", p.name, i+1)})
		}
	}
	handset := func() string { return fmt.Sprintf("+6391700%d", 1+w.dice.IntN(3)) }
	for range 10 + w.dice.IntN(30) {
		w.texts++
		n := w.texts
		switch {
		case w.chance(0.55):
			l := w.lines[w.dice.IntN(len(w.lines))]
			s := &submission{name: fmt.Sprintf("d%04d", n), to: handset(), class: 1}
			if w.chance(0.1) {
				s.class = uint32(w.dice.IntN(3))
			}
			s.body = body(s.name, []int{1, 1, 1, 30, 60}[w.dice.IntN(5)])
			w.after(w.between(0, troubles), "a client sends", func() {
				if w.chance(0.05) {
					s.until = time.Now().Add(w.between(time.Second, time.Minute))
				}
				l.unsent = append(l.unsent, s)
				w.send(l)
			})
		case w.chance(0.1): // between people
			l := w.lines[w.dice.IntN(len(w.lines))]
			s := &submission{name: fmt.Sprintf("p%04d", n), to: w.people[w.dice.IntN(len(w.people))].name}
			s.body = s.name
			w.after(w.between(0, troubles), "a client sends", func() {
				l.unsent = append(l.unsent, s)
				w.send(l)
			})
		default:
			from, to := handset(), w.people[w.dice.IntN(len(w.people))].name
			name := fmt.Sprintf("m%04d", n)
			text := "@" + to + " " + body(name, []int{1, 1, 1, 30, 60}[w.dice.IntN(5)])
			w.after(w.between(0, troubles), "a handset sends", func() { w.smsc.send(from, service, name, text) })
		}
	}
}

// send gives the hub what a connection has to send.
func (w *world) send(l *line) {
	p := w.hub
	if !p.alive() { // it connects anew when there is a hub
		return
	}
	if p.paused {
		w.after(time.Second, "a client tries again", func() { w.send(l) })
		return
	}
	if l.again { // what was refused comes first
		return
	}
	if l.hub != p { // what was not answered is sent again
		l.hub, l.next = p, 0
	}
	for ; l.next < len(l.unsent) && !l.again; l.next++ {
		s := l.unsent[l.next]
		if s.first.IsZero() {
			s.first = time.Now()
		}
		sub := journal.Submission{
			From: l.from.name, To: s.to, Text: s.body, Class: s.class, Until: s.until, Ref: s.name,
			Body: sha256.Sum256([]byte(s.to + s.body)), Sender: l.name, At: w.hubNow(),
		}
		if strings.HasPrefix(s.to, "+") {
			parts, coding, err := text.Parts(s.body)
			if err != nil {
				w.failed = err
				return
			}
			sub.Parts, sub.Coding, sub.Edge, sub.Number, sub.QueueLimit = parts, coding.String(), edgeID, service, 1000
		}
		w.hubStore.Accept(sub, func(a journal.Accepted, err error) {
			if p.deaf() {
				return // nobody hears it
			}
			if err != nil {
				if errors.Is(err, journal.ErrSpace) {
					w.happened("a client was refused for want of space")
					l.refused(s)
				} else if errors.Is(err, journal.ErrFull) {
					w.happened("a client was refused: too many writes wait")
					l.refused(s)
				} else if !errors.Is(err, journal.ErrFailed) && !errors.Is(err, kv.ErrFailed) {
					w.failed = fmt.Errorf("simulation: %s was refused: %w", s.name, err)
				}
				if !l.again {
					l.again = true
					w.after(time.Second, "a client tries again", func() {
						l.hub, l.again = nil, false
						w.send(l)
					})
				}
				return
			}
			w.acknowledged(l, s, a)
			p.acknowledged()
		})
	}
}

// refused notes which of those that were sent without waiting for the answer to s may
// have been taken before it, and the answer lost.
func (l *line) refused(s *submission) {
	i := slices.Index(l.unsent, s)
	if i < 0 { // accepted meanwhile
		return
	}
	for _, other := range l.unsent[i+1 : max(i+1, l.next)] {
		other.behind = s.name
	}
}

func (w *world) acknowledged(l *line, s *submission, a journal.Accepted) {
	if s.accepted {
		return
	}
	s.accepted = true
	for i, other := range l.unsent {
		if other == s {
			l.unsent = append(l.unsent[:i], l.unsent[i+1:]...)
			if i < l.next {
				l.next--
			}
			break
		}
	}
	id := hex.EncodeToString(a.ID)
	w.ids[id] = s.name
	w.note("accepted %s", s.name)
	for _, p := range w.hubs {
		if p != w.hub && p.wake != nil {
			p.wake()
		}
	}
	conn := l.name
	if s.behind != "" {
		conn += ", sent behind " + s.behind + ", which was refused"
	}
	until := s.until
	if until.IsZero() && strings.HasPrefix(s.to, "+") {
		until = s.first.Add(validity) // or a little later: when the hub took it
	}
	r := history.Record{
		Kind: history.Accepted, By: "client/" + l.from.name, Msg: s.name, ID: id, Conn: conn, To: s.to, Class: int(s.class),
	}
	if !until.IsZero() {
		r.Until = until.UnixMilli() * 1000
	}
	w.record(r)
}

// look has a person's client read what is new, a little later.
func (w *world) look(p *process, name string) {
	for _, person := range w.people {
		if person.name == name && !person.busy {
			person.busy = true
			w.after(w.between(0, 200*time.Millisecond), "a client reads", func() {
				person.busy = false
				if !p.dead && !p.paused {
					w.read(person, person.after)
				} else if w.hub.alive() {
					w.after(time.Second, "a client reads again", func() { w.look(w.hub, name) })
				}
			})
		}
	}
}

func (w *world) read(person *person, after uint64) {
	for {
		events, err := w.hubStore.Events(person.name, after, 100)
		if err != nil {
			if !errors.Is(err, kv.ErrFailed) {
				w.failed = fmt.Errorf("simulation: events of %s: %w", person.name, err)
			}
			return
		}
		for _, e := range events {
			w.event(person, e)
			after = e.Number
		}
		if len(events) == 0 {
			return
		}
	}
}

// event is one that a client was shown: it must stay what it is.
func (w *world) event(person *person, e journal.UserEvent) {
	id, by := hex.EncodeToString(e.ID), "client/"+person.name
	what := fmt.Sprintf("%s %v %q", id, e.State, e.Text)
	if before, known := person.read[e.Number]; known {
		if before != what {
			w.failed = fmt.Errorf("simulation: event %d of %s was %s, and is now %s", e.Number, person.name, before, what)
		}
		return
	}
	if e.Number != person.after+1 {
		w.failed = fmt.Errorf("simulation: %s read event %d after %d", person.name, e.Number, person.after)
		return
	}
	person.read[e.Number] = what
	person.after = e.Number
	if e.State == messages.State_STATE_UNSPECIFIED {
		w.record(history.Record{Kind: history.Inbox, By: by, Msg: nameIn(e.Text), ID: id, N: e.Number})
		return
	}
	w.record(history.Record{Kind: history.State, By: by, ID: id, State: strings.ToLower(e.State.String()), N: e.Number})
}

// ---- rest

// unrest says what is still under way; "": nothing.
func (w *world) unrest() string {
	if !w.hub.alive() || !w.edge.alive() {
		return "a process is not running"
	}
	if w.hub.paused || w.edge.paused { // the pictures of its rings are old
		return "a process stands still"
	}
	for _, l := range w.lines {
		if len(l.unsent) > 0 {
			return fmt.Sprintf("%s has %d to send", l.name, len(l.unsent))
		}
	}
	if n := len(w.smsc.waiting) + w.smsc.owed; n > 0 {
		return fmt.Sprintf("%d wait at the SMSC", n)
	}
	last := map[string]history.Record{}
	for i := len(w.records) - 1; i >= 0 && len(last) < 4; i-- {
		// Hubs that own nothing any more are not asked.
		if r := w.records[i]; r.Kind == history.Pointers && (r.By == "hub" || r.By == "edge") {
			if _, ok := last[r.By+r.Ring]; !ok {
				last[r.By+r.Ring] = r
			}
		}
	}
	for _, ring := range []string{"down", "up"} {
		h, e := last["hub"+ring], last["edge"+ring]
		if h.Retrieved != h.Processed || e.Retrieved != e.Processed || h.Processed != e.Processed {
			return fmt.Sprintf("ring %s: hub processed %d of %d, edge %d of %d", ring, h.Processed, h.Retrieved, e.Processed, e.Retrieved)
		}
	}
	if n := w.edgeStore.Up().Waiting(); n > 0 {
		return fmt.Sprintf("%d wait behind the up ring", n)
	}
	if n := w.edgeStore.EventsKept(); n > 0 {
		return fmt.Sprintf("%d status events are not at the hub", n)
	}
	if n := len(w.edgeStore.Deferred()); n > 0 {
		return fmt.Sprintf("%d messages are deferred", n)
	}
	for id, name := range w.ids {
		raw, _ := hex.DecodeString(id)
		r, ok, err := w.hubStore.Message(raw)
		if err != nil || !ok || r.State < messages.State_PROCESSED && (r.State != messages.State_UNKNOWN || w.unknown != session.GiveUp) {
			return name + " is not processed"
		}
	}
	return ""
}

// lastLook reads everything once more, from the beginning, and the messages' histories.
func (w *world) lastLook(rested bool) {
	if w.failed != nil || !w.hub.alive() {
		return
	}
	for _, person := range w.people {
		w.read(person, person.after)
		w.read(person, 0)
	}
	for _, r := range w.records {
		if r.Kind != history.Accepted {
			continue
		}
		raw, _ := hex.DecodeString(r.ID)
		m, ok, err := w.hubStore.Message(raw)
		if err != nil || !ok {
			w.failed = fmt.Errorf("simulation: message %s is not to be found: %w", r.Msg, err)
			return
		}
		h := history.Record{Kind: history.History, By: "hub", ID: r.ID}
		for _, step := range m.History {
			h.States = append(h.States, strings.ToLower(step.State.String()))
		}
		w.record(h)
		if why := w.unreceipted(r.Msg, m); rested && why != "" && w.failed == nil {
			w.failed = fmt.Errorf("simulation: the edge took a receipt, and %s", why)
		}
	}
	if rested {
		w.record(history.Record{Kind: history.End})
	}
}

// unreceipted says what a message lacks of the receipts that the edge has taken.
// Where an answer was in doubt, a receipt's id may mean nothing to it.
func (w *world) unreceipted(name string, m *journal.Record) string {
	states := w.smsc.final[name]
	if len(states) == 0 || w.long.Sub(w.began)+w.skew > receiptsAfter { // too late to be matched
		return ""
	}
	for _, step := range m.History {
		if step.State == messages.State_UNKNOWN || step.State == messages.State_FAILED || step.State == messages.State_EXPIRED {
			return ""
		}
	}
	w.happened("a message with receipts was looked at")
	parts, _, err := text.Parts(m.Message.Text)
	if err == nil && len(states) == parts && !journal.IsFinal(m.State) {
		return fmt.Sprintf("%s with %d parts, all of them final, is %s", name, parts, m.State)
	}
	return ""
}

// stop ends all lives, and with them all goroutines.
func (w *world) stop() {
	for _, p := range w.all {
		p.die(false)
		p.forget()
	}
	w.settle() // what has dialled meanwhile
	w.smsc.processDied()
	synctest.Wait()
}

func (w *world) outcome(seed uint64) Outcome {
	o := Outcome{
		Seed: seed, Err: w.failed, Records: w.records, Faults: w.faults, Trace: w.trace.String(), Sum: w.sum, Steps: w.steps, Seen: w.seen,
		Virtual: time.Since(w.began),
	}
	verdict, err := history.Check(history.Options{Window: w.window, GiveUp: w.unknown == session.GiveUp, Skew: w.skew}, w.records)
	o.Verdict = verdict
	if o.Err == nil {
		o.Err = err
	}
	return o
}
