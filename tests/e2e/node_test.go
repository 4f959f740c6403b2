package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/port"
)

var built struct {
	dir  string
	once sync.Once
	err  error
}

func TestMain(m *testing.M) {
	var err error
	if built.dir, err = os.MkdirTemp("", "ringway-e2e-"); err != nil {
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(built.dir)
	os.Exit(status)
}

// binary builds ringway, once, and returns its path.
func binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(built.dir, "ringway")
	built.once.Do(func() {
		build := exec.Command("go", "build", "-o", path, "../../nodes/ringway")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, output)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return path
}

// node is a process of the binary.
type node struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu    sync.Mutex
	lines []string // of stderr
	gone  bool     // killed on purpose
}

// launch starts the binary. It is killed at the test's end unless it has ended.
func launch(t testing.TB, args ...string) *node {
	t.Helper()
	return launchAs(t, nil, args...)
}

// launchAs has a program start the binary, one that becomes it.
func launchAs(t testing.TB, by []string, args ...string) *node {
	t.Helper()
	n := &node{t: t, name: strings.Join(args[:min(len(args), 3)], " "), done: make(chan struct{})}
	command := append(slices.Clone(by), append([]string{binary(t)}, args...)...)
	n.cmd = exec.Command(command[0], command[1:]...)
	stderr, err := n.cmd.StderrPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.done)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			n.mu.Lock()
			n.lines = append(n.lines, lines.Text())
			n.mu.Unlock()
		}
		_ = n.cmd.Wait()
	}()
	t.Cleanup(func() {
		gone := n.gone
		n.kill()
		if t.Failed() && !gone {
			lines := n.log()
			t.Logf("%s said last:\n%s", n.name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	})
	return n
}

func (n *node) log() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lines[:len(n.lines):len(n.lines)]
}

// ended says whether the process is gone.
func (n *node) ended() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// ready waits for the log line that says so; every line must be JSON.
func (n *node) ready() *node {
	n.t.Helper()
	missing := await(n.t.Context(), 2*time.Minute, func() string {
		for _, line := range n.log() {
			var entry struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				n.t.Fatalf("%s: a log line is no JSON: %s", n.name, line)
			}
			if entry.Msg == "ready" {
				return ""
			}
		}
		if n.ended() {
			n.t.Fatalf("%s ended with status %d: %s", n.name, n.status(), strings.Join(n.log(), "\n"))
		}
		return n.name + " is not ready"
	})
	if missing != "" {
		_ = n.cmd.Process.Signal(syscall.SIGQUIT) // it says where it hangs
		select {
		case <-n.done:
		case <-time.After(5 * time.Second):
		}
		n.t.Fatalf("%s:\n%s", missing, strings.Join(n.log(), "\n"))
	}
	return n
}

// says waits until a line of the log has all of the words.
func (n *node) says(limit time.Duration, words ...string) {
	n.t.Helper()
	eventually(n.t, limit, func() string {
	lines:
		for _, line := range n.log() {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return ""
		}
		return fmt.Sprintf("%s never said %q:\n%s", n.name, words, strings.Join(n.log(), "\n"))
	})
}

// ends waits until the process has, and returns its status and what it said.
func (n *node) ends(limit time.Duration) (status int, said string) {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(limit):
		n.t.Fatalf("%s has not ended within %v", n.name, limit)
	}
	return n.status(), strings.Join(n.log(), "\n")
}

func (n *node) status() int { return n.cmd.ProcessState.ExitCode() }

// stop ends it as an operator would: status 0 within 10 s.
func (n *node) stop() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
	if status, said := n.ends(10 * time.Second); status != 0 {
		n.t.Errorf("%s: status %d after SIGTERM: %s", n.name, status, said)
	}
}

func (n *node) kill() {
	n.gone = true
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Error(err)
	}
	<-n.done
}

// pid of the process.
func (n *node) pid() int { return n.cmd.Process.Pid }

// command runs the binary to its end.
func command(t testing.TB, args ...string) (status int, said string) {
	t.Helper()
	output, err := exec.Command(binary(t), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	return status, string(output)
}

// address is one that nobody else takes, also while a node is away.
func address(t testing.TB) string {
	t.Helper()
	return port.Address(t)
}

// site is a folder with configuration and certificates for a hub and its edges,
// made with the binary's own commands.
type site struct {
	t             testing.TB
	dir           string
	hubHTTP, link string // where the hub listens
	via           string // where edges dial; empty: link
	edges         []*siteEdge
	certificate   string // the hub's
	extras        string // of the hub's configuration

	inHub inside // where the hub runs
}

// inside is a place with a network of its own; the zero value is here.
type inside struct {
	by     []string     // starts a program there
	client *http.Client // reaches it
}

type siteEdge struct {
	id, prefix, number, protocol   string
	smscAt, smscHTTP, http, extras string
	tapAt                          string // where the edge reaches the SMSC, if not at smscAt
	sessions                       int    // 0: one
	local                          bool
	in                             inside // where it runs
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), hubHTTP: address(t), link: address(t), certificate: "hub-1"}
	s.pki("init", s.path("pki"))
	s.pki("hub", s.path("pki"), "hub-1")
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) pki(args ...string) {
	s.t.Helper()
	if status, said := command(s.t, append([]string{"pki"}, args...)...); status != 0 {
		s.t.Fatalf("ringway pki %v: %d %s", args, status, said)
	}
}

// edge adds an edge with an SMSC of its own.
func (s *site) edge(id, prefix, protocol string, local bool) *siteEdge {
	s.t.Helper()
	e := &siteEdge{
		id: id, prefix: prefix, number: prefix[1:] + "000", protocol: protocol,
		smscAt: address(s.t), smscHTTP: address(s.t), http: address(s.t), local: local,
	}
	s.edges = append(s.edges, e)
	if !local {
		s.pki("edge", s.path("pki"), id)
	}
	s.write(id+".yaml", s.edgeYAML(e))
	return e
}

// rewrite writes an edge's file anew after a change.
func (s *site) rewrite(e *siteEdge) { s.write(e.id+".yaml", s.edgeYAML(e)) }

func (s *site) edgeYAML(e *siteEdge) string {
	yaml := fmt.Sprintf("id: %s\ndata_dir: ./%s-data\nsmsc:\n  name: %s\n  protocol: %s\n  binds:\n    - {address: %q, user: ringway, password: secret, sessions: %d}\n%s",
		e.id, e.id, e.id, e.protocol, cmp.Or(e.tapAt, e.smscAt), max(e.sessions, 1), e.extras)
	if !e.local {
		yaml += fmt.Sprintf("hubs: [%q]\nlink:\n  tls: {cert: pki/%s.crt, key: pki/%s.key, ca: pki/ca.crt}\nhttp: {listen: %q}\n", cmp.Or(s.via, s.link), e.id, e.id, e.http)
	}
	return yaml
}

func (s *site) hubYAML() string {
	yaml := fmt.Sprintf("data_dir: ./hub-data\nhttp: {listen: %q}\nlink:\n  listen: %q\n  tls: {cert: pki/%s.crt, key: pki/%[3]s.key, ca: pki/ca.crt}\nlimits: {login_per_minute: 100000}\n%[4]sedges:\n", s.hubHTTP, s.link, s.certificate, s.extras)
	for _, e := range s.edges {
		yaml += fmt.Sprintf("  - id: %s\n    prefixes: [%q]\n    number: %q\n", e.id, e.prefix, e.number)
		if e.local {
			yaml += fmt.Sprintf("    local: %s.yaml\n", e.id)
		}
	}
	return yaml
}

func (s *site) write(name, content string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

func (s *site) launchHub() *node {
	s.t.Helper()
	return launchAs(s.t, s.inHub.by, "hub", "--config", s.write("hub.yaml", s.hubYAML()))
}

func (s *site) launchEdge(e *siteEdge) *node {
	s.t.Helper()
	return launchAs(s.t, e.in.by, "edge", "--config", s.path(e.id+".yaml"))
}

func (s *site) launchSMSC(e *siteEdge, args ...string) *node {
	s.t.Helper()
	return launch(s.t, append([]string{"smsc", "--" + e.protocol, e.smscAt, "--http", e.smscHTTP}, args...)...)
}

// admin is the hub's interface with the administrator's token.
func (s *site) admin() api {
	s.t.Helper()
	token, err := os.ReadFile(s.path("admin.token"))
	if err != nil {
		s.t.Fatal(err)
	}
	return api{t: s.t, base: "http://" + s.hubHTTP, token: strings.TrimSpace(string(token)), client: s.inHub.client}
}

func (e *siteEdge) smsc(t testing.TB) smscAPI {
	return smscAPI{api{t: t, base: "http://" + e.smscHTTP}}
}

func (e *siteEdge) api(t testing.TB) api {
	return api{t: t, base: "http://" + e.http, client: e.in.client}
}

// isReady waits until a node says so over HTTP.
func isReady(a api, limit time.Duration) {
	a.t.Helper()
	eventually(a.t, limit, func() string {
		status, _, err := a.try(a.t.Context(), "GET", "/readyz", nil, nil)
		if status == http.StatusOK {
			return ""
		}
		return fmt.Sprint(err)
	})
}
