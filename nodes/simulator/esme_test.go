package simulator

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

var protocols = []smsc.Protocol{cimd2.Protocol, smpp.Protocol}

func TestMain(m *testing.M) {
	if os.Getenv(childKey) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// deadline bounds every wait of these tests.
const deadline = 10 * time.Second

// esme is a client: one goroutine owns the machine, the test talks to it.
type esme struct {
	t       testing.TB
	conn    net.Conn
	machine smsc.Machine
	events  chan smsc.Event
	bound   chan struct{}
	ended   chan error // of the session; buffered
	over    chan struct{}
	timers  sync.Map

	mu       sync.Mutex
	answers  map[uint64]chan smsc.Outcome
	refs     uint64
	refuse   int // how many delivers and receipts to refuse first
	deliver  chan smsc.Deliver
	receipts chan smsc.Receipt
}

var account = smsc.Config{
	User: "ringway", Password: "secret", Window: 1,
	ResponseTimeout: deadline, LoginTimeout: deadline, LogoutTimeout: time.Second,
}

func start(t testing.TB, cfg Config) *Simulator {
	t.Helper()
	cfg.CIMD2, cfg.SMPP = "127.0.0.1:0", "127.0.0.1:0"
	cfg.User, cfg.Password = "ringway", "secret"
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func address(s *Simulator, p smsc.Protocol) string { return s.addr(p.Name) }

// dial connects; bind waits for the login as well.
func dial(t testing.TB, s *Simulator, p smsc.Protocol, cfg smsc.Config) *esme {
	t.Helper()
	conn, err := net.Dial("tcp", address(s, p))
	if err != nil {
		t.Fatal(err)
	}
	e := &esme{
		t: t, conn: conn, machine: p.New(cfg), events: make(chan smsc.Event, 64),
		bound: make(chan struct{}), ended: make(chan error, 1), over: make(chan struct{}), answers: map[uint64]chan smsc.Outcome{},
		deliver: make(chan smsc.Deliver, 10000), receipts: make(chan smsc.Receipt, 10000),
	}
	post := func(ev smsc.Event) {
		select {
		case e.events <- ev:
		case <-e.over:
		}
	}
	go func() {
		r := bufio.NewReader(conn)
		for {
			packet, err := p.Read(r)
			syntax := (*smsc.SyntaxError)(nil)
			switch {
			case err == nil:
				post(smsc.Received{Packet: packet})
			case errors.As(err, &syntax):
				post(smsc.Garbled{Err: err})
				if syntax.Fatal {
					return
				}
			default:
				post(smsc.Disconnected{Err: err})
				return
			}
		}
	}()
	go func() {
		defer close(e.over)
		e.run()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-e.over
	})
	return e
}

func bind(t testing.TB, s *Simulator, p smsc.Protocol, cfg smsc.Config) *esme {
	t.Helper()
	e := dial(t, s, p, cfg)
	select {
	case <-e.bound:
	case err := <-e.ended:
		t.Fatalf("login: %v", err)
	case <-time.After(deadline):
		t.Fatal("no login")
	}
	return e
}

func (e *esme) run() {
	todo := e.machine.Handle(smsc.Connected{}, nil)
	for {
		for len(todo) > 0 {
			effect := todo[0]
			todo = todo[1:]
			switch f := effect.(type) {
			case smsc.Write:
				_, _ = e.conn.Write(f.Octets)
			case smsc.Bound:
				close(e.bound)
			case smsc.SetTimer:
				if old, ok := e.timers.Swap(f.Timer.Name, time.AfterFunc(f.After, func() {
					select {
					case e.events <- smsc.Due{Timer: f.Timer}:
					default:
					}
				})); ok {
					old.(*time.Timer).Stop()
				}
			case smsc.StopTimer:
				if old, ok := e.timers.LoadAndDelete(f.Name); ok {
					old.(*time.Timer).Stop()
				}
			case smsc.Answered:
				e.mu.Lock()
				e.answers[f.Ref] <- f.Outcome
				delete(e.answers, f.Ref)
				e.mu.Unlock()
			case smsc.Delivered:
				if e.refuses() {
					todo = e.machine.Handle(smsc.Refuse{Ref: f.Ref}, todo)
					continue
				}
				e.deliver <- f.Deliver
				todo = e.machine.Handle(smsc.Accept{Ref: f.Ref}, todo)
			case smsc.Reported:
				if e.refuses() {
					todo = e.machine.Handle(smsc.Refuse{Ref: f.Ref}, todo)
					continue
				}
				e.receipts <- f.Receipt
				todo = e.machine.Handle(smsc.Accept{Ref: f.Ref}, todo)
			case smsc.Close:
				_ = e.conn.Close()
				e.ended <- f.Err
				return
			}
		}
		ev := <-e.events
		todo = e.machine.Handle(ev, todo)
		if d, ok := ev.(smsc.Disconnected); ok {
			for _, effect := range todo {
				if a, ok := effect.(smsc.Answered); ok {
					e.mu.Lock()
					e.answers[a.Ref] <- a.Outcome
					e.mu.Unlock()
				}
			}
			e.ended <- fmt.Errorf("disconnected: %w", d.Err)
			return
		}
	}
}

func (e *esme) refuses() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuse > 0 {
		e.refuse--
		return true
	}
	return false
}

// begin submits a part and returns where its outcome will come.
func (e *esme) begin(part smsc.Part) <-chan smsc.Outcome {
	answer := make(chan smsc.Outcome, 1)
	e.mu.Lock()
	e.refs++
	ref := e.refs
	e.answers[ref] = answer
	e.mu.Unlock()
	e.events <- smsc.Submit{Ref: ref, Part: part}
	return answer
}

func (e *esme) submit(part smsc.Part) smsc.Outcome {
	e.t.Helper()
	return get(e.t, e.begin(part), "outcome")
}

func get[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(deadline):
		t.Fatalf("no %s within %v", what, deadline)
	}
	return v
}

// none says that nothing comes. What could come comes within milliseconds.
func none[T any](t testing.TB, c <-chan T, within time.Duration) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("unexpected %+v", v)
	case <-time.After(within):
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
	}
}

const service, subscriber = "63917000", "+639171234567"

// parts cuts a text from the service for the subscriber.
func parts(t testing.TB, s string, reference uint16) (parts []smsc.Part) {
	t.Helper()
	coding, data, err := text.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := text.Split(coding, data, text.Reference{Number: reference})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		parts = append(parts, smsc.Part{
			From: smsc.ParseAddress(service), To: smsc.ParseAddress(subscriber),
			Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data,
		})
	}
	return parts
}

func phone(t testing.TB, s *Simulator, number string) *Handset {
	t.Helper()
	h, err := s.Handset(number)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func texts(messages []Message) (texts []string) {
	for _, m := range messages {
		texts = append(texts, m.Text)
	}
	return texts
}
