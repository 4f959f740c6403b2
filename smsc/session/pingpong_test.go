package session

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/conn"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/tests/probe"
)

// BenchmarkPingPong compares outlet and session, over a journal that forgets,
// with a bare loop that writes octets of the same sizes and waits for the answer.
// Both talk over loopback to the same kind of peer, which copies its answers, and
// take turns. CPU times are of the whole process: the peer's part is in both.
//
//	go test ./smsc/session -run '^$' -bench PingPong -benchtime 20000x
func BenchmarkPingPong(b *testing.B) {
	for _, protocol := range []smsc.Protocol{smpp.Protocol, cimd2.Protocol} {
		b.Run(protocol.Name, func(b *testing.B) { benchmarkPingPong(b, protocol) })
	}
}

func benchmarkPingPong(b *testing.B, protocol smsc.Protocol) {
	const each = 200
	turns := max(b.N/each, 1)
	request, answers := script(b, protocol)
	bare := dialBare(b, answers, request)
	outlet := newMemoryEdge(b, protocol, answers)
	outlet.run(each) // logged in
	var bareTook, outletTook, ratios, bareCPU, outletCPU []float64
	b.ResetTimer()
	for range turns {
		cpu, began := cpuTime(b), time.Now()
		bare(each)
		took := time.Since(began)
		bareTook, bareCPU = append(bareTook, took.Seconds()/each), append(bareCPU, (cpuTime(b)-cpu).Seconds()/each)
		outlet.prepare(each)
		cpu, began = cpuTime(b), time.Now()
		outlet.run(each)
		mine := time.Since(began)
		outletTook, outletCPU = append(outletTook, mine.Seconds()/each), append(outletCPU, (cpuTime(b)-cpu).Seconds()/each)
		ratios = append(ratios, took.Seconds()/mine.Seconds())
	}
	// Medians: on a busy machine some turns meet somebody else's work.
	b.ReportMetric(1/median(bareTook), "bare/s")
	b.ReportMetric(1/median(outletTook), "session/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(bareCPU)*1e6, "bare-cpu-µs/msg")
	b.ReportMetric(median(outletCPU)*1e6, "session-cpu-µs/msg")
	b.ReportMetric(0, "ns/op")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// copier answers requests with octets made once: it finds where a packet ends and
// copies its number, and nothing else, so that it costs next to nothing.
type copier struct {
	read   func(*bufio.Reader, []byte) (n int, err error) // one packet into a buffer
	answer func(request []byte) []byte
}

// script asks the protocol's own machines for a submit and the answers.
func script(b *testing.B, protocol smsc.Protocol) (submit []byte, c copier) {
	submitted := func(number int) (request, response []byte) {
		client := protocol.New(smsc.Config{User: "ringway", Password: "secret", Window: 1})
		server := protocol.NewServer(smsc.ServerConfig{Window: 1})
		var last []byte
		var toServer, toClient func(smsc.Event)
		toServer = func(ev smsc.Event) {
			for _, e := range server.Handle(ev, nil) {
				switch e := e.(type) {
				case smsc.Write:
					response = e.Octets
					toClient(smsc.Received{Packet: parse(b, protocol, e.Octets)})
				case smsc.LoginReceived:
					toServer(smsc.LoginResult{OK: true})
				case smsc.SubmitReceived:
					toServer(smsc.ServerAnswer{Ref: e.Ref, Outcome: accepted(protocol.NewID(e.Part.To, time.Unix(0, 0), 1))})
				}
			}
		}
		toClient = func(ev smsc.Event) {
			for _, e := range client.Handle(ev, nil) {
				if e, ok := e.(smsc.Write); ok {
					last = e.Octets
					toServer(smsc.Received{Packet: parse(b, protocol, e.Octets)})
				}
			}
		}
		toServer(smsc.Connected{})
		toClient(smsc.Connected{})
		for range number {
			parts, err := Encoding{}.cut(message(1, "+639170000001", "good morning"), 0, true)
			if err != nil {
				b.Fatal(err)
			}
			toClient(smsc.Submit{Ref: 1, Part: parts[0]})
		}
		return last, response
	}
	_, login := submitted(0)
	submit, submitResp := submitted(1)
	if protocol.Name == smpp.Protocol.Name {
		c.read = func(r *bufio.Reader, into []byte) (int, error) {
			head, err := r.Peek(4)
			if err != nil {
				return 0, err
			}
			return io.ReadFull(r, into[:int(head[2])<<8|int(head[3])])
		}
		c.answer = func(request []byte) []byte {
			answer := submitResp
			if request[7] == byte(smpp.CommandBindTransceiver) {
				answer = login
			}
			copy(answer[12:16], request[12:16])
			return answer
		}
		return submit, c
	}
	c.read = func(r *bufio.Reader, into []byte) (int, error) {
		line, err := r.ReadSlice(0x03)
		return copy(into, line), err
	}
	hex := "0123456789ABCDEF"
	c.answer = func(request []byte) []byte { // <STX>03:001<TAB>... checksum <ETX>
		answer := submitResp
		if request[2] == '1' {
			answer = login
		}
		end := len(answer) - 3
		copy(answer[4:7], request[4:7])
		sum := byte(0)
		for _, c := range answer[:end] {
			sum += c
		}
		answer[end], answer[end+1] = hex[sum>>4], hex[sum&15]
		return answer
	}
	return submit, c
}

func parse(b *testing.B, protocol smsc.Protocol, octets []byte) any {
	packet, err := protocol.Read(bufio.NewReader(&chunk{octets}))
	if err != nil {
		b.Fatal(err)
	}
	return packet
}

type chunk struct{ octets []byte }

func (c *chunk) Read(p []byte) (int, error) {
	if len(c.octets) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.octets)
	c.octets = c.octets[n:]
	return n, nil
}

func (c copier) listen(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			socket, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer socket.Close()
				r, buffer := bufio.NewReader(socket), make([]byte, 4096)
				for {
					n, err := c.read(r, buffer)
					if err != nil {
						return
					}
					if _, err := socket.Write(c.answer(buffer[:n])); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// dialBare returns a function that sends the request n times and waits for each
// answer.
func dialBare(b *testing.B, c copier, request []byte) func(n int) {
	socket, err := net.Dial("tcp", c.listen(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = socket.Close() })
	answer := make([]byte, len(c.answer(request)))
	return func(n int) {
		for range n {
			if _, err := socket.Write(request); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(socket, answer); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// forgetful is a journal for which everything is durable at once.
type forgetful struct{ journal.Edge }

func (forgetful) LoadOutlet(done func([]*journal.Task, error))          { done(nil, nil) }
func (forgetful) Record(_ journal.OutletStep, done func(error))         { done(nil) }
func (forgetful) Result(uint64, []byte) (*messages.Result, bool, error) { return nil, false, nil }
func (forgetful) LoadInlet(done func(map[string][]byte, error))         { done(nil, errors.New("not needed")) }

type memoryEdge struct {
	b            *testing.B
	system       *actor.ActorSystem
	outlet, done *actor.PID
	all          chan struct{}
	left         int
	seq          uint64
	messages     []*messages.Message
}

func newMemoryEdge(b *testing.B, protocol smsc.Protocol, c copier) *memoryEdge {
	e := &memoryEdge{b: b, system: probe.System(b), all: make(chan struct{}, 1)}
	e.outlet = e.system.Root.Spawn(NewOutlet(OutletConfig{
		SMSC: "bench", Inlet: e.system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {})), Journal: forgetful{}, Validity: 24 * time.Hour,
		Receipts: true, ReceiptsAfter: 24 * time.Hour,
		Sessions: []Config{{
			Name: "bench/0", Protocol: protocol, Zone: time.UTC, Dial: conn.Dialer(c.listen(b)), Redial: Backoff{time.Second, time.Second},
			Machine: smsc.Config{
				User: "ringway", Password: "secret", Window: 1, KeepAlive: 30 * time.Second, ResponseTimeout: 10 * time.Second,
				LoginTimeout: 15 * time.Second,
			},
		}},
	}))
	e.done = e.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.Answered); ok {
			if m.Result.State != messages.State_PROCESSED {
				b.Errorf("%v", m.Result)
			}
			if e.left--; e.left == 0 {
				e.all <- struct{}{}
			}
		}
	}, actor.WithDispatcher(actor.NewSynchronizedDispatcher(300))))
	b.Cleanup(func() { _ = e.system.Root.StopFuture(e.outlet).Wait() })
	return e
}

// prepare makes the messages of the next run.
func (e *memoryEdge) prepare(n int) {
	e.messages = e.messages[:0]
	for range n {
		e.seq++
		e.messages = append(e.messages, message(e.seq, fmt.Sprintf("+63917%07d", e.seq%1000), "good morning"))
	}
}

// run hands on n messages to n recipients and waits until all are answered.
func (e *memoryEdge) run(n int) {
	if len(e.messages) == 0 {
		e.prepare(n)
	}
	e.left = n
	for i, m := range e.messages {
		e.system.Root.RequestWithCustomSender(e.outlet, &messages.HandOn{Seq: e.seq - uint64(n-i) + 1, Message: m}, e.done)
	}
	<-e.all
}
