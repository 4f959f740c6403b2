// Package model is a small world of two nodes, a link and an SMSC, for a search
// of all its states. What decides is the production code: ring.Ring, ring.Mirror
// and the link's checks of epochs. What the actors around them do is repeated
// here in its plainest form, one step of an actor or of a disk at a time.
//
//	queue ─Retrieve─▶ ring ═ frames ═▶ mirror ─HandOn─▶ outlet ─submit─▶ SMSC      (down)
//	deliver ─Receive─▶ ring ═ frames ═▶ mirror ─HandOn─▶ router ─Deliver─▶ inbox   (up)
//
// The network is the set of all frames sent in a link session: any of them may
// come at any time, any number of times, or never. So loss, duplication and
// reordering need no steps of their own. A disk is a log: what is written is
// durable with its sync, and a crash keeps any first part of what was not
// synced yet. Memory is lost with its process.
package model

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"
)

// Config says how large a world is and what may go wrong how often.
type Config struct {
	Name     string
	Up       bool // the ring from the SMSC to the hub; else from the hub to the SMSC
	Slots    int
	Messages int // numbered from 1 in the order of acceptance; at most maxSeq
	Queued   int // of those: accepted before the world begins
	Keys     int // order keys; message m has m mod Keys

	HubCrashes, EdgeCrashes int
	Cuts                    int // the link ends, with what it carried
	Moves                   int // the edge leaves a hub that does not notice and sends on
	Takeovers               int // another hub claims the rings while the first one runs
	Broken                  int // SMSC sessions that end without an answer
	Lost                    int // frames that a dying stripe takes along

	Max   int      // states; 0: all
	Break []string // rules not kept, by the name of the violation; nil: all are kept
}

const maxSeq = 7

type (
	seqs = uint16 // a bit for each sequence
	node uint8
)

// The nodes.
const (
	hub1 node = iota
	hub2
	edge
)

func (n node) String() string { return [...]string{"hub 1", "hub 2", "edge"}[n] }

type frameKind uint8

const (
	data frameKind = iota + 1
	confirmed
	answer
	released
)

type frame struct {
	kind            frameKind
	epoch           uint8
	seq, msg, after uint8 // seq is last in confirmed and released
	more            seqs
}

func (f frame) String() string {
	switch f.kind {
	case data:
		return fmt.Sprintf("Data(%d is message %d, after %d) of epoch %d", f.seq, f.msg, f.after, f.epoch)
	case answer:
		return fmt.Sprintf("Answer(%d, message %d) of epoch %d", f.seq, f.msg, f.epoch)
	case confirmed:
		return fmt.Sprintf("Confirmed(%d%v) of epoch %d", f.seq, list(f.more), f.epoch)
	}
	return fmt.Sprintf("Released(%d%v) of epoch %d", f.seq, list(f.more), f.epoch)
}

type writeKind uint8

const (
	wAccept writeKind = iota + 1
	wRetrieve
	wProcessed
	wKeep
	wRelease
	wIntent
	wDoubt
	wOutcome
	wDeliver
	wEpoch
)

func (k writeKind) String() string {
	return [...]string{"", "accept", "retrieve", "processed", "keep", "release", "intent", "doubt", "outcome", "deliver", "epoch"}[k]
}

type write struct {
	kind            writeKind
	seq, msg, after uint8 // seq is the highest released one in release, the epoch in epoch
	seqs            seqs  // released out of order
}

func (x write) String() string {
	switch x.kind {
	case wAccept:
		return x.kind.String()
	case wKeep:
		return fmt.Sprintf("keep(%d is message %d)", x.seq, x.msg)
	case wRelease:
		return fmt.Sprintf("release(up to %d%v)", x.seq, list(x.seqs))
	}
	return fmt.Sprintf("%v(%d)", x.kind, x.seq)
}

// Where a message stands between mirror and SMSC.
const (
	idle      = iota
	intending // its intent or doubt is on its way to the disk
	submitted
	taken     // by the SMSC, which has not answered
	recording // its outcome is on its way to the disk
)

// process is what a node has in memory.
type process struct {
	alive, up, stopped bool
	retrieving         bool
	epoch              uint8
	ring               *ring.Ring   // the sender's
	mirror             *ring.Mirror // the receiver's
	recording          seqs         // results on their way to the disk
	log                []write      // not synced
	handed             []uint8      // by the mirror, in this order, and not begun
	open               [maxSeq + 1]uint8
}

// world is one state. The first group is what disks hold, the last what only the
// checks know.
type world struct {
	epoch     uint8 // of the rings' owner, in the hubs' store
	accepted  uint8 // messages 1 to here are in the queue or were
	next      uint8 // the queue's head
	last      uint8 // assigned up to here
	assigned  [maxSeq + 1]uint8
	after     [maxSeq + 1]uint8
	processed seqs
	released  uint8 // the mirror's disk: forgotten up to here
	kept      seqs
	keptMsg   [maxSeq + 1]uint8
	keptAfter [maxSeq + 1]uint8
	answered  seqs
	intent    seqs              // a submit may have gone out and has no outcome
	doubts    [maxSeq + 1]uint8 // by message
	highest   uint8             // epoch the edge has stored

	at     [3]process
	frames []frame // sorted
	phase  uint8   // of the link, as the edge sees it
	peer   node    // that it has dialled
	says   uint8   // epoch in the Hello or Welcome under way
	view   ring.View

	count [maxSeq + 1]uint8 // how often the SMSC, or the inbox, got a message
	order []uint8           // in which messages came there first

	hubCrashes, edgeCrashes, cuts, moves, takeovers, broken, lost uint8

	acked      uint8 // acknowledged up to this message
	acted      uint8 // highest epoch of which the edge took anything but a Welcome's number
	sessions   uint8 // to the SMSC that ended with something open
	staleTaken bool
	staleWrite bool
	reassigned bool
	alarm      string // an honest peer was refused
}

// Phases of the link.
const (
	off = iota
	hello
	welcome
	storingEpoch
	streaming
)

func bit(seq uint8) seqs { return 1 << seq }

func list(s seqs) (l []int) {
	for i := range maxSeq + 1 {
		if s&bit(uint8(i)) != 0 {
			l = append(l, i)
		}
	}
	return l
}

func id(msg uint8) ring.ID { return ring.ID{msg} }

func (w *world) clone() *world {
	c := *w
	for i := range c.at {
		p := &c.at[i]
		if p.ring != nil {
			p.ring = p.ring.Clone()
		}
		if p.mirror != nil {
			p.mirror = p.mirror.Clone()
		}
		p.log, p.handed = slices.Clone(p.log), slices.Clone(p.handed)
	}
	c.frames, c.order = slices.Clone(w.frames), slices.Clone(w.order)
	return &c
}

func (w *world) appendKey(b []byte) []byte {
	flag := func(all ...bool) {
		n := byte(0)
		for i, x := range all {
			if x {
				n |= 1 << i
			}
		}
		b = append(b, n)
	}
	bits := func(s seqs) { b = binary.LittleEndian.AppendUint16(b, s) }
	b = append(b, w.epoch, w.accepted, w.next, w.last, w.released, w.highest)
	for _, a := range [][maxSeq + 1]uint8{w.assigned, w.after, w.keptMsg, w.keptAfter, w.doubts, w.count} {
		b = append(b, a[:]...)
	}
	bits(w.processed)
	bits(w.kept)
	bits(w.answered)
	bits(w.intent)
	for i := range w.at {
		p := &w.at[i]
		flag(p.alive, p.up, p.stopped, p.retrieving)
		if !p.alive {
			continue
		}
		b = append(b, p.epoch)
		bits(p.recording)
		b = append(b, byte(len(p.log)))
		for _, x := range p.log {
			b = append(b, byte(x.kind), x.seq, x.msg, x.after)
			bits(x.seqs)
		}
		b = append(b, byte(len(p.handed)))
		b = append(append(b, p.handed...), p.open[:]...)
		if p.ring != nil {
			b = p.ring.AppendKey(b)
		}
		if p.mirror != nil {
			b = p.mirror.AppendKey(b)
		}
	}
	b = append(b, byte(len(w.frames)))
	for _, f := range w.frames {
		b = append(b, byte(f.kind), f.epoch, f.seq, f.msg, f.after)
		bits(f.more)
	}
	b = append(b, w.phase, byte(w.peer), w.says)
	if w.phase != off && w.phase != streaming {
		v := w.view
		b = append(b, byte(v.LastRetrieved), byte(v.LastSent), byte(v.LastConfirmed), byte(v.LastProcessed), byte(len(v.Held)))
		for _, h := range v.Held {
			b = append(b, byte(h.Seq), h.ID[0], byte(h.Flags))
		}
	}
	b = append(append(b, byte(len(w.order))), w.order...)
	b = append(b, w.hubCrashes, w.edgeCrashes, w.cuts, w.moves, w.takeovers, w.broken, w.lost, w.acked, w.acted, w.sessions)
	flag(w.staleTaken, w.staleWrite, w.reassigned)
	return append(b, w.alarm...)
}

// ---- the model: how a world moves

// Model is a world's rules.
type Model struct{ Config }

func (m *Model) sender(n node) bool { return (n == edge) == m.Up }

func (m *Model) breaks(rule string) bool { return len(m.Break) > 0 && slices.Contains(m.Break, rule) }

func (m *Model) key(msg uint8) int { return int(msg) % m.Keys }

func (m *Model) init() *world {
	w := &world{accepted: uint8(m.Queued), next: 1, acked: uint8(m.Queued), highest: 0}
	w.at[edge] = process{alive: true}
	m.load(w, edge)
	m.claim(w, hub1)
	return w
}

// claim makes a hub the rings' owner under a new epoch.
func (m *Model) claim(w *world, h node) {
	w.epoch++
	w.at[h] = process{alive: true, epoch: w.epoch}
	m.load(w, h)
}

// load is the start of a ring actor: it finds in its journal where it stood.
func (m *Model) load(w *world, n node) {
	p := &w.at[n]
	if m.sender(n) {
		var held []ring.Held
		last := w.last
		for seq := uint8(1); seq <= w.last; seq++ {
			if w.processed&bit(seq) == 0 {
				held = append(held, ring.Held{Seq: ring.Seq(seq), ID: id(w.assigned[seq])})
			}
		}
		if m.breaks("sequences begin anew after a restart") {
			last = 0
			if len(held) > 0 {
				last = uint8(held[len(held)-1].Seq)
			}
		}
		p.ring = ring.New(m.Slots)
		w.trouble(p.ring.Restore(ring.Seq(last), held))
		return
	}
	var held []ring.Restored
	for seq := uint8(1); seq <= maxSeq; seq++ {
		if w.kept&bit(seq) == 0 {
			continue
		}
		h := ring.Restored{Held: ring.Held{Seq: ring.Seq(seq), ID: id(w.keptMsg[seq])}, After: ring.Seq(w.keptAfter[seq])}
		if w.answered&bit(seq) != 0 {
			h.Flags = ring.Confirmed
		}
		held = append(held, h)
	}
	p.mirror = ring.NewMirror(m.Slots)
	handOn, err := p.mirror.Restore(ring.Seq(w.released), held)
	w.trouble(err)
	p.handOn(handOn)
}

func (w *world) trouble(err error) {
	if err != nil && w.alarm == "" {
		w.alarm = err.Error()
	}
}

func (p *process) handOn(all []ring.Seq) {
	for _, seq := range all {
		p.mirror.HandOn(seq)
		p.handed = append(p.handed, uint8(seq))
	}
}

// turn takes what is to be submitted next: first what a restart has left in doubt.
func (p *process) turn(intent seqs) uint8 {
	i := max(0, slices.IndexFunc(p.handed, func(seq uint8) bool { return intent&bit(seq) != 0 }))
	seq := p.handed[i]
	p.handed = slices.Delete(p.handed, i, i+1)
	return seq
}

func (p *process) write(x write) { p.log = append(p.log, x) }

// ---- disks

// apply is what a write does to the disk.
func (m *Model) apply(w *world, x write) {
	switch x.kind {
	case wAccept:
		w.accepted++
	case wRetrieve: // the head of the queue, whatever it is by now
		if w.next > w.accepted {
			return
		}
		msg := w.next
		if m.breaks("retrieve not the head") && w.next < w.accepted {
			msg = w.next + 1
		}
		w.reassigned = w.reassigned || w.assigned[x.seq] != 0
		w.assigned[x.seq], w.after[x.seq] = msg, 0
		for s := uint8(1); s < x.seq; s++ {
			if w.processed&bit(s) == 0 && m.key(w.assigned[s]) == m.key(msg) && !m.breaks("order key ignored") {
				w.after[x.seq] = s
			}
		}
		w.last = max(w.last, x.seq)
		if msg == w.next {
			w.next++
		}
	case wProcessed:
		w.processed |= bit(x.seq)
	case wKeep:
		w.kept |= bit(x.seq)
		w.keptMsg[x.seq], w.keptAfter[x.seq] = x.msg, x.after
	case wRelease:
		w.released = max(w.released, x.seq)
		w.kept &^= x.seqs
	case wIntent:
		w.intent |= bit(x.seq)
	case wDoubt:
		w.doubts[w.keptMsg[x.seq]]++
		w.intent |= bit(x.seq)
	case wOutcome:
		w.answered |= bit(x.seq)
		w.intent &^= bit(x.seq)
	case wDeliver:
		if w.answered&bit(x.seq) == 0 || m.breaks("deliver without looking at the slot") {
			w.arrives(w.keptMsg[x.seq])
		}
		w.answered |= bit(x.seq)
	case wEpoch:
		w.highest = max(w.highest, x.seq)
	}
}

func (w *world) arrives(msg uint8) {
	if w.count[msg] == 0 {
		w.order = append(w.order, msg)
	}
	w.count[msg]++
}

// sync makes the oldest write durable and tells the actor that asked for it.
func (m *Model) sync(w *world, n node) {
	p := &w.at[n]
	x := p.log[0]
	p.log = p.log[1:]
	if n != edge && p.epoch != w.epoch {
		if !m.breaks("write without the epoch") {
			m.stop(w, n)
			return
		}
		w.staleWrite = true
	}
	m.apply(w, x)
	switch x.kind {
	case wAccept:
		w.acked = max(w.acked, w.accepted)
	case wRetrieve:
		p.retrieving = false
		if msg := w.assigned[x.seq]; msg != 0 && !m.breaks("transmit before the assignment is durable") {
			p.ring.Retrieve(id(msg))
		}
	case wProcessed:
		p.recording &^= bit(x.seq)
		if p.ring.Process(ring.Seq(x.seq)) {
			m.sayReleased(w, n)
		}
	case wKeep:
		if p.mirror.Store(ring.Seq(x.seq), ring.Seq(x.after)) {
			p.handOn([]ring.Seq{ring.Seq(x.seq)})
		}
		m.sayConfirmed(w, n)
	case wIntent, wDoubt:
		if p.open[x.seq] == intending {
			p.open[x.seq] = submitted
		}
	case wOutcome, wDeliver:
		p.open[x.seq] = idle
		p.handOn(p.mirror.Answer(ring.Seq(x.seq)))
		m.sayAnswer(w, n, x.seq)
	case wEpoch:
		if w.phase == storingEpoch && w.says == x.seq {
			m.takeWelcome(w)
		}
	}
}

// stop is the end of a hub that is not the owner any more.
func (m *Model) stop(w *world, h node) {
	w.at[h].stopped, w.at[h].up, w.at[h].log = true, false, nil
	if w.peer == h && w.phase != off {
		w.phase, w.at[edge].up = off, false
	}
}

// crash keeps the first k writes that were not synced.
func (m *Model) crash(w *world, n node, k int) {
	p := &w.at[n]
	for _, x := range p.log[:k] {
		m.apply(w, x)
	}
	if n != edge {
		m.cut(w, n)
		m.claim(w, n)
		return
	}
	if w.intent != 0 {
		w.sessions++
	}
	m.cut(w, w.peer)
	w.at[edge] = process{alive: true}
	m.load(w, edge)
}

// ---- the link

func (m *Model) end(w *world, n node) ring.View {
	if p := &w.at[n]; m.sender(n) {
		return p.ring.View()
	}
	return w.at[n].mirror.View()
}

// cut ends the link to a hub with all that it carried.
func (m *Model) cut(w *world, h node) {
	if w.peer == h {
		w.phase, w.at[edge].up = off, false
	}
	w.at[h].up = false
	epoch := w.at[h].epoch
	w.frames = slices.DeleteFunc(w.frames, func(f frame) bool { return f.epoch == epoch })
}

func (m *Model) helloArrives(w *world) {
	h := &w.at[w.peer]
	says := &messages.Hello{
		Version: link.Version, HighestEpoch: uint64(w.says), Session: make([]byte, 16), Instance: []byte("edge"),
		Down: &messages.View{}, Up: &messages.View{},
	}
	if !h.alive || h.stopped || link.CheckHello(says, uint64(h.epoch)) != nil && !m.breaks("epoch not checked") {
		w.phase = off
		return
	}
	h.up = false
	m.resync(w, w.peer, w.view)
	w.phase, w.says, w.view = welcome, h.epoch, m.end(w, w.peer)
	m.linkUp(w, w.peer)
}

func (m *Model) welcomeArrives(w *world) {
	store, err := link.CheckWelcome(uint64(w.says), uint64(w.highest))
	switch {
	case err != nil && !m.breaks("epoch not checked"):
		w.phase = off
	case store:
		w.phase = storingEpoch
		w.at[edge].write(write{kind: wEpoch, seq: w.says})
		if m.breaks("welcome before the epoch is durable") {
			m.takeWelcome(w)
		}
	default:
		m.takeWelcome(w)
	}
}

func (m *Model) takeWelcome(w *world) {
	m.resync(w, edge, w.view)
	w.at[edge].epoch = w.says
	w.staleTaken = w.staleTaken || w.says < w.acted
	w.acted = max(w.acted, w.says)
	w.phase, w.view = streaming, ring.View{}
	m.linkUp(w, edge)
}

// resync compares with the other side's view (patent, figure 3).
func (m *Model) resync(w *world, n node, peer ring.View) {
	p := &w.at[n]
	if m.sender(n) {
		_, err := p.ring.Resync(peer)
		w.trouble(err)
		return
	}
	before := p.mirror.Pointers().LastProcessed
	forgotten, _, err := p.mirror.Resync(peer)
	w.trouble(err)
	if last := p.mirror.Pointers().LastProcessed; err == nil && (last > before || len(forgotten) > 0) {
		p.release(last, forgotten)
	}
	p.handOn(p.mirror.Blocked())
}

func (p *process) release(last ring.Seq, forgotten []ring.Seq) {
	x := write{kind: wRelease, seq: uint8(last)}
	for _, seq := range forgotten {
		x.seqs |= bit(uint8(seq))
	}
	p.write(x)
}

func (m *Model) linkUp(w *world, n node) {
	p := &w.at[n]
	p.up = true
	if m.sender(n) {
		if !m.breaks("nothing is resent") {
			for _, seq := range p.ring.Unconfirmed() {
				m.transmit(w, n, seq)
			}
		}
		m.sayReleased(w, n)
		return
	}
	m.sayConfirmed(w, n)
	for _, h := range p.mirror.View().Held {
		if p.mirror.Holds(h.Seq, ring.Confirmed) && !m.breaks("no answer is repeated") {
			m.sayAnswer(w, n, uint8(h.Seq))
		}
	}
}

func (m *Model) put(w *world, n node, f frame) {
	p := &w.at[n]
	if !p.up {
		return
	}
	f.epoch = p.epoch
	i, found := slices.BinarySearchFunc(w.frames, f, compare)
	if !found {
		w.frames = slices.Insert(w.frames, i, f)
	}
}

func compare(a, b frame) int {
	word := func(f frame) uint64 {
		return uint64(f.epoch)<<48 | uint64(f.kind)<<40 | uint64(f.seq)<<32 | uint64(f.msg)<<24 | uint64(f.after)<<16 | uint64(f.more)
	}
	x, y := word(a), word(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func (m *Model) transmit(w *world, n node, seq ring.Seq) {
	for _, h := range w.at[n].ring.View().Held {
		if h.Seq == seq {
			m.put(w, n, frame{kind: data, seq: uint8(seq), msg: h.ID[0], after: w.after[seq]})
		}
	}
}

func (m *Model) sayReleased(w *world, n node) {
	last, more := w.at[n].ring.Released()
	m.put(w, n, state(released, last, more))
}

func (m *Model) sayConfirmed(w *world, n node) {
	last, more := w.at[n].mirror.Stored()
	m.put(w, n, state(confirmed, last, more))
}

func state(kind frameKind, last ring.Seq, more []ring.Seq) frame {
	f := frame{kind: kind, seq: uint8(last)}
	for _, seq := range more {
		f.more |= bit(uint8(seq))
	}
	return f
}

func (m *Model) sayAnswer(w *world, n node, seq uint8) {
	m.put(w, n, frame{kind: answer, seq: seq, msg: w.keptMsg[seq]})
}

// take is the arrival of a frame.
func (m *Model) take(w *world, n node, f frame) {
	p := &w.at[n]
	if link.CheckFrame(uint64(f.epoch), uint64(p.epoch)) != nil && !m.breaks("epoch not checked") {
		return
	}
	w.staleTaken = w.staleTaken || f.epoch != p.epoch // whatever the check says
	var more []ring.Seq
	for _, seq := range list(f.more) {
		more = append(more, ring.Seq(seq))
	}
	seq := ring.Seq(f.seq)
	switch f.kind {
	case data:
		m.onData(w, n, f)
	case confirmed:
		if m.breaks("confirmed up to the highest") && len(more) > 0 {
			seq, more = more[len(more)-1], nil
		}
		news, err := p.ring.Confirm(seq, more)
		w.trouble(err)
		if m.breaks("slot free when confirmed") {
			for _, seq := range news {
				p.ring.Process(seq)
			}
		}
	case answer:
		news, err := p.ring.Answered(seq, id(f.msg))
		w.trouble(err)
		if news && p.recording&bit(f.seq) == 0 {
			p.recording |= bit(f.seq)
			p.write(write{kind: wProcessed, seq: f.seq})
			switch {
			case m.breaks("slot free before the result is durable"):
				p.ring.Process(seq)
			case m.breaks("released before the result is durable"):
				r := p.ring.Clone()
				r.Process(seq)
				last, more := r.Released()
				m.put(w, n, state(released, last, more))
			}
		}
	case released:
		forgotten, err := p.mirror.Release(seq, more)
		w.trouble(err)
		if len(forgotten) > 0 {
			p.release(p.mirror.Pointers().LastProcessed, forgotten)
		}
	}
}

func (m *Model) onData(w *world, n node, f frame) {
	p, seq := &w.at[n], ring.Seq(f.seq)
	before := p.mirror.Pointers().LastProcessed
	verdict, err := p.mirror.Accept(seq, id(f.msg))
	w.trouble(err)
	if err != nil {
		return
	}
	if last := p.mirror.Pointers().LastProcessed; last > before {
		var forgotten []ring.Seq
		for s := before + 1; s <= last; s++ {
			forgotten = append(forgotten, s)
		}
		p.release(last, forgotten)
	}
	switch verdict {
	case ring.Fresh:
		p.write(write{kind: wKeep, seq: f.seq, msg: f.msg, after: f.after})
		if m.breaks("confirmed before sync") {
			if p.mirror.Store(seq, ring.Seq(f.after)) {
				p.handOn([]ring.Seq{seq})
			}
			m.sayConfirmed(w, n)
		}
	case ring.Duplicate, ring.Stale:
		if m.breaks("a duplicate is handed on again") && verdict == ring.Duplicate {
			p.handOn([]ring.Seq{seq})
		}
		m.sayConfirmed(w, n)
	}
}

// lose takes a frame away with its stripe: what it carried is sent again, and
// repeated state goes out with the next frame.
func (m *Model) lose(w *world, n node, f frame) {
	w.lost++
	w.frames = slices.DeleteFunc(w.frames, func(x frame) bool { return x == f })
	p, seq := &w.at[n], ring.Seq(f.seq)
	switch {
	case m.breaks("nothing is resent"):
	case f.kind == data && p.ring.Is(seq, ring.Sent, ring.Confirmed|ring.Processed):
		m.transmit(w, n, seq)
	case f.kind == answer && p.mirror.Holds(seq, ring.Confirmed):
		m.sayAnswer(w, n, f.seq)
	case f.kind == confirmed:
		m.sayConfirmed(w, n)
	case f.kind == released:
		m.sayReleased(w, n)
	}
}
