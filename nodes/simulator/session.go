package simulator

import (
	"bufio"
	"context"
	"errors"
	"net"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/smsc"
)

// session is one ESME's connection. Its goroutine owns the protocol's machine;
// another reads the socket for it.
//
//	reader ─▶ events ─▶ run: machine, submits (one at a time, latency each) ─▶ socket
//	                     ▲ wake: there is something to deliver
type session struct {
	ctx      context.Context // of the simulator
	sim      *Simulator
	protocol smsc.Protocol
	conn     net.Conn
	machine  smsc.ServerMachine
	log      *zap.Logger

	events chan smsc.Event
	wake   chan struct{} // capacity 1
	alarm  *alarm
	armed  time.Time // zero: not

	timers map[string]timer
	out    []byte
	bound  bool // counted as a session
	closed bool

	submits   []smsc.SubmitReceived // unanswered, oldest first
	submitDue time.Time             // when the first is processed

	next    *item // taken, sent when its processing is over
	nextDue time.Time
	sent    map[uint64]*item // unanswered, by Ref
	refs    uint64
	refused []*item // for now
}

type timer struct {
	smsc.Timer
	at time.Time
}

// lead is how much earlier than needed the alarm is set: it takes about that
// long for a goroutine to be woken. The rest is waited for awake.
const lead = 100 * time.Microsecond

// flushAt is how many octets wait at most for more to be written with them.
const flushAt = 64 << 10

// closeLimit is how long a peer may not read while the simulator closes.
const closeLimit = 100 * time.Millisecond

// run serves the connection until it ends.
func (s *session) run() {
	gone := make(chan struct{})
	go s.read(gone)
	stop := context.AfterFunc(s.ctx, func() { // also out of a write that hangs
		_ = s.conn.SetWriteDeadline(time.Now().Add(closeLimit))
	})
	s.handle(smsc.Connected{})
	for !s.closed {
		select { // all that has come is answered in one write
		case ev := <-s.events:
			s.handle(ev)
			s.process(time.Now())
			if len(s.out) < flushAt {
				continue
			}
		default:
		}
		s.process(time.Now())
		s.flush()
		if s.closed {
			break
		}
		s.arm(time.Now())
		select {
		case ev := <-s.events:
			s.handle(ev)
		case <-s.wake:
		case <-s.alarm.C:
			if time.Until(s.armed) > lead {
				continue // it rang for what was set earlier
			}
			for time.Now().Before(s.armed) {
				runtime.Gosched()
			}
			s.armed = time.Time{}
		case <-s.ctx.Done():
			s.handle(smsc.Logout{})
			s.closed = true
		}
	}
	s.flush()
	stop()
	_ = s.conn.Close()
	s.handle(smsc.Disconnected{})
	close(gone)
	s.alarm.close()
	if s.next != nil {
		s.refused = append(s.refused, s.next)
	}
	s.sim.ended(s)
}

func (s *session) read(gone <-chan struct{}) {
	r := bufio.NewReaderSize(s.conn, 16<<10)
	for {
		packet, err := s.protocol.Read(r)
		var ev smsc.Event = smsc.Received{Packet: packet}
		syntax := (*smsc.SyntaxError)(nil)
		last := false
		switch {
		case err == nil:
		case errors.As(err, &syntax):
			ev, last = smsc.Garbled{Err: err}, syntax.Fatal
		default:
			ev, last = smsc.Disconnected{Err: err}, true
		}
		select {
		case s.events <- ev:
		case <-gone:
			return
		}
		if last {
			return
		}
	}
}

// handle tells the machine and does what it asks for.
func (s *session) handle(ev smsc.Event) {
	switch ev := ev.(type) {
	case smsc.Garbled:
		s.sim.count(func(st *Stats) { st.Garbled++ })
		s.log.Info("garbled", zap.Error(ev.Err))
	case smsc.Disconnected:
		s.closed = true
	}
	for _, effect := range s.machine.Handle(ev, nil) {
		switch e := effect.(type) {
		case smsc.Write:
			s.out = append(s.out, e.Octets...)
		case smsc.SetTimer:
			s.timers[e.Timer.Name] = timer{e.Timer, time.Now().Add(e.After)}
		case smsc.StopTimer:
			delete(s.timers, e.Name)
		case smsc.LoginReceived:
			s.handle(s.sim.login(s, e))
		case smsc.Bound:
		case smsc.SubmitReceived:
			if len(s.submits) == 0 {
				s.submitDue = time.Now().Add(s.sim.Latency())
			}
			s.submits = append(s.submits, e)
			s.sim.unanswered(len(s.submits))
		case smsc.DeliverAnswered:
			s.answered(e)
		case smsc.DeliveryRequested:
			s.handle(smsc.WaitingResult{Ref: e.Ref, Waiting: s.sim.waiting(s)})
		case smsc.Close:
			s.closed = true
			if e.Err != nil {
				s.log.Info("session closed", zap.Error(e.Err))
			}
		}
	}
}

// process does what is due by now: submits, timers, delivers.
func (s *session) process(now time.Time) {
	for len(s.submits) > 0 && !now.Before(s.submitDue) && !s.closed {
		ref := s.submits[0].Ref
		v, junk := s.sim.submit(s, s.submits[0].Part, now)
		s.submits = s.submits[1:]
		s.submitDue = now.Add(s.sim.Latency())
		s.out = append(s.out, junk...)
		if v.close {
			s.closed = true
			return
		}
		s.handle(smsc.ServerAnswer{Ref: ref, Outcome: v.outcome})
	}
	for name, t := range s.timers {
		if !now.Before(t.at) {
			delete(s.timers, name)
			s.handle(smsc.Due{Timer: t.Timer})
		}
	}
	for !s.closed && s.machine.DeliverReady() > 0 {
		if s.next == nil {
			if s.next = s.sim.take(s); s.next == nil {
				break
			}
			s.nextDue = now
			if s.next.report == nil {
				s.nextDue = now.Add(s.sim.Latency())
			}
		}
		if now.Before(s.nextDue) {
			break
		}
		s.deliver(s.next)
		s.next = nil
	}
	if len(s.refused) > 0 && !s.closed {
		s.sim.postpone(s.refused, now)
		s.refused = nil
	}
}

func (s *session) deliver(it *item) {
	s.refs++
	s.sent[s.refs] = it
	if it.report != nil {
		report := *it.report
		report.Ref = s.refs
		s.handle(report)
		return
	}
	s.handle(smsc.ServerDeliver{Ref: s.refs, Deliver: it.deliver})
}

func (s *session) answered(e smsc.DeliverAnswered) {
	it := s.sent[e.Ref]
	if it == nil {
		return
	}
	delete(s.sent, e.Ref)
	if e.Temporary {
		s.refused = append(s.refused, it)
		return
	}
	s.sim.acknowledged(it, e.OK)
}

// arm sets the alarm to what is due first. An alarm too early does no harm.
func (s *session) arm(now time.Time) {
	var first time.Time
	earlier := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if len(s.submits) > 0 {
		earlier(s.submitDue)
	}
	if s.next != nil {
		earlier(s.nextDue)
	}
	for _, t := range s.timers {
		earlier(t.at)
	}
	if first.IsZero() || !s.armed.IsZero() && !first.Before(s.armed) {
		return
	}
	s.armed = first
	s.alarm.set(first.Sub(now) - lead)
}

func (s *session) flush() {
	if len(s.out) == 0 {
		return
	}
	limit := s.sim.cfg.ResponseTimeout
	if s.ctx.Err() != nil {
		limit = closeLimit
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(limit))
	if _, err := s.conn.Write(s.out); err != nil {
		s.closed = true
	}
	s.out = s.out[:0]
}
