package cluster

import (
	"bytes"
	"context"
	"log"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// memberlistLog makes memberlist write there. Its lines carry their level in brackets.
func memberlistLog(to *zap.Logger) *log.Logger { return log.New(levels{to.Named("gossip")}, "", 0) }

type levels struct{ log *zap.Logger }

func (l levels) Write(line []byte) (int, error) {
	level, text := zapcore.DebugLevel, bytes.TrimSpace(line)
	for prefix, lv := range map[string]zapcore.Level{"[ERR] ": zap.WarnLevel, "[WARN] ": zap.InfoLevel, "[INFO] ": zap.DebugLevel, "[DEBUG] ": zap.DebugLevel} {
		if rest, ok := bytes.CutPrefix(text, []byte(prefix)); ok {
			level, text = lv, rest
		}
	}
	l.log.Log(level, string(text))
	return len(line), nil
}

// actorLog makes an actor system write there. Its info level is about its own
// workings and dead letters, which show messages with their texts: debug.
func actorLog(to *zap.Logger) actor.ConfigOption {
	return actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(quiet{zapslog.NewHandler(to.Named("actors").Core())})
	})
}

type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lower(level))
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	if !q.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func lower(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
