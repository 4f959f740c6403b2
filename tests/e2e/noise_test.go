package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ringway-im/ringway/nodes/pki"
)

// While somebody misbehaves at one port, what others do goes on at 0.9 of its rate or
// more. Whoever misbehaves does so as fast as he can.
func TestNoiseDisturbsNobody(t *testing.T) {
	s := newSite(t)
	quiet := s.edge("manila-1", "+63917", "smpp", false)
	noisy := s.edge("cebu-1", "+63918", "smpp", false)
	s.inHub.by = oneProcessor(t)
	s.launchSMSC(quiet, "--latency", "4ms").ready()
	hub := s.launchHub().ready()
	s.launchEdge(quiet).ready()
	neighbours := []*node{s.launchSMSC(noisy).ready(), s.launchEdge(noisy).ready()}
	isReady(quiet.api(t), 10*time.Second)
	isReady(noisy.api(t), 10*time.Second)
	for _, n := range neighbours { // on other machines, in life
		goesLast(t, n.pid())
	}
	admin := s.admin()
	eve := newPerson(admin, "eve")
	v := newVictim(t, hub, admin, quiet.smsc(t))
	defer v.stop()

	n := s.noise()
	n.SMSC, n.Token = noisy.smscAt, eve.token
	alone := []string{
		"garbage on the link port", "garbage behind the link's TLS", "oversized frames behind the TLS",
		"half-open connections to the link", "half-open connections to the API", "garbage at the API",
		"bad requests", "bad frames on a stream", "garbage to the other SMSC",
	}
	eachAndAll(t, alone, func(t *testing.T, kinds ...string) {
		n.Kinds = kinds
		v.keepsItsRate(t, n, nil)
	})
	// And the neighbour whose certificate, account and SMSC were misused still works.
	eve.online()
	eve.reaches(eve.send("+639180000001", "still here"), "delivered", 20*time.Second)
}

// eachAndAll runs a test with all kinds of noise at once, and before that, where there is
// time, with each alone.
func eachAndAll(t *testing.T, kinds []string, test func(t *testing.T, kinds ...string)) {
	t.Helper()
	if isLong() {
		for _, kind := range kinds {
			t.Run(kind, func(t *testing.T) { test(t, kind) })
		}
	}
	t.Run("all at once", func(t *testing.T) { test(t, kinds...) })
}

// victim is somebody whose pace is watched: more waits for his SMSC than it takes, as
// many messages as a ring has slots and more, so its pace is the rate.
type victim struct {
	hub  *node
	smsc smscAPI
	stop func()
}

func newVictim(t *testing.T, hub *node, admin api, smsc smscAPI) *victim {
	t.Helper()
	ann := newPerson(admin, "ann").online()
	ctx, cancel := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for i := 0; ; i++ {
			for ann.waiting() > 400 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			ann.send(fmt.Sprintf("+63917%07d", i%500), fmt.Sprint("text ", i))
		}
	})
	v := &victim{hub: hub, smsc: smsc, stop: func() { cancel(); feeding.Wait() }}
	eventually(t, 20*time.Second, func() string { return atLeast("flowing", smsc.stats().Delivered, 100) })
	return v
}

// waiting is how many of his messages are not final.
func (p *person) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent - len(p.final)
}

// keepsItsRate makes a noise in turns with silence and compares the medians of the rates.
// during looks on while it is loud.
func (v *victim) keepsItsRate(t *testing.T, n noise, during func()) {
	t.Helper()
	const turn = time.Second
	turns, most, between := 3, 12, 300*time.Millisecond // a busy machine gets some more
	if isLong() {
		turns, most, between = 7, 7, 500*time.Millisecond
	}
	var without, with []float64
	made, used, ratio := 0, 0.0, 0.0
	for ratio < 0.9 && len(with) < most {
		for range turns {
			<-time.After(between) // until all is quiet
			without = append(without, v.rate(turn))
			m := n.begin(t)
			<-time.After(between) // until it is at its height
			before := v.hub.cpu()
			with = append(with, v.rate(turn))
			used += v.hub.cpu() - before
			if during != nil {
				during()
			}
			made += m.end()
		}
		ratio = median(with) / median(without)
		t.Logf("%.0f a second undisturbed, %.0f disturbed: %.2f (%d deeds in %d turns; the hub used %.2f processors)",
			median(without), median(with), ratio, made, len(with), used/float64(len(with))/turn.Seconds())
	}
	if ratio < 0.9 {
		t.Errorf("at %.2f of the undisturbed rate, want 0.9", ratio)
	}
}

// rate is measured for that long, not waited for.
func (v *victim) rate(d time.Duration) float64 {
	before, at := v.smsc.stats().Delivered, time.Now()
	<-time.After(d)
	return float64(v.smsc.stats().Delivered-before) / time.Since(at).Seconds()
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// cpu is the seconds of processors' time that the process has used; 0 where that is not
// known (proc(5), stat).
func (n *node) cpu() float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.pid()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var user, system float64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0
	}
	return (user + system) / 100
}

// noise is made by a process of its own, this program again.
type noise struct {
	Kinds           []string
	Workers         int      // of each kind; 0: eight together
	Frames          []string // of a flood
	Link, API, SMSC string   // host:port
	PKI             string   // the folder with the certificates of the link
	Token           string   // of a user
}

func (s *site) noise() noise { return noise{Link: s.link, API: s.hubHTTP, PKI: s.path("pki")} }

// maker goes on until ctx is done and says did of each deed.
type maker func(ctx context.Context, n noise, did func()) error

var noises = map[string]maker{
	"garbage on the link port": func(ctx context.Context, n noise, did func()) error {
		return shout(ctx, n.Link, nil, garbage(4096), did)
	},
	"garbage behind the link's TLS": func(ctx context.Context, n noise, did func()) error {
		return n.shoutBehindTLS(ctx, garbage(4096), did)
	},
	"oversized frames behind the TLS": func(ctx context.Context, n noise, did func()) error {
		return n.shoutBehindTLS(ctx, oversized(), did)
	},
	"half-open connections to the link": func(ctx context.Context, n noise, did func()) error {
		return halfOpen(ctx, n.Link, did)
	},
	"half-open connections to the API": func(ctx context.Context, n noise, did func()) error {
		return halfOpen(ctx, n.API, did)
	},
	"garbage at the API": func(ctx context.Context, n noise, did func()) error {
		return shout(ctx, n.API, nil, garbage(4096), did)
	},
	"garbage to the other SMSC": func(ctx context.Context, n noise, did func()) error {
		return shout(ctx, n.SMSC, nil, garbage(4096), did)
	},
	"flood":                  flood,
	"bad requests":           badRequests,
	"bad frames on a stream": badFrames,
}

// A process that makes noise is no test.
func init() {
	if len(os.Args) != 3 || os.Args[1] != "@noise" {
		return
	}
	var n noise
	err := json.Unmarshal([]byte(os.Args[2]), &n)
	if err == nil {
		err = n.make()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// make goes on until standard input ends, and prints how many deeds there were so far.
func (n noise) make() error {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(nil)
	}()
	var deeds atomic.Int64
	go func() {
		for ; ; <-time.After(20 * time.Millisecond) {
			fmt.Println(deeds.Load())
		}
	}()
	if n.Workers == 0 {
		n.Workers = max(1, 8/len(n.Kinds))
	}
	var all sync.WaitGroup
	for _, kind := range n.Kinds {
		work := noises[kind]
		if work == nil {
			work = crowds[kind]
		}
		if work == nil {
			return fmt.Errorf("%q is no noise", kind)
		}
		for range n.Workers {
			all.Go(func() {
				if err := work(ctx, n, func() { deeds.Add(1) }); err != nil && ctx.Err() == nil {
					cancel(fmt.Errorf("%s: %w", kind, err))
				}
			})
		}
	}
	all.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// noiseMaker is such a process.
type noiseMaker struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	deeds atomic.Int64
	read  chan struct{} // closed at the end of its output
	errs  bytes.Buffer
}

// begin returns when the noise has begun.
func (n noise) begin(t *testing.T) *noiseMaker {
	t.Helper()
	spec, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := &noiseMaker{t: t, cmd: exec.Command(self, "@noise", string(spec)), read: make(chan struct{})}
	m.cmd.Stderr = &m.errs
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		m.stdin, err = m.cmd.StdinPipe()
	}
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.cmd.Process.Kill() })
	go func() {
		defer close(m.read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if deeds, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				m.deeds.Store(deeds)
			}
		}
	}()
	eventually(t, 30*time.Second, func() string {
		select {
		case <-m.read:
			return "the maker of noise has ended"
		default:
			return atLeast("deeds of the maker of noise", int(m.deeds.Load()), 1)
		}
	})
	goesLast(t, m.cmd.Process.Pid)
	return m
}

// end returns how many deeds there were.
func (m *noiseMaker) end() (deeds int) {
	m.t.Helper()
	_ = m.stdin.Close()
	kill := time.AfterFunc(time.Second, func() { _ = m.cmd.Process.Kill() }) // nobody waits for its last words
	<-m.read
	err := m.cmd.Wait()
	if inTime := kill.Stop(); inTime && err != nil || m.errs.Len() > 0 {
		m.t.Errorf("the maker of noise: %v: %s", err, &m.errs)
	}
	return int(m.deeds.Load())
}

// dial connects from one of four addresses that nobody else here has. What the connection
// leaves behind takes no port of this host, which all share.
func dial(ctx context.Context, to string, i int) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i%4+1))}}
	conn, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	_ = tcp.SetLinger(0)
	return tcp, nil
}

// shout connects and writes, again and again.
func shout(ctx context.Context, to string, under func() *tls.Config, what []byte, did func()) error {
	for i := 0; ctx.Err() == nil; i++ {
		tcp, err := dial(ctx, to, i)
		if err != nil {
			continue
		}
		_ = tcp.SetDeadline(time.Now().Add(200 * time.Millisecond))
		var conn net.Conn = tcp
		if under != nil {
			conn = tls.Client(tcp, under())
		}
		_, _ = conn.Write(what)
		_, _ = io.CopyN(io.Discard, conn, 1024)
		_ = tcp.Close()
		did()
	}
	return nil
}

func (n noise) shoutBehindTLS(ctx context.Context, what []byte, did func()) error {
	each, err := n.certificate()
	if err != nil {
		return err
	}
	return shout(ctx, n.Link, func() *tls.Config {
		cfg := each()
		cfg.NextProtos, cfg.ServerName = []string{"h2"}, "127.0.0.1"
		return cfg
	}, what, did)
}

// certificate is the noisy edge's.
func (n noise) certificate() (func() *tls.Config, error) {
	at := func(name string) string { return filepath.Join(n.PKI, name) }
	return pki.EachClientTLS(at("cebu-1.crt"), at("cebu-1.key"), at("ca.crt"))
}

func garbage(n int) []byte {
	dice := rand.New(rand.NewPCG(1, 1))
	octets := make([]byte, n)
	for i := range octets {
		octets[i] = byte(dice.Uint32())
	}
	return octets
}

// oversized begins well, as HTTP/2 does, and then announces a frame of 16 MB.
func oversized() []byte {
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // empty SETTINGS (RFC 9113 §3.4, §6.5)
	return append([]byte(preface+"\xff\xff\xff\x00\x00\x00\x00\x00\x01"), garbage(64<<10)...)
}

// halfOpen holds connections that never say anything, a new one in the place of the oldest.
func halfOpen(ctx context.Context, to string, did func()) error {
	var held [64]net.Conn
	defer func() {
		for _, c := range held {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		conn, err := dial(ctx, to, i)
		if err != nil {
			continue
		}
		if old := held[i%len(held)]; old != nil {
			_ = old.Close()
		}
		held[i%len(held)] = conn
		did()
	}
	return nil
}

func badRequests(ctx context.Context, n noise, did func()) error {
	bodies := []string{"{", `{"to":1}`, `{"to":"+63917","text":"x","unknown":1}`, strings.Repeat("[", 10_000), string(garbage(2000))}
	for i := 0; ctx.Err() == nil; i++ {
		body := bodies[i%len(bodies)]
		request, err := http.NewRequestWithContext(ctx, "POST", "http://"+n.API+"/v1/messages", strings.NewReader(body))
		if err != nil {
			return err
		}
		if i%2 == 0 {
			request.Header.Set("Authorization", "Bearer "+n.Token)
		}
		response, err := httpClient.Do(request)
		if err != nil {
			continue
		}
		if response.StatusCode != http.StatusBadRequest && response.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%q: status %d, want 400 or 401", body, response.StatusCode)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		did()
	}
	return nil
}

func badFrames(ctx context.Context, n noise, did func()) error {
	frames := []string{"{", `{"op":"nonsense"}`, `{"op":"send","to":7}`, `{"op":"received","id":"xyz"}`, strings.Repeat(`{"a":`, 5000)}
	for ctx.Err() == nil {
		conn, _, err := websocket.Dial(ctx, "ws://"+n.API+"/v1/stream", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + n.Token}},
		})
		if err != nil {
			continue
		}
		var reader sync.WaitGroup
		reader.Go(func() {
			for {
				if _, _, err := conn.Read(ctx); err != nil {
					return
				}
			}
		})
		for i := 0; ctx.Err() == nil && conn.Write(ctx, websocket.MessageText, []byte(frames[i%len(frames)])) == nil; i++ {
			did()
		}
		_ = conn.CloseNow()
		reader.Wait()
	}
	return nil
}
