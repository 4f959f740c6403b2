package journal

import (
	"context"
	"fmt"
	"time"
)

// Leases keeps two hubs from owning one thing at a time (invariant I8). A hub owns
// it by its own lease, which it renews, and by the epoch under which it took it.
// Only the clock of the store is compared with itself: a hub counts its lease from
// before it asked.
//
// Calls wait for the store, until ctx ends: never call them from an actor's Receive.
type Leases interface {
	// Renew makes or prolongs the lease of node by ttl from now, and returns the
	// names of all nodes whose leases are running, this one included. Who owned things
	// under the lease Prolongs it: that it had run out is not to pass unseen.
	Renew(ctx context.Context, node string, ttl time.Duration) (live []string, err error)
	// Prolong is Renew while the lease of node is running. ErrNoLease when it is not, again
	// until Renew: what node owned may have another owner, whatever node's clock says.
	Prolong(ctx context.Context, node string, ttl time.Duration) (live []string, err error)
	// End gives the lease of node up, and with it all that it owns.
	End(ctx context.Context, node string) error
	// Acquire makes node the owner of identity of that kind, under an epoch higher
	// than all before. The error is *OwnedError while another node owns it whose
	// lease is running, ErrNoLease when that of node is not.
	Acquire(ctx context.Context, kind, identity, node string) (epoch uint64, err error)
	// Release gives identity free if node still owns it under epoch; else it does nothing:
	// one that comes late frees nothing that node has acquired since. (Hub.Claim raises
	// the epoch of rings: Owner says to what.)
	Release(ctx context.Context, kind, identity, node string, epoch uint64) error
	// Owner returns who owns identity; node is "" if nobody with a running lease does.
	Owner(ctx context.Context, kind, identity string) (node string, epoch uint64, err error)
}

// OwnedError says that something belongs to another node for now.
type OwnedError struct{ Kind, Identity, Node string }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("journal: %s %q is owned by node %s", e.Kind, e.Identity, e.Node)
}
