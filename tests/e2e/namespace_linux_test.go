package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringway-im/ringway/tests/need"
)

// network is a WAN between two network namespaces, hub and edge, where TCP meets
// lost packets: tests/wanem carries them.
type network struct {
	t             testing.TB
	program, name string
	control       *http.Client
}

// newNetwork needs root. It ends with the test.
func newNetwork(t testing.TB, rtt time.Duration, loss string, seed uint64) *network {
	t.Helper()
	need.Root(t)
	control := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/run/wanem/e2e%d.sock", os.Getpid()))
	}
	n := &network{t: t, control: &http.Client{Transport: &http.Transport{DialContext: control}}, program: filepath.Join(built.dir, "wanem"), name: fmt.Sprintf("e2e%d", os.Getpid())}
	if output, err := exec.Command("go", "build", "-o", n.program, "../wanem").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	n.order("start", "--hosts", "hub,edge", "--seed", fmt.Sprint(seed), "--rtt", rtt.String(), "--loss", loss)
	t.Cleanup(func() { n.order("stop") })
	return n
}

func (n *network) order(command string, args ...string) string {
	n.t.Helper()
	output, err := exec.Command(n.program, append([]string{command, "--name", n.name}, args...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("wanem %s: %v: %s", command, err, output)
	}
	return string(output)
}

func (n *network) cut()     { n.call("POST", "/down", nil) }
func (n *network) restore() { n.call("POST", "/up", nil) }

// call is an order without the time that a process takes.
func (n *network) call(method, path string, into any) {
	n.t.Helper()
	api{t: n.t, base: "http://wanem", client: n.control}.call(method, path, nil, into)
}

// connections are the other ends of what is connected to the hub's link, those
// included that have only begun.
func (n *network) connections(hub *node) map[string]bool {
	n.t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", hub.pid()))
	if err != nil {
		n.t.Fatal(err)
	}
	ends := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", linkPort)) {
			ends[f[2]] = true
		}
	}
	return ends
}

const linkPort = 7443 // in namespaces

// address of a host, hub or edge.
func (n *network) address(host string) string {
	return map[string]string{"hub": "10.77.1.1", "edge": "10.77.2.1"}[host]
}

// inside returns how to start programs at a host and how to reach them.
func (n *network) inside(host string) inside {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = n.within(host, func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return inside{
		by:     []string{n.program, "exec", "--name", n.name, host},
		client: &http.Client{Timeout: httpClient.Timeout, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64}},
	}
}

// listen opens a listener at a host.
func (n *network) listen(host, address string) (l net.Listener, err error) {
	err = n.within(host, func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// within does something on a thread of its own at a host. What is opened there
// stays there; the thread ends with the goroutine, because it is never unlocked.
func (n *network) within(host string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			file, err := os.Open("/run/netns/" + n.name + "-" + host)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace %s: %w", host, err)
			}
			return do()
		}()
	}()
	return <-done
}

// mountSmall mounts a file system in memory.
func mountSmall(dir, options string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, options) }

func unmount(dir string) { _ = unix.Unmount(dir, unix.MNT_DETACH) }

// fillUp makes a file grow until so many octets are free, whoever else writes there.
func fillUp(name string, leave int64) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	for tries := 0; err == nil; {
		var usage unix.Statfs_t
		if err := unix.Fstatfs(int(file.Fd()), &usage); err != nil {
			return err
		}
		more := min(int64(usage.Bavail)*usage.Bsize-leave, 16<<20) >> tries
		if more <= 0 {
			return nil
		}
		switch err := unix.Fallocate(int(file.Fd()), 0, size, more); {
		case err == nil:
			size, tries = size+more, 0
		case errors.Is(err, unix.ENOSPC): // another was faster
			tries++
		default:
			return err
		}
	}
	return err
}
