package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// tap is the line between an edge and its SMSC, and keeps what went over it: what
// was submitted and handed over, in which session, and whether an answer went back.
// It outlives both.
//
//	edge ──▶ tap ──▶ SMSC      a request is kept before it goes on,
//	edge ◀── tap ◀── SMSC      an answer before the other side has it
type tap struct {
	t        testing.TB
	protocol smsc.Protocol
	listener net.Listener
	target   string
	open     sync.WaitGroup

	mu       sync.Mutex
	sessions int
	life     int            // of the SMSC: how often it was killed
	seen     map[string]int // in this life: texts at each handset that were looked at
	log      []*crossing
}

// died: the SMSC is about to be killed; what its handsets have is gone.
func (p *tap) died() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life++
	p.seen = map[string]int{}
}

// crossing is a request that went over the line, or a session's end.
type crossing struct {
	what     string // submit, deliver or closed
	session  int
	life     int
	at       time.Time
	began    time.Time // of a session that closed
	text     string    // of this part
	from, to string    // handsets with a plus
	part     int       // from 0
	parts    int
	answered bool
	ok       bool   // the answer
	fate     string // of what was answered otherwise, as package history names it
}

// newTap listens; it ends with the test.
func newTap(t testing.TB, protocol, target string, l net.Listener) *tap {
	t.Helper()
	p := &tap{t: t, protocol: map[string]smsc.Protocol{"cimd2": cimd2.Protocol, "smpp": smpp.Protocol}[protocol], listener: l, target: target, seen: map[string]int{}}
	p.open.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.open.Wait()
	})
	return p
}

func (p *tap) accept() {
	for {
		edge, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = edge.Close() // the SMSC is away; the edge tries again
			continue
		}
		p.mu.Lock()
		p.sessions++
		s := &tapped{tap: p, session: p.sessions, life: p.life, began: time.Now(), requests: map[request]*crossing{}}
		p.mu.Unlock()
		p.open.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { s.copy(true, server, edge) })
			both.Go(func() { s.copy(false, edge, server) })
			both.Wait()
			_, _ = edge.Close(), server.Close()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.log = append(p.log, &crossing{what: "closed", session: s.session, life: s.life, at: time.Now(), began: s.began})
		})
	}
}

// crossed takes out what is kept.
func (p *tap) crossed() []*crossing {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log
	p.log = nil
	return log
}

// tapped is one session.
type tapped struct {
	tap           *tap
	session, life int
	began         time.Time
	requests      map[request]*crossing // unanswered; with the tap's lock
}

type request struct {
	toSMSC bool
	number uint32
}

// copy relays one direction until it ends, and then ends the other: half a session
// is of no use to either.
func (s *tapped) copy(toSMSC bool, to, from net.Conn) {
	chunk, rest := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := from.Read(chunk)
		rest = s.keep(toSMSC, append(rest, chunk[:n]...))
		if _, writeErr := to.Write(chunk[:n]); err != nil || writeErr != nil {
			break
		}
	}
	_ = to.(*net.TCPConn).CloseWrite()
	if !toSMSC {
		_ = from.Close() // what the edge still says reaches nobody
	}
}

// keep notes whole packets and returns what is left.
func (s *tapped) keep(toSMSC bool, octets []byte) []byte {
	for len(octets) > 0 {
		under := bytes.NewReader(octets)
		r := bufio.NewReader(under)
		packet, err := s.tap.protocol.Read(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break // not whole yet
		}
		octets = octets[len(octets)-under.Len()-r.Buffered():]
		if err != nil {
			s.tap.t.Errorf("session %d with the SMSC, to it %v: %v", s.session, toSMSC, err)
			continue
		}
		s.tap.mu.Lock()
		switch p := packet.(type) {
		case smpp.PDU:
			s.smpp(toSMSC, p)
		case *cimd2.Packet:
			s.cimd2(toSMSC, p)
		}
		s.tap.mu.Unlock()
	}
	return octets
}

func (s *tapped) smpp(toSMSC bool, pdu smpp.PDU) {
	number, status := pdu.Head().Sequence, pdu.Head().Status
	switch p := pdu.(type) {
	case *smpp.SubmitSM:
		s.request("submit", toSMSC, number, smppPart(p))
	case *smpp.DeliverSM:
		if p.ESMClass&0x3C == 0 { // else it is a receipt (SMPP v3.4 §5.2.12)
			s.request("deliver", toSMSC, number, smppPart((*smpp.SubmitSM)(p)))
		}
	case *smpp.SubmitSMResp, *smpp.DeliverSMResp:
		s.answer(!toSMSC, number, status == smpp.OK, fateOf(status.Fate(), status.Class()))
	}
}

func smppPart(p *smpp.SubmitSM) (part smsc.Part) {
	address := func(ton uint8, digits string) smsc.Address {
		if ton == 1 { // international
			digits = "+" + strings.TrimPrefix(digits, "+")
		}
		return smsc.ParseAddress(digits)
	}
	part.From, part.To = address(p.SourceAddrTON, p.SourceAddr), address(p.DestAddrTON, p.DestinationAddr)
	part.Coding, _ = smpp.ParseDataCoding(p.DataCoding)
	part.Data = p.ShortMessage
	if p.ESMClass&smpp.ESMClassUDHI != 0 {
		part.UDH, part.Data, _ = text.CutUDH(p.ShortMessage)
	}
	return part
}

func (s *tapped) cimd2(toSMSC bool, p *cimd2.Packet) {
	switch p.Operation {
	case cimd2.Submit:
		e, err := cimd2.ParseSubmit(p)
		if err != nil {
			s.tap.t.Errorf("session %d with the SMSC: a submit: %v", s.session, err)
			return
		}
		s.request("submit", toSMSC, uint32(p.Number), e.Part)
	case cimd2.Deliver:
		s.request("deliver", toSMSC, uint32(p.Number), cimd2.ParseDeliver(p, smsc.AlphabetGSM).Part)
	case cimd2.Submit.Response(), cimd2.Deliver.Response():
		code, _ := p.Int(cimd2.ErrorCode)
		e := cimd2.Error(code)
		s.answer(!toSMSC, uint32(p.Number), !p.Has(cimd2.ErrorCode), fateOf(e.Fate(), e.Class()))
	}
}

func (s *tapped) request(what string, toSMSC bool, number uint32, part smsc.Part) {
	c := &crossing{
		what: what, session: s.session, life: s.life, at: time.Now(),
		text: text.Decode(part.Coding, part.Data), from: part.From.String(), to: part.To.String(), parts: 1,
	}
	if place, ok := text.Concatenation(part.UDH); ok {
		c.part, c.parts = int(place.Number)-1, int(place.Total)
	}
	s.requests[request{toSMSC, number}] = c
	s.tap.log = append(s.tap.log, c)
}

func fateOf(fate smsc.Fate, code smsc.CodeClass) string {
	if fate == smsc.Temporary && code != smsc.CodeKnown {
		return "undefined"
	}
	return fate.String()
}

func (s *tapped) answer(toSMSC bool, number uint32, ok bool, fate string) {
	if c := s.requests[request{toSMSC, number}]; c != nil {
		if c.answered, c.ok = true, ok; !ok {
			c.fate = fate
		}
		delete(s.requests, request{toSMSC, number})
	}
}
