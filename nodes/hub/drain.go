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
// calls, says not ready, and takes no rings until Undrain. A hub alone has nobody to give
// anything to: Drain does nothing.
func (h *Hub) Drain(ctx context.Context) error {
	if h.cluster == nil {
		return nil
	}
	node := h.cluster.joined.Load()
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if node == nil || closed {
		return nil
	}
	h.setReady("drain", errDraining)
	h.log.Info("draining")
	err := node.Drain(ctx)
	if errors.Is(err, ErrNobody) {
		return h.stay(err)
	}
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	h.endStreams()
	if err != nil {
		return fmt.Errorf("hub: draining: %w", err)
	}
	h.log.Info("drained", zap.Int("edges_left", h.owns()))
	return nil
}

// stay: there is no other hub. Who asks for a drain is told; who is stopped ends.
func (h *Hub) stay(why error) error {
	h.setReady("drain", nil)
	return fmt.Errorf("hub: draining: %w", why)
}

// Undrain has the hub take its part again.
func (h *Hub) Undrain() error {
	h.mu.Lock()
	h.draining = false
	h.mu.Unlock()
	h.setReady("drain", nil)
	if h.cluster == nil {
		return nil
	}
	if node := h.cluster.joined.Load(); node != nil {
		return node.Undrain()
	}
	return nil
}

// owns is how many edges' rings are here.
func (h *Hub) owns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.edges)
}
