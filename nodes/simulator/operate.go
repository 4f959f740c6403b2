package simulator

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// What an operator sees and does.

// Stats returns the counts.
func (s *Simulator) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.store.stats
	stats.Seconds = uint64(time.Since(s.counted) / time.Second)
	stats.Sessions = len(s.sessions)
	stats.MOPending = stats.MOQueued - stats.MOAcked - stats.MORefused
	return stats
}

// ResetStats begins to count anew. What is of this moment stays.
func (s *Simulator) ResetStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.store.stats
	s.counted = time.Now()
	s.store.stats = Stats{
		Stored: old.Stored, ReceiptsPending: old.ReceiptsPending,
		MOQueued: old.MOQueued - old.MOAcked - old.MORefused,
	}
}

// Session is one connection of an ESME.
type Session struct {
	Protocol  string    `json:"protocol"`
	Peer      string    `json:"peer"` // its address, host:port
	User      string    `json:"user"` // empty before the login
	Mode      string    `json:"mode"` // SMPP: transceiver, transmitter, receiver
	Since     time.Time `json:"since"`
	Submitted uint64    `json:"submitted"` // parts accepted from it
	Delivered uint64    `json:"delivered"` // delivers and receipts that it answered, but for those it refused for now
}

// Sessions returns those that are bound, oldest login first.
func (s *Simulator) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.sessions))
	for _, c := range s.sessions {
		list = append(list, Session{
			Protocol: c.protocol.Name, Peer: c.conn.RemoteAddr().String(), User: c.user, Mode: c.mode, Since: c.since,
			Submitted: c.accepted.Load(), Delivered: c.delivered.Load(),
		})
	}
	return list
}

// EndSessions closes all connections, at once or after an unbind or logout. It does
// not wait for their end.
func (s *Simulator) EndSessions(politely bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		if politely {
			c.order(smsc.Logout{})
		} else {
			c.order(smsc.Disconnected{})
		}
	}
}

// order tells a session what to do. One that has four orders waiting hears no more.
func (s *session) order(ev smsc.Event) {
	select {
	case s.orders <- ev:
	default:
	}
}

// Outbind dials an ESME and asks it to bind (SMPP v3.4 §4.1.7).
func (s *Simulator) Outbind(ctx context.Context, address, user, password string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("simulator: outbind: %w", err)
	}
	session, err := s.serve(s.ctx, conn, smpp.Protocol)
	if err != nil {
		return err
	}
	session.order(smsc.Outbind{User: user, Password: password})
	return nil
}

// Faults returns what goes wrong.
func (s *Simulator) Faults() Faults { return *s.faults.Load() }

// SetFaults replaces what goes wrong from the next message on.
func (s *Simulator) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.setFaults(f)
	return nil
}

func (s *Simulator) setFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Store(&f)
	if f.Freeze && s.thaw == nil {
		s.thaw = make(chan struct{})
	}
	if !f.Freeze && s.thaw != nil {
		close(s.thaw)
		s.thaw = nil
	}
}

// Receipts returns how receipts look.
func (s *Simulator) Receipts() Receipts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.receipt
}

// SetReceipts changes how receipts look, those of earlier submits too but for
// their ids and number.
func (s *Simulator) SetReceipts(r Receipts) error {
	if err := r.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.receipt = r
	return nil
}

// Latency returns the time that one message takes.
func (s *Simulator) Latency() time.Duration { return time.Duration(s.latency.Load()) }

// SetLatency sets it from the next message on: 0 to 1 h.
func (s *Simulator) SetLatency(d time.Duration) error {
	if err := checkTime("latency", d); err != nil {
		return err
	}
	s.latency.Store(int64(d))
	return nil
}
