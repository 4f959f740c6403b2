package smpp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
	"pgregory.net/rapid"
)

// sent binds as cfg says, submits a part and returns the submit_sm that goes out.
func sent(t *testing.T, cfg smsc.Config, p smsc.Part) *SubmitSM {
	t.Helper()
	do := bound(t, cfg).m.Handle(smsc.Submit{Ref: 1, Part: p}, nil)
	w, ok := do[0].(smsc.Write)
	if !ok {
		t.Fatalf("%+v", do)
	}
	return mustDecode(t, w.Octets).(*SubmitSM)
}

// notSent submits a part that this SMSC cannot take, and returns why.
func notSent(t *testing.T, cfg smsc.Config, p smsc.Part) string {
	t.Helper()
	do := bound(t, cfg).m.Handle(smsc.Submit{Ref: 1, Part: p}, nil)
	a, ok := do[0].(smsc.Answered)
	if !ok || len(do) != 1 || a.Outcome.Fate != smsc.Permanent || !strings.HasPrefix(a.Outcome.Text, "not sent: smpp: ") {
		t.Fatalf("%+v", do)
	}
	return a.Outcome.Text
}

func gsm(t testing.TB, s string) smsc.Part {
	t.Helper()
	p := part("")
	var ok bool
	if p.Data, ok = text.EncodeGSM7(s); !ok {
		t.Fatalf("%q is not in the GSM alphabet", s)
	}
	return p
}

// incoming lets the SMSC deliver p and returns what the ESME makes of it.
func incoming(t *testing.T, q smsc.Quirks, p *DeliverSM) smsc.Effect {
	t.Helper()
	for _, e := range bound(t, quirky(q)).m.Handle(smsc.Received{Packet: p}, nil) {
		switch e.(type) {
		case smsc.Delivered, smsc.Reported:
			return e
		}
	}
	t.Fatal("nothing was delivered")
	return nil
}

func TestQuirkReceiptIDs(t *testing.T) {
	for _, c := range []struct {
		form              smsc.IDForm
		response, receipt string
	}{
		{smsc.IDText, "1e6481ee", "1e6481ee"},
		{smsc.IDHexToDecimal, "1e6481ee", "509903342"}, // as jsmpp's simulator does
		{smsc.IDDecimalToHex, "509903342", "1E6481EE"},
		{smsc.IDHex, "1e6481ee", "001E6481EE"},
		{smsc.IDDecimal, "123", "0000000123"},
	} {
		s := bound(t, quirky(smsc.Quirks{ReceiptIDs: c.form}))
		s.m.Handle(submit(1, "a"), nil)
		answered := s.m.Handle(smsc.Received{Packet: submitResp(2, OK, c.response)}, nil)[0].(smsc.Answered)
		r := deliverSM(1, "id:"+c.receipt+" sub:001 dlvrd:001 submit date:2611221000 done date:2611221001 stat:DELIVRD err:000 text:")
		r.ESMClass = esmTypeReceipt
		reported := s.m.Handle(smsc.Received{Packet: r}, nil)[0].(smsc.Reported)
		if answered.Outcome.ID == "" || answered.Outcome.ID != reported.Receipt.ID {
			t.Errorf("form %d: %q in the response, %q in the receipt", c.form, answered.Outcome.ID, reported.Receipt.ID)
		}
	}
}

func TestQuirkAlphabet(t *testing.T) {
	latin1, ascii := quirky(smsc.Quirks{Alphabet: smsc.AlphabetLatin1}), quirky(smsc.Quirks{Alphabet: smsc.AlphabetASCII})
	for _, c := range []struct {
		cfg  smsc.Config
		text string
		dc   uint8
		hex  string
	}{
		{config(), "a@é", 0, "610005"},
		{latin1, "a@é{", 0, "6140e97b"},
		{ascii, "a@{", 0, "61407b"},
		{ascii, "é", 8, "00e9"},  // not in ASCII: UCS2
		{latin1, "€", 8, "20ac"}, // not in Latin-1
	} {
		p := sent(t, c.cfg, gsm(t, c.text))
		if got := hex.EncodeToString(p.ShortMessage); got != c.hex || p.DataCoding != c.dc {
			t.Errorf("%q: data_coding %d, %s, not %d, %s", c.text, p.DataCoding, got, c.dc, c.hex)
		}
	}
	if why := notSent(t, latin1, gsm(t, strings.Repeat("€", 71))); !strings.Contains(why, "142 octets") || !strings.Contains(why, "140") {
		t.Errorf("%q", why)
	}
	p := part("")
	p.Coding, p.Data = text.Latin1, []byte("\xe9")
	if got := sent(t, latin1, p); got.DataCoding != 0 || string(got.ShortMessage) != "\xe9" {
		t.Errorf("%+v", got)
	}
	if got := sent(t, ascii, p); got.DataCoding != 3 || string(got.ShortMessage) != "\xe9" {
		t.Errorf("%+v", got)
	}
	p = gsm(t, "@")
	p.Class = 0 // a GSM data_coding says which alphabet it is
	if got := sent(t, latin1, p); got.DataCoding != 0x10 || string(got.ShortMessage) != "\x00" {
		t.Errorf("%+v", got)
	}

	d := incoming(t, latin1.Quirks, deliverSM(1, "a@\xe9")).(smsc.Delivered).Deliver
	if got := text.Decode(d.Coding, d.Data); got != "a@é" {
		t.Errorf("%q", got)
	}
}

func TestQuirkPacked(t *testing.T) {
	packed := smsc.Quirks{Packed: true}
	// The vector is Net::SMPP's and jcimd's.
	if got := hex.EncodeToString(sent(t, quirky(packed), gsm(t, "Hello world")).ShortMessage); got != "c8329bfd06dddf723619" {
		t.Error(got)
	}
	p := gsm(t, "tail")
	p.UDH = []byte{5, 0, 3, 42, 2, 2}
	m := sent(t, quirky(packed), p)
	if got := hex.EncodeToString(m.ShortMessage); m.ESMClass != ESMClassUDHI || got != "0500032a0202"+"e8e1341b" { // one fill bit, then 74 61 69 6c
		t.Error(got)
	}
	full := gsm(t, strings.Repeat("x", 160))
	if got := sent(t, quirky(packed), full); len(got.ShortMessage) != 140 {
		t.Errorf("%d octets", len(got.ShortMessage))
	}
	ucs2 := part("\x00h")
	ucs2.Coding = text.UCS2
	if got := sent(t, quirky(packed), ucs2); string(got.ShortMessage) != "\x00h" {
		t.Errorf("%x", got.ShortMessage)
	}
	rapid.Check(t, func(r *rapid.T) {
		septets := rapid.SliceOfN(rapid.ByteRange(1, 127), 0, 152).Draw(r, "septets")
		udh := []byte(nil)
		if n := rapid.IntRange(0, 8).Draw(r, "header"); n > 0 {
			udh = append([]byte{byte(n - 1)}, make([]byte, n-1)...)
		}
		all := pack(udh, septets)
		if got := unpack(all, len(udh), false); !bytes.HasPrefix(all, udh) || !bytes.Equal(got, septets) {
			r.Fatalf("%x becomes %x", septets, got)
		}
	})
	d := deliverSM(1, "\xc8\x32\x9b\xfd\x06\xdd\xdf\x72\x36\x19")
	if got := incoming(t, packed, d).(smsc.Delivered).Deliver; text.DecodeGSM7(got.Data) != "Hello world" {
		t.Errorf("%+v", got)
	}
	d = deliverSM(1, "\x05\x00\x03\x2a\x02\x02\xe8\xe1\x34\x1b")
	d.ESMClass = ESMClassUDHI
	if got := incoming(t, packed, d).(smsc.Delivered).Deliver; text.DecodeGSM7(got.Data) != "tail" || len(got.UDH) != 6 {
		t.Errorf("%+v", got)
	}
	// A septet 00 in the last seven bits.
	for want, q := range map[string]smsc.Quirks{"1234567": packed, "1234567@": {Packed: true, TrailingAt: true}} {
		d = deliverSM(1, "\x31\xd9\x8c\x56\xb3\xdd\x00")
		if got := incoming(t, q, d).(smsc.Delivered).Deliver; text.DecodeGSM7(got.Data) != want {
			t.Errorf("%+v: %q, want %q", q, text.DecodeGSM7(got.Data), want)
		}
	}
	r := deliverSM(1, "id:a1 sub:001 dlvrd:001 submit date:2611221000 done date:2611221001 stat:DELIVRD err:000 text:")
	r.ESMClass = esmTypeReceipt // not packed, as most
	if got := incoming(t, packed, r).(smsc.Reported).Receipt; got.ID != "a1" || got.State != smsc.ReceiptDelivered {
		t.Errorf("%+v", got)
	}
}

func TestQuirkLongTexts(t *testing.T) {
	p := gsm(t, "second")
	p.UDH, p.More = []byte{6, 8, 4, 0x12, 0x34, 3, 2}, true
	udh := sent(t, config(), p)
	if udh.ESMClass != ESMClassUDHI || !bytes.HasPrefix(udh.ShortMessage, p.UDH) || len(udh.TLVs) != 1 {
		t.Errorf("%+v", udh)
	}
	sar := sent(t, quirky(smsc.Quirks{LongTexts: smsc.LongSAR}), p)
	ref, _ := sar.TLVs.Uint16(TagSarMsgRefNum)
	total, _ := sar.TLVs.Uint8(TagSarTotalSegments)
	number, _ := sar.TLVs.Uint8(TagSarSegmentSeqnum)
	if sar.ESMClass != 0 || string(sar.ShortMessage) != "second" || ref != 0x1234 || total != 3 || number != 2 || len(sar.TLVs) != 4 {
		t.Errorf("%+v", sar)
	}
	if got, bad := sar.part(&smsc.Quirks{}); bad != OK || !reflect.DeepEqual(got, p) { // the other side understands the same
		t.Errorf("%v %+v", bad, got)
	}
	p.UDH = []byte{5, 0, 3, 7, 2, 1}
	sar = sent(t, quirky(smsc.Quirks{LongTexts: smsc.LongSAR}), p)
	if ref, ok := sar.TLVs.Uint16(TagSarMsgRefNum); !ok || ref != 7 || sar.ESMClass != 0 {
		t.Errorf("%+v", sar)
	}
	p.UDH = []byte{9, 0, 3, 7, 2, 1, 4, 2, 1, 2} // ports as well: never both ways at once
	sar = sent(t, quirky(smsc.Quirks{LongTexts: smsc.LongSAR}), p)
	if sar.ESMClass != ESMClassUDHI || len(sar.TLVs) != 1 {
		t.Errorf("%+v", sar)
	}

	payload := quirky(smsc.Quirks{LongTexts: smsc.LongPayload})
	for _, n := range []int{160, 161, 250, 1000} {
		m := sent(t, payload, gsm(t, strings.Repeat("x", n)))
		b, has := m.TLVs.Get(TagMessagePayload)
		if has != (n > 160) || len(b)+len(m.ShortMessage) != n {
			t.Errorf("%d characters: %d in short_message, %d in message_payload", n, len(m.ShortMessage), len(b))
		}
	}
	whole := part(strings.Repeat("\x04\x1f", 71))
	whole.Coding = text.UCS2
	if m := sent(t, payload, whole); len(m.ShortMessage) != 0 || m.DataCoding != 8 {
		t.Errorf("%+v", m)
	}
}

func TestQuirkNumbers(t *testing.T) {
	for _, c := range []struct {
		numbers smsc.Numbers
		want    string
	}{{smsc.NumbersTON, "1 1 639171234567"}, {smsc.NumbersPlus, "1 1 +639171234567"}, {smsc.NumbersPlain, "0 1 639171234567"}} {
		q := smsc.Quirks{Numbers: c.numbers}
		m := sent(t, quirky(q), part("a"))
		if got := fmt.Sprint(m.DestAddrTON, m.DestAddrNPI, " ", m.DestinationAddr); got != c.want {
			t.Errorf("%v: %s, not %s", c.numbers, got, c.want)
		}
		if m.SourceAddrTON != 0 || m.SourceAddr != "12345" { // a short code stays as it is
			t.Errorf("%+v", m)
		}
		d := (*DeliverSM)(m) // and back
		d.SourceAddrTON, d.SourceAddrNPI, d.SourceAddr = m.DestAddrTON, m.DestAddrNPI, m.DestinationAddr
		if got := incoming(t, q, d).(smsc.Delivered).Deliver.From; got.String() != "+639171234567" {
			t.Errorf("%v: %v", c.numbers, got)
		}
	}
	for digits, want := range map[string]string{
		"12345": "12345", "09171234567": "09171234567", "639171234567": "+639171234567", "1234567890123456": "1234567890123456",
	} {
		if got := readAddress(smsc.NumbersPlain, 0, 0, digits).String(); got != want {
			t.Errorf("%s is %s, not %s", digits, got, want)
		}
	}
	if got := readAddress(smsc.NumbersTON, 0, 1, "639171234567").String(); got != "639171234567" { // never guessed
		t.Error(got)
	}
}

func TestQuirkNoTLVs(t *testing.T) {
	q := smsc.Quirks{NoTLVs: true}
	p := part("a")
	p.More, p.UDH = true, []byte{5, 0, 3, 7, 2, 1}
	if m := sent(t, quirky(q), p); len(m.TLVs) != 0 || m.ESMClass != ESMClassUDHI {
		t.Errorf("%+v", m)
	}
	if why := notSent(t, quirky(q), part(strings.Repeat("x", 255))); !strings.Contains(why, "255 octets") {
		t.Errorf("%q", why)
	}
	for mode, want := range map[string]uint8{"transmitter": 0x33, "receiver": 0x33, "transceiver": 0x34} { // v3.3 knew no transceiver
		cfg := quirky(q)
		cfg.Mode = mode
		do := NewMachine(cfg).Handle(smsc.Connected{}, nil)
		var b BindTransmitter
		switch p := mustDecode(t, do[0].(smsc.Write).Octets).(type) {
		case *BindTransmitter:
			b = *p
		case *BindReceiver:
			b = BindTransmitter(*p)
		case *BindTransceiver:
			b = BindTransmitter(*p)
		}
		if b.InterfaceVersion != want {
			t.Errorf("%s: interface_version %#x, not %#x", mode, b.InterfaceVersion, want)
		}
	}

	// An SMSC that says it is of v3.3 gets none either.
	s := tell(t, NewMachine(quirky(smsc.Quirks{LongTexts: smsc.LongSAR})))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.got(&BindTransceiverResp{Header: Header{Sequence: 1}, TLVs: TLVs{{TagSCInterfaceVersion, []byte{0x33}}}}, "stop login", "timer probe 15s", "bound")
	do := s.m.Handle(smsc.Submit{Ref: 1, Part: p}, nil)
	if m := mustDecode(t, do[0].(smsc.Write).Octets).(*SubmitSM); len(m.TLVs) != 0 || m.ESMClass != ESMClassUDHI {
		t.Errorf("%+v", m)
	}
}

func TestQuirkNoLogoutAnswer(t *testing.T) {
	s := bound(t, quirky(smsc.Quirks{NoLogoutAnswer: true}))
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	s.on(smsc.Logout{}, "timer logout 10s")
	s.got(submitResp(2, OK, "a1"), "answered 1 accepted a1", "unbind 3", "stop logout", "stop probe", "close, retry not")
	s.state("closed")
}

func TestQuirkServiceType(t *testing.T) {
	if m := sent(t, quirky(smsc.Quirks{ServiceType: "CMT"}), part("a")); m.ServiceType != "CMT" {
		t.Errorf("%+v", m)
	}
	if m := sent(t, config(), part("a")); m.ServiceType != "" {
		t.Errorf("%+v", m)
	}
}

func TestQuirkFates(t *testing.T) {
	s := bound(t, quirky(smsc.Quirks{Fates: map[uint32]smsc.Fate{
		0x401: smsc.Throttled, uint32(RINVDSTADR): smsc.Temporary, uint32(RSYSERR): smsc.BadSession,
	}}))
	for i, c := range []struct {
		s    Status
		want string
	}{
		{0x401, "throttled  status (0x401)"},
		{RINVDSTADR, "temporary  ESME_RINVDSTADR (0x0B)"},
		{RTHROTTLED, "throttled  ESME_RTHROTTLED (0x58)"}, // as ever
	} {
		q := uint32(i + 2)
		s.on(submit(7, "a"), fmt.Sprintf(`submit_sm %d "a"`, q), fmt.Sprintf("timer response %d 10s", q))
		s.got(submitResp(q, c.s, ""), "answered 7 "+c.want)
	}
	s.on(submit(8, "a"), `submit_sm 5 "a"`, "timer response 5 10s")
	s.got(submitResp(5, RSYSERR, ""), "answered 8 bad_session  ESME_RSYSERR (0x08)", "stop probe",
		"close, retry soon: smpp: the SMSC has lost the session: submit_sm answered with ESME_RSYSERR (0x08)")
}

func TestCheck(t *testing.T) {
	if err := Check(config()); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*smsc.Config){
		"password has 9 characters":      func(c *smsc.Config) { c.Password = "123456789" },
		"user (system_id) has 16":        func(c *smsc.Config) { c.User = strings.Repeat("u", 16) },
		"system type has 13":             func(c *smsc.Config) { c.SystemType = strings.Repeat("t", 13) },
		`service type "SIXSIX" has 6`:    func(c *smsc.Config) { c.Quirks.ServiceType = "SIXSIX" },
		"only GSM septets can be packed": func(c *smsc.Config) { c.Quirks.Packed, c.Quirks.Alphabet = true, smsc.AlphabetASCII },
		"need optional parameters":       func(c *smsc.Config) { c.Quirks.NoTLVs, c.Quirks.LongTexts = true, smsc.LongSAR },
		"status 0 is success":            func(c *smsc.Config) { c.Quirks.Fates = map[uint32]smsc.Fate{0: smsc.Permanent} },
		"cannot mean unknown":            func(c *smsc.Config) { c.Quirks.Fates = map[uint32]smsc.Fate{0x58: smsc.Unknown} },
		"password contains the octet":    func(c *smsc.Config) { c.Password = "a\x00b" },
		"use transceiver, transmitter":   func(c *smsc.Config) { c.Mode = "both" },
	} {
		cfg := config()
		change(&cfg)
		err := Check(cfg)
		if err == nil || !strings.HasPrefix(err.Error(), "smpp: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
			continue
		}
		s := tell(t, NewMachine(cfg)) // and a session says the same, once
		s.on(smsc.Connected{}, "close, retry slow: "+err.Error())
		s.state("closed")
	}
}

// The default alphabet under data_coding 1, both ways; 0 is still read.
func TestQuirkIA5(t *testing.T) {
	cfg := quirky(smsc.Quirks{IA5: true})
	p := gsm(t, "a@b")
	if m := sent(t, cfg, p); m.DataCoding != 1 || string(m.ShortMessage) != "a\x00b" {
		t.Errorf("%+v", m)
	}
	if p.Class = 0; sent(t, cfg, p).DataCoding != 0x10 {
		t.Error("a class has a data_coding of its own")
	}
	for _, dataCoding := range []uint8{0, 1} {
		d := deliverSM(1, "a\x00b")
		d.DataCoding = dataCoding
		if got := incoming(t, cfg.Quirks, d).(smsc.Delivered).Deliver; got.Coding != text.GSM7 || text.DecodeGSM7(got.Data) != "a@b" {
			t.Errorf("data_coding %d: %+v", dataCoding, got)
		}
	}
}

// A validity as a date, in the SMSC's zone, rounded up; relative where nobody says
// what time it is.
func TestQuirkAbsoluteTimes(t *testing.T) {
	cfg := quirky(smsc.Quirks{AbsoluteTimes: true})
	p := part("a")
	p.Validity = 90 * time.Minute
	manila := time.FixedZone("", 8*3600)
	for now, want := range map[time.Time]string{
		{}: "000000013000000R",
		time.Date(2026, 11, 22, 23, 0, 0, 1, manila):   "261123003001032+",
		time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC): "261122163000000+",
	} {
		do := bound(t, cfg).m.Handle(smsc.Submit{Ref: 1, Part: p, Now: now}, nil)
		if got := mustDecode(t, do[0].(smsc.Write).Octets).(*SubmitSM).ValidityPeriod; got != want {
			t.Errorf("at %v: %s, not %s", now, got, want)
		}
	}
	do := bound(t, config()).m.Handle(smsc.Submit{Ref: 1, Part: p, Now: time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)}, nil)
	if got := mustDecode(t, do[0].(smsc.Write).Octets).(*SubmitSM).ValidityPeriod; got != "000000013000000R" {
		t.Errorf("without the quirk: %s", got)
	}
}
