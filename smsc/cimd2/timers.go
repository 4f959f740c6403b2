package cimd2

import (
	"fmt"
	"slices"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Timers. A response's is named for its request's number: "response 003".
const (
	loginTimer  = "login"
	idleTimer   = "idle"
	logoutTimer = "logout"
	pollTimer   = "poll"
	aliveTimer  = "alive"
)

var responseTimers = func() (names [256]string) {
	for n := range names {
		names[n] = fmt.Sprintf("%s%03d", responsePrefix, n)
	}
	return names
}()

const responsePrefix = "response "

// stopResponse are the effects that stop them, made once.
var stopResponse = func() (effects [256]smsc.Effect) {
	for n, name := range responseTimers {
		effects[n] = smsc.StopTimer{Name: name}
	}
	return effects
}()

// timers holds which of each name is the latest; 0: none runs.
type timers struct {
	seq       uint64
	latest    [5]uint64
	responses [256]uint64
	effects   smsc.Effects
}

func (t *timers) of(name string) *uint64 {
	switch name {
	case loginTimer:
		return &t.latest[0]
	case idleTimer:
		return &t.latest[1]
	case logoutTimer:
		return &t.latest[2]
	case pollTimer:
		return &t.latest[3]
	case aliveTimer:
		return &t.latest[4]
	}
	n, _ := responseNumber(name)
	return &t.responses[n]
}

// responseNumber is the number of a response's timer.
func responseNumber(name string) (n int, ok bool) {
	if len(name) != len(responsePrefix)+3 || name[:len(responsePrefix)] != responsePrefix {
		return 0, false
	}
	for _, c := range []byte(name[len(responsePrefix):]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n < 256
}

func (t *timers) set(name string, after time.Duration, do []smsc.Effect) []smsc.Effect {
	return t.start(t.of(name), name, after, do)
}

// setResponse sets the timer of the response to request n.
func (t *timers) setResponse(n uint8, after time.Duration, do []smsc.Effect) []smsc.Effect {
	return t.start(&t.responses[n], responseTimers[n], after, do)
}

func (t *timers) start(latest *uint64, name string, after time.Duration, do []smsc.Effect) []smsc.Effect {
	if after <= 0 {
		return do
	}
	t.seq++
	*latest = t.seq
	return append(do, t.effects.SetTimer(smsc.Timer{Name: name, Seq: t.seq}, after))
}

func (t *timers) stop(name string, do []smsc.Effect) []smsc.Effect {
	if !t.runs(name) {
		return do
	}
	*t.of(name) = 0
	return append(do, smsc.StopTimer{Name: name})
}

// stopResponse stops the timer of the response to request n.
func (t *timers) stopResponse(n uint8, do []smsc.Effect) []smsc.Effect {
	if t.responses[n] == 0 {
		return do
	}
	t.responses[n] = 0
	return append(do, stopResponse[n])
}

func (t *timers) runs(name string) bool { return *t.of(name) != 0 }

// due reports whether timer is the latest of its name, and forgets it.
func (t *timers) due(timer smsc.Timer) bool {
	if _, ok := responseNumber(timer.Name); !ok && !slices.Contains([]string{loginTimer, idleTimer, logoutTimer, pollTimer, aliveTimer}, timer.Name) {
		return false // none of ours
	}
	latest := t.of(timer.Name)
	if *latest == 0 || *latest != timer.Seq {
		return false
	}
	*latest = 0
	return true
}
