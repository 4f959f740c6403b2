package session

import (
	"hash/fnv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// Encoding is how texts become parts for an SMSC. The zero value is GSM 7-bit
// where possible, else UCS2, with 8-bit references.
type Encoding struct {
	Alphabet  smsc.Alphabet   // in which the SMSC takes GSM7: what it lacks goes as UCS2
	National  []text.Language // shift tables that the handsets know
	LongTexts smsc.LongTexts  // LongPayload: a long text is one part, whatever its length
	Wide      bool            // 16-bit references: they collide less, a part holds an octet less
	Cedilla   bool            // ç goes as Ç, whose code it shares at many handsets, where that saves UCS2
}

// cut makes a message's parts. reference is that of the concatenation. The
// error is text.ErrNotUTF8 or wraps text.ErrTooLong.
func (e Encoding) cut(m *messages.Message, reference uint8, receipts bool) ([]smsc.Part, error) {
	encoded, err := e.encode(m.GetText())
	if err != nil {
		return nil, err
	}
	ref := text.Reference{Number: uint16(reference), Wide: e.Wide}
	if e.Wide { // the same after a restart, and seldom that of another text
		h := fnv.New32a()
		_, _ = h.Write(m.GetId())
		ref.Number |= uint16(h.Sum32()) << 8
	}
	pieces, err := encoded.Split(ref)
	if err != nil {
		return nil, err
	}
	if e.LongTexts == smsc.LongPayload && len(pieces) > 1 {
		pieces = []text.Piece{{Data: encoded.Data}}
	}
	parts := make([]smsc.Part, len(pieces))
	for i, p := range pieces {
		parts[i] = smsc.Part{
			From: smsc.ParseAddress(m.GetOriginator()), To: smsc.ParseAddress(m.GetTo()),
			Coding: encoded.Coding, Class: -1, UDH: p.UDH, Data: p.Data,
			Report: receipts, More: i+1 < len(pieces),
		}
	}
	return parts, nil
}

func (e Encoding) encode(s string) (text.Encoded, error) {
	if e.LongTexts == smsc.LongPayload {
		e.National = nil // they are named in a header, which the SMSC that cuts the text makes
	}
	if e.Cedilla {
		if capital := strings.ReplaceAll(s, "ç", "Ç"); gsm7(capital) {
			s = capital
		}
	}
	encoded, err := text.EncodeFor(s, e.National...)
	if err != nil || encoded.Coding != text.GSM7 || e.Alphabet == smsc.AlphabetGSM {
		return encoded, err
	}
	limit := rune(0xFF)
	if e.Alphabet == smsc.AlphabetASCII {
		limit = 0x7F
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r > limit }) {
		return text.Encoded{Coding: text.UCS2, Data: text.EncodeUCS2(s)}, nil
	}
	return encoded, nil
}

// gsm7 reports whether the default alphabet has all of s.
func gsm7(s string) bool {
	_, ok := text.EncodeGSM7(s)
	return ok
}

// deadline is when m is worth nothing any more: its own, else validity after
// its acceptance; zero: never.
func deadline(m *messages.Message, validity time.Duration, now time.Time) time.Time {
	switch {
	case m.GetDeadlineUnixMs() != 0:
		return time.UnixMilli(m.GetDeadlineUnixMs())
	case validity <= 0:
		return time.Time{}
	case m.GetAcceptedUnixMs() != 0:
		return time.UnixMilli(m.GetAcceptedUnixMs()).Add(validity)
	default:
		return now.Add(validity)
	}
}

// clean makes what an SMSC wrote fit to be passed on: storage and the hub take
// nothing but UTF-8.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
