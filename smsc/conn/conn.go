// Package conn reads and writes one socket on behalf of an actor. It has the
// only goroutines of an SMSC session and knows nothing of the protocol but how
// to find the next packet.
//
//	Open ─▶ dial ─▶ Opened ─▶ reader: Packet, Garbled ... ─▶ Closed, always last
//	                          writer: what Flush could not write at once
//
// What happens is posted as a message that carries the Conn it belongs to, so
// that the actor can tell an earlier connection's from those of today.
package conn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Config of Open. Dial, Read and Post are required.
type Config struct {
	Dial        func(ctx context.Context) (net.Conn, error)
	DialTimeout time.Duration // 0: 10 s
	// Read returns the next packet, as smsc.Protocol.Read.
	Read func(r *bufio.Reader) (any, error)
	// Post hands a message to the actor, from the connection's goroutines. It
	// must not block.
	Post func(message any)
	// Window is how many packets may be posted and not yet Taken; then reading
	// waits, and with it the peer. 0: 64.
	Window int
	// WriteTimeout is how long the peer may not read, 0: 30 s, and WriteLimit
	// how many octets may wait meanwhile, 0: 1 MB; then the connection ends.
	WriteTimeout time.Duration
	WriteLimit   int
}

// What is posted.
type (
	// Opened: the socket is open.
	Opened struct{ Conn *Conn }
	// Packet was read. Call Taken when it has been dealt with.
	Packet struct {
		Conn   *Conn
		Packet any
	}
	// Garbled was read and is no packet. Reading goes on behind it, so call Taken,
	// unless Err is a Fatal *smsc.SyntaxError: then call Close.
	Garbled struct {
		Conn *Conn
		Err  error
	}
	// Closed: the connection is gone, or never came to be. Its last message.
	Closed struct {
		Conn *Conn
		Err  error // errors.Is(err, ErrClosed) after Close
	}
)

// ErrClosed is the reason after Close was called.
var ErrClosed = errors.New("conn: closed")

// Conn is one socket. Its methods do not block and may be called by any goroutine.
type Conn struct {
	cfg    Config
	cancel context.CancelFunc
	window chan struct{}

	mu      sync.Mutex
	pending []byte
	direct  func([]byte) int // writes without waiting; nil: only the writer can
	writing bool             // the writer has octets that go before pending
	closing bool             // write what is pending, then close
	err     error            // why it ended
	work    chan struct{}    // capacity 1: pending or closing has changed
}

// Open begins to dial and returns at once.
func Open(cfg Config) *Conn {
	orDefault(&cfg.DialTimeout, 10*time.Second)
	orDefault(&cfg.WriteTimeout, 30*time.Second)
	orDefault(&cfg.Window, 64)
	orDefault(&cfg.WriteLimit, 1<<20)
	ctx, cancel := context.WithCancel(context.Background())
	c := &Conn{cfg: cfg, cancel: cancel, window: make(chan struct{}, cfg.Window), work: make(chan struct{}, 1)}
	go c.run(ctx)
	return c
}

func orDefault[T time.Duration | int](value *T, otherwise T) {
	if *value <= 0 {
		*value = otherwise
	}
}

// Write queues octets. They go out with the next Flush or Close.
func (c *Conn) Write(octets []byte) {
	c.mu.Lock()
	c.pending = append(c.pending, octets...)
	full := len(c.pending) > c.cfg.WriteLimit
	c.mu.Unlock()
	if full {
		c.end(fmt.Errorf("conn: the peer does not read: %d octets wait to be written", c.cfg.WriteLimit))
	}
}

// Flush writes what is queued: what the socket takes at once on the caller's
// goroutine, which saves a session that stops and waits one hop a message, and the
// rest on the writer's.
func (c *Conn) Flush() {
	c.mu.Lock()
	if len(c.pending) > 0 && c.direct != nil && !c.writing {
		n := c.direct(c.pending)
		c.pending = c.pending[:copy(c.pending, c.pending[n:])]
	}
	left := len(c.pending) > 0
	c.mu.Unlock()
	if left {
		c.wake()
	}
}

// Taken gives room for another packet.
func (c *Conn) Taken() {
	select {
	case <-c.window:
	default:
	}
}

// Close writes what is queued, as far as the peer takes it within WriteTimeout,
// then closes. Closed follows.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.wake()
}

func (c *Conn) wake() {
	select {
	case c.work <- struct{}{}:
	default: // the writer has not looked since the last time
	}
}

// end makes everything stop; the first reason stays.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.cancel()
}

func (c *Conn) run(ctx context.Context) {
	defer c.cancel()
	dialling, stop := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer stop()
	dialled := make(chan struct{})
	var closer sync.WaitGroup
	closer.Go(func() { c.giveUpDial(dialling, dialled) })
	socket, err := c.cfg.Dial(dialling)
	close(dialled)
	closer.Wait()
	if err != nil {
		c.end(fmt.Errorf("conn: %w", err))
		c.cfg.Post(Closed{c, c.reason()})
		return
	}
	c.mu.Lock()
	c.direct = direct(socket)
	c.mu.Unlock()
	c.cfg.Post(Opened{c})

	var others sync.WaitGroup
	others.Go(func() { c.write(ctx, socket) })
	others.Go(func() { // whoever ends it, the reader and the writer stop
		<-ctx.Done()
		_ = socket.Close() // what could be written was
	})
	c.read(ctx, socket)
	others.Wait()
	c.cfg.Post(Closed{c, c.reason()})
}

// giveUpDial lets Close end a dial that hangs.
func (c *Conn) giveUpDial(ctx context.Context, dialled <-chan struct{}) {
	for {
		select {
		case <-dialled:
			c.wake() // what was asked meanwhile is the writer's
			return
		case <-ctx.Done():
			return
		case <-c.work:
			c.mu.Lock()
			closing := c.closing
			c.mu.Unlock()
			if closing {
				c.end(ErrClosed)
			}
		}
	}
}

func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Conn) read(ctx context.Context, socket net.Conn) {
	r := bufio.NewReader(socket)
	for {
		select {
		case c.window <- struct{}{}:
		case <-ctx.Done():
			return
		}
		packet, err := c.cfg.Read(r)
		var syntax *smsc.SyntaxError
		switch {
		case err == nil:
			c.cfg.Post(Packet{c, packet})
		case errors.As(err, &syntax) && !syntax.Fatal:
			c.cfg.Post(Garbled{c, err})
		case errors.As(err, &syntax): // the owner may say why before it calls Close
			c.cfg.Post(Garbled{c, err})
			<-ctx.Done()
			return
		default:
			c.end(fmt.Errorf("conn: read: %w", err))
			return
		}
	}
}

func (c *Conn) write(ctx context.Context, socket net.Conn) {
	var spare []byte
	for {
		select {
		case <-c.work:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		octets, closing := c.pending, c.closing
		c.pending = spare[:0]
		c.writing = len(octets) > 0
		c.mu.Unlock()
		if len(octets) > 0 {
			// A socket that cannot take a deadline fails in Write as well.
			_ = socket.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
			if _, err := socket.Write(octets); err != nil {
				c.end(fmt.Errorf("conn: write: %w", err))
				return
			}
			_ = socket.SetWriteDeadline(time.Time{}) // Flush does not look at the clock
			c.mu.Lock()
			c.writing = false
			c.mu.Unlock()
		}
		spare = octets
		if closing {
			c.end(ErrClosed)
			return
		}
	}
}

// Dialer returns a Config.Dial for a TCP address. Small packets go out at once
// (TCP_NODELAY is Go's default), and a dead peer is found by keep-alive probes
// beside the protocol's own.
func Dialer(address string) func(ctx context.Context) (net.Conn, error) {
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
}
