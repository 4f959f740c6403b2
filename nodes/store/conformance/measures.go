package conformance

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// told is what a store has said to its measures.
type told struct {
	mu              sync.Mutex
	settled         map[string]int // "manila-1 to a handset: DELIVERED"
	synced, corrupt int
}

// Settled implements journal.Measures, as do the methods that follow.
func (m *told) Settled(edge string, toHandset bool, state messages.State, took time.Duration) {
	direction := "to a person"
	if toHandset {
		direction = "to a handset"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if took < 0 || took > 48*time.Hour {
		direction += fmt.Sprintf(", after %v", took)
	}
	m.settled[fmt.Sprintf("%s %s: %v", edge, direction, state)]++
}

// Synced counts commits.
func (m *told) Synced(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if took > 0 {
		m.synced++
	}
}

// Corrupt counts damage.
func (m *told) Corrupt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.corrupt++
}

// measures: each message is settled once, whatever is learnt about it afterwards.
func measures(t *testing.T, h hub) {
	h.putUsers("anna", "ben")
	r := h.claim()
	ids := [][]byte{h.accept(down("one")), h.accept(down("two")), h.accept(down("three"))}
	late := down("late")
	late.Until = time.Now().Add(-time.Second)
	h.accept(late)
	e := r.retrieve(1, 9)
	for _, entry := range e[:2] {
		r.processed(entry, result(processed, processed))
	}
	r.processed(e[2], result(failed, failed))
	r.apply(3, receipt(1, ids[0], 0, 1, delivered), receipt(2, ids[1], 0, 1, delivered), receipt(3, ids[1], 0, 1, failed)) // it changed its mind
	r.apply(4, receipt(3, ids[1], 0, 1, failed), receipt(4, ids[0], 0, 1, delivered))
	local := h.accept(journal.Submission{From: "anna", To: "ben", Text: "hello"})
	h.received("ben", "", local)
	h.received("ben", "", local)
	came := up(1, "@anna hello")
	r.keep(came)
	r.deliver(1, journal.Delivery{Message: came.Message, User: "anna", Text: "hello"})
	h.received("anna", "", came.Message.Id)

	h.told.mu.Lock()
	defer h.told.mu.Unlock()
	want := map[string]int{
		"manila-1 to a handset: DELIVERED": 2, "manila-1 to a handset: FAILED": 1, "manila-1 to a handset: EXPIRED": 1,
		" to a person: DELIVERED": 1, "manila-1 to a person: DELIVERED": 1,
	}
	if !maps.Equal(h.told.settled, want) {
		t.Errorf("settled:")
		for _, k := range slices.Sorted(maps.Keys(h.told.settled)) {
			t.Errorf("  %d %s", h.told.settled[k], k)
		}
	}
	if h.told.synced == 0 || h.told.corrupt != 0 {
		t.Errorf("%d commits, %d damaged records", h.told.synced, h.told.corrupt)
	}
}
