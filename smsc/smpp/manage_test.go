package smpp

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// said is the one PDU that an event makes the machine write.
func said[P PDU](s *story, ev smsc.Event) (p P) {
	s.t.Helper()
	do := s.m.Handle(ev, nil)
	for _, e := range do {
		if w, ok := e.(smsc.Write); ok {
			if p, ok = mustDecode(s.t, w.Octets).(P); !ok {
				s.t.Errorf("%s", line(s.t, e))
			}
			return p
		}
	}
	s.t.Fatalf("nothing was written: %+v", do)
	return p
}

// received is the one effect of this type that a PDU has.
func received[E smsc.Effect](s *story, p PDU) (e E) {
	s.t.Helper()
	do := s.m.Handle(smsc.Received{Packet: p}, nil)
	for _, got := range do {
		if e, ok := got.(E); ok {
			return e
		}
		s.t.Errorf("%s", line(s.t, got))
	}
	s.t.Fatalf("no %T", e)
	return e
}

func managing(t *testing.T) *story {
	trx := esme
	trx.InterfaceVersion = 0x34
	return serving(t, smsc.ServerConfig{Manage: true, Lists: map[string][]smsc.Address{
		"friends": {smsc.ParseAddress("+358401"), smsc.ParseAddress("+358402")},
	}}, &trx)
}

func TestServerQuery(t *testing.T) {
	s := managing(t)
	q := received[smsc.QueryReceived](s, &QuerySM{Header: Header{Sequence: 2}, MessageID: "17", SourceAddrTON: 1, SourceAddrNPI: 1, SourceAddr: "358401"})
	if q.ID != "17" || q.From.String() != "+358401" {
		t.Errorf("%+v", q)
	}
	at := time.Date(2026, 11, 22, 12, 1, 2, 0, time.FixedZone("", 7200))
	got := said[*QuerySMResp](s, smsc.QueryAnswer{Ref: q.Ref, State: smsc.ReceiptUndeliverable, Done: at, Code: "27"})
	if *got != (QuerySMResp{Header{Sequence: 2}, "17", "261122100102000+", StateUndeliverable, 27}) {
		t.Errorf("%+v", got)
	}
	s.on(smsc.QueryAnswer{Ref: q.Ref}) // answered already
	q = received[smsc.QueryReceived](s, &QuerySM{Header: Header{Sequence: 3}, MessageID: "18"})
	got = said[*QuerySMResp](s, smsc.QueryAnswer{Ref: q.Ref, State: smsc.ReceiptEnroute, Code: "none"})
	if *got != (QuerySMResp{Header{Sequence: 3}, "18", "", StateEnroute, 0}) {
		t.Errorf("%+v", got)
	}
	for i, o := range []smsc.Outcome{{Fate: smsc.Permanent}, {Fate: smsc.Accepted}, {Fate: smsc.Temporary, Code: "ESME_RSYSERR"}} {
		q = received[smsc.QueryReceived](s, &QuerySM{Header: Header{Sequence: 4}, MessageID: "19"})
		want := []Status{RQUERYFAIL, RQUERYFAIL, RSYSERR}[i]
		s.on(smsc.ServerAnswer{Ref: q.Ref, Outcome: o}, "query_sm_resp 4 "+want.String())
	}
}

func TestServerCancel(t *testing.T) {
	s := managing(t)
	c := received[smsc.CancelReceived](s, &CancelSM{
		Header: Header{Sequence: 2}, ServiceType: "CMT", SourceAddr: "12345", DestAddrTON: 1, DestAddrNPI: 1, DestinationAddr: "358401",
	})
	if !reflect.DeepEqual(c, smsc.CancelReceived{Ref: 1, Service: "CMT", From: smsc.Address{Digits: "12345"}, To: smsc.ParseAddress("+358401")}) {
		t.Errorf("%+v", c)
	}
	s.on(smsc.ServerAnswer{Ref: c.Ref}, "cancel_sm_resp 2")
	c = received[smsc.CancelReceived](s, &CancelSM{Header: Header{Sequence: 3}, MessageID: "17"})
	if c.ID != "17" {
		t.Errorf("%+v", c)
	}
	s.on(smsc.ServerAnswer{Ref: c.Ref, Outcome: smsc.Outcome{Fate: smsc.Permanent}}, "cancel_sm_resp 3 ESME_RCANCELFAIL (0x11)")
}

func TestServerReplace(t *testing.T) {
	s := managing(t)
	p := &ReplaceSM{
		Header: Header{Sequence: 2}, MessageID: "17", SourceAddr: "12345", ScheduleDeliveryTime: "261122120000008+",
		ValidityPeriod: "000001000000000R", RegisteredDelivery: 2, ShortMessage: []byte("other"),
	}
	r := received[smsc.ReplaceReceived](s, p)
	want := smsc.ReplaceReceived{
		Ref: 1, ID: "17", From: smsc.Address{Digits: "12345"}, Data: []byte("other"), Wanted: smsc.WantFailure,
		Schedule: smsc.When{At: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}, Expires: smsc.When{After: 24 * time.Hour},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v", r)
	}
	s.on(smsc.ServerAnswer{Ref: r.Ref}, "replace_sm_resp 2")
	r = received[smsc.ReplaceReceived](s, p)
	s.on(smsc.ServerAnswer{Ref: r.Ref, Outcome: smsc.Outcome{Fate: smsc.Permanent}}, "replace_sm_resp 2 ESME_RREPLACEFAIL (0x13)")
	for want, change := range map[Status]func(*ReplaceSM){
		RINVSCHED:     func(p *ReplaceSM) { p.ScheduleDeliveryTime = "tomorrow" },
		RINVEXPIRY:    func(p *ReplaceSM) { p.ValidityPeriod = "261322120000008+" },
		RINVREGDLVFLG: func(p *ReplaceSM) { p.RegisteredDelivery = 0x20 },
		RINVDFTMSGID:  func(p *ReplaceSM) { p.SMDefaultMsgID = 1 },
	} {
		bad := *p
		change(&bad)
		s.got(&bad, "replace_sm_resp 2 "+want.String())
	}
}

func TestServerSubmitMulti(t *testing.T) {
	s := managing(t)
	p := &SubmitMulti{
		Header: Header{Sequence: 2}, SourceAddr: "12345", RegisteredDelivery: 1, ShortMessage: []byte("all"),
		Destinations: []Destination{{TON: 1, NPI: 1, Addr: "358400"}, {List: "friends"}},
	}
	do := s.m.Handle(smsc.Received{Packet: p}, nil)
	if len(do) != 3 {
		t.Fatalf("%+v", do)
	}
	for i, e := range do {
		e := e.(smsc.SubmitReceived)
		if e.Ref != uint64(i+1) || e.First != 1 || e.Part.To.String() != fmt.Sprintf("+35840%d", i) || string(e.Part.Data) != "all" || !e.Part.Report {
			t.Errorf("%+v", e)
		}
	}
	s.on(smsc.QueryAnswer{Ref: 3}) // not asked
	s.on(smsc.ServerAnswer{Ref: 3, Outcome: smsc.Outcome{Fate: smsc.Permanent}})
	s.on(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "17"}})
	s.on(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "17"}}) // twice
	got := said[*SubmitMultiResp](s, smsc.ServerAnswer{Ref: 1, Outcome: smsc.Outcome{Fate: smsc.Temporary, Code: "ESME_RMSGQFUL"}})
	if want := []Unsuccess{{1, 1, "358400", RMSGQFUL}, {1, 1, "358402", RINVDSTADR}}; got.Sequence != 2 || got.Status != OK ||
		got.MessageID != "17" || !reflect.DeepEqual(got.Unsuccess, want) {
		t.Errorf("%+v", got)
	}

	p.Destinations = p.Destinations[:1]
	s.m.Handle(smsc.Received{Packet: p}, nil)
	got = said[*SubmitMultiResp](s, smsc.ServerAnswer{Ref: 4, Outcome: smsc.Outcome{Fate: smsc.Throttled}})
	if got.Status != RTHROTTLED || len(got.Unsuccess) != 1 {
		t.Errorf("all failed: %+v", got)
	}
	s.m.Handle(smsc.Received{Packet: p}, nil)
	s.on(smsc.ServerAnswer{Ref: 5, Outcome: smsc.Outcome{Fate: smsc.Unknown}}) // silence
	for want, to := range map[Status][]Destination{
		RINVDLNAME:   {{List: "strangers"}},
		RINVDSTADR:   {{Addr: "1"}, {}},
		RINVDSTTON:   {{TON: 7, Addr: "1"}},
		RINVNUMDESTS: nil,
	} {
		p.Destinations = to
		s.got(p, "submit_multi_resp 2 "+want.String())
	}
	if m := s.m.(*server); len(m.taken)+len(m.parts)+len(m.multis) != 0 {
		t.Errorf("%+v is left", m.multis)
	}
}

func TestServerSubmitWindow(t *testing.T) {
	trx := esme
	s := serving(t, smsc.ServerConfig{SubmitWindow: 2}, &trx)
	s.got(submitSM(2, "one"), `submitted 1 "one"`)
	two := &SubmitMulti{Header: Header{Sequence: 3}, Destinations: []Destination{{Addr: "1"}, {Addr: "2"}}, ShortMessage: []byte("two")}
	s.got(two, `submitted 2 "two"`, `submitted 3 "two"`) // one request
	s.got(submitSM(4, "three"), "submit_sm_resp 4 ESME_RTHROTTLED (0x58)")
	s.got(&EnquireLink{Header{Sequence: 5}}, "enquire_link_resp 5")
	s.on(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "2"}})
	s.got(submitSM(6, "three"), "submit_sm_resp 6 ESME_RTHROTTLED (0x58)")
	s.on(smsc.ServerAnswer{Ref: 1, Outcome: smsc.Outcome{ID: "1"}}, "submit_sm_resp 2 1")
	s.got(submitSM(7, "three"), `submitted 4 "three"`)
}

func TestServerReadsASubmit(t *testing.T) {
	s := managing(t)
	p := submitSM(2, "x")
	p.ServiceType, p.ReplaceIfPresentFlag, p.RegisteredDelivery = "CMT", 1, 0x11
	p.ScheduleDeliveryTime, p.ValidityPeriod = "000000020000000R", "261122215509504-"
	e := received[smsc.SubmitReceived](s, p)
	if e.Service != "CMT" || !e.Replace || e.Wanted != smsc.WantSuccess|smsc.WantFailure|smsc.WantIntermediate || !e.Part.Report ||
		e.Schedule != (smsc.When{After: 2 * time.Hour}) || !e.Expires.At.Equal(time.Date(2026, 11, 22, 22, 55, 9, 5e8, time.UTC)) {
		t.Errorf("%+v", e)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if at := e.Schedule.Time(now); !at.Equal(now.Add(2 * time.Hour)) {
		t.Errorf("scheduled at %v", at)
	}
	for registered, want := range map[uint8]smsc.Wanted{
		0: 0, 1: smsc.WantSuccess | smsc.WantFailure, 2: smsc.WantFailure, 3: smsc.WantSuccess, 0x10: smsc.WantIntermediate, 0x0C: 0,
	} {
		if got := wanted(registered); got != want {
			t.Errorf("registered_delivery %#x: %v, not %v", registered, got, want)
		}
	}
	for want, change := range map[Status]func(*SubmitSM){
		RINVSRCTON:    func(p *SubmitSM) { p.SourceAddrTON = 7 },
		RINVDSTTON:    func(p *SubmitSM) { p.DestAddrTON = 7 },
		RINVDSTADR:    func(p *SubmitSM) { p.DestinationAddr = "" },
		RINVESMCLASS:  func(p *SubmitSM) { p.ESMClass = 0x04 }, // a receipt is the SMSC's to send
		RINVPRTFLG:    func(p *SubmitSM) { p.PriorityFlag = 4 },
		RINVREGDLVFLG: func(p *SubmitSM) { p.RegisteredDelivery = 0x20 },
		RINVREPFLAG:   func(p *SubmitSM) { p.ReplaceIfPresentFlag = 2 },
		RINVDFTMSGID:  func(p *SubmitSM) { p.SMDefaultMsgID = 1 },
		RINVSCHED:     func(p *SubmitSM) { p.ScheduleDeliveryTime = "261122240000000+" },
		RINVEXPIRY:    func(p *SubmitSM) { p.ValidityPeriod = "261122215509049+" },
		RINVPARLEN:    func(p *SubmitSM) { p.TLVs.Add(TagSarMsgRefNum, 1) },
	} {
		bad := submitSM(9, "x")
		change(bad)
		s.got(bad, "submit_sm_resp 9 "+want.String())
	}
}

func TestServerRefusesBinds(t *testing.T) {
	for code, want := range map[string]Status{"": RINVPASWD, "ESME_RALYBND": RALYBND, "RINVSYSID": RINVSYSID, "0x0D": RBINDFAIL, "CIMD2 300": RINVPASWD} {
		s := tell(t, NewServer(smsc.ServerConfig{}))
		s.on(smsc.Connected{})
		trx := esme
		trx.SystemType, trx.AddressRange = "VMS", "^4850"
		if e := received[smsc.LoginReceived](s, &trx); e.SystemType != "VMS" || e.AddressRange != "^4850" {
			t.Errorf("%+v", e)
		}
		s.on(smsc.LoginResult{Code: code}, "bind_transceiver_resp 1 "+want.String(), "close, retry not: smpp: login refused: "+want.String())
	}
}

func TestServerSpeaksVersion33(t *testing.T) {
	for _, version := range []uint8{0x33, 0x34} {
		s := tell(t, NewServer(smsc.ServerConfig{SystemID: "SMSC"}))
		s.on(smsc.Connected{})
		rx := BindReceiver{Header: Header{Sequence: 1}, SystemID: "esme", Password: "secret", InterfaceVersion: version}
		s.m.Handle(smsc.Received{Packet: &rx}, nil)
		resp := said[*BindReceiverResp](s, smsc.LoginResult{OK: true})
		receipt := said[*DeliverSM](s, smsc.ServerReport{Ref: 1, Part: part("x"), Receipt: smsc.Receipt{ID: "7", State: smsc.ReceiptDelivered}})
		if tlvs := version == 0x34; len(resp.TLVs) > 0 != tlvs || len(receipt.TLVs) > 0 != tlvs || len(receipt.ShortMessage) == 0 {
			t.Errorf("%#x: %+v, %+v", version, resp, receipt)
		}
		long := part("")
		long.Data = make([]byte, 255)
		s.m.Handle(smsc.Received{Packet: &DeliverSMResp{Header: Header{Sequence: 1}}}, nil)
		if _, written := s.m.Handle(smsc.ServerDeliver{Ref: 2, Deliver: smsc.Deliver{Part: long}}, nil)[0].(smsc.Write); written != (version == 0x34) {
			t.Errorf("%#x: message_payload written: %v", version, written)
		}
	}
}

func TestServerAlert(t *testing.T) {
	s := managing(t)
	a := said[*AlertNotification](s, smsc.ServerAlert{Handset: smsc.ParseAddress("+358401"), ESME: smsc.ParseAddress("12345")})
	if v, ok := a.TLVs.Uint8(TagMSAvailabilityStatus); a.SourceAddr != "358401" || a.ESMEAddr != "12345" || !ok || v != 0 {
		t.Errorf("%+v", a)
	}
	tx := BindTransmitter(esme)
	s = serving(t, smsc.ServerConfig{}, &tx)
	s.on(smsc.ServerAlert{}) // not for a transmitter
}

func TestServerProbes(t *testing.T) {
	s := tell(t, NewServer(smsc.ServerConfig{KeepAlive: time.Minute, ResponseTimeout: 10 * time.Second}))
	s.on(smsc.Connected{})
	trx := esme
	s.got(&trx, "login esme secret transceiver")
	s.on(smsc.LoginResult{OK: true}, "bind_transceiver_resp 1", "timer probe 30s", "bound")
	s.due("probe", "enquire_link 1", "timer enquire 10s", "timer probe 30s")
	s.got(&EnquireLinkResp{Header{Sequence: 1}}, "stop enquire")
	s.due("probe", "timer probe 30s")
	s.due("probe", "enquire_link 2", "timer enquire 10s", "timer probe 30s")
	s.due("enquire", "stop probe", "close, retry soon: smpp: line is dead: no enquire_link_resp within 10s")
}

func TestWhichReceiptsAreWanted(t *testing.T) {
	for state, want := range map[smsc.ReceiptState]smsc.Wanted{
		smsc.ReceiptDelivered: smsc.WantSuccess, smsc.ReceiptExpired: smsc.WantFailure, smsc.ReceiptDeleted: smsc.WantFailure,
		smsc.ReceiptUndeliverable: smsc.WantFailure, smsc.ReceiptRejected: smsc.WantFailure, smsc.ReceiptEnroute: smsc.WantIntermediate,
		smsc.ReceiptAccepted: smsc.WantSuccess | smsc.WantFailure, smsc.ReceiptUnknown: smsc.WantSuccess | smsc.WantFailure,
	} {
		for _, w := range []smsc.Wanted{0, smsc.WantSuccess, smsc.WantFailure, smsc.WantIntermediate} {
			if got := w.Includes(state); got != (w&want != 0) {
				t.Errorf("%v, wanted %v: %v", state, w, got)
			}
		}
	}
}
