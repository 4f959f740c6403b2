package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
)

// Config is what a node of a cluster needs.
type Config struct {
	Name    string // unique in the cluster, the same after a restart; no slash
	Cluster string // name of the cluster: nodes of another one are not heard

	Listen    string   // gossip, UDP and TCP, HOST:PORT
	Advertise string   // where others reach it; "": as Listen, or a private address of this machine
	Join      []string // gossip addresses of nodes; tried for ever
	KeyFile   string   // of gossip keys, see [LoadKeys]; "": gossip is not encrypted

	Remote          string // actors, TCP, HOST:PORT
	AdvertiseRemote string // where others reach it; needed if Remote is no address of this machine
	TLS             TLS    // of actors; always

	Attributes map[string]string // told to the other nodes, see [ProviderConfig]

	Leases   journal.Leases
	LeaseTTL time.Duration // 0: [DefaultLeaseTTL]; the same on all nodes
	Kinds    []Kind

	// System runs the actors; nil makes one that ends with the node.
	System *actor.ActorSystem
	// Watch is called, one call at a time, when members, their drain flags or
	// attributes have changed; Ready when readiness has changed between an error and
	// none. Neither may call Stop.
	Watch func([]Member)
	Ready func(error)
	Log   *zap.Logger // nil: silent

	// For tests: a network that drops.
	tune func(*memberlist.Config)
	dial []grpc.DialOption
}

// Node is a member of a cluster that runs grains.
type Node struct {
	cfg      Config
	log      *zap.Logger
	system   *actor.ActorSystem
	cluster  *cluster.Cluster
	provider *Provider
	lookup   *Lookup
	stop     sync.Once
}

const (
	requestWithin = 30 * time.Second // requests whose context has no deadline
	flushWithin   = 500 * time.Millisecond
	drainLook     = 20 * time.Millisecond
)

// Start makes a node and has it join. It returns when it has tried its seeds once:
// the node may own things when [Node.Ready] says so.
func Start(cfg Config) (n *Node, err error) {
	if cfg.Leases == nil {
		return nil, errors.New("cluster: a node needs a lease store that all nodes share")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	var keys [][]byte
	if cfg.KeyFile != "" {
		if keys, err = LoadKeys(cfg.KeyFile); err != nil {
			return nil, err
		}
	}
	rc, err := remoteConfig(cfg.Remote, cfg.AdvertiseRemote, cfg.TLS, cfg.Log, cfg.dial...)
	if err != nil {
		return nil, err
	}
	if host, _, _ := net.SplitHostPort(cfg.Remote); cfg.AdvertiseRemote == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return nil, fmt.Errorf("cluster: actors listen at %q, which is no address that others could dial: give the one to advertise", cfg.Remote)
	}
	n = &Node{cfg: cfg, log: cfg.Log, system: cfg.System}
	if n.system == nil {
		n.system = actor.NewActorSystem(actorLog(cfg.Log))
	}
	n.provider = NewProvider(ProviderConfig{
		Name: cfg.Name, Label: cfg.Cluster, Listen: cfg.Listen, Advertise: cfg.Advertise, Join: cfg.Join, Keys: keys,
		Attributes: cfg.Attributes, KeepDraining: true, Watch: cfg.Watch, Log: cfg.Log, tune: cfg.tune,
	})
	n.lookup = NewLookup(LookupConfig{Kinds: cfg.Kinds, Leases: cfg.Leases, LeaseTTL: cfg.LeaseTTL, Ready: cfg.Ready, Log: cfg.Log})
	kinds := make([]string, len(cfg.Kinds))
	for i, k := range cfg.Kinds {
		kinds[i] = k.Name
	}
	if err := n.start(rc, kinds); err != nil {
		n.shutdown(false)
		return nil, err
	}
	return n, nil
}

func (n *Node) start(rc *remote.Config, kinds []string) (err error) {
	defer func() {
		if r := recover(); r != nil { // protoactor's way to say that it cannot listen
			err = fmt.Errorf("cluster: node %s: %v", n.cfg.Name, r)
		}
	}()
	n.cluster = cluster.New(n.system, cluster.Configure(n.cfg.Cluster, asMember{n.provider, kinds}, n.lookup, rc))
	startCluster(n.cluster) // panics, too, when the lookup or the provider cannot start
	return nil
}

// asMember has a node that protoactor takes for a client be a member. What clients
// lack is protoactor's own gossip, which memberlist does better here: it would block
// members for good that were silent for 20 s, wants answers within 500 ms, panics
// when it is shut down before it has begun, and costs a start one second.
type asMember struct {
	*Provider
	kinds []string
}

// StartClient implements cluster.ClusterProvider.
func (a asMember) StartClient(c *cluster.Cluster) error { return a.start(c, a.kinds, false) }

// System is what the node's actors run in.
func (n *Node) System() *actor.ActorSystem { return n.system }

// Cluster is protoactor's, for who wants to speak its language.
func (n *Node) Cluster() *cluster.Cluster { return n.cluster }

// GossipAddress is the address that others can join it at.
func (n *Node) GossipAddress() string { return n.provider.GossipAddress() }

// Members returns who is in the cluster, this node included, sorted by name.
func (n *Node) Members() []Member { return n.provider.Members() }

// Owner returns who is to own identity by this node's view of the cluster.
func (n *Node) Owner(kind, identity string) (Member, bool) { return n.lookup.Owner(kind, identity) }

// Local returns the grain if it runs on this node.
func (n *Node) Local(kind, identity string) (*actor.PID, bool) {
	return n.lookup.Local(kind, identity)
}

// Locate returns the grain, which is activated at its owner if need be, and tries
// until ctx ends. What is sent to a PID that is kept can get lost when the grain
// moves: locate it again, or use [Node.Request].
func (n *Node) Locate(ctx context.Context, kind, identity string) (*actor.PID, error) {
	return n.lookup.Locate(ctx, kind, identity)
}

// ErrUnknown says that the connection to a node was lost, or the node, while it had
// a request: whether that was carried out is unknown.
var ErrUnknown = errors.New("cluster: the node that had the request is out of reach")

// Request asks the grain and returns its answer. What nobody took, because the grain
// had just stopped, is asked of its next owner, until ctx ends (30 s if it has no
// deadline); what may have been taken is asked once only: [ErrUnknown], or the
// context's error.
func (n *Node) Request(ctx context.Context, kind, identity string, message proto.Message) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	for wait := backoffFirst; ; wait = min(2*wait, backoffMost) {
		pid, err := n.lookup.Locate(ctx, kind, identity)
		if err != nil {
			return nil, err
		}
		answer, err := n.ask(ctx, pid, message)
		if !errors.Is(err, errDeadLetter) {
			return answer, err
		}
		n.lookup.forget(key{kind, identity}, pid)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cluster: %s %q took no request: %w", kind, identity, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// ask asks once.
func (n *Node) ask(ctx context.Context, pid *actor.PID, message proto.Message) (any, error) {
	var broken <-chan struct{}
	if pid.Address != n.system.Address() {
		broken = n.lookup.broken(pid.Address) // also when the node is no longer a member
	}
	answer, err := request(ctx, n.system, pid, message, requestWithin, broken)
	switch {
	case errors.Is(err, errBroken):
		return nil, ErrUnknown
	case errors.Is(err, actor.ErrTimeout):
		return nil, fmt.Errorf("cluster: no answer: %w", context.DeadlineExceeded)
	}
	return answer, err
}

// Broadcast sends message to the actor of that name on every other member: a hint,
// which can get lost.
func (n *Node) Broadcast(name string, message proto.Message) {
	for _, m := range n.Members() {
		if !m.Self {
			n.system.Root.Send(actor.NewPID(m.Address, name), message)
		}
	}
}

// SetAttributes replaces what the node tells about itself.
func (n *Node) SetAttributes(attributes map[string]string) error {
	return n.provider.SetAttributes(attributes)
}

// Rekey reads the file with gossip keys again, see [Provider.Rekey].
func (n *Node) Rekey() error {
	if n.cfg.KeyFile == "" {
		return errors.New("cluster: the node has no file with gossip keys")
	}
	keys, err := LoadKeys(n.cfg.KeyFile)
	if err != nil {
		return err
	}
	return n.provider.Rekey(keys)
}

var (
	// ErrNobody says that no other node could take over.
	ErrNobody = errors.New("cluster: no other node can take over")
	// ErrUndrained says that [Node.Undrain] was called meanwhile.
	ErrUndrained = errors.New("cluster: the node was told to take its part again")
)

// Drain gives all grains to other nodes, takes no new ones, and returns when none
// is left here and those of kinds that hand over are where they belong. The error is
// [ErrNobody], [ErrUndrained] or the context's. Whatever it is, the node goes on
// draining until Undrain; if the other nodes go, nobody has what has left.
func (n *Node) Drain(ctx context.Context) error {
	if !n.successor() {
		return ErrNobody
	}
	if err := n.provider.SetDraining(true); err != nil {
		return err
	}
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for {
		// A look at the count is worth something when the placement has seen the view.
		if m, ok := n.self(); (!ok || m.Draining) && n.settled(ctx) && n.lookup.grains.Load() == 0 && n.lookup.moving.Load() == 0 {
			return nil
		}
		switch {
		case !n.Draining():
			return ErrUndrained
		case !n.successor():
			return ErrNobody
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster: %d grains have not left: %w", n.lookup.grains.Load(), ctx.Err())
		case <-look.C:
		}
	}
}

// Undrain has the node take on grains again; a Drain that waits returns.
func (n *Node) Undrain() error { return n.provider.SetDraining(false) }

// Draining says whether the node drains, or has: since Drain, until Undrain.
func (n *Node) Draining() bool { return n.provider.draining() }

func (n *Node) self() (Member, bool) {
	for _, m := range n.lookup.state.Load().members {
		if m.Self {
			return m, true
		}
	}
	return Member{}, false
}

func (n *Node) successor() bool {
	for _, m := range n.Members() {
		if !m.Self && !m.Draining {
			return true
		}
	}
	return false
}

// settled waits until the placement has taken in what it had been sent before.
func (n *Node) settled(ctx context.Context) bool {
	_, err := request(ctx, n.system, n.lookup.placement, &cluster.ActivationRequest{}, askWithin, nil)
	return err == nil
}

// Ready says why this node may own nothing at present, nil if it may.
func (n *Node) Ready() error { return n.lookup.Ready() }

// Valid says whether the node's lease runs at this moment, by its monotonic clock: a
// process that was paused past it sees so when it wakes, one whose machine was suspended
// when it next renews it. What counts is the epoch, which the store compares.
func (n *Node) Valid() bool { return n.lookup.Valid() }

// Stop stops all grains, ends the lease and leaves. Drain first to have others take
// over before. A second call does nothing.
func (n *Node) Stop() error {
	n.shutdown(true)
	return nil
}

// crash ends it without a word to anybody, for tests.
func (n *Node) crash() { n.shutdown(false) }

// shutdown is in the order that protoactor's is not: grains, lease, membership,
// connections, and the actor system last.
func (n *Node) shutdown(graceful bool) {
	n.stop.Do(func() {
		if graceful {
			n.lookup.Shutdown()
			n.flush()
		}
		if err := n.provider.Shutdown(graceful); err != nil {
			n.log.Warn("leaving the cluster", zap.Error(err))
		}
		if !graceful && n.lookup.keeper != nil {
			n.lookup.abandon()
		}
		if n.cluster != nil && n.cluster.Remote != nil {
			n.closeRemote()
		}
		if n.cfg.System == nil {
			n.system.Shutdown()
		}
	})
}

// flush returns when what was sent to the other nodes has arrived there, or after
// flushWithin: answers that grains have given before they stopped.
func (n *Node) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range n.Members() {
		if !m.Self {
			all.Go(func() {
				_, _ = request(ctx, n.system, actor.NewPID(m.Address, placementName), &cluster.ActivationRequest{}, flushWithin, nil)
			})
		}
	}
	all.Wait()
}

// closeRemote closes all connections. Protoactor's graceful way waits for peers and
// can close a channel that it then writes to.
func (n *Node) closeRemote() {
	defer func() { _ = recover() }() // it was not started
	n.cluster.Remote.Shutdown(false)
	for _, m := range n.Members() {
		if !m.Self {
			n.system.EventStream.Publish(&remote.EndpointTerminatedEvent{Address: m.Address})
		}
	}
}
