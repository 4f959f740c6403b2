//go:build !linux

package e2e

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// network needs Linux, as disks to fill do.
type network struct{}

func newNetwork(t testing.TB, _ time.Duration, _ string, _ uint64) *network {
	t.Helper()
	need.Lack(t, "it needs the network namespaces of Linux")
	return nil
}

func (*network) cut()                                        {}
func (*network) restore()                                    {}
func (*network) address(string) string                       { return "" }
func (*network) inside(string) inside                        { return inside{} }
func (*network) listen(string, string) (net.Listener, error) { return nil, errLinux }
func (*network) connections(*node) map[string]bool           { return nil }

const linkPort = 0

var errLinux = errors.New("e2e: only on Linux")

func mountSmall(string, string) error { return errLinux }
func unmount(string)                  {}
func fillUp(string, int64) error      { return errLinux }
