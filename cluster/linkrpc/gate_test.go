package linkrpc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// caller is a connection that can only be closed.
type caller struct {
	net.Conn
	from   string
	closed bool
}

func (c *caller) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.from), 1))
}

func (c *caller) Close() error {
	c.closed = true
	return nil
}

func TestCrowdAtOneAddressGivesWay(t *testing.T) {
	g := newGate()
	now := time.Unix(1, 0)
	honest := &caller{from: "192.0.2.1"}
	g.enter(honest, now)
	var crowd []*caller
	for range maxHandshakes + 300 {
		c := &caller{from: "198.51.100.7"}
		crowd = append(crowd, c)
		if !g.enter(c, now) {
			t.Fatal("refused within the burst")
		}
	}
	if honest.closed {
		t.Error("the one of another address had to give way")
	}
	for i, c := range crowd {
		if early := i < 301; c.closed != early {
			t.Fatalf("number %d of the crowd: closed %v", i, c.closed)
		}
	}
	if err := g.leave(crowd[0]); !errors.Is(err, errCrowd) {
		t.Errorf("who gave way hears %v", err)
	}
	if err := g.leave(honest); err != nil {
		t.Errorf("who did not hears %v", err)
	}
}

func TestNewConnectionsOfOneAddressHaveARate(t *testing.T) {
	g := newGate()
	now := time.Unix(1, 0)
	in := func(from string, n int) (entered int) {
		for range n {
			c := &caller{from: from}
			if g.enter(c, now) {
				entered++
				g.leave(c)
			}
		}
		return entered
	}
	if n := in("198.51.100.7", 5000); n != newAtOnce {
		t.Errorf("%d came in at once, want %d", n, newAtOnce)
	}
	if n := in("192.0.2.1", 10); n != 10 {
		t.Errorf("%d of another address came in, want 10", n)
	}
	now = now.Add(time.Second)
	if n := in("198.51.100.7", 5000); n != newPerSecond {
		t.Errorf("%d came in a second later, want %d", n, newPerSecond)
	}
	if n := in("2001:db8::1", 5000) + in("2001:db8::2", 5000); n != newAtOnce {
		t.Errorf("%d of one /64 came in, want %d", n, newAtOnce)
	}
	if n := in("::ffff:192.0.2.2", 900) + in("192.0.2.2", 900); n != newAtOnce {
		t.Errorf("%d of one IPv4 address in two forms came in, want %d", n, newAtOnce)
	}
	for i := range 100_000 { // and what is known of addresses is forgotten
		now = now.Add(10 * time.Millisecond)
		in(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), 1)
	}
	if len(g.at) > 5000 {
		t.Errorf("%d addresses are remembered", len(g.at))
	}
}

func TestConnectionsOfOneCertificateAreCounted(t *testing.T) {
	g := newGate()
	var in []net.Conn
	for range maxPerPeer {
		c, err := g.admit(&caller{}, "edge manila-1")
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, c)
	}
	if _, err := g.admit(&caller{}, "edge manila-1"); !errors.Is(err, errPeers) {
		t.Errorf("one more: %v", err)
	}
	if _, err := g.admit(&caller{}, "edge cebu-1"); err != nil {
		t.Errorf("another's: %v", err)
	}
	for range 3 { // once is enough
		in[0].Close()
	}
	if _, err := g.admit(&caller{}, "edge manila-1"); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if _, err := g.admit(&caller{}, "edge manila-1"); !errors.Is(err, errPeers) {
		t.Errorf("one more again: %v", err)
	}
}

// census counts who has not given way, by address.
func census(of []*caller) (sum int, at map[string]int) {
	at = map[string]int{}
	for _, c := range of {
		if !c.closed {
			sum++
			at[c.from]++
		}
	}
	return sum, at
}

// Whatever comes and goes, the gate's counts are those of what is there, and nobody
// gives way without need.
func TestGateKeepsItsBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGate()
		g.handshakes, g.burst = 8, 30
		now := time.Unix(1, 0)
		var there []*caller
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(there) > 0 && rapid.Bool().Draw(t, "leave") {
				i := rapid.IntRange(0, len(there)-1).Draw(t, "who")
				if err := g.leave(there[i]); (err != nil) != there[i].closed {
					t.Fatalf("closed %v, told %v", there[i].closed, err)
				}
				there = append(there[:i], there[i+1:]...)
				continue
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond)
			c := &caller{from: fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 4).Draw(t, "from"))}
			before, _ := census(there)
			if g.enter(c, now) {
				there = append(there, c)
				before++
			}
			sum, alive := census(there)
			if sum != min(before, g.handshakes) {
				t.Fatalf("%d handshakes are under way of %d", sum, before)
			}
			for from, n := range alive {
				if a := g.at[netip.MustParseAddr(from)]; a.waiting != n {
					t.Fatalf("%s has %d, the gate counts %d", from, n, a.waiting)
				}
			}
		}
	})
}
