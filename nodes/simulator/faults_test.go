package simulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// refusedBy submits once and returns the response's command_status or error code.
func refusedBy(t *testing.T, s *Simulator, p smsc.Protocol) uint32 {
	t.Helper()
	l := raw(t, s, p)
	l.login("ringway")
	return l.submit(1)
}

// submit sends the nth submit of a session and returns the response's code.
func (l *line) submit(n int) uint32 {
	l.t.Helper()
	if l.p.Name == cimd2.Name {
		l.send(packet(cimd2.Submit, uint8(1+2*n), cimd2.DestinationAddress, subscriber, cimd2.UserData, "hello"))
		r := next[*cimd2.Packet](l)
		code, _ := r.Int(cimd2.ErrorCode)
		if r.Operation != cimd2.Submit.Response() {
			l.t.Fatalf("got %v", r)
		}
		return uint32(code)
	}
	p := submitSM(uint32(1 + n))
	p.RegisteredDelivery = 0
	l.send(p)
	return uint32(next[*smpp.SubmitSMResp](l).Status)
}

// What refuses a submit says so with the code that is usual, or with the one
// that is asked for.
func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		faults      Faults
		handset     func(h *Handset)
		smpp, cimd2 uint32
		count       func(Stats) uint64
	}{
		{"throttled", Faults{ThrottleRate: 1}, nil, 0x58, 10, func(s Stats) uint64 { return s.Throttled }},
		{"queue full", Faults{ThrottleRate: 1, ThrottleCode: 0x14}, nil, 0x14, 0x14, func(s Stats) uint64 { return s.Throttled }},
		{"for now", Faults{TemporaryRate: 1}, nil, 0x64, 9, func(s Stats) uint64 { return s.Temporary }},
		{"for now, by code", Faults{TemporaryRate: 1, TemporaryCode: 8}, nil, 8, 8, func(s Stats) uint64 { return s.Temporary }},
		{"for good", Faults{RejectRate: 1}, nil, 0x0B, 300, func(s Stats) uint64 { return s.Rejected }},
		{"for good, by code", Faults{RejectRate: 1, RejectCode: 0x45}, nil, 0x45, 0x45, func(s Stats) uint64 { return s.Rejected }},
		{"unknown code", Faults{RejectRate: 1, RejectCode: 555}, nil, 555, 555, func(s Stats) uint64 { return s.Rejected }},
		{"recipient busy", Faults{}, func(h *Handset) { h.SetBusy(true) }, 0x64, 9, func(s Stats) uint64 { return s.Temporary }},
		{"recipient barred", Faults{}, func(h *Handset) { h.SetBarred(true) }, 0x0B, 300, func(s Stats) uint64 { return s.Rejected }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, p smsc.Protocol) {
				s := start(t, Config{Faults: tt.faults})
				if tt.handset != nil {
					tt.handset(phone(t, s, subscriber))
				}
				want := tt.smpp
				if p.Name == cimd2.Name {
					want = tt.cimd2
				}
				if got := refusedBy(t, s, p); got != want {
					t.Errorf("refused with %d, want %d", got, want)
				}
				if got := s.Stats(); tt.count(got) != 1 || got.Submitted != 0 || got.Throttled+got.Temporary+got.Rejected != 1 {
					t.Errorf("stats: %+v", got)
				}
			})
		})
	}
}

// One recipient's refusal is nobody else's.
func TestBusyRecipient(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		h := phone(t, s, subscriber)
		h.SetBusy(true)
		part, other := parts(t, "hello", 0)[0], parts(t, "hello", 0)[0]
		other.To.Digits += "8"
		if a, b := e.submit(part), e.submit(other); a.Fate != smsc.Temporary || b.Fate != smsc.Accepted {
			t.Errorf("busy: %+v, the other: %+v", a, b)
		}
		h.SetBusy(false)
		if o := e.submit(part); o.Fate != smsc.Accepted {
			t.Errorf("no longer busy: %+v", o)
		}
	})
}

func TestLateResponse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		const late = time.Second
		s := start(t, Config{Faults: Faults{LateRate: 1, LateBy: late}})
		wide := account
		wide.Window = 2
		e := bind(t, s, p, wide)
		part := parts(t, "hello", 0)[0]
		begun := time.Now()
		first := e.begin(part)
		until(t, "accepted", func() bool { return s.Stats().Delivered == 1 })
		if err := s.SetFaults(Faults{}); err != nil {
			t.Fatal(err)
		}
		if o := e.submit(part); o.Fate != smsc.Accepted {
			t.Errorf("the second: %+v", o)
		}
		select {
		case o := <-first:
			t.Fatalf("the second waits for the first: %+v after %v", o, time.Since(begun))
		default:
		}
		if o := get(t, first, "late response"); o.Fate != smsc.Accepted || time.Since(begun) < late {
			t.Errorf("%+v after %v", o, time.Since(begun))
		}
		if got := s.Stats().LateResponses; got != 1 {
			t.Errorf("%d late", got)
		}
	})
}

// A session may have so many submits unanswered; more are refused at once, and
// those before them go on.
func TestWindow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		for _, code := range []uint32{0, 0x14} {
			// The first is not answered before all have come, on a busy machine either.
			s := start(t, Config{Latency: 500 * time.Millisecond, Faults: Faults{Window: 3, ThrottleCode: code}})
			wide := account
			wide.Window = 5
			e := bind(t, s, p, wide)
			var answers []<-chan smsc.Outcome
			for range 5 {
				answers = append(answers, e.begin(parts(t, "hello", 0)[0]))
			}
			usual := map[string]string{"smpp": "ESME_RTHROTTLED (0x58)", "cimd2": "CIMD2 10"}[p.Name]
			if code != 0 {
				usual = map[string]string{"smpp": "ESME_RMSGQFUL (0x14)", "cimd2": "CIMD2 20"}[p.Name]
			}
			for i, a := range answers {
				o := get(t, a, "outcome")
				if i < 3 && o.Fate != smsc.Accepted || i >= 3 && o.Code != usual {
					t.Errorf("submit %d: %+v", i, o)
				}
			}
			if got := s.Stats(); got.OverWindow != 2 || got.Throttled != 2 || got.MaxUnanswered != 3 || got.Submitted != 3 {
				t.Errorf("stats: %+v", got)
			}
		}
	})
}

func TestUnbind(t *testing.T) {
	end := func(t *testing.T, p smsc.Protocol, f Faults) (*Simulator, *line) {
		s := start(t, Config{Faults: f})
		l := raw(t, s, p)
		l.login("ringway")
		if p.Name == cimd2.Name {
			l.send(packet(cimd2.Logout, 3))
		} else {
			l.send(&smpp.Unbind{Header: smpp.Header{Sequence: 2}})
		}
		return s, l
	}
	ended := func(t *testing.T, l *line) {
		t.Helper()
		if l.p.Name == cimd2.Name {
			if r := next[*cimd2.Packet](l); r.Operation != cimd2.Logout.Response() {
				t.Errorf("got %v", r)
			}
		} else {
			next[*smpp.UnbindResp](l)
		}
		if packet, err := l.read(deadline); err == nil {
			t.Errorf("after the end: %+v", packet)
		}
	}
	each(t, func(t *testing.T, p smsc.Protocol) {
		_, l := end(t, p, Faults{})
		ended(t, l)
		const slow = 200 * time.Millisecond
		begun := time.Now()
		_, l = end(t, p, Faults{UnbindDelay: slow})
		ended(t, l)
		if took := time.Since(begun); took < slow {
			t.Errorf("answered after %v, want %v", took, slow)
		}
		s, l := end(t, p, Faults{IgnoreUnbind: true})
		l.quiet(50 * time.Millisecond)
		if got := s.Stats().Sessions; got != 1 {
			t.Errorf("%d sessions: it was to be ignored", got)
		}
	})
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		if err := s.SetFaults(Faults{Freeze: true}); err != nil {
			t.Fatal(err)
		}
		answer := e.begin(parts(t, "hello", 0)[0])
		if err := phone(t, s, subscriber).Send(service, "up"); err != nil {
			t.Fatal(err)
		}
		none(t, answer, 50*time.Millisecond)
		none(t, e.deliver, 10*time.Millisecond)
		if err := s.SetFaults(Faults{}); err != nil {
			t.Fatal(err)
		}
		if o := get(t, answer, "outcome"); o.Fate != smsc.Accepted {
			t.Errorf("got %+v", o)
		}
		get(t, e.deliver, "deliver")
		if err := s.SetFaults(Faults{Freeze: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil { // also out of the ice
			t.Fatal(err)
		}
	})
}

func TestRefusedLogins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{Faults: Faults{RefuseLogins: true}})
		err := get(t, dial(t, s, p, account).ended, "refusal")
		want := map[string]string{"smpp": "RBINDFAIL", "cimd2": "103"}[p.Name]
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused by %v, want %s", err, want)
		}
		if err := s.SetFaults(Faults{}); err != nil {
			t.Fatal(err)
		}
		bind(t, s, p, account)
	})
}

// Everything arrives once, whatever the line does to it.
func TestCorruptedDelivers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{Faults: Faults{CorruptRate: 0.5}, RetryAfter: 20 * time.Millisecond})
		e := bind(t, s, p, account)
		h := phone(t, s, subscriber)
		part := parts(t, "down", 0)[0]
		part.Report = true
		for i := range 20 {
			if err := h.Send(service, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			id := e.submit(part).ID
			if r := get(t, e.receipts, "receipt"); r.ID != id {
				t.Errorf("got %+v", r)
			}
			if d := get(t, e.deliver, "deliver"); text.Decode(d.Coding, d.Data) != fmt.Sprint(i) {
				t.Errorf("got %q, want %d", d.Data, i)
			}
		}
		until(t, "all acknowledged", func() bool { return s.Stats().MOPending == 0 && s.Stats().ReceiptsPending == 0 })
		if got := s.Stats(); got.Corrupted < 5 || got.MOAcked != 20 || got.ReceiptsSent != 20 {
			t.Errorf("stats: %+v", got)
		}
		none(t, e.deliver, 10*time.Millisecond)
	})
	// What the line shows.
	s := start(t, Config{Faults: Faults{CorruptRate: 1}})
	l := raw(t, s, smpp.Protocol)
	l.login("ringway")
	if err := phone(t, s, subscriber).Send(service, "hello"); err != nil {
		t.Fatal(err)
	}
	_, err := l.read(deadline)
	if syntax := (*smsc.SyntaxError)(nil); !errors.As(err, &syntax) || syntax.Fatal {
		t.Errorf("got %v, want a PDU that breaks the syntax", err)
	}
	next[*smpp.DeliverSM](l)
	c := raw(t, start(t, Config{Faults: Faults{CorruptRate: 1}}), cimd2.Protocol)
	c.login("ringway")
	c.send(packet(cimd2.Submit, 3, cimd2.DestinationAddress, subscriber, cimd2.StatusReportRequest, "14", cimd2.UserData, "hello"))
	next[*cimd2.Packet](c)
	_, err = c.read(deadline)
	syntax := (*smsc.SyntaxError)(nil)
	if !errors.As(err, &syntax) {
		t.Fatalf("got %v, want a wrong checksum", err)
	}
	bad, ok := syntax.Packet.(cimd2.BadChecksum)
	if !ok {
		t.Fatalf("got %v, want a wrong checksum", err)
	}
	c.send(packet(cimd2.Nack, bad.Header.Number))
	if p := next[*cimd2.Packet](c); p.Operation != cimd2.DeliverStatusReport || p.Number != bad.Header.Number {
		t.Errorf("asked for it again, got %v", p)
	}
}

func TestRedelivery(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{Faults: Faults{DuplicateRate: 1}, RetryAfter: 20 * time.Millisecond})
		e := bind(t, s, p, account)
		if err := phone(t, s, subscriber).Send(service, "hello"); err != nil {
			t.Fatal(err)
		}
		if a, b := get(t, e.deliver, "deliver"), get(t, e.deliver, "the same again"); a.Key != b.Key || string(a.Data) != string(b.Data) {
			t.Errorf("got %+v, %+v", a, b)
		}
		part := parts(t, "hello", 0)[0]
		part.Report = true
		id := e.submit(part).ID
		if a, b := get(t, e.receipts, "receipt"), get(t, e.receipts, "the same again"); a.ID != id || b.ID != id {
			t.Errorf("got %+v, %+v", a, b)
		}
		until(t, "all acknowledged", func() bool { return s.Stats().MOPending == 0 && s.Stats().ReceiptsPending == 0 })
		none(t, e.deliver, 50*time.Millisecond)
		none(t, e.receipts, 50*time.Millisecond)
		if got := s.Stats(); got.Redelivered != 2 || got.MOAcked != 1 || got.ReceiptsSent != 1 {
			t.Errorf("stats: %+v", got)
		}
	})
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	if err := pki.Init(dir); err != nil {
		t.Fatal(err)
	}
	if err := pki.Hub(dir, "smsc", nil); err != nil {
		t.Fatal(err)
	}
	server, err := pki.ServerTLS(dir+"/smsc.crt", dir+"/smsc.key", dir+"/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	client, err := pki.ClientTLS(dir+"/smsc.crt", dir+"/smsc.key", dir+"/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{TLS: server})
		conn, err := tls.Dial("tcp", address(s, p), client)
		if err != nil {
			t.Fatal(err)
		}
		l := rawOn(t, conn, p)
		l.login("ringway")
		if code := l.submit(1); code != 0 {
			t.Errorf("refused with %d", code)
		}
		// Without TLS, and without a certificate where one is wanted, nobody gets in.
		plain := raw(t, s, p)
		if _, err := plain.conn.Write([]byte("\x00\x00\x00\x10 this is no handshake")); err != nil {
			t.Fatal(err)
		}
		for packet, err := plain.read(deadline); err == nil; packet, err = plain.read(deadline) {
			t.Errorf("plain: got %+v", packet)
		}
		stranger, err := tls.Dial("tcp", address(s, p), &tls.Config{RootCAs: client.RootCAs, MinVersion: tls.VersionTLS13})
		if err == nil { // the refusal comes after the client's side of the handshake
			l = rawOn(t, stranger, p)
			if packet, err := l.read(deadline); err == nil {
				t.Errorf("a stranger got %+v", packet)
			}
		}
		if _, err := tls.Dial("tcp", address(s, p), &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}); err == nil {
			t.Error("a client took a certificate of a CA that it does not know")
		}
		if got := s.Stats().Sessions; got != 1 {
			t.Errorf("%d sessions", got)
		}
	})
}

func TestBanner(t *testing.T) {
	s := start(t, Config{Banner: "CIMD2-A ConnectionInfo: SessionId = 7"})
	l := raw(t, s, cimd2.Protocol)
	_ = l.conn.SetReadDeadline(time.Now().Add(deadline))
	if got, err := l.r.ReadString('\n'); err != nil || got != "CIMD2-A ConnectionInfo: SessionId = 7\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	l.login("ringway")
	bind(t, s, cimd2.Protocol, account)
}

func TestOutbind(t *testing.T) {
	s := start(t, Config{})
	esme, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer esme.Close()
	if err := s.Outbind(context.Background(), esme.Addr().String(), "smsc", "knock"); err != nil {
		t.Fatal(err)
	}
	conn, err := esme.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l := rawOn(t, conn, smpp.Protocol)
	if o := next[*smpp.Outbind](l); o.SystemID != "smsc" || o.Password != "knock" {
		t.Errorf("got %+v", o)
	}
	l.login("ringway")
	if code := l.submit(1); code != 0 {
		t.Errorf("refused with %d", code)
	}
}

func TestAlertAndEnquire(t *testing.T) {
	t.Parallel()
	s := start(t, Config{KeepAlive: 50 * time.Millisecond})
	l := raw(t, s, smpp.Protocol)
	l.login("ringway")
	phone(t, s, subscriber).Alert()
	if a := next[*smpp.AlertNotification](l); a.SourceAddr != subscriber[1:] || a.SourceAddrTON != 1 {
		t.Errorf("got %+v", a)
	}
	next[*smpp.EnquireLink](l)
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		l := raw(t, s, p)
		l.login("ringway")
		s.EndSessions(false)
		if packet, err := l.read(deadline); err == nil {
			t.Errorf("got %+v", packet)
		}
		until(t, "counted out", func() bool { return s.Stats().Sessions == 0 })
	})
}
