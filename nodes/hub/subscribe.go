package hub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
)

// Event is one durable event of a user: a message for him, or a state of one of his.
type Event = journal.UserEvent

// SubscribeOptions say what a subscription shows.
type SubscribeOptions struct {
	Device    string // tells one user's clients apart; at most 64 bytes
	Resume    bool   // show every event after After too, not only new ones
	After     uint64
	FinalOnly bool // leave out states that are not final
}

// Subscription shows one user's events in order: first the messages that this
// device has not marked received, then all that happens. While there is one
// the user is online.
type Subscription struct {
	// C has one batch at a time; More asks for the next. It is closed when the
	// subscription ends: by Close, or because the hub shuts down or has failed.
	C <-chan []Event

	system *actor.ActorSystem
	end    func() // closes C; again does nothing
	mu     sync.Mutex
	device *actor.PID
	closed bool
}

// Subscribe starts a subscription. The caller reads C, calls More after each
// batch, and Close in the end.
func (h *Hub) Subscribe(user string, o SubscribeOptions) (*Subscription, error) {
	if len(o.Device) > 64 {
		return nil, fmt.Errorf("hub: device has %d bytes: at most 64", len(o.Device))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.draining {
		return nil, errors.New("hub: closed, or draining: another hub has the streams")
	}
	batches := make(chan []Event, 1) // the device sends one for each More: never more than fits
	s := &Subscription{C: batches, system: h.system}
	s.end = sync.OnceFunc(func() { close(batches) })
	h.subscriptions[s] = true
	h.system.Root.Send(h.clients, &hubactors.Attach{User: user, Device: hubactors.DeviceConfig{
		Name: o.Device, Resume: o.Resume, After: o.After, FinalOnly: o.FinalOnly,
		Attached: s.attached,
		Deliver:  func(events []journal.UserEvent) { batches <- events },
		Detached: func() {
			s.end()
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.subscriptions, s)
		},
	}})
	return s, nil
}

// endStreams ends all subscriptions, so that their clients go to another hub.
func (h *Hub) endStreams() {
	h.mu.Lock()
	all := slices.Collect(maps.Keys(h.subscriptions))
	h.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
}

// endSubscriptions closes those whose device never began: the actors were
// stopped before they came to it.
func (h *Hub) endSubscriptions() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscriptions {
		s.end()
	}
}

func (s *Subscription) attached(device *actor.PID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.device = device
	return !s.closed
}

// More asks for the next batch; call it once for each.
func (s *Subscription) More() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.device != nil {
		s.system.Root.Send(s.device, hubactors.More{})
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.device != nil {
		s.system.Root.Stop(s.device)
	}
	s.closed = true
}
