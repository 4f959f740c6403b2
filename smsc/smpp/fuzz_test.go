package smpp

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// script turns a fuzzer's octets into events: 0 when there are no more.
type script struct{ b []byte }

func (s *script) next() (c byte) {
	if len(s.b) > 0 {
		c, s.b = s.b[0], s.b[1:]
	}
	return c
}

func (s *script) take(n int) (b []byte) {
	n = min(n, len(s.b))
	b, s.b = s.b[:n], s.b[n:]
	return b
}

func of[T any](s *script, choices ...T) T { return choices[int(s.next())%len(choices)] }

var fuzzCommands = func() (all []CommandID) {
	for c := range CommandID(0x110) {
		if newPDU(c) != nil {
			all = append(all, c, c|Response)
		}
	}
	return append(all, CommandGenericNack, 0x33, 0x33|Response)
}()

// packet is a PDU of any command whose body is the script's, decoded or garbled.
func (s *script) packet() smsc.Event {
	command, status := of(s, fuzzCommands...), of(s, OK, OK, RTHROTTLED, RINVDSTADR, RXTAPPN, RINVBNDSTS, RMSGQFUL, 0x400)
	b := make([]byte, 4, 64)
	b = binary.BigEndian.AppendUint32(b, uint32(command))
	b = binary.BigEndian.AppendUint32(b, uint32(status))
	b = binary.BigEndian.AppendUint32(b, uint32(s.next()%16))
	b = append(b, s.take(int(s.next()))...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	p, err := Decode(b)
	if err != nil {
		return smsc.Garbled{Err: err}
	}
	return smsc.Received{Packet: p}
}

func (s *script) quirks() smsc.Quirks {
	return of(s, smsc.Quirks{}, smsc.Quirks{Packed: true}, smsc.Quirks{NoTLVs: true, NoLogoutAnswer: true},
		smsc.Quirks{Alphabet: smsc.AlphabetLatin1, Numbers: smsc.NumbersPlain, ReceiptIDs: smsc.IDHex}, smsc.Quirks{LongTexts: smsc.LongSAR, ReceiptIDs: smsc.IDHexToDecimal},
		smsc.Quirks{LongTexts: smsc.LongPayload, ReceiptIDs: smsc.IDDecimalToHex, IA5: true, AbsoluteTimes: true, Fates: map[uint32]smsc.Fate{0x400: smsc.BadSession}})
}

func (s *script) part() smsc.Part {
	p := part("a text")
	switch s.next() % 8 {
	case 0:
		p.Data = s.take(int(s.next()))
	case 1:
		p.UDH, p.More = []byte{5, 0, 3, 1, 2, s.next()}, true
	case 2:
		p.To.Digits = "1\x002" // cannot be written
	case 3:
		p.Data = make([]byte, 300)
	}
	return p
}

// other is an event that both machines know.
func (w *world) other(s *script) smsc.Event {
	switch s.next() % 8 {
	case 0:
		w.closed = false
		return smsc.Connected{Accepted: s.next()%2 == 1}
	case 1:
		return smsc.Logout{}
	case 2:
		return smsc.Disconnected{Err: io.EOF}
	case 3:
		return smsc.Garbled{Err: of[error](s, io.ErrUnexpectedEOF, &smsc.SyntaxError{}, &smsc.SyntaxError{Fatal: true, Packet: &Malformed{}})}
	case 4, 5:
		name := of(s, "login", "idle", "probe", "enquire", "logout", "response 1", "response 2", "none")
		return smsc.Due{Timer: w.timers[name]}
	}
	return s.packet()
}

func (w *world) one(s *script) uint64 {
	return of(s, append([]uint64{999}, w.taken[max(len(w.taken)-8, 0):]...)...)
}

const fuzzSteps = 200

// FuzzESME: whatever happens in whatever order, each submit has exactly one
// outcome and each request one response, what is written can be read, and what the machine holds is bounded.
func FuzzESME(f *testing.F) {
	f.Add([]byte{0, 3, 2, 0, 0, 7, 2, 0, 1, 4, 3, 1, 0, 2, 0, 1, 3, 1, 4})
	f.Add([]byte{2, 1, 2, 0, 0, 4, 1, 9, 3, 2, 0, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		cfg := quirky(s.quirks())
		cfg.Window = int(s.next() % 5)
		cfg.Mode = of(s, "", "transmitter", "receiver", "transceiver")
		m := NewMachine(cfg)
		w := &world{timers: map[string]smsc.Timer{}, open: map[uint64]bool{}}
		w.check(t, m.Handle(smsc.Connected{}, nil))
		ref := uint64(0)
		for range fuzzSteps {
			if len(s.b) == 0 {
				break
			}
			var ev smsc.Event
			switch s.next() % 7 {
			case 6:
				if p := newPDU(of(s, fuzzCommands...)); p != nil {
					ref++
					w.ask(t, m, ref, p)
					bounded(t, &m.(*machine).side, cfg.Window)
				}
				continue
			case 0, 1:
				ref++
				ready := m.Ready()
				do := m.Handle(smsc.Submit{Ref: ref, Part: s.part(), Now: of(s, time.Time{}, time.Unix(0, 0))}, nil)
				if ready == 0 { // refused at once, even by a closed session
					if a, ok := do[0].(smsc.Answered); len(do) != 1 || !ok || a.Ref != ref || a.Outcome.Fate != smsc.BadSession {
						t.Fatalf("%+v", do)
					}
					continue
				}
				w.open[ref] = true
				w.check(t, do)
				continue
			case 2:
				ev = smsc.Received{Packet: of[PDU](s, &BindTransceiverResp{Header: Header{Sequence: 1}}, &BindReceiverResp{Header: Header{Sequence: 1}},
					&Outbind{}, &Unbind{Header{Sequence: 5}})}
			case 3:
				ev = smsc.Received{Packet: submitResp(uint32(s.next()%16), of(s, OK, OK, RTHROTTLED, RINVBNDSTS, 0x400), "id")}
			case 4:
				ev = of[smsc.Event](s, smsc.Accept{Ref: w.one(s)}, smsc.Refuse{Ref: w.one(s)})
			case 5:
				ev = w.other(s)
			}
			w.check(t, m.Handle(ev, nil))
			bounded(t, &m.(*machine).side, cfg.Window)
			if n := m.Ready(); n < 0 || n > max(cfg.Window, 1) || n > 0 && m.State() != "bound" {
				t.Fatalf("ready %d, %s", n, m.State())
			}
		}
		w.closed = false
		w.check(t, m.Handle(smsc.Disconnected{}, nil))
		if len(w.open) > 0 {
			t.Fatalf("%d submits never answered", len(w.open))
		}
	})
}

// FuzzServer is FuzzESME for the SMSC's side: each deliver and report has
// exactly one answer.
func FuzzServer(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0, 0, 2, 0, 3, 1, 0, 1, 4, 0, 5, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		cfg := smsc.ServerConfig{
			Window: int(s.next() % 5), SubmitWindow: int(s.next() % 5), Manage: s.next()%2 == 0,
			LoginTimeout: time.Second, InactivityTimeout: time.Second, ResponseTimeout: time.Second, KeepAlive: time.Second,
			Lists: map[string][]smsc.Address{"f": {{Digits: "3"}, {Digits: "4"}}},
		}
		m := NewServer(cfg)
		w := &world{timers: map[string]smsc.Timer{}, open: map[uint64]bool{}}
		w.check(t, m.Handle(smsc.Connected{}, nil))
		ref := uint64(0)
		for range fuzzSteps {
			if len(s.b) == 0 {
				break
			}
			var ev smsc.Event
			switch s.next() % 7 {
			case 0, 1:
				ref++
				ready := m.DeliverReady()
				ev = of[smsc.Event](s, smsc.ServerDeliver{Ref: ref, Deliver: smsc.Deliver{Part: s.part()}}, smsc.ServerReport{
					Ref: ref, Part: s.part(), Receipt: smsc.Receipt{ID: "17", State: smsc.ReceiptState(s.next()), Code: "27"},
				})
				do := m.Handle(ev, nil)
				if ready == 0 {
					if a, ok := do[0].(smsc.DeliverAnswered); len(do) != 1 || !ok || a.Ref != ref || a.OK || !a.Temporary {
						t.Fatalf("%+v", do)
					}
					continue
				}
				w.open[ref] = true
				w.check(t, do)
				continue
			case 2:
				trx := esme
				trx.InterfaceVersion = s.next()
				ev = smsc.Received{Packet: &trx}
			case 3:
				ev = smsc.LoginResult{OK: s.next()%4 != 3, Code: of(s, "", "ESME_RALYBND")}
			case 4:
				ev = of[smsc.Event](s, smsc.ServerAnswer{Ref: w.one(s), Outcome: smsc.Outcome{Fate: smsc.Fate(s.next() % 7), ID: of(s, "17", "\x00")}},
					smsc.QueryAnswer{Ref: w.one(s), State: smsc.ReceiptState(s.next()), Done: time.Unix(int64(s.next()), 0)}, smsc.ServerAlert{}, smsc.Outbind{})
			case 5:
				ev = w.other(s)
			case 6:
				multi := &SubmitMulti{Destinations: []Destination{{Addr: "1"}, {List: "f"}}[:1+s.next()%2]}
				ev = smsc.Received{Packet: of[PDU](s, submitSM(7, "x"), multi, &DeliverSMResp{Header: Header{Sequence: uint32(s.next() % 16)}},
					&QuerySM{MessageID: "1"}, &CancelSM{}, &ReplaceSM{}, &Unbind{})}
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
	})
}
