// Package hubstore is the durable state of a hub that stands alone: package
// journal's Hub on the embedded store of package kv.
//
// Keys: a prefix byte, names with their length before them, numbers of eight
// octets, big-endian.
//
//	E edge kind              an edge: its epoch, journal instance, last sequence, applied event, released sequence, and see rejoin.go
//	Z                        when the store was restored from a backup
//	Q edge class n           the queue: id                  n counts one class of one edge
//	D edge seq               the down ring: id, after, order key
//	W edge seq               the up ring: message as it arrived
//	X edge seq               the up ring: result
//	H edge handset seq id    kept message as it arrived
//	C edge handset user      conversation: last use, number
//
//	M id                     a message: what it says, and for whom it is; written again when a kept one is given to somebody
//	S id                     a message: state, parts, history
//	R user ref               id, hash of the body
//
//	U user                   account
//	N user                   number of his last event, hour of it
//	e user n                 event: a state
//	i user n                 event: a message (both share one count)
//	u user n                 no client has taken message n
//	P user device            number up to which the device needs nothing more
//	r user device n          taken by the device, beyond that number
//
//	T m ms id                retention: message settled at ms
//	T e hour user            retention: number of the user's last event in that hour; empty: that of N
//
// All writes run one after the other on kv's committer goroutine; what is
// called "committer's" below belongs to it and needs no lock. Memory runs ahead of
// the disk until the group is synced: should that fail, the store is dead.
package hubstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

const (
	maxLive  = 20_000  // messages held in memory, so that the committer need not read them
	maxUsers = 100_000 // users' counters held in memory
)

// Options of Open. Dir and Node are required.
type Options struct {
	Dir    string
	FS     vfs.FS // nil: the disk
	Logger *zap.Logger
	Node   string // whose data this is

	KeepMessages time.Duration // how long messages stay once they are settled; 0: for good
	KeepEvents   time.Duration // how long users' events stay; 0: for good

	Now   func() time.Time         // nil: time.Now
	Slots func(edge string) uint32 // of the edge's down ring, for Record.Slots; nil: 255
	Fatal func(error)              // as kv.Options.Fatal
	// ReserveBytes is as kv.Options.ReserveBytes: Accept refuses below it.
	ReserveBytes int64
	QueueBytes   int                 // as kv.Options.QueueBytes: what callers wait for is ErrFull beyond it, what rings write is not
	Measures     journal.Measures    // nil: none
	Inline       bool                // as kv.Options.Inline
	Defer        func(commit func()) // as kv.Options.Defer
}

// Store implements journal.Hub.
type Store struct {
	opts Options
	db   *kv.DB
	log  *zap.Logger

	// Committer's.
	broken   error
	most     struct{ live, users int }
	restored uint64              // as restoredKey; 0: never
	live     map[string]*message // by id
	users    map[string]*user
	edges    map[string]*edge

	accounts, fresh atomic.Int64 // what Census tells; a group that fails ends the store

	mu        sync.Mutex
	undurable map[string]undurable // users with events that are being written
	changed   func([]string)
}

// user is what the committer knows of one.
type user struct {
	exists bool
	last   uint64 // number of the last event
	hour   uint64 // of the last event, since 1970
}

// undurable hides events that Pebble shows already but has not synced.
type undurable struct {
	first  uint64 // lowest number that is not durable
	writes int    // under way
}

var _ journal.Hub = (*Store)(nil)

// Open opens the store, or makes a new one.
func Open(opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Slots == nil {
		opts.Slots = func(string) uint32 { return 255 }
	}
	if opts.Measures == nil {
		opts.Measures = journal.NoMeasures{}
	}
	if err := notMoved(opts); err != nil {
		return nil, err
	}
	db, err := kv.Open(kv.Options{
		Dir: opts.Dir, FS: opts.FS, Logger: opts.Logger, Node: opts.Node, Fatal: opts.Fatal, ReserveBytes: opts.ReserveBytes,
		QueueBytes: opts.QueueBytes, Inline: opts.Inline, Defer: opts.Defer, Synced: opts.Measures.Synced, Corrupt: opts.Measures.Corrupt,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: opts, db: db, log: opts.Logger,
		live: map[string]*message{}, users: map[string]*user{}, edges: map[string]*edge{},
		undurable: map[string]undurable{}, changed: func([]string) {},
	}
	s.most.live, s.most.users = maxLive, maxUsers
	if err := firstError(s.loadRestored(db), s.loadEdges(), s.count()); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// Close ends what is under way and closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Watch implements journal.Hub.
func (s *Store) Watch(changed func(users []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = changed
}

// Space returns journal.ErrSpace, with the figures, while the disk is nearly full:
// nothing new is accepted then, what was accepted goes on.
func (s *Store) Space() error {
	if err := s.db.Space(); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrSpace, err)
	}
	return nil
}

// Census says how much the store holds. It costs nothing.
func (s *Store) Census() journal.Census {
	return journal.Census{Users: s.accounts.Load(), Fresh: s.fresh.Load()}
}

// count makes the census; later it is kept.
func (s *Store) count() error {
	of := func(prefix byte, n *atomic.Int64) error {
		return scanPrefix(s.db, key{prefix}, func(_, _ []byte) bool { n.Add(1); return true })
	}
	return firstError(of('U', &s.accounts), of('u', &s.fresh))
}

// noted counts an error that means that a record is damaged.
func (s *Store) noted(err error) error {
	if errors.Is(err, errShort) || errors.Is(err, proto.Error) {
		s.opts.Measures.Corrupt()
	}
	return err
}

// Stats are those of the database.
func (s *Store) Stats() kv.Stats { return s.db.Stats() }

// tx is one transaction. The first failed read stands in err and undoes all.
type tx struct {
	*kv.Tx
	s     *Store
	err   error
	grown []growth
	woken []*edge
}

// growth is how far one user's events go with this transaction.
type growth struct {
	user        string
	first, last uint64
}

// refusals are answers, decided before anything was written; any other error
// means that the store cannot be read.
func refusal(err error) bool {
	for _, e := range []error{journal.ErrFenced, journal.ErrFull, journal.ErrNoUser, journal.ErrRefConflict, errBadCall} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

var errBadCall = errors.New("hubstore: refused")

// The least time between the beginnings of two groups of writes: a lone write
// does not wait, and a busy hub spends fewer fsyncs. A caller waits for
// callSpacing at most; what the rings write has a round trip's time.
const (
	callSpacing = 2 * time.Millisecond
	ringSpacing = 8 * time.Millisecond
)

// update runs f on the committer and done when what it wrote is durable.
func (s *Store) update(f func(t *tx) error, done func(error)) {
	s.updateIn(s.db.Spaced(callSpacing), f, done)
}

// ringWrites are bounded by the rings' slots, and a ring that has given a write up
// cannot go on: they are taken however many others wait.
func (s *Store) ringWrites() kv.View { return s.db.Spaced(ringSpacing).Exempt() }

func (s *Store) updateIn(view kv.View, f func(t *tx) error, done func(error)) {
	t := &tx{s: s}
	view.Update(func(k *kv.Tx) error {
		if s.broken != nil {
			return s.broken
		}
		t.Tx = k
		err := f(t)
		if t.err != nil {
			err = t.err
		}
		if err != nil && !refusal(err) {
			s.broken = fmt.Errorf("%w: %w", journal.ErrFailed, err) // memory and disk differ now
			if !errors.Is(err, kv.ErrFailed) {
				s.broken = fmt.Errorf("%w (if it comes again after a start: move data_dir away and run ringway hub repair)", s.broken)
			}
			s.log.Error("the store cannot be read", zap.Error(err))
			s.opts.Measures.Corrupt()
			if s.opts.Fatal != nil {
				s.opts.Fatal(s.broken)
			}
			return s.broken
		}
		if err == nil {
			s.hide(t.grown)
		}
		return err
	}, func(err error) {
		switch {
		case err == nil:
			s.published(t)
		case errors.Is(err, kv.ErrBusy):
			err = fmt.Errorf("%w: %w", journal.ErrFull, err)
		case errors.Is(err, kv.ErrFailed):
			err = fmt.Errorf("%w: %w", journal.ErrFailed, err)
		}
		if done != nil {
			done(err)
		}
	})
}

// wait is update for those who may block: never on a callback's goroutine.
func (s *Store) wait(f func(t *tx) error) error {
	return s.db.Wait(func(done func(error)) { s.update(f, done) })
}

func (s *Store) hide(grown []growth) {
	if len(grown) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range grown {
		u, hidden := s.undurable[g.user]
		if !hidden {
			u.first = g.first
		}
		u.writes++
		s.undurable[g.user] = u
	}
}

func (s *Store) published(t *tx) {
	if len(t.grown) > 0 {
		users := make([]string, len(t.grown))
		s.mu.Lock()
		for i, g := range t.grown {
			users[i] = g.user
			u := s.undurable[g.user]
			u.first = g.last + 1
			if u.writes--; u.writes == 0 {
				delete(s.undurable, g.user)
			} else {
				s.undurable[g.user] = u
			}
		}
		changed := s.changed
		s.mu.Unlock()
		changed(users)
	}
	for _, e := range t.woken {
		e.callWake()
	}
}

func (t *tx) get(k key) ([]byte, bool) {
	value, ok, err := t.Get(k)
	t.note(err)
	return value, ok
}

func (t *tx) note(err error) {
	if err != nil && t.err == nil {
		t.err = err
	}
}

// user returns what is known of name; never nil.
func (t *tx) user(name string) *user {
	if u := t.s.users[name]; u != nil {
		return u
	}
	u := &user{}
	_, u.exists = t.get(keyOf('U', name))
	if b, ok := t.get(keyOf('N', name)); ok {
		r := reader{b: b}
		u.last, u.hour = r.uint(), r.uint()
		t.note(r.err)
	}
	evict(t.s.users, t.s.most.users)
	t.s.users[name] = u
	return u
}

// grow gives the user's next event its number.
func (t *tx) grow(name string) uint64 {
	u := t.user(name)
	t.rollHour(name, u)
	u.last++
	t.saveUser(name, u)
	i := slices.IndexFunc(t.grown, func(g growth) bool { return g.user == name })
	if i < 0 {
		t.grown = append(t.grown, growth{user: name, first: u.last, last: u.last})
	} else {
		t.grown[i].last = u.last
	}
	return u.last
}

func (t *tx) saveUser(name string, u *user) {
	var w writer
	w.uint(u.last)
	w.uint(u.hour)
	t.Set(keyOf('N', name), w)
}

// rollHour sees to it that the retention index has the present hour of a user.
func (t *tx) rollHour(name string, u *user) {
	hour := uint64(t.s.opts.Now().Unix()) / 3600
	if hour <= u.hour {
		return
	}
	if u.hour != 0 {
		var w writer
		w.uint(u.last)
		t.Set(hourKey(u.hour, name), w)
	}
	t.Set(hourKey(hour, name), nil)
	u.hour = hour
	t.saveUser(name, u)
}

func hourKey(hour uint64, name string) key { return key{'T', 'e'}.number(hour).name(name) }

// message returns a message; nil if there is none.
func (t *tx) message(id []byte) *message {
	if m := t.s.live[string(id)]; m != nil {
		return m
	}
	body, ok := t.get(key{'M'}.raw(id))
	if !ok {
		return nil
	}
	state, ok := t.get(key{'S'}.raw(id))
	if !ok {
		return nil
	}
	m, err := decodeMessage(body, state)
	if err != nil {
		t.note(err)
		return nil
	}
	t.hold(m)
	return m
}

// hold keeps a message in memory while more is to come.
func (t *tx) hold(m *message) {
	evict(t.s.live, t.s.most.live)
	t.s.live[string(m.Message.Id)] = m
}

// create writes a message for the first time.
func (t *tx) create(m *message) {
	body, err := m.body()
	t.note(err)
	t.Set(key{'M'}.raw(m.Message.Id), body)
	t.hold(m)
	t.save(m)
}

// save writes what has changed about a message.
func (t *tx) save(m *message) {
	id := m.Message.Id
	if m.Final {
		t.settle(m)
	}
	t.Set(key{'S'}.raw(id), m.state())
	if m.Final {
		delete(t.s.live, string(id))
	}
}

// settle starts the time that a message is kept: at most a receipt is expected
// any more. The caller saves it.
func (t *tx) settle(m *message) {
	if !m.indexed {
		m.indexed = true
		t.Set(settledKey(t.s.opts.Now(), m.Message.Id), nil)
	}
}

func settledKey(at time.Time, id []byte) key {
	return key{'T', 'm'}.number(uint64(at.UnixMilli())).raw(id)
}

// tell writes the message's state into its sender's events. Call it once for each
// state that was reached.
func (t *tx) tell(m *message, at time.Time) {
	if took, first := m.Settles(at); first {
		t.s.opts.Measures.Settled(m.Edge, m.goesDown(), m.State, took)
	}
	from := m.Message.From
	if m.Message.Kind == messages.Message_NOTICE || from == "" || from[0] == '+' {
		return
	}
	n := t.grow(from)
	t.Set(keyOf('e', from).number(n), encodeStateEvent(journal.UserEvent{At: at, ID: m.Message.Id, State: m.State, Ref: m.Ref}))
}

// evict makes room in a cache: whatever falls out is on disk.
func evict[V any](cache map[string]V, most int) {
	for k := range cache {
		if len(cache) < most {
			return
		}
		delete(cache, k)
	}
}
