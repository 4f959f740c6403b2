package text

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Coding is how the user data of a short message part is encoded.
type Coding uint8

const (
	GSM7   Coding = iota // GSM 03.38 default alphabet with extension table, one septet an octet
	UCS2                 // big-endian 16-bit units, surrogate pairs as in UTF-16
	Latin1               // ISO 8859-1, where an SMSC or handset asks for it
	Binary               // octets without a text
)

var codings = [...]string{"gsm7", "ucs2", "latin1", "binary"}

func (c Coding) String() string {
	if int(c) < len(codings) {
		return codings[c]
	}
	return fmt.Sprintf("coding(%d)", uint8(c))
}

// ErrNotUTF8 is the answer to a text that is not valid UTF-8: it cannot come
// back the same, so it is the sender's to mend.
var ErrNotUTF8 = errors.New("text: not valid UTF-8")

const byteOrderMark = '\uFEFF'

// Encoded is a text in some coding.
type Encoded struct {
	Coding Coding
	Shift  Shift // of GSM7
	Data   []byte
}

// Encode returns s in the smallest coding in which the same text comes back:
// GSM7 with the default tables, else UCS2. The only error is ErrNotUTF8.
func Encode(s string) (Coding, []byte, error) {
	e, err := EncodeFor(s)
	return e.Coding, e.Data, err
}

// EncodeFor is Encode for receivers whose handsets know these national
// languages: their tables are used where that saves parts.
func EncodeFor(s string, national ...Language) (Encoded, error) {
	if !utf8.ValidString(s) {
		return Encoded{}, ErrNotUTF8
	}
	if data, ok := EncodeGSM7(s); ok {
		return Encoded{Coding: GSM7, Data: data}, nil
	}
	best := Encoded{Coding: UCS2, Data: EncodeUCS2(s)}
	fewest := best.parts()
	for _, language := range national {
		for _, shift := range language.shifts() {
			data, ok := encodeGSM7(s, shift)
			if e := (Encoded{Coding: GSM7, Shift: shift, Data: data}); ok && e.parts() < fewest {
				best, fewest = e, e.parts()
			}
		}
	}
	return best, nil
}

// Decode reads data in any coding; what breaks the coding's rules becomes
// U+FFFD. Binary is written as hexadecimal digits, for people.
func Decode(c Coding, data []byte) string {
	return Encoded{Coding: c, Data: data}.String()
}

// String decodes e, as Decode.
func (e Encoded) String() string {
	switch e.Coding {
	case GSM7:
		return decodeGSM7(e.Data, e.Shift)
	case UCS2:
		return DecodeUCS2(e.Data)
	case Latin1:
		return DecodeLatin1(e.Data)
	default:
		return fmt.Sprintf("%X", e.Data)
	}
}

// EncodeUCS2 returns s in big-endian 16-bit units. A byte order mark at the
// start is written twice, because DecodeUCS2 takes one off.
func EncodeUCS2(s string) []byte {
	data := make([]byte, 0, 2*len(s))
	for i, r := range s {
		if i == 0 && r == byteOrderMark {
			data = append(data, 0xFE, 0xFF)
		}
		if r > 0xFFFF {
			high, low := utf16.EncodeRune(r)
			data = append(data, byte(high>>8), byte(high))
			r = low
		}
		data = append(data, byte(r>>8), byte(r))
	}
	return data
}

// DecodeUCS2 reads big-endian 16-bit units without the byte order mark some
// peers begin with. Half a surrogate pair and an odd last octet become U+FFFD.
func DecodeUCS2(data []byte) string {
	units := make([]uint16, 0, len(data)/2+1)
	for i := 0; i+1 < len(data); i += 2 {
		units = append(units, uint16(data[i])<<8|uint16(data[i+1]))
	}
	if len(units) > 0 && units[0] == byteOrderMark {
		units = units[1:]
	}
	if len(data)%2 == 1 {
		units = append(units, 0xFFFD)
	}
	return string(utf16.Decode(units))
}

// EncodeLatin1 returns s in ISO 8859-1, and whether all of it could be written.
func EncodeLatin1(s string) ([]byte, bool) {
	data := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xFF {
			return nil, false
		}
		data = append(data, byte(r))
	}
	return data, true
}

// DecodeLatin1 reads ISO 8859-1.
func DecodeLatin1(data []byte) string {
	text := make([]rune, len(data))
	for i, b := range data {
		text[i] = rune(b)
	}
	return string(text)
}
