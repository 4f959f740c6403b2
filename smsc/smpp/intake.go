package smpp

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/ringway-im/ringway/smsc"
)

// multi is a submit_multi whose destinations are being answered one by one.
type multi struct {
	request
	waiting int    // destinations unanswered
	silent  bool   // one is never to be answered, and with it all
	id      string // of the first accepted
	failed  []failure
}

type failure struct {
	ref uint64 // ascending as the destinations stood
	Unsuccess
}

// multiPart is one destination of a submit_multi.
type multiPart struct {
	first uint64 // key of the multi
	to    Destination
}

func requestOf(p PDU) request { return request{command: p.Command(), sequence: p.Head().Sequence} }

// take takes what the ESME wants of messages: submits and their management.
// More than it may have unanswered is throttled.
func (m *server) take(do []smsc.Effect, p PDU) []smsc.Effect {
	command, sequence := p.Command(), p.Head().Sequence
	if !m.cfg.Manage && (command == CommandQuerySM || command == CommandCancelSM || command == CommandReplaceSM) {
		return m.respond(do, command, sequence, outcomeStatus(smsc.Outcome{Fate: smsc.Permanent}, command))
	}
	if len(m.taken)-len(m.parts)+len(m.multis) >= m.cfg.SubmitWindow || len(m.taken) >= maxTaken {
		return m.respond(do, command, sequence, RTHROTTLED)
	}
	var bad Status
	switch p := p.(type) {
	case *SubmitSM:
		do, bad = m.submitted(do, p, p)
	case *DataSM:
		do, bad = m.submitted(do, p, p.submitSM())
	case *SubmitMulti:
		do, bad = m.multiplied(do, p)
	case *QuerySM:
		r := requestOf(p)
		r.id = p.MessageID
		return append(do, smsc.QueryReceived{Ref: m.keep(r), ID: p.MessageID, From: address(p.SourceAddrTON, p.SourceAddrNPI, p.SourceAddr)})
	case *CancelSM:
		return append(do, smsc.CancelReceived{
			Ref: m.keep(requestOf(p)), ID: p.MessageID, Service: p.ServiceType,
			From: address(p.SourceAddrTON, p.SourceAddrNPI, p.SourceAddr), To: address(p.DestAddrTON, p.DestAddrNPI, p.DestinationAddr),
		})
	case *ReplaceSM:
		do, bad = m.replaced(do, p)
	default:
		bad = RINVCMDID
	}
	if bad != OK {
		return m.respond(do, command, sequence, bad)
	}
	return do
}

func (m *server) submitted(do []smsc.Effect, request PDU, p *SubmitSM) ([]smsc.Effect, Status) {
	if bad := checkDestination(p.DestAddrTON, p.DestinationAddr); bad != OK {
		return do, bad
	}
	e := m.effects.Submission()
	if bad := p.received(e); bad != OK {
		return do, bad
	}
	e.Ref = m.keep(requestOf(request))
	return append(do, smsc.SubmitReceived{Submission: e}), OK
}

// received fills in what a submit_sm says, Ref excepted. bad is what
// to refuse it with.
func (p *SubmitSM) received(e *smsc.Submission) (bad Status) {
	var ok bool
	if e.Schedule, ok = ParseTime(p.ScheduleDeliveryTime); !ok {
		return RINVSCHED
	}
	if e.Expires, ok = ParseTime(p.ValidityPeriod); !ok {
		return RINVEXPIRY
	}
	if bad = p.check(); bad != OK {
		return bad
	}
	e.Part, bad = p.part(&smsc.Quirks{})
	e.Wanted, e.Service, e.Replace = wanted(p.RegisteredDelivery), p.ServiceType, p.ReplaceIfPresentFlag == 1
	if v, ok := p.TLVs.Uint16(TagUserMessageReference); ok {
		reference := v // no memory where there is none
		e.Reference = &reference
	}
	return bad
}

// Highest values that are defined (SMPP v3.4 §5.2).
const (
	maxTON      = 6
	maxPriority = 3
)

// check finds values that SMPP v3.4 does not define (§5.2). Numbering plans are
// not looked at: many ESMEs write there what comes to hand.
func (p *SubmitSM) check() Status {
	switch {
	case p.SourceAddrTON > maxTON:
		return RINVSRCTON
	case p.ESMClass&esmTypeMask != 0 && p.ESMClass&esmTypeMask != esmTypeDeliveryAck && p.ESMClass&esmTypeMask != esmTypeUserAck:
		return RINVESMCLASS
	case p.PriorityFlag > maxPriority:
		return RINVPRTFLG
	case p.RegisteredDelivery&registeredReserved != 0:
		return RINVREGDLVFLG
	case p.ReplaceIfPresentFlag > 1:
		return RINVREPFLAG
	case p.SMDefaultMsgID != 0: // there are none here
		return RINVDFTMSGID
	}
	if err := p.TLVs.Check(); err != nil {
		return RINVPARLEN
	}
	return OK
}

func checkDestination(ton uint8, addr string) Status {
	switch {
	case ton > maxTON:
		return RINVDSTTON
	case addr == "":
		return RINVDSTADR
	}
	return OK
}

// wanted reads registered_delivery (SMPP v3.4 §5.2.17; 3: v5.0).
func wanted(registered uint8) (w smsc.Wanted) {
	switch registered & registeredMask {
	case 1:
		w = smsc.WantSuccess | smsc.WantFailure
	case 2:
		w = smsc.WantFailure
	case 3:
		w = smsc.WantSuccess
	}
	if registered&registeredIntermediate != 0 {
		w |= smsc.WantIntermediate
	}
	return w
}

// multiplied takes a submit_multi: distribution lists are replaced by their members.
func (m *server) multiplied(do []smsc.Effect, p *SubmitMulti) ([]smsc.Effect, Status) {
	var to []Destination
	for _, d := range p.Destinations {
		if !d.isList() {
			if bad := checkDestination(d.TON, d.Addr); bad != OK {
				return do, bad
			}
			to = append(to, d)
			continue
		}
		members, ok := m.cfg.Lists[d.List]
		if !ok || len(members) == 0 {
			return do, RINVDLNAME
		}
		for _, a := range members {
			to = append(to, Destination{TON: a.TON, NPI: a.NPI, Addr: a.Digits})
		}
	}
	if len(to) == 0 || len(to) > maxDestinations { // no_unsuccess is one octet
		return do, RINVNUMDESTS
	}
	var e smsc.Submission
	if bad := p.submitSM().received(&e); bad != OK {
		return do, bad
	}
	r := requestOf(p)
	for i, d := range to {
		e.Ref, e.Part.To = m.keep(r), address(d.TON, d.NPI, d.Addr)
		if i == 0 {
			e.First = e.Ref
			m.multis[e.First] = multi{request: r, waiting: len(to)}
		}
		m.parts[e.Ref] = multiPart{e.First, d}
		one := e
		do = append(do, smsc.SubmitReceived{Submission: &one})
	}
	return do, OK
}

func (m *server) replaced(do []smsc.Effect, p *ReplaceSM) ([]smsc.Effect, Status) {
	schedule, ok := ParseTime(p.ScheduleDeliveryTime)
	if !ok {
		return do, RINVSCHED
	}
	expires, ok := ParseTime(p.ValidityPeriod)
	switch {
	case !ok:
		return do, RINVEXPIRY
	case p.RegisteredDelivery&registeredReserved != 0:
		return do, RINVREGDLVFLG
	case p.SMDefaultMsgID != 0:
		return do, RINVDFTMSGID
	}
	return append(do, smsc.ReplaceReceived{
		Ref: m.keep(requestOf(p)), ID: p.MessageID, From: address(p.SourceAddrTON, p.SourceAddrNPI, p.SourceAddr), Data: p.ShortMessage,
		Schedule: schedule, Expires: expires, Wanted: wanted(p.RegisteredDelivery),
	}), OK
}

func (m *server) answer(do []smsc.Effect, ev *smsc.ServerAnswer) []smsc.Effect {
	r, ok := m.give(ev.Ref)
	if !ok {
		return do
	}
	if r.command == CommandSubmitMulti {
		return m.multiAnswered(do, ev)
	}
	if ev.Outcome.Fate == smsc.Unknown {
		return do
	}
	if s := outcomeStatus(ev.Outcome, r.command); s != OK {
		return m.respond(do, r.command, r.sequence, s)
	}
	resp := &m.resp
	*resp = SubmitSMResp{Header: Header{Sequence: r.sequence}, MessageID: ev.Outcome.ID}
	switch r.command {
	case CommandSubmitSM:
		return m.respondWith(do, resp)
	case CommandDataSM:
		return m.respondWith(do, (*DataSMResp)(resp))
	case CommandQuerySM: // accepted is no answer to it
		return m.respond(do, r.command, r.sequence, RQUERYFAIL)
	}
	return m.respond(do, r.command, r.sequence, OK)
}

// respondWith writes a response whose fields may be too long: that is our
// fault, not the ESME's.
func (m *server) respondWith(do []smsc.Effect, p PDU) []smsc.Effect {
	do, err := m.write(do, p)
	if err != nil {
		return m.respond(do, p.Command()&^Response, p.Head().Sequence, RSYSERR)
	}
	return do
}

// multiAnswered responds when the last destination of a submit_multi is
// answered: with success and the failed ones, or with a failure of all.
func (m *server) multiAnswered(do []smsc.Effect, ev *smsc.ServerAnswer) []smsc.Effect {
	part := m.parts[ev.Ref]
	delete(m.parts, ev.Ref)
	all := m.multis[part.first]
	all.waiting--
	switch s := outcomeStatus(ev.Outcome, CommandSubmitMulti); {
	case ev.Outcome.Fate == smsc.Unknown:
		all.silent = true
	case s != OK:
		all.failed = append(all.failed, failure{ev.Ref, Unsuccess{part.to.TON, part.to.NPI, part.to.Addr, s}})
	case all.id == "":
		all.id = ev.Outcome.ID
	}
	m.multis[part.first] = all
	if all.waiting > 0 {
		return do
	}
	delete(m.multis, part.first)
	if all.silent {
		return do
	}
	resp := &SubmitMultiResp{Header: Header{Sequence: all.sequence}, MessageID: all.id}
	slices.SortFunc(all.failed, func(a, b failure) int { return cmp.Compare(a.ref, b.ref) })
	for _, f := range all.failed {
		resp.Unsuccess = append(resp.Unsuccess, f.Unsuccess)
	}
	if all.id == "" && len(all.failed) > 0 {
		resp.Head().Status = all.failed[0].Status
	}
	return m.respondWith(do, resp)
}

func (m *server) queried(do []smsc.Effect, ev smsc.QueryAnswer) []smsc.Effect {
	if i, ok := m.kept(ev.Ref); !ok || m.taken[i].command != CommandQuerySM {
		return do // no answer to this
	}
	r, _ := m.give(ev.Ref)
	code, _ := strconv.ParseUint(ev.Code, 10, 8) // what is none is 0
	resp := &QuerySMResp{
		Header: Header{Sequence: r.sequence}, MessageID: r.id, MessageState: messageState(ev.State), ErrorCode: uint8(code),
	}
	if !ev.Done.IsZero() {
		resp.FinalDate = FormatTime(ev.Done.UTC())
	}
	return m.respondWith(do, resp)
}

// outcomeStatus is the status that Code names, else the usual one of the Fate.
func outcomeStatus(o smsc.Outcome, c CommandID) Status {
	if o.Fate == smsc.Accepted {
		return OK
	}
	if s, ok := ParseStatus(o.Code); ok && s != OK {
		return s
	}
	switch o.Fate {
	case smsc.Throttled:
		return RTHROTTLED
	case smsc.BadSession:
		return RINVBNDSTS
	}
	switch c {
	case CommandQuerySM:
		return RQUERYFAIL
	case CommandCancelSM:
		return RCANCELFAIL
	case CommandReplaceSM:
		return RREPLACEFAIL
	}
	if o.Fate == smsc.Permanent {
		return RINVDSTADR
	}
	return RXTAPPN
}
