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
	Unconfirmed(direction string, oldest time.Duration) // how long the oldest is in the ring; 0: there is none
	Passed(stage Stage, messages int)
}

// Stage is how far a message has come, at the end that says so: the first four in the
// ring that this end sends, the others in the one that it receives.
type Stage uint8

// The stages.
const (
	StageRetrieved Stage = iota // has a slot, durably
	StageSent                   // put on the link for the first time in this process's life
	StageConfirmed              // durable at the other end
	StageProcessed              // its result is durable here
	StageReceived               // durable at this end
	StageAnswered               // this end has done what was to be done with it
)

// Stages names them.
var Stages = [...]string{"retrieved", "sent", "confirmed", "processed", "received", "answered"}

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
func (Nop) Unconfirmed(string, time.Duration)     {}
func (Nop) Passed(Stage, int)                     {}
