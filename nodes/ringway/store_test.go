package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/nodes/store/pgstore"
	"github.com/ringway-im/ringway/tests/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestStoreCopy(t *testing.T) {
	dir, dsn := t.TempDir(), pgtest.Shared(t).Database(t)
	copyTo := func(from, to string) (int, string) {
		var out bytes.Buffer
		status := run([]string{"store", "copy", "--from", from, "--to", to}, streams{&out, &out})
		return status, out.String()
	}
	for what, args := range map[string][2]string{
		"no hub's store": {t.TempDir(), dsn},
		"--to":           {dir, "postgres://%"},
	} {
		if status, out := copyTo(args[0], args[1]); status == exitOK || !strings.Contains(out, what) {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
	s, err := hubstore.Open(hubstore.Options{Dir: dir, Node: hubstore.Node, ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	s.PutUser(journal.User{Name: "anna"}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if status, out := copyTo(dir, dsn); status == exitOK {
		t.Errorf("copied from a store in use: %s", out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if status, out := copyTo(dir, dsn); status != exitOK || !strings.Contains(out, "1 users") {
		t.Fatalf("status %d: %s", status, out)
	}
	if status, out := copyTo(dir, dsn); status == exitOK || !strings.Contains(out, "was moved") {
		t.Errorf("copied twice: status %d: %s", status, out)
	}
	to, err := pgstore.Open(t.Context(), pgstore.Options{DSN: dsn, Node: "hub", Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, ok, err := to.User("anna"); !ok || err != nil {
		t.Error(fmt.Errorf("anna is not there: %w", err))
	}
}
