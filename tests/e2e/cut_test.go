package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
)

// The line is a black hole for a while, under load both ways: both ends go on
// accepting, the rings agree within two round trips and 100 ms of the first
// stripe, nothing is lost, doubled or out of order.
func TestCut(t *testing.T) {
	const rtt, bound = 300 * time.Millisecond, 2*300*time.Millisecond + 100*time.Millisecond
	cut, protocols := 5*time.Second, []string{"cimd2"}
	if isLong() {
		cut, protocols = 30*time.Second, []string{"cimd2", "smpp"}
	}
	chances := 3 // for a machine that others keep busy
	if isLong() {
		chances = 1
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, demo.RigConfig{Protocol: protocol, RTT: rtt, Receipts: true})
			f := newFlow(s.hub, s.smsc, demo.Number, 4, 20)
			f.meet()
			f.load(time.Second, 100)
			for try := 1; ; try++ {
				edge, hub := s.cut(f, cut)
				if edge <= bound && hub <= bound {
					break
				}
				if try == chances {
					t.Errorf("resynchronisation took %v at the edge, %v at the hub, want up to %v", edge, hub, bound)
					break
				}
			}
			f.check()
		})
	}
}

// cut cuts the line for a while, under load, waits until all has come, and returns how
// long the resynchronisation took at either end.
func (s *system) cut(f *flow, cut time.Duration) (edge, hub time.Duration) {
	t := s.t
	t.Helper()
	hubCount, hubSum := value(t, s.HubMetrics, "ringway_link_resync_duration_seconds")
	downsBefore, ups := f.downs, f.ups
	acceptedBefore, ackedBefore := f.accepted(), s.smsc.stats().MOAcked
	s.WAN.Cut()
	f.load(cut, 100)
	// What was under way at the cut is accepted too: it must not hide a refusal.
	eventually(t, 20*time.Second, func() string { return atLeast("accepted during the cut", f.accepted(), f.downs) })
	eventually(t, 20*time.Second, func() string { return atLeast("taken from the SMSC during the cut", s.smsc.stats().MOAcked, f.ups) })
	if !s.WAN.IsCut() || s.Edge.Ready() == nil {
		t.Fatal("the line was not cut")
	}
	t.Logf("cut for %v: hub accepted %d (of %d sent), edge took %d from the SMSC (of %d)", cut,
		f.accepted()-acceptedBefore, f.downs-downsBefore, s.smsc.stats().MOAcked-ackedBefore, f.ups-ups)

	restored := time.Now()
	s.WAN.Restore()
	f.load(time.Second, 100)
	s.ready()
	t.Logf("link is up %v after the line is (or earlier)", time.Since(restored).Round(time.Millisecond))
	f.settle(cut + 40*time.Second)
	t.Logf("all had come %v after the line was back", time.Since(restored).Round(time.Millisecond))

	l, err := s.Edge.Link()
	if err != nil {
		t.Fatal(err)
	}
	count, sum := value(t, s.HubMetrics, "ringway_link_resync_duration_seconds")
	if count == hubCount || l.LastResync <= 0 {
		t.Fatal("a resynchronisation was not measured")
	}
	hub = time.Duration((sum - hubSum) / float64(count-hubCount) * float64(time.Second))
	t.Logf("resynchronisation: edge %v, hub %v (%d); interruptions %d", l.LastResync, hub, count-hubCount, l.Interruptions)
	return l.LastResync, hub
}

// load sends rate texts a second each way for that long.
func (f *flow) load(d time.Duration, rate int) {
	f.t.Helper()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		f.step()
	}
}

// step sends one text each way. All texts differ.
func (f *flow) step() {
	f.t.Helper()
	if err := f.tryStep(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *flow) tryStep() error {
	f.down(f.downs%len(f.handsets), fmt.Sprintf("down %d", f.downs))
	return f.tryUp(f.ups%len(f.handsets), fmt.Sprintf("up %d", f.ups))
}

// Both nodes are closed and opened again in an orderly way, under load.
func TestRestart(t *testing.T) {
	t.Parallel()
	rounds := 2
	if isLong() {
		rounds = 10
	}
	s := start(t, demo.RigConfig{Protocol: "cimd2", RTT: 50 * time.Millisecond, Receipts: true})
	f := newFlow(s.hub, s.smsc, demo.Number, 4, 20)
	f.meet()
	for range rounds {
		f.burst(60)
		s.restartHub()
		f.burst(60)
		s.restartEdge()
	}
	f.burst(20)
	s.ready()
	f.settle(60 * time.Second)
	f.check()
	for _, p := range f.people {
		if p.streams < rounds+1 {
			t.Errorf("%s had %d streams over %d restarts of the hub", p.name, p.streams, rounds)
		}
	}
	t.Logf("%d restarts of each side: %d texts down, %d up", rounds, f.downs, f.ups)
}

func (f *flow) burst(n int) {
	f.t.Helper()
	for range n {
		f.step()
	}
}
