package probe_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/scheduler"

	"github.com/ringway-im/ringway/tests/probe"
)

// What the actor under test, a sender that repeats what is not confirmed,
// exchanges with its neighbours.
type (
	Submit    struct{ Text string }
	Packet    struct{ Text string }
	Confirmed struct{}
	Submitted struct{ Text string }

	repeatDue struct{}
)

// NewSender sends each text to line every ten seconds until it is confirmed,
// then tells owner.
func NewSender(line, owner *actor.PID) *actor.Props {
	var text string
	return actor.PropsFromFunc(func(ctx actor.Context) {
		switch m := ctx.Message().(type) {
		case Submit:
			text = m.Text
			ctx.Request(line, Packet{text})
			scheduler.NewTimerScheduler(ctx.ActorSystem().Root).SendOnce(10*time.Second, ctx.Self(), repeatDue{})
		case repeatDue:
			if text != "" {
				ctx.Send(ctx.Self(), Submit{text})
			}
		case Confirmed:
			ctx.Send(owner, Submitted{text})
			text = ""
		}
	})
}

// A test reads as the conversation of the actor with its neighbours. In a
// synctest bubble the silence of nine seconds costs no time and is certain.
func testSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		line, owner := probe.New(t, system, "line"), probe.New(t, system, "owner")
		sender := system.Root.Spawn(NewSender(line.PID(), owner.PID()))

		owner.Tell(sender, Submit{"one"})
		probe.Expect[Packet](line)
		line.ExpectNothing(9 * time.Second)

		probe.Expect[Packet](line) // again: nobody confirmed it
		line.Reply(Confirmed{})
		probe.Expect[Submitted](owner)
		line.ExpectNothing(time.Hour)
	})
}

func Example() {
	_ = testSender // in a file of your own it is called TestSender
}
