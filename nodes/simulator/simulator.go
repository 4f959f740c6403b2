// Package simulator is an SMSC with handsets, for tests, benchmarks and the
// demo: ESMEs log in by CIMD2 or SMPP 3.4, people's handsets are driven by HTTP
// or from Go. It stores and forwards, cuts and joins long texts, sends receipts,
// and misbehaves on request. Nothing outlives the process.
//
//	ESME ── session (goroutine: protocol machine) ─┐
//	ESME ── session ───────────────────────────────┤ lock
//	HTTP, Go ── Handset ───────────────────────────┴─▶ store: handsets, queues
//
// An SMSC processes the submits of a session one at a time, each for Latency,
// and has Window delivers and receipts unanswered in a session. The sessions of
// one account share what is for it: see Sharing.
package simulator

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// Config of New. The zero value listens nowhere: it has only its Handler.
type Config struct {
	CIMD2, SMPP, HTTP string      // host:port to listen on, port 0: any; empty: not at all
	TLS               *tls.Config // of CIMD2 and SMPP; nil: none

	User, Password string    // an account that may log in
	Accounts       []Account // more of them; none at all: anybody may, each name is an account
	Sharing        Sharing
	MaxSessions    int           // logins beyond it are refused; 0: no limit
	Latency        time.Duration // time the SMSC takes for one message, either way
	Faults         Faults
	Receipts       Receipts
	Seed           uint64 // of what Faults draw; 0: drawn, and logged

	Validity          time.Duration             // of a part that names none; 0: 24 h
	Window            int                       // delivers and receipts unanswered in a session; 0: 1
	SubmitWindow      int                       // submits that a session may have unanswered; 0: what the protocol allows, 128 or 1,024
	RetryAfter        time.Duration             // until what the ESME refused for now is offered again; 0: 1 s
	ResponseTimeout   time.Duration             // of an ESME; 0: 10 s
	InactivityTimeout time.Duration             // silence that ends a session; 0: none
	KeepAlive         time.Duration             // silence after which the SMSC probes the line (enquire_link, alive); 0: never
	Banner            string                    // CIMD2: a line sent before anything else; empty: none
	Retrieving        bool                      // CIMD2: deliver only when asked
	AnyNumber         bool                      // CIMD2: jumps in packet numbers are accepted, and not NACKed
	RequireChecksum   bool                      // CIMD2: packets without a checksum are asked for again
	NoChecksum        bool                      // CIMD2: packets go out without
	Lists             map[string][]smsc.Address // SMPP: distribution lists of submit_multi

	Discard bool // keep of what handsets receive only count and digest
	Log     *zap.Logger
}

// Account is who may log in.
type Account struct {
	User, Password string
	Numbers        []string // messages to numbers that begin so are this account's, the longest wins; others are everybody's
	MaxSessions    int      // at a time; 0: no limit
}

// Sharing says which session of an account gets what comes for it.
type Sharing string

const (
	ShareAll   Sharing = ""      // whichever has room in its window: the load is shared
	ShareFirst Sharing = "first" // the one that logged in first; the others stand by
	ShareLast  Sharing = "last"  // the one that logged in last
)

// Message is a text that a handset has received.
type Message struct {
	From  string    `json:"from"`
	Text  string    `json:"text"`
	At    time.Time `json:"at"`    // when the last part came
	Parts int       `json:"parts"` // how many it came in
}

// Stats are counts since New or ResetStats, but for those said to be of this moment.
type Stats struct {
	Seconds          uint64 `json:"seconds"`   // since then
	Submitted        uint64 `json:"submitted"` // parts accepted
	Delivered        uint64 `json:"delivered"` // parts that reached a handset
	Stored           uint64 `json:"stored"`    // parts that wait for their time or their handset, at this moment
	Expired          uint64 `json:"expired"`   // parts whose validity ended while they waited
	Cancelled        uint64 `json:"cancelled"`
	Replaced         uint64 `json:"replaced"`
	Queries          uint64 `json:"queries"`
	Throttled        uint64 `json:"throttled"`
	OverWindow       uint64 `json:"over_window"` // of Throttled, those beyond Faults.Window
	Temporary        uint64 `json:"temporary"`   // refused for now, that recipient
	Rejected         uint64 `json:"rejected"`
	DroppedResponses uint64 `json:"dropped_responses"`
	LateResponses    uint64 `json:"late_responses"`
	ClosedByFault    uint64 `json:"closed_by_fault"`
	GarbageSent      uint64 `json:"garbage_sent"`
	Corrupted        uint64 `json:"corrupted"`   // delivers and receipts damaged
	Redelivered      uint64 `json:"redelivered"` // of delivers and receipts, those that came once more by fault
	Garbled          uint64 `json:"garbled"`     // packets received that break the protocol's syntax
	Logins           uint64 `json:"logins"`
	LoginsRefused    uint64 `json:"logins_refused"`
	Sessions         int    `json:"sessions"`         // bound at this moment
	MaxUnanswered    int    `json:"max_unanswered"`   // most submits ever unanswered in one session
	ReceivedTexts    uint64 `json:"received_texts"`   // whole texts, all handsets
	HandsetMessages  uint64 `json:"handset_messages"` // those kept: none with Config.Discard
	Duplicates       uint64 `json:"duplicates"`       // parts of long texts that had come before; a short text's repetition cannot be told
	ReceiptsSent     uint64 `json:"receipts_sent"`
	ReceiptsPending  uint64 `json:"receipts_pending"` // at this moment
	ReceiptsRefused  uint64 `json:"receipts_refused"` // for good
	MOQueued         uint64 `json:"mo_queued"`        // parts that handsets sent
	MOPending        uint64 `json:"mo_pending"`       // of them not yet taken by an ESME, at this moment
	MOAcked          uint64 `json:"mo_acked"`
	MORefused        uint64 `json:"mo_refused"` // for good
}

// Simulator is one SMSC. Its methods may be called by any goroutine.
type Simulator struct {
	cfg       Config
	log       *zap.Logger
	listeners map[string]net.Listener // by protocol, and http
	http      *http.Server
	ctx       context.Context
	cancel    context.CancelFunc
	tasks     sync.WaitGroup
	changing  sync.Mutex // of settings by HTTP: one at a time

	latency atomic.Int64 // ns
	faults  atomic.Pointer[Faults]

	mu       sync.Mutex
	store    *store
	dice     *rand.Rand
	sessions []*session                   // bound, in the order of their logins
	all      map[*session]bool            // also those that are not bound
	idle     map[string]map[*session]bool // wait for something in a queue
	thaw     chan struct{}                // closed when Faults.Freeze ends; nil: not frozen

	counted time.Time // since when Stats count

	hook    func(number, from, text string)
	heard   []heard // not yet told to the hook
	telling bool
}

type heard struct{ number, from, text string }

// New listens and begins to serve.
func New(cfg Config) (*Simulator, error) {
	cfg.Validity = cmp.Or(cfg.Validity, 24*time.Hour)
	cfg.RetryAfter = cmp.Or(cfg.RetryAfter, time.Second)
	cfg.ResponseTimeout = cmp.Or(cfg.ResponseTimeout, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.User != "" {
		cfg.Accounts = append([]Account{{User: cfg.User, Password: cfg.Password}}, cfg.Accounts...)
	}
	cfg.Accounts = slices.Clone(cfg.Accounts) // passwords change
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Simulator{
		cfg: cfg, log: cfg.Log, listeners: map[string]net.Listener{}, ctx: ctx, cancel: cancel,
		store: newStore(cfg, time.Now()), dice: rand.New(rand.NewPCG(cfg.Seed, 0)), counted: time.Now(),
		all: map[*session]bool{}, idle: map[string]map[*session]bool{},
	}
	s.latency.Store(int64(cfg.Latency))
	s.setFaults(cfg.Faults)
	s.log.Info("faults are drawn", zap.Uint64("seed", cfg.Seed))
	for name, address := range map[string]string{cimd2.Protocol.Name: cfg.CIMD2, smpp.Protocol.Name: cfg.SMPP, "http": cfg.HTTP} {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("simulator: %s on %s: %w; choose a free address", name, address, err)
		}
		if cfg.TLS != nil && name != "http" {
			l = tls.NewListener(l, cfg.TLS)
		}
		s.listeners[name] = l
	}
	for _, p := range []smsc.Protocol{cimd2.Protocol, smpp.Protocol} {
		if l := s.listeners[p.Name]; l != nil {
			s.tasks.Go(func() { s.accept(ctx, l, p) })
		}
	}
	if l := s.listeners["http"]; l != nil {
		s.http = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
		s.tasks.Go(func() { _ = s.http.Serve(l) })
	}
	s.tasks.Go(func() { s.tick(ctx) })
	return s, nil
}

func (cfg *Config) check() error {
	if err := errors.Join(checkTime("latency", cfg.Latency), cfg.Faults.check(), cfg.Receipts.check()); err != nil {
		return err
	}
	if cfg.SubmitWindow < 0 {
		return fmt.Errorf("simulator: the submit window is %d: give 1 or more, or 0 for what the protocol allows", cfg.SubmitWindow)
	}
	if !slices.Contains([]Sharing{ShareAll, ShareFirst, ShareLast}, cfg.Sharing) {
		return fmt.Errorf("simulator: sharing is %q: give none, %q or %q", cfg.Sharing, ShareFirst, ShareLast)
	}
	for i, a := range cfg.Accounts {
		if a.User == "" || a.User == cfg.User || slices.ContainsFunc(cfg.Accounts[:i], func(b Account) bool { return a.User == b.User }) {
			return fmt.Errorf("simulator: account %q: give each a name of its own", a.User)
		}
		for _, number := range a.Numbers {
			if !isNumber(number) {
				return fmt.Errorf("simulator: account %q: %w, not %q", a.User, ErrNumber, number)
			}
		}
	}
	return nil
}

// Run serves until ctx is done, then closes.
func (s *Simulator) Run(ctx context.Context) error {
	<-ctx.Done()
	return s.Close()
}

// Close ends the sessions and waits for them. What the SMSC had stored is gone.
func (s *Simulator) Close() error {
	s.cancel()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	if s.http != nil {
		_ = s.http.Close()
	}
	s.tasks.Wait()
	return nil
}

// CIMD2Addr, SMPPAddr and HTTPAddr return where it listens, host:port, empty if nowhere.
func (s *Simulator) CIMD2Addr() string { return s.addr(cimd2.Protocol.Name) }

// SMPPAddr is as CIMD2Addr.
func (s *Simulator) SMPPAddr() string { return s.addr(smpp.Protocol.Name) }

// HTTPAddr is as CIMD2Addr.
func (s *Simulator) HTTPAddr() string { return s.addr("http") }

func (s *Simulator) addr(name string) string {
	if l := s.listeners[name]; l != nil {
		return l.Addr().String()
	}
	return ""
}

func (s *Simulator) accept(ctx context.Context, l net.Listener, p smsc.Protocol) {
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, say
			s.log.Warn("accept failed", zap.String("protocol", p.Name), zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if _, err := s.serve(ctx, conn, p); err != nil {
			s.log.Warn("connection refused", zap.Error(err))
		}
	}
}

// serve begins a session on a connection, which it owns from here on.
func (s *Simulator) serve(ctx context.Context, conn net.Conn, p smsc.Protocol) (*session, error) {
	alarm, err := newAlarm()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	session := &session{
		ctx: ctx, sim: s, protocol: p, conn: conn, alarm: alarm, since: time.Now(),
		log: s.log.With(zap.String("protocol", p.Name), zap.Stringer("peer", conn.RemoteAddr())),
		machine: p.NewServer(smsc.ServerConfig{
			Window: s.cfg.Window, ResponseTimeout: s.cfg.ResponseTimeout, InactivityTimeout: s.cfg.InactivityTimeout,
			LoginTimeout: 30 * time.Second, SystemID: "ringway-smsc", Banner: s.cfg.Banner,
			AnyNumber: s.cfg.AnyNumber, RequireChecksum: s.cfg.RequireChecksum, NoChecksum: s.cfg.NoChecksum,
			Manage: true, SubmitWindow: s.cfg.SubmitWindow, KeepAlive: s.cfg.KeepAlive, Lists: s.cfg.Lists,
		}),
		events: make(chan smsc.Event, 64), wake: make(chan struct{}, 1), orders: make(chan smsc.Event, 4),
		timers: map[string]timer{}, sent: map[uint64]*item{},
	}
	s.mu.Lock()
	s.all[session] = true
	s.mu.Unlock()
	s.tasks.Go(func() { session.run() })
	return session, nil
}

// tickEvery is how late an expiry or a retry may be.
const tickEvery = 50 * time.Millisecond

func (s *Simulator) tick(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.mu.Lock()
			s.store.tick(now)
			s.wakeLocked()
			s.mu.Unlock()
			s.tell()
		}
	}
}

// wakeLocked tells the sessions that wait for something in a queue that got it.
func (s *Simulator) wakeLocked() {
	for name := range s.store.news {
		for session := range s.idle[name] {
			session.poke()
		}
		clear(s.idle[name])
		delete(s.store.news, name)
	}
}

// What follows is for sessions.

func (s *Simulator) login(session *session, e smsc.LoginReceived) smsc.LoginResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	result := s.admitLocked(session.protocol.Name, e)
	if !result.OK {
		s.store.stats.LoginsRefused++
		session.log.Info("login refused", zap.String("user", e.User), zap.String("code", result.Code), zap.Int("sessions", len(s.sessions)))
		return result
	}
	session.user, session.mode = e.User, e.Mode
	session.receives = e.Mode != "transmitter"
	s.sessions = append(s.sessions, session)
	s.store.stats.Logins++
	session.log.Info("login", zap.String("user", e.User), zap.String("mode", e.Mode))
	return result
}

// admitLocked decides on a login. The codes say that it may work later.
func (s *Simulator) admitLocked(protocol string, e smsc.LoginReceived) smsc.LoginResult {
	refused := func(status smpp.Status, code cimd2.Error) smsc.LoginResult {
		if protocol == cimd2.Name {
			return smsc.LoginResult{Code: code.String()}
		}
		return smsc.LoginResult{Code: status.String()}
	}
	const tooMany, notNow = 102, 103
	if s.faults.Load().RefuseLogins {
		return refused(smpp.RBINDFAIL, notNow)
	}
	i := slices.IndexFunc(s.cfg.Accounts, func(a Account) bool { return a.User == e.User && a.Password == e.Password })
	if i < 0 && len(s.cfg.Accounts) > 0 {
		return smsc.LoginResult{}
	}
	theirs := 0
	for _, other := range s.sessions {
		if other.user == e.User {
			theirs++
		}
	}
	if s.cfg.MaxSessions > 0 && len(s.sessions) >= s.cfg.MaxSessions || i >= 0 && s.cfg.Accounts[i].MaxSessions > 0 && theirs >= s.cfg.Accounts[i].MaxSessions {
		return refused(smpp.RALYBND, tooMany)
	}
	return smsc.LoginResult{OK: true, Retrieving: s.cfg.Retrieving}
}

func (s *Simulator) ended(session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, session)
	if i := slices.Index(s.sessions, session); i >= 0 {
		s.sessions = slices.Delete(s.sessions, i, i+1)
	}
	for _, name := range session.queues() {
		delete(s.idle[name], session)
		if len(s.idle[name]) > 0 {
			s.store.news[name] = true // what was for it only is for others now
		}
	}
	for _, it := range slices.Backward(session.refused) {
		s.store.giveBack(it)
	}
	s.wakeLocked()
}

func (s *Simulator) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.store.stats)
}

// overWindow counts a session's unanswered submits and reports whether the last
// of them is one too many.
func (s *Simulator) overWindow(n int) bool {
	window := s.faults.Load().Window
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := &s.store.stats
	if window > 0 && n > window {
		stats.Throttled++
		stats.OverWindow++
		return true
	}
	stats.MaxUnanswered = max(stats.MaxUnanswered, n)
	return false
}

// submit decides on a part, and takes it if so decided. The answer is to wait
// until receipt, if there is one, is written.
func (s *Simulator) submit(session *session, e smsc.SubmitReceived, firstID string, now time.Time) (v verdict, junk []byte, receipt *item) {
	s.mu.Lock()
	v = s.judgeLocked(session, e, now)
	stats := &s.store.stats
	switch {
	case v.close:
		stats.ClosedByFault++
	case v.late:
		stats.LateResponses++
	case v.outcome.Fate == smsc.Throttled:
		stats.Throttled++
	case v.outcome.Fate == smsc.Temporary:
		stats.Temporary++
	case v.outcome.Fate == smsc.Permanent:
		stats.Rejected++
	case v.outcome.Fate == smsc.Unknown:
		stats.DroppedResponses++
	}
	if v.garbage {
		stats.GarbageSent++
		junk = garbage(session.protocol.Name, s.dice)
	}
	if v.accept {
		m, early := s.store.submit(submission{
			Submission: *e.Submission, protocol: session.protocol.Name, user: session.user, from: session, firstID: firstID,
		}, now)
		v.outcome.ID = m.given
		if early != nil && s.store.receipt.First {
			early.holds, receipt = session, early
		}
		s.wakeLocked()
	}
	heard := len(s.heard) > 0
	s.mu.Unlock()
	if heard {
		s.tell()
	}
	return v, junk, receipt
}

func (s *Simulator) judgeLocked(session *session, e smsc.SubmitReceived, now time.Time) verdict {
	protocol, faults := session.protocol.Name, s.faults.Load()
	refused := func(fate smsc.Fate, status smpp.Status, code cimd2.Error) verdict {
		if protocol == cimd2.Name {
			return verdict{outcome: refusal(protocol, fate, uint32(code))}
		}
		return verdict{outcome: refusal(protocol, fate, uint32(status))}
	}
	const badSchedule = 308 // of CIMD2
	if !isNumber(e.Part.To.String()) {
		return refused(smsc.Permanent, smpp.RINVDSTADR, cimd2.ErrDestination)
	}
	expires := e.Expires.Time(now)
	switch h := s.store.handset(e.Part.To.String()); {
	case h.barred:
		return verdict{outcome: refusal(protocol, smsc.Permanent, faults.RejectCode)}
	case h.busy:
		return verdict{outcome: refusal(protocol, smsc.Temporary, faults.TemporaryCode)}
	case !expires.IsZero() && !expires.After(now):
		return refused(smsc.Permanent, smpp.RINVEXPIRY, cimd2.ErrValidityUsage)
	case !expires.IsZero() && e.Schedule.Time(now).After(expires):
		return refused(smsc.Permanent, smpp.RINVSCHED, badSchedule)
	}
	return faults.judge(protocol, s.dice)
}

// manage answers a query, a cancel, a replace or a new password.
func (s *Simulator) manage(session *session, request smsc.Effect, now time.Time) smsc.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	protocol, user := session.protocol.Name, session.user
	refused := func(ref uint64, status smpp.Status) smsc.Event {
		code := status.String()
		if protocol == cimd2.Name {
			code = cimd2.ErrNoInformation.String()
		}
		return smsc.ServerAnswer{Ref: ref, Outcome: smsc.Outcome{Fate: smsc.Permanent, Code: code}}
	}
	defer s.wakeLocked()
	switch e := request.(type) {
	case smsc.QueryReceived:
		s.store.stats.Queries++
		if m := s.store.find(protocol, user, e.ID, e.From); m != nil {
			return smsc.QueryAnswer{Ref: e.Ref, State: m.state, Done: m.done, Code: m.code}
		}
		return refused(e.Ref, smpp.RQUERYFAIL)
	case smsc.CancelReceived:
		if s.store.cancel(protocol, user, e, now) > 0 {
			return smsc.ServerAnswer{Ref: e.Ref}
		}
		return refused(e.Ref, smpp.RCANCELFAIL)
	case smsc.ReplaceReceived:
		if m := s.store.find(protocol, user, e.ID, e.From); m != nil && m.state == smsc.ReceiptEnroute {
			s.store.replace(m, e, now)
			return smsc.ServerAnswer{Ref: e.Ref, Outcome: smsc.Outcome{ID: m.given}}
		}
		return refused(e.Ref, smpp.RREPLACEFAIL)
	case smsc.PasswordReceived:
		if i := slices.IndexFunc(s.cfg.Accounts, func(a Account) bool { return a.User == user }); i >= 0 {
			s.cfg.Accounts[i].Password = e.Password
		}
		return smsc.ServerAnswer{Ref: e.Ref}
	}
	return nil
}

func (s *Simulator) take(who *session) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standsByLocked(who) {
		return s.idleLocked(who)
	}
	it := s.store.take(who, func(it *item) bool {
		switch s.store.receipt.Bind {
		case "same":
			return it.from == who || !it.from.receives || !s.all[it.from]
		case "other":
			return it.from != who || !slices.ContainsFunc(s.sessions, func(other *session) bool {
				return other != who && other.receives && other.receipts() == who.receipts()
			})
		}
		return true
	})
	if it == nil {
		return s.idleLocked(who)
	}
	return it
}

func (s *Simulator) idleLocked(who *session) *item {
	for _, name := range who.queues() {
		if s.idle[name] == nil {
			s.idle[name] = map[*session]bool{}
		}
		s.idle[name][who] = true
	}
	return nil
}

// standsByLocked reports whether what comes is another session's of the account.
func (s *Simulator) standsByLocked(who *session) bool {
	same := func(other *session) bool {
		return other.receives && other.user == who.user && other.protocol.Name == who.protocol.Name
	}
	switch s.cfg.Sharing {
	case ShareFirst:
		return s.sessions[slices.IndexFunc(s.sessions, same)] != who
	case ShareLast:
		for _, other := range slices.Backward(s.sessions) {
			if same(other) {
				return other != who
			}
		}
	}
	return false
}

func (s *Simulator) waiting(session *session) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.waitingFor(session)
}

// acknowledged ends an item, or makes it come again by fault.
func (s *Simulator) acknowledged(it *item, ok bool, now time.Time) {
	rate := s.faults.Load().DuplicateRate
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok && !it.again && rate > 0 && s.dice.Float64() < rate {
		it.again = true
		s.store.stats.Redelivered++
		s.store.postpone(it, now)
		return
	}
	s.store.acknowledged(it, ok)
	s.wakeLocked()
}

// corrupts draws whether the next deliver is to be damaged.
func (s *Simulator) corrupts() bool {
	rate := s.faults.Load().CorruptRate
	if rate == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	hit := s.dice.Float64() < rate
	if hit {
		s.store.stats.Corrupted++
	}
	return hit
}

// written lets the response go that waited for a receipt.
func (s *Simulator) written(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if holder := it.holds; holder != nil {
		it.holds = nil
		holder.poke()
	}
}

func (s *Simulator) holds(it *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return it.holds != nil
}

// frozen returns what is closed when all goes on, nil if nothing stands still.
func (s *Simulator) frozen() <-chan struct{} {
	if !s.faults.Load().Freeze {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.thaw
}

func (s *Simulator) postpone(items []*item, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		s.store.postpone(it, now)
	}
}

// tell calls the hook with what has been heard since, in order, without the lock.
func (s *Simulator) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.telling {
		return // whoever does goes on with ours
	}
	s.telling = true
	for len(s.heard) > 0 {
		batch, hook := s.heard, s.hook
		s.heard = nil
		s.mu.Unlock()
		for _, h := range batch {
			hook(h.number, h.from, h.text)
		}
		s.mu.Lock()
	}
	s.telling = false
}
