// Package messages is what crosses a process (the generated code: see the .proto
// files) and what actors of different packages tell each other (this file).
package messages

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// The messages below never leave a process: actors of different packages meet
// through them.

// HandOn (mirror slot to the outlet at the edge, to the router at the hub, with
// the slot as sender): take this message over. Answered comes back once; asking
// twice, after a restart of either, does no harm.
type HandOn struct {
	Seq     uint64
	Message *Message
}

// Answered (back to the slot): durably taken over, with this result.
type Answered struct {
	Seq    uint64
	ID     []byte
	Result *Result
}

// DialStripe (edge's link session to the dialer): open a stripe and send first
// on it. StripeUp or StripeFailed comes back.
type DialStripe struct {
	Hub    string // address
	Stripe uint32
	Try    uint64        // echoed
	Within time.Duration // for TCP, and again for TLS; then it has failed
}

// WarmHub (edge's link session to the dialer): connect to a hub to which the link
// will move, without opening streams. The next DialStripe to it takes one of these
// connections. HubWarm comes back when they are up, or Within is over.
type WarmHub struct {
	Hub     string
	Stripes int
	Within  time.Duration
}

// HubWarm (dialer to the link session): how many connections are up.
type HubWarm struct {
	Hub     string
	Stripes int
}

// StripeUp (dialer or acceptor to the link session): a stripe's stream is open.
// At the edge nothing has been sent on it yet; at the hub First is its first frame.
type StripeUp struct {
	Conn   *actor.PID // takes *Frame to send and *Hangup
	Stripe uint32
	Try    uint64
	Peer   string    // address
	First  *Frame    // hub only
	TLSAt  time.Time // when the TLS handshake was done
}

// StripeFailed (dialer to the link session).
type StripeFailed struct {
	Stripe uint32
	Try    uint64
	Err    error
}

// FrameIn (connection to the link session).
type FrameIn struct {
	Conn  *actor.PID
	Frame *Frame
	// Taken is called once, when all that the frame led to has been handled; nil:
	// nobody waits for it. A peer that sends faster waits in its socket.
	Taken func()
}

// StripeDown (connection to the link session): its last word.
type StripeDown struct {
	Conn *actor.PID
	Err  error
}

// Hangup (link session to a connection): close, and say why once.
type Hangup struct{ Cause error }
