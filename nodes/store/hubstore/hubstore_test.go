package hubstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/conformance"
)

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = "hub"
	}
	opts.Node = "hub"
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	for name, opts := range map[string]func(t *testing.T) Options{
		"memory":            func(*testing.T) Options { return Options{FS: vfs.NewMem()} },
		"inline":            func(*testing.T) Options { return Options{FS: vfs.NewMem(), Inline: true} },
		"nothing in memory": func(*testing.T) Options { return Options{FS: vfs.NewMem()} },
		"disk":              func(t *testing.T) Options { return Options{Dir: t.TempDir()} },
	} {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T, m journal.Measures) journal.Hub {
				o := opts(t)
				o.KeepMessages, o.KeepEvents, o.Measures = conformance.KeepMessages, conformance.KeepEvents, m
				s := open(t, o)
				if name == "nothing in memory" {
					s.most.live, s.most.users = 1, 1
				}
				return s
			})
		})
	}
}

// clocked opens a store in memory whose callbacks run at once, with a clock.
func clocked(t *testing.T, opts Options) (*Store, *time.Time) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	opts.FS, opts.Inline, opts.Now = vfs.NewMem(), true, func() time.Time { return now }
	return open(t, opts), &now
}

func accept(t *testing.T, s *Store, sub journal.Submission) (id []byte) {
	t.Helper()
	sub.At = s.opts.Now()
	s.Accept(sub, func(a journal.Accepted, err error) {
		if err != nil {
			t.Fatal(err)
		}
		id = a.ID
	})
	return id
}

func sweep(t *testing.T, s *Store) int {
	t.Helper()
	total := 0
	for {
		n, err := s.Sweep(s.opts.Now(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if total += n; n < 3 {
			return total
		}
	}
}

func keys(t *testing.T, s *Store, prefixes string) (n int) {
	t.Helper()
	for _, p := range []byte(prefixes) {
		if err := scanPrefix(s.db, key{p}, func(_, _ []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestSweepMessages(t *testing.T) {
	const day = 24 * time.Hour
	s, now := clocked(t, Options{KeepMessages: 30 * day})
	s.PutUser(journal.User{Name: "ben"}, func(error) {})
	r, err := s.Claim("e")
	if err != nil {
		t.Fatal(err)
	}
	results := []messages.State{messages.State_PROCESSED, messages.State_UNKNOWN, messages.State_FAILED, messages.State_DEFERRED}
	var down [][]byte
	for i := range len(results) + 2 { // one stays in the ring, one in the queue
		down = append(down, accept(t, s, journal.Submission{From: "anna", To: "+1", Text: "x", Edge: "e", Ref: fmt.Sprint(i), Parts: 1}))
	}
	r.Down().Retrieve(1, len(results)+1, func(e []journal.Entry, err error) {
		for i, state := range results {
			r.Down().Processed(e[i], &messages.Result{State: state}, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		// A receipt that is ahead of the answer makes it final in the ring.
		r.Apply([]*messages.Event{{Number: 1, Id: e[len(results)].Message.Id, What: &messages.Event_Receipt{
			Receipt: &messages.Receipt{State: messages.State_DELIVERED},
		}}}, func(_ uint64, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	taken := accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "taken", Ref: "taken"})
	fresh := accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "fresh", Ref: "fresh"})
	s.Received("ben", "", taken, func(bool, error) {})

	there := func(want string) {
		t.Helper()
		got := ""
		for i, id := range append(append([][]byte{}, down...), taken, fresh) {
			if _, ok, err := s.Message(id); err != nil {
				t.Fatal(err)
			} else if ok {
				got += string("PUFDRQtf"[i])
			}
		}
		if got != want {
			t.Errorf("there is %s; want %s", got, want)
		}
	}
	*now = now.Add(30*day - time.Second)
	sweep(t, s)
	there("PUFDRQtf")
	*now = now.Add(2 * time.Second)
	sweep(t, s)
	there("DRQf") // deferred, in the ring, in the queue, not taken
	if _, ok, _ := s.MessageByRef("anna", "0"); ok {
		t.Error("the ref outlives its message")
	}
	if n := accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "new", Ref: "taken"}); n == nil {
		t.Error("the ref cannot be used again")
	}
	r.Down().Retrieve(100, 9, func(e []journal.Entry, err error) {
		if err != nil || len(e) != 1 {
			t.Errorf("retrieved %v, %v", e, err)
		}
	})
	if inbox, err := s.Inbox("ben", 0, 9); err != nil || len(inbox) != 2 || inbox[0].Text != "fresh" {
		t.Errorf("inbox %v, %v", inbox, err)
	}
	if n := keys(t, s, "M"); n != keys(t, s, "S") || n != 5 {
		t.Errorf("%d messages and %d states are stored; want 5", n, keys(t, s, "S"))
	}
}

func TestSweepEvents(t *testing.T) {
	s, now := clocked(t, Options{KeepEvents: 2 * time.Hour})
	s.PutUser(journal.User{Name: "ben"}, func(error) {})
	var ids [][]byte
	for i := range 5 { // one an hour
		ids = append(ids, accept(t, s, journal.Submission{From: "anna", To: "ben", Text: fmt.Sprint("m", i)}))
		if i != 1 {
			s.Received("ben", "", ids[i], func(bool, error) {})
		}
		*now = now.Add(time.Hour)
	}
	numbers := func(user, want string) {
		t.Helper()
		ev, err := s.Events(user, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range ev {
			got += fmt.Sprint(e.Number, " ")
		}
		if got != want {
			t.Errorf("%s has events %s; want %s", user, got, want)
		}
	}
	numbers("anna", "1 2 3 4 5 6 7 8 9 ")
	sweep(t, s)
	numbers("anna", "6 7 8 9 ") // of the last two whole hours
	numbers("ben", "2 4 5 ")    // and what he has not taken
	if last, err := s.LastEvent("anna"); last != 9 || err != nil {
		t.Errorf("last event %d, %v", last, err)
	}
	s.Received("ben", "", ids[1], func(bool, error) {})
	*now = now.Add(10 * time.Hour)
	sweep(t, s)
	numbers("anna", "")
	numbers("ben", "")
	accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "next"})
	numbers("anna", "11 ")
	numbers("ben", "6 ")
	n := 0
	if err := scanPrefix(s.db, key{'T', 'e'}, func(_, _ []byte) bool { n++; return true }); err != nil || n != 4 {
		t.Errorf("%d hours are in the index, %v; want each one's present and last", n, err)
	}
	if n := keys(t, s, "eiu"); n != 3 {
		t.Errorf("%d events are stored; want the state, the message and that it is new", n)
	}
}

// What is in memory only is found again: counts, heads, ends of queues and rings.
func TestReopen(t *testing.T) {
	fs := vfs.NewMem()
	const each = maxWindow + 500
	s := open(t, Options{FS: fs, Inline: true})
	for i := range 2 * each {
		accept(t, s, journal.Submission{From: "anna", To: "+1", Text: fmt.Sprint(i), Class: uint32(i % 2), Edge: "e", QueueLimit: 2 * each})
	}
	seq := uint64(1)
	want := 0
	take := func(n int) {
		t.Helper()
		r, err := s.Claim("e")
		if err != nil {
			t.Fatal(err)
		}
		for n > 0 {
			r.Down().Retrieve(seq, min(n, 100), func(e []journal.Entry, err error) {
				if err != nil || len(e) == 0 {
					t.Fatalf("retrieved %d, %v", len(e), err)
				}
				for _, one := range e {
					if one.Message.Text != fmt.Sprint(want) {
						t.Fatalf("retrieved %s; want %d", one.Message.Text, want)
					}
					if want += 2; want == 2*each {
						want = 1
					}
					r.Down().Processed(one, &messages.Result{State: messages.State_PROCESSED}, func(error) {})
				}
				seq += uint64(len(e))
				n -= len(e)
			})
		}
	}
	reopen := func(waiting int) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{FS: fs, Inline: true})
		r, err := s.Claim("e")
		if err != nil || r.Down().Waiting() != waiting {
			t.Fatalf("%d wait, %v; want %d", r.Down().Waiting(), err, waiting)
		}
	}
	take(10)
	reopen(2*each - 10)
	s.Accept(journal.Submission{From: "anna", To: "+1", Edge: "e", QueueLimit: 2*each - 10}, func(_ journal.Accepted, err error) {
		if !errors.Is(err, journal.ErrFull) {
			t.Errorf("over the limit: %v", err)
		}
	})
	take(each)
	reopen(each - 10)
	take(each - 10)
	reopen(0)
	accept(t, s, journal.Submission{From: "anna", To: "+1", Text: "last", Edge: "e"})
	reopen(1)
}

func TestClosed(t *testing.T) {
	s := open(t, Options{FS: vfs.NewMem()})
	r, err := s.Claim("e")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Claim("e"); err == nil {
		t.Error("a closed store is claimed")
	}
	if _, err := r.Up().Load(); err == nil {
		t.Error("a closed store is loaded")
	}
	if _, err := s.LastEvent("anna"); err == nil {
		t.Error("a closed store is read")
	}
}

func TestDevicesAreBounded(t *testing.T) {
	s, _ := clocked(t, Options{})
	s.PutUser(journal.User{Name: "ben"}, func(error) {})
	for i := range 2 * maxDevices {
		accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "x"})
		if _, err := s.Pending("ben", fmt.Sprint("d", i), 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := keys(t, s, "P"); n != maxDevices {
		t.Errorf("%d devices are stored; want %d", n, maxDevices)
	}
	if _, ok, _ := s.db.Get(keyOf('P', "ben", "d0")); ok {
		t.Error("the one that is furthest behind is still stored")
	}
}

// Both rings and the status log stand after a restart where they stood.
func TestReopenRings(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, Inline: true})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	r, err := s.Claim("e")
	ok(err)
	s.SetInstance("e", []byte("i"), ok)
	s.PutUser(journal.User{Name: "anna"}, ok)
	up := func(n byte) *messages.Message {
		return &messages.Message{Id: append(make([]byte, 15), n), From: "+1", To: "5", Text: fmt.Sprint(n)}
	}
	for n := byte(1); n <= 4; n++ {
		r.Up().Keep(journal.Entry{Seq: uint64(n), After: uint64(n - 1), Message: up(n)}, ok)
	}
	r.Deliver(2, journal.Delivery{Message: up(2), User: "anna", Text: "two"}, func(_ *messages.Result, err error) { ok(err) })
	r.Deliver(3, journal.Delivery{Message: up(3), Keep: true}, func(_ *messages.Result, err error) { ok(err) })
	r.Up().Release(1, nil)
	for range 3 {
		accept(t, s, journal.Submission{From: "anna", To: "+1", Text: "x", Edge: "e"})
	}
	r.Down().Retrieve(5, 2, func(_ []journal.Entry, err error) { ok(err) })
	r.Apply([]*messages.Event{{Number: 7}}, func(_ uint64, err error) { ok(err) })

	ok(s.Close())
	s = open(t, Options{FS: fs, Inline: true})
	r, err = s.Claim("e")
	ok(err)
	applied, err := r.Applied()
	ok(err)
	if b, _ := s.Instance("e"); applied != 7 || r.Epoch() != 2 || string(b) != "i" {
		t.Errorf("applied %d, epoch %d, instance %q", applied, r.Epoch(), b)
	}
	u, err := r.Up().Load()
	ok(err)
	if u.Released != 1 || len(u.Held) != 3 || u.Held[0].Result.GetState() != messages.State_PROCESSED || u.Held[1].Result == nil || u.Held[2].Result != nil || u.Held[2].After != 3 || u.Held[2].Message.Text != "4" {
		t.Errorf("up ring %+v", u)
	}
	d, err := r.Down().Load()
	ok(err)
	if d.LastRetrieved != 6 || len(d.Held) != 2 || d.Held[1].After != 5 {
		t.Errorf("down ring %+v", d)
	}
	r.Down().Retrieve(7, 9, func(e []journal.Entry, err error) {
		ok(err)
		if len(e) != 1 || e[0].After != 6 {
			t.Errorf("retrieved %+v", e)
		}
	})
	if k, err := r.Kept("+1"); err != nil || len(k) != 1 || k[0].Text != "3" {
		t.Errorf("kept %v, %v", k, err)
	}
}

// The census goes with every write, and is made anew when the store is opened.
func TestCensus(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, Inline: true})
	want := func(users, fresh int64) {
		t.Helper()
		if got := s.Census(); got != (journal.Census{Users: users, Fresh: fresh}) {
			t.Errorf("%+v, want %d users, %d messages", got, users, fresh)
		}
	}
	want(0, 0)
	for _, name := range []string{"anna", "ben", "anna"} {
		s.PutUser(journal.User{Name: name}, func(error) {})
	}
	want(2, 0)
	one := accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "one"})
	accept(t, s, journal.Submission{From: "anna", To: "ben", Text: "two"})
	accept(t, s, journal.Submission{From: "anna", To: "+1", Text: "x", Edge: "e", Parts: 1})
	want(2, 2)
	s.Accept(journal.Submission{From: "anna", To: "nobody", Text: "x"}, func(_ journal.Accepted, err error) {
		if !errors.Is(err, journal.ErrNoUser) {
			t.Error(err)
		}
	})
	for range 2 {
		s.Received("ben", "phone", one, func(bool, error) {})
	}
	want(2, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{FS: fs, Inline: true})
	want(2, 1)
	s.PutUser(journal.User{Name: "ben"}, func(error) {})
	want(2, 1)
}
