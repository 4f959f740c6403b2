// Package conformance is what every implementation of journal.Hub must do.
package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

const (
	patience = 10 * time.Second
	edge     = "manila-1"
	handset  = "+639171234567"
	number   = "63917000"
)

// Run runs the suite; open gives each test an empty store with these measures, and
// closes it with t.Cleanup. Its clock is the machine's, its rings have 255 slots, and it keeps what
// is settled for KeepMessages and KeepEvents.
func Run(t *testing.T, open func(t *testing.T, m journal.Measures) journal.Hub) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, h hub)
	}{
		{"Users", users},
		{"AcceptForUser", acceptForUser},
		{"RefGivesTheSameID", ref},
		{"QueueLimit", queueLimit},
		{"QueueOrder", queueOrder},
		{"DeadlinePassed", deadlinePassed},
		{"I10_SequencesAreDurable", sequences},
		{"I8_Fence", fence},
		{"LifeOfAMessage", life},
		{"Results", results},
		{"Receipts", receipts},
		{"ReceiptAheadOfResult", receiptAhead},
		{"I13_EventsOnce", eventsOnce},
		{"OtherEdgesEvents", otherEdge},
		{"I6_DeliverOnce", deliverOnce},
		{"DeliverRefused", deliverRefused},
		{"KeptUntilNamed", kept},
		{"Mirror", mirror},
		{"Notice", notice},
		{"Devices", devices},
		{"ReceivedByOthers", receivedByOthers},
		{"Paging", paging},
		{"Conversations", conversations},
		{"Suffixes", suffixes},
		{"ManySuffixes", manySuffixes},
		{"NumbersWithoutGaps", withoutGaps},
		{"Watch", watch},
		{"Instance", instance},
		{"Rejoin", rejoin},
		{"OnlyNames", onlyNames},
		{"Sweep", sweep},
		{"Measures", measures},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &told{settled: map[string]int{}}
			test.run(t, hub{open(t, m), t, m})
		})
	}
}

// hub waits for callbacks and fails the test on errors.
type hub struct {
	journal.Hub
	t    *testing.T
	told *told
}

func (h hub) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// wait runs a write and returns what it was told.
func wait[T any](t *testing.T, call func(done func(T, error))) (T, error) {
	t.Helper()
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 2)
	call(func(v T, err error) { answers <- answer{v, err} })
	select {
	case a := <-answers:
		return a.value, a.err
	case <-time.After(patience):
		t.Fatalf("no answer within %v", patience)
		panic("unreachable")
	}
}

func waitErr(t *testing.T, call func(done func(error))) error {
	t.Helper()
	_, err := wait(t, func(done func(struct{}, error)) { call(func(err error) { done(struct{}{}, err) }) })
	return err
}

func (h hub) putUsers(names ...string) {
	h.t.Helper()
	for _, n := range names {
		h.must(waitErr(h.t, func(done func(error)) { h.PutUser(journal.User{Name: n, Password: []byte("hash")}, done) }))
	}
}

func (h hub) tryAccept(s journal.Submission) (journal.Accepted, error) {
	h.t.Helper()
	if s.At.IsZero() {
		s.At = time.Now()
	}
	s.Body = sha256.Sum256([]byte(s.To + "\x00" + s.Text))
	return wait(h.t, func(done func(journal.Accepted, error)) { h.Accept(s, done) })
}

func (h hub) accept(s journal.Submission) []byte {
	h.t.Helper()
	a, err := h.tryAccept(s)
	h.must(err)
	if len(a.ID) != 16 || a.Again {
		h.t.Fatalf("accepted %+v; want a new id of 16 octets", a)
	}
	return a.ID
}

func down(text string) journal.Submission {
	return journal.Submission{From: "anna", To: handset, Text: text, Class: 1, Edge: edge, Number: number, Parts: 1, Coding: "gsm7", Sender: "c1"}
}

func (h hub) claim() rings {
	h.t.Helper()
	r, err := h.Claim(edge)
	h.must(err)
	return rings{r, h.t}
}

func (h hub) record(id []byte) *journal.Record {
	h.t.Helper()
	r, ok, err := h.Message(id)
	h.must(err)
	if !ok {
		h.t.Fatalf("message %x is not there", id)
	}
	return r
}

// check compares state and history.
func (h hub) check(id []byte, state messages.State, history ...messages.State) *journal.Record {
	h.t.Helper()
	r := h.record(id)
	var got []messages.State
	for _, s := range r.History {
		got = append(got, s.State)
		if time.Since(s.At).Abs() > 48*time.Hour {
			h.t.Errorf("%v at %v", s.State, s.At)
		}
	}
	if r.State != state || r.Final != (state >= messages.State_DELIVERED) || !slices.Equal(got, history) {
		h.t.Errorf("message is %v, final %v, history %v; want %v %v", r.State, r.Final, got, state, history)
	}
	return r
}

func (h hub) events(user string) []journal.UserEvent {
	h.t.Helper()
	ev, err := h.Events(user, 0, 10_000)
	h.must(err)
	last, err := h.LastEvent(user)
	h.must(err)
	if int(last) != len(ev) {
		h.t.Errorf("last event of %s is %d of %d", user, last, len(ev))
	}
	for i, e := range ev {
		if e.Number != uint64(i)+1 {
			h.t.Fatalf("event %d of %s has number %d", i, user, e.Number)
		}
	}
	return ev
}

// checkEvents compares a user's events in short form: the state's name, or
// the text of a message.
func (h hub) checkEvents(user string, want ...string) {
	h.t.Helper()
	var got []string
	for _, e := range h.events(user) {
		got = append(got, short(e))
	}
	if !slices.Equal(got, want) {
		h.t.Errorf("events of %s: %q; want %q", user, got, want)
	}
}

func short(e journal.UserEvent) string {
	if e.State != messages.State_STATE_UNSPECIFIED {
		return e.State.String()
	}
	return e.Text
}

func texts(t *testing.T, ev []journal.UserEvent, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range ev {
		s = append(s, short(e))
	}
	return strings.Join(s, " ")
}

func (h hub) received(user, device string, id []byte) bool {
	h.t.Helper()
	found, err := wait(h.t, func(done func(bool, error)) { h.Received(user, device, id, done) })
	h.must(err)
	return found
}

type rings struct {
	journal.Rings
	t *testing.T
}

func (r rings) retrieve(first uint64, most int) []journal.Entry {
	r.t.Helper()
	e, err := wait(r.t, func(done func([]journal.Entry, error)) { r.Down().Retrieve(first, most, done) })
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r rings) processed(e journal.Entry, result *messages.Result) {
	r.t.Helper()
	if err := waitErr(r.t, func(done func(error)) { r.Down().Processed(e, result, done) }); err != nil {
		r.t.Fatal(err)
	}
}

func (r rings) apply(want uint64, events ...*messages.Event) {
	r.t.Helper()
	applied, err := wait(r.t, func(done func(uint64, error)) { r.Apply(events, done) })
	if err != nil || applied != want {
		r.t.Fatalf("applied %d, %v; want %d", applied, err, want)
	}
	if n, err := r.Applied(); n != want || err != nil {
		r.t.Errorf("applied %d, %v afterwards; want %d", n, err, want)
	}
}

func (r rings) keep(e journal.Entry) {
	r.t.Helper()
	if err := waitErr(r.t, func(done func(error)) { r.Up().Keep(e, done) }); err != nil {
		r.t.Fatal(err)
	}
}

func (r rings) tryDeliver(seq uint64, d journal.Delivery) (*messages.Result, error) {
	r.t.Helper()
	return wait(r.t, func(done func(*messages.Result, error)) { r.Deliver(seq, d, done) })
}

func (r rings) deliver(seq uint64, d journal.Delivery) *messages.Result {
	r.t.Helper()
	res, err := r.tryDeliver(seq, d)
	if err != nil || res.GetState() != messages.State_PROCESSED {
		r.t.Fatalf("delivered: %v, %v", res, err)
	}
	return res
}

func result(state messages.State, parts ...messages.State) *messages.Result {
	r := &messages.Result{State: state, Attempts: 1, AtUnixMs: time.Now().UnixMilli()}
	for i, p := range parts {
		r.Parts = append(r.Parts, &messages.PartState{State: p, SmscId: fmt.Sprint("smsc-", i)})
	}
	return r
}

func receipt(n uint64, id []byte, part, parts uint32, state messages.State) *messages.Event {
	return &messages.Event{Number: n, Id: id, AtUnixMs: time.Now().UnixMilli(), What: &messages.Event_Receipt{
		Receipt: &messages.Receipt{Part: part, Parts: parts, State: state, SmscId: fmt.Sprint("smsc-", part), SmscCode: "25"},
	}}
}

func up(seq uint64, text string) journal.Entry {
	id := sha256.Sum256([]byte(text))
	return journal.Entry{Seq: seq, Message: &messages.Message{Id: id[:16], From: handset, To: number, Text: text, AcceptedUnixMs: time.Now().UnixMilli()}}
}

const (
	accepted  = messages.State_ACCEPTED
	retrieved = messages.State_RETRIEVED
	sent      = messages.State_SENT
	confirmed = messages.State_CONFIRMED
	deferred  = messages.State_DEFERRED
	unknown   = messages.State_UNKNOWN
	processed = messages.State_PROCESSED
	delivered = messages.State_DELIVERED
	failed    = messages.State_FAILED
	expired   = messages.State_EXPIRED
)

func users(t *testing.T, h hub) {
	if _, ok, err := h.User("anna"); ok || err != nil {
		t.Fatalf("anna: %v, %v before she exists", ok, err)
	}
	h.putUsers("anna", "ann")
	at := time.UnixMilli(1_700_000_000_123)
	h.must(waitErr(t, func(done func(error)) { h.Seen("anna", at, done) }))
	h.must(waitErr(t, func(done func(error)) { h.PutUser(journal.User{Name: "anna", Password: []byte("new")}, done) }))
	u, ok, err := h.User("anna")
	if !ok || err != nil || string(u.Password) != "new" || !u.Seen.Equal(at) || u.Name != "anna" {
		t.Errorf("anna is %+v, %v, %v", u, ok, err)
	}
	if u, _, _ := h.User("ann"); string(u.Password) != "hash" || !u.Seen.IsZero() {
		t.Errorf("ann is %+v", u)
	}
	if err := waitErr(t, func(done func(error)) { h.Seen("nobody", at, done) }); !errors.Is(err, journal.ErrNoUser) {
		t.Errorf("seen of nobody: %v", err)
	}
}

func acceptForUser(t *testing.T, h hub) {
	h.putUsers("anna", "ben")
	if _, err := h.tryAccept(journal.Submission{From: "anna", To: "carl", Text: "?", Ref: "r"}); !errors.Is(err, journal.ErrNoUser) {
		t.Errorf("to carl: %v", err)
	}
	if _, ok, _ := h.MessageByRef("anna", "r"); ok {
		t.Error("a refused message has its ref")
	}
	at := time.UnixMilli(time.Now().UnixMilli())
	id := h.accept(journal.Submission{From: "anna", To: "ben", Text: " ", Ref: "r", At: at})
	r := h.check(id, processed, accepted, processed)
	if r.Message.From != "anna" || r.Message.To != "ben" || r.Message.Text != " " || r.Ref != "r" || r.Message.AcceptedUnixMs != at.UnixMilli() || r.Edge != "" {
		t.Errorf("record %+v", r)
	}
	h.checkEvents("anna", "PROCESSED")
	e := h.events("ben")[0]
	if string(e.ID) != string(id) || e.From != "anna" || e.To != "ben" || e.Text != " " || e.Received || !e.At.Equal(at) {
		t.Errorf("event %+v", e)
	}
	if e := h.events("anna")[0]; e.Ref != "r" || e.Final || string(e.ID) != string(id) {
		t.Errorf("event %+v", e)
	}
	if !h.received("ben", "", id) {
		t.Error("ben could not receive it")
	}
	h.check(id, delivered, accepted, processed, delivered)
	h.received("ben", "phone", id)
	h.checkEvents("anna", "PROCESSED", "DELIVERED")
	if e := h.events("anna")[1]; !e.Final {
		t.Errorf("event %+v is not final", e)
	}
	if e := h.events("ben")[0]; !e.Received {
		t.Errorf("event %+v is not received", e)
	}
	self := h.accept(journal.Submission{From: "ben", To: "ben", Text: "note"})
	h.checkEvents("ben", " ", "note", "PROCESSED")
	h.received("ben", "", self)
	h.checkEvents("ben", " ", "note", "PROCESSED", "DELIVERED")
}

func ref(t *testing.T, h hub) {
	s := down("one")
	s.Ref, s.Parts, s.Coding = "r1", 2, "ucs2"
	id := h.accept(s)
	again, err := h.tryAccept(s)
	if err != nil || !again.Again || string(again.ID) != string(id) || again.Edge != edge || again.Parts != 2 || again.Coding != "ucs2" {
		t.Errorf("again: %+v, %v", again, err)
	}
	other := s
	other.Text = "two"
	if _, err := h.tryAccept(other); !errors.Is(err, journal.ErrRefConflict) {
		t.Errorf("other body: %v", err)
	}
	other.From = "ben" // his refs are his own
	h.accept(other)
	if r, ok, err := h.MessageByRef("anna", "r1"); !ok || err != nil || string(r.Message.Id) != string(id) || r.Coding != "ucs2" {
		t.Errorf("by ref: %+v, %v, %v", r, ok, err)
	}
	if _, ok, _ := h.MessageByRef("anna", "r2"); ok {
		t.Error("a ref that was never used is found")
	}
	if n := h.claim().Down().Waiting(); n != 2 {
		t.Errorf("%d messages wait; want 2", n)
	}
}

func queueLimit(t *testing.T, h hub) {
	limited := func(text string) journal.Submission {
		s := down(text)
		s.QueueLimit, s.Ref = 2, text
		return s
	}
	h.accept(limited("one"))
	h.accept(limited("two"))
	if _, err := h.tryAccept(limited("three")); !errors.Is(err, journal.ErrFull) {
		t.Fatalf("third of two: %v", err)
	}
	if a, err := h.tryAccept(limited("one")); err != nil || !a.Again {
		t.Errorf("known ref at a full queue: %+v, %v", a, err)
	}
	r := h.claim()
	r.retrieve(1, 1)
	h.accept(limited("three"))
	if n := r.Down().Waiting(); n != 2 {
		t.Errorf("%d messages wait; want 2", n)
	}
}

func queueOrder(t *testing.T, h hub) {
	r := h.claim()
	if e := r.retrieve(1, 5); len(e) != 0 || r.Down().Waiting() != 0 {
		t.Fatalf("an empty queue gives %v", e)
	}
	woken := make(chan struct{}, 100)
	r.Down().Notify(func() { woken <- struct{}{} })
	for _, m := range []struct {
		text  string
		class uint32
		to    string
	}{{"c1", 2, "+1"}, {"b1", 1, "+1"}, {"a1", 0, "+1"}, {"b2", 1, "+1"}, {"a2", 0, "+2"}, {"c2", 2, "+1"}, {"b3", 1, "+1"}} {
		s := down(m.text)
		s.Class, s.To = m.class, m.to
		h.accept(s)
	}
	select {
	case <-woken:
	case <-time.After(patience):
		t.Error("nobody was woken")
	}
	var got []string
	var entries []journal.Entry
	for first := uint64(1); ; {
		e := r.retrieve(first, 3)
		if len(e) == 0 {
			break
		}
		for i, one := range e {
			if one.Seq != first+uint64(i) {
				t.Errorf("sequence %d at %d", one.Seq, first+uint64(i))
			}
			got = append(got, fmt.Sprint(one.Message.Text, "<", one.After))
		}
		entries = append(entries, e...)
		first += uint64(len(e))
	}
	// The order key is recipient and class; After is its last unprocessed sequence.
	if want := "a1<0 a2<0 b1<0 b2<3 b3<4 c1<0 c2<6"; strings.Join(got, " ") != want {
		t.Fatalf("retrieved %v; want %s", got, want)
	}
	r.processed(entries[4], result(processed)) // b3 before b2
	s := down("b4")
	s.To = "+1"
	h.accept(s)
	e := r.retrieve(8, 9)
	if len(e) != 1 || e[0].After != 4 {
		t.Errorf("b4: %v; want after 4, which is b2", e)
	}
	r.processed(entries[3], result(processed))
	r.processed(entries[2], result(processed))
	r.processed(e[0], result(processed))
	h.accept(s)
	if e := r.retrieve(9, 9); len(e) != 1 || e[0].After != 0 {
		t.Errorf("b4 again: %v; want after none", e)
	}
}

func deadlinePassed(t *testing.T, h hub) {
	r := h.claim()
	late := down("late")
	late.Until = time.Now().Add(-time.Second)
	id := h.accept(late)
	good := down("good")
	good.Until = time.Now().Add(time.Hour)
	h.accept(good)
	if e := r.retrieve(1, 9); len(e) != 1 || e[0].Message.Text != "good" || e[0].Seq != 1 || e[0].Message.DeadlineUnixMs != good.Until.UnixMilli() {
		t.Fatalf("retrieved %v", e)
	}
	if rec := h.check(id, expired, accepted, expired); rec.Reason.GetCode() != "expired" || rec.Seq != 0 {
		t.Errorf("record %+v", rec)
	}
	h.checkEvents("anna", "EXPIRED", "RETRIEVED")
	woken := make(chan struct{}, 100)
	h.accept(late)
	r.Down().Notify(func() { woken <- struct{}{} })
	if e := r.retrieve(2, 9); len(e) != 0 || r.Down().Waiting() != 0 {
		t.Errorf("retrieved %v, %d wait", e, r.Down().Waiting())
	}
}

func sequences(t *testing.T, h hub) {
	r := h.claim()
	if s, err := r.Down().Load(); err != nil || s.LastRetrieved != 0 || len(s.Held) != 0 {
		t.Fatalf("empty: %+v, %v", s, err)
	}
	for i := range 4 {
		h.accept(down(fmt.Sprint("m", i)))
	}
	e := r.retrieve(255, 3)
	if rec := h.record(e[0].Message.Id); rec.Seq != 255 || rec.Slots != 255 || rec.Edge != edge {
		t.Errorf("record %+v", rec)
	}
	r.processed(e[1], result(processed))
	r.processed(e[1], result(failed)) // told again: nothing
	if rec := h.record(e[1].Message.Id); rec.State != processed {
		t.Errorf("second result counts: %v", rec.State)
	}
	if err := waitErr(t, func(done func(error)) {
		r.Down().Processed(journal.Entry{Seq: 255, Message: e[2].Message}, result(failed), done)
	}); err == nil {
		t.Error("a result for another message's slot is taken")
	}
	r = h.claim()
	s, err := r.Down().Load()
	if err != nil || s.LastRetrieved != 257 || len(s.Held) != 2 {
		t.Fatalf("loaded %+v, %v", s, err)
	}
	for i, want := range []journal.Entry{e[0], e[2]} {
		got := s.Held[i]
		if got.Seq != want.Seq || got.After != want.After || !proto.Equal(got.Message, want.Message) {
			t.Errorf("loaded %+v; want %+v", got, want)
		}
	}
	if _, err := wait(t, func(done func([]journal.Entry, error)) { r.Down().Retrieve(257, 1, done) }); err == nil {
		t.Error("a used sequence is assigned again")
	}
	if got := r.retrieve(1000, 1); len(got) != 1 || got[0].Seq != 1000 {
		t.Errorf("retrieved %v", got)
	}
}

func fence(t *testing.T, h hub) {
	old := h.claim()
	h.accept(down("one"))
	h.accept(down("two"))
	e := old.retrieve(1, 1)
	old.keep(up(1, "up"))
	now := h.claim()
	if now.Epoch() <= old.Epoch() || old.Epoch() == 0 {
		t.Errorf("epochs %d, %d", old.Epoch(), now.Epoch())
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, journal.ErrFenced) {
			t.Errorf("%s: %v; want ErrFenced", what, err)
		}
	}
	_, err := wait(t, func(done func([]journal.Entry, error)) { old.Down().Retrieve(2, 1, done) })
	check("retrieve", err)
	check("processed", waitErr(t, func(done func(error)) { old.Down().Processed(e[0], result(processed), done) }))
	check("keep", waitErr(t, func(done func(error)) { old.Up().Keep(up(2, "x"), done) }))
	_, err = old.tryDeliver(1, journal.Delivery{Message: up(1, "up").Message, Keep: true})
	check("deliver", err)
	_, err = wait(t, func(done func(uint64, error)) {
		old.Apply([]*messages.Event{receipt(1, e[0].Message.Id, 0, 1, delivered)}, done)
	})
	check("apply", err)
	old.Down().Progress(sent, e)
	old.Up().Release(1, nil)
	if s, err := now.Up().Load(); err != nil || len(s.Held) != 1 || s.Released != 0 {
		t.Errorf("up ring %+v, %v", s, err)
	}
	h.check(e[0].Message.Id, retrieved, accepted, retrieved)
	other, err := h.Claim("cebu-1")
	if err != nil || other.Epoch() != 1 {
		t.Errorf("another edge: %v, %v", other, err)
	}
	if e := now.retrieve(2, 9); len(e) != 1 {
		t.Errorf("retrieved %v", e)
	}
}

func life(t *testing.T, h hub) {
	r := h.claim()
	s := down("hello")
	s.Ref = "r"
	id := h.accept(s)
	e := r.retrieve(1, 9)
	m := e[0].Message
	if string(m.Id) != string(id) || m.From != "anna" || m.To != handset || m.Text != "hello" || m.Class != 1 || m.Originator != number || m.Sender != "c1" {
		t.Errorf("entry %v", m)
	}
	r.Down().Progress(sent, e)
	r.Down().Progress(confirmed, e)
	r.Down().Progress(sent, e) // on another stripe
	res := result(processed, processed)
	res.Attempts, res.PossibleDuplicate = 2, true
	r.processed(e[0], res)
	r.Down().Progress(confirmed, e)
	r.apply(1, receipt(1, id, 0, 1, delivered))
	rec := h.check(id, delivered, accepted, retrieved, sent, confirmed, processed, delivered)
	if rec.Attempts != 2 || !rec.Doubled || len(rec.Parts) != 1 || rec.Parts[0].State != delivered || rec.Parts[0].SmscId != "smsc-0" || rec.Coding != "gsm7" || rec.Reason != nil {
		t.Errorf("record %+v", rec)
	}
	h.checkEvents("anna", "RETRIEVED", "SENT", "CONFIRMED", "PROCESSED", "DELIVERED")
	for _, e := range h.events("anna") {
		if e.Ref != "r" || string(e.ID) != string(id) || e.Final != (e.State == delivered) {
			t.Errorf("event %+v", e)
		}
	}
	if h.received("anna", "", id) || h.received(handset, "", id) {
		t.Error("a message for a handset was received by a client")
	}
}

func results(t *testing.T, h hub) {
	r := h.claim()
	for i, state := range []messages.State{processed, deferred, unknown, failed, expired} {
		id := h.accept(down(state.String()))
		e := r.retrieve(uint64(i)+1, 1)
		res := result(state, state)
		if state != processed {
			res.Reason = &messages.Reason{Code: "code", SmscCode: "88", Text: "text"}
		}
		r.processed(e[0], res)
		rec := h.check(id, state, accepted, retrieved, state)
		if !proto.Equal(rec.Reason, res.Reason) {
			t.Errorf("%v: reason %v", state, rec.Reason)
		}
	}
	if s, err := r.Down().Load(); err != nil || len(s.Held) != 0 {
		t.Errorf("slots are not free: %+v, %v", s, err)
	}
	h.accept(down("bad"))
	e := r.retrieve(6, 1)
	for _, bad := range []*messages.Result{nil, {}, {State: sent}, {State: delivered}} {
		if err := waitErr(t, func(done func(error)) { r.Down().Processed(e[0], bad, done) }); err == nil {
			t.Errorf("result %v was taken", bad)
		}
	}
}

func receipts(t *testing.T, h hub) {
	r := h.claim()
	var n, seq uint64
	for _, test := range []struct {
		parts []messages.State
		want  messages.State
	}{
		{[]messages.State{delivered}, delivered},
		{[]messages.State{failed}, failed},
		{[]messages.State{expired}, expired},
		{[]messages.State{delivered, delivered, delivered}, delivered},
		{[]messages.State{failed, delivered}, failed},
		{[]messages.State{delivered, expired}, expired},
		{[]messages.State{expired, failed}, expired}, // by rank
	} {
		s := down("text")
		s.Parts = len(test.parts)
		id := h.accept(s)
		seq++
		r.processed(r.retrieve(seq, 1)[0], result(processed, make([]messages.State, len(test.parts))...))
		for i, p := range test.parts {
			h.check(id, processed, accepted, retrieved, processed)
			n++
			r.apply(n, receipt(n, id, uint32(i), uint32(len(test.parts)), p))
			if rec := h.record(id); rec.Parts[i].State != p {
				t.Errorf("part %d is %v; want %v", i, rec.Parts[i].State, p)
			}
		}
		rec := h.check(id, test.want, accepted, retrieved, processed, test.want)
		if test.want != delivered && rec.Reason.GetSmscCode() != "25" {
			t.Errorf("%v: reason %v", test.parts, rec.Reason)
		}
	}
}

func receiptAhead(t *testing.T, h hub) {
	r := h.claim()
	id := h.accept(down("text"))
	e := r.retrieve(1, 1)
	res := result(processed, processed)
	ahead := receipt(1, id, 0, 1, delivered)
	ahead.AtUnixMs = res.AtUnixMs + 500
	r.apply(1, ahead)
	h.check(id, delivered, accepted, retrieved, delivered)
	r.processed(e[0], res)
	h.check(id, delivered, accepted, retrieved, processed, delivered) // in the order of happening
	h.checkEvents("anna", "RETRIEVED", "DELIVERED")
	if s, _ := r.Down().Load(); len(s.Held) != 0 {
		t.Error("the slot is not free")
	}
}

func eventsOnce(t *testing.T, h hub) {
	r := h.claim()
	id := h.accept(down("text"))
	e := r.retrieve(1, 1)
	r.processed(e[0], result(deferred, deferred))
	at := time.Now().UnixMilli()
	doubt := func(n uint64) *messages.Event {
		return &messages.Event{Number: n, Id: id, AtUnixMs: at, What: &messages.Event_Doubt{Doubt: &messages.Doubt{Attempt: uint32(n), Session: "1", Again: true}}}
	}
	final := &messages.Event{Number: 4, Id: id, AtUnixMs: at, What: &messages.Event_Result{Result: result(processed, processed)}}
	nobody := receipt(3, make([]byte, 16), 0, 1, delivered)
	r.apply(1, doubt(1))
	r.apply(2, doubt(1), doubt(2))
	r.apply(4, doubt(1), doubt(2), nobody, final)
	r.apply(4, doubt(1), doubt(2), nobody, final)
	r.apply(4)
	r = h.claim()
	r.apply(5, final, receipt(5, id, 0, 1, delivered))
	rec := h.check(id, delivered, accepted, retrieved, deferred, unknown, unknown, processed, delivered)
	if rec.Attempts != 2 || !rec.Doubled {
		t.Errorf("record %+v", rec)
	}
	h.checkEvents("anna", "RETRIEVED", "DEFERRED", "UNKNOWN", "PROCESSED", "DELIVERED")
}

func otherEdge(t *testing.T, h hub) {
	r := h.claim()
	id := h.accept(down("text"))
	r.retrieve(1, 1)
	o, err := h.Claim("cebu-1")
	h.must(err)
	rings{o, t}.apply(1, receipt(1, id, 0, 1, delivered))
	h.check(id, retrieved, accepted, retrieved)
}

func deliverOnce(t *testing.T, h hub) {
	h.putUsers("anna")
	r := h.claim()
	e := up(1, "@anna hello")
	e.Message.PossibleDuplicate = true
	r.keep(e)
	d := journal.Delivery{Message: e.Message, User: "anna", Text: "hello"}
	first := r.deliver(1, d)
	if again := r.deliver(1, d); !proto.Equal(first, again) {
		t.Errorf("results %v and %v", first, again)
	}
	h.checkEvents("anna", "hello")
	ev := h.events("anna")[0]
	if ev.From != handset || ev.To != "anna" || ev.Edge != edge || !ev.PossibleDuplicate || string(ev.ID) != string(e.Message.Id) {
		t.Errorf("event %+v", ev)
	}
	rec := h.check(e.Message.Id, processed, processed)
	if rec.Message.From != handset || rec.Message.To != "anna" || rec.Message.Text != "hello" || rec.Edge != edge {
		t.Errorf("record %+v", rec)
	}
	r = h.claim()
	s, err := r.Up().Load()
	if err != nil || len(s.Held) != 1 || !proto.Equal(s.Held[0].Result, first) || !proto.Equal(s.Held[0].Message, e.Message) {
		t.Errorf("loaded %+v, %v", s, err)
	}
	r.deliver(1, d)
	r.Up().Release(1, nil)
	e.Seq = 7 // renumbered by an edge that lost its journal's end
	r.keep(e)
	r.deliver(7, d)
	h.checkEvents("anna", "hello")
	if !h.received("anna", "", e.Message.Id) {
		t.Error("not found")
	}
	h.check(e.Message.Id, delivered, processed, delivered)
	h.checkEvents("anna", "hello") // the handset has no events
}

func deliverRefused(t *testing.T, h hub) {
	h.putUsers("anna")
	r := h.claim()
	e := up(1, "hello")
	r.keep(e)
	for what, d := range map[string]journal.Delivery{
		"nobody":  {Message: e.Message},
		"unknown": {Message: e.Message, User: "carl", Text: "hello"},
		"other":   {Message: up(1, "other").Message, User: "anna", Text: "other"},
	} {
		if res, err := r.tryDeliver(1, d); err == nil {
			t.Errorf("%s: %v", what, res)
		}
	}
	if _, err := r.tryDeliver(2, journal.Delivery{Message: e.Message, User: "anna"}); err == nil {
		t.Error("an empty slot was delivered")
	}
	if _, ok, _ := h.Message(e.Message.Id); ok {
		t.Error("something was written")
	}
	r.deliver(1, journal.Delivery{Message: e.Message, User: "anna", Text: "hello"})
}

func kept(t *testing.T, h hub) {
	h.putUsers("anna", "ben")
	r := h.claim()
	var ids []string
	for i, text := range []string{"one", "two", "three"} {
		e := up(uint64(i)+1, text)
		ids = append(ids, hex.EncodeToString(e.Message.Id))
		r.keep(e)
		r.deliver(e.Seq, journal.Delivery{Message: e.Message, Keep: true})
		r.deliver(e.Seq, journal.Delivery{Message: e.Message, Keep: true})
	}
	k, err := r.Kept(handset)
	if err != nil || len(k) != 3 || k[0].Text != "one" || k[2].Text != "three" || k[0].To != number {
		t.Fatalf("kept %v, %v", k, err)
	}
	if k, _ := r.Kept("+639"); len(k) != 0 {
		t.Errorf("another handset has %v", k)
	}
	r.Up().Release(3, nil)
	e := up(4, "@anna four")
	r.keep(e)
	r.deliver(4, journal.Delivery{Message: e.Message, User: "anna", Text: "four", Release: []string{ids[0], ids[2], ids[0], "nonsense", strings.Repeat("00", 16)}})
	h.checkEvents("anna", "one", "three", "four")
	if ev := h.events("anna")[0]; ev.From != handset || hex.EncodeToString(ev.ID) != ids[0] || ev.Edge != edge {
		t.Errorf("event %+v", ev)
	}
	if k, _ := r.Kept(handset); len(k) != 1 || k[0].Text != "two" {
		t.Errorf("kept %v", k)
	}
	e = up(5, "five")
	r.keep(e)
	r.deliver(5, journal.Delivery{Message: e.Message, User: "ben", Text: "five", Release: ids[:2]})
	h.checkEvents("ben", "two", "five")
	h.checkEvents("anna", "one", "three", "four")
	id, _ := hex.DecodeString(ids[0])
	if h.received("ben", "", id) || !h.received("anna", "", id) {
		t.Error("the wrong one received it")
	}
	if rec := h.record(id); rec.State != delivered || rec.Message.To != "anna" {
		t.Errorf("record %+v", rec)
	}
}

func mirror(t *testing.T, h hub) {
	r := h.claim()
	for _, seq := range []uint64{3, 1, 2, 5, 9} {
		e := up(seq, fmt.Sprint("m", seq))
		e.After = seq / 2
		r.keep(e)
		r.keep(e)
	}
	if err := waitErr(t, func(done func(error)) { r.Up().Keep(up(3, "impostor"), done) }); err == nil {
		t.Error("another message was kept at a sequence in use")
	}
	short := up(4, "short")
	short.Message.Id = short.Message.Id[:4]
	if err := waitErr(t, func(done func(error)) { r.Up().Keep(short, done) }); err == nil {
		t.Error("an id of 4 octets was kept")
	}
	r.Up().Release(2, []uint64{5, 77})
	r.Up().Release(1, nil) // late
	r = h.claim()
	s, err := r.Up().Load()
	if err != nil || s.Released != 2 || len(s.Held) != 2 || s.Held[0].Seq != 3 || s.Held[1].Seq != 9 || s.Held[1].After != 4 || s.Held[0].Result != nil {
		t.Errorf("loaded %+v, %v", s, err)
	}
}

func notice(t *testing.T, h hub) {
	r := h.claim()
	e := up(1, "hello?")
	r.keep(e)
	woken := make(chan struct{}, 100)
	r.Down().Notify(func() { woken <- struct{}{} })
	d := journal.Delivery{Message: e.Message, Keep: true, Notice: &messages.Message{
		From: "anna", To: handset, Text: "Whom is it for?", Originator: number, Kind: messages.Message_NOTICE, AcceptedUnixMs: 5,
	}}
	r.deliver(1, d)
	r.deliver(1, d)
	select {
	case <-woken:
	case <-time.After(patience):
		t.Error("nobody was woken")
	}
	got := r.retrieve(1, 9)
	if len(got) != 1 || got[0].Message.Text != "Whom is it for?" || len(got[0].Message.Id) != 16 || got[0].Message.Originator != number {
		t.Fatalf("retrieved %v", got)
	}
	r.processed(got[0], result(processed, processed))
	r.apply(1, receipt(1, got[0].Message.Id, 0, 1, delivered))
	h.check(got[0].Message.Id, delivered, accepted, retrieved, processed, delivered)
	h.checkEvents("anna")
	if c, err := r.Conversations(handset, ""); err != nil || len(c) != 0 {
		t.Errorf("a notice opened conversation %v, %v", c, err)
	}
}

func devices(t *testing.T, h hub) {
	h.putUsers("anna", "ben")
	var ids [][]byte
	send := func(text string) {
		ids = append(ids, h.accept(journal.Submission{From: "anna", To: "ben", Text: text}))
	}
	pending := func(device, want string) {
		t.Helper()
		ev, err := h.Pending("ben", device, 0, 100)
		if got := texts(t, ev, err); got != want {
			t.Errorf("pending for %q: %q; want %q", device, got, want)
		}
	}
	send("m1")
	send("m2")
	h.received("ben", "", ids[0])
	pending("", "m2")
	pending("phone", "m2") // from here on the phone is known; m1 was taken before
	send("m3")
	pending("phone", "m2 m3")
	pending("pc", "m2 m3")
	h.received("ben", "pc", ids[2])
	pending("pc", "m2")
	pending("phone", "m2 m3")
	pending("", "m2")
	send("m4")
	h.received("ben", "phone", ids[3]) // not in order
	pending("phone", "m2 m3")
	pending("pc", "m2 m4")
	h.received("ben", "phone", ids[1])
	pending("phone", "m3")
	pending("pc", "m4") // m2 came before it was first seen and has been taken
	h.received("ben", "phone", ids[2])
	h.received("ben", "phone", ids[2])
	pending("phone", "")
	pending("pc", "m4")
	h.received("ben", "pc", ids[3])
	pending("pc", "")
	pending("", "")
	send("m5")
	send("m6")
	ev, err := h.Pending("ben", "pc", 0, 1)
	if got := texts(t, ev, err); got != "m5" {
		t.Errorf("first of pending: %q", got)
	}
	ev, err = h.Pending("ben", "pc", ev[0].Number, 5)
	if got := texts(t, ev, err); got != "m6" {
		t.Errorf("second of pending: %q", got)
	}
	h.received("ben", "stranger", ids[5]) // a device that never asked
	pending("pc", "m5 m6")
	pending("tablet", "m5")
	h.checkEvents("anna", "PROCESSED", "PROCESSED", "DELIVERED", "PROCESSED", "DELIVERED", "PROCESSED", "DELIVERED", "DELIVERED", "PROCESSED", "PROCESSED", "DELIVERED")
}

func receivedByOthers(t *testing.T, h hub) {
	h.putUsers("anna", "ben")
	id := h.accept(journal.Submission{From: "anna", To: "ben", Text: "x"})
	if h.received("anna", "", id) || h.received("carl", "d", id) || h.received("ben", "", make([]byte, 16)) || h.received("ben", "", nil) {
		t.Error("found for those it was not for")
	}
	h.check(id, processed, accepted, processed)
}

func paging(t *testing.T, h hub) {
	h.putUsers("anna", "ann", "ben")
	for i := range 10 { // messages and states in turns
		h.accept(journal.Submission{From: "ben", To: "anna", Text: fmt.Sprint("m", i)})
		h.accept(journal.Submission{From: "anna", To: "ben", Text: "x"})
		h.accept(journal.Submission{From: "ben", To: "ann", Text: "other"})
	}
	for limit := 1; limit < 25; limit++ {
		var n uint64
		for {
			ev, err := h.Events("anna", n, limit)
			h.must(err)
			if len(ev) == 0 {
				break
			}
			for _, e := range ev {
				if n++; e.Number != n || (e.State == 0) != (n%2 == 1) {
					t.Fatalf("limit %d: event %+v at %d", limit, e, n)
				}
			}
		}
		if n != 20 {
			t.Errorf("limit %d: %d events; want 20", limit, n)
		}
		var box []string
		for n = 0; ; {
			ev, err := h.Inbox("anna", n, limit)
			h.must(err)
			if len(ev) == 0 {
				break
			}
			for _, e := range ev {
				box = append(box, e.Text)
				n = e.Number
			}
		}
		if got := strings.Join(box, " "); got != "m0 m1 m2 m3 m4 m5 m6 m7 m8 m9" {
			t.Errorf("limit %d: inbox %s", limit, got)
		}
	}
	if ev, err := h.Events("nobody", 0, 5); len(ev) != 0 || err != nil {
		t.Errorf("events of nobody: %v, %v", ev, err)
	}
}

func conversations(t *testing.T, h hub) {
	r := h.claim()
	now := time.Now()
	for _, c := range []struct {
		user string
		ago  time.Duration
		to   string
	}{{"anna", 3 * time.Hour, handset}, {"ben", 2 * time.Hour, handset}, {"carl", 25 * time.Hour, handset}, {"anna", time.Hour, handset}, {"dora", time.Minute, handset + "0"}} {
		s := down("x")
		s.From, s.At, s.To = c.user, now.Add(-c.ago), c.to
		h.accept(s)
	}
	c, err := r.Conversations(handset, "")
	if err != nil || len(c) != 3 || c[0].User != "anna" || c[1].User != "ben" || c[2].User != "carl" || c[0].Number != number || c[0].At.Sub(now.Add(-time.Hour)).Abs() > time.Second {
		t.Errorf("conversations %+v, %v", c, err)
	}
	o, err := h.Claim("cebu-1")
	h.must(err)
	if c, _ := o.Conversations(handset, ""); len(c) != 0 {
		t.Errorf("another edge has %+v", c)
	}
}

func suffixes(t *testing.T, h hub) {
	r := h.claim()
	var seq uint64
	begin := time.Now().Add(-time.Hour)
	write := func(user, to string) string {
		s := down("x")
		seq++
		s.From, s.To, s.SuffixDigits, s.At = user, to, 1, begin.Add(time.Duration(seq)*time.Second)
		h.accept(s)
		return r.retrieve(seq, 1)[0].Message.Originator
	}
	for i := range 10 {
		if got, want := write(fmt.Sprint("u", i), handset), fmt.Sprint(number, i); got != want {
			t.Errorf("u%d has number %s; want %s", i, got, want)
		}
	}
	if got := write("u0", handset); got != number+"0" {
		t.Errorf("u0 has now number %s", got)
	}
	if got := write("u0", handset+"9"); got != number+"0" {
		t.Errorf("u0 has number %s with another handset", got)
	}
	if got := write("new", handset); got != number+"1" { // u1 was silent the longest
		t.Errorf("the eleventh has number %s", got)
	}
	if got := write("u1", handset); got != number+"2" {
		t.Errorf("u1 has now number %s", got)
	}
	c, err := r.Conversations(handset, "")
	if err != nil || len(c) != 10 {
		t.Fatalf("%d conversations, %v; want 10", len(c), err)
	}
	owners := map[string]string{}
	for _, one := range c {
		if owners[one.Number] != "" {
			t.Errorf("number %s has %s and %s", one.Number, owners[one.Number], one.User)
		}
		owners[one.Number] = one.User
	}
	if c[0].User != "u1" || owners[number+"1"] != "new" {
		t.Errorf("conversations %+v", c)
	}
	for _, number := range []string{number + "1", "+" + number + "1"} {
		if c, err := r.Conversations(handset, number); err != nil || len(c) != 1 || c[0].User != "new" {
			t.Errorf("number %s has %+v, %v", number, c, err)
		}
	}
	for _, number := range []string{number, number + "10", "1", "%", "\x00"} {
		if c, err := r.Conversations(handset, number); err != nil || len(c) != 0 {
			t.Errorf("number %q has %+v, %v", number, c, err)
		}
	}
}

// A conversation is found by its number behind however many that are newer.
func manySuffixes(t *testing.T, h hub) {
	const persons = 250
	r := h.claim()
	begin := time.Now().Add(-24 * time.Hour)
	write := func(digits int) {
		const atOnce = 25 // a busy machine's database has time for so many
		answers := make(chan error, atOnce)
		for i := range persons {
			s := down("x")
			s.From, s.SuffixDigits, s.At = fmt.Sprintf("u%03d", i), digits, begin.Add(time.Duration(i)*time.Second)
			h.Accept(s, func(_ journal.Accepted, err error) { answers <- err })
			if (i+1)%atOnce == 0 {
				for range atOnce {
					h.must(<-answers)
				}
			}
		}
	}
	write(3)
	c, err := r.Conversations(handset, "")
	if err != nil || len(c) != 200 || c[0].User != "u249" || c[199].User != "u050" {
		t.Errorf("%d conversations, %v; want the latest 200", len(c), err)
	}
	found := map[string]bool{}
	for i := range persons {
		its := fmt.Sprintf("%s%03d", number, i)
		c, err := r.Conversations(handset, "+"+its)
		if err != nil || len(c) != 1 || c[0].Number != its || found[c[0].User] {
			t.Fatalf("number %s has %+v, %v", its, c, err)
		}
		found[c[0].User] = true
	}
	write(0) // all share one number: the latest of them
	if c, err := r.Conversations(handset, number); err != nil || len(c) != 200 || c[0].User != "u249" || c[199].User != "u050" {
		t.Errorf("%d conversations with number %s, %v; want the latest 200", len(c), number, err)
	}
}

func withoutGaps(t *testing.T, h hub) {
	const writers, each = 8, 25
	h.putUsers("anna", "ben")
	r := h.claim()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { // a client that follows
		var n uint64
		for ended := false; ; {
			select {
			case <-stop:
				ended = true
			default:
			}
			ev, err := h.Events("anna", n, 7)
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range ev {
				if n++; e.Number != n {
					t.Errorf("event %d after %d", e.Number, n-1)
					return
				}
			}
			if len(ev) == 0 && ended {
				if n != 2*writers*each {
					t.Errorf("the client saw %d events; want %d", n, 2*writers*each)
				}
				return
			}
		}
	})
	var accepting sync.WaitGroup
	for w := range writers {
		accepting.Go(func() {
			for i := range each {
				for _, s := range []journal.Submission{
					{From: "ben", To: "anna", Text: "x"},
					{From: "anna", To: "ben", Text: "y"},
					{From: "anna", To: handset, Text: "z", Edge: edge, Number: number, Parts: 1, Class: uint32(w % 3), Ref: fmt.Sprint(w, "-", i)},
				} {
					s.At = time.Now()
					done := make(chan error, 1)
					h.Accept(s, func(_ journal.Accepted, err error) { done <- err })
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	accepting.Wait()
	close(stop)
	wg.Wait()
	if got := r.retrieve(1, 10_000); len(got) != writers*each {
		t.Errorf("retrieved %d; want %d", len(got), writers*each)
	}
	h.events("anna")
}

func watch(t *testing.T, h hub) {
	h.putUsers("anna", "ben")
	seen := make(chan string, 100)
	h.Watch(func(users []string) {
		for _, u := range users {
			seen <- u
		}
	})
	h.accept(journal.Submission{From: "anna", To: "ben", Text: "x"})
	missing := map[string]bool{"anna": true, "ben": true}
	deadline := time.After(patience)
	for len(missing) > 0 {
		select {
		case u := <-seen:
			if last, err := h.LastEvent(u); last == 0 || err != nil {
				t.Errorf("%s has event %d, %v", u, last, err)
			}
			delete(missing, u)
		case <-deadline:
			t.Fatalf("no hint for %v", missing)
		}
	}
}

func instance(t *testing.T, h hub) {
	if b, err := h.Instance(edge); b != nil || err != nil {
		t.Errorf("instance %x, %v", b, err)
	}
	h.claim()
	h.must(waitErr(t, func(done func(error)) { h.SetInstance(edge, []byte{1, 2}, done) }))
	if b, err := h.Instance(edge); string(b) != "\x01\x02" || err != nil {
		t.Errorf("instance %x, %v", b, err)
	}
	if b, _ := h.Instance("cebu-1"); b != nil {
		t.Errorf("another edge's instance %x", b)
	}
}
