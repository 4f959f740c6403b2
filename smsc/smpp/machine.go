package smpp

import (
	"fmt"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Protocol is SMPP v3.4 with ids in receipts spelt as in responses (IDText).
var Protocol = smsc.Protocol{
	Name:      "smpp",
	Read:      Read,
	New:       func(cfg smsc.Config) smsc.Machine { return NewMachine(cfg, IDText) },
	NewServer: NewServer,
	NewID:     NewID,
}

// machine is the ESME's side of one session.
//
//	         Connected        bind_*_resp         Logout, unbind
//	closed ───────────▶ binding ─────────▶ bound ────────────────▶ closing
//	   ▲                   │ refused         │ response overdue       │ nothing open:
//	   └───────────────────┴─────────────────┴────────────────────────┘ unbind, unbind_resp
type machine struct {
	side
	cfg  smsc.Config
	ids  IDForm
	bind uint32 // sequence of our bind while unanswered, else 0
}

// NewMachine returns the ESME's machine of one session. Times that cfg leaves 0
// are 30 s for responses and login and 5 s for logout; without KeepAlive no
// enquire_link is sent. Mode is transceiver when empty.
func NewMachine(cfg smsc.Config, ids IDForm) smsc.Machine {
	cfg.LoginTimeout = orDefault(cfg.LoginTimeout, 30*time.Second)
	return &machine{cfg: cfg, ids: ids, side: newSide(cfg.Window, cfg.ResponseTimeout, cfg.LogoutTimeout,
		func(ref uint64, why error) smsc.Effect {
			o := smsc.Outcome{Fate: smsc.Unknown, Text: "the session ended before the answer"}
			if why != nil {
				o.Text = why.Error()
			}
			return smsc.Answered{Ref: ref, Outcome: o}
		})}
}

func (m *machine) State() string {
	return [...]string{"closed", "binding", "binding", "bound", "closing"}[m.state]
}

func (m *machine) Ready() int {
	if m.cfg.Mode == "receiver" {
		return 0
	}
	return m.ready()
}

func (m *machine) Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect {
	switch ev := ev.(type) {
	case smsc.Connected:
		do = m.connected(do)
	case smsc.Received:
		if p, ok := ev.Packet.(PDU); ok {
			do = m.received(do, p)
		}
	case smsc.Garbled:
		var answer PDU
		if do, answer = m.garbled(do, ev.Err); answer != nil {
			do = m.received(do, answer)
		}
	case smsc.Submit:
		do = m.submit(do, ev)
	case smsc.Accept:
		do = m.answer(do, ev.Ref, OK)
	case smsc.Refuse:
		do = m.answer(do, ev.Ref, RXTAPPN)
	case smsc.Due:
		if m.due(ev.Timer) {
			do = m.timeout(do, ev.Timer.Name)
		}
	case smsc.Logout:
		do = m.logout(do)
	case smsc.Disconnected:
		do = m.end(do, ev.Err)
	}
	return m.settle(do)
}

func (m *machine) connected(do []smsc.Effect) []smsc.Effect {
	if m.state != stateClosed {
		return do
	}
	m.state, m.sequence = stateBinding, 0
	m.bind = m.next()
	b := BindTransmitter{
		Header: Header{Sequence: m.bind}, SystemID: m.cfg.User, Password: m.cfg.Password,
		SystemType: m.cfg.SystemType, InterfaceVersion: interfaceVersion,
	}
	var p PDU
	switch m.cfg.Mode {
	case "transmitter":
		p = &b
	case "receiver":
		p = (*BindReceiver)(&b)
	case "transceiver", "":
		p = (*BindTransceiver)(&b)
	default:
		return m.close(do, fmt.Errorf("smpp: mode %q is none: use transceiver, transmitter or receiver", m.cfg.Mode), smsc.RetrySlow)
	}
	do, err := m.write(do, p)
	if err != nil {
		return m.close(do, err, smsc.RetrySlow)
	}
	return m.setTimer(do, timerLogin, m.cfg.LoginTimeout)
}

func (m *machine) submit(do []smsc.Effect, ev smsc.Submit) []smsc.Effect {
	if m.Ready() == 0 {
		return append(do, smsc.Answered{Ref: ev.Ref, Outcome: smsc.Outcome{
			Fate: smsc.BadSession, Text: fmt.Sprintf("not sent: session is %s, %d of window %d unanswered", m.State(), len(m.open), m.window),
		}})
	}
	p := new(SubmitSM)
	if ev.Part.Validity == 0 {
		ev.Part.Validity = m.cfg.DefaultValidity
	}
	p.setPart(ev.Part)
	do, err := m.request(do, p, ev.Ref)
	if err != nil {
		return append(do, smsc.Answered{Ref: ev.Ref, Outcome: smsc.Outcome{Fate: smsc.Permanent, Text: "not sent: " + err.Error()}})
	}
	return do
}

func (m *machine) received(do []smsc.Effect, p PDU) []smsc.Effect {
	if m.state == stateClosed {
		return do
	}
	if p.Command().IsResponse() {
		do = m.responded(do, p)
	} else {
		do = m.requested(do, p)
	}
	if m.state == stateBound && m.cfg.KeepAlive > 0 {
		do = m.setTimer(do, timerIdle, m.cfg.KeepAlive)
	}
	return do
}

// responded takes a response. One that matches no request of ours, by number
// and kind, is late, double or wrong, and ignored.
func (m *machine) responded(do []smsc.Effect, p PDU) []smsc.Effect {
	h := *p.Head()
	nack := p.Command() == CommandGenericNack
	if nack && h.Status == OK { // refused without saying why
		h.Status = RUNKNOWNERR
	}
	switch p := p.(type) {
	case *BindTransmitterResp, *BindReceiverResp, *BindTransceiverResp:
		if m.state == stateBinding && h.Sequence == m.bind {
			return m.bindAnswered(do, h.Status, "")
		}
	case *EnquireLinkResp:
		return m.alive(do, h.Sequence)
	case *UnbindResp:
		if m.unbind != 0 && h.Sequence == m.unbind {
			return m.close(do, nil, smsc.RetryNot)
		}
	case *SubmitSMResp:
		return m.submitAnswered(do, h, p.MessageID)
	case *GenericNack:
		switch {
		case m.state == stateBinding && h.Sequence == m.bind:
			return m.bindAnswered(do, h.Status, "; the SMSC may not know a transceiver: try one session as transmitter and one as receiver")
		case m.unbind != 0 && h.Sequence == m.unbind:
			return m.close(do, nil, smsc.RetryNot)
		}
		do = m.alive(do, h.Sequence)
		return m.submitAnswered(do, h, "")
	}
	return do
}

func (m *machine) bindAnswered(do []smsc.Effect, s Status, hint string) []smsc.Effect {
	do = m.stopTimer(do, timerLogin)
	m.bind = 0
	if s != OK {
		return m.close(do, fmt.Errorf("smpp: bind as %q refused: %w%s", m.cfg.User, &Refused{s}, hint), smsc.RetrySlow)
	}
	m.state = stateBound
	return append(do, smsc.Bound{})
}

// Refused is the error of a bind that the SMSC refused.
type Refused struct{ Status Status }

func (e *Refused) Error() string {
	s := fmt.Sprintf("%v, %s", e.Status, e.Status.Meaning())
	switch e.Status {
	case RINVPASWD:
		s += ": correct the password"
	case RINVSYSID:
		s += ": correct the user"
	case RINVSYSTYP:
		s += ": correct the system type"
	case RALYBND:
		s += ": another session holds this account, or an old one is not yet given up"
	}
	return s
}

func (m *machine) alive(do []smsc.Effect, sequence uint32) []smsc.Effect {
	if m.enquire == 0 || sequence != m.enquire {
		return do
	}
	m.enquire = 0
	return m.stopTimer(do, timerEnquire)
}

func (m *machine) submitAnswered(do []smsc.Effect, h Header, id string) []smsc.Effect {
	do, ref, ok := m.answered(do, h.Sequence)
	if !ok {
		return do
	}
	o := h.Status.outcome(m.ids.responded(id))
	do = append(do, smsc.Answered{Ref: ref, Outcome: o})
	if o.Fate == smsc.BadSession {
		return m.close(do, fmt.Errorf("smpp: the SMSC has lost the session: submit_sm answered with %v", h.Status), smsc.RetrySoon)
	}
	return do
}

func (m *machine) requested(do []smsc.Effect, p PDU) []smsc.Effect {
	sequence := p.Head().Sequence
	switch p := p.(type) {
	case *EnquireLink:
		return m.respond(do, p.Command(), sequence, OK)
	case *Unbind:
		return m.unbinding(do, sequence)
	case *DeliverSM:
		return m.delivered(do, p, (*SubmitSM)(p))
	case *DataSM:
		return m.delivered(do, p, p.submitSM())
	case *AlertNotification, *Outbind:
		return do // nobody asked; these have no response
	}
	return m.respond(do, CommandGenericNack, sequence, RINVCMDID)
}

// delivered takes a short message or a receipt. While it cannot be taken, the
// SMSC is told to try again.
func (m *machine) delivered(do []smsc.Effect, request PDU, p *SubmitSM) []smsc.Effect {
	if m.state != stateBound {
		return m.respond(do, request.Command(), p.Sequence, RXTAPPN)
	}
	ref, ok := m.take(request)
	if !ok {
		return m.respond(do, request.Command(), p.Sequence, RXTAPPN)
	}
	part, _ := p.part()
	if r, ok := p.receipt(part, m.ids); ok {
		return append(do, smsc.Reported{Ref: ref, Receipt: r})
	}
	return append(do, smsc.Delivered{Ref: ref, Deliver: smsc.Deliver{Part: part, At: p.ScheduleDeliveryTime, Key: p.key()}})
}

func (m *machine) answer(do []smsc.Effect, ref uint64, s Status) []smsc.Effect {
	r, ok := m.taken[ref]
	if !ok {
		return do
	}
	delete(m.taken, ref)
	return m.respond(do, r.command, r.sequence, s)
}

func (m *machine) timeout(do []smsc.Effect, name string) []smsc.Effect {
	switch name {
	case timerLogin:
		return m.close(do, fmt.Errorf("smpp: no answer to the bind within %v", m.cfg.LoginTimeout), smsc.RetrySoon)
	case timerEnquire:
		return m.close(do, fmt.Errorf("smpp: line is dead: no enquire_link_resp within %v", m.responseTimeout), smsc.RetrySoon)
	case timerIdle:
		if m.state != stateBound || m.enquire != 0 {
			return do
		}
		m.enquire = m.next()
		do, _ = m.write(do, &EnquireLink{Header{Sequence: m.enquire}})
		return m.setTimer(do, timerEnquire, m.responseTimeout)
	}
	return m.overdue(do, name)
}
