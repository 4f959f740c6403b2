package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringway-im/ringway/cluster/memlease"
)

// told fails unless all grains that ever lived have ended, and were told before.
func (w *world) told() {
	w.t.Helper()
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	for k, lives := range w.record.lives {
		for _, l := range lives {
			if !l.fenced || l.to.IsZero() {
				w.t.Errorf("%s on %s: told %v, ended at %v", k, l.node, l.fenced, l.to)
			}
		}
	}
}

// TestSuspended: a machine stood still for longer than its lease, and its clock with it.
// Meanwhile another node has taken over.
func TestSuspended(t *testing.T) {
	w := newWorld(t)
	var slept atomic.Int64
	w.leases.Now = func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
	n := w.startAll("hub-1")[0]
	ids := identities(10)
	w.placed(n, "ring", ids)
	slept.Add(int64(2 * testTTL))
	if _, err := w.leases.Renew(t.Context(), "hub-2/x", time.Hour); err != nil {
		t.Fatal(err)
	}
	epoch, err := w.leases.Acquire(t.Context(), "ring", ids[0], "hub-2/x")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it owns nothing any more", func() error {
		if live := w.record.live(); len(live) > 0 {
			return fmt.Errorf("%v live", live)
		}
		return nil
	})
	w.told()
	if owner, now, err := w.leases.Owner(t.Context(), "ring", ids[0]); owner != "hub-2/x" || now != epoch || err != nil {
		t.Errorf("owner %s under epoch %d, %v; want the other under %d", owner, now, err, epoch)
	}
	if err := w.leases.End(t.Context(), "hub-2/x"); err != nil {
		t.Fatal(err)
	}
	w.settle(n)
	w.placed(n, "ring", ids)
}

// TestLateRelease: what is given back late does not touch what the node has acquired
// again since, in another tenure.
func TestLateRelease(t *testing.T) {
	w := newWorld(t)
	n := w.startAll("hub-1")[0]
	ids := identities(1)
	w.placed(n, "ring", ids)
	owns := func() uint64 {
		t.Helper()
		node, epoch, err := w.leases.Owner(t.Context(), "ring", ids[0])
		if node != n.lookup.keeper.node || err != nil {
			t.Fatalf("owner %q, %v", node, err)
		}
		return epoch
	}
	first := owns()
	p := &placement{l: n.lookup, term: n.lookup.keeper.term()}
	late := p.free(key{"ring", ids[0]})
	w.leases.Down(func(string) bool { return true })
	eventually(t, "it owns nothing any more", func() error {
		if n.Ready() == nil {
			return errors.New("it is ready")
		}
		return nil
	})
	w.leases.Down(nil)
	w.settle(n)
	w.placed(n, "ring", ids)
	second := owns()
	if err := late(t.Context()); !errors.Is(err, errTenureOver) {
		t.Errorf("given back late: %v", err)
	}
	if err := w.leases.Release(t.Context(), "ring", ids[0], n.lookup.keeper.node, first); err != nil {
		t.Error(err)
	}
	if now := owns(); now != second || second <= first {
		t.Errorf("epochs %d, %d, %d", first, second, now)
	}
}

// stuck is a lease store that gives nothing of one kind back until it is let.
type stuck struct {
	*memlease.Store
	kind  string
	let   chan struct{}
	asked atomic.Int64
}

func (s *stuck) wait(kind string) {
	if kind == s.kind {
		s.asked.Add(1)
		<-s.let
	}
}

func (s *stuck) Owner(ctx context.Context, kind, identity string) (string, uint64, error) {
	s.wait(kind)
	return s.Store.Owner(ctx, kind, identity)
}

func (s *stuck) Release(ctx context.Context, kind, identity, node string, epoch uint64) error {
	s.wait(kind)
	return s.Store.Release(ctx, kind, identity, node, epoch)
}

// TestRingsDoNotWaitForClients: however many grains of kinds that are not handed over
// are given back, those that are have the store's ear.
func TestRingsDoNotWaitForClients(t *testing.T) {
	w := newWorld(t)
	s := &stuck{Store: w.leases, kind: "client", let: make(chan struct{})}
	t.Cleanup(func() { close(s.let) })
	cfg := w.config("hub-1")
	cfg.Leases = s
	n := w.startWith(cfg)
	w.settle(n)
	ids := identities(2 * storeCalls)
	w.placed(n, "client", ids)
	for _, id := range ids {
		pid, ok := n.Local("client", id)
		if !ok {
			t.Fatalf("%s does not live here", id)
		}
		n.system.Root.Poison(pid)
	}
	eventually(t, "the store is busy with clients", func() error {
		if n := s.asked.Load(); n < storeCalls {
			return fmt.Errorf("it is asked for %d", n)
		}
		return nil
	})
	w.placed(n, "ring", ids[:10])
}

// TestFencedGrainsEndAtOnce: who has been told ends; nobody waits for the time that is
// left to those who are busy.
func TestFencedGrainsEndAtOnce(t *testing.T) {
	w := newWorld(t)
	w.ttl = 80 * within // of which a twentieth is left to them
	n := w.startAll("hub-1")[0]
	w.placed(n, "ring", identities(10))
	w.placed(n, "client", identities(10))
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(within):
		t.Fatalf("the node has not stopped within %v", within)
	}
	w.told()
}

// TestStopDoesNotWaitForTheDNS: a seed is being looked up when the node is stopped.
func TestStopDoesNotWaitForTheDNS(t *testing.T) {
	var silent atomic.Bool
	asked, ended := make(chan struct{}, 1), make(chan error, 64)
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if !silent.Load() {
			return nil, errors.New("no server yet")
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	w := newWorld(t)
	n := w.startWith(w.config("hub-1", "seed.test:7946"))
	silent.Store(true)
	<-asked
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the question ended with %v, not with the node", err)
	}
}
