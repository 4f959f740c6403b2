package cimd2

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// server is the SMSC's session.
//
//	        Connected           01, LoginResult           02
//	closed ───────────▶ waiting ──────────────▶ bound ───────▶ closed
//	                         Logout, none open └─▶ closing ─▶ 52, or none in time
//
// It answers by the rules: a packet with a wrong checksum or number is NACKed
// with the number it should have had and not executed, a repeated one is
// answered again and not executed again.
type server struct {
	cfg   smsc.ServerConfig
	state state
	over  bool

	writer writer
	out    outbox
	in     inbox
	timers timers
	octets smsc.Octets // user data
	refs   uint64

	retrieving bool // delivers go only when asked for
	credit     int  // how many were asked for
	window     int  // submits that the ESME may have unanswered
	windowed   bool // it does not wait for each response
	nacked     bool // and nothing good came since
	silent     int  // how often the idle timer, at half the time allowed, ran out since the last packet
	heard      bool // since the alive timer was set
	leave      bool // Logout was asked for
}

// NewServer makes the SMSC's machine. ResponseTimeout is 30 s when 0.
func NewServer(cfg smsc.ServerConfig) smsc.ServerMachine {
	if cfg.ResponseTimeout <= 0 {
		cfg.ResponseTimeout = 30 * time.Second
	}
	cfg.Window = min(max(cfg.Window, 1), maxWindow)
	if cfg.SubmitWindow < 1 || cfg.SubmitWindow > maxWindow {
		cfg.SubmitWindow = maxWindow
	}
	return &server{cfg: cfg, writer: writer{bare: cfg.NoChecksum}, window: cfg.SubmitWindow, out: outbox{first: 0, last: 254}, in: inbox{expected: 1}}
}

func (s *server) State() string {
	return [...]string{"closed", "waiting", "bound", "closing"}[s.state]
}

func (s *server) DeliverReady() int {
	if s.state != bound || s.leave {
		return 0
	}
	n := s.out.room(s.cfg.Window)
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
			do = append(do, s.writer.effects.Write([]byte(s.cfg.Banner+"\r\n")))
		}
		do = s.timers.set(loginTimer, s.cfg.LoginTimeout, do)
		return s.timers.set(idleTimer, s.cfg.InactivityTimeout/2, do)
	case smsc.ServerDeliver:
		p := s.writer.start(Deliver, 0)
		if p.deliver(ev.Deliver) != nil { // never deliverable
			return append(do, smsc.DeliverAnswered{Ref: ev.Ref})
		}
		return s.deliver(ev.Ref, p, do)
	case smsc.ServerReport:
		p := s.writer.start(DeliverStatusReport, 0)
		if p.report(ev.Receipt, ev.Part.To, ev.Done) != nil {
			return append(do, smsc.DeliverAnswered{Ref: ev.Ref})
		}
		return s.deliver(ev.Ref, p, do)
	}
	if s.state == closed {
		return do
	}
	switch ev := ev.(type) {
	case *smsc.Received:
		do = s.came(ev.Packet, do)
	case smsc.Received:
		do = s.came(ev.Packet, do)
	case smsc.Garbled:
		do = s.onGarbled(ev.Err, do)
	case smsc.LoginResult:
		do = s.loginResult(ev, do)
	case *smsc.ServerAnswer:
		do = s.answer(ev, do)
	case smsc.ServerAnswer:
		do = s.answer(&ev, do)
	case smsc.QueryAnswer:
		do = s.queried(ev, do)
	case smsc.TimeAnswer:
		do = s.told(ev, do)
	case smsc.WaitingResult:
		do = s.waiting(ev, do)
	case smsc.Due:
		if s.timers.due(ev.Timer) {
			do = s.due(ev.Timer.Name, do)
		}
	case smsc.Logout:
		do = s.logout(do)
	case smsc.Disconnected:
		s.state, s.over = closed, true
		do = s.abandon(do)
	}
	return s.next(do)
}

// logout begins the end. What is open is waited for, for a response's time, because the
// ESME would not know what became of it; new submits are refused meanwhile.
func (s *server) logout(do []smsc.Effect) []smsc.Effect {
	switch {
	case s.state == binding:
		return s.close(nil, do)
	case s.leave:
		return do
	}
	s.leave = true
	return s.timers.set(logoutTimer, s.cfg.ResponseTimeout, do)
}

// next logs the ESME out, where that is wanted, once nothing is open.
func (s *server) next(do []smsc.Effect) []smsc.Effect {
	if !s.leave || s.state != bound || len(s.out.open) > 0 || s.in.unanswered(Submit) > 0 {
		return do
	}
	s.state = closing
	return s.timers.set(logoutTimer, s.cfg.ResponseTimeout, s.ask(Logout, do))
}

// ask sends a request of the machine's own, which can always be written.
func (s *server) ask(o Operation, do []smsc.Effect) []smsc.Effect {
	r := request{operation: o, number: s.out.next}
	r.octets, do, _ = s.writer.write(s.writer.start(o, r.number), s.out.spare, do)
	s.out.add(r)
	return do
}

// deliver sends a deliver or a status report.
func (s *server) deliver(ref uint64, p *Packet, do []smsc.Effect) []smsc.Effect {
	if s.DeliverReady() == 0 {
		return append(do, smsc.DeliverAnswered{Ref: ref, Temporary: true})
	}
	p.Number = s.out.next
	octets, do, err := s.writer.write(p, s.out.spare, do)
	if err != nil {
		return append(do, smsc.DeliverAnswered{Ref: ref})
	}
	if s.retrieving {
		s.credit--
	}
	s.out.add(request{operation: p.Operation, number: p.Number, octets: octets, ref: ref})
	return s.timers.setResponse(p.Number, s.cfg.ResponseTimeout, do)
}

func (s *server) came(packet any, do []smsc.Effect) []smsc.Effect {
	p, ok := packet.(*Packet)
	if !ok {
		return do
	}
	s.silent, s.heard = 0, true
	return s.received(p, do)
}

func (s *server) received(p *Packet, do []smsc.Effect) []smsc.Effect {
	switch {
	case p.Operation == Nack:
		return s.onNack(p.Number, do)
	case !p.Operation.Request():
		r, ok := s.out.answered(p)
		if !ok {
			return do // late, or nobody asked
		}
		do = s.timers.stopResponse(r.number, do)
		switch r.operation {
		case Alive:
			return do
		case Logout:
			return s.close(nil, do)
		}
		e, _, failed := p.failure()
		return append(do, smsc.DeliverAnswered{
			Ref:       r.ref,
			OK:        !failed || e.Fate() == smsc.Accepted,
			Temporary: failed && e.Fate() != smsc.Permanent && e.Fate() != smsc.Accepted,
		})
	}
	if s.cfg.RequireChecksum && p.Bare {
		return s.damaged(p, do)
	}
	r, do := s.take(p, do)
	if r == nil {
		return do
	}
	return s.request(r, do)
}

// take remembers a request that is in step. nil: it is a repeated one, and answered
// as before, or NACKed.
func (s *server) take(p *Packet, do []smsc.Effect) (*received, []smsc.Effect) {
	if r := s.in.repeated(p); r != nil {
		if r.response != nil {
			do = append(do, s.writer.effects.Write(r.response))
		}
		return nil, do
	}
	if p.Number != s.in.expected && (!s.cfg.AnyNumber || p.Number%2 == 0) {
		return nil, s.nack(do)
	}
	s.nacked = false
	r, _ := s.in.take(p)
	return r, do
}

func (s *server) request(r *received, do []smsc.Effect) []smsc.Effect {
	p := r.packet
	switch {
	case !p.Operation.known() || operations[p.Operation].from == centre:
		return s.reply(r, s.writer.start(GeneralError, p.Number).addError(ErrUnexpectedOperation), do)
	case (p.Operation == Login) != (s.state == binding):
		return s.refuse(r, ErrUnexpectedOperation, do)
	}
	if e := p.check(); e != nil {
		return s.refuse(r, e.Code, do)
	}
	switch p.Operation {
	case Login:
		return s.login(r, do)
	case Submit:
		return s.submit(r, do)
	case DeliveryRequest:
		if !s.retrieving {
			return s.refuse(r, ErrAccessType, do)
		}
		return append(do, smsc.DeliveryRequested{Ref: s.name(r)})
	case Alive:
		return s.reply(r, s.writer.start(Alive.Response(), p.Number), do)
	case Logout:
		return s.close(nil, s.reply(r, s.writer.start(Logout.Response(), p.Number), do))
	default:
		return s.manage(r, do)
	}
}

// name gives r a ref under which it will be answered.
func (s *server) name(r *received) uint64 {
	r.ref = s.refs + 1
	s.refs += uint64(max(len(r.parts), 1))
	return r.ref
}

func (s *server) login(r *received, do []smsc.Effect) []smsc.Effect {
	size, given := r.packet.Int(WindowSize)
	switch {
	case given && size > 1 && s.cfg.SubmitWindow == 1:
		return s.refuse(r, ErrWindowingDisabled, do)
	case given && size > s.cfg.SubmitWindow:
		return s.refuse(r, ErrWindowSize, do)
	case given:
		s.window, s.windowed = size, size > 1
	}
	s.name(r)
	user, _ := r.packet.Get(UserIdentity)
	password, _ := r.packet.Get(Password)
	subaddress, _ := r.packet.Get(Subaddress)
	return append(do, smsc.LoginReceived{User: user, Password: password, Subaddress: subaddress})
}

// submit asks once for each destination; the response goes when all are answered.
func (s *server) submit(r *received, do []smsc.Effect) []smsc.Effect {
	if s.leave || len(s.in.recent) > s.window && s.in.unanswered(Submit) > s.window { // r is one of them
		return s.refuse(r, ErrCongestion, do)
	}
	submit := s.writer.effects.Submission()
	if e := r.packet.submitted(submit, &s.octets); e != nil {
		return s.refuse(r, e.Code, do)
	}
	r.parts = r.one[:0]
	for _, q := range r.packet.Params {
		if q.Code == DestinationAddress {
			r.parts = append(r.parts, part{to: q.Value})
		}
	}
	r.left = len(r.parts)
	submit.Ref = s.name(r)
	for i, p := range r.parts {
		if i > 0 {
			next := *submit
			next.Ref, next.Part.To = submit.Ref+1, parseNumber(p.to)
			submit = &next
		}
		do = append(do, smsc.SubmitReceived{Submission: submit})
	}
	return do
}

// manage asks about what only the owner of the messages knows.
func (s *server) manage(r *received, do []smsc.Effect) []smsc.Effect {
	p := r.packet
	to, _ := p.Get(DestinationAddress)
	at, timed := p.Get(ServiceCentreTime)
	switch {
	case p.Operation == Get && !s.asksTime(p):
		return s.refuse(r, ErrItemNotSupported, do)
	case !s.cfg.Manage:
		return s.refuse(r, refusals[p.Operation], do)
	}
	ref := s.name(r)
	switch p.Operation {
	case EnquireStatus:
		return append(do, smsc.QueryReceived{Ref: ref, ID: ID(to, at)})
	case Cancel:
		cancel := smsc.CancelReceived{Ref: ref}
		if to != "" {
			cancel.To = parseNumber(to)
		}
		if timed {
			cancel.ID = ID(to, at)
		}
		return append(do, cancel)
	case Set:
		password, _ := p.Get(Password)
		return append(do, smsc.PasswordReceived{Ref: ref, Password: password})
	default: // Get
		return append(do, smsc.TimeRequested{Ref: ref})
	}
}

func (s *server) asksTime(p *Packet) bool {
	item, _ := p.Int(GetParameter)
	return Code(item) == SMSCTime
}

// refusals for good, by operation.
var refusals = map[Operation]Error{
	Submit: ErrDestination, EnquireStatus: ErrNoInformation, Cancel: ErrNoInformation, Set: ErrPasswordNotAllowed, Get: ErrItemNotSupported,
}

func (s *server) reply(r *received, response *Packet, do []smsc.Effect) []smsc.Effect {
	var err error
	r.response, do, err = s.writer.write(response, r.room, do)
	if err != nil { // an id that cannot be written
		return s.refuse(r, ErrSystem, do)
	}
	r.room = r.response
	return do
}

func (s *server) refuse(r *received, e Error, do []smsc.Effect) []smsc.Effect {
	response := GeneralError
	if r.packet.Operation.known() {
		response = r.packet.Operation.Response()
	}
	return s.reply(r, s.writer.start(response, r.packet.Number).addError(e), do)
}

// nack asks for the number that should have come. An ESME with a window has
// more on its way: it is asked once, and what comes out of step is dropped.
func (s *server) nack(do []smsc.Effect) []smsc.Effect {
	if s.nacked && s.windowed {
		return do
	}
	s.nacked = true
	_, do, _ = s.writer.write(s.writer.start(Nack, s.in.expected), nil, do)
	return do
}

// damaged asks for a packet again, also when it is what was asked for before.
func (s *server) damaged(header *Packet, do []smsc.Effect) []smsc.Effect {
	if header != nil && header.Number == s.in.expected {
		s.nacked = false
	}
	return s.nack(do)
}

func (s *server) loginResult(ev smsc.LoginResult, do []smsc.Effect) []smsc.Effect {
	var r *received
	for _, q := range s.in.recent {
		if q.packet.Operation == Login && q.response == nil {
			r = q
		}
	}
	if r == nil || s.state != binding {
		return do
	}
	if !ev.OK {
		do = s.refuse(r, codeOf(ev.Code, ErrInvalidLogin), do)
		return s.close(errors.New("cimd2: login refused"), do)
	}
	s.state, s.retrieving = bound, ev.Retrieving
	do = s.timers.stop(loginTimer, do)
	do = s.reply(r, s.writer.start(Login.Response(), r.packet.Number), do)
	return s.timers.set(aliveTimer, s.cfg.KeepAlive/2, append(do, smsc.Bound{}))
}

// answer answers a submit, or what else is done or refused.
func (s *server) answer(ev *smsc.ServerAnswer, do []smsc.Effect) []smsc.Effect {
	r := s.in.find(ev.Ref)
	switch {
	case r == nil || r.packet.Operation == Login:
		return do
	case r.packet.Operation == Submit:
		return s.submitted(r, &r.parts[ev.Ref-r.ref], ev.Outcome, do)
	case ev.Outcome.Fate == smsc.Unknown:
		return do
	case ev.Outcome.Fate == smsc.Accepted:
		return s.reply(r, s.writer.start(r.packet.Operation.Response(), r.packet.Number), do)
	}
	return s.refuse(r, errorOf(ev.Outcome, r.packet.Operation), do)
}

// submitted takes one destination's outcome; the last one makes the response.
func (s *server) submitted(r *received, p *part, outcome smsc.Outcome, do []smsc.Effect) []smsc.Effect {
	if p.done {
		return do
	}
	p.done = true
	switch outcome.Fate {
	case smsc.Accepted:
		p.at = timestampOf(outcome.ID)
	case smsc.Unknown:
		r.silent = true
	default:
		p.e = errorOf(outcome, Submit)
	}
	if r.left--; r.left > 0 || r.silent {
		return do
	}
	if len(r.parts) == 1 && p.e != 0 {
		return s.refuse(r, p.e, do)
	}
	response := s.writer.start(Submit.Response(), r.packet.Number)
	for _, p := range r.parts {
		response.Add(DestinationAddress, p.to)
		switch {
		case p.e != 0:
			response.AddInt(ErrorCode, int(p.e))
		case p.at != "":
			response.Add(ServiceCentreTime, p.at)
		}
	}
	return s.reply(r, response, do)
}

// errorOf is the code that the outcome names, else the usual one of its fate.
func errorOf(o smsc.Outcome, operation Operation) Error {
	switch o.Fate {
	case smsc.Temporary:
		return codeOf(o.Code, ErrFailed)
	case smsc.Throttled:
		return codeOf(o.Code, ErrCongestion)
	case smsc.BadSession:
		return codeOf(o.Code, ErrUnexpectedOperation)
	}
	if e, ok := refusals[operation]; ok {
		return codeOf(o.Code, e)
	}
	return codeOf(o.Code, ErrFailed)
}

// codeOf reads "CIMD2 300".
func codeOf(code string, otherwise Error) Error {
	digits, ok := strings.CutPrefix(code, "CIMD2 ")
	if n, err := strconv.Atoi(digits); ok && err == nil && n > 0 && n < 1000 {
		return Error(n)
	}
	return otherwise
}

// queried answers an enquiry.
func (s *server) queried(ev smsc.QueryAnswer, do []smsc.Effect) []smsc.Effect {
	r := s.in.find(ev.Ref)
	if r == nil || r.packet.Operation != EnquireStatus {
		return do
	}
	to, _ := r.packet.Get(DestinationAddress)
	at, _ := r.packet.Get(ServiceCentreTime)
	response := s.writer.start(EnquireStatus.Response(), r.packet.Number)
	response.Add(DestinationAddress, to)
	response.Add(ServiceCentreTime, at)
	response.addStatus(ev.State, ev.Code, ev.Done)
	return s.reply(r, response, do)
}

// told answers the question for the time.
func (s *server) told(ev smsc.TimeAnswer, do []smsc.Effect) []smsc.Effect {
	r := s.in.find(ev.Ref)
	if r == nil || r.packet.Operation != Get {
		return do
	}
	response := s.writer.start(Get.Response(), r.packet.Number)
	response.AddTime(SMSCTime, ev.At)
	return s.reply(r, response, do)
}

// waiting answers a delivery request: the count, or as many delivers as it asked for.
func (s *server) waiting(ev smsc.WaitingResult, do []smsc.Effect) []smsc.Effect {
	r := s.in.find(ev.Ref)
	if r == nil || r.packet.Operation != DeliveryRequest {
		return do
	}
	mode, given := r.packet.Int(DeliveryMode)
	if !given {
		mode = DeliverOne
	}
	response := s.writer.start(DeliveryRequest.Response(), r.packet.Number)
	switch {
	case mode == DeliverCount:
		response.AddInt(MessageCount, min(ev.Waiting, 999))
	case ev.Waiting <= 0:
		return s.refuse(r, ErrNoInformation, do)
	case mode == DeliverOne:
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
		do = s.timers.stopResponse(n, do)
	}
	for _, r := range again {
		do = s.timers.setResponse(r.number, s.cfg.ResponseTimeout, append(do, s.writer.effects.Write(r.octets)))
	}
	return do
}

func (s *server) onGarbled(err error, do []smsc.Effect) []smsc.Effect {
	s.heard = true
	var bad *smsc.SyntaxError
	if !errors.As(err, &bad) || bad.Fatal {
		return s.close(fmt.Errorf("cimd2: cannot read on: %w", err), do)
	}
	switch p := bad.Packet.(type) {
	case BadChecksum:
		return s.damaged(p.Header, do)
	case *Packet: // arrived whole, but breaks the syntax: to send it again would not help
		if !p.Operation.Request() {
			break
		}
		r, do := s.take(p, do)
		if r == nil {
			return do
		}
		return s.refuse(r, ErrSyntax, do)
	}
	return do
}

func (s *server) due(timer string, do []smsc.Effect) []smsc.Effect {
	switch timer {
	case loginTimer:
		return s.close(fmt.Errorf("cimd2: no login within %v", s.cfg.LoginTimeout), do)
	case idleTimer:
		if s.silent++; s.silent > 2 { // two whole halves, and a piece of one
			return s.close(fmt.Errorf("cimd2: nothing heard for %v", s.cfg.InactivityTimeout), do)
		}
		return s.timers.set(idleTimer, s.cfg.InactivityTimeout/2, do)
	case aliveTimer: // twice within KeepAlive, so that silence is noticed in time
		if !s.heard && s.state == bound && len(s.out.open) == 0 {
			number := s.out.next
			do = s.timers.setResponse(number, s.cfg.ResponseTimeout, s.ask(Alive, do))
		}
		s.heard = false
		return s.timers.set(aliveTimer, s.cfg.KeepAlive/2, do)
	case logoutTimer:
		return s.close(nil, do)
	}
	// No answer to a deliver is how an ESME says "not now": the session stays.
	for i, r := range s.out.open {
		if responseTimers[r.number] == timer {
			if !r.delivers() {
				return s.close(fmt.Errorf("cimd2: no response to the %v within %v", r.operation, s.cfg.ResponseTimeout), do)
			}
			s.out.open = slices.Delete(s.out.open, i, i+1)
			return append(do, smsc.DeliverAnswered{Ref: r.ref, Temporary: true})
		}
	}
	return do
}

func (s *server) abandon(do []smsc.Effect) []smsc.Effect {
	for _, r := range s.out.open {
		if r.delivers() {
			do = append(do, smsc.DeliverAnswered{Ref: r.ref, Temporary: true})
		}
	}
	s.out.open, s.in = nil, inbox{}
	return do
}

func (s *server) close(err error, do []smsc.Effect) []smsc.Effect {
	s.state, s.over = closed, true
	return append(s.abandon(do), smsc.Close{Err: err})
}
