package simulator

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a one-shot timer that wakes some 100 µs late, as long as it takes
// to wake a goroutine: the runtime's own timers come up to a millisecond late in
// an idle process, as long as a whole message takes.
type alarm struct {
	C    chan struct{} // capacity 1
	fd   int
	file *os.File
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("simulator: timerfd: %w", err)
	}
	a := &alarm{C: make(chan struct{}, 1), fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
	go func() {
		var count [8]byte
		for {
			if _, err := a.file.Read(count[:]); err != nil {
				return // closed
			}
			select {
			case a.C <- struct{}{}:
			default:
			}
		}
	}()
	return a, nil
}

// set replaces what was set before. Not after close.
func (a *alarm) set(after time.Duration) {
	// It fails only for a bad descriptor or time.
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(after, 1)))}, nil)
}

func (a *alarm) close() { _ = a.file.Close() }
