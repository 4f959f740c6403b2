package hub

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/cluster"
	"github.com/ringway-im/ringway/cluster/memlease"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
)

// inCluster is the store of one hub of a cluster whose hubs share nothing but leases:
// enough where no message passes from one to the other.
type inCluster struct {
	journal.Hub
	journal.Leases
}

// gate is a lease store that releases nothing while it is shut.
type gate struct {
	memlease.Store
	shut atomic.Bool
}

func (g *gate) Release(ctx context.Context, kind, identity, node string, epoch uint64) error {
	if g.shut.Load() {
		return errors.New("shut")
	}
	return g.Store.Release(ctx, kind, identity, node, epoch)
}

const clusterEdges = 8

// newMemberHub starts a hub of a cluster in this process, with certificates in dir.
func newMemberHub(t *testing.T, dir, name string, leases journal.Leases, join ...string) *Hub {
	t.Helper()
	store, err := hubstore.Open(hubstore.Options{Dir: "store", FS: vfs.NewMem(), Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	cfg := Config{DataDir: t.TempDir(), Cluster: &config.Cluster{
		Name: name, Listen: "127.0.0.1:0", Remote: "127.0.0.1:0", Join: join, LeaseTTL: 20 * time.Second, // no machine is that slow
		TLS: config.TLS{Cert: file("hub.crt"), Key: file("hub.key"), CA: file("ca.crt")},
	}}
	for i := range clusterEdges {
		cfg.Edges = append(cfg.Edges, config.HubEdge{ID: fmt.Sprint("edge-", i), Number: "63917000"})
	}
	h, err := New(cfg, WithStore(inCluster{store, leases}), WithPasswordCost(bcrypt.MinCost))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		h.System().Shutdown()
	})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	return h
}

func certificates(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := errors.Join(pki.Init(dir), pki.Hub(dir, "hub", nil)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// twoHubs are a cluster in which both have rings; the first releases nothing while shut.
func twoHubs(t *testing.T) (a, b *Hub, shut *atomic.Bool) {
	t.Helper()
	dir, leases := certificates(t), &gate{}
	a = newMemberHub(t, dir, "hub-1", leases)
	b = newMemberHub(t, dir, "hub-2", &leases.Store, a.node().GossipAddress())
	eventually(t, "both have rings", func() error {
		if n := a.owns() + b.owns(); n != clusterEdges || len(a.node().Members()) != 2 {
			return fmt.Errorf("%d members have those of %d edges", len(a.node().Members()), n)
		}
		return errors.Join(a.serves(1), b.serves(1))
	})
	return a, b, &leases.shut
}

// eventually polls until cond says nothing.
func eventually(t *testing.T, what string, cond func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within a minute: %v", what, err)
}

// serves says why the hub does not do its part: rings, streams, readiness.
func (h *Hub) serves(rings int) error {
	sub, err := h.Subscribe("ann", SubscribeOptions{})
	if err != nil {
		return err
	}
	sub.Close()
	if n := h.owns(); n < rings {
		return fmt.Errorf("%s has the rings of %d edges, want %d", h.name, n, rings)
	}
	return h.Ready()
}

// drainsForever begins a drain that cannot end, since what has left cannot be released.
func (h *Hub) drainsForever(t *testing.T, shut *atomic.Bool) (drained <-chan error) {
	t.Helper()
	shut.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- h.Drain(ctx) }()
	eventually(t, "it has no rings and says so", func() error {
		if n := h.owns(); n > 0 || !errors.Is(h.Ready(), errDraining) {
			return errors.Join(fmt.Errorf("it has those of %d edges", n), h.Ready())
		}
		return nil
	})
	return done
}

// The other hub goes while this one gives it all it has: nobody else could serve that.
func TestDrainWhoseSuccessorGoes(t *testing.T) {
	a, b, shut := twoHubs(t)
	drained := a.drainsForever(t, shut)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-drained; !errors.Is(err, ErrNobody) {
		t.Errorf("drained: %v; want ErrNobody", err)
	}
	shut.Store(false)
	eventually(t, "it serves all again", func() error { return a.serves(clusterEdges) })
}

// An operator thinks better of a drain that waits: its end is not to turn streams away.
func TestUndrainEndsDrain(t *testing.T) {
	a, _, shut := twoHubs(t)
	stream, err := a.Subscribe("ann", SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	drained := a.drainsForever(t, shut)
	if err := a.Undrain(); err != nil {
		t.Error(err)
	}
	if err := <-drained; !errors.Is(err, cluster.ErrUndrained) {
		t.Errorf("drained: %v; want ErrUndrained", err)
	}
	if err := a.serves(0); err != nil {
		t.Errorf("after Undrain: %v", err)
	}
	select {
	case _, open := <-stream.C:
		t.Errorf("the stream was ended: %v", !open)
	default:
	}
	shut.Store(false)
	eventually(t, "it has rings again", func() error { return a.serves(1) })
}

// An operator who asks the wrong hub learns which is the right one.
func TestReplaceEdgeElsewhere(t *testing.T) {
	a, b, _ := twoHubs(t)
	for i := range clusterEdges {
		id := fmt.Sprint("edge-", i)
		if b.owned(id) == nil {
			continue
		}
		if err := a.ReplaceEdge(id); !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), "hub-2") {
			t.Errorf("%s, which the other hub has: %v", id, err)
		}
	}
	if err := a.ReplaceEdge("nowhere"); !errors.Is(err, ErrNoEdge) {
		t.Errorf("an edge that is not configured: %v", err)
	}
}

// A claim that nobody waits for any more takes the epoch from rings that the placement
// believes to run; or one of their actors is gone. They begin anew, whoever finds out.
func TestRingsBeginAnew(t *testing.T) {
	h := newMemberHub(t, certificates(t), "hub-1", &memlease.Store{})
	eventually(t, "all rings are served", func() error { return h.serves(clusterEdges) })
	root := h.System().Root
	before := map[string]*edge{}
	for id, find := range map[string]func(e *edge){
		"edge-0": func(e *edge) { root.Send(e.buffer, &link.LinkUp{}) },
		"edge-1": func(e *edge) {
			root.Send(e.mirror, &messages.Data{Ring: messages.Ring_UP, Sequence: 1, Address: 1, Message: &messages.Message{Id: make([]byte, 16)}})
		},
		"edge-2": func(e *edge) { root.Send(e.events, &link.EventsIn{Events: []*messages.Event{{Number: 1}}}) },
		"edge-3": func(e *edge) { root.Stop(e.router) },
	} {
		before[id] = h.owned(id)
		if _, err := h.store.Claim(id); err != nil {
			t.Fatal(err)
		}
		find(before[id])
	}
	for id, e := range before {
		eventually(t, id+" begins anew", func() error {
			now := h.owned(id)
			if now == nil || now == e {
				return fmt.Errorf("rings are %p, were %p", now, e)
			}
			if now.rings.Epoch() <= e.rings.Epoch()+1 {
				return fmt.Errorf("epoch %d after %d, and one that was late", now.rings.Epoch(), e.rings.Epoch())
			}
			_, err := ask[*messages.RingState](h.system, now.buffer, &link.GetState{})
			return err
		})
	}
	if other := h.owned("edge-4"); other == nil || other.rings.Epoch() != 1 {
		t.Error("rings that nobody touched have changed")
	}
}
