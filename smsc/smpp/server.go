package smpp

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// server is the SMSC's side of one session.
//
//	         Connected         bind_*              LoginResult        unbind, Logout
//	closed ───────────▶ waiting ─────▶ (checking) ────────────▶ bound ─────────────▶ closing
//	   ▲                   │ too long      │ refused              │ silence             │
//	   └───────────────────┴───────────────┴──────────────────────┴─────────────────────┘
//
// An unbind is answered when the submits that came before it are.
type server struct {
	side
	cfg  smsc.ServerConfig
	bind request // of the ESME: says the mode
}

// NewServer returns the SMSC's machine of one session. ResponseTimeout is 30 s
// when 0. It takes submit_sm and data_sm; submit_multi, query_sm, cancel_sm and
// replace_sm are refused with the status that each has for that.
func NewServer(cfg smsc.ServerConfig) smsc.ServerMachine {
	return &server{cfg: cfg, side: newSide(cfg.Window, cfg.ResponseTimeout, cfg.ResponseTimeout,
		func(ref uint64, _ error) smsc.Effect { return smsc.DeliverAnswered{Ref: ref, Temporary: true} })}
}

// NewID returns n in decimal, at least ten digits (the width of SMPP v3.4 appendix B).
func NewID(_ smsc.Address, _ time.Time, n uint64) string { return fmt.Sprintf("%010d", n) }

func (m *server) State() string {
	return [...]string{"closed", "waiting", "waiting", "bound", "closing"}[m.state]
}

func (m *server) DeliverReady() int {
	if m.bind.command == CommandBindTransmitter {
		return 0
	}
	return m.ready()
}

func (m *server) Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect {
	switch ev := ev.(type) {
	case smsc.Connected:
		if m.state == stateClosed {
			m.state, m.sequence = stateBinding, 0
			if m.cfg.LoginTimeout > 0 {
				do = m.setTimer(do, timerLogin, m.cfg.LoginTimeout)
			}
		}
	case smsc.Received:
		if p, ok := ev.Packet.(PDU); ok {
			do = m.received(do, p)
		}
	case smsc.Garbled:
		var answer PDU
		if do, answer = m.garbled(do, ev.Err); answer != nil {
			do = m.received(do, answer)
		}
	case smsc.LoginResult:
		do = m.loggedIn(do, ev.OK)
	case smsc.ServerAnswer:
		do = m.answer(do, ev)
	case smsc.ServerDeliver:
		p := new(SubmitSM)
		ev.Deliver.Validity, ev.Deliver.Report, ev.Deliver.More = 0, false, false // not of a deliver_sm
		p.setPart(ev.Deliver.Part)
		do = m.deliver(do, p, ev.Ref)
	case smsc.ServerReport:
		do = m.deliver(do, report(ev), ev.Ref)
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

func (m *server) received(do []smsc.Effect, p PDU) []smsc.Effect {
	if m.state == stateClosed {
		return do
	}
	if p.Command().IsResponse() {
		do = m.responded(do, p)
	} else {
		do = m.requested(do, p)
	}
	if m.state == stateBound && m.cfg.InactivityTimeout > 0 {
		do = m.setTimer(do, timerIdle, m.cfg.InactivityTimeout)
	}
	return do
}

func (m *server) requested(do []smsc.Effect, p PDU) []smsc.Effect {
	command, sequence := p.Command(), p.Head().Sequence
	switch p := p.(type) {
	case *EnquireLink: // before the bind too: v5.0 and most servers do
		return m.respond(do, command, sequence, OK)
	case *BindTransmitter:
		return m.bindReceived(do, command, p)
	case *BindReceiver:
		return m.bindReceived(do, command, (*BindTransmitter)(p))
	case *BindTransceiver:
		return m.bindReceived(do, command, (*BindTransmitter)(p))
	case *AlertNotification, *Outbind:
		return do // these have no response
	case *DeliverSM:
		return m.respond(do, CommandGenericNack, sequence, RINVCMDID) // an SMSC's to send
	}
	if m.state != stateBound {
		return m.respond(do, command, sequence, RINVBNDSTS)
	}
	if _, ok := p.(*Unbind); ok {
		m.wanted = true // an ESME's ordinary end
		return m.unbinding(do, sequence)
	}
	if m.bind.command == CommandBindReceiver {
		return m.respond(do, command, sequence, RINVBNDSTS)
	}
	switch p := p.(type) {
	case *SubmitSM:
		return m.submitted(do, p, p)
	case *DataSM:
		return m.submitted(do, p, p.submitSM())
	case *QuerySM:
		return m.respond(do, command, sequence, RQUERYFAIL)
	case *CancelSM:
		return m.respond(do, command, sequence, RCANCELFAIL)
	case *ReplaceSM:
		return m.respond(do, command, sequence, RREPLACEFAIL)
	}
	return m.respond(do, command, sequence, RINVCMDID)
}

var modes = map[CommandID]string{
	CommandBindTransmitter: "transmitter", CommandBindReceiver: "receiver", CommandBindTransceiver: "transceiver",
}

func (m *server) bindReceived(do []smsc.Effect, c CommandID, p *BindTransmitter) []smsc.Effect {
	if m.state != stateBinding {
		return m.respond(do, c, p.Sequence, RALYBND)
	}
	m.state, m.bind = stateChecking, request{c, p.Sequence}
	return append(do, smsc.LoginReceived{User: p.SystemID, Password: p.Password, Mode: modes[c]})
}

func (m *server) loggedIn(do []smsc.Effect, ok bool) []smsc.Effect {
	if m.state != stateChecking {
		return do
	}
	if !ok {
		do = m.respond(do, m.bind.command, m.bind.sequence, RINVPASWD)
		return m.close(do, fmt.Errorf("smpp: login refused"), smsc.RetryNot)
	}
	b := BindTransmitterResp{Header: Header{Sequence: m.bind.sequence}, SystemID: m.cfg.SystemID}
	b.TLVs.Add(TagSCInterfaceVersion, interfaceVersion)
	var p PDU
	switch m.bind.command {
	case CommandBindTransmitter:
		p = &b
	case CommandBindReceiver:
		p = (*BindReceiverResp)(&b)
	default:
		p = (*BindTransceiverResp)(&b)
	}
	do, err := m.write(do, p)
	if err != nil {
		do = m.respond(do, m.bind.command, m.bind.sequence, RSYSERR)
		return m.close(do, err, smsc.RetryNot)
	}
	do = m.stopTimer(do, timerLogin)
	m.state = stateBound
	if m.cfg.InactivityTimeout > 0 {
		do = m.setTimer(do, timerIdle, m.cfg.InactivityTimeout)
	}
	return append(do, smsc.Bound{})
}

func (m *server) submitted(do []smsc.Effect, request PDU, p *SubmitSM) []smsc.Effect {
	part, bad := p.part()
	if bad != OK {
		return m.respond(do, request.Command(), p.Sequence, bad)
	}
	ref, ok := m.take(request)
	if !ok {
		return m.respond(do, request.Command(), p.Sequence, RTHROTTLED)
	}
	return append(do, smsc.SubmitReceived{Ref: ref, Part: part})
}

func (m *server) answer(do []smsc.Effect, ev smsc.ServerAnswer) []smsc.Effect {
	r, ok := m.taken[ev.Ref]
	if !ok {
		return do
	}
	delete(m.taken, ev.Ref)
	if ev.Outcome.Fate == smsc.Unknown {
		return do
	}
	h := Header{Status: outcomeStatus(ev.Outcome), Sequence: r.sequence}
	if h.Status != OK {
		return m.respond(do, r.command, r.sequence, h.Status)
	}
	resp := SubmitSMResp{Header: h, MessageID: ev.Outcome.ID}
	var p PDU = &resp
	if r.command == CommandDataSM {
		p = (*DataSMResp)(&resp)
	}
	do, err := m.write(do, p)
	if err != nil { // an id that cannot be written
		return m.respond(do, r.command, r.sequence, RSYSERR)
	}
	return do
}

// outcomeStatus is the status that Code names, else the usual one of the Fate.
func outcomeStatus(o smsc.Outcome) Status {
	if o.Fate == smsc.Accepted {
		return OK
	}
	if s, ok := ParseStatus(o.Code); ok && s != OK {
		return s
	}
	switch o.Fate {
	case smsc.Throttled:
		return RTHROTTLED
	case smsc.Permanent:
		return RINVDSTADR
	case smsc.BadSession:
		return RINVBNDSTS
	}
	return RXTAPPN
}

func (m *server) deliver(do []smsc.Effect, p *SubmitSM, ref uint64) []smsc.Effect {
	if m.DeliverReady() == 0 {
		return append(do, smsc.DeliverAnswered{Ref: ref, Temporary: true})
	}
	do, err := m.request(do, (*DeliverSM)(p), ref)
	if err != nil { // cannot be written: never deliverable
		return append(do, smsc.DeliverAnswered{Ref: ref})
	}
	return do
}

// report is a receipt as a deliver_sm: text for older ESMEs, TLVs for newer.
func report(ev smsc.ServerReport) *SubmitSM {
	p := new(SubmitSM)
	p.setPart(smsc.Part{
		From: ev.Part.To, To: ev.Part.From, Class: -1,
		Data: formatReceipt(ev.Receipt, ev.Part, ev.Submitted, ev.Done),
	})
	p.ESMClass = esmTypeReceipt
	if ev.Receipt.State == smsc.ReceiptEnroute {
		p.ESMClass = esmTypeIntermediate
	}
	p.TLVs.AddText(TagReceiptedMessageID, ev.Receipt.ID)
	p.TLVs.Add(TagMessageState, byte(messageState(ev.Receipt.State)))
	if code, err := strconv.ParseUint(ev.Receipt.Code, 10, 16); err == nil {
		const gsm = 3
		p.TLVs.Add(TagNetworkErrorCode, gsm, byte(code>>8), byte(code))
	}
	return p
}

func (m *server) responded(do []smsc.Effect, p PDU) []smsc.Effect {
	h := *p.Head()
	switch p.(type) {
	case *UnbindResp:
		if m.unbind != 0 && h.Sequence == m.unbind {
			return m.close(do, nil, smsc.RetryNot)
		}
	case *DeliverSMResp, *GenericNack:
		do, ref, ok := m.answered(do, h.Sequence)
		if !ok {
			return do
		}
		a := smsc.DeliverAnswered{Ref: ref, OK: h.Status == OK}
		if _, nack := p.(*GenericNack); nack {
			a.OK = false
		}
		a.Temporary = !a.OK && h.Status.Fate() != smsc.Permanent
		return append(do, a)
	}
	return do
}

func (m *server) timeout(do []smsc.Effect, name string) []smsc.Effect {
	switch name {
	case timerLogin:
		return m.close(do, fmt.Errorf("smpp: no bind within %v", m.cfg.LoginTimeout), smsc.RetryNot)
	case timerIdle:
		return m.close(do, fmt.Errorf("smpp: the ESME was silent for %v", m.cfg.InactivityTimeout), smsc.RetryNot)
	}
	return m.overdue(do, name)
}
