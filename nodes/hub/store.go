package hub

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/nodes/store/pgstore"
)

// ErrAway: the store that hubs share does not answer for now.
var ErrAway = pgstore.ErrAway

// openStore opens the store that the configuration names.
func (h *Hub) openStore() (store journal.Hub, err error) {
	if h.cfg.Store.Driver == "postgres" {
		store, err = h.openShared()
	} else {
		store, err = h.openEmbedded()
	}
	if err != nil {
		return nil, fmt.Errorf("hub: opening the store: %w", err)
	}
	return store, nil
}

func (h *Hub) openEmbedded() (journal.Hub, error) {
	return hubstore.Open(hubstore.Options{
		Dir: h.cfg.DataDir, Node: "hub", ReserveBytes: h.cfg.Disk.Bytes(), Logger: h.log, Now: h.now,
		KeepMessages: h.cfg.Messages.Keep, KeepEvents: h.cfg.Events.Keep, Slots: h.slots, Measures: h.measures,
		Fatal: func(err error) {
			h.setReady("store", err)
			select {
			case h.fatal <- err:
			default: // Run has the first one
			}
		},
	})
}

// connectWithin is how long a hub that starts waits for its database.
const connectWithin = 30 * time.Second

// openShared opens the database that all hubs of a cluster share.
func (h *Hub) openShared() (journal.Hub, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectWithin)
	defer cancel()
	return pgstore.Open(ctx, pgstore.Options{
		DSN: h.cfg.Store.DSN, Node: h.name + "/" + h.system.ID, Alone: h.cfg.Cluster == nil, Logger: h.log, Now: h.now,
		KeepMessages: h.cfg.Messages.Keep, KeepEvents: h.cfg.Events.Keep, Slots: h.slots, Measures: h.measures,
		Queued: func(edges []string) {
			if h.hints != nil {
				h.system.Root.Send(h.hints, queuesGrew{edges})
			}
		},
	})
}

// sessionKey is what signs logins: of this hub, or of all hubs that share the store.
func (h *Hub) sessionKey() ([]byte, error) {
	key, err := secretFile(filepath.Join(h.cfg.DataDir, "session.key"), h.log)
	shared, ok := h.store.(interface {
		Secret(ctx context.Context, name string, fresh []byte) ([]byte, error)
	})
	if err != nil || !ok {
		return []byte(key), err
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectWithin)
	defer cancel()
	return shared.Secret(ctx, "session.key", []byte(key))
}

func (h *Hub) slots(edge string) uint32 {
	cfg, _ := h.edge(edge)
	return uint32(cfg.Ring.Slots)
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
