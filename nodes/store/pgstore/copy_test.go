package pgstore

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/tests/pgtest"
)

// fill brings everything into a store that one can hold, and returns the ids.
func fill(t *testing.T, s journal.Hub) (ids [][]byte) {
	send := func(sub journal.Submission) []byte {
		sub.At = time.Now()
		a, err := wait(t, func(done func(journal.Accepted, error)) { s.Accept(sub, done) })
		must(t, err)
		ids = append(ids, a.ID)
		return a.ID
	}
	for _, name := range []string{"anna", "ben", "carl"} {
		must(t, waitErr(t, func(done func(error)) { s.PutUser(journal.User{Name: name, Password: []byte(name)}, done) }))
	}
	must(t, waitErr(t, func(done func(error)) { s.Seen("anna", time.UnixMilli(1_700_000_000_000), done) }))
	_, err := s.Pending("ben", "phone", 0, 10) // makes it known
	must(t, err)
	for i := range 5 {
		id := send(journal.Submission{From: "anna", To: "ben", Text: fmt.Sprint("m", i), Ref: fmt.Sprint("r", i), Body: [32]byte{byte(i)}})
		if i%2 == 1 {
			_, err := wait(t, func(done func(bool, error)) { s.Received("ben", "phone", id, done) })
			must(t, err)
		}
	}
	r, err := s.Claim(edge)
	must(t, err)
	must(t, waitErr(t, func(done func(error)) { s.SetInstance(edge, []byte{7, 8, 9}, done) }))
	for i := range 12 {
		sub := down([]string{"anna", "carl"}[i%2], fmt.Sprint("d", i))
		sub.Class, sub.To, sub.SuffixDigits = uint32(i%3), fmt.Sprint("+63917", i%4), 2
		if i == 7 {
			sub.Ref = "ref\x00with a zero byte"
		}
		send(sub)
	}
	entries, err := wait(t, func(done func([]journal.Entry, error)) { r.Down().Retrieve(1, 7, done) })
	must(t, err)
	r.Down().Progress(messages.State_SENT, entries[:5])
	for i, state := range []messages.State{messages.State_PROCESSED, messages.State_DEFERRED, messages.State_FAILED} {
		result := &messages.Result{
			State: state, Attempts: uint32(i), AtUnixMs: time.Now().UnixMilli(), Reason: &messages.Reason{Code: "c", SmscCode: "88", Text: "t"},
			Parts: []*messages.PartState{{State: state, SmscId: "id"}},
		}
		must(t, waitErr(t, func(done func(error)) { r.Down().Processed(entries[i], result, done) }))
	}
	_, err = wait(t, func(done func(uint64, error)) {
		r.Apply([]*messages.Event{{Number: 41, Id: entries[0].Message.Id, AtUnixMs: time.Now().UnixMilli(), What: &messages.Event_Receipt{
			Receipt: &messages.Receipt{Parts: 1, State: messages.State_DELIVERED, SmscId: "id"},
		}}}, done)
	})
	must(t, err)
	for seq := uint64(1); seq <= 5; seq++ {
		m := &messages.Message{Id: []byte(fmt.Sprintf("%016d", seq)), From: "+639170", To: "63917000", Text: fmt.Sprint("up ", seq), Data: []byte{0, 255}}
		ids = append(ids, m.Id)
		must(t, waitErr(t, func(done func(error)) { r.Up().Keep(journal.Entry{Seq: seq, After: seq / 2, Message: m}, done) }))
		d := journal.Delivery{Message: m, User: "carl", Text: m.Text}
		if seq%2 == 0 {
			d = journal.Delivery{Message: m, Keep: true}
		}
		if seq < 5 {
			_, err := wait(t, func(done func(*messages.Result, error)) { r.Deliver(seq, d, done) })
			must(t, err)
		}
	}
	r.Up().Release(1, nil)
	_, err = r.Up().Load() // the release is done
	must(t, err)
	return ids
}

// view is all that the interface shows, as text.
func view(t *testing.T, s journal.Hub, ids [][]byte) string {
	var b strings.Builder
	show := func(what string, value any, err error) {
		must(t, err)
		fmt.Fprintf(&b, "%s: %s\n", what, plain(value))
	}
	for _, name := range []string{"anna", "ben", "carl", "nobody"} {
		u, _, err := s.User(name)
		show("user", u, err)
		last, err := s.LastEvent(name)
		show("last", last, err)
		ev, err := s.Events(name, 0, 1000)
		show("events", ev, err)
		ev, err = s.Inbox(name, 0, 1000)
		show("inbox", ev, err)
		for _, device := range []string{"", "phone"} {
			ev, err = s.Pending(name, device, 0, 1000)
			show("pending", ev, err)
		}
	}
	for _, id := range ids {
		r, _, err := s.Message(id)
		show("message", r, err)
	}
	for _, ref := range []string{"r0", "r4", "none", "ref\x00with a zero byte"} {
		for _, name := range []string{"anna", "carl"} {
			r, _, err := s.MessageByRef(name, ref)
			show("by ref", r, err)
		}
	}
	i, err := s.Instance(edge)
	show("instance", i, err)
	st, err := s.(interface {
		Standing(string) (journal.Standing, error)
	}).Standing(edge)
	show("standing", st, err)
	r, err := s.Claim(edge)
	must(t, err)
	show("epoch", r.Epoch(), nil)
	o, err := r.Down().Load()
	show("down", o, err)
	m, err := r.Up().Load()
	show("up", m, err)
	n, err := r.Applied()
	show("applied", n, err)
	show("waiting", r.Down().Waiting(), nil)
	for i := range 4 {
		c, err := r.Conversations(fmt.Sprint("+63917", i), "")
		show("conversations", c, err)
	}
	k, err := r.Kept("+639170")
	show("kept", k, err)
	// And it goes on: the queue in its order behind the ring, refs known, numbers without gaps.
	e, err := wait(t, func(done func([]journal.Entry, error)) { r.Down().Retrieve(o.LastRetrieved+1, 100, done) })
	show("retrieved", e, err)
	again, err := wait(t, func(done func(journal.Accepted, error)) {
		s.Accept(journal.Submission{From: "anna", To: "ben", Text: "m4", Ref: "r4", Body: [32]byte{4}}, done)
	})
	show("again", again, err)
	_, err = wait(t, func(done func(journal.Accepted, error)) {
		s.Accept(journal.Submission{From: "anna", To: "ben", Text: "other", Ref: "r4"}, done)
	})
	show("conflict", errors.Is(err, journal.ErrRefConflict), nil)
	last, err := s.LastEvent("anna")
	show("last", last, err)
	return b.String()
}

// plain prints a value without pointers.
func plain(value any) string {
	switch v := value.(type) {
	case proto.Message:
		return fmt.Sprintf("%x", func() []byte { b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(v); return b }())
	case time.Time:
		return fmt.Sprint(v.UnixMilli())
	}
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return plain(v.Elem().Interface())
	case reflect.Struct:
		s := "{"
		for i := range v.NumField() {
			s += v.Type().Field(i).Name + ":" + plain(v.Field(i).Interface()) + " "
		}
		return s + "}"
	case reflect.Slice:
		if b, ok := value.([]byte); ok {
			return fmt.Sprintf("%x", b)
		}
		s := "["
		for i := range v.Len() {
			s += plain(v.Index(i).Interface()) + " "
		}
		return s + "]"
	}
	return fmt.Sprint(value)
}

// TestCopy: what the interface shows of an embedded store and of its copy is the
// same, and the copy goes on where the store stood.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	from, err := hubstore.Open(hubstore.Options{Dir: dir, Node: hubstore.Node, ReserveBytes: -1})
	must(t, err)
	t.Cleanup(func() { _ = from.Close() })
	ids := fill(t, from)
	dsn := pgtest.Shared(t).Database(t)
	broken := errors.New("interrupted")
	if _, err := Copy(t.Context(), from, dsn, func() error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("interrupted: %v", err)
	}
	if _, err := Open(t.Context(), Options{DSN: dsn, Node: "hub", Alone: true}); err == nil {
		t.Fatal("a copy that has not ended was opened")
	}
	if _, err := Copy(t.Context(), from, dsn, func() error { return nil }); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("into what is not empty: %v", err)
	}
	dsn = pgtest.Shared(t).Database(t)
	written, err := Copy(t.Context(), from, dsn, func() error { return hubstore.MarkMoved(dir, "to a test") })
	must(t, err)
	for table := range copyColumns {
		if written[table] == 0 && table != "meta" && table != "queue_counts" {
			t.Errorf("nothing was written into table %s: %v", table, written)
		}
	}
	to := open(t, Options{DSN: dsn})
	want, got := strings.Split(view(t, from, ids), "\n"), strings.Split(view(t, to, ids), "\n")
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("copy:\n%s\nwant:\n%s", got[i], want[i])
		}
	}
	must(t, from.Close())
	if _, err := hubstore.Open(hubstore.Options{Dir: dir, Node: hubstore.Node, ReserveBytes: -1}); err == nil || !strings.Contains(err.Error(), "store.driver") {
		t.Errorf("opened after it was moved: %v", err)
	}
}
