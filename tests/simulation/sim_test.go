package simulation

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc/session"
	"github.com/ringway-im/ringway/tests/history"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this history alone, with its trace")
	seedsFlag = flag.Int("seeds", 0, "run so many histories, from -first on")
	firstFlag = flag.Uint64("first", 1, "the first seed")
	mostFlag  = flag.Int("most", 10, "give up after so many bad histories")
)

func report(t *testing.T, o Outcome) {
	t.Helper()
	t.Errorf("seed %d: %v\n%v\nfaults: %q\nreplay: go test ./tests/simulation -run TestSeed -v -args -seed %d", o.Seed, o.Err, o.Verdict.Violations, o.Faults, o.Seed)
}

// TestSeed replays one history, with every step.
func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		t.Skip("no -seed given")
	}
	o := Run(t, *seedFlag, Options{Trace: true})
	fmt.Print(o.Trace)
	w := history.NewWriter(os.Stdout)
	for _, r := range o.Records {
		if r.Kind != history.Pointers {
			_ = w.Write(r)
		}
	}
	if !o.OK() {
		report(t, o)
	}
}

// TestHistories runs seed after seed: 100, or 3,000 with RINGWAY_LONG, or as -seeds says.
func TestHistories(t *testing.T) {
	n := 100
	if os.Getenv("RINGWAY_LONG") != "" {
		n = 3000
	}
	if *seedsFlag > 0 {
		n = *seedsFlag
	}
	// One step follows another: to wake a second thread for each costs more than it
	// brings. Who has more processors runs seeds from several -first side by side.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	began := time.Now()
	var steps, doubts, bad int
	var virtual time.Duration
	seen := map[string]int{}
	for i := range n {
		o := Run(t, *firstFlag+uint64(i), Options{})
		for what, times := range o.Seen {
			seen[what] += times
		}
		if i++; i%1000 == 0 {
			fmt.Printf("%d histories, %d bad, %v\n", i, bad, time.Since(began).Round(time.Second))
		}
		steps += o.Steps
		doubts += o.Verdict.Doubts
		virtual += o.Virtual
		if !o.OK() {
			report(t, o)
			if bad++; bad >= *mostFlag {
				t.FailNow()
			}
		}
	}
	took := time.Since(began)
	t.Logf("%d histories in %v (%.0f a minute), %d steps, %v of virtual time, %d doubts at the SMSC",
		n, took.Round(time.Millisecond), float64(n)/took.Minutes(), steps, virtual.Round(time.Second), doubts)
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%8d times: %s", seen[what], what)
	}
	if n < 100 {
		return
	}
	for _, what := range []string{
		"killed at an acknowledgement", "the power failed at a sync", "a log was torn", "said: another hub owns these rings now", "a store failed, its process ended",
		"a client was refused for want of space", "a client was refused: too many writes wait", "a message was not confirmed for want of space",
		"a message with receipts was looked at", "policy " + string(session.GiveUp), "policy " + string(session.Query),
	} {
		if seen[what] == 0 {
			t.Errorf("in no history: %s", what)
		}
	}
	for _, f := range faults {
		if seen[f.name] == 0 {
			t.Errorf("in no history: %s", f.name)
		}
	}
	for _, f := range rarely {
		if n >= 10_000 && seen[f.name] == 0 {
			t.Errorf("in no history: %s", f.name)
		}
	}
}

// The same seed gives the same history, step by step.
func TestSameSeedSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := Run(t, seed, Options{Trace: true}), Run(t, seed, Options{Trace: true})
		if a.Trace != b.Trace {
			i := 0
			for i < len(a.Trace) && i < len(b.Trace) && a.Trace[i] == b.Trace[i] {
				i++
			}
			from := max(0, i-400)
			t.Fatalf("seed %d: two histories that differ at octet %d:\n%s\n----\n%s", seed, i, a.Trace[from:min(i+200, len(a.Trace))], b.Trace[from:min(i+200, len(b.Trace))])
		}
	}
}

// Whatever ran before in this process: a seed is the same history.
func TestSeedStandsAlone(t *testing.T) {
	first := Run(t, 7, Options{}).Sum
	Run(t, 8, Options{})
	if again := Run(t, 7, Options{}).Sum; again != first {
		t.Errorf("after another history, seed 7 is another one: %x and %x", first, again)
	}
}

// Without trouble nothing is in doubt, and the same code comes to rest soon.
func TestCalm(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		o := Run(t, seed, Options{Calm: true})
		if !o.OK() || o.Verdict.Doubts > 0 || o.Virtual > 3*troubles || o.Verdict.Accepted == 0 || o.Verdict.Acked == 0 {
			report(t, o)
			t.Errorf("%+v after %v", o.Verdict, o.Virtual)
		}
	}
}
