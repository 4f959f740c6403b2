package smpp

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

func TestTLVsOfEveryType(t *testing.T) {
	var l TLVs
	l.Add(TagMessageState, 2)
	l.AddUint16(TagSourcePort, 0x1234)
	l.AddUint32(TagQosTimeToLive, 0x12345678)
	l.AddText(TagReceiptedMessageID, "17")
	l.Add(TagNetworkErrorCode, 3, 1, 2)
	l.Add(TagCallbackNum, 1, 1, 1, '1')
	l.Add(TagCallbackNum, 1, 1, 1, '2')
	l.Add(0x1400, 9)
	b, err := Append(nil, &SubmitSM{TLVs: l})
	if err != nil {
		t.Fatal(err)
	}
	got := mustDecode(t, b).(*SubmitSM).TLVs
	one, ok1 := got.Uint8(TagMessageState)
	two, ok2 := got.Uint16(TagSourcePort)
	four, ok4 := got.Uint32(TagQosTimeToLive)
	text, okText := got.Text(TagReceiptedMessageID)
	network, okNetwork := got.NetworkError()
	if !ok1 || !ok2 || !ok4 || !okText || !okNetwork || one != 2 || two != 0x1234 || four != 0x12345678 || text != "17" || network != (NetworkError{3, 0x102}) {
		t.Errorf("%v", got)
	}
	if numbers := got.All(TagCallbackNum); len(numbers) != 2 || numbers[1][3] != '2' {
		t.Errorf("%v", numbers)
	}
	if vendor, ok := got.Get(0x1400); !ok || !bytes.Equal(vendor, []byte{9}) {
		t.Error("the vendor's parameter is lost")
	}
	for _, ok := range []bool{second(got.Uint8(TagSourcePort)), second(got.Uint16(TagMessageState)), second(got.Uint32(TagSourcePort)), second(got.Uint8(TagSetDpf))} {
		if ok {
			t.Error("a value of another length, or none, was read")
		}
	}
	if _, ok := (TLVs{{TagNetworkErrorCode, []byte{3, 1}}}).NetworkError(); ok {
		t.Error("two octets are a network_error_code")
	}
}

func second[V any](_ V, ok bool) bool { return ok }

func TestCheckTLVs(t *testing.T) {
	for tag, e := range tags {
		if e.name == "" || tag.String() != e.name || e.least > e.most {
			t.Errorf("%04x: %+v", uint16(tag), e)
		}
		for _, n := range []int{e.least, e.most} {
			if err := (TLVs{{0x1400, nil}, {tag, make([]byte, n)}}).Check(); err != nil {
				t.Errorf("%d octets: %v", n, err)
			}
		}
		for _, n := range []int{e.least - 1, e.most + 1} {
			if n < 0 || n > 0xFFFF {
				continue
			}
			if err := (TLVs{{tag, make([]byte, n)}}).Check(); err == nil || !strings.Contains(err.Error(), e.name) {
				t.Errorf("%v with %d octets: %v", tag, n, err)
			}
		}
	}
	if got := Tag(0x1400).String(); got != "tag 0x1400" {
		t.Error(got)
	}
	if n := len(constants(t, "tlv.go", "Tag")); n != len(tags) {
		t.Errorf("%d tags are named, %d are in the table", n, len(tags))
	}
}

// constants returns the names of a file's constants of one type.
func constants(t *testing.T, file, typ string) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == typ {
				for _, n := range v.Names {
					names[n.Name] = true
				}
			}
		}
	}
	return names
}

func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 22, 21, 55, 9, 0, time.UTC)
	for s, want := range map[string]smsc.When{
		"":                 {},
		"000001000000000R": {After: 24 * time.Hour},
		"261122215509000+": {At: at},
		"261122235509008+": {At: at}, // two hours ahead of UTC
		"261122195509008-": {At: at},
		"261122215509300+": {At: at.Add(300 * time.Millisecond)},
		"720229000000000+": {At: time.Date(2072, 2, 29, 0, 0, 0, 0, time.UTC)},
	} {
		if got, ok := ParseTime(s); !ok || !got.At.Equal(want.At) || got.After != want.After || got.IsZero() != (s == "") {
			t.Errorf("%q: %+v %v", s, got, ok)
		}
	}
	for _, bad := range []string{
		"x", "261122215509000", "261122215509000*", "261122215509049+", "261322215509000+", "260230000000000+", "26112221550900x+", "-61122215509000+",
		"00000100000000xR",
	} {
		if got, ok := ParseTime(bad); ok {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	for zone, want := range map[int]string{
		0: "261122215509000+", -3600: "261122205509004-", 20700: "261123034009023+", 8 * 3600: "261123055509032+",
		13 * 3600: "261122215509000+", 1234: "261122215509000+", // not to be written
	} {
		got := FormatTime(at.In(time.FixedZone("", zone)))
		if w, ok := ParseTime(got); got != want || !ok || !w.At.Equal(at) {
			t.Errorf("%d s from UTC: %s, read as %v", zone, got, w)
		}
	}
}
