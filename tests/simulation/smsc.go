package simulation

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/text"
	"github.com/ringway-im/ringway/tests/history"
)

// smscSim is the SMSC and its handsets. Its sessions run the protocol's own
// server machine.
type smscSim struct {
	sim      *sim
	record   func(history.Record)
	acked    func() // the edge has acknowledged something
	protocol smsc.Protocol

	away     int // refuses connections, for so many reasons
	latency  time.Duration
	drop     float64 // probability that a response is never sent
	cut      float64 // that the connection ends when the message is taken, before its response
	throttle float64
	refuse   float64 // for now
	reject   float64 // for good
	receipts bool
	owed     int                                  // receipts on their way to the SMSC's queue
	final    map[string]map[int]smsc.ReceiptState // of the parts of a message: what the edge has taken

	servers []*server // all there ever were
	pending []*dial   // not answered yet
	waiting []*item   // for the edge, in order; the first may be on its way
	lastID  uint64
	refs    uint64
	clock   time.Time // CIMD2 tells messages apart by their second
}

var receiptStates = map[smsc.ReceiptState]string{
	smsc.ReceiptDelivered: "delivered", smsc.ReceiptExpired: "expired", smsc.ReceiptUndeliverable: "failed",
}

// item is a message of a handset's, or a receipt.
type item struct {
	deliver *smsc.Deliver
	report  *smsc.ServerReport
	msg     string
	part    int // of a receipt
	parts   int
	from    string
	to      string
	on      *server // under way there
}

// dial is an attempt of the edge to connect.
type dial struct {
	smsc    *smscSim
	session string
	answer  chan *socket // nil: refused
}

// dialler is a session's Config.Dial.
func (m *smscSim) dialler(session string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		d := &dial{m, session, make(chan *socket, 1)}
		m.sim.mu.Lock()
		m.sim.dials = append(m.sim.dials, d)
		m.sim.left()
		m.sim.mu.Unlock()
		select {
		case s := <-d.answer:
			if s == nil {
				return nil, errUnreachable
			}
			return s, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// dialled is a dial, on the thread.
func (m *smscSim) dialled(d *dial) {
	m.pending = append(m.pending, d)
	m.sim.after(m.sim.between(0, 20*time.Millisecond), "dial the SMSC", func() {
		i := slices.Index(m.pending, d)
		if i < 0 {
			return // its process has died
		}
		m.pending = slices.Delete(m.pending, i, i+1)
		if m.away > 0 {
			d.answer <- nil
			return
		}
		v := &server{smsc: m, name: fmt.Sprintf("s%d", len(m.servers)+1), machine: m.protocol.NewServer(smsc.ServerConfig{
			Window: 1, ResponseTimeout: 10 * time.Second, LoginTimeout: time.Minute, SystemID: "simulated",
		}), timers: map[string]uint64{}}
		v.socket = &socket{sim: m.sim, server: v, number: len(m.servers) + 1}
		v.socket.readable = sync.NewCond(&v.socket.mu)
		m.servers = append(m.servers, v)
		d.answer <- v.socket
		v.handle(smsc.Connected{})
	})
}

// socket is the edge's end of a connection with the SMSC.
type socket struct {
	sim    *sim
	server *server
	number int

	mu       sync.Mutex
	readable *sync.Cond
	in       []byte
	ended    bool // by the SMSC, or with the process
	closed   bool // by the edge
}

// socketNews is what the edge's goroutines did to a socket.
type socketNews struct {
	of     *socket
	octets []byte
	closed bool
}

func (s *socket) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.in) == 0 && !s.ended && !s.closed {
		s.readable.Wait()
	}
	if len(s.in) == 0 {
		if s.closed {
			return 0, net.ErrClosed
		}
		return 0, io.EOF
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	gone := s.closed
	s.mu.Unlock()
	if gone {
		return 0, net.ErrClosed
	}
	s.tell(socketNews{of: s, octets: bytes.Clone(b)})
	return len(b), nil
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.readable.Broadcast()
		s.tell(socketNews{of: s, closed: true})
	}
	return nil
}

func (s *socket) tell(n socketNews) {
	s.sim.mu.Lock()
	defer s.sim.mu.Unlock()
	s.sim.sockets = append(s.sim.sockets, n)
	s.sim.left()
}

// give and stop are the SMSC's.
func (s *socket) give(octets []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = append(s.in, octets...)
	s.readable.Broadcast()
}

func (s *socket) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.readable.Broadcast()
}

// heard is news of the socket, on the thread.
func (s *socket) heard(n socketNews) {
	v := s.server
	v.smsc.sim.after(v.travel(&v.fromEdge), "octets to the SMSC", func() {
		if n.closed {
			v.gone()
			return
		}
		v.received(n.octets)
	})
}

// LocalAddr and the following make socket a [net.Conn].
func (s *socket) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *socket) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// server is a session at the SMSC.
type server struct {
	smsc             *smscSim
	name             string
	machine          smsc.ServerMachine
	socket           *socket
	buffer           []byte
	timers           map[string]uint64
	ended            bool
	bound            bool
	underway         *item
	fromEdge, toEdge time.Time // when what was sent last arrives
}

// travel is the way over a cable, in order.
func (v *server) travel(last *time.Time) time.Duration {
	at := time.Now().Add(v.smsc.sim.between(10*time.Microsecond, time.Millisecond))
	if at.Before(*last) {
		at = *last
	}
	*last = at
	return time.Until(at)
}

func (v *server) received(octets []byte) {
	v.buffer = append(v.buffer, octets...)
	for !v.ended {
		rest := bytes.NewReader(v.buffer)
		r := bufio.NewReader(rest)
		packet, err := v.smsc.protocol.Read(r)
		var syntax *smsc.SyntaxError
		switch {
		case err == nil, errors.As(err, &syntax) && !syntax.Fatal:
			v.buffer = v.buffer[len(v.buffer)-rest.Len()-r.Buffered():]
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return // more is on its way
		}
		if err != nil {
			v.smsc.sim.failed = fmt.Errorf("simulation: the edge sent what is no packet: %w", err)
			return
		}
		v.handle(smsc.Received{Packet: packet})
	}
}

func (v *server) handle(ev smsc.Event) {
	if v.ended {
		return
	}
	for _, effect := range v.machine.Handle(ev, nil) {
		v.perform(effect)
	}
	v.smsc.offer()
}

func (v *server) perform(effect smsc.Effect) {
	m := v.smsc
	switch e := effect.(type) {
	case smsc.Write:
		octets := bytes.Clone(e.Octets)
		m.sim.after(v.travel(&v.toEdge), "octets from the SMSC", func() { v.socket.give(octets) })
	case smsc.LoginReceived:
		v.handle(smsc.LoginResult{OK: true})
	case smsc.Bound:
		v.bound = true
	case smsc.SubmitReceived:
		m.sim.after(m.sim.between(0, m.latency), "submit at the SMSC", func() { v.submitted(e) })
	case smsc.DeliverAnswered:
		v.answered(e)
	case smsc.SetTimer:
		v.timers[e.Timer.Name] = e.Timer.Seq
		m.sim.after(e.After, "timer at the SMSC", func() {
			if seq, ok := v.timers[e.Timer.Name]; ok && seq == e.Timer.Seq {
				v.handle(smsc.Due{Timer: e.Timer})
			}
		})
	case smsc.StopTimer:
		delete(v.timers, e.Name)
	case smsc.Close:
		v.hangUp()
	}
}

// submitted is the SMSC's decision about a part.
func (v *server) submitted(e smsc.SubmitReceived) {
	if v.ended {
		return
	}
	m := v.smsc
	msg := nameIn(text.Decode(e.Part.Coding, e.Part.Data))
	if msg == "" {
		m.sim.failed = fmt.Errorf("simulation: the SMSC got a part nobody sent: %q", text.Decode(e.Part.Coding, e.Part.Data))
		return
	}
	r := history.Record{Kind: history.Refused, By: "smsc", Msg: msg, Session: v.name, Part: 0, Parts: 1}
	if place, ok := text.Concatenation(e.Part.UDH); ok {
		r.Part, r.Parts = int(place.Number)-1, int(place.Total)
	}
	outcome := smsc.Outcome{Fate: smsc.Accepted}
	switch dice := m.sim.dice.Float64(); {
	case dice < m.throttle:
		outcome.Fate = smsc.Throttled
	case dice < m.throttle+m.refuse:
		outcome.Fate = smsc.Temporary
	case dice < m.throttle+m.refuse+m.reject:
		outcome.Fate = smsc.Permanent
	}
	if r.Fate = outcome.Fate.String(); outcome.Fate == smsc.Accepted {
		r.Kind, r.Fate = history.Taken, ""
		outcome.ID = m.newID(e.Part.To)
		if m.receipts && e.Part.Report {
			m.receipt(outcome.ID, e.Part, r)
		}
		switch dice := m.sim.dice.Float64(); {
		case dice < m.drop:
			r.Unanswered, outcome.Fate = true, smsc.Unknown
		case dice < m.drop+m.cut:
			m.record(r)
			v.hangUp()
			return
		}
	}
	m.record(r)
	m.sim.note("SMSC %s: %s of %s part %d/%d", v.name, outcome.Fate, msg, r.Part+1, r.Parts)
	v.handle(smsc.ServerAnswer{Ref: e.Ref, Outcome: outcome})
}

func (m *smscSim) newID(to smsc.Address) string {
	m.lastID++
	if m.protocol.Name == cimd2.Name {
		m.clock = m.clock.Add(time.Second)
		return m.protocol.NewID(to, m.clock, 0)
	}
	return m.protocol.NewID(to, time.Now(), m.lastID)
}

// receipt has what became of a part told once, twice, or never, before or after the
// response, some after a word that is not the last.
func (m *smscSim) receipt(id string, part smsc.Part, r history.Record) {
	state := []smsc.ReceiptState{
		smsc.ReceiptDelivered, smsc.ReceiptDelivered, smsc.ReceiptDelivered, smsc.ReceiptExpired, smsc.ReceiptUndeliverable,
	}[m.sim.dice.IntN(5)]
	states := []smsc.ReceiptState{state}
	switch dice := m.sim.dice.Float64(); {
	case dice < 0.1:
		m.sim.happened("a receipt never came")
		return
	case dice < 0.2:
		m.sim.happened("a receipt came twice")
		states = []smsc.ReceiptState{state, state}
	case dice < 0.4:
		m.sim.happened("a receipt that was not the last word")
		states = []smsc.ReceiptState{smsc.ReceiptEnroute, state}
	}
	submitted := time.Now()
	latest := 5 * time.Second
	if m.sim.chance(0.1) {
		latest = time.Minute
	}
	for _, state := range states {
		m.owed++
		m.sim.after(m.sim.between(0, latest), "a receipt", func() { // sometimes before the response
			m.owed--
			m.waiting = append(m.waiting, &item{msg: r.Msg, part: r.Part, parts: r.Parts, report: &smsc.ServerReport{
				Receipt: smsc.Receipt{ID: id, State: state}, Part: part, Submitted: submitted, Done: time.Now(),
			}})
			m.offer()
		})
	}
}

// send is a handset's.
func (m *smscSim) send(from, to, name, body string) {
	coding, data, err := text.Encode(body)
	if err != nil {
		m.sim.failed = err
		return
	}
	m.refs++
	pieces, err := text.Split(coding, data, text.Reference{Number: uint16(uint8(m.refs))})
	if err != nil {
		m.sim.failed = err
		return
	}
	m.clock = m.clock.Add(time.Second)
	for i, p := range pieces {
		it := &item{from: from, to: to, deliver: &smsc.Deliver{At: cimd2.Timestamp(m.clock), Part: smsc.Part{
			From: smsc.ParseAddress(from), To: smsc.ParseAddress(to), Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data,
		}}}
		if i == len(pieces)-1 {
			it.msg = name // a message is the edge's when its last part is
		}
		m.waiting = append(m.waiting, it)
	}
	m.offer()
}

// amid says whether a text of several parts may be with the edge in part.
func (m *smscSim) amid() bool {
	return len(m.waiting) > 0 && m.waiting[0].deliver != nil && len(m.waiting[0].deliver.UDH) > 0
}

// offer gives the first that waits to a session that may take it.
func (m *smscSim) offer() {
	if len(m.waiting) == 0 || m.waiting[0].on != nil {
		return
	}
	it := m.waiting[0]
	for _, v := range m.servers {
		if v.ended || v.machine.DeliverReady() <= 0 {
			continue
		}
		it.on, v.underway = v, it
		m.refs++
		if it.deliver != nil {
			if it.msg != "" {
				m.record(history.Record{Kind: history.Handed, By: "smsc", Msg: it.msg, From: it.from, To: it.to, Session: v.name})
			}
			v.handle(smsc.ServerDeliver{Ref: m.refs, Deliver: *it.deliver})
		} else {
			report := *it.report
			report.Ref = m.refs
			if state, final := receiptStates[report.Receipt.State]; final {
				m.record(history.Record{Kind: history.Receipt, By: "smsc", Msg: it.msg, Part: it.part, Parts: it.parts, State: state})
			}
			v.handle(report)
		}
		return
	}
}

func (v *server) answered(e smsc.DeliverAnswered) {
	m, it := v.smsc, v.underway
	v.underway = nil
	if it == nil || it.on != v {
		return
	}
	it.on = nil
	if !e.OK {
		it.on = v // until then
		m.sim.after(time.Second, "offered again", func() { it.on = nil; m.offer() })
		return
	}
	switch {
	case it.report != nil && it.report.Receipt.State.Final():
		m.sim.happened("a receipt was taken by the edge")
		if m.final[it.msg] == nil {
			m.final[it.msg] = map[int]smsc.ReceiptState{}
		}
		m.final[it.msg][it.part] = it.report.Receipt.State
	case it.deliver != nil && it.msg != "":
		m.record(history.Record{Kind: history.Acked, By: "smsc", Msg: it.msg, From: it.from, To: it.to})
	}
	m.waiting = m.waiting[1:]
	m.acked()
}

// hangUp is the SMSC's end of a session; gone is the edge's.
func (v *server) hangUp() {
	if !v.ended {
		m := v.smsc
		m.sim.after(v.travel(&v.toEdge), "the SMSC closes", v.socket.stop)
		v.gone()
	}
}

func (v *server) gone() {
	if v.ended {
		return
	}
	v.machine.Handle(smsc.Disconnected{Err: io.EOF}, nil)
	v.ended = true
	m := v.smsc
	m.record(history.Record{Kind: history.Closed, By: "smsc", Session: v.name})
	if it := v.underway; it != nil {
		it.on, v.underway = nil, nil
	}
	m.sim.after(0, "the SMSC offers", m.offer)
}

// processDied ends the sockets of an edge that was killed.
func (m *smscSim) processDied() {
	for _, d := range m.pending {
		d.answer <- nil
	}
	m.pending = nil
	for _, v := range m.servers {
		if !v.ended {
			v.socket.stop()
			m.sim.after(v.travel(&v.fromEdge), "the kernel closes", v.gone)
		}
	}
}

// The texts of a history name their message in every word: d1, m2.

func body(name string, words int) string {
	return strings.TrimSuffix(strings.Repeat(name+" ", words), " ")
}

// nameIn finds the name; the first and the last word of a part may be cut.
func nameIn(body string) string {
	words := strings.Fields(body)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)/2]
}
