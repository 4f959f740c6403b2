package cimd2

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
	"pgregory.net/rapid"
)

type vector struct {
	ID, Hex, Text string
	NotAPacket    bool `json:"not_a_packet"`
	Operation     int
	Number        int `json:"packet_number"`
	Parameters    [][2]string
}

func (v vector) octets(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func vectors(t testing.TB, file string) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Count   int
		Vectors []vector
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count != len(all.Vectors) || all.Count == 0 {
		t.Fatalf("%s: %d vectors, %d announced", file, len(all.Vectors), all.Count)
	}
	return all.Vectors
}

// read returns all that Read makes of octets.
func read(octets []byte) (packets []*Packet, faults []error) {
	r := bufio.NewReader(bytes.NewReader(octets))
	for {
		p, err := Read(r)
		var bad *smsc.SyntaxError
		switch {
		case err == nil:
			packets = append(packets, p.(*Packet))
		case errors.As(err, &bad) && !bad.Fatal:
			faults = append(faults, err)
		case errors.Is(err, io.EOF):
			return packets, faults
		default:
			return packets, append(faults, err)
		}
	}
}

// What other implementations wrote decodes to the fields they meant, and comes
// out of Append the same.
func TestVectors(t *testing.T) {
	for _, file := range []string{"cimd2_kannel.json", "cimd2_jcimd.json", "cimd2_misp.json"} {
		for _, v := range vectors(t, file) {
			octets := v.octets(t)
			packets, faults := read(octets)
			switch {
			case v.NotAPacket:
				if len(packets)+len(faults) > 0 {
					t.Errorf("%s: %v %v", v.ID, packets, faults)
				}
				continue
			case v.ID == "kannel_bad_checksum_20":
				var bad *smsc.SyntaxError
				if len(packets) != 0 || len(faults) != 1 || !errors.As(faults[0], &bad) {
					t.Errorf("%s: %v %v", v.ID, packets, faults)
					continue
				}
				if c, ok := bad.Packet.(BadChecksum); !ok || c.Header.Number != 18 || c.Header.Operation != Deliver {
					t.Errorf("%s: %+v", v.ID, bad)
				}
				continue
			case len(packets) != 1 || len(faults) != 0:
				t.Errorf("%s: %v %v", v.ID, packets, faults)
				continue
			}
			p := packets[0]
			if int(p.Operation) != v.Operation || int(p.Number) != v.Number || len(p.Params) != len(v.Parameters) {
				t.Errorf("%s: %v, want %02d:%03d %v", v.ID, p, v.Operation, v.Number, v.Parameters)
				continue
			}
			for i, q := range p.Params {
				if want := v.Parameters[i]; q.Code.String() != want[0] || text.DecodeLatin1([]byte(q.Value)) != want[1] {
					t.Errorf("%s: parameter %v:%q, want %v", v.ID, q.Code, q.Value, want)
				}
			}
			again, err := p.Append(nil)
			if want := octets[bytes.IndexByte(octets, stx):]; err != nil || !bytes.Equal(again, want) {
				t.Errorf("%s: written back as %q, %v, want %q", v.ID, again, err, want)
			}
		}
	}
}

// Texts that Kannel wrote are read, and written back the same but for the
// quotation mark, which needs no escape.
func TestKannelTexts(t *testing.T) {
	n := 0
	for _, v := range vectors(t, "cimd2_kannel.json") {
		if v.NotAPacket || v.Operation != int(Submit) {
			continue
		}
		packets, _ := read(v.octets(t))
		if _, err := ParseSubmit(packets[0]); err != nil {
			t.Errorf("%s: %v", v.ID, err)
		}
		value, ok := packets[0].Get(UserData)
		if !ok {
			continue
		}
		n++
		if got, want := EncodeText(DecodeText(value, smsc.AlphabetGSM), smsc.AlphabetGSM), strings.ReplaceAll(value, "_qq", `"`); got != want {
			t.Errorf("%s: %q, want %q", v.ID, got, want)
		}
	}
	if n < 30 {
		t.Errorf("only %d texts", n)
	}
}

// What the server makes of each malformed input after a login with number 001.
func TestMalformed(t *testing.T) {
	want := map[string]string{
		"submit_before_login":  "53:001 900:1",
		"bad_password":         "login user1",
		"checksum_wrong":       "99:003",
		"checksum_not_hex":     "99:003",
		"checksum_one_digit":   "99:003",
		"checksum_lowercase":   "90:003",
		"no_checksum":          "submit",
		"wrong_parity":         "99:003",
		"out_of_sequence":      "99:003",
		"duplicate_number":     "submit", // once
		"unknown_operation":    "98:003 900:1",
		"response_unrequested": "",
		"no_final_tab":         "99:003",
		"param_no_colon":       "53:003 900:2",
		"unknown_param":        "submit",
		"nul_inside":           "53:003 900:2",
		"stx_inside":           "submit",
		"noise_between":        "90:003",
		"header_short":         "",
		"number_two_digits":    "",
		"empty_packet":         "99:003",
		"huge_no_etx":          "",
		"second_login":         "51:003 900:1",
		"submit_no_dest":       "53:003 900:300",
		"submit_both_bodies":   "53:003 900:303",
		"submit_both_vp":       "53:003 900:305",
		"odd_hex":              "53:003 900:302",
	}
	for _, v := range vectors(t, "cimd2_malformed.json") {
		s := NewServer(smsc.ServerConfig{})
		s.Handle(smsc.Connected{}, nil)
		if v.ID != "submit_before_login" && v.ID != "bad_password" {
			s.Handle(smsc.Received{Packet: &Packet{Operation: Login, Number: 1, Params: []Param{{UserIdentity, "user1"}, {Password, "pass1"}}}}, nil)
			s.Handle(smsc.LoginResult{OK: true}, nil)
		}
		var do []smsc.Effect
		r := bufio.NewReader(bytes.NewReader(v.octets(t)))
		for {
			p, err := Read(r)
			var bad *smsc.SyntaxError
			if errors.As(err, &bad) {
				do = s.Handle(smsc.Garbled{Err: err}, do)
				continue
			}
			if err != nil {
				break
			}
			do = s.Handle(smsc.Received{Packet: p}, do)
		}
		var got []string
		for _, e := range do {
			switch e := e.(type) {
			case smsc.Write:
				packets, _ := read(e.Octets)
				line := string(e.Octets[1:7])
				if code, ok := packets[0].Get(ErrorCode); ok {
					line += " 900:" + code
				}
				got = append(got, line)
			case smsc.SubmitReceived:
				got = append(got, "submit")
			case smsc.LoginReceived:
				got = append(got, "login "+e.User)
			case smsc.Close:
				got = append(got, "close")
			}
		}
		if w, ok := want[v.ID]; !ok || strings.Join(got, ", ") != w {
			t.Errorf("%s: %q, want %q", v.ID, got, w)
		}
	}
}

func TestReadBounds(t *testing.T) {
	noise := bytes.Repeat([]byte{'x'}, maxPacket+1)
	for name, octets := range map[string][]byte{
		"noise without a packet": noise,
		"packet without an end":  append([]byte{stx}, noise...),
	} {
		var bad *smsc.SyntaxError
		if _, err := Read(bufio.NewReader(bytes.NewReader(octets))); !errors.As(err, &bad) || !bad.Fatal {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(bufio.NewReader(strings.NewReader("\x0240:003\t"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", err)
	}
}

func TestAppendRefusesReservedOctets(t *testing.T) {
	for _, value := range []string{"a\tb", "a\x00", "\x02", "\x03"} {
		if out, err := (&Packet{Operation: Login, Params: []Param{{Password, value}}}).Append([]byte("x")); err == nil || string(out) != "x" {
			t.Errorf("%q: %q, %v", value, out, err)
		}
	}
}

func TestDecodeText(t *testing.T) {
	for value, want := range map[string]string{
		"_Oa@_L-$":            "@@£$",
		"a_--b":               "a_b",
		"_XXe_XX_!!_XX<_XX\n": "€|[\f",
		"[\\]^{|}~`":          "ÄÖÅÜäöåü¿",
		"\xe4\xf6\xe5 \xc5":   "äöå Å",
		"\xe7":                "Ç",
		"\xea":                "?", // ê
		"_zz":                 "_zz",
		"_":                   "_",
		"a_-":                 "a_-",
		"l1\r\nl2":            "l1\r\nl2",
		"_oa":                 "_oa", // case counts
	} {
		if got := text.DecodeGSM7(DecodeText(value, smsc.AlphabetGSM)); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestEverySeptetComesBack(t *testing.T) {
	for s := range byte(128) {
		value := EncodeText([]byte{0x11, s, 'a'}, smsc.AlphabetGSM)
		if strings.ContainsAny(value, "\x00\x02\x03\x09") {
			t.Errorf("%02X is written as %q", s, value)
		}
		if got := DecodeText(value, smsc.AlphabetGSM); len(got) != 3 || got[1] != s {
			t.Errorf("%02X comes back as %X from %q", s, got, value)
		}
	}
}

func TestValidity(t *testing.T) {
	for code, want := range map[int]time.Duration{
		0: 5 * time.Minute, 11: time.Hour, 143: 12 * time.Hour, 144: 12*time.Hour + 30*time.Minute, 167: day,
		168: 2 * day, 173: 7 * day, 196: 30 * day, 197: 35 * day, 255: 63 * week, -1: 0, 256: 0,
	} {
		if got := Validity(code); got != want {
			t.Errorf("%d: %v, want %v", code, got, want)
		}
	}
	last := -1
	for code := range 256 {
		d := Validity(code)
		if got := ValidityCode(d); got != code {
			t.Errorf("%v: %d, want %d", d, got, code)
		}
		if got := ValidityCode(d - time.Second); got != code {
			t.Errorf("just below %v: %d, want it rounded up to %d", d, got, code)
		}
		if code <= last {
			t.Errorf("%d", code)
		}
	}
	if got := ValidityCode(100 * week); got != 255 {
		t.Errorf("100 weeks: %d", got)
	}
}

func TestDataCodingScheme(t *testing.T) {
	for dcs, want := range map[int]struct {
		c     text.Coding
		class int8
	}{
		0: {text.GSM7, -1}, 4: {text.Binary, -1}, 8: {text.UCS2, -1}, 16: {text.GSM7, 0}, 17: {text.GSM7, 1}, 24: {text.UCS2, 0},
		0x20: {text.Binary, -1}, 0x28: {text.Binary, -1}, 0x31: {text.Binary, 1}, 0x3A: {text.Binary, 2}, 0x60: {text.Binary, -1}, 0x73: {text.Binary, 3}, // compressed
		0x40: {text.GSM7, -1}, 0x52: {text.GSM7, 2}, 0x0C: {text.GSM7, -1}, 0xB0: {text.GSM7, -1},
		0x48: {text.UCS2, -1}, 0x80: {text.GSM7, -1}, 216: {text.GSM7, -1}, 0xE8: {text.UCS2, -1}, 241: {text.GSM7, 1}, 244: {text.Binary, 0}, 245: {text.Binary, 1},
	} {
		if c, class := ofDCS(dcs); c != want.c || class != want.class {
			t.Errorf("%d: %v %d, want %v", dcs, c, class, want)
		}
	}
	// Octets of a compressed text are not taken for septets.
	if d := ParseDeliver(packet(t, "20:000·021:1·023:2·060:261122201500·030:32·034:31D98C"), smsc.AlphabetGSM); d.Coding != text.Binary || string(d.Data) != "\x31\xd9\x8c" {
		t.Errorf("compressed: %v %X", d.Coding, d.Data)
	}
	for _, c := range []text.Coding{text.GSM7, text.UCS2, text.Binary} {
		for class := int8(-1); class < 4; class++ {
			if c2, class2 := ofDCS(dcsOf(c, class)); c2 != c || class2 != class {
				t.Errorf("%v %d comes back as %v %d", c, class, c2, class2)
			}
		}
	}
}

var to, from = smsc.ParseAddress("+358407654321"), smsc.ParseAddress("12345")

func hello(data string) smsc.Part {
	return smsc.Part{From: from, To: to, Class: -1, Data: []byte(data)}
}

func TestNewSubmitRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*smsc.Part)
		code   Error
	}{
		"no destination":     {func(p *smsc.Part) { p.To = smsc.Address{} }, 300},
		"a name":             {func(p *smsc.Part) { p.To = smsc.ParseAddress("bob") }, 300},
		"21 digits":          {func(p *smsc.Part) { p.To.Digits = strings.Repeat("1", 21) }, 300},
		"long name":          {func(p *smsc.Part) { p.From = smsc.ParseAddress("twelve chars") }, 322},
		"name out of ASCII":  {func(p *smsc.Part) { p.From = smsc.ParseAddress("Müller") }, 322},
		"name with a TAB":    {func(p *smsc.Part) { p.From = smsc.ParseAddress("a\tb") }, 322},
		"bad number":         {func(p *smsc.Part) { p.From = smsc.Address{TON: 1, Digits: "x"} }, 306},
		"161 septets":        {func(p *smsc.Part) { p.Data = make([]byte, 161) }, 302},
		"141 octets":         {func(p *smsc.Part) { p.Coding, p.Data = text.Binary, make([]byte, 141) }, 302},
		"text beside header": {func(p *smsc.Part) { p.UDH, p.Data = make([]byte, 6), make([]byte, 154) }, 302},
	} {
		part := hello("x")
		c.change(&part)
		_, err := NewSubmit(part, Options{})
		if r := (*Rejected)(nil); !errors.As(err, &r) || r.Code != c.code {
			t.Errorf("%s: %v, want error %d", name, err, c.code)
		}
	}
}

func TestLatin1IsRecoded(t *testing.T) {
	for data, want := range map[string]string{"\xe4": `_a"`, "\xea": "00EA"} {
		part := hello(data)
		part.Coding = text.Latin1
		p, err := NewSubmit(part, Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := p.Get(UserData)
		b, _ := p.Get(UserDataBinary)
		if a+b != want {
			t.Errorf("%q: %q %q, want %q", data, a, b, want)
		}
	}
}

func TestParseDeliverTakesAnything(t *testing.T) {
	p := &Packet{Operation: Deliver, Params: []Param{
		{DestinationAddress, "12345"},
		{OriginatingAddress, "+358407654321"},
		{ServiceCentreTime, "261122201500"},
		{DataCodingScheme, "x"},
		{UserDataHeader, "0500"},
		{UserDataBinary, "ABC"},
	}}
	d := ParseDeliver(p, smsc.AlphabetGSM)
	if d.Coding != text.Binary || string(d.Data) != "ABC" || d.UDH != nil || d.From != to || d.To != from || d.At != "261122201500" {
		t.Errorf("%+v", d)
	}
	key := d.Key
	p.Number = 2
	if ParseDeliver(p, smsc.AlphabetGSM).Key != key {
		t.Error("a redelivery under another number has another key")
	}
	p.Params[5].Value = "ABD"
	if ParseDeliver(p, smsc.AlphabetGSM).Key == key {
		t.Error("another text has the same key")
	}
}

// 034 with the default alphabet holds packed septets.
func TestPackedBinary(t *testing.T) {
	p := &Packet{Operation: Deliver, Params: []Param{{UserDataBinary, "e8329bfd4697d9ec37"}}}
	if d := ParseDeliver(p, smsc.AlphabetGSM); text.Decode(d.Coding, d.Data) != "hellohello" {
		t.Errorf("%+v", d)
	}
}

// What a deliver or a status report cannot say is not made: a receiver would have to
// refuse it.
func TestDeliverFollowsTheRules(t *testing.T) {
	right := smsc.Deliver{Part: hello("x"), At: "261122201500"}
	if p, err := NewDeliver(right); err != nil || p.Check() != nil {
		t.Errorf("%v, %v", p, err)
	}
	for name, c := range map[string]struct {
		change func(*smsc.Deliver)
		code   Error
	}{
		"a name as sender":     {func(d *smsc.Deliver) { d.From = smsc.ParseAddress("Name") }, 306},
		"a name of digits":     {func(d *smsc.Deliver) { d.From = smsc.Address{TON: smsc.TONAlphanumeric, Digits: "12345"} }, 306},
		"no sender":            {func(d *smsc.Deliver) { d.From = smsc.Address{} }, 306},
		"sender of 23 digits":  {func(d *smsc.Deliver) { d.From = smsc.ParseAddress(strings.Repeat("1", 23)) }, 306},
		"no destination":       {func(d *smsc.Deliver) { d.To = smsc.Address{} }, 300},
		"a name as addressee":  {func(d *smsc.Deliver) { d.To = smsc.ParseAddress("Name") }, 300},
		"no time":              {func(d *smsc.Deliver) { d.At = "" }, 8},
		"more than 140 octets": {func(d *smsc.Deliver) { d.Data = make([]byte, 161) }, 302},
	} {
		d := right
		c.change(&d)
		var e *Rejected
		if p, err := NewDeliver(d); p != nil || !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s: %v, %v, want error %d", name, p, err, c.code)
		}
	}
	at := time.Date(2026, 11, 22, 20, 15, 11, 0, time.UTC)
	r := smsc.Receipt{ID: "358407654321/261122201500"}
	if p, err := NewStatusReport(r, to, at); err != nil || p.Check() != nil {
		t.Errorf("%v, %v", p, err)
	}
	for name, report := range map[string]func() (*Packet, error){
		"no discharge time": func() (*Packet, error) { return NewStatusReport(r, to, time.Time{}) },
		"no timestamp":      func() (*Packet, error) { return NewStatusReport(smsc.Receipt{ID: "1/"}, to, at) },
		"no address":        func() (*Packet, error) { return NewStatusReport(r, smsc.Address{}, at) },
	} {
		var e *Rejected
		if p, err := report(); p != nil || !errors.As(err, &e) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

func TestStatusReport(t *testing.T) {
	for status, want := range []smsc.ReceiptState{
		smsc.ReceiptUnknown, smsc.ReceiptEnroute, smsc.ReceiptExpired, smsc.ReceiptUndeliverable, smsc.ReceiptDelivered,
		smsc.ReceiptEnroute, smsc.ReceiptUndeliverable, smsc.ReceiptDeleted, smsc.ReceiptDeleted, smsc.ReceiptDeleted, smsc.ReceiptUnknown,
	} {
		p := &Packet{Operation: DeliverStatusReport}
		p.Add(DestinationAddress, "+358")
		p.Add(ServiceCentreTime, "261122201500")
		p.AddInt(StatusCode, status)
		p.AddInt(StatusError, 29)
		if r := ParseStatusReport(p); r.State != want || r.ID != "358/261122201500" || r.Code != "29 (absent subscriber)" {
			t.Errorf("%d: %+v, want %v", status, r, want)
		}
	}
	r := smsc.Receipt{ID: "358407654321/261122201500", State: smsc.ReceiptUndeliverable, Code: "1 (unknown subscriber)"}
	p, err := NewStatusReport(r, to, time.Date(2026, 11, 22, 20, 15, 11, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	got := ParseStatusReport(p)
	if got.ID != r.ID || got.State != r.State || got.Code != r.Code || !strings.HasSuffix(got.Key, "/3/1/261122201511") {
		t.Errorf("%+v comes back as %+v", r, got)
	}
}

// Every network error that the sources name, and what it means; others are numbers.
func TestStatusErrors(t *testing.T) {
	names := map[int]string{
		1: "unknown subscriber", 9: "illegal subscriber", 11: "teleservice not provisioned", 13: "call barred", 15: "CUG reject",
		19: "no SMS support in MS", 20: "error in MS", 21: "facility not supported", 22: "memory capacity exceeded",
		29: "absent subscriber", 30: "MS busy for MT SMS", 36: "network or protocol failure", 44: "illegal equipment",
		60: "no paging response", 61: "GMSC congestion", 63: "HLR timeout", 64: "MSC or SGSN timeout", 70: "SMRSE or TCP error",
		72: "MT congestion", 75: "GPRS suspended", 80: "no paging response via MSC", 81: "IMSI detached", 82: "roaming restriction",
		83: "deregistered in HLR for GSM", 84: "purged for GSM", 85: "no paging response via SGSN", 86: "GPRS detached",
		87: "deregistered in HLR for GPRS", 88: "purged for GPRS", 89: "unidentified subscriber via MSC",
		90: "unidentified subscriber via SGSN", 112: "originator lacks prepaid credit", 113: "destination lacks prepaid credit",
		114: "error in prepaid system",
	}
	at := time.Date(2026, 11, 22, 20, 15, 11, 0, time.UTC)
	for code := range 1000 {
		want := strconv.Itoa(code)
		if name, ok := names[code]; ok {
			want += " (" + name + ")"
		}
		if code == 0 {
			want = "" // none
		}
		r := ParseStatusReport(packet(t, fmt.Sprintf("23:000·021:1·060:261122201500·061:3·062:%03d·063:261122201511", code)))
		if r.Code != want {
			t.Errorf("062:%03d: %q, want %q", code, r.Code, want)
		}
		p, err := NewStatusReport(r, to, at)
		if err != nil {
			t.Fatal(err)
		}
		if value, _ := p.Get(StatusError); value != strconv.Itoa(code) {
			t.Errorf("%q goes out as 062:%s, want %d", r.Code, value, code)
		}
	}
}

func drawPart(t *rapid.T) smsc.Part {
	p := smsc.Part{
		To:       smsc.ParseAddress(rapid.StringMatching(`\+?[0-9]{1,19}`).Draw(t, "to")),
		From:     smsc.ParseAddress(rapid.StringMatching(`(\+?[0-9]{1,15}|[A-Za-z][A-Za-z0-9 ]{0,10})?`).Draw(t, "from")),
		Coding:   rapid.SampledFrom([]text.Coding{text.GSM7, text.UCS2, text.Binary}).Draw(t, "coding"),
		Class:    int8(rapid.IntRange(-1, 3).Draw(t, "class")),
		Validity: Validity(rapid.IntRange(-1, 255).Draw(t, "validity")),
		Report:   rapid.Bool().Draw(t, "report"),
		More:     rapid.Bool().Draw(t, "more"),
	}
	if rapid.Bool().Draw(t, "header") {
		p.UDH = []byte{5, 0, 3, 7, 2, 1}
	}
	n := rapid.IntRange(0, text.Limit(p.Coding, len(p.UDH))).Draw(t, "length")
	if p.Coding == text.UCS2 {
		n &^= 1
	}
	limit := byte(0xFF)
	if p.Coding == text.GSM7 {
		limit = 0x7F
	}
	p.Data = rapid.SliceOfN(rapid.ByteMax(limit), n, n).Draw(t, "data")
	return p
}

func samePart(a, b smsc.Part) bool {
	return a.From.String() == b.From.String() && a.To.String() == b.To.String() && a.Coding == b.Coding && a.Class == b.Class &&
		bytes.Equal(a.UDH, b.UDH) && bytes.Equal(a.Data, b.Data) && a.Validity == b.Validity && a.Report == b.Report && a.More == b.More
}

// Any part comes out of the SMSC's end as it went into the ESME's.
func TestAnyPartComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := drawPart(t)
		p, err := NewSubmit(part, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Fatalf("%v is not what an SMSC takes: %v", p, err)
		}
		octets, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		packets, faults := read(octets)
		if len(packets) != 1 || faults != nil {
			t.Fatalf("%q: %v", octets, faults)
		}
		got, err := ParseSubmit(packets[0])
		if err != nil || !samePart(got.Part, part) {
			t.Fatalf("%+v comes back as %+v, %v", part, got, err)
		}
	})
}
