package simulator

import (
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// expect reads a CIMD2 packet and wants this operation, number and error, 0: none.
func expect(l *line, op cimd2.Operation, number uint8, code int) {
	l.t.Helper()
	p := next[*cimd2.Packet](l)
	if got, _ := p.Int(cimd2.ErrorCode); p.Operation != op || p.Number != number || got != code {
		l.t.Fatalf("got %v, want %v:%03d with error %d", p, op, number, code)
	}
}

// A jump in packet numbers is NACKed, or accepted.
func TestAnyNumber(t *testing.T) {
	strict, lenient := raw(t, start(t, Config{}), cimd2.Protocol), raw(t, start(t, Config{AnyNumber: true}), cimd2.Protocol)
	strict.login("ringway")
	strict.send(packet(cimd2.Alive, 9))
	expect(strict, cimd2.Nack, 3, 0)
	strict.send(packet(cimd2.Alive, 3))
	expect(strict, cimd2.Alive.Response(), 3, 0)
	lenient.login("ringway")
	lenient.send(packet(cimd2.Alive, 9))
	expect(lenient, cimd2.Alive.Response(), 9, 0)
	lenient.send(packet(cimd2.Alive, 3))
	expect(lenient, cimd2.Alive.Response(), 3, 0)
}

// More submits than the window has are throttled in both protocols; CIMD2 refuses a
// login that asks for more.
func TestSubmitWindow(t *testing.T) {
	for window, code := range map[int]int{1: 105, 4: 104} {
		s := start(t, Config{SubmitWindow: window})
		l := raw(t, s, cimd2.Protocol)
		l.send(packet(cimd2.Login, 1, cimd2.UserIdentity, "ringway", cimd2.Password, "secret", cimd2.WindowSize, "5"))
		expect(l, cimd2.Login.Response(), 1, code)
		eager := account
		eager.Window = 5 // it logs in again without
		if o := bind(t, s, cimd2.Protocol, eager).submit(parts(t, "hello", 0)[0]); o.Fate != smsc.Accepted {
			t.Errorf("window %d: %+v", window, o)
		}
	}

	s := start(t, Config{SubmitWindow: 2, Latency: time.Hour}) // nothing is answered but what is refused
	l := raw(t, s, cimd2.Protocol)
	l.send(packet(cimd2.Login, 1, cimd2.UserIdentity, "ringway", cimd2.Password, "secret", cimd2.WindowSize, "2"))
	expect(l, cimd2.Login.Response(), 1, 0)
	for number := uint8(3); number <= 7; number += 2 {
		l.send(packet(cimd2.Submit, number, cimd2.DestinationAddress, subscriber, cimd2.UserData, "hello"))
	}
	expect(l, cimd2.Submit.Response(), 7, 10)

	m := raw(t, s, smpp.Protocol)
	m.login("ringway")
	m.send(submitSM(2), submitSM(3), submitSM(4))
	if r := next[*smpp.SubmitSMResp](m); r.Sequence != 4 || r.Status != smpp.RTHROTTLED {
		t.Errorf("got %+v", r)
	}

	if _, err := New(Config{SubmitWindow: -1}); err == nil || !strings.Contains(err.Error(), "submit window is -1") {
		t.Errorf("a submit window of -1: %v", err)
	}
}

// The CIMD2 SMSC asks a silent ESME whether it is there.
func TestAliveFromTheSMSC(t *testing.T) {
	t.Parallel()
	l := raw(t, start(t, Config{KeepAlive: 50 * time.Millisecond}), cimd2.Protocol)
	l.login("ringway")
	for number := uint8(0); number <= 4; number += 2 {
		expect(l, cimd2.Alive, number, 0)
		l.send(packet(cimd2.Alive.Response(), number))
	}

	s := start(t, Config{KeepAlive: 50 * time.Millisecond, ResponseTimeout: 50 * time.Millisecond})
	l = raw(t, s, cimd2.Protocol)
	l.login("ringway")
	expect(l, cimd2.Alive, 0, 0) // and does not answer
	if packet, err := l.read(deadline); err == nil {
		t.Errorf("got %v", packet)
	}
	until(t, "counted out", func() bool { return s.Stats().Sessions == 0 })
}

// An end by the operator's wish is announced; the ESME answers, and both close.
func TestSessionsEndPolitely(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		s.EndSessions(true)
		if err := get(t, e.ended, "end"); err == nil || !strings.Contains(err.Error(), "unb") && !strings.Contains(err.Error(), "logged us out") {
			t.Errorf("ended by %v", err)
		}
		until(t, "counted out", func() bool { return s.Stats().Sessions == 0 })
	})

	s := start(t, Config{})
	l := raw(t, s, cimd2.Protocol)
	l.login("ringway")
	s.EndSessions(true)
	expect(l, cimd2.Logout, 0, 0)
	l.send(packet(cimd2.Logout.Response(), 0))
	if packet, err := l.read(deadline); err == nil {
		t.Errorf("got %v", packet)
	}
}
