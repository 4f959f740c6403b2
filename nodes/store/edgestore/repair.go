package edgestore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// Repaired is what has become of a damaged journal.
type Repaired struct {
	Lost []kv.Loss
	// Anew: what says which journal it was is lost, so that it is a new one to the hub,
	// which is to be told (ringway edge replace).
	Anew bool
}

// Repair makes a journal from what can be read of a damaged one, marked as restored:
// the hub sends again what of the down ring is missing, and tells what has ended.
func Repair(damaged, dir, edge string) (Repaired, error) {
	return repair(kv.Options{Dir: dir, Node: Node(edge)}, damaged)
}

func repair(opts kv.Options, damaged string) (r Repaired, err error) {
	r.Lost, err = kv.Salvage(opts, damaged, func(opts kv.Options, lost []kv.Loss) (more []kv.Loss, err error) {
		if r.Anew, more, err = mend(opts, lost); err != nil {
			return nil, err
		}
		s, err := Open(Options{KV: opts})
		if err != nil {
			return nil, err
		}
		return more, errors.Join(s.MarkRestored(), s.Close())
	})
	return r, err
}

// Describe says what a loss is about: keys begin with their kind, see the package.
func Describe(l kv.Loss) string {
	var kinds []string
	for _, k := range []struct {
		key  byte
		name string
	}{
		{'c', "receipts expected"},
		{'d', "messages to the SMSC (the hub has them)"},
		{'e', "results and receipts on their way to the hub"},
		{'i', "notes of texts that are not whole"},
		{'k', "messages to be tried again (the hub has them)"},
		{'m', "how far the journal was"},
		{'p', "receipts ahead of their message"},
		{'q', "messages from handsets"},
		{'r', "results of messages (the hub has the messages)"},
		{'t', "how far messages were (the hub sends them again)"},
		{'u', "messages from handsets, on their way to the hub"},
	} {
		if l.Touches([]byte{k.key}) {
			kinds = append(kinds, k.name)
		}
	}
	if len(kinds) == 0 {
		kinds = []string{"nothing that is needed"}
	}
	return fmt.Sprintf("%s: %s; it may have held: %s", l.File, l.Why, strings.Join(kinds, ", "))
}

// mending makes the records of a journal fit each other.
type mending struct {
	*kv.Mending
	anew bool
}

func mend(opts kv.Options, lost []kv.Loss) (anew bool, more []kv.Loss, err error) {
	more, err = kv.Mend(opts, func(k *kv.Mending) {
		m := &mending{Mending: k}
		m.standing(lost)
		for _, step := range []func(){m.down, m.up, m.queue, m.events, m.receipts, m.notes} {
			step()
		}
		anew = m.anew
	})
	return anew, more, err
}

func (m *mending) each(kind byte, f func(key, value []byte)) { m.Each([]byte{kind}, f) }

func (m *mending) number(name string) (n uint64) {
	if value, found := m.Get(meta(name)); found && len(value) == 8 {
		n = binary.BigEndian.Uint64(value)
	}
	return n
}

// standing looks whether the journal knows which one it is, and how far it was. If not
// it begins anew, as one of an edge that was replaced: with what came from the SMSC, and
// nothing of what the hub has and sends again.
func (m *mending) standing(lost []kv.Loss) {
	instance, _ := m.Get(meta("instance"))
	m.anew = len(instance) != 16 || m.number("epoch") == 0
	for _, l := range lost {
		for _, name := range []string{"instance", "epoch", "owner", "released", "retrieved", "trimmed"} {
			m.anew = m.anew || l.From != nil && l.May(meta(name))
		}
	}
	if !m.anew {
		return
	}
	for _, kind := range []byte("mdrtk") {
		m.each(kind, func(key, _ []byte) { m.Drop(key) })
	}
	m.Flush()
}

// down keeps of the mirror and its tasks what is whole; the hub sends the rest again.
func (m *mending) down() {
	held := map[string]bool{} // by id
	there := map[string]bool{}
	m.each('d', func(key, value []byte) {
		e, err := decodeEntry(binary.BigEndian.Uint64(key[1:]), value)
		if err != nil || len(e.Message.GetId()) == 0 {
			m.Give(key, errors.Join(err, errCodec))
			return
		}
		held[string(e.Message.Id)], there[string(key[1:])] = true, true
	})
	m.each('r', func(key, value []byte) {
		if err := proto.Unmarshal(value, new(messages.Result)); err != nil {
			m.Give(key, err)
		} else if !there[string(key[1:])] {
			m.Drop(key)
		}
	})
	retry := map[string]bool{}
	m.each('k', func(key, value []byte) {
		if err := proto.Unmarshal(value, new(messages.Message)); err != nil {
			m.Give(key, err)
			return
		}
		retry[string(key[1:])] = true
	})
	begun := map[string]bool{}
	m.each('t', func(key, value []byte) {
		id := string(key[1:])
		switch t, err := decodeTask(value); {
		case err != nil:
			m.Give(key, err)
		case t.Deferred && !retry[id]:
			m.Give(key, errMissing)
		case !t.Deferred && !held[id]:
			m.Drop(key)
		default:
			begun[id] = t.Deferred
		}
	})
	for id := range retry { // the hub has it go out again
		if !begun[id] {
			m.Drop(named('k', []byte(id)))
		}
	}
}

// up sees that no sequence of the ring is given a second time.
func (m *mending) up() {
	retrieved := m.number("retrieved")
	m.each('u', func(key, value []byte) {
		seq := binary.BigEndian.Uint64(key[1:])
		if _, err := decodeEntry(seq, value); err != nil {
			m.Give(key, err)
		}
		retrieved = max(retrieved, seq)
	})
	if retrieved > 0 {
		m.Set(meta("retrieved"), be64(retrieved))
	}
}

// queue closes the gaps between the messages that wait: they move up behind the last.
func (m *mending) queue() {
	first, last, count := uint64(0), uint64(0), uint64(0)
	m.each('q', func(key, value []byte) {
		if err := proto.Unmarshal(value, new(messages.Message)); err != nil {
			m.Give(key, err)
			return
		}
		last = binary.BigEndian.Uint64(key[1:])
		if count++; first == 0 {
			first = last
		}
	})
	if m.Flush(); count == 0 || last-first+1 == count {
		return
	}
	m.each('q', func(key, value []byte) {
		last++
		m.Set(numbered('q', last), value)
		m.Drop(key)
	})
}

// events puts one that says nothing where one is missing: the hub takes them without
// gaps. A journal that begins anew has them from 1 on.
func (m *mending) events() {
	number := func(event []byte, n uint64) []byte { // the last one counts, see putEvents
		return protowire.AppendVarint(protowire.AppendTag(event, 1, protowire.VarintType), n)
	}
	next := m.number("trimmed") + 1
	m.each('e', func(key, value []byte) {
		n := binary.BigEndian.Uint64(key[1:])
		if err := proto.Unmarshal(value, new(messages.Event)); err != nil {
			m.Give(key, err)
			return
		}
		if m.anew && n > next {
			m.Set(numbered('e', next), number(bytes.Clone(value), next))
			m.Drop(key)
			next++
			return
		}
		if n < next { // trimmed
			m.Drop(key)
			return
		}
		for ; next < n; next++ {
			m.Set(numbered('e', next), number(nil, next))
		}
		next++
	})
}

// receipts makes the index of when they expire anew.
func (m *mending) receipts() {
	for _, kind := range []byte{'x', 'y'} {
		m.each(kind, func(key, _ []byte) { m.Drop(bytes.Clone(key)) })
	}
	m.Flush()
	count := m.number("count")
	note := func(key []byte) {
		count = max(count, binary.BigEndian.Uint64(key[len(key)-8:]))
	}
	m.each('c', func(key, value []byte) {
		p, err := decodeSent(value)
		if err != nil {
			m.Give(key, err)
			return
		}
		note(key)
		m.Set(expiry('x', p.Until, key), key)
	})
	m.each('p', func(key, value []byte) {
		var r journal.Report
		if err := json.Unmarshal(value, &r); err != nil {
			m.Give(key, err)
			return
		}
		note(key)
		m.Set(expiry('y', r.Until, key), key)
	})
	m.Set(meta("count"), be64(count))
}

// notes of the inlet are JSON.
func (m *mending) notes() {
	m.each('i', func(key, value []byte) {
		if !json.Valid(value) {
			m.Give(key, errCodec)
		}
	})
}
