package link

import (
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// Ring actor to slot.
type (
	// Fill gives a slot its message.
	Fill struct{ Entry journal.Entry }
	// Transmit asks for the message to be put on the link, again if it was before.
	Transmit struct{ Seq ring.Seq }
	// Confirmed: the other side has it on disk.
	Confirmed struct{ Seq ring.Seq }
	// Process: the other side has taken it over, with this result.
	Process struct {
		Seq    ring.Seq
		Result *messages.Result
	}
	// HandOn asks a mirror slot to hand its message on.
	HandOn struct{ Seq ring.Seq }
	// AnswerAgain asks a mirror slot to send its answer once more.
	AnswerAgain struct{ Seq ring.Seq }
	// Release: the sender has recorded the result; the mirror slot forgets.
	Release struct{ Seq ring.Seq }
)

// Slot to ring actor.
type (
	// Processed: the result is durable here; the slot is free.
	Processed struct{ Seq ring.Seq }
	// Stored: a mirror slot's message is on disk.
	Stored struct{ Seq, After ring.Seq }
	// Answered: a mirror slot has its answer.
	Answered struct{ Seq ring.Seq }
	// StorageFailed: the journal refused or broke. The ring actor and the applier say it
	// to their owner too.
	StorageFailed struct{ Err error }
)

// Session to ring actor.
type (
	// LinkUp: both sides have said where they stand; transmit.
	LinkUp struct{}
	// LinkDown: keep what comes; nothing can be transmitted.
	LinkDown struct{}
	// ProgressIn is the other side's repeated state: Confirmed to a buffer,
	// Released to a mirror.
	ProgressIn struct{ Progress *messages.Progress }
	// AgainLost lists what a stripe carried last when it died.
	AgainLost struct{ Seqs []ring.Seq }
	// AskAgain: something is missing for too long.
	AskAgain struct{ OlderThan time.Duration }
)

// Ring actor to session: state to repeat in frames.
type (
	// ConfirmedOut is the mirror's.
	ConfirmedOut struct{ Progress *messages.Progress }
	// ReleasedOut is the buffer's.
	ReleasedOut struct{ Progress *messages.Progress }
	// EventsAppliedOut is the applier's.
	EventsAppliedOut struct{ Number uint64 }
	// ProtocolError: what the peer sent breaks the ring's rules: hang up.
	ProtocolError struct{ Err error }
)

// Session and the actors of the status log.
type (
	// EventsIn (hub, to the applier): in any order, some again.
	EventsIn struct{ Events []*messages.Event }
	// EventsApplied (edge, to the status log): durable at the hub up to there.
	EventsApplied struct{ Number uint64 }
	// EventsLost (edge, to the status log): a stripe died with events from there on.
	EventsLost struct{ From uint64 }
)

// Synchronisation actor and ring actors.
type (
	// GetView asks for ViewIs.
	GetView struct{}
	// ViewIs is where this side's ring stands; Storing: something is on its way to the
	// disk and not in the view.
	ViewIs struct {
		Ring    messages.Ring
		View    *messages.View
		Storing bool
	}
	// Resync compares with the other side's view; Resynced answers.
	Resync struct {
		Peer *messages.View
		Try  int // echoed: which attempt this is
	}
	// Resynced: this side's view afterwards, and how much is missing (mirror) or
	// to be sent again (buffer). Err: the rings do not fit together.
	Resynced struct {
		Ring    messages.Ring
		Try     int
		View    *messages.View
		Missing int
		Err     error
	}
	// Agreed: nothing is missing any more.
	Agreed struct {
		Ring messages.Ring
		Try  int
		At   time.Time
	}
	// GetState asks for *messages.RingState, for people.
	GetState struct{ Sequences bool }
)

// Synchronisation actor and session.
type (
	// Synchronise (sync to session): I am the one who brings this link back.
	Synchronise struct{ Gen uint64 }
	// Synchronising (edge's session to sync): the answer. Hub is where the link moves to;
	// "": nowhere in particular.
	Synchronising struct{ Hub string }
	// Connect (edge): open all stripes to that hub, the first within that time.
	Connect struct {
		Hub    string
		Within time.Duration
	}
	// Connected (edge): the first stripe is up.
	Connected struct{ TLSAt time.Time }
	// ConnectFailed (edge): no stripe came up in time, or all are lost again.
	ConnectFailed struct{ Err error }
	// SayHello (edge): send it on the first stripe.
	SayHello struct{ Hello *messages.Hello }
	// HelloArrived (hub).
	HelloArrived struct {
		Hello *messages.Hello
		TLSAt time.Time
	}
	// SayWelcome (hub): answer; the link streams from here on.
	SayWelcome struct {
		Session []byte // of the Hello that it answers
		Welcome *messages.Welcome
	}
	// SayRefused (hub): answer and close.
	SayRefused struct {
		Session []byte // of the Hello that it answers
		Refused *messages.Refused
	}
	// Established (edge): Welcome is taken; the link streams from here on.
	Established struct {
		Epoch   uint64
		Applied uint64 // status events the hub has
	}
)

// Ring and hub's session: how the rings of an edge go to another hub.
type (
	// Move (ring to session, as a request): they will. The edge connects to that hub
	// while all goes on; MoveReady answers, after Within at the latest.
	Move struct {
		To     string // link address
		Within time.Duration
	}
	// MoveReady: give the rings up and say Moved.
	MoveReady struct{ Stripes int } // how many connections the edge has; 0: none, or it has not said
	// Moved (ring to session): the rings are given up. The session sends the edge
	// there and hangs up; whoever still comes is sent on.
	Moved struct{ To string }
)

// Supervisor.
type (
	// Interrupted (session to supervisor): this link has no stripe that lives.
	Interrupted struct {
		Edge    string
		Session *actor.PID
	}
	// Synchronised (sync to supervisor, then to the session): the rings agree.
	Synchronised struct {
		Edge      string
		Gen       uint64
		Connected time.Time     // the first stripe's TLS
		Took      time.Duration // from there to the last missing frame durable here
		Resent    int
	}
	// GetLink asks a session for LinkState.
	GetLink struct{}
	// LinkState is where a link stands, for people.
	LinkState struct {
		State         string // up, interrupted, synchronising
		Epoch         uint64
		Stripes       int
		RTT           time.Duration
		Synchronising bool
		Own           []*messages.RingState // this side's rings as of the last heartbeat; entries may be nil
		Peer          []*messages.RingState // the other side's rings as it last showed them
		PeerAsOf      time.Time
		LastResync    time.Duration
		Interruptions int
	}
)
