package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ringway-im/ringway/cluster/memlease"
	"github.com/ringway-im/ringway/nodes/pki"
)

const (
	testTTL = slow * time.Second
	longTTL = 4 * time.Second         // where it matters that a fifth of it is enough for a loaded machine
	within  = slow * 20 * time.Second // for what takes a few seconds on a loaded machine
)

// eventually polls until cond says nothing.
func eventually(t *testing.T, what string, cond func() error) time.Duration {
	t.Helper()
	start := time.Now()
	var err error
	for time.Since(start) < within {
		if err = cond(); err == nil {
			return time.Since(start)
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("%s: not within %v: %v", what, within, err)
	return 0
}

// world is a few nodes with a network between them that can be cut, and the lease
// store that they share.
type world struct {
	t      *testing.T
	leases *memlease.Store
	record *record
	dir    string
	log    *zap.Logger
	key    string
	ttl    time.Duration // of leases
	kinds  func(node string) []Kind

	mu    sync.Mutex
	names map[string]string // address: node
	cut   map[string]bool   // nodes on the one side
	conns map[net.Conn][2]string
	nodes map[string]*Node
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, leases: &memlease.Store{}, record: newRecord(), dir: t.TempDir(), log: zap.NewNop(), ttl: testTTL,
		names: map[string]string{}, cut: map[string]bool{}, conns: map[net.Conn][2]string{}, nodes: map[string]*Node{},
	}
	if os.Getenv("RINGWAY_TEST_LOG") != "" {
		w.log = zaptest.NewLogger(t)
	}
	w.kinds = func(node string) []Kind {
		return []Kind{
			{Name: "ring", HandOver: true, Props: w.record.props(node, "ring")},
			{Name: "client", Props: w.record.props(node, "client")},
		}
	}
	for _, err := range []error{pki.Init(w.dir), pki.Hub(w.dir, "hub", nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		w.heal()
		for _, n := range w.nodes {
			if err := n.Stop(); err != nil {
				t.Error(err)
			}
		}
		w.record.check(t)
	})
	return w
}

// files of a certificate.
func tlsOf(t *testing.T, dir, name string) TLS {
	t.Helper()
	cert, key, ca := dir+"/"+name+".crt", dir+"/"+name+".key", dir+"/ca.crt"
	server, err := pki.ServerTLS(cert, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	client, err := pki.EachClientTLS(cert, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	return TLS{Server: server, Client: client, Peer: func(c *x509.Certificate) error {
		if role, name, err := pki.Identity(c); err != nil || role != pki.RoleHub {
			return fmt.Errorf("%s %s is no hub (%w)", role, name, err)
		}
		return nil
	}}
}

func (w *world) config(name string, join ...string) Config {
	return Config{
		Name: name, Cluster: "test", Listen: "127.0.0.1:0", Remote: "127.0.0.1:0", Join: join, KeyFile: w.key,
		TLS: tlsOf(w.t, w.dir, "hub"), Leases: w.leases, LeaseTTL: w.ttl, Kinds: w.kinds(name), Log: w.log.Named(name),
		Attributes: map[string]string{"link": name + ":7001"},
		tune: func(c *memberlist.Config) {
			c.ProbeInterval, c.ProbeTimeout, c.GossipInterval = slow*150*time.Millisecond, slow*120*time.Millisecond, slow*40*time.Millisecond
			c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 2
			c.Transport = lossy{c.Transport.(memberlist.NodeAwareTransport), w, name}
		},
		dial: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return w.dial(ctx, name, address)
		})},
	}
}

// start starts a node that joins those that run.
func (w *world) start(name string) *Node {
	w.t.Helper()
	var join []string
	w.mu.Lock()
	for _, n := range w.nodes {
		join = append(join, n.GossipAddress())
	}
	w.mu.Unlock()
	return w.startWith(w.config(name, join...))
}

func (w *world) startWith(cfg Config) *Node {
	w.t.Helper()
	n, err := Start(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[cfg.Name] = n
	w.names[n.GossipAddress()], w.names[n.system.Address()] = cfg.Name, cfg.Name
	return n
}

// startAll starts nodes and waits until they see each other and are ready.
func (w *world) startAll(names ...string) []*Node {
	w.t.Helper()
	var nodes []*Node
	for _, name := range names {
		nodes = append(nodes, w.start(name))
	}
	w.settle(nodes...)
	return nodes
}

// settle waits until all of nodes see each other, and are ready. What each is to run is
// decided by what its lookup and its placement know, which is a little later than its
// provider.
func (w *world) settle(nodes ...*Node) {
	w.t.Helper()
	for _, n := range nodes {
		eventually(w.t, n.cfg.Name+" is ready among "+fmt.Sprint(len(nodes)), func() error {
			for _, got := range []int{len(n.Members()), len(n.lookup.state.Load().members)} {
				if got != len(nodes) {
					return fmt.Errorf("it sees %d members", got)
				}
			}
			if err := n.Ready(); err != nil {
				return err
			}
			if !n.settled(w.t.Context()) {
				return errors.New("its placement does not answer")
			}
			return nil
		})
	}
}

func (w *world) partition(names ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		w.cut[name] = true
	}
	for c, ends := range w.conns {
		if w.cut[ends[0]] != w.cut[ends[1]] {
			c.Close()
		}
	}
}

func (w *world) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
}

func (w *world) blocked(from, address string) (to string, blocked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to = w.names[address]
	return to, w.cut[from] != w.cut[to]
}

func (w *world) dial(ctx context.Context, from, address string) (net.Conn, error) {
	to, blocked := w.blocked(from, address)
	if blocked {
		return nil, errors.New("cut")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[from] != w.cut[to] { // meanwhile
		c.Close()
		return nil, errors.New("cut")
	}
	w.conns[c] = [2]string{from, to}
	return c, nil
}

// lossy is memberlist's transport in a world.
type lossy struct {
	memberlist.NodeAwareTransport
	w    *world
	name string
}

func (l lossy) WriteTo(b []byte, address string) (time.Time, error) {
	return l.WriteToAddress(b, memberlist.Address{Addr: address})
}

func (l lossy) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if _, blocked := l.w.blocked(l.name, a.Addr); blocked {
		return time.Now(), nil
	}
	return l.NodeAwareTransport.WriteToAddress(b, a)
}

func (l lossy) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return l.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

func (l lossy) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if _, blocked := l.w.blocked(l.name, a.Addr); blocked {
		return nil, errors.New("cut")
	}
	return l.NodeAwareTransport.DialAddressTimeout(a, timeout)
}

// record knows when grains lived where.
type record struct {
	mu    sync.Mutex
	lives map[string][]*life // by kind and identity
}

type life struct {
	node     string
	epoch    uint64
	from, to time.Time // to is zero while it lives
	fenced   bool
	crashed  bool
}

func newRecord() *record { return &record{lives: map[string][]*life{}} }

// props makes grains that answer with their node's name.
func (r *record) props(node, kind string) func(string, uint64) *actor.Props {
	return func(identity string, epoch uint64) *actor.Props {
		l := &life{node: node, epoch: epoch}
		return actor.PropsFromFunc(func(ctx actor.Context) {
			switch ctx.Message().(type) {
			case *actor.Started:
				r.mu.Lock()
				l.from = time.Now()
				r.lives[kind+"/"+identity] = append(r.lives[kind+"/"+identity], l)
				r.mu.Unlock()
			case *actor.Stopped:
				r.mu.Lock()
				l.to = time.Now()
				r.mu.Unlock()
			case *Fenced:
				r.mu.Lock()
				l.fenced = true
				r.mu.Unlock()
			case *Leave:
				ctx.Poison(ctx.Self())
			case *wrapperspb.StringValue:
				ctx.Respond(wrapperspb.String(node))
			}
		})
	}
}

// live says where grains live now.
func (r *record) live() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := map[string]string{}
	for k, lives := range r.lives {
		for _, l := range lives {
			if l.to.IsZero() {
				at[k] += l.node
			}
		}
	}
	return at
}

// ended marks what lived on a node that died as having ended.
func (r *record) ended(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, lives := range r.lives {
		for _, l := range lives {
			if l.node == node && l.to.IsZero() {
				l.to, l.crashed = time.Now(), true
			}
		}
	}
}

// check fails if two of one identity ever lived at the same time, or under epochs
// that do not grow.
func (r *record) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, lives := range r.lives {
		slices.SortFunc(lives, func(a, b *life) int { return a.from.Compare(b.from) })
		for i := 1; i < len(lives); i++ {
			a, b := lives[i-1], lives[i]
			if a.to.IsZero() || a.to.After(b.from) {
				t.Errorf("%s lived on %s (epoch %d, until %v) and on %s (epoch %d, from %v) at the same time", k, a.node, a.epoch, a.to, b.node, b.epoch, b.from)
			}
			if a.epoch >= b.epoch {
				t.Errorf("%s: epoch %d on %s after %d on %s", k, b.epoch, b.node, a.epoch, a.node)
			}
		}
	}
}

func (w *world) request(n *Node, kind, identity string, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	answer, err := n.Request(ctx, kind, identity, wrapperspb.String("who"))
	if err != nil {
		return "", err
	}
	s, ok := answer.(*wrapperspb.StringValue)
	if !ok {
		return "", fmt.Errorf("answer %T", answer)
	}
	return s.Value, nil
}
