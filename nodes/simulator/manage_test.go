package simulator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// smppESME is bound and ready to ask.
func smppESME(t *testing.T, s *Simulator) *line {
	l := raw(t, s, smpp.Protocol)
	l.login("ringway")
	return l
}

func head(sequence uint32) smpp.Header { return smpp.Header{Sequence: sequence} }

func (l *line) submitted(p *smpp.SubmitSM) (id string) {
	l.t.Helper()
	l.send(p)
	r := next[*smpp.SubmitSMResp](l)
	if r.Status != smpp.OK {
		l.t.Fatalf("submit: %v", r.Status)
	}
	return r.MessageID
}

func TestQuery(t *testing.T) {
	s := start(t, Config{Accounts: []Account{{User: "bob", Password: "secret"}}})
	l := smppESME(t, s)
	h := phone(t, s, subscriber)
	state := func(sequence uint32, id, from string) (smpp.MessageState, smpp.Status) {
		t.Helper()
		l.send(&smpp.QuerySM{Header: head(sequence), MessageID: id, SourceAddr: from})
		r := next[*smpp.QuerySMResp](l)
		return r.MessageState, r.Status
	}
	p := submitSM(2)
	p.RegisteredDelivery = 0
	h.SetOn(false)
	id := l.submitted(p)
	if got, status := state(3, id, service); got != smpp.StateEnroute || status != smpp.OK {
		t.Errorf("stored: %v, %v", got, status)
	}
	h.SetOn(true)
	if got, _ := state(4, id, service); got != smpp.StateDelivered {
		t.Errorf("delivered: %v", got)
	}
	if _, status := state(5, id, "999"); status != smpp.RQUERYFAIL {
		t.Errorf("another's: %v", status)
	}
	if _, status := state(6, "1", service); status != smpp.RQUERYFAIL {
		t.Errorf("unknown: %v", status)
	}
	l = raw(t, s, smpp.Protocol)
	l.login("bob")
	if _, status := state(2, id, service); status != smpp.RQUERYFAIL {
		t.Errorf("another account's: %v", status)
	}
	if got := s.Stats().Queries; got != 5 {
		t.Errorf("%d queries", got)
	}
}

func TestCancel(t *testing.T) {
	s := start(t, Config{})
	l := smppESME(t, s)
	h := phone(t, s, subscriber)
	h.SetOn(false)
	id := l.submitted(submitSM(2))
	cancel := func(sequence uint32, id, to string) smpp.Status {
		t.Helper()
		l.send(&smpp.CancelSM{Header: head(sequence), MessageID: id, SourceAddr: service, DestAddrTON: 1, DestAddrNPI: 1, DestinationAddr: to})
		return next[*smpp.CancelSMResp](l).Status
	}
	if status := cancel(3, "1", subscriber[1:]); status != smpp.RCANCELFAIL {
		t.Errorf("unknown: %v", status)
	}
	if status := cancel(4, id, subscriber[1:]); status != smpp.OK {
		t.Errorf("cancel: %v", status)
	}
	p := next[*smpp.DeliverSM](l) // its receipt
	if state, _ := p.TLVs.Uint8(smpp.TagMessageState); smpp.MessageState(state) != smpp.StateDeleted || !strings.Contains(string(p.ShortMessage), "stat:DELETED") {
		t.Errorf("got %q", p.ShortMessage)
	}
	l.send(&smpp.DeliverSMResp{Header: head(p.Sequence)})
	if status := cancel(5, id, subscriber[1:]); status != smpp.RCANCELFAIL {
		t.Errorf("again: %v", status)
	}
	for i := range uint32(3) { // all of one recipient
		p := submitSM(6 + i)
		p.RegisteredDelivery = 0
		l.submitted(p)
	}
	if status := cancel(9, "", subscriber[1:]); status != smpp.OK {
		t.Errorf("all: %v", status)
	}
	h.SetOn(true)
	if got := s.Stats(); got.Cancelled != 4 || got.Delivered != 0 || got.Stored != 0 || len(h.Messages(0)) != 0 {
		t.Errorf("stats: %+v, received %v", got, h.Messages(0))
	}
}

func TestReplace(t *testing.T) {
	s := start(t, Config{})
	l := smppESME(t, s)
	h := phone(t, s, subscriber)
	h.SetOn(false)
	id := l.submitted(submitSM(2))
	replace := func(sequence uint32, id string) smpp.Status {
		t.Helper()
		l.send(&smpp.ReplaceSM{Header: head(sequence), MessageID: id, SourceAddr: service, ShortMessage: []byte("something else")})
		return next[*smpp.ReplaceSMResp](l).Status
	}
	if status := replace(3, id); status != smpp.OK {
		t.Errorf("replace: %v", status)
	}
	if status := replace(4, "1"); status != smpp.RREPLACEFAIL {
		t.Errorf("unknown: %v", status)
	}
	// replace_if_present_flag: of the same sender and service, for the same recipient.
	p := submitSM(5)
	p.ServiceType, p.RegisteredDelivery, p.ShortMessage = "VMN", 0, []byte("1 voice message")
	l.submitted(p)
	p = submitSM(6)
	p.ServiceType, p.RegisteredDelivery, p.ShortMessage, p.ReplaceIfPresentFlag = "VMN", 0, []byte("2 voice messages"), 1
	l.submitted(p)
	h.SetOn(true)
	if got := texts(h.Messages(0)); !slices.Equal(got, []string{"something else", "2 voice messages"}) {
		t.Errorf("got %q", got)
	}
	if status := replace(7, id); status != smpp.RREPLACEFAIL {
		t.Errorf("delivered: %v", status)
	}
	if got := s.Stats(); got.Replaced != 2 || got.Stored != 0 || got.Delivered != 2 {
		t.Errorf("stats: %+v", got)
	}
}

func TestSubmitMulti(t *testing.T) {
	s := start(t, Config{Lists: map[string][]smsc.Address{"friends": {smsc.ParseAddress("+111"), smsc.ParseAddress("+222")}}})
	l := smppESME(t, s)
	phone(t, s, "+333").SetBarred(true)
	l.send(&smpp.SubmitMulti{
		Header: head(2), SourceAddr: service, ShortMessage: []byte("to all"), RegisteredDelivery: 1,
		Destinations: []smpp.Destination{{TON: 1, NPI: 1, Addr: "333"}, {TON: 1, NPI: 1, Addr: "444"}, {List: "friends"}},
	})
	r := next[*smpp.SubmitMultiResp](l)
	if r.Status != smpp.OK || len(r.Unsuccess) != 1 || r.Unsuccess[0].Addr != "333" || r.Unsuccess[0].Status != smpp.RINVDSTADR || r.MessageID == "" {
		t.Fatalf("got %+v", r)
	}
	from := map[string]bool{}
	for range 3 {
		p := next[*smpp.DeliverSM](l)
		id, _ := p.TLVs.Text(smpp.TagReceiptedMessageID)
		if id != r.MessageID {
			t.Errorf("a receipt has id %q, want %q", id, r.MessageID)
		}
		from[p.SourceAddr] = true
		l.send(&smpp.DeliverSMResp{Header: head(p.Sequence)})
	}
	if len(from) != 3 || from["333"] {
		t.Errorf("receipts of %v", from)
	}
	if got := phone(t, s, "222").Messages(0); len(got) != 1 || got[0].Text != "to all" {
		t.Errorf("got %v", got)
	}
}

func TestDeferred(t *testing.T) {
	t.Parallel()
	t.Run("smpp", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{})
		l := smppESME(t, s)
		h := phone(t, s, subscriber)
		p := submitSM(2)
		p.ScheduleDeliveryTime = "000000000001000R" // in one second
		begun := time.Now()
		id := l.submitted(p)
		if got := s.Stats(); got.Stored != 1 || got.Delivered != 0 || len(h.Messages(0)) != 0 {
			t.Errorf("at once: %+v", got)
		}
		receipt := next[*smpp.DeliverSM](l)
		got, _ := receipt.TLVs.Text(smpp.TagReceiptedMessageID)
		if took := time.Since(begun); got != id || took < time.Second || len(h.Messages(0)) != 1 || s.Stats().Stored != 0 {
			t.Errorf("receipt of %q after %v, %v", got, took, h.Messages(0))
		}
		l.send(&smpp.DeliverSMResp{Header: head(receipt.Sequence)})
		// Its handset is off when the time comes.
		h.SetOn(false)
		p = submitSM(3)
		p.ScheduleDeliveryTime, p.RegisteredDelivery = "000000000001000R", 0x11
		l.submitted(p)
		if r := next[*smpp.DeliverSM](l); r.ESMClass != 0x20 || !strings.Contains(string(r.ShortMessage), "stat:ENROUTE") {
			t.Errorf("got class %#x %q", r.ESMClass, r.ShortMessage)
		} else {
			l.send(&smpp.DeliverSMResp{Header: head(r.Sequence)})
		}
		h.SetOn(true)
		if r := next[*smpp.DeliverSM](l); !strings.Contains(string(r.ShortMessage), "stat:DELIVRD") {
			t.Errorf("got %q", r.ShortMessage)
		}
	})
	t.Run("smpp expires first", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{})
		l := smppESME(t, s)
		p := submitSM(2)
		p.ScheduleDeliveryTime, p.ValidityPeriod = "000000000009000R", "000000000005000R"
		l.send(p)
		if r := next[*smpp.SubmitSMResp](l); r.Status != smpp.RINVSCHED {
			t.Errorf("after its validity: %v", r.Status)
		}
		p = submitSM(3)
		p.ValidityPeriod = "200101000000000+"
		l.send(p)
		if r := next[*smpp.SubmitSMResp](l); r.Status != smpp.RINVEXPIRY {
			t.Errorf("expired in 2020: %v", r.Status)
		}
	})
	t.Run("expiry", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{})
		l := smppESME(t, s)
		phone(t, s, subscriber).SetOn(false)
		p := submitSM(2)
		p.ValidityPeriod = "000000000001000R"
		l.submitted(p)
		if r := next[*smpp.DeliverSM](l); !strings.Contains(string(r.ShortMessage), "stat:EXPIRED err:029") {
			t.Errorf("got %q", r.ShortMessage)
		}
		if got := s.Stats(); got.Expired != 1 || got.Stored != 0 {
			t.Errorf("stats: %+v", got)
		}
	})
}

func TestWantedReceipts(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	l := smppESME(t, s)
	p := submitSM(2)
	p.RegisteredDelivery = 2 // on failure only
	l.submitted(p)
	l.quiet(50 * time.Millisecond)
	phone(t, s, subscriber).SetRefuses(true)
	p = submitSM(3)
	p.RegisteredDelivery = 2
	l.submitted(p)
	if r := next[*smpp.DeliverSM](l); !strings.Contains(string(r.ShortMessage), "stat:UNDELIV") {
		t.Errorf("got %q", r.ShortMessage)
	}
}

func TestEnquireAndCancelInCIMD2(t *testing.T) {
	s := start(t, Config{})
	l := raw(t, s, cimd2.Protocol)
	l.login("ringway")
	h := phone(t, s, subscriber)
	h.SetOn(false)
	number := uint8(1)
	ask := func(op cimd2.Operation, params ...any) *cimd2.Packet {
		t.Helper()
		number += 2
		l.send(packet(op, number, params...))
		r := next[*cimd2.Packet](l)
		if r.Operation != op.Response() || r.Number != number {
			t.Fatalf("asked %v, got %v", op, r)
		}
		return r
	}
	submit := func(params ...any) (stamp string) {
		t.Helper()
		r := ask(cimd2.Submit, append([]any{cimd2.DestinationAddress, subscriber, cimd2.OriginatingAddress, service, cimd2.UserData, "hello"}, params...)...)
		stamp, ok := r.Get(cimd2.ServiceCentreTime)
		if !ok {
			t.Fatalf("submit: %v", r)
		}
		return stamp
	}
	status := func(stamp string) (int, *cimd2.Packet) {
		t.Helper()
		r := ask(cimd2.EnquireStatus, cimd2.DestinationAddress, subscriber, cimd2.ServiceCentreTime, stamp)
		n, _ := r.Int(cimd2.StatusCode)
		return n, r
	}
	failed := func(r *cimd2.Packet) bool { _, ok := r.Get(cimd2.ErrorCode); return ok }

	a, b := submit(), submit()
	if n, r := status(a); n != 1 {
		t.Errorf("stored: %v", r)
	}
	if r := ask(cimd2.Cancel, cimd2.CancelMode, "2", cimd2.DestinationAddress, subscriber, cimd2.ServiceCentreTime, a); failed(r) {
		t.Errorf("cancel: %v", r)
	}
	if n, r := status(a); n < 7 || n > 9 {
		t.Errorf("cancelled: %v", r)
	}
	if r := ask(cimd2.Cancel, cimd2.CancelMode, "2", cimd2.DestinationAddress, subscriber, cimd2.ServiceCentreTime, a); !failed(r) {
		t.Errorf("again: %v", r)
	}
	h.SetOn(true)
	if n, r := status(b); n != 4 {
		t.Errorf("delivered: %v", r)
	}
	if n, r := status("200101000000"); !failed(r) {
		t.Errorf("unknown: %d %v", n, r)
	}
	h.SetOn(false)
	submit()
	submit()
	if r := ask(cimd2.Cancel, cimd2.CancelMode, "0", cimd2.DestinationAddress, subscriber); failed(r) {
		t.Errorf("cancel all to the destination: %v", r)
	}
	submit()
	if r := ask(cimd2.Cancel, cimd2.CancelMode, "1"); failed(r) {
		t.Errorf("cancel all: %v", r)
	}
	h.SetOn(true)
	if got := s.Stats(); got.Cancelled != 4 || got.Delivered != 1 || got.Stored != 0 {
		t.Errorf("stats: %+v", got)
	}
	// Deferred: the shortest that there is are five minutes.
	submit(cimd2.FirstDeliveryRelative, "0")
	if got := s.Stats(); got.Stored != 1 || len(h.Messages(0)) != 1 {
		t.Errorf("deferred: %+v", got)
	}
}

func TestPasswordAndTimeInCIMD2(t *testing.T) {
	s := start(t, Config{NoChecksum: true})
	l := raw(t, s, cimd2.Protocol)
	l.login("ringway")
	l.send(packet(cimd2.Get, 3, cimd2.GetParameter, "501"))
	r := next[*cimd2.Packet](l)
	stamp, _ := r.Get(cimd2.SMSCTime)
	if at, err := time.Parse("060102150405", stamp); err != nil || time.Since(at).Abs() > time.Minute || !r.Bare {
		t.Errorf("got %v, %v", r, err)
	}
	l.send(packet(cimd2.Set, 5, cimd2.Password, "changed"))
	if r := next[*cimd2.Packet](l); r.Operation != cimd2.Set.Response() || len(r.Params) > 0 {
		t.Errorf("got %v", r)
	}
	changed := account
	changed.Password = "changed"
	bind(t, s, cimd2.Protocol, changed)
	if err := get(t, dial(t, s, cimd2.Protocol, account).ended, "refusal"); err == nil {
		t.Error("the old password was taken")
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		s := start(t, Config{Accounts: []Account{{User: "bob", Password: "secret", Numbers: []string{"+4917"}, MaxSessions: 1}}})
		bob := account
		bob.User = "bob"
		a, b := bind(t, s, p, account), bind(t, s, p, bob)
		if err := get(t, dial(t, s, p, bob).ended, "refusal"); err == nil {
			t.Error("a second session of bob was taken")
		}
		h := phone(t, s, subscriber)
		for range 5 { // to bob's number, and his receipts, only he gets
			if err := h.Send("+49170", "for bob"); err != nil {
				t.Fatal(err)
			}
			get(t, b.deliver, "deliver")
			part := parts(t, "hello", 0)[0]
			part.Report = true
			id := b.submit(part).ID
			if r := get(t, b.receipts, "receipt"); r.ID != id {
				t.Errorf("got %+v", r)
			}
		}
		none(t, a.deliver, 10*time.Millisecond)
		none(t, a.receipts, 10*time.Millisecond)
		if got := s.Stats(); got.LoginsRefused != 1 || got.Logins != 2 {
			t.Errorf("stats: %+v", got)
		}
	})
	for _, bad := range []Config{
		{User: "a", Accounts: []Account{{User: "a"}}}, {Accounts: []Account{{}}}, {Accounts: []Account{{User: "b", Numbers: []string{"x"}}}}, {Sharing: "some"},
	} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// The sessions of an account share what is for it, or one gets it all.
func TestSharing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, p smsc.Protocol) {
		for _, sharing := range []Sharing{ShareAll, ShareFirst, ShareLast} {
			s := start(t, Config{Sharing: sharing})
			var all []*esme
			for range 3 {
				all = append(all, bind(t, s, p, account))
			}
			const n = 60
			for i := range n {
				if err := phone(t, s, fmt.Sprintf("+63917%04d", i)).Send(service, "hello"); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "all acknowledged", func() bool { return s.Stats().MOAcked == n })
			var got []int
			for _, e := range all {
				got = append(got, len(e.deliver))
			}
			want := map[Sharing][]int{ShareFirst: {n, 0, 0}, ShareLast: {0, 0, n}}[sharing]
			if want == nil && (got[0]+got[1]+got[2] != n || slices.Contains(got, 0)) || want != nil && !slices.Equal(got, want) {
				t.Errorf("sharing %q: %v", sharing, got)
			}
			if sharing != ShareFirst {
				continue
			}
			_ = all[0].conn.Close()
			until(t, "counted out", func() bool { return s.Stats().Sessions == 2 })
			if err := phone(t, s, subscriber).Send(service, "hello"); err != nil {
				t.Fatal(err)
			}
			get(t, all[1].deliver, "deliver to who stood by")
		}
	})
}

func TestRoutes(t *testing.T) {
	st := newStore(Config{Accounts: []Account{
		{User: "wide", Numbers: []string{"49"}}, {User: "narrow", Numbers: []string{"+4917", "1"}}, {User: "other", Numbers: []string{"491"}},
	}}, time.Now())
	for to, want := range map[string]string{"+4917": "narrow", "49170": "narrow", "+4918": "other", "+492": "wide", "12": "narrow", "2": ""} {
		if got := st.route(to); got != want {
			t.Errorf("%s goes to %q, want %q", to, got, want)
		}
	}
}

// Who stands by takes over what waits, also when the first leaves with nothing
// of it in its hands.
func TestTakeOver(t *testing.T) {
	s := start(t, Config{Sharing: ShareFirst})
	l := smppESME(t, s)
	e := bind(t, s, smpp.Protocol, account)
	until(t, "it waits", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.idle["ringway"]) == 2 })
	s.mu.Lock()
	s.sessions[0].order(smsc.Logout{})
	s.mu.Unlock()
	next[*smpp.Unbind](l)
	if err := phone(t, s, subscriber).Send(service, "hello"); err != nil {
		t.Fatal(err)
	}
	none(t, e.deliver, 20*time.Millisecond)
	l.send(&smpp.UnbindResp{Header: head(1)})
	_ = l.conn.Close()
	get(t, e.deliver, "deliver")
}

// Messages that wait for many handsets expire and are delivered in their order.
func TestManyWait(t *testing.T) {
	now := time.Unix(1e9, 0)
	st := newStore(Config{Validity: time.Hour, RetryAfter: time.Second}, now)
	h := st.handset(subscriber)
	h.off = true
	part := parts(t, "hello", 0)[0]
	part.Report = true
	for i := range 1000 {
		part.Validity = time.Duration(1+i%10) * time.Minute
		st.submit(submission{Submission: smsc.Submission{Part: part}, protocol: "smpp"}, now)
	}
	st.tick(now.Add(5 * time.Minute))
	if st.stats.Expired != 500 || st.stats.Stored != 500 || st.stats.ReceiptsPending != 500 {
		t.Errorf("stats: %+v", st.stats)
	}
	st.setOn(h, true, now.Add(6*time.Minute))
	if st.stats.Expired != 600 || st.stats.Delivered != 400 || st.stats.Stored != 0 || len(st.agenda.list) != 0 {
		t.Errorf("stats: %+v, %d appointments", st.stats, len(st.agenda.list))
	}
	for range 2 * keepFinals {
		st.submit(submission{Submission: smsc.Submission{Part: smsc.Part{To: part.To}}, protocol: "smpp"}, now)
	}
	if len(st.finals) != keepFinals || len(st.byID) != keepFinals {
		t.Errorf("%d finals, %d ids are kept", len(st.finals), len(st.byID))
	}
}
