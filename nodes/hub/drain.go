package hub

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/cluster"
)

// errDraining is why a hub is not ready.
var errDraining = errors.New("hub: draining: it gives what it has to other hubs")

// ErrNobody: there is no other hub to give anything to.
var ErrNobody = cluster.ErrNobody

// Drain gives all that this hub has to the other hubs of the cluster, and ends its
// streams once that is done, so that their clients come to another: they miss nothing,
// because another hub has the rings and the store is the same. It goes on answering
// calls, says not ready, and takes no rings until Undrain, which also ends a Drain that
// waits. If the last other hub goes meanwhile, this one takes its part again: ErrNobody.
// A hub that is no member of a cluster has nobody to give anything to: Drain does nothing.
func (h *Hub) Drain(ctx context.Context) error {
	node := h.node()
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if node == nil || closed {
		return nil
	}
	h.log.Info("draining")
	err := node.Drain(ctx)
	if errors.Is(err, ErrNobody) { // else nobody would serve what has left already
		return errors.Join(fmt.Errorf("hub: draining: %w", err), h.Undrain())
	}
	if h.turnAway(node) {
		h.endStreams()
	}
	if err != nil {
		return fmt.Errorf("hub: draining: %w", err)
	}
	h.log.Info("drained", zap.Int("edges_left", h.owns()))
	return nil
}

// turnAway refuses streams from now on, unless Undrain came meanwhile.
func (h *Hub) turnAway(node *cluster.Node) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = node.Draining()
	return h.draining
}

// Undrain has the hub take its part again.
func (h *Hub) Undrain() (err error) {
	if node := h.node(); node != nil {
		err = node.Undrain()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = false // last: turnAway does nothing any more
	return err
}

// drains says why a hub that drains, or turns streams away still, is not ready. Call it
// with mu held.
func (h *Hub) drains() error {
	if node := h.node(); h.draining || node != nil && node.Draining() {
		return errDraining
	}
	return nil
}

// node is this hub in its cluster; nil: it is alone, or has not joined yet.
func (h *Hub) node() *cluster.Node {
	if h.cluster == nil {
		return nil
	}
	return h.cluster.joined.Load()
}

// owns is how many edges' rings are here.
func (h *Hub) owns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.edges)
}
