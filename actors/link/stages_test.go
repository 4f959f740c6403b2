package link

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"
)

// stages counts what has passed, and remembers the age that was told last.
type stages struct {
	Nop
	mu     sync.Mutex
	passed [len(Stages)]int
	oldest time.Duration
}

func (s *stages) Passed(stage Stage, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed[stage] += n
}

func (s *stages) Unconfirmed(_ string, oldest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = oldest
}

func (s *stages) want(t *testing.T, passed ...int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.passed[:len(passed)], passed) {
		t.Errorf("%v have passed %v, want %v", s.passed, Stages, passed)
	}
}

// Each stage is counted once for each message, whatever order the other side's words
// come in; the age is that of the first message it has not confirmed, link or no link.
func TestStagesOfTheSendersRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, j, m := probe.New(t, system, "session"), newOriginProbe("one", "two", "three"), &stages{}
		buffer := system.Root.Spawn(NewBuffer(BufferConfig{Ring: messages.Ring_DOWN, Slots: 4, Journal: j, Session: link.PID(), Metrics: m, Log: zap.NewNop()}))
		asked := func(want time.Duration) {
			t.Helper()
			if _, err := system.Root.RequestFuture(buffer, &GetState{}, time.Second).Result(); err != nil {
				t.Fatal(err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.oldest != want {
				t.Errorf("the oldest waits for %v, want %v", m.oldest, want)
			}
		}
		m.want(t, 3, 0, 0, 0)
		time.Sleep(time.Minute)
		asked(time.Minute) // never sent
		system.Root.Send(buffer, &LinkUp{})
		m.want(t, 3, 3, 0, 0)
		system.Root.Send(buffer, &LinkDown{})
		system.Root.Send(buffer, &LinkUp{}) // sent again: no new stage
		m.want(t, 3, 3, 0, 0)
		asked(time.Minute)
		system.Root.Send(buffer, &ProgressIn{progressOf(messages.Ring_DOWN, 1, nil)})
		system.Root.Send(buffer, &ProgressIn{progressOf(messages.Ring_DOWN, 1, nil)}) // said again
		m.want(t, 3, 3, 1, 0)
		system.Root.Send(buffer, answerTo(2, "two")) // before its confirmation
		j.end(t, 2, nil)
		m.want(t, 3, 3, 2, 1)
		asked(time.Minute) // the third
		system.Root.Send(buffer, &ProgressIn{progressOf(messages.Ring_DOWN, 2, nil)})
		m.want(t, 3, 3, 2, 1)
		// A resynchronisation finds out that the third has arrived.
		if _, err := system.Root.RequestFuture(buffer, &Resync{Try: 1, Peer: viewOf(ring.View{
			Size: 4, Pointers: ring.Pointers{LastRetrieved: 3, LastSent: 3, LastConfirmed: 2},
			Held: []ring.Held{
				{Seq: 1, ID: idOf(entry(0, "one").Message.Id), Flags: ring.Retrieved | ring.Sent},
				{Seq: 2, ID: idOf(entry(0, "two").Message.Id), Flags: ring.Retrieved | ring.Sent | ring.Confirmed},
				{Seq: 3, ID: idOf(entry(0, "three").Message.Id), Flags: ring.Retrieved | ring.Sent},
			},
		})}, time.Second).Result(); err != nil {
			t.Fatal(err)
		}
		m.want(t, 3, 3, 3, 1)
		asked(0)
	})
}

func TestStagesOfTheReceiversRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		link, outlet, m := probe.New(t, system, "session"), probe.New(t, system, "outlet"), &stages{}
		j := newMirrorProbe()
		mirror := system.Root.Spawn(NewMirror(MirrorConfig{Ring: messages.Ring_DOWN, Slots: 2, Journal: j, Session: link.PID(), Next: outlet.PID(), Metrics: m, Log: zap.NewNop()}))
		system.Root.Send(mirror, &LinkUp{})
		system.Root.Send(mirror, dataOf(1, 2, "one"))
		system.Root.Send(mirror, dataOf(1, 2, "one")) // again
		m.want(t, 0, 0, 0, 0, 0, 0)
		j.end(t, 1, nil)
		m.want(t, 0, 0, 0, 0, 1, 0)
		h := probe.Expect[*messages.HandOn](outlet)
		outlet.Reply(&messages.Answered{Seq: h.Seq, ID: h.Message.GetId(), Result: &messages.Result{State: messages.State_PROCESSED}})
		m.want(t, 0, 0, 0, 0, 1, 1)
	})
}
