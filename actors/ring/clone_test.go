package ring

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// A clone is the same state, and what befalls it does not befall the original.
func TestCloneGoesItsOwnWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(m.steps())
		r, c := m.ring.AppendKey(nil), m.ring.Clone()
		if !bytes.Equal(r, c.AppendKey(nil)) {
			t.Fatalf("clone of %v is %v", m.ring, c)
		}
		if c.Free() > 0 {
			c.Retrieve(id(99))
			if bytes.Equal(r, c.AppendKey(nil)) || !bytes.Equal(r, m.ring.AppendKey(nil)) {
				t.Fatal("retrieved into a clone: the keys do not tell")
			}
		}
		k, d := m.mirror.AppendKey(nil), m.mirror.Clone()
		if !bytes.Equal(k, d.AppendKey(nil)) {
			t.Fatalf("clone of %v is %v", m.mirror, d)
		}
		seq := d.p.LastRetrieved + 1
		if v, err := d.Accept(seq, id(99)); err != nil || v != Fresh {
			return
		}
		d.Store(seq, d.p.LastProcessed)
		if bytes.Equal(k, d.AppendKey(nil)) || !bytes.Equal(k, m.mirror.AppendKey(nil)) {
			t.Fatal("stored into a clone: the keys do not tell")
		}
	})
}
