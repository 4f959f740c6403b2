// Package edge is the buffer server beside an SMSC as a Go package: the edge's
// end of the link and the rings, the sessions with the SMSC, and the journal
// under them. It has no global state; several in one process do not meet.
//
//	e, err := edge.New(cfg, edge.WithLogger(log))
//	...
//	err = e.Run(ctx)
package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/cluster/gossip"
	"github.com/ringway-im/ringway/cluster/linkrpc"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/actorlog"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/metrics"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/conn"
	"github.com/ringway-im/ringway/smsc/session"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// Protocols that configuration chooses from: a further one is a folder under
// smsc and a line here.
var protocols = []smsc.Protocol{cimd2.Protocol, smpp.Protocol}

// Option changes how an edge is made.
type Option func(*Edge)

// WithLogger sets where the edge logs; default nowhere.
func WithLogger(log *zap.Logger) Option { return func(e *Edge) { e.log = log } }

// WithRegisterer sets where the edge's metrics go; default nowhere.
func WithRegisterer(r prometheus.Registerer) Option { return func(e *Edge) { e.registerer = r } }

// WithDialer replaces the link over the network: props of an actor that takes
// messages.DialStripe. An edge inside the hub's process gets one.
func WithDialer(dialer *actor.Props) Option { return func(e *Edge) { e.dialer = dialer } }

// WithActorSystem has the edge's actors live in a system of the caller's, who
// shuts it down. The dialer of an edge inside the hub's process needs that.
func WithActorSystem(system *actor.ActorSystem) Option {
	return func(e *Edge) { e.system, e.shared = system, true }
}

// WithStore sets how the journal is opened beside data_dir and identity; tests
// and simulations.
func WithStore(opts kv.Options) Option { return func(e *Edge) { e.kv = opts } }

// Edge is one edge node.
type Edge struct {
	cfg        config.Edge
	log        *zap.Logger
	registerer prometheus.Registerer
	dialer     *actor.Props
	kv         kv.Options

	store    *edgestore.Store
	outbinds map[int]*conn.Listener
	gossip   *gossip.Edge // nil: it takes no part
	lm       link.Metrics
	rejoins  chan *messages.Rejoin
	letters  func() // ends the count of dead letters

	mu      sync.Mutex // of what follows
	system  *actor.ActorSystem
	shared  bool // the system is somebody else's
	smsc    *metrics.SMSC
	fatal   chan error
	closed  chan struct{}
	ended   bool
	spawned []*actor.PID // in the order in which they stop
	unwatch []func()     // their mailboxes
	outlet  *actor.PID
	session *actor.PID
	buffer  *actor.PID
	mirror  *actor.PID
}

// New opens the journal and starts the edge's actors: it serves from now on.
// Whoever does not call Run calls Close.
func New(cfg config.Edge, options ...Option) (*Edge, error) {
	e := &Edge{cfg: cfg, log: zap.NewNop(), fatal: make(chan error, 1), closed: make(chan struct{}), rejoins: make(chan *messages.Rejoin, 1)}
	for _, option := range options {
		option(e)
	}
	e.cfg.SMSC = complete(cfg.SMSC)
	plain := e.log // of who names the edge himself
	e.log = plain.With(zap.String("edge", cfg.ID))
	protocol, err := protocolNamed(cfg.SMSC.Protocol)
	if err != nil {
		return nil, err
	}
	if err := Check(cfg); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	if e.dialer == nil {
		if e.dialer, err = networkDialer(cfg); err != nil {
			return nil, err
		}
	}
	e.kv.Dir, e.kv.Node, e.kv.Logger = cfg.DataDir, "edge/"+cfg.ID, e.log
	if e.kv.ReserveBytes == 0 {
		e.kv.ReserveBytes = cfg.Disk.Bytes()
	}
	store := metrics.NewStore(e.registerer, e.kv.Node)
	e.kv.Synced, e.kv.Corrupt = store.Synced, store.Corrupt
	e.kv.Lead = onlyOne(cfg.SMSC)
	e.kv.Fatal = func(err error) {
		select {
		case e.fatal <- err:
		default:
		}
	}
	if e.store, err = edgestore.Open(edgestore.Options{KV: e.kv}); err != nil {
		return nil, fmt.Errorf("edge: data_dir: %w", err)
	}
	if e.kv.FS == nil {
		if err := makeToken(cfg.DataDir); err != nil {
			return nil, errors.Join(err, e.store.Close())
		}
	}
	if err := errors.Join(e.listen(), e.startGossip()); err != nil {
		e.stopGossip()
		return nil, errors.Join(err, e.unlisten(), e.store.Close())
	}
	if e.system == nil {
		e.system = actor.NewActorSystem(actorlog.To(e.log))
	}
	e.lm = metrics.Link(e.registerer, cfg.ID, metrics.Up)
	e.smsc = metrics.NewSMSC(e.registerer, cfg.ID, cfg.SMSC.Name, cfg.SMSC.Protocol)
	e.letters = func() {}
	if !e.shared { // else whose system it is counts them
		e.letters = metrics.DeadLetters(e.registerer, e.system)
	}
	e.start(protocol, plain)
	go e.joinAnew(protocol, plain)
	return e, nil
}

// onlyOne: one message at a time goes to the SMSC, and its outcome's fsync is what
// the next one waits for. More at a time share their fsyncs.
func onlyOne(c config.SMSC) bool {
	return c.Window == 1 && len(c.Binds) == 1 && c.Binds[0].Sessions == 1
}

func protocolNamed(name string) (smsc.Protocol, error) {
	var known []string
	for _, p := range protocols {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	return smsc.Protocol{}, fmt.Errorf("edge: smsc.protocol %q: one of %v", name, known)
}

func networkDialer(cfg config.Edge) (*actor.Props, error) {
	tls, err := pki.EachClientTLS(cfg.Link.TLS.Cert, cfg.Link.TLS.Key, cfg.Link.TLS.CA)
	if err != nil {
		return nil, fmt.Errorf("edge: link.tls: %w", err)
	}
	return linkrpc.NewDialer(linkrpc.DialerConfig{TLS: tls, Congestion: cfg.Link.Congestion}), nil
}

// start spawns the actors: the tree is drawn in packages link and session.
func (e *Edge) start(protocol smsc.Protocol, plain *zap.Logger) {
	root, cfg, lm := e.system.Root, e.cfg, e.lm
	mailboxes := metrics.NewMailboxes(e.registerer, "edge")
	spawn := func(name string, props *actor.Props) *actor.PID {
		props, unwatch := mailboxes.Watch(cfg.ID, name, props)
		e.unwatch = append(e.unwatch, unwatch)
		return root.Spawn(props)
	}
	inlet := spawn("inlet", session.NewInlet(session.InletConfig{
		SMSC: cfg.SMSC.Name, Journal: e.store, SpillMessages: cfg.Spill.MaxMessages, SpillEvents: cfg.Spill.MaxMessages, Space: e.store.Space,
		AssembleWithin: cfg.SMSC.AssembleWithin, MaxTexts: 100_000, RedeliverWithin: cfg.SMSC.RedeliverWithin,
		Numbers:      session.Numbers{Country: cfg.SMSC.Country, Trunk: cfg.SMSC.Trunk},
		ParkReceipts: cfg.SMSC.Validity + 24*time.Hour, MaxParked: 100_000, Damaged: e.store.Damaged, Metrics: e.smsc, Logger: e.log,
	}))
	outlet := session.NewOutlet(session.OutletConfig{
		SMSC: cfg.SMSC.Name, Sessions: sessions(cfg.SMSC, protocol, e.outbinds), Inlet: inlet, Journal: e.store,
		Window: cfg.SMSC.Window, Rate: cfg.SMSC.Rate, Unknown: session.Unknown(cfg.SMSC.Unknown),
		Validity: cfg.SMSC.Validity, Receipts: cfg.SMSC.Receipts, ReceiptsAfter: 24 * time.Hour,
		Encoding: encoding(cfg.SMSC.Protocol, cfg.SMSC.Quirks), Throttle: session.Backoff(cfg.SMSC.Throttle),
		Retry: session.Backoff{First: cfg.Retry.First, Max: cfg.Retry.Max}, RetryAttempts: cfg.Retry.Attempts, RetryMessages: cfg.Retry.Messages,
		Respawn: session.Backoff{First: time.Second, Max: 30 * time.Second},
		Jitter:  rand.Float64, Metrics: e.smsc, Logger: e.log,
	})
	if restored, _ := e.store.Standing(); restored {
		e.log.Warn("this journal is from a backup: nothing is submitted or taken from the SMSC before the hub has been reached")
		outlet = actor.PropsFromFunc(idle)
	}
	e.outlet = spawn("outlet", outlet)
	dialer := root.Spawn(e.dialer)
	supervisor := spawn("supervisor", link.NewSupervisor(link.SupervisorConfig{Log: plain, Sync: func(id string, s *actor.PID, gen uint64) *actor.Props {
		return link.NewEdgeSync(link.EdgeSyncConfig{
			Edge: id, Hubs: cfg.Hubs, Stripes: cfg.Link.Stripes, Gen: gen, Session: s, Buffer: e.buffer, Mirror: e.mirror,
			Journal: e.store, Metrics: lm, Log: e.log, Rejoin: e.rejoin,
			Known: e.knownHubs, Learn: func(hubs []string) { e.store.SetHubs(cfg.Hubs, hubs) },
		})
	}}))
	e.session = spawn("session", link.NewSession(link.SessionConfig{
		Edge: cfg.ID, Sends: messages.Ring_UP, Dialer: dialer, Supervisor: supervisor, Stripes: cfg.Link.Stripes,
		Metrics: lm, Log: e.log, Flush: -1,
	}))
	e.buffer = spawn("buffer", link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_UP, Slots: cfg.Ring.Slots, Journal: e.store.Up(), Session: e.session, Metrics: lm, Log: e.log,
	}))
	e.mirror = spawn("mirror", link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_DOWN, Slots: cfg.Ring.Slots, Journal: e.store.Down(), Session: e.session, Next: e.outlet, Metrics: lm, Log: e.log,
	}))
	events := spawn("status_log", link.NewStatusLog(link.StatusLogConfig{Journal: e.store, Session: e.session, Log: e.log}))
	root.Send(e.session, &link.Attach{Buffer: e.buffer, Mirror: e.mirror, Events: events})
	e.spawned = []*actor.PID{supervisor, e.session, events, e.mirror, e.buffer, inlet, dialer}
}

// Run returns when ctx is done and all is shut down, or with the reason why it
// cannot go on.
func (e *Edge) Run(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
	case err = <-e.fatal:
		err = journalFailed(err)
	}
	return errors.Join(err, e.Close())
}

// Failed waits until the journal fails (with the reason) or Close (nil), for a
// caller that does not use Run.
func (e *Edge) Failed() error {
	select {
	case err := <-e.fatal:
		return journalFailed(err)
	case <-e.closed:
		return nil
	}
}

func journalFailed(err error) error {
	return fmt.Errorf("edge: the journal failed, nothing further is acknowledged: %w", err)
}

// drainLimit is how long the SMSC sessions get to finish and log out.
const drainLimit = 4 * time.Second

// Close ends the SMSC sessions in an orderly way, then the link, then the
// journal. The second call does nothing.
func (e *Edge) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	e.ended = true
	e.stopActors()
	e.letters()
	if !e.shared {
		e.system.Shutdown()
	}
	close(e.closed)
	e.stopGossip()
	return errors.Join(e.unlisten(), e.store.Close())
}

func (e *Edge) unlisten() (err error) {
	for _, l := range e.outbinds {
		err = errors.Join(err, l.Close())
	}
	return err
}

// stopActors stops what start started.
func (e *Edge) stopActors() {
	root := e.system.Root
	root.Send(e.outlet, session.Drain{})
	if err := watch(e.system, e.outlet, drainLimit); err != nil {
		e.log.Warn("the SMSC sessions did not end in time; what is open is in doubt", zap.Error(err))
		stop(root, e.log, e.outlet)
	}
	for _, pid := range e.spawned {
		stop(root, e.log, pid)
	}
	for _, unwatch := range e.unwatch {
		unwatch()
	}
	e.spawned, e.unwatch = nil, nil
}

func stop(root *actor.RootContext, log *zap.Logger, pid *actor.PID) {
	if err := root.StopFuture(pid).Wait(); err != nil {
		log.Warn("actor did not stop", zap.Stringer("pid", pid), zap.Error(err))
	}
}

// watch waits until an actor has terminated.
func watch(system *actor.ActorSystem, pid *actor.PID, limit time.Duration) error {
	gone := actor.NewFuture(system, limit)
	watcher := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		switch ctx.Message().(type) {
		case *actor.Started:
			ctx.Watch(pid)
		case *actor.Terminated:
			ctx.Send(gone.PID(), true)
		}
	}))
	defer system.Root.Stop(watcher)
	return gone.Wait()
}

// Link returns the state of the link.
func (e *Edge) Link() (*link.LinkState, error) {
	s, _, _ := e.pids()
	return ask[*link.LinkState](e, s, &link.GetLink{})
}

// Rings returns this side's rings, down and up.
func (e *Edge) Rings(withSequences bool) (down, up *messages.RingState, err error) {
	_, mirror, buffer := e.pids()
	if down, err = ask[*messages.RingState](e, mirror, &link.GetState{Sequences: withSequences}); err == nil {
		up, err = ask[*messages.RingState](e, buffer, &link.GetState{Sequences: withSequences})
	}
	return down, up, err
}

// Sessions returns the state of each SMSC session.
func (e *Edge) Sessions() map[string]string { return e.smsc.Sessions() }

// Ready returns nil when the link is up and an SMSC session is bound, else
// every reason why not. Meanwhile the edge keeps what comes.
func (e *Edge) Ready() error {
	var reasons []error
	if l, err := e.Link(); err != nil || l.State != "up" {
		reasons = append(reasons, errors.New("link to the hub: interrupted"))
	}
	bound := false
	for _, state := range e.Sessions() {
		bound = bound || state == "bound"
	}
	if !bound {
		reasons = append(reasons, errors.New("SMSC: no session is bound"))
	}
	return errors.Join(append(reasons, e.store.Space())...)
}

func ask[T any](e *Edge, pid *actor.PID, question any) (T, error) {
	r, err := e.system.Root.RequestFuture(pid, question, time.Second).Result()
	if err != nil {
		var none T
		return none, fmt.Errorf("edge: %T: %w", question, err)
	}
	return r.(T), nil
}
