// Command benchwan measures how fast messages pass between people and handsets
// over a WAN, beside what could pass at best: make bench-wan.
//
// A row is one direction at one RTT. The whole system runs in this process
// (package demo): real sockets, certificates and disks, the WAN an emulated one.
// Down, people send to handsets and what handsets have received is counted; up,
// handsets send to people and what stands in their inboxes is. Counting begins
// after two laps of the ring.
//
// What could pass at best is the lower of two rates: that of a bare client which
// speaks the same protocol over loopback to an SMSC of the same latency, sends,
// waits for the answer, appends a record to a file on the same disk, syncs, and
// goes on; and slots/RTT, with which a ring of that many slots goes round. The
// bare client runs alone just before and just after each row; their mean counts.
// Through the same WAN it shows what the row would be without an edge (direct).
//
// Where there is root, rows follow in which hub and edge are processes in network
// namespaces and the WAN between them loses packets, with four sessions with the SMSC
// instead of one: see loss.go.
//
// The last line of the output is all of it as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// options are the flags.
type options struct {
	protocol   string
	rtts       []time.Duration
	directions []string
	receipts   []bool
	window     time.Duration // counted
	bare       time.Duration // of each run of the bare client
	latency    time.Duration
	slots      int
	stripes    int
	recipients int
	ahead      int // messages given to the system and not yet delivered
	min        float64
	dir        string
	textsFile  string
	json       string
	cpuProfile string
	texts      []string
	loss       lossOptions
}

func main() {
	if os.Getenv("GOMAXPROCS") == "" { // as the product's binary
		runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0)))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "benchwan:", err)
		os.Exit(2)
	case missed:
		os.Exit(1)
	}
}

// run reports whether a row missed its limit.
func run(ctx context.Context, args []string) (missed bool, err error) {
	o, err := parse(args)
	if err != nil {
		return false, err
	}
	if o.texts, err = readTexts(o.textsFile); err != nil {
		return false, err
	}
	if o.loss.role != "" {
		return false, serveRole(ctx, o)
	}
	if o.dir, err = os.MkdirTemp(o.dir, "benchwan-"); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	if err := onDisk(o.dir); err != nil {
		return false, err
	}
	report := report{Began: time.Now().UTC(), CPUs: runtime.NumCPU(), Go: runtime.Version(), Min: o.min}
	if len(o.rtts) > 0 {
		err = measureRows(ctx, o, &report)
	}
	if err == nil && len(o.loss.rates) > 0 {
		err = measureLoss(ctx, o, &report)
	}
	return report.missed(), errors.Join(err, report.write(os.Stdout, o.json))
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("benchwan", flag.ContinueOnError)
	f.StringVar(&o.protocol, "protocol", "cimd2", "the SMSC's: cimd2 or smpp")
	rtts := f.String("rtt", "0,100ms,300ms,600ms", "of the WAN, separated by commas, or none")
	direction := f.String("direction", "both", "down (to handsets), up (from handsets) or both")
	receipts := f.String("receipts", "both", "on, off or both")
	f.DurationVar(&o.window, "for", 30*time.Second, "how long to count")
	f.DurationVar(&o.bare, "bare", 10*time.Second, "how long each run of the bare client is counted")
	f.DurationVar(&o.latency, "latency", time.Millisecond, "of the SMSC for one message")
	f.IntVar(&o.slots, "slots", 255, "of the rings")
	f.IntVar(&o.stripes, "stripes", 8, "TCP connections of the link where nothing is lost")
	f.IntVar(&o.recipients, "recipients", 1000, "handsets")
	f.IntVar(&o.ahead, "ahead", 0, "messages given in and not yet delivered; 0: three laps of the ring")
	f.Float64Var(&o.min, "min", 0.9, "lowest delivered rate over the limit that passes")
	f.StringVar(&o.dir, "dir", ".", "where data go for as long as it runs: a folder on a real disk")
	f.StringVar(&o.textsFile, "texts", "smsc/text/testdata/nus-sms.jsonl", "messages to make the texts of")
	f.StringVar(&o.json, "json", "", "file for the results too, which are the last line of the output as well")
	f.StringVar(&o.cpuProfile, "cpuprofile", "", "folder for a CPU and a block profile of each row's counted time")
	o.loss.flags(f)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var errs []error
	if *rtts != "none" {
		for s := range strings.SplitSeq(*rtts, ",") {
			rtt, err := time.ParseDuration(s)
			errs = append(errs, err)
			o.rtts = append(o.rtts, rtt)
		}
	}
	choose := func(name, value string, of ...string) {
		if !slices.Contains(of, value) {
			errs = append(errs, fmt.Errorf("-%s is %q: give one of %s", name, value, strings.Join(of, ", ")))
		}
	}
	choose("protocol", o.protocol, "cimd2", "smpp")
	choose("direction", *direction, "down", "up", "both")
	choose("receipts", *receipts, "on", "off", "both")
	o.directions = []string{*direction}
	if *direction == "both" {
		o.directions = []string{"down", "up"}
	}
	o.receipts = map[string][]bool{"on": {true}, "off": {false}, "both": {false, true}}[*receipts]
	if o.window <= 0 || o.bare <= 0 || o.slots < 1 || o.stripes < 1 || o.recipients < 1 || o.ahead < 0 || f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("-for, -bare, -slots, -stripes and -recipients are above 0, and flags are all there is: %q", f.Args()))
	}
	if o.ahead == 0 {
		o.ahead = 3 * o.slots
	}
	return o, errors.Join(append(errs, o.loss.check())...)
}

// protocolOf returns the ESME's side of a protocol.
func protocolOf(name string) smsc.Protocol {
	if name == "smpp" {
		return smpp.Protocol
	}
	return cimd2.Protocol
}

// onDisk refuses a folder in memory: syncing there costs nothing.
func onDisk(dir string) error {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return err
	}
	if uint32(s.Type) == tmpfs || uint32(s.Type) == ramfs {
		return fmt.Errorf("%s is in memory: name a folder on a real disk with -dir", dir)
	}
	return nil
}

// readTexts returns real messages of 20 to 150 characters, so that one short
// message has room for it and a person's name.
func readTexts(name string) (texts []string, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: run it in the repository's folder, or name a file with -texts", err)
	}
	for line := range strings.Lines(string(data)) {
		var entry struct{ Text string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if fits(entry.Text) {
			texts = append(texts, entry.Text)
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s has no text of 20 to 150 characters", name)
	}
	return texts, nil
}

func number(i int) string { return "+63917" + fmt.Sprintf("%07d", i) }

func person(i int) string { return "p" + strconv.Itoa(i) }

// people send to handsets and get what these send.
const people = 16
