package actorlog_test

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringway-im/ringway/nodes/actorlog"
)

func TestDeadLettersAreForDebugging(t *testing.T) {
	for level, want := range map[zapcore.Level]int{zap.DebugLevel: 1, zap.InfoLevel: 0} {
		core, logged := observer.New(level)
		system := actor.NewActorSystem(actorlog.To(zap.New(core)))
		system.Root.Send(actor.NewPID("nonhost", "nobody"), "a private text")
		system.Logger().With("edge", "manila-1").Warn("kept")
		if n := logged.FilterMessage("[DeadLetter]").Len(); n != want {
			t.Errorf("at level %v: %d dead letters logged, want %d", level, n, want)
		}
		if logged.FilterMessage("kept").FilterFieldKey("edge").Len() != 1 {
			t.Errorf("at level %v: a warning is missing", level)
		}
		system.Shutdown()
	}
}
