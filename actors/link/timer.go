package link

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// after sends msg to the actor itself later: the one way to wait. The message
// carries what it was set for; stale ones are compared and dropped.
func after(ctx actor.Context, d time.Duration, msg any) *time.Timer {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	return time.AfterFunc(d, func() { root.Send(self, msg) })
}
