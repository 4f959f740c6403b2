package search

import (
	"errors"
	"testing"
)

// jugs of 3 and 5 gallons: the shortest way to 4 takes six steps.
func jugs(bad func([2]int) error) System[[2]int, string] {
	return System[[2]int, string]{
		Next: func(s [2]int, yield func(string, bool, [2]int)) {
			a, b := s[0], s[1]
			yield("fill 3", false, [2]int{3, b})
			yield("fill 5", false, [2]int{a, 5})
			yield("empty 3", false, [2]int{0, b})
			yield("empty 5", false, [2]int{a, 0})
			n := min(a, 5-b)
			yield("3 into 5", false, [2]int{a - n, b + n})
			n = min(b, 3-a)
			yield("5 into 3", false, [2]int{a + n, b - n})
		},
		AppendKey: func(s [2]int, b []byte) []byte { return append(b, byte(s[0]), byte(s[1])) },
		Check:     bad,
	}
}

func TestShortestTrace(t *testing.T) {
	four := errors.New("four")
	sys := jugs(func(s [2]int) error {
		if s[1] == 4 {
			return four
		}
		return nil
	})
	_, v := Walk(sys)
	if v == nil || len(v.Steps) != 6 || !errors.Is(v, four) {
		t.Fatalf("%v", v)
	}
	if end := Replay(sys, v.Steps); end != [2]int{3, 4} {
		t.Errorf("replayed to %v", end)
	}
}

func TestAllStatesAndTheEnd(t *testing.T) {
	sys := jugs(func([2]int) error { return nil })
	sys.Done = func(s [2]int) bool { return s == [2]int{} }
	r, v := Walk(sys)
	if v != nil || !r.Complete || r.States != 16 {
		t.Errorf("%+v %v: the edge of a 3 by 5 grid has 16 points", r, v)
	}
	sys.Done = func(s [2]int) bool { return s == [2]int{1, 1} } // not to be reached
	if _, v := Walk(sys); v == nil || !errors.Is(v, ErrStuck) || len(v.Steps) != 0 {
		t.Errorf("%v", v)
	}
	sys.Max = 5
	if r, v := Walk(sys); v != nil || r.Complete || r.States < 5 {
		t.Errorf("bounded: %+v %v", r, v)
	}
}
