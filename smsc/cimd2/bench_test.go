package cimd2

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

var benchPart = hello(strings.Repeat("Meet me at 8 o'clock. ", 7)) // 154 septets

func BenchmarkEncodeSubmit(b *testing.B) {
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		p, err := NewSubmit(benchPart, Options{Validity: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		buf, _ = p.Append(buf[:0])
	}
}

func BenchmarkDecodeSubmit(b *testing.B) {
	p, _ := NewSubmit(benchPart, Options{Validity: time.Hour})
	octets, _ := p.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Decode(octets)
		if err != nil || p.Check() != nil {
			b.Fatal(p, err)
		}
		if _, err := ParseSubmit(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeDeliver(b *testing.B) {
	buf := make([]byte, 0, 512)
	d := smsc.Deliver{Part: benchPart, At: "261122201500"}
	b.ReportAllocs()
	for b.Loop() {
		p, err := NewDeliver(d)
		if err != nil {
			b.Fatal(err)
		}
		buf, _ = p.Append(buf[:0])
	}
}

func BenchmarkDecodeDeliver(b *testing.B) {
	p, _ := NewDeliver(smsc.Deliver{Part: benchPart, At: "261122201500"})
	octets, _ := p.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Decode(octets)
		if err != nil {
			b.Fatal(err)
		}
		ParseDeliver(p, smsc.AlphabetGSM)
	}
}

var benchSubmit smsc.Event = smsc.Submit{Ref: 1, Part: benchPart}

// BenchmarkMachines is one submit and its answer, without a socket.
func BenchmarkMachines(b *testing.B) {
	esme, centre := newBenchESME(), newBenchCentre()
	e, c := &loop{}, &loop{}
	b.ReportAllocs()
	for b.Loop() {
		for _, w := range esme.handle(benchSubmit) {
			e.put(w)
		}
		for _, w := range centre.handle(e.received(b)) {
			c.put(w)
		}
		esme.handle(c.received(b))
	}
	if esme.accepted != b.N {
		b.Fatalf("%d of %d accepted", esme.accepted, b.N)
	}
}

// loop is a line without a socket.
type loop struct{ octets []byte }

func (l *loop) put(octets []byte) { l.octets = octets }

func (l *loop) received(b *testing.B) smsc.Event {
	p, err := Decode(l.octets)
	if err != nil {
		b.Fatal(err)
	}
	return smsc.Received{Packet: p}
}

// BenchmarkLoopback is stop and wait over loopback TCP with codec and machines
// at both ends and nothing else, against the bare exchange of as many octets.
// They take short turns in one run, so that whatever else the computer does
// meets both; ratio compares the fastest tenth of the turns of each, which it
// met least, and cpu-ratio what all turns took of the processors.
//
//	go test ./smsc/cimd2 -run '^$' -bench Loopback -benchtime 50000x
func BenchmarkLoopback(b *testing.B) {
	const each = 50 // messages a turn
	turns := max(b.N/each, 10)
	request, response := benchPackets(b)
	bare := newBarePingPong(b, len(request), len(response))
	line := newBenchLine(b)
	bare.run(b, each)
	line.run(b, each)
	bareTook, lineTook := make([]time.Duration, turns), make([]time.Duration, turns)
	var bareCPU, lineCPU time.Duration
	b.ResetTimer()
	for i := range turns {
		start := processor()
		bareTook[i] = bare.run(b, each)
		middle := processor()
		lineTook[i] = line.run(b, each)
		bareCPU, lineCPU = bareCPU+middle-start, lineCPU+processor()-middle
	}
	fast := func(took []time.Duration) float64 {
		slices.Sort(took)
		return took[len(took)/10].Seconds() / each
	}
	b.ReportMetric(1/fast(bareTook), "bare/s")
	b.ReportMetric(1/fast(lineTook), "cimd2/s")
	b.ReportMetric(fast(bareTook)/fast(lineTook), "ratio")
	b.ReportMetric(bareCPU.Seconds()/lineCPU.Seconds(), "cpu-ratio")
	b.ReportMetric(0, "ns/op")
}

// processor is what this process has used of processors.
func processor() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// benchPackets are a submit and its answer as they go over the line.
func benchPackets(b *testing.B) (request, response []byte) {
	esme, centre := newBenchESME(), newBenchCentre()
	request = esme.handle(benchSubmit)[0]
	p, err := Decode(request)
	if err != nil {
		b.Fatal(err)
	}
	return request, centre.handle(smsc.Received{Packet: p})[0]
}

// side is a machine and what it has to write.
type side struct {
	machine  handler
	do, more []smsc.Effect
	octets   [][]byte
	accepted int
}

func newBenchESME() *side {
	s := &side{machine: New(smsc.Config{User: "user1", Password: "pass1", Window: 1, ResponseTimeout: 10 * time.Second, DefaultValidity: time.Hour})}
	s.handle(smsc.Connected{})
	s.handle(smsc.Received{Packet: NewPacket(Login.Response(), 1, 0)})
	return s
}

func newBenchCentre() *side {
	s := &side{machine: NewServer(smsc.ServerConfig{InactivityTimeout: time.Minute})}
	login := NewPacket(Login, 1, 2)
	login.Add(UserIdentity, "user1")
	login.Add(Password, "pass1")
	s.handle(smsc.Connected{})
	s.handle(smsc.Received{Packet: login})
	return s
}

// handle returns what is to be written; an SMSC accepts at once.
func (s *side) handle(ev smsc.Event) [][]byte {
	s.octets = s.octets[:0]
	s.do = s.machine.Handle(ev, s.do[:0])
	for _, e := range s.do {
		switch e := e.(type) {
		case smsc.Write:
			s.octets = append(s.octets, e.Octets)
		case smsc.LoginReceived:
			s.answer(smsc.LoginResult{OK: true})
		case smsc.SubmitReceived:
			s.answer(smsc.ServerAnswer{Ref: e.Ref, Outcome: smsc.Outcome{ID: "358407654321/261122201500"}})
		case smsc.Answered:
			if e.Outcome.Fate == smsc.Accepted {
				s.accepted++
			}
		}
	}
	return s.octets
}

func (s *side) answer(ev smsc.Event) {
	s.more = s.machine.Handle(ev, s.more[:0])
	for _, e := range s.more {
		if w, ok := e.(smsc.Write); ok {
			s.octets = append(s.octets, w.Octets)
		}
	}
}

// pair returns both ends of a TCP connection over loopback.
func pair(b *testing.B) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

type barePingPong struct {
	socket   net.Conn
	out, inn []byte
}

func newBarePingPong(b *testing.B, request, response int) *barePingPong {
	client, server := pair(b)
	go func() {
		in, out := make([]byte, request), make([]byte, response)
		for {
			if _, err := io.ReadFull(server, in); err != nil {
				return
			}
			if _, err := server.Write(out); err != nil {
				return
			}
		}
	}()
	return &barePingPong{client, make([]byte, request), make([]byte, response)}
}

func (p *barePingPong) run(b *testing.B, n int) time.Duration {
	began := time.Now()
	for range n {
		if _, err := p.socket.Write(p.out); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(p.socket, p.inn); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

type benchLine struct {
	esme   *side
	socket net.Conn
	r      *bufio.Reader
}

func newBenchLine(b *testing.B) *benchLine {
	client, server := pair(b)
	go func() {
		centre, r := newBenchCentre(), bufio.NewReader(server)
		for {
			p, err := Read(r)
			if err != nil {
				return
			}
			for _, octets := range centre.handle(smsc.Received{Packet: p}) {
				if _, err := server.Write(octets); err != nil {
					return
				}
			}
		}
	}()
	return &benchLine{newBenchESME(), client, bufio.NewReader(client)}
}

func (l *benchLine) run(b *testing.B, n int) time.Duration {
	began := time.Now()
	for range n {
		before := l.esme.accepted
		for _, octets := range l.esme.handle(benchSubmit) {
			if _, err := l.socket.Write(octets); err != nil {
				b.Fatal(err)
			}
		}
		p, err := Read(l.r)
		if err != nil {
			b.Fatal(err)
		}
		l.esme.handle(smsc.Received{Packet: p})
		if l.esme.accepted != before+1 {
			b.Fatalf("%v does not accept", p)
		}
	}
	return time.Since(began)
}
