//go:build unix && !linux

package pgtest

import (
	"os/exec"
	"syscall"
)

func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as}
}

// keep starts the server and waits for it.
func (s *Server) keep(c *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	defer close(ended)
	err := c.Start()
	started <- err
	if err == nil {
		_ = c.Wait()
	}
}
