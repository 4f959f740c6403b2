package linkrpc

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// congestion asks the kernel for a congestion control algorithm on a socket
// before it connects or listens; accepted sockets inherit the listener's.
func congestion(name string) func(network, address string, c syscall.RawConn) error {
	if name == "" {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		}); e != nil {
			return e
		}
		if err != nil {
			return fmt.Errorf("linkrpc: congestion control %q: %w (see /proc/sys/net/ipv4/tcp_available_congestion_control)", name, err)
		}
		return nil
	}
}
