//go:build unix

package conn

import (
	"net"
	"syscall"
)

// direct returns a function that writes what a socket takes at once, and says
// how much: less when the peer does not read, or on an error, which the next
// write meets as well. Nil: the socket cannot be asked (TLS, a pipe).
func direct(socket net.Conn) func(octets []byte) int {
	s, ok := socket.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	var octets []byte
	var written int
	try := func(fd uintptr) bool {
		written, _ = syscall.Write(int(fd), octets)
		return true // do not wait until more can be written
	}
	return func(b []byte) int {
		octets, written = b, 0
		if raw.Write(try) != nil {
			return 0
		}
		return max(written, 0)
	}
}
