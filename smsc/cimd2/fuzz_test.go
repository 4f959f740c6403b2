package cimd2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// What is accepted is written back to something that decodes equal.
func FuzzRead(f *testing.F) {
	for _, file := range []string{"cimd2_kannel.json", "cimd2_jcimd.json", "cimd2_malformed.json"} {
		for i, v := range vectors(f, file) {
			if i%6 == 0 {
				f.Add(v.octets(f))
			}
		}
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		packets, _ := read(octets)
		for _, p := range packets {
			again, err := p.Append(nil)
			if err != nil {
				t.Fatalf("%v is accepted, but not written: %v", p, err)
			}
			q, err := Decode(again)
			if err != nil || !q.same(p) || q.Bare != p.Bare {
				t.Fatalf("%v comes back as %v, %v", p, q, err)
			}
			n := p.Number + 2
			if q, err = Decode(renumber(again, n)); err != nil || q.Number != n || len(q.Params) != len(p.Params) {
				t.Fatalf("%v renumbered is %v, %v", p, q, err)
			}
			ParseDeliver(p, smsc.AlphabetLatin1)
			ParseStatusReport(p)
			ParseSubmitted(p)
			if p.Operation == Submit && p.Check() == nil {
				fuzzSubmit(t, p)
			}
			if value, ok := p.Get(UserData); ok {
				for a := range smsc.Alphabet(3) {
					septets := DecodeText(value, a)
					if got := DecodeText(EncodeText(septets, a), a); !bytes.Equal(got, septets) {
						t.Fatalf("%X comes back as %X", septets, got)
					}
				}
			}
		}
	})
}

// A submit that is accepted can be submitted again, and is the same part.
func fuzzSubmit(t *testing.T, p *Packet) {
	s, err := ParseSubmit(p)
	if err != nil {
		return
	}
	again, err := NewSubmit(s.Part, Options{})
	if err != nil {
		return // what one may not send, but may receive: a name in 023, say
	}
	if got, err := ParseSubmit(again); err != nil || !samePart(got.Part, s.Part) && s.Part.Validity == got.Part.Validity {
		t.Fatalf("%+v comes back as %+v, %v", s.Part, got.Part, err)
	}
}

// addScripts adds long scripts, so that a plain test run comes everywhere too.
func addScripts(f *testing.F) {
	for seed := range uint64(8) {
		octets := make([]byte, 1000)
		dice := rand.New(rand.NewPCG(seed, 0))
		for i := range octets {
			octets[i] = byte(dice.Uint32())
		}
		f.Add(octets)
	}
}

// script reads events from the fuzzer's octets.
type script struct {
	octets []byte
	refs   uint64 // given to submits, requests or delivers
	timers []smsc.Timer
}

func (s *script) next() byte {
	if len(s.octets) == 0 {
		return 0
	}
	b := s.octets[0]
	s.octets = s.octets[1:]
	return b
}

// received is a packet: mostly one that fits the session, else any octets.
func (s *script) received(operations []Operation, in *inbox, out *outbox) smsc.Event {
	p := NewPacket(operations[int(s.next())%len(operations)], s.next(), 3)
	switch {
	case p.Number < 100:
	case p.Operation.Request():
		p.Number = in.expected
	case len(out.open) > 0:
		p.Number = out.open[0].number
	}
	lines := [][]Param{
		nil,
		{{ErrorCode, []string{"0", "1", "5", "9", "10", "105", "300", "x"}[s.next()%8]}},
		{{DestinationAddress, "1"}, {ServiceCentreTime, "261122201500"}},
		{{UserIdentity, "u"}, {Password, "p"}, {WindowSize, "5"}},
		{{DestinationAddress, "1"}, {DestinationAddress, "2"}, {UserData, "x"}},
		{{CancelMode, "1"}},
		{{GetParameter, "501"}},
		{{DeliveryMode, "2"}},
		{{DestinationAddress, "1"}, {OriginatingAddress, "2"}, {ServiceCentreTime, "261122201500"}, {UserData, "@[_Oa\xe4"}},
		{{DestinationAddress, "1"}, {OriginatingAddress, "2"}, {ServiceCentreTime, "261122201500"}, {UserDataBinary, "31D98C56B3DD00"}},
	}
	p.Params = lines[int(s.next())%len(lines)]
	p.Bare = s.next() > 200
	if s.next() > 240 {
		octets, _ := p.Append(nil)
		octets[int(s.next())%len(octets)] ^= s.next()
		q, err := Decode(octets)
		switch {
		case err == nil:
			return smsc.Received{Packet: q}
		case s.next() > 250:
			err = errors.New("gone")
		}
		return smsc.Garbled{Err: err}
	}
	return smsc.Received{Packet: p}
}

// quirks are deviations of the SMSC, mostly a few.
func (s *script) quirks() (q smsc.Quirks) {
	some, others := s.next(), s.next()
	for i, flag := range []*bool{&q.NoLogoutAnswer, &q.NegativeDelivers, &q.RequireChecksum, &q.TrailingAt, &q.NoChecksum} {
		*flag = some&others>>i&1 != 0
	}
	q.Alphabet, q.Numbers = smsc.Alphabet(s.next()%3), smsc.Numbers(s.next()%3)
	return q
}

// part is one to submit: often one that no SMSC could take.
func (s *script) part() smsc.Part {
	part := hello("x")
	part.Coding = []text.Coding{text.GSM7, text.GSM7, text.UCS2, text.Binary, text.Latin1}[s.next()%5]
	part.Class = int8(s.next()%6) - 1
	part.Report, part.More = s.next()%2 == 0, s.next()%8 == 0
	part.Validity = time.Duration(s.next()) * time.Minute
	part.From.TON, part.To.TON = s.next()%6, s.next()%6
	n := int(s.next())
	n = min(n, len(s.octets))
	part.Data, s.octets = s.octets[:n:n], s.octets[n:]
	if part.Coding == text.GSM7 {
		part.Data = bytes.Clone(part.Data)
		for i := range part.Data {
			part.Data[i] &= 0x7F
		}
	}
	switch s.next() % 8 {
	case 0:
		part.UDH = []byte{5, 0, 3, s.next(), 2, 1}
	case 1:
		part.From.Digits = string(part.Data[:min(len(part.Data), 23)])
	case 2:
		part.To.Digits = string(part.Data[:min(len(part.Data), 23)])
	}
	return part
}

// request is one to ask for: that of a rule, or none at all.
func (s *script) request() *Packet {
	lines := [][]Param{
		nil,
		{{DestinationAddress, "1"}, {ServiceCentreTime, "261122201500"}},
		{{DestinationAddress, "1"}, {UserData, "x"}},
		{{CancelMode, "1"}},
		{{Password, "p"}},
		{{GetParameter, "501"}},
		{{DeliveryMode, "2"}},
		{{Code(s.next()), string(s.next())}},
	}
	p := NewPacket(Operation(s.next()%50), 0, 2)
	p.Params = lines[int(s.next())%len(lines)]
	return p
}

// due is a timer that was set, or was not.
func (s *script) due() smsc.Event {
	if n := len(s.timers); n > 0 && s.next() < 200 {
		return smsc.Due{Timer: s.timers[n-1-int(s.next())%min(n, 20)]}
	}
	return smsc.Due{Timer: smsc.Timer{Name: string(s.octets[:min(len(s.octets), 12)]), Seq: uint64(s.next())}}
}

// Whatever happens: no panic, one answer for each submit and each request,
// nothing after the end, no more open than the window, no growth.
func FuzzESME(f *testing.F) {
	f.Add([]byte{1, 1, 0, 2, 0, 1, 0, 0, 0, 3, 4, 2, 1, 3, 0, 2, 0})
	f.Add(bytes.Repeat([]byte{0, 1, 0, 2, 0, 1, 0, 0, 0, 3, 4, 2, 9, 8, 7}, 20))
	addScripts(f)
	from := []Operation{51, 51, 53, 53, 59, 52, 55, 54, 90, 98, 99, 20, 20, 23, 40, 2, 77, 0}
	f.Fuzz(func(t *testing.T, octets []byte) {
		s := &script{octets: octets}
		cfg := testConfig
		cfg.Window = int(s.next() % 6)
		cfg.Poll = s.next() > 200
		cfg.Quirks = s.quirks()
		m := New(cfg).(*machine)
		answers := map[uint64]int{}
		over, asked, told := false, 0, 0
		handle := func(ev smsc.Event) {
			for _, e := range m.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.TimeTold:
					told++
				case smsc.Answered:
					answers[e.Ref]++
				case smsc.Responded:
					answers[e.Ref]++
				case smsc.SetTimer:
					s.timers = append(s.timers, e.Timer)
				case smsc.Write:
					p, err := Decode(e.Octets)
					if err != nil || over || p.Bare != cfg.Quirks.NoChecksum {
						t.Fatalf("%q, %v is written; over: %v; checksums: %v", e.Octets, err, over, !cfg.Quirks.NoChecksum)
					}
					if p.Operation.Request() && p.Check() != nil {
						t.Fatalf("%v is written, but %v", p, p.Check())
					}
				case smsc.Close:
					over = true
				}
			}
			if len(m.out.open) > max(cfg.Window, 1)+1 || len(m.in.recent) > maxRecent+256 {
				t.Fatalf("%d open, %d recent", len(m.out.open), len(m.in.recent))
			}
		}
		if s.next() < 200 {
			handle(smsc.Connected{})
			handle(smsc.Received{Packet: NewPacket(Login.Response(), 1, 0)})
		}
		for len(s.octets) > 0 {
			switch s.next() % 9 {
			case 0:
				s.refs++
				handle(smsc.Submit{Ref: s.refs, Part: s.part(), Now: time.Unix(int64(s.next()), 0).UTC()})
			case 1:
				s.refs++
				handle(smsc.Request{Ref: s.refs, Packet: s.request()})
			case 2, 3, 4:
				handle(s.received(from, &m.in, &m.out))
			case 5:
				handle(smsc.Accept{Ref: m.refs - uint64(s.next()%4)})
			case 6:
				handle(smsc.Refuse{Ref: m.refs - uint64(s.next()%4)})
			case 7:
				handle(s.due())
			default:
				switch s.next() % 32 {
				case 0:
					handle(smsc.Logout{})
				case 1:
					handle(smsc.Connected{})
				case 2:
					handle(smsc.Disconnected{})
				case 3, 4:
					asked++
					handle(smsc.AskTime{})
				}
			}
			if told > asked {
				t.Fatalf("the time was told %d times and asked for %d times", told, asked)
			}
		}
		handle(smsc.Disconnected{})
		for ref := range s.refs {
			if answers[ref+1] != 1 {
				t.Fatalf("%d of %d is answered %d times", ref+1, s.refs, answers[ref+1])
			}
		}
	})
}

// The same at the SMSC: one answer for each deliver, never two responses to
// one request that are not the same.
func FuzzServer(f *testing.F) {
	f.Add([]byte{1, 1, 0, 2, 0, 1, 0, 0, 0, 3, 4, 2, 1, 3, 0, 2, 0})
	f.Add(bytes.Repeat([]byte{0, 1, 0, 2, 0, 1, 0, 0, 0, 3, 4, 2, 9, 8, 7}, 20))
	addScripts(f)
	from := []Operation{1, 1, 3, 3, 3, 2, 5, 4, 6, 8, 9, 40, 70, 70, 73, 98, 99, 20, 77, 90}
	f.Fuzz(func(t *testing.T, octets []byte) {
		s := &script{octets: octets}
		cfg := smsc.ServerConfig{
			Window: int(s.next() % 6), SubmitWindow: int(s.next() % 6), AnyNumber: s.next() > 50, Manage: s.next() > 100,
			RequireChecksum: s.next() > 240, ResponseTimeout: 1, InactivityTimeout: 1, LoginTimeout: 1, KeepAlive: time.Duration(s.next() % 3),
		}
		m := NewServer(cfg).(*server)
		answers, asked := map[uint64]int{}, uint64(0)
		over := false
		handle := func(ev smsc.Event) {
			for _, e := range m.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.DeliverAnswered:
					answers[e.Ref]++
				case smsc.SubmitReceived:
					if asked++; e.Ref == 0 {
						t.Fatal("a submit without a ref")
					}
				case smsc.SetTimer:
					s.timers = append(s.timers, e.Timer)
				case smsc.Write:
					p, err := Decode(e.Octets)
					if err != nil || over {
						t.Fatalf("%q, %v is written; over: %v", e.Octets, err, over)
					}
					if p.Operation.Request() && p.Check() != nil {
						t.Fatalf("%v is written, but %v", p, p.Check())
					}
				case smsc.Close:
					over = true
				}
			}
			if len(m.out.open) > max(cfg.Window, 1) || len(m.in.recent) > maxRecent+256 {
				t.Fatalf("%d open, %d recent", len(m.out.open), len(m.in.recent))
			}
		}
		handle(smsc.Connected{})
		if s.next() < 200 {
			login := NewPacket(Login, 1, 2)
			login.Add(UserIdentity, "u")
			login.Add(Password, "p")
			handle(smsc.Received{Packet: login})
			handle(smsc.LoginResult{OK: true, Retrieving: s.next() > 200})
		}
		for len(s.octets) > 0 {
			ref := m.refs - uint64(s.next()%6)
			outcome := smsc.Outcome{Fate: smsc.Fate(s.next() % 7), ID: "1/261122201500"}
			switch s.next() % 10 {
			case 0, 1, 2, 3:
				handle(s.received(from, &m.in, &m.out))
			case 4:
				handle(smsc.ServerAnswer{Ref: ref, Outcome: outcome})
			case 5:
				s.refs++
				handle(smsc.ServerDeliver{Ref: s.refs, Deliver: smsc.Deliver{Part: s.part(), At: "261122201500"}})
			case 6:
				s.refs++
				handle(smsc.ServerReport{Ref: s.refs, Part: hello("x"), Receipt: smsc.Receipt{ID: "1/261122201500"}, Done: time.Unix(1, 0)})
			case 7:
				handle([]smsc.Event{
					smsc.QueryAnswer{Ref: ref}, smsc.TimeAnswer{Ref: ref}, smsc.WaitingResult{Ref: ref, Waiting: int(s.next())}, smsc.LoginResult{OK: true},
				}[s.next()%4])
			case 8:
				handle(s.due())
			default:
				switch s.next() % 32 {
				case 0:
					handle(smsc.Logout{})
				case 1:
					handle(smsc.Disconnected{})
				case 2:
					handle(smsc.LoginResult{})
				}
			}
		}
		handle(smsc.Disconnected{})
		for ref := range s.refs {
			if answers[ref+1] != 1 {
				t.Fatalf("%d of %d is answered %d times", ref+1, s.refs, answers[ref+1])
			}
		}
	})
}
