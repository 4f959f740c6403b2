package hubstore

import (
	"bytes"
	"errors"
	"slices"
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
	"github.com/ringway-im/ringway/tests/probe"
)

// TestOverloadStopsNoRing: while the disk stands still and so much waits for it that
// users are refused, what the rings of an edge write is taken, and none of it is lost.
func TestOverloadStopsNoRing(t *testing.T) {
	const slots = 4
	var disk sync.RWMutex // locked: it stands still
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.HasSuffix(op.Path, ".log") {
			disk.RLock()
			defer disk.RUnlock()
		}
		return nil
	}))
	s := open(t, Options{FS: fs, QueueBytes: 16 << 10})
	refusals, done := 0, make(chan error, 100)
	send := func() { // refusals are told at once
		s.Accept(journal.Submission{From: "anna", To: "+1", Text: "x", Edge: "e", Parts: 1}, func(_ journal.Accepted, err error) {
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
	s.PutUser(journal.User{Name: "ben"}, func(err error) { done <- err })
	for range slots {
		send()
	}
	wait(1 + slots)
	rings, err := s.Claim("e")
	if err != nil {
		t.Fatal(err)
	}

	system := probe.System(t)
	down, up, events, router, owner := probe.New(t, system, "down"), probe.New(t, system, "up"), probe.New(t, system, "events"), probe.New(t, system, "router"), probe.New(t, system, "owner")
	buffer := system.Root.Spawn(link.NewBuffer(link.BufferConfig{
		Ring: messages.Ring_DOWN, Slots: slots, Journal: rings.Down(), Session: down.PID(), Owner: owner.PID(), Metrics: link.Nop{}, Log: zap.NewNop(),
	}))
	mirror := system.Root.Spawn(link.NewMirror(link.MirrorConfig{
		Ring: messages.Ring_UP, Slots: slots, Journal: rings.Up(), Session: up.PID(), Next: router.PID(), Owner: owner.PID(), Metrics: link.Nop{}, Log: zap.NewNop(),
	}))
	applier := system.Root.Spawn(link.NewApplier(link.ApplierConfig{
		Edge: "e", Session: events.PID(), Owner: owner.PID(), Apply: rings.Apply, Applied: rings.Applied, Log: zap.NewNop(),
	}))
	data := func(seq uint64) *messages.Data {
		return &messages.Data{Ring: messages.Ring_UP, Sequence: seq, Address: uint32(seq % slots), Message: &messages.Message{
			Id: append(make([]byte, 15), byte(seq)), From: "+2", To: "63917000", Text: "@ben hello",
		}}
	}
	up.Tell(mirror, data(1))
	handed := probe.Expect[*messages.HandOn](router)
	for full := 0; full < slots; { // all that was sent so far is in the ring
		down.Tell(buffer, &link.GetState{})
		full = slots - bytes.Count(probe.Fish[*messages.RingState](down, nil).Flags, []byte{0})
	}

	disk.Lock()
	sent := -1
	for ; refusals == 0; sent++ {
		send()
	}
	down.Tell(buffer, &link.LinkUp{})
	var held []*messages.Data
	for range slots {
		held = append(held, probe.Fish[*messages.Data](down, nil))
	}
	down.Tell(buffer, &link.ProgressIn{Progress: &messages.Progress{Ring: messages.Ring_DOWN, Last: slots}})
	for _, d := range held {
		down.Tell(buffer, &messages.Answer{Ring: messages.Ring_DOWN, Sequence: d.Sequence, Id: d.Message.Id, Result: &messages.Result{State: messages.State_PROCESSED}})
	}
	for seq := uint64(2); seq <= slots; seq++ {
		up.Tell(mirror, data(seq))
	}
	events.Tell(applier, &link.EventsIn{Events: []*messages.Event{{Number: 1, Id: held[0].Message.Id, What: &messages.Event_Doubt{Doubt: &messages.Doubt{}}}}})
	rings.Deliver(handed.Seq, journal.Delivery{Message: handed.Message, User: "ben", Text: "hello"}, func(_ *messages.Result, err error) { done <- err })
	s.SetInstance("e", []byte("one"), func(err error) { done <- err })
	for pid, asker := range map[*actor.PID]*probe.Probe{buffer: down, mirror: up} { // it has come to all of that
		asker.Tell(pid, &link.GetState{})
		probe.Fish[*messages.RingState](asker, nil)
	}
	if send(); refusals != 2 {
		t.Error("a user is not refused while the disk stands still")
	}
	disk.Unlock()

	wait(sent + 2)
	for range slots - 1 {
		probe.Expect[*messages.HandOn](router)
	}
	if next := probe.Fish[*messages.Data](down, nil); next.Sequence != slots+1 {
		t.Errorf("the ring goes on with sequence %d; want %d", next.Sequence, slots+1)
	}
	probe.Fish(events, func(m *link.EventsAppliedOut) bool { return m.Number == 1 })
	if told := owner.Received(); len(told) > 0 {
		t.Errorf("the rings' owner was told %v", told)
	}
	for _, d := range held {
		record, ok, err := s.Message(d.Message.Id)
		if err != nil || !ok {
			t.Fatalf("message %x: %v, %v", d.Message.Id, ok, err)
		}
		for _, state := range []messages.State{messages.State_SENT, messages.State_CONFIRMED, messages.State_PROCESSED} {
			if !slices.ContainsFunc(record.History, func(step journal.Step) bool { return step.State == state }) {
				t.Errorf("message %x: %v is not in its history", d.Message.Id, state)
			}
		}
	}
}
