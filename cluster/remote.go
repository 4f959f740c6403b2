package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/remote"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TLS is how nodes prove to each other who they are. There is no way without: who
// can speak to a node's actors can do anything.
type TLS struct {
	Server *tls.Config        // demands and verifies a certificate of who dials
	Client func() *tls.Config // for each connection; has a certificate
	// Peer refuses a verified certificate of either side that is not of a node of
	// the cluster, an edge's say.
	Peer func(*x509.Certificate) error
}

func (t TLS) check() error {
	if t.Server == nil || t.Client == nil || t.Peer == nil {
		return errors.New("cluster: nodes speak with mutual TLS only: give a server's and a client's configuration, and who may be a peer")
	}
	if t.Server.ClientAuth != tls.RequireAndVerifyClientCert {
		return errors.New("cluster: the server's TLS configuration must require and verify client certificates")
	}
	return nil
}

func (t TLS) peer(s tls.ConnectionState) error {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return errors.New("cluster: the peer has no certificate that was verified")
	}
	if err := t.Peer(s.PeerCertificates[0]); err != nil {
		return fmt.Errorf("cluster: the peer may not be a node of this cluster: %w", err)
	}
	return nil
}

// dialling takes the files' certificates of the moment for each connection, and
// looks at who answers.
type dialling struct {
	credentials.TransportCredentials
	t TLS
}

func (t TLS) dial() credentials.TransportCredentials {
	return dialling{credentials.NewTLS(t.Client()), t}
}

// ClientHandshake implements credentials.TransportCredentials.
func (d dialling) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := credentials.NewTLS(d.t.Client()).ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	if err := d.t.peer(info.(credentials.TLSInfo).State); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, info, nil
}

// Clone implements credentials.TransportCredentials.
func (d dialling) Clone() credentials.TransportCredentials { return d.t.dial() }

const window = 16 << 20 // octets in flight of a connection: no slow start of gRPC's own

// remoteConfig is protoactor's remote at listen. Its defaults are no keepalive, a
// connect timeout of 20 s, messages of 4 MB, and a queue of 18 MB per peer.
func remoteConfig(listen, advertise string, t TLS, log *zap.Logger, dial ...grpc.DialOption) (*remote.Config, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	host, port, err := hostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("cluster: address of actors: %w", err)
	}
	if _, _, err := hostPort(advertise); advertise != "" && err != nil {
		return nil, fmt.Errorf("cluster: advertised address of actors: %w", err)
	}
	c := remote.Configure(host, port,
		remote.WithAdvertisedHost(advertise),
		remote.WithEndpointWriterQueueSize(4096),
		remote.WithEndpointWriterBatchSize(256),
		remote.WithServerOptions(
			grpc.Creds(credentials.NewTLS(t.Server)),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
			grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
			grpc.MaxRecvMsgSize(64<<20),
			grpc.StreamInterceptor(recovering(t, log)),
			grpc.UnaryInterceptor(refusing),
		),
		remote.WithDialOptions(append([]grpc.DialOption{
			grpc.WithTransportCredentials(t.dial()),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 3 * time.Second}),
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
			grpc.WithStreamInterceptor(closing),
		}, dial...)...),
	)
	c.MaxRetryCount = 1 // each further one leaks a connection; the next message tries again
	return c, nil
}

// closing has protoactor take the end of a stream that it closed itself for an end.
// It takes it for the loss of the connection otherwise, and closes the one that was
// opened in its stead, and so on for as long as there is something to send.
func closing(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return clientStream{s}, nil
}

type clientStream struct{ grpc.ClientStream }

// RecvMsg implements grpc.ClientStream.
func (s clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if status.Code(err) == codes.Canceled { // of the peer's making it would be Unavailable
		return io.EOF
	}
	return err
}

// refusing answers the unary calls, which protoactor answers with a panic.
func refusing(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.Unimplemented, "cluster: not offered")
}

// recovering refuses peers that are no nodes, and keeps a peer's octets from ending the process: protoactor panics at
// messages of types that it does not know (those of a newer version, say) and at
// indices out of range. Such messages are dropped here, and what still panics ends
// the stream only.
func recovering(t TLS, log *zap.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		info, ok := peer.FromContext(ss.Context())
		if !ok {
			return status.Error(codes.Unauthenticated, "cluster: no peer")
		}
		secured, ok := info.AuthInfo.(credentials.TLSInfo)
		if !ok {
			return status.Error(codes.Unauthenticated, "cluster: no TLS")
		}
		if err := t.peer(secured.State); err != nil {
			log.Warn("a peer is refused", zap.Stringer("address", info.Addr), zap.Error(err))
			return status.Error(codes.PermissionDenied, err.Error())
		}
		s := &stream{ServerStream: ss, log: log}
		defer func() {
			s.unlock()
			if r := recover(); r != nil {
				log.Error("a peer's message made its reader panic: its stream ends", zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
				err = status.Error(codes.InvalidArgument, "cluster: a message could not be read")
			}
		}()
		return handler(srv, s)
	}
}

// topologyLock orders what protoactor's block list does not: it is written when the
// topology changes (Provider.feed) and read, without its lock, while a connection is
// greeted.
var topologyLock sync.RWMutex

type stream struct {
	grpc.ServerStream
	log     *zap.Logger
	greeted bool // the lock is held from ConnectRequest to ConnectResponse, on one goroutine
}

func (s *stream) unlock() {
	if s.greeted {
		s.greeted = false
		topologyLock.RUnlock()
	}
}

// RecvMsg implements grpc.ServerStream.
func (s *stream) RecvMsg(m any) error {
	s.unlock()
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	message, ok := m.(*remote.RemoteMessage)
	if !ok {
		return nil
	}
	switch t := message.MessageType.(type) {
	case *remote.RemoteMessage_ConnectRequest:
		s.greeted = true
		topologyLock.RLock()
	case *remote.RemoteMessage_MessageBatch:
		s.filter(t.MessageBatch)
	}
	return nil
}

// filter drops the messages that protoactor would panic at.
func (s *stream) filter(b *remote.MessageBatch) {
	if b == nil {
		return
	}
	known := make([]bool, len(b.TypeNames))
	for i, name := range b.TypeNames {
		_, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if known[i] = err == nil; !known[i] {
			s.log.Warn("a node sends messages of a type that this version does not know: they are dropped", zap.String("type", name))
		}
	}
	kept := b.Envelopes[:0]
	for _, e := range b.Envelopes {
		if e != nil && e.SerializerId == 0 &&
			e.TypeId >= 0 && int(e.TypeId) < len(known) && known[e.TypeId] &&
			e.Target >= 0 && int(e.Target) < len(b.Targets) && b.Targets[e.Target] != nil &&
			e.Sender >= 0 && int(e.Sender) <= len(b.Senders) && (e.Sender == 0 || b.Senders[e.Sender-1] != nil) {
			kept = append(kept, e)
		}
	}
	b.Envelopes = kept
}
