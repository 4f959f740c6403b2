package text

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/ringway-im/ringway/tests/corpus"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Against the tables of other implementations (testdata/README.md).
func TestAlphabet(t *testing.T) {
	var want struct {
		Default, Ext map[string]string
		Packed       [][]any
	}
	file, err := os.ReadFile("testdata/gsm_alphabet.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Default) != 128 || len(want.Ext) != 10 || len(want.Packed) != 6 {
		t.Fatalf("tables of %d, %d, %d entries", len(want.Default), len(want.Ext), len(want.Packed))
	}
	delete(want.Default, "1b") // no character
	for _, table := range []map[string]string{want.Default, want.Ext} {
		for code, char := range table {
			data := unhex(t, code)
			if got := DecodeGSM7(data); got != char {
				t.Errorf("%s decodes as %q, want %q", code, got, char)
			}
			if got, ok := EncodeGSM7(char); !ok || !bytes.Equal(got, data) {
				t.Errorf("%q encodes as %X, %v, want %s", char, got, ok, code)
			}
		}
	}
	for _, p := range want.Packed {
		septets, octets := unhex(t, p[0].(string)), unhex(t, p[1].(string))
		if got := Pack(septets); !bytes.Equal(got, octets) {
			t.Errorf("%X packs to %X, want %X", septets, got, octets)
		}
		if got := Unpack(octets, len(septets)); !bytes.Equal(got, septets) {
			t.Errorf("%X unpacks to %X, want %X", octets, got, septets)
		}
	}
}

func TestDecodeGSM7Oddities(t *testing.T) {
	for in, want := range map[string]string{
		"1b1b":     " ",
		"1b1b65":   " e",
		"1b61":     "a",
		"611b":     "a",
		"1b651b3c": "€[",
		"61e4":     "a\uFFFD",
		"":         "",
	} {
		if got := DecodeGSM7(unhex(t, in)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestUnpackWithoutCount(t *testing.T) {
	for packed, want := range map[string]string{
		"31d98c56b3dd00": "31323334353637",   // seven septets, padded
		"31d98c56b3dd70": "3132333435363738", // eight
		"61":             "61",
		"":               "",
	} {
		if got := Unpack(unhex(t, packed), -1); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %X, want %s", packed, got, want)
		}
	}
}

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		text   string
		coding Coding
		data   string
	}{
		{"", GSM7, ""},
		{"@£_", GSM7, "000111"},
		{"a€[", GSM7, "611b651b3c"},
		{"Ç", GSM7, "09"},
		{"ç", UCS2, "00e7"}, // 09 would come back as Ç
		{"`", UCS2, "0060"},
		{"\t", UCS2, "0009"},
		{"\x1b", UCS2, "001b"},
		{"Привет 😀", UCS2, "041f044004380432043504420020d83dde00"},
		{"\uFEFFa", UCS2, "fefffeff0061"},
	} {
		coding, data, err := Encode(c.text)
		if err != nil || coding != c.coding || !bytes.Equal(data, unhex(t, c.data)) {
			t.Errorf("%q: %v %X %v, want %v %s", c.text, coding, data, err, c.coding, c.data)
		}
		if got := Decode(coding, data); got != c.text {
			t.Errorf("%q comes back as %q", c.text, got)
		}
	}
	if _, _, err := Encode("a\xffb"); !errors.Is(err, ErrNotUTF8) {
		t.Errorf("invalid UTF-8: %v", err)
	}
}

func TestDecodeUCS2Oddities(t *testing.T) {
	for in, want := range map[string]string{
		"feff0061": "a",
		"d83d":     "\uFFFD",
		"de000061": "\uFFFDa",
		"006100":   "a\uFFFD",
	} {
		if got := DecodeUCS2(unhex(t, in)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestLatin1(t *testing.T) {
	data, ok := EncodeLatin1("aäÿ")
	if !ok || !bytes.Equal(data, []byte{'a', 0xE4, 0xFF}) || Decode(Latin1, data) != "aäÿ" {
		t.Errorf("%X %v", data, ok)
	}
	if _, ok := EncodeLatin1("€"); ok {
		t.Error("€ is not in Latin-1")
	}
}

func TestParts(t *testing.T) {
	for _, c := range []struct {
		text   string
		parts  int
		coding Coding
	}{
		{"", 1, GSM7},
		{strings.Repeat("a", 160), 1, GSM7},
		{strings.Repeat("a", 161), 2, GSM7},
		{strings.Repeat("a", 306), 2, GSM7},
		{strings.Repeat("a", 307), 3, GSM7},
		{strings.Repeat("€", 80), 1, GSM7},
		{strings.Repeat("€", 81), 2, GSM7},
		{strings.Repeat("€", 153), 3, GSM7}, // 306 septets, but 152 a part
		{"a" + strings.Repeat("€", 152) + "a", 2, GSM7},
		{strings.Repeat("ж", 70), 1, UCS2},
		{strings.Repeat("ж", 71), 2, UCS2},
		{strings.Repeat("ж", 134), 2, UCS2},
		{strings.Repeat("ж", 135), 3, UCS2},
		{strings.Repeat("😀", 35), 1, UCS2},
		{strings.Repeat("😀", 66), 2, UCS2},
		{strings.Repeat("😀", 67), 3, UCS2}, // 134 units, but 66 a part
		{strings.Repeat("a", 255*153), 255, GSM7},
		{strings.Repeat("ж", 255*67), 255, UCS2},
	} {
		n, coding, err := Parts(c.text)
		if n != c.parts || coding != c.coding || err != nil {
			t.Errorf("%.10q... (%d octets): %d %v %v, want %d %v", c.text, len(c.text), n, coding, err, c.parts, c.coding)
		}
	}
	for _, s := range []string{strings.Repeat("a", 255*153+1), strings.Repeat("ж", 255*67+1)} {
		if n, _, err := Parts(s); n != 0 || !errors.Is(err, ErrTooLong) {
			t.Errorf("%d octets: %d, %v", len(s), n, err)
		}
	}
}

func TestSplitHeaders(t *testing.T) {
	data := bytes.Repeat([]byte{1}, 300)
	for _, c := range []struct {
		coding Coding
		ref    Reference
		udh    string
		first  int
	}{
		{GSM7, Reference{Number: 0x11}, "050003110201", 153},
		{GSM7, Reference{Number: 0x1234, Wide: true}, "06080412340201", 152},
		{Binary, Reference{Number: 0x11}, "050003110301", 134},
		{Latin1, Reference{Number: 0x11, Wide: true}, "06080400110301", 133},
		{UCS2, Reference{Number: 0x11, Wide: true}, "06080400110301", 132},
	} {
		pieces, err := Split(c.coding, data, c.ref)
		if err != nil || !bytes.Equal(pieces[0].UDH, unhex(t, c.udh)) || len(pieces[0].Data) != c.first {
			t.Errorf("%v %v: %X with %d octets, %v", c.coding, c.ref, pieces[0].UDH, len(pieces[0].Data), err)
		}
	}
}

func TestConcatenation(t *testing.T) {
	for in, want := range map[string]Concat{
		"050003110201":               {Reference{0x11, false}, 2, 1},
		"06080412340302":             {Reference{0x1234, true}, 3, 2},
		"0a0003110201050415811581":   {}, // an element is cut off: no header
		"0b00031102010504158115810a": {}, // cut off
		"0b000311020105041581000a":   {Reference{0x11, false}, 2, 1},
		"0a000311020100031202020a":   {}, // length of the whole is wrong
		"0a00031102010003120202":     {Reference{0x12, false}, 2, 2},
		"050003110200":               {}, // number 0
		"050003110203":               {}, // number above the total
		"050003110000":               {},
		"0500021102":                 {},
		"06050415811581":             {}, // ports
		"00":                         {},
		"":                           {},
	} {
		got, ok := Concatenation(unhex(t, in))
		if got != want || ok != (want != Concat{}) {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
	}
}

func TestCutUDH(t *testing.T) {
	udh, data, err := CutUDH(unhex(t, "0500031102016162"))
	if err != nil || len(udh) != 6 || string(data) != "ab" {
		t.Errorf("%X %X %v", udh, data, err)
	}
	for _, in := range []string{"", "05000311"} {
		if _, _, err := CutUDH(unhex(t, in)); err == nil {
			t.Errorf("%q is no user data with a header", in)
		}
	}
}

func TestPlaceAndJoin(t *testing.T) {
	one := Piece{unhex(t, "050003110201"), []byte("one ")}
	two := Piece{unhex(t, "050003110202"), []byte("two")}
	other := Piece{unhex(t, "050003110201"), []byte("uno ")}
	stranger := Piece{unhex(t, "050003120202"), []byte("two")}
	alone := Piece{nil, []byte("alone")}

	for _, c := range []struct {
		stored []Piece
		piece  Piece
		want   Placement
	}{
		{nil, one, Added},
		{[]Piece{one}, two, Added},
		{[]Piece{one, two}, one, Duplicate},
		{[]Piece{one}, other, Clash},
	} {
		if got := Place(c.stored, c.piece); got != c.want {
			t.Errorf("%s on %d: %v, want %v", c.piece.Data, len(c.stored), got, c.want)
		}
	}
	for _, c := range []struct {
		pieces []Piece
		want   string
		ok     bool
	}{
		{nil, "", false},
		{[]Piece{one}, "", false},
		{[]Piece{two, one}, "one two", true},
		{[]Piece{two, one, one}, "one two", true},
		{[]Piece{one, stranger}, "", false},
		{[]Piece{one, alone}, "", false},
		{[]Piece{alone}, "alone", true},
	} {
		if got, ok := Join(c.pieces...); ok != c.ok || ok && string(got) != c.want {
			t.Errorf("%d pieces: %q %v, want %q %v", len(c.pieces), got, ok, c.want, c.ok)
		}
	}
	// A peer may cut anywhere: decode what is joined, not what is not.
	high := Piece{unhex(t, "050003110201"), unhex(t, "d83d")}
	low := Piece{unhex(t, "050003110202"), unhex(t, "de00")}
	if data, ok := Join(low, high); !ok || Decode(UCS2, data) != "😀" {
		t.Errorf("%X %v", data, ok)
	}
}

// checkRoundTrip sends s over the radio and returns it as the receiver reads
// it, with the parts in another order.
func checkRoundTrip(t rapid.TB, s string, ref Reference, shuffle func([]Piece)) {
	t.Helper()
	coding, data, err := Encode(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	pieces, err := Split(coding, data, ref)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	for i, p := range pieces {
		if n := len(p.Data); n > Limit(coding, len(p.UDH)) || n == 0 && len(pieces) > 1 {
			t.Fatalf("part %d of %d has %d octets beside %d of header", i+1, len(pieces), n, len(p.UDH))
		}
		if coding == GSM7 && len(p.Data) > 0 && (len(p.Data)-len(bytes.TrimRight(p.Data, "\x1b")))%2 == 1 {
			t.Fatalf("part %d ends in an escape", i+1)
		}
		if coding == UCS2 && len(p.Data) > 0 && bytes.ContainsRune([]byte(Decode(coding, p.Data)), '\uFFFD') && !strings.ContainsRune(s, '\uFFFD') {
			t.Fatalf("part %d does not stand for itself: %X", i+1, p.Data)
		}
	}
	if want := fewest(Encoded{Coding: coding, Data: data}, s, ref); len(pieces) != want {
		t.Fatalf("%q: %d parts, want %d", s, len(pieces), want)
	}
	shuffle(pieces)
	joined, ok := Join(pieces...)
	if got := Decode(coding, joined); !ok || got != s {
		t.Fatalf("%q comes back as %q in %v, %v", s, got, coding, ok)
	}
}

// stringUpTo draws the length first: left to itself rapid prefers a handful of
// characters, which never fill two parts.
func stringUpTo(t *rapid.T, one *rapid.Generator[rune], limit int) string {
	n := rapid.IntRange(0, limit).Draw(t, "length")
	return rapid.StringOfN(one, n, n, -1).Draw(t, "text")
}

func TestAnyTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabets := [][]rune{
			slices.DeleteFunc(slices.Clone(alphabet[:]), func(r rune) bool { return r == escape }),
			[]rune("a€[]{}~^|\\\f"),
			[]rune("ж😀a字\uFEFF\uFFFD"),
		}
		one := rapid.SampledFrom(alphabets[rapid.IntRange(0, len(alphabets)-1).Draw(t, "alphabet")])
		if rapid.Bool().Draw(t, "any") {
			one = rapid.Rune()
		}
		s := stringUpTo(t, one, 700)
		ref := Reference{Number: rapid.Uint16().Draw(t, "ref"), Wide: rapid.Bool().Draw(t, "wide")}
		seed := rapid.Uint64().Draw(t, "order")
		checkRoundTrip(t, s, ref, func(p []Piece) {
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
		})
	})
}

// fewest is how many parts s needs, counted another way: over its characters'
// sizes and not over the data.
func fewest(e Encoded, s string, ref Reference) int {
	shift := len(e.Shift.elements())
	concat := 5
	if ref.Wide {
		concat = 6
	}
	room := func(udh int) int { // 3GPP 23.040 §9.2.3.24.1
		if udh > 0 {
			udh++
		}
		if e.Coding == UCS2 {
			return (140 - udh) / 2
		}
		return (1120 - 8*udh) / 7
	}
	var sizes []int
	total := 0
	if e.Coding == UCS2 && strings.HasPrefix(s, "\uFEFF") { // written twice
		s = "\uFEFF" + s
	}
	for _, r := range s {
		size := len(utf16.Encode([]rune{r}))
		if e.Coding == GSM7 {
			size = 1
			if data, _ := encodeGSM7(string(r), e.Shift); len(data) > 1 {
				size = 2
			}
		}
		sizes = append(sizes, size)
		total += size
	}
	if total <= room(shift) {
		return 1
	}
	n, left := 0, 0
	for _, size := range sizes { // no other cutting at whole characters does with fewer
		if size > left {
			n, left = n+1, room(shift+concat)
		}
		left -= size
	}
	return n
}

func TestSplitIsShortest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.SampledFrom([]rune([]string{"a€", "ж😀", "aşğ€", "😀"}[rapid.IntRange(0, 3).Draw(t, "of")]))
		s := stringUpTo(t, one, 600)
		ref := Reference{Wide: rapid.Bool().Draw(t, "wide")}
		e, err := EncodeFor(s, Turkish)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := e.Split(ref)
		if want := fewest(e, s, ref); err != nil || len(pieces) != want {
			t.Fatalf("%d parts in %v %v, want %d (%v)", len(pieces), e.Coding, e.Shift, want, err)
		}
	})
}

func TestPackAnySeptets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 160).Draw(t, "length")
		septets := rapid.SliceOfN(rapid.ByteMax(0x7F), n, n).Draw(t, "septets")
		if got := Unpack(Pack(septets), len(septets)); !bytes.Equal(got, septets) {
			t.Fatalf("%X comes back as %X", septets, got)
		}
	})
}

// Messages people really sent (testdata/README.md).
func TestRealMessagesComeBack(t *testing.T) {
	count, parts := map[Coding]int{}, 0
	for _, s := range corpus.Texts(t, "testdata/nus-sms.jsonl") {
		for _, ref := range []Reference{{Number: 7}, {Number: 0x1234, Wide: true}} {
			checkRoundTrip(t, s, ref, slices.Reverse)
		}
		n, coding, _ := Parts(s)
		count[coding]++
		parts += n
	}
	if count[GSM7] < 60 || count[UCS2] < 60 {
		t.Errorf("only %v read", count)
	}
	t.Logf("%v, %d parts", count, parts)
}

// The letters of each language cost one part where they cost three in UCS2, and
// come back; without the language they go as UCS2.
func TestNationalTables(t *testing.T) {
	for _, c := range []struct {
		language Language
		text     string
		shift    Shift
		data     string
	}{
		{Turkish, "şığ", Shift{}, ""}, // three characters need no table
		{Turkish, strings.Repeat("ş", 71), Shift{Single: Turkish}, "1b73"},
		{Turkish, strings.Repeat("ş", 150), Shift{Locking: Turkish}, "1d"},
		{Turkish, strings.Repeat("ığ€İŞ", 31), Shift{Locking: Turkish}, "070c04401c"},
		{Turkish, strings.Repeat("çÇ", 71), Shift{Locking: Turkish}, "6009"},
		{Spanish, strings.Repeat("áé", 51), Shift{Single: Spanish}, "1b6105"},
		{Spanish, strings.Repeat("Ñó¿í", 25), Shift{Single: Spanish}, "5d1b6f601b69"},
		{Portuguese, strings.Repeat("ãõ", 70), Shift{Locking: Portuguese}, "7b7c"},
		{Portuguese, strings.Repeat("Φ", 71), Shift{}, "12"}, // the default alphabet goes first
		{Portuguese, strings.Repeat("`Φç", 36), Shift{Single: Portuguese, Locking: Portuguese}, "7d1b1209"},
	} {
		e, err := EncodeFor(c.text, c.language)
		if err != nil || c.data == "" && e.Coding != UCS2 || c.data != "" && (e.Coding != GSM7 || !bytes.HasPrefix(e.Data, unhex(t, c.data))) {
			t.Errorf("%v %.12q: %v %v %.8X, %v", c.language, c.text, e.Coding, e.Shift, e.Data, err)
		} else if e.Shift != c.shift && c.data != "" {
			t.Errorf("%v %.12q: tables %v, want %v", c.language, c.text, e.Shift, c.shift)
		}
		if e.String() != c.text {
			t.Errorf("%q comes back as %q", c.text, e.String())
		}
		pieces, err := e.Split(Reference{Number: 9})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pieces {
			if got := Shifted(p.UDH); e.Coding == GSM7 && got != e.Shift || len(p.Data) > Limit(e.Coding, len(p.UDH)) {
				t.Errorf("%q: header %X says %v; %d octets", c.text, p.UDH, got, len(p.Data))
			}
		}
	}
	if coding, _, _ := Encode(strings.Repeat("ş", 71)); coding != UCS2 {
		t.Errorf("without a language: %v", coding)
	}
}

func TestShifted(t *testing.T) {
	for in, want := range map[string]Shift{
		"03240101":                 {Single: Turkish},
		"0b0003110201240102250103": {Single: Spanish, Locking: Portuguese},
		"03240201":                 {}, // cut off
		"0424020101":               {}, // two octets
		"050003110201":             {},
		"":                         {},
	} {
		if got := Shifted(unhex(t, in)); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
	// Tables that are not known: the default ones (3GPP 23.038 §6.2.1.2.4).
	if got := (Encoded{Coding: GSM7, Shift: Shift{Single: Urdu + 1, Locking: 255}, Data: unhex(t, "611b65")}).String(); got != "a€" {
		t.Errorf("unknown tables: %q", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(byte(0), []byte("a\x1be\x1b"))
	f.Add(byte(1), []byte("\xfe\xff\xd8\x3d\xde\x00\xd8"))
	f.Add(byte(2), []byte("\xe4"))
	f.Add(byte(3), []byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, coding byte, data []byte) {
		if tooBig(data) {
			return
		}
		s := Decode(Coding(coding), data)
		checkRoundTripOrTooLong(t, s)
		Unpack(data, -1)
	})
}

// tooBig keeps the engine at work: what it finds interesting it makes smaller
// octet by octet, for up to a minute each, in which nothing else is tried.
func tooBig(data []byte) bool { return len(data) > 512 }

// FuzzShifted: septets of any tables are text, and text that the tables can
// write comes back.
func FuzzShifted(f *testing.F) {
	f.Add(byte(1), byte(1), []byte("\x1b\x73\x1d"))
	f.Add(byte(3), byte(3), []byte("\x1b\x12\x7e"))
	f.Add(byte(13), byte(4), []byte("\x1b"))
	f.Fuzz(func(t *testing.T, single, locking byte, data []byte) {
		if tooBig(data) {
			return
		}
		shift := Shift{Language(single), Language(locking)}
		s := decodeGSM7(data, shift)
		again, ok := encodeGSM7(s, shift)
		if ok && decodeGSM7(again, shift) != s {
			t.Errorf("%v: %X is %q, which goes as %X", shift, data, s, again)
		}
		if e, err := EncodeFor(s, Language(single), Language(locking)); err != nil || e.String() != s {
			t.Errorf("%q comes back as %q from %v %v, %v", s, e.String(), e.Coding, e.Shift, err)
		}
	})
}

// FuzzSplit: any data is cut into pieces that fit and join to the same.
func FuzzSplit(f *testing.F) {
	f.Add(byte(0), byte(0), uint16(7), true, bytes.Repeat([]byte("a\x1be"), 120))
	f.Add(byte(0), byte(0x31), uint16(7), false, bytes.Repeat([]byte("\x1b"), 400))
	f.Add(byte(1), byte(0), uint16(700), false, bytes.Repeat([]byte("\xd8\x3d\xde\x00"), 40))
	f.Add(byte(3), byte(0), uint16(7), false, make([]byte, 300))
	f.Fuzz(func(t *testing.T, coding, tables byte, number uint16, wide bool, data []byte) {
		if tooBig(data) {
			return
		}
		e := Encoded{Coding: Coding(coding % 4), Shift: Shift{Language(tables & 15), Language(tables >> 4)}, Data: data}
		pieces, err := e.Split(Reference{Number: number, Wide: wide})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pieces {
			if len(p.Data) > Limit(e.Coding, len(p.UDH)) {
				t.Errorf("piece %d: %d octets beside %d of header", i, len(p.Data), len(p.UDH))
			}
			if Shifted(p.UDH) != e.Shift {
				t.Errorf("piece %d: header %X, tables %v", i, p.UDH, e.Shift)
			}
		}
		slices.Reverse(pieces)
		if joined, ok := Join(pieces...); !ok || !bytes.Equal(joined, data) {
			t.Errorf("%X comes back as %X, %v", data, joined, ok)
		}
	})
}

func checkRoundTripOrTooLong(t *testing.T, s string) {
	if _, _, err := Parts(s); errors.Is(err, ErrTooLong) {
		return
	}
	checkRoundTrip(t, s, Reference{}, slices.Reverse)
}

func FuzzParseUDH(f *testing.F) {
	f.Add([]byte("\x05\x00\x03\x11\x02\x01"))
	f.Add([]byte("\x06\x08\x04\x12\x34\x03\x02"))
	f.Add([]byte("\x0b\x00\x03\x11\x02\x01\x05\x04\x15\x81\x00\x0a"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		if tooBig(octets) {
			return
		}
		CutUDH(octets)
		c, ok := Concatenation(octets)
		if ok && (c.Number == 0 || c.Number > c.Total) {
			t.Errorf("%X: %+v", octets, c)
		}
		Join(Piece{UDH: octets, Data: octets})
		elements, err := ParseUDH(octets)
		if err != nil || len(octets) == 0 {
			return
		}
		again := []byte{octets[0]}
		for _, e := range elements {
			again = append(append(again, e.ID, byte(len(e.Data))), e.Data...)
		}
		if !bytes.Equal(again, octets) {
			t.Errorf("%X is written back as %X", octets, again)
		}
	})
}

// Whatever a table has comes back, and each code of it is used for one character.
func TestTablesAreReversible(t *testing.T) {
	for l := Turkish; l <= Urdu; l++ {
		if got, ok := ParseLanguage(l.String()); !ok || got != l {
			t.Errorf("%v is read as %v", l, got)
		}
		for _, shift := range l.shifts() {
			for r := range codes[shift] {
				data, ok := encodeGSM7(string(r), shift)
				if got := decodeGSM7(data, shift); !ok || got != string(r) {
					t.Errorf("%+v: %q is written %x and comes back as %q", shift, r, data, got)
				}
			}
			locked, _ := shift.tables()
			for code, r := range locked {
				if data, ok := encodeGSM7(string(r), shift); r != 0 && code != escape && (!ok || len(data) != 1 || int(data[0]) != code) {
					t.Errorf("%+v: code %02x is %q, which is written %x", shift, code, r, data)
				}
			}
		}
	}
}

func TestScripts(t *testing.T) {
	for _, c := range []struct {
		language Language
		text     string
		shift    Shift
		codes    string
	}{
		{Hindi, "नमस्ते", Shift{Locking: Hindi}, "2f424c5f2759"},
		{Hindi, "१", Shift{Single: Hindi}, "1b1d"},
		{Bengali, "ৎ৳", Shift{Single: Bengali, Locking: Bengali}, "601b2c"},
		{Tamil, "தமிழ்", Shift{Locking: Tamil}, "274251485f"},
		{Urdu, "اردو", Shift{Locking: Urdu}, "00251a53"},
		{Gujarati, "A₹", Shift{Locking: Gujarati}, ""}, // the rupee came later than the tables
	} {
		data, ok := encodeGSM7(c.text, c.shift)
		if got := fmt.Sprintf("%x", data); got != c.codes || ok != (c.codes != "") {
			t.Errorf("%v: %q is written %s, not %s", c.language, c.text, got, c.codes)
		}
	}
	long := strings.Repeat("नमस्ते ", 20) // 140 characters
	e, err := EncodeFor(long, Hindi)
	if err != nil || e.Shift != (Shift{Locking: Hindi}) || e.parts() != 1 || e.String() != long {
		t.Errorf("%d parts in %+v, %v", e.parts(), e.Shift, err)
	}
	if got := decodeGSM7([]byte{0x0E}, Shift{Locking: Gujarati}); got != "\uFFFD" {
		t.Errorf("a code without a character is %q", got)
	}
}
