// Package memlease keeps leases in memory: for tests of several nodes in one
// process.
package memlease

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
)

// ErrDown is what a store that is down answers.
var ErrDown = errors.New("memlease: the lease store is down")

// Store is a lease store that all nodes of a test share. The zero value is ready.
type Store struct {
	Now func() time.Time // its clock; nil: [time.Now]

	mu     sync.Mutex
	nodes  map[string]time.Time // until when the lease runs
	owners map[[2]string]owner
	refuse func(node string) bool
}

type owner struct {
	node  string
	epoch uint64
}

var _ journal.Leases = (*Store)(nil)

// Down makes calls of those nodes fail with [ErrDown] from now on; nil ends it.
// Owner, which no node asks for in its own name, fails if refuse("") is true.
func (s *Store) Down(refuse func(node string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// enter locks; the caller unlocks, also after an error.
func (s *Store) enter(ctx context.Context, node string) (now time.Time, err error) {
	s.mu.Lock()
	if s.nodes == nil {
		s.nodes, s.owners = map[string]time.Time{}, map[[2]string]owner{}
	}
	if s.refuse != nil && s.refuse(node) {
		return now, ErrDown
	}
	if s.Now != nil {
		return s.Now(), ctx.Err()
	}
	return time.Now(), ctx.Err()
}

// Renew implements [journal.Leases].
func (s *Store) Renew(ctx context.Context, node string, ttl time.Duration) ([]string, error) {
	now, err := s.enter(ctx, node)
	defer s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.renew(node, now, ttl), nil
}

// Prolong implements [journal.Leases].
func (s *Store) Prolong(ctx context.Context, node string, ttl time.Duration) ([]string, error) {
	now, err := s.enter(ctx, node)
	defer s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !s.nodes[node].After(now) {
		return nil, journal.ErrNoLease
	}
	return s.renew(node, now, ttl), nil
}

func (s *Store) renew(node string, now time.Time, ttl time.Duration) []string {
	s.nodes[node] = now.Add(ttl)
	var live []string
	for n, until := range s.nodes {
		if until.After(now) {
			live = append(live, n)
		}
	}
	slices.Sort(live)
	return live
}

// End implements [journal.Leases].
func (s *Store) End(ctx context.Context, node string) error {
	_, err := s.enter(ctx, node)
	defer s.mu.Unlock()
	if err != nil {
		return err
	}
	delete(s.nodes, node)
	for key, o := range s.owners {
		if o.node == node {
			s.owners[key] = owner{epoch: o.epoch}
		}
	}
	return nil
}

// Acquire implements [journal.Leases].
func (s *Store) Acquire(ctx context.Context, kind, identity, node string) (uint64, error) {
	now, err := s.enter(ctx, node)
	defer s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if !s.nodes[node].After(now) {
		return 0, journal.ErrNoLease
	}
	key := [2]string{kind, identity}
	o := s.owners[key]
	if o.node != "" && o.node != node && s.nodes[o.node].After(now) {
		return 0, &journal.OwnedError{Kind: kind, Identity: identity, Node: o.node}
	}
	s.owners[key] = owner{node, o.epoch + 1}
	return o.epoch + 1, nil
}

// Release implements [journal.Leases].
func (s *Store) Release(ctx context.Context, kind, identity, node string, epoch uint64) error {
	_, err := s.enter(ctx, node)
	defer s.mu.Unlock()
	if err != nil {
		return err
	}
	if key := [2]string{kind, identity}; s.owners[key] == (owner{node, epoch}) {
		s.owners[key] = owner{epoch: epoch}
	}
	return nil
}

// Owner implements [journal.Leases].
func (s *Store) Owner(ctx context.Context, kind, identity string) (string, uint64, error) {
	now, err := s.enter(ctx, "")
	defer s.mu.Unlock()
	if err != nil {
		return "", 0, err
	}
	o := s.owners[[2]string{kind, identity}]
	if o.node != "" && !s.nodes[o.node].After(now) {
		o.node = ""
	}
	return o.node, o.epoch, nil
}
