package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/wan"
	"github.com/ringway-im/ringway/tests/pgtest"
)

// hubs is a cluster: processes that share a PostgreSQL server of their own.
//
//	person ─▶ any hub ─┐                      ┌─▶ edge ─▶ SMSC
//	person ─▶ any hub ─┼─ the owner's link ───┤
//	                   │                      └─▶ edge ─▶ SMSC
//	              PostgreSQL
type hubs struct {
	*site
	db    *pgtest.Server
	dsn   string
	rtt   time.Duration // between edges and hubs; 0: no WAN
	nodes []*hubNode
	more  []*siteEdge // configured, and never run: their rings are spread too
	past  []*hubNode  // processes that have ended, or were replaced

	embedded bool // one hub with a store of its own instead
}

// hubNode is a hub of the cluster, whether it runs or not.
type hubNode struct {
	*node                            // nil: it never ran
	name                             string
	http, link, dial, gossip, remote string // addresses; dial: where edges reach link
	conns                            *connections
	cert                             string
	in                               inside
	reach                            func(ctx context.Context, network, address string) (net.Conn, error) // from clients; nil: as ever
	until                            time.Time                                                            // of a process that has ended
}

// kill ends the process at once.
func (n *hubNode) kill() {
	n.node.kill()
	n.until = time.Now()
}

// stop ends it in order.
func (n *hubNode) stop() {
	n.node.stop()
	n.until = time.Now()
}

// newHubs lays out a cluster of so many hubs; none runs yet.
func newHubs(t testing.TB, count int, rtt time.Duration) *hubs {
	t.Helper()
	db := pgtest.New(t)
	s := newSite(t)
	h := &hubs{site: s, db: db, dsn: db.Database(t), rtt: rtt}
	s.write("admin.token", "the administrator's own secret")
	for i := range count {
		n := &hubNode{name: fmt.Sprint("hub-", i+1), http: address(t), link: address(t), gossip: address(t), remote: address(t), conns: newConnections()}
		n.dial, n.cert = n.link, n.name
		if rtt > 0 {
			relay, err := wan.New(wan.Config{Target: n.link, RTT: rtt})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = relay.Close() })
			n.dial = relay.Addr()
		}
		if i > 0 { // newSite has made the first one's
			s.pki("hub", s.path("pki"), n.name)
		}
		h.nodes = append(h.nodes, n)
	}
	return h
}

// edge adds an edge with an SMSC of its own that knows all hubs.
func (h *hubs) edge(id, prefix, protocol string) *siteEdge {
	h.t.Helper()
	e := h.site.edge(id, prefix, protocol, false)
	h.knows(e, h.nodes...)
	return e
}

// knows writes an edge's file: which hubs it dials.
func (h *hubs) knows(e *siteEdge, nodes ...*hubNode) {
	h.t.Helper()
	var at []string
	for _, n := range nodes {
		at = append(at, fmt.Sprintf("%q", n.dial))
	}
	file := h.edgeYAML(e)
	h.write(e.id+".yaml", strings.Replace(file, fmt.Sprintf("hubs: [%q]", h.link), "hubs: ["+strings.Join(at, ", ")+"]", 1))
}

// configured adds edges that are only configured.
func (h *hubs) configured(count int) {
	for i := range count {
		h.more = append(h.more, &siteEdge{id: fmt.Sprint("spare-", i+1), prefix: fmt.Sprintf("+6390%d", i), number: fmt.Sprintf("6390%d000", i)})
	}
}

func (h *hubs) yaml(n *hubNode) string {
	var join []string
	for _, other := range h.nodes {
		join = append(join, fmt.Sprintf("%q", other.gossip))
	}
	shared := fmt.Sprintf(`store: {driver: postgres, dsn: %q}
cluster:
  name: %s
  listen: %q
  remote: %q
  join: [%s]
`, h.dsn, n.name, n.gossip, n.remote, strings.Join(join, ", "))
	if h.embedded {
		shared = ""
	}
	yaml := fmt.Sprintf(`data_dir: ./%s-data
http: {listen: %q}
admin: {token_file: admin.token}
link:
  listen: %q
  advertise: %q
  tls: {cert: pki/%[5]s.crt, key: pki/%[5]s.key, ca: pki/ca.crt}
limits: {login_per_minute: 100000}
%[6]s%[7]sedges:
`, n.name, n.http, n.link, n.dial, n.cert, shared, h.extras)
	for _, e := range append(h.edges[:len(h.edges):len(h.edges)], h.more...) {
		yaml += fmt.Sprintf("  - id: %s\n    prefixes: [%q]\n    number: %q\n", e.id, e.prefix, e.number)
	}
	return yaml
}

// launch starts a hub.
func (h *hubs) launch(n *hubNode) *hubNode {
	h.t.Helper()
	if n.node != nil {
		h.past = append(h.past, &hubNode{node: n.node, name: n.name, until: n.until})
		n.until = time.Time{}
	}
	n.node = launchAs(h.t, n.in.by, "hub", "--config", h.write(n.name+".yaml", h.yaml(n)))
	n.node.name = n.name
	return n
}

// start starts all hubs, then edges and SMSCs, and waits until all is connected.
func (h *hubs) start() {
	h.t.Helper()
	for _, n := range h.nodes {
		h.launch(n)
	}
	for _, n := range h.nodes {
		n.ready()
	}
	for _, e := range h.edges {
		h.launchSMSC(e, "--latency", "1ms").ready()
		h.launchEdge(e).ready()
	}
	h.well(60 * time.Second)
}

// well waits until every hub that runs is ready and every edge is connected.
func (h *hubs) well(limit time.Duration) {
	h.t.Helper()
	for _, n := range h.running() {
		isReady(h.api(n), limit)
	}
	for _, e := range h.edges {
		isReady(e.api(h.t), limit)
	}
}

func (h *hubs) running() (all []*hubNode) {
	for _, n := range h.nodes {
		if n.node != nil && !n.ended() {
			all = append(all, n)
		}
	}
	return all
}

// api of one hub, for the administrator.
func (h *hubs) api(n *hubNode) api {
	return api{t: h.t, base: "http://" + n.http, token: "the administrator's own secret", client: n.in.client}
}

// any is an api of whoever knows all hubs and begins with the given one.
func (h *hubs) any(first int) api {
	d := &dialAny{hubs: h.nodes, next: first}
	return api{t: h.t, base: "http://any", token: "the administrator's own secret", client: &http.Client{
		Timeout: 15 * time.Second, Transport: &http.Transport{DialContext: d.dial, MaxIdleConnsPerHost: 8},
	}}
}

// dialAny connects to one hub until that refuses, then to the next.
type dialAny struct {
	hubs []*hubNode

	mu   sync.Mutex
	next int
}

func (d *dialAny) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for range d.hubs {
		n := d.hubs[d.next%len(d.hubs)]
		var conn net.Conn
		if n.silent() {
			err = fmt.Errorf("%s is silent", n.name)
		} else if conn, err = n.connect(ctx, network); err == nil {
			return n.conns.add(conn), nil
		}
		d.next++
	}
	return nil, err
}

func (n *hubNode) connect(ctx context.Context, network string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if n.reach != nil {
		return n.reach(ctx, network, n.http)
	}
	return new(net.Dialer).DialContext(ctx, network, n.http)
}

// connections of clients to one hub. A client that hears nothing for a while
// hangs up and looks for another hub: hang does it for all.
type connections struct {
	mu   sync.Mutex
	open map[*counted]bool
	hung bool
}

type counted struct {
	net.Conn
	of *connections
}

func newConnections() *connections { return &connections{open: map[*counted]bool{}} }

func (c *connections) add(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &counted{conn, c}
	c.open[k] = true
	return k
}

func (k *counted) Close() error {
	k.of.mu.Lock()
	delete(k.of.open, k)
	k.of.mu.Unlock()
	return k.Conn.Close()
}

// hang has all clients leave the hub, and none come, until it is called with false.
func (n *hubNode) hang(up bool) {
	n.conns.mu.Lock()
	n.conns.hung = up
	var open []*counted
	if up {
		for k := range n.conns.open {
			open = append(open, k)
		}
	}
	n.conns.mu.Unlock()
	for _, k := range open {
		_ = k.Close()
	}
}

func (n *hubNode) silent() bool {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	return n.conns.hung
}

// flows makes traffic for each edge: people who are spread over the hubs.
func (h *hubs) flows(people, handsets int) (all []*flow) {
	h.t.Helper()
	for _, e := range h.edges {
		f := &flow{t: h.t, hub: h.any(0), smsc: e.smsc(h.t), number: e.number, toPerson: map[string][]string{}}
		for i := range people {
			p := newPerson(h.any(i), fmt.Sprintf("%s-%d", e.id, i+1))
			p.manyHubs = len(h.nodes) > 1
			f.people = append(f.people, p.online())
		}
		for i := range handsets {
			f.handsets = append(f.handsets, fmt.Sprintf("%s%07d", e.prefix, i+1))
		}
		all = append(all, f)
	}
	return all
}

// owners says which hub has which edge's rings, as one hub sees it.
func (h *hubs) owners(asked *hubNode) (owner map[string]string, err error) {
	var rings struct {
		Edges []struct {
			ID, Owner string
		}
	}
	if _, _, err := h.api(asked).try(h.t.Context(), "GET", "/v1/rings", nil, &rings); err != nil {
		return nil, err
	}
	owner = map[string]string{}
	for _, e := range rings.Edges {
		owner[e.ID] = e.Owner
	}
	return owner, nil
}

// owner waits until somebody has an edge's rings.
func (h *hubs) owner(e *siteEdge) (owner *hubNode) {
	h.t.Helper()
	eventually(h.t, 20*time.Second, func() string {
		for _, n := range h.running() {
			owners, err := h.owners(n)
			if err != nil {
				continue
			}
			for _, other := range h.running() {
				if owners[e.id] == other.name {
					owner = other
					return ""
				}
			}
		}
		return "nobody has the rings of " + e.id
	})
	return owner
}
