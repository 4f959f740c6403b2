package edge

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/cluster"
	"github.com/ringway-im/ringway/cluster/gossip"
)

// startGossip has this edge hear of hubs, and hubs of it, beside the link.
func (e *Edge) startGossip() error {
	cfg := e.cfg.Gossip
	if cfg == nil {
		return nil
	}
	keys, err := cluster.LoadKeys(cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("edge: gossip.key_file: %w", err)
	}
	e.gossip, err = gossip.StartEdge(gossip.EdgeConfig{
		Edge: e.cfg.ID, Listen: cfg.Listen, Advertise: cfg.Advertise, Pools: cfg.Pools, Join: cfg.Join, Keys: keys, Log: e.log,
	})
	if err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

func (e *Edge) stopGossip() {
	if e.gossip == nil {
		return
	}
	if err := e.gossip.Stop(); err != nil {
		e.log.Warn("gossip did not end in an orderly way", zap.Error(err))
	}
}

// knownHubs are the hubs that this edge has heard of, the one that worked last first.
func (e *Edge) knownHubs() []string {
	known, err := e.store.Hubs(e.cfg.Hubs)
	if err != nil {
		e.log.Warn("the hubs heard of before cannot be read; those configured are tried", zap.Error(err))
	}
	if e.gossip != nil {
		known = append(known, e.gossip.Hubs()...)
	}
	return known
}
