package smsc

import (
	"strings"
	"time"
)

// Slab allocates many values at once, the first alone and then ever more. None is
// used again: whoever has one may keep it, and with it its neighbours' memory.
type Slab[T any] struct {
	free []T
	size int
}

// New returns a zero value.
func (s *Slab[T]) New() *T {
	const most = 64
	if len(s.free) == 0 {
		s.size = max(1, min(2*s.size, most))
		s.free = make([]T, s.size)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

// Texts makes strings, many in one piece of memory, as a Slab does.
type Texts struct {
	room strings.Builder
	size int
}

// Text returns a copy of the octets.
func (t *Texts) Text(octets []byte) string {
	if len(octets) == 0 {
		return ""
	}
	from := t.reserve(len(octets))
	t.room.Write(octets)
	return t.room.String()[from:]
}

// Join returns the parts as one.
func (t *Texts) Join(a, b, c string) string {
	from := t.reserve(len(a) + len(b) + len(c))
	t.room.WriteString(a)
	t.room.WriteString(b)
	t.room.WriteString(c)
	return t.room.String()[from:]
}

// reserve makes room for n octets, and returns where they begin.
func (t *Texts) reserve(n int) int {
	const least, most = 64, 2048
	if t.room.Cap()-t.room.Len() < n {
		t.size = max(least, min(2*t.size, most))
		t.room.Reset()
		t.room.Grow(max(t.size, n))
	}
	return t.room.Len()
}

// Octets allocates octets, many in one piece of memory, as a Slab does.
type Octets struct {
	free []byte
	size int
}

// New returns n zero octets.
func (o *Octets) New(n int) []byte {
	const least, most = 256, 8192
	if n > 1024 {
		return make([]byte, n)
	}
	if len(o.free) < n {
		o.size = max(least, min(2*o.size, most))
		o.free = make([]byte, max(n, o.size))
	}
	b := o.free[:n:n]
	o.free = o.free[n:]
	return b
}

// Effects makes the effects that every message has. The zero value is ready.
type Effects struct {
	outputs  Slab[Output]
	answers  Slab[Answer]
	settings Slab[Setting]
	submits  Slab[Submission]
}

// Write returns the effect.
func (e *Effects) Write(octets []byte) Write {
	o := e.outputs.New()
	o.Octets = octets
	return Write{o}
}

// Answered returns the effect.
func (e *Effects) Answered(ref uint64, outcome Outcome) Answered {
	a := e.answers.New()
	a.Ref, a.Outcome = ref, outcome
	return Answered{a}
}

// SetTimer returns the effect.
func (e *Effects) SetTimer(t Timer, after time.Duration) SetTimer {
	s := e.settings.New()
	s.Timer, s.After = t, after
	return SetTimer{s}
}

// Submission returns an empty one, for SubmitReceived.
func (e *Effects) Submission() *Submission { return e.submits.New() }
