package gossip

import (
	"errors"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

// EdgeConfig is what an edge's gossip needs.
type EdgeConfig struct {
	Edge      string
	Listen    string // UDP and TCP
	Advertise string // where hubs reach it; "": Listen
	Pools     string // as at the hubs
	Join      []string
	Keys      [][]byte
	Log       *zap.Logger

	transport memberlist.Transport
}

// Edge takes part in a pool.
type Edge struct {
	mux  *mux
	pool *pool
	stop func() error
}

// StartEdge begins to gossip. That no hub answers is no error: it tries on.
func StartEdge(cfg EdgeConfig) (*Edge, error) {
	m, err := openMux(cfg.transport, cfg.Listen, cfg.Advertise, cfg.Log)
	if err != nil {
		return nil, err
	}
	p, err := newPool(m, poolConfig{
		self: meta{Role: roleEdge, Name: cfg.Edge}, pools: cfg.Pools, label: labelOf(cfg.Pools, cfg.Edge), keys: cfg.Keys,
		join: func() []string { return cfg.Join }, log: cfg.Log,
	}, func() {})
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	e := &Edge{mux: m, pool: p}
	e.stop = sync.OnceValue(func() error { return errors.Join(p.stop(), m.close()) })
	return e, nil
}

// Hubs returns the link addresses of the hubs that are alive.
func (e *Edge) Hubs() []string {
	var hubs []string
	for _, m := range e.pool.members() {
		if m.Role == roleHub && m.Link != "" && !slices.Contains(hubs, m.Link) {
			hubs = append(hubs, m.Link)
		}
	}
	return hubs
}

// Address is where hubs reach this edge's gossip.
func (e *Edge) Address() string { return e.mux.address() }

// Stop leaves the pool. The second call does nothing.
func (e *Edge) Stop() error { return e.stop() }
