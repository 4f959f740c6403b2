package gossip

import (
	"errors"
	"sync"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

// HubConfig is what a hub's gossip needs.
type HubConfig struct {
	Name      string   // of this hub
	Link      string   // its link address, as edges dial it
	Listen    string   // UDP and TCP, one port for all pools
	Advertise string   // where others reach it; "": Listen
	Pools     string   // PerEdge or Shared
	Edges     []string // ids
	// Peers are the gossip addresses of other hubs, as far as they are known; nil: hubs
	// meet where an edge joins several.
	Peers func() []string
	Keys  [][]byte // encrypt with the first, accept all; none: gossip goes in the clear
	// Verdict is called when an edge is seen for the first time, is gone, or is back:
	// one call at a time, and it does not wait long. It is a hint only.
	Verdict func(edge string, alive bool)
	Log     *zap.Logger

	transport memberlist.Transport
}

// Hub takes part in the pools of its edges.
type Hub struct {
	cfg     HubConfig
	mux     *mux
	changed chan struct{}
	ended   chan struct{}
	telling sync.WaitGroup
	stop    func() error

	mu    sync.Mutex
	pools []*pool
	told  map[string]bool // edges that were seen: alive?
}

// StartHub begins to gossip. That nobody answers is no error.
func StartHub(cfg HubConfig) (*Hub, error) {
	if cfg.Peers == nil {
		cfg.Peers = func() []string { return nil }
	}
	m, err := openMux(cfg.transport, cfg.Listen, cfg.Advertise, cfg.Log)
	if err != nil {
		return nil, err
	}
	h := &Hub{cfg: cfg, mux: m, changed: make(chan struct{}, 1), ended: make(chan struct{}), told: map[string]bool{}}
	h.stop = sync.OnceValue(h.end)
	labels := map[string]bool{}
	for _, edge := range cfg.Edges {
		labels[labelOf(cfg.Pools, edge)] = true
	}
	for label := range labels {
		p, err := newPool(m, poolConfig{
			self: meta{Role: roleHub, Name: cfg.Name, Link: cfg.Link}, pools: cfg.Pools, label: label, keys: cfg.Keys, join: cfg.Peers, log: cfg.Log,
		}, h.kick)
		if err != nil {
			return nil, errors.Join(err, h.stop())
		}
		h.mu.Lock()
		h.pools = append(h.pools, p)
		h.mu.Unlock()
	}
	h.telling.Go(h.tell)
	return h, nil
}

func openMux(t memberlist.Transport, address, advertise string, log *zap.Logger) (*mux, error) {
	var err error
	if t == nil {
		if t, err = listen(address, log); err != nil {
			return nil, err
		}
	}
	m, err := newMux(t, advertise, log)
	if err != nil {
		return nil, errors.Join(err, t.Shutdown())
	}
	return m, nil
}

func (h *Hub) kick() {
	select {
	case h.changed <- struct{}{}:
	default: // it looks anyway
	}
}

// tell passes on what has changed.
func (h *Hub) tell() {
	for {
		select {
		case <-h.ended:
			return
		case <-h.changed:
		}
		for edge, alive := range h.news() {
			if h.cfg.Verdict != nil {
				h.cfg.Verdict(edge, alive)
			}
		}
	}
}

// news lists the edges about which something else holds than what was told.
func (h *Hub) news() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	alive, news := h.alive(), map[string]bool{}
	for edge := range alive {
		if was, known := h.told[edge]; !known || !was {
			news[edge] = true
		}
	}
	for edge, was := range h.told {
		if was && !alive[edge] {
			news[edge] = false
		}
	}
	for edge, now := range news {
		h.told[edge] = now
	}
	return news
}

// alive lists the edges that are, in a pool in which they may be.
func (h *Hub) alive() map[string]bool {
	alive := map[string]bool{}
	for _, p := range h.pools {
		for _, m := range p.members() {
			if m.Role == roleEdge && labelOf(h.cfg.Pools, m.Name) == p.cfg.label {
				alive[m.Name] = true
			}
		}
	}
	return alive
}

// Alive is what gossip says about an edge; known: it was ever seen.
func (h *Hub) Alive(edge string) (alive, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, known = h.told[edge]
	alive = h.alive()[edge]
	return alive, alive || known
}

// Address is where others reach this hub's gossip: what its peers need.
func (h *Hub) Address() string { return h.mux.address() }

// Stop leaves all pools. The second call does nothing.
func (h *Hub) Stop() error { return h.stop() }

func (h *Hub) end() error {
	close(h.ended)
	var wait sync.WaitGroup
	h.mu.Lock()
	pools := h.pools
	h.mu.Unlock()
	errs := make([]error, len(pools)+1)
	for i, p := range pools {
		wait.Go(func() { errs[i] = p.stop() })
	}
	wait.Wait()
	h.telling.Wait()
	errs[len(pools)] = h.mux.close()
	return errors.Join(errs...)
}
