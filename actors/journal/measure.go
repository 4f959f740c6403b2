package journal

import (
	"time"

	"github.com/ringway-im/ringway/messages"
)

// Measures is told by a hub's store what is worth counting. It is called by any
// goroutine, and neither blocks nor calls the store.
type Measures interface {
	// Settled: a message has its final state, so long after it was accepted
	// (negative: when that was is not known). edge is "" for one between users.
	Settled(edge string, toHandset bool, state messages.State, took time.Duration)
	Synced(took time.Duration) // a group of commits was written and is durable
	Corrupt()                  // what is stored cannot be read
}

// NoMeasures ignores everything.
type NoMeasures struct{}

// The methods of Measures, all empty.
func (NoMeasures) Settled(string, bool, messages.State, time.Duration) {}
func (NoMeasures) Synced(time.Duration)                                {}
func (NoMeasures) Corrupt()                                            {}

// Census is how much a hub's store holds; -1: not known.
type Census struct {
	Users int64 // accounts
	Fresh int64 // messages in inboxes that no client has taken
}

// Settles reports whether the state that r has reached just now is its first final
// one, and how long after acceptance that was.
func (r *Record) Settles(at time.Time) (took time.Duration, first bool) {
	if !r.Final {
		return 0, false
	}
	for _, s := range r.History {
		if IsFinal(s.State) && s.State != r.State {
			return 0, false
		}
	}
	if r.Message.GetAcceptedUnixMs() == 0 {
		return -1, true
	}
	return max(0, at.Sub(time.UnixMilli(r.Message.AcceptedUnixMs))), true
}
