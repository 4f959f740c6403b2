package simulation

import (
	"time"
	"unsafe"
)

// A machine's clock is set, and what its processes measure goes on: a time.Time of
// theirs has both. In a bubble time.Now has no monotonic reading, and no function of
// package time makes one.
const (
	hasMonotonic = 1 << 63
	nsecBits     = 30
	wallEpoch    = -2682288000 // 1885-01-01 UTC in Unix seconds: the first that a time with both can show
)

// reading is what time.Now returns where the wall clock shows wall.
func reading(wall time.Time, monotonic time.Duration) (t time.Time) {
	type layout struct { // of time.Time, see its source
		wall uint64
		ext  int64
		loc  *time.Location
	}
	l := (*layout)(unsafe.Pointer(&t))
	l.wall = hasMonotonic | uint64(wall.Unix()-wallEpoch)<<nsecBits | uint64(wall.Nanosecond())
	l.ext, l.loc = int64(monotonic), time.Local
	return t
}
