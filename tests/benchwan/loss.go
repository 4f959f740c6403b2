package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/pki"
)

// Packet loss is TCP's business, so TCP has to meet it: hub and edge are
// processes in network namespaces of their own, and wanem carries their packets.
//
//	this process ─┬─ wanem exec hub:  benchwan -role hub    hub, people
//	              ├─ wanem exec edge: benchwan -role edge   edge, simulator, handsets
//	              └─ wanem start: the WAN between them
//
// A role writes a sample a line of what it has seen delivered, and ends when its
// standard input does: it does not outlive this process.
//
// These rows have four sessions with the SMSC where those without loss have one: what is
// asked is how near the link comes to slots/RTT, which a single session that stops and
// waits may not reach. -loss-sessions 1 asks for the whole.

// lossRate is a loss each way and the ratio to slots/RTT that passes.
type lossRate struct{ percent, min float64 }

// leastRatios are what passes where the flag names no ratio.
var leastRatios = map[float64]float64{2: 0.8, 5: 0.55}

type lossOptions struct {
	rates    []lossRate
	runs     int
	rtt      time.Duration
	sessions int
	stripes  int
	wanem    string
	role     string
}

func (l *lossOptions) flags(f *flag.FlagSet) {
	for _, percent := range slices.Sorted(maps.Keys(leastRatios)) {
		l.rates = append(l.rates, lossRate{percent, leastRatios[percent]})
	}
	f.Func("loss", "packet loss in percent each way and the ratio to slots/RTT that passes, or off (default 2:0.8,5:0.55; these two need no ratio)", l.parse)
	f.IntVar(&l.runs, "runs", 5, "runs of each row with loss; their median counts")
	f.DurationVar(&l.rtt, "loss-rtt", 300*time.Millisecond, "of the WAN that loses packets")
	f.IntVar(&l.stripes, "loss-stripes", 24, "TCP connections of the link where packets are lost: each then holds up fewer frames")
	f.IntVar(&l.sessions, "loss-sessions", 4, "sessions with the SMSC where packets are lost, one without: one may be slower than the ring")
	f.StringVar(&l.wanem, "wanem", "", "the program wanem; default beside this one")
	f.StringVar(&l.role, "role", "", "for this program's own use")
}

func (l *lossOptions) parse(s string) error {
	l.rates = nil
	if s == "off" {
		return nil
	}
	for field := range strings.SplitSeq(s, ",") {
		percent, least, given := strings.Cut(field, ":")
		var r lossRate
		var err error
		if r.percent, err = strconv.ParseFloat(percent, 64); err != nil || !(r.percent >= 0 && r.percent < 100) {
			return fmt.Errorf("%q: give percent:ratio, as in 2:0.8, with 0 to below 100 percent", field)
		}
		if given {
			r.min, err = strconv.ParseFloat(least, 64)
		} else if r.min = leastRatios[r.percent]; r.min == 0 {
			return fmt.Errorf("what passes at %s %% is not known: give a ratio to slots/RTT too, as in %[1]s:0.5", percent)
		}
		if err != nil || !(r.min > 0 && r.min <= 1) {
			return fmt.Errorf("%q: the ratio is above 0 and at most 1, as in 2:0.8", field)
		}
		l.rates = append(l.rates, r)
	}
	return nil
}

func (l *lossOptions) check() error {
	if l.runs < 1 || l.rtt <= 0 || l.sessions < 1 || l.stripes < 1 {
		return errors.New("-runs, -loss-rtt, -loss-sessions and -loss-stripes are above 0")
	}
	return nil
}

// lacking says what the machine has not; empty: nothing.
func (l *lossOptions) lacking() string {
	if os.Geteuid() != 0 {
		return "it needs root"
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return "it needs /dev/net/tun"
	}
	return ""
}

func measureLoss(ctx context.Context, o options, r *report) error {
	if why := o.loss.lacking(); why != "" {
		fmt.Println("\nwith packet loss: skipped,", why)
		return nil
	}
	if o.loss.wanem == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.loss.wanem = filepath.Join(filepath.Dir(self), "wanem")
	}
	fmt.Printf("\nRTT %v, packet loss each way, %d sessions with the SMSC (1 in the rows above), %d stripes; median of %d\n",
		o.loss.rtt, o.loss.sessions, o.loss.stripes, o.loss.runs)
	fmt.Printf("%-5s %-5s %5s %-8s %9s %9s %6s %5s %6s %9s %9s  %s\n",
		"", "dir", "loss", "receipts", "rate/s", "slots/rtt", "ratio", "cpu", "others", "late p99", "tun drops", "runs")
	for _, rate := range o.loss.rates {
		for _, receipts := range o.receipts {
			for _, direction := range o.directions {
				m := row{
					Protocol: o.protocol, Direction: direction, RTT: milliseconds(o.loss.rtt), Loss: rate.percent, Receipts: receipts,
					Slots: o.slots, Stripes: o.loss.stripes, Handsets: o.recipients, Min: rate.min, Sessions: o.loss.sessions,
				}
				if err := m.measureLoss(ctx, o); err != nil {
					return fmt.Errorf("%s, loss %g %%, receipts %s: %w", direction, rate.percent, onOff(receipts), err)
				}
				r.Rows = append(r.Rows, m)
				fmt.Printf("%-5s %-5s %4g%% %-8s %9.1f %9.1f %6.3f %5.2f %6.2f %9v %9d  %.0f%s\n", m.Protocol, direction, m.Loss, onOff(receipts),
					m.Rate, m.Limit, m.Ratio, m.CPU, m.Others, m.Late, m.Dropped, m.Runs, m.verdict())
			}
		}
	}
	return nil
}

// measureLoss takes the median of all runs; each has losses of its own.
func (m *row) measureLoss(ctx context.Context, o options) error {
	for run := range o.loss.runs {
		if err := m.runLoss(ctx, o, run+1); err != nil {
			return err
		}
	}
	sorted := slices.Sorted(slices.Values(m.Runs))
	m.Rate = sorted[len(sorted)/2]
	m.CPU /= float64(o.loss.runs)
	m.Others /= float64(o.loss.runs)
	m.Seconds = o.window.Seconds()
	m.RingRate = float64(o.slots) / o.loss.rtt.Seconds()
	m.Limit = m.RingRate
	m.Ratio = m.Rate / m.Limit
	m.Passes = m.Ratio >= m.Min
	return nil
}

// wanStats is what we want of wanem stats --json.
type wanStats struct {
	Late  time.Duration `json:"late_p99_ns"`
	Hosts []struct {
		Drops uint64 `json:"tun_drops"`
	} `json:"hosts"`
}

func (m *row) runLoss(ctx context.Context, o options, seed int) (err error) {
	limit := o.window + 2*time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	dir, err := os.MkdirTemp(o.dir, "loss-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := certificates(dir); err != nil {
		return err
	}
	network := "benchwan" + strconv.Itoa(os.Getpid())
	wanem := func(ctx context.Context, command string, args ...string) ([]byte, error) {
		args = append([]string{command, "--name", network}, args...)
		out, err := exec.CommandContext(ctx, o.loss.wanem, args...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("wanem %s: %w: %s", command, err, strings.TrimSpace(string(out)))
		}
		return out, nil
	}
	if _, err := wanem(ctx, "start", "--hosts", "hub,edge", "--seed", strconv.Itoa(seed),
		"--rtt", o.loss.rtt.String(), "--loss", fmt.Sprintf("%g%%", m.Loss)); err != nil {
		return err
	}
	defer func() {
		_, stopErr := wanem(context.WithoutCancel(ctx), "stop")
		err = errors.Join(err, stopErr)
	}()
	roles := map[string]*roleProcess{}
	defer func() {
		for _, p := range roles {
			err = errors.Join(err, p.end())
		}
	}()
	for _, role := range []string{"hub", "edge"} {
		if roles[role], err = startRole(o, m, network, role, dir); err != nil {
			return err
		}
	}
	counting, other := roles["edge"], roles["hub"]
	if m.Direction == "up" {
		counting, other = other, counting
	}
	first, err := counting.sample(ctx, other, func(s sample) bool { return s.Count >= 2*uint64(o.slots) })
	if err != nil {
		return fmt.Errorf("two laps of the ring: %w", err)
	}
	if _, err := wanem(ctx, "stats", "--reset"); err != nil {
		return err
	}
	used, otherUsed := cpuTimes(), other.cpu()
	last, err := counting.sample(ctx, other, func(s sample) bool { return s.At.Sub(first.At) >= o.window })
	if err != nil {
		return err
	}
	seconds := last.At.Sub(first.At).Seconds()
	own := (last.CPU - first.CPU + other.cpu() - otherUsed) / seconds
	m.CPU += own
	m.Others += max(0, (cpuTimes().all-used.all)/seconds-own)
	m.Counted += last.Count - first.Count
	m.Runs = append(m.Runs, float64(last.Count-first.Count)/seconds)
	out, err := wanem(ctx, "stats", "--json")
	if err != nil {
		return err
	}
	var stats wanStats
	if err := json.Unmarshal(out, &stats); err != nil {
		return err
	}
	m.Late = max(m.Late, stats.Late)
	for _, h := range stats.Hosts {
		m.Dropped += h.Drops
	}
	return nil
}

func certificates(dir string) error {
	certs := filepath.Join(dir, "pki")
	return errors.Join(pki.Init(certs), pki.Hub(certs, "hub-1", []string{hubHost}), pki.Edge(certs, demo.EdgeID))
}

// sample is what was delivered up to a time.
type sample struct {
	At    time.Time `json:"at"`
	Count uint64    `json:"count"`
	CPU   float64   `json:"cpu"` // of the process, seconds
}

// roleProcess is hub or edge as a process.
type roleProcess struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.Closer
	said    bytesTail
	samples chan sample // closed when the process ends
	latest  atomic.Pointer[sample]
	ended   chan struct{} // closed then too, after err is set
	err     error
}

func startRole(o options, m *row, network, role, dir string) (*roleProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &roleProcess{name: role, samples: make(chan sample, 16), ended: make(chan struct{})}
	p.cmd = exec.Command(o.loss.wanem, "exec", "--name", network, role, self, "-role", role, "-dir", dir,
		"-direction", m.Direction, "-receipts", onOff(m.Receipts), "-protocol", o.protocol, "-latency", o.latency.String(),
		"-slots", strconv.Itoa(o.slots), "-stripes", strconv.Itoa(o.loss.stripes), "-recipients", strconv.Itoa(o.recipients),
		"-ahead", strconv.Itoa(o.ahead), "-texts", o.textsFile, "-loss-sessions", strconv.Itoa(o.loss.sessions))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us: they end with their input
	p.cmd.Stderr = &p.said
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var s sample
			if json.Unmarshal(lines.Bytes(), &s) == nil {
				p.latest.Store(&s)
				select {
				case p.samples <- s:
				default: // nobody looks: the next one says as much
				}
			}
		}
		if err := p.cmd.Wait(); err != nil {
			p.err = fmt.Errorf("%s: %w: %s", p.name, err, p.said.String())
		}
		close(p.ended)
		close(p.samples)
	}()
	return p, nil
}

// cpu returns the seconds of CPU that the process has used lately.
func (p *roleProcess) cpu() float64 {
	if s := p.latest.Load(); s != nil {
		return s.CPU
	}
	return 0
}

// sample returns the first one for which ok holds.
func (p *roleProcess) sample(ctx context.Context, other *roleProcess, ok func(sample) bool) (last sample, err error) {
	for {
		select {
		case s, open := <-p.samples:
			if !open {
				return last, cmp.Or(p.err, errors.New(p.name+" has ended"))
			}
			if last = s; ok(s) {
				return s, nil
			}
		case <-other.ended:
			return last, cmp.Or(other.err, errors.New(other.name+" has ended"))
		case <-ctx.Done():
			return last, fmt.Errorf("%w (%d delivered)", context.Cause(ctx), last.Count)
		}
	}
}

// end lets the process shut down, and kills it when that takes long.
func (p *roleProcess) end() error {
	if p == nil {
		return nil
	}
	_ = p.stdin.Close()
	const patience = 20 * time.Second
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %v and was killed: %s", p.name, patience, p.said.String())
	}
}

// bytesTail keeps the last of what is written to it.
type bytesTail struct {
	mu   sync.Mutex
	last []byte
}

func (b *bytesTail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = append(b.last, p...)
	b.last = b.last[max(0, len(b.last)-2000):]
	return len(p), nil
}

func (b *bytesTail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(string(b.last))
}
