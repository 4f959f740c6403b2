package hub

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/cluster"
	"github.com/ringway-im/ringway/cluster/gossip"
)

// gossipAttribute of a member: where other hubs reach its gossip with edges.
const gossipAttribute = "gossip"

// startGossip has this hub hear of edges, and edges of it, beside the link. What it
// hears is a hint for people and for hubs that have no link to an edge: an edge is
// unreachable when its link is interrupted, and only then.
func (h *Hub) startGossip(link string) error {
	cfg := h.cfg.Gossip
	if cfg == nil {
		return nil
	}
	keys, err := cluster.LoadKeys(cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("hub: gossip.key_file: %w", err)
	}
	edges := make([]string, len(h.cfg.Edges))
	for i, e := range h.cfg.Edges {
		edges[i] = e.ID
	}
	h.gossip, err = gossip.StartHub(gossip.HubConfig{
		Name: h.name, Link: link, Listen: cfg.Listen, Advertise: cfg.Advertise, Pools: cfg.Pools, Edges: edges, Keys: keys, Log: h.log,
		Peers: func() []string { return h.attributes(gossipAttribute) },
		Verdict: func(edge string, alive bool) {
			h.log.Info("gossip about an edge", zap.String("edge", edge), zap.Bool("alive", alive))
		},
	})
	if err != nil {
		return fmt.Errorf("hub: gossip: %w", err)
	}
	return nil
}

// heard is what gossip says of an edge, in a word; "": nothing.
func (h *Hub) heard(edge string) string {
	if h.gossip == nil {
		return ""
	}
	switch alive, known := h.gossip.Alive(edge); {
	case alive:
		return "alive"
	case known:
		return "gone"
	}
	return ""
}

func (h *Hub) stopGossip() {
	if h.gossip == nil {
		return
	}
	if err := h.gossip.Stop(); err != nil {
		h.log.Warn("gossip did not end in an orderly way", zap.Error(err))
	}
}

// attributes of that name of all members of the cluster.
func (h *Hub) attributes(name string) (all []string) {
	if h.cluster == nil {
		return nil
	}
	for _, m := range h.cluster.members() {
		if value := m.Attributes[name]; value != "" {
			all = append(all, value)
		}
	}
	return all
}
