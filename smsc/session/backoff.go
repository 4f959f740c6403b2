package session

import "time"

// backoff doubles a pause from First to Max with each step in a row. The zero
// value pauses not at all.
type backoff struct {
	First, Max time.Duration
	steps      int
}

// next returns the next pause, longer by up to a quarter: jitter is from 0 to 1,
// so that many who failed together do not come again together.
func (b *backoff) next(jitter float64) time.Duration {
	pause := b.at(b.steps, jitter)
	b.steps++
	return pause
}

// at returns the pause after steps earlier ones.
func (b *backoff) at(steps int, jitter float64) time.Duration {
	pause := b.First
	for ; steps > 0 && pause < b.Max; steps-- {
		pause *= 2
	}
	pause = min(pause, b.Max)
	return pause + time.Duration(jitter*float64(pause)/4)
}

// reset begins anew with First.
func (b *backoff) reset() { b.steps = 0 }
