package linkrpc

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"
)

// stripeBound is what a stripe may cost this side, however its peer behaves: what
// HTTP/2 takes unread, what waits for the session, what waits for the socket, and the
// frame in each hand.
const stripeBound = windowStream + creditFrames*creditOctets + queueOctets + 2*MaxFrame

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A peer sends as much as it can and reads nothing, and this side's session is busy
// and has much to say to it: the heap grows by no more than the bound (the peer's own
// side of it included, which is in this process too).
func TestMemoryOfAStripeIsBounded(t *testing.T) {
	s := newSite(t)
	st := s.raw(true)
	must(t, st.Send(hello("manila-1")))
	conn := probe.Expect[*messages.StripeUp](s.session).Conn
	before := heap()
	var sent atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		text := strings.Repeat("x", 15<<10)
		for st.Send(&messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: text}}}}) == nil {
			sent.Add(int64(len(text)))
		}
	}()
	for i := 0; ; i++ { // until nothing more goes out
		was := sent.Load()
		<-time.After(300 * time.Millisecond)
		if now := sent.Load(); now == was && now > 0 {
			break
		}
		if i > 100 {
			t.Fatalf("it goes on sending: %d octets", sent.Load())
		}
	}
	in := heap() - before
	for range queueOctets/(64<<10) - 40 { // each its own text
		s.system.Root.Send(conn, &messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("y", 64<<10)}}}})
	}
	<-time.After(300 * time.Millisecond)
	all := heap() - before
	t.Logf("%d kB sent; the heap grew by %d kB for them, %d kB with what is to be sent; bound %d kB", sent.Load()>>10, in>>10, all>>10, stripeBound>>10)
	if all > stripeBound {
		t.Errorf("a stripe costs %d octets, want up to %d", all, stripeBound)
	}
	if in < 1<<20 || all-in < 8<<20 {
		t.Errorf("it was not tried: %d and %d octets", in, all-in)
	}
	for range 2 * queueOctets / (64 << 10) { // beyond it, the stripe ends
		s.system.Root.Send(conn, &messages.Frame{Data: []*messages.Data{{Message: &messages.Message{Text: strings.Repeat("y", 64<<10)}}}})
	}
	probe.Fish(s.session, func(m any) bool { _, down := m.(*messages.StripeDown); return down }, 10*time.Second)
	<-ended
	if after := heap() - before; after > 8<<20 {
		t.Errorf("%d kB stay when it has ended", after>>10)
	}
}
