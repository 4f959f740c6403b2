package linkrpc

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/messages"
)

// What a peer's stripes share, so that many of them cost no more than a few.
const (
	inOctets  = 12 << 20 // of decoded frames that are not handled yet
	outOctets = 16 << 20 // of frames that wait for sockets that do not take them

	// A connection is read this far ahead of the frames that are taken from it, because
	// HTTP/2's flow control does not count what many small pieces cost. For more, which
	// is a large frame, one connection of a peer has its turn at a time.
	aheadOctets = 16 << 10

	// Frames a second, and at once: what is read faster costs other edges their share
	// of the hub's processors. 10,000 messages a second over a link that loses packets
	// are some 5,000.
	framesPerSecond = 10_000

	readOctets  = 8 << 10 // at a time
	aroundFrame = 5 + 9   // octets that gRPC and HTTP/2 put before it
	waited      = 5 * time.Millisecond

	// A frame after the first of its stripe; only Hello, Welcome and Refused are larger.
	laterOctets  = 1 << 20
	laterEntries = 8192
)

// account is what is spent on one peer.
type account struct {
	in     *semaphore.Weighted
	frames *rate.Limiter
	out    atomic.Int64

	mu    sync.Mutex
	turn  *admitted // reads a large frame
	freed sync.Cond
	conns int // guarded by the gate
}

func newAccount() *account {
	a := &account{in: semaphore.NewWeighted(inOctets), frames: rate.NewLimiter(framesPerSecond, framesPerSecond)}
	a.freed.L = &a.mu
	return a
}

// admitted is a connection of an account.
type admitted struct {
	net.Conn
	account *account
	once    sync.Once
	out     func()

	// Guarded by account.mu.
	ahead  int // octets read and not taken, or a little more
	closed bool
}

// Read waits for its turn where a large frame comes.
func (c *admitted) Read(b []byte) (int, error) {
	a := c.account
	a.mu.Lock()
	for c.ahead > aheadOctets && a.turn != nil && a.turn != c && !c.closed {
		a.freed.Wait()
	}
	if c.ahead > aheadOctets && !c.closed {
		a.turn = c
	}
	a.mu.Unlock()
	n, err := c.Conn.Read(b)
	a.mu.Lock()
	c.ahead += n
	a.mu.Unlock()
	return n, err
}

// took is said when a frame has been taken. If it had to be waited for, everything
// before it was taken, whatever else of HTTP/2's was read with it.
func (c *admitted) took(octets int, after time.Duration) {
	if c == nil {
		return
	}
	c.account.mu.Lock()
	if c.ahead = max(0, c.ahead-octets-aroundFrame); after > waited {
		c.ahead = 0
	}
	c.giveUpTurn()
	c.account.mu.Unlock()
}

func (c *admitted) giveUpTurn() {
	if c.account.turn == c {
		c.account.turn = nil
	}
	c.account.freed.Broadcast()
}

// Close implements net.Conn.
func (c *admitted) Close() error {
	c.once.Do(func() {
		c.account.mu.Lock()
		c.closed = true
		c.giveUpTurn()
		c.account.mu.Unlock()
		c.out()
	})
	return c.Conn.Close()
}

// rawFrame is a frame that waits to be decoded until there is room for it.
type rawFrame struct {
	octets           []byte
	entries, numbers int
}

// weight is about what the frame takes when it is decoded, in octets.
func (r *rawFrame) weight() int64 {
	return min(int64(512+len(r.octets)+160*r.entries+8*r.numbers), inOctets)
}

func (r *rawFrame) large() error {
	if len(r.octets) > laterOctets || r.entries > laterEntries {
		return fmt.Errorf("%w (it has %d octets and %d entries, and is not the first)", errCrowded, len(r.octets), r.entries)
	}
	return nil
}

// receive takes the next frame from a stream; c nil: over a connection that is not
// counted. It waits for room before the frame is decoded, and lets the connection be read
// further then only. Who gets the frame has to release the weight.
func (a *account) receive(ctx context.Context, s interface{ RecvMsg(m any) error }, c *admitted, first bool) (*messages.Frame, int64, error) {
	began, raw := time.Now(), &rawFrame{}
	if err := s.RecvMsg(raw); err != nil {
		return nil, 0, err
	}
	took := time.Since(began)
	if err := a.frames.Wait(ctx); err != nil {
		return nil, 0, fmt.Errorf("waiting for a frame's turn: %w", err)
	}
	if err := raw.large(); err != nil && !first {
		return nil, 0, err
	}
	weight := raw.weight()
	if err := a.in.Acquire(ctx, weight); err != nil {
		return nil, 0, context.Cause(ctx)
	}
	c.took(len(raw.octets), took)
	f := &messages.Frame{}
	if err := proto.Unmarshal(raw.octets, f); err != nil {
		a.in.Release(weight)
		return nil, 0, err
	}
	return f, weight, nil
}
