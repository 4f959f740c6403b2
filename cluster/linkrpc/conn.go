// Package linkrpc carries the link's frames: a gRPC service on its own port,
// TLS 1.3 with client certificates, one TCP connection a stripe. It is IO: it
// posts what comes to an actor and decides nothing about rings.
package linkrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	windowStream = 4 << 20 // flow control: the default ramps up over seconds
	windowConn   = 8 << 20
	creditFrames = 256 // received and not yet taken by the session; a frame counts as one for each
	creditOctets = 16 << 10
	queueFrames  = 4096 // waiting for a socket that does not take them
	queueOctets  = 16 << 20

	lastWords = 2 * time.Second // for what was written before the end to go out
)

var (
	errSlow  = errors.New("linkrpc: peer does not read")
	errOwner = errors.New("linkrpc: the link session of this stripe has ended")
)

// stream is either end of Link.Stripe.
type stream interface {
	Send(*messages.Frame) error
	Recv() (*messages.Frame, error)
	Context() context.Context
}

// conn is the actor that owns a stripe: frames it is sent go out in order, what
// comes in goes to owner. Its last word is StripeDown.
type conn struct {
	stream stream
	cancel context.CancelFunc // ends the stream at once
	owner  *actor.PID
	out    chan *messages.Frame
	octets atomic.Int64  // of the frames in out, and of the one that is being written
	ended  chan struct{} // closed when the actor has stopped
	wrote  chan struct{} // closed when nothing will be written any more
	cause  error
}

// hungUp comes from the reader or the writer.
type hungUp struct{ err error }

func newConn(s stream, cancel context.CancelFunc, owner *actor.PID) *conn {
	return &conn{stream: s, cancel: cancel, owner: owner, out: make(chan *messages.Frame, queueFrames), ended: make(chan struct{}), wrote: make(chan struct{})}
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
		if c.octets.Add(int64(proto.Size(m))) > queueOctets {
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
	defer c.cancel()
	for f := range c.out {
		err := c.stream.Send(f)
		c.octets.Add(-int64(proto.Size(f)))
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

// read posts frames until the stream ends.
func (c *conn) read(root *actor.RootContext, self *actor.PID) {
	credit := make(chan struct{}, creditFrames)
	for {
		f, err := c.stream.Recv()
		if err != nil {
			root.Send(self, hungUp{fmt.Errorf("linkrpc: %w", err)})
			return
		}
		credits := min(1+proto.Size(f)/creditOctets, creditFrames)
		for range credits {
			select {
			case credit <- struct{}{}:
			case <-c.ended:
				return
			case <-c.stream.Context().Done():
				root.Send(self, hungUp{fmt.Errorf("linkrpc: %w", context.Cause(c.stream.Context()))})
				return
			}
		}
		root.Send(c.owner, &messages.FrameIn{Conn: self, Frame: f, Credit: credit, Credits: credits})
	}
}
