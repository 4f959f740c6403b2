package edgestore

import (
	"encoding/json"
	"slices"

	"github.com/ringway-im/ringway/nodes/store/kv"
)

// hubs is what is kept of the hubs that this edge has heard of. It holds for as long
// as the edge is configured for the same ones: who is given others has moved.
type hubs struct {
	Configured, Known []string
}

// Hubs returns what SetHubs has kept under this configuration.
func (s *Store) Hubs(configured []string) ([]string, error) {
	kept, err := s.hubs()
	if err != nil || !slices.Equal(kept.Configured, configured) {
		return nil, err
	}
	return kept.Known, nil
}

func (s *Store) hubs() (kept hubs, err error) {
	value, found, err := s.db.Get(meta("hubs"))
	if err != nil || !found {
		return hubs{}, err
	}
	if json.Unmarshal(value, &kept) != nil {
		return hubs{}, nil // none is known then
	}
	return kept, nil
}

// SetHubs keeps them durably; nobody waits for it.
func (s *Store) SetHubs(configured, known []string) {
	if kept, err := s.hubs(); err == nil && slices.Equal(kept.Configured, configured) && slices.Equal(kept.Known, known) {
		return
	}
	value, _ := json.Marshal(hubs{configured, known}) // lists of texts always can be
	var b kv.Batch
	b.Set(meta("hubs"), value)
	s.owed(whenever).Commit(&b, func(error) {})
}
