package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/pgtest"
)

const edge = "manila-1"

// wait runs a write and returns what it was told.
func wait[T any](t testing.TB, call func(done func(T, error))) (T, error) {
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
	case <-time.After(time.Minute):
		t.Fatal("no answer within a minute")
		panic("unreachable")
	}
}

func waitErr(t testing.TB, call func(done func(error))) error {
	t.Helper()
	_, err := wait(t, func(done func(struct{}, error)) { call(func(err error) { done(struct{}{}, err) }) })
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func putUsers(t testing.TB, s *Store, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := patiently(func() (none struct{}, err error) {
			return none, waitErr(t, func(done func(error)) { s.PutUser(journal.User{Name: name}, done) })
		})
		must(t, err)
	}
}

// patiently asks again what a busy machine's database has not done in time.
func patiently[T any](ask func() (T, error)) (T, error) {
	for deadline := time.Now().Add(time.Minute); ; {
		answer, err := ask()
		if !errors.Is(err, ErrAway) || time.Now().After(deadline) {
			return answer, err
		}
	}
}

var refs atomic.Int64

// accept does so patiently, under a ref: what was not answered may be stored.
func accept(t testing.TB, s *Store, sub journal.Submission) (journal.Accepted, error) {
	t.Helper()
	if sub.Ref == "" {
		sub.Ref = fmt.Sprint("accept-", refs.Add(1))
	}
	return patiently(func() (journal.Accepted, error) { return tryAccept(t, s, sub) })
}

func tryAccept(t testing.TB, s *Store, sub journal.Submission) (journal.Accepted, error) {
	t.Helper()
	return wait(t, func(done func(journal.Accepted, error)) { s.Accept(sub, done) })
}

func down(from, text string) journal.Submission {
	return journal.Submission{From: from, To: "+639171234567", Text: text, Class: 1, Edge: edge, Number: "63917000", Parts: 1, Coding: "gsm7"}
}

func claim(t testing.TB, s *Store) journal.Rings {
	t.Helper()
	r, err := s.Claim(edge)
	must(t, err)
	return r
}

func retrieve(t testing.TB, r journal.Rings, first uint64, most int) ([]journal.Entry, error) {
	t.Helper()
	return wait(t, func(done func([]journal.Entry, error)) { r.Down().Retrieve(first, most, done) })
}

func processed() *messages.Result {
	return &messages.Result{State: messages.State_PROCESSED, AtUnixMs: time.Now().UnixMilli()}
}

// TestI8_OneOwner: while the lease of one hub runs the other does not get its rings;
// afterwards it does, under a higher epoch, and what the first still writes is refused.
func TestI8_OneOwner(t *testing.T) {
	dsn, ctx := pgtest.Shared(t).Database(t), t.Context()
	a, b := open(t, Options{DSN: dsn, Node: "a"}), open(t, Options{DSN: dsn, Node: "b"})
	if _, err := a.Claim(edge); !errors.Is(err, journal.ErrNoLease) {
		t.Errorf("claim without a lease: %v", err)
	}
	for _, s := range []*Store{a, b} {
		if _, err := s.Renew(ctx, s.opts.Node, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	first := claim(t, a)
	for range 3 {
		_, err := accept(t, a, down("anna", "x"))
		must(t, err)
	}
	entries, err := retrieve(t, first, 1, 1)
	must(t, err)
	var refused *journal.OwnedError
	if _, err := b.Claim(edge); !errors.As(err, &refused) || refused.Node != "a" || refused.Kind != "ring" || refused.Identity != edge {
		t.Fatalf("claim of an owned edge: %v", err)
	}
	if node, epoch, err := b.Owner(ctx, "ring", edge); node != "a" || epoch != first.Epoch() || err != nil {
		t.Errorf("owner %s under %d, %v", node, epoch, err)
	}
	must(t, a.End(ctx, "a"))
	if err := waitErr(t, func(done func(error)) { first.Down().Processed(entries[0], processed(), done) }); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("written after the lease was given up: %v", err)
	}
	second := claim(t, b)
	if second.Epoch() <= first.Epoch() {
		t.Errorf("epochs %d, %d", first.Epoch(), second.Epoch())
	}
	if _, err := retrieve(t, first, 2, 1); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("retrieved under the epoch before: %v", err)
	}
	state, err := second.Down().Load()
	if err != nil || state.LastRetrieved != 1 || len(state.Held) != 1 || string(state.Held[0].Message.Id) != string(entries[0].Message.Id) {
		t.Errorf("loaded %+v, %v", state, err)
	}
	if n := second.Down().Waiting(); n != 2 {
		t.Errorf("%d wait; want 2", n)
	}
	// Released by another, or under another epoch: nothing. Under its own: free.
	must(t, a.Release(ctx, "ring", edge, "a", first.Epoch()))
	must(t, b.Release(ctx, "ring", edge, "b", second.Epoch()+1))
	must(t, b.Release(ctx, "ring", edge, "b", second.Epoch()-1))
	if node, _, _ := a.Owner(ctx, "ring", edge); node != "b" {
		t.Errorf("owner %q", node)
	}
	must(t, b.Release(ctx, "ring", edge, "b", second.Epoch()))
	if node, _, _ := a.Owner(ctx, "ring", edge); node != "" {
		t.Errorf("owner %q", node)
	}
}

// TestLeases: who renews lives, by the database's clock; an identity is had by one.
func TestLeases(t *testing.T) {
	dsn, ctx := pgtest.Shared(t).Database(t), t.Context()
	a, b := open(t, Options{DSN: dsn, Node: "a"}), open(t, Options{DSN: dsn, Node: "b"})
	if live, err := a.Renew(ctx, "a", time.Minute); err != nil || !slices.Equal(live, []string{"a"}) {
		t.Fatalf("live: %v, %v", live, err)
	}
	if live, err := b.Renew(ctx, "b", time.Hour); err != nil || !slices.Contains(live, "b") {
		t.Fatalf("live: %v, %v", live, err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	_, err := b.Renew(ctx, "a", time.Hour)
	must(t, err)
	for i := range 8 {
		wg.Go(func() {
			node := []string{"a", "b"}[i%2]
			if _, err := a.Acquire(ctx, "client", "anna", node); err == nil {
				won.Add(1 << (8 * (i % 2)))
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 4 && n != 4<<8 {
		t.Errorf("acquired %x: want four times one node, and never the other", n)
	}
	node, epoch, err := a.Owner(ctx, "client", "anna")
	if node == "" || epoch != 4 || err != nil {
		t.Errorf("owner %q under %d, %v", node, epoch, err)
	}
	_, err = a.Renew(ctx, node, 200*time.Millisecond)
	must(t, err)
	other := map[string]string{"a": "b", "b": "a"}[node]
	for deadline := time.Now().Add(30 * time.Second); ; {
		n, err := a.Acquire(ctx, "client", "anna", other)
		if err == nil {
			if n != 5 {
				t.Errorf("epoch %d; want 5", n)
			}
			break
		}
		var owned *journal.OwnedError
		if !errors.As(err, &owned) || time.Now().After(deadline) {
			t.Fatalf("acquired from a node without lease: %v", err)
		}
	}
	if live, err := a.Renew(ctx, other, time.Hour); err != nil || slices.Contains(live, node) {
		t.Errorf("live: %v, %v; want without %s", live, err, node)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.Renew(ctx, "a", time.Hour); err == nil {
		t.Error("renewed with an ended context")
	}
}

// TestI6_EventsOfTwoHubs: numbers of a user's events have no gaps and no holes that
// are filled later, while two hubs write to the same users.
func TestI6_EventsOfTwoHubs(t *testing.T) {
	const writers, each = 4, 30
	dsn := pgtest.Shared(t).Database(t)
	hubs := []*Store{open(t, Options{DSN: dsn, Node: "a"}), open(t, Options{DSN: dsn, Node: "b"})}
	names := []string{"anna", "ben", "carl"}
	putUsers(t, hubs[0], names...)
	var writing, reading sync.WaitGroup
	stop := make(chan struct{})
	for _, name := range names {
		reading.Go(func() { // a client that follows
			var n uint64
			for ended := false; ; {
				select {
				case <-stop:
					ended = true
				default:
				}
				ev, err := patiently(func() ([]journal.UserEvent, error) { return hubs[n%2].Events(name, n, 9) })
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range ev {
					if n++; e.Number != n {
						t.Errorf("%s: event %d after %d", name, e.Number, n-1)
						return
					}
				}
				if len(ev) == 0 && ended {
					// each message gives one to its recipient and two to its sender
					if n != 3*2*writers*each {
						t.Errorf("%s saw %d events; want %d", name, n, 3*2*writers*each)
					}
					return
				}
			}
		})
	}
	for w := range 2 * writers {
		s := hubs[w%2]
		for k, from := range names {
			writing.Go(func() {
				to := names[(k+1)%3]
				for i := range each {
					a, err := accept(t, s, journal.Submission{From: from, To: to, Text: "x", Ref: fmt.Sprint(w, "-", i)})
					if err != nil {
						t.Error(err)
						return
					}
					if found, err := patiently(func() (bool, error) {
						return wait(t, func(done func(bool, error)) { hubs[(w+i)%2].Received(to, "", a.ID, done) })
					}); !found || err != nil {
						t.Errorf("received: %v, %v", found, err)
					}
				}
			})
		}
	}
	writing.Wait()
	close(stop)
	reading.Wait()
}

// TestI14_QueueOfTwoHubs: what two hubs accept while the rings go back and forth
// between them is retrieved once each, and a sender's in their order.
func TestI14_QueueOfTwoHubs(t *testing.T) {
	const writers, each = 4, 60
	dsn, ctx := pgtest.Shared(t).Database(t), t.Context()
	hubs := []*Store{open(t, Options{DSN: dsn, Node: "a"}), open(t, Options{DSN: dsn, Node: "b"})}
	for _, s := range hubs {
		_, err := s.Renew(ctx, s.opts.Node, time.Hour)
		must(t, err)
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			from := fmt.Sprint("sender-", w)
			text := func(i int) journal.Submission {
				sub := down(from, fmt.Sprint(i))
				sub.Ref = sub.Text
				return sub
			}
			type answer struct {
				i   int
				err error
			}
			answers := make(chan answer, each)
			for i := range each { // without waiting
				hubs[w%2].Accept(text(i), func(_ journal.Accepted, err error) { answers <- answer{i, err} })
			}
			var late []int
			for range each {
				a := <-answers
				if errors.Is(a.err, ErrAway) { // and so are all behind it
					late = append(late, a.i)
				} else if a.err != nil {
					t.Error(a.err)
				}
			}
			slices.Sort(late)
			for _, i := range late {
				if _, err := accept(t, hubs[w%2], text(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := map[string][]string{}
	total := 0
	var fenced journal.Rings
	for turn := 0; total < writers*each; turn++ {
		s, before := hubs[turn%2], hubs[1-turn%2]
		must(t, before.End(ctx, before.opts.Node)) // its lease is over, and it does not know
		_, err := s.Renew(ctx, s.opts.Node, time.Hour)
		must(t, err)
		r := claim(t, s)
		state, err := r.Down().Load()
		must(t, err)
		last := state.LastRetrieved
		for range 3 {
			entries, err := retrieve(t, r, last+1, 7)
			must(t, err)
			for _, e := range entries {
				got[e.Message.From] = append(got[e.Message.From], e.Message.Text)
				total++
				last = e.Seq
			}
		}
		if fenced != nil {
			if _, err := retrieve(t, fenced, last+1, 7); !errors.Is(err, journal.ErrFenced) {
				t.Fatalf("the owner before retrieves: %v", err)
			}
		}
		fenced = r
	}
	writing.Wait()
	for _, from := range slices.Sorted(maps.Keys(got)) {
		for i, text := range got[from] {
			if text != fmt.Sprint(i) || len(got[from]) != each {
				t.Fatalf("%s: %v", from, got[from])
			}
		}
	}
	if r := claim(t, hubs[func() int {
		if _, err := hubs[0].Claim(edge); err == nil {
			return 0
		}
		return 1
	}()]); r.Down().Waiting() != 0 {
		t.Errorf("%d wait", r.Down().Waiting())
	}
}

// load writes from several goroutines and takes down what was acknowledged.
type load struct {
	t     *testing.T
	s     *Store
	seed  uint64
	mu    sync.Mutex
	sent  map[string]bool // by text: acknowledged or not
	taken map[string]uint64
}

func (l *load) run(stop <-chan struct{}) {
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			from := fmt.Sprint("user-", w)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprint(from, "/", i)
				sub := journal.Submission{From: from, To: fmt.Sprint("user-", (w+1)%6), Text: text}
				if i%2 == 0 {
					sub = down(from, text)
				}
				if i%3 == 0 {
					sub.Ref = text
				}
				_, err := tryAccept(l.t, l.s, sub)
				if err != nil && sub.Ref != "" { // as a client does
					_, err = tryAccept(l.t, l.s, sub)
				}
				if err != nil && !errors.Is(err, ErrAway) {
					l.t.Errorf("seed %d: accept: %v", l.seed, err)
				}
				l.mu.Lock()
				l.sent[text] = err == nil
				l.mu.Unlock()
			}
		})
	}
	wg.Go(func() { l.ring(stop) })
	wg.Wait()
}

// ring is what an edge's rings write.
func (l *load) ring(stop <-chan struct{}) {
	var r journal.Rings
	var err error
	for r == nil {
		if r, err = l.s.Claim(edge); err != nil && !errors.Is(err, ErrAway) {
			l.t.Errorf("seed %d: claim: %v", l.seed, err)
			return
		}
	}
	next, event := uint64(1), uint64(0)
	for {
		select {
		case <-stop:
			return
		default:
		}
		entries, err := retrieve(l.t, r, next, 20)
		if err != nil {
			l.t.Errorf("seed %d: retrieve: %v", l.seed, err)
			return
		}
		var answered sync.WaitGroup
		var events []*messages.Event
		for _, e := range entries {
			if e.Seq != next {
				l.t.Errorf("seed %d: sequence %d; want %d", l.seed, e.Seq, next)
			}
			next++
			event++
			if l.taken[e.Message.Text] != 0 {
				l.t.Errorf("seed %d: %s was retrieved twice", l.seed, e.Message.Text)
			}
			l.taken[e.Message.Text] = e.Seq
			events = append(events, &messages.Event{Number: event, Id: e.Message.Id, AtUnixMs: time.Now().UnixMilli(), What: &messages.Event_Receipt{
				Receipt: &messages.Receipt{Parts: 1, State: messages.State_DELIVERED},
			}})
			answered.Add(1)
			r.Down().Processed(e, processed(), func(err error) {
				if err != nil {
					l.t.Errorf("seed %d: processed: %v", l.seed, err)
				}
				answered.Done()
			})
		}
		r.Down().Progress(messages.State_SENT, entries)
		if applied, err := wait(l.t, func(done func(uint64, error)) { r.Apply(events, done) }); err != nil || applied != event {
			l.t.Errorf("seed %d: applied %d, %v; want %d", l.seed, applied, err, event)
		}
		answered.Wait()
	}
}

// check compares what is stored with what was acknowledged.
func (l *load) check() {
	t := l.t
	rest, err := retrieve(t, claim(t, l.s), 1<<40, 1<<20)
	must(t, err)
	found := map[string]int{}
	for _, e := range rest {
		found[e.Message.Text]++
	}
	for text := range l.taken {
		found[text]++
	}
	for w := range 6 {
		name := fmt.Sprint("user-", w)
		ev, err := l.s.Events(name, 0, 1<<20)
		must(t, err)
		states := map[string]bool{}
		for i, e := range ev {
			if e.Number != uint64(i)+1 {
				t.Fatalf("seed %d: %s: event %d at %d", l.seed, name, e.Number, i+1)
			}
			if e.State == 0 {
				found[e.Text]++
			} else if k := fmt.Sprintf("%x %v", e.ID, e.State); states[k] {
				t.Errorf("seed %d: %s was told %s twice", l.seed, name, k)
			} else {
				states[k] = true
			}
		}
	}
	acknowledged, lost, doubled := 0, 0, 0
	for text, ok := range l.sent {
		if ok {
			acknowledged++
		}
		if ok && found[text] == 0 {
			lost++
		}
		if found[text] > 1 {
			doubled++
		}
	}
	t.Logf("seed %d: %d sent, %d acknowledged, %d taken from the queue", l.seed, len(l.sent), acknowledged, len(l.taken))
	if lost > 0 || doubled > 0 || acknowledged < 20 || len(l.taken) < 5 {
		t.Errorf("seed %d: %d of %d acknowledged are lost, %d doubled", l.seed, lost, acknowledged, doubled)
	}
}

func newLoad(t *testing.T, s *Store) *load {
	l := &load{t: t, s: s, seed: rand.Uint64(), sent: map[string]bool{}, taken: map[string]uint64{}}
	for w := range 6 {
		putUsers(t, s, fmt.Sprint("user-", w))
	}
	return l
}

// TestI5_DatabaseRestart: the server crashes and comes back three times under load.
func TestI5_DatabaseRestart(t *testing.T) {
	server := pgtest.New(t)
	l := newLoad(t, open(t, Options{DSN: server.Database(t)}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { l.run(stop) })
	for range 3 {
		l.grow(60)
		server.Stop()
		waitFor(t, "the store to notice", func() bool { return l.s.Ready() != nil })
		must(t, server.Start())
		waitFor(t, "the store to recover", func() bool { return l.s.Ready() == nil })
	}
	l.grow(60)
	close(stop)
	wg.Wait()
	l.check()
}

// TestI5_FailOver: the server is lost for good under load; its synchronous standby, which
// the DSN names too, takes its place with all that was acknowledged.
func TestI5_FailOver(t *testing.T) {
	server := pgtest.New(t)
	database := server.Database(t)
	standby := server.Standby(t)
	l := newLoad(t, open(t, Options{DSN: server.Either(database, standby)}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { l.run(stop) })
	l.grow(100)
	server.Stop()
	waitFor(t, "the store to notice", func() bool { return l.s.Ready() != nil })
	standby.Promote(t)
	waitFor(t, "the store to recover", func() bool { return l.s.Ready() == nil })
	l.grow(100)
	close(stop)
	wg.Wait()
	l.check()
}

// grow waits until so many more are acknowledged.
func (l *load) grow(more int) {
	count := func() (n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, ok := range l.sent {
			if ok {
				n++
			}
		}
		return n
	}
	before := count()
	waitFor(l.t, fmt.Sprintf("%d messages more than %d", more, before), func() bool { return count() >= before+more })
}

func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited two minutes for %s", what)
		}
	}
}

// TestUnknownCommits: connections are cut after the server has had a request and
// before its answer comes back, so that nobody knows what was committed; and before.
func TestUnknownCommits(t *testing.T) {
	server := pgtest.Shared(t)
	dsn := server.Database(t)
	cutter := newCutter(t, server.Address())
	direct := server.Address()
	host, port, _ := strings.Cut(direct, ":")
	chost, cport, _ := strings.Cut(cutter.address(), ":")
	through := strings.NewReplacer("host="+host, "host="+chost, "port="+port, "port="+cport).Replace(dsn)
	l := newLoad(t, open(t, Options{DSN: through}))
	cutter.seed(l.seed, 0.04)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { l.run(stop) })
	l.grow(400)
	for cutter.after.Load() < 5 { // a busy machine writes few large groups
		l.grow(50)
	}
	cutter.seed(l.seed, 0)
	close(stop)
	wg.Wait()
	t.Logf("%d connections were cut before the request, %d before the answer", cutter.before.Load(), cutter.after.Load())
	l.check()
}

// TestTerminatedBackends: an operator, or a fail-over, ends sessions under load.
func TestTerminatedBackends(t *testing.T) {
	server := pgtest.Shared(t)
	dsn := server.Database(t)
	l := newLoad(t, open(t, Options{DSN: dsn}))
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	defer conn.Close(context.Background())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { l.run(stop) })
	for range 15 {
		l.grow(15)
		_, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		must(t, err)
	}
	close(stop)
	wg.Wait()
	l.check()
}

// TestAway: while the database is away callers are told so in time, and what rings
// write is done when it is back.
func TestAway(t *testing.T) {
	server := pgtest.New(t)
	s := open(t, Options{DSN: server.Database(t)})
	putUsers(t, s, "anna", "ben")
	r := claim(t, s)
	_, err := accept(t, s, down("anna", "x"))
	must(t, err)
	entries, err := retrieve(t, r, 1, 1)
	must(t, err)
	server.Stop()
	kept := make(chan error, 1)
	r.Down().Processed(entries[0], processed(), func(err error) { kept <- err })
	for what, call := range map[string]func() error{
		"accept": func() error { _, err := tryAccept(t, s, down("anna", "y")); return err },
		"received": func() error {
			_, err := wait(t, func(done func(bool, error)) { s.Received("ben", "", entries[0].Message.Id, done) })
			return err
		},
		"put user": func() error {
			return waitErr(t, func(done func(error)) { s.PutUser(journal.User{Name: "carl"}, done) })
		},
		"events": func() error { _, err := s.Events("anna", 0, 10); return err },
	} {
		for try := 1; ; try++ { // a busy machine gets another chance
			begun := time.Now()
			if err := call(); !errors.Is(err, ErrAway) {
				t.Errorf("%s: %v; want ErrAway", what, err)
			}
			took := time.Since(begun)
			if took <= patience+time.Second {
				break
			}
			if try == 3 {
				t.Errorf("%s: said after %v", what, took)
				break
			}
		}
	}
	if err := s.Ready(); !errors.Is(err, ErrAway) {
		t.Errorf("ready: %v", err)
	}
	select {
	case err := <-kept:
		t.Fatalf("written without a database: %v", err)
	default:
	}
	must(t, server.Start())
	if err := <-kept; err != nil {
		t.Errorf("after its return: %v", err)
	}
	waitFor(t, "ready", func() bool { return s.Ready() == nil })
	if rec, _, err := s.Message(entries[0].Message.Id); err != nil || rec.State != messages.State_PROCESSED {
		t.Errorf("record %+v, %v", rec, err)
	}
	_, err = accept(t, s, down("anna", "z"))
	must(t, err)
}

// TestOneAlone: what the database refuses of one write does not touch the others of
// its group.
func TestOneAlone(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t)})
	type answer struct {
		sub journal.Submission
		err error
	}
	answers := make(chan answer, 10)
	for i := range 10 {
		sub := down("anna", fmt.Sprint("text ", i))
		sub.Ref = fmt.Sprint(i)
		if i == 5 {
			sub.Text = "\xff" // no protobuf string
		}
		if i == 6 {
			sub.Ref, sub.Sender = "zero\x00byte", "\x00"
		}
		s.Accept(sub, func(_ journal.Accepted, err error) { answers <- answer{sub, err} })
	}
	for range 10 {
		a := <-answers
		if errors.Is(a.err, ErrAway) {
			_, a.err = accept(t, s, a.sub)
		}
		if (a.err != nil) != (a.sub.Text == "\xff") {
			t.Errorf("%q: %v", a.sub.Text, a.err)
		}
	}
	if _, ok, err := s.MessageByRef("anna", "zero\x00byte"); !ok || err != nil {
		t.Errorf("by ref: %v, %v", ok, err)
	}
	if n := claim(t, s).Down().Waiting(); n != 9 {
		t.Errorf("%d wait; want 9", n)
	}
}

// TestMigrations: several hubs start at once on an empty database; a database that
// is too new is refused, one that is only newer is not.
func TestMigrations(t *testing.T) {
	dsn := pgtest.Shared(t).Database(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{DSN: dsn, Node: fmt.Sprint("hub-", i)})
			if err != nil {
				t.Errorf("hub %d: %v", i, err)
				return
			}
			_ = s.Close()
		})
	}
	wg.Wait()
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	defer conn.Close(context.Background())
	all, err := readMigrations(migrations)
	must(t, err)
	known := len(all)
	for _, step := range []struct {
		version, oldest int
		ok              bool
	}{{known, 0, true}, {known + 1, known, true}, {known + 1, known + 1, false}} {
		var version int
		must(t, conn.QueryRow(t.Context(), `UPDATE schema SET version = $1, oldest = $2 WHERE version >= 1 RETURNING version`, step.version, step.oldest).Scan(&version))
		s, err := Open(t.Context(), Options{DSN: dsn, Node: "hub"})
		if (err == nil) != step.ok || !step.ok && !errors.Is(err, ErrNewer) {
			t.Errorf("version %d, oldest %d: %v", step.version, step.oldest, err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
	if _, err := Open(t.Context(), Options{DSN: "host=127.0.0.1 port=1 dbname=x", Node: "hub"}); err == nil {
		t.Error("opened without a server")
	}
	if _, err := Open(t.Context(), Options{DSN: "no dsn", Node: "hub"}); err == nil {
		t.Error("opened without a DSN")
	}
	_, err = conn.Exec(t.Context(), `ALTER DATABASE `+pgx.Identifier{conn.Config().Database}.Sanitize()+` SET synchronous_commit = off`)
	must(t, err)
	if _, err := Open(t.Context(), Options{DSN: dsn, Node: "hub"}); err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("opened with synchronous_commit off: %v", err)
	}
}
