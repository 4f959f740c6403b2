package demo

import (
	"sync"
	"time"
)

// meter measures how fast a count grows: the mean over the last window.
type meter struct {
	window time.Duration

	mu      sync.Mutex
	samples []sample // oldest first
}

type sample struct {
	taken time.Time
	count uint64
	last  time.Time // when the count grew to this; the better base where it grows seldom
}

// add notes a count. last is when it last grew, as far as that is known exactly, else taken.
func (m *meter) add(taken time.Time, count uint64, last time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples = append(m.samples, sample{taken, count, last})
	for len(m.samples) > 2 && taken.Sub(m.samples[1].taken) >= m.window {
		m.samples = m.samples[1:]
	}
}

// rate is in messages a second; 0 when nothing came in the window.
func (m *meter) rate() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) < 2 {
		return 0
	}
	first, now := m.samples[0], m.samples[len(m.samples)-1]
	if now.count <= first.count {
		return 0
	}
	took := now.last.Sub(first.last)
	if first.last.IsZero() || took <= 0 || took > 2*m.window {
		took = now.taken.Sub(first.taken)
	}
	return float64(now.count-first.count) / took.Seconds()
}
