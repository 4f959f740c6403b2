package hub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/tests/probe"
)

// newHub has users ann and bob and two edges; manila-2 gives conversations numbers of their own.
func newHub(t *testing.T, system *actor.ActorSystem, options ...Option) *Hub {
	t.Helper()
	store, err := hubstore.Open(hubstore.Options{Dir: "store", FS: vfs.NewMem(), Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{DataDir: t.TempDir(), Edges: []config.HubEdge{
		{ID: "manila-1", Prefixes: []string{"+63917"}, Number: "63917000"},
		{ID: "manila-2", Prefixes: []string{"+63918", "+639170"}, Number: "63918000", SuffixDigits: 2},
	}}, append([]Option{WithStore(store), WithPasswordCost(bcrypt.MinCost), WithActorSystem(system)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"ann", "bob"} {
		if _, err := h.PutUser(t.Context(), name, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *Hub) mustSend(t *testing.T, from, to, text string) Accepted {
	t.Helper()
	a, err := h.Send(t.Context(), Submission{From: from, To: to, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestConfigThatCannotBeServed(t *testing.T) {
	edge := func(change func(*config.HubEdge)) Config {
		e := config.HubEdge{ID: "a", Prefixes: []string{"+1"}, Number: "1"}
		change(&e)
		return Config{DataDir: "d", Edges: []config.HubEdge{{ID: "z", Prefixes: []string{"+9"}, Number: "9"}, e}}
	}
	for want, cfg := range map[string]Config{
		"data_dir":            {},
		"limits.parts is 256": {DataDir: "d", Limits: config.Limits{Parts: 256}},
		"edges[1].id":         edge(func(e *config.HubEdge) { e.ID = "z" }),
		"edges[1].number":     edge(func(e *config.HubEdge) { e.Number = "" }),
		`has "1"`:             edge(func(e *config.HubEdge) { e.Prefixes = []string{"1"} }),
		`edge "z" does`:       edge(func(e *config.HubEdge) { e.Prefixes = []string{"+9"} }),
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestLongestPrefix(t *testing.T) {
	h := newHub(t, probe.System(t))
	for number, want := range map[string]string{"+639175551": "manila-1", "+639170001": "manila-2", "+63918": "manila-2", "+6391": "", "+1": ""} {
		if edge, ok := h.longestPrefix(number); edge != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", number, edge, ok)
		}
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := secretFile(path, newHub(t, probe.System(t)).log)
	if err != nil || len(made) != 64 {
		t.Fatal(made, err)
	}
	if again, err := secretFile(path, nil); err != nil || again != made {
		t.Error(again, err)
	}
	if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := secretFile(path, nil); err == nil {
		t.Error("a short secret was taken")
	}
}

func TestAuthenticator(t *testing.T) {
	h := newHub(t, probe.System(t), WithAuthenticator(func(_ context.Context, user, password string) error {
		if user == "carl" && password == "from elsewhere" {
			return nil
		}
		return ErrWrongPassword
	}))
	if _, _, err := h.Login(t.Context(), "ann", "secret", "here"); !errors.Is(err, ErrWrongPassword) {
		t.Error(err)
	}
	token, _, err := h.Login(t.Context(), "Carl", "from elsewhere", "here")
	if err != nil {
		t.Fatal(err)
	}
	if user, err := h.Authenticate(token); user != "carl" || err != nil {
		t.Error(user, err)
	}
}

func TestSubscription(t *testing.T) {
	h := newHub(t, probe.System(t))
	sub, err := h.Subscribe("bob", SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		h.mustSend(t, "ann", "bob", text)
		if events := <-sub.C; len(events) != 1 || events[0].Text != text {
			t.Fatal(events)
		}
		sub.More()
	}
	sub.Close()
	for range sub.C { // until closed
	}
	sub.More() // harmless
	sub.Close()

	left, err := h.Subscribe("bob", SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for range left.C {
	}
	if _, err := h.Subscribe("bob", SubscribeOptions{}); err == nil {
		t.Error("subscribed to a closed hub")
	}
}

// line is a handset behind an edge whose mirror slot is a probe.
type line struct {
	t      *testing.T
	edge   *edge
	slot   *probe.Probe
	number string
	seq    uint64
}

// dial makes a handset of an edge's network. Nothing but the edge's router runs.
func (h *Hub) dial(t *testing.T, system *actor.ActorSystem, cfg config.HubEdge, number string) *line {
	t.Helper()
	rings, err := h.store.Claim(cfg.ID)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{cfg: cfg, rings: rings}
	e.router = system.Root.Spawn(newRouter(h, cfg, rings))
	return &line{t: t, edge: e, slot: probe.New(t, system), number: number}
}

func (l *line) says(to, text string) {
	l.t.Helper()
	l.seq++
	id := make([]byte, 16)
	id[0], id[15] = l.number[5], byte(l.seq)
	m := &messages.Message{Id: id, From: l.number, To: to, Text: text, AcceptedUnixMs: time.Now().UnixMilli()}
	kept := make(chan error, 1)
	l.edge.rings.Up().Keep(journal.Entry{Seq: l.seq, Message: m}, func(err error) { kept <- err })
	if err := <-kept; err != nil {
		l.t.Fatal(err)
	}
	l.slot.Tell(l.edge.router, &messages.HandOn{Seq: l.seq, Message: m})
	if a := probe.Expect[*messages.Answered](l.slot); a.Seq != l.seq || a.Result.GetState() != messages.State_PROCESSED {
		l.t.Fatal(a)
	}
}

func (h *Hub) inboxTexts(t *testing.T, user string) (texts []string) {
	t.Helper()
	events, err := h.Inbox(user, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		texts = append(texts, e.Text)
	}
	return texts
}

// A handset's texts reach the people, through the store.
func TestHandsetsAndPeople(t *testing.T) {
	system := probe.System(t)
	h := newHub(t, system)
	expect := func(user string, want ...string) {
		t.Helper()
		if got := h.inboxTexts(t, user); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Fatalf("%s has %q, want %q", user, got, want)
		}
	}
	l := h.dial(t, system, h.cfg.Edges[0], "+639171234567")

	l.says("63917000", "whose?") // nobody has written yet
	expect("ann")
	if n := l.edge.rings.Down().Waiting(); n != 1 {
		t.Errorf("%d questions", n)
	}
	h.mustSend(t, "ann", l.number, "hello")
	l.says("63917000", "yes")
	expect("ann", "yes")
	h.mustSend(t, "bob", l.number, "hello")
	l.says("63917000", "both?")
	l.says("+63917000", "both??")
	if n := l.edge.rings.Down().Waiting(); n != 3 { // two messages and still one question
		t.Errorf("%d wait for the handset", n)
	}
	l.says("63917000", "@Bob it is you")
	expect("bob", "whose?", "both?", "both??", "it is you")
	expect("ann", "yes")

	// With a number for each conversation.
	l = h.dial(t, system, h.cfg.Edges[1], "+639181234567")
	h.mustSend(t, "ann", l.number, "hello")
	h.mustSend(t, "bob", l.number, "hello")
	conversations, err := l.edge.rings.Conversations(l.number, "")
	if err != nil || len(conversations) != 2 || conversations[0].Number == conversations[1].Number {
		t.Fatal(conversations, err)
	}
	for _, c := range conversations {
		l.says(c.Number, "for "+c.User)
	}
	expect("ann", "yes", "for ann")
	expect("bob", "whose?", "both?", "both??", "it is you", "for bob")
}

// A name alone releases what was kept, and nothing else.
func TestNameAloneReleases(t *testing.T) {
	system := probe.System(t)
	h := newHub(t, system)
	l := h.dial(t, system, h.cfg.Edges[0], "+639171234567")
	l.says("63917000", "for whom")
	l.says("63917000", "@ann")
	if got := h.inboxTexts(t, "ann"); strings.Join(got, "|") != "for whom" {
		t.Errorf("ann has %q", got)
	}
}

// slowRejoins looks through a store whenever an edge joins anew.
type slowRejoins struct {
	journal.Rings
	looked int
}

func (r *slowRejoins) Rejoin(_ journal.Rejoin, done func(journal.Rejoined, error)) {
	r.looked++
	done(journal.Rejoined{}, nil)
}

type standing struct{ journal.Hub }

func (standing) Standing(string) (journal.Standing, error) { return journal.Standing{}, nil }

// An edge that joins anew all the time does not keep the store busy.
func TestRejoinsAreLimited(t *testing.T) {
	rings := &slowRejoins{}
	h, e := &Hub{store: standing{}}, &edge{rings: rings, rejoins: newRejoins()}
	refused := 0
	for range 100 {
		var cfg link.HubSyncConfig // each time a synchronisation of its own
		h.withRejoin(&cfg, e)
		cfg.Rejoin(journal.Rejoin{}, func(_ journal.Rejoined, err error) {
			if err != nil {
				refused++
			}
		})
	}
	if rings.looked < 1 || rings.looked > 20 || refused != 100-rings.looked {
		t.Errorf("%d looks through the store, %d refusals", rings.looked, refused)
	}
}
