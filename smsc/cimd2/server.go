package cimd2

import (
	"errors"
	"fmt"

	"github.com/ringway-im/ringway/smsc"
)

// server is the SMSC's session.
//
//	        Connected           01, LoginResult           02
//	closed ───────────▶ waiting ──────────────▶ bound ───────▶ closed
//
// It answers by the rules: a packet with a wrong checksum or number is NACKed
// with the number it should have had and not executed, a repeated one is
// answered again and not executed again.
type server struct {
	cfg   smsc.ServerConfig
	state state
	over  bool

	out    outbox
	in     inbox
	timers timers
	refs   uint64

	retrieving bool // delivers go only when asked for
	credit     int  // how many were asked for
	windowed   bool // the ESME does not wait for each response
	nacked     bool // and nothing good came since
}

// NewServer makes the SMSC's machine.
func NewServer(cfg smsc.ServerConfig) smsc.ServerMachine {
	cfg.Window = min(max(cfg.Window, 1), 128)
	return &server{cfg: cfg, out: outbox{first: 0, last: 254}, in: inbox{expected: 1}}
}

func (s *server) State() string {
	return [...]string{"closed", "waiting", "bound", "closing"}[s.state]
}

func (s *server) DeliverReady() int {
	if s.state != bound {
		return 0
	}
	n := max(s.cfg.Window-len(s.out.open), 0)
	if s.retrieving {
		n = min(n, s.credit)
	}
	return n
}

func (s *server) Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect {
	switch ev := ev.(type) {
	case smsc.Connected:
		if s.state != closed || s.over {
			return do
		}
		s.state = binding
		if s.cfg.Banner != "" {
			do = append(do, smsc.Write{Octets: []byte(s.cfg.Banner + "\r\n")})
		}
		do = s.timers.set(loginTimer, s.cfg.LoginTimeout, do)
		return s.timers.set(idleTimer, s.cfg.InactivityTimeout, do)
	case smsc.ServerDeliver:
		p, err := NewDeliver(ev.Deliver)
		return s.deliver(ev.Ref, p, err, do)
	case smsc.ServerReport:
		return s.deliver(ev.Ref, NewStatusReport(ev.Receipt, ev.Part.To, ev.Done), nil, do)
	}
	if s.state == closed {
		return do
	}
	switch ev := ev.(type) {
	case smsc.Received:
		if p, ok := ev.Packet.(*Packet); ok {
			do = s.timers.set(idleTimer, s.cfg.InactivityTimeout, do)
			do = s.received(p, do)
		}
	case smsc.Garbled:
		do = s.onGarbled(ev.Err, do)
	case smsc.LoginResult:
		do = s.loginResult(ev, do)
	case smsc.ServerAnswer:
		do = s.answer(ev, do)
	case smsc.WaitingResult:
		do = s.waiting(ev, do)
	case smsc.Due:
		if s.timers.due(ev.Timer) {
			do = s.due(ev.Timer.Name, do)
		}
	case smsc.Logout:
		do = s.close(nil, do)
	case smsc.Disconnected:
		s.state, s.over = closed, true
		do = s.abandon(do)
	}
	return do
}

// deliver sends a deliver or a status report.
func (s *server) deliver(ref uint64, p *Packet, err error, do []smsc.Effect) []smsc.Effect {
	if err == nil {
		_, err = p.Append(nil)
	}
	if err != nil || s.DeliverReady() == 0 {
		return append(do, smsc.DeliverAnswered{Ref: ref, Temporary: err == nil})
	}
	if s.retrieving {
		s.credit--
	}
	s.out.add(&request{packet: p, ref: ref})
	return s.timers.set(responseTimers[p.Number], s.cfg.ResponseTimeout, write(p, do))
}

func (s *server) received(p *Packet, do []smsc.Effect) []smsc.Effect {
	switch {
	case p.Operation == Nack:
		return s.onNack(p.Number, do)
	case !p.Operation.Request():
		r := s.out.answered(p)
		if r == nil {
			return do // late, or nobody asked
		}
		do = s.timers.stop(responseTimers[r.packet.Number], do)
		e, _, failed := p.failure()
		return append(do, smsc.DeliverAnswered{
			Ref:       r.ref,
			OK:        !failed || e.Fate() == smsc.Accepted,
			Temporary: failed && e.Fate() != smsc.Permanent && e.Fate() != smsc.Accepted,
		})
	}
	for _, r := range s.in.recent {
		if r.packet.same(p) {
			if r.response != nil {
				do = write(r.response, do)
			}
			return do
		}
	}
	if p.Number != s.in.expected && (!s.cfg.AnyNumber || p.Number%2 == 0) {
		return s.nack(do)
	}
	s.nacked = false
	r, _ := s.in.take(p)
	return s.request(r, do)
}

func (s *server) request(r *received, do []smsc.Effect) []smsc.Effect {
	p := r.packet
	switch {
	case operations[p.Operation] == "" || p.Operation == Deliver || p.Operation == DeliverStatusReport:
		return s.reply(r, newFailure(p, GeneralError, ErrUnexpectedOperation), do)
	case (p.Operation == Login) != (s.state == binding):
		return s.refuse(r, ErrUnexpectedOperation, do)
	}
	switch p.Operation {
	case Login:
		user, _ := p.Get(UserIdentity)
		password, _ := p.Get(Password)
		if size, given := p.Int(WindowSize); given && (size < 1 || size > 128) {
			return s.refuse(r, ErrWindowSize, do)
		} else if given {
			s.windowed = size > 1
		}
		s.refs++
		r.ref = s.refs
		return append(do, smsc.LoginReceived{User: user, Password: password})
	case Submit:
		part, err := ParseSubmit(p)
		if e := (*Rejected)(nil); errors.As(err, &e) {
			return s.refuse(r, e.Code, do)
		}
		s.refs++
		r.ref = s.refs
		return append(do, smsc.SubmitReceived{Ref: r.ref, Part: part})
	case DeliveryRequest:
		if mode, given := p.Int(DeliveryMode); given && (mode < 0 || mode > 2) {
			return s.refuse(r, 501, do)
		}
		if !s.retrieving {
			return s.refuse(r, 101, do)
		}
		s.refs++
		r.ref = s.refs
		return append(do, smsc.DeliveryRequested{Ref: r.ref})
	case Alive:
		return s.reply(r, &Packet{Operation: Alive.Response(), Number: p.Number}, do)
	case Logout:
		return s.close(nil, s.reply(r, &Packet{Operation: Logout.Response(), Number: p.Number}, do))
	default: // enquire, cancel, set, get: nothing is kept that they could ask for
		return s.refuse(r, ErrNoInformation, do)
	}
}

func (s *server) reply(r *received, response *Packet, do []smsc.Effect) []smsc.Effect {
	r.response = response
	return write(response, do)
}

func (s *server) refuse(r *received, e Error, do []smsc.Effect) []smsc.Effect {
	return s.reply(r, newFailure(r.packet, r.packet.Operation.Response(), e), do)
}

// nack asks for the number that should have come. An ESME with a window has
// more on its way: it is asked once, and what comes out of step is dropped.
func (s *server) nack(do []smsc.Effect) []smsc.Effect {
	if s.nacked && s.windowed {
		return do
	}
	s.nacked = true
	return write(&Packet{Operation: Nack, Number: s.in.expected}, do)
}

func (s *server) loginResult(ev smsc.LoginResult, do []smsc.Effect) []smsc.Effect {
	var r *received
	for _, q := range s.in.recent {
		if q.packet.Operation == Login && q.response == nil {
			r = q
		}
	}
	if r == nil {
		return do
	}
	if !ev.OK {
		do = s.refuse(r, ErrInvalidLogin, do)
		return s.close(errors.New("cimd2: login refused"), do)
	}
	s.state, s.retrieving = bound, ev.Retrieving
	do = s.timers.stop(loginTimer, do)
	do = s.reply(r, &Packet{Operation: Login.Response(), Number: r.packet.Number}, do)
	return append(do, smsc.Bound{})
}

func (s *server) answer(ev smsc.ServerAnswer, do []smsc.Effect) []smsc.Effect {
	r := s.in.find(ev.Ref)
	if r == nil || r.packet.Operation != Submit {
		return do
	}
	switch ev.Outcome.Fate {
	case smsc.Accepted:
		p := &Packet{Operation: Submit.Response(), Number: r.packet.Number}
		to, _ := r.packet.Get(DestinationAddress)
		p.add(DestinationAddress, to)
		p.add(ServiceCentreTime, timestampOf(ev.Outcome.ID))
		return s.reply(r, p, do)
	case smsc.Unknown:
		return do
	}
	var e int
	if _, err := fmt.Sscanf(ev.Outcome.Code, "CIMD2 %d", &e); err != nil {
		e = int(map[smsc.Fate]Error{
			smsc.Temporary: ErrFailed, smsc.Throttled: ErrCongestion, smsc.BadSession: ErrUnexpectedOperation,
		}[ev.Outcome.Fate])
		if e == 0 {
			e = int(ErrDestination)
		}
	}
	return s.refuse(r, Error(e), do)
}

// waiting answers a delivery request: the count, or as many delivers as it asked for.
func (s *server) waiting(ev smsc.WaitingResult, do []smsc.Effect) []smsc.Effect {
	r := s.in.find(ev.Ref)
	if r == nil || r.packet.Operation != DeliveryRequest {
		return do
	}
	mode, given := r.packet.Int(DeliveryMode)
	if !given {
		mode = 1
	}
	response := &Packet{Operation: DeliveryRequest.Response(), Number: r.packet.Number}
	switch {
	case mode == 0:
		response.addInt(MessageCount, min(ev.Waiting, 999))
	case ev.Waiting <= 0:
		return s.refuse(r, ErrNoInformation, do)
	case mode == 1:
		s.credit++
	default:
		s.credit = max(s.credit, ev.Waiting)
	}
	return s.reply(r, response, do)
}

func (s *server) onNack(number uint8, do []smsc.Effect) []smsc.Effect {
	again, was, ok := s.out.nack(number)
	if !ok {
		return s.close(fmt.Errorf("cimd2: NACK for packet %03d, %d in a row", number, s.out.nacks), do)
	}
	for _, n := range was {
		do = s.timers.stop(responseTimers[n], do)
	}
	for _, r := range again {
		do = s.timers.set(responseTimers[r.packet.Number], s.cfg.ResponseTimeout, write(r.packet, do))
	}
	return do
}

func (s *server) onGarbled(err error, do []smsc.Effect) []smsc.Effect {
	var bad *smsc.SyntaxError
	if !errors.As(err, &bad) || bad.Fatal {
		return s.close(fmt.Errorf("cimd2: cannot read on: %w", err), do)
	}
	switch p := bad.Packet.(type) {
	case BadChecksum:
		if p.Header != nil && p.Header.Number == s.in.expected {
			s.nacked = false // what was asked for is damaged again
		}
		return s.nack(do)
	case *Packet: // arrived whole, but breaks the syntax: to send it again would not help
		if p.Operation.Request() && p.Number == s.in.expected {
			r, _ := s.in.take(p)
			return s.refuse(r, ErrSyntax, do)
		}
	}
	return do
}

func (s *server) due(timer string, do []smsc.Effect) []smsc.Effect {
	switch timer {
	case loginTimer:
		return s.close(fmt.Errorf("cimd2: no login within %v", s.cfg.LoginTimeout), do)
	case idleTimer:
		return s.close(fmt.Errorf("cimd2: nothing heard for %v", s.cfg.InactivityTimeout), do)
	}
	// No answer to a deliver is how an ESME says "not now": the session stays.
	for i, r := range s.out.open {
		if responseTimers[r.packet.Number] == timer {
			s.out.open = append(s.out.open[:i:i], s.out.open[i+1:]...)
			return append(do, smsc.DeliverAnswered{Ref: r.ref, Temporary: true})
		}
	}
	return do
}

func (s *server) abandon(do []smsc.Effect) []smsc.Effect {
	for _, r := range s.out.open {
		do = append(do, smsc.DeliverAnswered{Ref: r.ref, Temporary: true})
	}
	s.out.open, s.in.recent = nil, nil
	return do
}

func (s *server) close(err error, do []smsc.Effect) []smsc.Effect {
	s.state, s.over = closed, true
	return append(s.abandon(do), smsc.Close{Err: err})
}
