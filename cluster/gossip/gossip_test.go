package gossip

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// world is hubs and edges on one network, in virtual time. Edges do not reach each
// other.
type world struct {
	t     *testing.T
	net   *network
	pools string
	hubs  []*Hub
	edges []*Edge
	ids   []string
	began time.Time

	mu       sync.Mutex
	verdicts []verdict
}

type verdict struct {
	hub   int
	edge  string
	alive bool
	at    time.Time
}

func newWorld(t *testing.T, pools string, hubs, edges int, rtt time.Duration, loss float64) *world {
	const seed = 7
	t.Logf("seed %d", seed)
	w := &world{t: t, net: newNetwork(seed, rtt, loss), pools: pools, began: time.Now()}
	w.net.reaches = func(from, to string) bool {
		return !strings.HasPrefix(from, "10.1.") || !strings.HasPrefix(to, "10.1.")
	}
	for i := range edges {
		w.ids = append(w.ids, fmt.Sprintf("edge-%d", i))
	}
	for i := range hubs {
		w.hubs = append(w.hubs, nil)
		w.hub(i)
	}
	for i := range edges {
		w.edges = append(w.edges, w.edge(i))
	}
	return w
}

func hubIP(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

func (w *world) hub(i int) {
	var peers []string
	for k := range w.hubs {
		if k != i {
			peers = append(peers, hubIP(k)+":7946")
		}
	}
	h, err := StartHub(HubConfig{
		Name: fmt.Sprintf("hub-%d", i), Link: fmt.Sprintf("hub-%d.example.net:7443", i), Pools: w.pools, Edges: w.ids, Keys: [][]byte{key}, Log: zap.NewNop(),
		Peers: func() []string { return peers }, transport: w.net.open(hubIP(i)),
		Verdict: func(edge string, alive bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.verdicts = append(w.verdicts, verdict{i, edge, alive, time.Now()})
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hubs[i] = h
}

var key = []byte("0123456789abcdef0123456789abcdef")

// edge joins the first hub only: of the others it hears.
func (w *world) edge(i int) *Edge {
	e, err := StartEdge(EdgeConfig{
		Edge: w.ids[i], Pools: w.pools, Join: []string{hubIP(0) + ":7946"}, Keys: [][]byte{key}, Log: zap.NewNop(), transport: w.net.open(edgeIP(i)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) stop() {
	var all sync.WaitGroup
	for _, e := range w.edges {
		all.Go(func() { e.Stop() })
	}
	all.Wait()
	for _, h := range w.hubs {
		all.Go(func() { h.Stop() })
	}
	all.Wait()
	time.Sleep(time.Minute) // what is under way, and memberlist's own loops, end
}

// died lists what hubs called dead.
func (w *world) died() (all []verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.verdicts {
		if !v.alive {
			all = append(all, v)
		}
	}
	return all
}

func (w *world) allKnown() {
	w.t.Helper()
	for i, h := range w.hubs {
		for _, id := range w.ids {
			if alive, known := h.Alive(id); !alive || !known {
				w.t.Errorf("hub %d: %s alive %v, known %v", i, id, alive, known)
			}
		}
	}
	for i, e := range w.edges {
		if hubs := e.Hubs(); len(hubs) != len(w.hubs) || !slices.Contains(hubs, "hub-0.example.net:7443") {
			w.t.Errorf("edge %d knows the hubs %v", i, hubs)
		}
	}
}

// kill takes an edge's machine away and returns when each hub says so.
func (w *world) kill(i int) []time.Duration {
	w.t.Helper()
	before := len(w.died())
	_ = w.edges[i].mux.under.Shutdown()
	at := time.Now()
	time.Sleep(time.Minute)
	var took []time.Duration
	for _, v := range w.died()[before:] {
		if v.edge != w.ids[i] {
			w.t.Errorf("hub %d calls %s dead, %s is", v.hub, v.edge, w.ids[i])
		}
		took = append(took, v.at.Sub(at).Round(10*time.Millisecond))
	}
	return took
}

var long = flag.Duration("long", 10*time.Minute, "virtual time over a bad path")

// One pool an edge, 600 ms there and back, every twentieth packet lost: no false death.
// A real one is seen within 15 s; the edge comes back.
func TestEdgePoolOverABadPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, PerEdge, 3, 1, 600*time.Millisecond, 0.05)
		time.Sleep(time.Minute)
		w.allKnown()
		sent := w.net.count()
		time.Sleep(*long)
		if dead := w.died(); len(dead) > 0 {
			t.Errorf("called dead while alive: %v", dead)
		}
		t.Logf("%.1f packets a second for each of four nodes", float64(w.net.count()-sent)/4/long.Seconds())
		took := w.kill(0)
		t.Logf("its death is seen after %v", took)
		if len(took) != 3 || slices.Max(took) > 15*time.Second {
			t.Errorf("its death is seen after %v, by 3 hubs within 15 s is wanted", took)
		}
		if alive, known := w.hubs[0].Alive("edge-0"); alive || !known {
			t.Errorf("alive %v, known %v", alive, known)
		}
		w.edges[0].Stop()
		w.edges[0] = w.edge(0)
		time.Sleep(30 * time.Second)
		w.allKnown()
		w.stop()
	})
}

// Many edges at one port of each hub do not meet.
func TestManyEdgesAtOneHubPort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const edges = 8
		w := newWorld(t, PerEdge, 2, edges, 300*time.Millisecond, 0.02)
		time.Sleep(time.Minute)
		w.allKnown()
		for i, e := range w.edges {
			for _, m := range e.pool.members() {
				if m.Role == roleEdge && m.Name != w.ids[i] {
					t.Errorf("edge %d meets %s", i, m.Name)
				}
			}
		}
		time.Sleep(time.Minute)
		if dead := w.died(); len(dead) > 0 {
			t.Errorf("called dead while alive: %v", dead)
		}
		if took := w.kill(7); len(took) != 2 || slices.Max(took) > 15*time.Second {
			t.Errorf("a death is seen after %v", took)
		}
		w.stop()
	})
}

// One pool of all, where edges cannot reach each other, holds for a few.
func TestSharedPool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Shared, 3, 6, 600*time.Millisecond, 0.02)
		time.Sleep(time.Minute)
		w.allKnown()
		time.Sleep(time.Minute)
		if dead := w.died(); len(dead) > 0 {
			t.Errorf("called dead while alive: %v", dead)
		}
		took := w.kill(3)
		t.Logf("a death is seen after %v", took)
		if len(took) < 3 || slices.Max(took) > time.Minute {
			t.Errorf("a death is seen after %v", took)
		}
		w.stop()
	})
}

// A hub that was away for longer than anybody remembers is found again; so is an edge
// behind a path that was cut.
func TestAllMeetAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, PerEdge, 2, 2, 100*time.Millisecond, 0)
		time.Sleep(time.Minute)
		w.allKnown()
		reaches := w.net.reaches
		w.cut(func(string, string) bool { return false })
		time.Sleep(10 * time.Minute)
		if dead := w.died(); len(dead) != 4 {
			t.Errorf("in a cut of ten minutes hubs say %v", dead)
		}
		if hubs := w.edges[0].Hubs(); len(hubs) != 0 {
			t.Errorf("the edge still counts on %v", hubs)
		}
		w.cut(reaches)
		time.Sleep(2 * rejoinEvery)
		w.allKnown()

		w.hubs[0].Stop() // in an orderly way: nobody waits for a verdict
		time.Sleep(5 * time.Second)
		if hubs := w.edges[1].Hubs(); !slices.Equal(hubs, []string{"hub-1.example.net:7443"}) {
			t.Errorf("hubs after one has left: %v", hubs)
		}
		time.Sleep(10 * time.Minute)
		w.hub(0)
		time.Sleep(2 * rejoinEvery)
		w.allKnown()
		w.stop()
	})
}

func (w *world) cut(reaches func(from, to string) bool) {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.net.reaches = reaches
}

// Peers that connect and say nothing, and such that take a connection and answer nothing,
// do not hold up who stops.
func TestStopDoesNotWaitForTheSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, PerEdge, 1, 0, 10*time.Millisecond, 0)
		w.ids = []string{"edge-0"}
		deaf := w.net.open("10.2.0.1")
		e, err := StartEdge(EdgeConfig{
			Edge: "edge-0", Pools: PerEdge, Join: []string{"10.2.0.1:7946"}, Keys: [][]byte{key}, Log: zap.NewNop(), transport: w.net.open(edgeIP(0)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer (<-deaf.streams).Close()
		c, err := w.net.open("10.2.0.2").DialTimeout(hubIP(0)+":7946", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		time.Sleep(time.Second)
		for who, stop := range map[string]func() error{"an edge": e.Stop, "a hub": w.hubs[0].Stop} {
			began := time.Now()
			if err := stop(); err != nil {
				t.Errorf("%s: %v", who, err)
			}
			if took := time.Since(began); took > 2*leaveWithin {
				t.Errorf("%s has stopped after %v", who, took)
			}
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is kept")
		}
		time.Sleep(time.Minute)
	})
}

// Who has another key, or names a pool that is not there, is not heard.
func TestStrangersAreNotHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, PerEdge, 1, 1, 10*time.Millisecond, 0)
		for name, cfg := range map[string]EdgeConfig{
			"another key":      {Edge: "edge-0", Keys: [][]byte{[]byte("another key, as long as the first")[:32]}},
			"no key":           {Edge: "edge-0"},
			"an unknown edge":  {Edge: "edge-9", Keys: [][]byte{key}},
			"the shared pool":  {Edge: "edge-0", Keys: [][]byte{key}, Pools: Shared},
			"a pool unlabeled": {Edge: "", Keys: [][]byte{key}},
		} {
			cfg.Join, cfg.Log, cfg.transport = []string{hubIP(0) + ":7946"}, zap.NewNop(), w.net.open("10.2.0.1")
			e, err := StartEdge(cfg)
			if err != nil {
				t.Fatal(name, err)
			}
			time.Sleep(30 * time.Second)
			if hubs := e.Hubs(); len(hubs) != 0 {
				t.Errorf("%s: it knows %v", name, hubs)
			}
			if n := len(w.hubs[0].pools[0].members()); n != 2 {
				t.Errorf("%s: the hub knows %d members", name, n)
			}
			e.Stop()
		}
		w.stop()
	})
}
