package session

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/conn"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/tests/probe"
)

// BenchmarkStopAndWait compares outlet, session and journal with the bare loop
// that does the same work by hand: submit, wait for the answer, sync. Both
// talk over loopback to an SMSC that answers after a millisecond; they take
// turns, so that a disk that changes its mind meets both.
//
//	go test ./smsc/session -run '^$' -bench StopAndWait -benchtime 3000x
func BenchmarkStopAndWait(b *testing.B) {
	const each = 100 // messages a turn
	turns := max(b.N/each, 1)
	bare, edge := newBareClient(b), newBenchEdge(b)
	var bareTook, edgeTook time.Duration
	b.ResetTimer()
	for range turns {
		bareTook += bare.run(each)
		edgeTook += edge.run(each)
	}
	total := float64(turns * each)
	b.ReportMetric(total/bareTook.Seconds(), "bare/s")
	b.ReportMetric(total/edgeTook.Seconds(), "edge/s")
	b.ReportMetric(bareTook.Seconds()/edgeTook.Seconds(), "ratio")
	b.ReportMetric(float64(edge.syncs)/total, "syncs/msg")
	b.ReportMetric(0, "ns/op")
}

// latentSMSC takes any bind and accepts every submit after a millisecond.
func latentSMSC(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveLatent(c)
		}
	}()
	return l.Addr().String()
}

func serveLatent(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		head, err := r.Peek(16)
		if err != nil {
			return
		}
		size, command := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
		resp := append([]byte{}, head...)
		if _, err := r.Discard(int(size)); err != nil {
			return
		}
		if command == uint32(smpp.CommandSubmitSM) {
			time.Sleep(time.Millisecond)
		}
		resp = fmt.Appendf(resp, "%d\x00", n)
		binary.BigEndian.PutUint32(resp, uint32(len(resp)))
		binary.BigEndian.PutUint32(resp[4:], command|0x80000000)
		binary.BigEndian.PutUint32(resp[8:], 0)
		if _, err := c.Write(resp); err != nil {
			return
		}
	}
}

type bareClient struct {
	b       *testing.B
	socket  net.Conn
	r       *bufio.Reader
	machine smsc.Machine
	log     *os.File
}

func newBareClient(b *testing.B) *bareClient {
	socket, err := net.Dial("tcp", latentSMSC(b))
	if err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = socket.Close(); _ = log.Close() })
	c := &bareClient{
		b: b, socket: socket, r: bufio.NewReader(socket), log: log,
		machine: smpp.Protocol.New(smsc.Config{User: "bare", Window: 1}),
	}
	c.do(smsc.Connected{})
	for c.machine.State() != "bound" {
		c.receive()
	}
	return c
}

func (c *bareClient) do(ev smsc.Event) (answered bool) {
	for _, e := range c.machine.Handle(ev, nil) {
		switch e := e.(type) {
		case smsc.Write:
			if _, err := c.socket.Write(e.Octets); err != nil {
				c.b.Fatal(err)
			}
		case smsc.Answered:
			answered = true
		}
	}
	return answered
}

func (c *bareClient) receive() bool {
	packet, err := smpp.Protocol.Read(c.r)
	if err != nil {
		c.b.Fatal(err)
	}
	return c.do(smsc.Received{Packet: packet})
}

func (c *bareClient) run(n int) time.Duration {
	began := time.Now()
	record := make([]byte, 250)
	for i := range n {
		parts, err := Encoding{}.cut(message(uint64(i), "+639170000001", "good morning"), 0, false)
		if err != nil {
			c.b.Fatal(err)
		}
		c.do(smsc.Submit{Ref: 1, Part: parts[0]})
		for !c.receive() {
		}
		if _, err := c.log.Write(record); err != nil {
			c.b.Fatal(err)
		}
		if err := c.log.Sync(); err != nil {
			c.b.Fatal(err)
		}
	}
	return time.Since(began)
}

type benchEdge struct {
	b      *testing.B
	system *actor.ActorSystem
	store  *edgestore.Store
	outlet *actor.PID
	done   *actor.PID
	all    chan struct{}
	left   int
	seq    uint64
	syncs  uint64
}

func newBenchEdge(b *testing.B) *benchEdge {
	store, err := edgestore.Open(edgestore.Options{KV: kv.Options{Dir: b.TempDir(), Node: "edge/bench"}})
	if err != nil {
		b.Fatal(err)
	}
	e := &benchEdge{b: b, store: store, all: make(chan struct{}, 1), system: probe.System(b)}
	b.Cleanup(func() { _ = store.Close() })
	address := latentSMSC(b)
	inlet := e.system.Root.Spawn(NewInlet(InletConfig{SMSC: "bench", Journal: store}))
	e.outlet = e.system.Root.Spawn(NewOutlet(OutletConfig{
		SMSC: "bench", Inlet: inlet, Journal: store, Validity: 24 * time.Hour, Receipts: true, ReceiptsAfter: 24 * time.Hour,
		Sessions: []Config{{
			Name: "bench/0", Protocol: smpp.Protocol, Dial: conn.Dialer(address), Redial: Backoff{time.Second, time.Second},
			Machine: smsc.Config{User: "edge", Window: 1},
		}},
	}))
	// Stands for all slots: counts the answers.
	e.done = e.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if m, ok := ctx.Message().(*messages.Answered); ok {
			if m.Result.State != messages.State_PROCESSED {
				b.Errorf("%v", m.Result)
			}
			if e.left--; e.left == 0 {
				e.all <- struct{}{}
			}
		}
	}))
	return e
}

// run hands on n messages that the mirror holds already.
func (e *benchEdge) run(n int) time.Duration {
	ms := make([]*messages.Message, n)
	kept := make(chan error, n)
	var gone []uint64
	for i := range ms {
		e.seq++
		ms[i] = message(e.seq, fmt.Sprintf("+63917%07d", e.seq), "good morning")
		e.store.Down().Keep(journal.Entry{Seq: e.seq, Message: ms[i]}, func(err error) { kept <- err })
		gone = append(gone, e.seq)
	}
	for range ms {
		if err := <-kept; err != nil {
			e.b.Fatal(err)
		}
	}
	groups := e.store.Stats().Groups
	e.left = n
	began := time.Now()
	for i, m := range ms {
		e.system.Root.RequestWithCustomSender(e.outlet, &messages.HandOn{Seq: gone[i], Message: m}, e.done)
	}
	<-e.all
	took := time.Since(began)
	e.syncs += e.store.Stats().Groups - groups
	e.store.Down().Release(e.seq, gone)
	return took
}
