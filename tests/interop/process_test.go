package interop

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// program returns the path of the first of these names that is installed, or
// skips the test and names the Debian package.
func program(t *testing.T, debian string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	need.Lack(t, "it needs the program %s: install it (Debian: apt-get install --no-install-recommends %s)", names[0], debian)
	return ""
}

// process is one that the test has started.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	ended  chan error
	output *bytes.Buffer
	once   sync.Once
}

// run starts a program that ends with the test, at the latest.
func run(t *testing.T, dir, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), ended: make(chan error, 1), output: &bytes.Buffer{}}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			out := strings.Split(p.output.String(), "\n")
			t.Logf("%s said at the end:\n%s", filepath.Base(name), strings.Join(out[max(0, len(out)-30):], "\n"))
		}
	})
	return p
}

// stop asks the program to end, and kills it when it does not within 10 s.
func (p *process) stop() {
	p.t.Helper()
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.ended
			p.t.Logf("%s did not end within 10 s of SIGTERM", p.cmd.Path)
		}
	})
}
