package smpp

import (
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// serving tells a server's story up to the bind.
func serving(t *testing.T, cfg smsc.ServerConfig, bind PDU) *story {
	t.Helper()
	cfg.SystemID, cfg.ResponseTimeout = "SMSC", 10*time.Second
	s := tell(t, NewServer(cfg))
	s.on(smsc.Connected{})
	s.state("waiting")
	s.got(bind, "login esme secret "+modes[bind.Command()])
	s.on(smsc.LoginResult{OK: true}, bind.Command().String()+"_resp 1", "bound")
	s.state("bound")
	return s
}

func (s *story) deliverReady(want int) {
	s.t.Helper()
	if got := s.m.(smsc.ServerMachine).DeliverReady(); got != want {
		s.t.Errorf("deliver ready %d, not %d", got, want)
	}
}

var esme = BindTransceiver{Header: Header{Sequence: 1}, SystemID: "esme", Password: "secret"}

func submitSM(sequence uint32, body string) *SubmitSM {
	p := &SubmitSM{Header: Header{Sequence: sequence}}
	mustSetPart(p, part(body))
	return p
}

func TestServerAnswersSubmits(t *testing.T) {
	trx := esme
	s := serving(t, smsc.ServerConfig{}, &trx)
	s.got(submitSM(2, "one"), `submitted 1 "one"`)
	s.got(submitSM(3, "two"), `submitted 2 "two"`)
	s.on(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "0000000002"}}, "submit_sm_resp 3 0000000002")
	s.on(smsc.ServerAnswer{Ref: 1, Outcome: smsc.Outcome{Fate: smsc.Unknown}}) // silence
	s.on(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: "again"}})
	for i, c := range []struct {
		o    smsc.Outcome
		want string
	}{
		{smsc.Outcome{Fate: smsc.Temporary}, "ESME_RX_T_APPN (0x64)"},
		{smsc.Outcome{Fate: smsc.Permanent}, "ESME_RINVDSTADR (0x0B)"},
		{smsc.Outcome{Fate: smsc.Throttled}, "ESME_RTHROTTLED (0x58)"},
		{smsc.Outcome{Fate: smsc.BadSession}, "ESME_RINVBNDSTS (0x04)"},
		{smsc.Outcome{Fate: smsc.Temporary, Code: "ESME_RMSGQFUL"}, "ESME_RMSGQFUL (0x14)"},
		{smsc.Outcome{Fate: smsc.Temporary, Code: "ESME_RSYSERR (0x08)"}, "ESME_RSYSERR (0x08)"},
		{smsc.Outcome{Fate: smsc.Permanent, Code: "0x401"}, "status (0x401)"},
		{smsc.Outcome{Fate: smsc.Permanent, Code: "CIMD2 300"}, "ESME_RINVDSTADR (0x0B)"},
		{smsc.Outcome{ID: "a\x00b"}, "ESME_RSYSERR (0x08)"},
	} {
		ref := uint64(i + 3)
		if do := s.m.Handle(smsc.Received{Packet: submitSM(9, "x")}, nil); len(do) != 1 {
			t.Fatalf("%+v", do)
		}
		s.on(smsc.ServerAnswer{Ref: ref, Outcome: c.o}, "submit_sm_resp 9 "+c.want)
	}
	d := &DataSM{Header: Header{Sequence: 10}, DestinationAddr: "1"}
	d.TLVs.Add(TagMessagePayload, 'd')
	s.got(d, `submitted 12 "d"`)
	s.on(smsc.ServerAnswer{Ref: 12, Outcome: smsc.Outcome{ID: "7"}}, "data_sm_resp 10")
	s.got(&QuerySM{Header: Header{Sequence: 11}}, "query_sm_resp 11 ESME_RQUERYFAIL (0x67)")
	s.got(&CancelSM{Header: Header{Sequence: 12}}, "cancel_sm_resp 12 ESME_RCANCELFAIL (0x11)")
	s.got(&ReplaceSM{Header: Header{Sequence: 13}}, "replace_sm_resp 13 ESME_RREPLACEFAIL (0x13)")
	s.got(&SubmitMulti{Header: Header{Sequence: 14}}, "submit_multi_resp 14 ESME_RINVNUMDESTS (0x33)")
	s.got(&DeliverSM{Header: Header{Sequence: 15}}, "generic_nack 15 ESME_RINVCMDID (0x03)")
	bad := submitSM(16, "x")
	bad.ESMClass, bad.ShortMessage = 0x40, []byte{9, 1}
	s.got(bad, "submit_sm_resp 16 ESME_RINVESMCLASS (0x43)")
}

// The user_message_reference of a submit comes back in its receipts.
func TestReceiptHasTheReference(t *testing.T) {
	s := managing(t)
	for i, want := range []*uint16{nil, new(uint16), func() *uint16 { v := uint16(0xBEEF); return &v }()} {
		sm := submitSM(uint32(i+2), "x")
		data := &DataSM{Header: Header{Sequence: 9}, DestinationAddr: "1"}
		multi := &SubmitMulti{Header: Header{Sequence: 9}, Destinations: []Destination{{Addr: "1"}}}
		if want != nil {
			sm.TLVs.AddUint16(TagUserMessageReference, *want)
			data.TLVs, multi.TLVs = sm.TLVs, sm.TLVs
		}
		for _, p := range []PDU{sm, data, multi} {
			e := received[smsc.SubmitReceived](s, p)
			if (e.Reference == nil) != (want == nil) || want != nil && *e.Reference != *want {
				t.Errorf("%v: reference %v, not %v", p.Command(), e.Reference, want)
			}
			r := smsc.ServerReport{Ref: 1, Part: e.Part, Receipt: smsc.Receipt{ID: "7", State: smsc.ReceiptDelivered}, Reference: e.Reference}
			got := said[*DeliverSM](s, r)
			v, ok := got.TLVs.Uint16(TagUserMessageReference)
			if ok != (want != nil) || ok && v != *want {
				t.Errorf("%v: %+v in the receipt, not %v", p.Command(), got.TLVs, want)
			}
			s.m.Handle(smsc.Received{Packet: &DeliverSMResp{Header: Header{Sequence: got.Sequence}}}, nil)
		}
	}
	old := smsc.Quirks{NoTLVs: true}
	if p, err := report(smsc.ServerReport{Part: part("x"), Reference: new(uint16)}, &old); err != nil || len(p.TLVs) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// What is too long to be sent is the SMSC's fault, and told as that.
func TestServerSendsNothingTooLong(t *testing.T) {
	s, long := managing(t), strings.Repeat("7", 65)
	s.got(submitSM(2, "x"), `submitted 1 "x"`)
	s.on(smsc.ServerAnswer{Ref: 1, Outcome: smsc.Outcome{ID: long}}, "submit_sm_resp 2 ESME_RSYSERR (0x08)")
	s.got(&DataSM{Header: Header{Sequence: 3}, DestinationAddr: "1"}, `submitted 2 ""`)
	s.on(smsc.ServerAnswer{Ref: 2, Outcome: smsc.Outcome{ID: long}}, "data_sm_resp 3 ESME_RSYSERR (0x08)")
	s.got(&SubmitMulti{Header: Header{Sequence: 4}, Destinations: []Destination{{Addr: "1"}}}, `submitted 3 ""`)
	s.on(smsc.ServerAnswer{Ref: 3, Outcome: smsc.Outcome{ID: long}}, "submit_multi_resp 4 ESME_RSYSERR (0x08)")
	s.got(submitSM(5, "x"), `submitted 4 "x"`)
	s.on(smsc.ServerAnswer{Ref: 4, Outcome: smsc.Outcome{ID: long[1:]}}, "submit_sm_resp 5 "+long[1:])
	s.on(smsc.ServerReport{Ref: 9, Part: part("x"), Receipt: smsc.Receipt{ID: long}}, "deliver answered 9 ok false temporary false")
	from := part("x")
	from.From.Digits = long[:21]
	s.on(smsc.ServerDeliver{Ref: 10, Deliver: smsc.Deliver{Part: from}}, "deliver answered 10 ok false temporary false")

	trx := esme
	s = tell(t, NewServer(smsc.ServerConfig{SystemID: long[:16]}))
	s.on(smsc.Connected{})
	s.got(&trx, "login esme secret transceiver")
	s.on(smsc.LoginResult{OK: true}, "bind_transceiver_resp 1 ESME_RSYSERR (0x08)",
		"close, retry not: smpp: bind_transceiver_resp: system_id has 16 octets, the most is 15")
}

func TestServerStates(t *testing.T) {
	s := tell(t, NewServer(smsc.ServerConfig{LoginTimeout: 5 * time.Second}))
	s.on(smsc.Connected{}, "timer login 5s")
	s.got(submitSM(1, "x"), "submit_sm_resp 1 ESME_RINVBNDSTS (0x04)")
	s.got(&Unbind{Header{Sequence: 2}}, "unbind_resp 2 ESME_RINVBNDSTS (0x04)")
	trx := esme
	s.got(&trx, "login esme secret transceiver")
	s.got(&trx, "bind_transceiver_resp 1 ESME_RALYBND (0x05)")
	s.on(smsc.LoginResult{}, "bind_transceiver_resp 1 ESME_RINVPASWD (0x0E)", "stop login", "close, retry not: smpp: login refused: ESME_RINVPASWD (0x0E)")

	s = tell(t, NewServer(smsc.ServerConfig{LoginTimeout: 5 * time.Second}))
	s.on(smsc.Connected{}, "timer login 5s")
	s.due("login", "close, retry not: smpp: no bind within 5s")

	rx := BindReceiver(esme)
	s = serving(t, smsc.ServerConfig{}, &rx)
	s.deliverReady(1)
	s.got(submitSM(2, "x"), "submit_sm_resp 2 ESME_RINVBNDSTS (0x04)")
	tx := BindTransmitter(esme)
	s = serving(t, smsc.ServerConfig{}, &tx)
	s.deliverReady(0)
	s.on(smsc.ServerDeliver{Ref: 1, Deliver: smsc.Deliver{Part: part("x")}}, "deliver answered 1 ok false temporary true")

	trx = esme
	s = serving(t, smsc.ServerConfig{InactivityTimeout: 0}, &trx)
	s.on(smsc.Logout{}, "timer logout 10s", "unbind 1", "timer logout 10s")
	s.deliverReady(0)
	s.got(&UnbindResp{Header{Sequence: 1}}, "stop logout", "close, retry not")
}

func TestServerInactivity(t *testing.T) {
	s := tell(t, NewServer(smsc.ServerConfig{InactivityTimeout: time.Minute, ResponseTimeout: time.Second}))
	s.on(smsc.Connected{})
	trx := esme
	s.got(&trx, "login esme secret transceiver")
	s.on(smsc.LoginResult{OK: true}, "bind_transceiver_resp 1", "timer idle 1m0s", "bound")
	s.got(&EnquireLink{Header{Sequence: 2}}, "enquire_link_resp 2", "timer idle 1m0s")
	s.due("idle", "close, retry not: smpp: the ESME was silent for 1m0s")
}

func TestServerDelivers(t *testing.T) {
	trx := esme
	s := serving(t, smsc.ServerConfig{Window: 2}, &trx)
	deliver := func(ref uint64, body string) smsc.ServerDeliver {
		p := part(body)
		p.Validity, p.Report, p.More = time.Hour, true, true // none of a deliver_sm
		return smsc.ServerDeliver{Ref: ref, Deliver: smsc.Deliver{Part: p}}
	}
	do := s.m.Handle(deliver(1, "one"), nil)
	p, err := Decode(do[0].(smsc.Write).Octets)
	if err != nil {
		t.Fatal(err)
	}
	if d := p.(*DeliverSM); d.ValidityPeriod != "" || d.RegisteredDelivery != 0 || len(d.TLVs) != 0 || string(d.ShortMessage) != "one" {
		t.Errorf("%+v", d)
	}
	s.on(deliver(2, "two"), `deliver_sm 2 "two"`, "timer response 2 10s")
	s.deliverReady(0)
	s.on(deliver(3, "three"), "deliver answered 3 ok false temporary true")
	s.got(&DeliverSMResp{Header: Header{Sequence: 2}}, "deliver answered 2 ok true temporary false")
	s.got(&DeliverSMResp{Header: Header{Sequence: 1, Status: RXTAPPN}}, "deliver answered 1 ok false temporary true")
	s.got(&DeliverSMResp{Header: Header{Sequence: 1}})
	s.on(deliver(4, "four"), `deliver_sm 3 "four"`, "timer response 3 10s")
	s.got(&DeliverSMResp{Header: Header{Sequence: 3, Status: RXPAPPN}}, "deliver answered 4 ok false temporary false")
	s.on(deliver(5, "five"), `deliver_sm 4 "five"`, "timer response 4 10s")
	s.got(&GenericNack{Header{Sequence: 4}}, "deliver answered 5 ok false temporary true")
	s.on(deliver(6, "six"), `deliver_sm 5 "six"`, "timer response 5 10s")
	s.on(deliver(7, "seven"), `deliver_sm 6 "seven"`, "timer response 6 10s")
	s.due("response 5", "deliver answered 6 ok false temporary true", "deliver answered 7 ok false temporary true",
		"close, retry soon: smpp: no response within 10s to request 5")
}

func TestServerUnbindWaitsForItsSubmits(t *testing.T) {
	trx := esme
	s := serving(t, smsc.ServerConfig{}, &trx)
	s.got(submitSM(2, "one"), `submitted 1 "one"`)
	s.got(&Unbind{Header{Sequence: 3}}, "timer logout 10s")
	s.got(submitSM(4, "two"), "submit_sm_resp 4 ESME_RINVBNDSTS (0x04)")
	s.on(smsc.ServerAnswer{Ref: 1, Outcome: smsc.Outcome{ID: "1"}}, "submit_sm_resp 2 1", "unbind_resp 3", "stop logout", "close, retry not")
}

func TestReceiptCrossesTheWire(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for state := smsc.ReceiptUnknown; state <= smsc.ReceiptRejected; state++ {
		trx := esme
		s := serving(t, smsc.ServerConfig{}, &trx)
		id := NewID(smsc.Address{}, at, 17)
		do := s.m.Handle(smsc.ServerReport{
			Ref: 1, Receipt: smsc.Receipt{ID: id, State: state, Code: "027"}, Part: part("A text that goes on"), Submitted: at, Done: at.Add(time.Minute),
		}, nil)
		p, err := Decode(do[0].(smsc.Write).Octets)
		if err != nil {
			t.Fatal(err)
		}
		d := p.(*DeliverSM)
		if d.DestinationAddr != "12345" || d.SourceAddr != "639171234567" {
			t.Errorf("from %s to %s", d.SourceAddr, d.DestinationAddr)
		}
		if body := string(d.ShortMessage); !strings.HasPrefix(body, "id:0000000017 sub:001 dlvrd:00") ||
			!strings.Contains(body, "submit date:2611221000 done date:2611221001 stat:") || !strings.HasSuffix(body, "err:027 text:A text that goes on") {
			t.Errorf("%q", body)
		}
		sm := (*SubmitSM)(d)
		for _, without := range []bool{false, true} { // from the TLVs, from the text
			if without {
				sm.TLVs = nil
			}
			part, _ := sm.part(&smsc.Quirks{})
			r, ok := sm.receipt(part, &smsc.Quirks{})
			if !ok || r.ID != id || r.State != state || r.Code != "027" {
				t.Errorf("%v, TLVs %v: %+v", state, !without, r)
			}
		}
	}
}
