package conformance

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// How long the stores that Run is given keep what is settled.
const (
	KeepMessages = 30 * 24 * time.Hour
	KeepEvents   = 60 * 24 * time.Hour
)

// onlyNames: a text that only says whom the kept ones are for is at its end with
// that. It never goes back down, not even to an edge with a new disk.
func onlyNames(t *testing.T, h hub) {
	h.putUsers("anna")
	r := h.claim()
	first, only := up(1, "first"), up(2, "@anna")
	r.keep(first)
	r.deliver(1, journal.Delivery{Message: first.Message, Keep: true})
	r.keep(only)
	d := journal.Delivery{Message: only.Message, User: "anna", Only: true, Release: []string{hex.EncodeToString(first.Message.Id)}}
	r.deliver(2, d)
	r.deliver(2, d)
	h.checkEvents("anna", "first")
	h.check(only.Message.Id, processed, processed)
	got, err := wait(t, func(done func(journal.Rejoined, error)) {
		r.Rings.(rejoiner).Rejoin(journal.Rejoin{Instance: []byte("new"), Restored: true}, done)
	})
	if err != nil || got.Doubts != 0 || got.Requeued != 0 || r.Down().Waiting() != 0 {
		t.Errorf("a new disk: %+v, %v, %d wait; want none in doubt and none to go out", got, err, r.Down().Waiting())
	}
	if e := r.retrieve(1, 9); len(e) != 0 {
		t.Errorf("goes out: %v", e)
	}
	h.check(only.Message.Id, processed, processed)
}

func sweep(t *testing.T, h hub) {
	store, ok := h.Hub.(interface {
		Sweep(now time.Time, most int) (int, error)
	})
	if !ok {
		t.Fatal("the store forgets nothing")
	}
	h.putUsers("anna", "ben")
	r := h.claim()
	type named struct {
		name string
		id   []byte
	}
	var all []named
	write := func(name string, s journal.Submission) []byte {
		s.Ref = name
		id := h.accept(s)
		all = append(all, named{name, id})
		return id
	}
	results := []messages.State{processed, unknown, failed, deferred}
	for _, state := range results {
		write(state.String(), down("x"))
	}
	ahead := write("receipt ahead of its result", down("x"))
	write("in the ring", down("x"))
	write("in the queue", down("x"))
	e := r.retrieve(1, 6)
	for i, state := range results {
		r.processed(e[i], result(state))
	}
	r.apply(1, receipt(1, ahead, 0, 1, delivered))
	taken := write("taken", journal.Submission{From: "anna", To: "ben", Text: "taken"})
	write("not taken", journal.Submission{From: "anna", To: "ben", Text: "not taken"})
	h.received("ben", "", taken)
	kept, only := up(1, "kept"), up(2, "@ben")
	r.keep(kept)
	r.deliver(1, journal.Delivery{Message: kept.Message, Keep: true})
	r.keep(only)
	r.deliver(2, journal.Delivery{Message: only.Message, User: "ben", Only: true})
	all = append(all, named{"kept", kept.Message.Id}, named{"only names", only.Message.Id})
	states := len(h.events("anna"))

	begun := time.Now()
	gone := map[string]bool{}
	after := func(d time.Duration, now ...string) {
		t.Helper()
		for n, calls := 3, 0; n >= 3; calls++ { // few at a time: what is left comes with the next call
			var err error
			if n, err = store.Sweep(begun.Add(d), 3); err != nil || calls > 100 {
				t.Fatalf("after %v, call %d: %d, %v", d, calls, n, err)
			}
		}
		for _, name := range now {
			gone[name] = true
		}
		for _, m := range all {
			if _, there, err := h.Message(m.id); err != nil || there == gone[m.name] {
				t.Errorf("after %v: %s: there %v, %v", d, m.name, there, err)
			}
		}
	}
	after(KeepMessages - time.Hour)
	if n := len(h.events("ben")); n != 2 {
		t.Errorf("ben has %d events; want 2", n)
	}
	after(KeepMessages+time.Minute, "PROCESSED", "UNKNOWN", "FAILED", "taken", "only names")
	if n := len(h.events("anna")); n != states {
		t.Errorf("anna has %d events; want %d, which are kept longer", n, states)
	}
	if _, there, err := h.MessageByRef("anna", "taken"); there || err != nil {
		t.Errorf("the ref outlives its message: %v", err)
	}
	ev, err := h.Inbox("ben", 0, 9)
	if got := texts(t, ev, err); got != "not taken" {
		t.Errorf("inbox %q", got)
	}
	write("again", journal.Submission{From: "ben", To: "anna", Text: "again"})
	h.accept(journal.Submission{From: "anna", To: "ben", Text: "new", Ref: "taken"}) // its ref is free

	// The answer comes at last: the message waited for it, and then its time again.
	r.processed(e[4], result(processed))
	after(2*KeepMessages - time.Hour)
	after(KeepEvents+2*time.Hour, "receipt ahead of its result")
	numbers := func(user, want string) {
		t.Helper()
		ev, err := h.Events(user, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range ev {
			got += fmt.Sprint(e.Number, " ")
		}
		if got != want {
			t.Errorf("%s has events %s; want %s", user, got, want)
		}
	}
	numbers("anna", fmt.Sprintf("%d ", states+1)) // not taken
	numbers("ben", "2 4 ")
	for user, want := range map[string]uint64{"anna": uint64(states) + 2, "ben": 4} {
		if last, err := h.LastEvent(user); last != want || err != nil {
			t.Errorf("last event of %s is %d, %v; want %d", user, last, err, want)
		}
	}
	h.accept(journal.Submission{From: "anna", To: "ben", Text: "next"})
	numbers("ben", "2 4 5 ")
	if e := r.retrieve(7, 9); len(e) != 1 || e[0].Message.Text != "x" {
		t.Errorf("in the queue: %v", e)
	}
}
