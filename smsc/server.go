package smsc

import "time"

// The other side of a session: what an SMSC (a simulator, a test) needs. It
// shares Connected, Received, Garbled, Due, Logout and Disconnected with the
// ESME's machine as events, and Write, Bound, SetTimer, StopTimer and Close as
// effects; the types below are its own.
//
//	login/bind ─▶ LoginReceived  ─▶ you ─▶ LoginResult   ─▶ response, Bound
//	submit     ─▶ SubmitReceived ─▶ you ─▶ ServerAnswer  ─▶ response
//	you ─▶ ServerDeliver, ServerReport ─▶ request; its response ─▶ DeliverAnswered

// ServerMachine is the state machine of one session at the SMSC: not safe for
// concurrent use, it belongs to one actor.
type ServerMachine interface {
	// Handle takes what has happened and appends what is to be done to do.
	Handle(ev Event, do []Effect) []Effect
	// DeliverReady returns how many ServerDeliver and ServerReport together may
	// be sent now: 0 unless bound and able to receive.
	DeliverReady() int
	// State names the state: closed, waiting (for the login), bound, closing.
	State() string
}

// ServerConfig is what a server's machine needs to know; each protocol ignores
// what it lacks.
type ServerConfig struct {
	Window            int           // delivers and reports that may be unanswered; 1: stop and wait
	ResponseTimeout   time.Duration // of a deliver or report; then it is answered as Temporary (CIMD2: the session stays)
	InactivityTimeout time.Duration // silence of the ESME after which the session is closed; 0: never
	LoginTimeout      time.Duration // from Connected to the login; 0: unlimited
	SystemID          string        // SMPP: the name given in bind responses
	Banner            string        // CIMD2: a line sent on Connected, before any packet; empty: none
	AnyNumber         bool          // CIMD2: accept jumps in packet numbers instead of NACKing them
}

// The events of a server beside those it shares with the ESME's machine.
type (
	// LoginResult answers LoginReceived.
	LoginResult struct {
		OK         bool
		Retrieving bool // CIMD2: this account gets messages only when it asks for them
	}
	// ServerAnswer answers SubmitReceived. Outcome.ID is one that
	// Protocol.NewID made. Unknown sends no response at all.
	ServerAnswer struct {
		Ref     uint64
		Outcome Outcome
	}
	// ServerDeliver sends a short message from a handset to the ESME. Only when
	// DeliverReady() > 0. Deliver.At is yymmddhhmmss where the protocol has one
	// (CIMD2), else ignored. Ref comes back in DeliverAnswered.
	ServerDeliver struct {
		Ref     uint64
		Deliver Deliver
	}
	// ServerReport sends a receipt (SMPP) or status report (CIMD2). Only when
	// DeliverReady() > 0. Ref shares one space with ServerDeliver's.
	ServerReport struct {
		Ref             uint64
		Receipt         Receipt
		Part            Part // the one submitted: for its addresses and the start of its text
		Submitted, Done time.Time
	}
	// WaitingResult answers DeliveryRequested: how many messages wait.
	WaitingResult struct {
		Ref     uint64
		Waiting int
	}
)

func (LoginResult) event()   {}
func (ServerAnswer) event()  {}
func (ServerDeliver) event() {}
func (ServerReport) event()  {}
func (WaitingResult) event() {}

// The effects of a server beside those it shares with the ESME's machine.
type (
	// LoginReceived: check the credentials and answer with LoginResult.
	LoginReceived struct {
		User, Password string
		Mode           string // SMPP: transceiver, transmitter, receiver; CIMD2: empty
	}
	// SubmitReceived: the ESME submits a part; answer with ServerAnswer.
	SubmitReceived struct {
		Ref  uint64
		Part Part
	}
	// DeliverAnswered: the ESME's answer to a deliver or a report; exactly one
	// for each. Neither OK nor Temporary: refused for good.
	DeliverAnswered struct {
		Ref       uint64
		OK        bool
		Temporary bool // refused for now, or no answer came: deliver it again later
	}
	// DeliveryRequested: a retrieving account (CIMD2) asks; answer with
	// WaitingResult. DeliverReady rises afterwards by what it asked for.
	DeliveryRequested struct{ Ref uint64 }
)

func (LoginReceived) effect()     {}
func (SubmitReceived) effect()    {}
func (DeliverAnswered) effect()   {}
func (DeliveryRequested) effect() {}
