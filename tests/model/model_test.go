package model

import (
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/model/search"
)

func walk(t *testing.T, cfg Config) {
	t.Helper()
	m := &Model{cfg}
	began := time.Now()
	sys := m.System(m.Check())
	r, v := search.Walk(sys)
	t.Logf("%s: %d states, %d steps, depth %d, complete %v, %.1f s", cfg.Name, r.States, r.Steps, r.Depth, r.Complete, time.Since(began).Seconds())
	if v != nil {
		t.Fatalf("%v\n%s", v, search.Trace(sys, v, m.Line))
	}
}

var small = []Config{
	{Name: "down, no faults", Slots: 2, Messages: 3, Queued: 2, Keys: 2},
	{Name: "up, no faults", Up: true, Slots: 2, Messages: 3, Queued: 2, Keys: 2},
}

func TestSmall(t *testing.T) {
	for _, cfg := range small {
		t.Run(cfg.Name, func(t *testing.T) { walk(t, cfg) })
	}
}
