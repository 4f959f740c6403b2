package pgstore

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// cutter stands between the store and the server, and cuts connections: before a
// request is passed on, or after the server has answered it and before the store
// learns the answer.
type cutter struct {
	listener      net.Listener
	server        string
	before, after atomic.Int64

	mu   sync.Mutex
	rng  *rand.Rand
	odds float64 // of cutting at a request
}

func newCutter(t *testing.T, server string) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, server: server}
	c.seed(1, 0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return c
}

func (c *cutter) address() string { return c.listener.Addr().String() }

func (c *cutter) seed(seed uint64, odds float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rng, c.odds = rand.New(rand.NewPCG(seed, 1)), odds
}

// draw says whether to cut, and whether before the request.
func (c *cutter) draw() (cut, before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Float64() < c.odds, c.rng.IntN(3) == 0
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var swallow atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { // answers
		defer client.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil || swallow.Load() {
				server.Close()
				return
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	})
	defer wg.Wait()
	b := make([]byte, 1<<20)
	for {
		n, err := client.Read(b)
		if err != nil {
			server.Close()
			return
		}
		if cut, before := c.draw(); cut && before {
			c.before.Add(1)
			server.Close()
			return
		} else if cut {
			c.after.Add(1)
			swallow.Store(true)
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}
