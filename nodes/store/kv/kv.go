// Package kv is an ordered key-value store on Pebble whose writes are durable
// when their callback runs. Waiting writes share one batch and one fsync:
//
//	Commit ──┐
//	Update ──┼──▶ queue ──▶ committer: one group ──▶ Pebble, WAL fsync ──▶ done, done, done
//	Commit ──┘              (what waits when the group before is done)
//
// Writes take effect, and their callbacks run, in the order of the calls. The hub's
// store and the edge's journal are built on it; what the keys mean is theirs.
package kv

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

var (
	// ErrBusy means that more than Options.QueueBytes wait for the disk. The
	// write was not done; the caller slows down or refuses its own caller. Writes
	// of View.Exempt never meet it.
	ErrBusy = errors.New("kv: too many writes wait for the disk")

	// ErrFailed means that the disk failed. Whether the write of this callback is
	// durable is unknown, later ones are not tried: a WAL that could not be synced
	// cannot be trusted again. The process must exit and be started anew.
	ErrFailed = errors.New("kv: the store has failed")

	// ErrClosed means that the store was closed before.
	ErrClosed = errors.New("kv: the store is closed")
)

const (
	defaultCacheBytes = 32 << 20
	defaultQueueBytes = 64 << 20

	// maxGroupBytes keeps a group far below half a memtable, from where Pebble
	// would treat it as a table of its own.
	maxGroupBytes = 4 << 20

	flushWithin = 3 * time.Second // at Close

	// updateBytes is what an Update counts for in the queue: what it will write
	// is not known before it runs.
	updateBytes = 1 << 10
)

// Options of Open. Dir and Node are required.
type Options struct {
	Dir        string      // created if missing
	FS         vfs.FS      // nil: the disk
	Logger     *zap.Logger // nil: none
	Node       string      // whose data this is, e.g. "hub" or "edge/manila-1"
	CacheBytes int64       // of blocks read; 0 means 32 MB

	// QueueBytes is the most bytes of writes waiting or being written, an Update
	// counting for 1 KB; beyond it ErrBusy. Writes of View.Exempt count and are taken
	// all the same. 0 means 64 MB.
	QueueBytes int

	// ReserveBytes must be free on the disk, or Space says that it is full. 0 means
	// a twentieth of the file system and 256 MB at most; negative: none.
	ReserveBytes int64

	// Fatal is called once, from any goroutine, when the disk has failed and
	// before a callback hears of it. It should end the process at once, and must
	// not wait for callbacks or for Close. If it returns, or is nil, every call
	// fails with ErrFailed; but where Pebble cannot go on (a WAL cannot be begun,
	// the manifest cannot be written) the process then ends with Pebble's panic.
	Fatal func(error)

	// Synced is called with how long it took to write and sync a group, Corrupt when
	// damage is met; neither may block. nil: nobody asks.
	Synced  func(took time.Duration)
	Corrupt func()

	// Inline commits in the caller, one write at a time; callbacks run before
	// Commit and Update return. For single-threaded simulations.
	Inline bool

	// Defer takes the place of the committer's goroutine, for single-threaded
	// simulations: it is called when writes begin to wait, and has commit called
	// once, later, which writes all that waits as a group and runs the callbacks.
	Defer func(commit func())

	// Lead lets a caller whose write has no time write the group itself when nobody
	// else does: it saves waking another goroutine, and Commit and Update wait for
	// the disk. For a store whose one important writer writes one at a time.
	Lead bool

	// noStats is for tests that leave a damaged store open: Pebble's collector of
	// statistics tries a table that it cannot open again and again, without a pause.
	noStats bool
}

// DB is the store. Its methods may be called by any goroutine.
type DB struct {
	opts  Options
	log   *zap.Logger
	lock  *pebble.Lock
	inner *pebble.DB

	committing sync.Mutex // held while a group is written, for Inline and Close
	committer  sync.WaitGroup
	readers    sync.WaitGroup
	failOnce   sync.Once
	space      space
	told       atomic.Int64 // when it was last said that something could not be flushed, in ns since 1970

	mu      sync.Mutex
	arrived *sync.Cond // queue or closed has changed
	queue   []request
	queued  int           // bytes in queue and in the group being written
	least   time.Duration // space of the queue's
	late    bool          // Options.Defer has been called and not yet called back
	began   time.Time     // of the last group
	alarm   *time.Timer   // wakes the committer when a spaced write is due
	writing bool          // somebody writes a group and tells what became of it
	open    bool
	closed  bool
	failed  error // wraps ErrFailed
	stats   Stats
}

// Stats are counts since Open; QueuedBytes is of this moment.
type Stats struct {
	Commits     uint64        // writes that are durable, Updates included
	Groups      uint64        // fsyncs they took
	Busy        uint64        // writes refused with ErrBusy
	Writing     time.Duration // spent in writing and syncing the groups
	QueuedBytes int
}

type request struct {
	batch  *Batch          // or
	update func(*Tx) error //
	done   func(error)     // nil: nobody asks
	bytes  int             // counted in queued
	space  time.Duration   // to the beginning of the group before
	exempt bool            // from QueueBytes
	err    error           // the update's own
}

// Batch collects writes that become durable together. The zero value is empty and
// ready. Once given to Commit it belongs to the store until its callback runs.
type Batch struct{ inner pebble.Batch }

// Set writes value under key; both are copied.
func (b *Batch) Set(key, value []byte) { _ = b.inner.Set(key, value, nil) } // fails only for an indexed batch

// Delete removes key; it need not exist.
func (b *Batch) Delete(key []byte) { _ = b.inner.Delete(key, nil) }

// DeleteRange removes the keys from <= key < to; nothing unless from < to.
func (b *Batch) DeleteRange(from, to []byte) {
	if bytes.Compare(from, to) < 0 {
		_ = b.inner.DeleteRange(from, to, nil)
	}
}

// Len is the size in bytes, as it counts towards Options.QueueBytes.
func (b *Batch) Len() int { return b.inner.Len() }

// Reset empties the batch for another use.
func (b *Batch) Reset() { b.inner.Reset() }

// Commit writes b and calls done, in the order of all Commit and Update calls, once
// it is durable. It does not wait, except with Options.Inline. An empty batch is
// done when everything before it is. done must not block: it holds up all others.
// ErrBusy, ErrClosed and ErrFailed may be told before Commit returns, on the
// caller's goroutine.
func (d *DB) Commit(b *Batch, done func(error)) {
	d.submit(request{batch: b, done: done, bytes: b.Len()})
}

// Update runs f in its turn: f sees every earlier write, no later one, and nothing
// changes while it runs. What it wrote becomes durable before done is called with
// nil, in the order and on the terms of Commit. An error of f undoes f's writes,
// those of no other, and is handed to done as it is. f must not block, call the
// store, or keep tx.
func (d *DB) Update(f func(tx *Tx) error, done func(error)) {
	d.submit(request{update: f, done: done, bytes: updateBytes})
}

// View is the store for writes of one kind. Order is as ever that of all calls.
type View struct {
	db     *DB
	space  time.Duration
	exempt bool
}

// Spaced returns a view for writes that have time: they do not begin a group sooner
// than a given time after the one before, unless they go with a write that has
// none. A lone write does not wait; many share fewer fsyncs.
func (d *DB) Spaced(space time.Duration) View { return View{db: d, space: space} }

// Exempt returns a view for writes that finish what was taken on, and whose number
// something else bounds: they are never refused with ErrBusy, so that nobody has to
// try them again out of their order. What brings new work is not among them.
func (v View) Exempt() View {
	v.exempt = true
	return v
}

// Commit is DB.Commit.
func (v View) Commit(b *Batch, done func(error)) {
	v.db.submit(request{batch: b, done: done, bytes: b.Len(), space: v.space, exempt: v.exempt})
}

// Update is DB.Update.
func (v View) Update(f func(tx *Tx) error, done func(error)) {
	v.db.submit(request{update: f, done: done, bytes: updateBytes, space: v.space, exempt: v.exempt})
}

// Stats counts what was written.
func (d *DB) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.QueuedBytes = d.queued
	return s
}

// Close refuses new writes, commits those that wait, waits for scans to end and
// gives the directory free. After a failure it does none of it and returns
// ErrFailed: the process must exit, and until then nobody else may use the directory.
// It must not be called from a callback or a scan.
func (d *DB) Close() error {
	d.mu.Lock()
	refused := d.refusal()
	d.closed = true
	d.arrived.Broadcast()
	if refused != nil {
		d.mu.Unlock()
		if d.opts.Defer != nil && errors.Is(refused, ErrFailed) {
			d.abandon()
		}
		return refused
	}
	d.mu.Unlock()

	d.committer.Wait()
	if d.opts.Defer != nil {
		d.commitWaiting()
	}
	d.readers.Wait()
	d.committing.Lock()
	defer d.committing.Unlock()
	d.mu.Lock()
	failed := d.failed
	d.mu.Unlock()
	if failed != nil {
		return failed
	}
	flushed := d.flush()
	err := d.inner.Close()
	if err == nil && flushed {
		err = seal(d.opts.FS, d.opts.Dir, false)
	}
	if err := errors.Join(err, d.lock.Close()); err != nil {
		return fmt.Errorf("kv: close %s: %w", d.opts.Dir, err)
	}
	return nil
}

// abandon ends Pebble's goroutines after a failure. A real process ends with them; a
// simulated one has to leave nothing behind.
func (d *DB) abandon() {
	defer func() { _ = recover() }() // Pebble's last words
	_ = d.inner.Close()
	_ = d.lock.Close()
}

// flush has nothing stand in the WAL alone. A disk that cannot take it keeps the
// WAL, and the directory stays without a seal.
func (d *DB) flush() bool {
	flushed, err := d.inner.AsyncFlush()
	if err != nil {
		d.log.Warn("the store could not be flushed before it was closed", zap.Error(err))
		return false
	}
	overdue := time.NewTimer(flushWithin)
	defer overdue.Stop()
	select {
	case <-flushed:
		return true
	case <-overdue.C:
		d.log.Warn("the store was not flushed in time before it was closed")
		return false
	}
}

func (d *DB) submit(r request) {
	d.mu.Lock()
	err := d.refusal()
	if err == nil && !r.exempt && d.queued > 0 && d.queued+r.bytes > d.opts.QueueBytes {
		d.stats.Busy++
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrBusy, d.queued, d.opts.QueueBytes)
	}
	if err != nil {
		d.mu.Unlock()
		r.tell(err)
		return
	}
	d.queued += r.bytes
	if d.opts.Inline {
		d.mu.Unlock()
		d.write([]request{r})
		return
	}
	if len(d.queue) == 0 {
		d.least = r.space
	}
	d.least = min(d.least, r.space)
	d.queue = append(d.queue, r)
	if d.opts.Lead && d.opts.Defer == nil && !d.writing && r.space == 0 {
		group := d.cut()
		d.mu.Unlock()
		d.write(group)
		d.written()
		return
	}
	d.arrived.Signal()
	d.unlockAndDefer()
}

// unlockAndDefer has what waits committed where there is no committer.
func (d *DB) unlockAndDefer() {
	ask := d.opts.Defer != nil && !d.late && len(d.queue) > 0
	d.late = d.late || ask
	d.mu.Unlock()
	if ask {
		d.opts.Defer(d.commitWaiting)
	}
}

// commitWaiting is a turn of the committer's, for Options.Defer.
func (d *DB) commitWaiting() {
	d.mu.Lock()
	d.late = false
	if len(d.queue) == 0 {
		d.mu.Unlock()
		return
	}
	group := d.cut()
	d.mu.Unlock()
	d.write(group)
	d.mu.Lock()
	d.writing = false
	d.unlockAndDefer()
}

// Wait runs write, which is to call Commit or Update with done, and returns what
// done was told. Never on a callback's goroutine.
func (d *DB) Wait(write func(done func(error))) error {
	told := make(chan error, 1)
	write(func(err error) { told <- err })
	for d.opts.Defer != nil && len(told) == 0 {
		d.commitWaiting()
	}
	return <-told
}

// refusal is why nothing can be done any more; the caller holds mu.
func (d *DB) refusal() error {
	switch {
	case d.failed != nil:
		return d.failed
	case d.closed:
		return ErrClosed
	}
	return nil
}

// commitLoop is the committer: it writes group after group until the store is
// closed and the queue is empty.
func (d *DB) commitLoop() {
	for {
		group := d.await()
		if group == nil {
			return
		}
		d.write(group)
		d.written()
	}
}

// written lets the next group begin: callbacks run in the order of the calls.
func (d *DB) written() {
	d.mu.Lock()
	d.writing = false
	d.arrived.Signal()
	d.mu.Unlock()
}

// await waits until a group may be written, and takes it; nil once closed.
func (d *DB) await() []request {
	d.mu.Lock()
	defer d.mu.Unlock()
	for wait := d.due(); d.writing || wait != 0; wait = d.due() {
		switch {
		case d.writing:
		case d.closed && len(d.queue) == 0:
			return nil
		case wait > 0:
			d.alarm.Reset(wait)
		}
		d.arrived.Wait()
	}
	return d.cut()
}

// cut takes as many of the queue as fit in a group. The caller holds mu, writes
// them and says when they are written.
func (d *DB) cut() []request {
	d.writing, d.began = true, time.Now()
	n, size := 1, d.queue[0].bytes
	for n < len(d.queue) && size+d.queue[n].bytes <= maxGroupBytes {
		size += d.queue[n].bytes
		n++
	}
	group := d.queue[:n:n]
	if d.queue = d.queue[n:]; len(d.queue) == 0 {
		d.queue = nil
	} else {
		d.least = 0 // a group was full: there is no time
	}
	return group
}

// due is how long the next group has to wait: 0 not at all, negative until
// something arrives. The caller holds mu.
func (d *DB) due() time.Duration {
	if len(d.queue) == 0 {
		return -1
	}
	if d.closed {
		return 0
	}
	return max(0, d.least-time.Since(d.began))
}

// write makes group durable and tells everybody in it.
func (d *DB) write(group []request) {
	size, err := d.writeGroup(group)
	d.mu.Lock()
	d.queued -= size
	d.mu.Unlock()
	for _, r := range group {
		if r.err != nil && err == nil {
			r.tell(r.err)
		} else {
			r.tell(err)
		}
	}
}

func (d *DB) writeGroup(group []request) (size int, err error) {
	d.committing.Lock()
	defer d.committing.Unlock()
	for _, r := range group {
		size += r.bytes
	}
	d.mu.Lock()
	failed := d.failed
	d.mu.Unlock()
	if failed != nil {
		return size, failed
	}
	b, err := d.assemble(group)
	if err != nil {
		return size, d.fail(err)
	}
	begun, writes := time.Now(), b.Count()
	if writes > 0 {
		err = d.apply(b)
	}
	if err != nil {
		return size, d.fail(err)
	}
	_ = b.Close()
	took := time.Since(begun)
	if writes > 0 && d.opts.Synced != nil {
		d.opts.Synced(took)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range group {
		if r.err == nil {
			d.stats.Commits++
		}
	}
	if writes > 0 {
		d.stats.Groups++
		d.stats.Writing += took
	}
	return size, d.failed
}

// assemble puts the group's writes in one batch, running its updates against it.
func (d *DB) assemble(group []request) (*pebble.Batch, error) {
	a := assembly{db: d.inner, b: d.inner.NewBatch()}
	for i := range group {
		r := &group[i]
		if r.batch != nil {
			if err := a.b.Apply(&r.batch.inner, nil); err != nil {
				return nil, err
			}
			continue
		}
		count, length := a.b.Count(), a.b.Len()
		tx := Tx{a: &a}
		if r.err = r.update(&tx); r.err == nil {
			r.err = tx.err
		}
		if r.err == nil || a.b.Count() == count {
			continue
		}
		if err := a.undo(count, length); err != nil {
			return nil, err
		}
	}
	return a.b, nil
}

// assembly is a group's batch on its way. It has an index once somebody reads it: many
// groups only write.
type assembly struct {
	db *pebble.DB
	b  *pebble.Batch
}

func (a *assembly) indexed() (*pebble.Batch, error) {
	if !a.b.Indexed() {
		indexed := a.db.NewIndexedBatch()
		if err := indexed.Apply(a.b, nil); err != nil {
			return nil, err
		}
		a.b = indexed
	}
	return a.b, nil
}

// undo leaves the first count writes, of length octets.
func (a *assembly) undo(count uint32, length int) error {
	undone := a.db.NewBatch()
	if a.b.Indexed() {
		undone = a.db.NewIndexedBatch()
	}
	if count > 0 {
		before := bytes.Clone(a.b.Repr()[:length])
		batchrepr.SetCount(before, count)
		var plain pebble.Batch
		if err := errors.Join(plain.SetRepr(before), undone.Apply(&plain, nil)); err != nil {
			return err
		}
	}
	a.b = undone
	return nil
}

// apply writes and syncs. Pebble does not return a WAL's error: it calls
// Logger.Fatalf, which panics here.
func (d *DB) apply(b *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	return d.inner.Apply(b, pebble.Sync)
}

// fail marks the store as failed, for good, and says so once.
func (d *DB) fail(cause error) error {
	d.failOnce.Do(func() {
		d.mu.Lock()
		d.failed = fmt.Errorf("%w: %s: %w", ErrFailed, d.opts.Dir, cause)
		err := d.failed
		d.mu.Unlock()
		d.log.Error("the store has failed", zap.String("data_dir", d.opts.Dir), zap.Error(cause))
		if d.opts.Fatal != nil {
			d.opts.Fatal(err)
		}
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

func (r request) tell(err error) {
	if r.done != nil {
		r.done(err)
	}
}
