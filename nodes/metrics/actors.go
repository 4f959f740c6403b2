package metrics

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
)

// Mailboxes shows how many messages wait for a node's actors.
type Mailboxes struct {
	depth *Sampled
	node  string
}

// NewMailboxes returns those of one node: "hub" or "edge".
func NewMailboxes(r prometheus.Registerer, node string) *Mailboxes {
	return &Mailboxes{node: node, depth: NewSampled(r, "ringway_actor_mailbox_depth",
		"Messages that wait for an actor; slots, clients' devices and SMSC sessions are not looked at.", "node", "edge", "actor")}
}

// Watch has the mailbox of the actor with these props looked at, also when it is
// spawned anew. edge is "" where it serves all. remove ends it.
func (m *Mailboxes) Watch(edge, name string, props *actor.Props) (same *actor.Props, remove func()) {
	var now atomic.Pointer[actor.Mailbox]
	produce := actor.Unbounded()
	props.Configure(actor.WithMailbox(func() actor.Mailbox {
		mailbox := produce()
		now.Store(&mailbox)
		return mailbox
	}))
	return props, m.depth.Add(func() float64 {
		if mailbox := now.Load(); mailbox != nil {
			return float64((*mailbox).UserMessageCount())
		}
		return -1
	}, m.node, edge, name)
}

// DeadLetters counts what is told to actors that have ended, until stop.
func DeadLetters(r prometheus.Registerer, system *actor.ActorSystem) (stop func()) {
	letters := counter(r, "ringway_deadletters_total", "Messages to actors that have ended: usual where a session ends, else a bug.").WithLabelValues()
	subscription := system.EventStream.Subscribe(func(event any) {
		if _, ok := event.(*actor.DeadLetterEvent); ok {
			letters.Inc()
		}
	})
	return func() { system.EventStream.Unsubscribe(subscription) }
}
