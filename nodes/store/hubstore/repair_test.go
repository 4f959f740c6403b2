package hubstore

import (
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
	"github.com/ringway-im/ringway/nodes/store/kv/kvtest"
)

// lived is what the world knows of a store that has been used for a while.
type lived struct {
	down    map[string]bool   // messages to handsets by id: has one an end that the store knows?
	inbox   map[string]bool   // messages to ben by id: has he taken it?
	asked   map[string]bool   // messages whose handset was asked
	came    map[uint64]string // of the up ring: what the edge has no answer for
	held    map[uint64][]byte // what the edge holds
	retries [][]byte          // what is in its retry queue
	refs    map[string][]byte
	last    uint64 // ben's last event
}

const slots = 255

func settle(t *testing.T, write func(done func(error))) {
	t.Helper()
	told := make(chan error, 1)
	write(func(err error) { told <- err })
	if err := <-told; err != nil {
		t.Fatal(err)
	}
}

func live(t *testing.T, fsys vfs.FS, dir string) *lived {
	t.Helper()
	l := &lived{
		down: map[string]bool{}, inbox: map[string]bool{}, asked: map[string]bool{}, came: map[uint64]string{}, held: map[uint64][]byte{}, refs: map[string][]byte{},
	}
	s := open(t, Options{FS: fsys, Dir: dir, Inline: true})
	for _, u := range []string{"anna", "ben"} {
		settle(t, func(done func(error)) { s.PutUser(journal.User{Name: u, Password: []byte("hash")}, done) })
	}
	claimed, err := s.Claim("manila-1")
	if err != nil {
		t.Fatal(err)
	}
	settle(t, func(done func(error)) { s.SetInstance("manila-1", []byte("instance"), done) })
	if _, err := s.Pending("ben", "pc", 0, 10); err != nil {
		t.Fatal(err)
	}
	to := func(i int) (ids [][]byte) {
		for n := range i {
			ref := fmt.Sprint("d", len(l.down))
			id := accept(t, s, journal.Submission{
				From: "anna", To: fmt.Sprint("+6391700", n%7), Text: crand.Text() + crand.Text(), Ref: ref, Edge: "manila-1", Number: "4242", Parts: 1, Class: uint32(n % 2),
			})
			l.down[string(id)], l.refs[ref] = false, id
			ids = append(ids, id)
		}
		return ids
	}
	retrieve := func(first uint64, most int) (got []journal.Entry) {
		settle(t, func(done func(error)) {
			claimed.Down().Retrieve(first, most, func(e []journal.Entry, err error) { got = e; done(err) })
		})
		return got
	}
	to(300)
	early := retrieve(1, 60)
	var read [][]byte
	for range 10 {
		read = append(read, accept(t, s, journal.Submission{From: "anna", To: "ben", Text: crand.Text()}))
	}
	arrived := func(seq uint64, d journal.Delivery) []byte {
		d.Message = &messages.Message{Id: fmt.Appendf(nil, "up--%012d", seq), From: fmt.Sprint("+6391700", seq%7), To: "4242", Text: crand.Text()}
		if d.Keep || d.User != "" {
			d.Text = d.Message.Text
		}
		settle(t, func(done func(error)) { claimed.Up().Keep(journal.Entry{Seq: seq, Message: d.Message}, done) })
		if d.Text != "" {
			settle(t, func(done func(error)) { claimed.Deliver(seq, d, func(_ *messages.Result, err error) { done(err) }) })
		}
		return d.Message.Id
	}
	given := arrived(1, journal.Delivery{Keep: true}) // to ben, by the same handset's eighth
	if err := s.Backup(dir + ".early"); err != nil {
		t.Fatal(err)
	}
	arrived(8, journal.Delivery{User: "ben", Only: true, Release: []string{hex.EncodeToString(given)}})
	l.inbox[string(given)] = false
	for len(early) > 0 {
		for _, e := range early {
			l.down[string(e.Message.Id)] = true
			settle(t, func(done func(error)) {
				claimed.Down().Processed(e, &messages.Result{State: messages.State_PROCESSED}, done)
			})
		}
		early = retrieve(early[len(early)-1].Seq+1, 100)
	}
	for _, id := range read {
		l.inbox[string(id)] = true
		settle(t, func(done func(error)) { s.Received("ben", "pc", id, func(_ bool, err error) { done(err) }) })
	}
	to(150)
	first := retrieve(301, 100)
	claimed.Down().Progress(messages.State_SENT, first[:90])
	claimed.Down().Progress(messages.State_CONFIRMED, first[:80])
	for i, e := range first[:60] {
		result := &messages.Result{State: messages.State_PROCESSED}
		switch i % 6 {
		case 1:
			result.State = messages.State_DEFERRED
			l.retries = append(l.retries, e.Message.Id)
		case 2:
			result.State = messages.State_FAILED
		}
		l.down[string(e.Message.Id)] = result.State != messages.State_DEFERRED
		settle(t, func(done func(error)) { claimed.Down().Processed(e, result, done) })
	}
	for _, e := range first[60:85] { // five more than the hub has heard
		l.held[e.Seq] = e.Message.Id
	}
	for i := range 90 {
		id := accept(t, s, journal.Submission{From: "anna", To: "ben", Text: crand.Text() + crand.Text()})
		if l.inbox[string(id)] = i%3 == 0; i%3 == 0 {
			settle(t, func(done func(error)) { s.Received("ben", "pc", id, func(_ bool, err error) { done(err) }) })
		}
	}
	for seq := uint64(11); seq <= 60; seq++ {
		switch {
		case seq > 50:
			l.came[seq] = string(arrived(seq, journal.Delivery{}))
		case seq%5 == 0:
			id := arrived(seq, journal.Delivery{Keep: true, Notice: &messages.Message{To: fmt.Sprint("+6391700", seq%7), Text: "for whom?"}})
			l.asked[string(id)] = true
		default:
			l.inbox[string(arrived(seq, journal.Delivery{User: "ben"}))] = false
		}
		if seq > 40 && seq <= 50 { // answered, which the edge has not heard
			l.came[seq] = fmt.Sprintf("up--%012d", seq)
		}
	}
	claimed.Up().Release(40, nil)
	settle(t, func(done func(error)) {
		e := &messages.Event{Number: 1, Id: first[0].Message.Id, What: &messages.Event_Receipt{Receipt: &messages.Receipt{State: messages.State_DELIVERED, Parts: 1}}}
		claimed.Apply([]*messages.Event{e}, func(_ uint64, err error) { done(err) })
	})
	to(30)
	if l.last, err = s.LastEvent("ben"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func into(fsys vfs.FS, dir string) kv.Options { return kv.Options{Dir: dir, FS: fsys, Node: Node} }

func ofSlots(string) uint32 { return slots }

// A store of which octets are damaged goes on with all that can be read: what it holds
// fits together, what is missing is said to be, and what goes out again is counted.
func TestRepair(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fsys := vfs.NewMem()
	l := live(t, fsys, "whole")
	if _, err := repair(into(fsys, "new"), "whole", ofSlots, time.Now()); !errors.Is(err, kv.ErrSound) {
		t.Errorf("without damage: %v", err)
	}
	names, err := fsys.List("whole")
	if err != nil {
		t.Fatal(err)
	}
	tables := slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") })
	sound, gone, again := 0, 0, 0
	const times = 24 / sparing
	for i := range times {
		damaged, dir := fmt.Sprint("damaged", i), fmt.Sprint("data", i)
		if _, err := vfs.Clone(fsys, fsys, "whole", damaged); err != nil {
			t.Fatal(err)
		}
		kvtest.Flip(t, fsys, fsys.PathJoin(damaged, tables[random.IntN(len(tables))]), 1+i%3, random)
		lost, err := repair(into(fsys, dir), damaged, ofSlots, time.Now())
		if errors.Is(err, kv.ErrSound) {
			sound++
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		g, a := l.goesOn(t, fsys, dir, lost)
		gone, again = gone+g, again+a
	}
	all := (times - sound) * (len(l.down) + len(l.inbox))
	t.Logf("%d of %d sound; of %d messages %d are gone, %d go out again", sound, times, all, gone, again)
	if sparing == 1 && (sound == times || gone > all/2) {
		t.Errorf("%d sound; of %d messages %d are gone", sound, all, gone)
	}
}

// Each kind of record is made again from the others, all of it or half of it; without
// what messages say, those go on that somebody else has.
func TestRepairMakesRecordsAgain(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fsys := vfs.NewMem()
	l := live(t, fsys, "whole")
	for i, kinds := range []string{"S", "i", "u", "iu", "Si", "Su", "Siu", "Q", "D", "QD", "SQ", "SD", "SQD", "N", "T", "H", "SH", "W", "X", "WX", "E", "e", "C", "P", "R", "QDNTHWXECPR", "SiuQDNTHWX"} {
		if (uint64(i)+seed)%sparing != 0 {
			continue
		}
		for _, share := range []float64{1, 0.5} {
			dir := fmt.Sprint(kinds, share)
			if _, err := vfs.Clone(fsys, fsys, "whole", dir); err != nil {
				t.Fatal(err)
			}
			taken := without(t, fsys, dir, kinds, func() bool { return random.Float64() < share })
			missing, lost := mended(t, fsys, dir, kinds, time.Now())
			gone, again := l.goesOn(t, fsys, dir, missing)
			if t.Logf("%d of %s: %d go out again", taken, kinds, again); gone > 0 || len(lost) > 0 || taken == 0 && share == 1 {
				t.Errorf("%d of %s: %d messages are gone, given up: %v", taken, kinds, gone, lost)
			}
		}
	}
}

// Records that stand as they were, or again, because their last write is lost: nothing
// is gone, and what goes out again is counted.
func TestRepairOfOldRecords(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fsys := vfs.NewMem()
	l := live(t, fsys, "whole")
	for i, kinds := range []string{"S", "Q", "D", "QD", "SQ", "SD", "SQD", "u", "Su", "E", "N", "W", "SQDuENeWXTCP", "M", "MS", "MH", "MSH", "H", "SH", "i", "Mi", "MSHiuQDENeWXTCP"} {
		if (uint64(i)+seed)%sparing != 0 {
			continue
		}
		for _, share := range []float64{1, 0.5} {
			dir := fmt.Sprint(kinds, share)
			if _, err := vfs.Clone(fsys, fsys, "whole", dir); err != nil {
				t.Fatal(err)
			}
			old := 0
			for _, kind := range []byte(kinds) {
				records := map[string][]byte{}
				if _, err := kv.Mend(into(fsys, "whole.early"), func(m *kv.Mending) {
					m.Each([]byte{kind}, func(k, v []byte) {
						if random.Float64() < share {
							records[string(k)] = slices.Clone(v)
						}
					})
				}); err != nil {
					t.Fatal(err)
				}
				if _, err := kv.Mend(into(fsys, dir), func(m *kv.Mending) {
					for k, v := range records {
						m.Set([]byte(k), v)
						old++
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			missing, lost := mended(t, fsys, dir, kinds, time.Now())
			gone, again := l.goesOn(t, fsys, dir, missing)
			if t.Logf("%d of %s as they were: %d go out again", old, kinds, again); gone > 0 || len(lost) > 0 {
				t.Errorf("%d of %s: %d messages are gone, given up: %v", old, kinds, gone, lost)
			}
		}
	}
}

// mended makes the records of a store fit, of which those of these kinds may be missing
// or old, and marks it as Repair does.
func mended(t *testing.T, fsys vfs.FS, dir, kinds string, at time.Time) (missing, lost []kv.Loss) {
	t.Helper()
	for _, kind := range []byte(kinds) {
		missing = append(missing, kv.Loss{File: "of " + dir, From: key{kind}, To: key{kind + 1}})
	}
	lost, err := mend(into(fsys, dir), missing, ofSlots, at)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{FS: fsys, Dir: dir})
	if err := errors.Join(s.MarkRestored(at), s.Close()); err != nil {
		t.Fatal(err)
	}
	return missing, lost
}

// without deletes records of these kinds.
func without(t *testing.T, fsys vfs.FS, dir, kinds string, chosen func() bool) (n int) {
	t.Helper()
	if _, err := kv.Mend(into(fsys, dir), func(m *kv.Mending) {
		for _, kind := range []byte(kinds) {
			m.Each([]byte{kind}, func(k, _ []byte) {
				if chosen() {
					m.Drop(k)
					n++
				}
			})
		}
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// goesOn opens a repaired store, has its edge join it, and takes everything out of it.
func (l *lived) goesOn(t *testing.T, fsys vfs.FS, dir string, lost []kv.Loss) (gone, again int) {
	t.Helper()
	may := func(keys ...key) bool {
		return slices.ContainsFunc(lost, func(x kv.Loss) bool { return slices.ContainsFunc(keys, func(k key) bool { return x.May(k) }) })
	}
	s := open(t, Options{FS: fsys, Dir: dir, Inline: true, KeepMessages: time.Hour, KeepEvents: time.Hour})
	defer s.Close()
	claimed, err := s.Claim("manila-1")
	if err != nil {
		t.Fatalf("%v: %v", lost, err)
	}
	if st, err := s.Standing("manila-1"); err != nil || !st.Behind {
		t.Errorf("%v: its edges need not join anew (%v)", lost, err)
	}

	for _, user := range []string{"anna", "ben"} {
		if _, found, err := s.User(user); err != nil {
			t.Fatal(err)
		} else if !found {
			last, err := s.LastEvent(user)
			if named := last > 0 || err != nil; named && !slices.ContainsFunc(lost, func(x kv.Loss) bool { return x.File == kv.OfRecord && strings.Contains(Describe(x), user) }) {
				t.Errorf("%v: the account of %s is gone, and nobody says so", lost, user)
			}
			settle(t, func(done func(error)) { s.PutUser(journal.User{Name: user}, done) })
		}
	}

	// The edge joins, and has what came up again.
	what := journal.Rejoin{Instance: []byte("instance"), Deferred: l.retries, LastRetrieved: 385}
	for seq, id := range l.held {
		what.Held = append(what.Held, journal.Held{Seq: seq, ID: id})
	}
	fits := func() journal.OriginState {
		down, err := claimed.Down().Load()
		if err != nil {
			t.Fatalf("%v: %v", lost, err)
		}
		var held []ring.Held
		for _, e := range down.Held {
			held = append(held, ring.Held{Seq: e.Seq, ID: ring.ID(e.Message.Id)})
		}
		if err := ring.New(slots).Restore(down.LastRetrieved, held); err != nil {
			t.Fatalf("%v: %v", lost, err)
		}
		return down
	}
	fits()
	up, err := claimed.Up().Load()
	if err != nil {
		t.Fatal(err)
	}
	if up.Released > 40 {
		t.Errorf("%v: released up to %d", lost, up.Released)
	}
	inUp := map[uint64]bool{}
	for _, e := range up.Held {
		if inUp[e.Seq] = true; l.came[e.Seq] != string(e.Message.Id) || e.Seq <= up.Released || e.Seq > up.Released+slots {
			t.Errorf("%v: %s is in the up ring at %d", lost, e.Message.Id, e.Seq)
		}
	}
	for seq, id := range l.came {
		m := &messages.Message{Id: []byte(id), From: fmt.Sprint("+6391700", seq%7), To: "4242", Text: "again"}
		if !inUp[seq] {
			settle(t, func(done func(error)) { claimed.Up().Keep(journal.Entry{Seq: seq, Message: m}, done) })
		}
		settle(t, func(done func(error)) {
			claimed.Deliver(seq, journal.Delivery{Message: m, User: "ben", Text: m.Text}, func(_ *messages.Result, err error) { done(err) })
		})
	}
	var answer journal.Rejoined
	settle(t, func(done func(error)) {
		claimed.(*rings).Rejoin(what, func(a journal.Rejoined, err error) { answer = a; done(err) })
	})

	// What goes down: each once, and what may have been there before is counted.
	going := map[string]bool{}
	next := uint64(0)
	down := fits()
	latest := map[string]string{} // by order key
	for _, e := range down.Held {
		going[string(e.Message.Id)] = true
	}
	for _, seq := range answer.Open {
		if id, held := l.held[seq]; held && !going[string(id)] {
			t.Errorf("%v: what the edge holds at %d is not in the ring", lost, seq)
		}
	}
	for next = down.LastRetrieved + 1; claimed.Down().Waiting() > 0; {
		var got []journal.Entry
		settle(t, func(done func(error)) {
			claimed.Down().Retrieve(next, 100, func(e []journal.Entry, err error) { got = e; done(err) })
		})
		if len(got) == 0 {
			t.Fatalf("%v: %d wait, none comes", lost, claimed.Down().Waiting())
		}
		for _, e := range got {
			id := string(e.Message.Id)
			if next = e.Seq + 1; going[id] {
				t.Errorf("%v: %x goes out twice", lost, id)
			}
			going[id] = true
			// To one recipient in the order of before, where that is known.
			if ended, known := l.down[id]; known && !ended && !may(key{'S'}.raw([]byte(id))) {
				to := orderKey(e.Message)
				if id < latest[to] {
					t.Errorf("%v: %x goes out behind %x", lost, id, latest[to])
				}
				latest[to] = id
			}
		}
	}
	for _, id := range l.retries {
		going[string(id)] = true // by the edge itself
	}
	for id, ended := range l.down {
		r, found, err := s.Message([]byte(id))
		switch {
		case err != nil:
			t.Errorf("%v: %x: %v", lost, id, err)
		case !found || r.Message.Text == "":
			if gone++; !may(key{'M'}.raw([]byte(id))) && !may(key{'S'}.raw([]byte(id))) {
				t.Errorf("%v: message %x is gone, and nobody says so", lost, id)
			}
		case ended && going[id]:
			if again++; !r.Doubled {
				t.Errorf("%v: message %x goes out again, and that is not counted", lost, id)
			}
		case !ended && !going[id]:
			t.Errorf("%v: message %x (%v) waits nowhere", lost, id, r.State)
		}
	}

	// What is to be read.
	events, err := s.Pending("ben", "", 0, 10_000)
	if err != nil {
		t.Fatalf("%v: %v", lost, err)
	}
	pending := map[string]bool{}
	for _, e := range events {
		if pending[string(e.ID)] {
			t.Errorf("%v: %x is in the inbox twice", lost, e.ID)
		}
		pending[string(e.ID)] = true
	}
	for id, taken := range l.inbox {
		k := []key{key{'M'}.raw([]byte(id)), key{'S'}.raw([]byte(id))}
		switch {
		case !taken && !pending[id]:
			if gone++; !may(k...) {
				t.Errorf("%v: %x is not in the inbox, and nobody says so", lost, id)
			}
		case taken && pending[id] && !may(k...):
			t.Errorf("%v: %x is to be read again", lost, id)
		}
	}
	for id := range pending {
		settle(t, func(done func(error)) {
			s.Received("ben", "pc", []byte(id), func(found bool, err error) {
				if err == nil && !found {
					err = fmt.Errorf("%v: %x cannot be taken", lost, id)
				}
				done(err)
			})
		})
	}
	asked := 0
	for n := range 7 {
		kept, err := claimed.Kept(fmt.Sprint("+6391700", n))
		if err != nil {
			t.Fatalf("%v: %v", lost, err)
		}
		for _, m := range kept {
			if asked++; !l.asked[string(m.Id)] {
				t.Errorf("%v: %s was not asked for", lost, m.Id)
			}
			if r, found, err := s.Message(m.Id); err != nil || !found || r.Message.To != "" {
				t.Errorf("%v: kept %s: %v, %v, %v", lost, m.Id, r, found, err)
			}
		}
	}
	if asked < len(l.asked) && !slices.ContainsFunc(lost, func(x kv.Loss) bool { return x.Touches(key{'M'}) }) {
		t.Errorf("%v: %d of %d are kept", lost, asked, len(l.asked))
	}

	// It goes on.
	for ref, id := range l.refs {
		r, found, err := s.MessageByRef("anna", ref)
		if err != nil || found && string(r.Message.Id) != string(id) {
			t.Errorf("%v: ref %s: %v, %v", lost, ref, r, err)
		}
		s.Accept(journal.Submission{From: "anna", To: "+63917000", Text: "again", Ref: ref, Edge: "manila-1", Number: "4242", Parts: 1}, func(a journal.Accepted, err error) {
			if err != nil || a.Again && string(a.ID) != string(id) {
				t.Errorf("%v: ref %s again: %+v, %v", lost, ref, a, err)
			}
		})
	}
	id := accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "new"})
	if last, err := s.LastEvent("ben"); err != nil || last <= uint64(len(pending)) {
		t.Errorf("%v: event %d, %v", lost, last, err)
	}
	if events, err = s.Pending("ben", "", 0, 10); err != nil || len(events) != 1 || string(events[0].ID) != string(id) {
		t.Errorf("%v: what is new: %v, %v", lost, events, err)
	}
	for _, user := range []string{"anna", "ben"} {
		if _, err := s.Events(user, 0, 10_000); err != nil {
			t.Errorf("%v: events of %s: %v", lost, user, err)
		}
	}
	s.opts.Now = func() time.Time { return time.Now().Add(100 * time.Hour) }
	for range 100 {
		if n, err := s.Sweep(s.opts.Now(), 1000); err != nil {
			t.Fatalf("%v: %v", lost, err)
		} else if n < 1000 {
			return gone, again
		}
	}
	t.Errorf("%v: the sweep does not end", lost)
	return gone, again
}
