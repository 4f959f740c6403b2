// Package linkrpc carries the link's frames: a gRPC service on its own port,
// TLS 1.3 with client certificates, one TCP connection a stripe. It is IO: it
// posts what comes to an actor and decides nothing about rings.
package linkrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
)

const (
	// MaxFrame bounds a frame that is received, in octets. The largest honest
	// one is a Hello of a ring with 65,535 slots.
	MaxFrame = 4 << 20

	// Flow control: gRPC's own ramps up over seconds. With 8 stripes it is 3.4 MB/s at a
	// round trip of 300 ms. A frame that is larger gets a larger window.
	windowStream = 128 << 10
	windowConn   = 1 << 20
	queueFrames  = 4096 // waiting for a socket that does not take them

	lastWords = 2 * time.Second  // for what was written before the end to go out
	grace     = 10 * time.Second // for the session to handle what came on a stripe that has ended
)

var (
	errSlow  = errors.New("linkrpc: peer does not read")
	errOwner = errors.New("linkrpc: the link session of this stripe has ended")
)

// stream is either end of Link.Stripe.
type stream interface {
	Send(*messages.Frame) error
	RecvMsg(m any) error
	Context() context.Context
}

// conn is the actor that owns a stripe: frames it is sent go out in order, what
// comes in goes to owner. Its last word is StripeDown.
type conn struct {
	stream stream
	cancel context.CancelFunc // ends the stream at once
	owner  *actor.PID
	peer   *account
	socket *admitted // nil at the dialling end
	first  bool      // the first frame is still to come, which may be large
	out    chan *messages.Frame
	octets atomic.Int64  // of the frames in out, and of the one that is being written
	ended  chan struct{} // closed when the actor has stopped
	wrote  chan struct{} // closed when nothing will be written any more
	cause  error

	reading context.Context
	enough  context.CancelFunc
	mu      sync.Mutex
	held    int64 // weight of what came and is not handled
	over    bool  // nothing is held any more
}

// hungUp comes from the reader or the writer.
type hungUp struct{ err error }

func newConn(s stream, cancel context.CancelFunc, owner *actor.PID, peer *account) *conn {
	c := &conn{stream: s, cancel: cancel, owner: owner, peer: peer, out: make(chan *messages.Frame, queueFrames), ended: make(chan struct{}), wrote: make(chan struct{})}
	c.reading, c.enough = context.WithCancel(s.Context())
	return c
}

// Receive takes frames to send and *messages.Hangup.
func (c *conn) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Watch(c.owner)
		go c.write(ctx.ActorSystem().Root, ctx.Self())
	case *actor.Terminated: // it has overtaken the owner's last words
		ctx.Send(ctx.Self(), hungUp{errOwner})
	case *messages.Frame:
		if c.cause != nil {
			return
		}
		c.owe(int64(proto.Size(m)))
		if c.peer.out.Load() > outOctets {
			c.end(ctx, errSlow)
			return
		}
		select {
		case c.out <- m:
		default:
			c.end(ctx, errSlow)
		}
	case *messages.Hangup:
		c.end(ctx, m.Cause)
	case hungUp:
		c.end(ctx, m.err)
	case *actor.Stopped:
		close(c.out) // what was written goes out first
		close(c.ended)
		c.enough()
		time.AfterFunc(grace, c.forget)
		time.AfterFunc(lastWords, c.cancel) // the peer may never read it
		ctx.Send(c.owner, &messages.StripeDown{Conn: ctx.Self(), Err: c.cause})
	}
}

func (c *conn) end(ctx actor.Context, cause error) {
	if c.cause == nil {
		c.cause = cause
		if c.cause == nil {
			c.cause = io.EOF
		}
		ctx.Stop(ctx.Self())
	}
}

func (c *conn) write(root *actor.RootContext, self *actor.PID) {
	defer close(c.wrote)
	defer func() { c.peer.out.Add(-c.octets.Swap(0)) }() // what nobody will write
	defer c.cancel()
	for f := range c.out {
		err := c.stream.Send(f)
		c.owe(-int64(proto.Size(f)))
		switch {
		case errors.Is(err, io.EOF): // the stream has ended: the reader hears why
			return
		case err != nil:
			root.Send(self, hungUp{fmt.Errorf("linkrpc: %w", err)})
			return
		}
	}
	if s, ok := c.stream.(interface{ CloseSend() error }); ok {
		_ = s.CloseSend() // the stream is over either way
	}
}

// owe counts what waits to be written.
func (c *conn) owe(octets int64) {
	c.octets.Add(octets)
	c.peer.out.Add(octets)
}

// read posts frames until the stream ends.
func (c *conn) read(root *actor.RootContext, self *actor.PID) {
	for {
		f, taken, err := c.next()
		if err != nil {
			root.Send(self, hungUp{fmt.Errorf("linkrpc: %w", err)})
			return
		}
		root.Send(c.owner, &messages.FrameIn{Conn: self, Frame: f, Taken: taken})
	}
}

func (c *conn) next() (f *messages.Frame, taken func(), err error) {
	f, weight, err := c.peer.receive(c.reading, c.stream, c.socket, c.first)
	if err != nil {
		return nil, nil, err
	}
	c.first = false
	c.hold(weight)
	return f, func() { c.hold(-weight) }, nil
}

func (c *conn) hold(weight int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if weight < 0 && !c.over {
		c.peer.in.Release(-weight)
	} else if weight > 0 && c.over {
		c.peer.in.Release(weight)
	}
	c.held += weight
}

// forget gives back what a session has not: it may have failed.
func (c *conn) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.peer.in.Release(c.held)
}
