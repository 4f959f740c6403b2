package linkrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/peer"
)

// DialerConfig is what the edge's end needs.
type DialerConfig struct {
	TLS        func() *tls.Config // the server's name is set from the address
	Congestion string             // TCP congestion control to ask the kernel for; "": its default
	KeepWarm   time.Duration      // how long a connection made ahead waits for its stream; 0: 8 s. A hub ends it after idleTime
}

// NewDialer returns the props of the actor that opens stripes: each
// messages.DialStripe is answered by StripeUp or StripeFailed, messages.WarmHub by
// HubWarm.
func NewDialer(cfg DialerConfig) *actor.Props {
	if cfg.KeepWarm == 0 {
		cfg.KeepWarm = 8 * time.Second
	}
	return actor.PropsFromProducer(func() actor.Actor {
		return &dialer{cfg: cfg, peer: newAccount(), warm: map[string][]*grpc.ClientConn{}, ended: make(chan struct{})}
	})
}

// dialer keeps connections to hubs that are about to be needed.
type dialer struct {
	cfg   DialerConfig
	peer  *account // its stripes are all of one link
	warm  map[string][]*grpc.ClientConn
	ended chan struct{}
}

type (
	warmed struct {
		hub   string
		conns []*grpc.ClientConn
		asked *actor.PID
		taken chan struct{} // closed by the dialer
	}
	warmOverdue struct {
		hub   string
		conns []*grpc.ClientConn
	}
)

func (d *dialer) Receive(ctx actor.Context) {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	switch m := ctx.Message().(type) {
	case *messages.DialStripe:
		go d.dial(root, ctx.Sender(), m, d.take(m.Hub))
	case *messages.WarmHub:
		asked := ctx.Sender()
		go func() {
			w := warmed{m.Hub, d.connect(m), asked, make(chan struct{})}
			root.Send(self, w)
			select {
			case <-w.taken:
			case <-d.ended:
				closeAll(w.conns)
			}
		}()
	case warmed:
		close(m.taken)
		d.warm[m.hub] = append(d.warm[m.hub], m.conns...)
		time.AfterFunc(d.cfg.KeepWarm, func() { root.Send(self, warmOverdue{m.hub, m.conns}) })
		ctx.Send(m.asked, &messages.HubWarm{Hub: m.hub, Stripes: len(m.conns)})
	case warmOverdue:
		d.forget(m.hub, m.conns)
	case *actor.Stopping:
		close(d.ended)
		for _, conns := range d.warm {
			closeAll(conns)
		}
	}
}

// take returns a connection to that hub that is up; nil: there is none.
func (d *dialer) take(hub string) *grpc.ClientConn {
	for len(d.warm[hub]) > 0 {
		cc := d.warm[hub][0]
		d.warm[hub] = d.warm[hub][1:]
		if cc.GetState() == connectivity.Ready {
			return cc
		}
		cc.Close()
	}
	delete(d.warm, hub)
	return nil
}

func closeAll(conns []*grpc.ClientConn) {
	for _, cc := range conns {
		cc.Close()
	}
}

// forget closes those that nobody has taken.
func (d *dialer) forget(hub string, conns []*grpc.ClientConn) {
	keep := make([]*grpc.ClientConn, 0, len(d.warm[hub]))
	for _, cc := range d.warm[hub] {
		if slices.Contains(conns, cc) {
			cc.Close()
		} else {
			keep = append(keep, cc)
		}
	}
	if d.warm[hub] = keep; len(keep) == 0 {
		delete(d.warm, hub)
	}
}

// connect opens connections side by side and returns those that are up in time.
func (d *dialer) connect(m *messages.WarmHub) (up []*grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.Background(), m.Within)
	defer cancel()
	conns := make(chan *grpc.ClientConn)
	for range m.Stripes {
		go func() {
			cc, _, err := d.client(m.Hub, func() {})
			if err != nil {
				conns <- nil
				return
			}
			cc.Connect()
			for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() {
				if state == connectivity.TransientFailure || !cc.WaitForStateChange(ctx, state) {
					cc.Close()
					conns <- nil
					return
				}
			}
			conns <- cc
		}()
	}
	for range m.Stripes {
		if cc := <-conns; cc != nil {
			up = append(up, cc)
		}
	}
	return up
}

func (d *dialer) dial(root *actor.RootContext, owner *actor.PID, m *messages.DialStripe, warm *grpc.ClientConn) {
	if err := d.open(root, owner, m, warm); err != nil {
		root.Send(owner, &messages.StripeFailed{Stripe: m.Stripe, Try: m.Try, Err: err})
	}
}

// errEnded is what a client's second connection is refused with.
var errEnded = errors.New("the hub ended the connection before the stream was open: its log may say why")

// never is how long a client waits before it tries a second time.
const never = 24 * time.Hour

// client prepares one connection to a hub. last tells why it could not be made: gRPC
// wraps it away. Left alone, gRPC would try again at once where a hub hangs up on
// somebody who is not to come in; when to dial again is for the session to say. Nor does
// gRPC give a dial up by itself before never is over: the caller's Close ends it.
func (d *dialer) client(hub string, connected func()) (cc *grpc.ClientConn, last *atomic.Pointer[error], err error) {
	host, _, err := net.SplitHostPort(hub)
	if err != nil {
		return nil, nil, fmt.Errorf("linkrpc: address of the hub: %w", err)
	}
	cfg := d.cfg.TLS()
	cfg.ServerName = host
	last = &atomic.Pointer[error]{}
	var dialled atomic.Bool
	cc, err = grpc.NewClient("passthrough:///"+hub,
		grpc.WithTransportCredentials(Credentials(cfg, true)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if dialled.Swap(true) {
				return nil, errEnded
			}
			nd := net.Dialer{Control: congestion(d.cfg.Congestion)}
			c, err := fresh(ctx, connected, func(ctx context.Context) (net.Conn, error) { return nd.DialContext(ctx, "tcp", addr) })
			last.Store(&err)
			return c, err
		}),
		grpc.WithInitialWindowSize(windowStream), grpc.WithInitialConnWindowSize(windowConn),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec()), grpc.MaxCallRecvMsgSize(MaxFrame), grpc.MaxCallSendMsgSize(MaxFrame)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: never, MaxDelay: never}}),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(), grpc.WithIdleTimeout(0), grpc.WithDisableRetry(),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("linkrpc: %w", err)
	}
	return cc, last, nil
}

func (d *dialer) open(root *actor.RootContext, owner *actor.PID, m *messages.DialStripe, cc *grpc.ClientConn) error {
	warm, last, began := cc != nil, &atomic.Pointer[error]{}, time.Now()
	ctx, cancel := context.WithCancelCause(context.Background())
	late := errors.New("no connection within " + m.Within.String())
	overdue := time.AfterFunc(m.Within, func() { cancel(late) })
	if !warm {
		var err error
		// A hub that TCP has reached answers: its TLS gets as long again.
		if cc, last, err = d.client(m.Hub, func() { overdue.Reset(m.Within) }); err != nil {
			overdue.Stop()
			cancel(nil)
			return err
		}
	}
	st, err := messages.NewLinkClient(cc).Stripe(ctx)
	if !overdue.Stop() {
		err = late // clearer than what gRPC makes of it
	}
	if err != nil {
		cancel(nil)
		cc.Close()
		if warm { // the hub has just ended it
			return d.open(root, owner, m, nil)
		}
		if why := last.Load(); why != nil {
			err = errors.Join(err, *why)
		}
		return fmt.Errorf("linkrpc: %s: %w", m.Hub, err)
	}
	at := began // of a warm connection: since when it is wanted
	if p, ok := peer.FromContext(st.Context()); ok && !warm {
		if info, ok := p.AuthInfo.(authInfo); ok {
			at = info.at
		}
	}
	c := newConn(st, func() { cancel(nil) }, owner, d.peer)
	c.first = true
	pid := root.SpawnPrefix(actor.PropsFromProducer(func() actor.Actor { return c }), "stripe")
	root.Send(owner, &messages.StripeUp{Conn: pid, Stripe: m.Stripe, Try: m.Try, Peer: m.Hub, TLSAt: at})
	c.read(root, pid)
	<-c.ended
	<-c.wrote
	cancel(nil)
	return cc.Close()
}
