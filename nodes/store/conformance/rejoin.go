package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

type rejoiner interface {
	Rejoin(what journal.Rejoin, done func(journal.Rejoined, error))
}

// rejoin: an edge with a new disk, then one that is ahead of a hub from a backup.
func rejoin(t *testing.T, h hub) {
	store, ok := h.Hub.(interface {
		Standing(edge string) (journal.Standing, error)
		ReplaceEdge(edge string) error
		MarkRestored(now time.Time) error
	})
	if !ok {
		t.Fatal("the store has not what serves edges that stand elsewhere")
	}
	standing := func(replaced string, behind, used bool) {
		t.Helper()
		st, err := store.Standing(edge)
		if err != nil || string(st.Replaced) != replaced || st.Behind != behind || st.Used != used {
			t.Errorf("standing %+v, %v; want replaced %q, behind %v, used %v", st, err, replaced, behind, used)
		}
	}
	if err := store.ReplaceEdge(edge); err == nil {
		t.Error("an edge that never was is replaced")
	}
	standing("", false, false)
	r := h.claim()
	do := func(what journal.Rejoin) journal.Rejoined {
		t.Helper()
		got, err := wait(t, func(done func(journal.Rejoined, error)) {
			r.Rings.(rejoiner).Rejoin(what, done)
		})
		h.must(err)
		return got
	}
	var ids [][]byte
	for i := range 6 {
		ids = append(ids, h.accept(down(fmt.Sprint("m", i))))
	}
	e := r.retrieve(1, 5) // m5 waits
	r.Down().Progress(sent, e[:3])
	r.Down().Progress(sent, e[4:]) // m3 was never on its way
	r.Down().Progress(confirmed, e[:3])
	r.processed(e[0], result(deferred, deferred)) // in the old edge's retry queue
	r.processed(e[1], result(processed, processed))
	h.must(waitErr(t, func(done func(error)) { h.SetInstance(edge, []byte("old"), done) }))
	h.must(store.ReplaceEdge(edge))
	standing("old", false, true)

	// Numbers that nobody can have come to are refused, and change nothing.
	refused := func(what journal.Rejoin) {
		t.Helper()
		what.Instance, what.Restored = []byte("liar"), true
		if got, err := wait(t, func(done func(journal.Rejoined, error)) { r.Rings.(rejoiner).Rejoin(what, done) }); err == nil {
			t.Errorf("%+v is taken: %+v", what, got)
		}
	}
	refused(journal.Rejoin{LastRetrieved: 6})
	refused(journal.Rejoin{Held: []journal.Held{{Seq: 1 << 63, ID: ids[0]}}})
	refused(journal.Rejoin{EventsTrimmed: 1})

	// A new disk holds nothing: what it may have submitted is in doubt, what it had
	// in its retry queue goes out again first.
	got := do(journal.Rejoin{Instance: []byte("new"), Restored: true})
	if got.Doubts != 3 || got.Requeued != 1 || got.Adopted != 0 || !slices.Equal(got.Open, []uint64{3, 4, 5}) {
		t.Errorf("new disk: %+v", got)
	}
	if i, err := h.Instance(edge); string(i) != "new" || err != nil {
		t.Errorf("instance %q, %v", i, err)
	}
	for _, i := range []int{2, 4} { // m4 may have been stored and submitted during a cut that its Confirmed was lost in
		if rec := h.record(ids[i]); rec.State != unknown || !rec.Doubled {
			t.Errorf("m%d is %v, possible duplicate %v", i, rec.State, rec.Doubled)
		}
	}
	if rec := h.record(ids[3]); rec.State != retrieved {
		t.Errorf("m3 is %v", rec.State)
	}
	if n := r.Down().Waiting(); n != 2 {
		t.Errorf("%d wait; want 2", n)
	}
	again := r.retrieve(6, 1)
	if len(again) != 1 || !bytes.Equal(again[0].Message.Id, ids[0]) {
		t.Fatalf("the first again is %v", again)
	}

	// The hub comes from a backup, and the edge is ahead: what it holds keeps its
	// address, known here or not; the rest goes back to the queue's head, in order.
	h.must(store.MarkRestored(time.Now()))
	epoch := r.Epoch()
	r = h.claim()
	if r.Epoch() <= epoch || r.Epoch() <= uint64(time.Now().Add(-time.Hour).Unix()) {
		t.Errorf("epoch %d after %d and a restore", r.Epoch(), epoch)
	}
	standing("old", true, true)
	refused(journal.Rejoin{LastRetrieved: 1<<64 - 1})
	refused(journal.Rejoin{EventsTrimmed: 1 << 62})
	standing("old", true, true)
	stranger := bytes.Repeat([]byte{9}, 16)
	got = do(journal.Rejoin{
		Instance: []byte("new"), LastRetrieved: 9, EventsTrimmed: 33,
		Held: []journal.Held{{Seq: 3, ID: ids[2]}, {Seq: 8, ID: stranger}}, Deferred: [][]byte{ids[3], ids[1]},
	})
	if got.Applied != 33 || got.Adopted != 1 || got.Requeued != 2 || !slices.Equal(got.Open, []uint64{3, 8}) || len(got.Settled) != 1 || !bytes.Equal(got.Settled[0], ids[1]) {
		t.Errorf("hub from a backup: %+v", got)
	}
	standing("old", false, true)
	if rec := h.record(ids[3]); rec.State != deferred {
		t.Errorf("m3 is %v", rec.State)
	}
	var order []string
	for _, one := range r.retrieve(10, 9) {
		order = append(order, one.Message.Text)
	}
	if want := []string{"m4", "m0", "m5"}; !slices.Equal(order, want) {
		t.Errorf("then go out %v; want %v", order, want)
	}
	s, err := r.Down().Load()
	if err != nil || s.LastRetrieved != 12 || len(s.Held) != 5 || s.Held[1].Seq != 8 || !bytes.Equal(s.Held[1].Message.Id, stranger) {
		t.Errorf("loaded %+v, %v", s, err)
	}
	r.processed(s.Held[1], &messages.Result{State: processed})

	// What an owner before has retrieved may have been sent, though it had no time to
	// write that.
	r = h.claim()
	last := h.accept(down("m6"))
	r.retrieve(13, 1)
	do(journal.Rejoin{Instance: []byte("newer"), Restored: true})
	if rec := h.record(ids[5]); rec.State != unknown || !rec.Doubled {
		t.Errorf("m5 is %v, possible duplicate %v", rec.State, rec.Doubled)
	}
	if rec := h.record(last); rec.State != retrieved || rec.Doubled {
		t.Errorf("m6 is %v, possible duplicate %v", rec.State, rec.Doubled)
	}

	// From a backup once more, by a clock that is behind. What the edge holds under another
	// number than the hub remembers has that place alone.
	h.must(store.MarkRestored(time.Now().Add(-24 * time.Hour)))
	r = h.claim()
	standing("old", true, true)
	if got := do(journal.Rejoin{Instance: []byte("newer"), LastRetrieved: 20, Held: []journal.Held{{Seq: 20, ID: last}}}); got.Adopted != 1 || !slices.Equal(got.Open, []uint64{20}) {
		t.Errorf("from a backup once more: %+v", got)
	}
	for _, one := range r.retrieve(21, 9) {
		if bytes.Equal(one.Message.Id, last) {
			t.Errorf("m6 goes out at %d, and the edge holds it at 20", one.Seq)
		}
	}
}
