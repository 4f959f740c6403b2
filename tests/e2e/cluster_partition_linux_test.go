package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// apart is a cluster whose hubs have a network namespace each; edges and the database
// are in a further one, world. Between them a router drops what it is told to.
type apart struct {
	*hubs
	net *network
}

// newApart needs root.
func newApart(t *testing.T) *apart {
	t.Helper()
	need.Root(t)
	need.Program(t, "ip")
	h := newHubs(t, 3, 0)
	n := &network{t: t, name: fmt.Sprintf("cl%d", os.Getpid())}
	x := &apart{h, n}
	for i, host := range []string{"router", "hub1", "hub2", "hub3", "world"} {
		ns := n.name + "-" + host
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "delete", ns) })
		if host == "router" {
			ip(t, "netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
			continue
		}
		router := n.name + "-router"
		ip(t, "link", "add", "wan", "netns", ns, "type", "veth", "peer", "name", host, "netns", router)
		ip(t, "-n", ns, "address", "add", fmt.Sprintf("10.77.%d.1/24", i), "dev", "wan")
		ip(t, "-n", router, "address", "add", fmt.Sprintf("10.77.%d.254/24", i), "dev", host)
		ip(t, "-n", ns, "link", "set", "lo", "up")
		ip(t, "-n", ns, "link", "set", "wan", "up")
		ip(t, "-n", router, "link", "set", host, "up")
		ip(t, "-n", ns, "route", "add", "default", "via", fmt.Sprintf("10.77.%d.254", i))
	}
	for i, hub := range h.nodes {
		host, at := fmt.Sprint("hub", i+1), fmt.Sprintf("10.77.%d.1", i+1)
		hub.http, hub.link, hub.gossip, hub.remote = at+":8080", at+":7443", at+":7946", at+":8090"
		hub.dial, hub.cert, hub.in = hub.link, hub.name+"-there", x.inside(host)
		h.pki("hub", h.path("pki"), hub.cert, "--host", at)
		hub.reach = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = n.within(host, func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		}
	}
	x.relay(world+":5432", h.db.Address())
	_, port, _ := net.SplitHostPort(h.db.Address())
	h.dsn = strings.NewReplacer("127.0.0.1", world, "port="+port, "port=5432").Replace(h.dsn)
	return x
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if output, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, output)
	}
}

// inside is a host's namespace.
func (x *apart) inside(host string) inside {
	in := x.net.inside(host)
	in.by = []string{"ip", "netns", "exec", x.net.name + "-" + host}
	return in
}

// edge adds one whose SMSC is out of the namespaces.
func (x *apart) edge(id, prefix, protocol string) {
	x.t.Helper()
	e := x.site.edge(id, prefix, protocol, false)
	e.in = x.inside("world")
	e.tapAt = x.relay("127.0.0.1:0", e.smscAt)
	x.knows(e, x.nodes...)
}

// relay has the world reach something here.
func (x *apart) relay(listen, target string) (at string) {
	x.t.Helper()
	l, err := x.net.listen("world", listen)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = way[0].Close(), way[1].Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}

// isolate cuts a hub from the others, and from database and edges too if all is set:
// packets vanish on the way, both ways.
func (x *apart) isolate(n *hubNode, all bool) (heal func()) {
	x.t.Helper()
	own, _, _ := net.SplitHostPort(n.http)
	var others []string
	for _, other := range x.nodes {
		if at, _, _ := net.SplitHostPort(other.http); other != n {
			others = append(others, at)
		}
	}
	if all {
		others = append(others, world)
	}
	rules := func(what string) {
		for _, other := range others {
			for _, way := range [][2]string{{own, other}, {other, own}} {
				ip(x.t, "-n", x.net.name+"-router", "rule", what, "from", way[0], "to", way[1], "blackhole")
			}
		}
	}
	rules("add")
	return func() { rules("delete") }
}

const world = "10.77.4.1"

// The hub that owns an edge's rings is cut off from the others for a while: with the
// database and the edges in reach, and without.
func TestClusterPartition(t *testing.T) {
	long(t)
	const parted, wellWithin = 30 * time.Second, 10 * time.Second // after the network is whole
	for _, all := range []bool{false, true} {
		t.Run(map[bool]string{false: "it still reaches the database", true: "it reaches nothing"}[all], func(t *testing.T) {
			x := newApart(t)
			x.t = t
			x.edge("manila-1", "+63917", "cimd2")
			x.edge("cebu-1", "+63918", "smpp")
			x.configured(6)
			x.start()
			eventually(t, 30*time.Second, func() string { return x.agree(8) })
			load := x.load(3, 12, 80*time.Millisecond)
			load.flow(20 * time.Second)
			owner := x.owner(x.edges[0])
			at := time.Now()
			heal := x.isolate(owner, all)
			if all { // who is connected to it hears nothing
				<-time.After(2 * time.Second)
				owner.hang(true)
			}
			d, u := load.flowsAgain(0, at, 60*time.Second)
			t.Logf("%s is cut off: flows again after %v down, %v up", owner.name, d.Round(time.Millisecond), u.Round(time.Millisecond))
			<-time.After(parted - time.Since(at))
			heal()
			owner.hang(false)
			healed := time.Now()
			x.well(60 * time.Second)
			eventually(t, 60*time.Second, func() string { return x.agree(8) })
			took := time.Since(healed)
			down, up := load.pauses(at, healed)
			t.Logf("longest pause of a conversation while the hub was cut off: %v down, %v up", down.Round(time.Millisecond), up.Round(time.Millisecond))
			t.Logf("all is well %v after the partition healed", took.Round(time.Millisecond))
			if took > wellWithin {
				t.Errorf("all is well %v after the partition healed, want %v", took, wellWithin)
			}
			load.flow(30 * time.Second)
			load.judge(90 * time.Second)
			x.neverTwice()
			for _, one := range x.tenures() {
				if one.hub == owner.name && one.from.Before(at) && one.to.After(at) {
					t.Logf("%v after the cut it had given up the rings of %s", one.to.Sub(at).Round(time.Millisecond), one.edge)
				}
			}
		})
	}
}
