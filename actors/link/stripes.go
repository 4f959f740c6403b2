package link

import (
	"slices"
	"time"

	"github.com/ringway-im/ringway/actors/ring"
)

// carried is what a frame held that its loss would take away. Repeated state
// (Confirmed, Released) is not in it: the next frame repeats it.
type carried struct {
	data, answers []ring.Seq
	firstEvent    uint64 // 0: none
}

// gather lists what lost frames held, each once, however many of them carried it:
// else what is sent again doubles with every stripe that dies. event is the first
// status event; 0: none.
func gather(lost []carried) (data, answers []ring.Seq, event uint64) {
	for _, c := range lost {
		data = append(data, c.data...)
		answers = append(answers, c.answers...)
		if c.firstEvent != 0 && (event == 0 || c.firstEvent < event) {
			event = c.firstEvent
		}
	}
	slices.Sort(data)
	slices.Sort(answers)
	return slices.Compact(data), slices.Compact(answers), event
}

type sentFrame struct {
	number uint64
	at     time.Time
	bytes  int
	held   carried
}

// stripe is the state of one stream: pure bookkeeping of frame numbers.
type stripe struct {
	number  uint64 // of the last frame sent
	in      uint64 // highest frame number received
	lastIn  time.Time
	lastOut time.Time
	waiting []sentFrame // sent and not yet heard of, ascending
	bytes   int         // of those
}

// stripes chooses a stripe for each frame and tells what a dead one took along.
//
// A frame goes to the stripe with the fewest octets unheard of: one that waits
// for a lost packet fills up and is left alone until it has caught up.
type stripes struct {
	all   []*stripe // by index; nil: down
	ended []uint64  // by index: number of the last frame on the stripes that had this place
	rtt   time.Duration
	lossy time.Time     // until then everything is sent over several stripes
	last  time.Time     // when something was heard
	left  time.Duration // how long it counts as lossy from the first stripe on
	next  int
}

// anew is for the next link over the same path: one that lost packets before it was
// cut goes on to do so.
func (s *stripes) anew() stripes {
	if s.last.IsZero() {
		return stripes{rtt: s.rtt, left: s.left}
	}
	return stripes{rtt: s.rtt, left: max(0, s.lossy.Sub(s.last))}
}

func (s *stripes) up(i int, now time.Time) {
	for len(s.all) <= i {
		s.all, s.ended = append(s.all, nil), append(s.ended, 0)
	}
	if s.left > 0 {
		s.lossy, s.last, s.left = now.Add(s.left), now, 0
	}
	// Numbers go on: what the peer heard of the one before may still be on its way
	// over another stripe, and must not count for this one's frames.
	s.all[i] = &stripe{number: s.ended[i], lastIn: now}
}

// down forgets a stripe and returns what it carried unheard of.
func (s *stripes) down(i int) []carried {
	if i >= len(s.all) || s.all[i] == nil {
		return nil
	}
	lost := make([]carried, 0, len(s.all[i].waiting))
	for _, f := range s.all[i].waiting {
		lost = append(lost, f.held)
	}
	s.ended[i] = s.all[i].number
	s.all[i] = nil
	return lost
}

// live counts the stripes that are up.
func (s *stripes) live() int {
	n := 0
	for _, x := range s.all {
		if x != nil {
			n++
		}
	}
	return n
}

// choose returns the stripe for the next frame, or for another copy of one that
// the taken ones carry already; -1: there is none.
func (s *stripes) choose(taken ...int) int {
	best := -1
	for k := range s.all {
		i := (s.next + k) % len(s.all)
		if s.all[i] == nil || slices.Contains(taken, i) {
			continue
		}
		if best < 0 || s.all[i].bytes < s.all[best].bytes {
			best = i
		}
	}
	if best >= 0 {
		s.next = best + 1
	}
	return best
}

// sent notes a frame and returns its number.
func (s *stripes) sent(i, bytes int, held carried, now time.Time) uint64 {
	x := s.all[i]
	x.number++
	x.lastOut = now
	x.bytes += bytes
	x.waiting = append(x.waiting, sentFrame{x.number, now, bytes, held})
	return x.number
}

// received notes a frame that came in on stripe i with the peer's list of what
// it heard. A frame is late enough to be called lost when one sent clearly after
// it, on another stripe, has been heard of: the link counts as lossy then.
func (s *stripes) received(i int, number uint64, heard []uint64, now time.Time) {
	if i < len(s.all) && s.all[i] != nil {
		s.all[i].in = max(s.all[i].in, number)
		s.all[i].lastIn = now
	}
	s.last = now
	var newest time.Time
	for k, n := range heard {
		if k >= len(s.all) || s.all[k] == nil {
			continue
		}
		x := s.all[k]
		done := 0
		for done < len(x.waiting) && x.waiting[done].number <= n {
			x.bytes -= x.waiting[done].bytes
			if x.waiting[done].at.After(newest) {
				newest = x.waiting[done].at
			}
			done++
		}
		x.waiting = x.waiting[done:]
	}
	margin := max(80*time.Millisecond, s.rtt/3)
	for _, x := range s.all {
		if x != nil && len(x.waiting) > 0 && !newest.IsZero() && x.waiting[0].at.Add(margin).Before(newest) {
			s.lossy = now.Add(lossyFor)
		}
	}
}

// lossyFor is how long a link counts as lossy after a frame was late.
const lossyFor = 30 * time.Second

// heard lists the highest frame number received on each stripe.
func (s *stripes) heard() []uint64 {
	h := make([]uint64, len(s.all))
	for i, x := range s.all {
		if x != nil {
			h[i] = x.in
		}
	}
	return h
}

// deafAfter is how long a frame may go unheard of. It bounds what is remembered
// of a peer that speaks and never says what it hears.
const deafAfter = 30 * time.Second

// silent lists the stripes from which nothing came for d, or on which nothing
// has been heard of for long.
func (s *stripes) silent(d time.Duration, now time.Time) []int {
	var quiet []int
	for i, x := range s.all {
		if x != nil && (now.Sub(x.lastIn) > d || len(x.waiting) > 0 && now.Sub(x.waiting[0].at) > max(d, deafAfter)) {
			quiet = append(quiet, i)
		}
	}
	return quiet
}
