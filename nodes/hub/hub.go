// Package hub is the messaging server as a Go package: accounts, sending,
// inboxes, streams, and the hub's end of every edge's rings. It has no global
// state; two in one process do not meet.
//
//	h, err := hub.New(cfg, hub.WithStore(store))
//	...
//	go h.Run(ctx)
//	accepted, err := h.Send(ctx, hub.Submission{From: "ann", To: "+639171234567", Text: "hello"})
//
// The HTTP API over it is package nodes/web.
package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/cluster/gossip"
	"github.com/ringway-im/ringway/cluster/linkrpc"
	"github.com/ringway-im/ringway/nodes/actorlog"
	"github.com/ringway-im/ringway/nodes/config"
	edgenode "github.com/ringway-im/ringway/nodes/edge"
)

// Option changes how a hub is made.
type Option func(*Hub)

// WithLogger sets where the hub logs; default nowhere.
func WithLogger(log *zap.Logger) Option { return func(h *Hub) { h.log = log } }

// WithStore sets the durable state. The hub closes it.
func WithStore(store journal.Hub) Option { return func(h *Hub) { h.store = store } }

// WithRegisterer sets where the hub's metrics go; default nowhere.
func WithRegisterer(r prometheus.Registerer) Option { return func(h *Hub) { h.registerer = r } }

// WithAuthenticator replaces the check of a user's password. It may be slow and
// is called by several goroutines. A user that it knows and the hub does not is
// created. Its refusal is ErrWrongPassword.
func WithAuthenticator(check func(ctx context.Context, user, password string) error) Option {
	return func(h *Hub) { h.authenticator = check }
}

// WithRouter replaces the rule of the longest prefix: it returns the id of a
// configured edge for a number ('+' and digits), or not ok.
func WithRouter(route func(number string) (edge string, ok bool)) Option {
	return func(h *Hub) { h.route = route }
}

// WithFilter has each submission looked at before it is accepted. It may alter
// all but From, Ref and Sender; an error refuses it (*Refusal with a code of
// its own, or CodeRefused). It is called in the order of a connection's sends
// and holds up that connection.
func WithFilter(filter func(ctx context.Context, s *Submission) error) Option {
	return func(h *Hub) { h.filter = filter }
}

// WithActorSystem has the hub's actors live in a system of the caller's.
func WithActorSystem(system *actor.ActorSystem) Option { return func(h *Hub) { h.system = system } }

// WithSessionKey sets what signs logins; default session.key in data_dir, made
// if absent. Hubs that share a store share the one of the first of them.
func WithSessionKey(key []byte) Option { return func(h *Hub) { h.sessions.key = key } }

// WithPasswordCost sets bcrypt's cost; default 10, some 60 ms of one core.
func WithPasswordCost(cost int) Option { return func(h *Hub) { h.passwordCost = cost } }

// WithClock sets the clock; for tests.
func WithClock(now func() time.Time) Option { return func(h *Hub) { h.now = now } }

// WithRingViews sets what Rings answers from; default: the hub's own edges.
func WithRingViews(views RingViews) Option { return func(h *Hub) { h.views = views } }

// Hub is one hub node. Its methods may be called by any goroutine.
type Hub struct {
	cfg           Config
	log           *zap.Logger
	store         journal.Hub
	registerer    prometheus.Registerer
	authenticator func(ctx context.Context, user, password string) error
	route         func(string) (string, bool)
	filter        func(context.Context, *Submission) error
	system        *actor.ActorSystem
	now           func() time.Time
	views         RingViews
	passwordCost  int

	name       string
	noPassword []byte // compared with where there is no user, so that it takes as long
	metrics    *metrics
	measures   measures
	clients    *actor.PID
	cluster    *member    // nil: a hub alone
	hints      *actor.PID // of a member
	announcer  *actor.PID // of a member
	adminToken string
	sessions   sessions
	logins     *logins

	fatal chan error // capacity 1: the store is dead

	mu            sync.Mutex
	notReady      map[string]error
	closed        bool
	draining      bool             // streams are turned away
	edges         map[string]*edge // whose rings this hub serves
	subscriptions map[*Subscription]bool

	startOnce    sync.Once
	startErr     error
	supervisor   *actor.PID
	rings        []*actor.PID     // of a hub alone
	locals       []*edgenode.Edge // inside this process
	link         *linkrpc.Server
	gossip       *gossip.Hub // with edges; nil: none
	linkListener net.Listener
}

// New opens the hub's files and store: Send and Subscribe work from now on.
// Edges come with Run. Whoever does not call Run calls Close.
func New(cfg Config, options ...Option) (*Hub, error) {
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, log: zap.NewNop(), now: time.Now, passwordCost: bcrypt.DefaultCost, fatal: make(chan error, 1), edges: map[string]*edge{}, subscriptions: map[*Subscription]bool{}, notReady: map[string]error{"run": errors.New("hub: Run has not been called")}}
	h.route = h.longestPrefix
	for _, option := range options {
		option(h)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("hub: data_dir: %w", err)
	}
	if h.adminToken, err = secretFile(cfg.Admin.TokenFile, h.log); err != nil {
		return nil, fmt.Errorf("hub: admin.token_file: %w", err)
	}
	h.name = nameOf(cfg)
	if h.noPassword, err = bcrypt.GenerateFromPassword([]byte(rand.Text()), h.passwordCost); err != nil {
		return nil, fmt.Errorf("hub: password cost: %w", err)
	}
	h.logins = newLogins(cfg.Limits.LoginPerMinute)
	if h.system == nil {
		h.system = actor.NewActorSystem(actorlog.To(h.log))
	}
	h.measures = newMeasures(h.registerer, cfg)
	if h.store == nil {
		if h.store, err = h.openStore(); err != nil {
			return nil, err
		}
	}
	if h.sessions.key == nil {
		if h.sessions.key, err = h.sessionKey(); err != nil {
			return nil, errors.Join(fmt.Errorf("hub: session key: %w", err), h.store.Close())
		}
	}
	if cfg.Cluster != nil {
		if leases, ok := h.store.(journal.Leases); ok {
			h.cluster = newMember(h, leases)
		} else {
			h.log.Warn("a cluster needs a store that its hubs share: this one runs alone; set store.driver to postgres")
		}
	}
	if h.metrics, err = newMetrics(h.registerer, cfg, h.measures.Messages); err != nil {
		return nil, errors.Join(err, h.store.Close())
	}
	h.metrics.look(h)
	if err := h.startClients(); err != nil {
		return nil, errors.Join(err, h.store.Close())
	}
	return h, nil
}

// startClients starts what people see of the hub: clients, and in a cluster what makes
// one of those of all hubs.
func (h *Hub) startClients() (err error) {
	root := h.system.Root
	if h.cluster != nil {
		h.announcer = root.Spawn(h.metrics.watch("announcer", hubactors.NewAnnouncer(hubactors.AnnouncerConfig{Announce: h.cluster.announce, Every: announceEvery})))
		if h.hints, err = root.SpawnNamed(h.metrics.watch("hints", newHints(h)), hintsName); err != nil {
			return fmt.Errorf("hub: actor %s: %w", hintsName, err)
		}
	}
	h.clients = root.Spawn(h.metrics.watch("clients", hubactors.NewClients(hubactors.ClientsConfig{
		Store: h.store, Now: h.now, Batch: 64, IdleAfter: time.Minute, SweepEvery: 15 * time.Second, Announcer: h.announcer, Log: h.log,
		Online: func(change int) { h.metrics.online.Add(int64(change)) },
	})))
	h.store.Watch(func(users []string) {
		changed := &hubactors.Changed{Users: users}
		root.Send(h.clients, changed)
		if h.hints != nil {
			root.Send(h.hints, changed)
		}
	})
	switch {
	case h.views != nil:
	case h.cluster != nil:
		h.views = allRings{h.cluster}
	default:
		h.views = ownEdges{h}
	}
	return nil
}

// Start opens the link port and starts the edges' rings. Run does it where the
// caller has not, to know that the port is open, say.
func (h *Hub) Start() error {
	h.startOnce.Do(func() {
		if h.startErr = h.startEdges(); h.startErr == nil {
			h.setReady("run", nil)
		}
	})
	return h.startErr
}

// Run starts the edges' rings and links and returns when ctx is done and all
// is shut down, or with the reason why it cannot go on.
func (h *Hub) Run(ctx context.Context) error {
	err := h.Start()
	if err == nil {
		err = h.serve(ctx)
	}
	h.setReady("run", errors.New("hub: shutting down"))
	return errors.Join(err, h.Close())
}

// serve does what is due from time to time until ctx is done or the store dies.
func (h *Hub) serve(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-h.fatal:
			return err
		case <-tick.C:
			if h.cluster != nil {
				h.cluster.rekey()
			}
			if err := h.forget(ctx); err != nil {
				h.log.Error("what is past its retention could not be removed", zap.Error(h.failed(err)))
			}
		}
	}
}

// Close ends subscriptions, stops the actors and closes the store, in this
// order. The second call does nothing.
func (h *Hub) Close() error {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	if closed {
		return nil
	}
	h.stopEdges()
	if err := h.system.Root.StopFuture(h.clients).Wait(); err != nil {
		h.log.Warn("clients did not stop", zap.Error(err))
	}
	h.endSubscriptions()
	for _, pid := range []*actor.PID{h.announcer, h.hints} {
		if pid != nil {
			h.system.Root.Stop(pid)
		}
	}
	h.metrics.end()
	if err := h.store.Close(); err != nil {
		return fmt.Errorf("hub: closing the store: %w", err)
	}
	return nil
}

// Ready returns nil when the hub does all it is configured to do, else every
// reason why not.
func (h *Hub) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var reasons []error
	for _, name := range slices.Sorted(maps.Keys(h.notReady)) {
		reasons = append(reasons, h.notReady[name])
	}
	reasons = append(reasons, h.drains())
	if store, ok := h.store.(interface{ Space() error }); ok {
		reasons = append(reasons, store.Space())
	}
	if store, ok := h.store.(interface{ Ready() error }); ok {
		reasons = append(reasons, store.Ready())
	}
	return errors.Join(reasons...)
}

// setReady notes why a part of the hub is not ready; nil: it is.
func (h *Hub) setReady(part string, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if why == nil {
		delete(h.notReady, part)
	} else {
		h.notReady[part] = why
	}
}

// failed notes an error of the store for Ready and hands it back.
func (h *Hub) failed(err error) error {
	if errors.Is(err, journal.ErrFailed) {
		h.setReady("store", err)
	}
	return err
}

// Name of this hub.
func (h *Hub) Name() string { return h.name }

// System is where the hub's actors live.
func (h *Hub) System() *actor.ActorSystem { return h.system }

// Limits that are in force.
func (h *Hub) Limits() config.Limits { return h.cfg.Limits }

// Now is the hub's clock.
func (h *Hub) Now() time.Time { return h.now() }
