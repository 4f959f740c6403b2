package simulator

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// store is what the SMSC keeps: handsets with what waits for them, and what
// waits for the ESMEs. It is pure: the caller locks it and brings the time.
//
//	submit ─▶ waiting (scheduled, or handset off) ─▶ handset: parts ─▶ texts
//	              └─ expired, cancelled ─┬─ delivered, refused ─▶ receipts ─▶ ESME
//	handset sends ─▶ mo of the handset ─▶ ready ─▶ ESME
type store struct {
	cfg      Config
	receipt  Receipts
	handsets map[string]*handset // by number without '+'
	queues   map[string]*queue
	news     map[string]bool // queues that got something since the sessions were last woken
	agenda   agenda
	lastID   uint64 // SMPP
	moTurn   bool   // receipts and messages take turns
	heard    func(number, from, text string)
	stats    Stats

	byID   map[string][]*submitted // by protocol and id as responses have it; several of one submit_multi
	finals []*submitted            // of byID, those that are final, oldest first
}

// keepFinals is how many messages the SMSC remembers after their end.
const keepFinals = 10000

// queue is what waits for the sessions of an account.
type queue struct {
	receipts []*item    // oldest first
	ready    []*handset // whose first of mo is for this queue, and not under way
}

// handset is one mobile station. It exists as soon as it is named.
type handset struct {
	number  string // as first named
	off     bool
	refuses bool // what comes over the radio, for good
	busy    bool // the SMSC takes nothing for it now
	barred  bool // the SMSC takes nothing for it

	waiting  []*submitted // stored by the SMSC, oldest first; also final ones
	final    int          // how many of waiting
	lastTime time.Time    // of the last CIMD2 id for it: seconds are made unique
	making   map[text.Key]*making
	messages []Message
	count    int
	digest   uint64

	mo        []*item // sent, not yet acknowledged by the ESME, oldest first
	lastSent  time.Time
	reference uint8
}

// submission is a part with all that is known about its coming.
type submission struct {
	smsc.Submission
	protocol, user string
	from           *session
	firstID        string // of a submit_multi's first destination
}

// submitted is one part that the SMSC has accepted.
type submitted struct {
	submission
	id      string // as receipts spell it
	given   string // as the response did
	at      time.Time
	due     time.Time // not before
	expires time.Time
	state   smsc.ReceiptState // ReceiptEnroute until it is final
	code    string
	done    time.Time
	alarm   *appointment
}

func (m *submitted) key() string { return m.protocol + " " + m.given }

// making is a text of which parts have come.
type making struct {
	coding   text.Coding
	pieces   []text.Piece
	done     []text.Piece // of the text last completed under this key
	suspects int          // pieces that only repeat done: strays of a resent text, unless all of them come
}

// maxMaking is how many texts a handset keeps the parts of before it forgets
// those that are whole.
const maxMaking = 16

// item is something for an ESME: a receipt, or a part from a handset.
type item struct {
	queue   string
	report  *smsc.ServerReport
	from    *session // of a report: where its message was submitted
	holds   *session // whose response waits until this is written; nil: none
	deliver smsc.Deliver
	handset *handset // of a deliver
	again   bool     // the ESME has answered it; it comes once more by fault
}

func newStore(cfg Config, now time.Time) *store {
	return &store{
		cfg: cfg, receipt: cfg.Receipts, handsets: map[string]*handset{}, queues: map[string]*queue{}, news: map[string]bool{},
		byID:   map[string][]*submitted{},
		lastID: uint64(now.UnixMicro()), // so that a restarted SMSC does not use ids again
	}
}

// isNumber reports whether s is one to twenty digits, with or without '+'.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "+")
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 20
}

func (st *store) handset(number string) *handset {
	key := strings.TrimPrefix(number, "+")
	h := st.handsets[key]
	if h == nil {
		h = &handset{number: number, making: map[text.Key]*making{}}
		st.handsets[key] = h
	}
	return h
}

// submit accepts a part, delivers it if its time has come and the handset is
// on, and returns its id in the spelling of responses, and its receipt if there
// is one already.
func (st *store) submit(e submission, now time.Time) (m *submitted, receipt *item) {
	h := st.handset(e.Part.To.String())
	e.Packet = nil // all of it that counts is translated
	m = &submitted{submission: e, at: now, due: e.Schedule.Time(now), state: smsc.ReceiptEnroute}
	if m.Wanted == 0 && e.Part.Report {
		m.Wanted = smsc.WantSuccess | smsc.WantFailure
	}
	st.name(m, h, now)
	if m.expires = e.Expires.Time(now); m.expires.IsZero() {
		m.expires = now.Add(cmp.Or(e.Part.Validity, st.cfg.Validity))
	}
	st.byID[m.key()] = append(st.byID[m.key()], m)
	st.stats.Submitted++
	if e.Replace && st.takePlace(h, m) {
		return m, nil
	}
	if h.off || m.due.After(now) {
		h.waiting = append(h.waiting, m)
		return m, st.wait(h, m, now)
	}
	return m, st.deliver(h, m, now)
}

// name gives a message its id.
func (st *store) name(m *submitted, h *handset, now time.Time) {
	if m.protocol == cimd2.Name {
		h.lastTime = later(now, h.lastTime)
		m.id = cimd2.NewID(m.Part.To, h.lastTime, 0)
		m.given = m.id
		return
	}
	if first := st.byID[m.protocol+" "+m.firstID]; m.firstID != "" && len(first) > 0 {
		m.id, m.given = first[0].id, m.firstID
		return
	}
	st.lastID++
	m.id = st.receipt.spell(st.lastID, st.receipt.ReceiptID)
	m.given = st.receipt.spell(st.lastID, st.receipt.ResponseID)
}

// takePlace puts a message where one waits with the same addresses and service.
func (st *store) takePlace(h *handset, m *submitted) bool {
	for i, old := range h.waiting {
		if old.state == smsc.ReceiptEnroute && old.user == m.user && old.Service == m.Service && old.Part.From == m.Part.From {
			st.stats.Replaced++
			st.stats.Stored--
			st.forget(old)
			old.state = smsc.ReceiptDeleted
			st.keep(old)
			h.waiting[i] = m
			st.stats.Stored++
			st.appoint(m)
			return true
		}
	}
	return false
}

// wait stores a message that is in waiting, and tells who wants to know.
func (st *store) wait(h *handset, m *submitted, now time.Time) (receipt *item) {
	st.stats.Stored++
	st.appoint(m)
	if !h.off || !m.Wanted.Includes(smsc.ReceiptEnroute) {
		return nil
	}
	return st.report(m, smsc.ReceiptEnroute, "29", now) // absent subscriber
}

// appoint says when to look at a waiting message again: when it is due, if that
// is to come, else when it expires.
func (st *store) appoint(m *submitted) {
	st.agenda.remove(m.alarm)
	at := m.expires
	if m.due.After(m.at) && m.due.Before(at) {
		at = m.due
	}
	m.alarm = st.agenda.add(at, m, nil)
}

func (st *store) forget(m *submitted) {
	st.agenda.remove(m.alarm)
	m.alarm = nil
}

// later returns now in whole seconds of UTC, or the second after last if that
// is later: CIMD2 tells messages apart by their second.
func later(now, last time.Time) time.Time {
	now = now.UTC().Truncate(time.Second)
	if now.After(last) {
		return now
	}
	return last.Add(time.Second)
}

// deliver brings a part over the radio.
func (st *store) deliver(h *handset, m *submitted, now time.Time) (receipt *item) {
	if h.refuses {
		return st.finish(m, smsc.ReceiptUndeliverable, "20", now)
	}
	st.stats.Delivered++
	st.receive(h, m.Part, now)
	return st.finish(m, smsc.ReceiptDelivered, "", now)
}

// finish ends a message, and returns its receipt if one is wanted.
func (st *store) finish(m *submitted, state smsc.ReceiptState, code string, now time.Time) (receipt *item) {
	st.forget(m)
	m.state, m.code, m.done = state, code, now
	if m.Wanted.Includes(state) {
		receipt = st.report(m, state, code, now)
	}
	st.keep(m)
	return receipt
}

// keep remembers a message that is final, instead of the oldest of those.
func (st *store) keep(m *submitted) {
	m.Part.Data, m.Part.UDH = nil, nil // what it weighs
	st.finals = append(st.finals, m)
	if len(st.finals) <= keepFinals {
		return
	}
	oldest := st.finals[0]
	st.finals[0] = nil
	st.finals = st.finals[1:]
	if left := slices.DeleteFunc(st.byID[oldest.key()], func(m *submitted) bool { return m == oldest }); len(left) > 0 {
		st.byID[oldest.key()] = left
	} else {
		delete(st.byID, oldest.key())
	}
}

// report makes a receipt, as this SMSC's are, and returns the first that goes out.
func (st *store) report(m *submitted, state smsc.ReceiptState, code string, now time.Time) *item {
	if m.protocol == smpp.Protocol.Name && len(code) < 3 && code != "" {
		code = strings.Repeat("0", 3-len(code)) + code // its width (SMPP v3.4 appendix B)
	}
	part := m.Part
	part.Data = bytes.Clone(part.Data[:min(len(part.Data), 20)]) // a receipt has no more of it
	receipt := smsc.ServerReport{
		Receipt: smsc.Receipt{ID: m.id, State: state, Code: code}, Part: part, Submitted: m.at, Done: now, Reference: m.Reference,
	}
	all := []smsc.ServerReport{receipt}
	if before := st.receipt.Before; before != "" && state.Final() {
		early := receipt
		early.Receipt.Code = ""
		if early.Receipt.State = smsc.ReceiptEnroute; before == "accepted" {
			early.Receipt.State = smsc.ReceiptAccepted
		}
		all = []smsc.ServerReport{early, receipt}
	}
	if st.receipt.Twice {
		all = append(all, all...)
	}
	var first *item
	for i := range all {
		it := &item{queue: m.protocol + " " + m.user, from: m.from, report: &all[i]}
		st.stats.ReceiptsPending++
		if st.receipt.Delay > 0 {
			st.agenda.add(now.Add(st.receipt.Delay), nil, it)
			continue
		}
		q := st.queue(it.queue)
		q.receipts = append(q.receipts, it)
		if first == nil {
			first = it
		}
	}
	return first
}

// queue returns the queue of that name, in which there is about to be something.
func (st *store) queue(name string) *queue {
	q := st.queues[name]
	if q == nil {
		q = &queue{}
		st.queues[name] = q
	}
	st.news[name] = true
	return q
}

// receive puts the parts of a text together, at the handset.
func (st *store) receive(h *handset, part smsc.Part, now time.Time) {
	place, ok := text.Concatenation(part.UDH)
	if !ok || place.Total == 1 {
		st.received(h, part.From.String(), part.Coding, part.Data, 1, now)
		return
	}
	key := text.Key{From: part.From.String(), To: part.To.String(), Ref: place.Ref, Total: place.Total}
	m := h.making[key]
	if m == nil {
		m = &making{}
		h.making[key] = m
	}
	piece := text.Piece{UDH: part.UDH, Data: part.Data}
	suspect := text.Place(m.done, piece) == text.Duplicate
	if !suspect && m.suspects > 0 && m.suspects == len(m.pieces) {
		st.stats.Duplicates += uint64(m.suspects)
		m.pieces, m.suspects = nil, 0
	}
	switch text.Place(m.pieces, piece) {
	case text.Duplicate:
		st.stats.Duplicates++
		return
	case text.Clash:
		m.pieces, m.suspects = nil, 0
	}
	m.coding = part.Coding
	m.pieces = append(m.pieces, piece)
	if suspect {
		m.suspects++
	}
	data, whole := text.Join(m.pieces...)
	if !whole {
		return
	}
	st.received(h, key.From, m.coding, data, len(m.pieces), now)
	m.done, m.pieces, m.suspects = m.pieces, nil, 0
	if len(h.making) > maxMaking {
		maps.DeleteFunc(h.making, func(_ text.Key, other *making) bool { return len(other.pieces) == 0 && other != m })
	}
}

func (st *store) received(h *handset, from string, coding text.Coding, data []byte, parts int, now time.Time) {
	m := Message{From: strings.ToValidUTF8(from, "\uFFFD"), Text: text.Decode(coding, data), At: now, Parts: parts}
	h.count++
	st.stats.ReceivedTexts++
	if st.cfg.Discard {
		sum := fnv.New64a()
		fmt.Fprintf(sum, "%016x%s\x00%s", h.digest, m.From, m.Text)
		h.digest = sum.Sum64()
	} else {
		h.messages = append(h.messages, m)
		st.stats.HandsetMessages++
	}
	if st.heard != nil {
		st.heard(h.number, m.From, m.Text)
	}
}

// setOn switches a handset; on, it gets what waited and is due.
func (st *store) setOn(h *handset, on bool, now time.Time) {
	h.off = !on
	if !on {
		return
	}
	st.tick(now) // what has expired by now never comes
	waiting := h.waiting
	h.waiting, h.final = nil, 0
	for _, m := range waiting {
		switch {
		case m.state != smsc.ReceiptEnroute:
		case m.due.After(now):
			h.waiting = append(h.waiting, m)
		default:
			st.stats.Stored--
			st.deliver(h, m, now)
		}
	}
}

// end finishes a message that waits.
func (st *store) end(m *submitted, state smsc.ReceiptState, code string, now time.Time) {
	h := st.handset(m.Part.To.String())
	st.stats.Stored--
	st.finish(m, state, code, now)
	if h.final++; h.final > len(h.waiting)/2 {
		h.waiting = slices.DeleteFunc(h.waiting, func(m *submitted) bool { return m.state != smsc.ReceiptEnroute })
		h.final = 0
	}
}

// look does what is due with a message that waits.
func (st *store) look(m *submitted, now time.Time) {
	h := st.handset(m.Part.To.String())
	switch {
	case !now.Before(m.expires):
		st.stats.Expired++
		st.end(m, smsc.ReceiptExpired, "29", now) // absent subscriber
	case h.off:
		m.due = time.Time{} // its time has come
		st.appoint(m)
		if m.Wanted.Includes(smsc.ReceiptEnroute) {
			st.report(m, smsc.ReceiptEnroute, "29", now)
		}
	case h.refuses:
		st.end(m, smsc.ReceiptUndeliverable, "20", now)
	default:
		st.stats.Delivered++
		st.receive(h, m.Part, now)
		st.end(m, smsc.ReceiptDelivered, "", now)
	}
}

// tick does what is due: it delivers what was scheduled, expires what waited
// too long and offers again what was refused.
func (st *store) tick(now time.Time) {
	var again []*item
	for p := st.agenda.next(now); p != nil; p = st.agenda.next(now) {
		if p.message != nil {
			p.message.alarm = nil
			st.look(p.message, now)
		} else {
			again = append(again, p.item)
		}
	}
	for _, it := range slices.Backward(again) {
		st.giveBack(it)
	}
}

// What an ESME asks of messages it has submitted.

// find returns a user's message, nil if it is not known; from is checked if given.
func (st *store) find(protocol, user, id string, from smsc.Address) *submitted {
	for _, m := range st.byID[protocol+" "+id] {
		if m.user == user && (from.Digits == "" || from.Digits == m.Part.From.Digits) {
			return m
		}
	}
	return nil
}

// cancel ends what waits of a user's, and returns how many that were.
func (st *store) cancel(protocol, user string, e smsc.CancelReceived, now time.Time) (n int) {
	var these []*submitted
	switch {
	case e.ID != "":
		these = slices.Clone(st.byID[protocol+" "+e.ID])
	case e.To.Digits != "":
		these = slices.Clone(st.handset(e.To.String()).waiting)
	default:
		for _, h := range st.handsets {
			these = append(these, h.waiting...)
		}
	}
	same := func(asked, has smsc.Address) bool { return asked.Digits == "" || asked.Digits == has.Digits }
	for _, m := range these {
		if m.state == smsc.ReceiptEnroute && m.protocol == protocol && m.user == user && same(e.From, m.Part.From) && same(e.To, m.Part.To) &&
			(e.Service == "" || e.Service == m.Service) {
			st.stats.Cancelled++
			st.end(m, smsc.ReceiptDeleted, "", now)
			n++
		}
	}
	return n
}

// replace changes a message that waits.
func (st *store) replace(m *submitted, e smsc.ReplaceReceived, now time.Time) {
	st.stats.Replaced++
	m.Part.Data, m.Wanted = bytes.Clone(e.Data), e.Wanted
	if at := e.Expires.Time(now); !at.IsZero() {
		m.expires = at
	}
	if at := e.Schedule.Time(now); !at.IsZero() {
		m.due = at
	}
	st.appoint(m)
}

// send queues a text from a handset.
func (st *store) send(h *handset, from, to, message string, now time.Time) error {
	coding, data, err := text.Encode(message)
	if err != nil {
		return err
	}
	pieces, err := text.Split(coding, data, text.Reference{Number: uint16(h.reference)})
	if err != nil {
		return err
	}
	if len(pieces) > 1 {
		h.reference++
	}
	name := st.route(to)
	if len(h.mo) == 0 {
		q := st.queue(name)
		q.ready = append(q.ready, h)
	}
	h.lastSent = later(now, h.lastSent)
	for _, p := range pieces {
		h.mo = append(h.mo, &item{queue: name, handset: h, deliver: smsc.Deliver{At: cimd2.Timestamp(h.lastSent), Part: smsc.Part{
			From: smsc.ParseAddress(from), To: smsc.ParseAddress(to), Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data,
		}}})
	}
	st.stats.MOQueued += uint64(len(pieces))
	return nil
}

// route returns the queue of messages to a number: that of the account with the
// longest of its beginnings, or "", which is everybody's.
func (st *store) route(to string) (name string) {
	to = strings.TrimPrefix(to, "+")
	longest := 0
	for _, a := range st.cfg.Accounts {
		for _, number := range a.Numbers {
			if number = strings.TrimPrefix(number, "+"); len(number) > longest && strings.HasPrefix(to, number) {
				name, longest = a.User, len(number)
			}
		}
	}
	return name
}

// take returns the next thing for a session, nil if there is none. It comes back
// by acknowledged, giveBack or postpone. Receipts may be for other sessions.
func (st *store) take(s *session, may func(*item) bool) *item {
	st.moTurn = !st.moTurn
	if st.moTurn {
		if it := st.takeMessage(s); it != nil {
			return it
		}
	}
	if q := st.queues[s.receipts()]; q != nil {
		if i := slices.IndexFunc(q.receipts, may); i >= 0 {
			it := q.receipts[i]
			if i == 0 {
				q.receipts[0] = nil
				q.receipts = q.receipts[1:]
			} else {
				q.receipts = slices.Delete(q.receipts, i, i+1)
			}
			return it
		}
	}
	if !st.moTurn {
		return st.takeMessage(s)
	}
	return nil
}

func (st *store) takeMessage(s *session) *item {
	for _, name := range s.messages() {
		if q := st.queues[name]; q != nil && len(q.ready) > 0 {
			h := q.ready[0]
			q.ready = q.ready[1:]
			return h.mo[0]
		}
	}
	return nil
}

// waitingFor returns how much there is for a session.
func (st *store) waitingFor(s *session) (n int) {
	if q := st.queues[s.receipts()]; q != nil {
		n = len(q.receipts)
	}
	for _, name := range s.messages() {
		if q := st.queues[name]; q != nil {
			n += len(q.ready)
		}
	}
	return n
}

// acknowledged ends an item: taken by the ESME, or refused for good.
func (st *store) acknowledged(it *item, ok bool) {
	if it.report != nil {
		st.stats.ReceiptsPending--
		if ok {
			st.stats.ReceiptsSent++
		} else {
			st.stats.ReceiptsRefused++
		}
		return
	}
	if ok {
		st.stats.MOAcked++
	} else {
		st.stats.MORefused++
	}
	h := it.handset
	h.mo[0] = nil
	if h.mo = h.mo[1:]; len(h.mo) > 0 {
		q := st.queue(h.mo[0].queue)
		q.ready = append(q.ready, h)
	}
}

// giveBack offers an item again at once, before all others.
func (st *store) giveBack(it *item) {
	q := st.queue(it.queue)
	if it.report != nil {
		q.receipts = slices.Insert(q.receipts, 0, it)
	} else {
		q.ready = slices.Insert(q.ready, 0, it.handset)
	}
}

// postpone offers an item again after the time that an ESME gets to recover.
func (st *store) postpone(it *item, now time.Time) {
	st.agenda.add(now.Add(st.cfg.RetryAfter), nil, it)
}
