package link

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// after sends msg to the actor itself later: the one way to wait. The message
// carries what it was set for; stale ones are compared and dropped.
//
// What is due at once goes straight to the mailbox. Apart from being quicker, a
// timer of zero inside a testing/synctest bubble runs on its caller's stack with the
// bubble's one race context (Go 1.26, runtime.timer.modify): two at a time crash the
// race detector.
func after(ctx actor.Context, d time.Duration, msg any) {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	if d <= 0 {
		root.Send(self, msg)
		return
	}
	time.AfterFunc(d, func() { root.Send(self, msg) })
}
