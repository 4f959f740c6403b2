package text

import (
	"bytes"
	"errors"
	"fmt"
)

// MaxParts is how many parts one text can have: the number is one octet.
const MaxParts = 255

// ErrTooLong is the answer to a text of more than MaxParts parts.
var ErrTooLong = errors.New("text: too long")

// Reference names a text among those of the same two addresses. It must not
// come again before the validity of the earlier text is over, so Wide (16 bits)
// collides less, but costs one octet a part.
type Reference struct {
	Number uint16 // 0 to 255 unless Wide: the rest is cut off
	Wide   bool
}

// Piece is what one part of a text carries.
type Piece struct {
	UDH  []byte // whole user data header with its length octet; nil: none
	Data []byte // in the text's coding, GSM7 unpacked
}

// Split cuts a text without national tables, as Encoded.Split.
func Split(c Coding, data []byte, ref Reference) ([]Piece, error) {
	return Encoded{Coding: c, Data: data}.Split(ref)
}

// Split cuts a text into as few pieces as possible, each at most 140 octets over
// the radio with its header (3GPP 23.040 §9.2.3.24.1). One piece has no header
// but for national tables. It cuts neither between an escape and its character
// nor in a surrogate pair. The error wraps ErrTooLong. The pieces share e.Data's
// memory.
func (e Encoded) Split(ref Reference) ([]Piece, error) {
	shift := e.Shift.elements()
	alone := header(shift)
	if len(e.Data) <= Limit(e.Coding, len(alone)) {
		return []Piece{{UDH: alone, Data: e.Data}}, nil
	}
	limit := Limit(e.Coding, len(header(ref.element(0, 0), shift)))
	var pieces []Piece
	for data := e.Data; len(data) > 0; {
		n := cut(e.Coding, data, limit)
		pieces = append(pieces, Piece{Data: data[:n:n]})
		data = data[n:]
	}
	if len(pieces) > MaxParts {
		return nil, fmt.Errorf("%w: %d parts in %v, at most %d", ErrTooLong, len(pieces), e.Coding, MaxParts)
	}
	for i := range pieces {
		pieces[i].UDH = header(ref.element(len(pieces), i+1), shift)
	}
	return pieces, nil
}

// parts is how many pieces there would be, however many.
func (e Encoded) parts() (n int) {
	shift := e.Shift.elements()
	if len(e.Data) <= Limit(e.Coding, len(header(shift))) {
		return 1
	}
	limit := Limit(e.Coding, len(header(Reference{}.element(0, 0), shift)))
	for data := e.Data; len(data) > 0; n++ {
		data = data[cut(e.Coding, data, limit):]
	}
	return n
}

// Parts returns how many parts s takes with 8-bit references, and its coding.
// The error is ErrNotUTF8 or wraps ErrTooLong.
func Parts(s string) (n int, c Coding, err error) {
	e, err := EncodeFor(s)
	if err != nil {
		return 0, e.Coding, err
	}
	if n = e.parts(); n > MaxParts {
		return 0, e.Coding, fmt.Errorf("%w: %d parts in %v, at most %d", ErrTooLong, n, e.Coding, MaxParts)
	}
	return n, e.Coding, nil
}

// Limit returns how many octets of Data fit beside a user data header of udh
// octets (its length octet included; 0: none) into one part: septets in GSM7, even in UCS2.
func Limit(c Coding, udh int) int {
	room := max(140-udh, 0)
	switch c {
	case GSM7:
		return room * 8 / 7
	case UCS2:
		return room &^ 1
	default:
		return room
	}
}

// cut returns how much of data, which begins with a whole character, goes into
// a piece of at most limit octets.
func cut(c Coding, data []byte, limit int) int {
	if len(data) <= limit {
		return len(data)
	}
	switch c {
	case GSM7:
		escapes := 0
		for escapes < limit && data[limit-1-escapes] == escape {
			escapes++
		}
		if escapes%2 == 1 { // an even number is pairs of escapes
			return limit - 1
		}
	case UCS2:
		if limit+2 <= len(data) && data[limit-2]&0xFC == 0xD8 && data[limit]&0xFC == 0xDC {
			return limit - 2
		}
	}
	return limit
}

// Information element identifiers (3GPP 23.040 §9.2.3.24).
const (
	concat8  = 0x00
	concat16 = 0x08
)

// element is the information element that says where in its text a part stands.
func (ref Reference) element(total, number int) []byte {
	if ref.Wide {
		return []byte{concat16, 4, byte(ref.Number >> 8), byte(ref.Number), byte(total), byte(number)}
	}
	return []byte{concat8, 3, byte(ref.Number), byte(total), byte(number)}
}

// header makes a user data header of information elements; nil of none.
func header(elements ...[]byte) []byte {
	all := bytes.Join(elements, nil)
	if len(all) == 0 {
		return nil
	}
	return append([]byte{byte(len(all))}, all...)
}

// Element is one information element of a user data header.
type Element struct {
	ID   byte
	Data []byte
}

// Concat is what a part says about its place in a text.
type Concat struct {
	Ref           Reference
	Total, Number uint8 // Number counts from 1
}

// Key names a text in the making at its receiver: parts with equal keys belong
// together. From and To as smsc.Address writes them.
type Key struct {
	From, To string
	Ref      Reference
	Total    uint8
}

// CutUDH splits user data that begins with a header, as the radio and SMPP's
// short_message have it, into header and data.
func CutUDH(octets []byte) (udh, data []byte, err error) {
	if len(octets) == 0 || len(octets) < 1+int(octets[0]) {
		return nil, octets, fmt.Errorf("text: user data header is cut off: %d octets of user data", len(octets))
	}
	n := 1 + int(octets[0])
	return octets[:n:n], octets[n:], nil
}

// ParseUDH reads a whole user data header, length octet included. The elements
// before a fault are returned with the error.
func ParseUDH(udh []byte) ([]Element, error) {
	if len(udh) == 0 {
		return nil, nil
	}
	if int(udh[0]) != len(udh)-1 {
		return nil, fmt.Errorf("text: user data header says %d octets follow, but %d do", udh[0], len(udh)-1)
	}
	var elements []Element
	for rest := udh[1:]; len(rest) > 0; {
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return elements, fmt.Errorf("text: information element at octet %d of the user data header is cut off", len(udh)-len(rest))
		}
		n := 2 + int(rest[1])
		elements = append(elements, Element{ID: rest[0], Data: rest[2:n:n]})
		rest = rest[n:]
	}
	return elements, nil
}

// Concatenation returns the place in a text that udh tells. There is none when
// udh is no header, or the element makes no sense (number 0 or above the total):
// such a part stands for itself. The last of several elements counts.
func Concatenation(udh []byte) (Concat, bool) {
	elements, err := ParseUDH(udh)
	if err != nil {
		return Concat{}, false
	}
	var c Concat
	found := false
	for _, e := range elements {
		d := e.Data
		var next Concat
		switch {
		case e.ID == concat8 && len(d) == 3:
			next = Concat{Ref: Reference{Number: uint16(d[0])}, Total: d[1], Number: d[2]}
		case e.ID == concat16 && len(d) == 4:
			next = Concat{Ref: Reference{Number: uint16(d[0])<<8 | uint16(d[1]), Wide: true}, Total: d[2], Number: d[3]}
		}
		if next.Number > 0 && next.Number <= next.Total {
			c, found = next, true
		}
	}
	return c, found
}

// Placement is how a part that has come relates to those stored under its key.
type Placement uint8

const (
	Added     Placement = iota // store it
	Duplicate                  // the same part again: drop it
	Clash                      // other data under the same number: another text uses the reference, start anew with this part alone
)

// Place says what to do with piece, given the stored ones with an equal key.
func Place(stored []Piece, piece Piece) Placement {
	place, _ := Concatenation(piece.UDH)
	for _, s := range stored {
		if c, _ := Concatenation(s.UDH); c.Number == place.Number {
			if bytes.Equal(s.Data, piece.Data) {
				return Duplicate
			}
			return Clash
		}
	}
	return Added
}

// Join puts the parts of one text together, in any order and with an equal key:
// the data to Decode as a whole, since a peer may cut in the middle of a
// character. Not ok while a part is missing. A piece that stands for itself is
// a text; of two with the same number the first counts.
func Join(pieces ...Piece) (data []byte, ok bool) {
	if len(pieces) == 0 {
		return nil, false
	}
	first, ok := Concatenation(pieces[0].UDH)
	if !ok {
		return pieces[0].Data, len(pieces) == 1
	}
	parts := make([][]byte, first.Total)
	have := 0
	for _, p := range pieces {
		c, ok := Concatenation(p.UDH)
		if !ok || c.Ref != first.Ref || c.Total != first.Total {
			return nil, false
		}
		if parts[c.Number-1] == nil {
			parts[c.Number-1] = append([]byte{}, p.Data...)
			have++
		}
	}
	if have < len(parts) {
		return nil, false
	}
	return bytes.Join(parts, nil), true
}
