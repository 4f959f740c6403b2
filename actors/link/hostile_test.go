package link

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

// inject gives a session frames as if its peer had sent them on a living stripe.
func (p *pair) inject(toHub bool, frames ...*messages.Frame) {
	p.t.Helper()
	conn, session := p.someConn(false), p.edgeSession
	if toHub {
		conn, session = p.someConn(true), p.hubSession
	}
	for _, f := range frames {
		p.system.Root.Send(session, &messages.FrameIn{Conn: conn, Frame: f})
	}
}

// someConn is one end of a stripe that lives.
func (p *pair) someConn(hub bool) *actor.PID {
	p.t.Helper()
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	for _, a := range p.dialer.alive {
		switch {
		case a.dead || a.other.dead:
		case hub:
			return a.other.self
		default:
			return a.self
		}
	}
	p.t.Fatal("no stripe lives")
	return nil
}

// What the rings refuse closes that link, with the reason in the log; it comes
// back, nothing is lost or doubled by it, and another edge's link notices nothing.
func TestWhatTheRingsRefuseClosesOneLink(t *testing.T) {
	huge := bytes.Repeat([]byte{0xff}, 1<<20)
	for name, c := range map[string]struct {
		toHub bool
		frame func(p *pair) *messages.Frame
		log   string
	}{
		"another address":     {false, func(*pair) *messages.Frame { return dataFrame(messages.Ring_DOWN, 301, 3, 0, 16) }, "malformed entry: sequence 301, address 3, after 0"},
		"sequence 0":          {false, func(*pair) *messages.Frame { return dataFrame(messages.Ring_DOWN, 0, 0, 0, 16) }, "malformed entry"},
		"waits for itself":    {false, func(*pair) *messages.Frame { return dataFrame(messages.Ring_DOWN, 301, 301%255, 301, 16) }, "malformed entry"},
		"a short id":          {true, func(*pair) *messages.Frame { return dataFrame(messages.Ring_UP, 301, 301%255, 0, 3) }, "malformed entry"},
		"far ahead":           {false, func(*pair) *messages.Frame { return dataFrame(messages.Ring_DOWN, 1<<60, 1<<60%255, 0, 16) }, "overwrite a slot that is not processed"},
		"beyond everything":   {true, func(*pair) *messages.Frame { return dataFrame(messages.Ring_UP, 1<<64-1, (1<<64-1)%255, 0, 16) }, "overwrite a slot that is not processed"},
		"confirms ahead":      {true, func(*pair) *messages.Frame { return confirmedFrame(messages.Ring_DOWN, 1<<63, nil) }, "ahead of what was sent"},
		"confirms by bitmap":  {true, func(*pair) *messages.Frame { return confirmedFrame(messages.Ring_DOWN, 300, huge) }, "ahead of what was sent"},
		"releases ahead":      {false, func(*pair) *messages.Frame { return releasedFrame(messages.Ring_DOWN, 1<<63, nil) }, "ahead of what was sent"},
		"releases by bitmap":  {false, func(*pair) *messages.Frame { return releasedFrame(messages.Ring_DOWN, 300, huge) }, "ahead of what was sent"},
		"releases the latest": {true, func(*pair) *messages.Frame { return releasedFrame(messages.Ring_UP, 301, nil) }, "301 was released and is not answered"},
		"answers the unsent": {true, func(*pair) *messages.Frame {
			return &messages.Frame{Answers: []*messages.Answer{{Ring: messages.Ring_DOWN, Sequence: 301, Id: make([]byte, 16), Result: processed()}}}
		}, "answered 301, sent up to 300"},
		"applies events that are none": {false, func(*pair) *messages.Frame { return &messages.Frame{EventsApplied: 7} }, "status events up to 7, this edge has written 0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.ErrorLevel)
				p, other := newPair(t, 10*time.Millisecond), newPair(t, 10*time.Millisecond)
				p.log = zap.New(core)
				p.start()
				other.start()
				const n = 300
				for i := range n {
					p.hubDown.put(fmt.Sprint("to", i%10), fmt.Sprint(i))
					p.edgeUp.put(fmt.Sprint("to", i%10), fmt.Sprint(i))
				}
				p.within(time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == n && p.count(&p.atInbox) == n })
				p.within(time.Minute, "all is released", func() bool { return p.kept() == 0 })
				f := c.frame(p)
				f.Epoch = p.epoch
				p.inject(c.toHub, f)
				session := p.edgeSession
				if c.toHub {
					session = p.hubSession
				}
				p.within(10*time.Second, "the link is closed", func() bool { return p.link(session).Interruptions == 1 })
				closing := logs.FilterMessage("closing the link").All()
				if len(closing) == 0 || !strings.Contains(fmt.Sprint(closing[0].ContextMap()["error"]), c.log) {
					t.Errorf("the log says %v, want %q", logs.All(), c.log)
				}
				p.within(time.Minute, "the link is up again", func() bool {
					return p.link(p.hubSession).State == "up" && p.link(p.edgeSession).State == "up"
				})
				p.hubDown.put("to1", fmt.Sprint(n))
				p.edgeUp.put("to1", fmt.Sprint(n))
				p.within(time.Minute, "one more arrives", func() bool { return p.count(&p.atSMSC) == n+1 && p.count(&p.atInbox) == n+1 })
				check(t, p.atSMSC, n+1)
				check(t, p.atInbox, n+1)
				if s := other.link(other.hubSession); s.Interruptions != 0 || s.State != "up" {
					t.Errorf("another edge's link: %+v", s)
				}
				p.stop()
				other.stop()
			})
		})
	}
}

// kept is how many messages both mirrors keep.
func (p *pair) kept() int {
	p.edgeDown.mu.Lock()
	n := len(p.edgeDown.keep)
	p.edgeDown.mu.Unlock()
	p.hubUp.mu.Lock()
	defer p.hubUp.mu.Unlock()
	return n + len(p.hubUp.keep)
}

func dataFrame(r messages.Ring, seq uint64, address uint32, after uint64, idLen int) *messages.Frame {
	return &messages.Frame{Data: []*messages.Data{{Ring: r, Sequence: seq, Address: address, After: after, Message: &messages.Message{Id: make([]byte, idLen)}}}}
}

func confirmedFrame(r messages.Ring, last uint64, bitmap []byte) *messages.Frame {
	return &messages.Frame{Confirmed: []*messages.Progress{{Ring: r, Last: last, Bitmap: bitmap}}}
}

func releasedFrame(r messages.Ring, last uint64, bitmap []byte) *messages.Frame {
	return &messages.Frame{Released: []*messages.Progress{{Ring: r, Last: last, Bitmap: bitmap}}}
}

// Pointers that run backwards are old news on another stripe: nothing moves.
func TestPointersThatRunBackwardsDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, 10*time.Millisecond)
		p.start()
		const n = 300
		for i := range n {
			p.hubDown.put("to", fmt.Sprint(i))
		}
		p.within(time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == n && p.kept() == 0 })
		before := viewOfActor(t, p.system, p.hubAttach.Buffer)
		for last := range uint64(n) {
			f := confirmedFrame(messages.Ring_DOWN, last, nil)
			f.Epoch = p.epoch
			p.inject(true, f)
			f = releasedFrame(messages.Ring_DOWN, last, nil)
			f.Epoch = p.epoch
			p.inject(false, f)
			f = dataFrame(messages.Ring_DOWN, last+1, uint32((last+1)%255), 0, 16)
			f.Epoch = p.epoch
			p.inject(false, f)
		}
		time.Sleep(time.Second)
		if after := viewOfActor(t, p.system, p.hubAttach.Buffer); !proto.Equal(before, after) {
			t.Errorf("before %v\nafter %v", before, after)
		}
		if s := p.link(p.hubSession); s.Interruptions != 0 {
			t.Errorf("%+v", s)
		}
		if s := p.link(p.edgeSession); s.Interruptions != 0 {
			t.Errorf("%+v", s)
		}
		check(t, p.atSMSC, n)
		p.stop()
	})
}

// A session fed with arbitrary frames, before and after Welcome, at either end,
// with real rings behind it: no actor fails (probe.System sees to that) and what
// is kept stays within the rings.
func FuzzFrames(f *testing.F) {
	for _, m := range []*messages.Frame{
		{},
		{Epoch: 1, Heartbeat: &messages.Heartbeat{SentUs: 5, EchoUs: 3, HeldUs: 1}, Heard: []uint64{1, 2, 3}},
		dataFrame(messages.Ring_DOWN, 1, 1, 0, 16), dataFrame(messages.Ring_UP, 2, 2, 1, 16),
		confirmedFrame(messages.Ring_DOWN, 1, []byte{5}), releasedFrame(messages.Ring_UP, 1, []byte{255}),
		{Epoch: 1, Answers: []*messages.Answer{{Ring: messages.Ring_DOWN, Sequence: 1, Id: make([]byte, 16), Result: processed()}}},
		{Welcome: &messages.Welcome{Epoch: 1, Down: &messages.View{Slots: 4, LastRetrieved: 9, Held: []*messages.SlotView{{Sequence: 9, Flags: 255}}}, Up: &messages.View{Slots: 4}}},
		{Epoch: 1, Events: []*messages.Event{{Number: 1}}, EventsApplied: 4},
		{Epoch: 1, Moved: &messages.Moved{Hub: "x"}},
		{Redirect: &messages.Redirect{}},
		{Refused: &messages.Refused{}},
	} {
		if m.Epoch == 0 && m.Data != nil {
			m.Epoch = 1
		}
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true, true)
		f.Add(b, false, true)
		f.Add(b, false, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, toHub, streaming bool) {
		frame := &messages.Frame{}
		if proto.Unmarshal(b, frame) != nil {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, time.Millisecond)
			p.slots = 4
			p.start()
			p.hubDown.put("to", "0")
			p.edgeUp.put("to", "0")
			time.Sleep(2*time.Millisecond + time.Microsecond) // a stripe is up, Hello is under way
			if streaming {
				time.Sleep(time.Second)
			}
			frame.Epoch = min(frame.Epoch, 1)
			p.inject(toHub, frame, proto.Clone(frame).(*messages.Frame))
			time.Sleep(3 * time.Second)
			for _, pid := range []*actor.PID{p.hubAttach.Buffer, p.hubAttach.Mirror, p.edgeAttach.Buffer, p.edgeAttach.Mirror} {
				if v := viewOfActor(t, p.system, pid); len(v.Held) > p.slots {
					t.Errorf("more is held than there are slots: %v", v)
				}
			}
			p.stop()
			time.Sleep(time.Minute) // timers that are set find nobody
		})
	})
}
