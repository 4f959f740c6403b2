//go:build !linux

package simulator

import "time"

// alarm is a one-shot timer, as exact as the runtime's.
type alarm struct {
	C     chan struct{} // capacity 1
	timer *time.Timer
}

func newAlarm() (*alarm, error) {
	a := &alarm{C: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(time.Hour, func() {
		select {
		case a.C <- struct{}{}:
		default:
		}
	})
	return a, nil
}

// set replaces what was set before. Not after close.
func (a *alarm) set(after time.Duration) { a.timer.Reset(after) }

func (a *alarm) close() { a.timer.Stop() }
