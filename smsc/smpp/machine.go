package smpp

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Protocol is SMPP v3.4.
var Protocol = smsc.Protocol{
	Name:      "smpp",
	Read:      Read,
	Reader:    newReader,
	Check:     Check,
	New:       NewMachine,
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
	cfg      smsc.Config
	quirks   smsc.Quirks
	bind     uint32 // sequence of our bind while unanswered, else 0
	outbind  bool   // the SMSC has dialled: its outbind comes before our bind
	receiver bool   // this session is bound, or being bound, as a receiver
}

// NewMachine returns the ESME's machine of one session. Times that cfg leaves 0
// are 30 s for responses and login and 5 s for logout; without KeepAlive no
// enquire_link is sent. Mode is transceiver when empty. What Check refuses ends
// the session when it begins.
//
// A Window above 1 shrinks when the SMSC throttles, and grows back slowly.
func NewMachine(cfg smsc.Config) smsc.Machine {
	cfg.LoginTimeout = orDefault(cfg.LoginTimeout, 30*time.Second)
	m := &machine{cfg: cfg, quirks: cfg.Quirks}
	m.side = newSide(cfg.Window, cfg.ResponseTimeout, cfg.LogoutTimeout, func(r ours, why error) smsc.Effect {
		if r.command != CommandSubmitSM {
			return smsc.Responded{Ref: r.ref, Err: fmt.Errorf("smpp: no answer to %v: %w", r.command, cmp.Or(why, errEnded))}
		}
		o := smsc.Outcome{Fate: smsc.Unknown, Text: "the session ended before the answer"}
		if why != nil {
			o.Text = why.Error()
		}
		return m.effects.Answered(r.ref, o)
	})
	m.keepAlive, m.noUnbindResp = cfg.KeepAlive, cfg.Quirks.NoLogoutAnswer
	return m
}

func (m *machine) State() string {
	return [...]string{"closed", "binding", "binding", "bound", "closing"}[m.state]
}

func (m *machine) Ready() int {
	if m.receiver {
		return 0
	}
	return m.ready()
}

func (m *machine) Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect {
	switch ev := ev.(type) {
	case smsc.Connected:
		do = m.connected(do, ev.Accepted)
	case *smsc.Received:
		do = m.came(do, ev.Packet)
	case smsc.Received:
		do = m.came(do, ev.Packet)
	case smsc.Garbled:
		var answer PDU
		if do, answer = m.garbled(do, ev.Err); answer != nil {
			do = m.received(do, answer, ev.Err)
		}
	case *smsc.Submit:
		do = m.submit(do, ev)
	case smsc.Submit:
		do = m.submit(do, &ev)
	case smsc.Request:
		do = m.ask(do, ev)
	case smsc.Accept:
		do = m.answer(do, ev.Ref, OK)
	case smsc.Refuse:
		do = m.answer(do, ev.Ref, RXTAPPN)
	case smsc.Due:
		if m.due(ev.Timer) {
			do = m.timeout(do, ev.Timer)
		}
	case smsc.Logout:
		do = m.logout(do)
	case smsc.Disconnected:
		do = m.end(do, ev.Err)
	}
	return m.settle(do)
}

func (m *machine) connected(do []smsc.Effect, accepted bool) []smsc.Effect {
	if m.state != stateClosed {
		return do
	}
	m.state, m.sequence, m.outbind = stateBinding, 0, accepted
	m.window, m.quirks = smsc.NewWindow(m.cfg.Window), m.cfg.Quirks
	if err := Check(m.cfg); err != nil {
		return m.close(do, err, smsc.RetrySlow)
	}
	if accepted {
		return m.setTimer(do, timerLogin, m.cfg.LoginTimeout)
	}
	return m.sendBind(do, m.cfg.Mode)
}

// outbound answers an outbind with bind_receiver on the same connection (SMPP
// v3.4 §4.1.7). On a connection that we have dialled it asks for what is under way.
func (m *machine) outbound(do []smsc.Effect, p *Outbind) []smsc.Effect {
	if !m.outbind || m.state != stateBinding {
		return do
	}
	m.outbind = false
	if c := m.cfg; (c.OutbindUser != "" || c.OutbindPassword != "") && (p.SystemID != c.OutbindUser || p.Password != c.OutbindPassword) {
		return m.close(do, fmt.Errorf("smpp: outbind from %q refused: its name or password is not the one configured", p.SystemID), smsc.RetrySlow)
	}
	return m.sendBind(do, "receiver")
}

func (m *machine) sendBind(do []smsc.Effect, mode string) []smsc.Effect {
	m.bind, m.receiver = m.next(), mode == "receiver"
	b := BindTransmitter{
		Header: Header{Sequence: m.bind}, SystemID: m.cfg.User, Password: m.cfg.Password,
		SystemType: m.cfg.SystemType, InterfaceVersion: version(m.cfg),
	}
	var p PDU
	switch mode {
	case "transmitter":
		p = &b
	case "receiver":
		p = (*BindReceiver)(&b)
	default:
		p = (*BindTransceiver)(&b)
	}
	do, err := m.write(do, p)
	if err != nil {
		return m.close(do, err, smsc.RetrySlow)
	}
	return m.setTimer(do, timerLogin, m.cfg.LoginTimeout)
}

func (m *machine) submit(do []smsc.Effect, ev *smsc.Submit) []smsc.Effect {
	if m.Ready() == 0 {
		return append(do, m.effects.Answered(ev.Ref, smsc.Outcome{
			Fate: smsc.BadSession, Text: m.notReady(),
		}))
	}
	var p SubmitSM
	err := p.setPart(&ev.Part, &m.quirks)
	validity := cmp.Or(ev.Part.Validity, m.cfg.DefaultValidity)
	switch {
	case m.quirks.AbsoluteTimes && !ev.Now.IsZero() && validity > 0:
		p.ValidityPeriod = FormatTime(ev.Now.Add(validity + time.Second - 1)) // rounded up
	case ev.Part.Validity == 0:
		p.ValidityPeriod = FormatValidity(validity)
	}
	if err == nil {
		do, err = m.request(do, CommandSubmitSM, &p, ev.Ref)
	}
	if err != nil {
		return append(do, m.effects.Answered(ev.Ref, smsc.Outcome{Fate: smsc.Permanent, Text: "not sent: " + err.Error()}))
	}
	return do
}

var errEnded = errors.New("the session ended")

// ask sends a request that has no neutral form. A status of its answer says nothing
// of the session, but one that throttles is heeded.
func (m *machine) ask(do []smsc.Effect, ev smsc.Request) []smsc.Effect {
	var tlvs TLVs
	var err error
	p, ok := ev.Packet.(PDU)
	switch p := p.(type) {
	case *QuerySM, *CancelSM, *ReplaceSM:
	case *SubmitMulti:
		tlvs = p.TLVs
	case *DataSM:
		tlvs = p.TLVs
	default:
		ok = false
	}
	switch {
	case !ok:
		err = fmt.Errorf("smpp: %T cannot be asked: give a *QuerySM, *CancelSM, *ReplaceSM, *SubmitMulti or *DataSM", ev.Packet)
	case m.Ready() == 0:
		err = errors.New("smpp: " + m.notReady())
	case m.quirks.NoTLVs && len(tlvs) > 0:
		err = errors.New("smpp: the request has optional parameters, and the SMSC takes none")
	default:
		do, err = m.side.ask(do, p, ev.Ref)
	}
	if err != nil {
		do = append(do, smsc.Responded{Ref: ev.Ref, Err: err})
	}
	return do
}

func (m *machine) notReady() string {
	return fmt.Sprintf("not sent: session is %s, %d of window %d unanswered", m.State(), len(m.open), m.window.Size())
}

func (m *machine) came(do []smsc.Effect, packet any) []smsc.Effect {
	if p, ok := packet.(PDU); ok {
		do = m.received(do, p, nil)
	}
	return do
}

// received takes a PDU; fault is why its body could not be read, nil: it could.
func (m *machine) received(do []smsc.Effect, p PDU, fault error) []smsc.Effect {
	if m.state == stateClosed {
		return do
	}
	m.heard = true
	if p.Command().IsResponse() {
		do = m.responded(do, p, fault)
	} else {
		do = m.requested(do, p)
	}
	return do
}

// responded takes a response. One that matches no request of ours, by number
// and kind, is late, double or wrong, and ignored.
func (m *machine) responded(do []smsc.Effect, p PDU, fault error) []smsc.Effect {
	h := *p.Head()
	nack := p.Command() == CommandGenericNack
	if nack && h.Status == OK { // refused without saying why
		h.Status = RUNKNOWNERR
	}
	switch p := p.(type) {
	case *BindTransmitterResp, *BindReceiverResp, *BindTransceiverResp:
		if m.state == stateBinding && h.Sequence == m.bind {
			if v, given := bindTLVs(p).Uint8(TagSCInterfaceVersion); given && v < interfaceVersion {
				m.quirks.NoTLVs = true // what it does not know is not sent to it
			}
			return m.bindAnswered(do, h.Status, "")
		}
	case *EnquireLinkResp:
		return m.alive(do, h.Sequence)
	case *UnbindResp:
		if m.unbind != 0 && h.Sequence == m.unbind {
			return m.close(do, nil, smsc.RetryNot)
		}
	case *SubmitSMResp:
		return m.requestAnswered(do, p, h, p.MessageID, fault)
	case *QuerySMResp, *CancelSMResp, *ReplaceSMResp, *SubmitMultiResp, *DataSMResp:
		return m.requestAnswered(do, p, h, "", fault)
	case *GenericNack:
		switch {
		case m.state == stateBinding && h.Sequence == m.bind:
			return m.bindAnswered(do, h.Status, "; the SMSC may not know a transceiver: try one session as transmitter and one as receiver")
		case m.unbind != 0 && h.Sequence == m.unbind:
			return m.close(do, nil, smsc.RetryNot)
		}
		if h.Sequence == 0 { // to what, it does not say: is it still there?
			return m.probe(do)
		}
		do = m.alive(do, h.Sequence)
		return m.requestAnswered(do, p, h, "", fault)
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
	return append(m.watch(do), smsc.Bound{})
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

// requestAnswered takes the answer p to a request of the window, whose header is h.
func (m *machine) requestAnswered(do []smsc.Effect, p PDU, h Header, id string, fault error) []smsc.Effect {
	do, r, ok := m.answered(do, p)
	if !ok {
		return do
	}
	o := h.Status.outcome(respondedID(m.quirks.ReceiptIDs, id))
	if fate, overruled := m.quirks.Fates[uint32(h.Status)]; overruled && h.Status != OK {
		o.Fate, o.Class = fate, smsc.CodeKnown
	}
	m.window.Answered(o.Fate, len(m.open))
	switch {
	case r.command != CommandSubmitSM && fault != nil:
		return append(do, smsc.Responded{Ref: r.ref, Err: fmt.Errorf("smpp: the answer to %v: %w", r.command, fault)})
	case r.command != CommandSubmitSM:
		return append(do, smsc.Responded{Ref: r.ref, Packet: p})
	}
	do = append(do, m.effects.Answered(r.ref, o))
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
	case *Outbind:
		return m.outbound(do, p)
	case *AlertNotification:
		return do // nobody asked; it has no response
	}
	return m.respond(do, CommandGenericNack, sequence, RINVCMDID)
}

// delivered takes a short message or a receipt. While it cannot be taken, the
// SMSC is told to try again.
func (m *machine) delivered(do []smsc.Effect, request PDU, p *SubmitSM) []smsc.Effect {
	if m.state != stateBound || len(m.taken) >= maxTaken {
		return m.respond(do, request.Command(), p.Sequence, RXTAPPN)
	}
	ref := m.keep(requestOf(request))
	part, _ := p.part(&m.quirks)
	if r, ok := p.receipt(part, &m.quirks); ok {
		return append(do, smsc.Reported{Ref: ref, Receipt: r})
	}
	return append(do, smsc.Delivered{Ref: ref, Deliver: smsc.Deliver{Part: part, At: p.ScheduleDeliveryTime, Key: p.key()}})
}

func (m *machine) answer(do []smsc.Effect, ref uint64, s Status) []smsc.Effect {
	r, ok := m.give(ref)
	if !ok {
		return do
	}
	return m.respond(do, r.command, r.sequence, s)
}

func (m *machine) timeout(do []smsc.Effect, t smsc.Timer) []smsc.Effect {
	switch t.Name {
	case timerLogin:
		if m.outbind {
			return m.close(do, fmt.Errorf("smpp: no outbind within %v of the SMSC's connection", m.cfg.LoginTimeout), smsc.RetrySoon)
		}
		return m.close(do, fmt.Errorf("smpp: no answer to the bind within %v", m.cfg.LoginTimeout), smsc.RetrySoon)
	case timerProbe:
		return m.listened(do)
	}
	return m.overdue(do, t)
}

func bindTLVs(p PDU) TLVs {
	switch p := p.(type) {
	case *BindTransmitterResp:
		return p.TLVs
	case *BindReceiverResp:
		return p.TLVs
	case *BindTransceiverResp:
		return p.TLVs
	}
	return nil
}
