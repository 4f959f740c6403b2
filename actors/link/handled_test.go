package link

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"
)

// A frame counts as taken when all actors that it was forwarded to have handled it, and
// at the latest when the link ends.
func TestFramesAreTakenWhenTheyAreHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hubRig(t)
		taken := 0
		frame := func() {
			r.tell(&messages.FrameIn{Conn: r.conn.PID(), Frame: dataFrameOf(7, 1), Taken: func() { taken++ }})
			synctest.Wait()
		}
		is := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if taken != want {
				t.Errorf("%s: %d are taken, want %d", when, taken, want)
			}
		}
		for range 5 {
			frame()
		}
		is(0, "the mirror is busy")
		for i, p := range []*probe.Probe{r.mirror, r.buffer, r.events} {
			h := probe.Fish[*Handled](p, nil)
			is(0, fmt.Sprint("the barrier is at actor ", i))
			next := h.then[0]
			h.then = h.then[1:]
			p.Tell(next, h)
		}
		is(1, "the first frame went through")
		r.tell(&Handled{}) // another one
		h := probe.Fish[*Handled](r.mirror, nil)
		r.tell(h) // straight back
		is(5, "the others went through together")
		frame()
		old := probe.Fish[*Handled](r.mirror, nil)
		r.tell(&ProtocolError{ErrProtocol})
		is(6, "the link is down")
		r.tell(old)
		is(6, "the barrier of the link before comes back")
	})
}

func dataFrameOf(epoch, seq uint64) *messages.Frame {
	f := dataFrame(messages.Ring_UP, seq, uint32(seq%255), 0, 16)
	f.Epoch = epoch
	return f
}

// A peer floods both rings, the status events and what needs no ring with as many frames
// as may wait: what the flood leads to is handled before more is taken, and the heap
// stays where it was.
func TestFloodStaysInItsBounds(t *testing.T) {
	const wait, frames, entries = 64, 3000, 100
	dups, answers, events, beat := &messages.Frame{Epoch: 1}, &messages.Frame{Epoch: 1}, &messages.Frame{Epoch: 1}, &messages.Frame{Epoch: 1, Heartbeat: &messages.Heartbeat{SentUs: 1}}
	for i := range entries {
		dups.Data = append(dups.Data, dataFrame(messages.Ring_UP, 1, 1, 0, 16).Data...)
		answers.Answers = append(answers.Answers, &messages.Answer{Ring: messages.Ring_DOWN, Sequence: 1, Id: make([]byte, 16), Result: processed()})
		events.Events = append(events.Events, &messages.Event{Number: 1<<40 + uint64(i), Id: make([]byte, 16)})
	}
	for name, f := range map[string]*messages.Frame{"duplicates": dups, "answers": answers, "events far ahead": events, "heartbeats": beat} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, time.Millisecond)
				p.start()
				p.hubDown.put("to", "0")
				p.edgeUp.put("to", "0")
				p.within(time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == 1 && p.count(&p.atInbox) == 1 && p.kept() == 0 })
				conn := p.someConn(true)
				waiting := make(chan struct{}, wait)
				var before runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				most := uint64(0)
				for i := range frames {
					waiting <- struct{}{} // no time passes in which anything else could be done
					p.system.Root.Send(p.hubSession, &messages.FrameIn{Conn: conn, Frame: f, Taken: func() { <-waiting }})
					if i%500 == 499 {
						var now runtime.MemStats
						runtime.GC()
						runtime.ReadMemStats(&now)
						most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
					}
				}
				synctest.Wait()
				t.Logf("%d frames of %d entries: at most %d kB more", frames, entries, most>>10)
				if most > 800<<10 {
					t.Errorf("the heap grew by %d kB", most>>10)
				}
				if len(waiting) != 0 {
					t.Errorf("%d frames were not taken", len(waiting))
				}
				if s := p.link(p.hubSession); s.State != "up" || s.Interruptions != 0 {
					t.Errorf("the link: %+v", s)
				}
				p.stop()
				time.Sleep(2 * time.Minute) // timers that are set find nobody
			})
		})
	}
}
