package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/ringway-im/ringway/cluster/linkrpc"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/pki"
)

// border is a hub with an honest edge, whose pace is watched, and one whose
// certificate is in bad hands.
type border struct {
	*site
	hub     *node
	honest  *siteEdge
	between *relay // in front of the honest one
	smsc    smscAPI
	each    func() *tls.Config // of the other edge's certificate
	stop    func()
}

func newBorder(t *testing.T) *border {
	t.Helper()
	b := &border{site: newSite(t)}
	b.honest = b.edge("manila-1", "+63917", "smpp", false)
	b.edge("cebu-1", "+63918", "smpp", false)
	b.between = newRelay(t, b.link)
	link := b.link
	b.link = b.between.Addr().String()
	b.write("manila-1.yaml", b.edgeYAML(b.honest))
	b.link = link
	b.launchSMSC(b.honest, "--latency", "20ms").ready()
	b.hub = b.launchHub().ready()
	b.launchEdge(b.honest).ready()
	isReady(b.honest.api(t), 15*time.Second)
	b.smsc = b.honest.smsc(t)
	var err error
	if b.each, err = pki.EachClientTLS(b.path("pki/cebu-1.crt"), b.path("pki/cebu-1.key"), b.path("pki/ca.crt")); err != nil {
		t.Fatal(err)
	}
	// More waits for the SMSC than it takes: its pace is the rate.
	ann := newPerson(b.admin(), "ann").online()
	ctx, cancel := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			for ann.waiting() > 50 && ctx.Err() == nil {
				<-time.After(5 * time.Millisecond)
			}
			ann.send(fmt.Sprintf("+63917%07d", i%50), fmt.Sprint("text ", i))
		}
	})
	b.stop = func() { cancel(); feeding.Wait() }
	eventually(t, 10*time.Second, func() string { return atLeast("flowing", b.smsc.stats().Delivered, 20) })
	return b
}

// rate of the honest edge, over two seconds.
func (b *border) rate() float64 {
	before, at := b.smsc.stats().Delivered, time.Now()
	<-time.After(2 * time.Second) // this is a measurement, not a wait for something
	return float64(b.smsc.stats().Delivered-before) / time.Since(at).Seconds()
}

// taken is what the hub's process holds.
func (b *border) taken() (descriptors int, rssMB float64) {
	b.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.hub.pid()))
	if err != nil {
		b.t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.hub.pid()))
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &rssMB); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	return len(open), rssMB / 1024
}

// undisturbed runs a noise in turns with silence: the honest edge keeps that share of
// its rate, and the hub takes no more than so many descriptors and MB beside what it had.
func (b *border) undisturbed(t *testing.T, noise func(ctx context.Context), descriptors int, rssMB, want float64) {
	t.Helper()
	fdsBefore, rssBefore := b.taken()
	ratio := 0.0
	for range 3 { // a busy machine gets another chance
		var without, with []float64
		for range 3 {
			without = append(without, b.rate())
			ctx, cancel := context.WithCancel(t.Context())
			var noisy sync.WaitGroup
			noisy.Go(func() { noise(ctx) })
			<-time.After(time.Second) // until the noise is at its height
			with = append(with, b.rate())
			fds, rss := b.taken()
			if fds-fdsBefore > descriptors || rss-rssBefore > rssMB {
				t.Errorf("the hub holds %d descriptors and %.0f MB more, want up to %d and %.0f", fds-fdsBefore, rss-rssBefore, descriptors, rssMB)
			}
			t.Logf("%d descriptors (%+d), %.0f MB (%+.0f)", fds, fds-fdsBefore, rss, rss-rssBefore)
			cancel()
			noisy.Wait()
		}
		ratio = median(with) / median(without)
		t.Logf("%.0f a second undisturbed, %.0f disturbed: %.2f", median(without), median(with), ratio)
		if ratio >= want {
			break
		}
	}
	if ratio < want {
		t.Errorf("at %.2f of the undisturbed rate, want %.2f", ratio, want)
	}
	if up := b.honest.api(t).metric("ringway_link_up", ""); up != 1 {
		t.Error("the honest edge's link is down")
	}
}

// Crowds of strangers, and of connections with one certificate, at the link's port:
// the honest edge keeps its pace, comes back in the middle of it, and the hub's memory
// and descriptors have a bound.
func TestCrowdsAtTheLinkPort(t *testing.T) {
	long(t)
	b := newBorder(t)
	defer b.stop()
	const crowd = 2500
	noises := map[string]struct {
		one         func(ctx context.Context, conn net.Conn)
		descriptors int
	}{
		"stop in mid-handshake":           {func(ctx context.Context, c net.Conn) { _, _ = c.Write(halfHello); hold(ctx, c) }, 600},
		"say nothing":                     {hold, 600},
		"without a certificate, in loops": {func(_ context.Context, c net.Conn) { handshakeWith(c, &tls.Config{InsecureSkipVerify: true}) }, 600},
		"one certificate, no stream":      {func(ctx context.Context, c net.Conn) { handshakeWith(c, b.each()); hold(ctx, c) }, 750},
		"one certificate, never speak": {func(ctx context.Context, c net.Conn) {
			handshakeWith(c, b.each())
			_, _ = c.Write(openStream)
			hold(ctx, c)
		}, 750},
	}
	for _, name := range sortedKeys(noises) {
		t.Run(name, func(t *testing.T) {
			noise := func(ctx context.Context) {
				var all sync.WaitGroup
				for i := range crowd {
					all.Go(func() {
						dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i%4+1))}}
						wait := time.Duration(i) * time.Second / crowd // not all in one instant
						for {
							select {
							case <-ctx.Done():
								return
							case <-time.After(wait):
							}
							wait = 5 * time.Second
							if conn, err := dialer.DialContext(ctx, "tcp", b.link); err == nil {
								noises[name].one(ctx, conn)
								conn.Close()
							}
						}
					})
				}
				all.Wait()
			}
			b.undisturbed(t, noise, noises[name].descriptors, 150, 0.9)

			// An honest edge that has to come back gets in through the crowd.
			ctx, cancel := context.WithCancel(t.Context())
			var noisy sync.WaitGroup
			noisy.Go(func() { noise(ctx) })
			<-time.After(time.Second)
			a := b.honest.api(t)
			before, at := a.metric("ringway_link_reconnects_total", ""), time.Now()
			b.between.drop()
			eventually(t, 20*time.Second, func() string {
				if a.metric("ringway_link_reconnects_total", "") == before || a.metric("ringway_link_up", "") != 1 {
					return "the honest edge does not get in"
				}
				return ""
			})
			t.Logf("the honest edge was back after %v", time.Since(at).Round(time.Millisecond))
			cancel()
			noisy.Wait()
		})
	}
}

// halfHello is the beginning of a TLS record with a ClientHello.
var halfHello = []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4}

// openStream begins HTTP/2 and opens a stream to the link's method (RFC 9113 §3.4, RFC 7541).
var openStream = func() []byte {
	var headers bytes.Buffer
	literal := func(name, value string) {
		headers.Write([]byte{0x00, byte(len(name))})
		headers.WriteString(name)
		headers.WriteByte(byte(len(value)))
		headers.WriteString(value)
	}
	literal(":method", "POST")
	literal(":scheme", "https")
	literal(":path", "/ringway.v1.Link/Stripe")
	literal(":authority", "x")
	literal("content-type", "application/grpc")
	literal("te", "trailers")
	frame := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	frame = append(frame, 0, 0, byte(headers.Len()), 1, 4, 0, 0, 0, 1)
	return append(frame, headers.Bytes()...)
}()

func handshakeWith(c net.Conn, cfg *tls.Config) {
	cfg.NextProtos, cfg.ServerName = []string{"h2"}, "127.0.0.1"
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	under := tls.Client(c, cfg)
	_ = under.Handshake()
	_ = c.SetDeadline(time.Time{})
}

// hold waits until the other side has had enough.
func hold(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.Copy(io.Discard, c)
}

// liar is a peer with a good certificate that keeps to no rule: stripes that are up,
// of which it reads nothing.
type liar struct {
	epoch   uint64
	session []byte
	stripes []grpc.BidiStreamingClient[messages.Frame, messages.Frame]
	end     func()
}

func (b *border) lie(t *testing.T, n int) *liar {
	t.Helper()
	l := &liar{session: make([]byte, 16)}
	_, _ = rand.Read(l.session)
	ctx, cancel := context.WithCancel(t.Context())
	var conns []*grpc.ClientConn
	l.end = func() {
		cancel()
		for _, cc := range conns {
			_ = cc.Close()
		}
	}
	for i := range n {
		cfg := b.each()
		cfg.ServerName = "127.0.0.1"
		cc, err := grpc.NewClient("passthrough:///"+b.link, grpc.WithTransportCredentials(linkrpc.Credentials(cfg, true)), grpc.WithNoProxy(), grpc.WithInitialWindowSize(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, cc)
		st, err := messages.NewLinkClient(cc).Stripe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		first := &messages.Frame{Join: &messages.Join{Edge: "cebu-1", Session: l.session, Stripe: uint32(i)}}
		if i == 0 {
			view := &messages.View{Slots: 255}
			up := &messages.View{Slots: 255, LastRetrieved: 1, LastSent: 1, Held: []*messages.SlotView{{Sequence: 1, Id: make([]byte, 16), Flags: 3}}} // the one that it doubles
			first = &messages.Frame{Hello: &messages.Hello{Edge: "cebu-1", Version: 1, Session: l.session, Instance: []byte("the liar's"), Down: view, Up: up, Stripes: uint32(n)}}
		}
		if err := st.Send(first); err != nil {
			t.Fatal(err)
		}
		for i == 0 && l.epoch == 0 {
			f, err := st.Recv()
			if err != nil || f.Refused != nil {
				t.Fatalf("not welcome: %v %v", f, err)
			}
			l.epoch = f.Welcome.GetEpoch()
		}
		l.stripes = append(l.stripes, st)
	}
	return l
}

// A peer with a good certificate sends as much as it can over as many stripes as there
// may be, and reads nothing. What the hub spends on it is bounded, and the honest edge
// stays linked.
func TestMemoryOfAPeerIsBounded(t *testing.T) {
	long(t)
	b := newBorder(t)
	defer b.stop()
	same := &messages.Data{Ring: messages.Ring_UP, Sequence: 1, Address: 1, Message: &messages.Message{Id: make([]byte, 16), From: "+639180000001", To: "63918000", Text: "x"}}
	duplicates := &messages.Frame{}
	for range 500 {
		duplicates.Data = append(duplicates.Data, same)
	}
	events := &messages.Frame{}
	for i := range 5000 {
		events.Events = append(events.Events, &messages.Event{Number: 1<<40 + uint64(i), Id: make([]byte, 16)})
	}
	large := &messages.Frame{Heartbeat: &messages.Heartbeat{SentUs: 1, Rings: []*messages.RingState{{Ring: messages.Ring_UP, Flags: make([]byte, 3<<20)}}}}
	for name, f := range map[string]*messages.Frame{
		"heartbeats": {Heartbeat: &messages.Heartbeat{SentUs: 1}}, "large frames": large, "duplicates": duplicates, "events far ahead": events,
	} {
		t.Run(name, func(t *testing.T) {
			b.undisturbed(t, func(ctx context.Context) {
				l := b.lie(t, 64)
				defer l.end()
				var sending sync.WaitGroup
				sent := make([]int, len(l.stripes))
				for i, st := range l.stripes {
					sending.Go(func() {
						for ctx.Err() == nil {
							if st.Send(&messages.Frame{Epoch: l.epoch, Number: uint64(sent[i] + 1), Heartbeat: f.Heartbeat, Data: f.Data, Events: f.Events}) != nil {
								return
							}
							sent[i]++
						}
					})
				}
				context.AfterFunc(ctx, l.end)
				sending.Wait()
				sum := 0
				for _, n := range sent {
					sum += n
				}
				t.Logf("%d frames were sent", sum)
			}, 100, 300, 0) // the peer takes the same processors: the rate says nothing here
		})
	}
}
