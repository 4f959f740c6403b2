package simulator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// Handset is one mobile station of the simulator.
type Handset struct {
	sim    *Simulator
	number string
	state  *handset
}

// What handsets refuse.
var (
	ErrNumber = errors.New("simulator: a number is one to twenty digits, with or without +")
	ErrOff    = errors.New("simulator: the handset is off: switch it on to send")
)

// Handset returns the handset with this number; it exists as soon as it is
// named. With and without '+' it is the same; what it sends comes from the
// number as given here. The error is ErrNumber.
func (s *Simulator) Handset(number string) (*Handset, error) {
	if !isNumber(number) {
		return nil, fmt.Errorf("%w, not %q", ErrNumber, number)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Handset{s, number, s.store.handset(number)}, nil
}

// Messages returns what the handset has received, in order, without the first
// after messages. Nothing with Config.Discard.
func (h *Handset) Messages(after int) []Message {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	all := h.state.messages
	return slices.Clone(all[min(max(after, 0), len(all)):])
}

// Received returns how many texts have come, and with Config.Discard a digest of
// them that depends on their order: equal for equal senders and texts.
func (h *Handset) Received() (count int, digest uint64) {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	return h.state.count, h.state.digest
}

// Send sends a text to a service. The error is ErrNumber, ErrOff,
// text.ErrNotUTF8 or text.ErrTooLong, wrapped.
func (h *Handset) Send(to, text string) error {
	if !isNumber(to) {
		return fmt.Errorf("%w, not %q", ErrNumber, to)
	}
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	if h.state.off {
		return ErrOff
	}
	if err := h.sim.store.send(h.state, h.number, to, text, time.Now()); err != nil {
		return fmt.Errorf("simulator: from %s: %w", h.number, err)
	}
	h.sim.wakeLocked()
	return nil
}

// SetOn switches the handset on or off. While it is off the SMSC stores what
// comes for it.
func (h *Handset) SetOn(on bool) {
	h.sim.mu.Lock()
	h.sim.store.setOn(h.state, on, time.Now())
	h.sim.wakeLocked()
	h.sim.mu.Unlock()
	h.sim.tell()
}

// SetRefuses makes the handset refuse every message for good: receipts say
// undeliverable.
func (h *Handset) SetRefuses(refuses bool) { h.set(func(h *handset) { h.refuses = refuses }) }

// SetBusy makes the SMSC refuse submits to this recipient for now.
func (h *Handset) SetBusy(busy bool) { h.set(func(h *handset) { h.busy = busy }) }

// SetBarred makes the SMSC refuse submits to this recipient for good.
func (h *Handset) SetBarred(barred bool) { h.set(func(h *handset) { h.barred = barred }) }

func (h *Handset) set(change func(*handset)) {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	change(h.state)
}

// Alert tells every SMPP session that receives that this handset can be reached
// again (alert_notification, SMPP v3.4 §4.12.1).
func (h *Handset) Alert() {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	for _, session := range h.sim.sessions {
		if session.receives && session.protocol.Name == smpp.Protocol.Name {
			session.order(smsc.ServerAlert{Handset: smsc.ParseAddress(h.number)})
		}
	}
}

// OnDelivered sets what is called for each text that a handset receives, in
// order, one call at a time. It may use the simulator. A session waits for it.
func (s *Simulator) OnDelivered(hook func(number, from, text string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook, s.store.heard = hook, nil
	if hook != nil {
		s.store.heard = func(number, from, text string) { s.heard = append(s.heard, heard{number, from, text}) }
	}
}
