package linkrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// DialerConfig is what the edge's end needs.
type DialerConfig struct {
	TLS        func() *tls.Config // the server's name is set from the address
	Congestion string             // TCP congestion control to ask the kernel for; "": its default
}

// NewDialer returns the props of the actor that opens stripes: each
// messages.DialStripe is answered by StripeUp or StripeFailed.
func NewDialer(cfg DialerConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &dialer{cfg} })
}

type dialer struct{ cfg DialerConfig }

func (d *dialer) Receive(ctx actor.Context) {
	if m, ok := ctx.Message().(*messages.DialStripe); ok {
		go d.dial(ctx.ActorSystem().Root, ctx.Sender(), m)
	}
}

func (d *dialer) dial(root *actor.RootContext, owner *actor.PID, m *messages.DialStripe) {
	if err := d.open(root, owner, m); err != nil {
		root.Send(owner, &messages.StripeFailed{Stripe: m.Stripe, Try: m.Try, Err: err})
	}
}

func (d *dialer) open(root *actor.RootContext, owner *actor.PID, m *messages.DialStripe) error {
	host, _, err := net.SplitHostPort(m.Hub)
	if err != nil {
		return fmt.Errorf("linkrpc: address of the hub: %w", err)
	}
	cfg := d.cfg.TLS()
	cfg.ServerName = host
	var last atomic.Pointer[error] // why the last attempt to connect failed: gRPC wraps it away
	cc, err := grpc.NewClient("passthrough:///"+m.Hub,
		grpc.WithTransportCredentials(Credentials(cfg, true)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			nd := net.Dialer{Control: congestion(d.cfg.Congestion)}
			c, err := nd.DialContext(ctx, "tcp", addr)
			last.Store(&err) // and tries again on a goroutine of its own
			return c, err
		}),
		grpc.WithInitialWindowSize(windowStream), grpc.WithInitialConnWindowSize(windowConn),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec()), grpc.MaxCallRecvMsgSize(MaxFrame), grpc.MaxCallSendMsgSize(MaxFrame)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: m.Within}),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(), grpc.WithIdleTimeout(0), grpc.WithDisableRetry(),
	)
	if err != nil {
		return fmt.Errorf("linkrpc: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	late := errors.New("no connection within " + m.Within.String())
	overdue := time.AfterFunc(m.Within, func() { cancel(late) })
	st, err := messages.NewLinkClient(cc).Stripe(ctx)
	if !overdue.Stop() {
		err = late // clearer than what gRPC makes of it
	}
	if err != nil {
		cancel(nil)
		cc.Close()
		if why := last.Load(); why != nil {
			err = errors.Join(err, *why)
		}
		return fmt.Errorf("linkrpc: %s: %w", m.Hub, err)
	}
	at := time.Now()
	if p, ok := peer.FromContext(st.Context()); ok {
		if info, ok := p.AuthInfo.(authInfo); ok {
			at = info.at
		}
	}
	c := newConn(st, func() { cancel(nil) }, owner)
	pid := root.SpawnPrefix(actor.PropsFromProducer(func() actor.Actor { return c }), "stripe")
	root.Send(owner, &messages.StripeUp{Conn: pid, Stripe: m.Stripe, Try: m.Try, Peer: m.Hub, TLSAt: at})
	c.read(root, pid)
	<-c.ended
	<-c.wrote
	cancel(nil)
	return cc.Close()
}
