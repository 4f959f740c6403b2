package journal

import "fmt"

// Standing is what a hub remembers of an edge beside its rings.
type Standing struct {
	Replaced []byte // the journal that was given up for another; nil: none
	Behind   bool   // the hub was restored from a backup, and the edge has not joined since
	Used     bool   // a journal of this edge's has given or taken something here
}

// Rejoin is what a hub learns from the Hello of an edge that does not stand where
// the hub remembers: its disk is new, or one of the two was restored.
type Rejoin struct {
	Instance      []byte
	Restored      bool     // the edge's journal is new or from a backup: what it did since is not known
	Deferred      [][]byte // ids in its retry queue
	EventsTrimmed uint64   // status events up to there are not to be had any more
	LastRetrieved uint64   // of its down mirror
	Held          []Held   // in its down mirror
}

// Held is a message in a mirror.
type Held struct {
	Seq uint64
	ID  []byte
}

// Rejoined is what the hub has made of it.
type Rejoined struct {
	Applied  uint64   // status events up to there
	Settled  [][]byte // of Deferred: the hub knows their end
	Open     []uint64 // what the down ring holds
	Doubts   int      // may have been submitted: counted as unknown
	Requeued int      // back in the queue
	Adopted  int      // held by the edge, and not in the ring before
}

// farthest is how far an edge may be ahead of a hub from a backup: nobody comes so far
// in between, and the numbers last.
const farthest = 1 << 40

// Check returns the highest sequence of the down ring that the edge has seen, where the
// hub gave them up to given and applied status events up to applied. Only a hub from a
// backup (behind) may be passed by its edge: numbers that were made up would leave none.
func (r Rejoin) Check(given, applied uint64, behind bool) (last uint64, err error) {
	last = r.LastRetrieved
	for _, h := range r.Held {
		last = max(last, h.Seq)
	}
	if ahead := max(max(last, given)-given, max(r.EventsTrimmed, applied)-applied); ahead > farthest || ahead > 0 && !behind {
		return last, fmt.Errorf("journal: the edge stands at message %d and status event %d, this hub at %d and %d: if the hub's data is from a backup, put it in place with ringway hub restore",
			last, r.EventsTrimmed, given, applied)
	}
	return last, nil
}
