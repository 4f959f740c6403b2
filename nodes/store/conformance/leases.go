package conformance

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
)

// RunLeases runs what every implementation of journal.Leases must do. open gives each
// test an empty store, and what sets its clock forward against its leases.
func RunLeases(t *testing.T, open func(t *testing.T) (s journal.Leases, later func(time.Duration))) {
	for name, run := range map[string]func(l leases){
		"Renew": leases.renewed, "Lapse": leases.lapsed, "Acquire": leases.acquired, "Release": leases.released, "End": leases.ended,
	} {
		t.Run(name, func(t *testing.T) {
			s, later := open(t)
			run(leases{t, s, later})
		})
	}
}

const leaseTTL = time.Hour

// leases is a store in a test: of one thing that a and b would own.
type leases struct {
	t     *testing.T
	s     journal.Leases
	later func(time.Duration)
}

func (l leases) renew(node string, live ...string) {
	l.t.Helper()
	got, err := l.s.Renew(l.t.Context(), node, leaseTTL)
	l.live(got, err, live)
}

// prolong wants ErrNoLease where live is empty.
func (l leases) prolong(node string, live ...string) {
	l.t.Helper()
	got, err := l.s.Prolong(l.t.Context(), node, leaseTTL)
	if len(live) == 0 && errors.Is(err, journal.ErrNoLease) {
		return
	}
	l.live(got, err, live)
}

func (l leases) live(got []string, err error, want []string) {
	l.t.Helper()
	if err != nil || len(want) == 0 || !slices.Equal(got, want) {
		l.t.Fatalf("live: %v, %v; want %v", got, err, want)
	}
}

func (l leases) acquire(node string) uint64 {
	l.t.Helper()
	epoch, err := l.s.Acquire(l.t.Context(), "ring", edge, node)
	if err != nil {
		l.t.Fatalf("%s acquires: %v", node, err)
	}
	l.owner(node, epoch)
	return epoch
}

func (l leases) owner(node string, epoch uint64) {
	l.t.Helper()
	if is, under, err := l.s.Owner(l.t.Context(), "ring", edge); is != node || under != epoch || err != nil {
		l.t.Fatalf("owner %q under %d, %v; want %q under %d", is, under, err, node, epoch)
	}
}

func (l leases) owned(node, by string) {
	l.t.Helper()
	var owned *journal.OwnedError
	if _, err := l.s.Acquire(l.t.Context(), "ring", edge, node); !errors.As(err, &owned) || owned.Node != by || owned.Kind != "ring" || owned.Identity != edge {
		l.t.Fatalf("%s acquires what %s owns: %v", node, by, err)
	}
}

func (l leases) renewed() {
	l.prolong("b") // it has none: none is made
	l.renew("b", "b")
	l.prolong("b", "b")
	l.renew("a", "a", "b")
	l.later(leaseTTL * 3 / 4)
	l.prolong("b", "a", "b")
	l.later(leaseTTL * 3 / 4)
	l.prolong("b", "b")
	l.renew("a", "a", "b")
}

// lapsed: whose lease has run out hears so, however often it asks, and whether or not
// others have noticed.
func (l leases) lapsed() {
	l.renew("a", "a")
	first := l.acquire("a")
	l.later(2 * leaseTTL)
	l.owner("", first)
	for range 2 {
		l.prolong("a")
	}
	l.renew("a", "a") // nobody has taken it: it is a's until End
	l.owner("a", first)
	l.renew("b", "a", "b")
	l.owned("b", "a")
	l.later(2 * leaseTTL)
	l.renew("b", "b")
	if second := l.acquire("b"); second <= first {
		l.t.Errorf("epoch %d after %d", second, first)
	}
	l.prolong("a")
	l.renew("a", "a", "b")
	l.owned("a", "b")
}

func (l leases) acquired() {
	if _, err := l.s.Acquire(l.t.Context(), "ring", edge, "a"); !errors.Is(err, journal.ErrNoLease) {
		l.t.Errorf("acquired without a lease: %v", err)
	}
	l.owner("", 0)
	l.renew("a", "a")
	l.renew("b", "a", "b")
	first := l.acquire("a")
	if second := l.acquire("a"); second <= first {
		l.t.Errorf("epoch %d after %d", second, first)
	}
	l.owned("b", "a")
	if epoch, err := l.s.Acquire(l.t.Context(), "client", edge, "b"); err != nil || epoch == 0 {
		l.t.Errorf("acquired of another kind: %d, %v", epoch, err)
	}
}

// released: by its owner under its epoch, and by nothing else. What was owned under an
// epoch before is given back late.
func (l leases) released() {
	l.renew("a", "a")
	l.renew("b", "a", "b")
	before := l.acquire("a")
	now := l.acquire("a")
	release := func(node string, epoch uint64) {
		l.t.Helper()
		if err := l.s.Release(l.t.Context(), "ring", edge, node, epoch); err != nil {
			l.t.Fatal(err)
		}
	}
	release("b", now)
	release("a", before)
	release("a", now+1)
	l.owner("a", now)
	release("a", now)
	l.owner("", now)
	if next := l.acquire("b"); next <= now {
		l.t.Errorf("epoch %d after %d", next, now)
	}
}

func (l leases) ended() {
	l.renew("a", "a")
	l.renew("b", "a", "b")
	first := l.acquire("a")
	for range 2 {
		if err := l.s.End(l.t.Context(), "a"); err != nil {
			l.t.Fatal(err)
		}
	}
	l.owner("", first)
	l.prolong("a")
	l.prolong("b", "b")
	if second := l.acquire("b"); second <= first {
		l.t.Errorf("epoch %d after %d", second, first)
	}
}
