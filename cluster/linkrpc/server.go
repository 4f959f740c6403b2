package linkrpc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// ServerConfig is what the hub's end of the link port needs.
type ServerConfig struct {
	System *actor.ActorSystem
	TLS    credentials.TransportCredentials // see Credentials
	// Identity reads role ("edge", "hub") and name out of a verified certificate.
	Identity func(*x509.Certificate) (role, name string, err error)
	// Session finds the link session of an edge; false: no such edge.
	Session    func(edge string) (*actor.PID, bool)
	FirstFrame time.Duration // within which Hello or Join must come; 0: 5 s
	Log        *zap.Logger
}

// Server accepts stripes.
type Server struct {
	messages.UnimplementedLinkServer
	cfg  ServerConfig
	grpc *grpc.Server
}

// NewServer prepares the service.
func NewServer(cfg ServerConfig) *Server {
	if cfg.FirstFrame == 0 {
		cfg.FirstFrame = 5 * time.Second
	}
	s := &Server{cfg: cfg}
	s.grpc = grpc.NewServer(
		grpc.Creds(logged{cfg.TLS, cfg.Log}),
		grpc.InitialWindowSize(windowStream), grpc.InitialConnWindowSize(windowConn),
		grpc.ForceServerCodecV2(newCodec()), grpc.MaxRecvMsgSize(MaxFrame), grpc.MaxSendMsgSize(MaxFrame),
		grpc.MaxConcurrentStreams(1), grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(15*time.Second),
		grpc.StreamInterceptor(recovering(cfg.Log)),
	)
	messages.RegisterLinkServer(s.grpc, s)
	return s
}

// Serve accepts on l until Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop closes every connection at once: what is under way is in the rings.
func (s *Server) Stop() { s.grpc.Stop() }

// logged says whose TLS handshake failed and why. With TLS 1.3 a dialler is done
// before its certificate is looked at, and may see no more than a reset.
type logged struct {
	credentials.TransportCredentials
	log *zap.Logger
}

func (c logged) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.log.Info("link refused: TLS handshake failed", zap.Stringer("peer", raw.RemoteAddr()), zap.Error(err))
	}
	return conn, info, err
}

// recovering keeps a mistake in handling one stripe from ending the process.
func recovering(log *zap.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if r := recover(); r != nil {
				log.Error("a stripe's handler failed", zap.Any("panic", r), zap.Stack("stack"))
				err = status.Error(codes.Internal, "internal error")
			}
		}()
		return handler(srv, ss)
	}
}

// Stripe is the gRPC method: one stripe from its first frame to its end.
func (s *Server) Stripe(st grpc.BidiStreamingServer[messages.Frame, messages.Frame]) error {
	p, _ := peer.FromContext(st.Context())
	info, ok := p.AuthInfo.(authInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return status.Error(codes.Unauthenticated, "linkrpc: no client certificate")
	}
	role, edge, err := s.cfg.Identity(info.State.PeerCertificates[0])
	if err != nil || role != "edge" {
		s.cfg.Log.Warn("link refused: not an edge's certificate", zap.Stringer("peer", p.Addr), zap.Error(err))
		return status.Error(codes.PermissionDenied, "linkrpc: this certificate is not an edge's: make one with `ringway pki edge`")
	}
	first, err := s.firstFrame(st)
	if err != nil {
		level := zap.WarnLevel
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			level = zap.DebugLevel // the edge hung up: another of its stripes was refused
		}
		s.cfg.Log.Log(level, "link refused", zap.String("edge", edge), zap.Stringer("peer", p.Addr), zap.Error(err))
		return err
	}
	refuse := func(code, text string) error {
		s.cfg.Log.Warn("link refused", zap.String("edge", edge), zap.Stringer("peer", p.Addr), zap.String("reason", text))
		_ = st.Send(&messages.Frame{Refused: &messages.Refused{Code: code, Text: text}})
		return status.Error(codes.PermissionDenied, text)
	}
	named, stripe := "", uint32(0)
	switch {
	case first.Hello != nil:
		named, stripe = first.Hello.Edge, first.Hello.Stripe
	case first.Join != nil:
		named, stripe = first.Join.Edge, first.Join.Stripe
	default:
		return refuse("protocol", "the first frame must carry Hello or Join")
	}
	if named != edge {
		return refuse("wrong_certificate", fmt.Sprintf("the certificate belongs to edge %q, the edge calls itself %q: use the certificate of that edge, or correct id", edge, named))
	}
	owner, ok := s.cfg.Session(edge)
	if !ok {
		return refuse("unknown_edge", fmt.Sprintf("edge %q is not configured at this hub: add it to edges", edge))
	}
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	c := newConn(serverStream{st, ctx}, cancel, owner)
	root := s.cfg.System.Root
	pid := root.SpawnPrefix(actor.PropsFromProducer(func() actor.Actor { return c }), "stripe")
	root.Send(owner, &messages.StripeUp{Conn: pid, Stripe: stripe, Peer: p.Addr.String(), First: first, TLSAt: info.at})
	go c.read(root, pid)
	<-ctx.Done() // by the writer's end, or the transport's
	root.Send(pid, hungUp{fmt.Errorf("linkrpc: %w", context.Cause(ctx))})
	<-c.ended
	select {
	case <-c.wrote:
	case <-time.After(lastWords / 10): // a write waits for a peer that does not read, and trailers would too
		info.conn.Close()
		<-c.wrote
	}
	return nil
}

// firstFrame waits a bounded time: a stream that never speaks is ended.
func (s *Server) firstFrame(st grpc.BidiStreamingServer[messages.Frame, messages.Frame]) (*messages.Frame, error) {
	type result struct {
		f   *messages.Frame
		err error
	}
	got := make(chan result, 1)
	go func() {
		f, err := st.Recv()
		got <- result{f, err}
	}()
	t := time.NewTimer(s.cfg.FirstFrame)
	defer t.Stop()
	select {
	case r := <-got:
		return r.f, r.err
	case <-t.C:
		return nil, status.Error(codes.DeadlineExceeded, "linkrpc: no first frame in time")
	}
}

type serverStream struct {
	grpc.BidiStreamingServer[messages.Frame, messages.Frame]
	ctx context.Context
}

func (s serverStream) Context() context.Context { return s.ctx }
