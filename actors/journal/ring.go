// Package journal is what actors may ask of durable storage. It holds
// interfaces and records, no IO: implementations stand in nodes/store.
//
// Every write takes a done function. It runs once, on a goroutine of the
// store's, after the write is on disk (fsync) or has failed; it must not
// block: actors send themselves a message in it. Nothing is acknowledged to
// anybody before done ran without error (invariant I5). Writes of one caller are
// applied in the order of the calls.
//
// What belongs to a message that was taken on (Origin, Mirror, Rings, Outlet, epochs,
// TrimEvents) is bounded by slots and the retry queue, and is never refused because
// many writes wait: a ring that has had to give a write up cannot go on. ErrFull is
// for what brings more: Accept and the rest of Hub's that users ask for, and Inlet's
// writes. Nothing is dropped where nobody waits for it.
package journal

import (
	"errors"

	"github.com/ringway-im/ringway/messages"
)

// What a store answers when it will not do as asked.
var (
	// ErrFenced: another owner has taken over with a higher epoch. Stop at once.
	ErrFenced = errors.New("journal: another owner holds these rings")
	// ErrFull: the queue's bound is reached, or too many writes wait for the disk;
	// nothing was written. Try again later. No ring, and nothing about a message that
	// was taken on, meets it.
	ErrFull = errors.New("journal: queue is full")
	// ErrSpace: the disk is nearly full; nothing was written. What was taken on
	// before is still written; try again when there is room.
	ErrSpace = errors.New("journal: the disk is nearly full")
	// ErrScarce, beside ErrSpace: there is room only for finishing what was taken on.
	ErrScarce = errors.New("journal: the disk is all but full")
	// ErrNoLease: this node has no running lease, so that it may own nothing.
	ErrNoLease = errors.New("journal: this node has no running lease")
	// ErrFailed: the disk failed; nothing further will be written.
	ErrFailed = errors.New("journal: storage has failed")
)

// Entry is one message at its place in a ring.
type Entry struct {
	Seq     uint64
	After   uint64 // last unprocessed sequence with the same order key when it was assigned; 0: none
	Message *messages.Message
	Result  *messages.Result // mirror only: what was answered; nil: not yet
}

// Origin is the durable side of a sender's ring: the queue behind it and the
// assignment of sequences (invariants I10, I14).
type Origin interface {
	// Load returns where the ring stood. Called once, before anything else.
	Load() (OriginState, error)
	// Retrieve takes up to max messages from the heads of the queue, the lowest
	// class first and in order of acceptance within a class, leaves out (and
	// finishes as expired) those past their deadline, and assigns them the
	// sequences first, first+1, ... Durable when done runs; done gets them in
	// order, possibly none.
	Retrieve(first uint64, max int, done func([]Entry, error))
	// Progress records way stations (SENT, CONFIRMED) for the message's history.
	// Nobody waits for it.
	Progress(state messages.State, entries []Entry)
	// Processed records the receiver's result and gives the slot free.
	Processed(e Entry, result *messages.Result, done func(error))
	// Waiting is how many messages stand in the queue behind the ring.
	Waiting() int
	// Notify has wake called, on any goroutine, whenever the queue was empty and
	// is no longer. Spurious calls are allowed.
	Notify(wake func())
}

// OriginState is what Load finds.
type OriginState struct {
	LastRetrieved uint64  // highest sequence ever assigned
	Held          []Entry // assigned and not yet Processed, ascending
}

// Mirror is the durable side of a receiver's ring.
type Mirror interface {
	Load() (MirrorState, error)
	// Keep stores an entry; after done it may be Confirmed.
	Keep(e Entry, done func(error))
	// Release forgets entries: the sender has recorded them as Processed.
	// released is the highest sequence up to which all are. Nobody waits for it.
	Release(released uint64, seqs []uint64)
}

// MirrorState is what Load finds.
type MirrorState struct {
	Released uint64  // every sequence up to here has been forgotten
	Held     []Entry // ascending; with Result where one was recorded
}
