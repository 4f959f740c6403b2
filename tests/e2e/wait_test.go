package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// long skips what takes more than a few seconds; make's targets set the variable.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("RINGWAY_LONG") != "1" {
		t.Skip("it takes long: set RINGWAY_LONG=1")
	}
}

func isLong() bool { return os.Getenv("RINGWAY_LONG") == "1" }

// eventually polls until missing returns "", which is what there is still to
// wait for, or fails the test with it.
func eventually(t testing.TB, limit time.Duration, missing func() string) {
	t.Helper()
	if last := await(t.Context(), limit, missing); last != "" {
		t.Fatalf("after %v: %s", limit, last)
	}
}

func await(ctx context.Context, limit time.Duration, missing func() string) (last string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if last = missing(); last == "" {
			return ""
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// atLeast is for eventually.
func atLeast(what string, got, want int) string {
	if got >= want {
		return ""
	}
	return fmt.Sprintf("%s: %d of %d", what, got, want)
}

// sameSequence fails the test unless got is want: nothing lost, nothing
// doubled, in order.
func sameSequence(t testing.TB, who string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	count := map[string]int{}
	for _, text := range want {
		count[text]++
	}
	for _, text := range got {
		count[text]--
	}
	var lost, surplus int
	for _, n := range count {
		lost, surplus = lost+max(n, 0), surplus+max(-n, 0)
	}
	first := 0
	for first < min(len(got), len(want)) && got[first] == want[first] {
		first++
	}
	around := func(s []string) string {
		return fmt.Sprintf("%.400q", strings.Join(s[min(first, len(s)):min(first+3, len(s))], " | "))
	}
	t.Errorf("%s: got %d texts, want %d; lost %d, doubled or altered %d; first difference at %d:\n got %s\nwant %s",
		who, len(got), len(want), lost, surplus, first, around(got), around(want))
}
