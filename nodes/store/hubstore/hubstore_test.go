package hubstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/conformance"
)

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = "hub"
	}
	opts.Node = "hub"
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) journal.Hub { return open(t, Options{FS: vfs.NewMem()}) })
	})
	t.Run("inline", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) journal.Hub { return open(t, Options{FS: vfs.NewMem(), Inline: true}) })
	})
	t.Run("disk", func(t *testing.T) {
		conformance.Run(t, func(t *testing.T) journal.Hub { return open(t, Options{Dir: t.TempDir()}) })
	})
}
