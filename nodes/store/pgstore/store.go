// Package pgstore is the durable state of hubs that share a PostgreSQL database:
// package journal's Hub and Leases.
//
// Writes are handed to lanes, each of which commits what has gathered meanwhile as
// one transaction (lane.go). A group is applied in Go, as in package hubstore, to
// what was read for it (tx.go); refusals are decided there, so that none undoes the
// group. Everything of one user goes through one lane, and what an edge's rings
// write through one of their own, so that a caller's writes stay in order.
//
//	caller ─ Accept ─▶ lane 1 ─┐  begin, marker, reads, locks ─▶ apply ─▶ writes, commit
//	caller ─ Accept ─▶ lane 2 ─┼──▶ PostgreSQL
//	rings of an edge ─▶ lane ──┘  the same under the fence: owners.epoch
//
// Locks are taken in this order, each kind sorted: marker, owner, handsets, users;
// at the end conversations and queue counts. Numbers of a user's events are given
// under the lock of his row; a queue is read by what stands in it, under the lock of
// the ring's owner; no cursor over a sequence anywhere.
//
// Nothing here outlives its transaction on a connection: no advisory locks, LISTEN,
// temporary tables or session settings (docs/postgresql.md).
package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
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
	userLanes   = 4 // committers of what users write
	countShards = 16

	// How long a caller waits for the database; what rings write is tried until it is back.
	patience = 2 * time.Second
	// How long those wait who block: Claim, Load, Rejoin.
	longPatience = 10 * time.Second

	attemptTimeout = 5 * time.Second // of one transaction
	pollEvery      = 250 * time.Millisecond
	censusEvery    = 40 // polls
)

// ErrAway: the database did not answer in time. What was asked may yet have been
// done: ask again under the same ref.
var ErrAway = errors.New("pgstore: the database does not answer")

// ErrClosed: the store was closed before it was written.
var ErrClosed = errors.New("pgstore: the store is closed")

var errBadCall = errors.New("pgstore: refused")

// Options of Open. DSN and Node are required.
type Options struct {
	DSN    string // "postgres://user:password@host:port/database?sslmode=verify-full", or "host=... dbname=..."
	Node   string // unique name of this incarnation of the hub: whose leases and rings these are
	Logger *zap.Logger
	// Alone: no other hub uses the database, so that Claim takes every ring over and
	// needs no lease. Never set it where two hubs share one.
	Alone bool

	KeepMessages time.Duration // how long messages stay once they are settled; 0: for good
	KeepEvents   time.Duration // how long users' events stay; 0: for good

	Now   func() time.Time         // nil: time.Now
	Slots func(edge string) uint32 // of the edge's down ring, for Record.Slots; nil: 255
	// Queued is told, on any goroutine and after the commit, of edges whose queue has
	// grown and whose rings this store has not claimed: whoever has may be told by Wake.
	Queued func(edges []string)
	// Connections at most; 0: 16.
	Connections int
	Measures    journal.Measures // nil: none
}

// Store implements journal.Hub and journal.Leases. Its methods may be called by any
// goroutine.
type Store struct {
	opts Options
	pool *pgxpool.Pool
	log  *zap.Logger

	users    []*lane
	settings string // statement that makes settings of a transaction
	once     string // random: no marker of an earlier run is taken for one of this

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
	away    atomic.Pointer[error]
	census  atomic.Pointer[journal.Census]

	mu      sync.Mutex
	closing bool
	idle    chan struct{} // closed once closing and nothing is written any more
	changed func([]string)
	claimed map[string]*rings // by edge: the last claim, until it is given up or found fenced
	lanes   map[*lane]bool    // that write
}

var (
	_ journal.Hub    = (*Store)(nil)
	_ journal.Leases = (*Store)(nil)
)

// Open connects to the database and brings its tables to this version.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Slots == nil {
		opts.Slots = func(string) uint32 { return 255 }
	}
	if opts.Queued == nil {
		opts.Queued = func([]string) {}
	}
	if opts.Measures == nil {
		opts.Measures = journal.NoMeasures{}
	}
	if opts.Node == "" {
		return nil, errors.New("pgstore: Options.Node is empty: give the hub a name that no other has")
	}
	pool, err := connect(ctx, opts.DSN, opts.Connections)
	if err != nil {
		return nil, err
	}
	err = prepare(ctx, pool)
	if err == nil {
		err = whole(ctx, pool)
	}
	var settings string
	if err == nil {
		settings, err = transactionSettings(ctx, pool)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	s := &Store{
		opts: opts, pool: pool, log: opts.Logger,
		changed: func([]string) {}, claimed: map[string]*rings{}, lanes: map[*lane]bool{}, idle: make(chan struct{}),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.once, s.settings = rand.Text(), settings
	s.census.Store(&journal.Census{Users: -1, Fresh: -1})
	for i := range userLanes {
		s.users = append(s.users, &lane{s: s, name: s.laneName(fmt.Sprint("users/", i)), spacing: callSpacing, most: maxWaiting, shard: s.shard(i)})
	}
	s.running.Go(s.poll)
	s.running.Go(s.expire)
	return s, nil
}

// connect parses the DSN and makes the pool; it connects to nothing yet.
func connect(ctx context.Context, dsn string, connections int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("pgstore: the DSN cannot be read: %w", err)
	}
	if connections == 0 {
		connections = 16
	}
	cfg.MaxConns = int32(connections)
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 3 * time.Second
	}
	// After a fail-over: the one of several hosts that takes writes.
	if cfg.ConnConfig.ValidateConnect == nil && len(cfg.ConnConfig.Fallbacks) > 0 {
		cfg.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	return pool, nil
}

// prepare checks the server and brings the tables to this version.
func prepare(ctx context.Context, pool *pgxpool.Pool) error {
	var commit string
	if err := pool.QueryRow(ctx, `SHOW synchronous_commit`).Scan(&commit); err != nil {
		return fmt.Errorf("pgstore: the database does not answer: %w; check store.dsn", err)
	}
	if commit == "off" {
		return errors.New("pgstore: synchronous_commit is off: what is acknowledged would be lost with a crash; set it to on for this user or database")
	}
	all, err := readMigrations(migrations)
	if err != nil {
		return err
	}
	return migrate(ctx, pool, all)
}

// transactionSettings is a statement that sets, until the transaction ends, what this
// server knows of: that locks do not outlive a lost connection for long, and that
// statements are planned once, and not by what statistics said of empty tables.
func transactionSettings(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	wanted := map[string]string{
		"lock_timeout": "4s", "idle_in_transaction_session_timeout": "5s",
		"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off",
	}
	rows, _ := pool.Query(ctx, `SELECT name FROM pg_settings WHERE name = ANY($1) ORDER BY name`, slices.Sorted(maps.Keys(wanted)))
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("pgstore: reading the server's settings: %w", err)
	}
	sets := []string{"1"}
	for _, name := range names {
		sets = append(sets, fmt.Sprintf("set_config('%s', '%s', true)", name, wanted[name]))
	}
	return "SELECT " + strings.Join(sets, ", "), nil
}

// Close writes what is under way, as far as that takes no longer than two seconds,
// and ends the connections. Leases stand until End or their time.
func (s *Store) Close() error {
	s.mu.Lock()
	closing := s.closing
	s.closing = true
	if !closing && len(s.lanes) == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	if closing {
		return nil
	}
	select {
	case <-s.idle:
	case <-time.After(patience):
	}
	s.stop()
	s.running.Wait()
	s.pool.Close()
	return nil
}

// start and ended keep the list of lanes that write.
func (s *Store) start(l *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.lanes[l] = true
	s.running.Add(1)
	return true
}

func (s *Store) ended(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lanes, l)
	if s.closing && len(s.lanes) == 0 {
		close(s.idle)
	}
}

// Watch implements journal.Hub. It tells of what this store has written; what other
// hubs have is told by them (hints), or found by reading again.
func (s *Store) Watch(changed func(users []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = changed
}

// Wake has the rings of edge look into their queue, if this store has claimed them.
func (s *Store) Wake(edge string) {
	if r := s.owned(edge); r != nil {
		r.callWake()
	}
}

// Ready returns nil while the database answers, else why it does not: reads and new
// messages fail then, what rings write waits.
func (s *Store) Ready() error {
	if err := s.away.Load(); err != nil {
		return *err
	}
	return nil
}

// answered notes whether the database did.
func (s *Store) answered(err error) {
	before := s.away.Load()
	switch {
	case s.ctx.Err() != nil:
	case err == nil:
		if before != nil && s.away.CompareAndSwap(before, nil) {
			s.log.Info("the database is back")
		}
	default:
		err = fmt.Errorf("%w: %w", ErrAway, err)
		if s.away.Swap(&err) == nil {
			s.log.Error("the database is away: writes wait for it", zap.Error(err))
		}
	}
}

func (s *Store) owned(edge string) *rings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed[edge]
}

// claims are the rings that this store has claimed for node.
func (s *Store) claims(node string) map[string]*rings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if node != s.opts.Node {
		return nil
	}
	return maps.Clone(s.claimed)
}

// disown forgets rings that this store has no more. It reports whether it had not before.
func (s *Store) disown(r *rings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed[r.edge] != r {
		return false
	}
	delete(s.claimed, r.edge)
	return true
}

func (s *Store) laneName(of string) string {
	return column(s.opts.Node) + "/" + s.once + "/" + column(of)
}

func (s *Store) lane(key string) *lane { return s.users[hashOf(key)%userLanes] }

// shard is the one of queue_counts that a lane adds to: users' lanes are the first
// userLanes, those of rings, of which each edge has one, come next.
func (s *Store) shard(lane int) int16 {
	return int16((hashOf(s.opts.Node) + uint32(lane)) % countShards)
}

func hashOf(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

// read runs f, which only reads, until it works or patience is at an end.
func (s *Store) read(what string, f func(ctx context.Context) error) error {
	return s.tryFor(patience, what, f)
}

// tryFor runs f, which may be run twice, until it works or the time is up.
func (s *Store) tryFor(patience time.Duration, what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	err := tryUntil(ctx, what, s.answered, f)
	s.noted(err)
	return err
}

// noted counts an error that means damage: of what a hub wrote, or of the database's
// own pages (class XX of PostgreSQL's manual, appendix A).
func (s *Store) noted(err error) {
	if c := code(err); c == "XX001" || c == "XX002" || errors.Is(err, errStored) {
		s.opts.Measures.Corrupt()
	}
}

func tryUntil(ctx context.Context, what string, answered func(error), f func(ctx context.Context) error) error {
	for try := 0; ; try++ {
		err := f(ctx)
		switch {
		case err == nil:
			answered(nil)
			return nil
		case lasting(err):
			return fmt.Errorf("pgstore: %s: %w", what, err)
		case !contended(err):
			answered(err)
		}
		select {
		case <-time.After(backoff(try)):
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %w", ErrAway, what, err)
		}
	}
}

// Census says how much the store holds, as PostgreSQL's statistics estimate it and as
// of a few seconds ago: nothing is counted for it.
func (s *Store) Census() journal.Census { return *s.census.Load() }

// takeCensus asks the statistics.
func (s *Store) takeCensus() {
	ctx, cancel := context.WithTimeout(s.ctx, attemptTimeout)
	defer cancel()
	var c journal.Census
	if s.pool.QueryRow(ctx, `SELECT
		coalesce((SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'users'::regclass), -1),
		coalesce((SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'fresh'::regclass), -1)`).Scan(&c.Users, &c.Fresh) == nil {
		s.census.Store(&c) // else it stays as it was: the poll says when the database is away
	}
}

// poll looks what waits for the rings that this store has claimed, and whether the
// database is there.
func (s *Store) poll() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		if n%censusEvery == 0 {
			s.takeCensus()
		}
		s.mu.Lock()
		claims := make(map[string]*rings, len(s.claimed))
		edges := make([]string, 0, len(s.claimed))
		before := make(map[string]int64, len(s.claimed))
		for edge, r := range s.claimed {
			claims[edge], before[edge] = r, r.quiet()
			edges = append(edges, column(edge))
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(s.ctx, attemptTimeout)
		rows, _ := s.pool.Query(ctx, `SELECT edge, sum(n)::bigint FROM queue_counts WHERE edge = ANY($1) GROUP BY edge`, edges)
		var edge string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&edge, &n}, func() error {
			claims[text(edge)].polled(before[text(edge)], n)
			return nil
		})
		cancel()
		if err == nil || !lasting(err) {
			s.answered(err)
		}
	}
}

// expire answers callers whose patience is at an end.
func (s *Store) expire() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		s.mu.Lock()
		lanes := make([]*lane, 0, len(s.lanes))
		for l := range s.lanes {
			lanes = append(lanes, l)
		}
		s.mu.Unlock()
		for _, l := range lanes {
			l.expire(now)
		}
	}
}
