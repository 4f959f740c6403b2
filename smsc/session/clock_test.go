package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
)

func TestClock(t *testing.T) {
	at := time.Date(2026, 3, 29, 0, 50, 0, 0, time.UTC)
	var c clock
	if !c.at(at).IsZero() || c.ask(at) {
		t.Error("known or asked for without a connection")
	}
	c.connected(at)
	if !c.ask(at) || c.ask(at) {
		t.Error("it is asked once, at once")
	}
	shows := time.Date(2026, 3, 29, 8, 51, 3, 0, time.UTC) // eight hours and 63 seconds ahead
	c.told(shows, at)
	if got := c.at(at.Add(time.Minute)); !got.Equal(shows.Add(time.Minute)) || got.Location() != time.UTC {
		t.Errorf("it shows %v", got)
	}
	half := at.Add(8*time.Minute + 57*time.Second) // nine o'clock there
	if c.ask(half.Add(-time.Second)) || !c.ask(half) {
		t.Error("it is asked again when the half hour is over, and not before")
	}
	c.told(time.Time{}, half) // not any more
	if !c.at(half).IsZero() || c.ask(half.Add(24*time.Hour)) {
		t.Error("known, or asked for on the same connection, after it was not told")
	}
	c.connected(half.Add(time.Hour - time.Second))
	if c.ask(half.Add(2 * time.Hour)) {
		t.Error("asked on a connection within the hour")
	}
	c.connected(half.Add(time.Hour))
	if !c.ask(half.Add(time.Hour)) {
		t.Error("not asked after an hour")
	}
	c.connected(half.Add(2 * time.Hour)) // the line broke instead of an answer
	if c.ask(half.Add(2 * time.Hour)) {
		t.Error("asked at once where the line broke for it")
	}
}

// until makes a message that is worth nothing after d.
func until(seq uint64, d time.Duration) *messages.Message {
	m := message(seq, "+639170000001", "one")
	m.DeadlineUnixMs = time.Now().Add(d).UnixMilli()
	return m
}

// Where no zone is configured, the SMSC is asked, and is given dates on its clock: a
// validity of seconds is one of seconds there.
func TestClockIsLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, cimd2.Protocol)
		s.config.Manage = true
		summer := time.Now().Add(40 * time.Minute)
		s.clock = func() time.Time {
			at := time.Now().UTC().Add(8*time.Hour + 20*time.Second)
			if time.Now().After(summer) {
				at = at.Add(time.Hour)
			}
			return at
		}
		e := newEdge(t, options{protocol: cimd2.Protocol, smsc: s})
		asked := func(want int) {
			t.Helper()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.asked != want {
				t.Fatalf("the SMSC was asked for its time %d times, want %d", s.asked, want)
			}
		}
		asked(1) // at the login, before there is something to send
		seq := uint64(0)
		expires := func() {
			t.Helper()
			seq++
			e.handOn(until(seq, 30*time.Second))
			c, m := s.submitted()
			there := s.clock().Add(30 * time.Second)
			if late := m.Expires.At.Sub(there); late > 0 || late < -2*time.Second {
				t.Errorf("it expires %v after it should (%+v)", late, m.Expires)
			}
			c.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(cimd2.NewID(m.Part.To, time.Now(), seq))})
			e.want(seq, messages.State_PROCESSED)
		}
		expires()
		expires()
		asked(1)
		time.Sleep(time.Hour) // meanwhile summer time begins there
		expires()
		asked(2)
		s.one().hangup() // perhaps it is another machine that takes the next login
		time.Sleep(time.Second)
		asked(3)
		expires()
		asked(3)
	})
}

// An SMSC that refuses the question, does not answer it or hangs up because of it gets
// its messages all the same, with the validity as a duration, and no doubt comes of it.
func TestClockIsNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		manage bool
		hangup bool
		delay  time.Duration // at most, of the first message
		binds  int
	}{
		"refused":    {manage: false, binds: 1},
		"unanswered": {manage: true, delay: 2 * time.Second, binds: 1},
		"hangs up":   {manage: true, hangup: true, delay: time.Second, binds: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStub(t, cimd2.Protocol)
				s.config.Manage = c.manage
				s.hangsUp = c.hangup
				e := newEdge(t, options{protocol: cimd2.Protocol, smsc: s, outlet: window(4)})
				for seq := uint64(1); seq <= 2; seq++ {
					began := time.Now()
					e.handOn(until(seq, 30*time.Second))
					on, m := s.submitted()
					if took := time.Since(began); took > c.delay+50*time.Millisecond || seq > 1 && took > 50*time.Millisecond {
						t.Errorf("message %d went after %v", seq, took)
					}
					if m.Expires != (smsc.When{After: 5 * time.Minute}) {
						t.Errorf("it expires %+v", m.Expires)
					}
					on.handle(smsc.ServerAnswer{Ref: m.Ref, Outcome: accepted(cimd2.NewID(m.Part.To, time.Now(), seq))})
					e.want(seq, messages.State_PROCESSED)
				}
				events := e.events()
				s.mu.Lock()
				defer s.mu.Unlock()
				if len(events) != 0 || s.binds != c.binds {
					t.Errorf("events %v, %d logins, want none and %d", events, s.binds, c.binds)
				}
			})
		})
	}
}

// With a window there is room for submits while the question is open: the first ones
// wait for the answer all the same.
func TestFirstMessagesWaitForTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStub(t, cimd2.Protocol)
		s.config.Manage = true
		s.clock = func() time.Time { time.Sleep(time.Second); return time.Now().UTC() }
		e := newEdge(t, options{protocol: cimd2.Protocol, smsc: s, outlet: window(4)})
		e.handOn(until(1, 30*time.Second))
		if _, m := s.submitted(); m.Expires.At.IsZero() {
			t.Errorf("it expires %+v", m.Expires)
		}
	})
}
