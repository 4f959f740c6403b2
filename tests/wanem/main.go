// Command wanem emulates a wide-area network between network namespaces at IP
// level: one-way delay, jitter, random or bursty loss, bandwidth with a finite
// drop-tail queue, and outages, all changeable while it runs. It needs root and
// /dev/net/tun; no netem, no kernel module, no iproute2.
//
//	wanem start --hosts hub,edge --rtt 300ms --loss 2%
//	wanem exec edge ./smsc &
//	wanem exec hub  ./hub --smsc 10.77.2.1:2775
//	wanem down --for 30s
//	wanem stats
//	wanem stop
//
// Every host is a namespace NAME-HOST (visible to ip netns) with one TUN device,
// wan0. The i-th host has the address 10.77.i.1 and owns 10.77.i.0/24. Every
// ordered pair of hosts is a link with settings of its own. A packet passes, in
// this order: outage, bandwidth queue, random loss, delay with jitter. Loss is
// per direction. A packet never overtakes another unless reorder is set. An
// outage is a black hole, what is under way included: no ICMP, no RST.
//
// Each link has a generator of its own, seeded by --seed and the link, that
// draws two numbers a packet whatever the settings: the n-th packet of a link
// meets the same fate in every run.
//
// start returns when the network is ready; run stays in the foreground. Both
// tear everything down on SIGTERM and wanem stop. After a kill -9 the devices
// vanish at once, and the next run under the same name removes the namespaces.
// Networks with distinct --name run side by side. All commands talk HTTP over
// /run/wanem/NAME.sock (control.go), which a test can do directly.
//
// Trust a measurement only if stats shows a p99 lateness far below the delays
// and no tun drops (packets lost because wanem could not keep up). On a shared
// machine of two cores RTTs were off by 0.1 to 0.17 ms, and 100,000 packets a
// second passed without an unwanted drop. Prefer start to run: as a session of
// its own the daemon may raise its scheduling weight.
//
//	link.go    the fate of a packet, pure and clock-free
//	queue.go   packets by due time
//	engine.go  the one forwarding thread: ppoll over the TUN descriptors
//	netns.go   namespaces and TUN devices, by system call
//	control.go HTTP control and statistics
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `usage: wanem COMMAND [flags]

  run    create the network and carry packets until stopped (^C, SIGTERM, wanem stop)
  start  the same in the background; returns once the network is ready
  stop   tear the network down
  set    change link settings:            wanem set --link hub:edge --delay 150ms --loss 2%
  down   outage (blackhole) on links:     wanem down --link 'edge>hub' --for 30s
  up     end an outage
  stats  show links and counters          (--json for all of it, --reset to zero counters)
  exec   run a command inside a host:     wanem exec hub ping 10.77.2.1

Every command takes --name (default w0). --link selects links: A>B, A:B (both
directions), A (all that touch A), nothing (all); names may be globs, commas
separate alternatives. "wanem COMMAND -h" lists a command's flags.
`

func main() {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "wanem:", err)
		os.Exit(1)
	}
}

func command(cmd string, args []string) error {
	fs := flag.NewFlagSet("wanem "+cmd, flag.ExitOnError)
	name := fs.String("name", "w0", "name of the network")
	query := url.Values{} // what the control request carries
	queryFlag := func(key, help string) {
		fs.Func(key, help, func(v string) error { query.Set(key, v); return nil })
	}
	settingFlags := func() {
		for _, k := range settingKeys {
			queryFlag(k[0], k[1])
		}
	}
	send := func() error {
		_, err := call(*name, "POST", "/"+cmd, query)
		return err
	}
	switch cmd {
	case "run", "start":
		hosts := fs.String("hosts", "hub,edge", "comma-separated host names; the i-th gets SUBNET.i.1")
		subnet := fs.String("subnet", "10.77", "first two octets of the addresses")
		mtu := fs.Int("mtu", 1500, "MTU of the TUN devices")
		seed := fs.Uint64("seed", 1, "seed of loss and jitter")
		settingFlags()
		fs.Parse(args)
		if cmd == "start" {
			return start(*name, args)
		}
		cfg := Config{Name: *name, Hosts: strings.Split(*hosts, ","), Subnet: *subnet, MTU: *mtu, Seed: *seed}
		return run(cfg, query)
	case "stop":
		fs.Parse(args)
		if err := send(); err != nil {
			return err
		}
		for range 200 { // until the daemon has cleaned up
			if _, err := os.Stat(socketPath(*name)); err != nil {
				return nil
			}
			<-time.After(10 * time.Millisecond)
		}
		return errors.New("network does not stop")
	case "set":
		settingFlags()
		queryFlag("link", "links to change (default all)")
		fs.Parse(args)
		return send()
	case "down", "up":
		queryFlag("link", "links to change (default all)")
		if cmd == "down" {
			queryFlag("for", "end the outage by itself after this time")
		}
		fs.Parse(args)
		return send()
	case "stats":
		asJSON := fs.Bool("json", false, "print everything as JSON")
		reset := fs.Bool("reset", false, "zero the counters afterwards")
		fs.Parse(args)
		body, err := call(*name, "GET", "/stats", nil)
		if err == nil && *reset {
			_, err = call(*name, "POST", "/reset", nil)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			os.Stdout.Write(body)
			return nil
		}
		return printStats(body)
	case "exec":
		fs.Parse(args)
		if fs.NArg() < 2 {
			return errors.New("usage: wanem exec [--name NAME] HOST COMMAND [ARG...]")
		}
		return execIn(*name+"-"+fs.Arg(0), fs.Args()[1:])
	}
	fmt.Fprint(os.Stderr, usage)
	return fmt.Errorf("unknown command %q", cmd)
}

// run is the daemon. The control socket vanishes last, so its absence tells
// that everything is cleaned up.
func run(cfg Config, settings url.Values) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	sock, err := listen(cfg.Name)
	if err != nil {
		return err
	}
	defer sock.Close()
	n, err := NewNetwork(cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	err = n.Update("", func(l *link) error {
		for key := range settings {
			if err := l.Apply(key, settings.Get(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	stopped := make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- n.Serve(sock, sync.OnceFunc(func() { close(stopped) })) }()
	for _, h := range n.hosts {
		fmt.Printf("%s %s (ip netns exec %s ...)\n", h.name, h.addr, h.netns)
	}
	select {
	case <-signals:
	case <-stopped:
	case err = <-failed:
	}
	return err
}

// start runs `wanem run` detached and waits until it answers.
func start(name string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.CreateTemp("", "wanem-*.log")
	if err != nil {
		return err
	}
	defer log.Close()
	defer os.Remove(log.Name())
	cmd := exec.Command(self, append([]string{"run"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for range 500 {
		select {
		case <-exited:
			msg, _ := os.ReadFile(log.Name())
			return fmt.Errorf("run failed: %s", strings.TrimSpace(string(msg)))
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := call(name, "GET", "/stats", nil); err == nil {
			msg, _ := os.ReadFile(log.Name())
			os.Stdout.Write(msg)
			return nil
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	return errors.New("network did not come up within 5 s")
}

// execIn replaces this process by a command inside the namespace.
func execIn(netns string, argv []string) error {
	runtime.LockOSThread()
	if err := enterNetns(netns); err != nil {
		return err
	}
	prog, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return unix.Exec(prog, argv, os.Environ())
}

func printStats(body []byte) error {
	var s Stats
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, h := range s.Hosts {
		fmt.Fprintf(w, "%s\t%s\t%s\ttun drops %d\n", h.Name, h.Addr, filepath.Join(netnsDir, h.Netns), h.TunDrops)
	}
	w.Flush()
	fmt.Fprintln(w, "\nLINK\tDELAY\tJITTER\tLOSS\tRATE\tSTATE\tIN\tDELIVERED\tMBYTE\tLOST\tQUEUE DROP\tBLACKHOLED")
	for _, l := range s.Links {
		state, rate := "up", "-"
		if l.Down {
			state = "DOWN"
		}
		if l.Rate > 0 {
			rate = fmt.Sprintf("%gmbit", float64(l.Rate)/1e6)
		}
		fmt.Fprintf(w, "%s>%s\t%v\t%v\t%.3g%%\t%s\t%s\t%d\t%d\t%.1f\t%d\t%d\t%d\n", l.From, l.To, l.Delay, l.Jitter,
			l.Loss*100, rate, state, l.In, l.Delivered, float64(l.Bytes)/1e6, l.Lost, l.QueueDrop, l.Blackhole)
	}
	w.Flush()
	fmt.Printf("\nin flight %d, stray %d, lateness p50 <%v p99 <%v max %v, wanem cpu %.2fs\n",
		s.InFlight, s.Stray, s.LateP50, s.LateP99, s.LateMax, s.CPUSecond)
	return nil
}
