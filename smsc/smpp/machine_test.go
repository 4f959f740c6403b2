package smpp

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

func submit(ref uint64, body string) smsc.Submit { return smsc.Submit{Ref: ref, Part: part(body)} }

func submitResp(sequence uint32, s Status, id string) *SubmitSMResp {
	return &SubmitSMResp{Header: Header{Status: s, Sequence: sequence}, MessageID: id}
}

func deliverSM(sequence uint32, body string) *DeliverSM {
	return &DeliverSM{Header: Header{Sequence: sequence}, SourceAddr: "358407654321", DestinationAddr: "12345", ShortMessage: []byte(body)}
}

// bound tells a story up to the bind: sequence 1.
func bound(t *testing.T, cfg smsc.Config) *story {
	t.Helper()
	s := tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.state("binding")
	s.got(&BindTransceiverResp{Header: Header{Sequence: 1}}, "stop login", "timer probe 15s", "bound")
	s.state("bound")
	return s
}

func (s *story) ready(want int) {
	s.t.Helper()
	if got := s.m.(smsc.Machine).Ready(); got != want {
		s.t.Errorf("ready %d, not %d", got, want)
	}
}

func TestStopAndWait(t *testing.T) {
	s := bound(t, config())
	s.ready(1)
	s.on(submit(7, "one"), `submit_sm 2 "one"`, "timer response 2 10s")
	s.ready(0)
	s.on(submit(8, "two"), "answered 8 bad_session")
	s.got(submitResp(2, OK, "a1"), "answered 7 accepted a1")
	s.ready(1)
	s.got(submitResp(2, OK, "a1"))                // double
	s.got(submitResp(99, OK, "x"))                // never sent
	s.on(smsc.Due{Timer: s.timers["response 2"]}) // stale
	s.on(submit(9, "three"), `submit_sm 3 "three"`, "timer response 3 10s")
	s.got(&DeliverSMResp{Header: Header{Sequence: 3}}) // another kind of response
	s.got(submitResp(3, RTHROTTLED, ""), "answered 9 throttled  ESME_RTHROTTLED (0x58)")
	s.state("bound")
}

func TestWindowIsAnsweredInAnyOrder(t *testing.T) {
	cfg := config()
	cfg.Window, cfg.KeepAlive = 3, 0
	s := tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.ready(0)
	s.got(&BindTransceiverResp{Header: Header{Sequence: 1}}, "stop login", "bound")
	for i, w := range []string{"2", "3", "4"} {
		s.on(submit(uint64(i+1), w), "submit_sm "+w+` "`+w+`"`, "timer response "+w+" 10s")
	}
	s.ready(0)
	s.got(submitResp(4, OK, "c"), "answered 3 accepted c")
	s.got(submitResp(2, RINVDSTADR, ""), "answered 1 permanent  ESME_RINVDSTADR (0x0B)")
	s.ready(2)
	s.due("response 3", "answered 2 unknown", "close, retry soon: smpp: no response within 10s to request 3")
	s.state("closed")
	s.got(submitResp(3, OK, "late"))
}

func TestEveryOpenSubmitIsUnknownAtTheEnd(t *testing.T) {
	ends := map[string]struct {
		ev   smsc.Event
		want []string
	}{
		"disconnected": {smsc.Disconnected{Err: errGone}, nil},
		"framing":      {smsc.Garbled{Err: &smsc.SyntaxError{Protocol: "smpp", Reason: "x", Fatal: true, Packet: &Malformed{}}}, []string{"close, retry soon: smpp: framing is lost: smpp: x at octet 0"}},
		"read error":   {smsc.Garbled{Err: io.ErrUnexpectedEOF}, []string{"close, retry soon: smpp: reading failed: unexpected EOF"}},
	}
	for name, e := range ends {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			cfg.Window = 2
			s := bound(t, cfg)
			s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
			s.on(submit(2, "b"), `submit_sm 3 "b"`, "timer response 3 10s")
			var want []string
			if name == "framing" {
				want = append(want, "generic_nack 0 ESME_RINVCMDLEN (0x02)")
			}
			want = append(want, "answered 1 unknown", "answered 2 unknown", "stop probe")
			s.on(e.ev, append(want, e.want...)...)
			s.state("closed")
			s.ready(0)
		})
	}
}

func TestEnquireLink(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	stale := s.timers["probe"]
	s.got(deliverSM(1, "x"), `delivered 1 "x"`)
	s.due("probe", "timer probe 15s") // something was heard
	s.on(smsc.Due{Timer: stale})
	s.due("probe", "enquire_link 3", "timer enquire 10s", "timer probe 15s") // while the window is full
	s.due("probe", "timer probe 15s")                                        // one at a time
	s.got(&EnquireLinkResp{Header{Sequence: 4}})                             // not to it
	s.got(&EnquireLinkResp{Header{Sequence: 3}}, "stop enquire")
	s.got(&EnquireLinkResp{Header{Sequence: 3}}) // double
	s.got(&EnquireLink{Header{Sequence: 0xFFFFFFF0}}, "enquire_link_resp 4294967280")
	s.due("probe", "timer probe 15s")
	s.due("probe", "enquire_link 4", "timer enquire 10s", "timer probe 15s")
	s.due("enquire", "answered 1 unknown", "stop probe", "close, retry soon: smpp: line is dead: no enquire_link_resp within 10s")

	cfg := config()
	cfg.KeepAlive = 0
	s = tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.got(&BindTransceiverResp{Header: Header{Sequence: 1}}, "stop login", "bound") // never probed
}

func TestBindRefused(t *testing.T) {
	s := tell(t, NewMachine(config()))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	do := s.m.Handle(smsc.Received{Packet: &BindTransceiverResp{Header: Header{Status: RINVPASWD, Sequence: 1}}}, nil)
	end, ok := do[len(do)-1].(smsc.Close)
	var refused *Refused
	if !ok || end.Retry != smsc.RetrySlow || !errors.As(end.Err, &refused) || refused.Status != RINVPASWD {
		t.Fatalf("%+v", do)
	}
	for _, word := range []string{`"esme"`, "ESME_RINVPASWD (0x0E)", "wrong password"} {
		if !strings.Contains(end.Err.Error(), word) {
			t.Errorf("%q does not say %s", end.Err, word)
		}
	}

	s = tell(t, NewMachine(config()))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	do = s.m.Handle(smsc.Received{Packet: &GenericNack{Header{Status: RINVCMDID, Sequence: 1}}}, nil)
	if end := do[len(do)-1].(smsc.Close); !strings.Contains(end.Err.Error(), "transmitter") {
		t.Errorf("no hint at other modes: %v", end.Err)
	}

	s = tell(t, NewMachine(config()))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.got(&BindTransceiverResp{Header: Header{Sequence: 2}}) // not to our bind
	s.state("binding")
	s.due("login", "close, retry soon: smpp: no answer to the bind within 5s")

	cfg := config()
	cfg.Password = "longer than eight"
	s = tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "close, retry slow: smpp: the password has 17 characters, SMPP v3.4 allows 8: ask the operator for a shorter one (an SMSC that accepts longer ones mostly compares the first 8: then give these alone)")
	cfg = config()
	cfg.Mode = "tx"
	s = tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, `close, retry slow: smpp: mode "tx" is none: use transceiver, transmitter or receiver`)
}

func TestModes(t *testing.T) {
	cfg := config()
	cfg.Mode = "receiver"
	s := tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "bind_receiver 1", "timer login 5s")
	s.got(&BindReceiverResp{Header: Header{Sequence: 1}}, "stop login", "timer probe 15s", "bound")
	s.ready(0)
	s.on(submit(1, "a"), "answered 1 bad_session")
	cfg.Mode = "transmitter"
	s = tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "bind_transmitter 1", "timer login 5s")
	s.got(&BindTransmitterResp{Header: Header{Sequence: 1}}, "stop login", "timer probe 15s", "bound")
	s.ready(1)
}

func TestDeliveries(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s") // ours is open meanwhile
	s.got(deliverSM(2, "one"), `delivered 1 "one"`)
	s.got(deliverSM(3, "two"), `delivered 2 "two"`)
	s.on(smsc.Refuse{Ref: 2}, "deliver_sm_resp 3 ESME_RX_T_APPN (0x64)")
	s.on(smsc.Accept{Ref: 1}, "deliver_sm_resp 2")
	s.on(smsc.Accept{Ref: 1}) // answered already
	d := &DataSM{Header: Header{Sequence: 4}}
	d.TLVs.Add(TagMessagePayload, []byte("three")...)
	s.got(d, `delivered 3 "three"`)
	s.on(smsc.Accept{Ref: 3}, "data_sm_resp 4")
	r := deliverSM(5, "id:a1 sub:001 dlvrd:001 submit date:2611221000 done date:2611221001 stat:DELIVRD err:000 text:x")
	r.ESMClass = 0x04
	s.got(r, "reported 4 a1 delivered") // before the response to its submit
	s.on(smsc.Accept{Ref: 4}, "deliver_sm_resp 5")
	s.got(&AlertNotification{Header: Header{Sequence: 6}})
	s.got(&Outbind{Header: Header{Sequence: 7}})
	s.got(&SubmitSM{Header: Header{Sequence: 8}}, "generic_nack 8 ESME_RINVCMDID (0x03)")
	s.got(submitResp(2, OK, "a1"), "answered 1 accepted a1")
}

func TestTooManyUnansweredDeliveries(t *testing.T) {
	s := bound(t, config())
	for i := range maxTaken {
		s.m.Handle(smsc.Received{Packet: deliverSM(uint32(i+1), "x")}, nil)
	}
	s.got(deliverSM(9999, "x"), "deliver_sm_resp 9999 ESME_RX_T_APPN (0x64)")
}

func TestGenericNack(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	// sequence 0 matches nothing, but something is wrong: is the SMSC there?
	s.got(&GenericNack{Header{Status: RINVCMDLEN}}, "enquire_link 3", "timer enquire 10s")
	s.got(&GenericNack{Header{Status: RINVCMDLEN}}) // asked already
	s.ready(0)
	s.got(&EnquireLinkResp{Header{Sequence: 3}}, "stop enquire")
	s.got(&GenericNack{Header{Status: RINVCMDID, Sequence: 2}}, "answered 1 permanent  ESME_RINVCMDID (0x03)")
	s.on(submit(2, "b"), `submit_sm 4 "b"`, "timer response 4 10s")
	s.got(&GenericNack{Header{Sequence: 4}}, "answered 2 temporary  ESME_RUNKNOWNERR (0xFF)")
	s.got(&GenericNack{Header{Status: RINVCMDID, Sequence: 77}}) // never sent
	s.due("probe", "timer probe 15s")
	s.due("probe", "enquire_link 5", "timer enquire 10s", "timer probe 15s")
	s.got(&GenericNack{Header{Status: RINVCMDID, Sequence: 5}}, "stop enquire") // somebody is there
}

func TestGarbledResponseStillAnswers(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	_, err := Decode(unhex(t, "00000015800000040000000000000002"+"613100"+"0428")) // half a TLV
	if err == nil {
		t.Fatal("no error")
	}
	s.on(smsc.Garbled{Err: err}, "answered 1 accepted a1")
	_, err = Decode(unhex(t, "000000120000000500000000000000220000"))
	s.on(smsc.Garbled{Err: err}, "deliver_sm_resp 34 ESME_RINVCMDLEN (0x02)")
}

// What else an ESME may ask, in the protocol's own types.
func TestRequests(t *testing.T) {
	query := &QuerySM{Header: Header{Status: RSYSERR, Sequence: 99}, MessageID: "17"} // its header is not the caller's
	s := bound(t, config())
	s.on(smsc.Request{Ref: 1, Packet: query}, "query_sm 2", "timer response 2 10s")
	s.on(smsc.Request{Ref: 2, Packet: query}, "responded 2 smpp: not sent: session is bound, 1 of window 1 unanswered")
	s.on(submit(3, "a"), "answered 3 bad_session")
	s.got(submitResp(2, OK, "17")) // another kind
	s.got(&CancelSMResp{Header{Sequence: 2}})
	do := s.m.Handle(smsc.Received{Packet: &QuerySMResp{Header: Header{Sequence: 2}, MessageID: "17", MessageState: StateDelivered}}, nil)
	if p, ok := do[0].(smsc.Responded).Packet.(*QuerySMResp); !ok || len(do) != 1 || p.MessageID != "17" || p.MessageState != StateDelivered {
		t.Errorf("%+v", do)
	}
	if query.Header != (Header{Status: RSYSERR, Sequence: 99}) {
		t.Errorf("the caller's PDU has become %+v", query)
	}
	multi := &SubmitMulti{Destinations: []Destination{{Addr: "1"}}, TLVs: TLVs{{TagMoreMessagesToSend, []byte{1}}}}
	for i, c := range []struct {
		request, response PDU
	}{
		{&CancelSM{MessageID: "17"}, &CancelSMResp{Header{Status: RCANCELFAIL}}},
		{&ReplaceSM{MessageID: "17"}, &ReplaceSMResp{}},
		{multi, &SubmitMultiResp{MessageID: "18"}},
		{&DataSM{DestinationAddr: "1"}, &DataSMResp{MessageID: "19"}},
		{query, &GenericNack{Header{Status: RINVCMDID}}},
		{query, &QuerySMResp{Header: Header{Status: RINVBNDSTS}}}, // the session goes on
	} {
		n := uint32(i + 3)
		s.on(smsc.Request{Ref: 4, Packet: c.request}, fmt.Sprintf("%v %d", c.request.Command(), n), fmt.Sprintf("timer response %d 10s", n))
		c.response.Head().Sequence = n
		s.got(c.response, fmt.Sprintf("responded 4 %v %d %v", c.response.Command(), n, c.response.Head().Status))
	}
	s.state("bound")

	const why = " cannot be asked: give a *QuerySM, *CancelSM, *ReplaceSM, *SubmitMulti or *DataSM"
	s.on(smsc.Request{Ref: 5, Packet: "x"}, "responded 5 smpp: string"+why)
	s.on(smsc.Request{Ref: 5}, "responded 5 smpp: <nil>"+why)
	s.on(smsc.Request{Ref: 5, Packet: &Unbind{}}, "responded 5 smpp: *smpp.Unbind"+why)
	s.on(smsc.Request{Ref: 5, Packet: &DeliverSM{}}, "responded 5 smpp: *smpp.DeliverSM"+why)
	s.on(smsc.Request{Ref: 5, Packet: &QuerySM{MessageID: "a\x00b"}}, "responded 5 smpp: query_sm: message_id contains a NUL")
	s.on(smsc.Request{Ref: 6, Packet: query}, "query_sm 9", "timer response 9 10s") // none of them took a number
	broken := &smsc.SyntaxError{Protocol: "smpp", Offset: -1, Reason: "short", Packet: &Malformed{
		Command: CommandQuerySM | Response, PDU: &QuerySMResp{Header: Header{Sequence: 9}},
	}}
	s.on(smsc.Garbled{Err: broken}, "responded 6 smpp: the answer to query_sm: smpp: short")
	s.on(smsc.Request{Ref: 7, Packet: query}, "query_sm 10", "timer response 10 10s")
	s.on(smsc.Logout{}, "timer logout 10s") // it is waited for
	s.due("response 10", "responded 7 smpp: no answer to query_sm: smpp: no response within 10s to request 10", "stop logout", "stop probe",
		"close, retry not: smpp: no response within 10s to request 10")
	s.on(smsc.Request{Ref: 8, Packet: query}, "responded 8 smpp: not sent: session is closed, 0 of window 1 unanswered")

	cfg := quirky(smsc.Quirks{NoTLVs: true})
	cfg.Window = 2
	s = bound(t, cfg)
	s.on(smsc.Request{Ref: 1, Packet: multi}, "responded 1 smpp: the request has optional parameters, and the SMSC takes none")
	s.on(smsc.Request{Ref: 2, Packet: query}, "query_sm 2", "timer response 2 10s")
	s.on(submit(3, "a"), `submit_sm 3 "a"`, "timer response 3 10s")
	if n := s.m.(smsc.Machine).Ready(); n != 0 {
		t.Errorf("ready %d", n)
	}
	s.got(&QuerySMResp{Header: Header{Sequence: 2, Status: RTHROTTLED}}, "responded 2 query_sm_resp 2 ESME_RTHROTTLED (0x58)")
	s.got(submitResp(3, OK, "a1"), "answered 3 accepted a1")
	if n := s.m.(smsc.Machine).Ready(); n != 1 { // the window is halved
		t.Errorf("ready %d", n)
	}
	s.on(smsc.Request{Ref: 4, Packet: query}, "query_sm 4", "timer response 4 10s")
	s.on(smsc.Disconnected{}, "responded 4 smpp: no answer to query_sm: the session ended", "stop probe")

	cfg = config()
	cfg.Mode = "receiver"
	s = tell(t, NewMachine(cfg))
	s.on(smsc.Request{Ref: 1, Packet: query}, "responded 1 smpp: not sent: session is closed, 0 of window 1 unanswered")
	s.on(smsc.Connected{}, "bind_receiver 1", "timer login 5s")
	s.got(&BindReceiverResp{Header: Header{Sequence: 1}}, "stop login", "timer probe 15s", "bound")
	s.on(smsc.Request{Ref: 2, Packet: query}, "responded 2 smpp: not sent: session is bound, 0 of window 1 unanswered")
}

func TestLogoutWaitsForWhatIsOpen(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	s.got(deliverSM(1, "in"), `delivered 1 "in"`)
	s.on(smsc.Logout{}, "timer logout 10s")
	s.state("closing")
	s.ready(0)
	s.got(deliverSM(2, "later"), "deliver_sm_resp 2 ESME_RX_T_APPN (0x64)")
	s.got(submitResp(2, OK, "a1"), "answered 1 accepted a1")
	s.on(smsc.Accept{Ref: 1}, "deliver_sm_resp 1", "unbind 3", "timer logout 3s")
	s.got(&UnbindResp{Header{Sequence: 3}}, "stop logout", "stop probe", "close, retry not")
	s.state("closed")
}

func TestUnbindUnanswered(t *testing.T) {
	s := bound(t, config())
	s.on(smsc.Logout{}, "timer logout 10s", "unbind 2", "timer logout 3s")
	s.due("logout", "stop probe", "close, retry not: smpp: no unbind_resp within 3s")
}

func TestUnbindFromTheSMSC(t *testing.T) {
	s := bound(t, config())
	s.got(&Unbind{Header{Sequence: 9}}, "timer logout 10s", "unbind_resp 9", "stop logout", "stop probe",
		"close, retry soon: smpp: the peer has unbound")

	s = bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	s.got(&Unbind{Header{Sequence: 9}}, "timer logout 10s")
	s.ready(0)
	s.got(submitResp(2, OK, "a1"), "answered 1 accepted a1", "unbind_resp 9", "stop logout", "stop probe",
		"close, retry soon: smpp: the peer has unbound")

	s = bound(t, config())
	s.on(smsc.Logout{}, "timer logout 10s", "unbind 2", "timer logout 3s")
	s.got(&Unbind{Header{Sequence: 9}}, "unbind_resp 9", "stop logout", "stop probe", "close, retry not") // both at once
}

func TestLostSession(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	s.got(submitResp(2, RINVBNDSTS, ""), "answered 1 bad_session  ESME_RINVBNDSTS (0x04)", "stop probe",
		"close, retry soon: smpp: the SMSC has lost the session: submit_sm answered with ESME_RINVBNDSTS (0x04)")
}

func TestUnencodablePartIsRefused(t *testing.T) {
	s := bound(t, config())
	p := part("a")
	p.To.Digits = strings.Repeat("1", 21)
	s.on(smsc.Submit{Ref: 1, Part: p}, "answered 1 permanent")
	s.on(submit(2, "b"), `submit_sm 2 "b"`, "timer response 2 10s")
}

func TestSequenceNumbersWrapAndSkipOpenOnes(t *testing.T) {
	cfg := config()
	cfg.Window = 3
	s := bound(t, cfg)
	s.m.(*machine).sequence = 0x7FFFFFFE
	s.m.(*machine).open = []ours{{sequence: 1, ref: 42, timer: smsc.Timer{Name: "response 1"}}}
	s.on(submit(1, "a"), `submit_sm 2147483647 "a"`, "timer response 2147483647 10s")
	s.on(submit(2, "b"), `submit_sm 2 "b"`, "timer response 2 10s")
}

func TestSubmitSaysWhatThePartSays(t *testing.T) {
	udh := []byte{5, 0, 3, 1, 2, 1}
	p := smsc.Part{
		From: smsc.ParseAddress("Ringway"), To: smsc.ParseAddress("+639171234567"), Coding: text.UCS2, Class: 0,
		UDH: udh, Data: []byte{0, 'H'}, Validity: 25 * time.Hour, Report: true, More: true,
	}
	s := bound(t, config())
	do := s.m.Handle(smsc.Submit{Ref: 1, Part: p}, nil)
	got, err := Decode(do[0].(smsc.Write).Octets)
	if err != nil {
		t.Fatal(err)
	}
	sm := got.(*SubmitSM)
	if sm.SourceAddrTON != 5 || sm.SourceAddrNPI != 0 || sm.SourceAddr != "Ringway" || sm.DestAddrTON != 1 || sm.DestAddrNPI != 1 ||
		sm.DestinationAddr != "639171234567" || sm.ESMClass != 0x40 || sm.DataCoding != 0x18 || sm.RegisteredDelivery != 1 ||
		sm.ValidityPeriod != "000001010000000R" || string(sm.ShortMessage) != string(udh)+"\x00H" {
		t.Errorf("%+v", sm)
	}
	cfg := config()
	cfg.DefaultValidity = time.Hour
	do = bound(t, cfg).m.Handle(submit(1, "a"), nil)
	if v := mustDecode(t, do[0].(smsc.Write).Octets).(*SubmitSM).ValidityPeriod; v != "000000010000000R" {
		t.Errorf("default validity %q", v)
	}
	if more, _ := sm.TLVs.Uint8(TagMoreMessagesToSend); more != 1 {
		t.Errorf("more_messages_to_send: %v", sm.TLVs)
	}
}
