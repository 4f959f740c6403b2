package interop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
)

// sample is 2,000 real texts.
const sample = "testdata/nus-sms.jsonl.gz"

// handsets is how many mobile stations take part: texts are dealt to them in turn.
const handsets = 20

func handset(i int) string { return fmt.Sprintf("%s%07d", demo.Prefix, i%handsets+1) }

// dealt is what each handset gets, or sends, in order.
func dealt(texts []string) map[string][]string {
	by := map[string][]string{}
	for i, text := range texts {
		by[handset(i)] = append(by[handset(i)], text)
	}
	return by
}

// limit is how long a run may take until its last message has come.
func limit(texts []string) time.Duration {
	return 30*time.Second + time.Duration(len(texts))*20*time.Millisecond
}

// eventually polls until missing returns "", which is what there is still to
// wait for, or fails the test with it.
func eventually(t *testing.T, limit time.Duration, missing func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		last := missing()
		if last == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %s", limit, last)
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

// same fails the test unless every number has exactly the texts that it should
// have, in order.
func same(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	for number, texts := range want {
		if slices.Equal(got[number], texts) {
			continue
		}
		first := 0
		for first < min(len(got[number]), len(texts)) && got[number][first] == texts[first] {
			first++
		}
		around := func(s []string) string {
			return fmt.Sprintf("%.400q", strings.Join(s[min(first, len(s)):min(first+3, len(s))], " | "))
		}
		t.Errorf("%s, %s: got %d texts, want %d; the same without order: %v; first difference at %d:\n got %s\nwant %s", what, number,
			len(got[number]), len(texts), slices.Equal(sorted(got[number]), sorted(texts)), first, around(got[number]), around(texts))
	}
	for number, texts := range got {
		if want[number] == nil {
			t.Errorf("%s, %s: got %q, want nothing", what, number, texts)
		}
	}
}

// ordered is for what may come in any order.
func ordered(by map[string][]string) map[string][]string {
	out := map[string][]string{}
	for number, texts := range by {
		out[number] = sorted(texts)
	}
	return out
}

// overtaking counts texts that came before one that was sent earlier.
func overtaking(got, sent map[string][]string) (n int) {
	for number, texts := range sent {
		places := map[string][]int{}
		for i, text := range texts {
			places[text] = append(places[text], i)
		}
		earliest := len(texts)
		for _, text := range slices.Backward(got[number]) {
			if p := places[text]; len(p) > 0 {
				place := p[len(p)-1]
				places[text] = p[:len(p)-1]
				if place > earliest {
					n++
				}
				earliest = min(earliest, place)
			}
		}
	}
	return n
}

func sorted(texts []string) []string {
	s := slices.Clone(texts)
	slices.Sort(s)
	return s
}
