package pgstore

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
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
	conformance.Run(t, func(t *testing.T, m journal.Measures) journal.Hub {
		return open(t, Options{DSN: server.Database(t), KeepMessages: conformance.KeepMessages, KeepEvents: conformance.KeepEvents, Measures: m})
	})
}

// TestConformanceElsewhere runs the suite on a server that is there already, through
// a pool or of another make: RINGWAY_TEST_DSN is its DSN as keywords and values.
func TestConformanceElsewhere(t *testing.T) {
	dsn := os.Getenv("RINGWAY_TEST_DSN")
	if dsn == "" {
		t.Skip("RINGWAY_TEST_DSN is not set: \"host=... user=... dbname=postgres\", of a user who may create databases")
	}
	made := 0
	conformance.Run(t, func(t *testing.T, m journal.Measures) journal.Hub {
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		made++
		name := fmt.Sprintf("ringway_test_%d_%d", os.Getpid(), made)
		if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // FORCE: a pool keeps its connections
			conn, err := pgx.Connect(context.Background(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
				t.Logf("left behind: %v", err)
			}
		})
		return open(t, Options{DSN: dsn + " dbname=" + name, KeepMessages: conformance.KeepMessages, KeepEvents: conformance.KeepEvents, Measures: m})
	})
}

// The statistics answer what the census asks, whatever they know yet.
func TestCensus(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t)})
	s.takeCensus()
	if c := s.Census(); c.Users < 0 || c.Fresh < 0 {
		t.Errorf("%+v: the statistics were not asked", c)
	}
}
