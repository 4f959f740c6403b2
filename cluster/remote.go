package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
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
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TLS is how nodes prove to each other who they are. There is no way without: who
// can speak to a node's actors can do anything.
type TLS struct {
	Server *tls.Config // demands and verifies a certificate of who dials
	Client *tls.Config // has a certificate
	// Peer refuses a verified certificate of either side that is not of a node of
	// the cluster, an edge's say.
	Peer func(*x509.Certificate) error
}

// configs returns what to accept and to dial with.
func (t TLS) configs() (server, client *tls.Config, err error) {
	if t.Server == nil || t.Client == nil || t.Peer == nil {
		return nil, nil, errors.New("cluster: nodes speak with mutual TLS only: give a server's and a client's configuration, and who may be a peer")
	}
	if t.Server.ClientAuth != tls.RequireAndVerifyClientCert {
		return nil, nil, errors.New("cluster: the server's TLS configuration must require and verify client certificates")
	}
	return t.checked(t.Server), t.checked(t.Client), nil
}

func (t TLS) checked(c *tls.Config) *tls.Config {
	c = c.Clone()
	earlier := c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error { // at resumed sessions too
		if earlier != nil {
			if err := earlier(s); err != nil {
				return err
			}
		}
		if len(s.PeerCertificates) == 0 {
			return errors.New("cluster: the peer has no certificate")
		}
		if err := t.Peer(s.PeerCertificates[0]); err != nil {
			return fmt.Errorf("cluster: the peer may not be a node of this cluster: %w", err)
		}
		return nil
	}
	return c
}

const window = 16 << 20 // octets in flight of a connection: no slow start of gRPC's own

// remoteConfig is protoactor's remote at listen. Its defaults are no keepalive, a
// connect timeout of 20 s, messages of 4 MB, and a queue of 18 MB per peer.
func remoteConfig(listen, advertise string, t TLS, log *zap.Logger, dial ...grpc.DialOption) (*remote.Config, error) {
	server, client, err := t.configs()
	if err != nil {
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
			grpc.Creds(credentials.NewTLS(server)),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
			grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
			grpc.MaxRecvMsgSize(64<<20),
			grpc.StreamInterceptor(recovering(log)),
			grpc.UnaryInterceptor(refusing),
		),
		remote.WithDialOptions(append([]grpc.DialOption{
			grpc.WithTransportCredentials(credentials.NewTLS(client)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 3 * time.Second}),
			grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		}, dial...)...),
	)
	c.MaxRetryCount = 1 // each further one leaks a connection; the next message tries again
	return c, nil
}

// refusing answers the unary calls, which protoactor answers with a panic.
func refusing(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.Unimplemented, "cluster: not offered")
}

// recovering keeps a peer's octets from ending the process: protoactor panics at
// messages of types that it does not know (those of a newer version, say) and at
// indices out of range. Such messages are dropped here, and what still panics ends
// the stream only.
func recovering(log *zap.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
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
