package smpp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ringway-im/ringway/smsc"
)

// wire walks the fields of one PDU in their wire order, either reading or
// writing: each PDU has one walk method for both, so that the two cannot differ.
// The first fault sticks; what follows it is skipped.
type wire struct {
	b       []byte // writing: appended to; reading: the whole PDU
	off     int    // reading: the next octet
	writing bool
	lenient bool // writing: with the bounds of reading, to write back whatever was read
	body    bool // writing: there was a short_message
	tlv     bool // writing: there was an optional parameter

	texts *smsc.Texts // reading

	fault  Status // what to answer; OK: no fault
	reason string
	at     int // of the fault
}

// walk calls p's walk. The PDUs that make up the traffic are called by their
// types, so that the compiler sees that w stays on the stack.
func (w *wire) walk(p PDU) {
	switch p := p.(type) {
	case *SubmitSM:
		p.walk(w)
	case *SubmitSMResp:
		p.walk(w)
	case *DeliverSM:
		p.walk(w)
	case *DeliverSMResp:
		p.walk(w)
	default:
		other := *w
		p.walk(&other)
		*w = other
	}
}

func (w *wire) fail(s Status, format string, args ...any) {
	if w.fault != OK {
		return
	}
	w.fault, w.reason, w.at = s, fmt.Sprintf(format, args...), w.off
	if w.writing {
		w.at = len(w.b)
	}
}

// take returns the next n octets, nil after a fault. What is missing is answered with s.
func (w *wire) take(n int, s Status, name string) []byte {
	if w.fault != OK {
		return nil
	}
	if left := len(w.b) - w.off; n > left {
		w.fail(s, "%s needs %d octets, %d are left", name, n, left)
		return nil
	}
	w.off += n
	return w.b[w.off-n : w.off : w.off]
}

func (w *wire) u8(v *uint8, name string) {
	switch {
	case w.writing:
		w.b = append(w.b, *v)
	case w.off < len(w.b) && w.fault == OK:
		*v = w.b[w.off]
		w.off++
	default:
		w.take(1, RINVCMDLEN, name)
	}
}

func (w *wire) u32(v *uint32, name string) {
	if w.writing {
		w.b = binary.BigEndian.AppendUint32(w.b, *v)
	} else if b := w.take(4, RINVCMDLEN, name); b != nil {
		*v = binary.BigEndian.Uint32(b)
	}
}

// strict reports whether the specification's bounds apply, and not those of reading.
func (w *wire) strict() bool { return w.writing && !w.lenient }

// size returns the most octets of a field that may be longer when it is read.
func (w *wire) size(written, read int) int {
	if w.strict() {
		return written
	}
	return read
}

// text is a C-octet string of at most size octets, the NUL included; longer ones
// are answered with s.
func (w *wire) text(v *string, size int, s Status, name string) {
	if w.fault != OK {
		return
	}
	if w.writing {
		if *v == "" { // most are
			w.b = append(w.b, 0)
		} else if strings.IndexByte(*v, 0) >= 0 {
			w.fail(s, "%s contains a NUL", name)
		} else if len(*v) >= size {
			w.fail(s, "%s has %d octets, the most is %d", name, len(*v), size-1)
		} else {
			w.b = append(append(w.b, *v...), 0)
		}
		return
	}
	if w.off < len(w.b) && w.b[w.off] == 0 { // most are empty
		w.off++
		return
	}
	n := bytes.IndexByte(w.b[w.off:], 0)
	switch {
	case n < 0:
		w.fail(RINVCMDLEN, "%s has no end", name)
	case n >= size:
		w.fail(s, "%s has %d octets, the most is %d", name, n, size-1)
	default:
		*v = w.texts.Text(w.b[w.off : w.off+n])
		w.off += n + 1
	}
}

// time is a C-octet string that is empty or has exactly 16 characters (SMPP v3.4 §7.1.1).
func (w *wire) time(v *string, s Status, name string) {
	w.text(v, timeSize, s, name)
	if n := len(*v); w.fault == OK && n != 0 && n != timeSize-1 {
		w.fail(s, "%s has %d characters, not 0 or %d", name, n, timeSize-1)
	}
}

func (w *wire) address(ton, npi *uint8, addr *string, size int, s Status, name string) {
	w.u8(ton, name)
	w.u8(npi, name)
	w.text(addr, size, s, name)
}

// shortMessage is sm_length and short_message.
func (w *wire) shortMessage(v *[]byte) {
	if w.writing {
		if len(*v) > maxShortMessage {
			w.fail(RINVMSGLEN, "short_message has %d octets, the most is %d", len(*v), maxShortMessage)
			return
		}
		w.b, w.body = append(append(w.b, byte(len(*v))), *v...), len(*v) > 0
		return
	}
	var n uint8
	w.u8(&n, "sm_length")
	if n > maxShortMessage {
		w.fail(RINVMSGLEN, "sm_length is %d, the most is %d", n, maxShortMessage)
	}
	if b := w.take(int(n), RINVMSGLEN, "short_message"); len(b) > 0 {
		*v = b
	}
}

// tlvs is the rest of the PDU.
func (w *wire) tlvs(v *TLVs) {
	if w.writing {
		w.tlv = len(*v) > 0
		for _, t := range *v {
			if least, most := t.Tag.size(); w.strict() && (len(t.Value) < least || len(t.Value) > most) {
				w.fail(RINVPARLEN, "TLV %v has %d octets, not %d to %d", t.Tag, len(t.Value), least, most)
				return
			}
			if w.strict() && w.body && t.Tag == TagMessagePayload { // SMPP v3.4 §4.4.1
				w.fail(ROPTPARNOTALLWD, "both short_message and message_payload")
				return
			}
			if len(t.Value) > 0xffff {
				w.fail(RINVPARLEN, "TLV %v has %d octets, the most is 65535", t.Tag, len(t.Value))
				return
			}
			w.b = binary.BigEndian.AppendUint16(w.b, uint16(t.Tag))
			w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(t.Value)))
			w.b = append(w.b, t.Value...)
		}
		return
	}
	for w.fault == OK && w.off < len(w.b) {
		h := w.take(4, RINVOPTPARSTREAM, "TLV header")
		if h == nil {
			return
		}
		tag := Tag(binary.BigEndian.Uint16(h))
		n := int(binary.BigEndian.Uint16(h[2:]))
		if left := len(w.b) - w.off; n > left {
			w.fail(RINVOPTPARSTREAM, "TLV %v says %d octets, %d are left", tag, n, left)
			return
		}
		value := w.take(n, RINVOPTPARSTREAM, "TLV")
		if *v == nil {
			*v = make(TLVs, 0, 4) // a receipt has three
		}
		*v = append(*v, TLV{tag, value})
	}
}
