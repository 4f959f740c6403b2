package memlease_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/cluster/memlease"
	"github.com/ringway-im/ringway/nodes/store/conformance"
)

func TestLeasesConform(t *testing.T) {
	conformance.RunLeases(t, func(*testing.T) (journal.Leases, func(time.Duration)) {
		now := time.Unix(0, 0)
		return &memlease.Store{Now: func() time.Time { return now }}, func(d time.Duration) { now = now.Add(d) }
	})
}

func TestLeases(t *testing.T) {
	now := time.Unix(0, 0)
	s := &memlease.Store{Now: func() time.Time { return now }}
	ctx := t.Context()
	acquire := func(node string, want uint64, owned string, wantErr error) {
		t.Helper()
		epoch, err := s.Acquire(ctx, "ring", "manila-1", node)
		var o *journal.OwnedError
		if owned != "" {
			if !errors.As(err, &o) || o.Node != owned {
				t.Errorf("error %v; want that %s owns it", err, owned)
			}
		} else if epoch != want || !errors.Is(err, wantErr) {
			t.Errorf("epoch %d, error %v; want %d, %v", epoch, err, want, wantErr)
		}
	}
	renew := func(node string, want ...string) {
		t.Helper()
		if live, err := s.Renew(ctx, node, time.Second); err != nil || !slices.Equal(live, want) {
			t.Errorf("live %v, error %v; want %v", live, err, want)
		}
	}
	acquire("a", 0, "", journal.ErrNoLease)
	renew("a", "a")
	renew("b", "a", "b")
	acquire("a", 1, "", nil)
	acquire("a", 2, "", nil)
	acquire("b", 0, "a", nil)
	if err := s.Release(ctx, "ring", "manila-1", "a", 3); err != nil {
		t.Fatal(err)
	}
	acquire("b", 0, "a", nil) // that was an epoch to come
	if err := s.Release(ctx, "ring", "manila-1", "a", 1); err != nil {
		t.Fatal(err)
	}
	acquire("b", 0, "a", nil) // and that one of before
	if err := s.Release(ctx, "ring", "manila-1", "a", 2); err != nil {
		t.Fatal(err)
	}
	acquire("b", 3, "", nil)
	if node, epoch, err := s.Owner(ctx, "ring", "manila-1"); node != "b" || epoch != 3 || err != nil {
		t.Errorf("owner %s under %d: %v", node, epoch, err)
	}
	now = now.Add(500 * time.Millisecond)
	renew("a", "a", "b")
	now = now.Add(500 * time.Millisecond) // b's has run out
	if node, _, _ := s.Owner(ctx, "ring", "manila-1"); node != "" {
		t.Errorf("owner %s", node)
	}
	acquire("a", 4, "", nil)
	renew("b", "a", "b")
	acquire("b", 0, "a", nil)
	if err := s.End(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	acquire("b", 5, "", nil)

	s.Down(func(node string) bool { return node == "b" })
	acquire("b", 0, "", memlease.ErrDown)
	renew("a", "a", "b")
}
