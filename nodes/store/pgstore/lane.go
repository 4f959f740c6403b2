package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
)

const (
	maxGroup   = 512    // writes of one transaction
	maxWaiting = 20_000 // writes of users in one lane

	// The least time between the beginnings of two transactions of a lane: a lone
	// write does not wait, and a busy hub spends fewer of them.
	callSpacing = 2 * time.Millisecond
	ringSpacing = 8 * time.Millisecond
)

// op is one write.
type op struct {
	// need says what do is going to ask for; it may run more than once. nil: nothing.
	need func(t *tx)
	// users are those whose events do may add to; not known: what is needed must be
	// read first. nil: none.
	users func(t *tx) (names []string, known bool)
	// do applies it to what was read. It may run more than once, and writes to
	// nothing but t and its own answer. A refusal comes before any change.
	do    func(t *tx) error
	done  func(error) // nil: nobody waits
	until time.Time   // zero: tried until it works or the store is closed
	from  string      // whose order it must keep; "": nobody's
	slow  bool        // may take long

	err      error
	answered atomic.Bool
}

func (o *op) answer(err error) {
	if !o.answered.Swap(true) && o.done != nil {
		o.done(err)
	}
}

// lane commits writes in their order, one group after the other.
//
// A transaction begins by setting the lane's marker to the number of its group. When
// the connection breaks before COMMIT was answered, the group is tried again under
// the same number: the marker says whether it was committed, and is locked as long as
// the lost transaction lives.
type lane struct {
	s       *Store
	name    string // of its marker: no other lane of any hub has it
	rings   *rings // nil: users'
	spacing time.Duration
	most    int   // 0: no limit
	shard   int16 // of queue_counts: lanes of one hub do not wait for each other's row

	mu      sync.Mutex
	running bool
	waiting []*op
	doing   []*op

	// Its goroutine's.
	group int64
	begun time.Time
}

// write hands a write to the lane.
func (l *lane) write(o *op) {
	if err := l.enqueue(o); err != nil {
		o.answer(err)
	}
}

func (l *lane) enqueue(o *op) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most > 0 && len(l.waiting) >= l.most {
		return fmt.Errorf("%w: %d writes wait for the database", journal.ErrFull, l.most)
	}
	if !l.running {
		if !l.s.start(l) {
			return ErrClosed
		}
		l.running = true
		go l.run()
	}
	l.waiting = append(l.waiting, o)
	return nil
}

// run works until nothing waits.
func (l *lane) run() {
	defer l.s.running.Done()
	for {
		if wait := l.spacing - time.Since(l.begun); wait > 0 {
			select {
			case <-time.After(wait):
			case <-l.s.ctx.Done():
			}
		}
		l.mu.Lock()
		n := min(len(l.waiting), maxGroup)
		l.doing = l.waiting[:n:n]
		if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
			l.waiting = nil
		}
		if n == 0 {
			l.running = false
			l.s.ended(l)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		l.begun = time.Now()
		l.commit(l.doing)
	}
}

// expire answers those whose patience is at an end, and what the same sender wrote
// after: it would come before what he writes again, here or at another hub.
func (l *lane) expire(now time.Time) {
	l.mu.Lock()
	var late []*op
	behind := map[string]bool{}
	for _, ops := range [][]*op{l.doing, l.waiting} {
		for _, o := range ops {
			if o.until.IsZero() || o.answered.Load() || !now.After(o.until) && !behind[o.from] {
				continue
			}
			late = append(late, o)
			if o.from != "" {
				behind[o.from] = true
			}
		}
	}
	l.mu.Unlock()
	for _, o := range late {
		why := l.s.Ready()
		if why == nil {
			why = fmt.Errorf("%w in time: it is busy", ErrAway)
		}
		o.answer(why)
	}
}

// commit writes a group, however long the database is away.
func (l *lane) commit(ops []*op) {
	l.group++
	var last *tx // the one of which it is not known whether it was committed
	for try, clashes := 0, 0; ; try++ {
		ops = pending(ops)
		if len(ops) == 0 {
			return
		}
		t, err := l.attempt(ops, last)
		if err == nil {
			l.s.answered(nil)
			t.published()
			for _, o := range ops {
				o.answer(o.err)
			}
			return
		}
		last = t
		if l.rings != nil {
			l.rings.unload()
		}
		clash := contended(err) && clashes < 20
		switch {
		case l.s.ctx.Err() != nil:
			for _, o := range ops {
				o.answer(ErrClosed)
			}
			return
		case clash:
			clashes++
		case errors.Is(err, journal.ErrFenced) || lasting(err) && len(ops) == 1:
			l.s.noted(err)
			if l.rings != nil && errors.Is(err, journal.ErrFenced) && l.s.disown(l.rings) {
				l.rings.callWake() // whoever serves them finds out, whatever was refused
			}
			switch {
			case !refusal(err):
				l.s.log.Error("a write is refused by the database", zap.String("lane", l.name), zap.Error(err))
			case errors.Is(err, journal.ErrFenced) && slices.ContainsFunc(ops, func(o *op) bool { return o.until.IsZero() }): // who only reads does not wait for ever
				l.s.log.Info("writes for rings that are another's now are refused", zap.Int("writes", len(ops)), zap.Error(err))
			}
			for _, o := range ops {
				o.answer(err)
			}
			return
		case lasting(err): // it is one of them: each alone
			for _, o := range ops {
				l.commit([]*op{o})
			}
			return
		default:
			l.s.answered(err)
		}
		select {
		case <-time.After(backoff(try)):
		case <-l.s.ctx.Done():
		}
	}
}

// pending are those that still wait for an answer, or want none.
func pending(ops []*op) []*op {
	var left []*op
	for _, o := range ops {
		if !o.answered.Load() {
			left = append(left, o)
		}
	}
	return left
}

// attempt runs one transaction. With an error it returns the transaction if that may
// have been committed all the same, else nil. last is what it returned before.
func (l *lane) attempt(ops []*op, last *tx) (*tx, error) {
	timeout := attemptTimeout
	for _, o := range ops {
		if o.slow {
			timeout = time.Minute
		}
	}
	ctx, cancel := context.WithTimeout(l.s.ctx, timeout)
	defer cancel()
	conn, err := l.s.pool.Acquire(ctx)
	if err != nil {
		return last, fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release() // ends the connection if it is in a transaction
	t := newTx(l.s, l.rings, l.shard)

	committed, fence := false, error(nil)
	b := &pgx.Batch{}
	l.s.begin(b)
	b.Queue(`INSERT INTO markers AS m (lane, n, at) VALUES ($1, $2, $3) ON CONFLICT (lane) DO UPDATE SET n = $2, at = $3 WHERE m.n < $2`,
		l.name, l.group, l.s.opts.Now().UnixMilli()).Exec(func(tag pgconn.CommandTag) error {
		committed = tag.RowsAffected() == 0
		return nil
	})
	if l.rings != nil {
		l.rings.queueFence(b, &fence)
		if !l.rings.loaded {
			l.rings.queueLoad(b)
		}
	}
	single := l.rings == nil || l.rings.loaded // else what is needed is known only when the rings are
	if single {
		t.queueReads(b, ops)
	}
	if err := send(ctx, conn, b); err != nil {
		return last, err
	}
	if committed {
		rollback(ctx, conn)
		if last == nil {
			return nil, fmt.Errorf("%w: group %d of %s is committed already", errStored, l.group, l.name)
		}
		return last, nil
	}
	if fence != nil {
		rollback(ctx, conn)
		return nil, fence
	}
	if !single {
		l.rings.loaded = true
		b = &pgx.Batch{}
		t.queueReads(b, ops)
		if err := send(ctx, conn, b); err != nil {
			return nil, err
		}
	}
	if !t.locked {
		b = &pgx.Batch{}
		t.queueLocks(b, ops)
		if err := send(ctx, conn, b); err != nil {
			return nil, err
		}
	}
	for _, o := range ops {
		if o.err = o.do(t); t.err != nil {
			return nil, t.err
		}
		if o.err != nil && !refusal(o.err) {
			return nil, o.err
		}
	}
	b = &pgx.Batch{}
	if t.queueWrites(b); t.err != nil {
		return nil, t.err
	}
	if b.Len() == 0 {
		rollback(ctx, conn)
		return t, nil
	}
	b.Queue("commit")
	t.countingBegins()
	begun := time.Now()
	if err := send(ctx, conn, b); err != nil {
		t.countingEnds()
		return t, err
	}
	l.s.opts.Measures.Synced(time.Since(begun))
	return t, nil
}

// begin opens a transaction: settings end with it.
func (s *Store) begin(b *pgx.Batch) {
	b.Queue("begin isolation level read committed")
	b.Queue(s.settings)
}

func send(ctx context.Context, conn *pgxpool.Conn, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return conn.SendBatch(ctx, b).Close()
}

func rollback(ctx context.Context, conn *pgxpool.Conn) {
	_, _ = conn.Exec(ctx, "rollback") // if it fails, Release ends the connection
}
