package main

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// startNetwork runs a network with real namespaces; it needs root.
func startNetwork(t *testing.T, hosts ...string) *Network {
	t.Helper()
	need.Root(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Fatalf("%v: tests with root need it, load the module tun", err)
	}
	n, err := NewNetwork(Config{Name: "wanemtest" + strconv.Itoa(os.Getpid()), Hosts: hosts, Subnet: "10.78", MTU: 1500, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		if left, _ := filepath.Glob(filepath.Join(netnsDir, n.cfg.Name+"-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return n
}

// echo serves UDP echo in one host and returns a socket in another, connected to it.
func echo(t *testing.T, n *Network, client, server int) net.Conn {
	t.Helper()
	var pc net.PacketConn
	var c net.Conn
	err := inNetns(n.hosts[server].netns, func() (err error) {
		pc, err = net.ListenPacket("udp4", n.hosts[server].addr.String()+":0")
		return err
	})
	if err == nil {
		err = inNetns(n.hosts[client].netns, func() (err error) {
			c, err = net.Dial("udp4", pc.LocalAddr().String())
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close(); c.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			k, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(b[:k], from)
		}
	}()
	return c
}

// roundTrip returns how long one echo took, or 0 if none came within wait.
func roundTrip(t *testing.T, c net.Conn, wait time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	c.SetDeadline(begin.Add(wait))
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); err != nil {
		return 0
	}
	return time.Since(begin)
}

func set(t *testing.T, n *Network, selector string, kv ...string) {
	t.Helper()
	err := n.Update(selector, func(l *link) error {
		for i := 0; i < len(kv); i += 2 {
			if err := l.Apply(kv[i], kv[i+1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStarRoundTrips(t *testing.T) {
	n := startNetwork(t, "hub1", "hub2", "edge1", "edge2")
	set(t, n, "hub*:hub*", "delay", "1ms")
	set(t, n, "edge1", "rtt", "100ms")
	set(t, n, "hub1:edge2", "rtt", "60ms")
	for _, c := range []struct {
		from, to int
		want     time.Duration
	}{
		{0, 1, 2 * time.Millisecond},
		{0, 2, 100 * time.Millisecond},
		{2, 1, 100 * time.Millisecond},
		{0, 3, 60 * time.Millisecond},
		{1, 3, 0},
	} {
		conn := echo(t, n, c.from, c.to)
		best := time.Hour
		for range 5 {
			if rtt := roundTrip(t, conn, time.Second); rtt > 0 {
				best = min(best, rtt)
			}
		}
		if best < c.want || best > c.want+20*time.Millisecond {
			t.Errorf("%s to %s: RTT %v, want %v", n.hosts[c.from].name, n.hosts[c.to].name, best, c.want)
		}
	}
}

func TestOutage(t *testing.T) {
	n := startNetwork(t, "hub", "edge")
	c := echo(t, n, 0, 1)
	if roundTrip(t, c, time.Second) == 0 {
		t.Fatal("no echo before the outage")
	}
	for _, sel := range []string{"", "hub>edge", "edge>hub"} {
		n.Update(sel, func(l *link) error { l.Down = true; return nil })
		if roundTrip(t, c, 50*time.Millisecond) != 0 {
			t.Errorf("echo during outage of %q", sel)
		}
		n.Update("", func(l *link) error { l.Down = false; return nil })
		if roundTrip(t, c, time.Second) == 0 {
			t.Errorf("no echo after outage of %q", sel)
		}
	}
}

func TestCommandLine(t *testing.T) {
	need.Root(t)
	name := "wanemcli" + strconv.Itoa(os.Getpid())
	cfg := Config{Name: name, Hosts: []string{"a", "b"}, Subnet: "10.79", MTU: 1500}
	done := make(chan error, 1)
	go func() { done <- run(cfg, url.Values{"delay": {"5ms"}}) }()
	for range 200 {
		if _, err := call(name, "GET", "/stats", nil); err == nil {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	for _, args := range [][]string{
		{"set", "--name", name, "--link", "a>b", "--loss", "2%"},
		{"down", "--name", name, "--for", "10ms"},
		{"stats", "--name", name, "--reset"},
		{"stop", "--name", name},
	} {
		if err := command(args[0], args[1:]); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := command("stats", []string{"--name", name}); err == nil {
		t.Error("stats of a stopped network succeeded")
	}
}
