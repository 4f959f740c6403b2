// Package edgestore is the edge's journal (journal.Edge) on an embedded
// key-value store. Numbers are 8 octets, big endian, so that keys sort by them;
// names in keys are preceded by their length in 2 octets.
//
//	minstance              16 random octets
//	mepoch                 number: highest epoch seen
//	mreleased              number: of the down mirror
//	mretrieved             number: LastRetrieved of the up ring
//	mtrimmed               number: status events up to it are forgotten
//	mowner                 who had the rings under that epoch, as the hub named itself
//	mhubs                  hubs (JSON, hubs.go): heard of
//	mrestored              anything: this journal is from a backup
//	mcount                 number: the n of c and p below, last given
//	mhellos                number: Hellos up to it may have been said
//	d<seq>                 Data: entry of the down mirror
//	r<seq>                 Result of that entry
//	t<id>                  Task (codec.go): unfinished, in a slot or in the retry queue
//	k<id>                  Message of a deferred task: the retry queue
//	q<n>                   Message: the queue behind the up ring
//	u<seq>                 Data: entry of the up ring
//	e<number>              Event of the status log
//	c<smsc><smsc id><n>    Sent (codec.go): a receipt is expected
//	p<smsc><smsc id><n>    Report (JSON): parked until the part's id is known
//	x<unix ms><key of c>   when it expires; y<unix ms><key of p> likewise
//	i<name>                the inlet's notes
//
// All writes go through one committer in the order of the calls. What is
// counted in memory changes with the write, on the committer's goroutine.
package edgestore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"google.golang.org/protobuf/proto"
)

// Options of Open.
type Options struct {
	KV  kv.Options       // Dir and Node are required, see there
	Now func() time.Time // nil: time.Now
}

// mostHeads is how many messages of the up queue stay in memory: a ring that has room
// takes what came in just now without looking for it on the disk.
const mostHeads = 512

// Store implements journal.Edge. Its methods may be called by any goroutine.
type Store struct {
	db       *kv.DB
	now      func() time.Time
	instance []byte
	corrupt  func()      // nil: nobody asks
	fatal    func(error) // nil: nobody ends the process

	restored  atomic.Bool
	hellos    atomic.Uint64 // said, or left out
	epoch     atomic.Uint64
	owner     atomic.Pointer[[]byte] // of that epoch
	lastEvent atomic.Uint64          // durable
	trimmed   atomic.Uint64
	waiting   atomic.Int64  // in the up ring's queue, those being written included
	joined    atomic.Uint64 // how often the journal has joined its hub anew

	// Of the committer's goroutine.
	events     uint64            // last number given
	head, tail uint64            // of the up queue: head < n <= tail
	heads      [][]byte          // the first of it, from head+1 on: what was queued while all of it was here
	retrieved  uint64            // of the up ring
	last       map[string]uint64 // order key to last unprocessed sequence, up ring
	count      uint64
	parked     int

	mu         sync.Mutex
	deferred   map[string]bool
	wakeQueue  func()
	wakeEvents func()
}

var _ journal.Edge = (*Store)(nil)

// Open opens the journal and makes it, with a new instance, where there is none.
func Open(opts Options) (*Store, error) {
	db, err := kv.Open(opts.KV)
	if err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{db: db, now: opts.Now, corrupt: opts.KV.Corrupt, fatal: opts.KV.Fatal, last: map[string]uint64{}, deferred: map[string]bool{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("edgestore: %w", errors.Join(err, db.Close()))
	}
	return s, nil
}

// What the SMSC waits for (outcomes, intents, messages from handsets) is written
// at once; the rest goes along, or waits a little: each fsync of its own would
// hold up the session that stops and waits.
//
// What the SMSC brings is refused while too many writes wait for the disk
// (journal.ErrFull). What belongs to a message that was taken on is not: slots and
// the retry queue bound it, and a ring that has given a write up cannot go on.
const (
	soon     = 6 * time.Millisecond
	whenever = 20 * time.Millisecond
)

func (s *Store) owed(space time.Duration) kv.View { return s.db.Spaced(space).Exempt() }

func (s *Store) load() error {
	var err error
	s.instance, err = s.makeInstance()
	number := func(name string) uint64 {
		value, found, e := s.db.Get(meta(name))
		if err == nil {
			err = e
		}
		if !found || len(value) != 8 {
			return 0
		}
		return binary.BigEndian.Uint64(value)
	}
	s.epoch.Store(number("epoch"))
	if owner, found, e := s.db.Get(meta("owner")); e != nil {
		err = errors.Join(err, e)
	} else if found {
		s.owner.Store(&owner)
	}
	s.trimmed.Store(number("trimmed"))
	s.retrieved = number("retrieved")
	s.count = number("count")
	if _, found, e := s.db.Get(meta("restored")); e != nil {
		err = errors.Join(err, e)
	} else {
		s.restored.Store(found)
	}
	said := number("hellos")
	if err != nil {
		return err
	}
	s.hellos.Store(said)
	if err := s.db.Wait(func(done func(error)) { s.reserveHellos(said, done) }); err != nil {
		return err
	}

	s.events = s.trimmed.Load()
	err = s.db.ScanReverse([]byte{'e'}, []byte{'e' + 1}, func(key, _ []byte) bool {
		s.events = max(s.events, binary.BigEndian.Uint64(key[1:]))
		return false
	})
	s.lastEvent.Store(s.events)
	err = errors.Join(err, s.db.Scan([]byte{'q'}, []byte{'q' + 1}, func(key, _ []byte) bool {
		s.head = binary.BigEndian.Uint64(key[1:]) - 1
		return false
	}), s.db.ScanReverse([]byte{'q'}, []byte{'q' + 1}, func(key, _ []byte) bool {
		s.tail = binary.BigEndian.Uint64(key[1:])
		return false
	}))
	s.waiting.Store(int64(s.tail - s.head))
	err = errors.Join(err, s.db.Scan([]byte{'y'}, []byte{'y' + 1}, func(_, _ []byte) bool {
		s.parked++
		return true
	}), s.db.Scan([]byte{'k'}, []byte{'k' + 1}, func(key, _ []byte) bool {
		s.deferred[string(key[1:])] = true
		return true
	}))
	held, e := s.entries('u')
	for _, h := range held {
		s.last[orderKey(h.Message)] = h.Seq
	}
	return errors.Join(err, e)
}

func (s *Store) makeInstance() ([]byte, error) {
	instance, found, err := s.db.Get(meta("instance"))
	if err != nil || found {
		return instance, err
	}
	instance = make([]byte, 16)
	if _, err := rand.Read(instance); err != nil {
		return nil, err
	}
	var b kv.Batch
	b.Set(meta("instance"), instance)
	return instance, s.db.Wait(func(done func(error)) { s.db.Commit(&b, done) })
}

// Close commits what waits and closes.
func (s *Store) Close() error { return s.db.Close() }

// Space returns journal.ErrSpace, with the figures, while the disk is nearly full:
// the SMSC keeps its messages then, and the hub its. With journal.ErrScarce the SMSC
// keeps its receipts, too.
func (s *Store) Space() error {
	switch err := s.db.Space(); {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrScarce):
		return fmt.Errorf("%w: %w: %w", journal.ErrSpace, journal.ErrScarce, err)
	default:
		return fmt.Errorf("%w: %w", journal.ErrSpace, err)
	}
}

// Stats counts commits and the fsyncs they took.
func (s *Store) Stats() kv.Stats { return s.db.Stats() }

// Instance implements journal.Edge.
func (s *Store) Instance() []byte { return s.instance }

// HighestEpoch implements journal.Edge.
func (s *Store) HighestEpoch() uint64 { return s.epoch.Load() }

// EpochOwner implements journal.Edge.
func (s *Store) EpochOwner() []byte {
	if owner := s.owner.Load(); owner != nil {
		return *owner
	}
	return nil
}

// NextHello implements journal.Edge.
func (s *Store) NextHello() uint64 { return s.hellos.Add(1) }

// HellosAbove implements journal.Edge.
func (s *Store) HellosAbove(n uint64) {
	if n > s.hellos.Load() {
		n += helloes // what was heard last need not be what was said last
		s.hellos.Store(n)
		s.reserveHellos(n, func(error) {})
	}
}

// helloes is more than one start says.
const helloes = 1 << 32

// reserveHellos has the next start number its Hellos above those of this one.
func (s *Store) reserveHellos(said uint64, done func(error)) {
	var b kv.Batch
	b.Set(meta("hellos"), be64(said+helloes))
	s.owed(0).Commit(&b, done)
}

// SetHighestEpoch implements journal.Edge.
func (s *Store) SetHighestEpoch(epoch uint64, owner []byte, done func(error)) {
	var highest uint64
	s.owed(0).Update(func(tx *kv.Tx) error {
		value, found, err := tx.Get(meta("epoch"))
		if err != nil {
			return err
		}
		if found {
			highest = binary.BigEndian.Uint64(value)
		}
		if epoch < highest {
			return fmt.Errorf("edgestore: epoch %d, but %d was seen: %w", epoch, highest, journal.ErrFenced)
		}
		tx.Set(meta("epoch"), be64(epoch))
		tx.Set(meta("owner"), owner)
		return nil
	}, func(err error) {
		if err == nil {
			s.epoch.Store(epoch)
			s.owner.Store(&owner)
		}
		done(s.failure(err))
	})
}

// failure puts a store's error into the journal's terms.
func (s *Store) failure(err error) error {
	s.noted(err)
	switch {
	case err == nil, errors.Is(err, journal.ErrFenced), errors.Is(err, journal.ErrFull):
		return err
	case errors.Is(err, kv.ErrBusy):
		return fmt.Errorf("%w: %w", journal.ErrFull, err)
	default:
		return fmt.Errorf("%w: %w", journal.ErrFailed, err)
	}
}

func meta(name string) []byte { return append([]byte{'m'}, name...) }

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func numbered(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

func named(kind byte, name []byte) []byte { return append([]byte{kind}, name...) }

// marshal cannot fail for what this package writes: texts were checked to be
// UTF-8 where they entered.
func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("edgestore: encode %T: %v", m, err) //nolint:errorlint // no damage (isDamage)
	}
	return b, nil
}
