package journal

import (
	"errors"
	"time"

	"github.com/ringway-im/ringway/messages"
)

// What Accept may refuse with, beside ErrFull.
var (
	// ErrRefConflict: the same user has used this ref for another body.
	ErrRefConflict = errors.New("journal: ref was used for another message")
	// ErrNoUser: the recipient does not exist.
	ErrNoUser = errors.New("journal: no such user")
)

// Hub is the durable state of a hub: one embedded database, or one that all
// hubs of a cluster share. Reads are of what is durable.
type Hub interface {
	// Users.
	PutUser(u User, done func(error)) // creates or changes
	User(name string) (User, bool, error)
	Seen(name string, at time.Time, done func(error)) // when presence last changed; kept for "offline since"

	// Accept makes a submission durable: finds it under its ref, or gives it an
	// id and puts it into the queue of its edge or the inbox of its user, in one
	// transaction.
	Accept(s Submission, done func(Accepted, error))
	Message(id []byte) (*Record, bool, error)
	MessageByRef(user, ref string) (*Record, bool, error)

	// What a user's clients read. Numbers count one user's events, from 1,
	// without gaps.
	Events(user string, after uint64, limit int) ([]UserEvent, error)
	LastEvent(user string) (uint64, error)
	Inbox(user string, after uint64, limit int) ([]UserEvent, error) // only messages, oldest first
	// Pending is what a device has not marked received: messages no client of the
	// user has taken, and those after the device was first seen that it has not
	// taken itself. Event numbers ascending, after after. The first call for a
	// device makes it known and waits for the disk; device "" is none: only what
	// nobody has taken.
	Pending(user, device string, after uint64, limit int) ([]UserEvent, error)
	// Received: a client has taken the message; the first time its state becomes
	// delivered and its sender's event is written.
	Received(user, device string, id []byte, done func(found bool, err error))

	// Rings of one edge. Claim makes the caller their owner under a new, higher
	// epoch; the journals it returns write only as long as it stands. Like Load and
	// Applied it waits for the disk: never call it in a done function.
	Claim(edge string) (Rings, error)
	// Instance of the edge's journal, as its last Hello gave it; nil: never seen. It is
	// set by who has claimed the rings.
	Instance(edge string) ([]byte, error)
	SetInstance(edge string, instance []byte, done func(error))

	// Watch has changed called, on any goroutine and soon after the commit, with
	// each user whose events grew. One watcher; hints may be lost or repeated.
	Watch(changed func(users []string))
	Close() error
}

// Rings is the durable side of one edge's rings under one epoch.
type Rings interface {
	Epoch() uint64
	Down() Origin
	Up() Mirror
	// Deliver takes over a message of the up ring for good: what it becomes and
	// the slot's result are one transaction. It does nothing when the slot has a
	// result already.
	Deliver(seq uint64, d Delivery, done func(*messages.Result, error))
	// Apply applies status events in order; numbers at or below the last applied
	// are skipped. applied is the highest now durable. Events must come without
	// gaps: what a gap leaves out is skipped for good once a later one is applied.
	Apply(events []*messages.Event, done func(applied uint64, err error))
	Applied() (uint64, error)
	// Conversations of a handset, latest first, 200 at most: whom it may be
	// answering. With a number ('+' before it does not count) only those that have
	// it, however old.
	Conversations(handset, number string) ([]Conversation, error)
	// Kept messages wait until the handset has said whom they are for.
	Kept(handset string) ([]*messages.Message, error)
}

// Delivery is what becomes of a message from a handset.
type Delivery struct {
	Message *messages.Message // as it arrived; From is the handset
	User    string            // whose inbox; "" with Keep
	Text    string            // as the person sees it (without "@name ")
	Keep    bool              // nobody is named: keep it
	Only    bool              // it only says whom the kept ones are for: nothing of itself enters the inbox
	Notice  *messages.Message // to the handset, into the down queue; nil: none. ID is given by the store.
	Release []string          // further kept messages of this handset (hex ids) that go to User too
}

// User is an account.
type User struct {
	Name     string // lower case
	Password []byte // hash, bcrypt
	Seen     time.Time
}

// Submission asks for a message to be accepted.
type Submission struct {
	From   string // user
	To     string // user's name or '+' and a number
	Text   string
	Class  uint32
	Until  time.Time // deadline; zero: none
	Ref    string    // "" : none
	Body   [32]byte  // hash of all that must be equal under the same ref
	Sender string    // connection
	Parts  int       // short messages; 0 for a user
	Coding string    // "gsm7", "ucs2"; "" for a user
	At     time.Time

	Edge         string // "" : To is a user of the hub
	Number       string // the edge's service number
	SuffixDigits int    // 0: Number as it is; else a number of its own for each conversation
	QueueLimit   int
}

// Accepted is the answer.
type Accepted struct {
	ID     []byte
	Again  bool // the ref was known: this is the earlier message
	Edge   string
	Parts  int
	Coding string
}

// Record is all that is known of a message.
type Record struct {
	Message  *messages.Message
	Ref      string
	State    messages.State
	Final    bool
	Reason   *messages.Reason
	Attempts uint32
	Doubled  bool // possible_duplicate
	Parts    []*messages.PartState
	Coding   string
	History  []Step // in the order of happening
	Edge     string
	Seq      uint64 // in the edge's down ring; 0: not yet in it
	Slots    uint32 // of that ring: address = Seq mod Slots
}

// Step is one line of a message's history.
type Step struct {
	State messages.State
	At    time.Time
}

// UserEvent is one durable event of a user: a message for him, or a state of
// one of his.
type UserEvent struct {
	Number uint64
	At     time.Time
	ID     []byte
	// A state of a message he sent.
	State messages.State // STATE_UNSPECIFIED: it is a message
	Final bool
	Ref   string
	// A message for him.
	From, To, Edge, Text string
	PossibleDuplicate    bool
	Received             bool // some client of his has taken it
}

// Conversation is a person and a handset who have written to each other
// through one edge.
type Conversation struct {
	User   string
	Number string    // the number that the handset sees for this conversation
	At     time.Time // last message accepted for the handset
}
