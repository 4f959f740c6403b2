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
//	query      ─▶ QueryReceived  ─▶ you ─▶ QueryAnswer, or ServerAnswer to refuse it
//	cancel     ─▶ CancelReceived ─▶ you ─▶ ServerAnswer
//	replace    ─▶ ReplaceReceived ─▶ you ─▶ ServerAnswer
//	set        ─▶ PasswordReceived ─▶ you ─▶ ServerAnswer
//	get        ─▶ TimeRequested ─▶ you ─▶ TimeAnswer
//
// The last five only with ServerConfig.Manage; otherwise the machine refuses them.

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
	ResponseTimeout   time.Duration // of a deliver or report; then it is answered as Temporary (CIMD2: the session stays). 0: 30 s
	InactivityTimeout time.Duration // silence of the ESME after which the session is closed, at most half as much later; 0: never
	LoginTimeout      time.Duration // from Connected to the login; 0: unlimited
	SystemID          string        // SMPP: the name given in bind responses
	Banner            string        // CIMD2: a line sent on Connected, before any packet; empty: none
	AnyNumber         bool          // CIMD2: accept jumps in packet numbers instead of NACKing them

	// RequireChecksum: CIMD2 packets without a checksum are NACKed like damaged ones.
	RequireChecksum bool
	NoChecksum      bool // CIMD2 packets go out without a checksum

	// Manage: you answer QueryReceived, CancelReceived, ReplaceReceived,
	// PasswordReceived and TimeRequested; else they are refused.
	Manage       bool
	SubmitWindow int                  // submits that the ESME may have unanswered; more are throttled. 0: 1024
	KeepAlive    time.Duration        // the longest silence of the ESME before the line is probed; 0: never
	Lists        map[string][]Address // SMPP: the distribution lists that submit_multi may name
}

// When is a time as an ESME gives it: absolute or from now. Both zero: not given.
type When struct {
	At    time.Time
	After time.Duration
}

// IsZero reports whether no time is given.
func (w When) IsZero() bool { return w.At.IsZero() && w.After == 0 }

// Time returns the time that is meant, seen from now; zero when none is given.
func (w When) Time(now time.Time) time.Time {
	if w.After != 0 {
		return now.Add(w.After)
	}
	return w.At
}

// Wanted says which receipts an ESME asks for: any of the bits below.
type Wanted uint8

// The bits of Wanted.
const (
	WantSuccess      Wanted = 1 << iota // when it is delivered
	WantFailure                         // when it never will be
	WantIntermediate                    // while it is still tried
)

// Includes reports whether a receipt with this state is wanted. One that is
// neither success nor failure for certain (accepted, unknown) goes to whoever
// wants any final one.
func (w Wanted) Includes(s ReceiptState) bool {
	switch s {
	case ReceiptDelivered:
		return w&WantSuccess != 0
	case ReceiptEnroute:
		return w&WantIntermediate != 0
	case ReceiptAccepted, ReceiptUnknown:
		return w&(WantSuccess|WantFailure) != 0
	}
	return w&WantFailure != 0
}

// The events of a server beside those it shares with the ESME's machine.
type (
	// LoginResult answers LoginReceived.
	LoginResult struct {
		OK         bool
		Retrieving bool   // CIMD2: this account gets messages only when it asks for them
		Code       string // why not OK, as Outcome.Code: "ESME_RALYBND"; empty: wrong password
	}
	// ServerAnswer answers SubmitReceived. Outcome.ID is one that
	// Protocol.NewID made. Unknown sends no response at all.
	ServerAnswer struct {
		Ref     uint64
		Outcome Outcome
	}
	// QueryAnswer answers QueryReceived; refuse it with ServerAnswer.
	QueryAnswer struct {
		Ref   uint64
		State ReceiptState
		Done  time.Time // when State became final; zero: it is not
		Code  string    // the network's error code, as Receipt.Code; may be empty
	}
	// TimeAnswer answers TimeRequested with the time of your clock, in its zone.
	TimeAnswer struct {
		Ref uint64
		At  time.Time
	}
	// ServerAlert tells the ESME that a handset can be reached again (SMPP).
	ServerAlert struct{ Handset, ESME Address }
	// Outbind asks the ESME, which you have dialled, to bind (SMPP). Only in state waiting.
	Outbind struct{ User, Password string }
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
		Reference       *uint16 // the Submission's
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
func (QueryAnswer) event()   {}
func (TimeAnswer) event()    {}
func (ServerAlert) event()   {}
func (Outbind) event()       {}

// The effects of a server beside those it shares with the ESME's machine.
type (
	// LoginReceived: check the credentials and answer with LoginResult.
	LoginReceived struct {
		User, Password string
		Mode           string // SMPP: transceiver, transmitter, receiver; CIMD2: empty
		Subaddress     string // CIMD2: which of several logins of the account this is; mostly empty
		SystemType     string // SMPP
		AddressRange   string // SMPP: the addresses that the ESME serves, a UNIX regular expression; often empty
	}
	// SubmitReceived: the ESME submits a part; answer with ServerAnswer.
	SubmitReceived struct{ *Submission }
	// QueryReceived: what has become of a message? Answer with QueryAnswer, or
	// with ServerAnswer when it is not known. From is its sender's address.
	QueryReceived struct {
		Ref  uint64
		ID   string
		From Address
	}
	// CancelReceived: forget a message that is not delivered yet, or with ID
	// empty all with these addresses (and Service); what is empty does not matter.
	// Answer with ServerAnswer.
	CancelReceived struct {
		Ref      uint64
		ID       string
		From, To Address
		Service  string // SMPP: service_type
	}
	// ReplaceReceived: give a waiting message another text, in the coding it was
	// submitted with. Answer with ServerAnswer. An empty address, zero times: leave them.
	ReplaceReceived struct {
		Ref               uint64
		ID                string
		From              Address
		Data              []byte
		Schedule, Expires When
		Wanted            Wanted
	}
	// PasswordReceived: the account that is logged in wants another password
	// (CIMD2). Answer with ServerAnswer.
	PasswordReceived struct {
		Ref      uint64
		Password string
	}
	// TimeRequested: what time is it at the SMSC (CIMD2)? Answer with TimeAnswer.
	TimeRequested struct{ Ref uint64 }
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

// Submission is what SubmitReceived is about.
type Submission struct {
	Ref      uint64
	Part     Part
	Schedule When   // deliver it then, not before; zero: now
	Expires  When   // give it up then; zero: your default. Part.Validity has it too where it is relative
	Wanted   Wanted // the receipts; Part.Report says whether any
	Service  string // SMPP: service_type
	Replace  bool   // SMPP: take the place of a waiting message with equal From, To and Service
	// Reference is SMPP's user_message_reference, which comes back in the receipts; nil: none.
	Reference *uint16
	NoCancel  bool   // CIMD2: it was not submitted as one that can be cancelled
	Packet    any    // the request, in the protocol's own type: for what is not translated here
	First     uint64 // SMPP: one of several destinations of one submit_multi, whose first had this Ref: give it the same ID. 0: no
}

func (LoginReceived) effect()     {}
func (SubmitReceived) effect()    {}
func (DeliverAnswered) effect()   {}
func (DeliveryRequested) effect() {}
func (QueryReceived) effect()     {}
func (CancelReceived) effect()    {}
func (ReplaceReceived) effect()   {}
func (PasswordReceived) effect()  {}
func (TimeRequested) effect()     {}
