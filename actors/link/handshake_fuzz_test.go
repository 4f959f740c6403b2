package link

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// onThread runs an actor on the goroutine that sends to it: a story has one thread and
// no clock.
func onThread(system *actor.ActorSystem, receive actor.ReceiveFunc) *actor.PID {
	return system.Root.Spawn(actor.PropsFromFunc(receive, actor.WithDispatcher(actor.NewSynchronizedDispatcher(1000))))
}

// FuzzHandshake tells a session, hub's or edge's, a story: stripes that come up with a
// Hello or a Join, frames, stripes that end, what its synchronisation actor says. Each
// step is an octet for the kind, one for the stripe, one for the length, and a frame.
// The session never fails, keeps to its bounds, and only who was registered is heard.
func FuzzHandshake(f *testing.F) {
	step := func(kind, stripe byte, m *messages.Frame) []byte {
		b, err := proto.Marshal(m)
		if err != nil || len(b) > 255 {
			f.Fatal(len(b), err)
		}
		return append([]byte{kind, stripe, byte(len(b))}, b...)
	}
	hello := &messages.Frame{Hello: &messages.Hello{Edge: "e", Version: 1, Session: []byte("s"), Instance: []byte("i"), Down: &messages.View{Slots: 4}, Up: &messages.View{Slots: 4}}}
	join := func(i uint32) *messages.Frame {
		return &messages.Frame{Join: &messages.Join{Edge: "e", Session: []byte("s"), Stripe: i}}
	}
	welcome := &messages.Frame{Epoch: 1, Welcome: &messages.Welcome{Epoch: 1, Hub: "h", Down: &messages.View{Slots: 4}, Up: &messages.View{Slots: 4}}}
	refused := &messages.Frame{Refused: &messages.Refused{Code: "rings", Text: "no"}}
	rejoin := &messages.Frame{Refused: &messages.Refused{Code: "rejoin", Rejoin: &messages.Rejoin{Epoch: 1}}}
	beat := &messages.Frame{Epoch: 1, Number: 1, Heard: []uint64{1}, Heartbeat: &messages.Heartbeat{SentUs: 1, EchoUs: 1}}
	for _, story := range [][]byte{
		bytes.Join([][]byte{step(0, 0, hello), step(3, 0, welcome), step(0, 1, join(1)), step(1, 0, beat), step(1, 1, beat), step(2, 0, beat), step(2, 1, beat)}, nil),
		bytes.Join([][]byte{step(0, 2, join(2)), step(0, 0, hello), step(1, 0, beat), step(3, 0, welcome), step(1, 2, beat), step(0, 0, hello)}, nil),
		bytes.Join([][]byte{step(0, 0, hello), step(4, 0, refused), step(0, 0, hello), step(3, 0, welcome), step(1, 0, refused)}, nil),
		bytes.Join([][]byte{step(5, 0, beat), step(0, 0, beat), step(0, 1, beat), step(6, 0, hello), step(1, 0, welcome), step(3, 0, welcome), step(1, 1, beat), step(1, 1, rejoin)}, nil),
		bytes.Join([][]byte{step(5, 0, beat), step(0, 3, beat), step(1, 3, beat), step(1, 3, &messages.Frame{Redirect: &messages.Redirect{Hub: "x"}}), step(5, 0, beat), step(7, 0, beat)}, nil),
		bytes.Join([][]byte{step(5, 0, beat), step(0, 0, beat), step(1, 0, welcome), step(3, 0, welcome), step(1, 0, &messages.Frame{Epoch: 1, Moved: &messages.Moved{Hub: "x"}}), step(2, 0, beat)}, nil),
	} {
		f.Add(story, true)
		f.Add(story, false)
	}
	f.Fuzz(func(t *testing.T, story []byte, atHub bool) { tell(t, story, atHub) })
}

// stage is for all stories: a session's timers, of an hour, keep the system that they
// send to, and a system has some megabytes.
var stage = sync.OnceValue(func() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithDeadLetterThrottleCount(0), actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
})

func tell(t *testing.T, story []byte, atHub bool) {
	system := stage()
	var cast []*actor.PID
	failures := system.EventStream.Subscribe(func(event any) {
		if e, ok := event.(*actor.SupervisorEvent); ok && slices.ContainsFunc(cast, e.Child.Equal) {
			t.Errorf("the session failed: %v", e.Reason)
		}
	})
	defer func() {
		system.EventStream.Unsubscribe(failures)
		for _, pid := range cast {
			system.Root.Stop(pid) // what its timers send finds nobody
		}
	}()
	onThread := func(receive actor.ReceiveFunc) *actor.PID {
		cast = append(cast, onThread(system, receive))
		return cast[len(cast)-1]
	}
	nobody := onThread(func(actor.Context) {})
	cfg := SessionConfig{Edge: "e", Sends: messages.Ring_DOWN, Supervisor: nobody, Metrics: Nop{}, Log: zap.NewNop(), Heartbeat: time.Hour, Flush: -1, Jitter: func() float64 { return 0.5 }}
	dials := uint64(0) // the session's try, as its dialler sees it
	if !atHub {
		cfg.Sends, cfg.Stripes = messages.Ring_UP, 4
		cfg.Dialer = onThread(func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.DialStripe); ok {
				dials = m.Try
			}
		})
	}
	s := &session{cfg: cfg, began: time.Now()}
	self := onThread(s.Receive)
	tell := func(m any) { system.Root.Send(self, m) }
	synchronisation := onThread(func(actor.Context) {})
	tell(&Attach{Buffer: nobody, Mirror: nobody, Events: nobody})
	system.Root.RequestWithCustomSender(self, &Synchronise{}, synchronisation)

	conns := map[byte]*actor.PID{}
	for len(story) >= 3 {
		kind, stripe, n := story[0]%8, story[1], min(int(story[2]), len(story)-3)
		frame := &messages.Frame{}
		if proto.Unmarshal(story[3:3+n], frame) != nil {
			return
		}
		story = story[3+n:]
		switch kind {
		case 0:
			conns[stripe] = onThread(func(actor.Context) {})
			up := &messages.StripeUp{Conn: conns[stripe], Stripe: uint32(stripe), Try: dials, Peer: "p", TLSAt: time.Now()}
			if atHub { // as the link's port does: the frame says which stripe it is, and is Hello or Join
				if frame.Hello == nil && frame.Join == nil {
					continue
				}
				up.First, up.Stripe = frame, frame.GetHello().GetStripe()
				if frame.Hello == nil {
					up.Stripe = frame.Join.Stripe
				}
			} else { // as its dialler does: what was asked for
				up.Stripe %= uint32(cfg.Stripes)
			}
			tell(up)
		case 1:
			if c := conns[stripe]; c != nil {
				tell(&messages.FrameIn{Conn: c, Frame: frame})
			}
		case 2:
			if c := conns[stripe]; c != nil {
				tell(&messages.StripeDown{Conn: c, Err: errors.New("down")})
				delete(conns, stripe)
			}
		case 3: // the synchronisation actor's word
			if atHub {
				if s.hello != nil && frame.Welcome != nil {
					tell(&SayWelcome{Session: s.hello.First.Hello.GetSession(), Welcome: frame.Welcome})
				}
			} else if frame.Welcome != nil && s.asked { // it was shown one
				tell(&Established{Epoch: frame.Welcome.Epoch, Applied: frame.Welcome.EventsApplied})
			}
		case 4:
			if atHub && s.hello != nil && frame.Refused != nil {
				tell(&SayRefused{Session: s.hello.First.Hello.GetSession(), Refused: frame.Refused})
			}
		case 5:
			if !atHub {
				tell(&Connect{Hub: "h", Within: time.Hour})
			}
		case 6:
			if !atHub && frame.Hello != nil && s.first >= 0 && s.phase == syncing {
				tell(&SayHello{Hello: frame.Hello})
			}
		case 7:
			tell(tick{})
			tell(flushDue{})
		}
		if len(s.joins) > maxStripes || len(s.early) > maxEarly || len(s.conns) > maxStripes {
			t.Fatalf("%d joins, %d early frames, %d stripes", len(s.joins), len(s.early), len(s.conns))
		}
		if live := s.lines.live(); s.phase == streaming && live == 0 {
			t.Fatal("it streams over no stripe")
		}
		if s.phase == streaming && atHub && s.hello != nil {
			t.Fatal("it streams and has a Hello to be answered")
		}
	}
	if l := fmt.Sprint(s.state()); l == "" {
		t.Fatal("no state")
	}
}
