package session

import (
	"strings"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// cut makes a message's parts. reference is that of the concatenation. The
// error is text.ErrNotUTF8 or wraps text.ErrTooLong.
func cut(m *messages.Message, reference uint8, receipts bool) ([]smsc.Part, error) {
	coding, data, err := text.Encode(m.GetText())
	if err != nil {
		return nil, err
	}
	pieces, err := text.Split(coding, data, text.Reference{Number: uint16(reference)})
	if err != nil {
		return nil, err
	}
	parts := make([]smsc.Part, len(pieces))
	for i, p := range pieces {
		parts[i] = smsc.Part{
			From: smsc.ParseAddress(m.GetOriginator()), To: smsc.ParseAddress(m.GetTo()),
			Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data,
			Report: receipts, More: i+1 < len(pieces),
		}
	}
	return parts, nil
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
