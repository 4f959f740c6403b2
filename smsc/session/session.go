package session

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/scheduler"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/conn"
)

// Config is what a session needs.
type Config struct {
	Name     string // unique in the edge and the same after a restart: it stands in the journal
	Address  string // for logs
	Protocol smsc.Protocol
	Machine  smsc.Config
	// Dial opens the socket: conn.Dialer(Address), say. With Accepts it waits for the
	// SMSC, which dials and says by an outbind whom it wants (SMPP).
	Dial        func(ctx context.Context) (net.Conn, error)
	Accepts     bool
	DialTimeout time.Duration
	// Zone is that of the SMSC's clock, for what is said as a date; nil: not known. Then
	// an SMSC that can be asked is asked for its time.
	Zone       *time.Location
	Redial     Backoff // after the line broke, e.g. 0.2 s to 30 s
	RedialSlow Backoff // after a refused login, e.g. 30 s to 5 min
}

// The messages between a session and the outlet and inlet.
type (
	submit struct { // outlet to session
		ref  uint64
		part smsc.Part
		// throttled is how many throttled answers of this session the outlet knows
		// of. Fewer than there were: it goes back, another one may have to go first.
		throttled uint64
	}
	answered struct { // session to outlet: exactly one for each submit
		name    string
		ref     uint64
		outcome smsc.Outcome
		sent    bool // else it never reached the machine, and there is no outcome
		took    time.Duration
	}
	sessionUp   struct{ name string }
	sessionDown struct{ name string } // before the answers to what was open
	logout      struct{}              // outlet to session: end in an orderly way, then stop

	delivered struct { // session to inlet, which answers with taken
		session *actor.PID
		name    string
		round   uint64
		ref     uint64
		deliver smsc.Deliver
	}
	reported struct { // session to inlet, which answers with taken
		session *actor.PID
		name    string
		round   uint64
		ref     uint64
		receipt smsc.Receipt
	}
	taken struct { // inlet to session: durable, or refused
		round, ref uint64
		ok         bool
	}
)

// Timers.
type (
	redialDue struct{ round uint64 }
	alarmDue  struct {
		round uint64
		at    time.Time
	}
)

// session is one bind or login: it owns the socket, the timers and the machine
// that knows the protocol's rules.
//
//	       redialDue               Opened            Bound
//	down ────────────▶ connecting ────────▶ binding ───────▶ bound
//	 ▲                     │                   │               │ Logout, session at fault
//	 │                     │                   │               ▼
//	 └──────── Closed ─────┴───────────────────┴──────────── closing
//
// The outlet hears sessionUp once the session can submit, and exactly one
// answered for every submit. Whatever waits when the SMSC throttles goes back
// unsent: the outlet pauses, and puts what was throttled first. A session that fails is stopped and replaced by
// the outlet, which counts what it had open as in doubt.
type session struct {
	cfg     Config
	smsc    string
	metrics Metrics
	log     *zap.Logger
	jitter  func() float64
	now     func() time.Time // what people's clocks show; what lasts is measured by time.Now
	inlet   *actor.PID

	conn    *conn.Conn   // nil: down
	machine smsc.Machine // of this connection
	round   uint64       // counts connections; messages of earlier ones are dropped
	up      bool         // the outlet was told so
	state   string       // as last told
	leaving bool         // stop when the connection is gone
	fault   bool         // the SMSC says the session is at fault: log in anew
	retry   smsc.Retry   // how the machine ended
	why     error        // why it ended
	broken  int          // attempts in a row that led to nothing
	refused int          // refused logins in a row
	boundAt time.Time    // of this connection; zero: not yet
	alarms  alarms
	clock   clock    // asked for where there is no Zone
	submits []submit // not yet given to the machine: at most the window

	throttled uint64 // answers of this actor's connections that were

	began   map[uint64]time.Time
	open    map[uint64]struct{} // refs handed to the inlet and not yet answered
	effects []smsc.Effect
}

// newSession returns the props of a session. It runs on the goroutine that has
// news for it, the socket's reader or the outlet's: it never blocks, and each
// hop between goroutines would cost the stop-and-wait loop time.
func newSession(cfg Config, o *OutletConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &session{
			cfg: cfg, smsc: o.SMSC, metrics: o.Metrics, inlet: o.Inlet, jitter: o.Jitter, now: o.Now,
			log: o.Logger.With(zap.String("smsc", o.SMSC), zap.String("session", cfg.Name),
				zap.String("address", cfg.Address), zap.String("user", cfg.Machine.User)),
			began: map[uint64]time.Time{}, open: map[uint64]struct{}{},
		}
	}, actor.WithDispatcher(actor.NewSynchronizedDispatcher(300)))
}

func (s *session) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.connect(ctx)
	case *actor.Stopping:
		s.onStopping(ctx)
	case redialDue:
		if m.round == s.round && s.conn == nil {
			s.connect(ctx)
		}
	case conn.Opened:
		if m.Conn == s.conn {
			s.handle(ctx, smsc.Connected{Accepted: s.cfg.Accepts})
		}
	case conn.Packet:
		s.onPacket(ctx, m)
	case conn.Garbled:
		s.onGarbled(ctx, m)
	case conn.Closed:
		s.onClosed(ctx, m)
	case alarmDue:
		s.onAlarmDue(ctx, m)
	case submit:
		s.onSubmit(ctx, m)
	case taken:
		s.onTaken(ctx, m)
	case logout:
		s.onLogout(ctx)
	}
	if s.conn != nil {
		s.conn.Flush()
	}
}

func (s *session) connect(ctx actor.Context) {
	s.round++
	s.machine = s.cfg.Protocol.New(s.cfg.Machine)
	s.alarms = alarms{}
	if s.cfg.Zone == nil && s.cfg.Protocol.TellsTime {
		s.clock.connected(time.Now())
	}
	s.fault, s.retry, s.why, s.boundAt = false, smsc.RetrySoon, nil, time.Time{}
	root, self := ctx.ActorSystem().Root, ctx.Self()
	s.conn = conn.Open(conn.Config{
		Dial: s.cfg.Dial, DialTimeout: s.cfg.DialTimeout, Read: s.cfg.Protocol.Reader(),
		Post: func(message any) { root.Send(self, message) },
	})
	s.tellState("connecting")
}

func (s *session) onPacket(ctx actor.Context, m conn.Packet) {
	if m.Conn != s.conn {
		return
	}
	before := len(s.open)
	s.handle(ctx, smsc.Received{Packet: m.Packet})
	if s.conn != nil && len(s.open) <= before { // what the inlet has is Taken when it answers
		s.conn.Taken()
	}
}

func (s *session) onGarbled(ctx actor.Context, m conn.Garbled) {
	if m.Conn != s.conn {
		return
	}
	s.log.Warn("the SMSC sent what is no packet", zap.Error(m.Err))
	s.handle(ctx, smsc.Garbled{Err: m.Err})
	var syntax *smsc.SyntaxError
	if errors.As(m.Err, &syntax) && syntax.Fatal {
		s.conn.Close()
		return
	}
	s.conn.Taken()
}

// handle gives the machine an event and does what it asks for.
func (s *session) handle(ctx actor.Context, ev smsc.Event) {
	s.step(ctx, ev)
	s.pump(ctx)
}

func (s *session) onSubmit(ctx actor.Context, m submit) {
	s.submits = append(s.submits, m)
	if m.throttled != s.throttled { // the outlet is yet to hear that it has to pause
		s.returnSubmits(ctx)
		return
	}
	s.pump(ctx)
}

// pump gives the machine what it is ready for: with a window of 1, stop and wait.
func (s *session) pump(ctx actor.Context) {
	if s.conn == nil {
		s.returnSubmits(ctx)
		return
	}
	s.askTime(ctx)
	for len(s.submits) > 0 && s.machine.Ready() > 0 && !s.clock.awaited() {
		next := s.submits[0]
		s.submits = s.submits[1:]
		now := time.Now()
		s.began[next.ref] = now
		ev := smsc.Submit{Ref: next.ref, Part: next.part, Now: s.clock.at(now)}
		if s.cfg.Zone != nil {
			ev.Now = s.now().In(s.cfg.Zone)
		}
		s.step(ctx, ev)
	}
	switch state := s.machine.State(); {
	case state == "bound" && !s.up && s.machine.Ready() > 0 && !s.leaving && !s.fault:
		s.up = true
		ctx.Send(ctx.Parent(), sessionUp{s.cfg.Name})
	case state == "closing" || state == "closed" && s.up:
		s.tellDown(ctx)
		s.returnSubmits(ctx)
	}
	s.tellState(s.machine.State())
}

// askTime asks for the SMSC's time where it is wanted, before any submit.
func (s *session) askTime(ctx actor.Context) {
	if !s.clock.next.IsZero() && s.machine.Ready() > 0 && s.clock.ask(time.Now()) {
		s.step(ctx, smsc.AskTime{})
	}
}

func (s *session) onTimeTold(e smsc.TimeTold) {
	now := time.Now()
	s.clock.told(e.At, now)
	if e.At.IsZero() {
		s.log.Info("the SMSC does not tell its time: validities go in steps of minutes to weeks, rounded up, unless its zone is configured")
	} else {
		s.log.Debug("the SMSC's clock", zap.Duration("ahead", e.At.Sub(now)), zap.Time("asked_again", s.clock.next))
	}
}

// step is one question to the machine. The outlet hears that the session is
// down before it hears what that did to the open submits.
func (s *session) step(ctx actor.Context, ev smsc.Event) {
	s.effects = s.machine.Handle(ev, s.effects[:0])
	if s.up && s.machine.State() != "bound" {
		s.tellDown(ctx)
	}
	for _, effect := range s.effects {
		s.perform(ctx, effect)
	}
	if s.fault && s.machine.State() == "bound" {
		s.fault = false
		s.step(ctx, smsc.Logout{})
	}
}

func (s *session) perform(ctx actor.Context, effect smsc.Effect) {
	switch e := effect.(type) {
	case smsc.Write:
		s.conn.Write(e.Octets)
	case smsc.Bound:
		s.refused, s.boundAt = 0, time.Now()
		s.log.Info("bound")
		ctx.Send(s.inlet, linked{s.cfg.Name, true})
	case smsc.Answered:
		s.onAnswered(ctx, e)
	case smsc.TimeTold:
		s.onTimeTold(e)
	case smsc.Delivered:
		s.open[e.Ref] = struct{}{}
		ctx.Send(s.inlet, delivered{ctx.Self(), s.cfg.Name, s.round, e.Ref, e.Deliver})
	case smsc.Reported:
		s.open[e.Ref] = struct{}{}
		ctx.Send(s.inlet, reported{ctx.Self(), s.cfg.Name, s.round, e.Ref, e.Receipt})
	case smsc.SetTimer:
		s.ring(ctx, s.alarms.add(e.Timer, time.Now().Add(e.After)))
	case smsc.StopTimer:
		s.alarms.stop(e.Name)
	case smsc.Close:
		s.retry, s.why = e.Retry, e.Err
		s.conn.Close()
	}
}

func (s *session) onAnswered(ctx actor.Context, e smsc.Answered) {
	var took time.Duration
	if began, ok := s.began[e.Ref]; ok {
		took = time.Since(began)
		delete(s.began, e.Ref)
	}
	switch e.Outcome.Fate {
	case smsc.BadSession:
		s.fault = true
		s.log.Warn("the SMSC says that the session is at fault; logging in anew",
			zap.String("code", e.Outcome.Code), zap.String("text", e.Outcome.Text))
		s.tellDown(ctx)
	case smsc.Unknown:
	default:
		s.broken = 0
	}
	ctx.Send(ctx.Parent(), answered{s.cfg.Name, e.Ref, e.Outcome, true, took})
	if e.Outcome.Fate == smsc.Throttled { // told first, so that what goes back meets the pause
		s.throttled++
		s.returnSubmits(ctx)
	}
}

func (s *session) onTaken(ctx actor.Context, m taken) {
	if _, ok := s.open[m.ref]; !ok || m.round != s.round || s.conn == nil {
		return // of an earlier connection: the SMSC will hand it over again
	}
	delete(s.open, m.ref)
	s.broken = 0
	if m.ok {
		s.handle(ctx, smsc.Accept{Ref: m.ref})
	} else {
		s.handle(ctx, smsc.Refuse{Ref: m.ref})
	}
	if s.conn != nil {
		s.conn.Taken()
	}
}

func (s *session) onLogout(ctx actor.Context) {
	s.leaving = true
	s.tellDown(ctx)
	s.returnSubmits(ctx)
	switch {
	case s.conn == nil:
		ctx.Stop(ctx.Self())
	case s.machine.State() == "bound":
		s.handle(ctx, smsc.Logout{})
	default:
		s.conn.Close()
	}
}

// onClosed ends a connection, whoever closed it.
func (s *session) onClosed(ctx actor.Context, m conn.Closed) {
	if m.Conn != s.conn {
		return
	}
	s.step(ctx, smsc.Disconnected{Err: m.Err})
	s.tellDown(ctx)
	s.conn = nil
	ctx.Send(s.inlet, linked{s.cfg.Name, false})
	clear(s.open)
	clear(s.began)
	s.returnSubmits(ctx)
	s.tellState("down")
	if s.leaving {
		ctx.Stop(ctx.Self())
		return
	}
	why := s.why
	if why == nil {
		why = m.Err
	}
	if !s.boundAt.IsZero() && time.Since(s.boundAt) > s.cfg.Redial.Max {
		s.broken = 0
	}
	var pause time.Duration
	if remedy := conn.TLSRemedy(why); remedy != "" {
		pause = s.cfg.RedialSlow.After(s.refused, s.jitter())
		s.refused++
		s.log.Warn("TLS with the SMSC failed; trying again later", zap.String("remedy", remedy), zap.Error(why), zap.Duration("again_in", pause))
	} else if s.retry == smsc.RetrySlow {
		pause = s.cfg.RedialSlow.After(s.refused, s.jitter())
		s.refused++
		s.log.Warn("the SMSC refuses the login: check user, password and what the operator allows; trying again later",
			zap.Error(why), zap.Duration("again_in", pause))
	} else {
		pause = s.cfg.Redial.After(s.broken, s.jitter())
		s.broken++
		s.log.Info("the connection to the SMSC ended", zap.Error(why), zap.Duration("again_in", pause))
	}
	scheduler.NewTimerScheduler(ctx.ActorSystem().Root).SendOnce(pause, ctx.Self(), redialDue{s.round})
}

// onStopping: what is open is accounted for by the outlet when it sees this
// actor end.
func (s *session) onStopping(ctx actor.Context) {
	s.tellDown(ctx)
	if s.conn != nil {
		s.conn.Close()
		ctx.Send(s.inlet, linked{s.cfg.Name, false})
	}
	s.tellState("down")
}

// returnSubmits gives back what the machine never saw.
func (s *session) returnSubmits(ctx actor.Context) {
	for _, m := range s.submits {
		ctx.Send(ctx.Parent(), answered{name: s.cfg.Name, ref: m.ref})
	}
	s.submits = nil
}

func (s *session) tellDown(ctx actor.Context) {
	if s.up {
		s.up = false
		ctx.Send(ctx.Parent(), sessionDown{s.cfg.Name})
	}
}

func (s *session) tellState(state string) {
	if state == "closed" && s.conn != nil {
		state = "connecting"
	}
	if s.state != state {
		s.state = state
		s.metrics.State(s.cfg.Name, state)
	}
}

func (s *session) onAlarmDue(ctx actor.Context, m alarmDue) {
	if m.round != s.round || s.conn == nil {
		return
	}
	due, ring := s.alarms.rang(m.at, time.Now())
	s.ring(ctx, ring)
	for _, timer := range due {
		if s.conn != nil {
			s.handle(ctx, smsc.Due{Timer: timer})
		}
	}
}

// ring sets the clock; zero: it is set already. What is due at once needs none.
func (s *session) ring(ctx actor.Context, at time.Time) {
	if at.IsZero() {
		return
	}
	if after := time.Until(at); after > 0 {
		scheduler.NewTimerScheduler(ctx.ActorSystem().Root).SendOnce(after, ctx.Self(), alarmDue{s.round, at})
	} else {
		ctx.Send(ctx.Self(), alarmDue{s.round, at})
	}
}
