package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/ringway-im/ringway/cluster/memlease"
	"github.com/ringway-im/ringway/nodes/pki"
)

func TestNodeDies(t *testing.T) {
	w := newWorld(t)
	ids := identities(30)
	nodes := w.startAll("hub-1", "hub-2", "hub-3")
	w.placed(nodes[0], "ring", ids)
	w.record.ended("hub-3") // what its grains do from now on is of no interest: they are to be dead
	nodes[2].crash()
	start := time.Now()
	for _, id := range ids {
		at, err := w.request(nodes[0], "ring", id, within)
		for errors.Is(err, ErrUnknown) && time.Since(start) < within { // it was sent to the dead one
			at, err = w.request(nodes[0], "ring", id, within)
		}
		if err != nil || at == "hub-3" {
			t.Fatalf("%s answers from %s: %v", id, at, err)
		}
	}
	t.Logf("all answer again after %v", time.Since(start))
	w.settle(nodes[:2]...)
	w.everywhere(nodes[0], "ring", ids)

	// The one that is left of two goes on after the other's lease.
	w.record.ended("hub-2")
	nodes[1].crash()
	w.settle(nodes[0])
	if count := w.placed(nodes[0], "ring", ids); count["hub-1"] != len(ids) {
		t.Errorf("grains at %v", count)
	}
	for k, lives := range w.record.lives {
		for _, l := range lives {
			if l.fenced && l.node == "hub-1" {
				t.Errorf("%s: the node that survived was fenced", k)
			}
		}
	}
	// It returns under its old name.
	again := w.start("hub-3")
	w.settle(nodes[0], again)
	w.everywhere(again, "ring", ids)
}

// TestPartition cuts one of three off, once from the lease store too.
func TestPartition(t *testing.T) {
	for _, storeToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("store too %v", storeToo), func(t *testing.T) {
			w := newWorld(t)
			w.ttl = longTTL
			ids := identities(30)
			nodes := w.startAll("hub-1", "hub-2", "hub-3") // the lowest name is cut off
			majority := nodes[1:]
			w.placed(nodes[0], "ring", ids)
			w.placed(nodes[0], "client", ids)
			var topology atomic.Pointer[protocluster.ClusterTopology]
			nodes[0].system.EventStream.Subscribe(func(event any) {
				if t, ok := event.(*protocluster.ClusterTopology); ok {
					topology.Store(t)
				}
			})
			w.partition("hub-1")
			if storeToo {
				w.leases.Down(func(node string) bool { return strings.HasPrefix(node, "hub-1/") })
			}
			start := time.Now()
			for _, id := range ids { // the majority has all of them in the end
				if at, err := w.request(majority[0], "ring", id, within); err != nil || at == "hub-1" && nodes[0].Valid() {
					t.Fatalf("%s answers from %s: %v", id, at, err)
				}
			}
			eventually(t, "the minority owns nothing", func() error {
				if nodes[0].Ready() == nil {
					return errors.New("it is ready")
				}
				return nil
			})
			// A lease that is lost comes sooner than gossip's verdict, which is to fall
			// before the healing: it takes members away that return under other ids.
			eventually(t, "the minority knows itself alone", func() error {
				if m := nodes[0].Members(); len(m) != 1 {
					return fmt.Errorf("it knows %v", describe(m))
				}
				return nil
			})
			w.everywhere(majority[0], "ring", ids)
			t.Logf("the majority has all after %v; the minority: %v", time.Since(start), nodes[0].Ready())
			if _, ok := nodes[0].Local("client", ids[0]); ok {
				t.Error("the minority has a grain still")
			}
			w.record.check(t)
			if os.Getenv("RINGWAY_LONG") == "1" {
				<-time.After(30 * time.Second)
			}
			w.leases.Down(nil)
			w.heal()
			start = time.Now()
			w.settle(nodes...)
			w.everywhere(nodes[0], "ring", ids)
			w.everywhere(nodes[0], "client", ids)
			for _, n := range nodes {
				w.placed(n, "ring", ids)
				w.placed(n, "client", ids)
			}
			took := time.Since(start)
			eventually(t, "protoactor knows all, under other ids: the old are blocked", func() error {
				if p := topology.Load(); p == nil || len(p.Members) != 3 {
					return fmt.Errorf("it knows %v", p)
				}
				return nil
			})
			t.Logf("well again %v after healing", took)
			if took > slow*10*time.Second {
				t.Error("that is more than 10 s")
			}
		})
	}
}

func TestLeaseStoreDown(t *testing.T) {
	w := newWorld(t)
	w.ttl = longTTL
	ids := identities(10)
	ready := make(chan error, 16)
	cfg := w.config("hub-1")
	cfg.Ready = func(err error) { ready <- err }
	n := w.startWith(cfg)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	w.placed(n, "ring", ids)
	w.leases.Down(func(string) bool { return true })
	if err := <-ready; err == nil || !strings.Contains(err.Error(), memlease.ErrDown.Error()) {
		t.Errorf("readiness: %v; want that the lease store is down", err)
	}
	if n.Valid() {
		t.Error("the lease is said to be valid")
	}
	eventually(t, "all grains have stopped", func() error {
		if live := w.record.live(); len(live) > 0 {
			return fmt.Errorf("%d live", len(live))
		}
		return nil
	})
	for k, lives := range w.record.lives {
		if !lives[0].fenced {
			t.Errorf("%s was not told before it was stopped", k)
		}
	}
	if _, err := w.request(n, "ring", ids[0], 200*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request while fenced: %v", err)
	}
	w.leases.Down(nil)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	w.placed(n, "ring", ids)
}

func TestGrainThatFails(t *testing.T) {
	w := newWorld(t)
	inner := w.kinds
	w.kinds = func(node string) []Kind {
		kinds := inner(node)
		return append(kinds, Kind{Name: "fragile", Props: func(string, uint64) *actor.Props {
			return actor.PropsFromFunc(func(ctx actor.Context) {
				switch m := ctx.Message().(type) {
				case *wrapperspb.StringValue:
					ctx.Respond(m)
				case *wrapperspb.BoolValue:
					panic("as asked for")
				}
			})
		}}, Kind{Name: "broken", Props: func(string, uint64) *actor.Props { panic("no props") }})
	}
	n := w.startAll("hub-1")[0]
	first, err := n.Locate(t.Context(), "fragile", "a")
	if err != nil {
		t.Fatal(err)
	}
	n.system.Root.Send(first, wrapperspb.Bool(true))
	for range 10 { // in its mailbox behind the panic: asked of the next one
		if _, err := w.request(n, "fragile", "a", within); err != nil {
			t.Fatal(err)
		}
	}
	if second, _ := n.Locate(t.Context(), "fragile", "a"); second.Id == first.Id {
		t.Error("it was not made anew")
	}
	for _, kind := range []string{"broken", "unknown"} {
		if _, err := w.request(n, kind, "a", 100*time.Millisecond); err == nil {
			t.Errorf("%s: no error", kind)
		}
	}
}

func keyFile(t *testing.T, dir string, keys ...string) string {
	t.Helper()
	file := dir + "/gossip.keys"
	if err := os.WriteFile(file, []byte("# keys\n"+strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func newKey(t *testing.T) string {
	t.Helper()
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestKeyRotation(t *testing.T) {
	w := newWorld(t)
	old, next := newKey(t), newKey(t)
	w.key = keyFile(t, w.dir, old)
	nodes := w.startAll("hub-1", "hub-2")

	foreign := w.config("hub-9", nodes[0].GossipAddress())
	foreign.KeyFile = keyFile(t, t.TempDir(), next)
	outsider, err := Start(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if m := outsider.Members(); len(m) != 1 {
		t.Errorf("with another key it sees %v", m)
	}
	if err := outsider.Stop(); err != nil {
		t.Fatal(err)
	}

	for _, keys := range [][]string{{old, next}, {next, old}, {next}} {
		keyFile(t, w.dir, keys...)
		for _, n := range nodes {
			if err := n.Rekey(); err != nil {
				t.Fatal(err)
			}
			w.settle(nodes...)
		}
	}
	nodes = append(nodes, w.start("hub-3")) // it has the new key only
	w.settle(nodes...)

	keyFile(t, w.dir, "not a key")
	if err := nodes[0].Rekey(); err == nil || !strings.Contains(err.Error(), "gossip.keys:2") {
		t.Errorf("a bad key: %v; want the line", err)
	}
}

func TestOtherRoleRefused(t *testing.T) {
	w := newWorld(t)
	n := w.startAll("hub-1")[0]
	if err := pki.Edge(w.dir, "manila-1"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"hub": true, "manila-1": false} {
		client := tlsOf(t, w.dir, "hub").Client()
		if !want {
			c, err := pki.ClientTLS(w.dir+"/manila-1.crt", w.dir+"/manila-1.key", w.dir+"/ca.crt")
			if err != nil {
				t.Fatal(err)
			}
			client = c
		}
		conn, err := grpc.NewClient(n.system.Address(), grpc.WithTransportCredentials(credentials.NewTLS(client)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		got := greet(ctx, conn)
		cancel()
		if (got == nil) != want {
			t.Errorf("certificate of %s: %v; want it taken: %v", name, got, want)
		}
		if _, err := remote.NewRemotingClient(conn).ListProcesses(t.Context(), &remote.ListProcessesRequest{}); err == nil {
			t.Error("a unary call is answered")
		}
		conn.Close()
	}

	// Who dials looks at who answers, too.
	cfg := w.config("hub-2", n.GossipAddress())
	cfg.TLS.Peer = func(*x509.Certificate) error { return errors.New("not this one") }
	suspicious := w.startWith(cfg)
	w.settle(n, suspicious)
	for _, id := range identities(10) {
		if m, _ := suspicious.Owner("ring", id); m.Name == "hub-1" {
			if at, err := w.request(suspicious, "ring", id, 200*time.Millisecond); err == nil {
				t.Errorf("%s answered from %s, whose certificate is refused", id, at)
			}
		}
	}
	cfg.TLS = TLS{}
	if _, err := Start(cfg); err == nil {
		t.Error("a node starts without TLS")
	}
}

func greet(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := remote.NewRemotingClient(conn).Receive(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_ConnectRequest{ConnectRequest: &remote.ConnectRequest{
		ConnectionType: &remote.ConnectRequest_ServerConnection{ServerConnection: &remote.ServerConnection{SystemId: "x", Address: "127.0.0.1:1"}},
	}}}); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// TestHostileBatch: what protoactor would end the process at is dropped, and what
// comes with it arrives.
func TestHostileBatch(t *testing.T) {
	w := newWorld(t)
	n := w.startAll("hub-1")[0]
	got := make(chan string, 16)
	if _, err := n.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*wrapperspb.StringValue); ok {
			got <- m.Value
		}
	}), "listener"); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(n.system.Address(), grpc.WithTransportCredentials(credentials.NewTLS(tlsOf(t, w.dir, "hub").Client())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := remote.NewRemotingClient(conn).Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := func(target, sender, typ, serializer int32) *remote.MessageEnvelope {
		return &remote.MessageEnvelope{Target: target, Sender: sender, TypeId: typ, SerializerId: serializer, MessageData: []byte{0x0a, 2, 'o', 'k'}}
	}
	for _, batch := range []*remote.MessageBatch{
		nil,
		{
			TypeNames: []string{"ringway.FromTheFuture", "google.protobuf.StringValue"},
			Targets:   []*actor.PID{actor.NewPID(n.system.Address(), "listener")},
			Envelopes: []*remote.MessageEnvelope{
				e(0, 0, 0, 0), e(9, 0, 1, 0), e(-1, 0, 1, 0), e(0, 7, 1, 0), e(0, 0, 9, 0), e(0, 0, -1, 0), e(0, 0, 1, 7), e(0, 0, 1, -1), e(0, 0, 1, 0),
			},
		},
	} {
		if err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: batch}}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case s := <-got:
		if s != "ok" {
			t.Errorf("got %q", s)
		}
	case <-time.After(within):
		t.Fatal("the good message did not arrive")
	}
	if len(got) > 0 {
		t.Errorf("got %q too", <-got)
	}
}

func TestBroadcast(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll("hub-1", "hub-2", "hub-3")
	got := make(chan string, 16)
	for _, n := range nodes {
		if _, err := n.system.Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*wrapperspb.StringValue); ok {
				got <- n.cfg.Name
			}
		}), "hints"); err != nil {
			t.Fatal(err)
		}
	}
	heard := map[string]bool{}
	eventually(t, "all others hear of it", func() error {
		nodes[0].Broadcast("hints", wrapperspb.String("wake up")) // a hint can get lost
		for late := time.After(time.Second); len(heard) < 2; {
			select {
			case name := <-got:
				heard[name] = true
			case <-late:
				return fmt.Errorf("heard by %v", heard)
			}
		}
		return nil
	})
	if heard["hub-1"] {
		t.Errorf("heard by %v", heard)
	}
}

func TestDrainAlone(t *testing.T) {
	w := newWorld(t)
	n := w.startAll("hub-1")[0]
	if err := n.Drain(t.Context()); !errors.Is(err, ErrNobody) {
		t.Errorf("draining the only node: %v", err)
	}
}

func TestStartErrors(t *testing.T) {
	w := newWorld(t)
	n := w.startAll("hub-1")[0]
	for want, change := range map[string]func(*Config){
		"lease store":       func(c *Config) { c.Leases = nil },
		"slash":             func(c *Config) { c.Name = "a/b" },
		"octets":            func(c *Config) { c.Attributes = map[string]string{"a": strings.Repeat("x", 512)} },
		"HOST:PORT":         func(c *Config) { c.Listen = "nowhere" },
		"advertise":         func(c *Config) { c.Remote = "0.0.0.0:0" },
		"failed to listen":  func(c *Config) { c.Remote = n.system.Address() },
		"address already":   func(c *Config) { c.Listen = n.GossipAddress() },
		"no such file":      func(c *Config) { c.KeyFile = "/nonexistent" },
		"mutual TLS":        func(c *Config) { c.TLS.Peer = nil },
		"require and verif": func(c *Config) { c.TLS.Server = c.TLS.Client() },
	} {
		cfg := w.config("hub-2")
		change(&cfg)
		if _, err := Start(cfg); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cluster: ") {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
}

// TestSameName: the node that was started later has the name.
func TestSameName(t *testing.T) {
	w := newWorld(t)
	ids := identities(10)
	first := w.startAll("hub-1")[0]
	w.placed(first, "ring", ids)
	second := w.start("hub-1")
	t.Cleanup(func() {
		if err := first.Stop(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the second is ready", second.Ready)
	w.placed(second, "ring", ids)
	if err := first.Ready(); err == nil || !strings.Contains(err.Error(), "started later") {
		t.Errorf("the first is ready: %v", err)
	}
}
