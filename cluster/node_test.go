package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

func identities(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("edge-%d", i)
	}
	return ids
}

// placed asks via n for all of kind and fails unless each is where it belongs.
func (w *world) placed(n *Node, kind string, ids []string) map[string]int {
	w.t.Helper()
	count := map[string]int{}
	for _, id := range ids {
		at, err := w.request(n, kind, id, within)
		if err != nil {
			w.t.Fatalf("%s %s: %v", kind, id, err)
		}
		if m, _ := n.Owner(kind, id); m.Name != at {
			w.t.Errorf("%s %s answers from %s and belongs to %s", kind, id, at, m.Name)
		}
		count[at]++
	}
	return count
}

func TestGrainsLiveAtTheirOwners(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll("hub-1", "hub-2", "hub-3")
	ids := identities(30)
	for _, n := range nodes {
		if count := w.placed(n, "ring", ids); len(count) != 3 {
			t.Errorf("by %s: grains on %v; want on three nodes", n.cfg.Name, count)
		}
	}
	for _, m := range nodes[0].Members() {
		if m.Attributes["link"] != m.Name+":7001" || m.Self != (m.Name == "hub-1") || m.Draining {
			t.Errorf("member %+v", m)
		}
	}
}

// callers ask for all identities all the time, through all nodes.
type callers struct {
	w       *world
	stop    context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex
	failed  []error
	asked   int
	longest time.Duration
}

func (w *world) call(nodes []*Node, kind string, ids []string, patience time.Duration) *callers {
	ctx, cancel := context.WithCancel(w.t.Context())
	c := &callers{w: w, stop: cancel}
	for i, id := range ids {
		c.done.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				start := time.Now()
				_, err := w.request(nodes[n%len(nodes)], kind, id, patience)
				c.mu.Lock()
				c.asked++
				c.longest = max(c.longest, time.Since(start))
				if err != nil && ctx.Err() == nil {
					c.failed = append(c.failed, fmt.Errorf("%s by %s: %w", id, nodes[n%len(nodes)].cfg.Name, err))
				}
				c.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	return c
}

func (c *callers) end() (asked int, longest time.Duration, failed []error) {
	c.stop()
	c.done.Wait()
	return c.asked, c.longest, c.failed
}

func TestScaleOutUnderCalls(t *testing.T) {
	w := newWorld(t)
	ids := identities(40)
	nodes := w.startAll("hub-1")
	c := w.call(nodes, "ring", ids, within)
	d := w.call(nodes, "client", ids, within)
	nodes = append(nodes, w.start("hub-2"), w.start("hub-3"))
	w.settle(nodes...)
	w.everywhere(nodes[2], "ring", ids)
	for _, c := range []*callers{c, d} {
		asked, longest, failed := c.end()
		if len(failed) > 0 {
			t.Errorf("%d of %d calls failed: %v", len(failed), asked, failed[0])
		}
		t.Logf("%d calls, the longest took %v", asked, longest)
	}
}

// everywhere waits until each grain lives at its owner, by n's view: one of kind client,
// which is not handed over, perhaps nowhere yet.
func (w *world) everywhere(n *Node, kind string, ids []string) time.Duration {
	w.t.Helper()
	return eventually(w.t, "all grains live at their owners", func() error {
		live := w.record.live()
		for _, id := range ids {
			at := live[kind+"/"+id]
			if m, _ := n.Owner(kind, id); at != m.Name && (at != "" || kind != "client") {
				return fmt.Errorf("%s lives on %q and belongs to %s", id, at, m.Name)
			}
		}
		return nil
	})
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	ids := identities(40)
	nodes := w.startAll("hub-1", "hub-2", "hub-3")
	w.placed(nodes[0], "ring", ids)
	w.placed(nodes[0], "client", ids)
	c := w.call(nodes[:2], "ring", ids, within)
	d := w.call(nodes[:2], "client", ids, within)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	start := time.Now()
	if err := nodes[2].Drain(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("drained in %v", time.Since(start))
	if err := nodes[2].Stop(); err != nil {
		t.Fatal(err)
	}
	for k, at := range w.record.live() {
		if at == "hub-3" {
			t.Errorf("%s lives on the drained node", k)
		}
	}
	w.everywhere(nodes[0], "ring", ids)
	for _, c := range []*callers{c, d} {
		asked, longest, failed := c.end()
		if len(failed) > 0 {
			t.Errorf("%d of %d calls failed: %v", len(failed), asked, failed[0])
		}
		t.Logf("%d calls, the longest took %v", asked, longest)
	}
}

// TestHandOver: a grain that leaves serves until it has stopped, and is then at its
// next owner without anybody's asking; one that does not leave is poisoned.
func TestHandOver(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	leaving := map[string]*actor.PID{}
	inner := w.kinds
	w.kinds = func(node string) []Kind {
		props := w.record.props(node, "slow")
		return append(inner(node), Kind{Name: "slow", HandOver: true, Props: func(identity string, epoch uint64) *actor.Props {
			return props(identity, epoch).Configure(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
				return func(ctx actor.ReceiverContext, e *actor.MessageEnvelope) {
					if m, ok := e.Message.(*Leave); !ok {
						next(ctx, e)
					} else if m.To.Name != "hub-2" || m.Within != HandOverWithin {
						t.Errorf("%+v", m)
					} else {
						mu.Lock()
						leaving[identity] = ctx.Self()
						mu.Unlock()
					}
				}
			}))
		}})
	}
	nodes := w.startAll("hub-1", "hub-2")
	var ids []string // that live on the first
	for _, id := range identities(40) {
		if m, _ := nodes[0].Owner("slow", id); m.Name == "hub-1" {
			ids = append(ids, id)
		}
	}
	ids = ids[:4]
	w.placed(nodes[1], "slow", ids)
	drained := make(chan error, 1)
	began := time.Now()
	go func() { drained <- nodes[0].Drain(t.Context()) }()
	eventually(t, "all are told", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(leaving) < len(ids) {
			return fmt.Errorf("%d are", len(leaving))
		}
		return nil
	})
	for _, n := range nodes {
		for _, id := range ids {
			at, err := w.request(n, "slow", id, within)
			if over := time.Since(began) >= HandOverWithin; err != nil || at != "hub-1" && (at != "hub-2" || !over) {
				t.Errorf("while leaving, %s answers from %q: %v", id, at, err)
			}
		}
	}
	nodes[0].system.Root.Poison(leaving[ids[0]])
	for i := range ids { // the others after HandOverWithin
		took := eventually(t, "it lives at its next owner", func() error {
			if at := w.record.live()["slow/"+ids[i]]; at != "hub-2" {
				return errors.New(ids[i] + " lives on " + at)
			}
			return nil
		})
		t.Logf("%s moved within %v", ids[i], took)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
