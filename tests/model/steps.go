package model

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/ringway-im/ringway/tests/model/search"
)

type stepKind uint8

const (
	sAccept stepKind = iota
	sRetrieve
	sSend
	sSync
	sTake
	sSubmit
	sTaken
	sAnswers
	sDeliver
	sHello
	sHelloArrives
	sWelcomeArrives
	sLeaseOut
	sCut
	sMove
	sTakeover
	sCrash
	sBroken
	sLose
)

// step is one step of an actor, a disk, a frame or fate.
type step struct {
	kind stepKind
	node node
	n    uint8
	f    frame
	x    write
}

func (s step) String() string {
	switch s.kind {
	case sAccept:
		return fmt.Sprintf("%v: accepts message %d", s.node, s.n)
	case sRetrieve:
		return fmt.Sprintf("%v: retrieves the queue's head for sequence %d", s.node, s.n)
	case sSend:
		return fmt.Sprintf("%v: sends sequence %d", s.node, s.n)
	case sSync:
		return fmt.Sprintf("%v: fsync of %v", s.node, s.x)
	case sTake:
		return fmt.Sprintf("%v: gets %v", s.node, s.f)
	case sSubmit:
		return "edge: turns to the next message for the SMSC"
	case sTaken:
		return fmt.Sprintf("SMSC: gets sequence %d", s.n)
	case sAnswers:
		return fmt.Sprintf("SMSC: answers sequence %d", s.n)
	case sDeliver:
		return fmt.Sprintf("%v: router delivers sequence %d", s.node, s.n)
	case sHello:
		return fmt.Sprintf("edge: dials %v and says Hello", s.node)
	case sHelloArrives:
		return fmt.Sprintf("%v: gets Hello, compares, answers Welcome", s.node)
	case sWelcomeArrives:
		return "edge: gets Welcome"
	case sLeaseOut:
		return fmt.Sprintf("%v: sees that its lease is over, stops", s.node)
	case sCut:
		return "CUT of the link"
	case sMove:
		return fmt.Sprintf("the edge leaves %v, which does not notice", s.node)
	case sTakeover:
		return fmt.Sprintf("TAKE-OVER by %v", s.node)
	case sCrash:
		return fmt.Sprintf("CRASH of %v; of what was not synced the first %d survive", s.node, s.n)
	case sBroken:
		return fmt.Sprintf("SMSC SESSION BREAKS with sequence %d unanswered", s.n)
	}
	return fmt.Sprintf("STRIPE DIES with %v", s.f)
}

// System gives the search a world.
func (m *Model) System(check func(*world) error) search.System[*world, step] {
	return search.System[*world, step]{
		Init: m.init(), Next: m.next, AppendKey: (*world).appendKey, Check: check, Done: m.done, Max: m.Max,
	}
}

// done: every message has been accepted and is processed, and nothing of it is
// held any more.
func (m *Model) done(w *world) bool {
	return int(w.accepted) == m.Messages && int(w.last) == m.Messages && w.released == w.last && bits.OnesCount16(w.processed) == m.Messages
}

func (m *Model) next(w *world, yield func(step, bool, *world)) {
	do := func(s step, fault bool, f func(*world)) {
		c := w.clone()
		f(c)
		yield(s, fault, c)
	}
	for n := hub1; n <= edge; n++ {
		p := &w.at[n]
		if !p.alive || p.stopped {
			continue
		}
		if len(p.log) > 0 {
			do(step{kind: sSync, node: n, x: p.log[0]}, false, func(w *world) { m.sync(w, n) })
		}
		if m.sender(n) {
			m.sends(w, n, do)
		} else {
			m.receives(w, n, do)
		}
		if n != edge && p.epoch < w.epoch && !m.breaks("write without the epoch") {
			do(step{kind: sLeaseOut, node: n}, false, func(w *world) { m.stop(w, n) })
		}
	}
	m.links(w, do)
	m.fates(w, do)
}

func (m *Model) sends(w *world, n node, do func(step, bool, func(*world))) {
	p := &w.at[n]
	accepting := slices.ContainsFunc(p.log, func(x write) bool { return x.kind == wAccept })
	if int(w.accepted) < m.Messages && !accepting && (n == edge || p.epoch == w.epoch) {
		do(step{kind: sAccept, node: n, n: w.accepted + 1}, false, func(w *world) {
			w.at[n].write(write{kind: wAccept})
			if m.breaks("acknowledged before sync") {
				w.acked = w.accepted + 1
			}
		})
	}
	if !p.retrieving && p.ring.Free() > 0 && w.next <= w.accepted {
		seq := uint8(p.ring.Next())
		do(step{kind: sRetrieve, node: n, n: seq}, false, func(w *world) {
			p := &w.at[n]
			p.retrieving = true
			p.write(write{kind: wRetrieve, seq: seq})
			if m.breaks("transmit before the assignment is durable") {
				p.ring.Retrieve(id(w.next))
			}
		})
	}
	if q := p.ring.Pointers(); p.up && q.LastSent < q.LastRetrieved {
		do(step{kind: sSend, node: n, n: uint8(q.LastSent + 1)}, false, func(w *world) {
			if seq, ok := w.at[n].ring.Send(); ok {
				m.transmit(w, n, seq)
			}
		})
	}
	m.takes(w, n, do, confirmed, answer)
}

func (m *Model) takes(w *world, n node, do func(step, bool, func(*world)), kinds ...frameKind) {
	if !w.at[n].up {
		return
	}
	for _, f := range w.frames {
		if slices.Contains(kinds, f.kind) {
			do(step{kind: sTake, node: n, f: f}, false, func(w *world) { m.take(w, n, f) })
		}
	}
}

func (m *Model) receives(w *world, n node, do func(step, bool, func(*world))) {
	m.takes(w, n, do, data, released)
	p := &w.at[n]
	if m.Up {
		if len(p.handed) > 0 {
			do(step{kind: sDeliver, node: n, n: p.handed[0]}, false, func(w *world) {
				p := &w.at[n]
				seq := p.handed[0]
				p.handed = p.handed[1:]
				p.open[seq] = recording
				p.write(write{kind: wDeliver, seq: seq})
			})
		}
		return
	}
	open := 0
	for _, o := range p.open {
		if o != idle && (o != recording || !m.breaks("next submit before the outcome is durable")) {
			open++
		}
	}
	if open == 0 && len(p.handed) > 0 || open == 1 && len(p.handed) > 0 && m.breaks("two submits at a time") {
		do(step{kind: sSubmit, node: n}, false, func(w *world) {
			p := &w.at[n]
			seq := p.turn(w.intent)
			p.open[seq] = intending
			x := write{kind: wIntent, seq: seq}
			if w.intent&bit(seq) != 0 && !m.breaks("a doubt is not recorded") { // begun before a restart
				x.kind = wDoubt
			}
			p.write(x)
			if m.breaks("submit before the intent is durable") || m.breaks("next submit before the outcome is durable") {
				p.open[seq] = submitted
			}
		})
	}
	for i, o := range p.open {
		seq := uint8(i)
		switch o {
		case submitted:
			do(step{kind: sTaken, n: seq}, false, func(w *world) {
				w.at[n].open[seq] = taken
				w.arrives(w.keptMsg[seq])
			})
		case taken:
			do(step{kind: sAnswers, n: seq}, false, func(w *world) {
				w.at[n].open[seq] = recording
				w.at[n].write(write{kind: wOutcome, seq: seq})
				if m.breaks("answered before the outcome is durable") {
					m.sayAnswer(w, n, seq)
				}
			})
		}
		if (o == submitted || o == taken) && int(w.broken) < m.Broken {
			do(step{kind: sBroken, n: seq}, true, func(w *world) {
				w.broken++
				w.sessions++
				x := write{kind: wDoubt, seq: seq}
				if m.breaks("a doubt is not recorded") {
					x.kind = wIntent
				}
				w.at[n].open[seq] = intending
				w.at[n].write(x)
			})
		}
	}
}

func (m *Model) links(w *world, do func(step, bool, func(*world))) {
	switch w.phase {
	case off:
		for h := hub1; h <= hub2; h++ {
			if w.at[h].alive && !w.at[h].stopped {
				do(step{kind: sHello, node: h}, false, func(w *world) {
					w.phase, w.peer, w.says, w.view = hello, h, w.highest, m.end(w, edge)
				})
			}
		}
	case hello:
		do(step{kind: sHelloArrives, node: w.peer}, false, m.helloArrives)
	case welcome:
		do(step{kind: sWelcomeArrives}, false, m.welcomeArrives)
	}
}

func (m *Model) fates(w *world, do func(step, bool, func(*world))) {
	if w.phase != off && int(w.cuts) < m.Cuts {
		do(step{kind: sCut}, true, func(w *world) {
			w.cuts++
			m.cut(w, w.peer)
		})
	}
	if w.phase != off && int(w.moves) < m.Moves {
		do(step{kind: sMove, node: w.peer}, true, func(w *world) {
			w.moves++
			w.phase, w.at[edge].up = off, false
		})
	}
	if !w.at[hub2].alive && int(w.takeovers) < m.Takeovers {
		do(step{kind: sTakeover, node: hub2}, true, func(w *world) {
			w.takeovers++
			m.claim(w, hub2)
		})
	}
	for n := hub1; n <= edge; n++ {
		p := &w.at[n]
		switch {
		case !p.alive, n == edge && int(w.edgeCrashes) >= m.EdgeCrashes, n != edge && (int(w.hubCrashes) >= m.HubCrashes || p.epoch != w.epoch):
			continue
		}
		for k := range len(p.log) + 1 {
			do(step{kind: sCrash, node: n, n: uint8(k)}, true, func(w *world) {
				if n == edge {
					w.edgeCrashes++
				} else {
					w.hubCrashes++
				}
				m.crash(w, n, k)
			})
		}
	}
	if int(w.lost) < m.Lost && w.phase == streaming {
		for _, f := range w.frames {
			n := m.writer(w, f)
			if w.at[n].up && w.at[n].epoch == f.epoch {
				do(step{kind: sLose, f: f}, true, func(w *world) { m.lose(w, n, f) })
			}
		}
	}
}

// writer is the end of the link that a frame comes from.
func (m *Model) writer(w *world, f frame) node {
	if (f.kind == data || f.kind == released) != m.Up {
		return w.peer
	}
	return edge
}
