package simulator

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/smsc"
)

// session is one ESME's connection. Its goroutine owns the protocol's machine;
// another reads the socket for it.
//
//	reader ─▶ events ─▶ run: machine, submits (one at a time, latency each) ─▶ socket
//	                     ▲ wake: there is something to deliver
//	                     ▲ orders: of whoever operates the SMSC
type session struct {
	ctx      context.Context // of the simulator
	sim      *Simulator
	protocol smsc.Protocol
	conn     net.Conn
	machine  smsc.ServerMachine
	log      *zap.Logger
	since    time.Time

	user, mode string // empty before the login; as what follows written with the simulator's lock
	receives   bool
	accepted   atomic.Uint64 // submits
	delivered  atomic.Uint64 // delivers and receipts that were answered

	events chan smsc.Event
	wake   chan struct{} // capacity 1
	orders chan smsc.Event
	alarm  *alarm
	armed  time.Time // zero: not

	timers map[string]timer
	todo   []smsc.Effect // spare
	out    []byte
	closed bool

	submits   []smsc.SubmitReceived // unanswered, oldest first
	submitDue time.Time             // when the first is processed
	held      *held                 // the answer to the last one processed; nil: it is out
	later     []delayed
	multi     multi // the last submit_multi

	next    *item // taken, sent when its processing is over
	nextDue time.Time
	sent    map[uint64]*item // unanswered, by Ref
	refs    uint64
	refused []*item // for now
}

// multi is the submit_multi that a part may belong to: its destinations have one id.
type multi struct {
	first uint64 // Ref
	id    string
}

// held is an answer that a receipt goes before.
type held struct {
	answer  smsc.ServerAnswer
	receipt *item
	until   time.Time
}

// delayed is what the machine is told later.
type delayed struct {
	event smsc.Event
	at    time.Time
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

// holdLimit is how long a response waits for its receipt to go ahead.
const holdLimit = time.Second

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
		s.standStill()
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
		case order := <-s.orders:
			s.obey(order)
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
	for _, it := range s.sent { // which the machine did not account for
		s.refused = append(s.refused, it)
	}
	s.sim.ended(s)
}

// standStill waits while the SMSC is frozen.
func (s *session) standStill() {
	if thaw := s.sim.frozen(); thaw != nil {
		select {
		case <-thaw:
		case <-s.ctx.Done():
		}
	}
}

// obey does what the operator wants: Disconnected closes the connection at once.
func (s *session) obey(order smsc.Event) {
	if _, ok := order.(smsc.Disconnected); ok {
		s.closed = true
		return
	}
	s.handle(order)
}

// poke makes the session look for something to deliver.
func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// receipts names the queue of the account's receipts: only a session of the same
// protocol can name their messages.
func (s *session) receipts() string { return s.protocol.Name + " " + s.user }

// messages names the queues of what handsets sent.
func (s *session) messages() []string { return []string{s.user, ""} }

func (s *session) queues() []string { return append(s.messages(), s.receipts()) }

func (s *session) read(gone <-chan struct{}) {
	r, read := bufio.NewReaderSize(s.conn, 16<<10), s.protocol.Reader()
	for {
		packet, err := read(r)
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
	case smsc.Received:
		if isUnbind(ev.Packet) && s.withholds(ev) {
			return
		}
	case smsc.Garbled:
		s.sim.count(func(st *Stats) { st.Garbled++ })
		s.log.Info("garbled", zap.Error(ev.Err))
	case smsc.Disconnected:
		s.closed = true
	}
	s.tell(ev)
}

// withholds reports whether the machine is not to hear of an unbind, or later.
func (s *session) withholds(ev smsc.Received) bool {
	faults := s.sim.faults.Load()
	if faults.UnbindDelay > 0 && !faults.IgnoreUnbind {
		s.later = append(s.later, delayed{ev, time.Now().Add(faults.UnbindDelay)})
	}
	return faults.IgnoreUnbind || faults.UnbindDelay > 0
}

func (s *session) tell(ev smsc.Event) {
	todo := s.machine.Handle(ev, s.todo[:0])
	s.todo = nil // in use
	for _, effect := range todo {
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
			s.submitted(e)
		case smsc.TimeRequested:
			s.handle(smsc.TimeAnswer{Ref: e.Ref, At: time.Now().UTC()}) // as in timestamps
		case smsc.QueryReceived, smsc.CancelReceived, smsc.ReplaceReceived, smsc.PasswordReceived:
			s.handle(s.sim.manage(s, effect, time.Now()))
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
	clear(todo) // what they point to may go
	s.todo = todo
}

func (s *session) submitted(e smsc.SubmitReceived) {
	unanswered := 1 + len(s.later)
	for _, other := range s.submits {
		if other.First == 0 { // one submit_multi is one request
			unanswered++
		}
	}
	if s.held != nil {
		unanswered++
	}
	if e.First == 0 && s.sim.overWindow(unanswered) {
		s.handle(smsc.ServerAnswer{Ref: e.Ref, Outcome: refusal(s.protocol.Name, smsc.Throttled, s.sim.faults.Load().ThrottleCode)})
		return
	}
	if len(s.submits) == 0 {
		s.submitDue = time.Now().Add(s.sim.Latency())
	}
	s.submits = append(s.submits, e)
}

// process does what is due by now: submits, timers, delivers.
func (s *session) process(now time.Time) {
	if s.held != nil && (!s.sim.holds(s.held.receipt) || !now.Before(s.held.until)) {
		s.handle(s.held.answer)
		s.held = nil
		s.submitDue = now.Add(s.sim.Latency())
	}
	for len(s.submits) > 0 && s.held == nil && !now.Before(s.submitDue) && !s.closed {
		s.processSubmit(now)
	}
	for i := 0; i < len(s.later); i++ {
		if d := s.later[i]; !now.Before(d.at) {
			s.later = slices.Delete(s.later, i, i+1)
			i--
			s.tell(d.event)
		}
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
		it := s.next
		s.next = nil
		s.deliver(it)
	}
	if len(s.refused) > 0 && !s.closed {
		s.sim.postpone(s.refused, now)
		s.refused = nil
	}
}

func (s *session) processSubmit(now time.Time) {
	e := s.submits[0]
	s.submits = s.submits[1:]
	if e.First == 0 || e.First != s.multi.first {
		s.multi = multi{first: cmp.Or(e.First, e.Ref)}
	}
	v, junk, receipt := s.sim.submit(s, e, s.multi.id, now)
	s.multi.id = cmp.Or(s.multi.id, v.outcome.ID)
	s.submitDue = now.Add(s.sim.Latency())
	s.out = append(s.out, junk...)
	if v.close {
		s.closed = true
		return
	}
	if v.accept {
		s.accepted.Add(1)
	}
	answer := smsc.ServerAnswer{Ref: e.Ref, Outcome: v.outcome}
	switch {
	case v.late:
		s.later = append(s.later, delayed{answer, now.Add(s.sim.faults.Load().LateBy)})
	case receipt != nil:
		s.held = &held{answer, receipt, now.Add(holdLimit)}
	default:
		s.handle(answer)
	}
}

// deliver sends an item.
func (s *session) deliver(it *item) {
	s.refs++
	s.sent[s.refs] = it
	before := len(s.out)
	if it.report == nil {
		s.handle(smsc.ServerDeliver{Ref: s.refs, Deliver: it.deliver})
	} else {
		report := *it.report
		report.Ref = s.refs
		s.handle(report)
		s.disguise(before, it)
	}
	if len(s.out) > before && s.sim.corrupts() {
		s.out = append(s.out[:before], corrupt(s.protocol.Name, slices.Clone(s.out[before:]))...)
	}
	if it.holds != nil {
		if it.holds != s {
			s.flush() // the response is not to be faster
		}
		s.sim.written(it)
	}
}

// disguise gives the receipt that has just been written the form that is wanted.
func (s *session) disguise(from int, it *item) {
	receipts := s.sim.Receipts()
	if len(s.out) == from || receipts.plain() {
		return
	}
	octets, err := receipts.disguise(s.protocol.Name, s.out[from:], it.report)
	if err != nil {
		s.log.Warn("receipt sent in the usual form", zap.Error(err))
		return
	}
	s.out = append(s.out[:from], octets...)
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
	s.delivered.Add(1)
	s.sim.acknowledged(it, e.OK, time.Now())
}

// arm sets the alarm to what is due first. An alarm too early does no harm.
func (s *session) arm(now time.Time) {
	var first time.Time
	earlier := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if len(s.submits) > 0 && s.held == nil {
		earlier(s.submitDue)
	}
	if s.held != nil {
		earlier(s.held.until)
	}
	for _, d := range s.later {
		earlier(d.at)
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
