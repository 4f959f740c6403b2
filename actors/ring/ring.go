// Package ring is the arithmetic of mirrored rings: which
// text takes which slot, which pointers move, what is resent and what is
// accepted. It is pure: no actor, clock or IO; it holds no message, only ids.
//
//	sender (Ring)
//	────┬───────────────┬───────────┬────────────┬──────────▶ Seq
//	LastProcessed  LastConfirmed  LastSent  LastRetrieved
//	    └─ at the peer ─┘└ in flight ┘└─ waiting ─┘
//
//	receiver (Mirror)
//	────┬───────────────┬───────────┬────────────┬──────────▶ Seq
//	LastProcessed  LastConfirmed  LastSent  LastRetrieved
//	    └── answered ───┘└ handed on ┘└── stored ──┘
//
// A slot's address is Seq mod size. Seq never wraps; it goes on over epochs and
// restarts.
package ring

import (
	"errors"
	"fmt"
	"slices"
)

// Seq numbers a ring's messages from 1. 0 means none.
type Seq = uint64

// ID is a message's identity.
type ID [16]byte

// Flags of a slot. In the mirror they mean stored, handed on, answered
// downstream, released by the sender.
type Flags uint8

// The four flags.
const (
	Retrieved Flags = 1 << iota
	Sent
	Confirmed
	Processed
)

// String prints "RSCP" with '-' for what is not set.
func (f Flags) String() string {
	b := []byte("RSCP")
	for i := range b {
		if f&(1<<i) == 0 {
			b[i] = '-'
		}
	}
	return string(b)
}

// What the peer got wrong. Each closes the link; none is repaired by skipping.
var (
	ErrAhead        = errors.New("ring: peer is ahead of what was sent")
	ErrOverrun      = errors.New("ring: sequence would overwrite a slot that is not processed")
	ErrOtherMessage = errors.New("ring: another message has this sequence")
	ErrBehind       = errors.New("ring: peer holds sequences that were never assigned here")
)

// Pointers are inclusive; 0 means none yet. LastConfirmed and LastProcessed are
// the highest contiguous ones: what came out of order waits as a flag.
//
// Invariant: LastProcessed <= LastConfirmed <= LastSent <= LastRetrieved <= LastProcessed + size.
type Pointers struct{ LastRetrieved, LastSent, LastConfirmed, LastProcessed Seq }

// Held is an occupied slot.
type Held struct {
	Seq   Seq
	ID    ID
	Flags Flags
}

// View is where one side stands, for the other side and for people.
type View struct {
	Size int
	Pointers
	Held []Held // ascending
}

// Ring is the sender's side.
type Ring struct {
	size     Seq
	p        Pointers
	slots    []Held // by address; Seq 0: never used
	restored Seq    // up to here anything may have been sent before a restart
}

// New returns an empty ring of size slots, 1 to 65,535.
func New(size int) *Ring {
	if size < 1 || size > 65535 {
		panic(fmt.Sprintf("ring: size %d is not within 1..65535", size))
	}
	return &Ring{size: Seq(size), slots: make([]Held, size)}
}

// Restore sets a ring to what storage knows: the highest sequence ever assigned
// and those not yet processed, ascending. What was sent is not known any more,
// so nothing counts as sent: Resync with the peer's view finds out.
func (r *Ring) Restore(lastRetrieved Seq, held []Held) error {
	first := lastRetrieved + 1
	if len(held) > 0 {
		first = held[0].Seq
	}
	if lastRetrieved-(first-1) > r.size {
		return fmt.Errorf("ring: %d slots cannot hold sequences %d to %d", r.size, first, lastRetrieved)
	}
	clear(r.slots)
	for seq := first; seq <= lastRetrieved; seq++ {
		r.slots[seq%r.size] = Held{Seq: seq, Flags: Retrieved | Sent | Confirmed | Processed}
	}
	for _, h := range held {
		r.slots[h.Seq%r.size] = Held{Seq: h.Seq, ID: h.ID, Flags: Retrieved}
	}
	r.p = Pointers{lastRetrieved, first - 1, first - 1, first - 1}
	r.restored = lastRetrieved
	return nil
}

// Size returns the number of slots.
func (r *Ring) Size() int { return int(r.size) }

// Pointers returns the four pointers.
func (r *Ring) Pointers() Pointers { return r.p }

// Next is the sequence that the next Retrieve must have.
func (r *Ring) Next() Seq { return r.p.LastRetrieved + 1 }

// Free is how many messages may be retrieved now (invariants I1, I12).
func (r *Ring) Free() int { return int(r.p.LastProcessed + r.size - r.p.LastRetrieved) }

// Retrieve fills the next slot with a message whose assignment is durable.
func (r *Ring) Retrieve(id ID) Seq {
	if r.Free() == 0 {
		panic("ring: retrieve into a full ring")
	}
	r.p.LastRetrieved++
	r.slots[r.p.LastRetrieved%r.size] = Held{Seq: r.p.LastRetrieved, ID: id, Flags: Retrieved}
	return r.p.LastRetrieved
}

// Send returns the next sequence to put on the link and marks it Sent.
func (r *Ring) Send() (Seq, bool) {
	for r.p.LastSent < r.p.LastRetrieved {
		r.p.LastSent++
		s := r.at(r.p.LastSent)
		if s.Flags&Sent == 0 {
			s.Flags |= Sent
			r.advance()
			return s.Seq, true
		}
	}
	r.advance()
	return 0, false
}

// Confirm notes what the receiver says it has stored: everything up to last,
// and each sequence of more. It returns those that were not known to be.
func (r *Ring) Confirm(last Seq, more []Seq) ([]Seq, error) {
	sent := max(r.p.LastSent, r.restored) // what was being stored when the sender restarted is not in the receiver's view
	if last > sent {
		return nil, fmt.Errorf("%w: confirmed up to %d, sent up to %d", ErrAhead, last, sent)
	}
	var news []Seq
	note := func(seq Seq) error {
		if seq > sent {
			return fmt.Errorf("%w: confirmed %d, sent up to %d", ErrAhead, seq, sent)
		}
		if seq <= r.p.LastConfirmed {
			return nil
		}
		if s := r.at(seq); s.Flags&Confirmed == 0 {
			s.Flags |= Sent | Confirmed
			news = append(news, seq)
		}
		return nil
	}
	for seq := r.p.LastConfirmed + 1; seq <= last; seq++ {
		if err := note(seq); err != nil {
			return nil, err
		}
	}
	for _, seq := range more {
		if err := note(seq); err != nil {
			return nil, err
		}
	}
	r.advance()
	return news, nil
}

// Answered checks an answer from the receiver: whether it is news. The slot
// stays occupied until Process.
func (r *Ring) Answered(seq Seq, id ID) (bool, error) {
	if sent := max(r.p.LastSent, r.restored); seq > sent {
		return false, fmt.Errorf("%w: answered %d, sent up to %d", ErrAhead, seq, sent)
	}
	s := r.at(seq)
	if seq <= r.p.LastProcessed || s.Flags&Processed != 0 {
		return false, nil
	}
	if s.ID != id {
		return false, fmt.Errorf("%w: answered %d as %x, it is %x", ErrOtherMessage, seq, id, s.ID)
	}
	return true, nil
}

// Process notes that the result is durable here: the slot may be used again as
// soon as all before it are processed. It reports whether that was news.
func (r *Ring) Process(seq Seq) bool {
	if seq <= r.p.LastProcessed || seq > r.p.LastRetrieved {
		return false
	}
	s := r.at(seq)
	if s.Flags&Processed != 0 {
		return false
	}
	s.Flags |= Sent | Confirmed | Processed
	r.advance()
	return true
}

// Unconfirmed lists what was sent and is not confirmed, ascending: from
// LastConfirmed to LastSent.
func (r *Ring) Unconfirmed() []Seq {
	var seqs []Seq
	for seq := r.p.LastConfirmed + 1; seq <= r.p.LastSent; seq++ {
		if r.at(seq).Flags&Confirmed == 0 {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// Is reports whether seq is held and has all of the flags and none of not.
func (r *Ring) Is(seq Seq, flags, not Flags) bool {
	if seq <= r.p.LastProcessed || seq > r.p.LastRetrieved {
		return false
	}
	f := r.at(seq).Flags
	return f&flags == flags && f&not == 0
}

// Resync compares with the receiver's view after an interruption or a restart
// and returns what to resend: from LastConfirmed to LastSent what the other
// side lacks (patent, figure 3). What the receiver is known to have had and no
// longer has is sent again as well.
func (r *Ring) Resync(peer View) (resend []Seq, err error) {
	if err := peer.check(r.size); err != nil {
		return nil, err
	}
	stored := make(map[Seq]bool, len(peer.Held))
	for _, h := range peer.Held {
		if h.Seq > r.p.LastRetrieved {
			return nil, fmt.Errorf("%w: peer holds %d, assigned up to %d", ErrBehind, h.Seq, r.p.LastRetrieved)
		}
		if h.Seq > r.p.LastProcessed {
			switch s := r.at(h.Seq); {
			case s.Flags&Processed != 0:
			case s.ID != h.ID:
				return nil, fmt.Errorf("%w: peer holds %x at %d, here is %x", ErrOtherMessage, h.ID, h.Seq, s.ID)
			case h.Flags&Processed != 0: // nobody would ever answer it again
				return nil, fmt.Errorf("%w: peer released %d, which is not processed here", ErrBehind, h.Seq)
			}
		}
		stored[h.Seq] = true
	}
	if peer.LastProcessed > r.p.LastProcessed {
		return nil, fmt.Errorf("%w: peer released up to %d, processed up to %d", ErrBehind, peer.LastProcessed, r.p.LastProcessed)
	}
	if peer.LastRetrieved > r.p.LastRetrieved {
		return nil, fmt.Errorf("%w: peer stored up to %d, assigned up to %d", ErrBehind, peer.LastRetrieved, r.p.LastRetrieved)
	}
	for seq := r.p.LastProcessed + 1; seq <= r.p.LastRetrieved; seq++ {
		s := r.at(seq)
		switch {
		case s.Flags&Processed != 0:
		case stored[seq]:
			s.Flags |= Sent | Confirmed
		case s.Flags&Sent != 0:
			s.Flags &^= Confirmed
			resend = append(resend, seq)
		}
	}
	for seq := r.p.LastRetrieved; seq > r.p.LastSent; seq-- {
		if r.at(seq).Flags&Sent != 0 { // the peer has it, though this side forgot sending it
			for between := r.p.LastSent + 1; between < seq; between++ {
				if s := r.at(between); s.Flags&Sent == 0 {
					s.Flags |= Sent
					resend = append(resend, between)
				}
			}
			r.p.LastSent = seq
			break
		}
	}
	slices.Sort(resend)
	r.p.LastConfirmed = r.p.LastProcessed
	r.advance()
	return resend, nil
}

// Released is what the receiver may forget: everything up to LastProcessed, and
// the sequences returned, which were processed out of order.
func (r *Ring) Released() (last Seq, more []Seq) {
	for seq := r.p.LastProcessed + 1; seq <= r.p.LastRetrieved; seq++ {
		if r.at(seq).Flags&Processed != 0 {
			more = append(more, seq)
		}
	}
	return r.p.LastProcessed, more
}

// View returns where this side stands.
func (r *Ring) View() View {
	v := View{Size: int(r.size), Pointers: r.p}
	for seq := r.p.LastProcessed + 1; seq <= r.p.LastRetrieved; seq++ {
		v.Held = append(v.Held, *r.at(seq))
	}
	return v
}

// String is one line for transcripts.
func (r *Ring) String() string { return r.View().String() }

// ErrMalformed: a view that no ring can have.
var ErrMalformed = errors.New("ring: malformed view")

// maxSeq leaves room for sums: at a million messages a second it is reached
// after 146,000 years.
const maxSeq = 1 << 62

// Check refuses what no side can honestly say of a ring of its size.
func (v View) Check() error { return v.check(Seq(v.Size)) }

// check is Check, and refuses another size.
func (v View) check(size Seq) error {
	if v.Size != int(size) {
		return fmt.Errorf("ring: peer has %d slots, here are %d: configure the same", v.Size, size)
	}
	if v.LastProcessed > v.LastConfirmed || v.LastConfirmed > v.LastSent || v.LastSent > v.LastRetrieved || v.LastRetrieved-v.LastProcessed > size || v.LastRetrieved > maxSeq {
		return fmt.Errorf("%w: %s", ErrMalformed, v)
	}
	last := v.LastProcessed
	for _, h := range v.Held {
		if h.Seq <= last || h.Seq-v.LastProcessed > size {
			return fmt.Errorf("%w: %d is held after %d, processed up to %d", ErrMalformed, h.Seq, last, v.LastProcessed)
		}
		last = h.Seq
	}
	return nil
}

// String is one line for transcripts.
func (v View) String() string {
	return fmt.Sprintf("processed %d ≤ confirmed %d ≤ sent %d ≤ retrieved %d", v.LastProcessed, v.LastConfirmed, v.LastSent, v.LastRetrieved)
}

func (r *Ring) at(seq Seq) *Held { return &r.slots[seq%r.size] }

// advance moves the contiguous pointers over what is flagged.
func (r *Ring) advance() {
	for r.p.LastSent < r.p.LastRetrieved && r.at(r.p.LastSent+1).Flags&Sent != 0 {
		r.p.LastSent++
	}
	for r.p.LastConfirmed < r.p.LastSent && r.at(r.p.LastConfirmed+1).Flags&Confirmed != 0 {
		r.p.LastConfirmed++
	}
	for r.p.LastProcessed < r.p.LastConfirmed && r.at(r.p.LastProcessed+1).Flags&Processed != 0 {
		r.p.LastProcessed++
	}
}
