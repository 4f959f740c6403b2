package session

import "time"

// Backoff is pauses that double from First to Max.
type Backoff struct{ First, Max time.Duration }

// After returns the pause that follows steps earlier ones in a row, longer by
// up to a quarter: jitter is from 0 to 1, so that many who failed together do
// not come again together.
func (b Backoff) After(steps int, jitter float64) time.Duration {
	pause := b.First
	for ; steps > 0 && pause < b.Max; steps-- {
		pause *= 2
	}
	pause = min(pause, b.Max)
	return pause + time.Duration(jitter*float64(pause)/4)
}
