package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ringway-im/ringway/nodes/hub"
)

// ws is a client of the stream.
type ws struct {
	t    *testing.T
	conn *websocket.Conn
}

func (a *api) dial(user, query string) *ws {
	a.t.Helper()
	conn := a.handshake(http.StatusSwitchingProtocols, query, &websocket.DialOptions{Subprotocols: []string{"ringway.v1", "ringway.token." + a.tokens[user]}})
	if conn.Subprotocol() != "ringway.v1" {
		a.t.Fatalf("subprotocol %q", conn.Subprotocol())
	}
	conn.SetReadLimit(1 << 20)
	return &ws{a.t, conn}
}

// handshake asks for a stream, whose answer must be want; nil if that is a refusal.
func (a *api) handshake(want int, query string, options *websocket.DialOptions) *websocket.Conn {
	a.t.Helper()
	conn, answer, err := websocket.Dial(a.t.Context(), a.http.URL+"/v1/stream"+query, options)
	if answer == nil || answer.StatusCode != want || (conn == nil) != (want != http.StatusSwitchingProtocols) {
		a.t.Fatalf("%s %+v: %v; want %d", query, options, err, want)
	}
	r := response{answer.StatusCode, answer.Header, nil, ""}
	if conn != nil {
		a.t.Cleanup(func() { _ = conn.CloseNow() })
	} else if raw, err := io.ReadAll(answer.Body); err == nil {
		r.raw = string(raw)
	}
	a.check(answer.Request, "", r)
	return conn
}

func (w *ws) send(frame string) {
	w.t.Helper()
	if err := w.conn.Write(w.t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *ws) read() map[string]any {
	w.t.Helper()
	frame, err := w.next()
	if err != nil {
		w.t.Fatal(err)
	}
	return frame
}

// next is the next frame, or how the stream has ended.
func (w *ws) next() (frame map[string]any, err error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	_, raw, err := w.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &frame); err != nil {
		w.t.Fatal(err)
	}
	w.check(raw, frame)
	return frame, nil
}

// check holds a frame to the document; a long text has no more to say than a short one.
func (w *ws) check(raw []byte, frame map[string]any) {
	w.t.Helper()
	if len(raw) > 10_000 {
		return
	}
	if d, err := theDocument(); err != nil {
		w.t.Fatal(err)
	} else if err := d.frame.Validate(frame); err != nil {
		w.t.Errorf("docs/openapi.yaml: frame %s: %v", raw, err)
	}
}

// fish skips frames until one of a kind comes.
func (w *ws) fish(ev string) map[string]any {
	w.t.Helper()
	for {
		if f := w.read(); f["ev"] == ev {
			return f
		}
	}
}

func (w *ws) expectClose(code websocket.StatusCode) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	for {
		if _, _, err := w.conn.Read(ctx); err != nil {
			if got := websocket.CloseStatus(err); got != code {
				w.t.Errorf("closed with %d, want %d: %v", got, code, err)
			}
			return
		}
	}
}

func TestStreamSendsAndReceives(t *testing.T) {
	a := newAPI(t, nil)
	ann, bob := a.dial("ann", ""), a.dial("bob", "")
	ann.send(`{"op":"send","op_id":7,"ref":"r1","to":"bob","text":"hello\n"}`)
	accepted := ann.fish("accepted")
	if accepted["op_id"] != 7.0 || accepted["ref"] != "r1" || accepted["id"] == "" {
		t.Fatal(accepted)
	}
	m := bob.fish("message")
	if m["id"] != accepted["id"] || m["text"] != "hello\n" || m["from"] != "ann" || m["to"] != "bob" || m["seq"] != 1.0 || m["possible_duplicate"] != false || m["at"] == "" {
		t.Fatal(m)
	}
	bob.send(fmt.Sprintf(`{"op":"received","id":%q}`, m["id"]))
	for {
		s := ann.fish("state")
		if s["id"] != accepted["id"] || s["seq"] == nil || s["at"] == nil {
			t.Fatal(s)
		}
		if s["state"] == "delivered" && s["final"] == true {
			break
		}
	}
	a.fromHandset(1, "bob", "from far")
	if m := bob.fish("message"); m["from"] != "+639171234567" || m["edge"] != "manila-1" || m["possible_duplicate"] != true || m["seq"] != 2.0 {
		t.Fatal(m)
	}
}

func TestStreamKeepsOrderOfManySends(t *testing.T) {
	a := newAPI(t, nil)
	ann, bob := a.dial("ann", "?states=final"), a.dial("bob", "?states=final")
	const n = 500
	go func() {
		for i := range n {
			_ = ann.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"op":"send","op_id":"%d","to":"bob","text":"%d"}`, i, i))
		}
	}()
	for i := range n {
		if f := ann.read(); f["ev"] != "accepted" || f["op_id"] != fmt.Sprint(i) {
			t.Fatal(i, f)
		}
	}
	for i := range n {
		if f := bob.read(); f["ev"] != "message" || f["text"] != fmt.Sprint(i) || f["seq"] != float64(i+1) {
			t.Fatal(i, f)
		}
	}
}

func TestStreamErrorsLeaveItOpen(t *testing.T) {
	a := newAPI(t, nil)
	ann := a.dial("ann", "")
	for _, test := range []struct{ frame, code, message string }{
		{`nonsense`, "bad_request", "JSON"},
		{`[]`, "bad_request", "object"},
		{`{}`, "bad_request", "send or received"},
		{`{"op":"dance","op_id":"1"}`, "bad_request", "dance"},
		{`{"op":"send","op_id":"1","ref":"r","to":"bob","text":"x","size":1}`, "bad_request", `"size" is unknown`},
		{`{"op":"send","op_id":"1","ref":"r","to":"bob","text":"x","via":1}`, "bad_request", `"via" is reserved`},
		{`{"op":"send","op_id":"1","ref":"r","to":"bob","text":""}`, "bad_request", "empty"},
		{`{"op":"send","op_id":"1","ref":"r","to":"bob","text":"\ud800"}`, "bad_request", "surrogate"},
		{`{"op":"send","op_id":"1","ref":"r","to":"zoe","text":"x"}`, "unknown_user", "zoe"},
		{`{"op":"send","op_id":"1","ref":"r","to":"+4915","text":"x"}`, "no_route", "+4915"},
		{fmt.Sprintf(`{"op":"send","op_id":"1","ref":"r","to":"+639175","text":%q}`, strings.Repeat("x", 500)), "too_long", "at most 3"},
		{`{"op":"received","op_id":"1","id":"17"}`, "bad_request", "32"},
		{`{"op":"received","op_id":"1","id":"00000000000000000000000000000000"}`, "not_found", "no such message"},
	} {
		ann.send(test.frame)
		f := ann.read()
		if f["ev"] != "error" || f["code"] != test.code || !strings.Contains(f["message"].(string), test.message) {
			t.Errorf("%s: %v", test.frame, f)
		}
		if strings.Contains(test.frame, "op_id") && f["op_id"] != "1" {
			t.Errorf("%s: not paired: %v", test.frame, f)
		}
		if strings.Contains(test.frame, `"ref"`) && f["ref"] != "r" {
			t.Errorf("%s: no ref: %v", test.frame, f)
		}
	}
	if err := ann.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"op":"send"}`)); err != nil {
		t.Fatal(err)
	}
	if f := ann.read(); f["code"] != "bad_request" {
		t.Error(f)
	}
	ann.send(`{"op":"send","to":"bob","text":"still here"}`)
	ann.fish("accepted")

	ann.send(`{"op":"send","to":"bob","text":"` + strings.Repeat("x", 20_000) + `"}`)
	if f := ann.fish("error"); f["code"] != "too_long" || f["limit"] != 20_000.0 {
		t.Error(f)
	}
	ann.expectClose(websocket.StatusMessageTooBig)
}

func TestStreamIsRefused(t *testing.T) {
	a := newAPI(t, nil)
	for _, test := range []struct {
		query    string
		protocol string
		header   http.Header
		status   int
	}{
		{"", "ringway.v1", nil, 401},
		{"", "ringway.token.nonsense", nil, 401},
		{"?access_token=" + a.tokens["ann"], "ringway.v1", nil, 401},
		{"?after=-1", "ringway.token." + a.tokens["ann"], nil, 400},
		{"?states=some", "ringway.token." + a.tokens["ann"], nil, 400},
		{"?device=" + strings.Repeat("d", 65), "ringway.token." + a.tokens["ann"], nil, 400},
		{"", "ringway.token." + a.tokens["ann"], http.Header{"Origin": {"https://evil.example.com"}}, 403},
		{"", "ringway.token." + a.admin, nil, 403},
		{"", "ringway.token." + a.tokens["ann"], http.Header{"Origin": {"https://chat.example.com"}}, 101},
		{"", "ringway.token." + a.tokens["ann"], http.Header{"Origin": {a.http.URL}}, 101},
		{"", "ringway.v1", http.Header{"Authorization": {"Bearer " + a.tokens["ann"]}}, 101},
	} {
		if conn := a.handshake(test.status, test.query, &websocket.DialOptions{Subprotocols: []string{test.protocol}, HTTPHeader: test.header}); conn != nil {
			_ = conn.CloseNow()
		}
	}
}

func TestStreamGoesOnWhereAClientStood(t *testing.T) {
	a := newAPI(t, nil)
	for i := range 5 {
		a.send("bob", fmt.Sprint(i))
	}
	texts := func(w *ws, n int) (all []string) {
		for range n {
			all = append(all, w.fish("message")["text"].(string))
		}
		return all
	}
	phone := a.dial("bob", "?device=phone")
	if got := texts(phone, 5); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
		t.Fatal(got)
	}
	inbox := a.call("GET", "/v1/messages?box=inbox", a.tokens["bob"], "").body["messages"].([]any)
	first := inbox[0].(map[string]any)["id"].(string)
	phone.send(fmt.Sprintf(`{"op":"received","id":%q}`, first))
	within(t, func() bool {
		return a.call("GET", "/v1/messages/"+first, a.tokens["bob"], "").text("state") == "delivered"
	})

	// Again without a position: all but the received one.
	if got := texts(a.dial("bob", "?device=phone"), 4); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Error(got)
	}
	// With one: what it has not marked received up to there, then what follows.
	if got := texts(a.dial("bob", "?device=phone&after=3"), 4); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Error(got)
	}
	for _, m := range inbox[1:] {
		if r := a.call("POST", "/v1/messages/"+m.(map[string]any)["id"].(string)+"/received?device=phone", a.tokens["bob"], ""); r.status != 204 {
			t.Fatal(r)
		}
	}
	if got := texts(a.dial("bob", "?device=phone&after=3"), 2); !slices.Equal(got, []string{"3", "4"}) {
		t.Error(got)
	}

	// A device of its own gets what came since it was first seen, whoever took it.
	tablet := a.dial("bob", "?device=tablet")
	a.send("bob", "seen by the tablet")
	tablet.fish("message") // from here on it is known
	id := a.send("bob", "to both")
	if got := tablet.fish("message"); got["id"] != id {
		t.Fatal(got)
	}
	for phone.fish("message")["id"] != id {
	}
	phone.send(fmt.Sprintf(`{"op":"received","id":%q}`, id))
	within(t, func() bool {
		return a.call("GET", "/v1/messages/"+id, a.tokens["bob"], "").text("state") == "delivered"
	})
	again := a.dial("bob", "?device=tablet")
	for again.fish("message")["id"] != id {
	}
}

func TestStatesFinal(t *testing.T) {
	a := newAPI(t, nil)
	ann := a.dial("ann", "?states=final&after=0")
	id := a.send("bob", "x")
	if r := a.call("POST", "/v1/messages/"+id+"/received", a.tokens["bob"], ""); r.status != 204 {
		t.Fatal(r)
	}
	if f := ann.read(); f["ev"] != "state" || f["state"] != "delivered" || f["final"] != true || f["seq"] == 1.0 {
		t.Error(f)
	}
}

func TestPresenceOverHTTP(t *testing.T) {
	a := newAPI(t, nil)
	presence := func() response { return a.call("GET", "/v1/presence/Ann", a.tokens["bob"], "") }
	if r := presence(); r.text("state") != "offline" || r.text("since") == "" || r.text("user") != "ann" {
		t.Error(r)
	}
	one, two := a.dial("ann", "?device=1"), a.dial("ann", "?device=2")
	a.send("ann", "to both")
	one.fish("message")
	two.fish("message") // both streams are attached
	since := presence().text("since")
	_ = one.conn.Close(websocket.StatusNormalClosure, "")
	if r := presence(); r.text("state") != "online" || r.text("since") != since {
		t.Error(r)
	}
	_ = two.conn.CloseNow() // as a crash
	within(t, func() bool { return presence().text("state") == "offline" })
	if r := presence(); r.text("since") < since {
		t.Error(r, since)
	}
}

// A client that does not read costs one batch, not the others' patience.
func TestSlowClientHoldsUpNobody(t *testing.T) {
	a := newAPI(t, func(c *hub.Config) { c.Limits.BodyBytes = 1 << 20 })
	slow, quick := a.dial("bob", "?device=slow"), a.dial("bob", "?device=quick")
	big := strings.Repeat("x", 60_000)
	ann := a.dial("ann", "?states=final")
	go func() { // she reads, and so answers pings: who does not for 20 s is dropped
		for {
			if _, _, err := ann.conn.Read(t.Context()); err != nil {
				return
			}
		}
	}()
	const n = 200 // 12 MB: more than the sockets hold
	go func() {
		for i := range n {
			_ = ann.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"op":"send","to":"bob","text":"%d %s"}`, i, big))
		}
	}()
	for i := range n {
		if m := quick.fish("message"); !strings.HasPrefix(m["text"].(string), fmt.Sprint(i, " ")) {
			t.Fatal(i)
		}
	}
	drops := 0
	for i := 0; i < n; { // nothing is lost for the slow one, which a busy machine may have dropped
		frame, err := slow.next()
		if err != nil {
			if drops++; drops > 3 {
				t.Fatalf("dropped again after %d: %v", i, err)
			}
			t.Logf("dropped after %d: %v", i, err)
			slow = a.dial("bob", "?device=slow")
			continue
		}
		if frame["ev"] != "message" {
			continue
		}
		var nth int
		if _, err := fmt.Sscan(frame["text"].(string), &nth); err != nil || nth > i {
			t.Fatalf("message %d came, want %d: %v", nth, i, err)
		}
		if nth == i { // a lower one comes again behind a new stream
			i++
		}
	}
}

func TestPasswordEndsStreams(t *testing.T) {
	a := newAPI(t, nil)
	ann := a.dial("ann", "")
	if r := a.call("PUT", "/v1/users/ann", a.admin, `{"password":"another"}`); r.status != 200 {
		t.Fatal(r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, _, err := ann.conn.Read(ctx)
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Error(err)
	}
}

// What an idle client costs the process, in which its own end lives too.
func TestIdleStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 500 sockets")
	}
	a := newAPI(t, nil)
	_ = a.dial("ann", "")
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	const n = 500
	for i := range n {
		a.dial("ann", fmt.Sprint("?device=", i))
	}
	each := (memory() - before) / n
	t.Logf("%d bytes for each idle stream, both ends", each)
	if each > 100_000 { // 2,000 must stay well below 200 MB
		t.Errorf("%d bytes each", each)
	}
}
