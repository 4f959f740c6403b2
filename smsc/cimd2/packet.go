// Package cimd2 speaks Nokia's Computer Interface to Message Distribution,
// version 2, on both sides: the codec, the ESME's session machine and the
// SMSC's. It is pure.
//
//	<STX> OO:NNN <TAB> { PPP:value <TAB> } [CC] <ETX>
//
// OO is the operation, NNN the packet number (odd from the ESME, even from the
// SMSC, a response has its request's), PPP a parameter, CC the checksum.
//
// No public specification could be cited: the rules are those which independent
// implementations (Kannel, Wireshark, jcimd, misp-cimdsimulator and others)
// agree on and were seen to follow on the wire.
package cimd2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ringway-im/ringway/smsc"
)

// Name is the protocol's name in configuration.
const Name = "cimd2"

const (
	stx = 0x02
	etx = 0x03
	tab = 0x09

	// maxPacket is how many octets a packet, and noise before one, may have. The
	// largest submit to one destination has about 1,100; no limit is documented.
	maxPacket = 8192
)

// Param is one parameter of a packet. Value holds octets, not UTF-8.
type Param struct {
	Code  Code
	Value string
}

// Packet is one packet in either direction. Params keep their order, since the
// answer to several destinations pairs them by position; unknown ones are kept.
type Packet struct {
	Operation Operation
	Number    uint8
	Params    []Param
	Bare      bool // without a checksum
}

// BadChecksum is what a *smsc.SyntaxError carries as its Packet when the
// checksum is wrong or malformed: ask for the packet again with a NACK. Header
// is what the packet says it is, unless that cannot be read; do not rely on it.
type BadChecksum struct{ Header *Packet }

// Get returns the first parameter of that code.
func (p *Packet) Get(c Code) (value string, ok bool) {
	for _, q := range p.Params {
		if q.Code == c {
			return q.Value, true
		}
	}
	return "", false
}

// All returns the values of every parameter of that code, in order.
func (p *Packet) All(c Code) []string {
	var values []string
	for _, q := range p.Params {
		if q.Code == c {
			values = append(values, q.Value)
		}
	}
	return values
}

// Int returns a decimal parameter; leading zeros and a minus are accepted.
func (p *Packet) Int(c Code) (n int, ok bool) {
	value, ok := p.Get(c)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	return n, err == nil
}

func (p *Packet) add(c Code, value string) { p.Params = append(p.Params, Param{c, value}) }

func (p *Packet) addInt(c Code, n int) { p.add(c, strconv.Itoa(n)) }

// same reports whether q is a retransmission of p.
func (p *Packet) same(q *Packet) bool {
	if p.Operation != q.Operation || p.Number != q.Number || len(p.Params) != len(q.Params) {
		return false
	}
	for i := range p.Params {
		if p.Params[i] != q.Params[i] {
			return false
		}
	}
	return true
}

// String writes the packet in one line, for logs; a password is not shown.
func (p *Packet) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v:%03d", p.Operation, p.Number)
	for _, q := range p.Params {
		if q.Code == Password {
			q.Value = "***"
		}
		fmt.Fprintf(&b, " %v:%q", q.Code, q.Value)
	}
	return b.String()
}

// Append appends the packet as it goes on the wire to dst. The error says which
// parameter holds an octet that no value may: 00, 02, 03, 09.
func (p *Packet) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	if p.Operation > 99 {
		return dst, fmt.Errorf("cimd2: operation %d has more than two digits", uint8(p.Operation))
	}
	dst = append(dst, stx)
	dst = append(digits(dst, int(p.Operation), 2), ':')
	dst = append(digits(dst, int(p.Number), 3), tab)
	for _, q := range p.Params {
		if i := strings.IndexAny(q.Value, "\x00\x02\x03\x09"); i >= 0 {
			return dst[:start], fmt.Errorf("cimd2: parameter %v holds octet %02X, which no value may", q.Code, q.Value[i])
		}
		if q.Code > 999 {
			return dst[:start], fmt.Errorf("cimd2: parameter %d has more than three digits", uint16(q.Code))
		}
		dst = append(digits(dst, int(q.Code), 3), ':')
		dst = append(append(dst, q.Value...), tab)
	}
	if !p.Bare {
		const hexadecimal = "0123456789ABCDEF"
		sum := checksum(dst[start:])
		dst = append(dst, hexadecimal[sum>>4], hexadecimal[sum&15])
	}
	return append(dst, etx), nil
}

func digits(dst []byte, n, width int) []byte {
	for unit := [...]int{0, 1, 10, 100}[width]; unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+n/unit%10))
	}
	return dst
}

func checksum(octets []byte) (sum byte) {
	for _, b := range octets {
		sum += b
	}
	return sum
}

// Decode reads one whole packet, STX to ETX. Every error is a *smsc.SyntaxError
// that is not Fatal; its Packet is a *Packet with operation and number as far as
// they can be trusted, a BadChecksum, or nil.
func Decode(octets []byte) (*Packet, error) {
	n := len(octets)
	if n < 2 || octets[0] != stx || octets[n-1] != etx {
		return nil, syntax(0, nil, "no STX and ETX around %d octets", n)
	}
	p := &Packet{}
	header := p.header(octets)
	end := n - 1 // of the parameters
	if octets[end-1] == tab {
		p.Bare = true
	} else {
		end -= 2
		bad := BadChecksum{}
		if header == nil {
			bad.Header = &Packet{Operation: p.Operation, Number: p.Number}
		}
		if end < 2 || octets[end-1] != tab {
			return nil, syntax(n-1, bad, "neither TAB nor a checksum of two digits before ETX")
		}
		given, err := strconv.ParseUint(string(octets[end:n-1]), 16, 8)
		if sum := checksum(octets[:end]); err != nil || byte(given) != sum {
			return nil, syntax(end, bad, "checksum is %02X, the packet says %q", sum, octets[end:n-1])
		}
	}
	if header != nil {
		return nil, header
	}
	for at := 8; at < end; {
		width := bytes.IndexByte(octets[at:end], tab) // there is one: octets[end-1]
		code, ok := number(octets[at:min(at+3, at+width)], 3)
		if !ok || width < 4 || octets[at+3] != ':' {
			return nil, syntax(at, &Packet{Operation: p.Operation, Number: p.Number}, "parameter %.16q does not begin with three digits and a colon", octets[at:at+width])
		}
		value := octets[at+4 : at+width]
		if i := bytes.IndexAny(value, "\x00\x02\x03"); i >= 0 {
			return nil, syntax(at+4+i, &Packet{Operation: p.Operation, Number: p.Number}, "parameter %v holds octet %02X, which no value may", Code(code), value[i])
		}
		p.add(Code(code), string(value))
		at += width + 1
	}
	return p, nil
}

// header reads operation and number.
func (p *Packet) header(octets []byte) error {
	if len(octets) < 9 || octets[3] != ':' || octets[7] != tab {
		return syntax(1, nil, "header %.8q is not two digits, a colon, three digits and TAB", octets[1:])
	}
	operation, ok := number(octets[1:3], 2)
	n, ok2 := number(octets[4:7], 3)
	if !ok || !ok2 || n > 255 {
		return syntax(1, nil, "header %.7q is not an operation of two digits and a number from 000 to 255", octets[1:])
	}
	p.Operation, p.Number = Operation(operation), uint8(n)
	return nil
}

func number(digits []byte, width int) (n int, ok bool) {
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + int(d-'0')
	}
	return n, len(digits) == width
}

func syntax(offset int, packet any, reason string, args ...any) error {
	return &smsc.SyntaxError{Protocol: Name, Offset: offset, Reason: fmt.Sprintf(reason, args...), Packet: packet}
}

// Read returns the next packet, a *Packet. It skips what stands before STX: a
// banner, line ends. A second STX begins the packet anew. An error that is a
// *smsc.SyntaxError is as in Decode, or Fatal where 8,192 octets hold no packet.
// io.EOF means the peer closed between packets.
func Read(r *bufio.Reader) (any, error) {
	for skipped := 0; ; skipped++ {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		if b == stx {
			break
		}
		if skipped >= maxPacket {
			return nil, &smsc.SyntaxError{Protocol: Name, Offset: -1, Reason: fmt.Sprintf("%d octets without an STX: the peer does not speak CIMD2", skipped), Fatal: true}
		}
	}
	packet := append(make([]byte, 0, 256), stx)
	for len(packet) < maxPacket {
		b, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if b == stx {
			packet = packet[:0]
		}
		packet = append(packet, b)
		if b == etx {
			p, err := Decode(packet)
			if err != nil {
				return nil, err
			}
			return p, nil
		}
	}
	return nil, &smsc.SyntaxError{Protocol: Name, Offset: maxPacket, Reason: fmt.Sprintf("no ETX within %d octets", maxPacket), Fatal: true}
}
