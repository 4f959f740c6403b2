package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rule names what a violation breaks.
type Rule string

// The rules.
const (
	// Lost: a message was acknowledged, and is neither with the SMSC or in the
	// inbox, nor was its sender told that it failed or expired (invariant I5).
	Lost Rule = "lost"
	// Doubled: the SMSC took a part twice although the first copy was not in
	// doubt, or more of a session's were than its window has room for; a person got
	// one message under two ids although it was handed over once, or one id in two
	// events (I6, I7).
	Doubled Rule = "doubled"
	// Uncounted: a copy was in doubt, and the message's history has no unknown for it (I15).
	Uncounted Rule = "uncounted"
	// Overcounted: the histories have more unknowns than sessions of so many submits
	// can have left in doubt. (Not foreseen: an edge whose disk was replaced.)
	Overcounted Rule = "overcounted"
	// Unfounded: a message has failed, or expired, and neither a refusal nor receipts
	// nor its time give a ground.
	Unfounded Rule = "unfounded"
	// Disordered: a later message of the same conversation came before an earlier one (I14).
	Disordered Rule = "disordered"
	// Backwards: a sender was told a state of lower rank after a higher one.
	Backwards Rule = "backwards"
	// Untrue: a sender was told processed or delivered, and the SMSC has not got all of it.
	Untrue Rule = "untrue"
	// BadPointers: a ring's pointers are out of order, too far apart, or ran backwards (I1, I2).
	BadPointers Rule = "pointers"
)

// Violation is one broken promise.
type Violation struct {
	Rule Rule   `json:"rule"`
	Text string `json:"text"`
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.Text }

// Options of New.
type Options struct {
	// Window is how many submits a session may have unanswered: so many are in
	// doubt when it breaks. 0 means 1, stop and wait.
	Window int
	// GiveUp: the SMSC's policy leaves a doubt as it is, so that unknown ends a message.
	GiveUp bool
	// Refusals for now after which a message has failed (the edge's retry.attempts); 0:
	// never.
	Refusals int
	// Skew is how wrong the clocks of hub and edge may be, together: so much earlier
	// may a message expire.
	Skew time.Duration
	// NoGrounds: the records have no deadlines, fates or receipts, as those of before
	// had none: whether what failed or expired had to is not judged.
	NoGrounds bool
	// MaxViolations bounds Verdict.Violations; 0 means 100. All are counted.
	MaxViolations int
}

// Verdict is the outcome.
type Verdict struct {
	OK         bool         `json:"ok"`
	Records    int          `json:"records"`
	Accepted   int          `json:"accepted"` // of clients: acknowledged
	Taken      int          `json:"taken"`    // parts, copies included
	Acked      int          `json:"acked"`    // of handsets: acknowledged
	Inbox      int          `json:"inbox"`
	Doubts     int          `json:"doubts"`  // copies that a doubt excuses, both ways
	Pending    int          `json:"pending"` // acknowledged and on their way; 0 where the history came to rest
	CameToRest bool         `json:"came_to_rest"`
	Count      map[Rule]int `json:"count"` // of violations
	Violations []Violation  `json:"violations"`
}

// Checker takes records one by one and keeps some 200 octets a message.
type Checker struct {
	opts     Options
	verdict  Verdict
	byName   map[string]int32
	messages []message
	parts    map[partKey]copyAt // of parts other than the first, and which have come
	told     map[string]*told   // by id and observer
	ids      map[string]int32   // id to message
	unknowns map[string]int     // id to doubts in its history
	sessions map[string]*session
	copies   []secondCopy
	lanes    map[string][]int32 // accepted, by sender's connection, recipient and class
	laneUp   map[string][]int32 // acked, by handset and addressee
	at       map[string]uint32  // position among an observer's records
	seen     map[string]uint64  // highest N of an observer's states
	rings    map[string]*ringAt
	inboxes  map[inboxKey]uint64 // the event's number
	again    map[inboxAgain]struct{}
	persons  map[string]int32
	final    map[partKey]struct{} // parts that a receipt or a refusal has ended
}

// message is what is known of one. Positions are those among the SMSC's or the
// person's records, from 1; 0: never.
type message struct {
	name        string
	parts, come uint8  // how many there are, how many different ones the SMSC took
	first, last uint32 // taken
	copy        copyAt // of part 0
	smsc        *session
	to          string
	accepted    bool
	acked       bool
	handed      uint16
	inbox       uint32 // in how many inboxes, under how many ids
	person      int32  // whose inbox it came to first
	arrived     uint32 // there
	highest     uint8  // state that a sender was told
	id          string

	gone      gone
	until     int64
	doomed    bool   // refused for good, or unfit
	refused   uint16 // for now
	undefined uint16 // of these, by codes that are not defined
	ended     uint8  // parts, as in final
	receipts  uint16 // bit by rank: what they have said
}

type partKey struct {
	message int32
	part    uint8
}

type inboxKey struct {
	message int32
	person  int32
	id      string
}

type inboxAgain struct {
	inboxKey
	n uint64
}

// copyAt is where the SMSC took a part last.
type copyAt struct {
	session    *session
	ordinal    uint32 // among the session's submits, from 1
	unanswered bool
}

type session struct {
	by      string
	submits uint32
	closed  bool
	doubts  int // that excuse a copy
}

// secondCopy is judged at the end: was the one before it in doubt?
type secondCopy struct {
	message int32
	part    uint8
	before  copyAt
}

type told struct {
	gone
	rank uint8
}

// gone is what a sender was told that needs a ground.
type gone struct {
	failed, expired bool
	at              int64 // when he was told first that it is expired; 0: not known
}

type ringAt struct {
	life int
	p    [4]uint64
}

// undefinedRefusals is how often an edge tries a part that is refused by codes which
// nobody has defined.
const undefinedRefusals = 3

// New returns a Checker without records.
func New(opts Options) *Checker {
	opts.Window = max(opts.Window, 1)
	if opts.MaxViolations == 0 {
		opts.MaxViolations = 100
	}
	return &Checker{
		opts: opts, byName: map[string]int32{}, parts: map[partKey]copyAt{}, told: map[string]*told{}, ids: map[string]int32{},
		unknowns: map[string]int{}, sessions: map[string]*session{}, lanes: map[string][]int32{}, laneUp: map[string][]int32{},
		at: map[string]uint32{}, seen: map[string]uint64{}, rings: map[string]*ringAt{}, inboxes: map[inboxKey]uint64{}, persons: map[string]int32{},
		again: map[inboxAgain]struct{}{}, final: map[partKey]struct{}{},
		verdict: Verdict{Count: map[Rule]int{}, Violations: []Violation{}},
	}
}

// Check judges records at once.
func Check(opts Options, records []Record) (Verdict, error) {
	c := New(opts)
	for _, r := range records {
		if err := c.Add(r); err != nil {
			return Verdict{}, err
		}
	}
	return c.Verdict(), nil
}

// Add takes the next record of its observer.
func (c *Checker) Add(r Record) error {
	if err := r.check(); err != nil {
		return err
	}
	c.verdict.Records++
	switch r.Kind {
	case Accepted:
		c.accepted(&r)
	case State:
		c.state(&r)
	case Inbox:
		c.inbox(&r)
	case Taken:
		c.taken(&r)
	case Refused:
		c.refused(&r)
	case Receipt:
		m := c.ends(&r)
		m.receipts |= 1 << ranks[r.State]
	case Closed:
		c.session(&r).closed = true
	case Handed:
		m := c.message(r.Msg)
		c.messages[m].handed++
	case Acked:
		c.acked(&r)
	case History:
		n := 0
		for _, s := range r.States {
			switch s {
			case "unknown":
				n++
			case "failed", "expired":
				c.toldOf(r.ID, r.By).ended(ranks[s], 0)
			}
		}
		c.unknowns[r.ID] = n
	case Pointers:
		c.pointers(&r)
	case End:
		c.verdict.CameToRest = true
	}
	return nil
}

func (c *Checker) message(name string) int32 {
	i, ok := c.byName[name]
	if !ok {
		i = int32(len(c.messages))
		c.byName[name] = i
		c.messages = append(c.messages, message{name: name, parts: 1})
	}
	return i
}

func (c *Checker) session(r *Record) *session {
	key := r.By + "\x00" + r.Session
	s := c.sessions[key]
	if s == nil {
		s = &session{by: r.By}
		c.sessions[key] = s
	}
	return s
}

func (c *Checker) position(by string) uint32 {
	c.at[by]++
	return c.at[by]
}

func (c *Checker) accepted(r *Record) {
	i := c.message(r.Msg)
	m := &c.messages[i]
	c.ids[r.ID] = i
	if m.accepted { // the same submission under its ref again
		return
	}
	m.accepted, m.to, m.id, m.until = true, r.To, r.ID, r.Until
	m.doomed = m.doomed || r.Unfit
	c.verdict.Accepted++
	lane := fmt.Sprintf("%s\x00%s\x00%d", r.Conn, r.To, r.Class)
	c.lanes[lane] = append(c.lanes[lane], i)
}

func (c *Checker) taken(r *Record) {
	i := c.message(r.Msg)
	m := &c.messages[i]
	s := c.session(r)
	s.submits++
	c.verdict.Taken++
	here := copyAt{s, s.submits, r.Unanswered}
	part := uint8(r.Part)
	before := m.copy
	if part > 0 {
		before = c.parts[partKey{i, part}]
		c.parts[partKey{i, part}] = here
	} else {
		m.copy = here
	}
	m.parts = max(m.parts, uint8(max(r.Parts, 1)))
	if before.session == nil {
		m.come++
	} else {
		c.copies = append(c.copies, secondCopy{i, part, before})
	}
	at := c.position(r.By)
	if m.first == 0 {
		m.first, m.smsc = at, s
	}
	m.last = at
}

func (c *Checker) refused(r *Record) {
	c.session(r).submits++
	switch r.Fate {
	case "", "permanent":
		c.ends(r).doomed = true
	case "undefined":
		c.messages[c.message(r.Msg)].undefined++
		fallthrough
	case "temporary":
		c.messages[c.message(r.Msg)].refused++
	}
}

// ends notes that nothing more will be said of a part.
func (c *Checker) ends(r *Record) *message {
	i := c.message(r.Msg)
	m := &c.messages[i]
	m.parts = max(m.parts, uint8(max(r.Parts, 1)))
	key := partKey{i, uint8(r.Part)}
	if _, known := c.final[key]; !known {
		c.final[key] = struct{}{}
		m.ended++
	}
	return m
}

func (c *Checker) acked(r *Record) {
	i := c.message(r.Msg)
	m := &c.messages[i]
	if m.acked {
		return
	}
	m.acked = true
	c.verdict.Acked++
	lane := r.From + "\x00" + r.To
	c.laneUp[lane] = append(c.laneUp[lane], i)
}

func (c *Checker) inbox(r *Record) {
	i := c.message(r.Msg)
	m := &c.messages[i]
	person, ok := c.persons[r.By]
	if !ok {
		person = int32(len(c.persons))
		c.persons[r.By] = person
	}
	key := inboxKey{i, person, r.ID}
	if first, known := c.inboxes[key]; known {
		switch {
		case r.N == 0 || r.N == first: // read again
		case first == 0:
			c.inboxes[key] = r.N
		default:
			again := inboxAgain{key, r.N}
			if _, read := c.again[again]; !read {
				c.again[again] = struct{}{}
				c.violate(Doubled, "%s got %q, id %s, as event %d and again as event %d", r.By, m.name, r.ID, first, r.N)
			}
		}
		return
	}
	c.inboxes[key] = r.N
	c.verdict.Inbox++
	at := c.position(r.By)
	if m.inbox++; m.inbox == 1 {
		m.person, m.arrived = person, at
	}
}

func (c *Checker) state(r *Record) {
	if r.N > 0 {
		if r.N <= c.seen[r.By] {
			return // read again
		}
		c.seen[r.By] = r.N
	}
	t := c.toldOf(r.ID, r.By)
	rank := ranks[r.State]
	if rank < t.rank {
		c.violate(Backwards, "%s was told %s of message %s after a state of rank %d", r.By, r.State, r.ID, t.rank)
	}
	t.rank = max(t.rank, rank)
	t.ended(rank, r.At)
}

func (c *Checker) toldOf(id, by string) *told {
	key := id + "\x00" + by
	t := c.told[key]
	if t == nil {
		t = &told{}
		c.told[key] = t
	}
	return t
}

// ended notes a state that needs a ground, and when it was told, if that is known.
func (g *gone) ended(rank uint8, at int64) {
	g.failed = g.failed || rank == rankFailed
	if rank == rankExpired {
		if g.expired = true; at > 0 && (g.at == 0 || at < g.at) {
			g.at = at
		}
	}
}

func (c *Checker) pointers(r *Record) {
	p := [4]uint64{r.Retrieved, r.Sent, r.Confirmed, r.Processed}
	here := fmt.Sprintf("%s ring %s as %s: processed %d, confirmed %d, sent %d, retrieved %d", r.By, r.Ring, r.Role, p[3], p[2], p[1], p[0])
	if p[3] > p[2] || p[2] > p[1] || p[1] > p[0] {
		c.violate(BadPointers, "%s: want processed <= confirmed <= sent <= retrieved", here)
	} else if p[0]-p[3] > r.Slots {
		c.violate(BadPointers, "%s: more than %d slots apart", here, r.Slots)
	}
	key := r.By + "\x00" + r.Ring + "\x00" + r.Role
	last := c.rings[key]
	if last == nil {
		c.rings[key] = &ringAt{r.Life, p}
		return
	}
	// What a process knew only in memory it may lose: a sender what was sent and
	// confirmed; a receiver everything, since it forgets what was released out of
	// order for good and learns it anew from the sender.
	same := r.Life == last.life
	for i, name := range [4]string{"retrieved", "sent", "confirmed", "processed"} {
		durable := r.Role == "sender" && (i == 0 || i == 3)
		if p[i] < last.p[i] && (same || durable) {
			c.violate(BadPointers, "%s: %s was %d before", here, name, last.p[i])
		}
	}
	last.life, last.p = r.Life, p
}

func (c *Checker) violate(rule Rule, format string, args ...any) {
	c.verdict.Count[rule]++
	if len(c.verdict.Violations) < c.opts.MaxViolations {
		c.verdict.Violations = append(c.verdict.Violations, Violation{rule, fmt.Sprintf(format, args...)})
	}
}

// Verdict judges what needs all records. Call it once, after the last Add.
func (c *Checker) Verdict() Verdict {
	for key, t := range c.told {
		id, _, _ := strings.Cut(key, "\x00")
		if i, ok := c.ids[id]; ok {
			m := &c.messages[i]
			m.highest = max(m.highest, t.rank)
			m.gone.failed = m.gone.failed || t.failed
			if t.expired {
				m.gone.ended(rankExpired, t.at)
			}
		}
	}
	c.judgeCopies()
	for i := range c.messages {
		c.judgeMessage(&c.messages[i])
	}
	for lane, indexes := range c.lanes {
		c.judgeOrderDown(lane, indexes)
	}
	for lane, indexes := range c.laneUp {
		c.judgeOrderUp(lane, indexes)
	}
	v := c.verdict
	v.OK = len(v.Count) == 0
	slices.SortFunc(v.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Text, b.Text))
	})
	return v
}

// judgeCopies: a copy is excused by a doubt about the one before it, which was
// among the last of a session that ended, or never answered. A session leaves no
// more of them than it may have unanswered.
func (c *Checker) judgeCopies() {
	excused := map[int32]int{}
	for _, second := range c.copies {
		m, before := &c.messages[second.message], second.before
		last := before.ordinal+uint32(c.opts.Window) > before.session.submits
		if !before.unanswered && (!before.session.closed || !last) {
			c.violate(Doubled, "the SMSC took part %d of %q again, and the copy before was no doubt: submit %d of %d of its session, which ended: %v",
				second.part, m.name, before.ordinal, before.session.submits, before.session.closed)
			continue
		}
		if before.session.doubts++; before.session.doubts > c.opts.Window {
			c.violate(Doubled, "the SMSC took part %d of %q again, and the session of the copy before had left %d others in doubt, with a window of %d",
				second.part, m.name, before.session.doubts-1, c.opts.Window)
			continue
		}
		c.verdict.Doubts++
		excused[second.message]++
	}
	for i, n := range excused {
		m := &c.messages[i]
		unknowns, known := c.unknowns[m.id]
		switch {
		case known && unknowns < n:
			c.violate(Uncounted, "%q was submitted again after %d doubts, its history has %d", m.name, n, unknowns)
		case !known && m.accepted && c.verdict.CameToRest:
			c.violate(Uncounted, "%q was submitted again after %d doubts, and there is no history of it", m.name, n)
		}
	}
	c.countDoubts()
}

// countDoubts: at rest, sessions that ended are the only ground for a doubt.
func (c *Checker) countDoubts() {
	unknowns, ended := 0, 0
	for _, n := range c.unknowns {
		unknowns += n
	}
	for _, s := range c.sessions {
		if s.closed {
			ended++
		}
	}
	if c.verdict.CameToRest && len(c.sessions) > 0 && unknowns > ended*c.opts.Window {
		c.violate(Overcounted, "%d doubts in the histories, and %d sessions ended, which leave %d at most each", unknowns, ended, c.opts.Window)
	}
}

func (c *Checker) judgeMessage(m *message) {
	handset := strings.HasPrefix(m.to, "+")
	whole := m.come == m.parts
	c.judgeGrounds(m)
	switch {
	case m.accepted && handset:
		gone := m.highest > rankDelivered || c.opts.GiveUp && m.highest == rankUnknown
		if !whole && !gone {
			c.missing("%q to %s, accepted as %s: the SMSC has %d of %d parts", m.name, m.to, m.id, m.come, m.parts)
		}
		if !whole && (m.highest == rankProcessed || m.highest == rankDelivered) {
			c.violate(Untrue, "%q to %s was reported as processed, the SMSC has %d of %d parts", m.name, m.to, m.come, m.parts)
		}
	case m.accepted && m.inbox == 0 && m.highest <= rankDelivered:
		c.missing("%q to %s, accepted as %s, is in no inbox", m.name, m.to, m.id)
	case m.acked && m.inbox == 0:
		c.missing("%q of a handset was acknowledged and is in no inbox", m.name)
	}
	if extra := int(m.inbox) - 1; extra > 0 {
		allowed := min(extra, max(int(m.handed)-1, 0))
		c.verdict.Doubts += allowed
		if extra > allowed {
			c.violate(Doubled, "%q came %d times, under as many ids, and was handed over %d times", m.name, m.inbox, m.handed)
		}
	}
}

// judgeGrounds: what failed was refused, by the SMSC or for what it is; what expired
// had its time; or receipts say so, or a refusal of one part and receipts of the
// others, which the message follows when it has heard of all.
func (c *Checker) judgeGrounds(m *message) {
	if c.opts.NoGrounds {
		return
	}
	heard := func(rank uint8) bool { return m.ended == m.parts && m.receipts&(1<<rank) != 0 }
	often := c.opts.Refusals > 0 && int(m.refused) >= c.opts.Refusals || m.undefined >= undefinedRefusals
	if m.gone.failed && !m.doomed && !often && !heard(rankFailed) {
		c.violate(Unfounded, "%q, accepted as %s, failed; no refusal for good, %d for now, receipts or refusals of %d of its %d parts", m.name, m.id, m.refused, m.ended, m.parts)
	}
	late := m.until != 0 && (m.gone.at == 0 || m.gone.at >= m.until-c.opts.Skew.Microseconds())
	if m.gone.expired && !late && !heard(rankExpired) {
		c.violate(Unfounded, "%q, accepted as %s, expired at %d, its time runs out at %d (0: never); receipts or refusals of %d of its %d parts", m.name, m.id, m.gone.at, m.until, m.ended, m.parts)
	}
}

func (c *Checker) missing(format string, args ...any) {
	if c.verdict.CameToRest {
		c.violate(Lost, format, args...)
	} else {
		c.verdict.Pending++
	}
}

// judgeOrderDown: the last copy of each comes before the first of the next.
func (c *Checker) judgeOrderDown(lane string, indexes []int32) {
	var before *message
	for _, i := range indexes {
		m := &c.messages[i]
		if m.first == 0 {
			continue
		}
		if before != nil && before.smsc.by == m.smsc.by && m.first < before.last {
			c.violate(Disordered, "%q was sent before %q (%s), and the SMSC took it after", before.name, m.name, strings.ReplaceAll(lane, "\x00", " "))
		}
		if before == nil || m.last > before.last {
			before = m
		}
	}
}

// judgeOrderUp: what one handset sent to one number comes to a person in order.
func (c *Checker) judgeOrderUp(lane string, indexes []int32) {
	latest := map[int32]*message{} // by person
	for _, i := range indexes {
		m := &c.messages[i]
		if m.inbox == 0 {
			continue
		}
		if before := latest[m.person]; before != nil && m.arrived < before.arrived {
			c.violate(Disordered, "%q came before %q (%s), and the person got it after", before.name, m.name, strings.ReplaceAll(lane, "\x00", " to "))
		} else {
			latest[m.person] = m
		}
	}
}
