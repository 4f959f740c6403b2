package view

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what a node has to do after an answer of the lease store.
type Verdict int

// Verdicts.
const (
	Hold  Verdict = iota // own things until [Tenure.Until]
	Fence                // stop all that you own, then end the lease
	Wait                 // own nothing; end the lease, ask again later
)

func (v Verdict) String() string { return [...]string{"hold", "fence", "wait"}[v] }

// Tenure decides whether a node may own things: while its lease runs and it sees
// the majority of the nodes that hold leases.
//
//	        Renewed: Hold
//	out ────────────────────▶ holding ──┐ Renewed: Hold
//	 ▲                          │  ▲    │
//	 │                          │  └────┘
//	 └──────── Lapse ───────────┘
//	    Until has come, or Renewed says Fence
//
// A node that holds goes on for one TTL although it sees a minority only: what has
// just died is no longer seen, but its lease runs on for that long. Nobody can take
// over from it meanwhile, because it renews its lease. Times are of one monotonic
// clock. It may stand still while the machine is suspended: who holds has the store
// refuse to prolong a lease that has run out, and lapses then.
type Tenure struct {
	Node string        // name of its lease
	TTL  time.Duration // of leases

	holds    bool
	asked    time.Time // when the request was made that last prolonged the lease
	minority time.Time // since when it has seen a minority; zero when it does not
	why      string
}

// Holds says whether it may own things until [Tenure.Until].
func (t *Tenure) Holds() bool { return t.holds }

// Until is when it must have begun to stop all that it owns: 0.8 TTL after the
// request that last prolonged the lease.
func (t *Tenure) Until() time.Time { return t.asked.Add(t.TTL * 4 / 5) }

// Why says in words why it does not hold.
func (t *Tenure) Why() string { return t.why }

// Lapse ends the tenure.
func (t *Tenure) Lapse(why string) { t.holds, t.minority, t.why = false, time.Time{}, why }

// Renewed takes in the store's answer to a request made at asked: the nodes with
// running leases, t.Node among them. seen are the nodes that are seen now, by other means.
func (t *Tenure) Renewed(asked, now time.Time, live, seen []string) Verdict {
	if t.holds && !now.Before(t.Until()) {
		t.Lapse("the lease was not renewed in time")
		return Fence
	}
	if !now.Before(asked.Add(t.TTL * 4 / 5)) {
		if !t.holds {
			t.why = fmt.Sprintf("the lease store takes %v to answer, more than its lease of %v allows", now.Sub(asked), t.TTL)
			return Wait
		}
		return Hold // as long as the earlier answer allows
	}
	t.asked = asked
	count, lowest := 0, t.Node
	for _, node := range live {
		lowest = min(lowest, node)
		if node == t.Node || slices.Contains(seen, node) {
			count++
		}
	}
	sees := fmt.Sprintf("sees %d of %d nodes that hold leases", count, len(live))
	switch half := 2*count == len(live); {
	case 2*count > len(live),
		// Of two halves, one stays: where the lowest name is. Neither takes up anew.
		t.holds && half && (lowest == t.Node || slices.Contains(seen, lowest)):
		t.holds, t.minority = true, time.Time{}
		return Hold
	case !t.holds:
		t.why = sees
		return Wait
	case t.minority.IsZero():
		t.minority = now
		return Hold
	case now.Sub(t.minority) < t.TTL:
		return Hold
	}
	t.Lapse(sees)
	return Fence
}
