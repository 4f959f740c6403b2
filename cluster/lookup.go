package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/eventstream"
	"github.com/asynkron/protoactor-go/remote"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/cluster/view"
	"github.com/ringway-im/ringway/messages"
)

// What a placement tells its grains.
type (
	// Leave goes to a grain of a kind with hand-over that another node is to own.
	Leave = messages.Leave
	// Fenced goes to every grain of a node that may own nothing any more.
	Fenced = messages.Fenced
)

// Kind is a sort of grain.
type Kind struct {
	Name string
	// Props makes the grain of identity, which this node owns under epoch: every
	// write of it is conditional on that. It is called by an actor: it must not
	// block. The mailbox is unbounded and the placement's, whatever it says.
	Props func(identity string, epoch uint64) *actor.Props
	// HandOver: grains are told to [Leave] and stop by themselves. Others are poisoned.
	HandOver bool
}

// LookupConfig says who owns what by which rules.
type LookupConfig struct {
	Kinds    []Kind
	Leases   journal.Leases
	LeaseTTL time.Duration // 0: [DefaultLeaseTTL]
	Ready    func(error)   // called when that which [Lookup.Ready] answers changes between an error and none
	Log      *zap.Logger   // nil: silent
}

const (
	// DefaultLeaseTTL is how long a node's lease runs without having been renewed: as
	// long as what a dead node owned is nobody's at most.
	DefaultLeaseTTL = 4 * time.Second
	// HandOverWithin is how long a grain may take to leave.
	HandOverWithin = 3 * time.Second

	placementName = "placement"
	getWithin     = 3 * time.Second        // Get, which has no context
	askWithin     = time.Second            // one question to an owner
	backoffFirst  = 5 * time.Millisecond   // after the first refusal, doubled after each
	backoffMost   = 160 * time.Millisecond // an owner that has just died costs its lease
	mostCached    = 100_000                // PIDs
)

// ErrNoMember says that no member of the cluster can run grains of the kind.
var ErrNoMember = errors.New("cluster: no member can own it")

// Lookup finds grains and keeps them where they belong: it is a
// [cluster.IdentityLookup] that needs [Provider] with KeepDraining.
//
// Who owns an identity is decided three times: by rendezvous hashing over the
// members that have its kind and do not drain, at whoever asks; by the same at the
// owner, in its own view; and by the store, which gives it to a node with a running
// lease only, under an epoch of its own, while no other such node has it.
type Lookup struct {
	cfg   LookupConfig
	log   *zap.Logger
	kinds map[string]Kind

	system    *actor.ActorSystem
	cluster   *cluster.Cluster
	placement *actor.PID
	keeper    *keeper
	sub       *eventstream.Subscription

	state   atomic.Pointer[state]
	local   sync.Map // key: *actor.PID of a grain that runs here
	away    sync.Map // key: *actor.PID of one that runs elsewhere, as far as is known
	cached  atomic.Int64
	grains  atomic.Int64 // not yet released
	moving  atomic.Int64 // released and not yet known to be elsewhere
	started sync.Once
	stopped sync.Once

	mu       sync.Mutex
	subBreak *eventstream.Subscription
	breaks   map[string]chan struct{} // by address: closed when the connection breaks
}

// state is the view as of now; changed is closed when it is not.
type state struct {
	members []Member
	changed chan struct{}
}

type key struct{ kind, identity string }

var _ cluster.IdentityLookup = (*Lookup)(nil)

// NewLookup makes one; it starts with the cluster.
func NewLookup(cfg LookupConfig) *Lookup {
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = DefaultLeaseTTL
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	l := &Lookup{cfg: cfg, log: cfg.Log, kinds: map[string]Kind{}, breaks: map[string]chan struct{}{}}
	for _, k := range cfg.Kinds {
		l.kinds[k.Name] = k
	}
	l.state.Store(&state{changed: make(chan struct{})})
	return l
}

// Setup implements [cluster.IdentityLookup].
func (l *Lookup) Setup(c *cluster.Cluster, _ []string, _ bool) {
	l.cluster, l.system = c, c.ActorSystem
	l.keeper = newKeeper(l)
	pid, err := l.system.Root.SpawnNamed(newPlacement(l), placementName)
	if err != nil {
		panic("cluster: " + err.Error()) // as protoactor does; Start makes an error of it
	}
	l.placement = pid
	l.sub = l.system.EventStream.Subscribe(func(event any) {
		if v, ok := event.(*View); ok {
			l.onView(v)
		}
	})
	l.subBreak = l.system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*remote.EndpointTerminatedEvent); ok {
			l.mu.Lock()
			defer l.mu.Unlock()
			if broken, ok := l.breaks[e.Address]; ok {
				close(broken)
				delete(l.breaks, e.Address)
			}
		}
	})
}

// unsubscribe lets go of the event stream.
func (l *Lookup) unsubscribe() {
	for _, sub := range []*eventstream.Subscription{l.sub, l.subBreak} {
		if sub != nil {
			l.system.EventStream.Unsubscribe(sub)
		}
	}
}

// broken is closed when the connection to address breaks: what was on its way there
// is lost then, and protoactor tells nobody.
func (l *Lookup) broken(address string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.breaks[address] == nil {
		l.breaks[address] = make(chan struct{})
	}
	return l.breaks[address]
}

// onView comes on one goroutine at a time.
func (l *Lookup) onView(v *View) {
	old := l.state.Swap(&state{v.Members, make(chan struct{})})
	close(old.changed)
	l.away.Range(func(k, pid any) bool {
		l.forget(k.(key), pid.(*actor.PID))
		return true
	})
	l.system.Root.Send(l.placement, viewChanged{})
	// The first lease is asked for when the others have been looked for.
	if name := selfOf(v.Members, l.system.ID); name != "" {
		l.started.Do(func() { l.keeper.start(nodeName(name, l.system.ID)) })
	}
	l.keeper.lookAgain()
}

func selfOf(members []Member, id string) string {
	for _, m := range members {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// Shutdown implements [cluster.IdentityLookup]: all grains are stopped, then the
// lease is ended. A second call does nothing.
func (l *Lookup) Shutdown() {
	l.stopped.Do(func() {
		l.unsubscribe()
		if l.keeper != nil {
			l.keeper.close()
		}
		if l.placement != nil {
			_ = l.system.Root.StopFuture(l.placement).Wait()
		}
	})
}

// abandon ends it without a word to grains or store, as a crash would.
func (l *Lookup) abandon() {
	l.stopped.Do(func() {
		l.unsubscribe()
		l.keeper.abandon()
		_ = l.system.Root.StopFuture(l.placement).Wait()
	})
}

// Owner returns who is to own identity by this node's view of the cluster.
func (l *Lookup) Owner(kind, identity string) (Member, bool) {
	return owner(l.state.Load().members, kind, identity)
}

func owner(members []Member, kind, identity string) (Member, bool) {
	names := make([]string, 0, 8)
	for i := range members {
		if m := &members[i]; !m.Draining && slices.Contains(m.Kinds, kind) {
			names = append(names, m.Name)
		}
	}
	name := view.Owner(names, kind, identity)
	for _, m := range members {
		if name != "" && m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// Local returns the grain if it runs on this node.
func (l *Lookup) Local(kind, identity string) (*actor.PID, bool) {
	if pid, ok := l.local.Load(key{kind, identity}); ok {
		return pid.(*actor.PID), true
	}
	return nil, false
}

// Valid says whether this node's lease runs, by its monotonic clock.
func (l *Lookup) Valid() bool { return l.keeper != nil && l.keeper.valid() }

// Ready says why this node may own nothing, nil if it may.
func (l *Lookup) Ready() error {
	if l.keeper == nil {
		return errors.New("cluster: the node has not been started")
	}
	return l.keeper.ready()
}

// Get implements [cluster.IdentityLookup]; nil after 3 s without success.
func (l *Lookup) Get(ci *cluster.ClusterIdentity) *actor.PID {
	ctx, cancel := context.WithTimeout(context.Background(), getWithin)
	defer cancel()
	pid, err := l.Locate(ctx, ci.Kind, ci.Identity)
	if err != nil {
		l.log.Debug("a grain cannot be located", zap.Error(err))
		return nil
	}
	return pid
}

// RemovePid implements [cluster.IdentityLookup].
func (l *Lookup) RemovePid(ci *cluster.ClusterIdentity, pid *actor.PID) {
	l.forget(key{ci.Kind, ci.Identity}, pid)
}

// Locate returns the grain, which is activated at its owner if need be. It tries
// until ctx ends. While a grain moves, that is the old one until it has stopped.
func (l *Lookup) Locate(ctx context.Context, kind, identity string) (*actor.PID, error) {
	k := key{kind, identity}
	for wait := backoffFirst; ; wait = min(2*wait, backoffMost) {
		if pid, ok := l.Local(kind, identity); ok {
			return pid, nil
		}
		if pid, ok := l.away.Load(k); ok {
			return pid.(*actor.PID), nil
		}
		now := l.state.Load()
		m, known := owner(now.members, kind, identity)
		if known {
			if pid := l.askOwner(ctx, now, m, k); pid != nil {
				return pid, nil
			}
		}
		select {
		case <-ctx.Done():
			if !known {
				return nil, fmt.Errorf("%w: kind %s, identity %q: %w", ErrNoMember, kind, identity, ctx.Err())
			}
			return nil, fmt.Errorf("cluster: %s %q cannot be had from node %s: %w", kind, identity, m.Name, ctx.Err())
		case <-now.changed:
		case <-time.After(wait):
		}
	}
}

// activateElsewhere has the next owner of what has left take it up. It tries for a
// while: that may not know yet that it is the owner.
func (l *Lookup) activateElsewhere(k key) {
	l.moving.Add(1)
	go func() {
		defer l.moving.Add(-1)
		ctx, cancel := context.WithTimeout(context.Background(), HandOverWithin)
		defer cancel()
		if _, err := l.Locate(ctx, k.kind, k.identity); err != nil {
			l.log.Info("a grain that left is not at its next owner yet", zap.Error(err))
		}
	}()
}

// askOwner returns nil if m has not given the grain out.
func (l *Lookup) askOwner(ctx context.Context, now *state, m Member, k key) *actor.PID {
	answer, _ := request(ctx, l.system, actor.NewPID(m.Address, placementName), activation(k, false), askWithin, now.changed)
	a, ok := answer.(*cluster.ActivationResponse)
	if !ok || a.Failed || a.Pid == nil {
		return nil
	}
	if a.Pid.Address == l.system.Address() {
		return actor.NewPID(a.Pid.Address, a.Pid.Id)
	}
	if l.state.Load() == now { // else it may have moved
		if l.cached.Load() > mostCached {
			l.away.Range(func(k, pid any) bool {
				l.forget(k.(key), pid.(*actor.PID))
				return true
			})
		}
		if _, had := l.away.Swap(k, a.Pid); !had {
			l.cached.Add(1)
		}
		l.system.Root.Send(l.placement, watchRemote{k, a.Pid})
	}
	return a.Pid
}

const forwarded = "forwarded" // to the node that owns it by the store's word

func activation(k key, isForwarded bool) *cluster.ActivationRequest {
	r := &cluster.ActivationRequest{ClusterIdentity: cluster.NewClusterIdentity(k.identity, k.kind)}
	if isForwarded {
		r.RequestId = forwarded
	}
	return r
}

// forget drops pid from the caches of this package and of protoactor.
func (l *Lookup) forget(k key, pid *actor.PID) {
	if cached, ok := l.away.Load(k); ok && cached.(*actor.PID).Equal(pid) && l.away.CompareAndDelete(k, cached) {
		l.cached.Add(-1)
	}
	l.cluster.PidCache.RemoveByValue(k.identity, k.kind, pid)
}

var (
	errDeadLetter = errors.New("cluster: nobody took the request")
	errBroken     = errors.New("cluster: there will be no answer")
)

// request waits for an answer until within has passed, ctx ends or broken is closed.
func request(ctx context.Context, system *actor.ActorSystem, to *actor.PID, message any, within time.Duration, broken <-chan struct{}) (any, error) {
	// It is ctx that ends the wait, and not the future's timer at the same moment:
	// protoactor's futures take an answer beside it without a lock.
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, max(time.Until(deadline), 0)+time.Second)
	}
	type result struct {
		answer any
		err    error
	}
	done := make(chan result, 1)
	future := system.Root.RequestFuture(to, message, within)
	go func() {
		answer, err := future.Result()
		if errors.Is(err, actor.ErrDeadLetter) {
			err = errDeadLetter
		}
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-broken:
		select {
		case r := <-done: // it came before
			return r.answer, r.err
		default:
			return nil, errBroken
		}
	}
}
