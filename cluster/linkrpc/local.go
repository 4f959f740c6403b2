package linkrpc

import (
	"errors"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// NewLocalDialer returns the props of a dialer for an edge inside the hub's
// process: a stripe is a pair of actors, nothing is encoded. session finds the
// hub's link session.
func NewLocalDialer(session func() (*actor.PID, bool)) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &localDialer{session} })
}

type localDialer struct{ session func() (*actor.PID, bool) }

func (d *localDialer) Receive(ctx actor.Context) {
	if m, ok := ctx.Message().(*messages.WarmHub); ok {
		ctx.Respond(&messages.HubWarm{Hub: m.Hub, Stripes: m.Stripes}) // there is nothing to connect
		return
	}
	m, ok := ctx.Message().(*messages.DialStripe)
	if !ok {
		return
	}
	hub, ok := d.session()
	if !ok {
		ctx.Respond(&messages.StripeFailed{Stripe: m.Stripe, Try: m.Try, Err: errors.New("linkrpc: the hub has no session for this edge yet")})
		return
	}
	root, now := ctx.ActorSystem().Root, time.Now()
	hubEnd := &localConn{owner: hub, accepting: true, at: now}
	edgeEnd := &localConn{owner: ctx.Sender(), at: now}
	spawn := func(c *localConn) *actor.PID {
		return root.SpawnPrefix(actor.PropsFromProducer(func() actor.Actor { return c }), "stripe")
	}
	edgePID := spawn(edgeEnd)
	hubEnd.peer = edgePID // before its owner can be found to have ended
	root.Send(edgePID, other{spawn(hubEnd)})
	ctx.Respond(&messages.StripeUp{Conn: edgePID, Stripe: m.Stripe, Try: m.Try, Peer: "local", TLSAt: now})
}

// localConn is one end of a stripe inside the process.
type localConn struct {
	owner     *actor.PID
	peer      *actor.PID
	accepting bool // the hub's end: the first frame announces the stripe
	at        time.Time
	cause     error
}

type (
	other    struct{ pid *actor.PID }
	incoming struct{ frame *messages.Frame }
	closed   struct{}
)

func (c *localConn) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Watch(c.owner)
	case *actor.Terminated: // it has overtaken the owner's last words
		ctx.Send(ctx.Self(), &messages.Hangup{Cause: errOwner})
	case other:
		c.peer = m.pid
	case *messages.Frame:
		ctx.Send(c.peer, incoming{m})
	case incoming:
		c.onIncoming(ctx, m.frame)
	case *messages.Hangup:
		c.cause = m.Cause
		if c.peer != nil {
			ctx.Send(c.peer, closed{})
		}
		ctx.Stop(ctx.Self())
	case closed:
		c.cause = errors.New("linkrpc: the other end closed")
		ctx.Stop(ctx.Self())
	case *actor.Stopped:
		ctx.Send(c.owner, &messages.StripeDown{Conn: ctx.Self(), Err: c.cause})
	}
}

func (c *localConn) onIncoming(ctx actor.Context, f *messages.Frame) {
	if !c.accepting {
		ctx.Send(c.owner, &messages.FrameIn{Conn: ctx.Self(), Frame: f})
		return
	}
	c.accepting = false
	ctx.Send(c.owner, &messages.StripeUp{Conn: ctx.Self(), Stripe: f.GetHello().GetStripe() + f.GetJoin().GetStripe(), Peer: "local", First: f, TLSAt: c.at})
}
