package cimd2

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Protocol is this protocol's entry in the list that configuration chooses from.
var Protocol = smsc.Protocol{
	Name:      Name,
	Read:      Read,
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

// Timers. A response's is named for its request's number: "response 003".
const (
	loginTimer  = "login"
	idleTimer   = "idle"
	logoutTimer = "logout"
	pollTimer   = "poll"
)

// timers holds which of each name is the latest.
type timers struct {
	seq    uint64
	latest map[string]uint64
}

func (t *timers) set(name string, after time.Duration, do []smsc.Effect) []smsc.Effect {
	if after <= 0 {
		return do
	}
	if t.latest == nil {
		t.latest = map[string]uint64{}
	}
	t.seq++
	t.latest[name] = t.seq
	return append(do, smsc.SetTimer{Timer: smsc.Timer{Name: name, Seq: t.seq}, After: after})
}

func (t *timers) stop(name string, do []smsc.Effect) []smsc.Effect {
	if _, ok := t.latest[name]; !ok {
		return do
	}
	delete(t.latest, name)
	return append(do, smsc.StopTimer{Name: name})
}

// due reports whether timer is the latest of its name, and forgets it.
func (t *timers) due(timer smsc.Timer) bool {
	if seq, ok := t.latest[timer.Name]; !ok || seq != timer.Seq {
		return false
	}
	delete(t.latest, timer.Name)
	return true
}

var responseTimers = func() (names [256]string) {
	for n := range names {
		names[n] = fmt.Sprintf("response %03d", n)
	}
	return names
}()

// write appends the packet on its way; what this package makes can be encoded.
func write(p *Packet, do []smsc.Effect) []smsc.Effect {
	octets, err := p.Append(make([]byte, 0, 256))
	if err != nil {
		return do
	}
	return append(do, smsc.Write{Octets: octets})
}

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
	window int

	out     outbox
	in      inbox
	timers  timers
	refs    uint64 // last given to a Delivered or Reported
	garbled int    // packets in a row that were none

	heard  bool // since the idle timer was set
	leave  bool // Logout was asked for
	poll   bool // a delivery request is due
	served bool // a deliver was accepted since the last delivery request
}

// maxGarbled packets in a row end the session.
const maxGarbled = 5

// New makes the ESME's machine. A window above 1 is asked for in the login and
// given up when the SMSC refuses it; more than 128 cannot be. A duration of 0 in
// cfg means that nothing happens after it.
func New(cfg smsc.Config) smsc.Machine {
	return &machine{
		cfg:    cfg,
		window: min(max(cfg.Window, 1), 128),
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
	return max(m.window-len(m.out.open), 0)
}

func (m *machine) Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect {
	switch ev := ev.(type) {
	case smsc.Submit:
		return m.submit(ev, do)
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
	case smsc.Received:
		if p, ok := ev.Packet.(*Packet); ok {
			m.heard, m.garbled = true, 0
			do = m.received(p, do)
		}
	case smsc.Garbled:
		do = m.onGarbled(ev.Err, do)
	case smsc.Accept:
		do = m.accept(ev.Ref, do)
	case smsc.Refuse:
		if r := m.in.find(ev.Ref); r != nil {
			m.in.forget(r)
		}
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
		if len(m.out.open) == 0 {
			m.state = closing
			do = m.request(&Packet{Operation: Logout}, do)
			do = m.timers.set(logoutTimer, m.cfg.LogoutTimeout, do)
		}
	case m.poll && m.Ready() > 0:
		m.poll, m.served = false, false
		p := &Packet{Operation: DeliveryRequest}
		p.addInt(DeliveryMode, 1)
		do = m.request(p, do)
	}
	return do
}

// request sends a request that is no submit.
func (m *machine) request(p *Packet, do []smsc.Effect) []smsc.Effect {
	return m.send(&request{packet: p}, do)
}

func (m *machine) send(r *request, do []smsc.Effect) []smsc.Effect {
	m.out.add(r)
	do = write(r.packet, do)
	if r.packet.Operation == Login || r.packet.Operation == Logout {
		return do // they have timers of their own
	}
	return m.timers.set(responseTimers[r.packet.Number], m.cfg.ResponseTimeout, do)
}

func (m *machine) login(do []smsc.Effect) []smsc.Effect {
	p := &Packet{Operation: Login}
	p.add(UserIdentity, m.cfg.User)
	p.add(Password, m.cfg.Password)
	if m.window > 1 {
		p.addInt(WindowSize, m.window)
	}
	if _, err := p.Append(nil); err != nil {
		return m.close(fmt.Errorf("cimd2: user or password cannot be sent: %w", err), smsc.RetrySlow, do)
	}
	return m.timers.set(loginTimer, m.cfg.LoginTimeout, m.request(p, do))
}

func (m *machine) submit(ev smsc.Submit, do []smsc.Effect) []smsc.Effect {
	if m.Ready() == 0 {
		return append(do, smsc.Answered{Ref: ev.Ref, Outcome: smsc.Outcome{
			Fate: smsc.BadSession, Text: "cimd2: session is " + m.State() + " or its window full: nothing was sent",
		}})
	}
	p, err := NewSubmit(ev.Part, m.cfg.DefaultValidity)
	if err == nil {
		_, err = p.Append(nil)
	}
	if err != nil {
		outcome := smsc.Outcome{Fate: smsc.Permanent, Text: err.Error()}
		if r := (*Rejected)(nil); errors.As(err, &r) {
			outcome.Code = r.Code.String()
		}
		return append(do, smsc.Answered{Ref: ev.Ref, Outcome: outcome})
	}
	return m.send(&request{packet: p, ref: ev.Ref}, do)
}

func (m *machine) received(p *Packet, do []smsc.Effect) []smsc.Effect {
	switch {
	case p.Operation == Nack:
		return m.onNack(p.Number, do)
	case !p.Operation.Request():
		r := m.out.answered(p)
		if r == nil {
			return do // late: its request was given up
		}
		do = m.timers.stop(responseTimers[r.packet.Number], do)
		return m.answered(r, p, do)
	case m.state == binding && p.Operation != Alive:
		return do // too early: it will be offered again
	}
	r, again := m.in.take(p)
	if again {
		if r.response != nil {
			do = write(r.response, do)
		}
		return do
	}
	switch p.Operation {
	case Deliver:
		m.refs++
		r.ref = m.refs
		return append(do, smsc.Delivered{Ref: r.ref, Deliver: ParseDeliver(p)})
	case DeliverStatusReport:
		m.refs++
		r.ref = m.refs
		return append(do, smsc.Reported{Ref: r.ref, Receipt: ParseStatusReport(p)})
	case Alive:
		return m.respond(r, do)
	case Logout:
		do = m.respond(r, do)
		return m.close(errors.New("cimd2: the SMSC logged us out"), smsc.RetrySoon, do)
	default:
		r.response = newFailure(p, GeneralError, ErrUnexpectedOperation)
		return write(r.response, do)
	}
}

func (m *machine) respond(r *received, do []smsc.Effect) []smsc.Effect {
	r.response = &Packet{Operation: r.packet.Operation.Response(), Number: r.packet.Number}
	return write(r.response, do)
}

func (m *machine) accept(ref uint64, do []smsc.Effect) []smsc.Effect {
	r := m.in.find(ref)
	if r == nil || ref == 0 {
		return do
	}
	do = m.respond(r, do)
	if m.cfg.Poll && r.packet.Operation == Deliver {
		m.served = true // there may be another
		if _, waiting := m.timers.latest[pollTimer]; waiting {
			do = m.timers.stop(pollTimer, do)
			m.poll = true
		}
	}
	return do
}

// answered takes the response p to r.
func (m *machine) answered(r *request, p *Packet, do []smsc.Effect) []smsc.Effect {
	e, explanation, failed := p.failure()
	if p.Operation == GeneralError && !failed {
		e, explanation, failed = ErrFailed, "general error without a code", true
	}
	switch r.packet.Operation {
	case Login:
		return m.loggedIn(e, explanation, failed, do)
	case Logout:
		return m.close(nil, smsc.RetryNot, do)
	case DeliveryRequest:
		if m.served && !failed {
			m.poll = true
			return do
		}
		return m.timers.set(pollTimer, m.cfg.PollEvery, do)
	case Submit:
		outcome := submitted(r.packet, p)
		if failed {
			outcome = smsc.Outcome{Fate: e.Fate(), Code: e.String(), Text: e.Text()}
			if explanation != "" {
				outcome.Text += ": " + explanation
			}
		}
		do = append(do, smsc.Answered{Ref: r.ref, Outcome: outcome})
		if outcome.Fate == smsc.BadSession {
			retry := smsc.RetrySoon
			if e != ErrUnexpectedOperation {
				retry = smsc.RetrySlow
			}
			return m.close(fmt.Errorf("cimd2: a submit was answered with error %d: %s", int(e), outcome.Text), retry, do)
		}
	}
	return do
}

func submitted(request, response *Packet) smsc.Outcome {
	to, ok := response.Get(DestinationAddress)
	if !ok {
		to, _ = request.Get(DestinationAddress)
	}
	at, _ := response.Get(ServiceCentreTime)
	return smsc.Outcome{Fate: smsc.Accepted, ID: ID(to, at)}
}

func (m *machine) loggedIn(e Error, explanation string, failed bool, do []smsc.Effect) []smsc.Effect {
	if m.state != binding {
		return do
	}
	do = m.timers.stop(loginTimer, do)
	switch {
	case failed && m.window > 1 && (e == ErrWindowSize || e == ErrWindowingDisabled):
		m.window = 1
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
		do = m.timers.stop(responseTimers[n], do)
	}
	for _, r := range again {
		do = write(r.packet, do)
		if op := r.packet.Operation; op != Login && op != Logout {
			do = m.timers.set(responseTimers[r.packet.Number], m.cfg.ResponseTimeout, do)
		}
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
	return write(&Packet{Operation: Nack, Number: m.in.expected}, do)
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
			do = m.request(&Packet{Operation: Alive}, do)
		}
		m.heard = false
		return m.timers.set(idleTimer, m.cfg.KeepAlive/2, do)
	default:
		return m.close(fmt.Errorf("cimd2: no %s within %v", timer, m.cfg.ResponseTimeout), smsc.RetrySoon, do)
	}
}

// abandon answers every open submit: nobody knows what became of it.
func (m *machine) abandon(do []smsc.Effect) []smsc.Effect {
	for _, r := range m.out.open {
		if r.packet.Operation == Submit {
			do = append(do, smsc.Answered{Ref: r.ref, Outcome: smsc.Outcome{
				Fate: smsc.Unknown, Text: "no response to packet " + strconv.Itoa(int(r.packet.Number)) + " before the session ended",
			}})
		}
	}
	m.out.open, m.in.recent = nil, nil
	return do
}

func (m *machine) close(err error, retry smsc.Retry, do []smsc.Effect) []smsc.Effect {
	m.state, m.over = closed, true
	return append(m.abandon(do), smsc.Close{Err: err, Retry: retry})
}
