package text

// escape leads in a character of the extension table.
const escape = 0x1B

// alphabet is the GSM default alphabet in order of its codes (3GPP 23.038
// §6.2.1). Code 09 is Ç: the standard's table, though some mapping files say ç.
var alphabet = [128]rune([]rune("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ" +
	` !"#¤%&'()*+,-./0123456789:;<=>?` +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"))

// extension is the default extension table (3GPP 23.038 §6.2.1.1).
var extension = map[byte]rune{
	0x0A: '\f', 0x14: '^', 0x28: '{', 0x29: '}', 0x2F: '\\',
	0x3C: '[', 0x3D: '~', 0x3E: ']', 0x40: '|', 0x65: '€',
}

// EncodeGSM7 returns s in the GSM default alphabet, one septet an octet, and
// whether DecodeGSM7 gives s back. It does not for whatever the alphabet lacks:
// ç, the backquote, most of the world's letters.
func EncodeGSM7(s string) ([]byte, bool) { return encodeGSM7(s, Shift{}) }

// encodeGSM7 is EncodeGSM7 with the tables that shift names.
func encodeGSM7(s string, shift Shift) ([]byte, bool) {
	table, ok := codes[shift]
	if !ok {
		return nil, false
	}
	data := make([]byte, 0, len(s))
	for _, r := range s {
		code, ok := table[r]
		switch {
		case !ok:
			return nil, false
		case code > 0x7F:
			data = append(data, escape, code&0x7F)
		default:
			data = append(data, code)
		}
	}
	return data, true
}

// DecodeGSM7 reads septets, one an octet. As 3GPP 23.038 has it, an unknown
// code behind an escape means the default alphabet's character, and two escapes
// a space. An octet above 7F is no septet and becomes U+FFFD, an escape at the
// end nothing.
func DecodeGSM7(data []byte) string { return decodeGSM7(data, Shift{}) }

// decodeGSM7 is DecodeGSM7 with the tables that shift names, the default ones
// where these are unknown.
func decodeGSM7(data []byte, shift Shift) string {
	locked, shifted := shift.tables()
	text := make([]rune, 0, len(data))
	escaped := false
	for _, code := range data {
		r, extended := rune(0), false
		if escaped {
			r, extended = shifted[code]
		}
		switch {
		case code > 0x7F:
			text = append(text, '\uFFFD')
		case escaped && code == escape:
			text = append(text, ' ')
		case extended:
			text = append(text, r)
		case code == escape:
			escaped = true
			continue
		case locked[code] == 0: // the table has none
			text = append(text, '\uFFFD')
		default:
			text = append(text, locked[code])
		}
		escaped = false
	}
	return string(text)
}

// Pack puts septets into octets, eight into seven, lowest bit first; spare bits
// are 0 (3GPP 23.038 §6.1.2.1).
func Pack(septets []byte) []byte {
	octets := make([]byte, 0, (len(septets)*7+7)/8)
	bits, n := uint16(0), 0
	for _, s := range septets {
		bits |= uint16(s&0x7F) << n
		if n += 7; n >= 8 {
			octets = append(octets, byte(bits))
			bits >>= 8
			n -= 8
		}
	}
	if n > 0 {
		octets = append(octets, byte(bits))
	}
	return octets
}

// Unpack takes n septets out of octets, or as many as there are. With n < 0,
// when the count is not known, it takes all but leaves out a 00 in the last
// seven bits of a multiple of seven octets: that is padding more likely than '@'.
func Unpack(octets []byte, n int) []byte {
	whole := len(octets) * 8 / 7
	guess := n < 0
	if guess || n > whole {
		n = whole
	}
	septets := make([]byte, n)
	for i := range septets {
		bit := i * 7
		two := uint16(octets[bit/8])
		if bit/8+1 < len(octets) {
			two |= uint16(octets[bit/8+1]) << 8
		}
		septets[i] = byte(two>>(bit%8)) & 0x7F
	}
	if guess && n > 0 && len(octets)%7 == 0 && septets[n-1] == 0 {
		septets = septets[:n-1]
	}
	return septets
}
