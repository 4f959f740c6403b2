// Package search walks every state of a small system, breadth first: the first
// violation it meets is one with the fewest steps. It is deterministic: the same
// system gives the same states, the same depth and the same trace.
package search

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// System is what to walk. L names a step and is small: one is kept per state.
type System[S any, L comparable] struct {
	Init S
	// Next yields each step that is possible and where it leads. A fault is what
	// need not happen: a crash, a cut.
	Next func(s S, yield func(step L, fault bool, next S))
	// AppendKey appends what tells states apart.
	AppendKey func(s S, b []byte) []byte
	// Check refuses a state.
	Check func(S) error
	// Done says whether nothing remains to be done. From every state one such must
	// be within reach without faults. nil: nothing is asked.
	Done func(S) bool
	// Max bounds the number of states; 0: no bound.
	Max int
}

// Result is what a walk saw.
type Result struct {
	States, Steps, Depth int
	Complete             bool // every state that can be reached was checked
}

// Violation is a state that Check refused, or from which the end is out of reach.
type Violation[S any, L comparable] struct {
	Err   error
	Steps []L // from Init
	State S
}

func (v *Violation[S, L]) Error() string {
	return fmt.Sprintf("%v, after %d steps", v.Err, len(v.Steps))
}

// Unwrap gives what Check said.
func (v *Violation[S, L]) Unwrap() error { return v.Err }

// ErrStuck: without a further fault, not everything that was begun can end.
var ErrStuck = errors.New("something stops for good")

type from[L comparable] struct {
	parent int32
	depth  int32
	step   L
}

// Walk searches until a violation, the bound or the end.
func Walk[S any, L comparable](sys System[S, L]) (Result, *Violation[S, L]) {
	var (
		seen   = map[[16]byte]int32{}
		how    []from[L]
		queue  []S
		done   []int32
		edges  [][2]int32 // without faults, from each state to the next
		result Result
		buf    []byte
	)
	violation := func(i int32, s S, err error) *Violation[S, L] {
		v := &Violation[S, L]{Err: err, State: s}
		for ; how[i].parent >= 0; i = how[i].parent {
			v.Steps = append([]L{how[i].step}, v.Steps...)
		}
		return v
	}
	visit := func(parent int32, step L, s S) (int32, bool) {
		buf = sys.AppendKey(s, buf[:0])
		sum := sha256.Sum256(buf)
		key := [16]byte(sum[:16])
		if i, ok := seen[key]; ok {
			return i, false
		}
		i := int32(len(how))
		seen[key] = i
		depth := int32(0)
		if parent >= 0 {
			depth = how[parent].depth + 1
		}
		how = append(how, from[L]{parent, depth, step})
		queue = append(queue, s)
		return i, true
	}
	var none L
	visit(-1, none, sys.Init)
	result.Complete = true
	for at := int32(0); int(at) < len(how); at++ {
		s := queue[at]
		var zero S
		queue[at] = zero
		result.Depth = int(how[at].depth)
		result.States++
		if err := sys.Check(s); err != nil {
			return result, violation(at, s, err)
		}
		if sys.Done != nil && sys.Done(s) {
			done = append(done, at)
		}
		if sys.Max > 0 && len(how) >= sys.Max {
			result.Complete = false
			continue // those already found are still checked
		}
		sys.Next(s, func(step L, fault bool, next S) {
			result.Steps++
			to, _ := visit(at, step, next)
			if sys.Done != nil && !fault && to != at {
				edges = append(edges, [2]int32{at, to})
			}
		})
	}
	if sys.Done != nil && result.Complete {
		if i := unreached(len(how), edges, done); i >= 0 {
			v := violation(i, sys.Init, ErrStuck)
			v.State = Replay(sys, v.Steps)
			return result, v
		}
	}
	return result, nil
}

// unreached returns the first state from which no end can be reached; -1: none.
func unreached(states int, edges [][2]int32, ends []int32) int32 {
	head, next := make([]int32, states), make([]int32, len(edges))
	for i := range head {
		head[i] = -1
	}
	for e, x := range edges {
		next[e], head[x[1]] = head[x[1]], int32(e)
	}
	good := make([]bool, states)
	for _, i := range ends {
		good[i] = true
	}
	for todo := ends; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for e := head[i]; e >= 0; e = next[e] {
			if f := edges[e][0]; !good[f] {
				good[f] = true
				todo = append(todo, f)
			}
		}
	}
	for i, ok := range good {
		if !ok {
			return int32(i)
		}
	}
	return -1
}

// Replay takes the steps again and returns where they lead.
func Replay[S any, L comparable](sys System[S, L], steps []L) S {
	s := sys.Init
	for _, want := range steps {
		sys.Next(s, func(step L, _ bool, next S) {
			if step == want {
				s = next
			}
		})
	}
	return s
}

// Trace prints each step and, where line says something new, the state after it.
func Trace[S any, L comparable](sys System[S, L], v *Violation[S, L], line func(S) string) string {
	var b strings.Builder
	before := line(sys.Init)
	fmt.Fprintf(&b, "      %s\n", before)
	for i := range v.Steps {
		fmt.Fprintf(&b, "%4d  %v\n", i+1, v.Steps[i])
		if now := line(Replay(sys, v.Steps[:i+1])); now != before {
			fmt.Fprintf(&b, "      %s\n", now)
			before = now
		}
	}
	fmt.Fprintf(&b, "      VIOLATED: %v", v.Err)
	return b.String()
}
