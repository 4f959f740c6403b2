package hub

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/cluster"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/pki"
)

// Grain kinds of a cluster of hubs: one ring an edge, one client a user.
const (
	kindRing   = "ring"
	kindClient = "client"
)

const (
	clusterName   = "ringway" // hubs with another one's gossip are not heard
	linkAttribute = "link"    // of a member: the address that edges dial

	announceEvery = 20 * time.Second
	askWithin     = time.Second
	mostAnnounces = 64 // under way at a time
)

// member is this hub as one of a cluster: rings and client grains live where the
// cluster puts them.
type member struct {
	hub       *Hub
	leases    journal.Leases
	joined    atomic.Pointer[cluster.Node] // nil: not yet
	keeper    *actor.PID
	announces chan struct{} // has room for one more under way

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, when rings may have found an owner
}

func newMember(h *Hub, leases journal.Leases) *member {
	return &member{hub: h, leases: leases, announces: make(chan struct{}, mostAnnounces), changed: make(chan struct{})}
}

// errNotJoined: the hub has not been started, or has left.
var errNotJoined = errors.New("hub: not a member of the cluster yet")

// join makes the hub a member. Edges dial it at link.
func (m *member) join(link string) error {
	h, cfg := m.hub, m.hub.cfg.Cluster
	tls, err := clusterTLS(cfg.TLS)
	if err != nil {
		return fmt.Errorf("hub: cluster.tls: %w", err)
	}
	m.keeper = h.system.Root.Spawn(newKeeper(m))
	node, err := cluster.Start(cluster.Config{
		Name: h.name, Cluster: clusterName, System: h.system, Log: h.log, TLS: tls,
		Listen: cfg.Listen, Advertise: cfg.Advertise, Join: cfg.Join, KeyFile: cfg.KeyFile,
		Remote: cfg.Remote, AdvertiseRemote: cfg.AdvertiseRemote, Attributes: m.attributes(link),
		Leases: m.leases, LeaseTTL: cfg.LeaseTTL,
		Kinds: []cluster.Kind{{Name: kindRing, Props: m.ringProps, HandOver: true}, {Name: kindClient, Props: m.clientProps}},
		Watch: func([]cluster.Member) { m.onMembers() },
		Ready: func(err error) {
			h.setReady("cluster", err)
			m.onMembers()
		},
	})
	if err != nil {
		return fmt.Errorf("hub: joining the cluster: %w", err)
	}
	m.joined.Store(node)
	m.onMembers()
	return nil
}

// leave ends the membership, and with it all grains here. It returns the actors that
// are to be stopped next.
func (m *member) leave() []*actor.PID {
	if node := m.joined.Load(); node != nil {
		if err := node.Stop(); err != nil {
			m.hub.log.Warn("leaving the cluster", zap.Error(err))
		}
	}
	if m.keeper == nil {
		return nil
	}
	return []*actor.PID{m.keeper}
}

// rekey takes up a changed file of gossip keys.
func (m *member) rekey() {
	node := m.joined.Load()
	if node == nil || m.hub.cfg.Cluster.KeyFile == "" {
		return
	}
	if err := node.Rekey(); err != nil {
		m.hub.log.Error("the gossip keys stay as they are", zap.String("file", m.hub.cfg.Cluster.KeyFile), zap.Error(err))
	}
}

func clusterTLS(files config.TLS) (t cluster.TLS, err error) {
	if t.Server, err = pki.ServerTLS(files.Cert, files.Key, files.CA); err != nil {
		return t, err
	}
	if t.Client, err = pki.EachClientTLS(files.Cert, files.Key, files.CA); err != nil {
		return t, err
	}
	t.Peer = func(cert *x509.Certificate) error {
		role, name, err := pki.Identity(cert)
		if err == nil && role != pki.RoleHub {
			err = fmt.Errorf("the certificate is that of %s %q: hubs need one made with ringway pki hub", role, name)
		}
		return err
	}
	return t, nil
}

func (m *member) ringProps(id string, _ uint64) *actor.Props {
	cfg, _ := m.hub.edge(id)
	cfg.ID = id
	return newRing(m.hub, cfg, nil)
}

func (m *member) clientProps(string, uint64) *actor.Props {
	return hubactors.NewWhereabouts(hubactors.WhereaboutsConfig{Now: m.hub.now, Member: m.isMember, ForgetAfter: 3 * announceEvery})
}

func (m *member) isMember(id string) bool {
	return slices.ContainsFunc(m.members(), func(other cluster.Member) bool { return other.ID == id })
}

func (m *member) members() []cluster.Member {
	if node := m.joined.Load(); node != nil {
		return node.Members()
	}
	return nil
}

// owner is who is to have an edge's rings.
func (m *member) owner(edge string) (cluster.Member, bool) {
	if node := m.joined.Load(); node != nil {
		return node.Owner(kindRing, edge)
	}
	return cluster.Member{}, false
}

// ask asks a grain, wherever it is.
func (m *member) ask(ctx context.Context, kind, identity string, question proto.Message) (any, error) {
	if node := m.joined.Load(); node != nil {
		return node.Request(ctx, kind, identity, question)
	}
	return nil, errNotJoined
}

// onMembers: members, their addresses or this hub's right to own things have changed.
func (m *member) onMembers() {
	root := m.hub.system.Root
	root.Send(m.keeper, look{})
	root.Send(m.hub.announcer, hubactors.AnnounceAll{})
	m.wake()
}

// wake has those look again who wait for the owner of rings.
func (m *member) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *member) changes() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// lacks says whether an edge's rings belong here and are not.
func (m *member) lacks(edge string) bool {
	node := m.joined.Load()
	if node == nil || node.Ready() != nil {
		return false
	}
	owner, ok := node.Owner(kindRing, edge)
	_, here := node.Local(kindRing, edge)
	return ok && owner.Self && !here
}

// activate has an edge's rings served by whose they are.
func (m *member) activate(ctx context.Context, edge string) error {
	_, err := m.joined.Load().Locate(ctx, kindRing, edge)
	return err
}

// serving finds who serves an edge: the session here, or the link address of the hub
// that is to; it waits for one that is just being found.
func (m *member) serving(ctx context.Context, edge string) (session *actor.PID, redirect string, err error) {
	for {
		changed := m.changes()
		if e := m.hub.owned(edge); e != nil {
			return e.session, "", nil
		}
		if owner, ok := m.owner(edge); ok && !owner.Self && owner.Attributes[linkAttribute] != "" {
			return nil, owner.Attributes[linkAttribute], nil
		}
		select {
		case <-ctx.Done():
			return nil, "", fmt.Errorf("hub: no owner for the rings of edge %s yet: %w", edge, ctx.Err())
		case <-changed:
		}
	}
}

// attributes are what this hub tells the others of itself.
func (m *member) attributes(link string) map[string]string {
	told := map[string]string{linkAttribute: link}
	if m.hub.gossip != nil {
		told[gossipAttribute] = m.hub.gossip.Address()
	}
	return told
}

// links are the addresses of all hubs, for edges.
func (m *member) links() []string { return m.hub.attributes(linkAttribute) }

// tellAll gives the other hubs a hint.
func (m *member) tellAll(hint proto.Message) {
	if node := m.joined.Load(); node != nil {
		node.Broadcast(hintsName, hint)
	}
}

// tellOwner gives a hint to the hub that has an edge's rings.
func (m *member) tellOwner(edge string, hint proto.Message) {
	if owner, ok := m.owner(edge); ok && !owner.Self {
		m.hub.system.Root.Send(actor.NewPID(owner.Address, hintsName), hint)
	}
}

// announce tells a user's client grain of his devices here. What fails is said again
// in a while.
func (m *member) announce(p hubactors.IsPresent) {
	a := &messages.Announce{Hub: m.hub.system.ID}
	if !p.Since.IsZero() {
		a.SinceUnixMs = p.Since.UnixMilli()
	}
	go func() {
		m.announces <- struct{}{}
		defer func() { <-m.announces }()
		ctx, cancel := context.WithTimeout(context.Background(), 5*askWithin)
		defer cancel()
		if _, err := m.ask(ctx, kindClient, p.User, a); err != nil {
			m.hub.log.Debug("a user's presence was not announced", zap.String("user", p.User), zap.Error(err))
		}
	}()
}

// presence asks a user's client grain.
func (m *member) presence(ctx context.Context, user string) (online bool, since time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*askWithin)
	defer cancel()
	answer, err := m.ask(ctx, kindClient, user, &messages.GetPresence{})
	if err != nil {
		return false, since, err
	}
	is, ok := answer.(*messages.PresenceOf)
	if !ok {
		return false, since, fmt.Errorf("hub: the client grain of %q answers with %T", user, answer)
	}
	if is.SinceUnixMs != 0 {
		since = time.UnixMilli(is.SinceUnixMs)
	}
	return is.Online, since, nil
}

// allRings shows every edge's rings, wherever they are.
type allRings struct{ member *member }

func (a allRings) Rings() []EdgeRings {
	edges := a.member.hub.cfg.Edges
	all := make([]EdgeRings, len(edges))
	var asking sync.WaitGroup
	for i, cfg := range edges {
		asking.Go(func() { all[i] = a.view(cfg.ID, messages.Ring_RING_UNSPECIFIED) })
	}
	asking.Wait()
	return all
}

func (a allRings) Ring(id string, ring messages.Ring) (EdgeRings, bool) {
	if _, ok := a.member.hub.edge(id); !ok {
		return EdgeRings{}, false
	}
	return a.view(id, ring), true
}

func (a allRings) view(id string, ring messages.Ring) EdgeRings {
	h := a.member.hub
	if e := h.owned(id); e != nil {
		return h.picture(e, ring)
	}
	unknown := EdgeRings{ID: id, Link: LinkUnknown, Gossip: h.heard(id)}
	owner, ok := a.member.owner(id)
	if !ok || owner.Self {
		return unknown
	}
	unknown.Owner = owner.Name
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	answer, err := a.member.ask(ctx, kindRing, id, &messages.GetRings{Ring: ring})
	if rings, ok := answer.(*messages.RingsAre); err == nil && ok {
		v := fromWire(id, rings)
		v.Gossip = unknown.Gossip
		return v
	}
	return unknown
}
