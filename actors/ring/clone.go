package ring

import (
	"encoding/binary"
	"maps"
	"slices"
)

// What follows is for searches over all states: they branch, and must know a
// state when they meet it again.

// Clone returns a ring that goes its own way.
func (r *Ring) Clone() *Ring {
	c := *r
	c.slots = slices.Clone(r.slots)
	return &c
}

// AppendKey appends what tells this state from every other of the same size.
func (r *Ring) AppendKey(b []byte) []byte {
	b = appendKey(b, r.p, r.slots)
	return binary.AppendUvarint(b, r.restored)
}

// Clone returns a mirror that goes its own way.
func (m *Mirror) Clone() *Mirror {
	c := *m
	c.slots = slices.Clone(m.slots)
	c.after = make(map[Seq][]Seq, len(m.after))
	for after, waiting := range m.after {
		c.after[after] = slices.Clone(waiting)
	}
	return &c
}

// AppendKey appends what tells this state from every other of the same size.
func (m *Mirror) AppendKey(b []byte) []byte {
	b = appendKey(b, m.p, m.slots)
	for _, after := range slices.Sorted(maps.Keys(m.after)) {
		b = binary.AppendUvarint(b, after)
		for _, seq := range m.after[after] {
			b = binary.AppendUvarint(b, seq)
		}
		b = append(b, 0)
	}
	return b
}

func appendKey(b []byte, p Pointers, slots []Held) []byte {
	for _, n := range []Seq{p.LastRetrieved, p.LastSent, p.LastConfirmed, p.LastProcessed} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range slots {
		b = binary.AppendUvarint(b, s.Seq)
		b = append(b, s.ID[:]...)
		b = append(b, byte(s.Flags))
	}
	return b
}
