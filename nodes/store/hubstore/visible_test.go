package hubstore

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/ringway-im/ringway/actors/journal"
)

// TestI5_ReadsAreDurable: while an event is being synced, nobody reads it: after a
// power cut its number would be another's.
func TestI5_ReadsAreDurable(t *testing.T) {
	var slow atomic.Bool
	release := make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if slow.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.HasSuffix(op.Path, ".log") {
			<-release
		}
		return nil
	}))
	s := open(t, Options{FS: fs})
	done := make(chan error, 2)
	s.PutUser(journal.User{Name: "ben"}, func(err error) { done <- err })
	send := func(text string) {
		s.Accept(journal.Submission{From: "anna", To: "ben", Text: text}, func(_ journal.Accepted, err error) { done <- err })
	}
	send("one")
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	check := func(want uint64) {
		t.Helper()
		last, err := s.LastEvent("ben")
		if last != want || err != nil {
			t.Errorf("last event %d, %v; want %d", last, err, want)
		}
		for what, read := range map[string]func() ([]journal.UserEvent, error){
			"events":  func() ([]journal.UserEvent, error) { return s.Events("ben", 0, 9) },
			"inbox":   func() ([]journal.UserEvent, error) { return s.Inbox("ben", 0, 9) },
			"pending": func() ([]journal.UserEvent, error) { return s.Pending("ben", "", 0, 9) },
		} {
			if ev, err := read(); len(ev) != int(want) || err != nil {
				t.Errorf("%s: %d, %v; want %d", what, len(ev), err, want)
			}
		}
	}
	check(1)
	slow.Store(true)
	send("two")
	for deadline := time.Now().Add(10 * time.Second); ; { // until Pebble shows it
		_, ok, err := s.db.Get(keyOf('i', "ben").number(2))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the event does not appear: %v", err)
		}
		if ok {
			break
		}
	}
	check(1)
	slow.Store(false)
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	check(2)
}
