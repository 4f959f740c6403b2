package gossip

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// How pools are made up: gossip.pools.
const (
	PerEdge = "per_edge"
	Shared  = "shared"
)

const sharedLabel = "edges"

func labelOf(pools, edge string) string {
	if pools == Shared {
		return sharedLabel
	}
	return "edge/" + edge
}

// settings are those that held in simulations with 300 and 600 ms there and back and
// 2 to 10 % loss: a death is seen within 15 s, none is seen that was not.
func settings(pools string) *memberlist.Config {
	c := memberlist.DefaultWANConfig()
	c.ProbeInterval = 2 * time.Second
	c.ProbeTimeout = 1500 * time.Millisecond
	c.SuspicionMult = 4
	c.SuspicionMaxTimeoutMult = 3
	c.PushPullInterval = 30 * time.Second
	c.GossipInterval = 300 * time.Millisecond
	c.TCPTimeout = 10 * time.Second
	if pools == Shared { // most of whose members cannot reach each other
		c.ProbeInterval = 3 * time.Second
		c.ProbeTimeout = 2 * time.Second
		c.RetransmitMult = 20
		c.GossipNodes = 8
		c.IndirectChecks = 6
	}
	return c
}

// rejoinEvery is between two looks at who is missing: memberlist forgets members that
// are away for long, and never asks for them again by itself.
const rejoinEvery = 15 * time.Second

// meta is what a node says of itself. JSON, so that releases may add what others do
// not know.
type meta struct {
	Role string `json:"r"` // hub, edge
	Name string `json:"n"`
	Link string `json:"l,omitempty"` // a hub's link address
}

const (
	roleHub  = "hub"
	roleEdge = "edge"
)

type poolConfig struct {
	self  meta
	pools string
	label string
	keys  [][]byte
	join  func() []string // gossip addresses of hubs that should be in it
	log   *zap.Logger
}

// pool is one memberlist, and who of it is alive.
type pool struct {
	cfg     poolConfig
	name    string // in memberlist
	list    *memberlist.Memberlist
	changed func()

	mu    sync.Mutex
	alive map[string]member // by memberlist's name
	ended chan struct{}
	loops sync.WaitGroup
}

// member is copied where memberlist's locks are held: it writes into the nodes that it
// has given out.
type member struct {
	meta
	address string
}

// newPool starts one. changed is called when somebody comes or goes, and must not wait.
func newPool(m *mux, cfg poolConfig, changed func()) (*pool, error) {
	p := &pool{cfg: cfg, changed: changed, alive: map[string]member{}, ended: make(chan struct{})}
	about, err := json.Marshal(cfg.self)
	if err != nil || len(about) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("gossip: %d octets about this node, %d at most: its name or link address is too long (%w)", len(about), memberlist.MetaMaxSize, err)
	}
	c := settings(cfg.pools)
	// Another name for each run: an old one need not be forgotten first.
	run := make([]byte, 4)
	rand.Read(run) // never fails (crypto/rand)
	c.Name = cfg.self.Role + "/" + cfg.self.Name + "/" + hex.EncodeToString(run)
	p.name = c.Name
	c.Label, c.SkipInboundLabelCheck = cfg.label, true // the mux has taken it off
	c.Transport = m.open(cfg.label)
	c.Delegate, c.Events = delegate{about}, p
	c.Logger = loggerTo(cfg.log)
	if len(cfg.keys) > 0 {
		if c.Keyring, err = memberlist.NewKeyring(cfg.keys, cfg.keys[0]); err != nil {
			return nil, fmt.Errorf("gossip: key: %w", err)
		}
	}
	if p.list, err = memberlist.Create(c); err != nil {
		return nil, fmt.Errorf("gossip: pool %s: %w", cfg.label, err)
	}
	p.loops.Go(p.joining)
	return p, nil
}

// joining looks for hubs that are missing, at once and from time to time.
func (p *pool) joining() {
	every := time.NewTicker(rejoinEvery)
	defer every.Stop()
	for {
		if missing := p.missing(); len(missing) > 0 {
			if n, err := p.list.Join(missing); err != nil {
				p.cfg.log.Debug("not every hub takes part in gossip", zap.String("pool", p.cfg.label), zap.Int("joined", n), zap.Error(err))
			}
		}
		select {
		case <-every.C:
		case <-p.ended:
			return
		}
	}
}

// missing lists addresses to join: those that no living member has. Names of hosts
// are not compared: they count as missing while there are fewer hubs than addresses.
func (p *pool) missing() []string {
	want := p.cfg.join()
	have, hubs := map[string]bool{}, 0
	p.mu.Lock()
	for name, m := range p.alive {
		have[m.address] = true
		if m.Role == roleHub && name != p.name {
			hubs++
		}
	}
	p.mu.Unlock()
	missing := slices.DeleteFunc(slices.Clone(want), func(a string) bool { return have[a] })
	if hubs < len(want) {
		return missing
	}
	return slices.DeleteFunc(missing, func(a string) bool {
		host, _, err := net.SplitHostPort(a)
		return err != nil || net.ParseIP(host) == nil
	})
}

// members lists who is alive, by name.
func (p *pool) members() []meta {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]meta, 0, len(p.alive))
	for _, name := range slices.Sorted(maps.Keys(p.alive)) {
		all = append(all, p.alive[name].meta)
	}
	return all
}

// NotifyJoin implements memberlist.EventDelegate, whose locks are held.
func (p *pool) NotifyJoin(n *memberlist.Node) { p.NotifyUpdate(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (p *pool) NotifyUpdate(n *memberlist.Node) {
	var m meta
	if err := json.Unmarshal(n.Meta, &m); err != nil {
		return // not one of ours
	}
	p.mu.Lock()
	p.alive[n.Name] = member{m, n.Address()}
	p.mu.Unlock()
	p.changed()
}

// NotifyLeave implements memberlist.EventDelegate.
func (p *pool) NotifyLeave(n *memberlist.Node) {
	p.mu.Lock()
	delete(p.alive, n.Name)
	p.mu.Unlock()
	p.changed()
}

// leaveWithin is how long the others are told that this node goes.
const leaveWithin = time.Second

func (p *pool) stop() error {
	close(p.ended)
	_ = p.list.Leave(leaveWithin) // they find out anyway
	err := p.list.Shutdown()
	p.loops.Wait()
	return err
}

// delegate says what a node tells of itself.
type delegate struct{ about []byte }

func (d delegate) NodeMeta(int) []byte                { return d.about }
func (delegate) NotifyMsg([]byte)                     {}
func (delegate) GetBroadcasts(_, _ int) [][]byte      { return nil }
func (delegate) LocalState(bool) []byte               { return nil }
func (delegate) MergeRemoteState(_ []byte, join bool) {}

// lines makes a log of memberlist's. Of what it calls errors on a lossy path nothing
// needs anybody, but keys that do not fit do.
type lines struct{ log *zap.Logger }

func (l lines) Write(line []byte) (int, error) {
	if text := string(bytes.TrimSpace(line)); strings.Contains(text, "ecrypt") {
		l.log.Warn("gossip that cannot be decrypted: the key files differ", zap.String("why", text))
	} else {
		l.log.Debug(text)
	}
	return len(line), nil
}

func loggerTo(to *zap.Logger) *log.Logger {
	seldom := zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 3, 1000)
	})
	return log.New(lines{to.Named("gossip").WithOptions(seldom)}, "", 0)
}

// listen opens a port for UDP and TCP.
func listen(address string, log *zap.Logger) (memberlist.Transport, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen %q: %w", address, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen %q: %w", address, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return nil, fmt.Errorf("gossip: listen %q: %w", address, err)
	}
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{ip.IP.String()}, BindPort: int(n), Logger: loggerTo(log),
	})
	if err != nil {
		return nil, fmt.Errorf("gossip: listen: %w; choose a free address", err)
	}
	return t, nil
}
