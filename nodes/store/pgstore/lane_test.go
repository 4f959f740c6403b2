package pgstore

import (
	"testing"
	"time"
)

// Whose patience is at an end is refused with all that he sent after: none of it may
// overtake what he sends again. Nobody else is.
func TestLateSender(t *testing.T) {
	now := time.Now()
	late, soon := now.Add(-time.Millisecond), now.Add(time.Second)
	l := &lane{s: &Store{}}
	l.doing = []*op{{from: "bob", until: soon}, {from: "ann", until: late}}
	l.waiting = []*op{{from: "bob", until: soon}, {until: soon}, {from: "ann", until: soon}, {}}
	l.expire(now)
	for i, want := range []bool{false, true, false, false, true, false} {
		if got := append(l.doing, l.waiting...)[i].answered.Load(); got != want {
			t.Errorf("write %d is answered: %v, want %v", i, got, want)
		}
	}
}
