// Package wan is a wide-area link inside the process: a TCP relay that delays
// what passes and can be cut, for demonstrations and tests without root.
//
//	client ──▶ reader ──▶ queue (bytes, due time) ──▶ writer ──▶ target
//	client ◀── writer ◀── queue (bytes, due time) ◀── reader ◀── target
//
// Bytes of a connection keep their order and arrive RTT/2 (± jitter) after they
// were sent. A new connection costs one RTT more, as its SYN would: the client's
// connect succeeds at once (it is on this host), the target is dialled an RTT
// later, and no byte arrives earlier than it would over a real line. A direction
// holds at most BufferBytes; then the relay stops reading, and TCP tells the sender.
//
// A cut is a black hole without reset: nothing passes and nothing is closed, and
// what was under way arrives RTT/2 after the line is restored. New connections
// wait for that too. FIN and RST travel like bytes.
//
// It has no packet loss, no bandwidth limit and no congestion window: what TCP
// does about those cannot be seen through it.
package wan

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultBufferBytes carries 26 MB/s at an RTT of 600 ms.
	DefaultBufferBytes = 8 << 20

	maxDelay = time.Minute // of RTT and of jitter: more is a mistake in the unit

	// slack is how early a segment may be delivered. The runtime's timers wake
	// up to a millisecond late; most of that is taken off.
	slack = 750 * time.Microsecond

	acceptRetry = 10 * time.Millisecond // after a failed accept (out of descriptors)
)

// Config says what the relay connects and how far apart it pretends that is.
type Config struct {
	Target      string        // host:port that is dialled for each accepted connection
	Listen      string        // host:port to accept on; empty means 127.0.0.1:0
	RTT         time.Duration // there and back; half of it each way
	Jitter      time.Duration // each way's delay varies evenly by up to this much, order kept
	BufferBytes int           // most bytes under way per connection and direction; 0 means DefaultBufferBytes
}

// Stats are counts since New; Open and HeldBytes are of this moment.
type Stats struct {
	Accepted   uint64 // connections accepted
	DialFailed uint64 // connections whose target could not be dialled; their client was reset
	Open       int    // connections, those still waiting for their target included
	BytesUp    uint64 // delivered from clients to the target
	BytesDown  uint64 // delivered from the target to clients
	HeldBytes  int64  // read from one side and not yet delivered to the other
	Cuts       uint64 // how often the line was cut
}

// Relay is one emulated line. All its methods may be called at any time by anyone.
type Relay struct {
	cfg      Config
	listener net.Listener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	rtt, jitter atomic.Int64 // nanoseconds

	accepted, dialFailed, bytesUp, bytesDown, cuts atomic.Uint64
	held                                           atomic.Int64

	mu    sync.Mutex
	line  line
	conns map[*conn]struct{}
}

// line is what every writer looks at before it delivers.
type line struct {
	cut      bool
	restored time.Time     // when the last cut ended; zero if there was none
	floor    time.Time     // what was held by the last cut arrives no earlier
	changed  chan struct{} // closed at the next Cut or Restore
}

// New listens and starts to relay. It does not look whether the target is there:
// a connection whose target refuses is reset after one RTT.
func New(cfg Config) (*Relay, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = DefaultBufferBytes
	}
	if _, _, err := net.SplitHostPort(cfg.Target); err != nil {
		return nil, fmt.Errorf("wan: target %q is not host:port: %w", cfg.Target, err)
	}
	if cfg.BufferBytes < 0 {
		return nil, fmt.Errorf("wan: buffer of %d bytes; give a positive number, or 0 for %d", cfg.BufferBytes, DefaultBufferBytes)
	}
	for name, d := range map[string]time.Duration{"RTT": cfg.RTT, "jitter": cfg.Jitter} {
		if d < 0 || d > maxDelay {
			return nil, fmt.Errorf("wan: %s of %v; it must be between 0 and %v", name, d, maxDelay)
		}
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("wan: %w", err)
	}
	r := &Relay{
		cfg:      cfg,
		listener: listener,
		line:     line{changed: make(chan struct{})},
		conns:    map[*conn]struct{}{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.SetRTT(cfg.RTT)
	r.SetJitter(cfg.Jitter)
	r.wg.Go(r.accept)
	return r, nil
}

// Addr is where clients connect, as host:port.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// SetRTT changes the round-trip time of what is sent from now on; it is held
// between 0 and a minute. What is under way keeps its delay, and is not overtaken.
func (r *Relay) SetRTT(d time.Duration) { r.rtt.Store(int64(min(max(d, 0), maxDelay))) }

// RTT is the round-trip time in force.
func (r *Relay) RTT() time.Duration { return time.Duration(r.rtt.Load()) }

// SetJitter changes the jitter of what is sent from now on, within the same bounds.
func (r *Relay) SetJitter(d time.Duration) { r.jitter.Store(int64(min(max(d, 0), maxDelay))) }

// Cut makes the line a black hole. When it returns, nothing passes any more.
// Cutting twice is cutting once.
func (r *Relay) Cut() {
	r.mu.Lock()
	if r.line.cut {
		r.mu.Unlock()
		return
	}
	r.cuts.Add(1)
	r.line.cut = true
	r.announce()
	conns := make([]*conn, 0, len(r.conns))
	for c := range r.conns {
		c.setWriteDeadline(time.Unix(1, 0)) // ends a write that waits for its reader
		conns = append(conns, c)
	}
	r.mu.Unlock()
	for _, c := range conns { // a write that looked before the cut ends here
		c.up.delivering.Lock()
		c.up.delivering.Unlock() //nolint:staticcheck // waited for, nothing to guard
		c.down.delivering.Lock()
		c.down.delivering.Unlock() //nolint:staticcheck // as above
	}
}

// Restore ends a cut: what was held arrives half a round trip from now,
// connections begun in the meantime are established a whole one from now.
func (r *Relay) Restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.line.cut {
		return
	}
	now := time.Now()
	r.line.cut = false
	r.line.restored = now
	r.line.floor = now.Add(r.RTT() / 2)
	for c := range r.conns {
		c.setWriteDeadline(time.Time{})
	}
	r.announce()
}

// IsCut reports whether the line is cut.
func (r *Relay) IsCut() bool { return r.state().cut }

// Stats counts what has passed.
func (r *Relay) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{
		Accepted:   r.accepted.Load(),
		DialFailed: r.dialFailed.Load(),
		Open:       len(r.conns),
		BytesUp:    r.bytesUp.Load(),
		BytesDown:  r.bytesDown.Load(),
		HeldBytes:  r.held.Load(),
		Cuts:       r.cuts.Load(),
	}
}

// Close stops accepting, closes every connection at once, and returns when all
// goroutines have ended. What is under way is dropped.
func (r *Relay) Close() error {
	r.cancel()
	err := r.listener.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.end()
	}
	r.mu.Unlock()
	r.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("wan: close: %w", err)
	}
	return nil
}

func (r *Relay) state() line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line
}

// announce wakes whoever waits on the line; the caller holds mu.
func (r *Relay) announce() {
	close(r.line.changed)
	r.line.changed = make(chan struct{})
}

// delay is one way's, now.
func (r *Relay) delay() time.Duration {
	d := r.RTT() / 2
	if j := r.jitter.Load(); j > 0 {
		d += time.Duration(rand.Int64N(2*j+1) - j)
	}
	return max(d, 0)
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !r.sleep(acceptRetry) {
				return
			}
			continue
		}
		c := newConn(r, client.(*net.TCPConn))
		r.mu.Lock()
		if r.ctx.Err() != nil { // Close has already seen the others
			r.mu.Unlock()
			client.Close()
			return
		}
		r.accepted.Add(1)
		r.conns[c] = struct{}{}
		r.wg.Add(1)
		r.mu.Unlock()
		go c.run()
	}
}

// sleep reports whether the relay is still open after d.
func (r *Relay) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}
