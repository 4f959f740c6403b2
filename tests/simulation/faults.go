package simulation

import (
	"fmt"
	"slices"
	"time"
)

// fault is one kind of trouble. begin may have it end later.
type fault struct {
	name  string
	begin func(w *world)
}

// faults is what may go wrong.
var faults = []fault{
	{"hub killed", func(w *world) { w.killHub(false, w.chance(0.3)) }},
	{"hub's power cut", func(w *world) { w.killHub(true, w.chance(0.7)) }},
	{"edge killed", func(w *world) { w.killEdge(false, w.chance(0.3)) }},
	{"edge's power cut", func(w *world) { w.killEdge(true, w.chance(0.7)) }},
	{"hub's power cut at a sync", func(w *world) { w.cutAtSync(w.hub) }},
	{"edge's power cut at a sync", func(w *world) { w.cutAtSync(w.edge) }},
	{"hub killed at a step", func(w *world) { w.killAtStep(w.hub) }},
	{"edge killed at a step", func(w *world) { w.killAtStep(w.edge) }},
	{"hub killed as it acknowledges", func(w *world) { w.killAtAck(w.hub) }},
	{"edge killed as it acknowledges", func(w *world) { w.killAtAck(w.edge) }},
	{"another hub takes over", (*world).takeOver},
	{"hub stands still, another takes over", func(w *world) {
		w.pause(w.hub)
		w.after(w.between(0, 10*time.Second), "another hub takes over", w.takeOver)
	}},
	{"hub's clock jumps", func(w *world) { w.jump(&w.hubClock) }},
	{"edge's clock jumps", func(w *world) { w.jump(&w.edgeClock) }},
	{"path cut", func(w *world) { w.cutPathFor(w.between(50*time.Millisecond, 30*time.Second)) }},
	{"a stripe dies", func(w *world) {
		if n := len(w.wire.stripes); n > 0 {
			w.wire.stripes[w.dice.IntN(n)].reset()
		}
	}},
	{"stripes die one by one", func(w *world) {
		for _, s := range w.wire.stripes {
			w.after(w.between(0, 3*time.Second), "a stripe dies", s.reset)
		}
	}},
	{"path slow", func(w *world) {
		w.wire.spread += 2 * time.Second
		w.after(w.between(time.Second, 15*time.Second), "path as before", func() { w.wire.spread = max(0, w.wire.spread-2*time.Second) })
	}},
	{"hub stands still", func(w *world) { w.pause(w.hub) }},
	{"edge stands still", func(w *world) { w.pause(w.edge) }},
	{"hub's disk slow", func(w *world) { w.slow(w.hubDisk) }},
	{"edge's disk slow", func(w *world) { w.slow(w.edgeDisk) }},
	{"hub killed while its disk is slow", func(w *world) {
		w.slow(w.hubDisk)
		w.after(w.between(0, 5*time.Second), "hub killed", func() { w.killHub(w.chance(0.5), w.chance(0.3)) })
	}},
	{"hub's disk nearly full", func(w *world) { w.fill(w.hubDisk, narrow) }},
	{"edge's disk nearly full", func(w *world) { w.fill(w.edgeDisk, narrow) }},
	{"hub's disk full", func(w *world) { w.fill(w.hubDisk, 0) }},
	{"edge's disk full", func(w *world) { w.fill(w.edgeDisk, 0) }},
	{"hub's fsync fails", func(w *world) { w.hubDisk.sync.Store(true) }},
	{"edge's fsync fails", func(w *world) { w.edgeDisk.sync.Store(true) }},
	{"edge killed while its disk is slow", func(w *world) {
		w.slow(w.edgeDisk)
		w.after(w.between(0, 5*time.Second), "edge killed", func() { w.killEdge(w.chance(0.5), w.chance(0.3)) })
	}},
	{"SMSC ends a session", func(w *world) {
		for _, v := range w.smsc.servers {
			if !v.ended {
				v.hangUp()
				return
			}
		}
	}},
	{"SMSC is away", func(w *world) { w.smscAway(w.between(100*time.Millisecond, 20*time.Second)) }},
	{"SMSC loses responses", func(w *world) { w.ill(&w.smsc.drop) }},
	{"SMSC closes instead of answering", func(w *world) { w.ill(&w.smsc.cut) }},
	{"SMSC throttles", func(w *world) { w.ill(&w.smsc.throttle) }},
	{"SMSC refuses for now", func(w *world) { w.ill(&w.smsc.refuse) }},
	{"SMSC rejects", func(w *world) { w.ill(&w.smsc.reject) }},
	{"SMSC slow", func(w *world) {
		w.smsc.latency += 3 * time.Second
		w.after(w.between(time.Second, 15*time.Second), "SMSC as before", func() { w.smsc.latency = max(0, w.smsc.latency-3*time.Second) })
	}},
}

// rarely is what goes on for longer than anything in a history otherwise, with the
// share of histories in which it does: limits of minutes and days are passed.
var rarely = []struct {
	fault
	share float64
}{
	{fault{"path cut for minutes", func(w *world) { w.cutPathFor(w.longer(time.Minute, 12*time.Minute)) }}, 0.002},
	{fault{"SMSC is away for minutes", func(w *world) { w.smscAway(w.longer(time.Minute, 15*time.Minute)) }}, 0.002},
	{fault{"hub and edge are off for minutes or hours", func(w *world) { w.off(10*time.Minute, 22*time.Hour) }}, 0.02},
	{fault{"hub and edge are off for days", func(w *world) { w.off(24*time.Hour, 120*time.Hour) }}, 0.015},
}

// longer is a time after whose end everything may come to rest.
func (w *world) longer(from, to time.Duration) time.Duration {
	d := w.between(from, to)
	if end := time.Now().Add(d); end.After(w.long) {
		w.long = end
	}
	return d
}

// off has nobody run but the SMSC. That costs nothing, however long.
func (w *world) off(from, to time.Duration) {
	if w.smsc.amid() { // what is left of a text after a day is given to its recipient as it is
		from, to = 10*time.Minute, 10*time.Hour
	}
	if end := time.Now().Add(w.longer(from, to)); end.After(w.dark) {
		w.dark = end
	}
	w.killHub(true, true)
	w.killEdge(true, true)
}

// offYet has what starts while all is off start after it.
func (w *world) offYet(name string, start func()) bool {
	left := time.Until(w.dark)
	if left > 0 {
		w.after(left+w.between(0, 15*time.Second), "the "+name+" starts", start)
	}
	return left > 0
}

func (w *world) jump(clock *time.Duration) {
	far := w.between(time.Second, 6*time.Hour)
	*clock += far * time.Duration(1-2*w.dice.IntN(2))
	w.skew += far
}

func (w *world) planFaults() {
	for range 1 + w.dice.IntN(8) {
		f := faults[w.dice.IntN(len(faults))]
		at := time.Duration(w.dice.Float64() * float64(troubles))
		w.faults = append(w.faults, fmt.Sprintf("%.3fs %s", at.Seconds(), f.name))
		w.after(at, f.name, func() {
			if !w.calm {
				w.happened(f.name)
				f.begin(w)
			}
		})
	}
	for _, f := range rarely {
		if w.chance(f.share) {
			at := time.Duration(w.dice.Float64() * float64(troubles))
			w.faults = append(w.faults, fmt.Sprintf("%.3fs %s", at.Seconds(), f.name))
			w.after(at, f.name, func() {
				w.happened(f.name)
				f.begin(w)
			})
		}
	}
}

// killHub ends the hub's process, with all who use its store; it starts again
// later. silent: nobody tells the other side, as when the machine is gone.
func (w *world) killHub(powerCut, silent bool) {
	if w.hub.alive() {
		w.endHub(w.hub.host, powerCut, silent)
	}
}

func (w *world) endHub(host *process, powerCut, silent bool) {
	if host.dead {
		return
	}
	host.die(powerCut)
	for _, p := range w.hubs {
		p.die(powerCut)
		w.wire.processDied(p, silent)
	}
	w.hubs = nil
	w.after(w.between(50*time.Millisecond, 15*time.Second), "the hub starts", w.startHub)
}

// takeOver has another hub claim the edge's rings while this one takes itself for
// their owner, until something tells it otherwise. It runs on for a while.
func (w *world) takeOver() {
	old := w.hub
	if !old.alive() || len(w.hubs) > 3 {
		return
	}
	old.host.paused = false // the store is neither's
	w.serve(old.host)
	w.after(w.between(0, 60*time.Second), "the old hub ends", func() {
		if old.alive() {
			old.die(false)
			w.wire.processDied(old, w.chance(0.3))
			w.hubs = slices.DeleteFunc(w.hubs, func(p *process) bool { return p == old })
		}
	})
}

// someHub is where the edge gets to that dials: sometimes one that does not own the
// rings any more.
func (w *world) someHub() *process {
	if len(w.hubs) > 1 && w.chance(0.3) {
		return w.hubs[w.dice.IntN(len(w.hubs))]
	}
	return w.hub
}

func (w *world) killEdge(powerCut, silent bool) {
	p := w.edge
	if !p.alive() {
		return
	}
	p.die(powerCut)
	w.wire.processDied(p, silent)
	w.smsc.processDied()
	w.after(w.between(50*time.Millisecond, 15*time.Second), "the edge starts", w.startEdge)
}

// fatal is what a node does when its store says that the disk has failed.
func (w *world) fatal(host *process) {
	w.happened("a store failed, its process ended")
	w.after(0, host.name+" exits", func() {
		if !host.dead {
			host.kill(w.chance(0.5))
		}
	})
}

func (w *world) killAtStep(p *process) {
	if p.alive() {
		p.host.killIn = 1 + w.dice.IntN(300)
	}
}

// cutAtSync has the power fail when a log is written and not yet synced.
func (w *world) cutAtSync(p *process) {
	if p.alive() {
		p.host.cutAt = 1 + w.dice.IntN(20)
	}
}

// killAtAck kills a process just after it has acknowledged something, while its disk
// takes its time over what was written before.
func (w *world) killAtAck(p *process) {
	if p.alive() {
		w.slow(p.host.disk)
		p.host.killAtAck = 1 + w.dice.IntN(8)
	}
}

// pause has a process stand still. Its store does too, if it has it alone.
func (w *world) pause(p *process) {
	if !p.alive() {
		return
	}
	p.paused, p.host.paused = true, true
	w.after(w.between(100*time.Millisecond, 20*time.Second), p.name+" goes on", func() {
		p.paused = false
		if p == w.hub || p == w.edge {
			p.host.paused = false
		}
	})
}

// fill leaves so many octets free on a disk, for a while.
func (w *world) fill(d *disk, free int64) {
	d.space.Store(free)
	w.after(w.between(time.Second, 20*time.Second), "the disk has room again", func() { d.space.Store(roomy) })
}

func (w *world) slow(d *disk) {
	d.latest = w.between(50*time.Millisecond, 5*time.Second)
	w.after(w.between(time.Second, 15*time.Second), "the disk as before", func() { d.latest = 2 * time.Millisecond })
}

// ill makes the SMSC do that, more or less often, for a while.
func (w *world) ill(p *float64) {
	*p = w.dice.Float64() * 0.6
	w.after(w.between(time.Second, 15*time.Second), "SMSC well again", func() { *p = 0 })
}

func (w *world) smscAway(d time.Duration) {
	w.smsc.away++
	for _, v := range w.smsc.servers {
		v.hangUp()
	}
	w.after(d, "SMSC is back", func() { w.smsc.away-- })
}

func (w *world) cutPathFor(d time.Duration) {
	w.wire.cut++
	w.after(d, "path back", func() {
		if w.wire.cut--; w.wire.cut == 0 {
			w.wire.heal()
		}
	})
}

// mend ends all trouble that is under way by itself: from here on things may only
// come to rest.
func (w *world) mend() {
	w.calm = true
	w.hubDisk.sync.Store(false)
	w.edgeDisk.sync.Store(false)
	for _, p := range w.all {
		p.killIn, p.killAtAck, p.cutAt = 0, 0, 0
	}
}
