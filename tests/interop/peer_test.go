package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// peer is a process that plays an SMSC or an ESME, by a library that others
// wrote. It takes what to send and says what it hears, one JSON object a line:
// see testdata/npm/peer.js.
type peer struct {
	t     *testing.T
	input io.WriteCloser
	ended chan struct{} // closed when it has
	err   error         // of how it ended

	mu        sync.Mutex
	port      int
	bound     bool
	got       map[string][]string // by the handset's number
	gots      int
	accepted  map[int]int
	delivered map[int]int
	faults    []string
}

// message goes to a peer's input.
type message struct {
	ID   int    `json:"id"`
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text"`
}

// startPeer starts a peer that ends with the test.
func startPeer(t *testing.T, env []string, isESME bool, name string, args ...string) *peer {
	t.Helper()
	p := &peer{t: t, ended: make(chan struct{}), got: map[string][]string{}, accepted: map[int]int{}, delivered: map[int]int{}}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	var err error
	if p.input, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(output)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.hear(lines.Bytes(), isESME)
		}
		if err := cmd.Wait(); err != nil || complaints.Len() > 0 {
			p.err = fmt.Errorf("%s: %s\n%s", strings.Join(args, " "), cmd.ProcessState, complaints.String())
		}
		close(p.ended)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return p
}

func (p *peer) hear(line []byte, isESME bool) {
	var said struct {
		Port                int
		Bound               bool
		From, To, Text      string
		Accepted, Delivered *int
		Fault               string
	}
	err := json.Unmarshal(line, &said)
	p.mu.Lock()
	defer p.mu.Unlock()
	handset, other := said.To, said.From
	if isESME {
		handset, other = other, handset
	}
	switch {
	case err != nil:
		p.faults = append(p.faults, fmt.Sprintf("%q: %v", line, err))
	case said.Fault != "":
		p.faults = append(p.faults, said.Fault)
	case said.Port != 0:
		p.port = said.Port
	case said.Bound:
		p.bound = true
	case said.Accepted != nil:
		p.accepted[*said.Accepted]++
	case said.Delivered != nil:
		p.delivered[*said.Delivered]++
	case other != service:
		p.faults = append(p.faults, fmt.Sprintf("a message between %s and %s", handset, other))
	default:
		p.got[handset] = append(p.got[handset], said.Text)
		p.gots++
	}
}

// send gives the peer messages to send.
func (p *peer) send(messages []message) {
	p.t.Helper()
	lines := json.NewEncoder(p.input)
	for _, m := range messages {
		if err := lines.Encode(m); err != nil {
			p.t.Fatal(err)
		}
	}
}

// when polls until missing, called with the peer locked, has nothing more to wait
// for. A fault, or the peer's end, ends it at once.
func (p *peer) when(limit time.Duration, missing func() string) {
	p.t.Helper()
	eventually(p.t, limit, func() string {
		select {
		case <-p.ended:
			p.t.Fatalf("the peer has ended: %v", p.err)
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.faults) > 0 {
			return ""
		}
		return missing()
	})
	p.check()
}

func (p *peer) check() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fault := range p.faults[:min(len(p.faults), 10)] {
		p.t.Error(fault)
	}
	if len(p.faults) > 0 {
		p.t.FailNow()
	}
}

// end tells the peer that there is nothing more to send, and waits for its exit.
func (p *peer) end() {
	p.t.Helper()
	_ = p.input.Close()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Error(p.err)
		}
	case <-time.After(10 * time.Second):
		p.t.Error("the peer did not end within 10 s of the end of its input")
	}
	p.check()
}

// once fails the test unless each of n messages was counted once.
func once(t *testing.T, what string, counts map[int]int, n int) {
	t.Helper()
	for i := range n {
		if counts[i] != 1 {
			t.Errorf("message %d: %s %d times", i, what, counts[i])
		}
	}
	if len(counts) != n {
		t.Errorf("%s: %d messages, want %d", what, len(counts), n)
	}
}
