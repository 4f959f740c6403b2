package linkrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/wan"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a hub's link port on a loopback socket, with a probe in the place of
// the session of edge "manila-1".
type site struct {
	t       *testing.T
	system  *actor.ActorSystem
	dir     string
	addr    string
	session *probe.Probe
	logs    *observer.ObservedLogs
	owner   func(ctx context.Context, edge string) (*actor.PID, string, error)
}

// soon is how long tests wait for what comes at once, on a machine with much else to do.
const soon = 30 * time.Second

func newSite(t *testing.T, change ...func(*ServerConfig)) *site {
	s := &site{t: t, system: probe.System(t), dir: t.TempDir()}
	s.session = probe.New(t, s.system, "session")
	s.owner = func(_ context.Context, edge string) (*actor.PID, string, error) {
		if edge != "manila-1" {
			return nil, "", ErrUnknownEdge
		}
		return s.session.PID(), "", nil
	}
	must(t, pki.Init(s.dir))
	must(t, pki.Hub(s.dir, "hub-1", nil))
	must(t, pki.Edge(s.dir, "manila-1"))
	cfg, err := pki.ServerTLS(s.file("hub-1.crt"), s.file("hub-1.key"), s.file("ca.crt"))
	must(t, err)
	core, logs := observer.New(zap.InfoLevel)
	s.logs = logs
	sc := ServerConfig{
		System: s.system, TLS: Credentials(cfg, false), Identity: pki.Identity, Log: zap.New(core),
		Session: func(ctx context.Context, edge string) (*actor.PID, string, error) { return s.owner(ctx, edge) },
	}
	for _, f := range change {
		f(&sc)
	}
	server := NewServer(sc)
	l, err := Listen("127.0.0.1:0", "")
	must(t, err)
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

// tls is the configuration of who dials with that certificate.
func (s *site) tls(name string) func() *tls.Config {
	return func() *tls.Config {
		cfg, err := pki.ClientTLS(s.file(name+".crt"), s.file(name+".key"), s.file("ca.crt"))
		if err != nil {
			panic(err)
		}
		return cfg
	}
}

// dial asks a dialer for a stripe; what comes of it comes to the probe.
func (s *site) dial(cfg func() *tls.Config) *probe.Probe {
	edge := probe.New(s.t, s.system, "edge")
	dialer := s.system.Root.Spawn(NewDialer(DialerConfig{TLS: cfg}))
	edge.Tell(dialer, &messages.DialStripe{Hub: s.addr, Stripe: 3, Try: 9, Within: soon})
	return edge
}

func hello(edge string) *messages.Frame { return &messages.Frame{Hello: &messages.Hello{Edge: edge}} }

// joined is a working stripe: both ends' connections.
func (s *site) joined() (edge *probe.Probe, atEdge, atHub *actor.PID) {
	s.t.Helper()
	edge = s.dial(s.tls("manila-1"))
	up := probe.Expect[*messages.StripeUp](edge, soon)
	if up.Stripe != 3 || up.Try != 9 || up.TLSAt.IsZero() {
		s.t.Errorf("up: %+v", up)
	}
	s.system.Root.Send(up.Conn, hello("manila-1"))
	first := probe.Expect[*messages.StripeUp](s.session, soon)
	if first.First.GetHello().GetEdge() != "manila-1" || first.TLSAt.IsZero() || first.Peer == "" {
		s.t.Errorf("first: %+v", first)
	}
	return edge, up.Conn, first.Conn
}

// works exchanges frames on a stripe.
func (s *site) works(edge *probe.Probe, atEdge, atHub *actor.PID, n int) {
	s.t.Helper()
	for i := range n {
		s.system.Root.Send(atEdge, &messages.Frame{Number: uint64(i)})
		s.system.Root.Send(atHub, &messages.Frame{Number: uint64(i)})
	}
	for i := range n {
		for p, conn := range map[*probe.Probe]*actor.PID{edge: atEdge, s.session: atHub} {
			f := probe.Fish(p, func(f *messages.FrameIn) bool { return f.Conn.Equal(conn) }, soon)
			f.Taken()
			if f.Frame.Number != uint64(i) {
				s.t.Fatalf("frame %d came as number %d", f.Frame.Number, i)
			}
		}
	}
}

func TestFramesGoBothWaysInOrder(t *testing.T) {
	s := newSite(t)
	edge, atEdge, atHub := s.joined()
	s.works(edge, atEdge, atHub, 2000)
	// Who hangs up says why at its own end; what was written before goes out.
	s.system.Root.Send(atHub, &messages.Frame{Refused: &messages.Refused{Text: "last word"}})
	why := errors.New("enough")
	s.system.Root.Send(atHub, &messages.Hangup{Cause: why})
	if f := probe.Expect[*messages.FrameIn](edge, soon); f.Frame.Refused.GetText() != "last word" {
		t.Errorf("last word: %v", f.Frame)
	}
	if d := probe.Expect[*messages.StripeDown](edge, soon); !errors.Is(d.Err, io.EOF) {
		t.Errorf("the edge hears %v", d.Err)
	}
	if d := probe.Expect[*messages.StripeDown](s.session, soon); !errors.Is(d.Err, why) {
		t.Errorf("the hub hears %v", d.Err)
	}
}

func TestEdgeHangsUp(t *testing.T) {
	s := newSite(t)
	_, atEdge, _ := s.joined()
	s.system.Root.Send(atEdge, &messages.Hangup{})
	if d := probe.Expect[*messages.StripeDown](s.session, soon); d.Err == nil {
		t.Error("the hub hears nothing")
	}
}

func TestLargeFrameIsRefused(t *testing.T) {
	large := &messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("x", MaxFrame)}}}}
	s := newSite(t)
	other, atEdge2, atHub2 := s.joined()
	edge, atEdge, _ := s.joined()
	s.system.Root.Send(atEdge, large)
	if d := probe.Expect[*messages.StripeDown](edge, soon); status.Code(errors.Unwrap(d.Err)) != codes.ResourceExhausted {
		t.Errorf("the sender hears %v", d.Err)
	}
	probe.Expect[*messages.StripeDown](s.session, soon)

	st := s.raw(true, grpc.MaxCallSendMsgSize(64<<20)) // who does not keep to it
	must(t, st.Send(hello("manila-1")))
	probe.Expect[*messages.StripeUp](s.session, soon)
	st.Send(large)
	if _, err := st.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("who sends more hears %v", err)
	}
	if d := probe.Expect[*messages.StripeDown](s.session, soon); !strings.Contains(d.Err.Error(), "larger than max") {
		t.Errorf("the session hears %v", d.Err)
	}
	s.works(other, atEdge2, atHub2, 10)
}

// raw opens a stream without the dialer.
func (s *site) raw(early bool, options ...grpc.CallOption) grpc.BidiStreamingClient[messages.Frame, messages.Frame] {
	s.t.Helper()
	cfg := s.tls("manila-1")()
	cfg.ServerName = "127.0.0.1"
	cc, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(Credentials(cfg, early)), grpc.WithNoProxy())
	must(s.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	s.t.Cleanup(func() { cancel(); cc.Close() })
	st, err := messages.NewLinkClient(cc).Stripe(ctx, options...)
	must(s.t, err)
	return st
}

// ---- who may not come in

func TestCertificatesThatAreNotAnEdges(t *testing.T) {
	s := newSite(t)
	other := t.TempDir()
	must(t, pki.Init(other))
	must(t, pki.Edge(other, "manila-1"))
	pool := s.tls("manila-1")().RootCAs
	stranger, err := tls.LoadX509KeyPair(filepath.Join(other, "manila-1.crt"), filepath.Join(other, "manila-1.key"))
	must(t, err)
	for name, c := range map[string]struct {
		cfg  func() *tls.Config
		want string
	}{
		"none":              {func() *tls.Config { return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13} }, ""},
		"of another CA":     {func() *tls.Config { return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{stranger}} }, ""},
		"a hub's":           {s.tls("hub-1"), "not an edge's"},
		"hub of another CA": {func() *tls.Config { return &tls.Config{RootCAs: x509.NewCertPool()} }, "unknown authority"},
		"TLS 1.2": {func() *tls.Config {
			c := s.tls("manila-1")()
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}, "protocol version"},
	} {
		edge := s.dial(c.cfg)
		var got error
		switch m := probe.Expect[any](edge, soon).(type) {
		case *messages.StripeFailed:
			got = m.Err
			if m.Stripe != 3 || m.Try != 9 {
				t.Errorf("%s: %+v", name, m)
			}
		case *messages.StripeUp: // with TLS 1.3 the dialler is done before it is refused
			s.system.Root.Send(m.Conn, hello("manila-1"))
			got = probe.Expect[*messages.StripeDown](edge, soon).Err
		}
		if got == nil || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, got, c.want)
		}
	}
	s.session.ExpectNothing(50 * time.Millisecond)
	logged := s.refused(4) // the fifth refused the hub
	for _, want := range []string{"client didn't provide a certificate", "unknown authority", "not an edge's certificate", "unsupported versions"} {
		if !strings.Contains(logged, want) {
			t.Errorf("the hub's log does not say %q:\n%s", want, logged)
		}
	}
	s.stillWorks()
}

// refused returns what the hub's log says of those it refused, once it says so of n:
// it tells them first. More would be connections that nobody asked for.
func (s *site) refused(n int) (logged string) {
	s.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		var lines []string
		for _, l := range s.logs.All() {
			if err, _ := l.ContextMap()["error"].(string); strings.HasPrefix(l.Message, "link refused") && !strings.HasPrefix(err, "remote error") {
				lines = append(lines, l.Message+" "+err)
			}
		}
		switch logged = strings.Join(lines, "\n"); {
		case len(lines) == n:
			return logged
		case len(lines) > n || time.Since(began) > soon:
			s.t.Fatalf("%d refusals are in the log instead of %d:\n%s", len(lines), n, logged)
		}
	}
}

func (s *site) stillWorks() {
	s.t.Helper()
	edge, atEdge, atHub := s.joined()
	s.works(edge, atEdge, atHub, 5)
}

func TestFirstFramesThatAreRefused(t *testing.T) {
	s := newSite(t)
	must(t, pki.Edge(s.dir, "lagos-1"))
	for name, c := range map[string]struct {
		certificate string
		frame       *messages.Frame
		code, text  string
	}{
		"another edge's name": {"manila-1", hello("lagos-1"), "wrong_certificate", `belongs to edge "manila-1", the edge calls itself "lagos-1"`},
		"join of another's":   {"lagos-1", &messages.Frame{Join: &messages.Join{Edge: "manila-1"}}, "wrong_certificate", `belongs to edge "lagos-1"`},
		"unknown edge":        {"lagos-1", hello("lagos-1"), "unknown_edge", "add it to edges"},
		"neither":             {"manila-1", &messages.Frame{Epoch: 1, Data: []*messages.Data{{}}}, "protocol", "must carry Hello or Join"},
	} {
		edge := s.dial(s.tls(c.certificate))
		up := probe.Expect[*messages.StripeUp](edge, soon)
		s.system.Root.Send(up.Conn, c.frame)
		f := probe.Expect[*messages.FrameIn](edge, soon)
		if r := f.Frame.GetRefused(); r.GetCode() != c.code || !strings.Contains(r.GetText(), c.text) {
			t.Errorf("%s: refused with %v", name, r)
		}
		if d := probe.Expect[*messages.StripeDown](edge, soon); !strings.Contains(d.Err.Error(), c.text) {
			t.Errorf("%s: %v", name, d.Err)
		}
	}
	s.refused(4)
	s.session.ExpectNothing(20 * time.Millisecond)
	s.stillWorks()
}

// ---- whose rings they are

// first opens a stripe, sends that frame first, and returns what the hub answers.
func (s *site) first(frame *messages.Frame) (answer *messages.Frame, edge *probe.Probe) {
	s.t.Helper()
	edge = s.dial(s.tls("manila-1"))
	up := probe.Expect[*messages.StripeUp](edge, soon)
	s.system.Root.Send(up.Conn, frame)
	return probe.Expect[*messages.FrameIn](edge, soon).Frame, edge
}

func TestEdgeIsSentToTheOwnerOfItsRings(t *testing.T) {
	s := newSite(t)
	s.owner = func(context.Context, string) (*actor.PID, string, error) { return nil, "hub-2.example.net:7443", nil }
	for _, frame := range []*messages.Frame{hello("manila-1"), {Join: &messages.Join{Edge: "manila-1", Stripe: 3}}} {
		f, edge := s.first(frame)
		if f.Redirect.GetHub() != "hub-2.example.net:7443" {
			t.Errorf("answered with %v", f)
		}
		if d := probe.Expect[*messages.StripeDown](edge, soon); !errors.Is(d.Err, io.EOF) {
			t.Errorf("the edge hears %v", d.Err)
		}
	}
	s.session.ExpectNothing(20 * time.Millisecond)
}

func TestWithoutOwnerTheEdgeTriesAgain(t *testing.T) {
	s := newSite(t, func(c *ServerConfig) { c.OwnersWithin = 500 * time.Millisecond })
	for name, owner := range map[string]func(context.Context, string) (*actor.PID, string, error){
		"an error": func(context.Context, string) (*actor.PID, string, error) {
			return nil, "", errors.New("the store is away")
		},
		"nobody": func(context.Context, string) (*actor.PID, string, error) { return nil, "", nil },
		"nobody in time": func(ctx context.Context, _ string) (*actor.PID, string, error) {
			<-ctx.Done()
			return nil, "", ctx.Err()
		},
	} {
		s.owner = owner
		began := time.Now()
		f, edge := s.first(hello("manila-1"))
		if f.Refused.GetCode() != "not_owner" || !strings.Contains(f.Refused.GetText(), "no hub owns the rings") {
			t.Errorf("%s: answered with %v", name, f)
		}
		if took := time.Since(began); name == "nobody in time" && (took < 400*time.Millisecond || took > 3*time.Second) {
			t.Errorf("%s: answered after %v", name, took)
		}
		probe.Expect[*messages.StripeDown](edge, soon)
	}
	s.session.ExpectNothing(20 * time.Millisecond)
}

// An owner that is just being found: Hello and Join wait for it.
func TestHelloAndJoinWaitForTheOwner(t *testing.T) {
	s := newSite(t)
	asked, found := make(chan struct{}, 2), make(chan struct{})
	s.owner = func(ctx context.Context, _ string) (*actor.PID, string, error) {
		asked <- struct{}{}
		select {
		case <-found:
			return s.session.PID(), "", nil
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
	for _, frame := range []*messages.Frame{hello("manila-1"), {Join: &messages.Join{Edge: "manila-1"}}} {
		up := probe.Expect[*messages.StripeUp](s.dial(s.tls("manila-1")), soon)
		s.system.Root.Send(up.Conn, frame)
		<-asked
	}
	s.session.ExpectNothing(20 * time.Millisecond)
	close(found)
	hellos := 0
	for range 2 {
		if probe.Expect[*messages.StripeUp](s.session, soon).First.GetHello() != nil {
			hellos++
		}
	}
	if hellos != 1 {
		t.Errorf("%d of the two came with hello", hellos)
	}
}

// A link session that has ended, or ends, takes its stripes along: the edge dials
// anew. What it said before goes out first.
func TestStripesEndWithTheirSession(t *testing.T) {
	s := newSite(t)
	gone := s.system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {}))
	s.system.Root.StopFuture(gone).Wait()
	alive := s.owner
	s.owner = func(context.Context, string) (*actor.PID, string, error) { return gone, "", nil }
	edge := s.dial(s.tls("manila-1"))
	s.system.Root.Send(probe.Expect[*messages.StripeUp](edge, soon).Conn, hello("manila-1"))
	probe.Expect[*messages.StripeDown](edge, soon)

	s.owner = alive
	stripe := make(chan *actor.PID, 1)
	ends := s.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.StripeUp); ok {
			stripe <- m.Conn
		}
	}))
	s.owner = func(context.Context, string) (*actor.PID, string, error) { return ends, "", nil }
	edge = s.dial(s.tls("manila-1"))
	s.system.Root.Send(probe.Expect[*messages.StripeUp](edge, soon).Conn, hello("manila-1"))
	conn := <-stripe
	for i := range uint64(100) {
		s.system.Root.Send(conn, &messages.Frame{Number: i + 1})
	}
	s.system.Root.Stop(ends)
	for i := range uint64(100) {
		if f := probe.Expect[*messages.FrameIn](edge, soon); f.Frame.Number != i+1 {
			t.Fatalf("frame %d comes as %d", i+1, f.Frame.Number)
		}
	}
	probe.Expect[*messages.StripeDown](edge, soon)
}

func TestStreamThatNeverSpeaksIsEnded(t *testing.T) {
	s := newSite(t, func(c *ServerConfig) { c.FirstFrame = 300 * time.Millisecond })
	began := time.Now()
	edge := s.dial(s.tls("manila-1"))
	probe.Expect[*messages.StripeUp](edge, soon)
	d := probe.Expect[*messages.StripeDown](edge, soon)
	if took := time.Since(began); took < 300*time.Millisecond || status.Code(errors.Unwrap(d.Err)) != codes.DeadlineExceeded {
		t.Errorf("after %v: %v", took, d.Err)
	}
	s.session.ExpectNothing(20 * time.Millisecond)
}

// leaving is a stripe whose edge hangs up behind its first frame.
type leaving struct {
	grpc.BidiStreamingServer[messages.Frame, messages.Frame]
	ctx   context.Context
	leave context.CancelFunc
	frame []byte
}

func (l leaving) Context() context.Context { return l.ctx }

func (l leaving) RecvMsg(m any) error {
	m.(*rawFrame).octets = l.frame
	l.leave()
	return nil
}

// An edge hangs up all its stripes when one is refused: the log has what that one heard.
func TestWhoHangsUpIsNotRefused(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	s := NewServer(ServerConfig{
		TLS: Credentials(&tls.Config{}, false), Log: zap.New(core),
		Identity: func(*x509.Certificate) (role, name string, err error) { return "edge", "manila-1", nil },
	})
	frame, err := proto.Marshal(hello("manila-1"))
	must(t, err)
	ctx, leave := context.WithCancel(peer.NewContext(t.Context(), &peer.Peer{
		Addr:     &net.TCPAddr{},
		AuthInfo: authInfo{TLSInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}},
	}))
	if err := s.Stripe(leaving{ctx: ctx, leave: leave, frame: frame}); !errors.Is(err, context.Canceled) {
		t.Errorf("the stripe ends with %v", err)
	}
	if all := logs.All(); len(all) != 1 || all[0].Level != zap.DebugLevel {
		t.Errorf("%v is logged", all)
	}
}

// A stranger who dials ten times a second, all day: 15,000 lines, not 860,000.
func TestRefusalsDoNotFillTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		log := seldom(zap.New(core))
		const minutes, each = 60, 600
		for range minutes * each {
			log.Info("link refused: TLS handshake failed")
			time.Sleep(time.Minute / each)
		}
		if n, want := logs.Len(), minutes*(10+(each-10)/100); n < minutes || n > want {
			t.Errorf("%d lines, want up to %d", n, want)
		}
	})
}

func TestGarbageOnThePort(t *testing.T) {
	s := newSite(t)
	edge, atEdge, atHub := s.joined()
	for name, octets := range map[string]string{
		"noise": strings.Repeat("\x00\xffnoise", 5000), "SMPP": "\x00\x00\x00\x10\x00\x00\x00\x15\x00\x00\x00\x00\x00\x00\x00\x01",
		"HTTP/2 without TLS": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "a record that never ends": "\x16\x03\x01\xff\xff",
	} {
		c, err := net.Dial("tcp", s.addr)
		must(t, err)
		if _, err := c.Write([]byte(octets)); err != nil {
			t.Logf("%s: %v", name, err)
		}
		if name != "a record that never ends" {
			must(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the port keeps the connection", name)
			}
		}
		c.Close()
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	if r, err := client.Get("http://" + s.addr + "/"); err == nil {
		r.Body.Close()
		if r.StatusCode < 400 {
			t.Errorf("plain HTTP is answered with %s", r.Status)
		}
	}
	s.works(edge, atEdge, atHub, 10)
}

func TestUnreachableHub(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed := l.Addr().String()
	l.Close()
	for addr, want := range map[string]string{closed: "refused", "no port": "address of the hub"} {
		s.addr = addr
		if f := probe.Expect[*messages.StripeFailed](s.dial(s.tls("manila-1")), soon); !strings.Contains(f.Err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, f.Err, want)
		}
	}
}

// A hub that accepts and never answers is given up in time.
func TestSilentHub(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	edge := probe.New(t, s.system, "edge")
	dialer := s.system.Root.Spawn(NewDialer(DialerConfig{TLS: s.tls("manila-1")}))
	began := time.Now()
	edge.Tell(dialer, &messages.DialStripe{Hub: l.Addr().String(), Within: 200 * time.Millisecond})
	f := probe.Expect[*messages.StripeFailed](edge, soon)
	if took := time.Since(began); took > 2*time.Second || !strings.Contains(f.Err.Error(), "no connection within 200ms") {
		t.Errorf("after %v: %v", took, f.Err)
	}
}

// ---- who does not read, who does not speak

// A peer that does not read costs a bounded queue, then the stripe and its
// connection; nothing waits for it for ever (goleak sees to that), and others go on.
func TestPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other, atEdge2, atHub2 := s.joined()
	fill := func(writer *actor.PID) {
		f := &messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("x", 64<<10)}}}}
		for range queueFrames + 1000 {
			s.system.Root.Send(writer, f)
		}
	}

	st := s.raw(true) // an edge that does not read
	must(t, st.Send(hello("manila-1")))
	fill(probe.Expect[*messages.StripeUp](s.session, soon).Conn)
	if d := probe.Expect[*messages.StripeDown](s.session, soon); !errors.Is(d.Err, errSlow) {
		t.Errorf("the hub's session hears %v", d.Err)
	}
	ended := make(chan int)
	go func() {
		<-time.After(lastWords + lastWords/2)
		n := 0
		for {
			if _, err := st.Recv(); err != nil {
				ended <- n
				return
			}
			n++
		}
	}()
	if n := <-ended; n > 2*windowStream/(64<<10) {
		t.Errorf("the edge could read %d frames after it was given up", n)
	}

	edge, atEdge, _ := s.joined() // a hub whose session handles nothing
	fill(atEdge)
	if d := probe.Expect[*messages.StripeDown](edge, soon); !errors.Is(d.Err, errSlow) {
		t.Errorf("the edge's session hears %v", d.Err)
	}
	frames := 0
	var came []*messages.FrameIn
	probe.Fish(s.session, func(m any) bool {
		if f, ok := m.(*messages.FrameIn); ok {
			frames++
			came = append(came, f)
		}
		_, down := m.(*messages.StripeDown)
		return down
	}, 3*lastWords)
	if frames > inOctets/(64<<10) {
		t.Errorf("%d frames went to a session that takes none", frames)
	}
	for _, f := range came {
		f.Taken()
	}
	s.works(other, atEdge2, atHub2, 10)
}

func TestHalfOpenConnectionsDisturbNobody(t *testing.T) {
	s := newSite(t)
	edge, atEdge, atHub := s.joined()
	for range 200 {
		c, err := net.Dial("tcp", s.addr)
		must(t, err)
		defer c.Close()
	}
	for what, do := range map[string]func(){"500 frames each way": func() { s.works(edge, atEdge, atHub, 500) }, "a new stripe": s.stillWorks} {
		best := time.Hour
		for i := 0; i < samples && best > 2*time.Second; i++ {
			began := time.Now()
			do()
			best = min(best, time.Since(began))
		}
		if best > 2*time.Second {
			t.Errorf("%s took %v beside them", what, best)
		}
	}
}

// ---- the first SETTINGS

// samples is how often something is timed at most that is to take so many round trips and
// no more: the best counts, and round trips are long, because the machine may be busy.
const samples = 6

// A dialler that need not wait for the server's SETTINGS has its first frame at
// the hub one round trip earlier. (Not parallel: it is timed.)
func TestEarlySettingsSaveARoundTrip(t *testing.T) {
	const rtt = 400 * time.Millisecond
	s := newSite(t)
	relay, err := wan.New(wan.Config{Target: s.addr, RTT: rtt})
	must(t, err)
	defer relay.Close()
	s.addr = relay.Addr()
	took := map[bool]time.Duration{}
	timed := func(early bool) {
		began := time.Now()
		st := s.raw(early)
		must(t, st.Send(hello("manila-1")))
		up := probe.Expect[*messages.StripeUp](s.session, soon)
		if d := time.Since(began); took[early] == 0 || d < took[early] {
			took[early] = d
		}
		s.system.Root.Send(up.Conn, &messages.Frame{Number: 5})
		if f, err := st.Recv(); err != nil || f.Number != 5 {
			t.Errorf("early %v: %v %v", early, f, err)
		}
		for i := range uint64(100) { // and the connection's windows are the server's
			must(t, st.Send(&messages.Frame{Number: i, Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("x", 1000)}}}}))
		}
		for range 100 {
			probe.Expect[*messages.FrameIn](s.session, soon).Taken()
		}
		must(t, st.CloseSend())
		probe.Expect[*messages.StripeDown](s.session, soon)
	}
	dialled := time.Hour
	dial := func() { // the dialer does it
		began := time.Now()
		up := probe.Expect[*messages.StripeUp](s.dial(s.tls("manila-1")), soon)
		dialled = min(dialled, time.Since(began))
		s.system.Root.Send(up.Conn, hello("manila-1"))
		probe.Expect[*messages.StripeUp](s.session, soon)
	}
	// A dialer's stripe is up after TCP and TLS, half a round trip before Hello could be at
	// the hub; one that waits for SETTINGS is half a round trip after it.
	asWanted := func() bool {
		saved := took[false] - took[true]
		return saved >= rtt/2 && saved <= rtt*3/2 && dialled <= max(5*rtt/2, took[true])
	}
	for i := 0; i < 2 || i < samples && !asWanted(); i++ {
		timed(true)
		timed(false)
		dial()
	}
	t.Logf("Hello is at the hub after %v with early SETTINGS, %v without; the dialer's stripe was up after %v; RTT %v", took[true], took[false], dialled, rtt)
	if !asWanted() {
		t.Errorf("saves %v, a round trip is %v; the dialer's stripe was up after %v", took[false]-took[true], rtt, dialled)
	}
}

// ---- connections made ahead

// warm has a dialer connect ahead over a relay, which counts the connections.
func (s *site) warm(t *testing.T, rtt, keep time.Duration, n int) (relay *wan.Relay, dialer *actor.PID, edge *probe.Probe) {
	relay, err := wan.New(wan.Config{Target: s.addr, RTT: rtt})
	must(t, err)
	t.Cleanup(func() { relay.Close() })
	edge = probe.New(t, s.system, "edge")
	dialer = s.system.Root.Spawn(NewDialer(DialerConfig{TLS: s.tls("manila-1"), KeepWarm: keep}))
	t.Cleanup(func() { s.system.Root.StopFuture(dialer).Wait() })
	edge.Tell(dialer, &messages.WarmHub{Hub: relay.Addr(), Stripes: n, Within: soon / 2})
	if w := probe.Expect[*messages.HubWarm](edge, soon); w.Stripes != n || w.Hub != relay.Addr() {
		t.Fatalf("%+v, want %d stripes to %s", w, n, relay.Addr())
	}
	return relay, dialer, edge
}

// On a connection made ahead Hello is at the hub after half a round trip. (Not parallel:
// it is timed.)
func TestWarmConnectionsSaveTheDialling(t *testing.T) {
	const rtt, n = 400 * time.Millisecond, 4
	s := newSite(t)
	var best [n]time.Duration
	for range samples {
		relay, dialer, edge := s.warm(t, rtt, 0, n)
		s.session.ExpectNothing(50 * time.Millisecond) // no stream yet
		for i := range uint32(n + 1) {
			began := time.Now()
			edge.Tell(dialer, &messages.DialStripe{Hub: relay.Addr(), Stripe: i, Try: 7, Within: 5 * time.Second})
			up := probe.Expect[*messages.StripeUp](edge, soon)
			s.system.Root.Send(up.Conn, hello("manila-1"))
			first := probe.Expect[*messages.StripeUp](s.session, soon)
			took := time.Since(began)
			if warm := i < n; warm && took < rtt/2-2*time.Millisecond || !warm && took < 2*rtt {
				t.Errorf("stripe %d: Hello is at the hub after %v", i, took)
			} else if warm && (best[i] == 0 || took < best[i]) {
				best[i] = took
			}
			if up.Stripe != i || up.Try != 7 || up.TLSAt.Before(began) || time.Since(first.TLSAt) > soon {
				t.Errorf("stripe %d: %+v, at the hub %+v", i, up, first)
			}
		}
		if got := relay.Stats().Accepted; got != n+1 {
			t.Errorf("%d connections were made, want %d", got, n+1)
		}
		if slices.Max(best[:]) <= rtt {
			return
		}
	}
	t.Errorf("Hello is at the hub after %v, a round trip is %v", best, rtt)
}

func TestWarmConnectionsAreNotKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	relay, _, _ := s.warm(t, 0, 100*time.Millisecond, 3)
	open := func(want int) {
		t.Helper()
		for limit := time.Now().Add(soon); relay.Stats().Open != want; <-time.After(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%d connections are open, want %d", relay.Stats().Open, want)
			}
		}
	}
	open(0)
	relay, dialer, edge := s.warm(t, 0, time.Hour, 3)
	open(3)
	// Some that have broken meanwhile are not taken.
	must(t, relay.Close())
	open(0)
	relay, err := wan.New(wan.Config{Target: s.addr, Listen: relay.Addr()})
	must(t, err)
	defer relay.Close()
	for range 4 { // three may not know yet that they have ended
		edge.Tell(dialer, &messages.DialStripe{Hub: relay.Addr(), Within: soon})
		if up := probe.Fish[*messages.StripeUp](edge, nil, soon); up != nil {
			s.system.Root.Send(up.Conn, hello("manila-1"))
		}
	}
	probe.Expect[*messages.StripeUp](s.session, soon)

	relay, dialer, _ = s.warm(t, 0, time.Hour, 3)
	open(3)
	s.system.Root.StopFuture(dialer).Wait()
	open(0)
}

// Where nothing answers, the asker hears so in time.
func TestWarmingAHubThatIsNotThere(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	silent := l.Addr().String()
	defer l.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed.Close()
	edge := probe.New(t, s.system, "edge")
	dialer := s.system.Root.Spawn(NewDialer(DialerConfig{TLS: s.tls("manila-1")}))
	for _, hub := range []string{silent, closed.Addr().String(), "no address"} {
		began := time.Now()
		edge.Tell(dialer, &messages.WarmHub{Hub: hub, Stripes: 2, Within: 300 * time.Millisecond})
		if w := probe.Expect[*messages.HubWarm](edge, soon); w.Stripes != 0 || time.Since(began) > 2*time.Second {
			t.Errorf("%s: %+v after %v", hub, w, time.Since(began))
		}
	}
}
