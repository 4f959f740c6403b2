package smpp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// handler is either machine.
type handler interface {
	Handle(smsc.Event, []smsc.Effect) []smsc.Effect
	State() string
}

// story tells a machine's events and compares its effects, one line each.
type story struct {
	t      *testing.T
	m      handler
	timers map[string]smsc.Timer
}

func tell(t *testing.T, m handler) *story {
	return &story{t: t, m: m, timers: map[string]smsc.Timer{}}
}

// on hands over an event and expects these effects.
func (s *story) on(ev smsc.Event, want ...string) {
	s.t.Helper()
	var got []string
	var written uint32
	for _, e := range s.m.Handle(ev, nil) {
		switch e := e.(type) {
		case smsc.Write:
			got = append(got, line(s.t, e))
			written = mustDecode(s.t, e.Octets).Head().Sequence
		case smsc.SetTimer:
			name := e.Timer.Name
			if strings.HasPrefix(name, timerResponse) { // its place in the window says less than the number
				name = fmt.Sprint(timerResponse, written)
			}
			s.timers[name] = e.Timer
			got = append(got, fmt.Sprintf("timer %s %v", name, e.After))
		case smsc.StopTimer:
			if !strings.HasPrefix(e.Name, timerResponse) {
				got = append(got, "stop "+e.Name)
			}
		default:
			got = append(got, line(s.t, e))
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("on %T %+v\n got: %s\nwant: %s", ev, ev, strings.Join(got, "\n      "), strings.Join(want, "\n      "))
	}
}

// got is on with a PDU.
func (s *story) got(p PDU, want ...string) {
	s.t.Helper()
	s.on(smsc.Received{Packet: p}, want...)
}

// due lets the timer run out that was set last under this name.
func (s *story) due(name string, want ...string) {
	s.t.Helper()
	timer, ok := s.timers[name]
	if !ok {
		s.t.Fatalf("timer %q was never set", name)
	}
	s.on(smsc.Due{Timer: timer}, want...)
}

func (s *story) state(want string) {
	s.t.Helper()
	if got := s.m.State(); got != want {
		s.t.Errorf("state %q, not %q", got, want)
	}
}

func line(t testing.TB, e smsc.Effect) string {
	switch e := e.(type) {
	case smsc.Write:
		p, err := Decode(e.Octets)
		if err != nil {
			t.Fatalf("wrote %x: %v", e.Octets, err)
		}
		s := fmt.Sprintf("%v %d", p.Command(), p.Head().Sequence)
		if p.Head().Status != OK {
			s += " " + p.Head().Status.String()
		}
		switch p := p.(type) {
		case *SubmitSM:
			s += fmt.Sprintf(" %q", p.ShortMessage)
		case *DeliverSM:
			s += fmt.Sprintf(" %q", p.ShortMessage)
		case *SubmitSMResp:
			s += " " + p.MessageID
		}
		return strings.TrimSpace(s)
	case smsc.Answered:
		return strings.TrimSpace(fmt.Sprintf("answered %d %v %s %s", e.Ref, e.Outcome.Fate, e.Outcome.ID, e.Outcome.Code))
	case smsc.Delivered:
		return fmt.Sprintf("delivered %d %q", e.Ref, e.Deliver.Data)
	case smsc.Reported:
		return fmt.Sprintf("reported %d %s %v", e.Ref, e.Receipt.ID, e.Receipt.State)
	case smsc.Close:
		retry := [...]string{"soon", "slow", "not"}[e.Retry]
		if e.Err == nil {
			return "close, retry " + retry
		}
		return fmt.Sprintf("close, retry %s: %v", retry, e.Err)
	case smsc.Responded:
		if (e.Packet == nil) == (e.Err == nil) {
			t.Fatalf("%+v", e)
		}
		if e.Err != nil {
			return fmt.Sprintf("responded %d %v", e.Ref, e.Err)
		}
		p := e.Packet.(PDU)
		return strings.TrimSpace(fmt.Sprintf("responded %d %v %d %v", e.Ref, p.Command(), p.Head().Sequence, p.Head().Status))
	case smsc.Bound:
		return "bound"
	case smsc.LoginReceived:
		return fmt.Sprintf("login %s %s %s", e.User, e.Password, e.Mode)
	case smsc.SubmitReceived:
		return fmt.Sprintf("submitted %d %q", e.Ref, e.Part.Data)
	case smsc.DeliverAnswered:
		return fmt.Sprintf("deliver answered %d ok %v temporary %v", e.Ref, e.OK, e.Temporary)
	}
	return fmt.Sprintf("%T", e)
}

var errGone = errors.New("gone")

func part(body string) smsc.Part {
	return smsc.Part{
		From: smsc.ParseAddress("12345"), To: smsc.ParseAddress("+639171234567"), Coding: text.GSM7, Class: -1, Data: []byte(body),
	}
}

func config() smsc.Config {
	return smsc.Config{
		User: "esme", Password: "secret", Mode: "transceiver", Window: 1, KeepAlive: 30 * time.Second,
		ResponseTimeout: 10 * time.Second, LoginTimeout: 5 * time.Second, LogoutTimeout: 3 * time.Second,
	}
}

func quirky(q smsc.Quirks) smsc.Config {
	cfg := config()
	cfg.Quirks = q
	return cfg
}

// mustSetPart is setPart for parts that every SMSC takes.
func mustSetPart(p *SubmitSM, part smsc.Part) {
	if err := p.setPart(&part, &smsc.Quirks{}); err != nil {
		panic(err)
	}
}
