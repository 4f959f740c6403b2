package simulation

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/messages"
)

// wire is the WAN: stripes, each in order and at its own pace, on one path that
// can be cut. What is on its way when the path is cut comes after the cut, unless
// somebody has hung up by then.
type wire struct {
	sim     *sim
	world   *world
	cut     int           // cuts under way
	latency time.Duration // one way
	spread  time.Duration // more, by chance
	loss    float64       // of frames: these come late, and hold up those behind them
	stripes []*stripe     // that live
	number  int
}

// ends of a stripe.
const (
	atEdge = 0
	atHub  = 1
)

// stripe is one TCP connection.
type stripe struct {
	wire   *wire
	number int
	ends   [2]end
	began  time.Time
	first  bool // the hub has got its first frame
	dead   bool // in both directions, at once: what is on its way is gone
}

type end struct {
	process *process
	session *actor.PID
	conn    *actor.PID // nil: the hub's before the first frame
	closed  bool       // hung up, or told StripeDown
	arrives time.Time  // latest time at which something comes here
	held    []func()   // came to here during a cut
}

// newDialer is the edge's.
func (w *wire) newDialer(edge *process) *actor.Props {
	return actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.DialStripe); ok {
			w.dial(edge, ctx.Sender(), m, time.Now().Add(m.Within))
		}
	})
}

func (w *wire) dial(edge *process, session *actor.PID, m *messages.DialStripe, until time.Time) {
	w.sim.after(3*w.delay(), "dial", func() {
		hub := w.world.someHub()
		switch {
		case edge.dead:
		case w.cut > 0 && time.Now().Before(until): // another SYN
			w.sim.after(w.sim.between(100*time.Millisecond, time.Second), "dial again", func() { w.dial(edge, session, m, until) })
		case w.cut > 0, !hub.alive(), !time.Now().Before(until):
			edge.tell(session, &messages.StripeFailed{Stripe: m.Stripe, Try: m.Try, Err: errUnreachable})
		default:
			w.number++
			s := &stripe{wire: w, number: w.number, began: time.Now()}
			s.ends[atEdge] = end{process: edge, session: session}
			s.ends[atHub] = end{process: hub, session: hub.session}
			s.ends[atEdge].conn = edge.spawn(s.conn(atEdge), "conn")
			w.stripes = append(w.stripes, s)
			edge.tell(session, &messages.StripeUp{Conn: s.ends[atEdge].conn, Stripe: m.Stripe, Try: m.Try, Peer: "hub", TLSAt: s.began})
		}
	})
}

func (w *wire) delay() time.Duration { return w.latency + w.sim.between(0, w.spread) }

// conn is the actor at one end, as package linkrpc's.
func (s *stripe) conn(side int) *actor.Props {
	var cause error
	return actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case *messages.Frame:
			s.send(1-side, m)
		case *messages.Hangup:
			if cause == nil {
				cause = fmt.Errorf("simulation: hung up: %w", m.Cause)
				ctx.Stop(ctx.Self())
			}
		case *actor.Stopped:
			ctx.Send(s.ends[side].session, &messages.StripeDown{Conn: ctx.Self(), Err: cause})
			s.ends[side].closed = true
			s.travel(1-side, "fin", func() { s.end(1 - side) })
		}
	})
}

// send has a frame arrive at a side.
func (s *stripe) send(side int, f *messages.Frame) {
	octets, err := proto.Marshal(f)
	if err != nil {
		s.wire.sim.failed = fmt.Errorf("simulation: a frame cannot be encoded: %w", err)
		return
	}
	s.wire.world.said(s.ends[1-side].process, 1-side, f)
	s.travel(side, "frame", func() { s.arrive(side, octets) })
}

// travel has do happen at a side, in order.
func (s *stripe) travel(side int, name string, do func()) {
	w, e := s.wire, &s.ends[side]
	delay := w.delay()
	if w.sim.chance(w.loss) {
		delay += 2*w.latency + w.sim.between(10*time.Millisecond, time.Second) // TCP sends it again
	}
	at := time.Now().Add(delay)
	if at.Before(e.arrives) {
		at = e.arrives
	}
	e.arrives = at
	w.sim.after(time.Until(at), fmt.Sprintf("stripe %d to %s: %s", s.number, [2]string{"edge", "hub"}[side], name), func() {
		if w.cut > 0 || len(e.held) > 0 {
			e.held = append(e.held, do)
			return
		}
		do()
	})
}

// heal lets what was held come, when TCP tries again.
func (w *wire) heal() {
	for _, s := range w.stripes {
		for side := range s.ends {
			if e := &s.ends[side]; len(e.held) > 0 {
				w.sim.after(w.sim.between(w.latency, 3*time.Second), "after the cut", func() {
					if w.cut > 0 {
						return // the next healing has its own
					}
					held := e.held
					e.held = nil
					for _, do := range held {
						do()
					}
				})
			}
		}
	}
}

func (s *stripe) arrive(side int, octets []byte) {
	e := &s.ends[side]
	if s.dead || e.closed || e.process.dead {
		return
	}
	f := new(messages.Frame)
	if err := proto.Unmarshal(octets, f); err != nil {
		s.wire.sim.failed = fmt.Errorf("simulation: a frame cannot be decoded: %w", err)
		return
	}
	if side == atHub && !s.first {
		s.first = true
		e.conn = e.process.spawn(s.conn(atHub), "conn")
		e.process.tell(e.session, &messages.StripeUp{
			Conn: e.conn, Stripe: f.GetHello().GetStripe() + f.GetJoin().GetStripe(), Peer: "edge", First: f, TLSAt: s.began,
		})
		return
	}
	e.process.tell(e.session, &messages.FrameIn{Conn: e.conn, Frame: f})
}

// end is the stripe's end as one side sees it.
func (s *stripe) end(side int) {
	e := &s.ends[side]
	if e.closed || e.process.dead || e.conn == nil {
		e.closed = true
		return
	}
	e.process.tell(e.conn, &messages.Hangup{Cause: errUnreachable})
}

// reset ends a stripe at once, with all that is on its way.
func (s *stripe) reset() {
	s.dead = true
	for side := range s.ends {
		s.wire.sim.after(s.wire.sim.between(0, 2*time.Second), "reset", func() { s.end(side) })
	}
}

// processDied: the other end learns it at once from the kernel, or never.
func (w *wire) processDied(p *process, silent bool) {
	for _, s := range w.stripes {
		for side := range s.ends {
			if s.ends[side].process != p {
				continue
			}
			s.ends[side].closed = true
			if !silent {
				s.travel(1-side, "rst", func() { s.end(1 - side) })
			}
		}
	}
	w.sweep()
}

// sweep forgets stripes that both ends have closed.
func (w *wire) sweep() {
	live := w.stripes[:0]
	for _, s := range w.stripes {
		if !s.ends[atEdge].closed || !s.ends[atHub].closed {
			live = append(live, s)
		}
	}
	w.stripes = live
}
