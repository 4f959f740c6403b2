package smpp

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

func benchmarkPDU(b *testing.B, p PDU) {
	octets, err := Append(nil, p)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(octets)))
		buf := make([]byte, 0, len(octets))
		for b.Loop() {
			if _, err := Append(buf[:0], p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(octets)))
		for b.Loop() {
			if _, err := Decode(octets); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSubmitSM(b *testing.B) { benchmarkPDU(b, submitSM(1, strings.Repeat("a", 160))) }

func BenchmarkDeliverSM(b *testing.B) {
	p := (*DeliverSM)(submitSM(1, "id:0000000017 sub:001 dlvrd:001 submit date:2611221000 done date:2611221001 stat:DELIVRD err:000 text:Hello"))
	p.ESMClass = esmTypeReceipt
	p.TLVs.AddText(TagReceiptedMessageID, "0000000017")
	p.TLVs.Add(TagMessageState, 2)
	benchmarkPDU(b, p)
}

// BenchmarkStopAndWait is one submit and its answer through the ESME's machine.
func BenchmarkStopAndWait(b *testing.B) {
	m := NewMachine(config()).(*machine)
	m.Handle(smsc.Connected{}, nil)
	m.Handle(smsc.Received{Packet: &BindTransceiverResp{Header: Header{Sequence: 1}}}, nil)
	resp := submitResp(0, OK, "0000000017")
	p := part(strings.Repeat("a", 160))
	b.ReportAllocs()
	var do []smsc.Effect
	for b.Loop() {
		do = m.Handle(smsc.Submit{Ref: 1, Part: p}, do[:0])
		resp.Sequence = m.sequence
		do = m.Handle(smsc.Received{Packet: resp}, do[:0])
	}
}

// BenchmarkLoopback compares stop-and-wait over TCP on the loopback, codec and
// machines at both ends, with a bare ping-pong of as many octets. Short blocks of
// both alternate. "ratio" compares the fastest tenth of the blocks of each, in
// which nothing else was running, "median-ratio" the medians. 1 is as fast as TCP is.
func BenchmarkLoopback(b *testing.B) {
	const block = 20
	var took [2][]float64
	run := func(i int, roundTrip func()) {
		begin := time.Now()
		for range block {
			roundTrip()
		}
		took[i] = append(took[i], float64(time.Since(begin).Nanoseconds())/block)
	}
	bare, machines := newBare(b), newMachines(b)
	run(0, bare)
	run(1, machines)
	took = [2][]float64{}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ { // one block of each is one operation
		if n%2 == 0 {
			run(0, bare)
			run(1, machines)
		} else {
			run(1, machines)
			run(0, bare)
		}
	}
	fastest := func(i, of int) float64 { return took[i][len(took[i])/of] }
	slices.Sort(took[0])
	slices.Sort(took[1])
	b.ReportMetric(fastest(0, 10)/fastest(1, 10), "ratio")
	b.ReportMetric(fastest(0, 2)/fastest(1, 2), "median-ratio")
	b.ReportMetric(fastest(0, 10), "bare-ns/msg")
	b.ReportMetric(fastest(1, 10), "smpp-ns/msg")
}

// connected returns both ends of a TCP connection.
func connected(b *testing.B) (client, server net.Conn) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if server = <-accepted; server == nil {
		b.Fatal("nothing was accepted")
	}
	b.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

const benchID = "0000000017"

// newBare returns one round trip of as many octets as submit_sm and its response have.
func newBare(b *testing.B) func() {
	request, err := Append(nil, submitSM(1, strings.Repeat("a", 160)))
	if err != nil {
		b.Fatal(err)
	}
	response, err := Append(nil, submitResp(1, OK, benchID))
	if err != nil {
		b.Fatal(err)
	}
	client, server := connected(b)
	go func() {
		buf := make([]byte, len(request))
		for {
			if _, err := io.ReadFull(server, buf); err != nil {
				return
			}
			if _, err := server.Write(response); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, len(response))
	return func() {
		if _, err := client.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// newMachines returns one submit, answered, between two machines.
func newMachines(b *testing.B) func() {
	client, server := connected(b)
	go func() {
		m := NewServer(smsc.ServerConfig{SystemID: "SMSC"})
		r := bufio.NewReader(server)
		do := m.Handle(smsc.Connected{}, nil)
		for {
			p, err := Read(r)
			if err != nil {
				return
			}
			do = m.Handle(smsc.Received{Packet: p}, do[:0])
			for i := 0; i < len(do); i++ {
				switch e := do[i].(type) {
				case smsc.LoginReceived:
					do = m.Handle(smsc.LoginResult{OK: true}, do)
				case smsc.SubmitReceived:
					do = m.Handle(smsc.ServerAnswer{Ref: e.Ref, Outcome: smsc.Outcome{ID: benchID}}, do)
				case smsc.Write:
					if _, err := server.Write(e.Octets); err != nil {
						return
					}
				}
			}
		}
	}()
	m := NewMachine(config())
	r := bufio.NewReader(client)
	var do []smsc.Effect
	write := func() (answered bool) {
		for _, e := range do {
			switch e := e.(type) {
			case smsc.Write:
				if _, err := client.Write(e.Octets); err != nil {
					b.Fatal(err)
				}
			case smsc.Bound:
				answered = true
			case smsc.Answered:
				if answered = true; e.Outcome.ID != benchID {
					b.Fatalf("%+v", e)
				}
			}
		}
		return answered
	}
	exchange := func(ev smsc.Event) {
		do = m.Handle(ev, do[:0])
		for !write() {
			p, err := Read(r)
			if err != nil {
				b.Fatal(err)
			}
			do = m.Handle(smsc.Received{Packet: p}, do[:0])
		}
	}
	exchange(smsc.Connected{})
	var submit smsc.Event = smsc.Submit{Ref: 1, Part: part(strings.Repeat("a", 160))}
	return func() { exchange(submit) }
}
