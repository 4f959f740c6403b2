package edgestore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

func open(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{KV: kv.Options{Dir: "edge", FS: fs, Node: "edge/manila-1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// wait runs a write and returns its error.
func wait(write func(done func(error))) error {
	over := make(chan error, 1)
	write(func(err error) { over <- err })
	return <-over
}

func must(t *testing.T, write func(done func(error))) {
	t.Helper()
	if err := wait(write); err != nil {
		t.Fatal(err)
	}
}

func text(id, from string) *messages.Message {
	return &messages.Message{Id: []byte(id), From: from, To: "63917000", Text: id}
}

func retrieve(t *testing.T, s *Store, first uint64, most int) (entries []journal.Entry, err error) {
	t.Helper()
	over := make(chan struct{})
	s.Up().Retrieve(first, most, func(e []journal.Entry, got error) { entries, err = e, got; close(over) })
	<-over
	return entries, err
}

func TestInstanceAndEpochStay(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	must(t, func(done func(error)) { s.SetHighestEpoch(7, []byte("one"), done) })
	if err := wait(func(done func(error)) { s.SetHighestEpoch(6, []byte("other"), done) }); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("a lower epoch: %v", err)
	}
	must(t, func(done func(error)) { s.SetHighestEpoch(7, []byte("one"), done) })
	again := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	if again.HighestEpoch() != 7 || string(again.EpochOwner()) != "one" || len(s.Instance()) != 16 || string(again.Instance()) != string(s.Instance()) {
		t.Errorf("epoch %d, instance %x, was %x", again.HighestEpoch(), again.Instance(), s.Instance())
	}
	if other := open(t, vfs.NewMem()); string(other.Instance()) == string(s.Instance()) {
		t.Error("two journals with one instance")
	}
}

// A Hello of a process that was killed has a lower number than each of its successor.
func TestHellosAscendOverStarts(t *testing.T) {
	fs := vfs.NewCrashableMem()
	last := uint64(0)
	for range 3 {
		s := open(t, fs)
		for range 3 {
			if n := s.NextHello(); n <= last {
				t.Errorf("hello %d after %d", n, last)
			} else {
				last = n
			}
		}
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
	}
	s := open(t, fs)
	s.HellosAbove(last + 5<<32)
	if n := s.NextHello(); n != last+6<<32+1 { // a whole start above, for what was said and not heard
		t.Errorf("hello %d, wanted one well above %d", n, last+5<<32)
	}
	s.HellosAbove(last)
	if n := s.NextHello(); n != last+6<<32+2 {
		t.Errorf("hello %d after it", n)
	}
	must(t, func(done func(error)) { s.SetHighestEpoch(1, nil, done) }) // behind that in the log
	if n := open(t, fs.CrashClone(vfs.CrashCloneCfg{})).NextHello(); n <= last+6<<32+2 {
		t.Errorf("hello %d after a start", n)
	}
}

func TestI10_UpRingAssignsDurably(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	woken := 0
	s.Up().Notify(func() { woken++ })
	late := text("late", "+1")
	late.DeadlineUnixMs = time.Now().Add(-time.Minute).UnixMilli()
	must(t, func(done func(error)) {
		s.Receive(journal.Intake{Messages: []*messages.Message{text("a", "+1"), late, text("b", "+2"), text("c", "+1"), text("d", "+1")}}, done)
	})
	if s.Up().Waiting() != 5 || woken != 1 {
		t.Fatalf("%d waiting, woken %d times", s.Up().Waiting(), woken)
	}
	entries, err := retrieve(t, s, 1, 3)
	if err != nil || len(entries) != 3 || entries[2].Seq != 3 || entries[2].After != 1 || entries[1].After != 0 || entries[2].Message.Text != "c" {
		t.Fatalf("retrieved %v, %v", entries, err)
	}
	if _, err := retrieve(t, s, 3, 1); err == nil {
		t.Fatal("a sequence was given twice")
	}
	must(t, func(done func(error)) { s.Up().Processed(entries[0], nil, done) })

	s = open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	state, err := s.Up().Load()
	if err != nil || state.LastRetrieved != 3 || len(state.Held) != 2 || state.Held[0].Seq != 2 || s.Up().Waiting() != 1 {
		t.Fatalf("after the restart %+v, %v, %d waiting", state, err, s.Up().Waiting())
	}
	if entries, err = retrieve(t, s, 4, 10); err != nil || len(entries) != 1 || entries[0].After != 3 || s.Up().Waiting() != 0 {
		t.Fatalf("retrieved %v, %v", entries, err)
	}
	for _, e := range append(state.Held, entries...) {
		must(t, func(done func(error)) { s.Up().Processed(e, nil, done) })
	}
	must(t, func(done func(error)) {
		s.Receive(journal.Intake{Messages: []*messages.Message{text("e", "+1")}}, done)
	})
	if entries, err = retrieve(t, s, 5, 10); err != nil || len(entries) != 1 || entries[0].After != 0 {
		t.Fatalf("retrieved %v, %v: nothing with this key is unprocessed", entries, err)
	}
}

func TestDownMirrorKeepsUntilReleased(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	for seq := uint64(1); seq <= 3; seq++ {
		must(t, func(done func(error)) {
			s.Down().Keep(journal.Entry{Seq: seq, After: seq - 1, Message: text(fmt.Sprint(seq), "maria")}, done)
		})
	}
	must(t, func(done func(error)) {
		s.Record(journal.OutletStep{Results: []journal.SlotResult{{Seq: 2, Result: &messages.Result{State: messages.State_PROCESSED}}}}, done)
	})
	s.Down().Release(1, []uint64{1})
	must(t, func(done func(error)) { s.Receive(journal.Intake{}, done) }) // the release is done

	s = open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	state, err := s.Down().Load()
	if err != nil || state.Released != 1 || len(state.Held) != 2 || state.Held[0].Seq != 2 || state.Held[0].After != 1 ||
		state.Held[0].Result.GetState() != messages.State_PROCESSED || state.Held[1].Result != nil {
		t.Fatalf("mirror %+v, %v", state, err)
	}
	if _, found, _ := s.Result(2, []byte("another")); found {
		t.Error("the result of another message was found")
	}
}

// fillable is a disk without room while full.
type fillable struct {
	vfs.FS
	full atomic.Bool
}

func (f *fillable) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if f.full.Load() {
		return vfs.DiskUsage{TotalBytes: 1 << 40}, nil
	}
	return vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: 1 << 40}, nil
}

// What waits for room when the edge joins its hub anew is not written afterwards: its
// sequence is another message's by then.
func TestWhatLackedRoomDoesNotOutlastARejoin(t *testing.T) {
	fs := &fillable{FS: vfs.NewMem()}
	fs.full.Store(true)
	s := open(t, fs)
	late := make(chan error, 1)
	s.Down().Keep(journal.Entry{Seq: 1, Message: text("before", "maria")}, func(err error) { late <- err })
	if err := s.Rejoin(&messages.Rejoin{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	fs.full.Store(false)
	for s.Space() != nil { // it looks twice a second
		time.Sleep(time.Millisecond)
	}
	after := text("after", "maria")
	must(t, func(done func(error)) { s.Down().Keep(journal.Entry{Seq: 1, Message: after}, done) })
	select {
	case <-late:
		t.Error("it was written")
	case <-time.After(1500 * time.Millisecond): // it was to be tried again after a second
	}
	state, err := s.Down().Load()
	if err != nil || len(state.Held) != 1 || string(state.Held[0].Message.Id) != string(after.Id) {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestTasksAndTheirNumbersSurvive(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	slot := &journal.Task{
		Seq: 300, ID: []byte("slot"), Reference: 44, Intent: "globe/0", Attempts: 3, Doubled: true, Refusals: 2, Undefined: 2,
		RetryAt: time.UnixMilli(1_700_000_000_000), Parts: []journal.PartDone{{State: messages.State_PROCESSED, ID: "x"}, {State: messages.State_UNKNOWN}},
	}
	deferred := &journal.Task{Seq: 5, ID: []byte("deferred"), Deferred: true, Undefined: 200, Message: text("deferred", "maria")}
	must(t, func(done func(error)) {
		s.Record(journal.OutletStep{Tasks: []*journal.Task{slot}, Defer: []*journal.Task{deferred}}, done)
	})
	s = open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	if ids := s.Deferred(); len(ids) != 1 || string(ids[0]) != "deferred" {
		t.Errorf("deferred %q", ids)
	}
	var tasks []*journal.Task
	must(t, func(done func(error)) {
		s.LoadOutlet(func(found []*journal.Task, err error) { tasks = found; done(err) })
	})
	if len(tasks) != 2 || tasks[0].Message.GetText() != "deferred" || !tasks[0].RetryAt.IsZero() {
		t.Fatalf("tasks %+v", tasks)
	}
	got := tasks[1]
	if got.Seq != 300 || got.Reference != 44 || got.Intent != "globe/0" || got.Attempts != 3 || !got.Doubled || got.Refusals != 2 || got.Undefined != 2 || tasks[0].Undefined != maxUndefined ||
		!got.RetryAt.Equal(slot.RetryAt) || len(got.Parts) != 2 || got.Parts[0] != slot.Parts[0] || got.Parts[1] != slot.Parts[1] || got.Deferred {
		t.Errorf("task %+v, was %+v", got, slot)
	}
	must(t, func(done func(error)) { s.Record(journal.OutletStep{Ended: tasks}, done) })
	if len(s.Deferred()) != 0 {
		t.Error("still deferred")
	}
}

type roomy struct {
	vfs.FS
	free uint64
}

func (r roomy) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: r.free}, nil
}

func TestSpaceIsScarceBelowHalfOfTheReserve(t *testing.T) {
	for free, want := range map[uint64][2]bool{256 << 20: {}, 255 << 20: {true, false}, 128 << 20: {true, false}, 127 << 20: {true, true}} {
		err := open(t, roomy{vfs.NewMem(), free}).Space()
		if got := [2]bool{errors.Is(err, journal.ErrSpace), errors.Is(err, journal.ErrScarce)}; got != want {
			t.Errorf("%d MB free: %v, full and scarce are %v, want %v", free>>20, err, got, want)
		}
	}
}
