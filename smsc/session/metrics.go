package session

import "time"

// Metrics is what the actors count. Calls come from several goroutines and must
// not block.
type Metrics interface {
	Submitted(session, fate string, took time.Duration) // an outcome; took is 0 where it was not measured
	Doubt(session string, again bool)                   // a submit without an answer; again: it is submitted again
	Throttled(session string, pause time.Duration)
	State(session, state string) // down, connecting, binding, bound, closing
	Retrying(messages int)       // in the retry queue now
	Finished(state string)       // a message's result for its sender

	Received(parts int)   // a message from a handset is durable
	Redelivered()         // an identical redelivery was swallowed
	Refused(what string)  // message, receipt: the edge is full, the SMSC keeps it
	Receipt(fate string)  // matched, parked, passing (not final), forgotten
	Incomplete(parts int) // a text was passed on without its missing parts
}

// NoMetrics counts nothing.
type NoMetrics struct{}

func (NoMetrics) Submitted(string, string, time.Duration) {}
func (NoMetrics) Doubt(string, bool)                      {}
func (NoMetrics) Throttled(string, time.Duration)         {}
func (NoMetrics) State(string, string)                    {}
func (NoMetrics) Retrying(int)                            {}
func (NoMetrics) Finished(string)                         {}
func (NoMetrics) Received(int)                            {}
func (NoMetrics) Redelivered()                            {}
func (NoMetrics) Refused(string)                          {}
func (NoMetrics) Receipt(string)                          {}
func (NoMetrics) Incomplete(int)                          {}
