package journal

import (
	"time"

	"github.com/ringway-im/ringway/messages"
)

// Edge is the durable state of an edge: its ends of both rings, how far each
// message has come on its way to the SMSC, what came from the SMSC and is not
// yet whole, and the status log for the hub.
type Edge interface {
	// Instance is random and was made with the data directory: two edges with
	// one id differ in it.
	Instance() []byte
	// HighestEpoch is the highest that SetHighestEpoch made durable.
	HighestEpoch() uint64
	// EpochOwner names who had the rings under that epoch; nil: it is not known.
	EpochOwner() []byte
	// SetHighestEpoch is ErrFenced when a higher one is durable already.
	SetHighestEpoch(epoch uint64, owner []byte, done func(error))
	// NextHello numbers what the edge says to hubs first: from 1, ascending also over
	// starts, as long as the journal is not restored or replaced.
	NextHello() uint64
	// HellosAbove has them go on well above n. Nobody waits for it.
	HellosAbove(n uint64)

	Down() Mirror // results are recorded by Record
	Up() Origin   // messages are queued by Receive
	StatusLog
	Outlet
	Inlet
	Close() error
}

// StatusLog is what the hub is told about messages beside their slots' results
// (invariant I13): events numbered from 1 without gaps, kept until trimmed.
type StatusLog interface {
	// LastEvent is the highest number ever given, and durable.
	LastEvent() uint64
	// EventsAfter returns up to max durable events with numbers above n, ascending.
	EventsAfter(n uint64, max int) ([]*messages.Event, error)
	// TrimEvents forgets events up to n: the hub has them durably. Nobody waits for it.
	TrimEvents(n uint64)
	// NotifyEvents has wake called, on any goroutine, whenever LastEvent has grown.
	NotifyEvents(wake func())
	// EventsKept is how many are not trimmed.
	EventsKept() int
	// Deferred returns the ids of the messages in the retry queue.
	Deferred() [][]byte
}

// Outlet is the durable side of what goes to the SMSC.
type Outlet interface {
	// LoadOutlet finds all unfinished tasks, as every Record called before left
	// them. Those that are Deferred come with their Message.
	LoadOutlet(done func([]*Task, error))
	// Record makes one step durable, all of it or nothing. It reads s before it
	// returns.
	Record(s OutletStep, done func(error))
	// Result finds what was answered to the slot that holds message id under seq.
	Result(seq uint64, id []byte) (*messages.Result, bool, error)
}

// MaxDeferred is how many messages an edge's retry queue may hold: Hello names them, as
// the hub has to know of each who has it before an edge joins anew.
const MaxDeferred = 100_000

// Task is how far a message has come on its way to the SMSC.
type Task struct {
	Seq       uint64
	ID        []byte
	Reference uint8      // of the concatenation
	Parts     []PartDone // the first ones, decided; the next to submit is Parts[len]
	Attempts  uint32     // submits so far, of all parts
	// Intent names the session on which the next part may have been submitted
	// and has no outcome; "": none (invariant I15).
	Intent   string
	Doubled  bool   // a part was submitted again after a doubt
	Deferred bool   // in the retry queue: its slot has been answered
	Refusals uint32 // temporary ones in a row
	// Undefined is how many of them had a code that nobody has defined; 63 at most
	// are kept.
	Undefined uint8
	RetryAt   time.Time // earliest next attempt, when Refusals > 0

	Message *messages.Message // of LoadOutlet and OutletStep.Defer
}

// PartDone is one part's outcome.
type PartDone struct {
	State messages.State
	ID    string // the SMSC's; may be empty
}

// OutletStep is what one commit records: outcomes, and the intents that follow.
type OutletStep struct {
	Tasks   []*Task           // as they stand now
	Defer   []*Task           // as they stand now, from now on in the retry queue with their Message
	Ended   []*Task           // nothing remains to be done
	Results []SlotResult      // for the slots of the down mirror
	Sent    []Sent            // to be found again by receipts
	Events  []*messages.Event // the store numbers them
}

// SlotResult is the answer to a slot.
type SlotResult struct {
	Seq    uint64
	Result *messages.Result
}

// Sent is a part that the SMSC accepted and of which a receipt is expected.
type Sent struct {
	SMSC, SMSCID string
	ID           []byte
	Part, Parts  uint32    // from 0; how many
	At           time.Time // of acceptance
	Until        time.Time // no receipt is expected after it
}

// Inlet is the durable side of what comes from the SMSC.
type Inlet interface {
	// LoadInlet finds the inlet's notes, as every Receive called before.
	LoadInlet(done func(map[string][]byte, error))
	// Receive makes one intake durable, all of it or nothing. An empty one is done
	// when those before it are.
	Receive(in Intake, done func(error))
	// Report finds the part that a final receipt belongs to (the one longest
	// without, where the SMSC gave an id twice) and writes its event; a receipt
	// that is ahead of its part's Record is parked.
	Report(r Report, done func(Reported, error))
	// Purge forgets parts whose receipt never came and receipts whose part never
	// did, where Until is past.
	Purge(now time.Time, done func(purged int, err error))
}

// Intake is what one commit takes over from the SMSC.
type Intake struct {
	Messages []*messages.Message // into the up ring's queue, in this order
	Drop     []string            // notes to forget, before Put
	Put      map[string][]byte   // the inlet's own notes, by name
}

// Report is a final delivery receipt or status report.
type Report struct {
	SMSC, SMSCID string
	State        messages.State // DELIVERED, FAILED or EXPIRED
	Code         string         // the network's; may be empty
	At           time.Time
	Until        time.Time // how long it may be parked
	MaxParked    int       // beyond it the oldest parked receipt is forgotten

	Put map[string][]byte `json:"-"` // as in Intake
}

// Reported is what became of a Report.
type Reported struct {
	Matched   bool          // else parked
	After     time.Duration // of a matched one: how long after the part was accepted
	Forgotten int           // parked receipts that had to go
}
