package smpp

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
	"pgregory.net/rapid"
)

func TestDataCoding(t *testing.T) {
	for _, c := range []struct {
		dc     uint8
		coding text.Coding
		class  int8
	}{
		{0x00, text.GSM7, -1},
		{0x10, text.GSM7, 0},
		{0x13, text.GSM7, 3},
		{0x03, text.Latin1, -1},
		{0x04, text.Binary, -1},
		{0x15, text.Binary, 1},
		{0x08, text.UCS2, -1},
		{0x18, text.UCS2, 0},
	} {
		if got := DataCoding(c.coding, c.class); got != c.dc {
			t.Errorf("%v class %d: %#02x, not %#02x", c.coding, c.class, got, c.dc)
		}
		if coding, class := ParseDataCoding(c.dc); coding != c.coding || class != c.class {
			t.Errorf("%#02x: %v class %d, not %v class %d", c.dc, coding, class, c.coding, c.class)
		}
	}
	for _, c := range []struct { // only read
		dc     uint8
		coding text.Coding
		class  int8
	}{
		{0x01, text.Latin1, -1},
		{0x02, text.Binary, -1},
		{0x05, text.Binary, -1},
		{0x0E, text.Binary, -1},
		{0x20, text.Binary, -1},
		{0x48, text.UCS2, -1},
		{0x51, text.GSM7, 1},
		{0x90, text.GSM7, -1},
		{0xC8, text.GSM7, -1},
		{0xD8, text.GSM7, -1},
		{0xE0, text.UCS2, -1},
		{0xF0, text.GSM7, 0},
		{0xF5, text.Binary, 1},
	} {
		if coding, class := ParseDataCoding(c.dc); coding != c.coding || class != c.class {
			t.Errorf("%#02x: %v class %d, not %v class %d", c.dc, coding, class, c.coding, c.class)
		}
	}
}

func TestValidity(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		s    string
		back time.Duration
	}{
		{0, "", 0},
		{-time.Hour, "", 0},
		{24 * time.Hour, "000001000000000R", 24 * time.Hour},
		{time.Millisecond, "000000000001000R", time.Second},
		{90*time.Minute + 30*time.Second, "000000013030000R", 90*time.Minute + 30*time.Second},
		{63 * 7 * 24 * time.Hour, "010216000000000R", 441 * 24 * time.Hour},
		{364 * 24 * time.Hour, "001131000000000R", 361 * 24 * time.Hour}, // months of 30 days end at 11 and 31 days
		{200 * 365 * 24 * time.Hour, "990000000000000R", 99 * 365 * 24 * time.Hour},
	} {
		if got := FormatValidity(c.d); got != c.s {
			t.Errorf("%v: %q, not %q", c.d, got, c.s)
		}
		if back, ok := ParseValidity(c.s); !ok || back != c.back {
			t.Errorf("%q: %v %v, not %v", c.s, back, ok, c.back)
		}
	}
	for _, bad := range []string{"261122215509000+", "00000100000000R", "0000x1000000000R"} {
		if d, ok := ParseValidity(bad); ok {
			t.Errorf("%q: %v", bad, d)
		}
	}
}

// TestPartComesBack: what a submit_sm says of a part, the SMSC reads.
func TestPartComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := smsc.Part{
			From:   smsc.ParseAddress(rapid.StringMatching(`\+[0-9]{5,15}|[0-9]{3,15}|[A-Za-z]{1,11}`).Draw(t, "from")),
			To:     smsc.ParseAddress(rapid.StringMatching(`\+[0-9]{5,15}`).Draw(t, "to")),
			Coding: rapid.SampledFrom([]text.Coding{text.GSM7, text.UCS2, text.Latin1, text.Binary}).Draw(t, "coding"),
			Class:  -1,
			Data:   rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "data"), // beyond 254: message_payload
			Report: rapid.Bool().Draw(t, "report"), More: rapid.Bool().Draw(t, "more"),
			Validity: time.Duration(rapid.IntRange(0, 30*86400).Draw(t, "validity")) * time.Second,
		}
		if p.Coding != text.Latin1 {
			p.Class = int8(rapid.IntRange(-1, 3).Draw(t, "class"))
		}
		if rapid.Bool().Draw(t, "header") {
			e := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "udh")
			p.UDH = append([]byte{byte(len(e))}, e...)
		}
		sm := &SubmitSM{Header: Header{Sequence: 1}}
		mustSetPart(sm, p)
		b, err := Append(nil, sm)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, bad := back.(*SubmitSM).part(&smsc.Quirks{}); bad != OK || !reflect.DeepEqual(got, p) {
			t.Fatalf("%v\n got %+v\nwant %+v", bad, got, p)
		}
	})
}

func TestSarBecomesAHeader(t *testing.T) {
	sm := func(ref uint16, total, number uint8) *SubmitSM {
		p := submitSM(1, "part")
		p.TLVs.AddUint16(TagSarMsgRefNum, ref)
		p.TLVs.Add(TagSarTotalSegments, total)
		p.TLVs.Add(TagSarSegmentSeqnum, number)
		return p
	}
	got, _ := sm(0x1234, 3, 2).part(&smsc.Quirks{})
	if c, ok := text.Concatenation(got.UDH); !ok || c.Ref.Number != 0x1234 || c.Total != 3 || c.Number != 2 {
		t.Errorf("%+v from %x", c, got.UDH)
	}
	incomplete := sm(1, 2, 1)
	incomplete.TLVs = incomplete.TLVs[:2]
	for _, p := range []*SubmitSM{sm(1, 1, 1), sm(1, 2, 3), sm(1, 2, 0), incomplete} {
		if got, _ := p.part(&smsc.Quirks{}); got.UDH != nil {
			t.Errorf("%v: %x", p.TLVs, got.UDH)
		}
	}
	both := sm(1, 2, 1)
	both.ESMClass, both.ShortMessage = 0x40, []byte{5, 0, 3, 7, 2, 1, 'x'}
	if got, _ := both.part(&smsc.Quirks{}); !bytes.Equal(got.UDH, []byte{5, 0, 3, 7, 2, 1}) {
		t.Errorf("the header that is there counts, not %x", got.UDH)
	}
	short := submitSM(1, "")
	short.ESMClass, short.ShortMessage = 0x40, []byte{5, 0}
	if got, bad := short.part(&smsc.Quirks{}); bad != RINVESMCLASS || got.UDH != nil || len(got.Data) != 2 {
		t.Errorf("%v %+v", bad, got)
	}
}

func TestAddressesWithPlus(t *testing.T) {
	if got := address(0, 0, "+639171234567"); got != (smsc.Address{TON: 1, NPI: 1, Digits: "639171234567"}) {
		t.Errorf("%+v", got)
	}
	if got := address(5, 0, "+plus"); got.Digits != "+plus" {
		t.Errorf("%+v", got)
	}
}

func TestReceiptVariants(t *testing.T) {
	const usual = "id:a1 sub:001 dlvrd:001 submit date:2611221000 done date:2611221001 stat:DELIVRD err:000 text:Hello"
	for _, c := range []struct {
		name  string
		class uint8
		body  string
		want  string // id state code, empty: an ordinary message
	}{
		{"usual", 4, usual, "a1 delivered 000"},
		{"udhi and receipt bits", 4 | 0x80, usual, "a1 delivered 000"},
		{"class 0, whole", 0, usual, "a1 delivered 000"},
		{"class 0, only begun", 0, "id:a1 stat:DELIVRD", ""},
		{"class 0, quoted", 0, "He wrote " + usual, ""},
		{"sme ack", 8, usual, ""},
		{"intermediate", 0x20, "id:1 sub:001 dlvrd:000 submit date:2611221000 done date:2611221001 stat:ENROUTE err:000 text:", "1 enroute 000"},
		{"long dates, Text", 4, "id:42 sub:1 dlvrd:1 submit date:20261122100000 done date:20261122100100 stat:UNDELIV err:0x27 Text:Hi", "42 undeliverable 0x27"},
		{"no text, sub, dlvrd", 4, "id:42 submit date:2611221000 done date:2611221001 stat:EXPIRED err:7", "42 expired 7"},
		{"no err", 4, "id:42 stat:REJECTD", "42 rejected "},
		{"other order", 4, "stat:DELETED err:001 id:42 done date:2611221001", "42 deleted 001"},
		{"upper case", 4, "ID:42 STAT:ACCEPTD ERR:000", "42 accepted 000"},
		{"long words", 4, "id:42 stat:DELIVERED err:000", "42 delivered 000"},
		{"trailing NUL and line end", 4, "id:42 stat:DELIVRD err:000\r\n\x00", "42 delivered 000"},
		{"id with blanks", 4, "id:a b c sub:001 stat:UNKNOWN err:000", "a b c unknown 000"},
		{"keys in the user's text", 4, "id:42 stat:EXPIRED err:001 text:id:7 stat:DELIVRD", "42 expired 001"},
		{"no err but in the user's text", 4, "id:42 stat:EXPIRED text:x err:9", "42 expired "},
		{"text in the middle", 4, "id:42 text:x stat:EXPIRED err:001", "42 expired 001"},
		{"text first", 4, "text:x id:42 stat:EXPIRED err:001", "42 expired 001"},
		{"nothing", 4, "", " unknown "},
		{"commas", 4, "id:42,sub:001,dlvrd:001,submit date:2611221000,done date:2611221001,stat:DELIVRD,err:000,text:", "42 delivered 000"},
		{"underscores", 0, "id:42 submit_date:2611221000 done_date:2611221001 stat:DELIVRD err:000", "42 delivered 000"},
		{"dates that are none", 4, "id:42 submit date:yesterday done date:0000000000 stat:EXPIRED err:000", "42 expired 000"},
		{"line ends between", 4, "id:42\nsub:001\ndlvrd:001\nstat:DELIVRD\nerr:0", "42 delivered 0"},
		{"skipped", 4, "id:42 stat:SKIPPED err:0", "42 undeliverable 0"},
		{"enroute in a final receipt", 4, "id:42 stat:ENROUTE err:0", "42 enroute 0"},
		{"invalid UTF-8", 4, "\xff\xfe id:42 stat:EXPIRED err:001", "42 expired 001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkReceipt(t, &SubmitSM{ESMClass: c.class, ShortMessage: []byte(c.body)}, smsc.IDText, c.want)
			if c.name != "invalid UTF-8" {
				checkReceipt(t, &SubmitSM{ESMClass: c.class, DataCoding: 8, ShortMessage: text.EncodeUCS2(c.body)}, smsc.IDText, c.want)
			}
		})
	}
	p := &SubmitSM{ESMClass: 4, ShortMessage: []byte(usual)}
	p.TLVs.Add(TagReceiptedMessageID, []byte("B7")...) // without its NUL
	p.TLVs.Add(TagMessageState, byte(StateExpired))
	p.TLVs.Add(TagNetworkErrorCode, 3, 1, 0)
	checkReceipt(t, p, smsc.IDText, "B7 expired 256")
	p.ShortMessage, p.ESMClass = nil, 0
	checkReceipt(t, p, smsc.IDText, "B7 expired 256")
	p = &SubmitSM{ShortMessage: []byte("hello")}
	p.TLVs.Add(TagMessageState, byte(StateExpired)) // of nothing
	checkReceipt(t, p, smsc.IDText, "")
	swapped := &SubmitSM{ESMClass: 4, SourceAddr: "12345", DestinationAddr: "639171234567", ShortMessage: []byte(usual)}
	checkReceipt(t, swapped, smsc.IDText, "a1 delivered 000") // the id alone counts
	half := &SubmitSM{ESMClass: 4, ShortMessage: []byte(usual)}
	half.TLVs.AddText(TagReceiptedMessageID, "")   // says nothing
	half.TLVs.Add(TagMessageState, 2, 2)           // nor this
	half.TLVs.Add(TagNetworkErrorCode, 3, 1, 0, 0) // nor this
	checkReceipt(t, half, smsc.IDText, "a1 delivered 000")
	p = &SubmitSM{ESMClass: 4}
	p.TLVs.Add(TagMessagePayload, []byte(usual)...)
	checkReceipt(t, p, smsc.IDText, "a1 delivered 000")
}

func checkReceipt(t *testing.T, p *SubmitSM, form smsc.IDForm, want string) {
	t.Helper()
	part, _ := p.part(&smsc.Quirks{})
	r, ok := p.receipt(part, &smsc.Quirks{ReceiptIDs: form})
	got := ""
	if ok {
		got = fmt.Sprintf("%s %v %s", r.ID, r.State, r.Code)
	}
	if got != want {
		t.Errorf("%q: %q, not %q", p.ShortMessage, got, want)
	}
}

func TestIDForms(t *testing.T) {
	for _, c := range []struct {
		form                         smsc.IDForm
		response, receipt, different string
	}{
		{smsc.IDText, "1e6481ee", "1e6481ee", "1E6481EE"},
		{smsc.IDHexToDecimal, "1e6481ee", "509903342", "509903343"}, // as jsmpp does
		{smsc.IDHexToDecimal, "1E6481EE", "0509903342", "1"},
		{smsc.IDDecimalToHex, "1234567890", "499602D2", "499602D3"},
		{smsc.IDDecimalToHex, "0012", "c", "12"},
		{smsc.IDHexToDecimal, "not a number", "not a number", "0"},
		{smsc.IDHexToDecimal, "", "", "0"},
		{smsc.IDHex, "1e6481ee", "1E6481EE", "509903342"},
		{smsc.IDHex, "001e6481ee", " 1E6481EE", "1E6481EF"},
		{smsc.IDHex, "not a number", "not a number", "Not A Number"},
		{smsc.IDDecimal, "123", "0000000123", "291"}, // as NewID pads
		{smsc.IDDecimal, "0000000123", "123", "0000000124"},
		{smsc.IDDecimal, "1e6481ee", "1e6481ee", "1E6481EE"}, // no decimal number: the same text
		{smsc.IDHexToDecimal, "ffffffffffffffffffffffff", "79228162514264337593543950335", "1"},
	} {
		if a, b := respondedID(c.form, c.response), receiptedID(c.form, c.receipt); a != b {
			t.Errorf("%d: %s is %q, %s is %q", c.form, c.response, a, c.receipt, b)
		}
		if a, b := respondedID(c.form, c.response), receiptedID(c.form, c.different); a == b {
			t.Errorf("%d: %s and %s are both %q", c.form, c.response, c.different, a)
		}
	}
}

func TestKeyRecognisesARedelivery(t *testing.T) {
	p := submitSM(1, "x")
	again := submitSM(99, "x")
	if p.key() != again.key() {
		t.Error("a redelivery has another key")
	}
	for name, change := range map[string]func(*SubmitSM){
		"text": func(p *SubmitSM) { p.ShortMessage = []byte("y") }, "from": func(p *SubmitSM) { p.SourceAddr = "1" },
		"to": func(p *SubmitSM) { p.DestinationAddr = "1" }, "coding": func(p *SubmitSM) { p.DataCoding = 4 },
		"header": func(p *SubmitSM) { p.ESMClass = 0x40 }, "payload": func(p *SubmitSM) { p.TLVs.Add(TagMessagePayload, 1) },
		"receipted": func(p *SubmitSM) { p.TLVs.AddText(TagReceiptedMessageID, "1") },
		"state":     func(p *SubmitSM) { p.TLVs.Add(TagMessageState, 2) },
		"sar":       func(p *SubmitSM) { p.TLVs.Add(TagSarSegmentSeqnum, 2) },
	} {
		other := submitSM(1, "x")
		change(other)
		if other.key() == p.key() {
			t.Errorf("another %s, and the same key", name)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for text, want := range map[string]Status{
		"ESME_RTHROTTLED": RTHROTTLED, "RTHROTTLED": RTHROTTLED, "ESME_RTHROTTLED (0x58)": RTHROTTLED, "0x58": RTHROTTLED, "88": RTHROTTLED,
		"status (0x400)": 0x400,
	} {
		if got, ok := ParseStatus(text); !ok || got != want {
			t.Errorf("%q is %v", text, got)
		}
	}
	for _, text := range []string{"", "CIMD2 300", "ESME_", "no such"} {
		if s, ok := ParseStatus(text); ok {
			t.Errorf("%q is %v", text, s)
		}
	}
}
