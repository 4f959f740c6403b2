package smsc

import (
	"testing"

	"pgregory.net/rapid"
)

func TestWindowShrinksAndGrows(t *testing.T) {
	w := NewWindow(10)
	for open := 9; open >= 0; open-- { // the whole window is throttled: once is enough
		w.Answered(Throttled, open)
	}
	if w.Size() != 5 {
		t.Fatalf("%d after a window of throttled submits, want 5", w.Size())
	}
	w.Answered(Throttled, 0)
	w.Answered(Throttled, 0)
	w.Answered(Throttled, 0)
	if w.Size() != 1 {
		t.Fatalf("%d, want 1", w.Size())
	}
	for want := 1; want < 10; want++ {
		for range growEvery*want - 1 {
			w.Answered(Accepted, 0)
		}
		if w.Size() != want {
			t.Fatalf("%d, want still %d", w.Size(), want)
		}
		w.Answered(Accepted, 0)
	}
	for range 1000 {
		w.Answered(Accepted, 0)
	}
	if w.Size() != 10 {
		t.Fatalf("%d, want what was granted", w.Size())
	}
}

// Whatever is answered: 1 to what was granted, and it shrinks by no more than half.
func TestWindowStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		granted := rapid.IntRange(-1, 130).Draw(t, "granted")
		w := NewWindow(granted)
		for range rapid.IntRange(0, 200).Draw(t, "answers") {
			before := w.Size()
			w.Answered(rapid.SampledFrom([]Fate{Accepted, Accepted, Throttled, Temporary, Unknown}).Draw(t, "fate"), rapid.IntRange(0, before-1).Draw(t, "open"))
			if n := w.Size(); n < 1 || n > max(granted, 1) || n < before/2 || n > before+1 {
				t.Fatalf("from %d to %d of %d", before, n, granted)
			}
		}
	})
}
