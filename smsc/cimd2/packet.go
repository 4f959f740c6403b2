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
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

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

// small and roomy are packets with their parameters, in one piece of memory.
type (
	small struct {
		Packet
		room [2]Param
	}
	roomy struct {
		Packet
		room [8]Param
	}
)

// NewPacket makes a request, or a response with its request's number, with room
// for n parameters. The machines number their requests themselves.
func NewPacket(o Operation, number uint8, n int) *Packet {
	switch {
	case n == 0:
		return &Packet{Operation: o, Number: number}
	case n <= len(small{}.room):
		r := &small{Packet: Packet{Operation: o, Number: number}}
		r.Params = r.room[:0]
		return &r.Packet
	case n > len(roomy{}.room):
		return &Packet{Operation: o, Number: number, Params: make([]Param, 0, n)}
	}
	r := &roomy{Packet: Packet{Operation: o, Number: number}}
	r.Params = r.room[:0]
	return &r.Packet
}

// Get returns the first parameter of that code.
func (p *Packet) Get(c Code) (value string, ok bool) {
	for i := range p.Params {
		if p.Params[i].Code == c {
			return p.Params[i].Value, true
		}
	}
	return "", false
}

// Has reports whether there is a parameter of that code.
func (p *Packet) Has(c Code) bool {
	_, ok := p.Get(c)
	return ok
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

// Time returns a date and time, in the SMSC's own zone, which no parameter
// names: the Location is UTC whatever it is.
func (p *Packet) Time(c Code) (at time.Time, ok bool) {
	value, _ := p.Get(c)
	return parseTime(value)
}

func parseTime(value string) (at time.Time, ok bool) {
	if len(value) != len(timeLayout) {
		return time.Time{}, false
	}
	at, err := time.Parse(timeLayout, value)
	return at, err == nil
}

// Octets returns a hexadecimal parameter.
func (p *Packet) Octets(c Code) (octets []byte, ok bool) {
	value, ok := p.Get(c)
	if !ok {
		return nil, false
	}
	octets, err := hex.DecodeString(value)
	return octets, err == nil
}

// Address returns a number. ok is false when it is none.
func (p *Packet) Address(c Code) (a smsc.Address, ok bool) {
	value, ok := p.Get(c)
	if !ok || !isAddress(value) {
		return smsc.Address{}, false
	}
	return parseNumber(value), true
}

// Add appends a parameter.
func (p *Packet) Add(c Code, value string) { p.Params = append(p.Params, Param{c, value}) }

// AddInt appends a decimal parameter.
func (p *Packet) AddInt(c Code, n int) { p.Add(c, strconv.Itoa(n)) }

// AddTime appends a date and time as the clock in at's zone shows it.
func (p *Packet) AddTime(c Code, at time.Time) { p.Add(c, Timestamp(at)) }

// AddOctets appends a hexadecimal parameter.
func (p *Packet) AddOctets(c Code, octets []byte) { p.Add(c, hexadecimal(octets)) }

// AddAddress appends a number, '+' before an international one.
func (p *Packet) AddAddress(c Code, a smsc.Address) { p.Add(c, a.String()) }

// timeLayout is a TIME parameter: yymmddhhmmss.
const timeLayout = "060102150405"

// Timestamp writes a time as parameters do: yymmddhhmmss in the time's own zone.
func Timestamp(t time.Time) string { return t.Format(timeLayout) }

const upperHex = "0123456789ABCDEF"

func hexadecimal(octets []byte) string {
	var b strings.Builder
	b.Grow(2 * len(octets))
	for _, o := range octets {
		b.WriteByte(upperHex[o>>4])
		b.WriteByte(upperHex[o&15])
	}
	return b.String()
}

// isAddress reports whether s is a number as CIMD2 writes it: 1 to 20 digits, '+'
// before an international one; some peers group digits with '-'.
func isAddress(s string) bool {
	if len(s) < 1 || len(s) > 20 {
		return false
	}
	if s[0] == '+' {
		s = s[1:]
	}
	return s != "" && isNumber(s)
}

func isNumber(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && c != '*' && c != '#' && c != '-' {
			return false
		}
	}
	return true
}

// parseNumber reads a number, whatever it holds.
func parseNumber(s string) smsc.Address {
	switch {
	case len(s) > 1 && s[0] == '+' && isNumber(s[1:]):
		return smsc.Address{TON: smsc.TONInternational, NPI: 1, Digits: s[1:]}
	case isNumber(s):
		return smsc.Address{TON: smsc.TONUnknown, NPI: 1, Digits: s}
	}
	return smsc.Address{TON: smsc.TONAlphanumeric, Digits: s}
}

// same reports whether q is a retransmission of p.
func (p *Packet) same(q *Packet) bool {
	return p.Number == q.Number && p.Operation == q.Operation && slices.Equal(p.Params, q.Params)
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

// size is how many octets the packet has on the wire.
func (p *Packet) size() int {
	n := len("\x02OO:NNN\tCC\x03")
	for i := range p.Params {
		n += len("PPP:\t") + len(p.Params[i].Value)
	}
	return n
}

// Append appends the packet as it goes on the wire to dst. The error says which
// parameter holds an octet that no value may: 00, 02, 03, 09.
func (p *Packet) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	if p.Operation > 99 {
		return dst, fmt.Errorf("cimd2: operation %d has more than two digits", uint8(p.Operation))
	}
	dst = slices.Grow(dst, p.size())
	dst = append(dst, stx, '0'+byte(p.Operation/10), '0'+byte(p.Operation%10), ':')
	dst = append(digits(dst, uint16(p.Number)), tab)
	for i := range p.Params {
		q := &p.Params[i]
		if q.Code > 999 {
			return dst[:start], fmt.Errorf("cimd2: parameter %d has more than three digits", uint16(q.Code))
		}
		dst = append(digits(dst, uint16(q.Code)), ':')
		dst = append(append(dst, q.Value...), tab)
	}
	sum, low := survey(dst[start+1:])
	if low && reservedIn(dst[start+1:]) >= 0 || bytes.Count(dst[start:], []byte{tab}) != 1+len(p.Params) {
		return dst[:start], p.reserved()
	}
	if !p.Bare {
		sum += stx
		dst = append(dst, upperHex[sum>>4], upperHex[sum&15])
	}
	return append(dst, etx), nil
}

// renumber returns a packet as Append makes it, with another number.
func renumber(octets []byte, n uint8) []byte {
	octets = slices.Clone(octets)
	digits(octets[:4], uint16(n)) // behind <STX> OO:
	if end := len(octets) - 3; octets[end+1] != tab {
		sum := checksum(octets[:end])
		octets[end], octets[end+1] = upperHex[sum>>4], upperHex[sum&15]
	}
	return octets
}

// writer makes packets, one after another in the same memory, and writes them.
type writer struct {
	roomy
	bare    bool
	effects smsc.Effects
}

// start makes a packet that is valid until the next start.
func (w *writer) start(o Operation, number uint8) *Packet {
	w.Packet = Packet{Operation: o, Number: number, Bare: w.bare, Params: w.room[:0]}
	return &w.Packet
}

// write appends the packet on its way, and returns it as octets, in into's memory
// if that is enough. An error is one of Append's.
func (w *writer) write(p *Packet, into []byte, do []smsc.Effect) ([]byte, []smsc.Effect, error) {
	p.Bare = w.bare
	octets, err := p.Append(into[:0])
	if err != nil {
		return nil, do, err
	}
	return octets, append(do, w.effects.Write(octets)), nil
}

// digits appends three digits.
func digits(dst []byte, n uint16) []byte {
	return append(dst, '0'+byte(n/100), '0'+byte(n/10%10), '0'+byte(n%10))
}

// reserved says which parameter cannot be written.
func (p *Packet) reserved() error {
	for _, q := range p.Params {
		if i := strings.IndexAny(q.Value, "\x00\x02\x03\x09"); i >= 0 {
			return fmt.Errorf("cimd2: parameter %v holds octet %02X, which no value may", q.Code, q.Value[i])
		}
	}
	return errors.New("cimd2: the packet holds octets that it may not")
}

// reservedIn returns where there is an octet that may stand in no value, -1:
// nowhere. A TAB is not looked for.
func reservedIn(octets []byte) int {
	for _, c := range [...]byte{0, stx, etx} {
		if i := bytes.IndexByte(octets, c); i >= 0 {
			return i
		}
	}
	return -1
}

// survey returns the sum of the octets, and whether one is below 04: TAB apart,
// what may stand in no value is.
//
// It takes eight at once: sums odd and even ones in 16-bit lanes, which cannot
// overflow within 1,024 octets, and subtracts 04 from each, which borrows if it is less.
func survey(octets []byte) (sum byte, low bool) {
	const lanes, fours, high = 0x00FF00FF00FF00FF, 0x0404040404040404, 0x8080808080808080
	var borrowed uint64
	for len(octets) >= 8 {
		var wide uint64
		n := min(len(octets), 1024) &^ 7
		for at := 0; at < n; at += 8 {
			word := binary.LittleEndian.Uint64(octets[at:])
			wide += word&lanes + word>>8&lanes
			borrowed |= (word - fours) &^ word
		}
		sum += byte(wide) + byte(wide>>16) + byte(wide>>32) + byte(wide>>48)
		octets = octets[n:]
	}
	for _, b := range octets {
		sum += b
		low = low || b < 4
	}
	return sum, low || borrowed&high != 0
}

func checksum(octets []byte) (sum byte) {
	sum, _ = survey(octets)
	return sum
}

// Decode reads one whole packet, STX to ETX. Every error is a *smsc.SyntaxError
// that is not Fatal; its Packet is a *Packet with operation and number as far as
// they can be trusted, a BadChecksum, or nil.
func Decode(octets []byte) (*Packet, error) { return new(decoder).decode(octets) }

// decoder decodes many packets with few allocations.
type decoder struct {
	texts  smsc.Texts
	bare   smsc.Slab[Packet] // without parameters
	smalls smsc.Slab[small]
	roomys smsc.Slab[roomy]
}

func (d *decoder) decode(octets []byte) (*Packet, error) {
	n := len(octets)
	if n < 2 || octets[0] != stx || octets[n-1] != etx {
		return nil, syntax(0, nil, "no STX and ETX around %d octets", n)
	}
	operation, packetNumber, header := readHeader(octets)
	end := n - 1 // of the parameters
	bare := octets[end-1] == tab
	if !bare {
		end -= 2
	}
	sum, low := survey(octets[1:max(end, 1)])
	if !bare {
		if err := check(octets, end, sum+stx, operation, packetNumber, header); err != nil {
			return nil, err
		}
	}
	if header != nil {
		return nil, header
	}
	if low {
		if i := reservedIn(octets[8:end]); i >= 0 {
			return nil, syntax(8+i, NewPacket(operation, packetNumber, 0), "octet %02X, which no value may hold", octets[8+i])
		}
	}
	p := d.packet(bytes.Count(octets[8:end], []byte{tab}))
	p.Operation, p.Number, p.Bare = operation, packetNumber, bare
	all := d.texts.Text(octets[8:end]) // one string, of which every value is a part
	for rest := octets[8:end]; len(rest) > 0; {
		width := bytes.IndexByte(rest, tab) // there is one: the last octet
		code, ok := number(rest[:min(3, width)], 3)
		if !ok || width < 4 || rest[3] != ':' {
			return nil, syntax(end-len(rest), NewPacket(operation, packetNumber, 0), "parameter %.16q does not begin with three digits and a colon", rest[:width])
		}
		at := len(all) - len(rest)
		p.Params = append(p.Params, Param{Code(code), all[at+4 : at+width]})
		rest = rest[width+1:]
	}
	return p, nil
}

// packet is NewPacket, of many.
func (d *decoder) packet(n int) *Packet {
	switch {
	case n == 0:
		return d.bare.New()
	case n <= len(small{}.room):
		r := d.smalls.New()
		r.Params = r.room[:0]
		return &r.Packet
	case n <= len(roomy{}.room):
		r := d.roomys.New()
		r.Params = r.room[:0]
		return &r.Packet
	}
	return &Packet{Params: make([]Param, 0, n)}
}

// check compares the checksum, which stands at end, with sum. header is what is wrong with
// the packet's header, nil when it can be read.
func check(octets []byte, end int, sum byte, o Operation, number uint8, header error) error {
	var what string
	switch n := len(octets); {
	case end < 2 || octets[end-1] != tab:
		end, what = n-1, "neither TAB nor a checksum of two digits before ETX"
	default:
		high, ok := nibble(octets[end])
		low, ok2 := nibble(octets[end+1])
		if ok && ok2 && high<<4|low == sum {
			return nil
		}
		what = fmt.Sprintf("checksum is %02X, the packet says %q", sum, octets[end:n-1])
	}
	bad := BadChecksum{}
	if header == nil {
		bad.Header = NewPacket(o, number, 0)
	}
	return syntax(end, bad, "%s", what)
}

// nibble reads a hexadecimal digit.
func nibble(digit byte) (n byte, ok bool) {
	switch {
	case digit >= '0' && digit <= '9':
		return digit - '0', true
	case digit >= 'A' && digit <= 'F':
		return digit - 'A' + 10, true
	case digit >= 'a' && digit <= 'f':
		return digit - 'a' + 10, true
	}
	return 0, false
}

func readHeader(octets []byte) (Operation, uint8, error) {
	if len(octets) < 9 || octets[3] != ':' || octets[7] != tab {
		return 0, 0, syntax(1, nil, "header %.8q is not two digits, a colon, three digits and TAB", octets[1:])
	}
	operation, ok := number(octets[1:3], 2)
	n, ok2 := number(octets[4:7], 3)
	if !ok || !ok2 || n > 255 {
		return 0, 0, syntax(1, nil, "header %.7q is not an operation of two digits and a number from 000 to 255", octets[1:])
	}
	return Operation(operation), uint8(n), nil
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
func Read(r *bufio.Reader) (any, error) { return new(decoder).read(r) }

func newReader() func(r *bufio.Reader) (any, error) { return new(decoder).read }

func (d *decoder) read(r *bufio.Reader) (any, error) {
	for skipped := 0; ; {
		noise, err := r.ReadSlice(stx)
		skipped += len(noise)
		switch {
		case skipped > maxPacket:
			return nil, &smsc.SyntaxError{Protocol: Name, Offset: -1, Reason: fmt.Sprintf("%d octets without an STX: the peer does not speak CIMD2", skipped), Fatal: true}
		case err == nil:
			return d.readPacket(r)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// lastSTX is bytes.LastIndexByte, which looks at one octet after the other.
func lastSTX(octets []byte) int {
	last := -1
	for {
		i := bytes.IndexByte(octets[last+1:], stx)
		if i < 0 {
			return last
		}
		last += 1 + i
	}
}

// readPacket goes on behind STX.
func (d *decoder) readPacket(r *bufio.Reader) (any, error) {
	_ = r.UnreadByte() // it was read just now
	var long []byte    // what did not fit into r's buffer
	for {
		octets, err := r.ReadSlice(etx) // valid until the next read
		if i := lastSTX(octets); i >= 0 {
			octets, long = octets[i:], nil
		}
		if long != nil || err != nil {
			long = append(long, octets...)
			octets = long
		}
		switch {
		case len(octets) > maxPacket:
			return nil, &smsc.SyntaxError{Protocol: Name, Offset: maxPacket, Reason: fmt.Sprintf("no ETX within %d octets", maxPacket), Fatal: true}
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err == nil:
			p, err := d.decode(octets)
			if err != nil {
				return nil, err // not a typed nil
			}
			return p, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
