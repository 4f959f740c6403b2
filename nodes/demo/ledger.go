package demo

import (
	"fmt"
	"sync"
)

// ledger holds what was accepted against what arrived. A message is known by
// its way and its text: no two are the same.
type ledger struct {
	mu       sync.Mutex
	entries  map[string]*entry
	last     map[string]uint64 // by way, sender and recipient: the serial that arrived last
	serial   uint64
	accepted int
	arrived  int // accepted ones
	doubled  int
	disorder int
	strays   int
	notes    []string
}

type entry struct {
	from, to string
	serial   uint64
	accepted bool
	arrived  int
}

// few is how many of a kind are named.
const few = 5

func newLedger() *ledger {
	return &ledger{entries: map[string]*entry{}, last: map[string]uint64{}}
}

// submit notes a message before it is handed over, in the order of handing over.
func (l *ledger) submit(way, from, to, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	l.entries[way+" "+text] = &entry{from: from, to: to, serial: l.serial}
}

// accept notes that it was accepted.
func (l *ledger) accept(way, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[way+" "+text]; e != nil && !e.accepted {
		e.accepted = true
		l.accepted++
		if e.arrived > 0 {
			l.arrived++
		}
	}
}

// arrive notes that it came to recipient, in the order of coming.
func (l *ledger) arrive(way, recipient, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[way+" "+text]
	if e == nil || e.to != recipient { // an earlier run's, or it is missing where it should be
		if l.strays++; l.strays <= few {
			l.notes = append(l.notes, fmt.Sprintf("%s: %s got %q, which nobody sent him in this run", way, recipient, text))
		}
		return
	}
	if e.arrived++; e.arrived > 1 {
		l.doubled++
		return
	}
	if e.accepted {
		l.arrived++
	}
	key := way + " " + e.from + " " + e.to
	if e.serial < l.last[key] {
		l.disorder++
	}
	l.last[key] = max(l.last[key], e.serial)
}

// missing is how many were accepted and have not arrived.
func (l *ledger) missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted - l.arrived
}

// complaints says what is wrong, a line each, a few of each kind.
func (l *ledger) complaints() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines = append(lines, l.notes...)
	lost, doubled := 0, 0
	for id, e := range l.entries {
		switch {
		case e.accepted && e.arrived == 0:
			if lost++; lost <= few {
				lines = append(lines, fmt.Sprintf("lost, from %s to %s: %q", e.from, e.to, id))
			}
		case e.arrived > 1:
			if doubled++; doubled <= few {
				lines = append(lines, fmt.Sprintf("came %d times, from %s to %s: %q", e.arrived, e.from, e.to, id))
			}
		}
	}
	if l.disorder > 0 {
		lines = append(lines, fmt.Sprintf("%d came after a later one of the same sender and recipient", l.disorder))
	}
	return lines
}

// note adds a line to the complaints.
func (l *ledger) note(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, line)
}
