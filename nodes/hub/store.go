package hub

import (
	"errors"

	"github.com/ringway-im/ringway/actors/journal"
)

// openStore opens the embedded store in the hub's folder.
func (h *Hub) openStore() (journal.Hub, error) {
	return nil, errors.New("hub: no store: give WithStore")
}
