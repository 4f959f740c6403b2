package hubstore

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// What Export hands over: the prefixes of this package's keys say what each is.
type (
	// Restored is when the store was restored from a backup, in seconds since 1970.
	Restored uint64
	// Edge and its ends of the rings.
	Edge struct {
		Name                                   string
		Epoch, Last, Applied, Released, Joined uint64
		Instance, Replaced                     []byte
	}
	// Queued messages of an edge and a class come in their order.
	Queued struct {
		Edge  string
		Class byte
		N     uint64
		ID    []byte
	}
	// Down is a message in an edge's down ring.
	Down struct {
		Edge       string
		Seq, After uint64
		ID         []byte
		Order      string // its order key
	}
	// Up is a message in an edge's up ring.
	Up struct {
		Edge       string
		Seq, After uint64
		Message    *messages.Message
		Result     *messages.Result // nil: none yet
	}
	// Kept waits until the handset says whom it is for.
	Kept struct {
		Edge, Handset string
		Seq           uint64
		ID            []byte
		Message       *messages.Message
	}
	// Talk is a conversation.
	Talk struct {
		Edge, Handset string
		journal.Conversation
	}
	// Message is a record with what else is stored of it.
	Message struct {
		journal.Record
		Body    []byte // hash under its ref; nil: no ref
		Planned int
		Inbox   uint64 // its number among the recipient's events; 0: none
		Settled bool   // stands in the retention index
	}
	// Events is how far a user's events go.
	Events struct {
		User       string
		Last, Hour uint64
	}
	// Event of a user.
	Event struct {
		User string
		journal.UserEvent
	}
	// Fresh is a message that no client has taken.
	Fresh struct {
		User string
		N    uint64
	}
	// Device of a user.
	Device struct {
		User, Device string
		Floor        uint64
	}
	// Taken is a message that a device has, beyond its floor.
	Taken struct {
		User, Device string
		N            uint64
	}
	// Hour of the retention index of events.
	Hour struct {
		User string
		Hour uint64
		Last uint64 // 0: that of Events
	}
	// Settled is an entry of the retention index of messages.
	Settled struct {
		At uint64 // milliseconds since 1970
		ID []byte
	}
)

// Export calls f with all that is stored (and journal.User for the accounts) until
// it fails. Nothing else may use the store meanwhile.
func (s *Store) Export(f func(item any) error) error {
	if s.restored != 0 {
		if err := f(Restored(s.restored)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.edges)) {
		if err := s.exportEdge(s.edges[name], f); err != nil {
			return err
		}
	}
	for _, each := range []struct {
		prefix key
		item   func(r *reader, value []byte) (any, error)
	}{
		{key{'Q'}, func(r *reader, v []byte) (any, error) {
			return Queued{Edge: r.string(), Class: r.octet(), N: r.number(), ID: slices.Clone(v)}, nil
		}},
		{key{'H'}, func(r *reader, v []byte) (any, error) {
			k := Kept{Edge: r.string(), Handset: r.string(), Seq: r.number(), Message: &messages.Message{}}
			k.ID = slices.Clone(r.b)
			return k, proto.Unmarshal(v, k.Message)
		}},
		{key{'C'}, func(r *reader, v []byte) (any, error) {
			t := Talk{Edge: r.string(), Handset: r.string()}
			var err error
			t.Conversation, err = decodeConversation(r.string(), v)
			return t, err
		}},
		{key{'M'}, s.exportMessage},
		{key{'U'}, func(r *reader, v []byte) (any, error) { return decodeUser(r.string(), v) }},
		{key{'N'}, func(r *reader, v []byte) (any, error) {
			value := reader{b: v}
			return Events{User: r.string(), Last: value.uint(), Hour: value.uint()}, value.err
		}},
		{key{'e'}, func(r *reader, v []byte) (any, error) {
			user := r.string()
			e, err := decodeStateEvent(r.number(), slices.Clone(v))
			return Event{user, e}, err
		}},
		{key{'i'}, func(r *reader, v []byte) (any, error) {
			user := r.string()
			e, err := decodeMessageEvent(r.number(), slices.Clone(v))
			return Event{user, e}, err
		}},
		{key{'u'}, func(r *reader, _ []byte) (any, error) { return Fresh{r.string(), r.number()}, nil }},
		{key{'P'}, func(r *reader, v []byte) (any, error) {
			value := reader{b: v}
			return Device{r.string(), r.string(), value.uint()}, value.err
		}},
		{key{'r'}, func(r *reader, _ []byte) (any, error) { return Taken{r.string(), r.string(), r.number()}, nil }},
		{key{'T', 'm'}, func(r *reader, _ []byte) (any, error) {
			return Settled{At: r.number(), ID: slices.Clone(r.b)}, nil
		}},
		{key{'T', 'e'}, func(r *reader, v []byte) (any, error) {
			h := Hour{Hour: r.number(), User: r.string()}
			if len(v) > 0 {
				value := reader{b: v}
				h.Last = value.uint()
				return h, value.err
			}
			return h, nil
		}},
	} {
		var bad error
		if err := s.db.Scan(each.prefix, kv.PrefixEnd(each.prefix), func(k, v []byte) bool {
			r := reader{b: slices.Clone(k[len(each.prefix):])}
			item, err := each.item(&r, v)
			if bad = firstError(err, r.err); bad == nil {
				bad = f(item)
			}
			return bad == nil
		}); err != nil || bad != nil {
			return fmt.Errorf("hubstore: entries %s: %w", each.prefix, firstError(err, bad))
		}
	}
	return nil
}

func (s *Store) exportEdge(e *edge, f func(item any) error) error {
	get := func(kind byte) []byte {
		b, _, err := s.db.Get(keyOf('E', e.name).byte(kind))
		if err != nil {
			return nil
		}
		return b
	}
	if err := f(Edge{
		Name: e.name, Epoch: e.epoch, Last: e.last, Applied: e.applied, Released: e.released,
		Joined: lastNumber(get(edgeJoined)), Instance: get(edgeInstance), Replaced: get(edgeReplaced),
	}); err != nil {
		return err
	}
	for _, seq := range slices.Sorted(maps.Keys(e.down)) {
		slot := e.down[seq]
		if err := f(Down{Edge: e.name, Seq: seq, After: slot.after, ID: slot.id, Order: slot.order}); err != nil {
			return err
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(e.up)) {
		slot := e.up[seq]
		if err := f(Up{Edge: e.name, Seq: seq, After: slot.after, Message: slot.message, Result: slot.result}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) exportMessage(r *reader, body []byte) (any, error) {
	state, ok, err := s.db.Get(key{'S'}.raw(r.b))
	if err != nil || !ok {
		return nil, firstError(err, fmt.Errorf("message %x has no state", r.b))
	}
	m, err := decodeMessage(slices.Clone(body), state)
	if err != nil {
		return nil, err
	}
	out := Message{Record: m.Record, Planned: m.planned, Inbox: m.inbox, Settled: m.indexed}
	if m.Ref != "" {
		known, ok, err := s.db.Get(keyOf('R', m.Message.From).raw([]byte(m.Ref)))
		if err != nil {
			return nil, err
		}
		if ok && len(known) > 16 && string(known[:16]) == string(m.Message.Id) {
			out.Body = slices.Clone(known[16:])
		}
	}
	return out, nil
}

// number is eight octets, big-endian.
func (r *reader) number() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	n := lastNumber(r.b[:8])
	r.b = r.b[8:]
	return n
}

func (r *reader) octet() byte {
	if len(r.b) < 1 {
		r.fail()
		return 0
	}
	b := r.b[0]
	r.b = r.b[1:]
	return b
}

// movedFile in a store's folder says that what it held is elsewhere now.
const movedFile = "MOVED"

// MarkMoved has Open refuse this folder from now on: its contents live on elsewhere,
// and two stores would each go on with the same rings.
func MarkMoved(dir, where string) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, movedFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("hubstore: marking %s as moved: %w", dir, err)
	}
	_, err = f.WriteString(where + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("hubstore: marking %s as moved: %w", dir, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("hubstore: marking %s as moved: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// notMoved refuses a folder that MarkMoved has marked.
func notMoved(opts Options) error {
	if opts.FS == nil {
		f, err := os.Open(filepath.Join(opts.Dir, movedFile))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hubstore: %w", err)
		}
		defer f.Close()
		where, err := io.ReadAll(f)
		return errors.Join(err, fmt.Errorf("hubstore: what %s held was moved: %s; set store.driver to postgres and store.dsn to it. (To go back to the state of then, and lose all that came since, delete %s)",
			opts.Dir, string(where[:max(0, len(where)-1)]), f.Name()))
	}
	return nil
}
