package linkrpc

import (
	"net"
	"sync"
	"time"
)

// gathered is how long the first octets wait for company.
const gathered = time.Millisecond

// earlyConn has the dialling end say all it has to say at once, in few packets, and
// not wait for the server.
//
// The first read yields an empty SETTINGS frame of our own: HTTP/2 allows any number
// of them (RFC 9113 §6.5), and gRPC's client, which sends nothing before it has seen
// one, then opens its stream a round trip sooner. The server's own SETTINGS follow
// and count as usual.
//
// What is written before the server has spoken is gathered: TCP begins with ten
// packets (RFC 6928), however small. HTTP/2's beginning alone would take five of
// them, and the end of a Hello from two full rings, of some 13 kB, would wait for
// the next round trip.
type earlyConn struct {
	net.Conn
	preface []byte

	mu   sync.Mutex
	held []byte // nil: nothing is gathered any more
	due  *time.Timer
	err  error
}

func newEarlyConn(conn net.Conn) *earlyConn {
	return &earlyConn{Conn: conn, preface: []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}, held: []byte{}}
}

// Read implements net.Conn.
func (c *earlyConn) Read(b []byte) (int, error) {
	if len(c.preface) > 0 {
		n := copy(b, c.preface)
		c.preface = c.preface[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	c.flush(true)
	return n, err
}

// Write implements net.Conn. What goes wrong with gathered octets is said by the next one.
func (c *earlyConn) Write(b []byte) (int, error) {
	if gathering, err := c.gather(b); err != nil {
		return 0, err
	} else if gathering {
		return len(b), nil
	}
	return c.Conn.Write(b) // not locked: it may wait long
}

func (c *earlyConn) gather(b []byte) (gathering bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil || c.err != nil {
		return false, c.err
	}
	if c.held = append(c.held, b...); c.due == nil {
		c.due = time.AfterFunc(gathered, func() { c.flush(false) })
	}
	return true, nil
}

func (c *earlyConn) flush(last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return
	}
	if len(c.held) > 0 && c.err == nil {
		_, c.err = c.Conn.Write(c.held)
	}
	c.held, c.due = c.held[:0], nil
	if last {
		c.held = nil
	}
}
