package pgstore

import (
	"testing"

	"github.com/ringway-im/ringway/tests/pgtest"
)

// The first hub's secret is that of all.
func TestSecret(t *testing.T) {
	dsn := pgtest.Shared(t).Database(t)
	for _, node := range []string{"hub-1", "hub-2", "hub-1"} {
		s := open(t, Options{DSN: dsn, Node: node})
		secret, err := s.Secret(t.Context(), "session.key", []byte("of "+node))
		if err != nil || string(secret) != "of hub-1" {
			t.Fatalf("%s has %q, %v; want that of hub-1", node, secret, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
