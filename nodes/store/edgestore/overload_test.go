package edgestore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/tests/probe"
)

// TestOverloadStopsNoRing: while the disk stands still and so much waits for it that
// nothing is taken from the SMSC, what belongs to messages that were taken on is
// written all the same, and none of it is lost.
func TestOverloadStopsNoRing(t *testing.T) {
	const slots = 4
	var disk sync.RWMutex // locked: it stands still
	mem := vfs.NewMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.HasSuffix(op.Path, ".log") {
			disk.RLock()
			defer disk.RUnlock()
		}
		return nil
	}))
	s, err := Open(Options{KV: kv.Options{Dir: "edge", FS: fs, Node: "edge/manila-1", QueueBytes: 16 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	refusals, names, done := 0, 0, make(chan error, 100)
	told := func(err error) { done <- err }
	receive := func() { // refusals are told at once
		names++
		m := text(fmt.Sprintf("handset %8d", names), fmt.Sprint("+2", names))
		s.Receive(journal.Intake{Messages: []*messages.Message{m}}, func(err error) {
			if errors.Is(err, journal.ErrFull) {
				refusals++
				return
			}
			done <- err
		})
	}
	wait := func(n int) {
		t.Helper()
		for range n {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	for range slots {
		receive()
	}
	doubt := &messages.Event{Id: []byte("0123456789abcdef"), What: &messages.Event_Doubt{Doubt: &messages.Doubt{}}}
	s.Record(journal.OutletStep{Events: []*messages.Event{doubt}}, told)
	wait(slots + 1)

	system := probe.System(t)
	down, up, outlet, owner := probe.New(t, system, "down"), probe.New(t, system, "up"), probe.New(t, system, "outlet"), probe.New(t, system, "owner")
	mirror := system.Root.Spawn(link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_DOWN, Slots: slots, Journal: s.Down(), Session: down.PID(), Next: outlet.PID(), Owner: owner.PID(), Metrics: link.Nop{}, Log: zap.NewNop(),
	}))
	buffer := system.Root.Spawn(link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_UP, Slots: slots, Journal: s.Up(), Session: up.PID(), Owner: owner.PID(), Metrics: link.Nop{}, Log: zap.NewNop(),
	}))
	data := func(seq uint64) *messages.Data {
		return &messages.Data{Ring: messages.Ring_DOWN, Sequence: seq, Address: uint32(seq % slots), Message: text(fmt.Sprintf("down%12d", seq), "anna")}
	}
	down.Tell(mirror, data(1))
	handed := probe.Expect[*messages.HandOn](outlet)
	task := &journal.Task{Seq: handed.Seq, ID: handed.Message.Id, Attempts: 1}
	s.Record(journal.OutletStep{Ended: []*journal.Task{task}, Results: []journal.SlotResult{{Seq: 1, Result: &messages.Result{State: messages.State_PROCESSED}}}}, told)
	wait(1)
	outlet.Reply(&messages.Answered{Seq: 1, ID: handed.Message.Id, Result: &messages.Result{State: messages.State_PROCESSED}})
	probe.Fish[*messages.Answer](down, nil)
	for full := 0; full < slots; { // all that was received so far is in the ring
		up.Tell(buffer, &link.GetState{})
		full = slots - bytes.Count(probe.Fish[*messages.RingState](up, nil).Flags, []byte{0})
	}

	disk.Lock()
	taken := -1
	for ; refusals == 0; taken++ {
		receive()
	}
	down.Tell(mirror, &link.ProgressIn{Progress: &messages.Progress{Ring: messages.Ring_DOWN, Last: 1}}) // released
	for seq := uint64(2); seq <= slots+1; seq++ {
		down.Tell(mirror, data(seq))
	}
	up.Tell(buffer, &link.LinkUp{})
	for range slots {
		d := probe.Fish[*messages.Data](up, nil)
		up.Tell(buffer, &messages.Answer{Ring: messages.Ring_UP, Sequence: d.Sequence, Id: d.Message.Id, Result: &messages.Result{State: messages.State_PROCESSED}})
	}
	for pid, asker := range map[*actor.PID]*probe.Probe{buffer: up, mirror: down} { // it has come to all of that
		asker.Tell(pid, &link.GetState{})
		probe.Fish[*messages.RingState](asker, nil)
	}
	s.Record(journal.OutletStep{Tasks: []*journal.Task{{Seq: 9, ID: []byte("an intent"), Intent: "session"}}}, told)
	s.LoadOutlet(func(tasks []*journal.Task, err error) {
		if err == nil && len(tasks) != 1 {
			err = fmt.Errorf("%d tasks; want 1", len(tasks))
		}
		done <- err
	})
	s.SetHighestEpoch(3, []byte("hub"), told)
	s.TrimEvents(1)
	if receive(); refusals != 2 {
		t.Error("a handset's message is taken while the disk stands still")
	}
	disk.Unlock()

	wait(taken + 3)
	for range slots {
		probe.Expect[*messages.HandOn](outlet)
	}
	if next := probe.Fish[*messages.Data](up, nil); next.Sequence != slots+1 {
		t.Errorf("the ring goes on with sequence %d; want %d", next.Sequence, slots+1)
	}
	if told := owner.Received(); len(told) > 0 {
		t.Errorf("the rings' owner was told %v", told)
	}
	for _, pid := range []*actor.PID{mirror, buffer} {
		if err := system.Root.StopFuture(pid).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, mem)
	state, err := again.Down().Load()
	if err != nil || state.Released != 1 || len(state.Held) != slots || again.EventsKept() != 0 || again.HighestEpoch() != 3 {
		t.Errorf("afterwards released %d, %d held, %d events, epoch %d, %v", state.Released, len(state.Held), again.EventsKept(), again.HighestEpoch(), err)
	}
}
