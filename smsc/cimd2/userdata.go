package cimd2

import (
	"strings"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// escapes are the three-octet names of characters of the GSM default alphabet.
var escapes = [128]string{
	0x00: "_Oa", 0x01: "_L-", 0x03: "_Y-", 0x04: "_e`", 0x05: "_e'", 0x06: "_u`", 0x07: "_i`", 0x08: "_o`", 0x09: "_C,",
	0x0B: "_O/", 0x0C: "_o/", 0x0E: "_A*", 0x0F: "_a*", 0x10: "_gd", 0x11: "_--", 0x12: "_gf", 0x13: "_gg", 0x14: "_gl",
	0x15: "_go", 0x16: "_gp", 0x17: "_gi", 0x18: "_gs", 0x19: "_gt", 0x1A: "_gx", 0x1B: "_XX", 0x1C: "_AE", 0x1D: "_ae",
	0x1E: "_ss", 0x1F: "_E'", 0x22: "_qq", 0x24: "_ox", 0x40: "_!!", 0x5B: "_A\"", 0x5C: "_O\"", 0x5D: "_N~", 0x5E: "_U\"",
	0x5F: "_so", 0x60: "_??", 0x7B: "_a\"", 0x7C: "_o\"", 0x7D: "_n~", 0x7E: "_u\"", 0x7F: "_a`",
}

var unescapes = func() map[string]byte {
	m := map[string]byte{}
	for septet, name := range escapes {
		if name != "" {
			m[name] = byte(septet)
		}
	}
	return m
}()

const escape = 0x1B // leads in a septet of the extension table

// alphabet is how a value of parameter 033 writes septets without escapes, and
// how octets are read.
type alphabet struct {
	plain    [128]byte // the octet that a septet is written as; 0: as an escape
	extended [128]byte // the same for one of the extension table
	septet   [256]byte // what an octet is read as
	lead     [256]bool // behind an escape septet
	other    [256]byte // 0: a septet that is written as it is
}

// alphabets by smsc.Alphabet. GSM is the specification's. SMSCs of the other
// two take 033 for ISO 8859-1 or ASCII, in which brackets are brackets; what
// these lack, and '_', is escaped all the same.
var alphabets = [...]*alphabet{
	smsc.AlphabetGSM:    gsmAlphabet(),
	smsc.AlphabetLatin1: latinAlphabet(0xFF),
	smsc.AlphabetASCII:  latinAlphabet(0x7E),
}

func alphabetOf(a smsc.Alphabet) *alphabet {
	if int(a) >= len(alphabets) {
		a = smsc.AlphabetGSM
	}
	return alphabets[a]
}

// gsmAlphabet writes as they are only those septets that no reader of ASCII,
// ISO 8859-1 or ISO 646-FI could take for another character. It reads ISO
// 8859-1 above 7F, and below it the letters that ISO 646-FI has for brackets,
// most of which have the GSM codes.
func gsmAlphabet() *alphabet {
	a := newAlphabet()
	for s, name := range escapes {
		if name == "" || s == '"' {
			a.plain[s] = byte(s)
		}
	}
	a.plain[0x02] = '$'
	for c := byte(0x20); c < 0x7F; c++ {
		a.septet[c] = c
	}
	a.septet['@'], a.septet['$'], a.septet['_'] = 0x00, 0x02, 0x11
	a.septet[']'], a.septet['}'] = 0x0E, 0x0F // Å å
	a.septet['\n'], a.septet['\r'] = '\n', '\r'
	return a.compare()
}

func latinAlphabet(last rune) *alphabet {
	a := newAlphabet()
	for s := range byte(128) {
		if c := printable(text.DecodeGSM7([]byte{s}), last); c != 0 {
			a.plain[s], a.septet[c] = c, s
		}
	}
	for s := range byte(128) {
		c := printable(text.DecodeGSM7([]byte{escape, s}), last)
		if c != 0 && s != escape && a.plain[a.septet[c]] != c {
			a.extended[s], a.septet[c], a.lead[c] = c, s, true
		}
	}
	a.septet['_'] = 0x11
	return a.compare()
}

// compare fills in other.
func (a *alphabet) compare() *alphabet {
	for c := range a.other {
		if c == 0 || c > 0x7F || int(a.plain[c]) != c {
			a.other[c] = 1
		}
	}
	return a
}

// newAlphabet reads ISO 8859-1 above 7F as far as it can be; ç shares the code of Ç.
func newAlphabet() *alphabet {
	a := &alphabet{}
	for c := range a.septet {
		a.septet[c] = '?'
		if s, ok := text.EncodeGSM7(string(rune(c))); ok && len(s) == 1 && c >= 0x80 {
			a.septet[c] = s[0]
		}
	}
	a.septet[0xE7] = 0x09
	return a
}

// printable returns the octet of a single character up to last, 0 if it is none.
func printable(s string, last rune) byte {
	c := []rune(s)
	if len(c) == 1 && c[0] <= last && c[0] != '_' && (c[0] == '\n' || c[0] == '\r' || c[0] >= ' ' && c[0] < 0x7F || c[0] > 0xA0) {
		return byte(c[0])
	}
	return 0
}

// same returns how many octets at the start are written as they are.
func (a *alphabet) same(octets []byte) int {
	i := 0
	for ; i+4 <= len(octets); i += 4 { // four at once: most texts are
		if o := octets[i : i+4]; a.other[o[0]]|a.other[o[1]]|a.other[o[2]]|a.other[o[3]] != 0 {
			break
		}
	}
	for i < len(octets) && a.other[octets[i]] == 0 {
		i++
	}
	return i
}

// EncodeText writes septets of the GSM default alphabet as a value of parameter
// 033. An octet above 7F is no septet and becomes '?'.
func EncodeText(septets []byte, in smsc.Alphabet) string {
	return encodeText(septets, in, new(smsc.Texts))
}

func encodeText(septets []byte, in smsc.Alphabet, texts *smsc.Texts) string {
	a := alphabetOf(in)
	if n := a.same(septets); n == len(septets) {
		return texts.Text(septets)
	}
	var b strings.Builder
	b.Grow(len(septets) + len(septets)/4)
	for i := 0; i < len(septets); i++ {
		s := septets[i]
		switch {
		case s > 0x7F:
			b.WriteByte('?')
		case a.plain[s] != 0:
			b.WriteByte(a.plain[s])
		case s == escape && i+1 < len(septets) && septets[i+1] < 0x80 && a.extended[septets[i+1]] != 0:
			i++
			b.WriteByte(a.extended[septets[i]])
		default:
			b.WriteString(escapes[s])
		}
	}
	return b.String()
}

// DecodeText reads a value of parameter 033 into septets. An escape that is none
// stands for itself; what the alphabet lacks becomes '?'.
func DecodeText(value string, in smsc.Alphabet) []byte {
	return decodeText(value, in, new(smsc.Octets))
}

func decodeText(value string, in smsc.Alphabet, octets *smsc.Octets) []byte {
	a := alphabetOf(in)
	septets := octets.New(len(value))
	copy(septets, value)
	septets = septets[:a.same(septets)]
	for i := len(septets); i < len(value); i++ {
		c := value[i]
		if c == '_' && i+3 <= len(value) {
			if s, ok := unescapes[value[i:i+3]]; ok {
				septets = append(septets, s)
				i += 2
				continue
			}
		}
		if a.lead[c] {
			septets = append(septets, escape)
		}
		septets = append(septets, a.septet[c])
	}
	return septets
}
