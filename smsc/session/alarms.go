package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// alarms are the timers that a machine has set, by name. Nearly all are stopped
// or set anew before they are due, so the session keeps one clock for all, which
// may ring too early and never too late: setting one costs a line in a map.
type alarms struct {
	set   map[string]alarm
	rings time.Time // when the clock does; zero: it does not
}

type alarm struct {
	timer smsc.Timer
	at    time.Time
}

// add returns when the clock has to ring, if not before; zero: it does.
func (a *alarms) add(timer smsc.Timer, at time.Time) (ring time.Time) {
	if a.set == nil {
		a.set = map[string]alarm{}
	}
	a.set[timer.Name] = alarm{timer, at}
	return a.wind(at)
}

func (a *alarms) stop(name string) { delete(a.set, name) }

// rang returns what is due, in order, and when the clock has to ring next; zero:
// not, or it does already.
func (a *alarms) rang(at, now time.Time) (due []smsc.Timer, ring time.Time) {
	if a.rings.Equal(at) {
		a.rings = time.Time{}
	}
	var over []alarm
	var next time.Time
	for name, each := range a.set {
		switch {
		case !each.at.After(now):
			over = append(over, each)
			delete(a.set, name)
		case next.IsZero() || each.at.Before(next):
			next = each.at
		}
	}
	slices.SortFunc(over, func(x, y alarm) int { return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.timer.Name, y.timer.Name)) })
	for _, each := range over {
		due = append(due, each.timer)
	}
	if !next.IsZero() {
		ring = a.wind(next)
	}
	return due, ring
}

func (a *alarms) wind(at time.Time) (ring time.Time) {
	if !a.rings.IsZero() && !at.Before(a.rings) {
		return time.Time{}
	}
	a.rings = at
	return at
}
