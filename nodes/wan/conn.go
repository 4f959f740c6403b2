package wan

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readSize = 64 << 10

	// mergeWithin bounds the number of segments: bytes read this close together
	// travel as one.
	mergeWithin = 100 * time.Microsecond
)

// conn is one relayed connection: two pipes and what ends both.
//
//	waiting ── one RTT, target dialled ──▶ open ── both FINs or one RST delivered ──▶ ended
type conn struct {
	relay    *Relay
	client   *net.TCPConn
	up, down *pipe // client to target, target to client
	ended    chan struct{}
	endOnce  sync.Once

	mu     sync.Mutex
	target *net.TCPConn // nil while waiting
	fins   int          // delivered
}

func newConn(r *Relay, client *net.TCPConn) *conn {
	c := &conn{relay: r, client: client, ended: make(chan struct{})}
	c.up = newPipe(c, &r.bytesUp)
	c.down = newPipe(c, &r.bytesDown)
	_ = client.SetNoDelay(true)
	return c
}

// run establishes the connection and stays until it has ended.
func (c *conn) run() {
	r := c.relay
	defer r.wg.Done()
	var wg sync.WaitGroup
	wg.Go(func() { c.up.read(c.client) })
	if target, established, rtt, ok := c.handshake(); ok {
		c.up.open, c.down.open = established.Add(rtt/2), established.Add(rtt)
		wg.Go(func() { c.down.read(target) })
		wg.Go(func() { c.up.write(target, c.down) })
		c.down.write(c.client, c.up)
	}
	c.end()
	wg.Wait()
	r.held.Add(-int64(c.up.size + c.down.size))
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

// handshake waits for SYN and SYN-ACK to cross and dials the target. A cut
// before that makes it begin again. The client would know of its connection when
// it is established, the target with the ACK rtt/2 later, and the target's first
// bytes would be at the client another rtt/2 later.
func (c *conn) handshake() (target *net.TCPConn, established time.Time, rtt time.Duration, ok bool) {
	r := c.relay
	begun := time.Now()
	rtt = r.RTT()
	for {
		line := r.state()
		if line.restored.After(begun) {
			begun, rtt = line.restored, r.RTT()
		}
		established = begun.Add(rtt)
		if !line.cut && time.Until(established) <= slack {
			break
		}
		if !wait(time.Until(established), line, c.ended) {
			return nil, established, rtt, false
		}
	}
	dialled, err := (&net.Dialer{}).DialContext(r.ctx, "tcp", r.cfg.Target)
	if err != nil {
		r.dialFailed.Add(1)
		_ = c.client.SetLinger(0) // the target's refusal
		return nil, established, rtt, false
	}
	target = dialled.(*net.TCPConn)
	_ = target.SetNoDelay(true)
	c.mu.Lock()
	c.target = target
	c.mu.Unlock()
	select {
	case <-c.ended: // before it could see the target
		_ = target.Close()
		return nil, established, rtt, false
	default:
		return target, established, rtt, true
	}
}

// end closes both sides; it is called once the relay or the connection is over.
func (c *conn) end() {
	c.endOnce.Do(func() {
		close(c.ended)
		_ = c.client.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.target != nil {
			_ = c.target.Close()
		}
	})
}

func (c *conn) setWriteDeadline(t time.Time) {
	_ = c.client.SetWriteDeadline(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.target != nil {
		_ = c.target.SetWriteDeadline(t)
	}
}

// wait sleeps for d, or longer while the line is cut; it returns early when the
// line changes, and false once ended.
func wait(d time.Duration, line line, ended <-chan struct{}) bool {
	var due <-chan time.Time
	if !line.cut {
		timer := time.NewTimer(d - slack)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-line.changed:
	case <-ended:
		return false
	}
	return true
}

// segment is what travels together: bytes, then possibly the end of them.
type segment struct {
	due  time.Time
	data []byte
	fin  bool
	rst  bool
}

// pipe is one direction of a connection.
type pipe struct {
	conn      *conn
	delivered *atomic.Uint64
	open      time.Time     // nothing arrives before; set before write runs
	arrived   chan struct{} // capacity 1: a segment was queued
	freed     chan struct{} // capacity 1: there is room again

	delivering sync.Mutex // held while the other side's socket is used

	mu       sync.Mutex
	segments []segment // in order: one that is due before the first waits for it
	size     int       // bytes in segments, at most BufferBytes
	broken   bool      // the receiver is gone: bytes are dropped
}

func newPipe(c *conn, delivered *atomic.Uint64) *pipe {
	return &pipe{conn: c, delivered: delivered, arrived: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

// read takes what src sends until it ends, and no more than there is room for.
func (p *pipe) read(src *net.TCPConn) {
	buf := make([]byte, min(readSize, p.conn.relay.cfg.BufferBytes))
	for {
		room := p.room()
		for room == 0 {
			select {
			case <-p.freed:
			case <-p.conn.ended:
				return
			}
			room = p.room()
		}
		n, err := src.Read(buf[:min(room, len(buf))])
		if n > 0 {
			p.push(segment{data: buf[:n]})
		}
		switch {
		case errors.Is(err, io.EOF):
			p.push(segment{fin: true})
			return
		case err != nil:
			p.push(segment{rst: true})
			return
		}
	}
}

func (p *pipe) room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn.relay.cfg.BufferBytes - p.size
}

// push queues s with the delay of this moment; it copies the bytes.
func (p *pipe) push(s segment) {
	defer signal(p.arrived)
	s.due = time.Now().Add(p.conn.relay.delay())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken && !s.rst {
		return
	}
	p.size += len(s.data)
	p.conn.relay.held.Add(int64(len(s.data)))
	if n := len(p.segments); n > 0 && len(s.data) > 0 {
		tail := &p.segments[n-1]
		if !tail.fin && !tail.rst && s.due.Sub(tail.due) < mergeWithin && len(tail.data)+len(s.data) <= readSize {
			tail.data = append(tail.data, s.data...)
			return
		}
	}
	s.data = append([]byte(nil), s.data...)
	p.segments = append(p.segments, s)
}

// write delivers to dst until the connection has ended.
func (p *pipe) write(dst *net.TCPConn, back *pipe) {
	for {
		due, ok := p.next()
		if !ok {
			select {
			case <-p.arrived:
				continue
			case <-p.conn.ended:
				return
			}
		}
		line := p.conn.relay.state()
		due = latest(due, p.open, line.floor)
		if d := time.Until(due); line.cut || d > slack {
			if !wait(d, line, p.conn.ended) {
				return
			}
			continue
		}
		if !p.deliver(dst, back) {
			return
		}
	}
}

func (p *pipe) next() (due time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.segments) == 0 {
		return time.Time{}, false
	}
	return p.segments[0].due, true
}

// deliver hands the first segment to dst; false when the connection has ended.
func (p *pipe) deliver(dst *net.TCPConn, back *pipe) bool {
	p.delivering.Lock()
	defer p.delivering.Unlock()
	if p.conn.relay.IsCut() {
		return true
	}
	s := p.pop()
	switch {
	case s.rst:
		_ = dst.SetLinger(0)
		p.conn.end()
		return false
	case s.fin:
		_ = dst.CloseWrite()
		return !p.conn.finDelivered()
	}
	n, err := dst.Write(s.data)
	p.delivered.Add(uint64(n))
	p.conn.relay.held.Add(-int64(n))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // cut: the rest is held
		s.data = s.data[n:]
		p.unpop(s, n)
	case err != nil: // dst is gone: its reset travels back, what was for it is lost
		p.breakOff(len(s.data), len(s.data)-n)
		back.push(segment{rst: true})
	default:
		p.free(n)
	}
	return true
}

func (p *pipe) pop() segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.segments[0]
	p.segments[0] = segment{}
	p.segments = p.segments[1:]
	if len(p.segments) == 0 {
		p.segments = nil
	}
	return s
}

// unpop puts back what a cut kept from dst, n bytes shorter.
func (p *pipe) unpop(s segment, n int) {
	p.mu.Lock()
	p.segments = append([]segment{s}, p.segments...)
	p.mu.Unlock()
	p.free(n)
}

func (p *pipe) free(n int) {
	p.mu.Lock()
	p.size -= n
	p.mu.Unlock()
	signal(p.freed)
}

// breakOff drops the queue; size counts popped bytes of the failed segment,
// of which unsent were not delivered.
func (p *pipe) breakOff(popped, unsent int) {
	p.mu.Lock()
	p.conn.relay.held.Add(-int64(p.size - popped + unsent))
	p.broken, p.segments, p.size = true, nil, 0
	p.mu.Unlock()
	signal(p.freed)
}

// finDelivered counts, and ends the connection with the second.
func (c *conn) finDelivered() (ended bool) {
	c.mu.Lock()
	c.fins++
	ended = c.fins == 2
	c.mu.Unlock()
	if ended {
		c.end()
	}
	return ended
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func latest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.After(t) {
			t = o
		}
	}
	return t
}
