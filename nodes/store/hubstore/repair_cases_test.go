package hubstore

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// patient is a store whose records are damaged one by one.
type patient struct {
	*testing.T
	*Store
	rings journal.Rings
	opts  Options
}

func newPatient(t *testing.T) *patient {
	p := &patient{T: t, opts: Options{FS: vfs.NewMem(), Dir: "hub", Inline: true, KeepMessages: time.Hour, KeepEvents: time.Hour}}
	p.open()
	for _, u := range []string{"anna", "ben"} {
		settle(t, func(done func(error)) { p.PutUser(journal.User{Name: u, Password: []byte("x")}, done) })
	}
	return p
}

func (p *patient) open() {
	p.Store = open(p.T, p.opts)
	var err error
	if p.rings, err = p.Claim("manila-1"); err != nil {
		p.Fatal(err)
	}
}

func (p *patient) value(k key) []byte {
	b, _, err := p.db.Get(k)
	if err != nil {
		p.Fatal(err)
	}
	return b
}

// treat damages the store, repairs it as one that may miss records of these kinds, and
// opens it again.
func (p *patient) treat(kinds string, damage func(m *kv.Mending)) []kv.Loss { //nolint:unparam // for those who ask
	p.Helper()
	return p.treatAt(time.Now(), kinds, damage)
}

func (p *patient) treatAt(at time.Time, kinds string, damage func(m *kv.Mending)) []kv.Loss {
	p.Helper()
	if err := p.Close(); err != nil {
		p.Fatal(err)
	}
	if _, err := kv.Mend(into(p.opts.FS, p.opts.Dir), damage); err != nil {
		p.Fatal(err)
	}
	_, lost := mended(p.T, p.opts.FS, p.opts.Dir, kinds, at)
	p.open()
	return lost
}

func nothing(*kv.Mending) {}

// all drops each record of these kinds.
func all(kinds string) func(m *kv.Mending) {
	return func(m *kv.Mending) {
		for _, kind := range []byte(kinds) {
			m.Each([]byte{kind}, func(k, _ []byte) { m.Drop(k) })
		}
	}
}

func (p *patient) up(seq uint64, from string, d journal.Delivery) []byte {
	p.Helper()
	m := &messages.Message{Id: fmt.Appendf(nil, "up--%012d", seq), From: from, To: "4242", Text: fmt.Sprint("text ", seq)}
	settle(p.T, func(done func(error)) { p.rings.Up().Keep(journal.Entry{Seq: seq, Message: m}, done) })
	d.Message, d.Text = m, m.Text
	settle(p.T, func(done func(error)) { p.rings.Deliver(seq, d, func(_ *messages.Result, err error) { done(err) }) })
	return m.Id
}

func (p *patient) down() []byte {
	return accept(p.T, p.Store, journal.Submission{From: "anna", To: "+639", Text: "t", Edge: "manila-1", Number: "4242", Parts: 1})
}

func (p *patient) toBen() []byte {
	return accept(p.T, p.Store, journal.Submission{From: "anna", To: "ben", Text: "t"})
}

func (p *patient) take(id []byte) {
	settle(p.T, func(done func(error)) { p.Received("ben", "", id, func(_ bool, err error) { done(err) }) })
}

func (p *patient) retrieve(first uint64) (got []journal.Entry) {
	settle(p.T, func(done func(error)) {
		p.rings.Down().Retrieve(first, 100, func(e []journal.Entry, err error) { got = e; done(err) })
	})
	return got
}

func (p *patient) rejoin(w journal.Rejoin) (a journal.Rejoined) {
	settle(p.T, func(done func(error)) {
		p.rings.(*rings).Rejoin(w, func(x journal.Rejoined, err error) { a = x; done(err) })
	})
	return a
}

// unread is what waits for ben.
func (p *patient) unread() (ids []string) {
	p.Helper()
	events, err := p.Pending("ben", "", 0, 1000)
	if err != nil {
		p.Fatal(err)
	}
	for _, e := range events {
		ids = append(ids, string(e.ID))
	}
	return ids
}

// later forgets what is settled.
func (p *patient) later() {
	p.Helper()
	p.Store.opts.Now = func() time.Time { return time.Now().Add(9 * time.Hour) }
	for range 3 {
		if _, err := p.Sweep(p.Store.opts.Now(), 1000); err != nil {
			p.Fatal(err)
		}
	}
	p.Store.opts.Now = time.Now
}

// What repair must not take records for, one case each.
func TestRepairTakesRecordsForWhatTheyAre(t *testing.T) {
	for name, f := range map[string]func(p *patient){
		"how far a kept message was before it was given to somebody": func(p *patient) {
			id := p.up(1, "+631", journal.Delivery{Keep: true})
			old := p.value(key{'S'}.raw(id))
			p.up(2, "+631", journal.Delivery{User: "ben", Only: true, Release: []string{hex.EncodeToString(id)}})
			p.rings.Up().Release(2, nil)
			p.treat("S", func(m *kv.Mending) { m.Set(key{'S'}.raw(id), old) })
			p.rejoin(journal.Rejoin{})
			if got := p.retrieve(100); len(got) > 0 || len(p.unread()) != 1 {
				p.Errorf("%v goes to the SMSC, unread is %q", got, p.unread())
			}
		},
		"a kept message before it was given to somebody": func(p *patient) {
			id := p.up(1, "+631", journal.Delivery{Keep: true})
			old := p.value(key{'M'}.raw(id))
			p.up(2, "+631", journal.Delivery{User: "ben", Only: true, Release: []string{hex.EncodeToString(id)}})
			p.rings.Up().Release(2, nil)
			p.treat("M", func(m *kv.Mending) { m.Set(key{'M'}.raw(id), old) })
			if len(p.unread()) != 1 {
				p.Errorf("unread is %q", p.unread())
			}
			p.treat("MS", func(m *kv.Mending) { m.Set(key{'M'}.raw(id), old); m.Drop(key{'S'}.raw(id)) })
			if kept, err := p.rings.Kept("+631"); len(p.unread()) != 1 || len(kept) > 0 || err != nil {
				p.Errorf("without its state: unread is %q, kept %v, %v", p.unread(), kept, err)
			}
		},
		"messages that were forgotten": func(p *patient) {
			id := p.down()
			old := p.value(key{'M'}.raw(id))
			for _, e := range p.retrieve(1) {
				settle(p.T, func(done func(error)) {
					p.rings.Down().Processed(e, &messages.Result{State: messages.State_PROCESSED}, done)
				})
			}
			p.later()
			p.treat("M", func(m *kv.Mending) { m.Set(key{'M'}.raw(id), old) })
			if n := p.rings.Down().Waiting(); n != 0 {
				p.Errorf("%d go out again", n)
			}
		},
		"settled messages whose state is lost": func(p *patient) {
			for range 5 {
				p.down()
			}
			for _, e := range p.retrieve(1) {
				settle(p.T, func(done func(error)) {
					p.rings.Down().Processed(e, &messages.Result{State: messages.State_PROCESSED}, done)
				})
			}
			p.treat("S", all("S"))
			if n := p.rings.Down().Waiting(); n != 0 {
				p.Errorf("%d go out again", n)
			}
		},
		"an answer that only names somebody": func(p *patient) {
			p.up(1, "+631", journal.Delivery{User: "ben", Only: true})
			p.rings.Up().Release(1, nil)
			p.treat("S", all("S"))
			if len(p.unread()) > 0 {
				p.Errorf("unread is %q", p.unread())
			}
		},
		"numbers that clients know": func(p *patient) {
			for range 50 {
				p.take(p.toBen())
			}
			p.later()
			id := p.toBen()
			p.down()
			ben, _ := p.LastEvent("ben")
			anna, _ := p.LastEvent("anna")
			p.treat("SiuQ", func(m *kv.Mending) { all("iuQ")(m); m.Drop(key{'S'}.raw(id)) })
			if events, err := p.Pending("ben", "", ben, 10); len(events) != 1 || err != nil {
				p.Errorf("a client that is at %d gets %v, %v", ben, events, err)
			}
			if events, err := p.Events("anna", anna, 10); len(events) == 0 || err != nil {
				p.Errorf("a client that is at %d hears of no doubt: %v", anna, err)
			}
		},
		"numbers that devices know": func(p *patient) {
			for range 50 {
				p.take(p.toBen())
			}
			if _, err := p.Pending("ben", "pc", 0, 10); err != nil {
				p.Fatal(err)
			}
			p.later()
			p.treat("N", all("N"))
			p.toBen()
			if n, err := p.LastEvent("ben"); n <= 50 || err != nil {
				p.Errorf("event %d, %v", n, err)
			}
		},
		"an hour that was not over": func(p *patient) {
			began := time.Now().Add(-50 * time.Hour)
			p.Store.opts.Now = func() time.Time { return began }
			p.toBen()
			p.Store.opts.Now = time.Now
			p.toBen()
			last, _ := p.LastEvent("anna")
			p.treat("T", func(m *kv.Mending) { m.Set(hourKey(uint64(began.Unix())/3600, "anna"), nil) })
			if _, err := p.Sweep(time.Now(), 1000); err != nil {
				p.Fatal(err)
			}
			if events, err := p.Events("anna", last-1, 10); len(events) == 0 || err != nil {
				p.Errorf("what is new was forgotten with what is old: %v", err)
			}
		},
		"a place in the ring that the edge does not know": func(p *patient) {
			id := p.down()
			p.retrieve(5)
			p.treat("SD", nothing)
			a := p.rejoin(journal.Rejoin{LastRetrieved: 9, Held: []journal.Held{{Seq: 9, ID: id}}})
			if got := p.retrieve(10); len(got) > 0 || a.Adopted != 1 {
				p.Errorf("%+v, and %v goes out again", a, got)
			}
		},
		"events of messages that are lost": func(p *patient) {
			p.toBen()
			read := p.toBen()
			p.take(read)
			if lost := p.treat("Mu", all("M")); len(lost) > 0 {
				p.Errorf("what is there is said to be lost: %v", lost)
			}
			if got := p.unread(); len(got) != 1 || got[0] == string(read) {
				p.Errorf("unread is %q", got)
			}
		},
		"a user without messages": func(p *patient) {
			p.take(p.toBen())
			if _, err := p.Pending("ben", "pc", 0, 10); err != nil {
				p.Fatal(err)
			}
			p.later()
			lost := p.treat("U", func(m *kv.Mending) { m.Drop(keyOf('U', "ben")) })
			if len(lost) != 1 || !strings.Contains(Describe(lost[0]), "ben") {
				p.Errorf("lost: %v", lost)
			}
		},
		"a clock that is behind": func(p *patient) {
			p.treat("S", nothing)
			p.rejoin(journal.Rejoin{})
			p.treatAt(time.Now().Add(-24*time.Hour), "S", nothing)
			if st, err := p.Standing("manila-1"); !st.Behind || err != nil {
				p.Errorf("%+v, %v: its edges need not join anew", st, err)
			}
		},
		"a notice that is in doubt": func(p *patient) {
			p.up(1, "+631", journal.Delivery{Keep: true, Notice: &messages.Message{From: "4242", To: "+631", Text: "whom?"}})
			p.treat("QU", all("Q"))
			if n, err := p.LastEvent("4242"); n != 0 || err != nil {
				p.Errorf("a user 4242 has %d events, %v", n, err)
			}
		},
		"a notice to a name": func(p *patient) {
			p.up(1, "BANK", journal.Delivery{Keep: true, Notice: &messages.Message{From: "4242", To: "BANK", Text: "whom?"}})
			p.treat("S", all("S"))
			if n, err := p.LastEvent("BANK"); n != 0 || err != nil || p.rings.Down().Waiting() != 1 {
				p.Errorf("a user BANK has %d events, %v; %d wait", n, err, p.rings.Down().Waiting())
			}
		},
		"a kept message without a sender": func(p *patient) {
			p.up(1, "", journal.Delivery{Keep: true})
			p.rings.Up().Release(1, nil)
			p.treat("C", nothing)
			if kept, err := p.rings.Kept(""); len(kept) != 1 || err != nil {
				p.Errorf("kept: %v, %v", kept, err)
			}
		},
		"records that do not fit though none is damaged": func(p *patient) {
			id := p.down()
			if err := p.Close(); err != nil {
				p.Fatal(err)
			}
			if _, err := kv.Mend(into(p.opts.FS, "hub"), func(m *kv.Mending) { m.Drop(key{'M'}.raw(id)); m.Drop(key{'S'}.raw(id)) }); err != nil {
				p.Fatal(err)
			}
			if lost, err := repair(into(p.opts.FS, "new"), "hub", ofSlots, time.Now()); err != nil || len(lost) != 1 {
				p.Errorf("lost %v, %v", lost, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { f(newPatient(t)) })
	}
}
