package smsc

// Window is how many submits may be unanswered on a session: what the SMSC
// granted, less while it throttles.
//
//	size ──throttled──▶ size/2 (at least 1)      growEvery*size accepted in a row ──▶ size+1
//
// Those that were under way when the first was throttled are mostly throttled
// too: they count as one.
type Window struct {
	granted, size int
	good          int // accepted since size last changed
	behind        int // answers to what was under way when size was halved
}

// growEvery times the size, in accepted submits, makes the size one larger.
const growEvery = 8

// NewWindow returns a window of that size, at least 1 (stop and wait).
func NewWindow(granted int) Window {
	granted = max(granted, 1)
	return Window{granted: granted, size: granted}
}

// Size returns how many submits may be unanswered now.
func (w *Window) Size() int { return w.size }

// Answered takes a submit's fate into account; open is how many are still
// unanswered beside it.
func (w *Window) Answered(fate Fate, open int) {
	if w.behind > 0 {
		w.behind--
		if fate == Throttled {
			return
		}
	}
	switch fate {
	case Throttled:
		w.size, w.good, w.behind = max(w.size/2, 1), 0, open
	case Accepted:
		if w.good++; w.size < w.granted && w.good >= growEvery*w.size {
			w.size, w.good = w.size+1, 0
		}
	}
}
