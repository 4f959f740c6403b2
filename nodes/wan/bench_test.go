package wan

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRTTError reports how far a round trip of one small message is from
// the RTT asked for. Run it with -benchtime=50x.
func BenchmarkRTTError(b *testing.B) {
	for _, rtt := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond} {
		b.Run(rtt.String(), func(b *testing.B) {
			r := relay(b, Config{Target: server(b, echo), RTT: rtt})
			c := dial(b, r)
			_ = c.SetDeadline(time.Time{})
			ping(b, c)
			var off []time.Duration
			for b.Loop() {
				off = append(off, ping(b, c)-rtt)
			}
			slices.Sort(off)
			us := func(d time.Duration) float64 { return float64(d.Microseconds()) }
			b.ReportMetric(us(off[0]), "µs-min-off")
			b.ReportMetric(us(off[len(off)/2]), "µs-median-off")
			b.ReportMetric(us(off[len(off)*95/100]), "µs-p95-off")
			b.ReportMetric(us(off[len(off)-1]), "µs-max-off")
		})
	}
}

// BenchmarkSmallMessages echoes 1,000 messages of 200 bytes a second over 16
// connections at 300 ms and reports what the process used of one core, for
// sender, relay and echo together, and without the relay. One op is one second.
func BenchmarkSmallMessages(b *testing.B) {
	for _, relayed := range []bool{false, true} {
		b.Run(fmt.Sprintf("relayed=%v", relayed), func(b *testing.B) {
			addr := server(b, echo)
			if relayed {
				addr = relay(b, Config{Target: addr, RTT: 300 * time.Millisecond}).Addr()
			}
			var wg sync.WaitGroup
			var conns []net.Conn
			for range 16 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				conns = append(conns, c)
				wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
			}
			message := make([]byte, 200)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			i, begun, cpu := 0, time.Now(), cpuTime()
			for b.Loop() {
				for second := i + 1000; i < second; <-tick.C {
					for ; i < second && time.Since(begun) > time.Duration(i)*time.Millisecond; i++ {
						send(b, conns[i%len(conns)], string(message))
					}
				}
			}
			took, used := time.Since(begun), cpuTime()-cpu
			b.ReportMetric(100*float64(used)/float64(took), "%core")
			b.ReportMetric(float64(i)/took.Seconds(), "messages/s")
			for _, c := range conns {
				c.Close()
			}
			wg.Wait()
		})
	}
}

// BenchmarkBulk pushes as fast as one connection at 300 ms takes it.
func BenchmarkBulk(b *testing.B) {
	const size = 1 << 20
	r := relay(b, Config{Target: server(b, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }), RTT: 300 * time.Millisecond})
	c := dial(b, r)
	_ = c.SetDeadline(time.Time{})
	block := make([]byte, size)
	b.SetBytes(size)
	cpu, begun := cpuTime(), time.Now()
	for b.Loop() {
		if _, err := c.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(cpuTime()-cpu)/float64(time.Since(begun)), "%core")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
