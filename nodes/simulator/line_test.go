package simulator

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// line is a client without a machine: it sends and sees each packet itself.
type line struct {
	t    testing.TB
	p    smsc.Protocol
	conn net.Conn
	r    *bufio.Reader
}

func raw(t testing.TB, s *Simulator, p smsc.Protocol) *line {
	t.Helper()
	conn, err := net.Dial("tcp", address(s, p))
	if err != nil {
		t.Fatal(err)
	}
	return rawOn(t, conn, p)
}

func rawOn(t testing.TB, conn net.Conn, p smsc.Protocol) *line {
	t.Cleanup(func() { _ = conn.Close() })
	return &line{t, p, conn, bufio.NewReader(conn)}
}

func (l *line) send(packets ...any) {
	l.t.Helper()
	var octets []byte
	var err error
	for _, packet := range packets {
		switch p := packet.(type) {
		case smpp.PDU:
			octets, err = smpp.Append(octets, p)
		case *cimd2.Packet:
			octets, err = p.Append(octets)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
	if _, err := l.conn.Write(octets); err != nil {
		l.t.Fatal(err)
	}
}

// read returns the next packet, or the error of reading it.
func (l *line) read(within time.Duration) (any, error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(within))
	return l.p.Read(l.r)
}

// next returns the next packet as a T.
func next[T any](l *line) T {
	l.t.Helper()
	packet, err := l.read(deadline)
	if err != nil {
		l.t.Fatalf("want a %T: %v", *new(T), err)
	}
	p, ok := packet.(T)
	if !ok {
		l.t.Fatalf("got %T %+v, want a %T", packet, packet, *new(T))
	}
	return p
}

// quiet says that nothing comes, and the connection stays.
func (l *line) quiet(within time.Duration) {
	l.t.Helper()
	packet, err := l.read(within)
	if n, ok := err.(net.Error); !ok || !n.Timeout() { //nolint:errorlint // as it comes from the socket
		l.t.Fatalf("got %+v, %v, want silence", packet, err)
	}
}

func (l *line) login(user string) {
	l.t.Helper()
	if l.p.Name == cimd2.Name {
		l.send(packet(cimd2.Login, 1, cimd2.UserIdentity, user, cimd2.Password, "secret"))
		if r := next[*cimd2.Packet](l); r.Operation != cimd2.Login.Response() || len(r.Params) > 0 {
			l.t.Fatalf("login: %v", r)
		}
		return
	}
	l.send(&smpp.BindTransceiver{Header: smpp.Header{Sequence: 1}, SystemID: user, Password: "secret", InterfaceVersion: 0x34})
	if r := next[*smpp.BindTransceiverResp](l); r.Status != smpp.OK {
		l.t.Fatalf("bind: %v", r.Status)
	}
}

// packet makes a CIMD2 packet of codes and values in turn.
func packet(op cimd2.Operation, number uint8, params ...any) *cimd2.Packet {
	p := &cimd2.Packet{Operation: op, Number: number}
	for i := 0; i < len(params); i += 2 {
		p.Params = append(p.Params, cimd2.Param{Code: params[i].(cimd2.Code), Value: params[i+1].(string)})
	}
	return p
}

func submitSM(sequence uint32) *smpp.SubmitSM {
	return &smpp.SubmitSM{
		Header: smpp.Header{Sequence: sequence}, SourceAddr: service, DestAddrTON: 1, DestAddrNPI: 1, DestinationAddr: subscriber[1:],
		RegisteredDelivery: 1, ShortMessage: []byte("hello there"),
	}
}
