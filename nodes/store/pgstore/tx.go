package pgstore

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// tx is one transaction: what was read for it, and what it is going to write. The
// first error that is no refusal stands in err and undoes all.
type tx struct {
	s     *Store
	rings *rings // nil: users'
	shard int16  // of queue_counts
	now   time.Time
	err   error

	// What is asked for before.
	ids      map[string]bool // messages
	again    bool            // read the messages after the users are locked
	asked    map[pair]bool   // sender and ref
	names    map[string]bool // accounts; their rows are locked if there are any
	handsets map[pair]bool   // edge and handset, of which a conversation is given a number
	lengths  map[string]bool // edges of which the queue's length matters
	more     []func(b *pgx.Batch)
	locked   bool

	// What was read, and what it has become.
	found    map[string]*message
	refs     map[pair]*message
	accounts map[string]bool
	users    map[string]*user
	talks    map[pair]map[string]journal.Conversation
	waiting  map[string]int64
	read     map[string]bool // of waiting

	// What is to be written.
	created  []*message
	changed  map[string]*message
	rewrite  map[string]*message // their bodies too
	talked   map[talk]journal.Conversation
	ended    map[talk]bool
	events   []event
	fresh    map[event2]bool // true: add; false: delete
	hours    map[hourOf]*uint64
	queued   []queued
	counts   map[string]int64
	settled  []settled
	writes   []func(b *pgx.Batch)
	ringW    *ringWrites
	gone     map[queuedAt]bool // from the rings' queue
	freed    map[string]bool   // kept messages
	grown    []string
	finals   []final
	wake     bool
	counting []*rings // whose count is being changed
	quiet    int64    // of rings, before anything was read
}

type (
	pair   struct{ a, b string }
	talk   struct{ edge, handset, user string }
	event2 struct {
		user string
		n    uint64
	}
	hourOf struct {
		hour uint64
		user string
	}
	event struct {
		user string
		journal.UserEvent
	}
	queued struct {
		edge  string
		class int16
		n     int64 // 0: at the end
		id    []byte
	}
	queuedAt struct {
		class int16
		n     int64
	}
	settled struct {
		at int64
		id []byte
	}
	final struct { // for the measures
		edge      string
		toHandset bool
		state     messages.State
		took      time.Duration
	}
)

// user is the row of one, locked.
type user struct {
	last, hour uint64
	grown      bool
}

func newTx(s *Store, r *rings, shard int16) *tx {
	quiet := int64(-1)
	if r != nil {
		quiet = r.quiet()
	}
	return &tx{
		s: s, rings: r, shard: shard, now: s.opts.Now(), quiet: quiet,
		ids: map[string]bool{}, asked: map[pair]bool{}, names: map[string]bool{}, handsets: map[pair]bool{}, lengths: map[string]bool{},
		found: map[string]*message{}, refs: map[pair]*message{}, accounts: map[string]bool{}, users: map[string]*user{},
		talks: map[pair]map[string]journal.Conversation{}, waiting: map[string]int64{}, read: map[string]bool{},
		changed: map[string]*message{}, rewrite: map[string]*message{}, talked: map[talk]journal.Conversation{}, ended: map[talk]bool{},
		fresh: map[event2]bool{}, hours: map[hourOf]*uint64{}, counts: map[string]int64{},
	}
}

func (t *tx) note(err error) {
	if err != nil && t.err == nil {
		t.err = err
	}
}

// damaged: what is stored does not fit together. Whatever needs it is refused.
func (t *tx) damaged(format string, args ...any) {
	t.note(fmt.Errorf("%w: "+format, append([]any{errStored}, args...)...))
}

// needID asks for a message.
func (t *tx) needID(id []byte) {
	if len(id) > 0 && (t.rings == nil || t.rings.live[string(id)] == nil) {
		t.ids[string(id)] = true
	}
}

const messageColumns = `m.id, m.edge, m.ref, m.hash, m.coding, m.planned, m.body, m.state, m.seq, m.slots, m.inbox, m.settled, m.detail`

// scanMessage reads one row of messageColumns, with further columns behind.
func scanMessage(rows pgx.CollectableRow, more ...any) (*message, error) {
	m := &message{}
	var id, body, detail []byte
	var state int16
	var seq, inbox int64
	var slots, planned int32
	if err := rows.Scan(append([]any{&id, &m.Edge, &m.Ref, &m.hash, &m.Coding, &planned, &body, &state, &seq, &slots, &inbox, &m.settled, &detail}, more...)...); err != nil {
		return nil, fmt.Errorf("%w: a message: %w", errStored, err)
	}
	m.Message = &messages.Message{}
	if err := proto.Unmarshal(body, m.Message); err != nil {
		return nil, fmt.Errorf("%w: message %x: %w", errStored, id, err)
	}
	m.Edge, m.Ref, m.Coding = text(m.Edge), text(m.Ref), text(m.Coding)
	m.State = messages.State(state)
	m.Final = journal.IsFinal(m.State)
	m.Seq, m.inbox, m.Slots, m.planned = uint64(seq), uint64(inbox), uint32(slots), int(planned)
	return m, m.setDetail(detail)
}

// each calls f with every row of a result in a batch.
func each(q *pgx.QueuedQuery, f func(row pgx.Rows) error) {
	q.Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := f(rows); err != nil {
				rows.Close()
				return err
			}
		}
		return rows.Err()
	})
}

// queueReads asks for what the operations need; where all users are known already
// they are locked first, which saves a round trip.
func (t *tx) queueReads(b *pgx.Batch, ops []*op) {
	for _, o := range ops {
		if o.need != nil {
			o.need(t)
		}
	}
	if !t.again && t.allKnown(ops) {
		t.queueLocks(b, ops)
	}
	t.queueMessages(b)
	if len(t.asked) > 0 {
		var senders, refs []string
		for r := range t.asked {
			senders, refs = append(senders, column(r.a)), append(refs, column(r.b))
		}
		// LATERAL with LIMIT: planned while the table is small, a join would read all of it.
		each(b.Queue(`SELECT `+messageColumns+` FROM unnest($1::text[], $2::text[]) AS a (sender, ref)
			CROSS JOIN LATERAL (SELECT * FROM messages WHERE sender = a.sender AND ref = a.ref AND ref <> '' LIMIT 1) AS m`, senders, refs), func(row pgx.Rows) error {
			m, err := scanMessage(row)
			if err == nil {
				t.refs[pair{m.Message.From, m.Ref}] = m
			}
			return err
		})
	}
	if len(t.names) > 0 {
		names := columns(slices.Collect(maps.Keys(t.names)))
		each(b.Queue(`SELECT name FROM users WHERE name = ANY($1) AND account`, names), func(row pgx.Rows) error {
			var name string
			err := row.Scan(&name)
			t.accounts[text(name)] = true
			return err
		})
	}
	if len(t.lengths) > 0 {
		t.read = t.lengths
		edges := columns(slices.Collect(maps.Keys(t.lengths)))
		each(b.Queue(`SELECT edge, sum(n)::bigint FROM queue_counts WHERE edge = ANY($1) GROUP BY edge`, edges), func(row pgx.Rows) error {
			var edge string
			var n int64
			err := row.Scan(&edge, &n)
			t.waiting[text(edge)] = n
			return err
		})
	}
	for _, f := range t.more {
		f(b)
	}
}

func (t *tx) queueMessages(b *pgx.Batch) {
	if len(t.ids) == 0 {
		return
	}
	ids := make([][]byte, 0, len(t.ids))
	for id := range t.ids {
		ids = append(ids, []byte(id))
	}
	each(b.Queue(`SELECT `+messageColumns+` FROM messages m WHERE m.id = ANY($1)`, ids), func(row pgx.Rows) error {
		m, err := scanMessage(row)
		if err == nil {
			t.hold(m)
		}
		return err
	})
}

func (t *tx) allKnown(ops []*op) bool {
	for _, o := range ops {
		if o.users != nil {
			if _, known := o.users(t); !known {
				return false
			}
		}
	}
	return true
}

// queueLocks locks handsets and users, and reads what may be read only then.
func (t *tx) queueLocks(b *pgx.Batch, ops []*op) {
	t.locked = true
	if len(t.handsets) > 0 {
		t.lockHandsets(b)
	}
	names := map[string]bool{}
	for _, o := range ops {
		if o.users != nil {
			of, _ := o.users(t)
			for _, name := range of {
				names[name] = true
			}
		}
	}
	delete(names, "")
	if len(names) > 0 {
		made := columns(slices.Sorted(maps.Keys(names)))
		b.Queue(`INSERT INTO users (name) SELECT n FROM unnest($1::text[]) AS a (n) WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.name = n) ORDER BY n ON CONFLICT (name) DO NOTHING`, made)
	}
	maps.Copy(names, t.names)
	if len(names) > 0 {
		sorted := columns(slices.Collect(maps.Keys(names)))
		each(b.Queue(`SELECT name, last_event, hour FROM users WHERE name = ANY($1) ORDER BY name FOR UPDATE`, sorted), func(row pgx.Rows) error {
			var name string
			var last, hour int64
			err := row.Scan(&name, &last, &hour)
			t.users[text(name)] = &user{last: uint64(last), hour: uint64(hour)}
			return err
		})
	}
	if t.again {
		t.queueMessages(b)
	}
}

func (t *tx) lockHandsets(b *pgx.Batch) {
	pairs := slices.Collect(maps.Keys(t.handsets))
	edges, handsets := make([]string, len(pairs)), make([]string, len(pairs))
	for i, p := range pairs {
		edges[i], handsets[i] = column(p.a), column(p.b)
	}
	b.Queue(`INSERT INTO handsets (edge, handset) SELECT e, h FROM unnest($1::text[], $2::text[]) AS a (e, h) ORDER BY e, h ON CONFLICT (edge, handset) DO NOTHING`, edges, handsets)
	b.Queue(`SELECT 1 FROM handsets h JOIN unnest($1::text[], $2::text[]) AS a (edge, handset) USING (edge, handset) ORDER BY h.edge, h.handset FOR UPDATE OF h`, edges, handsets)
	each(b.Queue(`SELECT c.edge, c.handset, c.name, c.at, c.number FROM conversations c JOIN unnest($1::text[], $2::text[]) AS a (edge, handset) USING (edge, handset)`, edges, handsets), func(row pgx.Rows) error {
		var edge, handset string
		c, err := scanConversation(row, &edge, &handset)
		if err == nil {
			t.conversations(text(edge), text(handset))[c.User] = c
		}
		return err
	})
}

func scanConversation(row pgx.CollectableRow, before ...any) (journal.Conversation, error) {
	var c journal.Conversation
	var at int64
	err := row.Scan(append(before, &c.User, &at, &c.Number)...)
	c.User, c.Number, c.At = text(c.User), text(c.Number), fromMillis(at)
	return c, err
}

func (t *tx) conversations(edge, handset string) map[string]journal.Conversation {
	all := t.talks[pair{edge, handset}]
	if all == nil {
		all = map[string]journal.Conversation{}
		t.talks[pair{edge, handset}] = all
	}
	return all
}

// message returns what was read of one; nil: there is none.
func (t *tx) message(id []byte) *message {
	if t.rings != nil {
		if m := t.rings.live[string(id)]; m != nil {
			return m
		}
	}
	return t.found[string(id)]
}

// hold notes a message that was read or made. What is on its way down only the owner
// of its rings changes: he keeps it for the transactions that follow.
func (t *tx) hold(m *message) {
	if r := t.rings; r != nil && m.Edge == r.edge && m.goesDown() {
		r.remember(m)
		return
	}
	t.found[string(m.Message.Id)] = m
}

// grow gives the user's next event its number.
func (t *tx) grow(name string) uint64 {
	u := t.users[name]
	if u == nil {
		t.damaged("user %q was not locked", name)
		return 0
	}
	t.rollHour(name, u)
	u.last++
	if !u.grown {
		u.grown = true
		t.grown = append(t.grown, name)
	}
	return u.last
}

// rollHour sees to it that the retention index has the present hour of a user.
func (t *tx) rollHour(name string, u *user) {
	hour := uint64(t.now.Unix()) / 3600
	if hour <= u.hour {
		return
	}
	if u.hour != 0 {
		last := u.last
		t.hours[hourOf{u.hour, name}] = &last
	}
	t.hours[hourOf{hour, name}] = nil
	u.hour = hour
}

// create writes a message for the first time.
func (t *tx) create(m *message) {
	t.created = append(t.created, m)
	t.hold(m)
	if m.Final {
		t.settle(m)
	}
}

// save writes what has changed about a message.
func (t *tx) save(m *message) {
	if m.Final {
		t.settle(m)
	}
	t.changed[string(m.Message.Id)] = m
}

// saveAll writes a message whose text or recipient has changed.
func (t *tx) saveAll(m *message) {
	t.save(m)
	t.rewrite[string(m.Message.Id)] = m
}

// settle starts the time that a message is kept: at most a receipt is expected any
// more. The caller saves it.
func (t *tx) settle(m *message) {
	if !m.settled {
		m.settled = true
		t.settled = append(t.settled, settled{t.now.UnixMilli(), m.Message.Id})
	}
}

// tell writes the message's state into its sender's events. Call it once for each
// state that was reached.
func (t *tx) tell(m *message, at time.Time) {
	if took, first := m.Settles(at); first {
		t.finals = append(t.finals, final{m.Edge, m.goesDown(), m.State, took})
	}
	from := m.sender()
	if from == "" {
		return
	}
	t.events = append(t.events, event{from, journal.UserEvent{Number: t.grow(from), At: at, ID: m.Message.Id, State: m.State, Ref: m.Ref}})
}

// intoInbox gives a message to its recipient. The caller creates or saves it.
func (t *tx) intoInbox(m *message, at time.Time) {
	to := m.Message.To
	m.inbox = t.grow(to)
	t.events = append(t.events, event{to, journal.UserEvent{Number: m.inbox, At: at, ID: m.Message.Id}})
	t.fresh[event2{to, m.inbox}] = true
	m.Reach(messages.State_PROCESSED, at)
}

// enqueue puts a message at the end of its class.
func (t *tx) enqueue(edge string, m *message) {
	t.queued = append(t.queued, queued{edge: edge, class: class(m.Message), id: m.Message.Id})
	t.counts[edge]++
}

// takeFrom removes one from the queue of the rings; false: that was done before.
func (t *tx) takeFrom(at queuedAt) bool {
	if t.gone[at] {
		return false
	}
	if t.gone == nil {
		t.gone = map[queuedAt]bool{}
	}
	t.gone[at] = true
	return true
}

func class(m *messages.Message) int16 { return int16(min(m.Class, 255)) }

// queueWrites has all that has changed written.
func (t *tx) queueWrites(b *pgx.Batch) {
	t.writeMessages(b)
	t.writeEvents(b)
	for _, f := range t.writes {
		f(b)
	}
	if t.ringW != nil {
		t.note(t.rings.write(b, t.ringW))
	}
	t.writeQueue(b)
}

// ring is what changes of the rings.
func (t *tx) ring() *ringWrites {
	if t.ringW == nil {
		t.ringW = newRingWrites()
	}
	return t.ringW
}

func (t *tx) writeMessages(b *pgx.Batch) {
	if n := len(t.created); n > 0 {
		ids, hashes, bodies, details := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
		senders, recipients, edges, refs, codings := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		planned, slots := make([]int32, n), make([]int32, n)
		states := make([]int16, n)
		seqs, inboxes := make([]int64, n), make([]int64, n)
		settled := make([]bool, n)
		for i, m := range t.created {
			body, err := marshal(m.Message)
			t.note(err)
			ids[i], hashes[i], bodies[i], details[i] = m.Message.Id, m.hash, body, m.detail()
			senders[i], recipients[i], edges[i], refs[i], codings[i] = column(m.Message.From), column(m.Message.To), column(m.Edge), column(m.Ref), column(m.Coding)
			planned[i], slots[i], states[i] = int32(m.planned), int32(m.Slots), int16(m.State)
			seqs[i], inboxes[i], settled[i] = int64(m.Seq), int64(m.inbox), m.settled
			delete(t.changed, string(m.Message.Id))
			delete(t.rewrite, string(m.Message.Id))
		}
		b.Queue(`INSERT INTO messages (id, sender, recipient, edge, ref, hash, coding, planned, body, state, seq, slots, inbox, settled, detail)
			SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::integer[], $9::bytea[], $10::smallint[], $11::bigint[], $12::integer[], $13::bigint[], $14::boolean[], $15::bytea[])`,
			ids, senders, recipients, edges, refs, hashes, codings, planned, bodies, states, seqs, slots, inboxes, settled, details)
	}
	if n := len(t.changed); n > 0 {
		ids, details := make([][]byte, 0, n), make([][]byte, 0, n)
		states := make([]int16, 0, n)
		seqs, inboxes := make([]int64, 0, n), make([]int64, 0, n)
		slots := make([]int32, 0, n)
		settled := make([]bool, 0, n)
		for _, id := range slices.Sorted(maps.Keys(t.changed)) {
			m := t.changed[id]
			ids, details, states = append(ids, m.Message.Id), append(details, m.detail()), append(states, int16(m.State))
			seqs, inboxes, slots, settled = append(seqs, int64(m.Seq)), append(inboxes, int64(m.inbox)), append(slots, int32(m.Slots)), append(settled, m.settled)
		}
		b.Queue(`UPDATE messages m SET state = a.state, seq = a.seq, slots = a.slots, inbox = a.inbox, settled = a.settled, detail = a.detail
			FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::integer[], $5::bigint[], $6::boolean[], $7::bytea[]) AS a (id, state, seq, slots, inbox, settled, detail)
			WHERE m.id = a.id`, ids, states, seqs, slots, inboxes, settled, details)
	}
	for _, id := range slices.Sorted(maps.Keys(t.rewrite)) { // rare
		m := t.rewrite[id]
		body, err := marshal(m.Message)
		t.note(err)
		b.Queue(`UPDATE messages SET recipient = $2, body = $3 WHERE id = $1`, m.Message.Id, column(m.Message.To), body)
	}
	if n := len(t.settled); n > 0 {
		at, ids := make([]int64, n), make([][]byte, n)
		for i, s := range t.settled {
			at[i], ids[i] = s.at, s.id
		}
		b.Queue(`INSERT INTO settled (at, id) SELECT * FROM unnest($1::bigint[], $2::bytea[]) ON CONFLICT (at, id) DO NOTHING`, at, ids)
	}
}

func (t *tx) writeEvents(b *pgx.Batch) {
	if n := len(t.events); n > 0 {
		names, refs, ids := make([]string, n), make([]string, n), make([][]byte, n)
		numbers, at, states := make([]int64, n), make([]int64, n), make([]int16, n)
		for i, e := range t.events {
			names[i], refs[i], ids[i] = column(e.user), column(e.Ref), e.ID
			numbers[i], at[i], states[i] = int64(e.Number), millis(e.At), int16(e.State)
		}
		b.Queue(`INSERT INTO events (name, n, at, id, state, ref) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::smallint[], $6::text[])`,
			names, numbers, at, ids, states, refs)
	}
	if len(t.users) > 0 {
		var names []string
		var last, hours []int64
		for name, u := range t.users {
			if _, rolled := t.hours[hourOf{u.hour, name}]; u.grown || rolled {
				names, last, hours = append(names, column(name)), append(last, int64(u.last)), append(hours, int64(u.hour))
			}
		}
		if len(names) > 0 {
			b.Queue(`UPDATE users u SET last_event = a.last, hour = a.hour FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS a (name, last, hour) WHERE u.name = a.name`, names, last, hours)
		}
	}
	if n := len(t.hours); n > 0 {
		hours, names, last := make([]int64, 0, n), make([]string, 0, n), make([]*int64, 0, n)
		for h, l := range t.hours {
			hours, names = append(hours, int64(h.hour)), append(names, column(h.user))
			var value *int64
			if l != nil {
				v := int64(*l)
				value = &v
			}
			last = append(last, value)
		}
		b.Queue(`INSERT INTO event_hours (hour, name, last) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) ON CONFLICT (hour, name) DO UPDATE SET last = excluded.last`, hours, names, last)
	}
	if len(t.fresh) > 0 {
		var added, taken []string
		var addedN, takenN []int64
		for e, add := range t.fresh {
			if add {
				added, addedN = append(added, column(e.user)), append(addedN, int64(e.n))
			} else {
				taken, takenN = append(taken, column(e.user)), append(takenN, int64(e.n))
			}
		}
		if len(added) > 0 {
			b.Queue(`INSERT INTO fresh (name, n) SELECT * FROM unnest($1::text[], $2::bigint[])`, added, addedN)
		}
		if len(taken) > 0 {
			b.Queue(`DELETE FROM fresh f USING unnest($1::text[], $2::bigint[]) AS a (name, n) WHERE f.name = a.name AND f.n = a.n`, taken, takenN)
		}
	}
}

func (t *tx) writeQueue(b *pgx.Batch) {
	if n := len(t.talked); n > 0 {
		edges, handsets, names, at, numbers := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]int64, 0, n), make([]string, 0, n)
		for k, c := range t.talked {
			edges, handsets, names = append(edges, column(k.edge)), append(handsets, column(k.handset)), append(names, column(k.user))
			at, numbers = append(at, millis(c.At)), append(numbers, column(c.Number))
		}
		b.Queue(`INSERT INTO conversations (edge, handset, name, at, number) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) AS a (edge, handset, name, at, number)
			ORDER BY edge, handset, name ON CONFLICT (edge, handset, name) DO UPDATE SET at = excluded.at, number = excluded.number`, edges, handsets, names, at, numbers)
	}
	for k := range t.ended {
		b.Queue(`DELETE FROM conversations WHERE edge = $1 AND handset = $2 AND name = $3`, column(k.edge), column(k.handset), column(k.user))
	}
	var edges, headEdges []string
	var classes, headClasses []int16
	var ids, headIDs [][]byte
	var numbers []int64
	for _, q := range t.queued {
		if q.n == 0 {
			edges, classes, ids = append(edges, column(q.edge)), append(classes, q.class), append(ids, q.id)
		} else {
			headEdges, headClasses, numbers, headIDs = append(headEdges, column(q.edge)), append(headClasses, q.class), append(numbers, q.n), append(headIDs, q.id)
		}
	}
	if len(edges) > 0 {
		b.Queue(`INSERT INTO queue (edge, class, id) SELECT * FROM unnest($1::text[], $2::smallint[], $3::bytea[])`, edges, classes, ids)
	}
	if len(headEdges) > 0 {
		b.Queue(`INSERT INTO queue (edge, class, n, id) SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bytea[])`, headEdges, headClasses, numbers, headIDs)
	}
	if n := len(t.gone); n > 0 {
		edges, classes, numbers := make([]string, 0, n), make([]int16, 0, n), make([]int64, 0, n)
		for at := range t.gone {
			edges, classes, numbers = append(edges, column(t.rings.edge)), append(classes, at.class), append(numbers, at.n)
		}
		// The edge with each: given once, the whole of its queue would be read.
		b.Queue(`DELETE FROM queue q USING unnest($1::text[], $2::smallint[], $3::bigint[]) AS a (edge, class, n) WHERE q.edge = a.edge AND q.class = a.class AND q.n = a.n`, edges, classes, numbers)
	}
	if n := len(t.counts); n > 0 {
		edges, deltas := make([]string, 0, n), make([]int64, 0, n)
		for edge, delta := range t.counts {
			if delta != 0 {
				edges, deltas = append(edges, column(edge)), append(deltas, delta)
			}
		}
		if len(edges) > 0 {
			b.Queue(`INSERT INTO queue_counts AS q (edge, shard, n) SELECT edge, $3::smallint, n FROM unnest($1::text[], $2::bigint[]) AS a (edge, n)
				ORDER BY edge ON CONFLICT (edge, shard) DO UPDATE SET n = q.n + excluded.n`, edges, deltas, t.shard)
		}
	}
}

// countingBegins keeps poll from taking over a count that is being changed, until
// countingEnds: that of the same rings, also where others are claimed meanwhile.
func (t *tx) countingBegins() {
	for edge := range t.counts {
		if r := t.s.owned(edge); r != nil {
			r.underway.Add(1)
			t.counting = append(t.counting, r)
		}
	}
}

func (t *tx) countingEnds() {
	for _, r := range t.counting {
		r.underway.Add(-1)
	}
	t.counting = nil
}

// published tells of what is committed.
func (t *tx) published() {
	for _, f := range t.finals {
		t.s.opts.Measures.Settled(f.edge, f.toHandset, f.state, f.took)
	}
	if len(t.grown) > 0 {
		t.s.mu.Lock()
		changed := t.s.changed
		t.s.mu.Unlock()
		changed(t.grown)
	}
	var others []string
	for edge, delta := range t.counts {
		switch r := t.s.owned(edge); {
		case r == nil && delta > 0:
			others = append(others, edge)
		case r == nil:
		case r == t.rings && t.read[edge]:
			r.setWaiting(t.waiting[edge] + delta)
		default:
			r.addWaiting(delta)
		}
	}
	if r := t.rings; r != nil && t.read[r.edge] && t.counts[r.edge] == 0 {
		r.polled(t.quiet, t.waiting[r.edge]) // nothing was there to take: nothing is to wait
	}
	t.countingEnds()
	if len(others) > 0 {
		t.s.opts.Queued(others)
	}
}
