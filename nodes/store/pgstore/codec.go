package pgstore

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// message is a record and what else is stored with it.
type message struct {
	journal.Record
	hash    []byte
	planned int    // short messages, as counted when it was accepted
	inbox   uint64 // its number among the recipient's events; 0: not in an inbox
	settled bool   // stands in the retention index
}

// goesDown: it is on its way to a handset, not from one.
func (m *message) goesDown() bool { return m.inbox == 0 && m.Message.To != "" }

// open: the edge has not settled it.
func (m *message) open() bool { return !m.Final && !m.settled }

// sender is whose events tell of the message's states; "": nobody's.
func (m *message) sender() string {
	from := m.Message.From
	if m.Message.Kind == messages.Message_NOTICE || from == "" || from[0] == '+' {
		return ""
	}
	return from
}

// detail is what changes about a message beside what has columns of its own.
func (m *message) detail() []byte {
	w := make(writer, 0, 64+16*len(m.History))
	var flags uint64
	if m.Doubled {
		flags |= 1
	}
	if m.Reason != nil {
		flags |= 2
	}
	w.uint(flags)
	w.uint(uint64(m.Attempts))
	if m.Reason != nil {
		w.string(m.Reason.Code)
		w.string(m.Reason.SmscCode)
		w.string(m.Reason.Text)
	}
	w.uint(uint64(len(m.Parts)))
	for _, p := range m.Parts {
		w.uint(uint64(p.State))
		w.string(p.SmscId)
	}
	w.uint(uint64(len(m.History)))
	var before int64
	for _, s := range m.History {
		w.uint(uint64(s.State))
		at := s.At.UnixMilli()
		w.int(at - before)
		before = at
	}
	return w
}

func (m *message) setDetail(b []byte) error {
	r := reader{b: b}
	flags := r.uint()
	m.Doubled, m.Attempts, m.Reason, m.Parts, m.History = flags&1 != 0, uint32(r.uint()), nil, nil, nil
	if flags&2 != 0 {
		m.Reason = &messages.Reason{Code: r.string(), SmscCode: r.string(), Text: r.string()}
	}
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		m.Parts = append(m.Parts, &messages.PartState{State: messages.State(r.uint()), SmscId: r.string()})
	}
	var at int64
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		s := messages.State(r.uint())
		at += r.int()
		m.History = append(m.History, journal.Step{State: s, At: time.UnixMilli(at)})
	}
	if r.err != nil {
		return fmt.Errorf("state of message %x: %w", m.Message.GetId(), r.err)
	}
	return nil
}

var errShort = errors.New("pgstore: a stored value is too short")

// A writer appends values; a reader takes them in the same order and notes the
// first error.
type writer []byte

func (w *writer) uint(n uint64)   { *w = binary.AppendUvarint(*w, n) }
func (w *writer) int(n int64)     { *w = binary.AppendVarint(*w, n) }
func (w *writer) string(s string) { w.uint(uint64(len(s))); *w = append(*w, s...) }

type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() { r.b, r.err = nil, errShort }

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) string() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// column is s as a column of type text can hold it: without the zero byte, and
// valid. What is neither becomes hexadecimal behind a sign that stands in front of
// nothing else.
func column(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\x01") {
		return s
	}
	return "\x01" + hex.EncodeToString([]byte(s))
}

// text undoes column.
func text(s string) string {
	if encoded, ok := strings.CutPrefix(s, "\x01"); ok {
		if b, err := hex.DecodeString(encoded); err == nil {
			return string(b)
		}
	}
	return s
}

func columns(names []string) []string {
	encoded := make([]string, len(names))
	for i, n := range names {
		encoded[i] = column(n)
	}
	return encoded
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadCall, err)
	}
	return b, nil
}

func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", errStored, err)
	}
	return nil
}
