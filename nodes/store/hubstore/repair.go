package hubstore

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// Repair makes a store from what can be read of a damaged one, marked as restored at
// this time: each edge joins anew, and says what it holds. slots are those of an edge's
// rings.
func Repair(damaged, dir string, slots func(edge string) uint32, now time.Time) ([]kv.Loss, error) {
	if err := notMoved(Options{Dir: damaged}); err != nil {
		return nil, err
	}
	return repair(kv.Options{Dir: dir, Node: Node}, damaged, slots, now)
}

func repair(opts kv.Options, damaged string, slots func(edge string) uint32, now time.Time) ([]kv.Loss, error) {
	return kv.Salvage(opts, damaged, func(opts kv.Options, lost []kv.Loss) ([]kv.Loss, error) {
		more, err := mend(opts, lost, slots, now)
		if err != nil {
			return nil, err
		}
		s, err := Open(Options{Dir: opts.Dir, FS: opts.FS, Node: opts.Node, ReserveBytes: -1})
		if err != nil {
			return nil, err
		}
		return more, errors.Join(s.MarkRestored(now), s.Close())
	})
}

// Describe says what a loss is about: keys begin with their kind, see the package.
func Describe(l kv.Loss) string {
	if l.File == kv.OfRecord {
		return l.Why
	}
	var kinds []string
	for _, k := range []struct {
		keys, name string
	}{
		{"U", "accounts"},
		{"M", "messages"},
		{"S", "how far messages were"},
		{"iu", "inboxes (made again from the messages)"},
		{"e", "events of senders"},
		{"QD", "queues and rings (made again from the messages and from what edges hold)"},
		{"E", "how far edges were (they say it when they join)"},
		{"WX", "messages on their way up (the edges have them)"},
		{"R", "refs: a client that sends such a message again sends another one"},
		{"H", "messages whose handset was asked whom they are for (made again)"},
		{"C", "conversations: handsets may be asked whom they answer"},
		{"Pr", "what devices have taken: they may get it again"},
	} {
		if slices.ContainsFunc([]byte(k.keys), func(prefix byte) bool { return l.Touches([]byte{prefix}) }) {
			kinds = append(kinds, k.name)
		}
	}
	if len(kinds) == 0 {
		kinds = []string{"nothing that is needed"}
	}
	return fmt.Sprintf("%s: %s; it may have held: %s", l.File, l.Why, strings.Join(kinds, ", "))
}

// mending makes the records of a store fit each other. A message's own two records (M, S)
// say how it stands; what else is stored about it follows them, and they are made again
// from that where they are missing. They are written and deleted together: where one is
// missing and cannot have been lost, the other is of a message that was forgotten.
type mending struct {
	*kv.Mending
	missing []kv.Loss
	slots   func(edge string) uint32
	now     time.Time

	stands map[string]standing       // each message's, by id
	down   map[string]*onWay         // those on their way down
	nobody map[string]*message       // for an inbox that has no room for them yet
	inbox  map[string]place          // where messages stand, by id
	fresh  map[string]bool           // keys u that are to be
	told   map[string]messages.State // the highest that senders have heard, by id
	ended  map[string]bool           // the retention index has them, by id
	last   map[string]uint64         // number of each known user's last event
	seqs   map[string]uint64         // last sequence assigned to an edge
	made   int                       // records to fit
}

// place in an inbox.
type place struct {
	user string
	n    uint64
}

type standing uint8

const (
	settled standing = iota + 1
	waiting          // in an inbox; nobody has taken it
	kept             // until its handset has said whom it is for
	onItsWay
)

// onWay is what is known of a message on its way down.
type onWay struct {
	edge   string
	class  byte
	state  messages.State
	seq    uint64 // as it says itself
	at     uint64 // as the ring says
	queued bool
	blank  bool // an edge held it, and what it says is not known
}

func mend(opts kv.Options, missing []kv.Loss, slots func(edge string) uint32, now time.Time) ([]kv.Loss, error) {
	return kv.Mend(opts, func(k *kv.Mending) {
		m := &mending{
			Mending: k, missing: missing, slots: slots, now: now,
			stands: map[string]standing{}, down: map[string]*onWay{}, nobody: map[string]*message{}, inbox: map[string]place{},
			fresh: map[string]bool{}, told: map[string]messages.State{}, ended: map[string]bool{}, last: map[string]uint64{}, seqs: map[string]uint64{},
		}
		for _, step := range []func(){
			m.numbers, m.events, m.messages, m.inboxes, m.asked, m.states, m.rings, m.queues, m.up, m.others, m.retention, m.users,
		} {
			step()
			m.Flush()
		}
		if m.made > 0 && len(missing) == 0 {
			m.Note(nil, fmt.Errorf("%d records did not fit the others, though none is damaged: they were made to", m.made))
		}
	})
}

func (m *mending) each(prefix byte, f func(key, value []byte)) { m.Each([]byte{prefix}, f) }

// mayMiss says whether the last write of a key may be lost: then it stands as it was
// before, or not at all, or again.
func (m *mending) mayMiss(k key) bool {
	return slices.ContainsFunc(m.missing, func(l kv.Loss) bool { return l.May(k) })
}

// numbered takes a key of a name and a number apart.
func numbered(k []byte) (name string, n uint64, ok bool) {
	r := reader{b: k[1:]}
	name = r.string()
	return name, lastNumber(r.b), r.err == nil && len(r.b) == 8
}

// numbers finds out how far each user's events were numbered, and who is settled.
func (m *mending) numbers() {
	upTo := func(user string, v []byte) {
		r := reader{b: v}
		m.last[user] = max(m.last[user], r.uint()) // 0 where it cannot be read
	}
	for _, prefix := range []byte{'N', 'P'} {
		m.each(prefix, func(k, v []byte) {
			r := reader{b: k[1:]}
			upTo(r.string(), v)
		})
	}
	m.each('T', func(k, v []byte) {
		switch {
		case len(k) == 26 && k[1] == 'm':
			m.ended[string(k[10:])] = true
		case len(k) > 10 && k[1] == 'e':
			r := reader{b: k[10:]}
			upTo(r.string(), v)
		}
	})
}

func (m *mending) events() {
	note := func(prefix byte, check func(user string, n uint64, value []byte) error) {
		m.each(prefix, func(k, v []byte) {
			user, n, ok := numbered(k)
			if !ok {
				m.Give(k, errShort)
				return
			}
			m.last[user] = max(m.last[user], n)
			if err := check(user, n, v); err != nil {
				m.Give(k, err)
			}
		})
	}
	note('e', func(_ string, n uint64, v []byte) error {
		e, err := decodeStateEvent(n, v)
		if err == nil {
			m.told[string(e.ID)] = max(m.told[string(e.ID)], e.State)
		}
		return err
	})
	note('i', func(user string, n uint64, v []byte) error {
		e, err := decodeMessageEvent(n, v)
		if err == nil {
			m.inbox[string(e.ID)] = place{user, n}
		}
		return err
	})
	note('u', func(string, uint64, []byte) error { return nil })
}

// toUser: it stands in an inbox, or only said something about others that do.
func (m *message) toUser() bool {
	return m.Message.To != "" && m.Message.To[0] != '+' && m.Message.Kind != messages.Message_NOTICE
}

// blank: an edge held it, and what it says is not known.
func (m *message) blank() bool {
	return m.Message.From == "" && m.Message.To == "" && m.Message.AcceptedUnixMs == 0
}

func (m *mending) messages() {
	m.each('M', func(k, v []byte) {
		id := slices.Clone(k[1:])
		msg, err := decodeBody(v)
		if err == nil && string(msg.Message.GetId()) != string(id) {
			err = errShort
		}
		if err != nil {
			m.Give(k, fmt.Errorf("message %x: %w", id, err))
			return
		}
		state, found := m.Get(key{'S'}.raw(id))
		if !found && !m.mayMiss(key{'S'}.raw(id)) && len(m.missing) > 0 {
			m.Drop(k)
			return
		}
		if at, given := m.inbox[string(id)]; given && msg.Message.To == "" { // as it was before its handset had said that
			msg.Message.To = at.user
			m.create(msg)
		}
		if found && msg.readState(state) == nil && (msg.inbox != 0 || msg.Final || msg.indexed || !msg.toUser()) {
			m.note(msg)
			return
		}
		if whole, err := decodeBody(v); err == nil { // nothing of an old state
			whole.Message.To = msg.Message.To
			m.ofNoState(whole)
		}
	})
}

// states drops what nobody has the text of.
func (m *mending) states() {
	m.each('S', func(k, v []byte) {
		id := slices.Clone(k[1:])
		if m.stands[string(id)] != 0 {
			return
		}
		if msg := (&message{Record: journal.Record{Message: &messages.Message{}}}); m.mayMiss(key{'M'}.raw(id)) && msg.readState(v) == nil && !msg.Final && !msg.indexed {
			m.Note(k, fmt.Errorf("message %x, last %v: its text is lost", id, msg.State))
		}
		m.Drop(k)
		m.made++
	})
}

// note sorts a message in.
func (m *mending) note(msg *message) {
	id, to := string(msg.Message.Id), msg.Message.To
	if msg.Edge != "" {
		m.seqs[msg.Edge] = max(m.seqs[msg.Edge], msg.Seq)
	}
	if msg.toUser() {
		m.last[to] += 0 // known
	}
	switch {
	case msg.inbox != 0:
		m.last[to] = max(m.last[to], msg.inbox)
		if m.stands[id] = settled; msg.Final {
			return
		}
		m.stands[id] = waiting
		if m.inbox[id] != (place{to, msg.inbox}) {
			m.intoInbox(msg)
		}
		m.fresh[string(keyOf('u', to).number(msg.inbox))] = true
	case msg.Final || msg.indexed:
		m.stands[id] = settled
	case to == "" && !msg.blank():
		m.stands[id] = kept
	default:
		m.stands[id] = onItsWay
		m.down[id] = &onWay{
			edge: msg.Edge, class: byte(min(msg.Message.Class, 255)), state: msg.State, seq: msg.Seq, blank: msg.blank(),
		}
	}
}

func (m *mending) intoInbox(msg *message) {
	to := msg.Message.To
	m.Set(keyOf('i', to).number(msg.inbox), encodeMessageEvent(journal.UserEvent{
		At: acceptedAt(msg), ID: msg.Message.Id, From: msg.Message.From, To: to, Edge: msg.Edge, Text: msg.Message.Text,
		PossibleDuplicate: msg.Message.PossibleDuplicate,
	}))
	m.inbox[string(msg.Message.Id)] = place{to, msg.inbox}
	m.made++
}

func acceptedAt(msg *message) time.Time { return time.UnixMilli(msg.Message.AcceptedUnixMs) }

// ofNoState finds out how far a message is of which only the text is left.
func (m *mending) ofNoState(msg *message) {
	m.made++
	id := string(msg.Message.Id)
	told := m.told[id]
	at := m.inbox[id]
	switch {
	case msg.toUser() && at.n != 0:
		u := keyOf('u', at.user).number(at.n)
		msg.inbox = at.n
		if _, fresh := m.Get(u); fresh || m.mayMiss(u) {
			m.begin(msg, messages.State_PROCESSED)
		} else {
			m.begin(msg, messages.State_DELIVERED)
		}
	case m.ended[id], told >= messages.State_PROCESSED && !msg.toUser():
		msg.indexed = true
		m.begin(msg, max(told, messages.State_UNKNOWN))
	case msg.toUser():
		m.nobody[id] = msg
	default:
		m.begin(msg, max(told, messages.State_ACCEPTED))
	}
}

// begin writes how far a message is.
func (m *mending) begin(msg *message, state messages.State) {
	msg.Reach(state, acceptedAt(msg))
	m.save(msg)
	m.note(msg)
}

func (m *mending) save(msg *message) { m.Set(key{'S'}.raw(msg.Message.Id), msg.state()) }

// inboxes makes messages again of which only the event is left, and gives those that
// have none a place behind all others.
func (m *mending) inboxes() {
	m.each('i', func(k, v []byte) {
		user, n, ok := numbered(k)
		e, err := decodeMessageEvent(n, v)
		if !ok || err != nil || len(e.ID) != 16 || m.stands[string(e.ID)] != 0 || m.nobody[string(e.ID)] != nil {
			return
		}
		msg := &message{inbox: n}
		msg.Edge = e.Edge
		msg.Message = &messages.Message{
			Id: e.ID, From: e.From, To: user, Text: e.Text, PossibleDuplicate: e.PossibleDuplicate, AcceptedUnixMs: e.At.UnixMilli(),
		}
		if !m.again(msg) {
			m.Drop(k)
		}
	})
	for _, id := range slices.Sorted(maps.Keys(m.nobody)) {
		msg := m.nobody[id]
		m.last[msg.Message.To]++
		msg.inbox = m.last[msg.Message.To]
		m.begin(msg, messages.State_PROCESSED)
	}
	m.nobody = nil
	m.each('u', func(k, _ []byte) {
		if !m.fresh[string(k)] {
			m.Drop(k)
		}
		delete(m.fresh, string(k))
	})
	for k := range m.fresh {
		m.Set([]byte(k), nil)
	}
}

// again makes a message whose own record is lost from another, unless it was forgotten.
func (m *mending) again(msg *message) bool {
	id := msg.Message.Id
	state, found := m.Get(key{'S'}.raw(id))
	if !m.mayMiss(key{'M'}.raw(id)) || !found && !m.mayMiss(key{'S'}.raw(id)) {
		return false
	}
	m.create(msg)
	if found && msg.readState(state) == nil {
		m.made++
		m.note(msg)
	} else {
		m.ofNoState(msg)
	}
	return true
}

// create writes what a message says.
func (m *mending) create(msg *message) {
	body, err := msg.body()
	if err != nil {
		m.Err = err
		return
	}
	m.Set(key{'M'}.raw(msg.Message.Id), body)
}

// rings keeps in each slot what is still on its way, and puts what was there by its own
// word back. What the ring has gone on from has no slot any more.
func (m *mending) rings() {
	m.each('E', func(k, v []byte) {
		r := reader{b: k[1:]}
		edge := r.string()
		switch kind := k[len(k)-1]; kind {
		case edgeLast:
			m.seqs[edge] = max(m.seqs[edge], lastNumber(v))
		case edgeInstance: // of an edge that was replaced it may be the older one: the edge says which it is
			if m.mayMiss(k) {
				m.Drop(k)
			}
		}
	})
	m.each('D', func(k, _ []byte) {
		if edge, seq, ok := numbered(k); ok {
			m.seqs[edge] = max(m.seqs[edge], seq)
		}
	})
	occupied := map[string]bool{} // keys D
	inRing := func(edge string, seq uint64) bool { return seq > 0 && seq+uint64(m.slots(edge)) > m.seqs[edge] }
	m.each('D', func(k, v []byte) {
		edge, seq, ok := numbered(k)
		slot, err := decodeDown(v)
		if !ok || err != nil {
			m.Give(k, firstError(err, errShort))
			return
		}
		w := m.down[string(slot.id)]
		if m.stands[string(slot.id)] == 0 {
			m.made++
		}
		if w == nil || !inRing(edge, seq) || w.at != 0 && w.at == w.seq {
			m.Drop(k)
			return
		}
		if w.at != 0 {
			old := keyOf('D', edge).number(w.at)
			m.Drop(old)
			delete(occupied, string(old))
		}
		w.at = seq
		occupied[string(k)] = true
	})
	for _, id := range slices.Sorted(maps.Keys(m.down)) {
		w := m.down[id]
		k := keyOf('D', w.edge).number(w.seq)
		switch {
		case w.at == 0 && w.wasInRing() && !w.blank && inRing(w.edge, w.seq) && !occupied[string(k)]:
			w.at, occupied[string(k)] = w.seq, true
			m.Set(k, encodeDown(&downSlot{id: []byte(id), order: orderKey(m.message(id).Message)}))
		case w.at != 0 && w.at != w.seq:
			msg := m.message(id)
			msg.Seq, msg.Slots = w.at, m.slots(w.edge)
			msg.Reach(messages.State_RETRIEVED, m.now)
			m.save(msg)
		}
	}
	for edge, seq := range m.seqs {
		m.Set(keyOf('E', edge).byte(edgeLast), key(nil).number(seq))
	}
}

// wasInRing: by its own word it was sent, or about to be.
func (w *onWay) wasInRing() bool {
	return w.state > messages.State_ACCEPTED && w.state < messages.State_DEFERRED
}

// message reads one that is whole.
func (m *mending) message(id string) *message {
	body, _ := m.Get(key{'M'}.raw([]byte(id)))
	state, _ := m.Get(key{'S'}.raw([]byte(id)))
	msg, err := decodeMessage(body, state)
	if err != nil {
		m.Err = errors.Join(m.Err, err)
		return &message{Record: journal.Record{Message: &messages.Message{Id: []byte(id)}}}
	}
	return msg
}

// queues keeps what waits in its order, and puts what stands neither there nor in a ring
// where its age says. What may have been sent meanwhile is in doubt.
func (m *mending) queues() {
	type line struct {
		edge  string
		class byte
	}
	lines, missing := map[line][]string{}, map[line][]string{}
	m.each('Q', func(k, id []byte) {
		r := reader{b: k[1:]}
		edge := r.string()
		w := m.down[string(id)]
		if m.stands[string(id)] == 0 {
			m.made++
		}
		if r.err != nil || len(r.b) != 9 || w == nil || w.at != 0 || w.queued || w.blank {
			m.Drop(k)
			return
		}
		w.queued = true
		l := line{edge, r.b[0]}
		lines[l] = append(lines[l], string(id))
		if w.wasInRing() || m.mayMiss(k) && m.mayMiss(key{'S'}.raw(id)) {
			m.doubt(string(id))
		}
	})
	for _, id := range slices.Sorted(maps.Keys(m.down)) {
		w := m.down[id]
		switch {
		case w.at != 0 || w.queued || w.state >= messages.State_DEFERRED: // the edge says whether it has those
		case w.blank: // likewise
			m.Drop(key{'M'}.raw([]byte(id)))
			m.Drop(key{'S'}.raw([]byte(id)))
			delete(m.stands, id)
		default:
			l := line{w.edge, w.class}
			missing[l] = append(missing[l], id)
			m.doubt(id)
			m.made++
		}
	}
	for l, late := range missing {
		m.Each(queueKey(l.edge, l.class), func(k, _ []byte) { m.Drop(k) })
		for i, id := range byAge(lines[l], late) {
			m.Set(queueKey(l.edge, l.class).number(firstQueued+uint64(i)), []byte(id))
		}
	}
}

// byAge puts each of late, which ascend, before the first of those in line that is
// younger: ids grow with time.
func byAge(inLine, late []string) (all []string) {
	for _, id := range inLine {
		for len(late) > 0 && late[0] < id {
			all, late = append(all, late[0]), late[1:]
		}
		all = append(all, id)
	}
	return append(all, late...)
}

// doubt: it may have been submitted, and nobody knows.
func (m *mending) doubt(id string) {
	msg := m.message(id)
	raised := msg.Doubt(&messages.Doubt{Attempt: msg.Attempts, Again: true}, m.now)
	if from := msg.Message.From; raised && from != "" && from[0] != '+' && msg.Message.Kind != messages.Message_NOTICE {
		m.last[from]++
		m.Set(keyOf('e', from).number(m.last[from]), encodeStateEvent(journal.UserEvent{At: m.now, ID: msg.Message.Id, State: msg.State, Ref: msg.Ref}))
	}
	m.save(msg)
}

// up keeps what came from handsets and is nowhere else yet. The edge sends the rest
// again, as it has no answer, and is told what has become of it.
func (m *mending) up() {
	m.each('W', func(k, v []byte) {
		edge, seq, ok := numbered(k)
		slot, err := decodeUp(v)
		if !ok || err != nil {
			m.Give(k, firstError(err, errShort))
			return
		}
		b, _ := m.Get(keyOf('E', edge).byte(edgeReleased))
		if released := lastNumber(b); m.stands[string(slot.message.GetId())] != 0 || seq <= released || seq-released > uint64(m.slots(edge)) {
			m.Drop(k)
		}
	})
	m.each('X', func(k, _ []byte) { m.Drop(k) })
}

// asked keeps what waits for a handset's word, which stands twice.
func (m *mending) asked() {
	there := map[string]bool{}
	m.each('H', func(k, v []byte) {
		r := reader{b: k[1:]}
		edge, _ := r.string(), r.string()
		msg := &message{}
		msg.Message = &messages.Message{}
		if err := proto.Unmarshal(v, msg.Message); err != nil || r.err != nil || len(r.b) != 24 || string(msg.Message.Id) != string(r.b[8:]) {
			m.Give(k, firstError(err, errShort))
			return
		}
		id := string(msg.Message.Id)
		if m.stands[id] == 0 {
			msg.Edge, msg.Message.To = edge, ""
			msg.Message.AcceptedUnixMs = cmp.Or(msg.Message.AcceptedUnixMs, m.now.UnixMilli())
			m.again(msg)
		}
		if there[id] = m.stands[id] == kept; !there[id] {
			m.Drop(k)
		}
	})
	for id, s := range m.stands {
		if s != kept || there[id] {
			continue
		}
		msg := m.message(id)
		b, err := proto.Marshal(msg.Message)
		m.Err = errors.Join(m.Err, err)
		m.Set(keyOf('H', msg.Edge, msg.Message.From).number(0).raw([]byte(id)), b)
	}
}

// others are records for themselves.
func (m *mending) others() {
	for prefix, check := range map[byte]func(v []byte) error{
		'U': func(v []byte) error { _, err := decodeUser("", v); return err },
		'C': func(v []byte) error { _, err := decodeConversation("", v); return err },
		'P': func(v []byte) error { r := reader{b: v}; r.uint(); return r.err },
	} {
		m.each(prefix, func(k, v []byte) {
			if err := check(v); err != nil {
				m.Give(k, fmt.Errorf("%q: %w", k, err))
			}
		})
	}
	m.each('R', func(k, v []byte) {
		if len(v) != 48 || m.stands[string(v[:16])] == 0 {
			m.Drop(k) // or a client that sends it again would be told that it is there
			m.made++
		}
	})
}

// retention sees that what is settled is forgotten in its time, and nothing else.
func (m *mending) retention() {
	there := map[string]bool{}
	m.each('T', func(k, v []byte) {
		id := string(k[len(k)-min(16, len(k)):])
		upTo := reader{b: v}
		switch {
		case len(k) == 26 && k[1] == 'm' && m.stands[id] == settled && !there[id]:
			there[id] = true
		case len(k) > 10 && k[1] == 'e' && upTo.uint() > 0:
		default: // an hour that is not over is written with the users
			m.Drop(k)
		}
	})
	for id, s := range m.stands {
		if s == settled && !there[id] {
			m.Set(settledKey(m.now, []byte(id)), nil)
		}
	}
}

// users go on counting above what was given out, and those whose account is lost are named.
func (m *mending) users() {
	for user, last := range m.last {
		b, _ := m.Get(keyOf('N', user))
		r := reader{b: b}
		was, hour := r.uint(), r.uint() // 0 where they are lost
		if last > 0 {
			if hour == 0 {
				hour = uint64(m.now.Unix()) / 3600
			}
			m.Set(hourKey(hour, user), nil)
			var w writer
			w.uint(max(was, last))
			w.uint(hour)
			m.Set(keyOf('N', user), w)
		}
		person := user != "" && user[0] >= 'a' && user[0] <= 'z' // others send from a handset
		if _, found := m.Get(keyOf('U', user)); !found && person && m.mayMiss(keyOf('U', user)) {
			m.Note(keyOf('U', user), fmt.Errorf("the account of %q: put the user again", user))
		}
	}
}
