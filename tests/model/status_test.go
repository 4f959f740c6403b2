package model

import (
	"testing"

	"github.com/ringway-im/ringway/tests/model/search"
)

// TestStatusLog: I13, in every state of the status log.
func TestStatusLog(t *testing.T) {
	m := &StatusModel{Crashes: 2, Cuts: 1}
	sys := m.System()
	r, v := search.Walk(sys)
	t.Logf("%d states, %d steps, depth %d, complete %v", r.States, r.Steps, r.Depth, r.Complete)
	if v != nil {
		t.Fatalf("%v\n%s", v, search.Trace(sys, v, m.Line))
	}
	if !r.Complete {
		t.Error("not all states were visited")
	}
}

// TestI13_Violations: and what breaks it is found.
func TestI13_Violations(t *testing.T) {
	for _, broken := range []string{"rank replaced by what came last", "a gap is skipped", "applied is said before sync"} {
		m := &StatusModel{Crashes: 1, Break: broken}
		sys := m.System()
		sys.Done = nil
		r, v := search.Walk(sys)
		if v == nil {
			t.Errorf("%s: not found in %d states", broken, r.States)
			continue
		}
		t.Logf("%s: %d steps, after %d states\n%s", broken, len(v.Steps), r.States, search.Trace(sys, v, m.Line))
	}
	// Any number of times, with the same result: applying again breaks nothing.
	m := &StatusModel{Cuts: 1}
	twice := []uint8{0, 1, 2, 3, 1, 2, 0, 3}
	once, _ := m.record([]uint8{3, 2, 1, 0})
	if again, fell := m.record(twice); again != once || fell {
		t.Errorf("applied again: %v, once %v", again, once)
	}
}
