package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
)

// openStore opens the store that the configuration names.
func (h *Hub) openStore() (journal.Hub, error) {
	if driver := h.cfg.Store.Driver; driver != "" && driver != "embedded" {
		return nil, fmt.Errorf("hub: store.driver is %q: this build has only embedded", driver)
	}
	store, err := hubstore.Open(hubstore.Options{
		Dir: h.cfg.DataDir, Node: "hub", ReserveBytes: h.cfg.Disk.Bytes(), Logger: h.log, Now: h.now,
		KeepMessages: h.cfg.Messages.Keep, KeepEvents: h.cfg.Events.Keep,
		Slots: func(edge string) uint32 {
			cfg, _ := h.edge(edge)
			return uint32(cfg.Ring.Slots)
		},
		Fatal: func(err error) {
			h.setReady("store", err)
			select {
			case h.fatal <- err:
			default: // Run has the first one
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("hub: opening the store: %w", err)
	}
	return store, nil
}

// forget removes what is past its retention, if the store wants to be told.
func (h *Hub) forget(ctx context.Context) error {
	store, ok := h.store.(interface {
		Sweep(now time.Time, most int) (int, error)
	})
	if !ok {
		return nil
	}
	for ctx.Err() == nil {
		if n, err := store.Sweep(h.now(), 1000); err != nil || n == 0 {
			return err
		}
	}
	return nil
}
