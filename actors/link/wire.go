package link

import (
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"
)

// What follows turns the pure core's values into messages and back.

func name(r messages.Ring) string {
	if r == messages.Ring_UP {
		return "up"
	}
	return "down"
}

func idOf(b []byte) (id ring.ID) {
	copy(id[:], b)
	return id
}

func viewOf(v ring.View) *messages.View {
	m := &messages.View{
		Slots: uint32(v.Size), LastRetrieved: v.LastRetrieved, LastSent: v.LastSent,
		LastConfirmed: v.LastConfirmed, LastProcessed: v.LastProcessed,
	}
	for _, h := range v.Held {
		m.Held = append(m.Held, &messages.SlotView{Sequence: h.Seq, Id: h.ID[:], Flags: uint32(h.Flags)})
	}
	return m
}

func viewIn(m *messages.View) ring.View {
	v := ring.View{Size: int(m.GetSlots()), Pointers: ring.Pointers{
		LastRetrieved: m.GetLastRetrieved(), LastSent: m.GetLastSent(),
		LastConfirmed: m.GetLastConfirmed(), LastProcessed: m.GetLastProcessed(),
	}}
	for _, s := range m.GetHeld() {
		v.Held = append(v.Held, ring.Held{Seq: s.GetSequence(), ID: idOf(s.GetId()), Flags: ring.Flags(s.GetFlags())})
	}
	return v
}

// progressOf packs repeated state: last, and a bit for each of more (ascending,
// above last).
func progressOf(r messages.Ring, last ring.Seq, more []ring.Seq) *messages.Progress {
	p := &messages.Progress{Ring: r, Last: last}
	if len(more) > 0 {
		p.Bitmap = make([]byte, (more[len(more)-1]-last+7)/8)
		for _, seq := range more {
			bit := seq - last - 1
			p.Bitmap[bit/8] |= 1 << (bit % 8)
		}
	}
	return p
}

// sequences unpacks Progress. A bitmap longer than any ring is cut: what lies
// beyond would be refused as ahead anyway.
func sequences(p *messages.Progress) (last ring.Seq, more []ring.Seq) {
	for i, b := range p.Bitmap[:min(len(p.Bitmap), 65536/8)] {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				more = append(more, p.Last+1+uint64(i*8+bit))
			}
		}
	}
	return p.Last, more
}

func between(after, last ring.Seq) []ring.Seq {
	var seqs []ring.Seq
	for seq := after + 1; seq <= last; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

func stateOf(r messages.Ring, v ring.View, withSequences bool) *messages.RingState {
	s := &messages.RingState{
		Ring: r, Slots: uint32(v.Size), LastRetrieved: v.LastRetrieved, LastSent: v.LastSent,
		LastConfirmed: v.LastConfirmed, LastProcessed: v.LastProcessed, Flags: make([]byte, v.Size),
	}
	if withSequences {
		s.Sequences = make([]uint64, v.Size)
	}
	for _, h := range v.Held {
		address := h.Seq % uint64(v.Size)
		s.Flags[address] = byte(h.Flags)
		if withSequences {
			s.Sequences[address] = h.Seq
		}
	}
	return s
}

// Counts counts a picture's slots by the highest flag that is set.
func Counts(s *messages.RingState) (free, retrieved, sent, confirmed, processed int) {
	for _, f := range s.GetFlags() {
		switch flags := ring.Flags(f); {
		case flags&ring.Processed != 0:
			processed++
		case flags&ring.Confirmed != 0:
			confirmed++
		case flags&ring.Sent != 0:
			sent++
		case flags&ring.Retrieved != 0:
			retrieved++
		default:
			free++
		}
	}
	return free, retrieved, sent, confirmed, processed
}

func report(m Metrics, s *messages.RingState) {
	free, retrieved, sent, confirmed, processed := Counts(s)
	m.Slots(name(s.Ring), free, retrieved, sent, confirmed, processed)
	m.Waiting(name(s.Ring), int(s.Queue))
}
