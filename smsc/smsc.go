// Package smsc is what every SMSC protocol has in common: the neutral form of
// a short message part and the shape of a session's state machine. It is pure:
// no actor, socket, clock or goroutine.
//
//	session actor            machine (cimd2, smpp)
//	─────────────            ─────────────────────
//	Connected, Received,  ─▶  Handle(event)
//	Submit, Due, ...          ─▶ Write, Answered, Delivered, SetTimer, Close ...
//
// The actor owns the socket and the timers; the machine owns every rule of the
// protocol: numbers, states, windows, what answers what. A further protocol is
// one more folder beside cimd2 and smpp that fills in a Protocol value.
package smsc

import (
	"bufio"
	"fmt"
	"time"

	"github.com/ringway-im/ringway/smsc/text"
)

// TON values of an Address (GSM 03.40 type of number).
const (
	TONUnknown       = 0
	TONInternational = 1
	TONNational      = 2
	TONNetwork       = 3
	TONAlphanumeric  = 5
	TONAbbreviated   = 6
)

// Address is a telephone number, a short code or an alphanumeric sender.
// Digits never begins with '+': TONInternational says that.
type Address struct {
	TON, NPI uint8
	Digits   string
}

// ParseAddress reads "+639171234567" as international (E.164), digits alone as
// unknown, and anything else as alphanumeric.
func ParseAddress(s string) Address {
	if len(s) > 1 && s[0] == '+' && allDigits(s[1:]) {
		return Address{TON: TONInternational, NPI: 1, Digits: s[1:]}
	}
	if allDigits(s) {
		return Address{TON: TONUnknown, NPI: 1, Digits: s}
	}
	return Address{TON: TONAlphanumeric, Digits: s}
}

func allDigits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// String is the inverse of ParseAddress: '+' marks an international number.
func (a Address) String() string {
	if a.TON == TONInternational {
		return "+" + a.Digits
	}
	return a.Digits
}

// Part is one short message as it crosses the radio: at most 140 octets of
// header and user data.
type Part struct {
	From, To Address
	Coding   text.Coding
	Class    int8          // GSM message class 0 to 3, -1: none. Use NewPart or set it.
	UDH      []byte        // whole user data header with its length octet; nil: none
	Data     []byte        // GSM7: one septet an octet, unpacked; UCS2: big endian; Binary: octets
	Validity time.Duration // 0: the SMSC's default
	Report   bool          // a delivery receipt / status report is wanted
	More     bool          // further parts of the same text follow at once
}

// Fate classes what an SMSC answered to a submit.
type Fate uint8

const (
	Accepted   Fate = iota // the SMSC took it
	Temporary              // refused for now, concerns this recipient: try again later
	Permanent              // refused for good
	Throttled              // refused for now, concerns the whole session: pause it, keep order
	BadSession             // the session is at fault (not bound, wrong state): keep the message, start anew
	Unknown                // no answer: it may or may not have been taken
)

var fates = [...]string{"accepted", "temporary", "permanent", "throttled", "bad_session", "unknown"}

func (f Fate) String() string {
	if int(f) < len(fates) {
		return fates[f]
	}
	return fmt.Sprintf("fate(%d)", uint8(f))
}

// CodeClass says who gives the code of an answer its meaning.
type CodeClass uint8

const (
	CodeKnown     CodeClass = iota // the protocol does, or Quirks.Fates; or there is no code
	CodeVendor                     // the SMSC's vendor does: the protocol leaves the range to him
	CodeUndefined                  // nobody does
)

var codeClasses = [...]string{"known", "vendor", "undefined"}

func (c CodeClass) String() string {
	if int(c) < len(codeClasses) {
		return codeClasses[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Outcome is what became of one submit.
type Outcome struct {
	Fate  Fate
	Class CodeClass // of Code. What is not known is tried a few times at most, and told to the operator.
	ID    string    // the SMSC's id of the message, with which receipts name it; empty unless Accepted
	Code  string    // as the protocol writes it: "ESME_RTHROTTLED (0x58)", "CIMD2 300"; empty when Accepted
	Text  string    // what it means, for people
	// Status names what the SMSC answered for metrics, one word of a bounded number:
	// "ESME_RTHROTTLED", "0x4A1", "300", "other"; empty: there was no answer.
	Status string
}

// Deliver is a short message from a handset.
type Deliver struct {
	Part
	At  string // the SMSC's timestamp as it came, opaque; may be empty
	Key string // equal for an identical redelivery: what the protocol offers to recognise one; may be empty
}

// ReceiptState is what a delivery receipt or status report says.
type ReceiptState uint8

const (
	ReceiptUnknown   ReceiptState = iota
	ReceiptEnroute                // still trying: not final
	ReceiptAccepted               // the SMSC vouches for it, e.g. read manually: not final
	ReceiptDelivered              // final from here on
	ReceiptExpired
	ReceiptDeleted
	ReceiptUndeliverable
	ReceiptRejected
)

var receiptStates = [...]string{"unknown", "enroute", "accepted", "delivered", "expired", "deleted", "undeliverable", "rejected"}

func (s ReceiptState) String() string {
	if int(s) < len(receiptStates) {
		return receiptStates[s]
	}
	return fmt.Sprintf("receipt(%d)", uint8(s))
}

// Final reports whether nothing further will be heard of the message.
func (s ReceiptState) Final() bool { return s >= ReceiptDelivered }

// Receipt is what the SMSC learnt later about a submitted part.
type Receipt struct {
	ID    string // the Outcome's ID, in the same spelling
	State ReceiptState
	Code  string // the network's error code, as the protocol writes it; may be empty
	Key   string // as in Deliver
}

// Event is what has happened to a session. The types below are all there are.
// Received, Submit and ServerAnswer may also be pointers, to memory that is the
// caller's again when Handle has returned.
type Event interface{ event() }

// The events of a session.
type (
	// Connected: the socket is open; the machine logs in or binds. With Accepted
	// it was the SMSC that dialled, and says first whom it wants (SMPP outbind).
	Connected struct{ Accepted bool }
	// Received: the reader decoded a packet (the protocol's own type).
	Received struct{ Packet any }
	// Garbled: the reader met something that is no packet. When Err is a
	// *SyntaxError with Fatal unset, reading went on behind it.
	Garbled struct{ Err error }
	// Submit asks to send a part. Only when Ready() > 0. Ref comes back in Answered.
	// Now is the time at the SMSC, in its zone, for validities that are said as a
	// date (some of CIMD2's; SMPP's with Quirks.AbsoluteTimes); zero: not known, they
	// are said as a duration, rounded up.
	Submit struct {
		Ref  uint64
		Part Part
		Now  time.Time
	}
	// Request asks to send a request in the protocol's own type that has no
	// neutral form: an enquiry, a cancellation; SMPP: a query_sm, cancel_sm, replace_sm,
	// submit_multi or data_sm. Its number is the machine's to give. Only when Ready() > 0.
	// Ref, of one space with Submit's, comes back in Responded.
	Request struct {
		Ref    uint64
		Packet any
	}
	// AskTime asks what time it is at the SMSC. Only when Ready() > 0, and where the
	// Protocol TellsTime. TimeTold follows, unless the session ends before.
	AskTime struct{}
	// Accept: what Delivered or Reported brought under Ref is durable; answer it.
	Accept struct{ Ref uint64 }
	// Refuse: it cannot be taken now; answer as the protocol allows so that the
	// SMSC keeps it.
	Refuse struct{ Ref uint64 }
	// Due: a timer that was set has run out. Stale ones are dropped by Seq.
	Due struct{ Timer Timer }
	// Logout: end the session in an orderly way. Open submits are still waited for.
	Logout struct{}
	// Disconnected: the socket is gone. Every open submit is answered Unknown.
	Disconnected struct{ Err error }
)

func (Connected) event()    {}
func (Received) event()     {}
func (Garbled) event()      {}
func (Submit) event()       {}
func (Request) event()      {}
func (AskTime) event()      {}
func (Accept) event()       {}
func (Refuse) event()       {}
func (Due) event()          {}
func (Logout) event()       {}
func (Disconnected) event() {}

// Timer names a timer; a new one with the same Name replaces it, and Seq tells
// a stale one apart.
type Timer struct {
	Name string
	Seq  uint64
}

// Effect is what the actor has to do, in order. The types below are all there are.
type Effect interface{ effect() }

// The effects a machine asks for.
type (
	// Write: put these octets on the socket, or copy them, before you handle another
	// event: their memory is used again.
	Write struct{ *Output }
	// Bound: logged in; Ready() says how many submits may go.
	Bound struct{}
	// Answered: a submit has its outcome; exactly one for each Submit.
	Answered struct{ *Answer }
	// Responded: a Request has its response, in the protocol's own type; exactly
	// one for each. Packet is nil when none came, and Err says why.
	Responded struct {
		Ref    uint64
		Packet any
		Err    error
	}
	// TimeTold answers AskTime with what the SMSC's clock showed, to the second and in
	// its own zone, which nobody names: At's Location is UTC. Zero: it does not tell.
	TimeTold struct{ At time.Time }
	// Delivered: a short message from a handset; answer with Accept or Refuse.
	Delivered struct {
		Ref     uint64
		Deliver Deliver
	}
	// Reported: a receipt; answer with Accept or Refuse.
	Reported struct {
		Ref     uint64
		Receipt Receipt
	}
	// SetTimer: send Due{Timer} after the time.
	SetTimer struct{ *Setting }
	// StopTimer: forget the timer of this name (tidiness: stale ones are dropped).
	StopTimer struct{ Name string }
	// Close: close the socket (what was written goes out first). Every open
	// submit has been answered before.
	Close struct {
		Err   error
		Retry Retry
	}
)

// What the effects of every message hold: a struct of one pointer becomes an Effect
// without an allocation. Effects makes them; none is used again.
type (
	// Output is what Write is about.
	Output struct{ Octets []byte }
	// Answer is what Answered is about.
	Answer struct {
		Ref     uint64
		Outcome Outcome
	}
	// Setting is what SetTimer is about.
	Setting struct {
		Timer Timer
		After time.Duration
	}
)

func (Write) effect()     {}
func (Bound) effect()     {}
func (Answered) effect()  {}
func (Responded) effect() {}
func (TimeTold) effect()  {}
func (Delivered) effect() {}
func (Reported) effect()  {}
func (SetTimer) effect()  {}
func (StopTimer) effect() {}
func (Close) effect()     {}

// Retry says how soon another session makes sense.
type Retry uint8

const (
	RetrySoon Retry = iota // the line broke: back-off from the shortest step
	RetrySlow              // refused login, wrong password: a person has to act; try rarely, say it clearly
	RetryNot               // ended on request
)

// Machine is the state machine of one session: not safe for concurrent use, it
// belongs to one actor.
type Machine interface {
	// Handle takes what has happened and appends what is to be done to do.
	Handle(ev Event, do []Effect) []Effect
	// Ready returns how many submits may be sent now: 0 unless bound, never more
	// than the window (1: stop and wait) less what is unanswered.
	Ready() int
	// State names the state for people and metrics: closed, binding, bound,
	// closing.
	State() string
}

// Config is what a machine needs to know; each protocol ignores what it lacks.
type Config struct {
	User, Password  string
	Subaddress      string        // CIMD2: which of several logins of the account this is, "0" to "9"; empty: none
	Mode            string        // SMPP: transceiver, transmitter, receiver
	SystemType      string        // SMPP
	Window          int           // submits that may be unanswered; 1: stop and wait
	Poll            bool          // CIMD2 retrieving account: ask for messages by delivery request
	PollEvery       time.Duration // how often, when the last answer was "none waiting"
	KeepAlive       time.Duration // the longest silence before the line is probed
	ResponseTimeout time.Duration // of a request of ours; then its outcome is unknown
	LoginTimeout    time.Duration
	LogoutTimeout   time.Duration
	DefaultValidity time.Duration // where the part names none; 0: the SMSC's own
	Quirks          Quirks
	// What an outbind has to say (SMPP), where the SMSC dials; both empty: anything.
	OutbindUser, OutbindPassword string
}

// Protocol is a protocol's entry in the list that configuration chooses from.
type Protocol struct {
	Name string
	// Read returns the next packet. A *SyntaxError that is not Fatal leaves the
	// reader behind the bad packet; any other error ends the session.
	Read func(r *bufio.Reader) (packet any, err error)
	// Reader returns a Read for one connection that allocates for many packets at
	// once: whoever keeps a packet, or its octets or texts, keeps its neighbours' memory.
	Reader func() func(r *bufio.Reader) (packet any, err error)
	// Check says what of cfg the protocol cannot do, in words for who wrote the
	// configuration; nil: all is well. It may be nil itself: nothing to check.
	Check func(cfg Config) error
	// New makes the ESME's (the client's) machine.
	New func(cfg Config) Machine
	// TellsTime: an SMSC can be asked what its clock shows (AskTime).
	TellsTime bool
	// NewServer makes the SMSC's (the server's) machine.
	NewServer func(cfg ServerConfig) ServerMachine
	// NewID makes the id of a part submitted to an SMSC of this protocol, in
	// the spelling of Outcome.ID. n is a counter of yours. CIMD2 has no n: where
	// the id is taken already, ask again with a later second.
	NewID func(to Address, at time.Time, n uint64) string
}

// SyntaxError is a packet that breaks its protocol's rules: the peer is at fault.
type SyntaxError struct {
	Protocol string
	Offset   int    // within the packet, in octets; -1 unknown
	Reason   string // what is wrong
	Fatal    bool   // framing is lost: the session cannot go on
	Packet   any    // what could be read of it (header), nil if nothing; protocol's own type
}

func (e *SyntaxError) Error() string {
	if e.Offset >= 0 {
		return fmt.Sprintf("%s: %s at octet %d", e.Protocol, e.Reason, e.Offset)
	}
	return fmt.Sprintf("%s: %s", e.Protocol, e.Reason)
}
