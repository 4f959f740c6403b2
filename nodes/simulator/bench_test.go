package simulator

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// bare is a client as thin as can be: it blocks in the socket.
type bare struct {
	conn    net.Conn
	reader  *bufio.Reader
	read    func(*bufio.Reader) (any, error)
	machine smsc.Machine
	todo    []smsc.Effect
	out     []byte
	bound   bool
	answers int
}

func newBare(b *testing.B, s *Simulator, p smsc.Protocol, window int) *bare {
	conn, err := net.Dial("tcp", address(s, p))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	cfg := account
	cfg.Window = window
	c := &bare{conn: conn, reader: bufio.NewReader(conn), read: p.Read, machine: p.New(cfg)}
	c.handle(smsc.Connected{})
	for !c.bound {
		c.wait(b)
	}
	return c
}

func (c *bare) handle(ev smsc.Event) {
	c.todo = c.machine.Handle(ev, c.todo[:0])
	for _, effect := range c.todo {
		switch e := effect.(type) {
		case smsc.Write:
			c.out = append(c.out, e.Octets...)
		case smsc.Bound:
			c.bound = true
		case smsc.Answered:
			if e.Outcome.Fate == smsc.Accepted {
				c.answers++
			}
		}
	}
}

func (c *bare) flush(b *testing.B) {
	if _, err := c.conn.Write(c.out); err != nil {
		b.Fatal(err)
	}
	c.out = c.out[:0]
}

// wait handles the next packet and all that are there with it.
func (c *bare) wait(b *testing.B) {
	if len(c.out) > 0 {
		c.flush(b)
	}
	for {
		packet, err := c.read(c.reader)
		if err != nil {
			b.Fatal(err)
		}
		c.handle(smsc.Received{Packet: packet})
		if c.reader.Buffered() == 0 {
			return
		}
	}
}

// Messages a second with latency 0, windows of 1 and 10, client included.
func BenchmarkSubmit(b *testing.B) {
	for _, p := range protocols {
		for _, window := range []int{1, 10} {
			b.Run(fmt.Sprintf("%s/window=%d", p.Name, window), func(b *testing.B) {
				c := newBare(b, start(b, Config{Discard: true, Window: 1}), p, window)
				part := parts(b, "Ya jus now at ginseng porridge. Now no more cramps and stuffs le", 0)[0]
				b.ReportAllocs()
				b.ResetTimer()
				for sent := 0; c.answers < b.N; c.wait(b) {
					for sent < b.N && c.machine.Ready() > 0 {
						sent++
						c.handle(smsc.Submit{Ref: uint64(sent), Part: part})
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// Stop and wait at 1 ms a message: 1000 messages a second were ideal.
func BenchmarkStopAndWait1ms(b *testing.B) {
	for _, p := range protocols {
		b.Run(p.Name, func(b *testing.B) {
			c := newBare(b, start(b, Config{Latency: time.Millisecond}), p, 1)
			part := parts(b, "hello", 0)[0]
			var took []time.Duration
			b.ResetTimer()
			for i := range b.N {
				begun := time.Now()
				c.handle(smsc.Submit{Ref: uint64(i + 1), Part: part})
				for c.answers <= i {
					c.wait(b)
				}
				took = append(took, time.Since(begun))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
			if took[0] < time.Millisecond {
				b.Errorf("an answer after %v: the latency is 1ms", took[0])
			}
		})
	}
}
