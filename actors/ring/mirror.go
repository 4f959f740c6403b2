package ring

import "fmt"

// Verdict is what to do with a sequence that arrives.
type Verdict uint8

// The verdicts.
const (
	Fresh     Verdict = iota // store it, then call Store
	Storing                  // came before and is on its way to the disk
	Duplicate                // stored already: say Confirmed again, and the answer if there is one
	Stale                    // released long ago
)

// Mirror is the receiver's side: the same message at the same address.
type Mirror struct {
	size  Seq
	p     Pointers
	slots []Held        // by address; flags 0 with a Seq: being stored
	after map[Seq][]Seq // stored sequences that wait for the answer of the key
}

// NewMirror returns an empty mirror of size slots.
func NewMirror(size int) *Mirror {
	New(size) // checks the size
	return &Mirror{size: Seq(size), slots: make([]Held, size), after: map[Seq][]Seq{}}
}

// Restored is a slot as storage knows it.
type Restored struct {
	Held
	After Seq
}

// Restore sets a mirror to what storage knows: everything up to released is
// forgotten; held are stored, with Confirmed when they have an answer. It
// returns what is to be handed on.
func (m *Mirror) Restore(released Seq, held []Restored) (handOn []Seq, err error) {
	clear(m.slots)
	clear(m.after)
	m.p = Pointers{released, released, released, released}
	for _, h := range held {
		if h.Seq <= released || h.Seq > released+m.size {
			return nil, fmt.Errorf("ring: %d slots cannot hold sequence %d after %d", m.size, h.Seq, released)
		}
		h.Flags |= Retrieved
		if h.Flags&Confirmed != 0 {
			h.Flags |= Sent
		}
		*m.at(h.Seq) = h.Held
	}
	for _, h := range held {
		if h.Flags&Confirmed == 0 && m.mayHandOn(h.Seq, h.After) {
			handOn = append(handOn, h.Seq)
		}
	}
	m.advance()
	return handOn, nil
}

// Pointers returns the four pointers.
func (m *Mirror) Pointers() Pointers { return m.p }

// Accept decides on an arriving sequence. Seeing s+size says that s is released
// (invariant I12).
func (m *Mirror) Accept(seq Seq, id ID) (Verdict, error) {
	if seq == 0 {
		return Stale, fmt.Errorf("%w: sequence 0", ErrOverrun)
	}
	if seq <= m.p.LastProcessed {
		return Stale, nil
	}
	if s := m.at(seq); s.Seq == seq {
		if s.ID != id {
			return Stale, fmt.Errorf("%w: %d is %x here and %x there", ErrOtherMessage, seq, s.ID, id)
		}
		if s.Flags&Retrieved == 0 {
			return Storing, nil
		}
		return Duplicate, nil
	}
	if seq > m.p.LastProcessed+m.size {
		implied := seq - m.size
		if implied-m.p.LastProcessed > m.size {
			return Stale, fmt.Errorf("%w: %d came while released is %d and slots are %d", ErrOverrun, seq, m.p.LastProcessed, m.size)
		}
		for s := m.p.LastProcessed + 1; s <= implied; s++ {
			if h := m.at(s); h.Seq != s || h.Flags&Confirmed == 0 {
				return Stale, fmt.Errorf("%w: %d came while %d is not answered", ErrOverrun, seq, s)
			}
		}
		if _, err := m.Release(implied, nil); err != nil {
			return Stale, err
		}
	}
	*m.at(seq) = Held{Seq: seq, ID: id}
	return Fresh, nil
}

// Store notes that the sequence is durable: it may be Confirmed. It reports
// whether it may be handed on now; else it waits for the answer of after.
func (m *Mirror) Store(seq, after Seq) (handOn bool) {
	s := m.at(seq)
	if s.Seq != seq {
		return false // released meanwhile
	}
	s.Flags |= Retrieved
	m.advance()
	return m.mayHandOn(seq, after)
}

func (m *Mirror) mayHandOn(seq, after Seq) bool {
	if after == 0 || after >= seq || m.done(after) {
		return true
	}
	m.after[after] = append(m.after[after], seq)
	return false
}

// done reports whether the sequence has been answered or released.
func (m *Mirror) done(seq Seq) bool {
	if seq <= m.p.LastProcessed {
		return true
	}
	s := m.at(seq)
	return s.Seq == seq && s.Flags&(Confirmed|Processed) != 0
}

// HandOn notes that the sequence was handed on.
func (m *Mirror) HandOn(seq Seq) {
	if s := m.at(seq); s.Seq == seq {
		s.Flags |= Sent
		m.advance()
	}
}

// Answer notes that the receiver downstream has durably taken the message over.
// It returns what may be handed on in consequence.
func (m *Mirror) Answer(seq Seq) (handOn []Seq) {
	s := m.at(seq)
	if s.Seq != seq || s.Flags&Confirmed != 0 {
		return nil
	}
	s.Flags |= Sent | Confirmed
	m.advance()
	return m.unblock(seq)
}

func (m *Mirror) unblock(seq Seq) []Seq {
	freed := m.after[seq]
	delete(m.after, seq)
	return freed
}

// Release forgets everything up to last and each of more: the sender has
// recorded them as Processed. It returns what is forgotten now. A release of
// something not answered is refused: the sender cannot know a result that was
// never given.
func (m *Mirror) Release(last Seq, more []Seq) (forgotten []Seq, err error) {
	if last > m.p.LastProcessed+m.size {
		return nil, fmt.Errorf("%w: released up to %d, processed up to %d", ErrAhead, last, m.p.LastProcessed)
	}
	check := func(seq Seq) error {
		if seq > m.p.LastProcessed+m.size {
			return fmt.Errorf("%w: released %d, processed up to %d", ErrAhead, seq, m.p.LastProcessed)
		}
		if s := m.at(seq); seq > m.p.LastProcessed && (s.Seq != seq || s.Flags&Confirmed == 0) {
			return fmt.Errorf("%w: %d was released and is not answered", ErrAhead, seq)
		}
		return nil
	}
	for seq := m.p.LastProcessed + 1; seq <= last; seq++ {
		if err := check(seq); err != nil {
			return nil, err
		}
	}
	for _, seq := range more {
		if err := check(seq); err != nil {
			return nil, err
		}
	}
	// All or nothing: what is flagged must also be reported as forgotten.
	release := func(seq Seq) {
		if s := m.at(seq); seq > m.p.LastProcessed && s.Flags&Processed == 0 {
			s.Flags |= Processed
			forgotten = append(forgotten, seq)
		}
	}
	for seq := m.p.LastProcessed + 1; seq <= last; seq++ {
		release(seq)
	}
	for _, seq := range more {
		release(seq)
	}
	m.advance()
	return forgotten, nil
}

// Resync compares with the sender's view after an interruption or a restart.
// It forgets what the sender has processed, and returns what is missing here:
// what the sender has sent, as far as it knows, and this side does not hold.
func (m *Mirror) Resync(peer View) (forgotten, missing []Seq, err error) {
	if err := peer.check(m.size); err != nil {
		return nil, nil, err
	}
	if m.p.LastProcessed > peer.LastProcessed {
		return nil, nil, fmt.Errorf("%w: released up to %d here, processed up to %d there", ErrBehind, m.p.LastProcessed, peer.LastProcessed)
	}
	for _, h := range peer.Held {
		if s := m.at(h.Seq); s.Seq == h.Seq && s.Flags&Retrieved != 0 && h.Flags&Processed == 0 && s.ID != h.ID {
			return nil, nil, fmt.Errorf("%w: %d is %x here and %x there", ErrOtherMessage, h.Seq, s.ID, h.ID)
		}
	}
	for i := range m.slots {
		switch s := &m.slots[i]; {
		case s.Seq > peer.LastRetrieved:
			return nil, nil, fmt.Errorf("%w: %d is held here, assigned up to %d there", ErrBehind, s.Seq, peer.LastRetrieved)
		case s.Seq > m.p.LastProcessed && s.Seq <= peer.LastProcessed && s.Flags&Retrieved != 0 && s.Flags&Processed == 0:
			forgotten = append(forgotten, s.Seq)
		}
	}
	// A sender that has processed up to there will never send any of it again,
	// whether or not this side (a new disk, say) has seen it.
	if peer.LastProcessed > m.p.LastProcessed {
		m.p.LastProcessed = peer.LastProcessed
		m.p.LastConfirmed = max(m.p.LastConfirmed, peer.LastProcessed)
		m.p.LastSent = max(m.p.LastSent, peer.LastProcessed)
		m.p.LastRetrieved = max(m.p.LastRetrieved, peer.LastProcessed)
	}
	for _, h := range peer.Held {
		s := m.at(h.Seq)
		held := s.Seq == h.Seq && s.Flags&Retrieved != 0
		switch {
		case h.Flags&Processed != 0 && h.Seq > m.p.LastProcessed:
			if !held {
				*s = Held{Seq: h.Seq, ID: h.ID}
			}
			if s.Flags&Processed == 0 && held {
				forgotten = append(forgotten, h.Seq)
			}
			s.Flags |= Retrieved | Sent | Confirmed | Processed
		case h.Flags&Sent != 0 && h.Flags&Processed == 0 && !held:
			missing = append(missing, h.Seq)
		}
	}
	m.advance()
	return forgotten, missing, nil
}

// Blocked returns what may be handed on although it waits: those whose
// predecessor has been answered or released in the meantime.
func (m *Mirror) Blocked() (handOn []Seq) {
	for after := range m.after {
		if m.done(after) {
			handOn = append(handOn, m.unblock(after)...)
		}
	}
	return handOn
}

// Stored is what may be reported as Confirmed: everything up to last, and each
// of more.
func (m *Mirror) Stored() (last Seq, more []Seq) {
	for seq := m.p.LastRetrieved + 1; seq <= m.p.LastProcessed+m.size; seq++ {
		if s := m.at(seq); s.Seq == seq && s.Flags&Retrieved != 0 {
			more = append(more, seq)
		}
	}
	return m.p.LastRetrieved, more
}

// Holds reports whether seq is stored and not released, and with all of flags.
func (m *Mirror) Holds(seq Seq, flags Flags) bool {
	s := m.at(seq)
	return seq > m.p.LastProcessed && s.Seq == seq && s.Flags&Processed == 0 && s.Flags&(Retrieved|flags) == Retrieved|flags
}

// View returns where this side stands; what is being stored is not in it.
func (m *Mirror) View() View {
	v := View{Size: int(m.size), Pointers: m.p}
	for seq := m.p.LastProcessed + 1; seq <= m.p.LastProcessed+m.size; seq++ {
		if s := m.at(seq); s.Seq == seq && s.Flags&Retrieved != 0 {
			v.Held = append(v.Held, *s)
		}
	}
	return v
}

// Storing reports whether anything is on its way to the disk.
func (m *Mirror) Storing() bool {
	for _, s := range m.slots {
		if s.Seq > m.p.LastProcessed && s.Flags == 0 {
			return true
		}
	}
	return false
}

// String is one line for transcripts.
func (m *Mirror) String() string { return m.View().String() }

func (m *Mirror) at(seq Seq) *Held { return &m.slots[seq%m.size] }

func (m *Mirror) advance() {
	up := func(p *Seq, limit Seq, flag Flags) {
		for *p < limit {
			if s := m.at(*p + 1); s.Seq != *p+1 || s.Flags&flag == 0 {
				return
			}
			*p++
		}
	}
	up(&m.p.LastRetrieved, m.p.LastProcessed+m.size, Retrieved)
	up(&m.p.LastSent, m.p.LastRetrieved, Sent)
	up(&m.p.LastConfirmed, m.p.LastSent, Confirmed)
	up(&m.p.LastProcessed, m.p.LastConfirmed, Processed)
}
