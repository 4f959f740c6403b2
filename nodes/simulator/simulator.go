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
// and has one deliver or receipt unanswered in a session.
package simulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// Config of New. The zero value listens nowhere: it has only its Handler.
type Config struct {
	CIMD2, SMPP, HTTP string // host:port to listen on, port 0: any; empty: not at all

	User, Password string        // who may log in; User empty: anybody
	MaxSessions    int           // logins beyond it are refused; 0: no limit
	Latency        time.Duration // time the SMSC takes for one message, either way
	Faults         Faults
	Seed           uint64 // of what Faults draw; 0: drawn, and logged

	Validity          time.Duration // of a part that names none; 0: 24 h
	Window            int           // delivers and receipts unanswered in a session; 0: 1
	RetryAfter        time.Duration // until what the ESME refused for now is offered again; 0: 1 s
	ResponseTimeout   time.Duration // of an ESME; 0: 10 s
	InactivityTimeout time.Duration // silence that ends a session; 0: none
	Retrieving        bool          // CIMD2: deliver only when asked
	ResponseIDBase    int           // SMPP ids in submit_sm_resp, 10 or 16; 0: 10
	ReceiptIDBase     int           // SMPP ids in receipts, 10 or 16; 0: 10

	Discard bool // keep of what handsets receive only count and digest
	Log     *zap.Logger
}

// Message is a text that a handset has received.
type Message struct {
	From  string    `json:"from"`
	Text  string    `json:"text"`
	At    time.Time `json:"at"`    // when the last part came
	Parts int       `json:"parts"` // how many it came in
}

// Stats are counts since New, but for those said to be of this moment.
type Stats struct {
	Submitted        uint64 `json:"submitted"` // parts accepted
	Delivered        uint64 `json:"delivered"` // parts that reached a handset
	Expired          uint64 `json:"expired"`   // parts whose validity ended while the handset was off
	Throttled        uint64 `json:"throttled"`
	Rejected         uint64 `json:"rejected"`
	DroppedResponses uint64 `json:"dropped_responses"`
	ClosedByFault    uint64 `json:"closed_by_fault"`
	GarbageSent      uint64 `json:"garbage_sent"`
	Garbled          uint64 `json:"garbled"` // packets received that break the protocol's syntax
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
	MOAcked          uint64 `json:"mo_acked"`
	MORefused        uint64 `json:"mo_refused"` // for good
}

// Simulator is one SMSC. Its methods may be called by any goroutine.
type Simulator struct {
	cfg       Config
	log       *zap.Logger
	listeners map[string]net.Listener // by protocol, and http
	http      *http.Server
	cancel    context.CancelFunc
	tasks     sync.WaitGroup

	mu       sync.Mutex
	store    *store
	latency  time.Duration
	faults   Faults
	dice     *rand.Rand
	idle     map[*session]bool // wait for something to deliver
	sessions int

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
	cfg.ResponseIDBase = cmp.Or(cfg.ResponseIDBase, 10)
	cfg.ReceiptIDBase = cmp.Or(cfg.ReceiptIDBase, 10)
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	for _, base := range []int{cfg.ResponseIDBase, cfg.ReceiptIDBase} {
		if base != 10 && base != 16 {
			return nil, fmt.Errorf("simulator: id base %d: use 10 or 16", base)
		}
	}
	if err := errors.Join(cfg.Faults.check(), checkLatency(cfg.Latency)); err != nil {
		return nil, err
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Simulator{
		cfg: cfg, log: cfg.Log, listeners: map[string]net.Listener{}, cancel: cancel,
		store: newStore(cfg, time.Now()), latency: cfg.Latency, faults: cfg.Faults,
		dice: rand.New(rand.NewPCG(cfg.Seed, 0)), idle: map[*session]bool{},
	}
	s.log.Info("faults are drawn", zap.Uint64("seed", cfg.Seed))
	for name, address := range map[string]string{cimd2.Protocol.Name: cfg.CIMD2, smpp.Protocol.Name: cfg.SMPP, "http": cfg.HTTP} {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("simulator: %s on %s: %w", name, address, err)
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

func checkLatency(d time.Duration) error {
	if d < 0 || d > time.Hour {
		return fmt.Errorf("simulator: latency is %v: give 0 to 1h", d)
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
		alarm, err := newAlarm()
		if err != nil {
			s.log.Warn("connection refused", zap.Error(err))
			_ = conn.Close()
			continue
		}
		session := &session{
			ctx: ctx, sim: s, protocol: p, conn: conn, alarm: alarm,
			log: s.log.With(zap.String("protocol", p.Name), zap.Stringer("peer", conn.RemoteAddr())),
			machine: p.NewServer(smsc.ServerConfig{
				Window: s.cfg.Window, ResponseTimeout: s.cfg.ResponseTimeout, InactivityTimeout: s.cfg.InactivityTimeout,
				LoginTimeout: 30 * time.Second, SystemID: "ringway-smsc",
			}),
			events: make(chan smsc.Event, 64), wake: make(chan struct{}, 1),
			timers: map[string]timer{}, sent: map[uint64]*item{},
		}
		s.tasks.Go(func() { session.run() })
	}
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
			if s.store.tick(now) {
				s.wakeLocked()
			}
			s.mu.Unlock()
		}
	}
}

// wakeLocked tells the sessions that wait for something to deliver.
func (s *Simulator) wakeLocked() {
	for session := range s.idle {
		delete(s.idle, session)
		select {
		case session.wake <- struct{}{}:
		default:
		}
	}
}

// What follows is for sessions.

func (s *Simulator) login(session *session, e smsc.LoginReceived) smsc.LoginResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := s.cfg.User == "" || e.User == s.cfg.User && e.Password == s.cfg.Password
	if s.cfg.MaxSessions > 0 && s.sessions >= s.cfg.MaxSessions {
		ok = false
	}
	if !ok {
		s.store.stats.LoginsRefused++
		session.log.Info("login refused", zap.String("user", e.User), zap.Int("sessions", s.sessions))
		return smsc.LoginResult{}
	}
	session.bound = true
	s.sessions++
	session.log.Info("login", zap.String("user", e.User), zap.String("mode", e.Mode))
	return smsc.LoginResult{OK: true, Retrieving: s.cfg.Retrieving}
}

func (s *Simulator) ended(session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session.bound {
		s.sessions--
	}
	delete(s.idle, session)
	for _, it := range slices.Backward(session.refused) {
		s.store.giveBack(it)
	}
	if s.store.anything() {
		s.wakeLocked()
	}
}

func (s *Simulator) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.store.stats)
}

func (s *Simulator) unanswered(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.stats.MaxUnanswered = max(s.store.stats.MaxUnanswered, n)
}

// submit decides on a part, and takes it if so decided.
func (s *Simulator) submit(session *session, part smsc.Part, now time.Time) (v verdict, junk []byte) {
	s.mu.Lock()
	defer s.tell()
	defer s.mu.Unlock()
	stats := &s.store.stats
	if !isNumber(part.To.String()) {
		stats.Rejected++
		return verdict{outcome: smsc.Outcome{Fate: smsc.Permanent}}, nil
	}
	v = s.faults.judge(s.dice)
	switch {
	case v.close:
		stats.ClosedByFault++
	case v.outcome.Fate == smsc.Throttled:
		stats.Throttled++
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
		v.outcome.ID = s.store.submit(session.protocol.Name, part, now)
		if len(s.idle) > 0 && s.store.anything() {
			s.wakeLocked()
		}
	}
	return v, junk
}

func (s *Simulator) take(session *session) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.store.take(session.protocol.Name)
	if it == nil {
		s.idle[session] = true
	}
	return it
}

func (s *Simulator) waiting(session *session) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.waitingFor(session.protocol.Name)
}

func (s *Simulator) acknowledged(it *item, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.acknowledged(it, ok)
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
