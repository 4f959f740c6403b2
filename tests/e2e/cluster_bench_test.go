package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

var bench struct{ texts, turns int }

func init() {
	flag.IntVar(&bench.texts, "texts", 3000, "of TestClusterBench: each way, a turn")
	flag.IntVar(&bench.turns, "turns", 3, "of TestClusterBench: of each kind, one after the other in alternation")
}

// cost is what a turn took: processor time, user and system, and how long.
type cost struct{ hubs, db, took time.Duration }

// What a message costs: a hub with the embedded store, the same with PostgreSQL, and
// three of them, in alternation. A table is logged.
func TestClusterBench(t *testing.T) {
	long(t)
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	kinds := []string{"1 hub, embedded", "1 hub, PostgreSQL", "3 hubs, PostgreSQL"}
	costs := map[string][]cost{}
	for range bench.turns {
		for i, kind := range kinds {
			t.Run(kind, func(t *testing.T) {
				costs[kind] = append(costs[kind], measure(t, max(1, 3*(i-1)), i == 0))
			})
		}
	}
	if t.Failed() {
		return
	}
	middle := func(kind string, of func(cost) time.Duration) float64 {
		var all []float64
		for _, c := range costs[kind] {
			all = append(all, float64(of(c).Microseconds()))
		}
		return median(all)
	}
	messages := float64(4 * bench.texts) // two edges, both ways
	first := 0.0
	t.Logf("%-20s | %12s | %18s | %12s | %8s | %10s", "CPU per message", "hubs (µs)", "PostgreSQL (µs)", "both (µs)", "ratio", "messages/s")
	for _, kind := range kinds {
		if costs[kind] == nil { // -run named others
			continue
		}
		hubs, db := middle(kind, func(c cost) time.Duration { return c.hubs })/messages, middle(kind, func(c cost) time.Duration { return c.db })/messages
		if first == 0 {
			first = hubs + db
		}
		t.Logf("%-20s | %12.0f | %18.0f | %12.0f | %8.2f | %10.0f", kind, hubs, db, hubs+db, (hubs+db)/first,
			messages/(middle(kind, func(c cost) time.Duration { return c.took })/1e6))
	}
}

// measure has two edges carry texts both ways, as many as go, and judges them.
func measure(t *testing.T, count int, embedded bool) cost {
	h := newHubs(t, count, 0)
	h.embedded = embedded
	h.edge("manila-1", "+63917", "smpp")
	h.edge("cebu-1", "+63918", "smpp")
	h.start()
	flows := h.flows(3, 24)
	for _, f := range flows {
		f.meet()
	}
	before, begin := h.spent(), time.Now()
	for i := range bench.texts {
		for _, f := range flows {
			f.step()
		}
		if i%50 == 0 { // so that what waits is not most of what is measured
			eventually(t, time.Minute, func() string {
				for _, f := range flows {
					if f.downs-f.smsc.stats().Received > 300 || f.ups-f.cameUp() > 300 {
						return "too much waits"
					}
				}
				return ""
			})
		}
	}
	for _, f := range flows {
		f.settle(3 * time.Minute)
	}
	after := h.spent()
	c := cost{after.hubs - before.hubs, after.db - before.db, time.Since(begin)}
	for _, f := range flows {
		f.check()
	}
	return c
}

// spent is the processor time that hubs and database have used.
func (h *hubs) spent() (c cost) {
	h.t.Helper()
	for _, n := range h.running() {
		c.hubs += processorTime(h.t, n.pid(), false)
	}
	if !h.embedded {
		c.db = processorTime(h.t, h.db.PID(), true)
	}
	return c
}

// processorTime of a process, user and system, with that of its children if asked,
// those that have ended among them.
func processorTime(t testing.TB, pid int, children bool) (sum time.Duration) {
	t.Helper()
	fields := func(pid int) []string { // from field 3 of proc(5) on
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return nil
		}
		return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	}
	add := func(ticks string) {
		n, err := strconv.Atoi(ticks)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond // 100 a second
	}
	own := fields(pid)
	if own == nil {
		t.Fatalf("process %d is gone", pid)
	}
	add(own[11])
	add(own[12])
	if !children {
		return sum
	}
	add(own[13])
	add(own[14])
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if f := fields(child); f != nil && f[1] == strconv.Itoa(pid) {
			add(f[11])
			add(f[12])
		}
	}
	return sum
}
