package hubstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// BenchmarkLifeOfAMessage takes messages of 100 letters from Accept to the
// receipt, 1,000 users and 5,000 handsets, through a ring of 255 slots, on disk.
func BenchmarkLifeOfAMessage(b *testing.B) {
	b.Run("flat_out", func(b *testing.B) { benchmarkLife(b, 0) })
	b.Run("1000_per_second", func(b *testing.B) { benchmarkLife(b, time.Millisecond) }) // use -benchtime 5000x
}

func benchmarkLife(b *testing.B, pace time.Duration) {
	s := open(b, Options{Dir: b.TempDir()})
	r, err := s.Claim("manila-1")
	if err != nil {
		b.Fatal(err)
	}
	d := r.Down()
	text := fmt.Sprintf("%0100d", 7)
	begin, cpu, io := s.db.Stats(), cpuTime(), writtenBytes()
	b.ResetTimer()
	var written sync.WaitGroup
	slots := make(chan struct{}, 100)
	written.Go(func() {
		begun := time.Now()
		for i := range b.N {
			if pace > 0 {
				time.Sleep(time.Until(begun.Add(time.Duration(i) * pace)))
			}
			slots <- struct{}{}
			s.Accept(journal.Submission{
				From: fmt.Sprintf("user-%d", i%1000), To: fmt.Sprintf("+63917%07d", i%5000), Text: text, Class: 1, Ref: fmt.Sprintf("ref-%d", i),
				At: time.Now(), Parts: 1, Coding: "gsm7", Edge: "manila-1", Number: "63917000", QueueLimit: 1_000_000,
			}, func(_ journal.Accepted, err error) {
				if err != nil {
					b.Error(err)
				}
				<-slots
			})
		}
	})
	var answered sync.WaitGroup
	wake := make(chan struct{}, 1)
	d.Notify(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	var number uint64
	for seq := uint64(1); seq <= uint64(b.N); {
		type answer struct {
			e   []journal.Entry
			err error
		}
		done := make(chan answer, 1)
		d.Retrieve(seq, 255, func(e []journal.Entry, err error) { done <- answer{e, err} })
		a := <-done
		if a.err != nil {
			b.Fatal(a.err)
		}
		if len(a.e) == 0 {
			<-wake
			continue
		}
		seq += uint64(len(a.e))
		d.Progress(messages.State_SENT, a.e)
		d.Progress(messages.State_CONFIRMED, a.e)
		at := time.Now().UnixMilli()
		events := make([]*messages.Event, len(a.e))
		for i, e := range a.e {
			answered.Add(1)
			d.Processed(e, &messages.Result{State: messages.State_PROCESSED, Attempts: 1, AtUnixMs: at, Parts: []*messages.PartState{{State: messages.State_PROCESSED, SmscId: "12345678"}}},
				func(err error) {
					if err != nil {
						b.Error(err)
					}
					answered.Done()
				})
			number++
			events[i] = &messages.Event{Number: number, Id: e.Message.Id, AtUnixMs: at, What: &messages.Event_Receipt{
				Receipt: &messages.Receipt{Parts: 1, State: messages.State_DELIVERED, SmscId: "12345678"},
			}}
		}
		answered.Add(1)
		r.Apply(events, func(_ uint64, err error) {
			if err != nil {
				b.Error(err)
			}
			answered.Done()
		})
		answered.Wait()
	}
	written.Wait()
	b.StopTimer()
	if io > 0 {
		b.ReportMetric(float64(writtenBytes()-io)/float64(b.N), "written-B/message") // WAL, flushes and compactions
	}
	var stored int64
	if err := filepath.WalkDir(s.opts.Dir, func(_ string, d os.DirEntry, err error) error {
		if info, e := d.Info(); e == nil && err == nil && filepath.Ext(d.Name()) == ".sst" {
			stored += info.Size()
		}
		return err
	}); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(stored)/float64(b.N), "table-B/message")
	n := float64(b.N)
	b.ReportMetric(float64(cpuTime()-cpu)/n/1e3, "cpu-us/message")
	b.ReportMetric(float64(s.db.Stats().Groups-begin.Groups)/n, "fsyncs/message")
}

// writtenBytes is what the process has written to files; 0 where nobody counts.
func writtenBytes() (n int64) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		if _, err := fmt.Sscanf(line, "wchar: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// cpuTime is what the process has used, by user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
