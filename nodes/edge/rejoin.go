package edge

import (
	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/session"
)

// idle stands in the outlet's place while nothing may be submitted. What is handed
// on stays in its slot, and is handed on anew when the rings start again.
func idle(ctx actor.Context) {
	if _, ok := ctx.Message().(session.Drain); ok {
		ctx.Stop(ctx.Self())
	}
}

// rejoin is told by the synchronisation; a second word before the first is taken
// over says the same.
func (e *Edge) rejoin(m *messages.Rejoin) {
	select {
	case e.rejoins <- m:
	default:
	}
}

// joinAnew takes over what the hub says (see actors/link, Rejoin): the journal is
// changed while nobody uses it, then all starts from it as after a restart.
func (e *Edge) joinAnew(protocol smsc.Protocol, plain *zap.Logger) {
	for {
		select {
		case <-e.closed:
			return
		case m := <-e.rejoins:
			if err := e.takeOver(m, protocol, plain); err != nil {
				e.kv.Fatal(err)
				return
			}
		}
	}
}

func (e *Edge) takeOver(m *messages.Rejoin, protocol smsc.Protocol, plain *zap.Logger) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	e.stopActors()
	if err := e.store.Rejoin(m); err != nil {
		return err
	}
	e.log.Info("joined anew", zap.Uint64("epoch", m.Epoch), zap.Uint64("up_above", m.UpAbove),
		zap.Uint64("events_above", m.EventsAbove), zap.Int("settled", len(m.Settled)))
	e.start(protocol, plain)
	return nil
}

func (e *Edge) pids() (session, mirror, buffer *actor.PID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.session, e.mirror, e.buffer
}

// Backup copies the journal into a new folder while the edge runs.
func (e *Edge) Backup(dir string) error { return e.store.Backup(dir) }
