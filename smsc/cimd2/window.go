package cimd2

import "slices"

// outbox is one direction's requests of ours that are unanswered, and the rule
// of their numbers: two on for each, wrapping within our parity. It decides, it
// sends nothing.
type outbox struct {
	first, last uint8 // 1, 255 for an ESME, 0, 254 for an SMSC
	next        uint8 // number of the next request
	open        []request
	nacks       int    // in a row, without an answer
	spare       []byte // memory of one that was answered, and so written
}

// request is one of ours on its way. octets are what was written, to be written again.
type request struct {
	operation Operation
	number    uint8
	octets    []byte
	to        string // of a submit: its destination
	ref       uint64 // of the submit, deliver or report, or of what was asked; others have none
	asked     bool   // by smsc.Request
}

// asksTime: it is the machine's own question for the SMSC's time.
func (r *request) asksTime() bool { return r.operation == Get && !r.asked }

// delivers: it is what an SMSC's user sent.
func (r *request) delivers() bool {
	return r.operation == Deliver || r.operation == DeliverStatusReport
}

// maxNacks in a row end the session: the other side will never take it.
const maxNacks = 3

func (o *outbox) after(n uint8) uint8 {
	if n == o.last {
		return o.first
	}
	return n + 2
}

// room is how many requests may be added: no more than window unanswered, and
// no number twice among them, however long the oldest one stays.
func (o *outbox) room(window int) int {
	n := window - len(o.open)
	if len(o.open) > 0 {
		n = min(n, int(o.open[0].number-o.next)/2)
	}
	return max(n, 0)
}

// add counts a request, which went out with the number next, as unanswered.
func (o *outbox) add(r request) {
	o.next = o.after(o.next)
	o.open = append(o.open, r)
	o.spare = nil
}

// answered takes the request off that a response belongs to; not ok when there
// is none: the response is late, or nobody asked for it. A general error with a
// number of its own belongs to the only open request.
func (o *outbox) answered(p *Packet) (r request, ok bool) {
	for i, r := range o.open {
		if p.Number == r.number && (p.Operation == r.operation.Response() || p.Operation == GeneralError) ||
			p.Operation == GeneralError && len(o.open) == 1 {
			o.open = slices.Delete(o.open, i, i+1)
			o.nacks, o.spare = 0, r.octets
			return r, true
		}
	}
	return request{}, false
}

// giveUp takes off the question for the time that this timer is of; not ok: it is of
// another request.
func (o *outbox) giveUp(timer string) (ok bool) {
	i := slices.IndexFunc(o.open, func(r request) bool { return r.asksTime() && responseTimers[r.number] == timer })
	if i >= 0 {
		o.open = slices.Delete(o.open, i, i+1)
	}
	return i >= 0
}

// nack is told the number that the other side expects next. What it expects is
// sent again with all behind it. A number that is none of ours means that the
// count was lost: all that is open is numbered anew from there (was has their
// former numbers). ok is false when going on makes no sense.
func (o *outbox) nack(number uint8) (again []request, was []uint8, ok bool) {
	if o.nacks++; number%2 != o.first%2 || o.nacks >= maxNacks {
		return nil, nil, false
	}
	if number == o.next {
		return nil, nil, true // it has taken all: the responses will come
	}
	for i, r := range o.open {
		if r.number == number {
			return o.open[i:], nil, true
		}
	}
	o.next = number
	for i := range o.open {
		r := &o.open[i]
		was = append(was, r.number)
		r.number, r.octets = o.next, renumber(r.octets, o.next)
		o.next = o.after(o.next)
	}
	return o.open, was, true
}

// inbox is the other side's requests: it tells a retransmission from a new one,
// and keeps responses to repeat them.
type inbox struct {
	expected uint8 // number of their next request
	recent   []*received
	numbered [256]*received // the recent ones
	spare    *received      // one that is not recent any more
}

type received struct {
	packet   *Packet
	ref      uint64  // of what was made of it: the first of so many as it has destinations
	parts    []part  // a submit at the SMSC: one for each destination
	left     int     // of parts that have no outcome
	silent   bool    // one of them is to have no response
	response []byte  // as it was written; nil: not answered yet
	room     []byte  // memory for it
	one      [1]part // where parts begins
}

// part is what became of a submit for one of its destinations.
type part struct {
	to   string // as in 021
	done bool
	at   string // as in 060; empty with an error
	e    Error
}

// maxRecent is how many answered requests are remembered. Unanswered ones are
// at most one for each number.
const maxRecent = 16

// repeated returns the request that p repeats, nil: it is a new one.
func (in *inbox) repeated(p *Packet) *received {
	if r := in.numbered[p.Number]; r != nil && r.packet.same(p) {
		return r
	}
	return nil
}

// take returns the request as it was received before, or remembers a new one.
func (in *inbox) take(p *Packet) (r *received, again bool) {
	if r = in.repeated(p); r != nil {
		return r, true
	}
	if old := in.numbered[p.Number]; old != nil { // the number came round
		in.forget(old)
	}
	if p.Number >= 254 {
		in.expected = p.Number % 2
	} else {
		in.expected = p.Number + 2
	}
	if r = in.spare; r == nil {
		r = &received{}
	}
	in.spare = nil
	*r = received{packet: p, room: r.room}
	in.recent, in.numbered[p.Number] = append(in.recent, r), r
	if len(in.recent) > maxRecent {
		for _, old := range in.recent[:len(in.recent)-1] {
			if old.response != nil {
				in.forget(old)
				in.spare = old
				break
			}
		}
	}
	return r, false
}

// unanswered counts the requests of an operation that wait for their response.
func (in *inbox) unanswered(o Operation) (n int) {
	for _, r := range in.recent {
		if r.response == nil && r.packet.Operation == o {
			n++
		}
	}
	return n
}

// find returns the unanswered request with that ref.
func (in *inbox) find(ref uint64) *received {
	for _, r := range slices.Backward(in.recent) { // mostly one of the last
		if ref >= r.ref && ref < r.ref+uint64(max(len(r.parts), 1)) && r.ref != 0 && r.response == nil {
			return r
		}
	}
	return nil
}

// forget makes r as if it had never come: a retransmission will be new.
func (in *inbox) forget(r *received) {
	if i := slices.Index(in.recent, r); i >= 0 {
		in.recent = slices.Delete(in.recent, i, i+1)
		in.numbered[r.packet.Number] = nil
	}
}
