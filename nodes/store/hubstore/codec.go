package hubstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// key builds a key: a prefix byte, then names (their length before them, so
// that none is the beginning of another) and numbers (big-endian: they sort).
type key []byte

func keyOf(prefix byte, names ...string) key {
	k := make(key, 1, 64)
	k[0] = prefix
	for _, n := range names {
		k = k.name(n)
	}
	return k
}

func (k key) name(s string) key   { return append(binary.AppendUvarint(k, uint64(len(s))), s...) }
func (k key) number(n uint64) key { return binary.BigEndian.AppendUint64(k, n) }
func (k key) byte(b byte) key     { return append(k, b) }
func (k key) raw(b []byte) key    { return append(k, b...) }

// lastNumber is the number at the end of a key.
func lastNumber(k []byte) uint64 {
	if len(k) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(k[len(k)-8:])
}

var errShort = errors.New("hubstore: a stored value is too short")

// A writer appends values; a reader takes them in the same order and notes the
// first error.
type writer []byte

func (w *writer) uint(n uint64)   { *w = binary.AppendUvarint(*w, n) }
func (w *writer) int(n int64)     { *w = binary.AppendVarint(*w, n) }
func (w *writer) string(s string) { w.uint(uint64(len(s))); *w = append(*w, s...) }
func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.int(0)
		return
	}
	w.int(t.UnixMilli())
}

func (w *writer) flags(flags ...bool) {
	var n uint64
	for i, f := range flags {
		if f {
			n |= 1 << i
		}
	}
	w.uint(n)
}

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

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) time() time.Time {
	if ms := r.int(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// message is a record and what else is stored with it.
type message struct {
	journal.Record
	planned int    // short messages, as counted when it was accepted
	inbox   uint64 // its number among the recipient's events; 0: not in an inbox
	indexed bool   // stands in the retention index
}

// goesDown: it is on its way to a handset, not from one.
func (m *message) goesDown() bool { return m.inbox == 0 && m.Message.To != "" }

// body never changes, and is written once.
func (m *message) body() ([]byte, error) {
	w := make(writer, 0, 64+proto.Size(m.Message))
	w.string(m.Ref)
	w.string(m.Coding)
	w.string(m.Edge)
	w.uint(uint64(m.planned))
	b, err := proto.MarshalOptions{}.MarshalAppend(w, m.Message)
	if err != nil {
		return nil, fmt.Errorf("hubstore: message %x: %w", m.Message.Id, err)
	}
	return b, nil
}

// state is what changes.
func (m *message) state() []byte {
	w := make(writer, 0, 64+16*len(m.History))
	w.flags(m.Doubled, m.indexed, m.Reason != nil)
	w.uint(uint64(m.State))
	w.uint(m.Seq)
	w.uint(uint64(m.Slots))
	w.uint(m.inbox)
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

func decodeMessage(body, state []byte) (*message, error) {
	m, err := decodeBody(body)
	if err == nil {
		err = m.readState(state)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func decodeBody(body []byte) (*message, error) {
	m := &message{}
	r := reader{b: body}
	m.Ref, m.Coding, m.Edge, m.planned = r.string(), r.string(), r.string(), int(r.uint())
	m.Message = &messages.Message{}
	if r.err == nil {
		r.err = proto.Unmarshal(r.b, m.Message)
	}
	if r.err != nil {
		return nil, fmt.Errorf("hubstore: stored message of %d octets: %w", len(body), r.err)
	}
	return m, nil
}

func (m *message) readState(state []byte) error {
	r := reader{b: state}
	flags := r.uint()
	m.Doubled, m.indexed = flags&1 != 0, flags&2 != 0
	m.State = messages.State(r.uint())
	m.Final = journal.IsFinal(m.State)
	m.Seq, m.Slots, m.inbox, m.Attempts = r.uint(), uint32(r.uint()), r.uint(), uint32(r.uint())
	if flags&4 != 0 {
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
		return fmt.Errorf("hubstore: state of message %x: %w", m.Message.Id, r.err)
	}
	return nil
}

func encodeStateEvent(e journal.UserEvent) []byte {
	w := make(writer, 0, 48)
	w.time(e.At)
	w.string(string(e.ID))
	w.uint(uint64(e.State))
	w.string(e.Ref)
	return w
}

func decodeStateEvent(number uint64, b []byte) (journal.UserEvent, error) {
	r := reader{b: b}
	e := journal.UserEvent{Number: number, At: r.time(), ID: []byte(r.string()), State: messages.State(r.uint()), Ref: r.string()}
	e.Final = journal.IsFinal(e.State)
	return e, r.err
}

func encodeMessageEvent(e journal.UserEvent) []byte {
	w := make(writer, 0, 64+len(e.Text))
	w.time(e.At)
	w.string(string(e.ID))
	w.flags(e.PossibleDuplicate)
	w.string(e.From)
	w.string(e.To)
	w.string(e.Edge)
	w.string(e.Text)
	return w
}

func decodeMessageEvent(number uint64, b []byte) (journal.UserEvent, error) {
	r := reader{b: b}
	e := journal.UserEvent{
		Number: number, At: r.time(), ID: []byte(r.string()), PossibleDuplicate: r.uint()&1 != 0,
		From: r.string(), To: r.string(), Edge: r.string(), Text: r.string(),
	}
	return e, r.err
}

func encodeUser(u journal.User) []byte {
	var w writer
	w.string(string(u.Password))
	w.time(u.Seen)
	return w
}

func decodeUser(name string, b []byte) (journal.User, error) {
	r := reader{b: b}
	return journal.User{Name: name, Password: []byte(r.string()), Seen: r.time()}, r.err
}

func encodeConversation(c journal.Conversation) []byte {
	var w writer
	w.time(c.At)
	w.string(c.Number)
	return w
}

func decodeConversation(user string, b []byte) (journal.Conversation, error) {
	r := reader{b: b}
	return journal.Conversation{User: user, At: r.time(), Number: r.string()}, r.err
}
