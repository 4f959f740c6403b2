package linkrpc

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
)

// peerBound is what a peer may cost this side, over however many stripes and however it
// behaves: see docs/certificates.md.
const peerBound = 64 << 20

func heap() int64 {
	for range 3 { // pools are emptied in two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

var atFirst = sync.OnceValue(heap)

// settled waits until what a test before this one took is gone, and returns the heap.
func settled(t *testing.T) int64 {
	t.Helper()
	for deadline := time.Now().Add(2 * grace); ; <-time.After(100 * time.Millisecond) {
		h := heap()
		if h < atFirst()+16<<20 {
			return h
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d kB stay", (h-atFirst())>>10)
		}
	}
}

// A peer sends as much as it can over as many stripes as a session takes and reads
// nothing, and this side's session is busy and has much to say to it: the heap grows by
// no more than the bound, beside what the peer itself takes, which is in this process
// too: two frames and gRPC's 64 kB for each stripe.
func TestMemoryOfAPeerIsBounded(t *testing.T) {
	crowded := &messages.Frame{}
	for range laterEntries {
		crowded.Events = append(crowded.Events, &messages.Event{Number: 1 << 20})
	}
	settled(t)
	frames := map[string]*messages.Frame{
		"frames with a text":    {Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("x", 15<<10)}}}},
		"frames of many events": crowded,
		"large frames":          {Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("x", 256<<10)}}}},
	}
	for _, name := range slices.Sorted(maps.Keys(frames)) {
		f := frames[name]
		if testing.Short() || os.Getenv("RINGWAY_LONG") == "" && name != "large frames" {
			continue
		}
		t.Run(name, func(t *testing.T) { spend(t, f) })
	}
}

// Small pieces cost far more than HTTP/2's flow control counts. The peer here is no
// gRPC client: what it sends beside the bound is with the kernel.
func TestSmallPiecesAreBounded(t *testing.T) {
	message, pieces := smallPieces(t)
	for name, piece := range pieces {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			const stripes = 64
			all := bytes.Repeat(piece, windowStream/message)
			before := settled(t)
			var sent atomic.Int64
			var sending sync.WaitGroup
			var socks []net.Conn
			for i := range stripes {
				cfg := s.tls("manila-1")()
				cfg.ServerName, cfg.NextProtos = "127.0.0.1", []string{"h2"}
				c, err := tls.Dial("tcp", s.addr, cfg)
				must(t, err)
				socks = append(socks, c)
				join, err := proto.Marshal(&messages.Frame{Join: &messages.Join{Edge: "manila-1", Stripe: uint32(i)}})
				must(t, err)
				_, err = c.Write(append(openStream(len(join)), join...))
				must(t, err)
				probe.Expect[*messages.StripeUp](s.session, soon)
			}
			for _, c := range socks {
				sending.Go(func() {
					for rest := all; len(rest) > 0; {
						n, err := c.Write(rest[:min(len(rest), 4<<10)])
						if sent.Add(int64(n)); err != nil {
							return
						}
						rest = rest[n:]
					}
				})
			}
			for was := int64(-1); was != sent.Load() || was == 0; {
				was = sent.Load()
				<-time.After(500 * time.Millisecond)
			}
			grown := heap() - before
			t.Logf("%d kB sent; the heap grew by %d kB, bound %d kB", sent.Load()>>10, grown>>10, peerBound>>10)
			if grown > peerBound {
				t.Errorf("a peer costs %d kB, want up to %d", grown>>10, peerBound>>10)
			}
			for _, c := range socks {
				c.Close()
			}
			sending.Wait()
		})
	}
}

// A hub that is none, or a broken one, and the edge's session is busy: the edge's end
// reads no further either.
func TestMemoryOfAHubIsBounded(t *testing.T) {
	message, pieces := smallPieces(t)
	for name, piece := range pieces {
		if os.Getenv("RINGWAY_LONG") == "" && name != "an octet at a time" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			const stripes = 8
			s := newSite(t)
			cfg, err := pki.ServerTLS(s.file("hub-1.crt"), s.file("hub-1.key"), s.file("ca.crt"))
			must(t, err)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			edge := probe.New(t, s.system, "edge")
			dialer := s.system.Root.Spawn(NewDialer(DialerConfig{TLS: s.tls("manila-1")}))
			var conns []net.Conn
			var windows []<-chan int
			for i := range uint32(stripes) {
				edge.Tell(dialer, &messages.DialStripe{Hub: l.Addr().String(), Stripe: i, Within: soon})
				raw, err := l.Accept()
				must(t, err)
				c, _, err := Credentials(cfg, false).ServerHandshake(raw)
				must(t, err)
				defer c.Close()
				conns, windows = append(conns, c), append(windows, answerStream(t, c))
				probe.Expect[*messages.StripeUp](edge, soon)
			}
			before := settled(t)
			var sent atomic.Int64
			var sending sync.WaitGroup
			for i, c := range conns {
				sending.Go(func() { // as long as it is taken
					window := windowStream
					for {
						for window < message {
							more, ok := <-windows[i]
							if window += more; !ok {
								return
							}
						}
						some := min(window/message, 4<<10/len(piece))
						window -= some * message
						n, err := c.Write(bytes.Repeat(piece, some))
						if sent.Add(int64(n)); err != nil {
							return
						}
					}
				})
			}
			for was := int64(-1); was != sent.Load() || was == 0; {
				was = sent.Load()
				<-time.After(500 * time.Millisecond)
				if grown := heap() - before; grown > peerBound {
					t.Fatalf("a hub costs %d kB, want up to %d; %d kB were sent", grown>>10, peerBound>>10, sent.Load()>>10)
				}
			}
			t.Logf("%d kB sent; the heap grew by %d kB, bound %d kB", sent.Load()>>10, (heap()-before)>>10, peerBound>>10)
			for _, c := range conns {
				c.Close()
			}
			sending.Wait()
		})
	}
}

// smallPieces are a small message as it goes through HTTP/2, and how long it is for gRPC.
func smallPieces(t *testing.T) (octets int, pieces map[string][]byte) {
	beat, err := proto.Marshal(&messages.Frame{Heartbeat: &messages.Heartbeat{SentUs: 1}})
	must(t, err)
	message := append([]byte{0, 0, 0, 0, byte(len(beat))}, beat...)
	var cut []byte // each octet in a DATA frame of its own
	for _, b := range message {
		cut = append(cut, dataFrame([]byte{b})...)
	}
	return len(message), map[string][]byte{"small frames": dataFrame(message), "an octet at a time": cut}
}

// dataFrame is a frame of HTTP/2's type DATA on the first stream.
func dataFrame(b []byte) []byte {
	return append([]byte{0, 0, byte(len(b)), 0, 0, 0, 0, 0, 1}, b...)
}

// answerStream accepts the stream that a gRPC client opens (RFC 9113 §6.2, RFC 7541
// appendix A: field 8 is ":status: 200"), and returns what its window grows by (§6.9)
// until the connection ends.
func answerStream(t *testing.T, c net.Conn) <-chan int {
	t.Helper()
	const headers, windowUpdate = 1, 8
	frame := func() (kind, stream byte, payload []byte, err error) {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			return 0, 0, nil, err
		}
		payload = make([]byte, binary.BigEndian.Uint32(head)>>8)
		_, err = io.ReadFull(c, payload)
		return head[3], head[8], payload, err
	}
	_, err := io.CopyN(io.Discard, c, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	must(t, err)
	for kind := byte(0); kind != headers; {
		kind, _, _, err = frame()
		must(t, err)
	}
	fields := append([]byte{0x88, 0, byte(len("content-type"))}, "content-type"...)
	fields = append(append(fields, byte(len("application/grpc"))), "application/grpc"...)
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	_, err = c.Write(append(append(settings, 0, 0, byte(len(fields)), headers, 4, 0, 0, 0, 1), fields...))
	must(t, err)
	window := make(chan int)
	go func() {
		defer close(window)
		for {
			kind, stream, payload, err := frame()
			if err != nil {
				return
			}
			if kind == windowUpdate && stream == 1 {
				select {
				case window <- int(binary.BigEndian.Uint32(payload)):
				case <-t.Context().Done():
					return
				}
			}
		}
	}()
	return window
}

// openStream begins HTTP/2, opens a stream to the link's method, and begins a message of
// n octets (RFC 9113 §3.4, RFC 7541).
func openStream(n int) []byte {
	var headers []byte
	for _, h := range [][2]string{
		{":method", "POST"},
		{":scheme", "https"},
		{":path", messages.Link_Stripe_FullMethodName},
		{":authority", "x"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
	} {
		headers = append(headers, 0, byte(len(h[0])))
		headers = append(headers, h[0]...)
		headers = append(headers, byte(len(h[1])))
		headers = append(headers, h[1]...)
	}
	b := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 0, 0, byte(len(headers)), 1, 4, 0, 0, 0, 1)
	b = append(b, headers...)
	return append(b, 0, 0, byte(5+n), 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, byte(n))
}

func spend(t *testing.T, f *messages.Frame) {
	const stripes = 64
	s := newSite(t)
	var peer []grpc.BidiStreamingClient[messages.Frame, messages.Frame]
	var conns []*actor.PID
	for i := range stripes {
		st := s.raw(true, grpc.ForceCodecV2(newCodec()))
		must(t, st.Send(&messages.Frame{Join: &messages.Join{Edge: "manila-1", Stripe: uint32(i)}}))
		peer, conns = append(peer, st), append(conns, probe.Expect[*messages.StripeUp](s.session, soon).Conn)
	}
	before := settled(t)
	var sent atomic.Int64
	var sending sync.WaitGroup
	for _, st := range peer {
		sending.Go(func() {
			for st.Send(f) == nil {
				sent.Add(1)
			}
		})
	}
	for was, i := int64(-1), 0; was != sent.Load() || was == 0; i++ { // until nothing more goes out
		if i > 200 {
			t.Fatalf("it goes on sending: %d frames", sent.Load())
		}
		was = sent.Load()
		<-time.After(500 * time.Millisecond)
	}
	in, theirs := heap()-before, int64(stripes*(2*proto.Size(f)+64<<10))
	for i := range outOctets/4000 - 64 { // each its own text
		s.system.Root.Send(conns[i%stripes], &messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("y", 3900)}}}})
	}
	<-time.After(time.Second)
	all := heap() - before
	t.Logf("%d frames of %d octets sent; the heap grew by %d kB for them, %d kB with what is to be sent; bound %d kB, the peer's own %d kB",
		sent.Load(), proto.Size(f), in>>10, all>>10, peerBound>>10, theirs>>10)
	if all > peerBound+theirs {
		t.Errorf("a peer costs %d kB, want up to %d", (all-theirs)>>10, peerBound>>10)
	}
	if all-in < outOctets/2 {
		t.Errorf("it was not tried: %d octets to be sent", all-in)
	}
	for range outOctets / (64 << 10) { // beyond it, the stripe ends
		s.system.Root.Send(conns[0], &messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("y", 64<<10)}}}})
	}
	down := probe.Fish[*messages.StripeDown](s.session, nil, soon)
	if !down.Conn.Equal(conns[0]) {
		t.Errorf("%v ended, for %v", down.Conn, down.Err)
	}
	for _, conn := range conns[1:] {
		s.system.Root.Send(conn, &messages.Hangup{})
	}
	for range conns[1:] {
		probe.Fish[*messages.StripeDown](s.session, nil, soon)
	}
	sending.Wait()
}
