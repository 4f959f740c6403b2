package simulator

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/text"
)

// store is what the SMSC keeps: handsets with what waits for them, and what
// waits for the ESME. It is pure: the caller locks it and brings the time.
//
//	submit ─▶ waiting (handset off) ─▶ handset: parts ─▶ texts
//	              └─ expired ─┬─ delivered, refused ─▶ receipts ─▶ ESME
//	handset sends ─▶ mo of the handset ─▶ ready ─▶ ESME
type store struct {
	cfg      Config
	handsets map[string]*handset // by number without '+'
	waiting  map[*handset]bool   // those for which something waits
	receipts map[string][]*item  // by protocol, oldest first
	ready    []*handset          // may send the first of mo: none of theirs is under way
	later    []*item             // refused for now, by time
	lastID   uint64              // SMPP
	moTurn   bool                // receipts and messages take turns
	heard    func(number, from, text string)
	stats    Stats
}

// handset is one mobile station. It exists as soon as it is named.
type handset struct {
	number  string // as first named
	off     bool
	refuses bool

	waiting  []*submitted // stored by the SMSC, oldest first
	lastTime time.Time    // of the last CIMD2 id for it: seconds are made unique
	making   map[text.Key]*making
	messages []Message
	count    int
	digest   uint64

	mo        []*item // sent, not yet acknowledged by the ESME, oldest first
	lastSent  time.Time
	reference uint8
}

// submitted is one part that the SMSC has accepted.
type submitted struct {
	part     smsc.Part
	id       string
	protocol string
	at       time.Time
	expires  time.Time
}

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

// item is something for the ESME: a receipt, or a part from a handset.
type item struct {
	report   *smsc.ServerReport
	protocol string // of a report: only a session of the same can name its message
	deliver  smsc.Deliver
	handset  *handset // of a deliver
	due      time.Time
}

func newStore(cfg Config, now time.Time) *store {
	return &store{
		cfg: cfg, handsets: map[string]*handset{}, waiting: map[*handset]bool{}, receipts: map[string][]*item{},
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

// submit accepts a part, delivers it if the handset is on, and returns its id
// in the spelling of responses.
func (st *store) submit(protocol string, part smsc.Part, now time.Time) (id string) {
	h := st.handset(part.To.String())
	m := &submitted{part: part, protocol: protocol, at: now}
	if protocol == cimd2.Name {
		h.lastTime = later(now, h.lastTime)
		m.id = cimd2.NewID(part.To, h.lastTime, 0)
		id = m.id
	} else {
		st.lastID++
		m.id = st.spell(st.lastID, st.cfg.ReceiptIDBase)
		id = st.spell(st.lastID, st.cfg.ResponseIDBase)
	}
	m.expires = now.Add(cmp.Or(part.Validity, st.cfg.Validity))
	st.stats.Submitted++
	if h.off {
		h.waiting = append(h.waiting, m)
		st.waiting[h] = true
	} else {
		st.deliver(h, m, now)
	}
	return id
}

func (st *store) spell(n uint64, base int) string {
	if base == 16 {
		return strconv.FormatUint(n, 16)
	}
	return fmt.Sprintf("%010d", n)
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
func (st *store) deliver(h *handset, m *submitted, now time.Time) {
	if h.refuses {
		st.receipt(m, smsc.ReceiptUndeliverable, "20", now)
		return
	}
	st.stats.Delivered++
	st.receive(h, m.part, now)
	st.receipt(m, smsc.ReceiptDelivered, "", now)
}

func (st *store) receipt(m *submitted, state smsc.ReceiptState, code string, now time.Time) {
	if !m.part.Report {
		return
	}
	part := m.part
	part.Data = bytes.Clone(part.Data[:min(len(part.Data), 20)]) // a receipt has no more of it
	st.receipts[m.protocol] = append(st.receipts[m.protocol], &item{protocol: m.protocol, report: &smsc.ServerReport{
		Receipt: smsc.Receipt{ID: m.id, State: state, Code: code}, Part: part, Submitted: m.at, Done: now,
	}})
	st.stats.ReceiptsPending++
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

// setOn switches a handset; on, it gets what waited.
func (st *store) setOn(h *handset, on bool, now time.Time) {
	h.off = !on
	if !on {
		return
	}
	st.expire(h, now)
	for _, m := range h.waiting {
		st.deliver(h, m, now)
	}
	h.waiting = nil
	delete(st.waiting, h)
}

func (st *store) expire(h *handset, now time.Time) {
	h.waiting = slices.DeleteFunc(h.waiting, func(m *submitted) bool {
		expired := !now.Before(m.expires)
		if expired {
			st.stats.Expired++
			st.receipt(m, smsc.ReceiptExpired, "29", now) // absent subscriber
		}
		return expired
	})
}

// tick does what is due: it expires what waited too long and offers again what
// was refused. It reports whether there is something for the ESME.
func (st *store) tick(now time.Time) bool {
	for h := range st.waiting {
		st.expire(h, now)
		if len(h.waiting) == 0 {
			delete(st.waiting, h)
		}
	}
	n := 0
	for n < len(st.later) && !now.Before(st.later[n].due) {
		n++
	}
	for _, it := range slices.Backward(st.later[:n]) {
		st.giveBack(it)
	}
	st.later = slices.Delete(st.later, 0, n)
	return st.anything()
}

func (st *store) anything() bool {
	return len(st.ready) > 0 || len(st.receipts["cimd2"]) > 0 || len(st.receipts["smpp"]) > 0
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
	if len(h.mo) == 0 {
		st.ready = append(st.ready, h)
	}
	h.lastSent = later(now, h.lastSent)
	for _, p := range pieces {
		h.mo = append(h.mo, &item{handset: h, deliver: smsc.Deliver{At: cimd2.Timestamp(h.lastSent), Part: smsc.Part{
			From: smsc.ParseAddress(from), To: smsc.ParseAddress(to), Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data,
		}}})
	}
	st.stats.MOQueued += uint64(len(pieces))
	return nil
}

// take returns the next thing for a session of that protocol, nil if there is
// none. It comes back by acknowledged, giveBack or postpone.
func (st *store) take(protocol string) *item {
	queue := st.receipts[protocol]
	st.moTurn = !st.moTurn
	switch {
	case len(st.ready) > 0 && (st.moTurn || len(queue) == 0):
		h := st.ready[0]
		st.ready = st.ready[1:]
		return h.mo[0]
	case len(queue) > 0:
		st.receipts[protocol] = queue[1:]
		return queue[0]
	}
	return nil
}

// waitingFor returns how much take could give.
func (st *store) waitingFor(protocol string) int { return len(st.ready) + len(st.receipts[protocol]) }

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
	if h.mo = h.mo[1:]; len(h.mo) > 0 {
		st.ready = append(st.ready, h)
	}
}

// giveBack offers an item again at once, before all others.
func (st *store) giveBack(it *item) {
	if it.report != nil {
		st.receipts[it.protocol] = slices.Insert(st.receipts[it.protocol], 0, it)
	} else {
		st.ready = slices.Insert(st.ready, 0, it.handset)
	}
}

// postpone offers an item again after the time that an ESME gets to recover.
func (st *store) postpone(it *item, now time.Time) {
	it.due = now.Add(st.cfg.RetryAfter)
	st.later = append(st.later, it) // all wait equally long: in order
}
