package view_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringway-im/ringway/cluster/view"
)

// TestOwnersAreEven: of 1,000 identities, each of n alike named nodes gets its share,
// give or take a fifth.
func TestOwnersAreEven(t *testing.T) {
	for _, pattern := range []string{"hub-%d", "10.0.0.%d:7000", "%d"} {
		for n := 2; n <= 5; n++ {
			var nodes []string
			for i := range n {
				nodes = append(nodes, fmt.Sprintf(pattern, i+1))
			}
			count := map[string]int{}
			for i := range 1000 {
				count[view.Owner(nodes, "ring", fmt.Sprintf("edge-%d", i))]++
			}
			for _, node := range nodes {
				if share := 1000 / n; count[node] < share*4/5 || count[node] > share*6/5 {
					t.Errorf("%d nodes like %s: %v", n, nodes[0], count)
				}
			}
		}
	}
	if got := view.Owner(nil, "ring", "edge-1"); got != "" {
		t.Errorf("nobody is %q", got)
	}
}

// TestMovesAreFew: a node that joins takes only what it gets, in whatever order the
// others are named.
func TestMovesAreFew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.SliceOfNDistinct(rapid.StringN(1, 8, -1), 2, 6, rapid.ID[string]).Draw(t, "nodes")
		joins := nodes[0]
		shuffled := rapid.Permutation(nodes).Draw(t, "shuffled")
		for i := range 50 {
			identity := fmt.Sprint("edge-", i)
			before, after := view.Owner(nodes[1:], "ring", identity), view.Owner(shuffled, "ring", identity)
			if after != before && after != joins {
				t.Fatalf("%s moved from %q to %q when %q joined", identity, before, after, joins)
			}
		}
	})
}

const ttl = 4 * time.Second

var start = time.Unix(0, 0)

// step is an answer of the store, asked for at a time in milliseconds.
type step struct {
	at         int
	live, seen []string
	want       view.Verdict
}

func TestTenure(t *testing.T) {
	a, b, c := "a/1", "b/1", "c/1"
	for name, tc := range map[string]struct {
		node  string
		steps []step
	}{
		"alone": {a, []step{{0, []string{a}, nil, view.Hold}}},
		"the second waits until it sees the first": {b, []step{
			{0, []string{a, b}, []string{b}, view.Wait},
			{800, []string{a, b}, []string{a, b}, view.Hold},
		}},
		"the first goes on while it does not see the second yet": {b, []step{
			{0, []string{b}, []string{b}, view.Hold},
			{800, []string{a, b}, []string{b}, view.Hold},
			{1600, []string{a, b}, []string{a, b}, view.Hold},
		}},
		"a survivor of two goes on: the other's lease runs out": {b, []step{
			{0, []string{a, b}, []string{a, b}, view.Hold},
			{2400, []string{a, b}, []string{b}, view.Hold},
			{4000, []string{a, b}, []string{b}, view.Hold},
			{4800, []string{b}, []string{b}, view.Hold},
			{5600, []string{b}, []string{b}, view.Hold},
		}},
		"two survivors of three are the majority at once": {b, []step{
			{0, []string{a, b, c}, []string{a, b, c}, view.Hold},
			{800, []string{a, b, c}, []string{b, c}, view.Hold},
		}},
		"cut off from two who live": {a, []step{
			{0, []string{a, b, c}, []string{a, b, c}, view.Hold},
			{800, []string{a, b, c}, []string{a}, view.Hold},
			{3200, []string{a, b, c}, []string{a}, view.Hold},
			{4800, []string{a, b, c}, []string{a}, view.Fence},
			{5600, []string{a, b, c}, []string{a}, view.Wait},
			{6400, []string{a, b, c}, []string{a, b, c}, view.Hold},
		}},
		"of two halves the lowest name stays": {a, []step{
			{0, []string{a, b}, []string{a, b}, view.Hold},
			{2400, []string{a, b}, []string{a}, view.Hold},
			{4800, []string{a, b}, []string{a}, view.Hold},
			{7200, []string{a, b}, []string{a}, view.Hold},
		}},
		"and the other goes": {b, []step{
			{0, []string{a, b}, []string{a, b}, view.Hold},
			{2400, []string{a, b}, []string{b}, view.Hold},
			{4800, []string{a, b}, []string{b}, view.Hold},
			{6400, []string{a, b}, []string{b}, view.Fence},
		}},
		"half is not enough to take up": {a, []step{{0, []string{a, b}, []string{a}, view.Wait}}},
		"woken after its lease":         {a, []step{{0, []string{a}, []string{a}, view.Hold}, {3200, []string{a}, []string{a}, view.Fence}}},
	} {
		t.Run(name, func(t *testing.T) {
			tenure := view.Tenure{Node: tc.node, TTL: ttl}
			for _, s := range tc.steps {
				at := start.Add(time.Duration(s.at) * time.Millisecond)
				if got := tenure.Renewed(at, at, s.live, s.seen); got != s.want || tenure.Holds() != (got == view.Hold) {
					t.Fatalf("at %d ms: %v (holds %v); want %v: %s", s.at, got, tenure.Holds(), s.want, tenure.Why())
				}
				if got := tenure.Until(); tenure.Holds() && !got.Equal(at.Add(3200*time.Millisecond)) {
					t.Errorf("at %d ms: holds until %v", s.at, got)
				}
			}
		})
	}
}

// TestSlowStore: an answer counts from when it was asked for.
func TestSlowStore(t *testing.T) {
	tenure := view.Tenure{Node: "a/1", TTL: ttl}
	if got := tenure.Renewed(start, start.Add(3500*time.Millisecond), []string{"a/1"}, nil); got != view.Wait {
		t.Errorf("an answer after 3.5 s of a lease of 4 s: %v; want wait", got)
	}
	if got := tenure.Renewed(start, start.Add(time.Second), []string{"a/1"}, nil); got != view.Hold || !tenure.Until().Equal(start.Add(3200*time.Millisecond)) {
		t.Errorf("an answer after 1 s: %v until %v", got, tenure.Until())
	}
}
