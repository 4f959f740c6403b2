package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
)

// row is one measurement. Rates are messages a second.
type row struct {
	Protocol  string  `json:"protocol"`
	Direction string  `json:"direction"`
	RTT       float64 `json:"rtt_ms"`
	Loss      float64 `json:"loss_percent,omitempty"` // each way
	Receipts  bool    `json:"receipts"`
	Slots     int     `json:"slots"`
	Stripes   int     `json:"stripes"`
	Sessions  int     `json:"smsc_sessions"`
	Handsets  int     `json:"handsets"`

	Counted    uint64    `json:"counted"`
	Seconds    float64   `json:"seconds"`
	Rate       float64   `json:"rate"`
	Runs       []float64 `json:"runs,omitempty"` // Rate is their median
	BareBefore float64   `json:"bare_before,omitempty"`
	BareAfter  float64   `json:"bare_after,omitempty"`
	RingRate   float64   `json:"slots_over_rtt,omitempty"`
	Limit      float64   `json:"limit"` // min of bare client and slots/RTT
	Ratio      float64   `json:"ratio"`
	Min        float64   `json:"min_ratio"`
	Passes     bool      `json:"passes"`
	Direct     float64   `json:"direct,omitempty"` // the bare client over the WAN
	Factor     float64   `json:"factor,omitempty"` // Rate / Direct
	CPU        float64   `json:"cpu_cores"`        // of this process, everything in it, while counting
	Others     float64   `json:"others_cores"`     // what other processes used meanwhile

	Late    time.Duration `json:"wan_late_p99_ns,omitempty"` // of the emulator, worst run
	Dropped uint64        `json:"wan_tun_drops,omitempty"`   // must be 0
}

type report struct {
	Began time.Time `json:"began"`
	CPUs  int       `json:"cpus"`
	Go    string    `json:"go"`
	Min   float64   `json:"min_ratio"`
	Rows  []row     `json:"rows"`
}

func (r *report) missed() bool {
	return slices.ContainsFunc(r.Rows, func(row row) bool { return !row.Passes })
}

// write writes the report as one line, and into a file if one is named.
func (r *report) write(out io.Writer, file string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "\n%s\n", data); err != nil || file == "" {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, append(indented.Bytes(), '\n'), 0o644)
}

func measureRows(ctx context.Context, o options, r *report) error {
	fmt.Printf("%-5s %-5s %6s %-8s %9s %9s %9s %9s %6s %8s %7s %5s %6s\n",
		"", "dir", "rtt", "receipts", "rate/s", "bare/s", "slots/rtt", "limit/s", "ratio", "direct/s", "factor", "cpu", "others")
	for _, rtt := range o.rtts {
		for _, receipts := range o.receipts {
			for _, direction := range o.directions {
				m, err := measureRow(ctx, o, direction, rtt, receipts)
				if err != nil {
					return fmt.Errorf("%s, RTT %v, receipts %s: %w", direction, rtt, onOff(receipts), err)
				}
				r.Rows = append(r.Rows, m)
				ring := "-"
				if m.RingRate > 0 {
					ring = fmt.Sprintf("%.0f", m.RingRate)
				}
				fmt.Printf("%-5s %-5s %6v %-8s %9.1f %9.1f %9s %9.1f %6.3f %8.2f %6.1fx %5.2f %6.2f%s\n", m.Protocol, direction, rtt, onOff(receipts),
					m.Rate, (m.BareBefore+m.BareAfter)/2, ring, m.Limit, m.Ratio, m.Direct, m.Factor, m.CPU, m.Others, m.verdict())
			}
		}
	}
	return nil
}

func (m *row) verdict() string {
	if m.Passes {
		return ""
	}
	return fmt.Sprintf("  below %g", m.Min)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func measureRow(ctx context.Context, o options, direction string, rtt time.Duration, receipts bool) (m row, err error) {
	m = row{
		Protocol: o.protocol, Direction: direction, RTT: milliseconds(rtt), Receipts: receipts,
		Slots: o.slots, Stripes: o.stripes, Sessions: 1, Handsets: o.recipients, Min: o.min,
	}
	if m.BareBefore, err = measureBare(ctx, o, direction, receipts, false, 0); err != nil {
		return m, err
	}
	if err := m.measureSystem(ctx, o, direction, rtt, receipts); err != nil {
		return m, err
	}
	if m.BareAfter, err = measureBare(ctx, o, direction, receipts, false, 0); err != nil {
		return m, err
	}
	if m.Direct, err = measureBare(ctx, o, direction, receipts, true, rtt); err != nil {
		return m, err
	}
	m.Limit = (m.BareBefore + m.BareAfter) / 2
	if rtt > 0 {
		m.RingRate = float64(o.slots) / rtt.Seconds()
		m.Limit = min(m.Limit, m.RingRate)
	}
	m.Ratio, m.Factor = m.Rate/m.Limit, m.Rate/m.Direct
	m.Passes = m.Ratio >= o.min
	return m, nil
}

func (m *row) measureSystem(ctx context.Context, o options, direction string, rtt time.Duration, receipts bool) (err error) {
	dir, err := os.MkdirTemp(o.dir, "row-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rig, err := demo.Start(demo.RigConfig{
		Dir: dir, Protocol: o.protocol, RTT: rtt, Latency: o.latency, Receipts: receipts, Slots: o.slots, Stripes: o.stripes, Discard: true,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := rig.Await(ready); err != nil {
		return err
	}
	in, err := open(ready, rig.Hub)
	if err != nil {
		return err
	}
	defer in.close()
	count := in.count.Load
	if direction == "down" {
		count = func() uint64 { return rig.SMSC.Stats().ReceivedTexts }
	}
	feeding, stop := context.WithCancelCause(ctx)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		var err error
		if direction == "down" {
			err = feedDown(feeding, o, rig.Hub, count)
		} else {
			err = feedUp(feeding, o, rig.SMSC)
		}
		if err != nil {
			stop(err)
		}
	}()
	defer func() {
		stop(nil)
		<-fed
	}()
	if err := await(feeding, count, 2*uint64(o.slots), time.Minute+8*rtt); err != nil {
		return err
	}
	endProfiles, err := beginProfiles(o.cpuProfile, fmt.Sprintf("%s-%s-%v-receipts-%s", o.protocol, direction, rtt, onOff(receipts)))
	if err != nil {
		return err
	}
	first, began, used := count(), time.Now(), cpuTimes()
	select {
	case <-time.After(o.window):
	case <-feeding.Done():
		return errors.Join(context.Cause(feeding), endProfiles())
	}
	m.Counted, m.Seconds = count()-first, time.Since(began).Seconds()
	now := cpuTimes()
	m.Rate = float64(m.Counted) / m.Seconds
	m.CPU = (now.own - used.own) / m.Seconds
	m.Others = max(0, (now.all-used.all)/m.Seconds-m.CPU)
	return endProfiles()
}

// beginProfiles profiles CPU and blocking until end is called.
func beginProfiles(dir, name string) (end func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cpu, err := os.Create(filepath.Join(dir, name+"-cpu.prof"))
	if err != nil {
		return nil, err
	}
	runtime.SetBlockProfileRate(int(100 * time.Microsecond))
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		runtime.SetBlockProfileRate(0)
		block, err := os.Create(filepath.Join(dir, name+"-block.prof"))
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(cpu.Close(), pprof.Lookup("block").WriteTo(block, 0), block.Close())
	}, nil
}

// cpu is seconds of CPU: of this process, and of all, time taken by other
// virtual machines included.
type cpu struct{ own, all float64 }

func cpuTimes() (c cpu) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		c.own = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	c.all = c.own
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c // no Linux: others are not known
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var user, nice, system, idle, wait, irq, softirq, steal float64 // in hundredths of a second
	if n, _ := fmt.Sscanf(line, "cpu %g %g %g %g %g %g %g %g", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); n == 8 {
		c.all = (user + nice + system + irq + softirq + steal) / 100
	}
	return c
}
