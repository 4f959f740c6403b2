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
	cfg    smsc.ServerConfig
	bind   request          // of the ESME: says the mode
	quirks smsc.Quirks      // of the ESME: NoTLVs when it speaks v3.3
	multis map[uint64]multi // submit_multi under way, by the Ref of the first destination
	parts  map[uint64]multiPart
	resp   SubmitSMResp // the last one, to use its memory again
}

// NewServer returns the SMSC's machine of one session. ResponseTimeout is 30 s
// when 0. submit_sm, data_sm and each destination of submit_multi become a
// SubmitReceived. Without cfg.Manage query_sm, cancel_sm and replace_sm are
// refused with the status that each has for that.
func NewServer(cfg smsc.ServerConfig) smsc.ServerMachine {
	if cfg.SubmitWindow <= 0 || cfg.SubmitWindow > maxTaken {
		cfg.SubmitWindow = maxTaken
	}
	m := &server{cfg: cfg, multis: map[uint64]multi{}, parts: map[uint64]multiPart{}, side: newSide(cfg.Window, cfg.ResponseTimeout, cfg.ResponseTimeout,
		func(r ours, _ error) smsc.Effect { return smsc.DeliverAnswered{Ref: r.ref, Temporary: true} })}
	m.keepAlive = cfg.KeepAlive
	return m
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
		do = m.connected(do)
	case *smsc.Received:
		do = m.came(do, ev.Packet)
	case smsc.Received:
		do = m.came(do, ev.Packet)
	case smsc.Garbled:
		var answer PDU
		if do, answer = m.garbled(do, ev.Err); answer != nil {
			do = m.received(do, answer)
		}
	case smsc.LoginResult:
		do = m.loggedIn(do, ev)
	case *smsc.ServerAnswer:
		do = m.answer(do, ev)
	case smsc.ServerAnswer:
		do = m.answer(do, &ev)
	case smsc.QueryAnswer:
		do = m.queried(do, ev)
	case smsc.ServerDeliver:
		p := new(SubmitSM)
		ev.Deliver.Validity, ev.Deliver.Report, ev.Deliver.More = 0, false, false // not of a deliver_sm
		do = m.deliver(do, p, p.setPart(&ev.Deliver.Part, &m.quirks), ev.Ref)
	case smsc.ServerReport:
		p, err := report(ev, &m.quirks)
		do = m.deliver(do, p, err, ev.Ref)
	case smsc.ServerAlert:
		do = m.alert(do, ev)
	case smsc.Outbind:
		if m.state == stateBinding {
			do, _ = m.write(do, &Outbind{Header{Sequence: m.next()}, ev.User, ev.Password})
		}
	case smsc.Due:
		if m.due(ev.Timer) {
			do = m.timeout(do, ev.Timer)
		}
	case smsc.Logout:
		do = m.logout(do)
	case smsc.Disconnected:
		do = m.end(do, ev.Err)
	}
	do = m.settle(do)
	if m.state == stateClosed {
		clear(m.multis)
		clear(m.parts)
	}
	return do
}

func (m *server) connected(do []smsc.Effect) []smsc.Effect {
	if m.state != stateClosed {
		return do
	}
	m.state, m.sequence, m.bind, m.quirks = stateBinding, 0, request{}, smsc.Quirks{}
	m.window = smsc.NewWindow(m.cfg.Window)
	if m.cfg.LoginTimeout > 0 {
		do = m.setTimer(do, timerLogin, m.cfg.LoginTimeout)
	}
	return do
}

func (m *server) came(do []smsc.Effect, packet any) []smsc.Effect {
	if p, ok := packet.(PDU); ok {
		do = m.received(do, p)
	}
	return do
}

func (m *server) received(do []smsc.Effect, p PDU) []smsc.Effect {
	if m.state == stateClosed {
		return do
	}
	m.heard = true
	if p.Command().IsResponse() {
		do = m.responded(do, p)
	} else {
		do = m.requested(do, p)
	}
	return m.active(do)
}

// active starts anew to wait for the ESME to be silent.
func (m *server) active(do []smsc.Effect) []smsc.Effect {
	if m.state != stateBound || m.cfg.InactivityTimeout <= 0 {
		return do
	}
	return m.setTimer(do, timerIdle, m.cfg.InactivityTimeout)
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
	return m.take(do, p)
}

var modes = map[CommandID]string{
	CommandBindTransmitter: "transmitter", CommandBindReceiver: "receiver", CommandBindTransceiver: "transceiver",
}

func (m *server) bindReceived(do []smsc.Effect, c CommandID, p *BindTransmitter) []smsc.Effect {
	if m.state != stateBinding {
		return m.respond(do, c, p.Sequence, RALYBND)
	}
	m.state, m.bind = stateChecking, request{command: c, sequence: p.Sequence}
	m.quirks.NoTLVs = p.InterfaceVersion < interfaceVersion // v3.3 knows none
	return append(do, smsc.LoginReceived{
		User: p.SystemID, Password: p.Password, Mode: modes[c], SystemType: p.SystemType, AddressRange: p.AddressRange,
	})
}

func (m *server) loggedIn(do []smsc.Effect, ev smsc.LoginResult) []smsc.Effect {
	if m.state != stateChecking {
		return do
	}
	if !ev.OK {
		why, ok := ParseStatus(ev.Code)
		if !ok || why == OK {
			why = RINVPASWD
		}
		do = m.respond(do, m.bind.command, m.bind.sequence, why)
		return m.close(do, fmt.Errorf("smpp: login refused: %v", why), smsc.RetryNot)
	}
	b := BindTransmitterResp{Header: Header{Sequence: m.bind.sequence}, SystemID: m.cfg.SystemID}
	if !m.quirks.NoTLVs {
		b.TLVs.Add(TagSCInterfaceVersion, interfaceVersion)
	}
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
	return append(m.watch(m.active(do)), smsc.Bound{})
}

func (m *server) deliver(do []smsc.Effect, p *SubmitSM, err error, ref uint64) []smsc.Effect {
	if m.DeliverReady() == 0 {
		return append(do, smsc.DeliverAnswered{Ref: ref, Temporary: true})
	}
	if err == nil {
		do, err = m.request(do, CommandDeliverSM, p, ref)
	}
	if err != nil { // cannot be written: never deliverable
		return append(do, smsc.DeliverAnswered{Ref: ref})
	}
	return do
}

// report is a receipt as a deliver_sm: text for older ESMEs, TLVs for newer.
func report(ev smsc.ServerReport, q *smsc.Quirks) (*SubmitSM, error) {
	p := new(SubmitSM)
	err := p.setPart(&smsc.Part{
		From: ev.Part.To, To: ev.Part.From, Class: -1,
		Data: formatReceipt(ev.Receipt, ev.Part, ev.Submitted, ev.Done),
	}, q)
	p.ESMClass = esmTypeReceipt
	if ev.Receipt.State == smsc.ReceiptEnroute {
		p.ESMClass = esmTypeIntermediate
	}
	if q.NoTLVs {
		return p, err
	}
	p.TLVs.AddText(TagReceiptedMessageID, ev.Receipt.ID)
	p.TLVs.Add(TagMessageState, byte(messageState(ev.Receipt.State)))
	if code, err := strconv.ParseUint(ev.Receipt.Code, 10, 16); err == nil {
		const gsm = 3
		p.TLVs.Add(TagNetworkErrorCode, gsm, byte(code>>8), byte(code))
	}
	if ev.Reference != nil {
		p.TLVs.AddUint16(TagUserMessageReference, *ev.Reference)
	}
	return p, err
}

// alert has no response, and is lost where it cannot be sent.
func (m *server) alert(do []smsc.Effect, ev smsc.ServerAlert) []smsc.Effect {
	if m.state != stateBound || m.bind.command == CommandBindTransmitter {
		return do
	}
	p := &AlertNotification{
		Header:        Header{Sequence: m.next()},
		SourceAddrTON: ev.Handset.TON, SourceAddrNPI: ev.Handset.NPI, SourceAddr: ev.Handset.Digits,
		ESMEAddrTON: ev.ESME.TON, ESMEAddrNPI: ev.ESME.NPI, ESMEAddr: ev.ESME.Digits,
	}
	if !m.quirks.NoTLVs {
		const available = 0
		p.TLVs.Add(TagMSAvailabilityStatus, available)
	}
	do, _ = m.write(do, p)
	return do
}

func (m *server) responded(do []smsc.Effect, p PDU) []smsc.Effect {
	h := *p.Head()
	switch p.(type) {
	case *UnbindResp:
		if m.unbind != 0 && h.Sequence == m.unbind {
			return m.close(do, nil, smsc.RetryNot)
		}
	case *EnquireLinkResp:
		return m.alive(do, h.Sequence)
	case *DeliverSMResp, *GenericNack:
		do = m.alive(do, h.Sequence) // a nack will do: somebody is there
		do, r, ok := m.answered(do, p)
		if !ok {
			return do
		}
		m.window.Answered(h.Status.Fate(), len(m.open))
		a := smsc.DeliverAnswered{Ref: r.ref, OK: h.Status == OK}
		if _, nack := p.(*GenericNack); nack {
			a.OK = false
		}
		a.Temporary = !a.OK && h.Status.Fate() != smsc.Permanent
		return append(do, a)
	}
	return do
}

func (m *server) timeout(do []smsc.Effect, t smsc.Timer) []smsc.Effect {
	switch t.Name {
	case timerLogin:
		return m.close(do, fmt.Errorf("smpp: no bind within %v", m.cfg.LoginTimeout), smsc.RetryNot)
	case timerIdle:
		return m.close(do, fmt.Errorf("smpp: the ESME was silent for %v", m.cfg.InactivityTimeout), smsc.RetryNot)
	case timerProbe:
		return m.listened(do)
	}
	return m.overdue(do, t)
}
