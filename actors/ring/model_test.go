package ring

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// packet is what crosses the channel of the model.
type packet struct {
	kind       string // data, confirmed, released, answer
	seq, after Seq
	id         ID
	more       []Seq
}

type message struct {
	n, key int
}

// model is a ring and its mirror with disks, a channel that loses, doubles and
// reorders, and a downstream that takes over in any order what it was handed.
// Either side may crash at any time; what its disk had under way then is or is
// not there. A crash or a cut ends the channel, as the end of TCP connections
// does; both sides then say Hello and Welcome, as hub and edge do.
type model struct {
	size       int
	ringAtEdge bool // the up ring: it says Hello
	tail       bool // no more faults: everything must arrive

	// The ring's side.
	ring       *Ring
	queue      []message // retrieved from here, in order
	byID       map[ID]message
	last       Seq // durable from here
	assigned   map[Seq]packet
	recording  map[Seq]bool // results on their way to the disk
	ringUp     bool
	everByRing map[Seq]ID // every assignment that ever was transmitted

	// The mirror's side.
	mirror     *Mirror
	released   Seq // durable from here
	kept       map[Seq]Restored
	storing    map[Seq]Restored
	handed     map[Seq]bool
	mirrorUp   bool
	downstream []message // in the order of taking over

	// The link.
	channel []packet
	hello   *View // the edge's, under way
	welcome *View // the hub's, under way
}

func newModel(t *rapid.T) *model {
	m := &model{
		size:       rapid.IntRange(1, 9).Draw(t, "size"),
		ringAtEdge: rapid.Bool().Draw(t, "ringAtEdge"),
		assigned:   map[Seq]packet{}, byID: map[ID]message{}, recording: map[Seq]bool{}, everByRing: map[Seq]ID{},
		kept: map[Seq]Restored{}, storing: map[Seq]Restored{}, handed: map[Seq]bool{},
	}
	m.ring, m.mirror = New(m.size), NewMirror(m.size)
	keys := rapid.IntRange(1, 4).Draw(t, "keys")
	for n := range rapid.IntRange(1, 40).Draw(t, "messages") {
		m.queue = append(m.queue, message{n: n, key: n * n % 7 % keys})
	}
	return m
}

func pick[V any](t *rapid.T, all map[Seq]V) (Seq, bool) {
	if len(all) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(t, "seq"), true
}

// ---- the ring's side

func (m *model) retrieve(*rapid.T) {
	if len(m.queue) == 0 || m.ring.Free() == 0 {
		return
	}
	msg := m.queue[0]
	m.queue = m.queue[1:]
	p := packet{kind: "data", seq: m.ring.Next(), id: id(uint64(msg.n))}
	for seq, a := range m.assigned {
		if m.byID[a.id].key == msg.key {
			p.after = max(p.after, seq)
		}
	}
	m.byID[p.id] = msg
	m.last, m.assigned[p.seq] = p.seq, p // durable first (I10)
	m.ring.Retrieve(p.id)
}

func (m *model) put(p packet) { m.channel = append(m.channel, p) }

func (m *model) transmit(t *rapid.T, seq Seq) {
	p, ok := m.assigned[seq]
	if !ok {
		t.Fatalf("%d is to be sent and is processed already", seq)
	}
	if before, ok := m.everByRing[seq]; ok && before != p.id {
		t.Fatalf("I10: %d was sent as %s and now is %s", seq, before, p.id)
	}
	if old := seq - Seq(m.size); seq > Seq(m.size) {
		if _, ok := m.assigned[old]; ok {
			t.Fatalf("I12: %d goes out before %d is processed durably", seq, old)
		}
	}
	m.everByRing[seq] = p.id
	m.put(p)
}

func (m *model) send(t *rapid.T) {
	if !m.ringUp {
		return
	}
	if seq, ok := m.ring.Send(); ok {
		m.transmit(t, seq)
	}
}

// askAgain is the repair of gaps (I4), and the repetition of state.
func (m *model) askAgain(t *rapid.T) {
	if m.ringUp {
		for _, seq := range m.ring.Unconfirmed() {
			m.transmit(t, seq)
		}
		m.sayReleased()
	}
	if m.mirrorUp {
		m.sayStored()
		for _, h := range m.mirror.View().Held {
			if m.mirror.Holds(h.Seq, Confirmed) {
				m.put(packet{kind: "answer", seq: h.Seq, id: h.ID})
			}
		}
	}
}

func (m *model) sayReleased() {
	last, more := m.ring.Released()
	m.put(packet{kind: "released", seq: last, more: more})
}

func (m *model) recorded(t *rapid.T) {
	if seq, ok := pick(t, m.recording); ok {
		delete(m.recording, seq)
		delete(m.assigned, seq)
		m.ring.Process(seq)
		if m.ringUp {
			m.sayReleased()
		}
	}
}

func (m *model) crashRing(t *rapid.T) {
	if m.tail {
		return
	}
	m.cut(t)
	for seq := range m.recording {
		if rapid.Bool().Draw(t, "recorded") {
			delete(m.assigned, seq)
		}
	}
	clear(m.recording)
	var held []Held
	for _, seq := range slices.Sorted(maps.Keys(m.assigned)) {
		held = append(held, Held{Seq: seq, ID: m.assigned[seq].id})
	}
	m.ring = New(m.size)
	if err := m.ring.Restore(m.last, held); err != nil {
		t.Fatal(err)
	}
}

// ---- the mirror's side

func (m *model) sayStored() {
	last, more := m.mirror.Stored()
	m.put(packet{kind: "confirmed", seq: last, more: more})
}

func (m *model) handOn(seqs ...Seq) {
	for _, seq := range seqs {
		m.mirror.HandOn(seq)
		m.handed[seq] = true
	}
}

func (m *model) stored(t *rapid.T) {
	seq, ok := pick(t, m.storing)
	if !ok {
		return
	}
	r := m.storing[seq]
	delete(m.storing, seq)
	m.kept[seq] = r
	if m.mirror.Store(seq, r.After) {
		m.handOn(seq)
	}
	if m.mirrorUp {
		m.sayStored()
	}
}

// answer: taking over and the record of it are one step of the downstream's disk.
func (m *model) answer(t *rapid.T) {
	seq, ok := pick(t, m.handed)
	if !ok {
		return
	}
	delete(m.handed, seq)
	r := m.kept[seq]
	r.Flags = Confirmed
	m.kept[seq] = r
	m.downstream = append(m.downstream, m.byID[r.ID])
	m.handOn(m.mirror.Answer(seq)...)
	if m.mirrorUp {
		m.put(packet{kind: "answer", seq: seq, id: r.ID})
	}
}

func (m *model) forget(t *rapid.T, seqs []Seq) {
	m.released = m.mirror.Pointers().LastProcessed
	for _, seq := range seqs {
		if m.kept[seq].Flags&Confirmed == 0 {
			t.Fatalf("I12: %d is forgotten and was never answered", seq)
		}
		if _, ok := m.assigned[seq]; ok {
			t.Fatalf("I6: %d is forgotten before its result is durable at the sender", seq)
		}
		delete(m.kept, seq)
	}
}

func (m *model) crashMirror(t *rapid.T) {
	if m.tail {
		return
	}
	m.cut(t)
	for seq, r := range m.storing {
		if rapid.Bool().Draw(t, "stored") {
			m.kept[seq] = r
		}
	}
	clear(m.storing)
	clear(m.handed)
	var held []Restored
	for _, seq := range slices.Sorted(maps.Keys(m.kept)) {
		held = append(held, m.kept[seq])
	}
	m.mirror = NewMirror(m.size)
	handOn, err := m.mirror.Restore(m.released, held)
	if err != nil {
		t.Fatal(err)
	}
	m.handOn(handOn...)
}

// ---- the link

func (m *model) cut(*rapid.T) {
	if m.tail {
		return
	}
	m.channel, m.hello, m.welcome, m.ringUp, m.mirrorUp = nil, nil, nil, false, false
}

func (m *model) resyncRing(t *rapid.T, peer View) {
	if _, err := m.ring.Resync(peer); err != nil {
		t.Fatal(err)
	}
}

func (m *model) resyncMirror(t *rapid.T, peer View) {
	forgotten, _, err := m.mirror.Resync(peer)
	if err != nil {
		t.Fatal(err)
	}
	m.forget(t, forgotten)
	m.handOn(m.mirror.Blocked()...)
}

func (m *model) ringIsUp(t *rapid.T) {
	m.ringUp = true
	for _, seq := range m.ring.Unconfirmed() {
		m.transmit(t, seq)
	}
	m.sayReleased()
}

func (m *model) mirrorIsUp() {
	m.mirrorUp = true
	m.sayStored()
	for _, h := range m.mirror.View().Held {
		if m.mirror.Holds(h.Seq, Confirmed) {
			m.put(packet{kind: "answer", seq: h.Seq, id: h.ID})
		}
	}
}

// connect takes one step of Hello, Welcome, established; anything may happen
// between the steps.
func (m *model) connect(t *rapid.T) {
	view := func(v View) *View { return &v }
	switch {
	case m.ringUp && m.mirrorUp:
	case m.hello == nil && m.ringAtEdge:
		m.hello = view(m.ring.View())
	case m.hello == nil:
		m.hello = view(m.mirror.View())
	case m.welcome == nil && m.ringAtEdge:
		m.resyncMirror(t, *m.hello)
		m.welcome = view(m.mirror.View())
		m.mirrorIsUp()
	case m.welcome == nil:
		m.resyncRing(t, *m.hello)
		m.welcome = view(m.ring.View())
		m.ringIsUp(t)
	case m.ringAtEdge:
		m.resyncRing(t, *m.welcome)
		m.ringIsUp(t)
	default:
		m.resyncMirror(t, *m.welcome)
		m.mirrorIsUp()
	}
}

// deliver takes any packet out of the channel; it may be lost, or stay there
// and come again.
func (m *model) deliver(t *rapid.T) {
	if len(m.channel) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.channel)-1).Draw(t, "packet")
	p := m.channel[i]
	toRing := p.kind == "confirmed" || p.kind == "answer"
	if toRing && !m.ringUp || !toRing && !m.mirrorUp {
		return // early frames wait for Welcome
	}
	fate := rapid.SampledFrom([]string{"once", "again", "lost"}).Draw(t, "fate")
	if m.tail || fate != "again" {
		m.channel = slices.Delete(m.channel, i, i+1)
	}
	if !m.tail && fate == "lost" {
		return
	}
	var err error
	switch p.kind {
	case "data":
		err = m.onData(t, p)
	case "confirmed":
		_, err = m.ring.Confirm(p.seq, p.more)
	case "answer":
		var news bool
		if news, err = m.ring.Answered(p.seq, p.id); news {
			m.recording[p.seq] = true
		}
	case "released":
		var forgotten []Seq
		forgotten, err = m.mirror.Release(p.seq, p.more)
		m.forget(t, forgotten)
	}
	if err != nil {
		t.Fatalf("an honest peer is refused: %+v: %v", p, err)
	}
}

func (m *model) onData(t *rapid.T, p packet) error {
	before := m.mirror.Pointers().LastProcessed
	verdict, err := m.mirror.Accept(p.seq, p.id)
	if err != nil {
		return err
	}
	var forgotten []Seq
	for seq := before + 1; seq <= m.mirror.Pointers().LastProcessed; seq++ {
		if _, ok := m.kept[seq]; ok {
			forgotten = append(forgotten, seq)
		}
	}
	m.forget(t, forgotten)
	switch verdict {
	case Fresh:
		m.storing[p.seq] = Restored{Held{Seq: p.seq, ID: p.id}, p.after}
	case Duplicate, Stale:
		m.sayStored()
	}
	return nil
}

// ---- what always holds

func (m *model) check(t *rapid.T) {
	p := m.ring.Pointers()
	if p.LastProcessed > p.LastConfirmed || p.LastConfirmed > p.LastSent || p.LastSent > p.LastRetrieved || p.LastRetrieved > p.LastProcessed+Seq(m.size) {
		t.Fatalf("ring's pointers: %v", m.ring)
	}
	q := m.mirror.Pointers()
	if q.LastProcessed > q.LastConfirmed || q.LastConfirmed > q.LastSent || q.LastSent > q.LastRetrieved || q.LastRetrieved > q.LastProcessed+Seq(m.size) {
		t.Fatalf("mirror's pointers: %v", m.mirror)
	}
	if q.LastProcessed > p.LastProcessed {
		t.Fatalf("I12: the mirror has released up to %d, the ring has processed up to %d", q.LastProcessed, p.LastProcessed)
	}
	if p.LastRetrieved != m.last {
		t.Fatalf("I10: assigned up to %d, durable up to %d", p.LastRetrieved, m.last)
	}
	for seq, a := range m.assigned {
		if !m.ring.Is(seq, Retrieved, Processed) || m.ring.at(seq).ID != a.id {
			t.Fatalf("I1: %d is not processed and its slot holds %+v", seq, *m.ring.at(seq))
		}
	}
	lastOf := map[int]int{}
	seen := map[int]bool{}
	for _, msg := range m.downstream {
		if seen[msg.n] {
			t.Fatalf("message %d arrived twice", msg.n)
		}
		if before, ok := lastOf[msg.key]; ok && before > msg.n {
			t.Fatalf("key %d: message %d arrived after %d", msg.key, msg.n, before)
		}
		seen[msg.n], lastOf[msg.key] = true, msg.n
	}
}

func (m *model) steps() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"retrieve": m.retrieve, "send": m.send, "askAgain": m.askAgain, "recorded": m.recorded,
		"stored": m.stored, "answer": m.answer, "deliver": m.deliver, "deliver2": m.deliver, "connect": m.connect,
		"cut": m.cut, "crashRing": m.crashRing, "crashMirror": m.crashMirror,
	}
}

// Any order of steps, losses, doubles, cuts and crashes keeps the invariants,
// refuses no honest peer, and in the end everything has arrived once and in
// the order of its key.
func TestEverythingArrivesOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		n := len(m.queue)
		actions := m.steps()
		actions[""] = m.check
		t.Repeat(actions)

		m.tail = true
		for round := 0; len(m.queue) > 0 || len(m.assigned) > 0; round++ {
			if round > 10*n+20 {
				t.Fatalf("stuck: queue %d, unprocessed %v, stored %v, handed %v\nring   %v |%s\nmirror %v |%s",
					len(m.queue), slices.Sorted(maps.Keys(m.assigned)), slices.Sorted(maps.Keys(m.kept)), m.handed, m.ring, slots(m.ring.slots), m.mirror, slots(m.mirror.slots))
			}
			m.connect(t)
			m.retrieve(t)
			m.send(t)
			m.askAgain(t)
			for len(m.channel) > 0 && m.ringUp && m.mirrorUp {
				m.deliver(t)
			}
			for len(m.storing) > 0 {
				m.stored(t)
			}
			for len(m.handed) > 0 {
				m.answer(t)
			}
			for len(m.recording) > 0 {
				m.recorded(t)
			}
			m.check(t)
		}
		if len(m.downstream) != n {
			t.Fatalf("%d of %d messages arrived", len(m.downstream), n)
		}
	})
}

// What a stranger says never panics, and what is refused changes nothing that
// the honest peer would miss.
func TestNothingAPeerSaysPanics(t *testing.T) {
	seqs := rapid.OneOf(rapid.Uint64Range(0, 12), rapid.Uint64(), rapid.Uint64Range(1<<62-3, 1<<62+3), rapid.Just(^Seq(0)))
	list := rapid.SliceOfN(seqs, 0, 6)
	views := rapid.Custom(func(t *rapid.T) View {
		v := View{Size: rapid.SampledFrom([]int{3, 3, 3, 4, 0, -1}).Draw(t, "size")}
		p := list.Draw(t, "pointers")
		slices.Sort(p)
		p = append(p, 0, 0, 0, 0)
		v.Pointers = Pointers{p[3], p[2], p[1], p[0]}
		for _, seq := range list.Draw(t, "held") {
			v.Held = append(v.Held, Held{seq, id(seq % 5), Flags(rapid.Byte().Draw(t, "flags"))})
		}
		return v
	})
	rapid.Check(t, func(t *rapid.T) {
		r, m := New(3), NewMirror(3)
		t.Repeat(map[string]func(*rapid.T){
			"retrieve": func(t *rapid.T) {
				if r.Free() > 0 {
					r.Retrieve(id(r.Next()))
				}
			},
			"send":    func(*rapid.T) { r.Send() },
			"confirm": func(t *rapid.T) { r.Confirm(seqs.Draw(t, "last"), list.Draw(t, "more")) },
			"answered": func(t *rapid.T) {
				seq := seqs.Draw(t, "seq")
				if news, err := r.Answered(seq, id(seq)); news && err == nil {
					r.Process(seq)
				}
			},
			"resyncRing": func(t *rapid.T) { r.Resync(views.Draw(t, "view")) },
			"accept": func(t *rapid.T) {
				seq := seqs.Draw(t, "seq")
				if v, err := m.Accept(seq, id(seq)); v == Fresh && err == nil {
					m.Store(seq, seqs.Draw(t, "after"))
				}
			},
			"answer":       func(t *rapid.T) { m.Answer(seqs.Draw(t, "seq")) },
			"release":      func(t *rapid.T) { m.Release(seqs.Draw(t, "last"), list.Draw(t, "more")) },
			"resyncMirror": func(t *rapid.T) { m.Resync(views.Draw(t, "view")) },
			"": func(t *rapid.T) {
				for _, p := range []Pointers{r.p, m.p} {
					if p.LastProcessed > p.LastConfirmed || p.LastConfirmed > p.LastSent || p.LastSent > p.LastRetrieved || p.LastRetrieved > p.LastProcessed+3 {
						t.Fatalf("pointers: %+v", p)
					}
				}
				if len(r.View().Held) > 3 || len(m.View().Held) > 3 || len(r.Unconfirmed()) > 3 {
					t.Fatal("more is held than there are slots")
				}
				m.Stored()
				r.Released()
				m.Blocked()
			},
		})
	})
}

// ---- one test for each invariant

func filled(size int) *Ring {
	r := New(size)
	for range size {
		r.Retrieve(id(r.Next()))
		r.Send()
	}
	return r
}

func TestI1_SlotTakesANewMessageOnlyWhenProcessed(t *testing.T) {
	r := filled(3)
	if _, err := r.Confirm(3, nil); err != nil {
		t.Fatal(err)
	}
	r.Process(2)
	if r.Free() != 0 {
		t.Errorf("%d slots are free while the first is not processed", r.Free())
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a full ring took a message")
			}
		}()
		r.Retrieve(id(4))
	}()
	r.Process(1)
	if r.Free() != 2 {
		t.Errorf("%d slots are free, 1 and 2 are processed", r.Free())
	}
	if seq := r.Retrieve(id(4)); seq != 4 || r.slots[1].Seq != 4 {
		t.Errorf("4 went to %+v", r.slots)
	}
}

func TestI2_SameSequenceOtherMessageIsAnAlarm(t *testing.T) {
	m := NewMirror(3)
	m.Accept(1, id(1))
	for _, when := range []string{"storing", "stored", "answered"} {
		if _, err := m.Accept(1, id(9)); !errors.Is(err, ErrOtherMessage) {
			t.Errorf("%s: %v", when, err)
		}
		switch when {
		case "storing":
			m.Store(1, 0)
		case "stored":
			m.Answer(1)
		}
	}
	if _, _, err := m.Resync(View{Size: 3, Pointers: Pointers{1, 1, 0, 0}, Held: []Held{{1, id(9), Retrieved | Sent}}}); !errors.Is(err, ErrOtherMessage) {
		t.Errorf("resync of the mirror: %v", err)
	}
	if last, more := m.Stored(); last != 1 || len(more) != 0 {
		t.Errorf("what is stored has changed: %d %v", last, more)
	}
	r := filled(3)
	if _, err := r.Resync(View{Size: 3, Pointers: Pointers{LastRetrieved: 1}, Held: []Held{{1, id(9), Retrieved}}}); !errors.Is(err, ErrOtherMessage) {
		t.Errorf("resync of the ring: %v", err)
	}
	if _, err := r.Answered(1, id(9)); !errors.Is(err, ErrOtherMessage) {
		t.Errorf("answer: %v", err)
	}
}

func TestI4_AGapIsAskedForAgainAndNeverSkipped(t *testing.T) {
	r, m := filled(4), NewMirror(4)
	for _, seq := range []Seq{1, 3, 4} { // 2 is lost
		m.Accept(seq, id(seq))
		m.Store(seq, 0)
	}
	last, more := m.Stored()
	if last != 1 || !slices.Equal(more, []Seq{3, 4}) {
		t.Fatalf("stored: %d %v", last, more)
	}
	if _, err := r.Confirm(last, more); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := r.Unconfirmed(); !slices.Equal(got, []Seq{2}) {
			t.Fatalf("to be sent again: %v", got)
		}
	}
	if p := r.Pointers(); p.LastConfirmed != 1 {
		t.Errorf("LastConfirmed %d has skipped 2", p.LastConfirmed)
	}
}

func TestI10_AnAssignmentOutlivesARestart(t *testing.T) {
	r := filled(3)
	r.Process(2)
	restarted := New(3)
	if err := restarted.Restore(3, []Held{{Seq: 1, ID: id(1)}, {Seq: 3, ID: id(3)}}); err != nil {
		t.Fatal(err)
	}
	if restarted.Next() != 4 || restarted.Free() != 0 {
		t.Errorf("next is %d with %d free; 1 to 3 are assigned, 1 and 3 not processed", restarted.Next(), restarted.Free())
	}
	for _, want := range []Seq{1, 3} {
		if seq, ok := restarted.Send(); !ok || seq != want || restarted.at(seq).ID != id(want) {
			t.Errorf("sends %d as %s, want %d as before", seq, restarted.at(seq).ID, want)
		}
	}
}

func TestI12_TheNextRoundOnlyAfterProcessed(t *testing.T) {
	m := NewMirror(3)
	m.Accept(1, id(1))
	m.Store(1, 0)
	if _, err := m.Accept(4, id(4)); !errors.Is(err, ErrOverrun) {
		t.Errorf("4 over 1, which is not answered: %v", err)
	}
	m.Answer(1)
	if v, err := m.Accept(4, id(4)); err != nil || v != Fresh {
		t.Errorf("4 over 1, which is answered: %v %v", v, err)
	}
	if m.Holds(1, 0) {
		t.Error("1 is not forgotten, though 4 has come")
	}
	r := filled(3)
	for seq := Seq(1); seq <= 3; seq++ {
		if _, ok := r.Send(); ok || r.Free() != 0 {
			t.Fatalf("before Process(1) the ring has %d free", r.Free())
		}
	}
}

func BenchmarkRing(b *testing.B) {
	for _, size := range []int{255, 65535} {
		b.Run(fmt.Sprintf("retrieve,send,confirm,process/%d", size), func(b *testing.B) {
			r, i := New(size), id(1)
			b.ReportAllocs()
			for b.Loop() {
				seq := r.Retrieve(i)
				r.Send()
				if _, err := r.Confirm(seq, nil); err != nil {
					b.Fatal(err)
				}
				r.Process(seq)
			}
		})
	}
}

// A full window out of order: the dearest state there is to say.
func BenchmarkState(b *testing.B) {
	r := filled(255)
	for seq := Seq(2); seq <= 255; seq++ {
		r.Process(seq)
	}
	m := NewMirror(255)
	for seq := Seq(2); seq <= 255; seq++ {
		m.Accept(seq, id(seq))
		m.Store(seq, 0)
	}
	b.Run("released", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Released()
		}
	})
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Stored()
		}
	})
	b.Run("confirm", func(b *testing.B) {
		last, more := m.Stored()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Confirm(last, more); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("resync", func(b *testing.B) {
		view := r.View()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Resync(view); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMirror(b *testing.B) {
	m, i, seq := NewMirror(255), id(1), Seq(0)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		if _, err := m.Accept(seq, i); err != nil {
			b.Fatal(err)
		}
		m.Store(seq, seq-1)
		m.HandOn(seq)
		m.Answer(seq)
		if _, err := m.Release(seq, nil); err != nil {
			b.Fatal(err)
		}
	}
}
