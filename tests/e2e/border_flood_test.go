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
)

// border is a hub with an honest edge, whose pace is watched, and one whose
// certificate is in bad hands.
type border struct {
	*site
	*victim
	honest  *siteEdge
	between *relay // in front of the honest one
}

func newBorder(t *testing.T) *border {
	t.Helper()
	b := &border{site: newSite(t)}
	b.inHub.by = oneProcessor(t)
	b.honest = b.edge("manila-1", "+63917", "smpp", false)
	b.edge("cebu-1", "+63918", "smpp", false)
	b.between = newRelay(t, b.link)
	b.via = b.between.Addr().String()
	b.rewrite(b.honest)
	b.launchSMSC(b.honest, "--latency", "4ms").ready()
	hub := b.launchHub().ready()
	b.launchEdge(b.honest).ready()
	isReady(b.honest.api(t), 15*time.Second)
	b.victim = newVictim(t, hub, b.admin(), b.honest.smsc(t))
	return b
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

// undisturbed makes a noise in turns with silence: the honest edge keeps its rate and its
// link, and the hub takes no more than so many descriptors and MB beside what it had.
func (b *border) undisturbed(t *testing.T, n noise, descriptors int, rssMB float64) {
	t.Helper()
	fdsBefore, rssBefore := b.taken()
	b.keepsItsRate(t, n, func() {
		fds, rss := b.taken()
		if fds-fdsBefore > descriptors || rss-rssBefore > rssMB {
			t.Errorf("the hub holds %d descriptors and %.0f MB more, want up to %d and %.0f", fds-fdsBefore, rss-rssBefore, descriptors, rssMB)
		}
		t.Logf("%d descriptors (%+d), %.0f MB (%+.0f)", fds, fds-fdsBefore, rss, rss-rssBefore)
	})
	if up := b.honest.api(t).metric("ringway_link_up", ""); up != 1 {
		t.Error("the honest edge's link is down")
	}
}

// Crowds of strangers, and of connections with one certificate, at the link's port:
// the honest edge keeps its pace, comes back in the middle of it, and the hub's memory
// and descriptors have a bound.
func TestCrowdsAtTheLinkPort(t *testing.T) {
	b := newBorder(t)
	defer b.stop()
	alone := []string{"stop in mid-handshake", "say nothing", "no certificate", "one certificate and no stream", "one certificate and never speak"}
	eachAndAll(t, alone, func(t *testing.T, kinds ...string) {
		descriptors := 600
		if strings.Contains(kinds[len(kinds)-1], "one certificate") {
			descriptors = 750
		}
		n := b.noise()
		n.Kinds = kinds
		b.undisturbed(t, n, descriptors, 150)

		// An honest edge that has to come back gets in through the crowd.
		m := n.begin(t)
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
		m.end()
	})
}

// crowds are noises of many connections.
var crowds = map[string]maker{
	"stop in mid-handshake": crowd(func(c net.Conn, _ func() *tls.Config) {
		_, _ = c.Write(halfHello)
		hold(c)
	}),
	"say nothing":    crowd(func(c net.Conn, _ func() *tls.Config) { hold(c) }),
	"no certificate": crowd(func(c net.Conn, _ func() *tls.Config) { handshakeWith(c, &tls.Config{InsecureSkipVerify: true}) }),
	"one certificate and no stream": crowd(func(c net.Conn, each func() *tls.Config) {
		handshakeWith(c, each())
		hold(c)
	}),
	"one certificate and never speak": crowd(func(c net.Conn, each func() *tls.Config) {
		if under := handshakeWith(c, each()); under != nil {
			_, _ = under.Write(openStream)
		}
		hold(c)
	}),
}

// crowd is a share of 2,500 who all come within a second, and each a second after he was
// turned away again.
func crowd(one func(conn net.Conn, certificate func() *tls.Config)) maker {
	return func(ctx context.Context, n noise, did func()) error {
		each, err := n.certificate()
		if err != nil {
			return err
		}
		size := 2500 / (n.Workers * len(n.Kinds))
		var all sync.WaitGroup
		for i := range size {
			all.Go(func() {
				wait := time.Duration(i) * time.Second / time.Duration(size)
				for {
					select {
					case <-ctx.Done():
						return
					case <-time.After(wait):
					}
					wait = time.Second
					conn, err := dial(ctx, n.Link, i)
					if err != nil {
						continue
					}
					did()
					stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
					one(conn, each)
					stop()
					_ = conn.Close()
				}
			})
		}
		all.Wait()
		return nil
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

func handshakeWith(c net.Conn, cfg *tls.Config) *tls.Conn {
	cfg.NextProtos, cfg.ServerName = []string{"h2"}, "127.0.0.1"
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	under := tls.Client(c, cfg)
	err := under.Handshake()
	_ = c.SetDeadline(time.Time{})
	if err != nil {
		return nil
	}
	return under
}

// hold waits until the other side has had enough.
func hold(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// A peer with a good certificate sends as much as it can over as many stripes as there
// may be, and reads nothing. What the hub spends on it is bounded, and the honest edge
// keeps its pace.
func TestMemoryOfAPeerIsBounded(t *testing.T) {
	b := newBorder(t)
	defer b.stop()
	eachAndAll(t, sortedKeys(floods), func(t *testing.T, frames ...string) {
		n := b.noise()
		n.Kinds, n.Workers, n.Frames = []string{"flood"}, 1, frames
		b.undisturbed(t, n, 100, 300)
	})
}

// floods are frames that a peer may send again and again.
var floods = func() map[string]*messages.Frame {
	same := &messages.Data{Ring: messages.Ring_UP, Sequence: 1, Address: 1, Message: &messages.Message{Id: make([]byte, 16), From: "+639180000001", To: "63918000", Text: "x"}}
	duplicates := &messages.Frame{}
	for range 500 {
		duplicates.Data = append(duplicates.Data, same)
	}
	events := &messages.Frame{}
	for i := range 5000 {
		events.Events = append(events.Events, &messages.Event{Number: 1<<40 + uint64(i), Id: make([]byte, 16)})
	}
	return map[string]*messages.Frame{
		"heartbeats":       {Heartbeat: &messages.Heartbeat{SentUs: 1}},
		"large frames":     {Heartbeat: &messages.Heartbeat{SentUs: 1, Rings: []*messages.RingState{{Ring: messages.Ring_UP, Flags: make([]byte, 3<<20)}}}},
		"duplicates":       duplicates,
		"events far ahead": events,
	}
}()

// flood is a liar that sends without end, each stripe one of the frames, and comes again
// when it is turned away.
func flood(ctx context.Context, n noise, did func()) error {
	err := n.lieAndSend(ctx, did)
	for err == nil && ctx.Err() == nil {
		if n.lieAndSend(ctx, did) != nil { // they have had enough
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return err
}

func (n noise) lieAndSend(ctx context.Context, did func()) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	epoch, stripes, err := n.lie(ctx, 64)
	if err != nil {
		return err
	}
	var sending sync.WaitGroup
	for i, stripe := range stripes {
		f := floods[n.Frames[i%len(n.Frames)]]
		sending.Go(func() {
			for number := uint64(1); ctx.Err() == nil; number++ {
				if stripe.Send(&messages.Frame{Epoch: epoch, Number: number, Heartbeat: f.Heartbeat, Data: f.Data, Events: f.Events}) != nil {
					return
				}
				did()
			}
		})
	}
	sending.Wait()
	return nil
}

// lie opens the stripes of a session with the other edge's certificate, of which nothing
// will be read. They end with ctx.
func (n noise) lie(ctx context.Context, stripes int) (epoch uint64, all []grpc.BidiStreamingClient[messages.Frame, messages.Frame], err error) {
	each, err := n.certificate()
	if err != nil {
		return 0, nil, err
	}
	session := make([]byte, 16)
	_, _ = rand.Read(session)
	for i := range stripes {
		cfg := each()
		cfg.ServerName = "127.0.0.1"
		cc, err := grpc.NewClient("passthrough:///"+n.Link, grpc.WithTransportCredentials(linkrpc.Credentials(cfg, true)), grpc.WithNoProxy(),
			grpc.WithInitialWindowSize(64<<10), grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) { return dial(ctx, to, i) }))
		if err != nil {
			return 0, nil, err
		}
		context.AfterFunc(ctx, func() { _ = cc.Close() })
		stripe, err := messages.NewLinkClient(cc).Stripe(ctx)
		if err != nil {
			return 0, nil, err
		}
		first := &messages.Frame{Join: &messages.Join{Edge: "cebu-1", Session: session, Stripe: uint32(i)}}
		if i == 0 {
			view := &messages.View{Slots: 255}
			up := &messages.View{Slots: 255, LastRetrieved: 1, LastSent: 1, Held: []*messages.SlotView{{Sequence: 1, Id: make([]byte, 16), Flags: 3}}} // the one that it doubles
			first = &messages.Frame{Hello: &messages.Hello{Edge: "cebu-1", Version: 1, Session: session, Instance: []byte("the liar's"), Down: view, Up: up, Stripes: uint32(stripes)}}
		}
		if err := stripe.Send(first); err != nil {
			return 0, nil, err
		}
		for i == 0 && epoch == 0 {
			f, err := stripe.Recv()
			if err != nil || f.Refused != nil {
				return 0, nil, fmt.Errorf("not welcome: %v: %w", f, err)
			}
			epoch = f.Welcome.GetEpoch()
		}
		all = append(all, stripe)
	}
	return epoch, all, nil
}
