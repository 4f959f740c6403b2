package pgstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/tests/pgtest"
)

// stores runs a benchmark on both, in one run.
func stores(b *testing.B, f func(b *testing.B, s journal.Hub, server *pgtest.Server)) {
	b.Run("embedded", func(b *testing.B) {
		s, err := hubstore.Open(hubstore.Options{Dir: b.TempDir(), Node: hubstore.Node, ReserveBytes: -1})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		f(b, s, nil)
	})
	b.Run("postgres", func(b *testing.B) {
		server := pgtest.Shared(b)
		s, err := Open(b.Context(), Options{DSN: server.Database(b), Node: "hub", Alone: true})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		f(b, s, server)
	})
}

func submission(i int) journal.Submission {
	return journal.Submission{
		From: fmt.Sprintf("user-%d", i%1000), To: fmt.Sprintf("+63917%07d", i%5000), Text: fmt.Sprintf("%0100d", i), Class: 1, Ref: fmt.Sprintf("ref-%d", i),
		At: time.Now(), Parts: 1, Coding: "gsm7", Edge: edge, Number: "63917000", QueueLimit: 1_000_000,
	}
}

// BenchmarkAccept accepts messages for an edge with so many callers at a time.
func BenchmarkAccept(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			stores(b, func(b *testing.B, s journal.Hub, server *pgtest.Server) {
				begun, servers := cpuTime(), serverTime(server)
				took := make([]time.Duration, b.N)
				next := make(chan int)
				var wg sync.WaitGroup
				b.ResetTimer()
				for range callers {
					wg.Go(func() {
						for i := range next {
							at, done := time.Now(), make(chan error, 1)
							s.Accept(submission(i), func(_ journal.Accepted, err error) { done <- err })
							if err := <-done; err != nil {
								b.Error(err)
							}
							took[i] = time.Since(at)
						}
					})
				}
				for i := range b.N {
					next <- i
				}
				close(next)
				wg.Wait()
				b.StopTimer()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
				report(b, begun, servers, server)
			})
		})
	}
}

// BenchmarkLife takes messages of 100 letters from Accept to the receipt, 1,000
// users and 5,000 handsets, through a ring of 255 slots.
func BenchmarkLife(b *testing.B) { stores(b, life) }

func life(b *testing.B, s journal.Hub, server *pgtest.Server) {
	r, err := s.Claim(edge)
	if err != nil {
		b.Fatal(err)
	}
	d := r.Down()
	wake := make(chan struct{}, 1)
	d.Notify(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	begun, servers := cpuTime(), serverTime(server)
	b.ResetTimer()
	var written, answered sync.WaitGroup
	slots := make(chan struct{}, 400)
	check := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	written.Go(func() {
		for i := range b.N {
			slots <- struct{}{}
			s.Accept(submission(i), func(_ journal.Accepted, err error) {
				check(err)
				<-slots
			})
		}
	})
	number := uint64(0)
	for seq := uint64(1); seq <= uint64(b.N); {
		e, err := wait(b, func(done func([]journal.Entry, error)) { d.Retrieve(seq, 255, done) })
		if err != nil {
			b.Fatal(err)
		}
		if len(e) == 0 {
			<-wake
			continue
		}
		seq += uint64(len(e))
		d.Progress(messages.State_SENT, e)
		d.Progress(messages.State_CONFIRMED, e)
		at := time.Now().UnixMilli()
		events := make([]*messages.Event, len(e))
		for i, one := range e {
			answered.Add(1)
			d.Processed(one, &messages.Result{State: messages.State_PROCESSED, Attempts: 1, AtUnixMs: at, Parts: []*messages.PartState{{State: messages.State_PROCESSED, SmscId: "12345678"}}},
				func(err error) {
					check(err)
					answered.Done()
				})
			number++
			events[i] = &messages.Event{Number: number, Id: one.Message.Id, AtUnixMs: at, What: &messages.Event_Receipt{
				Receipt: &messages.Receipt{Parts: 1, State: messages.State_DELIVERED, SmscId: "12345678"},
			}}
		}
		answered.Add(1)
		r.Apply(events, func(_ uint64, err error) {
			check(err)
			answered.Done()
		})
		answered.Wait()
	}
	written.Wait()
	b.StopTimer()
	report(b, begun, servers, server)
	if p, ok := s.(*Store); ok {
		var size int64
		if err := p.pool.QueryRow(b.Context(), `SELECT pg_database_size(current_database())`).Scan(&size); err == nil {
			b.ReportMetric(float64(size)/float64(b.N), "stored-B/op")
		}
	}
}

func report(b *testing.B, begun, servers time.Duration, server *pgtest.Server) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(cpuTime()-begun)/float64(b.N)/1e3, "hub-cpu-us/op")
	if server != nil {
		b.ReportMetric(float64(serverTime(server)-servers)/float64(b.N)/1e3, "server-cpu-us/op")
	}
}

// cpuTime is what the process has used, by user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverTime is what the server's processes have used; 0 where nobody counts.
func serverTime(server *pgtest.Server) (sum time.Duration) {
	if server == nil {
		return 0
	}
	pid := fmt.Sprint(server.PID())
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ") // proc(5): state is field 3
		fields := strings.Fields(rest)
		if len(fields) < 15 || fields[1] != pid && filepath.Base(filepath.Dir(f)) != pid {
			continue
		}
		var ticks [4]int64 // utime, stime, and of children that have ended
		for i := range ticks {
			fmt.Sscan(fields[11+i], &ticks[i])
		}
		sum += time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond
		if fields[1] != pid {
			sum += time.Duration(ticks[2]+ticks[3]) * 10 * time.Millisecond
		}
	}
	return sum
}
