package gossip

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls real sockets.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// Two hubs with a port each and pools of two edges, on loopback.
func TestOverSockets(t *testing.T) {
	start := func(name string, peers ...string) *Hub {
		h, err := StartHub(HubConfig{
			Name: name, Link: name + ".example.net:7443", Listen: "127.0.0.1:0", Pools: PerEdge, Edges: []string{"a", "b"},
			Peers: func() []string { return peers }, Keys: [][]byte{key}, Log: zap.NewNop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	one := start("one")
	defer one.Stop()
	two := start("two", one.Address())
	edges := map[string]*Edge{}
	for _, id := range []string{"a", "b"} {
		e, err := StartEdge(EdgeConfig{Edge: id, Listen: "127.0.0.1:0", Pools: PerEdge, Join: []string{one.Address()}, Keys: [][]byte{key}, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		edges[id] = e
	}
	// What is no gossip at all does no harm.
	for _, network := range []string{"tcp", "udp"} {
		c, err := net.Dial(network, one.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, octets := range [][]byte{nil, {244}, {244, 0}, {244, 255, 'x'}, {244, 6, 'e', 'd', 'g', 'e', '/', 'a', 1, 2, 3}, bytes.Repeat([]byte{244, 1}, 500)} {
			_, _ = c.Write(octets)
		}
	}
	eventually(t, "all know each other", func() bool {
		for id, e := range edges {
			a, _ := one.Alive(id)
			b, _ := two.Alive(id)
			if !a || !b || len(e.Hubs()) != 2 {
				return false
			}
		}
		return true
	})
	if err := edges["a"].Stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "an edge has left", func() bool { alive, known := two.Alive("a"); return !alive && known })
	if err := two.Stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "a hub has left", func() bool { h := edges["b"].Hubs(); return len(h) == 1 && h[0] == "one.example.net:7443" })
	if two.Stop() != nil {
		t.Error("the second Stop does something")
	}
}

func TestBadAddressesAreRefused(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, c := range []struct{ listen, advertise, want string }{
		{busy.Addr().String(), "", "choose a free address"},
		{"127.0.0.1", "", "missing port"},
		{"127.0.0.1:0", "0.0.0.0:7947", "no address that others could reach"},
		{"127.0.0.1:0", "10.0.0.1", "set gossip.advertise"},
	} {
		_, err := StartHub(HubConfig{Name: "one", Listen: c.listen, Advertise: c.advertise, Pools: PerEdge, Edges: []string{"a"}, Log: zap.NewNop()})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gossip: ") {
			t.Errorf("listen %q, advertise %q: %v, want %q", c.listen, c.advertise, err, c.want)
		}
	}
	if _, err := StartHub(HubConfig{Name: strings.Repeat("x", 600), Listen: "127.0.0.1:0", Pools: PerEdge, Edges: []string{"a", "b"}, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long name: %v", err)
	}
	if _, err := StartEdge(EdgeConfig{Edge: "a", Listen: "127.0.0.1:0", Keys: [][]byte{[]byte("short")}, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), "gossip: key") {
		t.Errorf("a short key: %v", err)
	}
}

// Keys that differ are the one thing that somebody has to mend.
func TestKeysThatDifferAreLogged(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h, err := StartHub(HubConfig{Name: "one", Listen: "127.0.0.1:0", Pools: PerEdge, Edges: []string{"a"}, Keys: [][]byte{key}, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Stop()
	e, err := StartEdge(EdgeConfig{Edge: "a", Listen: "127.0.0.1:0", Pools: PerEdge, Join: []string{h.Address()}, Keys: [][]byte{bytes.Repeat([]byte("x"), 32)}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	eventually(t, "the hub says so", func() bool {
		return logs.FilterMessage("gossip that cannot be decrypted: the key files differ").Len() > 0
	})
}
