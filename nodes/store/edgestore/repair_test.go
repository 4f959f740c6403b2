package edgestore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/nodes/store/kv/kvtest"
)

// worked fills a journal with some of everything and returns the texts that it holds on
// the way up, in their order.
func worked(t *testing.T, fsys vfs.FS, dir string) (up []string) {
	t.Helper()
	s, err := Open(Options{KV: kv.Options{Dir: dir, FS: fsys, Node: "edge/manila-1"}})
	if err != nil {
		t.Fatal(err)
	}
	id := func(kind string, i int) []byte { return fmt.Appendf(nil, "%s-%013d", kind, i) }
	must(t, func(done func(error)) { s.SetHighestEpoch(7, []byte("owner"), done) })
	at := time.Now()
	must := func(t *testing.T, write func(done func(error))) { // Close waits for them all
		t.Helper()
		write(func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	for i := uint64(1); i <= 40; i++ {
		m := &messages.Message{Id: id("dn", int(i)), To: "63917", Text: strings.Repeat("down ", 20)}
		must(t, func(done func(error)) { s.Down().Keep(journal.Entry{Seq: i, Message: m}, done) })
		task := &journal.Task{Seq: i, ID: m.Id, Attempts: 1, Intent: "s1", Message: m}
		step := journal.OutletStep{Tasks: []*journal.Task{task}}
		switch i % 4 {
		case 1:
			deferred := *task
			deferred.Deferred, deferred.Intent = true, ""
			step = journal.OutletStep{
				Defer: []*journal.Task{&deferred}, Results: []journal.SlotResult{{Seq: i, Result: &messages.Result{State: messages.State_DEFERRED}}},
				Events: []*messages.Event{{Id: m.Id, What: &messages.Event_Doubt{Doubt: &messages.Doubt{}}}},
			}
		case 2:
			step = journal.OutletStep{
				Ended: []*journal.Task{task}, Results: []journal.SlotResult{{Seq: i, Result: &messages.Result{State: messages.State_PROCESSED}}},
				Sent: []journal.Sent{{SMSC: "globe", SMSCID: fmt.Sprint("n", i), ID: m.Id, Parts: 1, At: at, Until: at.Add(time.Hour)}},
			}
		}
		must(t, func(done func(error)) { s.Record(step, done) })
		must(t, func(done func(error)) {
			r := journal.Report{SMSC: "globe", SMSCID: fmt.Sprint("early", i), State: messages.State_DELIVERED, At: at, Until: at.Add(time.Hour), MaxParked: 100}
			s.Report(r, func(_ journal.Reported, err error) { done(err) })
		})
	}
	for i := range 300 {
		m := &messages.Message{Id: id("up", i), From: fmt.Sprint("6391700", i%5), To: "4242", Text: fmt.Sprint("up ", i, strings.Repeat(" word", 10))}
		up = append(up, m.Text)
		must(t, func(done func(error)) {
			s.Receive(journal.Intake{Messages: []*messages.Message{m}, Put: map[string][]byte{"last/s1": fmt.Appendf(nil, "[%d]", i)}}, done)
		})
		if i == 150 { // 30 of them are with the hub
			held, err := retrieve(t, s, 1, 60)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range held[:30] {
				must(t, func(done func(error)) { s.Up().Processed(e, nil, done) })
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return up[30:]
}

// A journal of which octets are damaged goes on with all that can be read: what it
// holds fits together, nothing is there twice or in another order, and what is missing
// is said to be.
func TestRepair(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fsys := vfs.NewMem()
	up := worked(t, fsys, "whole")
	into := func(dir string) kv.Options { return kv.Options{Dir: dir, FS: fsys, Node: "edge/manila-1"} }
	if _, err := repair(into("new"), "whole"); !errors.Is(err, kv.ErrSound) {
		t.Errorf("without damage: %v", err)
	}
	names, err := fsys.List("whole")
	if err != nil {
		t.Fatal(err)
	}
	tables := slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") })
	anew, sound, kept := 0, 0, 0
	for i := range 60 {
		damaged, dir := fmt.Sprint("damaged", i), fmt.Sprint("data", i)
		if _, err := vfs.Clone(fsys, fsys, "whole", damaged); err != nil {
			t.Fatal(err)
		}
		kvtest.Flip(t, fsys, fsys.PathJoin(damaged, tables[random.IntN(len(tables))]), 1+i%3, random)
		r, err := repair(into(dir), damaged)
		if errors.Is(err, kv.ErrSound) {
			sound++
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if r.Anew {
			anew++
		}
		kept += goesOn(t, fsys, dir, up, r)
	}
	all := (60 - sound) * len(up)
	t.Logf("%d sound, %d anew; %d of %d texts kept", sound, anew, kept, all)
	if anew == 0 || anew > 50 || kept < all/3 {
		t.Errorf("%d sound, %d anew; %d of %d texts kept", sound, anew, kept, all)
	}
}

// Records that are missing amid others leave no gap that those stumble over.
func TestRepairClosesGaps(t *testing.T) {
	fsys := vfs.NewMem()
	up := worked(t, fsys, "edge")
	opts := kv.Options{Dir: "edge", FS: fsys, Node: "edge/manila-1"}
	db, err := kv.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	id := func(i int) []byte { return fmt.Appendf(nil, "dn-%013d", i) }
	var b kv.Batch
	for _, key := range [][]byte{
		numbered('q', 100), numbered('q', 101), numbered('q', 200), numbered('u', 40),
		numbered('e', 1), numbered('e', 5), numbered('e', 6),
		named('t', id(1)), named('k', id(5)), numbered('d', 3), numbered('d', 2),
	} {
		if _, found, err := db.Get(key); err != nil || !found {
			t.Fatalf("%q: %v, %v", key, found, err)
		}
		b.Delete(key)
	}
	if err := errors.Join(db.Wait(func(done func(error)) { db.Commit(&b, done) }), db.Close()); err != nil {
		t.Fatal(err)
	}
	anywhere := []kv.Loss{{File: "test"}}
	anew, _, err := mend(opts, anywhere)
	if err != nil || anew {
		t.Fatal(anew, err)
	}
	s, err := Open(Options{KV: opts})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.MarkRestored(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if kept := goesOn(t, fsys, "edge", up, Repaired{Lost: anywhere}); kept != len(up)-4 {
		t.Errorf("%d of %d texts are there; want all but four", kept, len(up))
	}
}

// goesOn opens a repaired journal and takes everything out of it.
func goesOn(t *testing.T, fsys vfs.FS, dir string, up []string, r Repaired) (kept int) {
	t.Helper()
	lost := r.Lost
	s, err := Open(Options{KV: kv.Options{Dir: dir, FS: fsys, Node: "edge/manila-1"}})
	if err != nil {
		t.Fatalf("%v: %v", lost, err)
	}
	defer s.Close()
	if restored, _ := s.Standing(); !restored {
		t.Error("it is not marked as restored")
	}
	if anew := s.HighestEpoch() == 0; anew != r.Anew {
		t.Errorf("anew %v, and the epoch is %d", r.Anew, s.HighestEpoch())
	}
	var tasks []*journal.Task
	must(t, func(done func(error)) {
		s.LoadOutlet(func(found []*journal.Task, err error) { tasks = found; done(err) })
	})
	retrying := map[string]bool{}
	for _, task := range tasks {
		if task.Deferred {
			retrying[string(task.ID)] = true
		}
	}
	for _, id := range s.Deferred() { // what the hub is told to be here
		if !retrying[string(id)] {
			t.Errorf("%v: %s is said to be deferred, and nobody tries it again", lost, id)
		}
	}
	if _, err := s.Down().Load(); err != nil {
		t.Error(err)
	}
	last := uint64(0)
	for events, err := s.EventsAfter(0, 1000); last < s.LastEvent() && len(events) > 0; events, err = s.EventsAfter(last, 1000) {
		for _, e := range events {
			if last++; err != nil || e.Number != last {
				t.Fatalf("%v: event %d follows %d, %v", lost, e.Number, last-1, err)
			}
		}
	}
	if last != s.LastEvent() {
		t.Errorf("%v: the log ends at %d, the last event is %d", lost, last, s.LastEvent())
	}
	if _, err := purge(t, s); err != nil || s.parked != 0 {
		t.Errorf("%v: %d receipts stay, %v", lost, s.parked, err)
	}

	state, err := s.Up().Load()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range state.Held {
		got = append(got, e.Message.Text)
	}
	for next := state.LastRetrieved + 1; s.Up().Waiting() > 0; {
		entries, err := retrieve(t, s, next, 100)
		if err != nil || len(entries) == 0 {
			t.Fatalf("%v: %d wait, %d are there, %v", lost, s.Up().Waiting(), len(entries), err)
		}
		for _, e := range entries {
			got, next = append(got, e.Message.Text), e.Seq+1
		}
	}
	k := 0
	for _, text := range got { // in order, each once
		for k < len(up) && up[k] != text {
			k++
		}
		if k == len(up) {
			if len(lost) == 0 || !resurrectable(lost) {
				t.Fatalf("%v: %q is there again, or in another order", lost, text)
			}
			k = 0
			continue
		}
		k++
		kept++
	}
	if kept < len(up) && !resurrectable(lost) {
		t.Errorf("%v: %d of %d texts, and no word", lost, kept, len(up))
	}
	return kept
}

// resurrectable: records of the way up are among what may be missing or old.
func resurrectable(lost []kv.Loss) bool {
	for _, l := range lost {
		if l.Touches([]byte{'q'}) || l.Touches([]byte{'u'}) {
			return true
		}
	}
	return false
}

func purge(t *testing.T, s *Store) (n int, err error) {
	t.Helper()
	over := make(chan struct{})
	s.Purge(time.Now().Add(2*time.Hour), func(purged int, e error) { n, err = purged, e; close(over) })
	<-over
	return n, err
}
