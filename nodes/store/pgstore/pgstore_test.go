package pgstore

import (
	"os"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/conformance"
	"github.com/ringway-im/ringway/tests/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	if opts.Node == "" {
		opts.Node, opts.Alone = "hub-1", true
	}
	opts.Logger = zaptest.NewLogger(t)
	s, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	server := pgtest.Shared(t)
	conformance.Run(t, func(t *testing.T) journal.Hub {
		return open(t, Options{DSN: server.Database(t), KeepMessages: conformance.KeepMessages, KeepEvents: conformance.KeepEvents})
	})
}
