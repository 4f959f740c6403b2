package smpp

import (
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

func TestOutbind(t *testing.T) {
	cfg := config()
	cfg.OutbindUser, cfg.OutbindPassword = "smsc", "other"
	s := tell(t, NewMachine(cfg))
	s.on(smsc.Connected{Accepted: true}, "timer login 5s")
	s.state("binding")
	s.got(&EnquireLink{Header{Sequence: 7}}, "enquire_link_resp 7")
	s.got(&Outbind{Header{Sequence: 8}, "smsc", "other"}, "bind_receiver 1", "timer login 5s")
	s.got(&Outbind{Header{Sequence: 9}, "smsc", "other"}) // once is enough
	s.got(&BindReceiverResp{Header: Header{Sequence: 1}}, "stop login", "timer probe 15s", "bound")
	s.ready(0) // a receiver
	s.got(deliverSM(10, "in"), `delivered 1 "in"`)

	s = tell(t, NewMachine(cfg))
	s.on(smsc.Connected{Accepted: true}, "timer login 5s")
	s.got(&Outbind{Header{Sequence: 1}, "smsc", "wrong"}, "stop login",
		`close, retry slow: smpp: outbind from "smsc" refused: its name or password is not the one configured`)

	s = tell(t, NewMachine(config())) // any will do
	s.on(smsc.Connected{Accepted: true}, "timer login 5s")
	s.due("login", "close, retry soon: smpp: no outbind within 5s of the SMSC's connection")
	s.on(smsc.Connected{Accepted: true}, "timer login 5s")
	s.got(&Outbind{Header{Sequence: 1}, "x", "y"}, "bind_receiver 1", "timer login 5s")

	s = tell(t, NewMachine(config())) // we dialled, and bind already
	s.on(smsc.Connected{}, "bind_transceiver 1", "timer login 5s")
	s.got(&Outbind{Header{Sequence: 1}, "x", "y"})
	s.state("binding")
}

func TestServerOutbind(t *testing.T) {
	s := tell(t, NewServer(smsc.ServerConfig{LoginTimeout: 5 * time.Second}))
	s.on(smsc.Outbind{User: "smsc", Password: "other"}) // not connected
	s.on(smsc.Connected{}, "timer login 5s")
	s.on(smsc.Outbind{User: "smsc", Password: "other"}, "outbind 1")
	rx := BindReceiver(esme)
	s.got(&rx, "login esme secret receiver")
	s.on(smsc.LoginResult{OK: true}, "bind_receiver_resp 1", "stop login", "bound")
	s.on(smsc.Outbind{User: "smsc", Password: "other"}) // bound already
	s.deliverReady(1)
}
