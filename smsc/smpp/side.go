package smpp

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
)

type state uint8

const (
	stateClosed   state = iota
	stateBinding        // ESME: bind sent; SMSC: waiting for one
	stateChecking       // SMSC only: bind has come, its LoginResult has not
	stateBound
	stateClosing // no new requests either way; then unbind, then closed
)

// maxTaken bounds the peer's requests that wait for our user. More are answered
// as a temporary failure.
const maxTaken = 1024

// Names of timers. A request's is timerResponse with the number of its place in
// the window behind; it is not stopped by the response, but replaced by the next
// request in that place, or dropped when it is due.
const (
	timerLogin    = "login"
	timerIdle     = "idle"
	timerProbe    = "probe"
	timerEnquire  = "enquire"
	timerLogout   = "logout"
	timerResponse = "response "
)

// request is one of the peer's that waits for our user.
type request struct {
	command  CommandID
	sequence uint32
	ref      uint64
	id       string // query_sm: the message_id, which comes back
}

// ours is a request of ours that is unanswered.
type ours struct {
	command  CommandID
	sequence uint32
	ref      uint64
	timer    smsc.Timer // of its response
}

// side is what the two ends of a session have in common: sequence numbers,
// timers, our unanswered requests, the peer's, and how to leave.
type side struct {
	state           state
	window          smsc.Window   // of open
	responseTimeout time.Duration // of each in open
	keepAlive       time.Duration // the longest silence of the peer; 0: unlimited
	logoutTimeout   time.Duration
	lost            func(r ours, why error) smsc.Effect // an open request that will not be answered

	sequence uint32    // of our last request
	places   []string  // free timer names
	open     []ours    // our requests of the window, unanswered, as they went out
	taken    []request // theirs, ascending by the Ref under which our user knows them
	lastRef  uint64
	heard    bool   // something has come since watch
	enquire  uint32 // sequence of our enquire_link while unanswered, else 0
	unbind   uint32 // sequence of our unbind, 0: not sent

	noUnbindResp   bool // the peer never answers our unbind
	wanted         bool // the end is asked for: no other session is to follow
	peerUnbinds    bool // unbind has come; its response waits for what is open
	peerUnbindWith uint32

	timers   []smsc.Timer // those set, except of responses: five at most
	timerSeq uint64

	room    []byte // what was written last
	effects smsc.Effects
}

func newSide(window int, response, logout time.Duration, lost func(ours, error) smsc.Effect) side {
	return side{
		window: smsc.NewWindow(window), responseTimeout: orDefault(response, 30*time.Second),
		logoutTimeout: orDefault(logout, 5*time.Second), lost: lost,
	}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// next returns the next free sequence number, 1 to 0x7FFFFFFF.
func (s *side) next() uint32 {
	for {
		s.sequence = s.sequence%0x7FFFFFFF + 1
		if s.openAt(s.sequence) < 0 && s.sequence != s.enquire && s.sequence != s.unbind {
			return s.sequence
		}
	}
}

// ready returns how many requests of the window may be sent.
func (s *side) ready() int {
	if s.state != stateBound {
		return 0
	}
	return max(s.window.Size()-len(s.open), 0)
}

// roomSize is how many octets are written before their memory is used again: much
// more than is written before the user has put it on the socket, or copied it.
const roomSize = 4096

func (s *side) write(do []smsc.Effect, p PDU) ([]smsc.Effect, error) {
	b, err := Append(s.space(), p)
	return s.written(do, b, err)
}

// space returns room for a PDU of usual length; a longer one has its own memory.
func (s *side) space() []byte {
	const usual = 512
	switch {
	case s.room == nil:
		s.room = make([]byte, 0, roomSize)
	case cap(s.room)-len(s.room) < usual:
		s.room = s.room[:0]
	}
	return s.room[len(s.room):]
}

func (s *side) written(do []smsc.Effect, b []byte, err error) ([]smsc.Effect, error) {
	if err != nil {
		return do, err
	}
	if n := len(s.room) + len(b); n <= cap(s.room) {
		s.room = s.room[:n]
	}
	return append(do, s.effects.Write(b[:len(b):len(b)])), nil
}

// respond writes what is known to be encodable.
func (s *side) respond(do []smsc.Effect, c CommandID, sequence uint32, status Status) []smsc.Effect {
	do, _ = s.write(do, response(c, sequence, status))
	return do
}

// request sends p, a submit_sm or deliver_sm, under the next number, as one of
// the window, and watches for its answer.
func (s *side) request(do []smsc.Effect, c CommandID, p *SubmitSM, ref uint64) ([]smsc.Effect, error) {
	before := s.sequence
	p.Sequence = s.next()
	b, err := appendSM(s.space(), c, p)
	return s.sent(do, b, err, c, ref, before)
}

// ask is request for another PDU. What its header says does not count.
func (s *side) ask(do []smsc.Effect, p PDU, ref uint64) ([]smsc.Effect, error) {
	before, c, space := s.sequence, p.Command(), s.space()
	w := begin(space, c, &Header{Sequence: s.next()})
	w.walk(p)
	b, err := w.end(space, c, OK)
	return s.sent(do, b, err, c, ref, before)
}

// sent puts a request among those that are open, or takes its number back: before
// is the one before it.
func (s *side) sent(do []smsc.Effect, b []byte, err error, c CommandID, ref uint64, before uint32) ([]smsc.Effect, error) {
	do, err = s.written(do, b, err)
	if err != nil {
		s.sequence = before
		return do, err
	}
	s.timerSeq++
	r := ours{c, s.sequence, ref, smsc.Timer{Name: s.place(), Seq: s.timerSeq}}
	s.open = append(s.open, r)
	return append(do, s.effects.SetTimer(r.timer, s.responseTimeout)), nil
}

// answered closes the open request that p answers, by number and kind.
func (s *side) answered(do []smsc.Effect, p PDU) (_ []smsc.Effect, r ours, ok bool) {
	i, c := s.openAt(p.Head().Sequence), p.Command()
	if i < 0 || c != CommandGenericNack && c != s.open[i].command|Response {
		return do, ours{}, false
	}
	r = s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	s.places = append(s.places, r.timer.Name)
	return do, r, true
}

// watch begins to listen for the peer: after every half of keepAlive in which
// nothing was heard it is probed, so that it is never silent for longer than
// keepAlive, and no timer has to be set for each PDU.
func (s *side) watch(do []smsc.Effect) []smsc.Effect {
	if s.keepAlive <= 0 {
		return do
	}
	s.heard = false
	return s.setTimer(do, timerProbe, (s.keepAlive+1)/2)
}

// listened is what watch's timer leads to.
func (s *side) listened(do []smsc.Effect) []smsc.Effect {
	if s.state != stateBound {
		return do
	}
	if !s.heard {
		do = s.probe(do)
	}
	return s.watch(do)
}

// probe asks whether the other side is there; one question at a time.
func (s *side) probe(do []smsc.Effect) []smsc.Effect {
	if s.state != stateBound || s.enquire != 0 {
		return do
	}
	s.enquire = s.next()
	do, _ = s.write(do, &EnquireLink{Header{Sequence: s.enquire}})
	return s.setTimer(do, timerEnquire, s.responseTimeout)
}

// alive takes an answer to probe; others it ignores.
func (s *side) alive(do []smsc.Effect, sequence uint32) []smsc.Effect {
	if s.enquire == 0 || sequence != s.enquire {
		return do
	}
	s.enquire = 0
	return s.stopTimer(do, timerEnquire)
}

// keep keeps a request of the peer's for our user, until it is answered.
func (s *side) keep(r request) (ref uint64) {
	s.lastRef++
	r.ref = s.lastRef
	s.taken = append(s.taken, r)
	return r.ref
}

// kept returns where a request stands that keep has kept.
func (s *side) kept(ref uint64) (i int, ok bool) {
	return slices.BinarySearchFunc(s.taken, ref, func(r request, ref uint64) int { return cmp.Compare(r.ref, ref) })
}

// give returns a request that keep has kept, and forgets it.
func (s *side) give(ref uint64) (r request, ok bool) {
	i, ok := s.kept(ref)
	if !ok {
		return request{}, false
	}
	r = s.taken[i]
	s.taken = slices.Delete(s.taken, i, i+1)
	return r, true
}

// place returns the timer's name of a free place in the window.
func (s *side) place() (name string) {
	if n := len(s.places); n > 0 {
		name, s.places = s.places[n-1], s.places[:n-1]
		return name
	}
	return timerResponse + strconv.Itoa(len(s.open)+1)
}

func (s *side) setTimer(do []smsc.Effect, name string, after time.Duration) []smsc.Effect {
	s.timerSeq++
	t := smsc.Timer{Name: name, Seq: s.timerSeq}
	if i := s.timer(name); i >= 0 {
		s.timers[i] = t
	} else {
		s.timers = append(s.timers, t)
	}
	return append(do, s.effects.SetTimer(t, after))
}

// timer returns the index of the timer with this name, -1: not set.
func (s *side) timer(name string) int {
	return slices.IndexFunc(s.timers, func(t smsc.Timer) bool { return t.Name == name })
}

func (s *side) stopTimer(do []smsc.Effect, name string) []smsc.Effect {
	i := s.timer(name)
	if i < 0 {
		return do
	}
	s.timers = slices.Delete(s.timers, i, i+1)
	return append(do, smsc.StopTimer{Name: name})
}

// due reports whether t is still wanted, and forgets it.
func (s *side) due(t smsc.Timer) bool {
	if strings.HasPrefix(t.Name, timerResponse) {
		return s.openWith(t) >= 0
	}
	i := slices.Index(s.timers, t)
	if i < 0 {
		return false
	}
	s.timers = slices.Delete(s.timers, i, i+1)
	return true
}

// openAt returns the index of the open request with this number, -1: none. The
// oldest mostly is the next to be answered.
func (s *side) openAt(sequence uint32) int {
	return slices.IndexFunc(s.open, func(r ours) bool { return r.sequence == sequence })
}

// openWith returns the index of the open request whose timer is t, -1: none.
func (s *side) openWith(t smsc.Timer) int {
	return slices.IndexFunc(s.open, func(r ours) bool { return r.timer == t })
}

// end gives up what is open. Nothing is written afterwards.
func (s *side) end(do []smsc.Effect, why error) []smsc.Effect {
	s.state = stateClosed
	for _, r := range s.open {
		do = append(do, s.lost(r, why))
	}
	names := make([]string, 0, len(s.timers)+len(s.open))
	for _, r := range s.open {
		names = append(names, r.timer.Name)
	}
	for _, t := range s.timers {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	for _, name := range names {
		do = append(do, smsc.StopTimer{Name: name})
	}
	s.timers = s.timers[:0]
	s.open = s.open[:0]
	s.places = s.places[:0]
	s.taken = s.taken[:0]
	s.enquire, s.unbind, s.peerUnbinds, s.wanted = 0, 0, false, false
	return do
}

func (s *side) close(do []smsc.Effect, err error, retry smsc.Retry) []smsc.Effect {
	if s.wanted {
		retry = smsc.RetryNot
	}
	return append(s.end(do, err), smsc.Close{Err: err, Retry: retry})
}

// leave begins the end: the peer's requests are finished or refused, ours waited for.
func (s *side) leave(do []smsc.Effect) []smsc.Effect {
	if s.state == stateClosing {
		return do
	}
	s.state = stateClosing
	return s.setTimer(do, timerLogout, s.responseTimeout)
}

// logout is leave on our own wish.
func (s *side) logout(do []smsc.Effect) []smsc.Effect {
	switch s.state {
	case stateBinding, stateChecking:
		return s.close(do, nil, smsc.RetryNot)
	case stateBound, stateClosing:
		s.wanted = true
		return s.leave(do)
	}
	return do
}

var errUnbound = errors.New("smpp: the peer has unbound")

// settle goes on with leaving as soon as nothing is open.
func (s *side) settle(do []smsc.Effect) []smsc.Effect {
	if s.state != stateClosing || len(s.open) > 0 || len(s.taken) > 0 {
		return do
	}
	if s.peerUnbinds {
		do = s.respond(do, CommandUnbind, s.peerUnbindWith, OK)
		return s.close(do, s.unbound(), smsc.RetrySoon)
	}
	if s.unbind == 0 {
		s.unbind = s.next()
		do, _ = s.write(do, &Unbind{Header{Sequence: s.unbind}})
		if s.noUnbindResp {
			return s.close(do, nil, smsc.RetryNot)
		}
		do = s.setTimer(do, timerLogout, s.logoutTimeout)
	}
	return do
}

func (s *side) unbound() error {
	if s.wanted {
		return nil
	}
	return errUnbound
}

// unbinding takes the peer's unbind.
func (s *side) unbinding(do []smsc.Effect, sequence uint32) []smsc.Effect {
	s.peerUnbinds, s.peerUnbindWith = true, sequence
	return s.leave(do)
}

// overdue handles the timers that both sides have.
func (s *side) overdue(do []smsc.Effect, t smsc.Timer) []smsc.Effect {
	switch name := t.Name; {
	case name == timerEnquire:
		return s.close(do, fmt.Errorf("smpp: line is dead: no enquire_link_resp within %v", s.responseTimeout), smsc.RetrySoon)
	case name != timerLogout:
		late := s.open[s.openWith(t)].sequence // due has seen to it
		return s.close(do, fmt.Errorf("smpp: no response within %v to request %d", s.responseTimeout, late), smsc.RetrySoon)
	case s.peerUnbinds:
		do = s.respond(do, CommandUnbind, s.peerUnbindWith, OK)
		return s.close(do, s.unbound(), smsc.RetrySoon)
	case s.unbind == 0:
		return s.close(do, fmt.Errorf("smpp: open requests were not finished within %v of logging out", s.responseTimeout), smsc.RetryNot)
	}
	return s.close(do, fmt.Errorf("smpp: no unbind_resp within %v", s.logoutTimeout), smsc.RetryNot)
}

// garbled answers what could not be decoded. What is left of a response comes
// back as answer: its status and number stand in the header.
func (s *side) garbled(do []smsc.Effect, err error) (_ []smsc.Effect, answer PDU) {
	if s.state == stateClosed {
		return do, nil
	}
	var syntax *smsc.SyntaxError
	if !errors.As(err, &syntax) {
		return s.close(do, fmt.Errorf("smpp: reading failed: %w", err), smsc.RetrySoon), nil
	}
	m, _ := syntax.Packet.(*Malformed)
	switch {
	case syntax.Fatal || m == nil:
		nack := Header{Status: RINVCMDLEN}
		if m != nil {
			nack.Sequence = m.Sequence
		}
		do, _ = s.write(do, &GenericNack{nack})
		return s.close(do, fmt.Errorf("smpp: framing is lost: %w", err), smsc.RetrySoon), nil
	case m.Command.IsResponse():
		return do, m.PDU
	case m.Command == CommandOutbind || m.Command == CommandAlertNotification:
		return do, nil // these have no response
	}
	return s.respond(do, m.Command, m.Sequence, m.Reply), nil
}
