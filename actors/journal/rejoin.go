package journal

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
