package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ringway-im/ringway/smsc/text"
)

func inspectText(t *testing.T, args ...string) (inspection, string) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(append([]string{"text", "inspect", "--json"}, args...), streams{&out, &errs}); status != 0 {
		t.Fatalf("%q: status %d: %s", args, status, &errs)
	}
	var found inspection
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if status := run(append([]string{"text", "inspect"}, args...), streams{&out, &errs}); status != 0 {
		t.Fatalf("%q: status %d: %s", args, status, &errs)
	}
	return found, out.String()
}

func TestTextInspect(t *testing.T) {
	for _, c := range []struct {
		args            []string
		encoding        string
		length, perPart int
		octets          []int // of each part
		reason          string
		says            string
	}{
		{[]string{"Hello €"}, "gsm7", 8, 160, []int{7}, "", "parts     1 of at most 160 septets"},
		{[]string{"a`b`"}, "ucs2", 4, 70, []int{8}, "`", "because of \"`\" U+0060, character 2: the GSM default alphabet has none"},
		{[]string{strings.Repeat("a", 161)}, "gsm7", 161, 153, []int{140, 14}, "", "part 2    8 septets, 14 octets"},
		{[]string{"--wide", strings.Repeat("a", 161)}, "gsm7", 161, 152, []int{140, 15}, "", "060804"},
		{[]string{strings.Repeat("😀", 36)}, "ucs2", 72, 67, []int{138, 18}, "😀", "U+1F600, character 1"},
		{[]string{"--national", "turkish", strings.Repeat("ş", 100)}, "gsm7", 100, 155, []int{92}, "ş", "locking shift turkish"},
		{[]string{""}, "gsm7", 0, 160, []int{0}, "", "parts     1"},
	} {
		found, human := inspectText(t, c.args...)
		if found.Encoding != c.encoding || found.Length != c.length || found.PerPart != c.perPart || len(found.Parts) != len(c.octets) {
			t.Errorf("%.30q: %+v", c.args, found)
			continue
		}
		whole := ""
		for i, p := range found.Parts {
			if p.Octets != c.octets[i] {
				t.Errorf("%.30q: part %d has %d octets, want %d", c.args, i+1, p.Octets, c.octets[i])
			}
			whole += p.Text
		}
		if whole != c.args[len(c.args)-1] {
			t.Errorf("%.30q comes back as %.30q", c.args, whole)
		}
		if got := append(found.Reasons, reason{})[0].Character; got != c.reason {
			t.Errorf("%.30q: because of %q, want %q", c.args, got, c.reason)
		}
		if !strings.Contains(human, c.says) {
			t.Errorf("%.30q: no %q in\n%s", c.args, c.says, human)
		}
	}
}

// The packets are those of the protocols: their ends are the text's own octets.
func TestTextInspectOctets(t *testing.T) {
	found, _ := inspectText(t, "Hello {")
	p := found.Parts[0]
	if p.Data != "48656C6C6F201B28" || p.Radio != "C8329BFD066D50" || p.UDH != "" {
		t.Errorf("%+v", p)
	}
	if !strings.HasSuffix(p.Submit["smpp"], "08"+p.Data) || !strings.HasPrefix(p.Submit["smpp"], "0000") {
		t.Errorf("SMPP %s", p.Submit["smpp"])
	}
	cimd2, err := hex.DecodeString(p.Submit["cimd2"])
	if err != nil || !bytes.HasPrefix(cimd2, []byte("\x0203:003\t021:+639171234567\t023:63917000\t")) || !bytes.Contains(cimd2, []byte("\t033:Hello {")) && !bytes.Contains(cimd2, []byte("\t033:Hello _XX(")) {
		t.Errorf("CIMD2 %q, %v", cimd2, err)
	}
}

// What goes over the radio behind a header begins at a septet's border.
func TestRadio(t *testing.T) {
	for _, udh := range []string{"", "050003010201", "06080400010201", "03250101"} {
		header, err := hex.DecodeString(udh)
		if err != nil {
			t.Fatal(err)
		}
		octets := radio(text.GSM7, text.Piece{UDH: header, Data: []byte("Hello")})
		room := (8*len(header) + 6) / 7
		if got := text.Unpack(octets, room+5)[room:]; string(got) != "Hello" || !bytes.HasPrefix(octets, header) {
			t.Errorf("header %s: %X", udh, octets)
		}
	}
}

// The help names every language that there is a table for.
func TestTextInspectHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run([]string{"text", "inspect", "--help"}, streams{&out, &errs}); status != exitOK {
		t.Fatalf("status %d: %s", status, &errs)
	}
	for _, language := range text.Languages() {
		if !strings.Contains(out.String(), language) {
			t.Errorf("no %s in\n%s", language, &out)
		}
	}
}

func TestTextInspectRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		"turkish, or spanish, or portuguese": {"--national", "klingon", "x"},
		"too long":                           {strings.Repeat("a", 255*153+1)},
		"expected":                           {},
	} {
		var out, errs bytes.Buffer
		if status := run(append([]string{"text", "inspect"}, args...), streams{&out, &errs}); status != exitConfig || !strings.Contains(errs.String(), says) {
			t.Errorf("%.40q: status %d, %s", args, status, &errs)
		}
	}
}
