package cluster

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox answers what is still in it when its grain has stopped as a dead letter:
// protoactor drops that silently, and who asked would wait in vain for an answer
// that it could get from the next owner.
type mailbox struct {
	actor.Mailbox
	actor.MessageInvoker
	self    interface{ Self() *actor.PID }
	system  *actor.ActorSystem
	stopped atomic.Bool
}

func newMailbox(system *actor.ActorSystem) actor.MailboxProducer {
	inner := actor.Unbounded()
	return func() actor.Mailbox { return &mailbox{Mailbox: inner(), system: system} }
}

// RegisterHandlers implements actor.Mailbox.
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.MessageInvoker = invoker
	m.self, _ = invoker.(interface{ Self() *actor.PID })
	m.Mailbox.RegisterHandlers(m, dispatcher)
}

// InvokeSystemMessage implements actor.MessageInvoker.
func (m *mailbox) InvokeSystemMessage(message any) {
	m.MessageInvoker.InvokeSystemMessage(message)
	switch message.(type) {
	case *actor.Stop, *actor.Terminated: // either can be the last that an actor takes
		if m.self == nil || m.stopped.Load() {
			return
		}
		if _, alive := m.system.ProcessRegistry.GetLocal(m.self.Self().Id); !alive {
			m.stopped.Store(true)
			m.PostSystemMessage(&actor.ResumeMailbox{}) // one that failed is suspended
		}
	}
}

// InvokeUserMessage implements actor.MessageInvoker.
func (m *mailbox) InvokeUserMessage(message any) {
	if !m.stopped.Load() {
		m.MessageInvoker.InvokeUserMessage(message)
		return
	}
	_, content, sender := actor.UnwrapEnvelope(message)
	m.system.EventStream.Publish(&actor.DeadLetterEvent{PID: m.self.Self(), Message: content, Sender: sender})
}
