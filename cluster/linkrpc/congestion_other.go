//go:build !linux

package linkrpc

import (
	"fmt"
	"syscall"
)

func congestion(name string) func(network, address string, c syscall.RawConn) error {
	if name == "" {
		return nil
	}
	return func(string, string, syscall.RawConn) error {
		return fmt.Errorf("linkrpc: congestion control %q: only Linux lets a socket choose", name)
	}
}
