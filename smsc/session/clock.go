package session

import "time"

// clock is what is known of an SMSC's clock, by asking: what is said to it as a date has
// to be in its own time, and nobody else knows that.
//
//	connected ──ask──▶ asked ──told──▶ known until the SMSC's next half hour ──ask──▶ ...
//	                     └─ not told, or the line broke: not asked again for a while
//
// Summer time comes and goes on the half hour at the earliest, so what was told holds
// until then. A connection begins with the question: it may lead to another machine.
type clock struct {
	asked bool
	known bool
	shown time.Time // what it was, as if it were UTC, by a second and the answer's way less at most
	when  time.Time // by ours, of which only differences count: ours may be set
	next  time.Time // when to ask; zero: not on this connection
	again time.Time // a connection before it does not ask: the SMSC did not tell
}

const (
	clockHolds = 30 * time.Minute
	clockPause = time.Hour
)

// connected begins anew.
func (c *clock) connected(now time.Time) {
	if c.asked { // and the line broke: perhaps because of that
		c.told(time.Time{}, now)
	}
	c.known, c.next = false, time.Time{}
	if !now.Before(c.again) {
		c.next = now
	}
}

// ask reports whether it is time to ask, and counts on an answer.
func (c *clock) ask(now time.Time) bool {
	if c.asked || c.next.IsZero() || now.Before(c.next) {
		return false
	}
	c.asked = true
	return true
}

// awaited: nothing goes before the answer, since nothing older is known.
func (c *clock) awaited() bool { return c.asked && !c.known }

// told takes the answer: what the clock shows, as if it were UTC; zero: the SMSC does
// not tell.
func (c *clock) told(shows, now time.Time) {
	c.asked, c.known, c.next = false, !shows.IsZero(), time.Time{}
	if !c.known {
		c.again = now.Add(clockPause)
		return
	}
	c.shown, c.when = shows, now
	c.next = now.Add(clockHolds - shows.Sub(shows.Truncate(clockHolds)))
}

// at returns what the clock shows, or has shown a moment ago; zero: not known.
func (c *clock) at(now time.Time) time.Time {
	if !c.known {
		return time.Time{}
	}
	return c.shown.Add(now.Sub(c.when))
}
