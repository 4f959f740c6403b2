package smpp

import (
	"testing"

	"github.com/ringway-im/ringway/smsc"
)

func TestWindowShrinksAndGrows(t *testing.T) {
	cfg := config()
	cfg.Window, cfg.KeepAlive = 8, 0
	s := tell(t, NewMachine(cfg))
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.got(&BindTransceiverResp{Header: Header{Sequence: 1}}, "stop login", "bound")
	s.ready(8)
	sequence, ref := uint32(1), uint64(0)
	fill := func() (sent []uint32) {
		for s.m.(smsc.Machine).Ready() > 0 {
			ref++
			sequence++
			s.m.Handle(submit(ref, "a"), nil)
			sent = append(sent, sequence)
		}
		return sent
	}
	answer := func(sent []uint32, status Status) {
		for _, q := range sent {
			s.m.Handle(smsc.Received{Packet: submitResp(q, status, "id")}, nil)
		}
	}
	old := fill()
	answer(old[:3], RTHROTTLED)
	s.ready(0) // 5 are open, 4 may be
	answer(old[3:], RMSGQFUL)
	s.ready(4) // all of one round shrink it once
	for _, want := range []int{2, 1, 1} {
		answer(fill(), RTHROTTLED)
		s.ready(want)
	}
	accepted := 0
	for now := 1; now < 8; now++ {
		for range 8 { // as smsc.Window
			sent := fill()
			if len(sent) != now {
				t.Fatalf("%d may go, not %d, after %d accepted", len(sent), now, accepted)
			}
			answer(sent, OK)
			accepted += len(sent)
		}
		s.ready(now + 1)
	}
	for range 100 {
		answer(fill(), OK)
	}
	s.ready(8) // no more than configured
	answer(fill(), RINVDSTADR)
	s.ready(8) // only throttling shrinks it

	s.on(smsc.Disconnected{Err: errGone})
	s.m.(*machine).window = smsc.NewWindow(1)
	s.m.Handle(smsc.Connected{}, nil)
	s.m.Handle(smsc.Received{Packet: &BindTransceiverResp{Header: Header{Sequence: 1}}}, nil)
	s.ready(8) // a new session begins anew
}

func TestStopAndWaitStaysOneWhenThrottled(t *testing.T) {
	s := bound(t, config())
	s.on(submit(1, "a"), `submit_sm 2 "a"`, "timer response 2 10s")
	s.got(submitResp(2, RTHROTTLED, ""), "answered 1 throttled  ESME_RTHROTTLED (0x58)")
	s.ready(1)
}
