package simulator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
	"github.com/ringway-im/ringway/tests/corpus"
)

func each(t *testing.T, test func(t *testing.T, p smsc.Protocol)) {
	for _, p := range protocols {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

func TestSubmitReachesTheHandset(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		seen := map[string]bool{}
		for i := range 20 {
			o := e.submit(parts(t, fmt.Sprintf("hello %d @€", i), 0)[0])
			if o.Fate != smsc.Accepted || o.ID == "" || seen[o.ID] {
				t.Fatalf("submit %d: %+v; ids before: %v", i, o, seen)
			}
			seen[o.ID] = true
		}
		h := phone(t, s, "639171234567") // the same without +
		all := h.Messages(0)
		if len(all) != 20 || all[3].Text != "hello 3 @€" || all[3].From != service || all[3].Parts != 1 || time.Since(all[3].At) > time.Minute {
			t.Fatalf("got %+v", all)
		}
		if rest := h.Messages(18); len(rest) != 2 || rest[0].Text != "hello 18 @€" {
			t.Errorf("after 18: %+v", rest)
		}
		if rest := h.Messages(30); len(rest) != 0 {
			t.Errorf("after 30: %+v", rest)
		}
		got := s.Stats()
		if got.Submitted != 20 || got.Delivered != 20 || got.ReceivedTexts != 20 || got.Sessions != 1 || got.MaxUnanswered != 1 {
			t.Errorf("stats: %+v", got)
		}
		if none := e.submit(smsc.Part{From: smsc.ParseAddress(service), To: smsc.Address{TON: smsc.TONUnknown, Digits: strings.Repeat("1", 21)}, Class: -1}); none.Fate != smsc.Permanent {
			t.Errorf("a number of 21 digits: %+v", none)
		}
	})
}

func TestLongTexts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		long := strings.Repeat("0123456789", 40)
		chinese := strings.Repeat("短信服务中心", 30)
		a, b := parts(t, long, 7), parts(t, chinese, 8)
		slices.Reverse(a)
		for i := range 3 { // mixed, and one of them backwards
			e.submit(a[i])
			e.submit(b[i])
		}
		h := phone(t, s, subscriber)
		all := h.Messages(0)
		if got := texts(all); !slices.Equal(got, []string{long, chinese}) || all[0].Parts != 3 || all[1].Parts != 3 {
			t.Fatalf("got %v", all)
		}
		// A part that comes again is told as such, and does no harm to the next text with that reference.
		e.submit(a[1])
		for _, part := range parts(t, strings.Repeat("abcdefghij", 40), 7) {
			e.submit(part)
		}
		if got := h.Messages(2); len(got) != 1 || got[0].Text != strings.Repeat("abcdefghij", 40) || s.Stats().Duplicates != 1 {
			t.Errorf("got %v, %d duplicates, want 1", got, s.Stats().Duplicates)
		}
		// The whole text again is shown again, as a handset does.
		for range 2 {
			for _, part := range parts(t, long, 9) {
				e.submit(part)
			}
		}
		if got := h.Messages(3); len(got) != 2 || got[1].Text != long {
			t.Errorf("got %v", got)
		}
	})
}

func TestCorpusBothWays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		h := phone(t, s, subscriber)
		all := corpus.Texts(t, "../../smsc/text/testdata/nus-sms.jsonl")
		if len(all) < 100 {
			t.Fatalf("only %d messages in the corpus", len(all))
		}
		for want := range slices.Chunk(all, 500) { // as many as the queues hold
			bothWays(t, e, h, want)
		}
	})
}

// bothWays sends texts down and up, and takes them at the other end.
func bothWays(t *testing.T, e *esme, h *Handset, want []string) {
	t.Helper()
	before := len(h.Messages(0))
	for i, text := range want {
		for _, part := range parts(t, text, uint16(i+1)) {
			if o := e.submit(part); o.Fate != smsc.Accepted {
				t.Fatalf("%q: %+v", text, o)
			}
		}
		if err := h.Send(service, text); err != nil {
			t.Fatal(err)
		}
	}
	if got := texts(h.Messages(before)); !slices.Equal(got, want) {
		t.Errorf("down: got %d texts, want %d", len(got), len(want))
	}
	var pieces []text.Piece
	for i := 0; i < len(want); {
		d := get(t, e.deliver, "deliver")
		if d.From.String() != subscriber || d.To.String() != service {
			t.Fatalf("from %v to %v", d.From, d.To)
		}
		pieces = append(pieces, text.Piece{UDH: d.UDH, Data: d.Data})
		if data, whole := text.Join(pieces...); whole {
			if got := text.Decode(d.Coding, data); got != want[i] {
				t.Fatalf("up, text %d: got %q, want %q", i, got, want[i])
			}
			i, pieces = i+1, nil
		}
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{RetryAfter: 20 * time.Millisecond})
		e := bind(t, s, p, account)
		part := parts(t, "hello", 0)[0]
		e.submit(part) // none asked for
		part.Report = true
		ids := map[string]bool{}
		for range 10 {
			ids[e.submit(part).ID] = true
		}
		for range 10 {
			r := get(t, e.receipts, "receipt")
			if r.State != smsc.ReceiptDelivered || !ids[r.ID] {
				t.Fatalf("got %+v, want one of %v", r, ids)
			}
			delete(ids, r.ID)
		}
		h := phone(t, s, subscriber)
		h.SetRefuses(true)
		id := e.submit(part).ID
		if r := get(t, e.receipts, "receipt"); r.State != smsc.ReceiptUndeliverable || r.ID != id {
			t.Errorf("refused by the handset: %+v", r)
		}
		until(t, "all acknowledged", func() bool { return s.Stats().ReceiptsPending == 0 })
		if got := s.Stats(); got.ReceiptsSent != 11 || got.Delivered != 11 {
			t.Errorf("stats: %+v", got)
		}
	})
}

func TestReceiptsAreNeverLost(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{RetryAfter: 20 * time.Millisecond, ResponseTimeout: 100 * time.Millisecond})
		e := bind(t, s, p, account)
		e.mu.Lock()
		e.refuse = 3
		e.mu.Unlock()
		part := parts(t, "hello", 0)[0]
		part.Report = true
		id := e.submit(part).ID
		if r := get(t, e.receipts, "receipt that was refused three times"); r.ID != id {
			t.Errorf("got %+v", r)
		}
		// What a session could not get rid of goes over the next one.
		e.mu.Lock()
		e.refuse = 1 << 30
		e.mu.Unlock()
		want := map[string]bool{}
		for range 5 {
			want[e.submit(part).ID] = true
		}
		_ = e.conn.Close()
		e = bind(t, s, p, account)
		for range 5 {
			delete(want, get(t, e.receipts, "receipt").ID)
		}
		if len(want) > 0 {
			t.Errorf("never came: %v", want)
		}
	})
}

func TestHandsetOff(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{Validity: time.Hour})
		e := bind(t, s, p, account)
		h := phone(t, s, subscriber)
		h.SetOn(false)
		for _, m := range []string{"one", "two", strings.Repeat("three", 50)} {
			for _, part := range parts(t, m, 1) {
				part.Report = true
				if o := e.submit(part); o.Fate != smsc.Accepted {
					t.Fatal(o)
				}
			}
		}
		if got := h.Messages(0); len(got) != 0 {
			t.Fatalf("a handset that is off has received %v", got)
		}
		if err := h.Send(service, "x"); !errors.Is(err, ErrOff) {
			t.Errorf("sent while off: %v", err)
		}
		if got := s.Stats(); got.Submitted != 4 || got.Delivered != 0 {
			t.Errorf("stats: %+v", got)
		}
		none(t, e.receipts, 20*time.Millisecond)
		h.SetOn(true)
		if got := texts(h.Messages(0)); !slices.Equal(got, []string{"one", "two", strings.Repeat("three", 50)}) {
			t.Errorf("got %q", got)
		}
		for range 4 {
			if r := get(t, e.receipts, "receipt"); r.State != smsc.ReceiptDelivered {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{Validity: time.Millisecond})
		e := bind(t, s, p, account)
		h := phone(t, s, subscriber)
		h.SetOn(false)
		part := parts(t, "late", 0)[0]
		part.Report = true
		id := e.submit(part).ID
		if r := get(t, e.receipts, "receipt"); r.State != smsc.ReceiptExpired || r.ID != id {
			t.Errorf("got %+v", r)
		}
		h.SetOn(true)
		if got := h.Messages(0); len(got) != 0 || s.Stats().Expired != 1 {
			t.Errorf("got %v, %+v", got, s.Stats())
		}
		h.SetOn(false)
		part.Validity = time.Hour // before the SMSC's
		e.submit(part)
		none(t, e.receipts, 3*tickEvery) // expiry gets its chance
		h.SetOn(true)
		if got := h.Messages(0); len(got) != 1 {
			t.Errorf("the part's own validity does not count: %v", got)
		}
	})
}

func TestMessagesFromHandsets(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{RetryAfter: 20 * time.Millisecond, ResponseTimeout: 100 * time.Millisecond})
		h := phone(t, s, subscriber)
		for range 2 { // before anybody is there
			if err := h.Send(service, "same"); err != nil {
				t.Fatal(err)
			}
		}
		e := bind(t, s, p, account)
		a, b := get(t, e.deliver, "deliver"), get(t, e.deliver, "deliver")
		if text.Decode(a.Coding, a.Data) != "same" || text.Decode(b.Coding, b.Data) != "same" {
			t.Errorf("got %+v, %+v", a, b)
		}
		if p.Name == cimd2.Name && (a.At == "" || a.Key == b.Key) {
			t.Errorf("two messages look like one: %q, %q", a.Key, b.Key)
		}
		e.mu.Lock()
		e.refuse = 2
		e.mu.Unlock()
		for i := range 5 {
			if err := h.Send(service, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 5 { // order is kept through refusals
			if d := get(t, e.deliver, "deliver"); text.Decode(d.Coding, d.Data) != fmt.Sprint(i) {
				t.Errorf("got %q, want %d", d.Data, i)
			}
		}
		// The session breaks before the answer: it comes again, over the next.
		e.mu.Lock()
		e.refuse = 1 << 30
		e.mu.Unlock()
		if err := h.Send(service, "again"); err != nil {
			t.Fatal(err)
		}
		until(t, "offered", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.refuse < 1<<30 })
		_ = e.conn.Close()
		e = bind(t, s, p, account)
		if d := get(t, e.deliver, "deliver"); text.Decode(d.Coding, d.Data) != "again" {
			t.Errorf("got %q", d.Data)
		}
		until(t, "all acknowledged", func() bool { return s.Stats().MOAcked == 8 })
		none(t, e.deliver, 20*time.Millisecond)
		if got := s.Stats(); got.MOQueued != 8 || got.MORefused != 0 {
			t.Errorf("stats: %+v", got)
		}
	})
}

func TestModes(t *testing.T) {
	s := start(t, Config{})
	transmitter, receiver := account, account
	transmitter.Mode, receiver.Mode = "transmitter", "receiver"
	tx, rx := bind(t, s, smpp.Protocol, transmitter), bind(t, s, smpp.Protocol, receiver)
	part := parts(t, "hello", 0)[0]
	part.Report = true
	id := tx.submit(part).ID
	if r := get(t, rx.receipts, "receipt"); r.ID != id {
		t.Errorf("got %+v", r)
	}
	none(t, tx.receipts, 10*time.Millisecond)
}

func TestRetrieving(t *testing.T) {
	s := start(t, Config{Retrieving: true})
	cfg := account
	e := bind(t, s, cimd2.Protocol, cfg)
	h := phone(t, s, subscriber)
	if err := h.Send(service, "hello"); err != nil {
		t.Fatal(err)
	}
	none(t, e.deliver, 20*time.Millisecond)
	cfg.Poll, cfg.PollEvery = true, 10*time.Millisecond
	e = bind(t, s, cimd2.Protocol, cfg)
	get(t, e.deliver, "deliver")
	if err := h.Send(service, "more"); err != nil {
		t.Fatal(err)
	}
	get(t, e.deliver, "deliver")
}

func TestLogins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{MaxSessions: 1})
		wrong := account
		wrong.Password = "guess"
		if err := get(t, dial(t, s, p, wrong).ended, "refusal"); err == nil {
			t.Error("a wrong password was taken")
		}
		e := bind(t, s, p, account)
		if err := get(t, dial(t, s, p, account).ended, "refusal"); err == nil {
			t.Error("a second session was taken")
		}
		if got := s.Stats(); got.LoginsRefused != 2 || got.Sessions != 1 {
			t.Errorf("stats: %+v", got)
		}
		e.events <- smsc.Logout{}
		if err := get(t, e.ended, "logout"); err != nil {
			t.Error(err)
		}
		until(t, "session counted out", func() bool { return s.Stats().Sessions == 0 })
		bind(t, s, p, account)
	})
}

func TestFaults(t *testing.T) {
	quick := account
	quick.ResponseTimeout = 50 * time.Millisecond
	fates := func(t *testing.T, p smsc.Protocol, f Faults) (smsc.Fate, error, *Simulator) { //nolint:staticcheck // what the peer saw, then what it was
		s := start(t, Config{Faults: f})
		e := bind(t, s, p, quick)
		o := e.submit(parts(t, "hello", 0)[0])
		var err error
		if o.Fate == smsc.Unknown {
			err = get(t, e.ended, "end")
		}
		return o.Fate, err, s
	}
	each(t, func(t *testing.T, p smsc.Protocol) {
		fate, _, s := fates(t, p, Faults{ThrottleRate: 1})
		if got := s.Stats(); fate != smsc.Throttled || got.Throttled != 1 || got.Submitted != 0 {
			t.Errorf("throttled: %v, %+v", fate, got)
		}
		fate, _, s = fates(t, p, Faults{RejectRate: 1})
		if got := s.Stats(); fate != smsc.Permanent || got.Rejected != 1 || got.Submitted != 0 {
			t.Errorf("rejected: %v, %+v", fate, got)
		}
		fate, err, s := fates(t, p, Faults{DropResponseRate: 1})
		if got := s.Stats(); fate != smsc.Unknown || got.DroppedResponses != 1 || got.Delivered != 1 || !strings.Contains(err.Error(), "50ms") {
			t.Errorf("dropped: %v, %v, %+v", fate, err, got)
		}
		accepted := uint64(0)
		for seed := range uint64(12) {
			s := start(t, Config{Faults: Faults{CloseRate: 1}, Seed: seed + 1})
			e := bind(t, s, p, account)
			if o := e.submit(parts(t, "hello", 0)[0]); o.Fate != smsc.Unknown || s.Stats().ClosedByFault != 1 {
				t.Errorf("closed: %v, %+v", o, s.Stats())
			}
			accepted += s.Stats().Submitted
		}
		if accepted == 0 || accepted == 12 {
			t.Errorf("of 12 closed ones %d were accepted, want about half", accepted)
		}
		s = start(t, Config{Faults: Faults{GarbageRate: 1}})
		e := bind(t, s, p, account)
		o := e.submit(parts(t, "hello", 0)[0])
		want := smsc.Accepted // CIMD2 finds the next packet
		if p.Name == smpp.Protocol.Name {
			want = smsc.Unknown // framing is lost
		}
		if got := s.Stats(); o.Fate != want || got.GarbageSent != 1 || got.Delivered != 1 {
			t.Errorf("garbage: %+v, %+v", o, got)
		}
	})
	t.Run("rates", func(t *testing.T) {
		dice := rand.New(rand.NewPCG(1, 2))
		n := 0
		for range 10000 {
			if (&Faults{ThrottleRate: 0.2}).judge("smpp", dice).outcome.Fate == smsc.Throttled {
				n++
			}
		}
		if n < 1850 || n > 2150 {
			t.Errorf("0.2 of 10000 are %d", n)
		}
		for _, bad := range []Faults{{CloseRate: -0.1}, {RejectRate: 1.1}} {
			if _, err := New(Config{Faults: bad}); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
	})
}

func TestMalformedOctets(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{})
		e := bind(t, s, p, account)
		dice := rand.New(rand.NewPCG(3, 4))
		for i := range 20 {
			conn, err := net.Dial("tcp", address(s, p))
			if err != nil {
				t.Fatal(err)
			}
			octets := make([]byte, dice.IntN(5000))
			for j := range octets {
				octets[j] = byte(dice.Uint32())
			}
			if i%2 == 0 {
				octets = garbage(p.Name, dice)
			}
			_, _ = conn.Write(octets)
			_ = conn.Close()
			if o := e.submit(parts(t, "hello", 0)[0]); o.Fate != smsc.Accepted {
				t.Fatalf("another session was disturbed: %+v", o)
			}
		}
		until(t, "garbled", func() bool { return s.Stats().Garbled >= 10 })
		if got := s.Stats(); got.Sessions != 1 || got.Submitted != 20 {
			t.Errorf("stats: %+v", got)
		}
	})
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		const latency = 20 * time.Millisecond
		s := start(t, Config{Latency: latency})
		wide := account
		wide.Window = 5
		e := bind(t, s, p, wide)
		begun := time.Now()
		var answers []<-chan smsc.Outcome
		for range 5 {
			answers = append(answers, e.begin(parts(t, "hello", 0)[0]))
		}
		for i, a := range answers {
			get(t, a, "outcome")
			if took := time.Since(begun); took < time.Duration(i+1)*latency {
				t.Errorf("answer %d after %v", i, took)
			}
		}
		begun = time.Now()
		h := phone(t, s, subscriber)
		for range 3 {
			if err := h.Send(service, "hello"); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			get(t, e.deliver, "deliver")
			if took := time.Since(begun); took < time.Duration(i+1)*latency {
				t.Errorf("deliver %d after %v", i, took)
			}
		}
		if got := s.Stats().MaxUnanswered; got != 5 {
			t.Errorf("most unanswered: %d, want 5", got)
		}
	})
}

func TestOnDelivered(t *testing.T) {
	s := start(t, Config{Discard: true})
	e := bind(t, s, smpp.Protocol, account)
	type call struct{ number, from, text string }
	calls := make(chan call, 10)
	s.OnDelivered(func(number, from, text string) {
		phone(t, s, number).SetOn(true) // it may use the simulator
		calls <- call{number, from, text}
	})
	for _, m := range []string{"one", "two"} {
		e.submit(parts(t, m, 0)[0])
		if got := get(t, calls, "call"); got != (call{subscriber, service, m}) {
			t.Errorf("got %+v", got)
		}
	}
	h := phone(t, s, subscriber)
	if n, digest := h.Received(); n != 2 || digest == 0 || len(h.Messages(0)) != 0 {
		t.Errorf("discarded: %d, %d, %v", n, digest, h.Messages(0))
	}
}

func TestTwoInOneProcess(t *testing.T) {
	a, b := start(t, Config{}), start(t, Config{})
	bind(t, a, smpp.Protocol, account).submit(parts(t, "for a", 0)[0])
	if len(phone(t, a, subscriber).Messages(0)) != 1 || len(phone(t, b, subscriber).Messages(0)) != 0 {
		t.Error("they share something")
	}
	if _, err := New(Config{SMPP: a.SMPPAddr()}); err == nil || !strings.Contains(err.Error(), "smpp on 127.0.0.1") {
		t.Errorf("the same port again: %v", err)
	}
}

func TestRunCloses(t *testing.T) {
	s := start(t, Config{})
	e := bind(t, s, cimd2.Protocol, account)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	cancel()
	if err := get(t, done, "end"); err != nil {
		t.Error(err)
	}
	get(t, e.ended, "end of the session")
	if _, err := net.Dial("tcp", s.CIMD2Addr()); err == nil {
		t.Error("it still listens")
	}
}
