package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var cuts struct {
	count   int
	lengths string
	rtt     time.Duration
	loss    string
}

func init() {
	flag.IntVar(&cuts.count, "cuts", 20, "of TestCutTable: of each length")
	flag.StringVar(&cuts.lengths, "lengths", "1s,10s,60s", "of TestCutTable: of cuts")
	flag.DurationVar(&cuts.rtt, "rtt", 300*time.Millisecond, "of TestCutTable")
	flag.StringVar(&cuts.loss, "cut-loss", "2%", "of TestCutTable: packets lost each way")
}

// cut is what was seen of one, from the moment when the path was back.
type cut struct {
	dial        time.Duration // until the edge's first SYN that gets through: the dial that was under way waited so long, or began then
	reconnected time.Duration // to the first stripe's TLS
	resynced    time.Duration // from there until the rings agreed: the longer of both ends
	ends        string        // what each said
	heard       time.Duration // to the first event for a client
	interrupted bool          // the link; else TCP has mended it
}

// The path is cut again and again, under load, where packets are lost: nothing is
// lost or doubled, and the table says how long it takes until all is as before. It
// needs root.
func TestCutTable(t *testing.T) {
	long(t)
	protocol := strings.Replace(torture.protocol, "both", "smpp", 1)
	x := newTorment(t, protocol, "namespaces", cuts.rtt, cuts.loss, 1)
	x.start()
	t.Logf("RTT %v, loss %s each way, %d cuts of each length, %s", cuts.rtt, cuts.loss, cuts.count, protocol)
	for word := range strings.SplitSeq(cuts.lengths, ",") {
		length, err := time.ParseDuration(word)
		if err != nil {
			t.Fatal(err)
		}
		stop := x.load()
		var all []cut
		for range cuts.count {
			all = append(all, x.cutFor(length))
		}
		stop()
		report(t, length, all)
		x.judge()
	}
	if x.all.Lost+x.all.Doubled > 0 {
		t.Errorf("lost %d, doubled %d", x.all.Lost, x.all.Doubled)
	}
}

func (x *torment) cutFor(length time.Duration) (c cut) {
	x.t.Helper()
	n, edge := x.line.(*network), x.sides[0]
	eventually(x.t, 60*time.Second, func() string {
		now, err := x.look(edge.edge.id, 5*time.Second)
		if err != nil {
			return err.Error()
		}
		return atLeast("at the edge", now.atEdge, fullEnough)
	})
	x.rounds = append(x.rounds, &round{Round: int(x.round.Load()), Seed: x.seed, Protocol: x.all.Protocol, Victim: "line", Accident: "cut " + length.String(), from: time.Now(), at: time.Now()})
	edgeLines, hubLines := len(edge.node.log()), len(x.hub.log())
	n.cut()
	<-time.After(length)
	before, seq := n.connections(x.hub), edge.heard()
	n.restore()
	back := time.Now()
	eventually(x.t, 60*time.Second, func() string {
		if c.dial == 0 && news(n.connections(x.hub), before) {
			c.dial = max(time.Since(back)-cuts.rtt/2, 1)
		}
		if c.heard == 0 && edge.heard() > seq {
			c.heard = time.Since(back)
		}
		c.interrupted = find(edge.node.log()[edgeLines:], "link interrupted") != nil || find(x.hub.log()[hubLines:], "link interrupted") != nil
		e, hub := find(edge.node.log()[edgeLines:], "link synchronised"), find(x.hub.log()[hubLines:], "link synchronised")
		if c.heard == 0 || c.interrupted && (e == nil || hub == nil) {
			return "the link is not what it was"
		}
		if c.interrupted {
			if noticed := find(edge.node.log()[edgeLines:], "link interrupted"); noticed != nil {
				c.dial = max(c.dial, noticed.TS.Sub(back)) // what came before were single stripes
			}
			c.reconnected = e.Connected.Sub(back)
			c.resynced = max(seconds(e.Took), seconds(hub.Took))
			c.ends = fmt.Sprintf("edge took %.3f s and sent %d again, hub %.3f s and %d", e.Took, e.Resent, hub.Took, hub.Resent)
		}
		return ""
	})
	x.round.Add(1)
	if c.interrupted {
		x.t.Logf("%v: the dial's packet after %v, reconnected after %v, %s", length, c.dial.Round(time.Millisecond), c.reconnected.Round(time.Millisecond), c.ends)
	}
	return c
}

// news reports whether there is something now that was not there before.
func news(now, before map[string]bool) bool {
	for c := range now {
		if !before[c] {
			return true
		}
	}
	return false
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// heard grows with each event that a client hears.
func (s *side) heard() (sum uint64) {
	for _, p := range s.flow.people {
		p.mu.Lock()
		sum += p.lastSeq
		p.mu.Unlock()
	}
	return sum
}

type logLine struct {
	Msg       string
	TS        time.Time
	Connected time.Time
	Took      float64
	Resent    int
}

// find returns the last line of a log that says so.
func find(lines []string, msg string) *logLine {
	for _, line := range slices.Backward(lines) {
		var l logLine
		if strings.Contains(line, msg) && json.Unmarshal([]byte(line), &l) == nil && l.Msg == msg {
			return &l
		}
	}
	return nil
}

// report prints a row, and says what took too long.
func report(t *testing.T, length time.Duration, all []cut) {
	t.Helper()
	of := func(what func(cut) time.Duration, which func(cut) bool) (middle, most time.Duration) {
		var values []time.Duration
		for _, c := range all {
			if which(c) {
				values = append(values, what(c))
			}
		}
		if len(values) == 0 {
			return 0, 0
		}
		slices.Sort(values)
		return values[len(values)/2], values[len(values)-1]
	}
	every := func(cut) bool { return true }
	interrupted := func(c cut) bool { return c.interrupted }
	count := 0
	for _, c := range all {
		if c.interrupted {
			count++
		}
	}
	row := fmt.Sprintf("cut of %v, %d of %d interrupted the link; median / max of", length, count, len(all))
	cell := func(name string, what func(cut) time.Duration, which func(cut) bool) time.Duration {
		middle, most := of(what, which)
		row += fmt.Sprintf(" | %s %d / %d ms", name, middle.Milliseconds(), most.Milliseconds())
		return middle
	}
	cell("path back to the dial's packet", func(c cut) time.Duration { return c.dial }, interrupted)
	cell("path back to reconnected", func(c cut) time.Duration { return c.reconnected }, interrupted)
	resynced := cell("reconnected to resynchronised", func(c cut) time.Duration { return c.resynced }, interrupted)
	whole := cell("the dial's packet to resynchronised", func(c cut) time.Duration { return c.reconnected + c.resynced - c.dial }, interrupted)
	cell("path back to the first event for a client", func(c cut) time.Duration { return c.heard }, every)
	t.Log(row)
	if cuts.loss == "0%" && resynced > 2*cuts.rtt+100*time.Millisecond {
		t.Errorf("cut of %v: reconnected to resynchronised takes %v in the median, want two RTT and 100 ms", length, resynced)
	}
	if whole > 5*cuts.rtt {
		t.Errorf("cut of %v: path back to resynchronised takes %v beside the wait of the dial that was under way, want five RTT", length, whole)
	}
}
