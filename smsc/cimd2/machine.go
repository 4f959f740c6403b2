package cimd2

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Protocol is this protocol's entry in the list that configuration chooses from.
var Protocol = smsc.Protocol{
	Name:      Name,
	Read:      Read,
	Reader:    newReader,
	Check:     CheckConfig,
	TellsTime: true,
	New:       New,
	NewServer: NewServer,
	NewID:     NewID,
}

// state is how a session stands.
type state uint8

const (
	closed  state = iota // before Connected, and for good after Close or Disconnected
	binding              // ESME: login sent; SMSC: it is waited for
	bound
	closing // ESME: logout sent
)

// machine is the ESME's session.
//
//	        Connected           51              Logout, none open        52
//	closed ───────────▶ binding ────▶ bound ─────────────────────▶ closing ───▶ closed
//	                       └─ refused, too late, NACKed, garbled, disconnected ──▶ closed
//
// Without a window each request waits for the response to the one before; the
// SMSC's requests are served at any time. What it sent twice is answered twice
// and counted once.
type machine struct {
	cfg    smsc.Config
	state  state
	over   bool // closed for good
	window smsc.Window

	writer  writer
	out     outbox
	in      inbox
	timers  timers
	texts   smsc.Texts
	octets  smsc.Octets // user data
	refs    uint64      // last given to a Delivered or Reported
	garbled int         // packets in a row that were none

	heard  bool // since the idle timer was set
	leave  bool // Logout was asked for
	poll   bool // a delivery request is due
	served bool // a deliver was accepted since the last delivery request
}

// maxGarbled packets in a row end the session.
const maxGarbled = 5

// timeWithin is how long the SMSC has to tell the time. One that does not know the
// question may not answer it at all, and submits wait meanwhile.
const timeWithin = 2 * time.Second

// maxWindow is all numbers of one parity.
const maxWindow = 128

// CheckConfig says what of cfg no session could log in with.
func CheckConfig(cfg smsc.Config) error {
	p := loginPacket(cfg, cfg.Window)
	if err := p.Check(); err != nil {
		return fmt.Errorf("cimd2: the login cannot be sent: %w", err)
	}
	if _, err := p.Append(nil); err != nil {
		return fmt.Errorf("cimd2: the login cannot be sent: %w", err)
	}
	return nil
}

// New makes the ESME's machine. A window above 1 is asked for in the login and
// given up when the SMSC refuses it; more than 128 cannot be. A duration of 0 in
// cfg means that nothing happens after it.
func New(cfg smsc.Config) smsc.Machine {
	return &machine{
		cfg:    cfg,
		writer: writer{bare: cfg.Quirks.NoChecksum},
		window: smsc.NewWindow(min(cfg.Window, maxWindow)),
		out:    outbox{first: 1, last: 255, next: 1},
	}
}

func (m *machine) State() string {
	return [...]string{"closed", "binding", "bound", "closing"}[m.state]
}

func (m *machine) Ready() int {
	if m.state != bound || m.leave {
		return 0
	}
	return m.out.room(m.window.Size())
}

func (m *machine) Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect {
	switch ev := ev.(type) {
	case *smsc.Submit:
		return m.submit(ev, do)
	case smsc.Submit:
		return m.submit(&ev, do)
	case smsc.Request:
		return m.ask(ev, do)
	case smsc.Connected:
		if m.state == closed && !m.over {
			m.state = binding
			return m.login(do)
		}
		return do
	}
	if m.state == closed {
		return do
	}
	switch ev := ev.(type) {
	case *smsc.Received:
		do = m.came(ev.Packet, do)
	case smsc.Received:
		do = m.came(ev.Packet, do)
	case smsc.Garbled:
		do = m.onGarbled(ev.Err, do)
	case smsc.Accept:
		do = m.accept(ev.Ref, do)
	case smsc.Refuse:
		do = m.refuse(ev.Ref, do)
	case smsc.AskTime:
		do = m.askTime(do)
	case smsc.Due:
		if m.timers.due(ev.Timer) {
			do = m.due(ev.Timer.Name, do)
		}
	case smsc.Logout:
		if m.state == binding {
			return m.close(nil, smsc.RetryNot, do)
		}
		m.leave = true
	case smsc.Disconnected:
		m.state, m.over = closed, true
		return m.abandon(do)
	}
	return m.next(do)
}

// next sends what waited for an answer to come.
func (m *machine) next(do []smsc.Effect) []smsc.Effect {
	switch {
	case m.state != bound:
	case m.leave:
		if len(m.out.open) > 0 {
			break
		}
		m.state = closing
		do = m.request(m.writer.start(Logout, 0), do)
		if m.cfg.Quirks.NoLogoutAnswer {
			return m.close(nil, smsc.RetryNot, do)
		}
		do = m.timers.set(logoutTimer, m.cfg.LogoutTimeout, do)
	case m.poll && m.Ready() > 0:
		m.poll, m.served = false, false
		p := m.writer.start(DeliveryRequest, 0)
		p.AddInt(DeliveryMode, DeliverOne)
		do = m.request(p, do)
	}
	return do
}

// request sends a request of the machine's own, which can always be written.
func (m *machine) request(p *Packet, do []smsc.Effect) []smsc.Effect {
	do, _ = m.send(p, request{}, do)
	return do
}

// send numbers a request and writes it; with an error it was neither.
func (m *machine) send(p *Packet, r request, do []smsc.Effect) ([]smsc.Effect, error) {
	p.Number = m.out.next
	octets, do, err := m.writer.write(p, m.out.spare, do)
	if err != nil {
		return do, err
	}
	r.operation, r.number, r.octets = p.Operation, p.Number, octets
	m.out.add(r)
	return m.await(r, do), nil
}

// await sets the timer for the response. Login and logout have their own.
func (m *machine) await(r request, do []smsc.Effect) []smsc.Effect {
	switch {
	case r.operation == Login || r.operation == Logout:
		return do
	case r.asksTime():
		return m.timers.setResponse(r.number, timeWithin, do)
	}
	return m.timers.setResponse(r.number, m.cfg.ResponseTimeout, do)
}

// nack asks for the number expected next.
func (m *machine) nack(do []smsc.Effect) []smsc.Effect {
	_, do, _ = m.writer.write(m.writer.start(Nack, m.in.expected), nil, do)
	return do
}

func loginPacket(cfg smsc.Config, window int) *Packet {
	p := NewPacket(Login, 0, 4)
	p.Add(UserIdentity, cfg.User)
	p.Add(Password, cfg.Password)
	if cfg.Subaddress != "" {
		p.Add(Subaddress, cfg.Subaddress)
	}
	if window > 1 {
		p.AddInt(WindowSize, window)
	}
	return p
}

func (m *machine) login(do []smsc.Effect) []smsc.Effect {
	do, err := m.send(loginPacket(m.cfg, m.window.Size()), request{}, do)
	if err != nil {
		return m.close(fmt.Errorf("cimd2: user or password cannot be sent: %w", err), smsc.RetrySlow, do)
	}
	return m.timers.set(loginTimer, m.cfg.LoginTimeout, do)
}

func (m *machine) submit(ev *smsc.Submit, do []smsc.Effect) []smsc.Effect {
	if m.Ready() == 0 {
		return append(do, m.writer.effects.Answered(ev.Ref, smsc.Outcome{
			Fate: smsc.BadSession, Text: m.notReady(),
		}))
	}
	p := m.writer.start(Submit, 0)
	rejected := p.submit(&ev.Part, &Options{
		Validity: m.cfg.DefaultValidity, Now: ev.Now, Alphabet: m.cfg.Quirks.Alphabet, Numbers: m.cfg.Quirks.Numbers,
	}, &m.texts)
	if rejected != nil {
		return append(do, m.writer.effects.Answered(ev.Ref, smsc.Outcome{
			Fate: smsc.Permanent, Code: rejected.Code.String(), Text: rejected.Error(),
		}))
	}
	do, err := m.send(p, request{ref: ev.Ref, to: p.Params[0].Value}, do)
	if err != nil {
		do = append(do, m.writer.effects.Answered(ev.Ref, smsc.Outcome{Fate: smsc.Permanent, Text: err.Error()}))
	}
	return do
}

func (m *machine) notReady() string {
	return "cimd2: session is " + m.State() + " or its window full: nothing was sent"
}

// ask sends a request that the machine knows nothing of (enquire, cancel, set, get), if
// it follows the rules.
func (m *machine) ask(ev smsc.Request, do []smsc.Effect) []smsc.Effect {
	p, ok := ev.Packet.(*Packet)
	var err error
	switch {
	case !ok:
		err = fmt.Errorf("cimd2: %T is no *cimd2.Packet", ev.Packet)
	case p.Operation == Login || p.Operation == Logout || p.Operation >= 50 || operations[p.Operation].from == centre:
		err = fmt.Errorf("cimd2: %v is not for an ESME to ask", p.Operation)
	case m.Ready() == 0:
		err = errors.New(m.notReady())
	default:
		if err = p.Check(); err == nil {
			asked := *p // its number is ours
			do, err = m.send(&asked, request{ref: ev.Ref, asked: true}, do)
		}
	}
	if err != nil {
		do = append(do, smsc.Responded{Ref: ev.Ref, Err: err})
	}
	return do
}

// askTime asks for parameter 501.
func (m *machine) askTime(do []smsc.Effect) []smsc.Effect {
	if m.Ready() == 0 {
		return append(do, smsc.TimeTold{})
	}
	p := m.writer.start(Get, 0)
	p.AddInt(GetParameter, int(SMSCTime))
	return m.request(p, do)
}

func (m *machine) came(packet any, do []smsc.Effect) []smsc.Effect {
	p, ok := packet.(*Packet)
	if !ok {
		return do
	}
	if p.Bare && m.cfg.Quirks.RequireChecksum {
		return m.onBare(p, do)
	}
	m.heard, m.garbled = true, 0
	return m.received(p, do)
}

func (m *machine) received(p *Packet, do []smsc.Effect) []smsc.Effect {
	switch {
	case p.Operation == Nack:
		return m.onNack(p.Number, do)
	case !p.Operation.Request():
		r, ok := m.out.answered(p)
		if !ok {
			return do // late: its request was given up
		}
		do = m.timers.stopResponse(r.number, do)
		return m.answered(r, p, do)
	case m.state == binding && p.Operation != Alive:
		return do // too early: it will be offered again
	}
	r, again := m.in.take(p)
	if again {
		if r.response != nil {
			do = append(do, m.writer.effects.Write(r.response))
		}
		return do
	}
	switch p.Operation {
	case Deliver:
		m.refs++
		r.ref = m.refs
		return append(do, smsc.Delivered{Ref: r.ref, Deliver: parseDeliver(p, &m.cfg.Quirks, &m.octets)})
	case DeliverStatusReport:
		m.refs++
		r.ref = m.refs
		return append(do, smsc.Reported{Ref: r.ref, Receipt: ParseStatusReport(p)})
	case Alive:
		return m.respond(r, do)
	case Logout:
		do = m.respond(r, do)
		if m.leave {
			return m.close(nil, smsc.RetryNot, do)
		}
		return m.close(errors.New("cimd2: the SMSC logged us out"), smsc.RetrySoon, do)
	default:
		return m.reply(r, m.writer.start(GeneralError, p.Number).addError(ErrUnexpectedOperation), do)
	}
}

func (m *machine) respond(r *received, do []smsc.Effect) []smsc.Effect {
	return m.reply(r, m.writer.start(r.packet.Operation.Response(), r.packet.Number), do)
}

// reply writes what this package made: it can always be written.
func (m *machine) reply(r *received, p *Packet, do []smsc.Effect) []smsc.Effect {
	r.response, do, _ = m.writer.write(p, r.room, do)
	r.room = r.response
	return do
}

func (m *machine) accept(ref uint64, do []smsc.Effect) []smsc.Effect {
	r := m.in.find(ref)
	if r == nil {
		return do
	}
	do = m.respond(r, do)
	if m.cfg.Poll && r.packet.Operation == Deliver {
		m.served = true // there may be another
		if m.timers.runs(pollTimer) {
			do = m.timers.stop(pollTimer, do)
			m.poll = true
		}
	}
	return do
}

// refuse leaves a request unanswered: the SMSC will offer it again. One that knows
// negative answers to delivers is given one, if it wants them.
func (m *machine) refuse(ref uint64, do []smsc.Effect) []smsc.Effect {
	r := m.in.find(ref)
	switch {
	case r == nil:
	case m.cfg.Quirks.NegativeDelivers && r.packet.Operation == Deliver:
		p := m.writer.start(Deliver.Response(), r.packet.Number)
		p.AddInt(ErrorCode, int(ErrDeliverFailed))
		do = m.reply(r, p, do)
	default:
		m.in.forget(r)
	}
	return do
}

// answered takes the response p to r.
func (m *machine) answered(r request, p *Packet, do []smsc.Effect) []smsc.Effect {
	e, explanation, failed := p.failure()
	if p.Operation == GeneralError && !failed {
		e, explanation, failed = ErrFailed, "general error without a code", true
	}
	if r.asked {
		return append(do, smsc.Responded{Ref: r.ref, Packet: p})
	}
	switch r.operation {
	case Login:
		return m.loggedIn(e, explanation, failed, do)
	case Logout:
		return m.close(nil, smsc.RetryNot, do)
	case Get:
		at, _ := p.Time(SMSCTime)
		return append(do, smsc.TimeTold{At: at})
	case DeliveryRequest:
		if m.served && !failed {
			m.poll = true
			return do
		}
		return m.timers.set(pollTimer, m.cfg.PollEvery, do)
	case Submit:
		outcome := m.submitted(r.to, p)
		if fate := m.fate(e); failed && fate != smsc.Accepted {
			outcome = smsc.Outcome{Fate: fate, Class: m.class(e), Code: e.String(), Text: e.Text()}
			if explanation != "" {
				outcome.Text += ": " + explanation
			}
		}
		outcome.Status = e.Label()
		m.window.Answered(outcome.Fate, len(m.out.open))
		do = append(do, m.writer.effects.Answered(r.ref, outcome))
		if outcome.Fate == smsc.BadSession {
			retry := smsc.RetrySoon
			if e.Login() {
				retry = smsc.RetrySlow
			}
			return m.close(fmt.Errorf("cimd2: a submit was answered with error %d: %s", int(e), outcome.Text), retry, do)
		}
	}
	return do
}

// fate is the table's, unless this SMSC means something else by e.
func (m *machine) fate(e Error) smsc.Fate {
	if fate, ok := m.cfg.Quirks.Fates[uint32(e)]; ok {
		return fate
	}
	return e.Fate()
}

// class is the table's, unless this SMSC's operator has said what e means.
func (m *machine) class(e Error) smsc.CodeClass {
	if _, ok := m.cfg.Quirks.Fates[uint32(e)]; ok {
		return smsc.CodeKnown
	}
	return e.Class()
}

func (m *machine) submitted(to string, response *Packet) smsc.Outcome {
	if said, ok := response.Get(DestinationAddress); ok {
		to = said
	}
	at, ok := response.Get(ServiceCentreTime)
	if !ok {
		return smsc.Outcome{Fate: smsc.Accepted} // nothing to name it by
	}
	return smsc.Outcome{Fate: smsc.Accepted, ID: m.texts.Join(strings.TrimPrefix(to, "+"), "/", at)} // as ID
}

func (m *machine) loggedIn(e Error, explanation string, failed bool, do []smsc.Effect) []smsc.Effect {
	if m.state != binding {
		return do
	}
	do = m.timers.stop(loginTimer, do)
	switch {
	case failed && m.window.Size() > 1 && (e == ErrWindowSize || e == ErrWindowingDisabled):
		m.window = smsc.NewWindow(1)
		return m.login(do)
	case failed:
		if explanation == "" {
			explanation = "check user, password and the account at the SMSC"
		}
		return m.close(fmt.Errorf("cimd2: login of %q refused with error %d, %s: %s", m.cfg.User, int(e), e.Text(), explanation), smsc.RetrySlow, do)
	}
	m.state = bound
	m.poll = m.cfg.Poll
	do = append(do, smsc.Bound{})
	return m.timers.set(idleTimer, m.cfg.KeepAlive/2, do)
}

// onNack sends again what the SMSC did not get: as it was, or with the numbers
// it wants.
func (m *machine) onNack(number uint8, do []smsc.Effect) []smsc.Effect {
	again, was, ok := m.out.nack(number)
	if !ok {
		return m.close(fmt.Errorf("cimd2: NACK for packet %03d, %d in a row: numbers are out of step", number, m.out.nacks), smsc.RetrySoon, do)
	}
	for _, n := range was {
		do = m.timers.stopResponse(n, do)
	}
	for _, r := range again {
		do = m.await(r, append(do, m.writer.effects.Write(r.octets)))
	}
	return do
}

// onGarbled asks for a damaged request again. A damaged response is left to the
// timeout: to repeat our request could submit twice.
func (m *machine) onGarbled(err error, do []smsc.Effect) []smsc.Effect {
	m.heard = true
	var bad *smsc.SyntaxError
	if !errors.As(err, &bad) || bad.Fatal {
		return m.close(fmt.Errorf("cimd2: cannot read on: %w", err), smsc.RetrySoon, do)
	}
	if m.garbled++; m.garbled >= maxGarbled {
		return m.close(fmt.Errorf("cimd2: %d packets in a row are damaged, the last: %w", m.garbled, err), smsc.RetrySoon, do)
	}
	header, _ := bad.Packet.(*Packet)
	if c, ok := bad.Packet.(BadChecksum); ok {
		header = c.Header
	}
	if header == nil || !header.Operation.Request() {
		return do
	}
	return m.nack(do)
}

// onBare treats a packet without the checksum that it must have as a damaged one. Whose
// login is answered so will never see one.
func (m *machine) onBare(p *Packet, do []smsc.Effect) []smsc.Effect {
	err := syntax(-1, BadChecksum{Header: p}, "a packet without the checksum that is required")
	if m.state == binding {
		return m.close(err, smsc.RetrySlow, do)
	}
	return m.onGarbled(err, do)
}

func (m *machine) due(timer string, do []smsc.Effect) []smsc.Effect {
	switch timer {
	case loginTimer:
		return m.close(fmt.Errorf("cimd2: no answer to the login of %q within %v", m.cfg.User, m.cfg.LoginTimeout), smsc.RetrySoon, do)
	case logoutTimer:
		return m.close(nil, smsc.RetryNot, do)
	case pollTimer:
		m.poll = true
		return do
	case idleTimer: // twice within KeepAlive, so that silence is noticed in time
		if !m.heard && m.state == bound && len(m.out.open) == 0 {
			do = m.request(m.writer.start(Alive, 0), do)
		}
		m.heard = false
		return m.timers.set(idleTimer, m.cfg.KeepAlive/2, do)
	}
	if m.out.giveUp(timer) {
		return append(do, smsc.TimeTold{})
	}
	return m.close(fmt.Errorf("cimd2: no %s within %v", timer, m.cfg.ResponseTimeout), smsc.RetrySoon, do)
}

// abandon answers every open submit: nobody knows what became of it.
func (m *machine) abandon(do []smsc.Effect) []smsc.Effect {
	for _, r := range m.out.open {
		switch {
		case r.asked:
			do = append(do, smsc.Responded{Ref: r.ref, Err: errors.New("cimd2: the session ended before the response")})
		case r.operation == Submit:
			do = append(do, m.writer.effects.Answered(r.ref, smsc.Outcome{
				Fate: smsc.Unknown, Text: "no response to packet " + strconv.Itoa(int(r.number)) + " before the session ended",
			}))
		}
	}
	m.out.open, m.in = nil, inbox{}
	return do
}

func (m *machine) close(err error, retry smsc.Retry, do []smsc.Effect) []smsc.Effect {
	m.state, m.over = closed, true
	return append(m.abandon(do), smsc.Close{Err: err, Retry: retry})
}
