package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/docs"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
)

const (
	password  = "correct horse"
	pingEvery = 200 * time.Millisecond
)

// api is a hub with its API on a real socket. Its users are ann and bob.
type api struct {
	t      *testing.T
	hub    *hub.Hub
	server *Server
	http   *httptest.Server
	store  *faulty
	admin  string
	tokens map[string]string
	given  map[string]bool // answers, as document.check names them
}

// faulty is a store that can be made to fail.
type faulty struct {
	*hubstore.Store
	err atomic.Pointer[error]
}

func (f *faulty) fail(err error) { f.err.Store(&err) }

func (f *faulty) failing() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *faulty) User(name string) (journal.User, bool, error) {
	if err := f.failing(); err != nil {
		return journal.User{}, false, err
	}
	return f.Store.User(name)
}

func (f *faulty) ReplaceEdge(id string) error {
	if err := f.failing(); err != nil {
		return err
	}
	return f.Store.ReplaceEdge(id)
}

func newAPI(t *testing.T, change func(*hub.Config), options ...hub.Option) *api {
	t.Helper()
	opened, err := hubstore.Open(hubstore.Options{Dir: "store", FS: vfs.NewMem(), Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	store := &faulty{Store: opened}
	cfg := hub.Config{DataDir: t.TempDir(), Edges: []config.HubEdge{
		{ID: "manila-1", Prefixes: []string{"+63917"}, Number: "63917000"},
		{ID: "manila-2", Prefixes: []string{"+639171"}, Number: "63917001", Queue: config.Queue{MaxMessages: 1}},
	}, Limits: config.Limits{Parts: 3, BodyBytes: 20_000}}
	if change != nil {
		change(&cfg)
	}
	registry := prometheus.NewRegistry()
	h, err := hub.New(cfg, append([]hub.Option{hub.WithStore(store), hub.WithPasswordCost(bcrypt.MinCost), hub.WithRegisterer(registry)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(h, Config{PingEvery: pingEvery, Gatherer: registry, Registerer: registry, Origins: []string{"https://chat.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	a := &api{t: t, hub: h, server: s, store: store, http: httptest.NewServer(s.Handler()), tokens: map[string]string{}, given: map[string]bool{}}
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		select {
		case <-s.closing:
		default:
			if err := s.CloseStreams(limit); err != nil {
				t.Error(err)
			}
		}
		a.http.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	raw, err := os.ReadFile(filepath.Join(cfg.DataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	a.admin = strings.TrimSpace(string(raw))
	for _, user := range []string{"ann", "bob"} {
		if r := a.call("PUT", "/v1/users/"+user, a.admin, fmt.Sprintf(`{"password":%q}`, password)); r.status != 201 {
			t.Fatal(r)
		}
		a.tokens[user] = a.login(user)
	}
	return a
}

func (a *api) login(user string) string {
	a.t.Helper()
	r := a.call("POST", "/v1/login", "", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
	if r.status != 200 {
		a.t.Fatal(r)
	}
	return r.text("token")
}

type response struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
}

func (r response) String() string { return fmt.Sprintf("%d %s", r.status, r.raw) }

func (r response) text(field string) string { s, _ := r.body[field].(string); return s }

func (a *api) call(method, path, token, body string) response {
	a.t.Helper()
	request, err := http.NewRequest(method, a.http.URL+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	r := response{answer.StatusCode, answer.Header, nil, string(raw)}
	_ = json.Unmarshal(raw, &r.body)
	a.check(request, body, r)
	return r
}

// check holds an answer to the document.
func (a *api) check(request *http.Request, body string, r response) {
	a.t.Helper()
	d, err := theDocument()
	if err != nil {
		a.t.Fatal(err)
	}
	a.given[d.check(a.t, request, body, r)] = true
}

// send returns the id of a message that ann sends.
func (a *api) send(to, text string) string {
	a.t.Helper()
	r := a.call("POST", "/v1/messages", a.tokens["ann"], fmt.Sprintf(`{"to":%q,"text":%q}`, to, text))
	if r.status != 202 {
		a.t.Fatal(r)
	}
	return r.text("id")
}

func TestRefusals(t *testing.T) {
	a := newAPI(t, nil)
	long := strings.Repeat("x", 3*153+1)
	for _, test := range []struct {
		name, method, path, who, body string
		status                        int
		detail                        string // part of it
	}{
		{"no token", "POST", "/v1/messages", "", `{}`, 401, "Bearer"},
		{"a token nobody gave", "GET", "/v1/messages?box=inbox", "nonsense", "", 401, "sign in again"},
		{"a token that was altered", "GET", "/v1/messages?box=inbox", "altered", "", 401, "sign in again"},
		{"a user as administrator", "PUT", "/v1/users/eve", "ann", `{"password":"x"}`, 403, "administrator"},
		{"the administrator as user", "POST", "/v1/messages", "admin", `{"to":"bob","text":"x"}`, 403, "administrator"},
		{"wrong password", "POST", "/v1/login", "", `{"user":"ann","password":"wrong"}`, 401, "wrong"},
		{"wrong user", "POST", "/v1/login", "", `{"user":"zoe","password":"wrong"}`, 401, "wrong"},
		{"wrong method", "DELETE", "/v1/messages", "ann", "", 405, "use GET, HEAD, POST"},
		{"wrong path", "GET", "/v1/nothing", "ann", "", 404, "/openapi.yaml"},
		{"wrong path outside the API", "GET", "/nothing", "", "", 404, "/openapi.yaml"},

		{"bad name", "PUT", "/v1/users/9lives", "admin", `{"password":"x"}`, 400, "9lives"},
		{"no password", "PUT", "/v1/users/eve", "admin", `{}`, 400, "password"},
		{"long password", "PUT", "/v1/users/eve", "admin", fmt.Sprintf(`{"password":%q}`, strings.Repeat("x", 73)), 400, "72"},

		{"no body", "POST", "/v1/messages", "ann", ``, 400, "JSON"},
		{"no JSON", "POST", "/v1/messages", "ann", `to=bob`, 400, "JSON"},
		{"half a JSON", "POST", "/v1/messages", "ann", `{"to":"bob"`, 400, "JSON"},
		{"two JSONs", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x"}{}`, 400, "JSON"},
		{"an array", "POST", "/v1/messages", "ann", `[]`, 400, "object"},
		{"unknown field", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","colour":"red"}`, 400, `"colour" is unknown`},
		{"field in another case", "POST", "/v1/messages", "ann", `{"To":"bob","text":"x"}`, 400, `"To" is unknown`},
		{"reserved field", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","not_before":"x"}`, 400, `"not_before" is reserved`},
		{"a field twice", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","text":"y"}`, 400, "duplicate"},
		{"a number for a text", "POST", "/v1/messages", "ann", `{"to":"bob","text":7}`, 400, `"text"`},
		{"invalid UTF-8", "POST", "/v1/messages", "ann", "{\"to\":\"bob\",\"text\":\"\xff\"}", 400, "UTF-8"},
		{"half a surrogate pair", "POST", "/v1/messages", "ann", `{"to":"bob","text":"\ud83d"}`, 400, "surrogate"},
		{"U+0000", "POST", "/v1/messages", "ann", `{"to":"bob","text":"\u0000"}`, 400, "U+0000"},
		{"empty text", "POST", "/v1/messages", "ann", `{"to":"bob","text":""}`, 400, "empty"},
		{"no recipient", "POST", "/v1/messages", "ann", `{"text":"x"}`, 400, "to is missing"},
		{"neither name nor number", "POST", "/v1/messages", "ann", `{"to":"Bob Smith","text":"x"}`, 400, "Bob Smith"},
		{"a scheme", "POST", "/v1/messages", "ann", `{"to":"mailto:bob","text":"x"}`, 400, "reserved"},
		{"a number with spaces", "POST", "/v1/messages", "ann", `{"to":"+63 917","text":"x"}`, 400, "digits"},
		{"bad valid_for", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","valid_for":"soon"}`, 400, "duration"},
		{"negative valid_for", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","valid_for":"-1s"}`, 400, "above 0"},
		{"bad class", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","class":3}`, 400, "class is 3"},
		{"broken class", "POST", "/v1/messages", "ann", `{"to":"bob","text":"x","class":0.5}`, 400, `"class"`},
		{"long ref", "POST", "/v1/messages", "ann", fmt.Sprintf(`{"to":"bob","text":"x","ref":%q}`, strings.Repeat("r", 129)), 400, "128"},
		{"unknown user", "POST", "/v1/messages", "ann", `{"to":"zoe","text":"x"}`, 404, "zoe"},
		{"no prefix", "POST", "/v1/messages", "ann", `{"to":"+4915123456","text":"x"}`, 422, "+4915123456"},
		{"too long a text", "POST", "/v1/messages", "ann", fmt.Sprintf(`{"to":"+639180000","text":%q}`, long), 422, "no edge"},
		{"too many parts", "POST", "/v1/messages", "ann", fmt.Sprintf(`{"to":"+639175550000","text":%q}`, long), 413, "at most 3"},
		{"too long a body", "POST", "/v1/messages", "ann", fmt.Sprintf(`{"to":"bob","text":%q}`, strings.Repeat("x", 20_000)), 413, "20000"},

		{"another box", "GET", "/v1/messages?box=sent", "ann", "", 400, "inbox"},
		{"bad cursor", "GET", "/v1/messages?box=inbox&after=17", "ann", "", 400, "cursor"},
		{"bad limit", "GET", "/v1/messages?box=inbox&limit=0", "ann", "", 400, "1000"},
		{"unknown ref", "GET", "/v1/messages?ref=nothing", "ann", "", 404, "no such message"},
		{"no id", "GET", "/v1/messages/xyz", "ann", "", 404, "32"},
		{"unknown id", "GET", "/v1/messages/00000000000000000000000000000000", "ann", "", 404, "no such message"},
		{"unknown id received", "POST", "/v1/messages/00000000000000000000000000000000/received", "ann", "", 404, "no such message"},
		{"presence of nobody", "GET", "/v1/presence/zoe", "ann", "", 404, "no such user"},
		{"rings for a user", "GET", "/v1/rings", "ann", "", 403, "administrator"},
		{"rings of no edge", "GET", "/v1/rings/nowhere/down", "admin", "", 404, "nowhere"},
		{"ring of no direction", "GET", "/v1/rings/manila-1/left", "admin", "", 404, "left"},
		{"stream without a handshake", "GET", "/v1/stream", "ann", "", 426, "WebSocket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := a.tokens[test.who]
			switch test.who {
			case "admin":
				token = a.admin
			case "nonsense":
				token = "nonsense"
			case "altered":
				token = a.tokens["ann"][:len(a.tokens["ann"])-4] + "AAAA"
			}
			r := a.call(test.method, test.path, token, test.body)
			if r.status != test.status || !strings.Contains(r.text("detail"), test.detail) {
				t.Errorf("got %v; want %d with %q", r, test.status, test.detail)
			}
			if r.header.Get("Content-Type") != "application/problem+json" || r.text("title") == "" || r.text("type") == "" || r.text("code") == "" || r.body["status"] != float64(test.status) {
				t.Errorf("no problem document: %s %v", r.header.Get("Content-Type"), r)
			}
			switch {
			case test.status == 401 && r.header.Get("WWW-Authenticate") == "":
				t.Error("no WWW-Authenticate")
			case test.status == 405 && r.header.Get("Allow") != "GET, HEAD, POST":
				t.Errorf("Allow: %q", r.header.Get("Allow"))
			case test.status == 413 && r.body["limit"] == nil:
				t.Errorf("no limit in %v", r)
			}
		})
	}
}

func TestWrongPasswordsAreLimited(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := newAPI(t, func(c *hub.Config) { c.Limits.LoginPerMinute = 3 }, hub.WithClock(func() time.Time { return now }))
	login := func(user, password string) response {
		return a.call("POST", "/v1/login", "", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
	}
	for i := range 3 {
		if r := login("ann", "wrong"); r.status != 401 {
			t.Fatal(i, r)
		}
	}
	r := login("ann", password)
	if r.status != 429 || r.header.Get("Retry-After") != "20" {
		t.Fatal(r, r.header)
	}
	if r := login("bob", password); r.status != 429 {
		t.Fatal("the address is not limited:", r)
	}
	now = now.Add(20 * time.Second)
	for range 5 { // right ones are not counted
		if r := login("ann", password); r.status != 200 {
			t.Fatal(r)
		}
	}
}

func TestLoginOutlivesRestartAndEndsWithPasswordAndTime(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	a := newAPI(t, func(c *hub.Config) { c.DataDir = dir }, hub.WithClock(func() time.Time { return now }))
	again := newAPI(t, func(c *hub.Config) { c.DataDir = dir }, hub.WithClock(func() time.Time { return now }))
	if again.admin != a.admin {
		t.Error("another admin token")
	}
	info, err := os.Stat(filepath.Join(dir, "admin.token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	ann := a.tokens["ann"]
	inbox := func() int { return a.call("GET", "/v1/messages?box=inbox", ann, "").status }
	if got := inbox(); got != 200 {
		t.Fatal(got)
	}
	now = now.Add(24*time.Hour - time.Second)
	if got := inbox(); got != 200 {
		t.Fatal(got)
	}
	now = now.Add(time.Second)
	if got := inbox(); got != 401 {
		t.Fatal(got)
	}
	ann = a.login("ANN") // names are compared without case
	if got := inbox(); got != 200 {
		t.Fatal(got)
	}
	if r := a.call("PUT", "/v1/users/Ann", a.admin, `{"password":"another"}`); r.status != 200 {
		t.Fatal(r)
	}
	if got := inbox(); got != 401 {
		t.Fatal(got)
	}
}

func TestSendReadReceive(t *testing.T) {
	a := newAPI(t, nil)
	id := a.send("Bob", "hello <b> @name ☎ ")
	got := a.call("GET", "/v1/messages/"+id, a.tokens["ann"], "")
	if got.status != 200 || got.text("text") != "hello <b> @name ☎ " || got.text("state") != "processed" || got.text("to") != "bob" || got.text("from") != "ann" || got.body["final"] != false {
		t.Fatal(got)
	}
	inbox := a.call("GET", "/v1/messages?box=inbox", a.tokens["bob"], "")
	if list := inbox.body["messages"].([]any); len(list) != 1 || list[0].(map[string]any)["id"] != id || list[0].(map[string]any)["text"] != "hello <b> @name ☎ " {
		t.Fatal(inbox)
	}
	for range 2 {
		if r := a.call("POST", "/v1/messages/"+id+"/received", a.tokens["bob"], ""); r.status != 204 {
			t.Fatal(r)
		}
	}
	got = a.call("GET", "/v1/messages/"+id, a.admin, "")
	if got.text("state") != "delivered" || got.body["final"] != true || len(got.body["history"].([]any)) < 3 {
		t.Fatal(got)
	}
	if r := a.call("PUT", "/v1/users/eve", a.admin, fmt.Sprintf(`{"password":%q}`, password)); r.status != 201 {
		t.Fatal(r)
	}
	if r := a.call("GET", "/v1/messages/"+id, a.login("eve"), ""); r.status != 404 {
		t.Error("somebody else's:", r)
	}
}

func TestRefMakesSendingIdempotent(t *testing.T) {
	a := newAPI(t, nil)
	post := func(user, body string) response { return a.call("POST", "/v1/messages", a.tokens[user], body) }
	first := post("ann", `{"to":"bob","text":"x","ref":"r 1"}`)
	if first.status != 202 {
		t.Fatal(first)
	}
	if r := post("ann", `{"ref":"r 1","text":"x","to":"BOB"}`); r.status != 202 || r.text("id") != first.text("id") {
		t.Error("again:", r)
	}
	for _, other := range []string{`{"to":"bob","text":"y","ref":"r 1"}`, `{"to":"ann","text":"x","ref":"r 1"}`, `{"to":"bob","text":"x","ref":"r 1","class":0}`, `{"to":"bob","text":"x","ref":"r 1","valid_for":"1h"}`} {
		if r := post("ann", other); r.status != 409 || r.text("code") != "ref_conflict" {
			t.Error(other, r)
		}
	}
	if r := post("bob", `{"to":"ann","text":"x","ref":"r 1"}`); r.status != 202 || r.text("id") == first.text("id") {
		t.Error("another user's ref:", r)
	}
	if r := a.call("GET", "/v1/messages?ref=r+1", a.tokens["ann"], ""); r.status != 200 || r.text("id") != first.text("id") || r.text("ref") != "r 1" {
		t.Error("by ref:", r)
	}
	if n := len(a.call("GET", "/v1/messages?box=inbox", a.tokens["bob"], "").body["messages"].([]any)); n != 1 {
		t.Errorf("%d messages in the inbox", n)
	}
}

func TestToNumbers(t *testing.T) {
	a := newAPI(t, nil)
	post := func(body string) response { return a.call("POST", "/v1/messages", a.tokens["ann"], body) }
	r := post(`{"to":"+639175550000","text":"Grüße","valid_for":"1h","class":2}`)
	if r.status != 202 || r.text("edge") != "manila-1" || r.body["parts"] != 1.0 || r.text("encoding") != "ucs2" && r.text("encoding") != "gsm7" {
		t.Fatal(r)
	}
	if got := a.call("GET", "/v1/messages/"+r.text("id"), a.tokens["ann"], ""); got.text("state") != "accepted" || got.text("edge") != "manila-1" || got.body["sequence"] != nil {
		t.Error(got)
	}
	r = post(fmt.Sprintf(`{"to":"+639171234567","text":%q}`, strings.Repeat("€", 160))) // the longest prefix; two septets each
	if r.text("edge") != "manila-2" || r.body["parts"] != 3.0 || r.text("encoding") != "gsm7" {
		t.Fatal(r)
	}
	r = post(`{"to":"+639171234567","text":"one too many"}`)
	if r.status != 503 || r.text("code") != "queue_full" || r.header.Get("Retry-After") == "" {
		t.Error(r)
	}
}

func TestFilterAndRouter(t *testing.T) {
	a := newAPI(t, nil,
		hub.WithRouter(func(number string) (string, bool) { return "manila-1", strings.HasPrefix(number, "+1") }),
		hub.WithFilter(func(_ context.Context, s *hub.Submission) error {
			if strings.Contains(s.Text, "bad") {
				return fmt.Errorf("no bad words")
			}
			s.Text = strings.ReplaceAll(s.Text, "good", "better")
			return nil
		}))
	if r := a.call("POST", "/v1/messages", a.tokens["ann"], `{"to":"bob","text":"a bad word"}`); r.status != 403 || r.text("code") != "refused" || r.text("detail") != "no bad words" {
		t.Error(r)
	}
	id := a.send("+12025550100", "a good word")
	if r := a.call("GET", "/v1/messages/"+id, a.tokens["ann"], ""); r.text("text") != "a better word" || r.text("edge") != "manila-1" {
		t.Error(r)
	}
}

func TestInboxPages(t *testing.T) {
	a := newAPI(t, nil)
	var sent, got []string
	for i := range 7 {
		sent = append(sent, a.send("bob", fmt.Sprint("text ", i)))
	}
	cursor := ""
	for range 4 {
		r := a.call("GET", "/v1/messages?box=inbox&limit=2&after="+cursor, a.tokens["bob"], "")
		for _, m := range r.body["messages"].([]any) {
			got = append(got, m.(map[string]any)["id"].(string))
		}
		cursor = r.text("next")
	}
	if !slices.Equal(sent, got) {
		t.Fatalf("sent %v\n got %v", sent, got)
	}
	r := a.call("GET", "/v1/messages?box=inbox&after="+cursor, a.tokens["bob"], "")
	if len(r.body["messages"].([]any)) != 0 || r.text("next") != cursor {
		t.Fatal(r)
	}
	a.send("bob", "later")
	if r := a.call("GET", "/v1/messages?box=inbox&after="+cursor, a.tokens["bob"], ""); len(r.body["messages"].([]any)) != 1 {
		t.Fatal(r)
	}
}

// fromHandset delivers a text of a handset as the router would.
func (a *api) fromHandset(seq uint64, user, text string) {
	a.t.Helper()
	rings, err := a.store.Claim("manila-1")
	if err != nil {
		a.t.Fatal(err)
	}
	m := &messages.Message{Id: bytes.Repeat([]byte{byte(seq)}, 16), From: "+639171234567", To: "63917000", Text: text, AcceptedUnixMs: time.Now().UnixMilli(), PossibleDuplicate: true}
	done := make(chan error, 1)
	rings.Up().Keep(journal.Entry{Seq: seq, Message: m}, func(err error) { done <- err })
	if err := <-done; err != nil {
		a.t.Fatal(err)
	}
	rings.Deliver(seq, journal.Delivery{Message: m, User: user, Text: text}, func(_ *messages.Result, err error) { done <- err })
	if err := <-done; err != nil {
		a.t.Fatal(err)
	}
}

func TestFromHandset(t *testing.T) {
	a := newAPI(t, nil)
	a.fromHandset(1, "bob", " ")
	r := a.call("GET", "/v1/messages?box=inbox", a.tokens["bob"], "")
	m := r.body["messages"].([]any)[0].(map[string]any)
	if m["from"] != "+639171234567" || m["edge"] != "manila-1" || m["text"] != " " || m["possible_duplicate"] != true {
		t.Fatal(r)
	}
	if r := a.call("GET", "/v1/messages/"+m["id"].(string), a.tokens["bob"], ""); r.status != 200 {
		t.Error(r)
	}
	if r := a.call("GET", "/v1/messages/"+m["id"].(string), a.tokens["ann"], ""); r.status != 404 {
		t.Error(r)
	}
}

// views are two edges, one of them known.
type views struct{}

func (views) Rings() []hub.EdgeRings {
	state := func(ring messages.Ring) *messages.RingState {
		return &messages.RingState{Ring: ring, Slots: 5, LastRetrieved: 9, LastSent: 8, LastConfirmed: 7, LastProcessed: 5, Flags: []byte{0, 15, 7, 3, 1}, Sequences: []uint64{0, 6, 7, 8, 9}, Queue: 3}
	}
	return []hub.EdgeRings{
		{ID: "manila-1", Owner: "hub-1", Epoch: 4, Link: hub.LinkUp, Hub: hub.Side{Down: state(messages.Ring_DOWN), Up: state(messages.Ring_UP)}, Edge: hub.Side{Down: state(messages.Ring_DOWN)}, EdgeAsOf: time.Unix(1, 0)},
		{ID: "manila-2", Link: hub.LinkUnknown},
	}
}

func (v views) Ring(edge string, _ messages.Ring) (hub.EdgeRings, bool) {
	return v.Rings()[0], edge == "manila-1"
}

func TestRings(t *testing.T) {
	a := newAPI(t, nil, hub.WithRingViews(views{}))
	r := a.call("GET", "/v1/rings", a.admin, "")
	edges := r.body["edges"].([]any)
	one := edges[0].(map[string]any)
	down := one["hub"].(map[string]any)["down"].(map[string]any)
	counts, _ := json.Marshal(down["counts"])
	if len(edges) != 2 || one["owner"] != "hub-1" || one["link"] != "up" || one["edge_as_of"] != "1970-01-01T00:00:01.000Z" || down["flags"] != ".pcsr" || down["queue"] != 3.0 ||
		string(counts) != `{"confirmed":1,"free":1,"processed":1,"retrieved":1,"sent":1}` || down["pointers"].(map[string]any)["last_confirmed"] != 7.0 {
		t.Fatal(r)
	}
	r = a.call("GET", "/v1/rings/manila-1/down", a.admin, "")
	down = r.body["hub"].(map[string]any)["down"].(map[string]any)
	slot, _ := json.Marshal(down["slot_states"].([]any)[2])
	if string(slot) != `{"address":2,"flags":["retrieved","sent","confirmed"],"sequence":7}` || r.body["hub"].(map[string]any)["up"] != nil {
		t.Fatal(r)
	}
}

func TestHealth(t *testing.T) {
	a := newAPI(t, nil)
	for _, path := range []string{"/healthz", "/livez"} {
		if r := a.call("GET", path, "", ""); r.status != 200 {
			t.Error(path, r)
		}
		if r := a.call("HEAD", path, "", ""); r.status != 200 || r.raw != "" {
			t.Error(path, r)
		}
	}
	if r := a.call("GET", "/readyz", "", ""); r.status != 503 || len(r.body["reasons"].([]any)) != 1 {
		t.Error(r)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.hub.Run(ctx) }()
	within(t, func() bool { return a.call("GET", "/readyz", "", "").status == 200 })
	if r := a.call("GET", "/v1/rings", a.admin, ""); !strings.Contains(r.raw, `"epoch":1`) {
		t.Error(r)
	}
	metrics := a.call("GET", "/metrics", "", "").raw
	for _, want := range []string{`ringway_hub_logins_total{result="ok"} 2`, `ringway_http_requests_total{method="GET",route="/healthz",status="200"} 2`, "ringway_hub_streams 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if r := a.call("GET", "/readyz", "", ""); r.status != 503 {
		t.Error(r)
	}
}

func TestServeStops(t *testing.T) {
	a := newAPI(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.server.Serve(ctx, listener) }()
	a.http.Close()
	a.http.URL = "http://" + listener.Addr().String()
	stream := a.dial("ann", "")
	stop()
	stream.expectClose(1001)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTwoHubsInOneProcess(t *testing.T) {
	one, two := newAPI(t, nil), newAPI(t, nil)
	one.send("bob", "x")
	if r := two.call("GET", "/v1/messages?box=inbox", two.tokens["bob"], ""); strings.Contains(r.raw, `"x"`) {
		t.Error(r)
	}
	if r := two.call("GET", "/v1/messages?box=inbox", one.tokens["bob"], ""); r.status != 401 {
		t.Error("another hub's token:", r)
	}
}

// The document and the server name the same calls.
func TestOpenAPIMatchesRoutes(t *testing.T) {
	var document struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(docs.OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	documented, served := map[string]bool{}, map[string]bool{"GET /metrics": true}
	for path, methods := range document.Paths {
		for method := range methods {
			if method != "parameters" {
				documented[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	for path, methods := range new(Server).routes() {
		for method := range methods {
			served[method+" "+path] = true
		}
	}
	if !maps.Equal(documented, served) {
		t.Errorf("documented %v\nserved     %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(served)))
	}
	a := newAPI(t, nil)
	if r := a.call("GET", "/openapi.yaml", "", ""); r.status != 200 || r.raw != string(docs.OpenAPI) {
		t.Error(r.status)
	}
	// Each $ref leads somewhere.
	var tree any
	_ = yaml.Unmarshal(docs.OpenAPI, &tree)
	var walk func(any)
	walk = func(node any) {
		switch n := node.(type) {
		case map[string]any:
			if ref, ok := n["$ref"].(string); ok {
				at := tree
				for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					m, _ := at.(map[string]any)
					at = m[step]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, child := range n {
				walk(child)
			}
		case []any:
			for _, child := range n {
				walk(child)
			}
		}
	}
	walk(tree)
}

func within(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatal("not within 5 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
