package model

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/model/search"
)

func walk(t *testing.T, cfg Config) search.Result {
	t.Helper()
	m := &Model{cfg}
	began := time.Now()
	sys := m.System(m.Check())
	r, v := search.Walk(sys)
	t.Logf("%d states, %d steps, depth %d, complete %v, %.1f s", r.States, r.Steps, r.Depth, r.Complete, time.Since(began).Seconds())
	if v != nil {
		t.Fatalf("%v\n%s", v, search.Trace(sys, v, m.Line))
	}
	return r
}

func walkAll(t *testing.T, all []Config) {
	states, steps, depth, began := 0, 0, 0, time.Now()
	for _, cfg := range all {
		t.Run(cfg.Name, func(t *testing.T) {
			r := walk(t, cfg)
			states, steps, depth = states+r.States, steps+r.Steps, max(depth, r.Depth)
			if !r.Complete {
				t.Errorf("not all states were visited: %d", r.States)
			}
		})
	}
	t.Logf("together %d states, %d steps, depth up to %d, %.1f s", states, steps, depth, time.Since(began).Seconds())
}

// TestModel: in every state that can be reached every invariant holds, and from
// every state everything accepted can still arrive.
func TestModel(t *testing.T) { walkAll(t, Quick) }

// TestWholeModel is make model.
func TestWholeModel(t *testing.T) {
	if os.Getenv("RINGWAY_LONG") == "" {
		t.Log("make model walks the larger worlds")
		return
	}
	walkAll(t, Whole)
}

// TestViolations: each invariant can be violated, and the search finds it. The
// trace is a shortest one.
func TestViolations(t *testing.T) {
	found := map[string]bool{}
	for _, v := range Violations {
		t.Run(v.Invariant+" "+strings.Join(v.Break, " and "), func(t *testing.T) {
			cfg := v.Config
			cfg.Keys = max(cfg.Keys, 1)
			m := &Model{cfg}
			check := m.Check(v.Invariant)
			if v.Invariant == "END" {
				check = func(*world) error { return nil }
			}
			sys := m.System(check)
			if v.Invariant != "END" {
				sys.Done = nil
			}
			r, bad := search.Walk(sys)
			if bad == nil {
				t.Fatalf("not found in %d states", r.States)
			}
			var e *Error
			if !errors.As(bad.Err, &e) && !errors.Is(bad.Err, search.ErrStuck) {
				t.Fatal(bad.Err)
			}
			found[v.Invariant] = true
			t.Logf("%d steps, after %d states\n%s", len(bad.Steps), r.States, search.Trace(sys, bad, m.Line))

			cfg.Break = nil // and the same world with all rules kept is sound
			cfg.Max = 3000
			sound := &Model{cfg}
			if _, bad := search.Walk(sound.System(sound.Check())); bad != nil {
				t.Errorf("with all rules kept: %v", bad)
			}
		})
	}
	for _, i := range Invariants {
		if !found[i.Name] {
			t.Errorf("%s: no violation of it is found", i.Name)
		}
	}
}

// The walk is the same each time.
func TestDeterministic(t *testing.T) {
	m := &Model{Config{Slots: 2, Messages: 2, Queued: 2, Keys: 1, EdgeCrashes: 1}}
	a, _ := search.Walk(m.System(m.Check()))
	b, _ := search.Walk(m.System(m.Check()))
	if a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
}
