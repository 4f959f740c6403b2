package link

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Version of the link's protocol.
const Version = 1

// What ends a link or a stripe; each is logged once with its cause.
var (
	ErrSilent     = errors.New("link: nothing heard on any stripe")
	ErrOldEpoch   = errors.New("link: frame of another epoch")
	ErrProtocol   = errors.New("link: peer breaks the protocol")
	ErrSuperseded = errors.New("link: the edge has begun another session")
)

// SessionConfig is what a link session needs, at either end.
type SessionConfig struct {
	Edge       string
	Sends      messages.Ring // hub: DOWN, edge: UP
	Dialer     *actor.PID    // edge: takes messages.DialStripe; nil at the hub
	Supervisor *actor.PID
	Stripes    int // edge: how many to open
	Metrics    Metrics
	Log        *zap.Logger

	Heartbeat time.Duration  // at least one frame each way on each stripe in this time; 0: 1 s
	Flush     time.Duration  // between two flushes; <0: RTT/40, 3 to 8 ms, and twice that while packets are lost
	Jitter    func() float64 // 0 <= x < 1, of waits before a stripe is dialled again; nil: random
}

// Attach tells a session its ring actors, once, after they are spawned.
type Attach struct {
	Buffer, Mirror *actor.PID
	Events         *actor.PID // edge: status log, hub: applier
}

// NewSession returns the props of the link session of one edge.
func NewSession(cfg SessionConfig) *actor.Props {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = time.Second
	}
	if cfg.Jitter == nil {
		cfg.Jitter = mathrand.Float64
	}
	owner := randomID() // of the rings, not of a run of this actor
	return actor.PropsFromProducer(func() actor.Actor {
		return &session{cfg: cfg, began: time.Now(), owner: owner}
	})
}

// session agrees where both sides stand and streams over the stripes.
//
//	        Hello sent or arrived     Welcome
//	down ─────────────────▶ syncing ─────────▶ streaming
//	 ▲                         │                  │
//	 └── no stripe lives ──────┴──────────────────┘   the supervisor hears Interrupted
//
// It holds no message: whatever is on its way when a stripe breaks is still in
// its slot and is sent again. It never brings the link back by itself: only a
// synchronisation actor does.
type session struct {
	cfg SessionConfig
	Attach
	phase phase

	sync       *actor.PID // the synchronisation actor, while there is one
	epoch      uint64
	id         []byte // of this link session
	instance   []byte // hub: of the edge's journal
	try        uint64 // of this round of dialling
	hub        string // that it dialled
	within     time.Duration
	moved      string // edge: where the hub of the link before sent it
	conns      []*actor.PID
	lines      stripes
	slots      uint32              // of each ring
	handling   handling            // frames whose peer waits
	early      []*messages.FrameIn // before Welcome was taken
	earlyBytes int
	hello      *messages.StripeUp // hub: the Hello to be answered
	latest     *messages.Hello    // hub: instance and number of the last that was not overtaken
	joins      []*messages.StripeUp
	first      int  // edge: the stripe that carries Hello; -1: none is up
	asked      bool // edge: Welcome has come

	out      outbox
	flushing bool
	flushed  time.Time // when last

	began   time.Time
	heardUS int64 // peer's clock in its last heartbeat
	heardAt time.Time
	states  [2]*messages.RingState // ours

	owner         []byte     // hub: names this ownership of the rings
	move          *Move      // hub: that is being prepared
	mover         *actor.PID // who waits for it
	movedTo       string     // hub: where the rings are now
	lastWord      bool       // hub: Moved is said
	peer          []*messages.RingState
	peerAsOf      time.Time
	lastResync    time.Duration
	interruptions int
}

type phase uint8

const (
	down phase = iota
	syncing
	streaming
)

type (
	tick           struct{}
	flushDue       struct{}
	moveOverdue    struct{ move *Move }
	connectOverdue struct{ try uint64 }
	welcomeOverdue struct{ try uint64 }
	redialDue      struct {
		try    uint64
		stripe uint32
	}
)

func (s *session) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		after(ctx, s.cfg.Heartbeat/2, tick{})
	case *Attach:
		s.Attach = *m
		s.tell(ctx, &Interrupted{Edge: s.cfg.Edge, Session: ctx.Self()})
	case *actor.Stopping:
		s.moveReady(ctx, 0)
		s.hangup(ctx, errors.New("link: stopping"))
	case *GetLink:
		ctx.Respond(s.state())
	case *messages.RingState:
		s.states[m.Ring%2] = m
	case *Handled:
		s.handling.back(m)
		s.passOn(ctx)
	case *Synchronised:
		s.lastResync = m.Took
		s.sync = nil
	case tick:
		s.onTick(ctx)
	case *ProtocolError:
		s.onProtocolError(ctx, m.Err)
	case *messages.StripeDown:
		s.onStripeDown(ctx, m)
	case *messages.FrameIn:
		s.onFrame(ctx, m)
	case *Synchronise:
		s.sync = ctx.Sender()
		if s.cfg.Dialer != nil {
			ctx.Respond(&Synchronising{Hub: s.moved})
			s.moved = ""
		}
		if s.hello != nil {
			ctx.Send(s.sync, &HelloArrived{Hello: s.hello.First.Hello, TLSAt: s.hello.TLSAt})
		}
	case joinOverdue:
		s.onJoinOverdue(ctx, m)
	case *Move:
		s.onMove(ctx, m)
	case moveOverdue:
		if m.move == s.move {
			s.moveReady(ctx, 0)
		}
	case *Moved:
		s.onMoved(ctx, m)
	case *messages.HubWarm: // asked by onPrepare
		if s.phase == streaming {
			s.sendOn(ctx, s.lines.choose(), &messages.Frame{Prepare: &messages.Prepare{Hub: m.Hub, Ready: true, Stripes: uint32(m.Stripes)}})
		}
	default:
		switch s.phase {
		case down:
			s.down(ctx)
		case syncing:
			s.syncing(ctx)
		case streaming:
			s.streaming(ctx)
		}
	}
}

// ---- down and syncing

func (s *session) down(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Connect:
		s.onConnect(ctx, m)
	case *messages.StripeUp:
		s.onStripeUp(ctx, m)
	}
}

func (s *session) syncing(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.StripeUp:
		s.onStripeUp(ctx, m)
	case *messages.StripeFailed:
		if m.Try == s.try && s.cfg.Dialer != nil && s.lines.live() == 0 && m.Stripe == 0 {
			s.giveUp(ctx, m.Err)
		} else if m.Try == s.try {
			s.redialLater(ctx, m.Stripe)
		}
	case redialDue: // not before there is a link
		if m.try == s.try {
			s.redialLater(ctx, m.stripe)
		}
	case connectOverdue:
		if m.try == s.try && s.first < 0 {
			s.giveUp(ctx, fmt.Errorf("link: no connection to %s in time", s.hub))
		}
	case welcomeOverdue:
		if m.try == s.try {
			s.giveUp(ctx, fmt.Errorf("link: no welcome from %s in time", s.hub))
		}
	case *SayHello:
		m.Hello.Session, m.Hello.Stripe = s.id, uint32(s.first)
		s.sendOn(ctx, s.first, &messages.Frame{Hello: m.Hello})
	case *Established:
		s.epoch = m.Epoch
		ctx.Send(s.Events, &EventsApplied{m.Applied})
		s.becomeStreaming(ctx)
	case *SayWelcome:
		s.onSayWelcome(ctx, m)
	case *SayRefused:
		s.onSayRefused(ctx, m)
	}
}

func (s *session) onConnect(ctx actor.Context, m *Connect) {
	s.try++
	s.hub, s.id, s.asked, s.first, s.within = m.Hub, randomID(), false, -1, m.Within
	s.phase = syncing
	for i := range s.cfg.Stripes {
		ctx.Request(s.cfg.Dialer, &messages.DialStripe{Hub: m.Hub, Stripe: uint32(i), Try: s.try, Within: m.Within})
	}
	after(ctx, 2*m.Within, connectOverdue{s.try}) // the dialer fails sooner where nothing answers
}

// giveUp ends an attempt of the edge to reach a hub.
func (s *session) giveUp(ctx actor.Context, err error) {
	s.try++
	s.hangup(ctx, err)
	s.phase = down
	if s.sync != nil {
		ctx.Send(s.sync, &ConnectFailed{err})
	}
}

func (s *session) onStripeUp(ctx actor.Context, m *messages.StripeUp) {
	if s.cfg.Dialer != nil {
		s.onDialled(ctx, m)
		return
	}
	switch {
	case s.lastWord:
		if s.movedTo != "" {
			ctx.Send(m.Conn, &messages.Frame{Redirect: &messages.Redirect{Hub: s.movedTo}})
		}
		ctx.Send(m.Conn, &messages.Hangup{Cause: errMoved})
	case m.Stripe >= maxStripes:
		ctx.Send(m.Conn, &messages.Hangup{Cause: fmt.Errorf("%w: stripe %d", ErrProtocol, m.Stripe)})
	case m.First.GetHello() != nil:
		if s.phase == streaming && !bytes.Equal(m.First.Hello.Instance, s.instance) {
			s.refuse(ctx, m, otherInstance(s.cfg.Edge)) // and the one that streams does not notice
			return
		}
		if why := OlderHello(m.First.Hello, s.latest); why != nil {
			s.refuse(ctx, m, why) // likewise
			return
		}
		if s.hello != nil || s.lines.live() > 0 {
			s.interrupt(ctx, ErrSuperseded)
		}
		s.hello, s.latest = m, &messages.Hello{Instance: m.First.Hello.Instance, Number: m.First.Hello.Number}
		s.phase = syncing
		if s.sync != nil {
			ctx.Send(s.sync, &HelloArrived{Hello: m.First.Hello, TLSAt: m.TLSAt})
		}
	case m.First.GetJoin() != nil:
		s.onJoin(ctx, m)
	}
}

// onDialled is the edge's: the first stripe carries Hello, the others Join.
func (s *session) onDialled(ctx actor.Context, m *messages.StripeUp) {
	if m.Try != s.try {
		ctx.Send(m.Conn, &messages.Hangup{Cause: ErrSuperseded})
		return
	}
	s.register(ctx, int(m.Stripe), m.Conn)
	if s.phase == syncing && s.first < 0 {
		s.first = int(m.Stripe)
		after(ctx, s.within+ownerWait, welcomeOverdue{s.try})
		if s.sync != nil {
			ctx.Send(s.sync, &Connected{TLSAt: m.TLSAt})
		}
		return
	}
	s.sendOn(ctx, int(m.Stripe), &messages.Frame{Join: &messages.Join{Edge: s.cfg.Edge, Session: s.id, Stripe: m.Stripe}})
}

// onJoin is the hub's: a further stripe of the session that said Hello, or of
// one whose Hello is still on its way.
func (s *session) onJoin(ctx actor.Context, m *messages.StripeUp) {
	j := m.First.Join
	switch {
	case s.id != nil && bytes.Equal(j.Session, s.id):
		s.register(ctx, int(m.Stripe), m.Conn)
	case len(s.joins) < maxStripes:
		s.joins = append(s.joins, m)
		after(ctx, 10*time.Second, joinOverdue{m.Conn})
	default:
		ctx.Send(m.Conn, &messages.Hangup{Cause: ErrSuperseded})
	}
}

type joinOverdue struct{ conn *actor.PID }

// ownerWait is how long a hub may look for the owner of an edge's rings before it
// answers Hello.
const ownerWait = 2 * time.Second

const (
	maxStripes    = 64
	maxEarly      = 4096 // frames: a window of data and heartbeats
	maxEarlyBytes = 64 << 20
)

func (s *session) onJoinOverdue(ctx actor.Context, m joinOverdue) {
	for i, j := range s.joins {
		if j.Conn.Equal(m.conn) {
			ctx.Send(m.conn, &messages.Hangup{Cause: errors.New("link: join without a hello")})
			s.joins = append(s.joins[:i], s.joins[i+1:]...)
			return
		}
	}
}

func (s *session) onSayWelcome(ctx actor.Context, m *SayWelcome) {
	if s.hello == nil || !bytes.Equal(s.hello.First.Hello.Session, m.Session) {
		return // the edge has begun anew meanwhile
	}
	s.epoch, m.Welcome.Owner, s.slots = m.Welcome.Epoch, s.owner, m.Welcome.GetDown().GetSlots()
	s.id, s.instance = s.hello.First.Hello.Session, s.hello.First.Hello.Instance
	s.register(ctx, int(s.hello.Stripe), s.hello.Conn)
	s.sendOn(ctx, int(s.hello.Stripe), &messages.Frame{Epoch: s.epoch, Welcome: m.Welcome})
	s.hello = nil
	joins := s.joins
	s.joins = nil
	for _, j := range joins {
		s.onJoin(ctx, j)
	}
	s.becomeStreaming(ctx)
}

func (s *session) onSayRefused(ctx actor.Context, m *SayRefused) {
	if s.hello == nil || !bytes.Equal(s.hello.First.Hello.Session, m.Session) {
		return // the edge has begun anew meanwhile
	}
	s.refuse(ctx, s.hello, m.Refused)
	s.hello = nil
	s.phase = down
}

// refuse answers a Hello that leads to no link, and closes its connection.
func (s *session) refuse(ctx actor.Context, hello *messages.StripeUp, why *messages.Refused) {
	s.cfg.Log.Warn("edge refused", zap.String("code", why.Code), zap.String("reason", why.Text), zap.String("peer", hello.Peer))
	ctx.Send(hello.Conn, &messages.Frame{Refused: why})
	ctx.Send(hello.Conn, &messages.Hangup{Cause: errors.New(why.Text)})
}

// ---- streaming

func (s *session) becomeStreaming(ctx actor.Context) {
	s.phase, s.lines.last = streaming, time.Now()
	s.cfg.Metrics.Up(true)
	s.cfg.Metrics.Epoch(s.epoch)
	s.heartbeat(ctx, true)
	for _, pid := range []*actor.PID{s.Buffer, s.Mirror, s.Events} {
		if pid != nil {
			ctx.Send(pid, &LinkUp{})
		}
	}
	early := s.early
	s.early, s.earlyBytes = nil, 0
	for _, m := range early {
		s.take(ctx, m)
	}
}

func (s *session) streaming(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Data:
		s.out.items = append(s.out.items, outItem{data: m})
		s.wantFlush(ctx)
	case *messages.Answer:
		s.out.items = append(s.out.items, outItem{answer: m})
		s.wantFlush(ctx)
	case *messages.Event:
		s.out.items = append(s.out.items, outItem{event: m})
		s.wantFlush(ctx)
	case *ConfirmedOut:
		s.out.confirmed, s.out.fresh = m.Progress, true
		s.wantFlush(ctx)
	case *ReleasedOut:
		s.out.released, s.out.fresh = m.Progress, true
		s.wantFlush(ctx)
	case *EventsAppliedOut:
		s.out.applied, s.out.fresh = m.Number, true
		s.wantFlush(ctx)
	case flushDue:
		s.flush(ctx)
	case *messages.StripeUp:
		s.onStripeUp(ctx, m)
	case *messages.StripeFailed:
		if m.Try == s.try {
			s.redialLater(ctx, m.Stripe)
		}
	case redialDue:
		if m.try == s.try && s.cfg.Dialer != nil {
			ctx.Request(s.cfg.Dialer, &messages.DialStripe{Hub: s.hub, Stripe: m.stripe, Try: s.try, Within: s.patience()})
		}
	}
}

func (s *session) redialLater(ctx actor.Context, stripe uint32) {
	after(ctx, 200*time.Millisecond+time.Duration(s.cfg.Jitter()*float64(800*time.Millisecond)), redialDue{s.try, stripe})
}

// wantFlush lets what is ready wait a little for company, the longer the sooner
// the flush before was: fewer packets mean fewer losses.
func (s *session) wantFlush(ctx actor.Context) {
	if s.flushing {
		return
	}
	s.flushing = true
	wait := s.cfg.Flush
	if wait < 0 {
		wait = min(max(s.lines.rtt/40, 3*time.Millisecond), 8*time.Millisecond)
	}
	if wait < time.Millisecond {
		ctx.Send(ctx.Self(), flushDue{}) // behind all that is ready now
		return
	}
	after(ctx, max(time.Millisecond, wait-time.Since(s.flushed)), flushDue{})
}

func (s *session) flush(ctx actor.Context) {
	s.flushing, s.flushed = false, time.Now()
	lossy := time.Now().Before(s.lines.lossy)
	copies := 1
	if lossy {
		copies = lossyCopies
	}
	frames := s.out.pack(lossy)
	taken := make([][]int, len(frames))
	for range copies { // the second of one frame does not hold up the first of another
		for k, p := range frames {
			if i := s.lines.choose(taken[k]...); i >= 0 {
				s.post(ctx, i, p.copy(), p.held)
				taken[k] = append(taken[k], i)
			}
		}
	}
}

// post sends a frame on a stripe.
func (s *session) post(ctx actor.Context, i int, f *messages.Frame, held carried) {
	f.Epoch = s.epoch
	f.Heard = s.lines.heard()
	f.Number = s.lines.sent(i, 64+proto.Size(f), held, time.Now())
	ctx.Send(s.conns[i], f)
}

func (s *session) sendOn(ctx actor.Context, i int, f *messages.Frame) {
	if i >= 0 {
		s.post(ctx, i, f, carried{})
	}
}

// ---- frames from the peer

func (s *session) onFrame(ctx actor.Context, m *messages.FrameIn) {
	i := s.indexOf(m.Conn)
	s.handling.begin(m, i >= 0)
	defer s.passOn(ctx)
	if i < 0 {
		return // of an earlier session
	}
	f := m.Frame
	s.lines.received(i, f.Number, f.Heard, time.Now())
	switch {
	case f.Welcome != nil && s.cfg.Dialer != nil && s.sync != nil && !s.asked:
		s.asked, s.slots = true, f.Welcome.GetDown().GetSlots() // a ring of another size is refused
		ctx.Send(s.sync, f.Welcome)
	case f.Refused.GetRejoin() != nil && s.cfg.Dialer != nil:
		s.giveUpOrInterrupt(ctx, &RejoinError{f.Refused.Rejoin})
	case f.Refused != nil && s.cfg.Dialer != nil:
		s.giveUpOrInterrupt(ctx, &RefusedError{f.Refused.Code, f.Refused.Text, f.Refused.Number})
	case f.Redirect != nil && s.cfg.Dialer != nil:
		s.giveUpOrInterrupt(ctx, &RedirectError{f.Redirect.Hub})
	case s.phase != streaming:
		if s.earlyBytes += 64 + proto.Size(f); len(s.early) >= maxEarly || s.earlyBytes > maxEarlyBytes {
			s.onProtocolError(ctx, fmt.Errorf("%w: %d frames with %d octets before welcome", ErrProtocol, len(s.early)+1, s.earlyBytes))
			return
		}
		s.early = append(s.early, m)
	default:
		s.take(ctx, m)
	}
}

func (s *session) passOn(ctx actor.Context) { s.handling.pass(ctx, s.Mirror, s.Buffer, s.Events) }

func (s *session) take(ctx actor.Context, m *messages.FrameIn) {
	f := m.Frame
	if f.Join != nil {
		return
	}
	if err := CheckFrame(f.Epoch, s.epoch); err != nil {
		s.onProtocolError(ctx, err)
		return
	}
	if err := CheckEntries(f, s.cfg.Sends, s.slots); err != nil {
		s.onProtocolError(ctx, err)
		return
	}
	for _, d := range f.Data {
		ctx.Send(s.Mirror, d)
	}
	for _, p := range f.Confirmed {
		ctx.Send(s.Buffer, &ProgressIn{p})
	}
	for _, a := range f.Answers {
		ctx.Send(s.Buffer, a)
	}
	for _, p := range f.Released {
		ctx.Send(s.Mirror, &ProgressIn{p})
	}
	if len(f.Events) > 0 && s.cfg.Dialer == nil && s.Events != nil {
		ctx.Send(s.Events, &EventsIn{f.Events})
	}
	if f.EventsApplied > 0 && s.cfg.Dialer != nil && s.Events != nil {
		ctx.Send(s.Events, &EventsApplied{f.EventsApplied})
	}
	if f.Heartbeat != nil {
		s.onHeartbeat(f.Heartbeat)
	}
	if f.Prepare != nil {
		s.onPrepare(ctx, f.Prepare)
	}
	if f.Moved != nil && s.cfg.Dialer != nil {
		s.interrupt(ctx, &RedirectError{f.Moved.Hub})
	}
}

// RefusedError is why a hub does not want this edge.
type RefusedError struct {
	Code, Text string
	Number     uint64 // with older_hello
}

func (e *RefusedError) Error() string { return "link: refused by the hub: " + e.Text }

// RedirectError names the hub that owns this edge's rings.
type RedirectError struct{ Hub string }

func (e *RedirectError) Error() string { return "link: rings are owned by the hub at " + e.Hub }

func (s *session) giveUpOrInterrupt(ctx actor.Context, err error) {
	if s.phase == streaming {
		s.interrupt(ctx, err)
		return
	}
	s.giveUp(ctx, err)
}

// ---- heartbeats and liveness

func (s *session) onTick(ctx actor.Context) {
	after(ctx, s.cfg.Heartbeat/2, tick{})
	for _, pid := range []*actor.PID{s.Buffer, s.Mirror} {
		if pid != nil {
			ctx.Request(pid, &GetState{})
		}
	}
	if s.phase != streaming {
		return
	}
	now := time.Now()
	if now.Sub(s.lines.last) > 3*s.cfg.Heartbeat { // whatever stripes were connected since
		s.interrupt(ctx, ErrSilent)
		return
	}
	for _, i := range s.lines.silent(s.patience(), now) {
		ctx.Send(s.conns[i], &messages.Hangup{Cause: fmt.Errorf("link: stripe %d silent for %v", i, s.patience())})
		s.loseStripe(ctx, i)
	}
	s.heartbeat(ctx, false)
	ctx.Send(s.Buffer, &AskAgain{OlderThan: 2 * s.patience()})
}

// patience is how long a single stripe may be silent.
func (s *session) patience() time.Duration { return max(3*s.cfg.Heartbeat, 4*s.lines.rtt) }

// heartbeat speaks on each stripe that was quiet, and on one that was not: it
// measures the round trip and shows the edge's rings.
func (s *session) heartbeat(ctx actor.Context, all bool) {
	now := time.Now()
	one := s.lines.choose()
	for i, c := range s.conns {
		if c == nil || (!all && i != one && now.Sub(s.lines.all[i].lastOut) < s.cfg.Heartbeat*2/5) {
			continue
		}
		h := &messages.Heartbeat{SentUs: now.Sub(s.began).Microseconds() + 1, EchoUs: s.heardUS}
		if s.heardUS != 0 {
			h.HeldUs = now.Sub(s.heardAt).Microseconds()
		}
		if s.cfg.Dialer != nil && i == one {
			for _, r := range s.states {
				if r != nil {
					h.Rings = append(h.Rings, r)
				}
			}
		}
		s.sendOn(ctx, i, &messages.Frame{Heartbeat: h})
	}
}

func (s *session) onHeartbeat(h *messages.Heartbeat) {
	now := time.Now()
	s.heardUS, s.heardAt = h.SentUs, now
	if h.EchoUs > 0 {
		if rtt := now.Sub(s.began) - time.Duration(h.EchoUs+h.HeldUs)*time.Microsecond; rtt > 0 && rtt < time.Minute {
			if s.lines.rtt == 0 || rtt < s.lines.rtt {
				s.lines.rtt = rtt
			} else {
				s.lines.rtt += (rtt - s.lines.rtt) / 8
			}
			s.cfg.Metrics.RTT(rtt)
		}
	}
	if len(h.Rings) > 0 {
		s.peer, s.peerAsOf = h.Rings, now
	}
}

// ---- stripes that end

func (s *session) onStripeDown(ctx actor.Context, m *messages.StripeDown) {
	if s.hello != nil && s.hello.Conn.Equal(m.Conn) {
		s.hello = nil
		s.phase = down
		return
	}
	s.joins = slices.DeleteFunc(s.joins, func(j *messages.StripeUp) bool { return j.Conn.Equal(m.Conn) })
	i := s.indexOf(m.Conn)
	if i < 0 {
		return
	}
	if s.phase != streaming {
		s.conns[i] = nil
		s.lines.down(i)
		if i == s.first || s.lines.live() == 0 {
			s.giveUp(ctx, m.Err)
		} else if s.cfg.Dialer != nil {
			s.redialLater(ctx, uint32(i))
		}
		return
	}
	s.cfg.Log.Info("stripe lost", zap.Int("stripe", i), zap.Error(m.Err))
	s.loseStripe(ctx, i)
}

// loseStripe sends again what the stripe carried last, or ends the session with
// the last one.
func (s *session) loseStripe(ctx actor.Context, i int) {
	s.conns[i] = nil
	lost := s.lines.down(i)
	if s.lines.live() == 0 {
		s.interrupt(ctx, errors.New("link: the last stripe is lost"))
		return
	}
	s.sendAgain(ctx, lost)
	if s.cfg.Dialer != nil {
		s.redialLater(ctx, uint32(i))
	}
}

func (s *session) sendAgain(ctx actor.Context, lost []carried) {
	data, answers, event := gather(lost)
	ctx.Send(s.Buffer, &AgainLost{data})
	ctx.Send(s.Mirror, &AgainLost{answers})
	if event != 0 {
		ctx.Send(s.Events, &EventsLost{From: event})
	}
	s.out.fresh = true
	s.wantFlush(ctx)
}

func (s *session) onProtocolError(ctx actor.Context, err error) {
	s.cfg.Log.Error("closing the link", zap.Error(err))
	s.giveUpOrInterrupt(ctx, err)
}

// interrupt ends the session: the supervisor has a synchronisation actor bring
// it back.
func (s *session) interrupt(ctx actor.Context, err error) {
	was := s.phase == streaming
	s.moveReady(ctx, 0) // nothing to keep up
	s.try++
	s.hangup(ctx, err)
	s.phase = down
	if !was {
		return
	}
	s.sync = nil // of the interruption before this one; the supervisor replaces it
	s.interruptions++
	s.cfg.Metrics.Up(false)
	s.cfg.Metrics.Reconnected(reason(err))
	var redirect *RedirectError
	if errors.As(err, &redirect) {
		s.moved = redirect.Hub
	}
	s.cfg.Log.Warn("link interrupted", zap.Error(err))
	for _, pid := range []*actor.PID{s.Buffer, s.Mirror, s.Events} {
		if pid != nil {
			ctx.Send(pid, &LinkDown{})
		}
	}
	s.tell(ctx, &Interrupted{Edge: s.cfg.Edge, Session: ctx.Self()})
}

func reason(err error) string {
	var redirect *RedirectError
	switch {
	case errors.Is(err, ErrSilent):
		return "silent"
	case errors.Is(err, ErrSuperseded):
		return "superseded"
	case errors.As(err, &redirect):
		return "moved"
	case errors.Is(err, ErrProtocol), errors.Is(err, ErrOldEpoch):
		return "protocol"
	}
	return "broken"
}

func (s *session) hangup(ctx actor.Context, err error) {
	for i, c := range s.conns {
		if c != nil {
			ctx.Send(c, &messages.Hangup{Cause: err})
			s.conns[i] = nil
		}
	}
	if s.hello != nil {
		ctx.Send(s.hello.Conn, &messages.Hangup{Cause: err})
		s.hello = nil
	}
	for _, j := range s.joins {
		ctx.Send(j.Conn, &messages.Hangup{Cause: err})
	}
	s.handling.end()
	s.joins, s.early, s.earlyBytes, s.id, s.out, s.peer = nil, nil, 0, nil, outbox{}, nil
	s.lines = s.lines.anew()
	s.heardUS = 0
	s.flushing = false // a flushDue that comes while down is for nobody
}

// ---- small things

// register puts a connection into its place; an older one there is replaced.
func (s *session) register(ctx actor.Context, i int, conn *actor.PID) {
	for len(s.conns) <= i {
		s.conns = append(s.conns, nil)
	}
	if old := s.conns[i]; old != nil {
		ctx.Send(old, &messages.Hangup{Cause: ErrSuperseded})
		s.sendAgain(ctx, s.lines.down(i))
	}
	s.conns[i] = conn
	s.lines.up(i, time.Now())
}

func (s *session) indexOf(conn *actor.PID) int {
	for i, c := range s.conns {
		if c != nil && c.Equal(conn) {
			return i
		}
	}
	return -1
}

func (s *session) tell(ctx actor.Context, m any) {
	if s.cfg.Supervisor != nil {
		ctx.Send(s.cfg.Supervisor, m)
	}
}

func (s *session) state() *LinkState {
	l := &LinkState{
		State: "interrupted", Epoch: s.epoch, Stripes: s.lines.live(), RTT: s.lines.rtt, Synchronising: s.sync != nil,
		Own: s.states[:], Peer: s.peer, PeerAsOf: s.peerAsOf, LastResync: s.lastResync, Interruptions: s.interruptions,
	}
	switch {
	case s.phase == syncing, s.phase == streaming && s.sync != nil:
		l.State = "synchronising"
	case s.phase == streaming:
		l.State = "up"
	}
	return l
}

func randomID() []byte {
	id := make([]byte, 16)
	rand.Read(id) // never fails (crypto/rand)
	return id
}
