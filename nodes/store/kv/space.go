package kv

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrSpace means that the disk has less free than the reserve. Writes still
// work: they are for finishing what was taken on. Nothing new should be.
var ErrSpace = errors.New("kv: the disk is nearly full")

// ErrScarce means, beside ErrSpace, that less than half of the reserve is free: nothing
// should be taken on either that is small and finishes something.
var ErrScarce = errors.New("less than half of the reserve is left")

const (
	mostReserve  = 256 << 20 // of the default, which is a twentieth of the file system
	lookAtSpace  = 500 * time.Millisecond
	reserveSlack = 8 // 1/8 of the reserve more must be free before work is taken on again
)

// space remembers what the disk had free.
type space struct {
	mu     sync.Mutex
	looked time.Time
	full   error
}

// Space returns nil, or ErrSpace with the figures. It looks at the disk twice a
// second at most; a file system that cannot tell is never full.
func (d *DB) Space() error {
	if d.opts.ReserveBytes < 0 {
		return nil
	}
	s := &d.space
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.looked.IsZero() && now.Sub(s.looked) < lookAtSpace {
		return s.full
	}
	s.looked = now
	usage, err := d.opts.FS.GetDiskUsage(d.opts.Dir)
	if err != nil {
		s.full = nil
		return nil
	}
	reserve := uint64(d.opts.ReserveBytes)
	if reserve == 0 {
		reserve = min(mostReserve, usage.TotalBytes/20)
	}
	need := reserve
	if s.full != nil {
		need += reserve / reserveSlack
	}
	if usage.AvailBytes >= need {
		if s.full != nil {
			d.log.Info("the disk has room again")
		}
		s.full = nil
		return nil
	}
	if s.full == nil {
		d.log.Error("the disk is nearly full: nothing new is taken on until there is room")
	}
	s.full = fmt.Errorf("%w: %s has %d MB free, the reserve is %d MB: make room", ErrSpace, d.opts.Dir, usage.AvailBytes>>20, reserve>>20)
	if usage.AvailBytes < reserve/2 {
		s.full = fmt.Errorf("%w; %w", s.full, ErrScarce)
	}
	return s.full
}
