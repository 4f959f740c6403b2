// Package hub holds the actors of the hub's people side: who is connected, what
// they are to be shown, and to whom a handset's message goes.
//
//	clients                    one a hub: finds or starts a client, passes wake-ups on
//	 └─ client                 one a user who is or was just connected: presence
//	     └─ device             one a stream: reads the store after its own position
//	router                     one an edge: takes what the up mirror hands on
//
// Whatever fails is stopped, never restarted: everything durable is in the
// store, a device's subscriber is told and connects again, a client is started
// by the next one who asks for it. Nothing here holds a message: a device that
// is slow reads later, the store is its queue.
package hub

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/scheduler"
)

// stopped is the fate of every child in this package.
var stopped = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })

// later sends the actor itself a message after d. A stale one is the
// receiver's to recognise.
func later(ctx actor.Context, d time.Duration, message any) {
	scheduler.NewTimerScheduler(ctx.ActorSystem().Root).SendOnce(d, ctx.Self(), message)
}
