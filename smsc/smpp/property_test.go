package smpp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
	"pgregory.net/rapid"
)

// anyPDU draws a PDU of any command, with numbers that are likely to matter.
func anyPDU(t *rapid.T) PDU {
	commands := []CommandID{CommandGenericNack}
	for c := CommandID(0); c <= CommandDataSM; c++ {
		if newPDU(c) != nil {
			commands = append(commands, c)
			if newPDU(c|Response) != nil {
				commands = append(commands, c|Response)
			}
		}
	}
	p := newPDU(rapid.SampledFrom(commands).Draw(t, "command"))
	*p.Head() = Header{
		Sequence: rapid.Uint32Range(0, 12).Draw(t, "sequence"),
		Status:   rapid.SampledFrom([]Status{OK, OK, OK, RTHROTTLED, RINVDSTADR, RXTAPPN, RINVBNDSTS, 0x400}).Draw(t, "status"),
	}
	switch p := p.(type) {
	case *DeliverSM:
		anyMessage(t, (*SubmitSM)(p))
	case *SubmitSM:
		anyMessage(t, p)
	case *DataSM:
		p.TLVs, p.DestinationAddr = anyTLVs(t), "1"
	case *SubmitMulti:
		p.Destinations = rapid.SampledFrom([][]Destination{
			{{Addr: "1"}}, {{Addr: "1"}, {Addr: "2"}, {List: "friends"}}, {{List: "nobody"}},
		}).Draw(t, "destinations")
	case *BindTransceiver:
		p.InterfaceVersion = rapid.SampledFrom([]uint8{0, 0x33, 0x34, 0x50}).Draw(t, "version")
	case *BindTransceiverResp:
		p.TLVs = anyTLVs(t)
	}
	return p
}

func anyMessage(t *rapid.T, p *SubmitSM) {
	p.ESMClass = rapid.SampledFrom([]uint8{0, 4, 0x40, 0x20}).Draw(t, "class")
	p.ShortMessage = rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "text")
	p.DestinationAddr = rapid.SampledFrom([]string{"", "1", "+358407654321", "358407654321"}).Draw(t, "to")
	p.ValidityPeriod = rapid.SampledFrom([]string{"", "000001000000000R", "261122215509000+", "nonsense"}).Draw(t, "validity")
	p.TLVs = anyTLVs(t)
}

func anyTLVs(t *rapid.T) TLVs {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) TLV {
		return TLV{
			rapid.SampledFrom([]Tag{
				TagSarMsgRefNum, TagSarTotalSegments, TagSarSegmentSeqnum, TagMessagePayload, TagReceiptedMessageID, TagMessageState,
				TagNetworkErrorCode, TagSCInterfaceVersion, 0x1400,
			}).Draw(t, "tag"), rapid.SliceOfN(rapid.ByteMax(3), 0, 3).Draw(t, "value"),
		}
	}), 0, 4).Draw(t, "TLVs")
}

func anyQuirks(t *rapid.T) (q smsc.Quirks) {
	q.ReceiptIDs = smsc.IDForm(rapid.IntRange(0, 4).Draw(t, "ids"))
	q.Numbers = smsc.Numbers(rapid.IntRange(0, 2).Draw(t, "numbers"))
	switch rapid.IntRange(0, 5).Draw(t, "quirk") {
	case 1:
		q.Packed = true
	case 2:
		q.Alphabet = smsc.AlphabetLatin1
	case 3:
		q.LongTexts = smsc.LongTexts(rapid.IntRange(1, 2).Draw(t, "long"))
	case 4:
		q.NoTLVs, q.NoLogoutAnswer = true, true
	case 5:
		q.Fates = map[uint32]smsc.Fate{0x400: smsc.Throttled, uint32(RINVDSTADR): smsc.BadSession}
	}
	return q
}

func anyGarbled(t *rapid.T) smsc.Garbled {
	return rapid.SampledFrom([]smsc.Garbled{
		{Err: io.ErrUnexpectedEOF},
		{Err: &smsc.SyntaxError{Fatal: true, Packet: &Malformed{Reply: RINVCMDLEN}}},
		{Err: &smsc.SyntaxError{}},
		{Err: &smsc.SyntaxError{Packet: &Malformed{Command: 0x33, Reply: RINVCMDID}}},
		{Err: &smsc.SyntaxError{Packet: &Malformed{Command: 0x80000033, Reply: RINVCMDID}}},
		{Err: &smsc.SyntaxError{Packet: &Malformed{Command: CommandDeliverSM, Reply: RINVMSGLEN, PDU: &DeliverSM{}}}},
		{Err: &smsc.SyntaxError{Packet: &Malformed{Command: CommandSubmitSM | Response, PDU: &SubmitSMResp{Header: Header{Sequence: 2}}}}},
	}).Draw(t, "garbled")
}

// world keeps what a machine's effects say, and checks what holds in any order.
type world struct {
	timers map[string]smsc.Timer
	open   map[uint64]bool // our requests without an outcome
	taken  []uint64        // Refs given to us
	closed bool
}

func (w *world) check(t rapid.TB, do []smsc.Effect) {
	answered := func(ref uint64) {
		if !w.open[ref] {
			t.Fatalf("an outcome for %d, which has none to get", ref)
		}
		delete(w.open, ref)
	}
	for _, e := range do {
		if w.closed {
			t.Fatalf("%T after Close", e)
		}
		switch e := e.(type) {
		case smsc.Write:
			p, err := Decode(e.Octets)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := Append(nil, p); err != nil || !bytes.Equal(b, e.Octets) { // reading allows more than may be sent
				t.Fatalf("%+v was sent: %v", p, err)
			}
		case smsc.Answered:
			answered(e.Ref)
		case smsc.Responded:
			if (e.Packet == nil) == (e.Err == nil) {
				t.Fatalf("%+v", e)
			}
			answered(e.Ref)
		case smsc.DeliverAnswered:
			answered(e.Ref)
		case smsc.Delivered:
			w.taken = append(w.taken, e.Ref)
		case smsc.Reported:
			w.taken = append(w.taken, e.Ref)
		case smsc.SubmitReceived:
			w.taken = append(w.taken, e.Ref)
		case smsc.QueryReceived:
			w.taken = append(w.taken, e.Ref)
		case smsc.CancelReceived:
			w.taken = append(w.taken, e.Ref)
		case smsc.ReplaceReceived:
			w.taken = append(w.taken, e.Ref)
		case smsc.SetTimer:
			if e.After <= 0 {
				t.Fatalf("timer %v", e)
			}
			w.timers[e.Timer.Name] = e.Timer
		case smsc.StopTimer:
			delete(w.timers, e.Name)
		case smsc.Close:
			w.closed = true
			if len(w.open) > 0 {
				t.Fatalf("closed with %d without outcome", len(w.open))
			}
		}
	}
}

// ask asks for p: what an ESME has not to ask, or not now, is answered at once.
func (w *world) ask(t rapid.TB, m smsc.Machine, ref uint64, p PDU) {
	w.open[ref] = true
	may, before := m.Ready() > 0, *p.Head()
	switch p.(type) {
	case *QuerySM, *CancelSM, *ReplaceSM, *SubmitMulti, *DataSM:
	default:
		may = false
	}
	do := m.Handle(smsc.Request{Ref: ref, Packet: p}, nil)
	if r, at := do[0].(smsc.Responded); !may && (len(do) != 1 || !at || r.Ref != ref || r.Err == nil) || at && len(do) > 1 || *p.Head() != before {
		t.Fatalf("may be asked: %v, %+v", may, do)
	} else if at && w.closed { // the one effect allowed
		delete(w.open, ref)
		return
	}
	w.check(t, do)
}

func bounded(t rapid.TB, s *side, limit int) {
	limit = max(limit, 1)
	if len(s.open) > limit || len(s.places) > limit || len(s.taken) > maxTaken+maxDestinations || len(s.timers) > 5 || cap(s.room) > roomSize {
		t.Fatalf("%d open, %d places, %d taken, %d timers, room of %d", len(s.open), len(s.places), len(s.taken), len(s.timers), cap(s.room))
	}
	if s.state == stateClosed && len(s.open)+len(s.taken)+len(s.timers)+len(s.places) > 0 {
		t.Fatalf("closed with %d open, %d taken, %d timers", len(s.open), len(s.taken), len(s.timers))
	}
}

// anyEvent draws one that both machines know.
func (w *world) anyEvent(t *rapid.T) smsc.Event {
	switch rapid.IntRange(0, 13).Draw(t, "event") {
	case 0:
		w.closed = false
		return smsc.Connected{Accepted: rapid.Bool().Draw(t, "accepted")}
	case 1:
		return anyGarbled(t)
	case 2:
		return smsc.Logout{}
	case 3:
		return smsc.Disconnected{Err: io.EOF}
	case 4, 5:
		names := []smsc.Timer{{Name: "response 2", Seq: 1}, {}}
		for _, n := range []string{"login", "idle", "probe", "enquire", "logout", "response 1", "response 2"} {
			if timer, ok := w.timers[n]; ok {
				names = append(names, timer)
			}
		}
		return smsc.Due{Timer: rapid.SampledFrom(names).Draw(t, "timer")}
	}
	return smsc.Received{Packet: anyPDU(t)}
}

func (w *world) anyTaken(t *rapid.T) uint64 {
	return rapid.SampledFrom(append([]uint64{999}, w.taken...)).Draw(t, "taken")
}

func TestESMEInAnyOrder(t *testing.T) { rapid.Check(t, esmeInAnyOrder) }

// esmeInAnyOrder: whatever happens, each submit has one outcome and each request one
// response, and what the machine holds stays within bounds.
func esmeInAnyOrder(t *rapid.T) {
	cfg := quirky(anyQuirks(t))
	cfg.Mode = rapid.SampledFrom([]string{"transceiver", "transmitter", "receiver"}).Draw(t, "mode")
	cfg.Window = rapid.IntRange(0, 3).Draw(t, "window")
	m := NewMachine(cfg)
	w := &world{timers: map[string]smsc.Timer{}, open: map[uint64]bool{}}
	w.check(t, m.Handle(smsc.Connected{}, nil))
	if rapid.IntRange(0, 3).Draw(t, "bind") > 0 {
		w.check(t, m.Handle(smsc.Received{Packet: &BindTransceiverResp{Header: Header{Sequence: 1}}}, nil))
	}
	for ref := uint64(1); ref <= 40; ref++ {
		var ev smsc.Event
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 5:
			w.ask(t, m, ref, anyPDU(t))
			bounded(t, &m.(*machine).side, cfg.Window)
			continue
		case 0, 1:
			p := part("x")
			if rapid.IntRange(0, 9).Draw(t, "unencodable") == 0 {
				p.To.Digits = "1\x002"
			}
			w.open[ref] = true
			before := m.Ready()
			do := m.Handle(smsc.Submit{Ref: ref, Part: p}, nil)
			if w.closed && len(do) == 1 { // the answer to a submit on a closed session is the one effect allowed
				if a := do[0].(smsc.Answered); before != 0 || a.Outcome.Fate != smsc.BadSession {
					t.Fatalf("%+v", a)
				}
				delete(w.open, ref)
				continue
			}
			w.check(t, do)
			continue
		case 2:
			ev = smsc.Accept{Ref: w.anyTaken(t)}
		case 3:
			ev = w.anyEvent(t)
		case 4:
			answer := rapid.Uint32Range(1, 6).Draw(t, "answer")
			ev = smsc.Received{Packet: rapid.SampledFrom([]PDU{
				submitResp(answer, OK, "id"), &QuerySMResp{Header: Header{Sequence: answer}}, &SubmitMultiResp{Header: Header{Sequence: answer}},
			}).Draw(t, "response")}
		}
		w.check(t, m.Handle(ev, nil))
		bounded(t, &m.(*machine).side, cfg.Window)
		if n := m.Ready(); n < 0 || n > max(cfg.Window, 1) || n > 0 && (m.State() != "bound" || cfg.Mode == "receiver") {
			t.Fatalf("ready %d, %s", n, m.State())
		}
	}
	w.closed = false
	w.check(t, m.Handle(smsc.Disconnected{}, nil))
	if len(w.open) > 0 {
		t.Fatalf("%d submits never answered", len(w.open))
	}
}

func TestServerInAnyOrder(t *testing.T) { rapid.Check(t, serverInAnyOrder) }

// serverInAnyOrder is esmeInAnyOrder for the SMSC's side.
func serverInAnyOrder(t *rapid.T) {
	cfg := smsc.ServerConfig{
		Window:       rapid.IntRange(0, 3).Draw(t, "window"),
		LoginTimeout: time.Second, InactivityTimeout: time.Second, ResponseTimeout: time.Second, KeepAlive: time.Second,
		Manage: rapid.Bool().Draw(t, "manage"), SubmitWindow: rapid.IntRange(0, 5).Draw(t, "submits"),
		Lists: map[string][]smsc.Address{"friends": {{Digits: "3"}, {Digits: "4"}}},
	}
	m := NewServer(cfg)
	w := &world{timers: map[string]smsc.Timer{}, open: map[uint64]bool{}}
	w.check(t, m.Handle(smsc.Connected{}, nil))
	if rapid.IntRange(0, 3).Draw(t, "bind") > 0 {
		trx := esme
		w.check(t, m.Handle(smsc.Received{Packet: &trx}, nil))
		w.check(t, m.Handle(smsc.LoginResult{OK: true}, nil))
	}
	for ref := uint64(1); ref <= 40; ref++ {
		var ev smsc.Event
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1:
			p := part("x")
			if rapid.IntRange(0, 9).Draw(t, "unencodable") == 0 {
				p.To.Digits = "1\x002"
			}
			w.open[ref] = true
			ev = smsc.ServerDeliver{Ref: ref, Deliver: smsc.Deliver{Part: p}}
			if rapid.Bool().Draw(t, "report") {
				ev = smsc.ServerReport{Ref: ref, Part: p}
			}
			do := m.Handle(ev, nil)
			if w.closed && len(do) == 1 {
				if a := do[0].(smsc.DeliverAnswered); !a.Temporary {
					t.Fatalf("%+v", a)
				}
				delete(w.open, ref)
				continue
			}
			w.check(t, do)
			continue
		case 2:
			fate := smsc.Fate(rapid.IntRange(0, 6).Draw(t, "fate"))
			ev = smsc.ServerAnswer{Ref: w.anyTaken(t), Outcome: smsc.Outcome{Fate: fate}}
		case 3:
			ev = rapid.SampledFrom([]smsc.Event{
				smsc.LoginResult{OK: true},
				smsc.LoginResult{Code: "ESME_RALYBND"},
				smsc.QueryAnswer{Ref: w.anyTaken(t), State: smsc.ReceiptDelivered},
				smsc.ServerAlert{},
				smsc.Outbind{User: "smsc"},
			}).Draw(t, "said")
		case 4:
			ev = w.anyEvent(t)
		case 5:
			ev = smsc.Received{Packet: &DeliverSMResp{Header: Header{Sequence: rapid.Uint32Range(1, 6).Draw(t, "answer")}}}
		}
		w.check(t, m.Handle(ev, nil))
		server := m.(*server)
		bounded(t, &server.side, cfg.Window)
		if len(server.parts) > len(server.taken) || len(server.multis) > len(server.parts) {
			t.Fatalf("%d requests, %d destinations of %d submit_multi", len(server.taken), len(server.parts), len(server.multis))
		}
		if n := m.DeliverReady(); n < 0 || n > max(cfg.Window, 1) || n > 0 && m.State() != "bound" {
			t.Fatalf("ready %d, %s", n, m.State())
		}
	}
	w.closed = false
	w.check(t, m.Handle(smsc.Disconnected{}, nil))
	if len(w.open) > 0 {
		t.Fatalf("%d deliveries never answered", len(w.open))
	}
}

// end is one machine of a dialog with the octets that wait for it.
type end struct {
	m     handler
	inbox bytes.Buffer
}

// TestBothEndsThroughOctets lets the machines talk: texts both ways, receipts,
// a logout, with only octets between them.
func TestBothEndsThroughOctets(t *testing.T) {
	cfg := config()
	cfg.Window = 3
	client := &end{m: NewMachine(cfg)}
	server := &end{m: NewServer(smsc.ServerConfig{SystemID: "SMSC", Window: 2})}
	peer := map[*end]*end{client: server, server: client}
	var log []string
	ids := uint64(0)

	var hand func(*end, smsc.Event)
	hand = func(e *end, ev smsc.Event) {
		for _, effect := range e.m.Handle(ev, nil) {
			switch x := effect.(type) {
			case smsc.Write:
				peer[e].inbox.Write(x.Octets)
			case smsc.SetTimer, smsc.StopTimer:
			default:
				log = append(log, line(t, x))
			}
			switch x := effect.(type) {
			case smsc.LoginReceived:
				hand(e, smsc.LoginResult{OK: x.User == "esme" && x.Password == "secret"})
			case smsc.SubmitReceived:
				ids++
				hand(e, smsc.ServerAnswer{Ref: x.Ref, Outcome: smsc.Outcome{ID: NewID(x.Part.To, time.Time{}, ids)}})
				if x.Part.Report {
					hand(e, smsc.ServerReport{
						Ref: ids, Part: x.Part, Receipt: smsc.Receipt{ID: NewID(x.Part.To, time.Time{}, ids), State: smsc.ReceiptDelivered},
					})
				}
			case smsc.Delivered:
				hand(e, smsc.Accept{Ref: x.Ref})
			case smsc.Reported:
				hand(e, smsc.Accept{Ref: x.Ref})
			}
		}
	}
	pump := func() {
		for client.inbox.Len() > 0 || server.inbox.Len() > 0 {
			for _, e := range []*end{server, client} {
				b := bytes.Clone(e.inbox.Bytes())
				e.inbox.Reset()
				r := bufio.NewReaderSize(bytes.NewReader(b), 16) // PDUs over many reads
				for {
					p, err := Read(r)
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					hand(e, smsc.Received{Packet: p})
				}
			}
		}
	}

	hand(server, smsc.Connected{})
	hand(client, smsc.Connected{})
	pump()
	for i, body := range []string{"one", "two", "three"} {
		p := part(body)
		p.Report = i == 1
		hand(client, smsc.Submit{Ref: uint64(i + 1), Part: p})
	}
	pump()
	hand(server, smsc.ServerDeliver{Ref: 77, Deliver: smsc.Deliver{Part: smsc.Part{
		From: smsc.ParseAddress("+639171234567"), To: smsc.ParseAddress("12345"), Coding: text.UCS2, Class: -1, Data: []byte("\x00h\x00i"),
	}}})
	pump()
	hand(client, smsc.Logout{})
	pump()

	want := []string{
		"login esme secret transceiver", "bound", "bound",
		`submitted 1 "one"`, `submitted 2 "two"`, `submitted 3 "three"`,
		"answered 1 accepted 0000000001", "answered 2 accepted 0000000002", "reported 1 0000000002 delivered", "answered 3 accepted 0000000003",
		"deliver answered 2 ok true temporary false",
		`delivered 2 "\x00h\x00i"`, "deliver answered 77 ok true temporary false",
		"close, retry not", "close, retry not",
	}
	if fmt.Sprint(log) != fmt.Sprint(want) {
		t.Errorf("\n got %q\nwant %q", log, want)
	}
}
