package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/ringway-im/ringway/docs"
	"github.com/ringway-im/ringway/nodes/hub"
)

// document is docs/openapi.yaml, to hold answers to. It is stricter than clients may
// be: a field that it does not name is an error.
type document struct {
	tree     map[string]any
	schemas  *jsonschema.Compiler
	mux      *http.ServeMux                // knows the paths
	requests map[string]*jsonschema.Schema // bodies by operation, as "POST /v1/login"
	answers  map[string]*documented        // by operation and status, as "POST /v1/login 200"
	problem  *jsonschema.Schema
	frame    *jsonschema.Schema // of the stream, from the hub
}

// documented is one answer.
type documented struct {
	description string
	headers     map[string]*jsonschema.Schema
	content     map[string]*jsonschema.Schema // by media type
}

var theDocument = sync.OnceValues(readDocument)

func readDocument() (d *document, err error) {
	d = &document{
		schemas: jsonschema.NewCompiler(), mux: http.NewServeMux(),
		requests: map[string]*jsonschema.Schema{}, answers: map[string]*documented{},
	}
	d.schemas.AssertFormat()
	if err := yaml.Unmarshal(docs.OpenAPI, &d.tree); err != nil {
		return nil, err
	}
	defer func() { // a document of another shape
		if r := recover(); r != nil {
			err = fmt.Errorf("docs/openapi.yaml: %v", r)
		}
	}()
	for path, item := range child(d.tree, "paths") {
		for method, operation := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			name := strings.ToUpper(method) + " " + path
			d.mux.Handle(name, http.NotFoundHandler())
			if body := child(operation, "requestBody", "content", "application/json"); body != nil {
				d.requests[name] = d.compile(name, body["schema"])
			}
			for status, answer := range child(operation, "responses") {
				d.answers[name+" "+status] = d.answer(name+" "+status, d.resolve(answer))
			}
		}
	}
	schemas := child(d.tree, "components", "schemas")
	d.problem, d.frame = d.compile("Problem", schemas["Problem"]), d.compile("ServerFrame", schemas["ServerFrame"])
	return d, nil
}

// child walks down maps; nil: there is none.
func child(node any, names ...string) map[string]any {
	for _, name := range names {
		m, _ := node.(map[string]any)
		node = m[name]
	}
	m, _ := node.(map[string]any)
	return m
}

// resolve follows a $ref; what stands beside it goes before what it leads to.
func (d *document) resolve(node any) map[string]any {
	m, _ := node.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	found := maps.Clone(d.resolve(child(d.tree, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)))
	for k, v := range m {
		if k != "$ref" {
			found[k] = v
		}
	}
	return found
}

func (d *document) answer(name string, a map[string]any) *documented {
	is := &documented{headers: map[string]*jsonschema.Schema{}, content: map[string]*jsonschema.Schema{}}
	is.description, _ = a["description"].(string)
	for header, h := range child(a, "headers") {
		is.headers[header] = d.compile(name+" "+header, d.resolve(h)["schema"])
	}
	for media, c := range child(a, "content") {
		is.content[media] = d.compile(name+" "+media, c.(map[string]any)["schema"])
	}
	return is
}

func (d *document) compile(name string, schema any) *jsonschema.Schema {
	raw, err := json.Marshal(d.closed(schema, false))
	if err != nil {
		panic(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	url := "test:///" + strings.NewReplacer(" ", "/", "{", "", "}", "").Replace(name)
	if err := d.schemas.AddResource(url, value); err != nil {
		panic(err)
	}
	return d.schemas.MustCompile(url)
}

// closed is a schema without $refs whose objects have no fields but those it names.
// part: of an allOf, which is closed as a whole.
func (d *document) closed(node any, part bool) any {
	switch n := node.(type) {
	case []any:
		all := make([]any, len(n))
		for i, v := range n {
			all[i] = d.closed(v, part)
		}
		return all
	case map[string]any:
		n = d.resolve(n)
		m := map[string]any{}
		for k, v := range n {
			m[k] = d.closed(v, k == "allOf")
		}
		_, names := n["properties"].(map[string]any)
		_, joins := n["allOf"].([]any)
		if _, says := n["additionalProperties"]; (names || joins) && !part && !says {
			m["unevaluatedProperties"] = false
		}
		return m
	}
	return node
}

// check holds an answer to the document, and a request that was granted.
func (d *document) check(t *testing.T, r *http.Request, sent string, got response) (answer string) {
	t.Helper()
	status, header, raw := got.status, got.header, got.raw
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("docs/openapi.yaml: %s %s, %v: %s", r.Method, r.URL.Path, got, fmt.Sprintf(format, args...))
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	_, operation := d.mux.Handler(r)
	if operation == "" { // no such path, or no such method there
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed || media != "application/problem+json" {
			fail("what is not documented is answered")
		} else if err := validate(d.problem, raw); err != nil {
			fail("%v", err)
		}
		return ""
	}
	answer = fmt.Sprint(operation, " ", status)
	is := d.answers[answer]
	if is == nil {
		fail("no such status is documented")
		return answer
	}
	for name, schema := range is.headers {
		if value := header.Get(name); value == "" {
			fail("no header %s", name)
		} else if err := schema.Validate(headerValue(value)); err != nil {
			fail("header %s: %v", name, err)
		}
	}
	if body := d.requests[operation]; body != nil && status < 300 {
		if err := validate(body, sent); err != nil {
			fail("the request %s was granted: %v", sent, err)
		}
	}
	switch schema := is.content[media]; {
	case status == http.StatusSwitchingProtocols || r.Method == http.MethodHead:
	case len(is.content) == 0:
		if raw != "" {
			fail("a body")
		}
	case schema == nil:
		fail("content type %q", header.Get("Content-Type"))
	case strings.HasSuffix(media, "json"):
		if err := validate(schema, raw); err != nil {
			fail("%v", err)
		}
		var p problem
		if media == "application/problem+json" && (json.Unmarshal([]byte(raw), &p) != nil || p.Status != status || !strings.Contains(is.description, "`"+p.Code+"`")) {
			fail("the problem's status is %d, its code %q: the description names %s", p.Status, p.Code, is.description)
		}
	}
	return answer
}

func validate(schema *jsonschema.Schema, raw string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func headerValue(s string) any {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return s
}

// Every answer that the document has is given, as it says; call and dial look at each.
func TestEveryDocumentedAnswer(t *testing.T) {
	d, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, func(c *hub.Config) { c.Limits.LoginPerMinute = 1000 })
	call := func(want int, method, path, token, body string) {
		t.Helper()
		if r := a.call(method, path, token, body); r.status != want {
			t.Errorf("%s %s: %v; want %d", method, path, r, want)
		}
	}
	ann, bob := a.tokens["ann"], a.tokens["bob"]
	long := strings.Repeat("x", 20_000)
	none := strings.Repeat("0", 32)

	// Before the hub runs: nothing leaves its queues, and it has no rings.
	call(503, "GET", "/readyz", "", "")
	call(409, "POST", "/v1/admin/edges/manila-1/replace", a.admin, "")
	call(409, "POST", "/v1/admin/edges/manila-1/replace", a.admin, "")
	call(202, "POST", "/v1/messages", ann, `{"to":"+639171234567","text":"x"}`)
	call(503, "POST", "/v1/messages", ann, `{"to":"+639171234567","text":"one too many"}`)
	ended := make(chan error, 1)
	go func() { ended <- a.hub.Run(t.Context()) }()
	within(t, func() bool { return a.call("GET", "/readyz", "", "").status == 200 })
	for _, path := range []string{"/healthz", "/livez", "/metrics", "/openapi.yaml"} {
		call(200, "GET", path, "", "")
	}

	call(200, "PUT", "/v1/users/ann", a.admin, fmt.Sprintf(`{"password":%q}`, password))
	ann = a.login("ann")
	call(400, "PUT", "/v1/users/9", a.admin, `{"password":"x"}`)
	call(413, "PUT", "/v1/users/eve", a.admin, fmt.Sprintf(`{"password":%q}`, long))
	call(400, "POST", "/v1/login", "", `{}x`)
	call(401, "POST", "/v1/login", "", `{"user":"ann","password":"wrong"}`)
	call(413, "POST", "/v1/login", "", fmt.Sprintf(`{"user":%q}`, long))

	sent := a.call("POST", "/v1/messages", ann, `{"to":"bob","text":"x","ref":"r","class":0,"valid_for":"1h"}`)
	id := sent.text("id")
	call(202, "POST", "/v1/messages", ann, `{"to":"+639175550000","text":"x"}`)
	call(400, "POST", "/v1/messages", ann, `{"to":"bob"}`)
	call(404, "POST", "/v1/messages", ann, `{"to":"zoe","text":"x"}`)
	call(409, "POST", "/v1/messages", ann, `{"to":"bob","text":"y","ref":"r"}`)
	call(413, "POST", "/v1/messages", ann, fmt.Sprintf(`{"to":"+639175550000","text":%q}`, long[:3*153+1]))
	call(413, "POST", "/v1/messages", ann, fmt.Sprintf(`{"to":"bob","text":%q}`, long))
	call(422, "POST", "/v1/messages", ann, `{"to":"+4915123456","text":"x"}`)
	a.fromHandset(1, "bob", "from far")
	call(200, "GET", "/v1/messages?box=inbox", bob, "")
	call(200, "GET", "/v1/messages?ref=r", ann, "")
	call(400, "GET", "/v1/messages?box=sent", ann, "")
	call(404, "GET", "/v1/messages?ref=nothing", ann, "")
	call(200, "GET", "/v1/messages/"+id, ann, "")
	call(404, "GET", "/v1/messages/"+none, ann, "")
	call(204, "POST", "/v1/messages/"+id+"/received?device=phone", bob, "")
	call(400, "POST", "/v1/messages/"+id+"/received?device="+long[:65], bob, "")
	call(404, "POST", "/v1/messages/"+none+"/received", bob, "")
	call(200, "GET", "/v1/presence/ann", bob, "")
	call(404, "GET", "/v1/presence/zoe", bob, "")

	shake := func(want int, query string, header http.Header) {
		t.Helper()
		header.Set("Authorization", "Bearer "+ann)
		a.handshake(want, query, &websocket.DialOptions{Subprotocols: []string{streamProtocol}, HTTPHeader: header})
	}
	shake(101, "?after=0", http.Header{})
	shake(400, "?after=-1", http.Header{})
	shake(403, "", http.Header{"Origin": {"https://evil.example.com"}})
	call(426, "GET", "/v1/stream", ann, "")

	call(200, "GET", "/v1/rings", a.admin, "")
	call(200, "GET", "/v1/rings/manila-1/down", a.admin, "")
	call(404, "GET", "/v1/rings/manila-1/left", a.admin, "")
	call(200, "POST", "/v1/admin/edges/manila-1/replace", a.admin, "")
	call(404, "POST", "/v1/admin/edges/nowhere/replace", a.admin, "")
	a.store.fail(errors.New("a disk that broke"))
	call(500, "POST", "/v1/admin/edges/manila-1/replace", a.admin, "")
	a.store.fail(hub.ErrAway)
	call(503, "POST", "/v1/admin/edges/manila-1/replace", a.admin, "")
	a.store.fail(nil)
	call(200, "POST", "/v1/admin/backup", a.admin, fmt.Sprintf(`{"dir":%q}`, filepath.Join(t.TempDir(), "copy")))
	call(400, "POST", "/v1/admin/backup", a.admin, `{"dir":"copy"}`)
	call(413, "POST", "/v1/admin/backup", a.admin, fmt.Sprintf(`{"dir":%q}`, long))
	call(200, "POST", "/v1/admin/drain", a.admin, "")
	call(200, "DELETE", "/v1/admin/drain", a.admin, "")

	// What all calls have that need a token, and those that need the store without one.
	sample := strings.NewReplacer("{name}", "ann", "{id}", id, "{edge}", "manila-1", "{direction}", "down")
	broken := map[int]error{500: errors.New("a disk that broke"), 503: fmt.Errorf("reading: %w", hub.ErrAway)}
	for answer := range d.answers {
		method, rest, _ := strings.Cut(answer, " ")
		path, code, _ := strings.Cut(rest, " ")
		status, _ := strconv.Atoi(code)
		path = sample.Replace(path)
		switch {
		case status == 401 && path != "/v1/login":
			call(status, method, path, "", "")
		case status == 403:
			if a.call(method, path, ann, "").status != status {
				call(status, method, path, a.admin, "")
			}
		case (status == 500 || status == 503) && path != "/readyz":
			a.store.fail(broken[status])
			call(status, method, path, ann, fmt.Sprintf(`{"user":"ann","password":%q}`, password))
			a.store.fail(nil)
		}
	}
	limited := newAPI(t, func(c *hub.Config) { c.Limits.LoginPerMinute = 1 })
	limited.call("POST", "/v1/login", "", `{"user":"ann","password":"wrong"}`)
	if r := limited.call("POST", "/v1/login", "", `{"user":"ann","password":"wrong"}`); r.status != 429 {
		t.Error(r)
	}
	maps.Copy(a.given, limited.given)

	for _, answer := range slices.Sorted(maps.Keys(d.answers)) {
		if !a.given[answer] {
			t.Errorf("%s was never given", answer)
		}
	}
}
