package simulation

import (
	"sync"

	"go.uber.org/zap/zapcore"
)

// tally counts what the nodes warn of.
type tally struct {
	mu   *sync.Mutex
	seen map[string]int
}

func (t tally) Enabled(l zapcore.Level) bool               { return l >= zapcore.WarnLevel }
func (t tally) With([]zapcore.Field) zapcore.Core          { return t }
func (t tally) Sync() error                                { return nil }
func (t tally) Write(zapcore.Entry, []zapcore.Field) error { return nil }

func (t tally) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if t.Enabled(e.Level) && e.Message != "pebble" {
		t.mu.Lock()
		t.seen["said: "+e.Message]++
		t.mu.Unlock()
	}
	return c
}
