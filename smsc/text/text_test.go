package text

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
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

// The fewest parts: no other cutting at whole characters does with fewer.
func TestSplitIsShortest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stringUpTo(t, rapid.SampledFrom([]rune("a€")), 600)
		n, _, err := Parts(s)
		if err != nil {
			t.Fatal(err)
		}
		want, room := 1, 153
		total := 0
		for _, r := range s {
			size := 1
			if r == '€' {
				size = 2
			}
			if total += size; size > room {
				want, room = want+1, 153
			}
			room -= size
		}
		if total <= 160 {
			want = 1
		}
		if n != want {
			t.Fatalf("%d parts, want %d", n, want)
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

// Messages people really sent (testdata/README.md); RINGWAY_SMS_CORPUS names a
// file of the same form to read instead.
func TestRealMessagesComeBack(t *testing.T) {
	name := "testdata/nus-sms.jsonl"
	if other := os.Getenv("RINGWAY_SMS_CORPUS"); other != "" {
		name = other
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	count, parts := map[Coding]int{}, 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var m struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		checkRoundTrip(t, m.Text, Reference{Number: 7}, slices.Reverse)
		n, coding, _ := Parts(m.Text)
		count[coding]++
		parts += n
	}
	if count[GSM7] < 60 || count[UCS2] < 60 {
		t.Errorf("only %v read", count)
	}
	t.Logf("%v, %d parts", count, parts)
}

func FuzzDecode(f *testing.F) {
	f.Add(byte(0), []byte("a\x1be\x1b"))
	f.Add(byte(1), []byte("\xfe\xff\xd8\x3d\xde\x00\xd8"))
	f.Add(byte(2), []byte("\xe4"))
	f.Add(byte(3), []byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, coding byte, data []byte) {
		s := Decode(Coding(coding), data)
		checkRoundTripOrTooLong(t, s)
		Unpack(data, -1)
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
