package cimd2

import (
	"strings"

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

// EncodeText writes septets of the GSM default alphabet as a value of parameter
// 033. Everything is escaped that a reader of ASCII, Latin-1 or ISO 646-FI could
// take for another character. An octet above 7F is no septet and becomes '?'.
func EncodeText(septets []byte) string {
	var b strings.Builder
	b.Grow(len(septets) + len(septets)/4)
	for _, s := range septets {
		switch {
		case s > 0x7F:
			b.WriteByte('?')
		case s == 0x02:
			b.WriteByte('$')
		case s != '"' && escapes[s] != "":
			b.WriteString(escapes[s])
		default:
			b.WriteByte(s)
		}
	}
	return b.String()
}

// DecodeText reads a value of parameter 033 into septets: escapes, ISO 8859-1
// above 7F, and the letters that ISO 646-FI has in place of brackets. An escape
// that is none stands for itself; what the alphabet lacks becomes '?'.
func DecodeText(value string) []byte {
	septets := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '_' {
			if i+3 <= len(value) {
				if s, ok := unescapes[value[i:i+3]]; ok {
					septets = append(septets, s)
					i += 2
					continue
				}
			}
			septets = append(septets, 0x11)
			continue
		}
		septets = append(septets, septetOf(c))
	}
	return septets
}

func septetOf(c byte) byte {
	switch c {
	case '@':
		return 0x00
	case '$':
		return 0x02
	case ']':
		return 0x0E // Å
	case '}':
		return 0x0F // å
	case 0xE7:
		return 0x09 // ç, which shares the code of Ç
	case '\n', '\r', '[', '\\', '^', '`', '{', '|', '~':
		return c // the rest of ISO 646-FI has the GSM codes
	}
	if c >= 0x20 && c < 0x7F {
		return c
	}
	if s, ok := text.EncodeGSM7(string(rune(c))); ok && len(s) == 1 && c >= 0x80 {
		return s[0]
	}
	return '?'
}
