package link

import "time"

// Metrics is told what happens on one edge's link. Nop serves where nobody asks.
type Metrics interface {
	Up(bool)
	Epoch(uint64)
	RTT(time.Duration)
	Reconnected(reason string)
	Resynchronised(took time.Duration)
	Resent(messages int)
	Duplicate(messages int)
	Gap()                      // something was missing for too long and asked for again
	RingFull(direction string) // messages wait behind a ring without a free slot
	Slots(direction string, free, retrieved, sent, confirmed, processed int)
	Waiting(direction string, messages int)
}

// Nop ignores everything.
type Nop struct{}

// The methods of Metrics, all empty.
func (Nop) Up(bool)                               {}
func (Nop) Epoch(uint64)                          {}
func (Nop) RTT(time.Duration)                     {}
func (Nop) Reconnected(string)                    {}
func (Nop) Resynchronised(time.Duration)          {}
func (Nop) Resent(int)                            {}
func (Nop) Duplicate(int)                         {}
func (Nop) Gap()                                  {}
func (Nop) RingFull(string)                       {}
func (Nop) Slots(string, int, int, int, int, int) {}
func (Nop) Waiting(string, int)                   {}
