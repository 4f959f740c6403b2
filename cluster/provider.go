package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/cluster"
	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

// ProviderConfig says how a node takes part in gossip.
type ProviderConfig struct {
	// Name of the node, unique in the cluster: a node with the same name that was
	// started later takes this one's place.
	Name string
	// Label of the cluster: nodes with another one are not heard.
	Label string
	// Listen is the UDP and TCP address of gossip, HOST:PORT; port 0 takes a free one.
	Listen string
	// Advertise is the address that others reach it at, where it is not Listen.
	Advertise string
	// Join are addresses of nodes. Those of them that are not members are tried for
	// ever, so that a partition heals whatever its length. The own one does no harm.
	Join []string
	// Keys encrypt gossip with the first, and accept all. None: it goes in the clear.
	Keys [][]byte
	// Attributes are told to the others: with names, addresses and kinds all of it
	// must fit into 512 octets of JSON.
	Attributes map[string]string
	// KeepDraining keeps draining members in protoactor's topology. Without it they
	// are out of it at once, which throws away what is on its way to them; with it
	// the identity lookup must leave them out by itself, as [Lookup] does.
	KeepDraining bool
	// Watch is called, one call at a time, when members, their drain flags or their
	// attributes have changed; nil for nobody.
	Watch func([]Member)
	Log   *zap.Logger // nil: silent

	tune func(*memberlist.Config) // for tests: shorter times, a transport that drops
}

// View is published in the actor system's event stream whenever members, their
// drain flags or their attributes have changed. Sorted by name; of several
// incarnations of a node it has the latest.
type View struct{ Members []Member }

const (
	debounce    = 50 * time.Millisecond // of changes
	tick        = time.Second           // of looking again: at the block list, for seeds
	rejoinAlone = time.Second           // between attempts to join while alone
	rejoinMore  = 5 * time.Second       // and else
	remember    = time.Hour             // how long members that vanished are tried like seeds
	leaveWithin = time.Second           // for telling the others about this node
)

// Provider feeds a protoactor cluster from memberlist: it is a
// [cluster.ClusterProvider]. It serves one cluster, once.
type Provider struct {
	cfg ProviderConfig
	log *zap.Logger

	kick  chan struct{}
	ctx   context.Context // until Shutdown
	stop  context.CancelFunc
	loops sync.WaitGroup
	once  sync.Once

	publishMu sync.Mutex // held before mu

	mu      sync.Mutex // memberlist's callbacks come on its goroutines, under its locks
	own     meta
	nodes   map[string]node // by name in memberlist
	lost    map[string]time.Time
	list    *memberlist.Memberlist
	keyring *memberlist.Keyring
	cluster *cluster.Cluster
	view    []Member

	// Of publish alone.
	aliases map[string]string // id of a member: the one under which protoactor knows it
}

// node is what memberlist knows about one.
type node struct {
	member  Member
	started int64
	gossip  string // address
}

var _ cluster.ClusterProvider = (*Provider)(nil)

// NewProvider makes one; it starts with the cluster.
func NewProvider(cfg ProviderConfig) *Provider {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Provider{
		cfg: cfg, log: cfg.Log, ctx: ctx, stop: cancel,
		kick: make(chan struct{}, 1), nodes: map[string]node{}, lost: map[string]time.Time{}, aliases: map[string]string{},
	}
}

// StartMember implements [cluster.ClusterProvider].
func (p *Provider) StartMember(c *cluster.Cluster) error {
	return p.start(c, c.GetClusterKinds(), false)
}

// StartClient implements [cluster.ClusterProvider]: the node sees members and is none.
func (p *Provider) StartClient(c *cluster.Cluster) error { return p.start(c, nil, true) }

func (p *Provider) start(c *cluster.Cluster, kinds []string, client bool) error {
	if p.cfg.Name == "" || strings.ContainsRune(p.cfg.Name, '/') {
		return fmt.Errorf("cluster: a node cannot be named %q: give it a name without a slash", p.cfg.Name)
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k == cluster.TopicActorKind })
	slices.Sort(kinds)
	p.cluster = c
	p.own = meta{
		Address: c.ActorSystem.Address(), Kinds: kinds, Started: time.Now().UnixMilli(),
		Attributes: maps.Clone(p.cfg.Attributes),
	}
	p.own.Client = client
	if _, err := p.own.encode(); err != nil {
		return err
	}
	conf, err := p.configure(nodeName(p.cfg.Name, c.ActorSystem.ID))
	if err != nil {
		return err
	}
	list, err := memberlist.Create(conf)
	if err != nil {
		if conf.Transport != nil {
			_ = conf.Transport.Shutdown()
		}
		return fmt.Errorf("cluster: gossip at %s: %w", p.cfg.Listen, err)
	}
	p.mu.Lock()
	p.list = list
	p.mu.Unlock()
	p.join()
	p.publish()
	p.loops.Go(p.publishing)
	p.loops.Go(p.joining)
	return nil
}

// configure makes memberlist's configuration and opens its sockets.
func (p *Provider) configure(name string) (*memberlist.Config, error) {
	conf := memberlist.DefaultLANConfig()
	conf.Name = name
	conf.Label = p.cfg.Label
	conf.ProbeInterval = 500 * time.Millisecond // a dead node is seen in some 3.5 s
	conf.ProbeTimeout = 300 * time.Millisecond
	conf.TCPTimeout = 3 * time.Second
	conf.Delegate, conf.Events = delegate{p}, delegate{p}
	conf.Logger = memberlistLog(p.log)
	var err error
	if conf.BindAddr, conf.BindPort, err = hostPort(p.cfg.Listen); err != nil {
		return nil, fmt.Errorf("cluster: gossip address: %w", err)
	}
	if conf.BindAddr == "" {
		conf.BindAddr = "0.0.0.0"
	}
	if p.cfg.Advertise != "" {
		if conf.AdvertiseAddr, conf.AdvertisePort, err = hostPort(p.cfg.Advertise); err != nil {
			return nil, fmt.Errorf("cluster: advertised gossip address: %w", err)
		}
		if net.ParseIP(conf.AdvertiseAddr) == nil { // memberlist wants an IP address
			ips, err := net.LookupIP(conf.AdvertiseAddr)
			if err != nil {
				return nil, fmt.Errorf("cluster: advertised gossip address %s: %w", p.cfg.Advertise, err)
			}
			conf.AdvertiseAddr = ips[0].String()
		}
	}
	if len(p.cfg.Keys) > 0 {
		if p.keyring, err = memberlist.NewKeyring(p.cfg.Keys, p.cfg.Keys[0]); err != nil {
			return nil, fmt.Errorf("cluster: gossip keys: %w", err)
		}
		conf.Keyring = p.keyring
	}
	var transport *memberlist.NetTransport
	for range 10 { // a port that is free for UDP may not be for TCP
		if transport, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{conf.BindAddr}, BindPort: conf.BindPort, Logger: conf.Logger,
		}); err == nil || conf.BindPort != 0 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: gossip at %s: %w", p.cfg.Listen, err)
	}
	if conf.BindPort == 0 {
		conf.BindPort = transport.GetAutoBindPort()
	}
	if p.cfg.Advertise == "" {
		conf.AdvertisePort = conf.BindPort
	}
	conf.Transport = transport
	if p.cfg.tune != nil {
		p.cfg.tune(conf)
	}
	return conf, nil
}

func hostPort(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST:PORT: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port from 0 to 65535", address)
	}
	return host, int(n), nil
}

// Shutdown implements [cluster.ClusterProvider]. Gracefully, the others are told,
// which takes up to a second; else they find out. A second call does nothing.
func (p *Provider) Shutdown(graceful bool) error {
	var err error
	p.once.Do(func() {
		p.stop()
		p.mu.Lock()
		list := p.list
		p.mu.Unlock()
		if list == nil {
			return
		}
		if graceful {
			if err := list.Leave(leaveWithin); err != nil {
				p.log.Info("not everybody has been told that this node leaves", zap.Error(err))
			}
		}
		err = list.Shutdown()
		p.loops.Wait()
	})
	if err != nil {
		return fmt.Errorf("cluster: leaving: %w", err)
	}
	return nil
}

// Members returns who is in the cluster, this node included, sorted by name.
func (p *Provider) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.view)
}

// GossipAddress is the address that others reach its gossip at; "" before the start.
func (p *Provider) GossipAddress() string {
	p.mu.Lock()
	list := p.list
	p.mu.Unlock()
	if list == nil {
		return ""
	}
	return list.LocalNode().Address()
}

// SetDraining raises or lowers the flag that this node is to own nothing any more.
func (p *Provider) SetDraining(draining bool) error {
	return p.update(func(m *meta) { m.Draining = draining })
}

func (p *Provider) draining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own.Draining
}

// SetAttributes replaces what the node tells about itself.
func (p *Provider) SetAttributes(attributes map[string]string) error {
	return p.update(func(m *meta) { m.Attributes = maps.Clone(attributes) })
}

func (p *Provider) update(change func(*meta)) error {
	p.mu.Lock()
	next := p.own
	change(&next)
	_, err := next.encode()
	list := p.list
	if err == nil && list != nil {
		p.own = next
	}
	p.mu.Unlock()
	if list == nil {
		return errors.New("cluster: the node has not been started")
	}
	if err != nil {
		return err
	}
	// It is in force here at once. The error is that not all have been told within
	// that time; gossip goes on telling them.
	if err := list.UpdateNode(leaveWithin); err != nil {
		p.log.Info("not everybody has been told about a change of this node yet", zap.Error(err))
	}
	p.publish()
	return nil
}

// Rekey makes gossip encrypt with keys[0] and accept no others than keys. To rotate:
// give all nodes the new key as second, then all the new as first, then all the new
// one only.
func (p *Provider) Rekey(keys [][]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keyring == nil || len(keys) == 0 {
		return errors.New("cluster: gossip cannot change between encrypted and not without a restart")
	}
	return rekey(p.keyring, keys)
}

// publishing tells protoactor and the watchers what has changed, and looks by itself
// once a second.
func (p *Provider) publishing() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		case <-p.kick:
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(debounce):
			}
		}
		p.publish()
	}
}

// publish is called by the publishing loop, before it at the start, and when this
// node changed its own metadata.
func (p *Provider) publish() {
	p.publishMu.Lock()
	defer p.publishMu.Unlock()
	p.mu.Lock()
	latest := map[string]node{}
	for _, n := range p.nodes {
		if l, ok := latest[n.member.Name]; !ok || n.started > l.started || n.started == l.started && n.member.ID > l.member.ID {
			latest[n.member.Name] = n
		}
	}
	var view []Member
	for _, name := range slices.Sorted(maps.Keys(latest)) {
		view = append(view, latest[name].member)
	}
	changed := !slices.EqualFunc(p.view, view, sameMember)
	p.view = view
	p.mu.Unlock()

	p.feed(view)
	if !changed {
		return
	}
	p.log.Info("cluster members", zap.Strings("members", describe(view)))
	p.cluster.ActorSystem.EventStream.Publish(&View{Members: slices.Clone(view)})
	if p.cfg.Watch != nil {
		p.cfg.Watch(slices.Clone(view))
	}
}

func sameMember(a, b Member) bool {
	return a.Name == b.Name && a.ID == b.ID && a.Address == b.Address && a.Draining == b.Draining && a.Self == b.Self &&
		slices.Equal(a.Kinds, b.Kinds) && maps.Equal(a.Attributes, b.Attributes)
}

func describe(view []Member) []string {
	s := make([]string, len(view))
	for i, m := range view {
		s[i] = nodeName(m.Name, m.ID)
		if m.Draining {
			s[i] += " (draining)"
		}
	}
	return s
}

// feed gives protoactor its topology. It blocks the id of a member that left for
// good: one that returns gets another name here, which no other node needs to know.
func (p *Provider) feed(view []Member) {
	var topology cluster.Members
	blocked := p.cluster.Remote.BlockList()
	aliases := map[string]string{}
	for _, m := range view {
		if m.Draining && !p.cfg.KeepDraining {
			continue
		}
		host, port, err := hostPort(m.Address)
		if err != nil {
			p.log.Warn("a member's address is of no use", zap.String("member", m.Name), zap.Error(err))
			continue
		}
		alias, ok := p.aliases[m.ID]
		if !ok {
			alias = m.ID
			for n := 1; blocked.IsBlocked(alias); n++ {
				alias = m.ID + "#" + strconv.Itoa(n)
			}
		}
		aliases[m.ID] = alias
		topology = append(topology, &cluster.Member{Id: alias, Host: host, Port: int32(port), Kinds: m.Kinds}) //nolint:gosec // hostPort bounds it
	}
	p.aliases = aliases
	topologyLock.Lock() // see [recovering]
	defer topologyLock.Unlock()
	p.cluster.MemberList.UpdateClusterTopology(topology)
}

// joining tries the seeds that are not members, for ever, and for an hour those
// that vanished without having drained.
func (p *Provider) joining() {
	for {
		p.mu.Lock()
		wait := rejoinMore
		if len(p.nodes) < 2 {
			wait = rejoinAlone
		}
		p.mu.Unlock()
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(wait):
		}
		p.join()
	}
}

func (p *Provider) join() {
	for _, address := range p.missing() {
		select {
		case <-p.ctx.Done():
			return
		default:
		}
		if _, err := p.list.Join([]string{address}); err != nil {
			p.log.Debug("cannot join", zap.String("address", address), zap.Error(err))
		}
	}
}

// missing returns the addresses of those who ought to be members.
func (p *Provider) missing() []string {
	var addresses []string
	for _, seed := range p.cfg.Join {
		host, port, err := net.SplitHostPort(seed)
		if err != nil {
			p.log.Warn("a seed is not HOST:PORT", zap.String("seed", seed))
			continue
		}
		ips, err := net.DefaultResolver.LookupHost(p.ctx, host)
		if err != nil {
			p.log.Debug("a seed is not in the DNS", zap.String("seed", seed), zap.Error(err))
			continue
		}
		for _, ip := range ips {
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	present := map[string]bool{}
	for _, n := range p.nodes {
		present[n.gossip] = true
	}
	for address, at := range p.lost {
		if present[address] || time.Since(at) > remember {
			delete(p.lost, address)
		} else {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	return slices.DeleteFunc(slices.Compact(addresses), func(a string) bool { return present[a] })
}

// delegate takes memberlist's calls. They come while it holds its locks: copy, kick,
// return.
type delegate struct{ *Provider }

var (
	_ memberlist.Delegate      = delegate{}
	_ memberlist.EventDelegate = delegate{}
)

// NodeMeta implements [memberlist.Delegate].
func (d delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, _ := d.own.encode() // it was checked before it was set
	return b
}

// NotifyMsg implements [memberlist.Delegate].
func (delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements [memberlist.Delegate].
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements [memberlist.Delegate].
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements [memberlist.Delegate].
func (delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements [memberlist.EventDelegate].
func (d delegate) NotifyJoin(n *memberlist.Node) { d.NotifyUpdate(n) }

// NotifyUpdate implements [memberlist.EventDelegate].
func (d delegate) NotifyUpdate(n *memberlist.Node) {
	m, of, err := decodeMember(n.Name, n.Meta)
	if err != nil {
		d.log.Warn("a node cannot be a member", zap.Error(err))
		return
	}
	if of.Client {
		return
	}
	m.Self = m.ID == d.cluster.ActorSystem.ID
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes[n.Name] = node{m, of.Started, n.Address()}
	d.notify()
}

// NotifyLeave implements [memberlist.EventDelegate]. Whether the node left or died
// cannot be told.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gone, ok := d.nodes[n.Name]; ok && !gone.member.Draining {
		d.lost[gone.gossip] = time.Now()
	}
	delete(d.nodes, n.Name)
	d.notify()
}

func (p *Provider) notify() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}
