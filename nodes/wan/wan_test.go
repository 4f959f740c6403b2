package wan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	late  = 2 * time.Second // a machine may be this busy and the test still pass
	early = slack + 100*time.Microsecond
)

// server accepts on loopback and gives each connection to handle.
func server(t testing.TB, handle func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { handle(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func echo(c *net.TCPConn) {
	defer c.Close()
	_, _ = io.Copy(c, c)
}

// accepted hands connections to the test.
func accepted(t testing.TB) (addr string, conns chan *net.TCPConn) {
	conns = make(chan *net.TCPConn, 8)
	return server(t, func(c *net.TCPConn) { conns <- c }), conns
}

func relay(t testing.TB, cfg Config) *Relay {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if s := r.Stats(); s.HeldBytes != 0 || s.Open != 0 {
			t.Errorf("after Close %d bytes are held and %d connections open", s.HeldBytes, s.Open)
		}
	})
	return r
}

func dial(t testing.TB, r *Relay) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if n, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("received %q, %v; want %q", buf[:n], err, want)
	}
}

func ping(t testing.TB, c net.Conn) time.Duration {
	t.Helper()
	begun := time.Now()
	send(t, c, "ping")
	receive(t, c, "ping")
	return time.Since(begun)
}

// silent fails if anything comes from c within d, even its end.
func silent(t testing.TB, c net.Conn, d time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v; want silence", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
}

func between(t testing.TB, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s took %v; want %v to %v", what, got, low, high)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestDelay(t *testing.T) {
	for _, rtt := range []time.Duration{0, 40 * time.Millisecond, 150 * time.Millisecond} {
		t.Run(rtt.String(), func(t *testing.T) {
			r := relay(t, Config{Target: server(t, echo), RTT: rtt})
			begun := time.Now()
			c := dial(t, r)
			between(t, "connect", time.Since(begun), 0, late)
			ping(t, c)
			between(t, "connect and first answer", time.Since(begun), 2*rtt-3*early, 2*rtt+late)
			best := time.Hour
			for range 5 {
				got := ping(t, c)
				between(t, "a ping", got, rtt-2*early, rtt+late)
				best = min(best, got)
			}
			if best > rtt+20*time.Millisecond {
				t.Errorf("the fastest of 5 pings took %v at %v", best, rtt)
			}
		})
	}
}

func TestServerSpeaksFirst(t *testing.T) {
	const rtt = 60 * time.Millisecond
	r := relay(t, Config{RTT: rtt, Target: server(t, func(c *net.TCPConn) { _, _ = c.Write([]byte("hello")) })})
	begun := time.Now()
	receive(t, dial(t, r), "hello")
	between(t, "greeting", time.Since(begun), 2*rtt-3*early, 2*rtt+late)
}

func TestSetRTTKeepsOrder(t *testing.T) {
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: 200 * time.Millisecond})
	c := dial(t, r)
	begun := time.Now()
	send(t, c, "slow")
	eventually(t, "the relay has read 4 bytes", func() bool { return r.Stats().HeldBytes == 4 })
	r.SetRTT(0)
	send(t, c, "fast")
	receive(t, <-conns, "slowfast")
	between(t, "both", time.Since(begun), 300*time.Millisecond-3*early, late)
	send(t, c, "x")
	if got := r.RTT(); got != 0 {
		t.Errorf("RTT is %v after SetRTT(0)", got)
	}
}

func TestJitterKeepsOrderAndBounds(t *testing.T) {
	const rtt, jitter = 40 * time.Millisecond, 15 * time.Millisecond
	r := relay(t, Config{Target: server(t, echo), RTT: rtt, Jitter: jitter})
	c := dial(t, r)
	ping(t, c)
	lowest, highest := time.Hour, time.Duration(0)
	for range 20 {
		got := ping(t, c)
		between(t, "a ping", got, rtt-2*jitter-2*early, rtt+2*jitter+late)
		lowest, highest = min(lowest, got), max(highest, got)
	}
	if highest-lowest < jitter/2 {
		t.Errorf("20 pings took %v to %v; want them to vary", lowest, highest)
	}
	var want strings.Builder
	for i := range 300 {
		line := fmt.Sprintf("%d,", i)
		want.WriteString(line)
		send(t, c, line)
	}
	receive(t, c, want.String())
}

func TestCutHoldsAndRestoreReleases(t *testing.T) {
	const rtt = 40 * time.Millisecond
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: rtt})
	c := dial(t, r)
	send(t, c, "a")
	s := <-conns
	receive(t, s, "a")

	r.SetRTT(10 * rtt) // time to cut while this is under way
	send(t, c, "under way")
	eventually(t, "the relay has read 9 bytes", func() bool { return r.Stats().HeldBytes == 9 })
	r.Cut()
	r.SetRTT(rtt)
	r.Cut()
	if !r.IsCut() || r.Stats().Cuts != 1 {
		t.Errorf("cut twice: IsCut %v, %d cuts; want true, 1", r.IsCut(), r.Stats().Cuts)
	}
	send(t, c, ", sent while cut")
	send(t, s, "back")
	silent(t, s, 7*rtt) // longer than the delay of any of it
	silent(t, c, rtt)

	begun := time.Now()
	r.Restore()
	receive(t, s, "under way, sent while cut")
	between(t, "held bytes", time.Since(begun), rtt/2-early, late)
	receive(t, c, "back")
	if r.IsCut() {
		t.Error("IsCut after Restore")
	}
	go io.Copy(s, s)
	between(t, "ping after the cut", ping(t, c), rtt-2*early, late)
}

func TestCutStopsABlockedWrite(t *testing.T) {
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr})
	c := dial(t, r)
	data := make([]byte, 24<<20)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = c.Write(data); _ = c.CloseWrite() })
	s := <-conns
	_ = s.SetDeadline(time.Now().Add(30 * time.Second))
	eventually(t, "the budget is used up", func() bool { return r.Stats().HeldBytes == DefaultBufferBytes })
	r.Cut()
	before := r.Stats().BytesUp
	// What the kernel had is read; the relay adds nothing to it.
	got := make([]byte, before)
	if _, err := io.ReadFull(s, got); err != nil {
		t.Fatal(err)
	}
	silent(t, s, 50*time.Millisecond)
	if after := r.Stats().BytesUp; after != before {
		t.Errorf("%d bytes delivered while cut", after-before)
	}
	r.Restore()
	rest, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(append(got, rest...), data) {
		t.Errorf("received %d bytes, %v; want the %d sent", len(got)+len(rest), err, len(data))
	}
	wg.Wait()
}

func TestDialDuringCut(t *testing.T) {
	const rtt = 40 * time.Millisecond
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: rtt})
	r.Cut()
	c := dial(t, r)
	send(t, c, "hello")
	silent(t, c, 3*rtt)
	select {
	case <-conns:
		t.Fatal("the target was dialled through a cut")
	default:
	}
	begun := time.Now()
	r.Restore()
	s := <-conns
	between(t, "dial", time.Since(begun), rtt-early, late)
	receive(t, s, "hello")
	between(t, "first bytes", time.Since(begun), rtt+rtt/2-early, late)
}

func TestCutDuringHandshakeBeginsItAgain(t *testing.T) {
	const rtt = 100 * time.Millisecond
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: rtt})
	dial(t, r)
	eventually(t, "accepted", func() bool { return r.Stats().Accepted == 1 })
	r.Cut()
	begun := time.Now()
	r.Restore()
	<-conns
	between(t, "dial", time.Since(begun), rtt-early, late)
}

func TestFINTravels(t *testing.T) {
	const rtt = 40 * time.Millisecond
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: rtt})
	c := dial(t, r)
	send(t, c, "a")
	s := <-conns
	receive(t, s, "a")

	r.Cut()
	send(t, c, "last")
	_ = c.CloseWrite()
	silent(t, s, 3*rtt)
	begun := time.Now()
	r.Restore()
	if got, err := io.ReadAll(s); string(got) != "last" || err != nil {
		t.Fatalf("read %q, %v; want last, then EOF", got, err)
	}
	between(t, "FIN", time.Since(begun), rtt/2-early, late)

	send(t, s, "answer") // the other half is still open
	s.Close()
	if got, err := io.ReadAll(c); string(got) != "answer" || err != nil {
		t.Fatalf("read %q, %v; want answer, then EOF", got, err)
	}
	eventually(t, "the connection has ended", func() bool { return r.Stats().Open == 0 })
}

func TestRSTTravels(t *testing.T) {
	const rtt = 40 * time.Millisecond
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: rtt})
	c := dial(t, r)
	send(t, c, "a")
	s := <-conns
	receive(t, s, "a")
	r.Cut()
	_ = s.SetLinger(0)
	s.Close()
	silent(t, c, 3*rtt)
	begun := time.Now()
	r.Restore()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read: %v; want a reset", err)
	}
	between(t, "RST", time.Since(begun), rtt/2-early, late)
}

// A side that closes while bytes are on their way to it answers them with a reset.
func TestWriteToClosedTargetResetsClient(t *testing.T) {
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, RTT: 20 * time.Millisecond, BufferBytes: 64 << 10})
	c := dial(t, r)
	send(t, c, "a")
	s := <-conns
	receive(t, s, "a")
	s.Close()
	block := make([]byte, 1<<20)
	for {
		if _, err := c.Write(block); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("write: %v; want a reset", err)
			}
			break
		}
	}
	eventually(t, "the connection has ended", func() bool { return r.Stats().Open == 0 })
}

func TestTargetRefuses(t *testing.T) {
	const rtt = 40 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := relay(t, Config{Target: l.Addr().String(), RTT: rtt})
	begun := time.Now()
	c := dial(t, r)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v; want a reset", err)
	}
	between(t, "refusal", time.Since(begun), rtt-2*early, late)
	if r.Stats().DialFailed != 1 {
		t.Errorf("%d failed dials; want 1", r.Stats().DialFailed)
	}
}

func TestBackPressure(t *testing.T) {
	const budget = 100_000
	addr, conns := accepted(t)
	r := relay(t, Config{Target: addr, BufferBytes: budget})
	c := dial(t, r)
	r.Cut()
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	data := make([]byte, 32<<20)
	n, err := c.Write(data)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote %d of %d bytes into a cut line with a budget of %d: %v", n, len(data), budget, err)
	}
	if held := r.Stats().HeldBytes; held != budget {
		t.Errorf("%d bytes are held; want exactly the budget of %d", held, budget)
	}
	r.Restore()
	_ = c.CloseWrite()
	s := <-conns
	if got, err := io.Copy(io.Discard, s); got != int64(n) || err != nil {
		t.Errorf("the target received %d bytes, %v; the client wrote %d", got, err, n)
	}
}

// Both directions at once, writes of random size, cuts at random moments:
// what comes is what was sent, byte for byte.
func TestIdentityUnderRandomCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := relay(t, Config{
		Target: server(t, echo), RTT: 8 * time.Millisecond, Jitter: 3 * time.Millisecond, BufferBytes: 64 << 10,
	})
	const conns, total = 4, 1 << 20
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range conns {
		c := dial(t, r)
		data := make([]byte, total)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		sizes := rand.New(rand.NewPCG(seed, rng.Uint64()))
		wg.Go(func() {
			for rest := data; len(rest) > 0; {
				n := min(1+sizes.IntN(1<<sizes.IntN(16)), len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				rest = rest[n:]
			}
			_ = c.CloseWrite()
		})
		wg.Go(func() {
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("received %d bytes, %v, equal %v; sent %d", len(got), err, bytes.Equal(got, data), len(data))
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for {
		timer := time.NewTimer(time.Duration(rng.IntN(10_000)) * time.Microsecond)
		select {
		case <-timer.C:
			if r.IsCut() {
				r.Restore()
			} else {
				r.Cut()
			}
			continue
		case <-done:
			timer.Stop()
		}
		break
	}
	r.Restore()
	t.Logf("%+v", r.Stats())
	eventually(t, "all ended", func() bool { return r.Stats().Open == 0 })
	if s := r.Stats(); s.BytesUp != conns*total || s.BytesDown != conns*total {
		t.Errorf("%d bytes up, %d down; want %d each", s.BytesUp, s.BytesDown, conns*total)
	}
}

func TestCloseWhileBusy(t *testing.T) {
	for _, cut := range []bool{false, true} {
		addr, conns := accepted(t)
		r := relay(t, Config{Target: addr, RTT: time.Second})
		c := dial(t, r) // still shaking hands
		send(t, c, "x")
		eventually(t, "held", func() bool { return r.Stats().HeldBytes == 1 })
		r.SetRTT(0)
		c2 := dial(t, r)
		send(t, c2, "y")
		<-conns
		if cut {
			r.Cut()
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the client's connection survived Close")
		}
		if c, err := net.Dial("tcp", r.Addr()); err == nil {
			c.Close()
			t.Error("the relay still listens after Close")
		}
	}
}

func TestConfig(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "wan: target"},
		{Config{Target: "nowhere"}, "wan: target"},
		{Config{Target: "a:1", RTT: -1}, "wan: RTT of -1ns"},
		{Config{Target: "a:1", RTT: time.Hour}, "wan: RTT of 1h"},
		{Config{Target: "a:1", Jitter: -1}, "wan: jitter of"},
		{Config{Target: "a:1", BufferBytes: -1}, "wan: buffer of -1"},
		{Config{Target: "a:1", Listen: taken.Addr().String()}, "address already in use"},
	} {
		r, err := New(test.cfg)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v; want %q", test.cfg, err, test.want)
		}
	}
}
