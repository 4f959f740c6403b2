package simulation

import (
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/ringway-im/ringway/smsc/conn"
)

// mailbox is an actor's: the thread takes one message after the other out of it,
// when it is this mailbox's turn.
type mailbox struct {
	process *process
	number  int
	name    string

	invoker   actor.MessageInvoker
	onCaller  bool // production runs this actor on the goroutine that has news for it
	user      []any
	system    []any
	suspended bool
	queued    bool // in sim.ready
	running   bool
}

func (b *mailbox) PostUserMessage(message any)   { b.post(message) }
func (b *mailbox) PostSystemMessage(message any) { b.post(systemMessage{message}) }
func (b *mailbox) Start()                        {}
func (b *mailbox) UserMessageCount() int         { return len(b.user) }

func (b *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	b.invoker = invoker
	b.onCaller = dispatcher == actor.NewSynchronizedDispatcher(dispatcher.Throughput())
}

// systemMessage marks the runtime's own, which go first.
type systemMessage struct{ message any }

// ofSocket tells what the goroutines of an SMSC's socket post.
func ofSocket(message any) bool {
	switch message.(type) {
	case conn.Opened, conn.Packet, conn.Garbled, conn.Closed:
		return true
	}
	return false
}

func (b *mailbox) post(message any) {
	s := b.process.sim
	s.mu.Lock()
	if s.waiting || ofSocket(message) { // not the thread's
		s.arrivals = append(s.arrivals, arrival{b, message})
		s.left()
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	b.push(message, true)
}

// push is the thread's.
func (b *mailbox) push(message any, fromActor bool) {
	if b.process.deaf() {
		return
	}
	if m, ok := message.(systemMessage); ok {
		b.system = append(b.system, m.message)
	} else {
		b.user = append(b.user, message)
	}
	if fromActor && b.onCaller && b.process.sim.inline && !b.process.paused {
		for !b.running && !b.process.dead && b.busy() {
			b.take()
		}
	}
	b.enqueue()
}

func (b *mailbox) busy() bool { return len(b.system) > 0 || len(b.user) > 0 && !b.suspended }

func (b *mailbox) enqueue() {
	if b.busy() && !b.queued && !b.running && !b.process.dead {
		b.queued = true
		b.process.sim.ready = append(b.process.sim.ready, b)
	}
}

// step is this mailbox's turn.
func (b *mailbox) step() {
	if b.process.dead || !b.busy() {
		return
	}
	b.take()
	b.enqueue()
	b.process.stepped()
}

func (b *mailbox) take() {
	s := b.process.sim
	b.running = true
	var message any
	defer func() {
		b.running = false
		if p := recover(); p != nil && s.failed == nil {
			s.failed = fmt.Errorf("simulation: actor %s of %s failed at %s: %v\n%s", b.name, b.process.name, typeName(message), p, debug.Stack())
		}
	}()
	if len(b.system) > 0 {
		message, b.system = b.system[0], b.system[1:]
		b.noted(message)
		switch message.(type) {
		case *actor.SuspendMailbox:
			b.suspended = true
		case *actor.ResumeMailbox:
			b.suspended = false
		default:
			b.invoker.InvokeSystemMessage(message)
		}
		return
	}
	message, b.user = b.user[0], b.user[1:]
	b.noted(message)
	b.process.seen(message)
	b.invoker.InvokeUserMessage(message)
}

func (b *mailbox) noted(message any) {
	s := b.process.sim
	s.mix(uint64(b.number))
	if s.traced {
		s.note("%s %s#%d %s", b.process.name, b.name, b.number, typeName(message))
	} else {
		s.note("")
	}
}

func typeName(message any) string {
	_, m, _ := actor.UnwrapEnvelope(message)
	if m == nil {
		return "nothing"
	}
	return reflect.TypeOf(m).String()
}
