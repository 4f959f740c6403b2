package pgtest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// attributes have the server end with the test program, however that ends.
func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
}

// keep starts the server and waits for it, on a thread that lives as long: Linux
// sends the death signal when the starting thread ends.
func (s *Server) keep(c *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	defer close(ended)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.Start()
	started <- err
	if err == nil {
		_ = c.Wait()
	}
}
