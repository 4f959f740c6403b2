package session

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringway-im/ringway/smsc"
)

// Whatever is set, stopped and set anew: what rings is what was set last, at its
// time and in order.
func TestAlarms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a alarms
		var clock []time.Time // it rings at
		want := map[string]alarm{}
		now := time.Unix(1000, 0)
		wind := func(ring time.Time) {
			if !ring.IsZero() {
				clock = append(clock, ring)
			}
		}
		for seq := range uint64(rapid.IntRange(1, 60).Draw(t, "steps")) {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
			switch rapid.IntRange(0, 2).Draw(t, "do") {
			case 0:
				at := now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "after")) * time.Second)
				want[name] = alarm{smsc.Timer{Name: name, Seq: seq}, at}
				wind(a.add(want[name].timer, at))
			case 1:
				delete(want, name)
				a.stop(name)
			case 2: // time goes on to the clock's next ring
				if len(clock) == 0 {
					if len(want) > 0 {
						t.Fatalf("%v are set and nothing rings", want)
					}
					continue
				}
				slices.SortFunc(clock, time.Time.Compare)
				at := clock[0]
				clock = clock[1:]
				now = at
				due, ring := a.rang(at, now)
				wind(ring)
				last := time.Time{}
				for _, timer := range due {
					w, ok := want[timer.Name]
					if !ok || w.timer != timer || !w.at.Equal(now) || w.at.Before(last) {
						t.Fatalf("%v is due at %v, want %v", timer, now, w)
					}
					last = w.at
					delete(want, timer.Name)
				}
				for name, w := range want {
					if !w.at.After(now) {
						t.Fatalf("%s was due at %v, now is %v", name, w.at, now)
					}
				}
			}
		}
	})
}
