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
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// ServerConfig is what the hub's end of the link port needs.
type ServerConfig struct {
	System *actor.ActorSystem
	TLS    credentials.TransportCredentials // see Credentials
	// Identity reads role ("edge", "hub") and name out of a verified certificate.
	Identity func(*x509.Certificate) (role, name string, err error)
	// Session finds who serves an edge: its link session here; else the link address of
	// the hub that owns its rings; else an error: ErrUnknownEdge, or why there is no
	// owner at the moment. It may wait until ctx is done for one that is just being
	// found: Hello and Join wait with it. It is called once for each stripe.
	Session      func(ctx context.Context, edge string) (session *actor.PID, redirect string, err error)
	FirstFrame   time.Duration // within which Hello or Join must come; 0: 5 s
	OwnersWithin time.Duration // how long Session may take; 0: 2 s
	Log          *zap.Logger
}

// ErrUnknownEdge: the edge is in no configuration, somebody has to add it.
var ErrUnknownEdge = errors.New("linkrpc: no such edge")

// Server accepts stripes.
type Server struct {
	messages.UnimplementedLinkServer
	cfg  ServerConfig
	gate *gate
	grpc *grpc.Server
}

// NewServer prepares the service.
func NewServer(cfg ServerConfig) *Server {
	if cfg.FirstFrame == 0 {
		cfg.FirstFrame = 5 * time.Second
	}
	if cfg.OwnersWithin == 0 {
		cfg.OwnersWithin = 2 * time.Second
	}
	cfg.Log = seldom(cfg.Log)
	s := &Server{cfg: cfg, gate: newGate()}
	s.grpc = grpc.NewServer(
		grpc.Creds(guarded{cfg.TLS, s.gate, cfg.Identity, cfg.Log}),
		grpc.ReadBufferSize(readOctets), grpc.InitialWindowSize(windowStream), grpc.InitialConnWindowSize(windowConn),
		grpc.ForceServerCodecV2(newCodec()), grpc.MaxRecvMsgSize(MaxFrame), grpc.MaxSendMsgSize(MaxFrame),
		grpc.MaxConcurrentStreams(1), grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(handshakeTime), grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTime}),
		grpc.StreamInterceptor(recovering(cfg.Log)),
	)
	messages.RegisterLinkServer(s.grpc, s)
	return s
}

// Serve accepts on l until Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(gateListener{l, s.gate}) }

// Stop closes every connection at once: what is under way is in the rings.
func (s *Server) Stop() { s.grpc.Stop() }

// guarded keeps the gate's books, and says whose TLS handshake failed and why. With
// TLS 1.3 a dialler is done before its certificate is looked at, and may see no more
// than a reset.
type guarded struct {
	credentials.TransportCredentials
	gate     *gate
	identity func(*x509.Certificate) (role, name string, err error)
	log      *zap.Logger
}

func (c guarded) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if why := c.gate.leave(raw); why != nil && err != nil {
		err = why
	}
	if err != nil {
		level := zap.InfoLevel
		if errors.Is(err, io.EOF) {
			level = zap.DebugLevel // an edge had another connection up meanwhile, or somebody looked whether the port is open
		}
		c.log.Log(level, "link refused: TLS handshake failed", zap.Stringer("peer", raw.RemoteAddr()), zap.Error(err))
		return nil, nil, err
	}
	own, _ := info.(authInfo)
	if own.conn, err = c.gate.admit(conn, peerOf(c.identity, own.State.PeerCertificates)); err != nil {
		c.log.Warn("link refused", zap.Stringer("peer", raw.RemoteAddr()), zap.Error(err))
		conn.Close()
		return nil, nil, err
	}
	return own.conn, own, nil
}

// seldom writes ten entries of a kind in a minute and one in a hundred after these:
// strangers do not fill the disk.
func seldom(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 100)
	}))
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
	opened := time.Now()
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
	socket, _ := info.conn.(*admitted)
	account := newAccount()
	if socket != nil {
		account = socket.account
	}
	first, err := s.firstFrame(st, socket, account)
	if err != nil {
		level := zap.WarnLevel
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
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
		if len(first.Join.Session) > 64 {
			return refuse("protocol", "malformed join")
		}
		first = &messages.Frame{Join: first.Join} // it may have to wait
	default:
		return refuse("protocol", "the first frame must carry Hello or Join")
	}
	if named != edge {
		return refuse("wrong_certificate", fmt.Sprintf("the certificate belongs to edge %q, the edge calls itself %q: use the certificate of that edge, or correct id", edge, named))
	}
	waiting, enough := context.WithTimeout(st.Context(), s.cfg.OwnersWithin)
	owner, redirect, err := s.cfg.Session(waiting, edge)
	enough()
	switch {
	case errors.Is(err, ErrUnknownEdge):
		return refuse("unknown_edge", fmt.Sprintf("edge %q is not configured at this hub: add it to edges", edge))
	case err != nil || owner == nil && redirect == "":
		s.cfg.Log.Debug("no owner for an edge that has come", zap.String("edge", edge), zap.Stringer("peer", p.Addr), zap.Error(err))
		_ = st.Send(&messages.Frame{Refused: &messages.Refused{Code: "not_owner", Text: "no hub owns the rings of this edge at the moment: it is tried again"}})
		return status.Error(codes.Unavailable, "linkrpc: no owner")
	case owner == nil:
		s.cfg.Log.Debug("edge sent on to the owner of its rings", zap.String("edge", edge), zap.Stringer("peer", p.Addr), zap.String("owner", redirect))
		return st.Send(&messages.Frame{Redirect: &messages.Redirect{Hub: redirect}})
	}
	up := info.at // since when a resynchronisation is timed
	if opened.Sub(up) > time.Second {
		up = opened // the edge has kept the connection ready for a move
	}
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	c := newConn(serverStream{st, ctx}, cancel, owner, account)
	c.socket = socket
	root := s.cfg.System.Root
	pid := root.SpawnPrefix(actor.PropsFromProducer(func() actor.Actor { return c }), "stripe")
	root.Send(owner, &messages.StripeUp{Conn: pid, Stripe: stripe, Peer: p.Addr.String(), First: first, TLSAt: up})
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(root, pid)
	}()
	<-ctx.Done() // by the writer's end, or the transport's
	if st.Context().Err() != nil {
		<-read // then it has ended too, and has said why
	}
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
func (s *Server) firstFrame(st grpc.BidiStreamingServer[messages.Frame, messages.Frame], socket *admitted, a *account) (*messages.Frame, error) {
	type result struct {
		f   *messages.Frame
		err error
	}
	got := make(chan result, 1)
	go func() {
		f, weight, err := a.receive(st.Context(), st, socket, true)
		a.in.Release(weight)
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
