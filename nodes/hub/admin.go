package hub

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
)

// What an operator asks of a hub that runs.

var (
	// ErrNoEdge: no edge of that id is configured here.
	ErrNoEdge = errors.New("hub: no such edge is configured here")
	// ErrElsewhere: the edge is configured, and its rings are not here.
	ErrElsewhere = errors.New("hub: the rings of this edge are not here")
)

// withRejoin has a synchronisation serve edges that do not stand where the store
// remembers, if the store can.
func (h *Hub) withRejoin(cfg *link.HubSyncConfig, e *edge) {
	store, ok := h.store.(interface {
		Standing(edge string) (journal.Standing, error)
	})
	rings, can := e.rings.(interface {
		Rejoin(what journal.Rejoin, done func(journal.Rejoined, error))
	})
	if ok && can {
		cfg.Standing = func() (journal.Standing, error) { return store.Standing(e.cfg.ID) }
		cfg.Rejoin = func(what journal.Rejoin, done func(journal.Rejoined, error)) {
			if !e.rejoins.Allow() {
				done(journal.Rejoined{}, errRejoins)
				return
			}
			rings.Rejoin(what, done)
		}
	}
}

// To let an edge join anew the store looks through all its messages: an edge that wants it
// again and again waits.
func newRejoins() *rate.Limiter { return rate.NewLimiter(rate.Every(10*time.Second), 3) }

var errRejoins = errors.New("hub: this edge joined anew several times just now: once in ten seconds")

var errReplaced = errors.New("hub: the operator replaced this edge")

// ReplaceEdge gives up an edge's lost data directory: the next one that comes under
// this id is taken, and all that was not final goes out to it again. What may have
// been submitted is counted as unknown.
func (h *Hub) ReplaceEdge(id string) error {
	e := h.owned(id)
	if e == nil {
		return h.elsewhere(id)
	}
	store, ok := h.store.(interface{ ReplaceEdge(id string) error })
	if !ok {
		return errors.New("hub: this store cannot replace an edge")
	}
	if err := store.ReplaceEdge(id); err != nil {
		return h.failed(err)
	}
	h.log.Warn("edge replaced by the operator", zap.String("edge", id))
	h.system.Root.Send(e.session, &link.ProtocolError{Err: errReplaced})
	return nil
}

// elsewhere says where to ask about an edge whose rings are not here.
func (h *Hub) elsewhere(id string) error {
	if _, ok := h.edge(id); !ok {
		return fmt.Errorf("%w: %q", ErrNoEdge, id)
	}
	if h.cluster != nil {
		if owner, ok := h.cluster.owner(id); ok && !owner.Self {
			return fmt.Errorf("%w: hub %s is to have those of %q: ask that one", ErrElsewhere, owner.Name, id)
		}
	}
	return fmt.Errorf("%w: %q is served by no hub at the moment: try again", ErrElsewhere, id)
}

// Backup copies the store into a new folder of this machine while the hub runs.
func (h *Hub) Backup(dir string) error {
	store, ok := h.store.(interface{ Backup(dir string) error })
	switch {
	case !ok:
		return errors.New("hub: this store is backed up with its own tools")
	case !filepath.IsAbs(dir):
		return fmt.Errorf("hub: backup folder %q: give an absolute path", dir)
	}
	return store.Backup(dir)
}
