package pgtest

import (
	"os/exec"
	"runtime"
)

// keep starts the server and waits for it, on a thread that lives as long: Linux
// sends the death signal when the starting thread ends.
func (s *Server) keep(c *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.Start()
	started <- err
	if err == nil {
		_ = c.Wait()
	}
}
