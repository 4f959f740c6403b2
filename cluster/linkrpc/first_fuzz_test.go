package linkrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// script is the server's end of a stripe whose octets are given.
type script struct {
	ctx  context.Context
	in   [][]byte
	sent []*messages.Frame
}

func (s *script) RecvMsg(m any) error {
	if len(s.in) == 0 {
		return io.EOF
	}
	b := s.in[0]
	s.in = s.in[1:]
	return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m)
}

func (s *script) Send(f *messages.Frame) error {
	s.sent = append(s.sent, f)
	return nil
}
func (s *script) Context() context.Context       { return s.ctx }
func (s *script) SetHeader(metadata.MD) error    { return nil }
func (s *script) SendHeader(metadata.MD) error   { return nil }
func (s *script) SetTrailer(metadata.MD)         {}
func (s *script) SendMsg(any) error              { return errors.New("not used") }
func (s *script) Recv() (*messages.Frame, error) { return nil, errors.New("not used") }

// FuzzFirstFrames gives the hub's end of a stripe octets as frames, from an edge or
// from somebody with another certificate: nothing fails, a session hears only of its
// own edge's stripe and of what followed Hello or Join, and of its end.
func FuzzFirstFrames(f *testing.F) {
	frame := func(m *messages.Frame) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	beat := frame(&messages.Frame{Epoch: 1, Heartbeat: &messages.Heartbeat{SentUs: 1}})
	f.Add("edge", "manila-1", frame(hello("manila-1")), beat)
	f.Add("edge", "manila-1", frame(&messages.Frame{Join: &messages.Join{Edge: "manila-1", Stripe: 1 << 31}}), beat)
	f.Add("edge", "cebu-1", frame(hello("manila-1")), beat)
	f.Add("edge", "cebu-1", frame(hello("cebu-1")), beat)
	f.Add("hub", "hub-1", frame(hello("hub-1")), beat)
	f.Add("edge", "manila-1", beat, beat)
	f.Add("edge", "manila-1", []byte{0x22, 0xff, 0xff, 0xff, 0xff, 0x0f}, repeat(9, nil)[:4096])
	system := actor.NewActorSystem(actor.WithDeadLetterThrottleInterval(time.Nanosecond), actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	f.Cleanup(system.Shutdown)
	f.Fuzz(func(t *testing.T, role, name string, first, second []byte) {
		heard := make(chan any, 8)
		session := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *messages.StripeUp, *messages.StripeDown:
				heard <- m
			case *messages.FrameIn:
				m.Taken()
				heard <- m
			}
		}))
		defer system.Root.Stop(session)
		s := NewServer(ServerConfig{
			System: system, TLS: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13}), Log: zap.NewNop(), FirstFrame: time.Minute,
			Identity: func(*x509.Certificate) (string, string, error) { return role, name, nil },
			Session: func(_ context.Context, edge string) (*actor.PID, string, error) {
				if edge == "manila-1" {
					return session, "", nil
				}
				return nil, "", ErrUnknownEdge
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		at, other := net.Pipe()
		defer at.Close()
		defer other.Close()
		info := authInfo{conn: at, at: time.Now()}
		info.State.PeerCertificates = []*x509.Certificate{{}}
		st := &script{ctx: peer.NewContext(ctx, &peer.Peer{Addr: at.RemoteAddr(), AuthInfo: info}), in: [][]byte{first, second}}
		opened := &messages.Frame{}
		_, _, crowded := checkFrame(first)
		well := crowded == nil && proto.Unmarshal(first, opened) == nil
		mine := role == "edge" && name == "manila-1" && well &&
			(opened.Hello != nil && opened.Hello.Edge == name || opened.Hello == nil && opened.Join != nil && opened.Join.Edge == name && len(opened.Join.Session) <= 64)
		if opened.Hello == nil {
			opened = &messages.Frame{Join: opened.Join} // the session is given no more
		}
		err := s.Stripe(st)
		if !mine {
			if err == nil {
				t.Fatal("let in")
			}
			select {
			case m := <-heard:
				t.Fatalf("the session hears %T", m)
			default:
			}
			return
		}
		if up, ok := (<-heard).(*messages.StripeUp); !ok || !proto.Equal(up.First, opened) {
			t.Fatal("the session does not hear of the stripe first")
		}
		for {
			switch m := (<-heard).(type) {
			case *messages.FrameIn:
			case *messages.StripeDown:
				return
			default:
				t.Fatalf("the session hears %T", m)
			}
		}
	})
}
