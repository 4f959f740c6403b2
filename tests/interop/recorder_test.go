package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// recorder is a relay between an ESME and an SMSC that keeps every PDU.
type recorder struct {
	protocol string
	listener net.Listener
	target   func() string // of the SMSC, asked for each connection

	mu      sync.Mutex
	frames  []frame
	streams int
	faults  []string // octets that are no PDU
	open    sync.WaitGroup
}

// frame is one PDU as it went over the wire.
type frame struct {
	stream int
	toSMSC bool
	octets []byte
}

// record starts a recorder in front of an SMSC. It ends with the test.
func record(t *testing.T, protocol string, target func() string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{protocol: protocol, listener: l, target: target}
	r.open.Go(r.accept)
	t.Cleanup(func() { _ = l.Close() })
	return r
}

func (r *recorder) addr() string { return r.listener.Addr().String() }
func (r *recorder) port() int    { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *recorder) accept() {
	for {
		esme, err := r.listener.Accept()
		if err != nil {
			return
		}
		smsc, err := net.Dial("tcp", r.target())
		if err != nil {
			_ = esme.Close() // the ESME tries again
			continue
		}
		r.mu.Lock()
		r.streams++
		stream := r.streams
		r.mu.Unlock()
		r.open.Go(func() { r.copy(stream, true, smsc.(*net.TCPConn), esme) })
		r.open.Go(func() { r.copy(stream, false, esme.(*net.TCPConn), smsc) })
	}
}

// copy relays one direction. What is kept comes before what the other side could answer.
func (r *recorder) copy(stream int, toSMSC bool, to *net.TCPConn, from net.Conn) {
	chunk, rest := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := from.Read(chunk)
		rest = r.keep(stream, toSMSC, append(rest, chunk[:n]...))
		if _, writeErr := to.Write(chunk[:n]); err != nil || writeErr != nil {
			break
		}
	}
	if len(rest) > 0 {
		r.fault("connection %d, to the SMSC %v: %d octets at the end are no whole PDU: % x", stream, toSMSC, len(rest), rest[:min(len(rest), 64)])
	}
	_ = to.CloseWrite()
}

// keep cuts PDUs off and returns what is left.
func (r *recorder) keep(stream int, toSMSC bool, octets []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(octets) > 0 {
		n, err := frameSize(r.protocol, octets)
		if err != nil {
			r.faults = append(r.faults, fmt.Sprintf("connection %d, to the SMSC %v: %v", stream, toSMSC, err))
			return nil
		}
		if n > len(octets) {
			break
		}
		r.frames = append(r.frames, frame{stream, toSMSC, bytes.Clone(octets[:n])})
		octets = octets[n:]
	}
	return octets
}

// frameSize is how long the first PDU is: at least one octet more than there is,
// as long as that is not known. It knows no more of the protocols than how they
// delimit: command_length, and STX to ETX.
func frameSize(protocol string, octets []byte) (int, error) {
	if protocol == "smpp" {
		if len(octets) < 4 {
			return len(octets) + 1, nil
		}
		n := binary.BigEndian.Uint32(octets)
		if n < 16 || n > 1<<16 {
			return 0, fmt.Errorf("command_length %d", n)
		}
		return int(n), nil
	}
	if octets[0] != 2 {
		return 0, fmt.Errorf("octets outside a packet: % x", octets[:min(len(octets), 64)])
	}
	if end := bytes.IndexByte(octets, 3); end > 0 {
		return end + 1, nil
	}
	if len(octets) > 8<<10 {
		return 0, errors.New("no ETX in 8 KB")
	}
	return len(octets) + 1, nil
}

func (r *recorder) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// finish waits until both sides have closed, and returns what they sent.
func (r *recorder) finish(t *testing.T) []frame {
	t.Helper()
	_ = r.listener.Close()
	r.open.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fault := range r.faults {
		t.Errorf("recorded: %s", fault)
	}
	if len(r.frames) == 0 {
		t.Error("nothing was recorded")
	}
	type kind struct {
		stream    int
		toSMSC    bool
		operation uint32
	}
	unanswered := map[kind]int{}
	for _, f := range r.frames {
		if operation, isResponse := f.request(r.protocol); isResponse {
			unanswered[kind{f.stream, !f.toSMSC, operation}]--
		} else {
			unanswered[kind{f.stream, f.toSMSC, operation}]++
		}
	}
	for k, n := range unanswered {
		if n != 0 {
			t.Errorf("recorded: connection %d, to the SMSC %v, operation %x: %d more requests than responses", k.stream, k.toSMSC, k.operation, n)
		}
	}
	return r.frames
}

// request is a PDU's operation, of a response that of its request.
func (f frame) request(protocol string) (operation uint32, isResponse bool) {
	if protocol == "smpp" {
		id := binary.BigEndian.Uint32(f.octets[4:])
		return id &^ (1 << 31), id>>31 == 1
	}
	n, err := strconv.Atoi(f.operation(protocol))
	if err != nil {
		return 0, false
	}
	return uint32(n % 50), n >= 50
}

// operation is a PDU's command_id or operation code, as tshark writes it.
func (f frame) operation(protocol string) string {
	if protocol == "smpp" {
		return fmt.Sprintf("0x%08x", binary.BigEndian.Uint32(f.octets[4:]))
	}
	return string(f.octets[1:3])
}

// writePCAP writes frames as TCP segments of IPv4 packets, one PDU a segment:
// the cimd dissector reads no more of a segment than one. Classic pcap format,
// link type 101, raw IP.
func writePCAP(w io.Writer, port uint16, frames []frame) error {
	le, be := binary.LittleEndian, binary.BigEndian
	out := le.AppendUint32(nil, 0xa1b2c3d4)
	out = le.AppendUint16(out, 2)
	out = le.AppendUint16(out, 4)
	out = append(out, make([]byte, 8)...) // time zone, accuracy
	out = le.AppendUint32(out, 1<<18)     // longest packet
	out = le.AppendUint32(out, 101)
	type direction struct {
		stream int
		toSMSC bool
	}
	sent := map[direction]uint32{}
	for i, f := range frames {
		length := 40 + len(f.octets)
		if length > 0xFFFF {
			return fmt.Errorf("interop: a PDU of %d octets does not fit into an IPv4 packet", len(f.octets))
		}
		out = le.AppendUint32(out, uint32(i/1000000))
		out = le.AppendUint32(out, uint32(i%1000000))
		out = le.AppendUint32(out, uint32(length))
		out = le.AppendUint32(out, uint32(length))

		out = append(out, 0x45, 0)
		out = be.AppendUint16(out, uint16(length))
		out = append(out, 0, 0, 0x40, 0, 64, 6, 0, 0) // do not fragment, TTL, TCP, checksum not set
		from, to := []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}
		fromPort, toPort := uint16(30000+f.stream), port
		if !f.toSMSC {
			from, to, fromPort, toPort = to, from, toPort, fromPort
		}
		out = append(append(out, from...), to...)

		d := direction{f.stream, f.toSMSC}
		out = be.AppendUint16(out, fromPort)
		out = be.AppendUint16(out, toPort)
		out = be.AppendUint32(out, 1+sent[d])
		out = be.AppendUint32(out, 1+sent[direction{f.stream, !f.toSMSC}])
		out = append(out, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0) // PSH and ACK, window, checksum not set
		sent[d] += uint32(len(f.octets))
		out = append(out, f.octets...)
	}
	_, err := w.Write(out)
	return err
}
