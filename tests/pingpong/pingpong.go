// Package pingpong measures what a protocol's codec and machines, at both ends of
// a session that stops and waits, cost beside the exchange of as many octets.
package pingpong

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

// Session is what one submit after another is sent over.
type Session struct {
	Protocol smsc.Protocol
	Client   smsc.Config
	Server   smsc.ServerConfig
	Part     smsc.Part
	ID       string // the SMSC gives it to every part

	// Follow gives a request, made anew of the one before, the next number, and
	// Answer gives a response that of its request: all that a bare end does.
	Follow func(request []byte)
	Answer func(request, response []byte)
}

// Machines measures a submit and its answer without a socket: both machines,
// both packets read.
func Machines(b *testing.B, s Session) {
	client, server := s.client(), s.server(b)
	request, response := new(bytes.Reader), new(bytes.Reader)
	fromClient, fromServer := bufio.NewReader(request), bufio.NewReader(response)
	exchange := func(ev smsc.Event) {
		request.Reset(client.handle(ev))
		fromClient.Reset(request)
		response.Reset(server.handle(server.read(fromClient)))
		fromServer.Reset(response)
		client.handle(client.read(fromServer))
	}
	exchange(smsc.Connected{})
	submit := s.submit()
	b.ReportAllocs()
	for b.Loop() {
		exchange(submit)
	}
	if client.accepted != b.N {
		b.Fatalf("%d of %d submits were accepted", client.accepted, b.N)
	}
}

// Loopback measures the same over TCP on the loopback against the bare exchange
// of as many octets: as many reads and writes, on as many goroutines. "esme" has
// the ESME's machine and codec at one end and a bare one at the other, that knows
// one response by heart, "smsc" the SMSC's, "both" both. Short turns
// of session and bare exchange alternate, forth and back, so that whatever else
// the computer does meets both alike. Reported are
//
//	ratio        bare to session, of the fastest tenth of the turns of each
//	median-ratio of the medians
//	cpu-ratio    of the processor time of all turns
//	bare-µs/msg, session-µs/msg: of the fastest tenth
func Loopback(b *testing.B, s Session) {
	for _, of := range []struct {
		name string
		dial func(b *testing.B) (roundTrip func(), request, response int)
	}{{"esme", s.dialESME}, {"smsc", s.dialSMSC}, {"both", s.dial}} {
		b.Run(of.name, func(b *testing.B) {
			session, request, response := of.dial(b)
			compare(b, dialBare(b, request, response), session)
		})
	}
}

func compare(b *testing.B, bare, session func()) {
	const each = 20 // messages a turn
	var took [2][]float64
	var used [2]time.Duration
	run := func(i int, roundTrip func()) {
		cpu, began := processor(b), time.Now()
		for range each {
			roundTrip()
		}
		took[i] = append(took[i], float64(time.Since(began).Nanoseconds())/each)
		used[i] += processor(b) - cpu
	}
	for range 100 { // both are warm
		bare()
		session()
	}
	b.ReportAllocs()
	for b.Loop() { // two turns of each
		run(0, bare)
		run(1, session)
		run(1, session)
		run(0, bare)
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	fast := func(i, of int) float64 { return took[i][len(took[i])/of] }
	b.ReportMetric(fast(0, 10)/fast(1, 10), "ratio")
	b.ReportMetric(fast(0, 2)/fast(1, 2), "median-ratio")
	b.ReportMetric(used[0].Seconds()/used[1].Seconds(), "cpu-ratio")
	b.ReportMetric(fast(0, 10)/1e3, "bare-µs/msg")
	b.ReportMetric(fast(1, 10)/1e3, "session-µs/msg")
}

// processor is what this process has used of the processors.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// connect returns both ends of a TCP connection over the loopback.
func connect(b *testing.B) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// dialBare returns one exchange of as many octets.
func dialBare(b *testing.B, request, response int) (roundTrip func()) {
	client, server := connect(b)
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
	out, in := make([]byte, request), make([]byte, response)
	return func() {
		if _, err := client.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, in); err != nil {
			b.Fatal(err)
		}
	}
}

// dial returns one submit and its answer, and how many octets they have.
func (s Session) dial(b *testing.B) (roundTrip func(), request, response int) {
	near, far := connect(b)
	go s.serve(b, far, func(answer []byte) { response = len(answer) })
	roundTrip, submit := s.connected(b, near)
	return roundTrip, len(submit), response
}

// dialESME is dial, with an SMSC that answers as it has seen ours answer.
func (s Session) dialESME(b *testing.B) (roundTrip func(), request, response int) {
	octets, answer := s.byHeart(b)
	near, far := connect(b)
	login := make(chan struct{})
	go func() {
		server, r := s.server(b), bufio.NewReader(far)
		if _, err := far.Write(server.handle(server.read(r))); err != nil {
			b.Error(err)
		}
		close(login)
		for in := make([]byte, len(octets)); ; {
			if _, err := io.ReadFull(far, in); err != nil {
				return
			}
			s.Answer(in, answer)
			if _, err := far.Write(answer); err != nil {
				return
			}
		}
	}()
	roundTrip, _ = s.connected(b, near)
	<-login
	return roundTrip, len(octets), len(answer)
}

// dialSMSC is dial, with an ESME that repeats one submit under new numbers.
func (s Session) dialSMSC(b *testing.B) (roundTrip func(), request, response int) {
	octets, answer := s.byHeart(b)
	near, far := connect(b)
	go s.serve(b, far, func([]byte) {})
	client := s.client()
	r := bufio.NewReader(near)
	if _, err := near.Write(client.handle(smsc.Connected{})); err != nil || client.read(r) == nil {
		b.Fatal("no login: ", err)
	}
	in, want := make([]byte, len(answer)), slices.Clone(answer)
	first := true
	return func() {
		if !first {
			s.Follow(octets)
		}
		first = false
		if _, err := near.Write(octets); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(near, in); err != nil {
			b.Fatal(err)
		}
		if s.Answer(octets, want); !bytes.Equal(in, want) {
			b.Fatalf("%q was answered with %q, not %q", octets, in, want)
		}
	}, len(octets), len(answer)
}

// byHeart returns the first submit of a session and its response.
func (s Session) byHeart(b *testing.B) (request, response []byte) {
	near, far := connect(b)
	go s.serve(b, far, func(answer []byte) { response = slices.Clone(answer) })
	_, request = s.connected(b, near)
	return request, response
}

// serve is an SMSC's end; sent is called with what it is about to answer.
func (s Session) serve(b *testing.B, far net.Conn, sent func(octets []byte)) {
	server, r := s.server(b), bufio.NewReader(far)
	for {
		ev := server.read(r)
		if ev == nil {
			return
		}
		octets := server.handle(ev)
		sent(octets)
		if _, err := far.Write(octets); err != nil {
			return
		}
	}
}

// connected logs in and submits once.
func (s Session) connected(b *testing.B, near net.Conn) (roundTrip func(), request []byte) {
	client, r := s.client(), bufio.NewReader(near)
	exchange := func(ev smsc.Event) (request []byte) {
		request = client.handle(ev)
		if _, err := near.Write(request); err != nil {
			b.Fatal(err)
		}
		if ev = client.read(r); ev == nil {
			b.Fatal("the server has ended the session")
		}
		client.handle(ev)
		return request
	}
	exchange(smsc.Connected{})
	submit := s.submit()
	roundTrip = func() {
		before := client.accepted
		if exchange(submit); client.accepted != before+1 {
			b.Fatal("a submit was not accepted")
		}
	}
	before := client.accepted
	request = slices.Clone(exchange(submit))
	if client.accepted != before+1 {
		b.Fatal("the first submit was not accepted")
	}
	return roundTrip, request
}

func (s Session) submit() smsc.Event { return &smsc.Submit{Ref: 1, Part: s.Part} }

// end is one machine, and what its owner does for it.
type end struct {
	machine interface {
		Handle(ev smsc.Event, do []smsc.Effect) []smsc.Effect
	}
	next     func(r *bufio.Reader) (any, error)
	do       []smsc.Effect
	received smsc.Received
	answer   smsc.ServerAnswer
	id       string
	accepted int
}

func (s Session) client() *end {
	return &end{machine: s.Protocol.New(s.Client), next: s.Protocol.Reader(), id: s.ID}
}

func (s Session) server(b *testing.B) *end {
	e := &end{machine: s.Protocol.NewServer(s.Server), next: s.Protocol.Reader(), id: s.ID}
	if octets := e.handle(smsc.Connected{}); len(octets) > 0 {
		b.Errorf("the server begins with %q", octets)
	}
	return e
}

// read returns the next packet's event, nil at the end.
func (e *end) read(r *bufio.Reader) smsc.Event {
	p, err := e.next(r)
	if err != nil {
		return nil
	}
	e.received.Packet = p
	return &e.received
}

// handle returns what is to be written; an SMSC accepts at once.
func (e *end) handle(ev smsc.Event) (octets []byte) {
	e.do = e.machine.Handle(ev, e.do[:0])
	for i := 0; i < len(e.do); i++ {
		switch effect := e.do[i].(type) {
		case smsc.Write:
			octets = effect.Octets
		case smsc.LoginReceived:
			e.do = e.machine.Handle(smsc.LoginResult{OK: true}, e.do)
		case smsc.SubmitReceived:
			e.answer = smsc.ServerAnswer{Ref: effect.Ref, Outcome: smsc.Outcome{ID: e.id}}
			e.do = e.machine.Handle(&e.answer, e.do)
		case smsc.Answered:
			if effect.Outcome.Fate == smsc.Accepted && effect.Outcome.ID == e.id {
				e.accepted++
			}
		}
	}
	return octets
}
