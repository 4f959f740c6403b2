package link

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/tests/model/search"
)

// wires is one direction of a link with two stripes: stripes.go at both ends.
// Each stripe keeps order, as TCP does; stripes overtake each other. Virtual
// time stands still.
type wires struct {
	here, there stripes
	next        ring.Seq // to be sent for the first time
	again       []ring.Seq
	wire        [2][]wireFrame // sent on the stripe and not yet there
	back        [2][][]uint64  // "heard" on its way back, by the stripe it takes
	fresh       [2]bool        // the receiver does not know this stripe's successor yet
	got         [4]bool        // by sequence
	deaths      int
}

type wireFrame struct {
	number uint64
	seq    ring.Seq
}

func (w *wires) clone() *wires {
	c := *w
	deep := func(s stripes) stripes {
		s.all = slices.Clone(s.all)
		for i, x := range s.all {
			if x != nil {
				y := *x
				y.waiting = slices.Clone(x.waiting)
				s.all[i] = &y
			}
		}
		s.ended = slices.Clone(s.ended)
		return s
	}
	c.here, c.there, c.again = deep(w.here), deep(w.there), slices.Clone(w.again)
	for i := range c.wire {
		c.wire[i], c.back[i] = slices.Clone(w.wire[i]), slices.Clone(w.back[i])
	}
	return &c
}

func (w *wires) key(b []byte) []byte {
	return fmt.Appendf(b, "%s|%s|%d%v%v%v%v%v%d", stripesKey(w.here), stripesKey(w.there), w.next, w.again, w.wire, w.back, w.fresh, w.got, w.deaths)
}

func stripesKey(s stripes) (b []byte) {
	for _, n := range s.ended {
		b = binary.AppendUvarint(b, n)
	}
	for _, x := range s.all {
		if x == nil {
			b = append(b, '-')
			continue
		}
		b = fmt.Appendf(b, "%d %d;", x.number, x.in)
		for _, f := range x.waiting {
			b = fmt.Appendf(b, "%d%v ", f.number, f.held.data)
		}
	}
	return b
}

// TestStripesLoseNothing: in every state of two stripes that die and are
// replaced, what has not arrived is still to be sent, on its way, or remembered
// by the stripe that carries it, which will tell when it dies.
func TestStripesLoseNothing(t *testing.T) {
	now := time.Unix(1, 0)
	first := &wires{next: 1}
	for i := range 2 {
		first.here.up(i, now)
		first.there.up(i, now)
	}
	const messages, deaths, acks = 2, 2, 1
	next := func(w *wires, yield func(string, bool, *wires)) {
		do := func(name string, fault bool, f func(*wires)) {
			c := w.clone()
			f(c)
			yield(name, fault, c)
		}
		for i := range 2 {
			send := func(w *wires, seq ring.Seq) {
				number := w.here.sent(i, 1, carried{data: []ring.Seq{seq}}, now)
				w.wire[i] = append(w.wire[i], wireFrame{number, seq})
			}
			if len(w.again) > 0 {
				do(fmt.Sprintf("send %d again on stripe %d", w.again[0], i), false, func(w *wires) {
					seq := w.again[0]
					w.again = w.again[1:]
					send(w, seq)
				})
			} else if w.next <= messages {
				do(fmt.Sprintf("send %d on stripe %d", w.next, i), false, func(w *wires) {
					w.next++
					send(w, w.next-1)
				})
			}
			if w.fresh[i] {
				do(fmt.Sprintf("the other side gets Join of stripe %d", i), false, func(w *wires) {
					w.fresh[i] = false
					w.there.up(i, now)
				})
			} else if len(w.wire[i]) > 0 {
				do(fmt.Sprintf("%d arrives on stripe %d", w.wire[i][0].seq, i), false, func(w *wires) {
					f := w.wire[i][0]
					w.wire[i] = w.wire[i][1:]
					w.there.received(i, f.number, nil, now)
					w.got[f.seq] = true
				})
			}
			if !w.fresh[i] && len(w.back[i]) < acks {
				do(fmt.Sprintf("the other side says on stripe %d what it heard", i), false, func(w *wires) {
					w.back[i] = append(w.back[i], w.there.heard())
				})
			}
			if len(w.back[i]) > 0 {
				do(fmt.Sprintf("that comes on stripe %d: %v", i, w.back[i][0]), false, func(w *wires) {
					heard := w.back[i][0]
					w.back[i] = w.back[i][1:]
					w.here.received(i, 0, heard, now)
				})
			}
			if w.deaths < deaths {
				do(fmt.Sprintf("stripe %d dies and is replaced", i), true, func(w *wires) {
					w.deaths++
					w.wire[i], w.back[i] = nil, nil
					for _, c := range w.here.down(i) {
						w.again = append(w.again, c.data...)
					}
					slices.Sort(w.again)
					w.again = slices.Compact(w.again)
					w.here.up(i, now)
					w.fresh[i] = true
				})
			}
		}
	}
	check := func(w *wires) error {
		for seq := ring.Seq(1); seq < w.next; seq++ {
			safe := w.got[seq] || slices.Contains(w.again, seq)
			for _, x := range w.here.all {
				for _, f := range x.waiting {
					safe = safe || slices.Contains(f.held.data, seq)
				}
			}
			if !safe {
				return fmt.Errorf("%d has not arrived and no stripe remembers it: a death would lose it", seq)
			}
		}
		return nil
	}
	sys := search.System[*wires, string]{Init: first, Next: next, AppendKey: (*wires).key, Check: check, Max: 60_000}
	r, v := search.Walk(sys)
	t.Logf("%d states, %d steps, depth %d", r.States, r.Steps, r.Depth)
	if v == nil && !r.Complete {
		t.Errorf("not all states were visited: %d", r.States)
	}
	if v != nil {
		t.Fatalf("%v\n%s", v, search.Trace(sys, v, func(*wires) string { return "" }))
	}
}
