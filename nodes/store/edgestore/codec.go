package edgestore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// Tasks and sent parts are written for every short message, between the SMSC's
// answer and the next submit: they have a form of their own. Numbers are
// uvarints, octets and texts are preceded by their length; the first octet is
// the version.
const codecVersion = 1

// maxUndefined is the highest Task.Undefined that its six bits hold.
const maxUndefined = 63

var errCodec = errors.New("edgestore: record is cut off or of another version")

func encodeTask(t *journal.Task) []byte {
	flags := uint64(0)
	if t.Doubled {
		flags |= 1
	}
	if t.Deferred {
		flags |= 2
	}
	flags |= uint64(min(t.Undefined, maxUndefined)) << 2 // an older edge does not look at these bits
	retryAt := uint64(0)
	if !t.RetryAt.IsZero() {
		retryAt = uint64(t.RetryAt.UnixMilli())
	}
	b := append(make([]byte, 0, 128), codecVersion)
	for _, n := range []uint64{t.Seq, uint64(t.Reference), uint64(t.Attempts), flags, uint64(t.Refusals), retryAt} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendOctets(b, string(t.ID))
	b = appendOctets(b, t.Intent)
	b = binary.AppendUvarint(b, uint64(len(t.Parts)))
	for _, p := range t.Parts {
		b = binary.AppendUvarint(b, uint64(p.State))
		b = appendOctets(b, p.ID)
	}
	return b
}

func decodeTask(b []byte) (*journal.Task, error) {
	r := newRecord(b)
	t := &journal.Task{Seq: r.number(), Reference: uint8(r.number()), Attempts: uint32(r.number())}
	flags := r.number()
	t.Doubled, t.Deferred, t.Undefined = flags&1 != 0, flags&2 != 0, uint8(flags>>2&maxUndefined)
	t.Refusals = uint32(r.number())
	if retryAt := r.number(); retryAt != 0 {
		t.RetryAt = time.UnixMilli(int64(retryAt))
	}
	t.ID, t.Intent = []byte(r.octets()), r.octets()
	for n := r.number(); n > 0 && !r.bad; n-- {
		t.Parts = append(t.Parts, journal.PartDone{State: messages.State(r.number()), ID: r.octets()})
	}
	return t, r.err()
}

// encodeSent leaves out what the key says: SMSC and SMSCID.
func encodeSent(p journal.Sent) []byte {
	b := append(make([]byte, 0, 48), codecVersion)
	for _, n := range []uint64{uint64(p.Part), uint64(p.Parts), uint64(p.At.UnixMilli()), uint64(p.Until.UnixMilli())} {
		b = binary.AppendUvarint(b, n)
	}
	return appendOctets(b, string(p.ID))
}

func decodeSent(b []byte) (journal.Sent, error) {
	r := newRecord(b)
	p := journal.Sent{Part: uint32(r.number()), Parts: uint32(r.number())}
	p.At, p.Until = time.UnixMilli(int64(r.number())), time.UnixMilli(int64(r.number()))
	p.ID = []byte(r.octets())
	return p, r.err()
}

func appendOctets(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// record reads what was appended; after the first fault everything is zero.
type record struct {
	rest []byte
	bad  bool
}

func newRecord(b []byte) *record {
	if len(b) == 0 || b[0] != codecVersion {
		return &record{bad: true}
	}
	return &record{rest: b[1:]}
}

func (r *record) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *record) octets() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *record) err() error {
	if r.bad {
		return errCodec
	}
	return nil
}
