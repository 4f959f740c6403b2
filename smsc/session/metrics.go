package session

import (
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Metrics is what the actors count. Calls come from several goroutines and must
// not block.
type Metrics interface {
	// Submitted: an outcome, and Outcome.Status; took is 0 where it was not measured.
	Submitted(session string, fate smsc.Fate, status string, took time.Duration)
	Doubt(session string, again bool) // a submit without an answer; again: it is submitted again
	InFlight(parts int)               // submitted and not answered now, on all sessions
	Undefined(class smsc.CodeClass)   // an answer whose code the protocol does not define
	Throttled(session string, pause time.Duration)
	State(session, state string) // down, connecting, binding, bound, closing
	Retrying(messages int)       // in the retry queue now
	Finished(state string)       // a message's result for its sender

	Received(messages, parts int)       // from handsets, durable
	Redelivered()                       // an identical redelivery was swallowed
	Refused(what string)                // message, receipt: the edge is full, the SMSC keeps it
	Receipt(fate string)                // matched, parked, passing (not final), forgotten
	ReceiptMatched(after time.Duration) // how long after the part was accepted its receipt came
	Incomplete(parts int)               // a text was passed on without its missing parts
}

// NoMetrics counts nothing.
type NoMetrics struct{}

func (NoMetrics) Submitted(string, smsc.Fate, string, time.Duration) {}
func (NoMetrics) Doubt(string, bool)                                 {}
func (NoMetrics) InFlight(int)                                       {}
func (NoMetrics) Undefined(smsc.CodeClass)                           {}
func (NoMetrics) Throttled(string, time.Duration)                    {}
func (NoMetrics) State(string, string)                               {}
func (NoMetrics) Retrying(int)                                       {}
func (NoMetrics) Finished(string)                                    {}
func (NoMetrics) Received(int, int)                                  {}
func (NoMetrics) Redelivered()                                       {}
func (NoMetrics) Refused(string)                                     {}
func (NoMetrics) Receipt(string)                                     {}
func (NoMetrics) ReceiptMatched(time.Duration)                       {}
func (NoMetrics) Incomplete(int)                                     {}
