package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// apart is a cluster whose hubs have a network namespace each; edges and the database
// are in a further one, world.
type apart struct {
	*hubs
	net *network
}

// newApart needs root.
func newApart(t *testing.T) *apart {
	t.Helper()
	need.Root(t)
	h := newHubs(t, 3, 0)
	name := fmt.Sprintf("cl%d", os.Getpid())
	control := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "/run/wanem/"+name+".sock")
	}
	n := &network{t: t, control: &http.Client{Transport: &http.Transport{DialContext: control}}, program: filepath.Join(built.dir, "wanem"), name: name}
	if output, err := exec.Command("go", "build", "-o", n.program, "../wanem").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	n.order("start", "--hosts", "hub1,hub2,hub3,world", "--rtt", "1ms")
	t.Cleanup(func() { n.order("stop") })
	for i, hub := range h.nodes {
		host, at := fmt.Sprint("hub", i+1), fmt.Sprintf("10.77.%d.1", i+1)
		hub.http, hub.link, hub.gossip, hub.remote = at+":8080", at+":7443", at+":7946", at+":8090"
		hub.dial, hub.cert, hub.in = hub.link, hub.name+"-there", n.inside(host)
		h.pki("hub", h.path("pki"), hub.cert, "--host", at)
		hub.reach = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = n.within(host, func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		}
	}
	x := &apart{h, n}
	x.relay("10.77.4.1:5432", h.db.Address())
	_, port, _ := net.SplitHostPort(h.db.Address())
	h.dsn = strings.NewReplacer("127.0.0.1", "10.77.4.1", "port="+port, "port=5432").Replace(h.dsn)
	return x
}

// edge adds one whose SMSC is out of the namespaces.
func (x *apart) edge(id, prefix, protocol string) {
	x.t.Helper()
	e := x.site.edge(id, prefix, protocol, false)
	e.in = x.net.inside("world")
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

// isolate cuts a hub from the others, and from database and edges too if all is set.
func (x *apart) isolate(n *hubNode, all bool) (heal func()) {
	x.t.Helper()
	var links []string
	own := strings.ReplaceAll(n.name, "-", "")
	for _, other := range x.nodes {
		if other != n {
			links = append(links, own+":"+strings.ReplaceAll(other.name, "-", ""))
		}
	}
	if all {
		links = append(links, own+":world")
	}
	x.net.order("down", "--link", strings.Join(links, ","))
	return func() { x.net.order("up") }
}

// The hub that owns an edge's rings is cut off from the others for a while: with the
// database and the edges in reach, and without.
func TestClusterPartition(t *testing.T) {
	long(t)
	const parted, wellWithin = 30 * time.Second, 10 * time.Second
	for _, all := range []bool{false, true} {
		t.Run(map[bool]string{false: "it still reaches the database", true: "it reaches nothing"}[all], func(t *testing.T) {
			x := newApart(t)
			x.t = t
			x.edge("manila-1", "+63917", "cimd2")
			x.edge("cebu-1", "+63918", "smpp")
			x.configured(6)
			x.start()
			eventually(t, 30*time.Second, func() string { return x.agree(8) })
			load := x.load(3, 12, 50*time.Millisecond)
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
