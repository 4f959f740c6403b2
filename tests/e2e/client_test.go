// Package e2e tests the whole of Ringway from outside: people at the hub's HTTP
// and WebSocket interfaces, handsets at the simulator's, real sockets, real
// disks and, where it is about processes, the real binary.
//
//	go test ./tests/e2e                   a slice of everything, under a minute
//	RINGWAY_LONG=1 go test ./tests/e2e    all of it; see the make targets border, corpus, cut, restart, scale, torture, cut-table, backlog
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ringway-im/ringway/tests/history"
)

// api calls a node's HTTP interface as a program outside would.
type api struct {
	t      testing.TB
	base   string // http://host:port
	token  string
	client *http.Client // nil: httpClient
}

var httpClient = &http.Client{
	Timeout:   15 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64},
}

// try sends body as JSON and reads the answer into into; both may be nil.
func (a api) try(ctx context.Context, method, path string, body, into any) (status int, header http.Header, err error) {
	var reader io.Reader
	if body != nil {
		octets, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(octets)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, reader)
	if err != nil {
		return 0, nil, err
	}
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := cmp.Or(a.client, httpClient).Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	octets, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, response.Header, err
	}
	if into != nil && response.StatusCode < 300 {
		if text, ok := into.(*string); ok {
			*text = string(octets)
			return response.StatusCode, response.Header, nil
		}
		err = json.Unmarshal(octets, into)
	} else if response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, octets)
	}
	return response.StatusCode, response.Header, err
}

// call is try that must succeed.
func (a api) call(method, path string, body, into any) {
	a.t.Helper()
	if _, _, err := a.try(a.t.Context(), method, path, body, into); err != nil {
		a.t.Fatal(err)
	}
}

// insist is call that tries again what a busy node could not do for now.
func (a api) insist(method, path string, body, into any) {
	a.t.Helper()
	eventually(a.t, time.Minute, func() string {
		status, _, err := a.try(a.t.Context(), method, path, body, into)
		switch {
		case err == nil:
			return ""
		case status != http.StatusServiceUnavailable:
			a.t.Fatal(err)
		}
		return err.Error()
	})
}

// metric returns the value of a metric, all its labels summed that hold label.
func (a api) metric(name, label string) float64 {
	a.t.Helper()
	var text string
	a.call("GET", "/metrics", nil, &text)
	return sumOf(a.t, text, name, label)
}

// sumOf adds up what a page of metrics has under a name and a label.
func sumOf(t testing.TB, text, name, label string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if full, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.Contains(full, label) &&
			(full == name || strings.HasPrefix(full, name+"{")) {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				t.Fatalf("metric %s: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

// outgoing is a frame of a person's.
type outgoing struct {
	Op       string `json:"op"`
	OpID     string `json:"op_id,omitempty"`
	ID       string `json:"id,omitempty"`
	Ref      string `json:"ref,omitempty"`
	To       string `json:"to,omitempty"`
	Text     string `json:"text,omitempty"`
	Class    *int   `json:"class,omitempty"`
	ValidFor string `json:"valid_for,omitempty"`

	again bool // it was refused for now, or was under way when another was: it may be overtaken
}

// incoming is a frame of the hub's.
type incoming struct {
	Ev                string `json:"ev"`
	OpID              string `json:"op_id"`
	ID                string `json:"id"`
	Seq               uint64 `json:"seq"`
	State             string `json:"state"`
	Final             bool   `json:"final"`
	From              string `json:"from"`
	Text              string `json:"text"`
	Code              string `json:"code"`
	Message           string `json:"message"`
	PossibleDuplicate bool   `json:"possible_duplicate"`
}

// person is a user at a PC: one stream, opened again when it breaks. What the
// hub has not answered is sent again under the same ref, in order.
type person struct {
	api
	name string

	mu         sync.Mutex
	changed    *sync.Cond
	conn       *websocket.Conn // nil: none now
	pending    []outgoing      // not answered, oldest first
	written    int             // of pending, on this connection
	sent       int
	ids        map[string]string // by ref
	refused    []incoming
	states     map[string][]string // by id
	final      map[string]string   // by id
	settled    map[string]bool     // ids that are processed or final
	inbox      []incoming          // each id once
	seen       map[string]bool
	lastSeq    uint64
	saw        []history.Record  // in order; Msg is the text
	named      map[string]string // of messages in the inbox, by id
	streams    int               // opened so far
	turnedAway int               // answers that nothing could be stored
	manyHubs   bool              // which write side by side what he sends again
	stop       context.CancelFunc
	finished   sync.WaitGroup
}

// newPerson makes a user and signs him in. hub has the administrator's token.
func newPerson(hub api, name string) *person {
	hub.t.Helper()
	p := &person{
		api: api{t: hub.t, base: hub.base, client: hub.client}, name: name,
		ids: map[string]string{}, states: map[string][]string{}, final: map[string]string{}, settled: map[string]bool{}, seen: map[string]bool{},
		named: map[string]string{},
	}
	p.changed = sync.NewCond(&p.mu)
	hub.insist("PUT", "/v1/users/"+name, map[string]string{"password": "correct horse"}, nil)
	var login struct{ Token string }
	p.insist("POST", "/v1/login", map[string]string{"user": name, "password": "correct horse"}, &login)
	p.token = login.Token
	return p
}

// online opens his stream and keeps one open until offline or the test's end.
func (p *person) online() *person {
	ctx, cancel := context.WithCancel(p.t.Context())
	p.stop = cancel
	p.finished.Add(1)
	go func() {
		defer p.finished.Done()
		for ctx.Err() == nil {
			if err := p.stream(ctx); err != nil {
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond): // the hub is away
				}
			}
		}
	}()
	p.t.Cleanup(p.offline)
	return p
}

func (p *person) offline() {
	p.stop()
	p.finished.Wait()
}

func (p *person) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	at := fmt.Sprintf("%s/v1/stream?device=pc&after=%d", strings.Replace(p.base, "http", "ws", 1), p.lastSeq)
	p.mu.Unlock()
	conn, response, err := websocket.Dial(ctx, at, &websocket.DialOptions{
		HTTPClient: p.client, Subprotocols: []string{"ringway.v1"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + p.token}},
	})
	if err != nil {
		return err
	}
	if response.Body != nil {
		defer response.Body.Close()
	}
	conn.SetReadLimit(-1)
	p.mu.Lock()
	p.conn, p.written = conn, 0
	p.streams++
	p.mu.Unlock()
	var writer sync.WaitGroup
	writer.Go(func() {
		defer cancel()
		p.write(ctx, conn)
	})
	defer func() {
		p.mu.Lock()
		p.conn = nil
		p.changed.Broadcast()
		p.mu.Unlock()
		_ = conn.CloseNow()
		writer.Wait()
	}()
	for {
		_, octets, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		var frame incoming
		if err := json.Unmarshal(octets, &frame); err != nil {
			p.t.Errorf("%s: a frame is no JSON: %q", p.name, octets)
			return err
		}
		if err := p.read(frame); err != nil {
			return err
		}
	}
}

// write sends what is pending on one connection, in order.
func (p *person) write(ctx context.Context, conn *websocket.Conn) {
	for {
		p.mu.Lock()
		for p.conn == conn && p.written == len(p.pending) {
			p.changed.Wait()
		}
		if p.conn != conn {
			p.mu.Unlock()
			return
		}
		frame := p.pending[p.written]
		if p.written++; frame.Op == "received" { // never answered
			p.written--
			p.pending = slices.Delete(p.pending, p.written, p.written+1)
		}
		p.mu.Unlock()
		octets, err := json.Marshal(frame)
		if err == nil {
			err = conn.Write(ctx, websocket.MessageText, octets)
		}
		if err != nil {
			return
		}
	}
}

func (p *person) read(f incoming) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastSeq = max(p.lastSeq, f.Seq)
	switch f.Ev {
	case "accepted", "error":
		i := slices.IndexFunc(p.pending, func(o outgoing) bool { return o.OpID == f.OpID })
		if f.Code == "unavailable" { // a send was refused for now, or what was received could not be noted
			p.turnedAway++
			for i := range p.pending {
				p.pending[i].again = p.manyHubs
			}
			return fmt.Errorf("%s", f.Message)
		}
		if i < 0 {
			p.t.Errorf("%s: an answer to nothing: %+v", p.name, f)
			return nil
		}
		o := p.pending[i]
		p.pending = slices.Delete(p.pending, i, i+1)
		p.written--
		switch {
		case f.Code == "disk_full":
			o.again = true
			time.AfterFunc(100*time.Millisecond, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.pending = append(p.pending, o)
				p.changed.Broadcast()
			})
		case f.Ev == "error":
			p.refused = append(p.refused, f)
		default:
			p.ids[o.Ref] = f.ID
			r := history.Record{Kind: history.Accepted, Msg: o.Text, ID: f.ID, Conn: p.name, To: o.To}
			if o.again { // others have overtaken it
				r.Conn += " " + o.Ref
			}
			if o.Class != nil {
				r.Class = *o.Class
			}
			p.note(r)
		}
	case "message":
		if !p.seen[f.ID] {
			p.seen[f.ID] = true
			p.inbox = append(p.inbox, f)
		}
		p.note(history.Record{Kind: history.Inbox, Msg: f.Text, From: f.From, ID: f.ID, N: f.Seq})
		p.pending = append(p.pending, outgoing{Op: "received", ID: f.ID})
		p.changed.Broadcast()
	case "state":
		p.states[f.ID] = append(p.states[f.ID], f.State)
		p.note(history.Record{Kind: history.State, ID: f.ID, State: f.State, N: f.Seq})
		if f.Final {
			p.final[f.ID] = f.State
		}
		if f.Final || f.State == "processed" {
			p.settled[f.ID] = true
		}
	default:
		p.t.Errorf("%s: event %q is not in the contract", p.name, f.Ev)
	}
	return nil
}

func (p *person) note(r history.Record) {
	r.By, r.At = "person/"+p.name, time.Now().UnixMicro()
	p.saw = append(p.saw, r)
}

// send queues a text on the stream and returns its ref.
func (p *person) send(to, text string, change ...func(*outgoing)) (ref string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref = fmt.Sprintf("%s-%d", p.name, p.sent)
	p.sent++
	o := outgoing{Op: "send", OpID: ref, Ref: ref, To: to, Text: text}
	for _, c := range change {
		c(&o)
	}
	p.pending = append(p.pending, o)
	p.changed.Broadcast()
	return ref
}

func class(n int) func(*outgoing)         { return func(o *outgoing) { o.Class = &n } }
func validFor(d string) func(o *outgoing) { return func(o *outgoing) { o.ValidFor = d } }

// accepted returns how many sends the hub has accepted.
func (p *person) accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refused) > 0 {
		p.t.Errorf("%s: refused: %+v", p.name, p.refused)
		p.refused = nil
	}
	return len(p.ids)
}

// finals counts messages of his by final state.
func (p *person) finals() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := map[string]int{}
	for _, state := range p.final {
		count[state]++
	}
	return count
}

// id returns the hub's id for a ref once it is accepted.
func (p *person) id(ref string) string {
	p.t.Helper()
	eventually(p.t, 20*time.Second, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.ids[ref] == "" {
			return "no answer to " + ref
		}
		return ""
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids[ref]
}

// got returns what came on the stream, by sender.
func (p *person) got() map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bySender(p.inbox)
}

func (p *person) gotAll() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inbox)
}

func bySender(messages []incoming) map[string][]string {
	all := map[string][]string{}
	for _, m := range messages {
		all[m.From] = append(all[m.From], m.Text)
	}
	return all
}

// inboxPages reads the inbox by its pages: every message, also if it came twice.
func (p *person) inboxPages() (all []incoming) {
	p.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Messages []incoming
			Next     string
		}
		p.call("GET", "/v1/messages?box=inbox&limit=1000&after="+url.QueryEscape(cursor), nil, &page)
		all = append(all, page.Messages...)
		if len(page.Messages) == 0 {
			return all
		}
		cursor = page.Next
	}
}

// record is a message as GET /v1/messages/{id} shows it.
type record struct {
	ID, From, To, Text, State, Edge string
	Final                           bool
	Attempts                        int
	PossibleDuplicate               bool `json:"possible_duplicate"`
	Sequence                        uint64
	Reason                          *struct{ Code string }
	History                         []struct {
		State string
		At    time.Time
	}
}

func (r record) states() (all []string) {
	for _, h := range r.History {
		all = append(all, h.State)
	}
	return all
}

func (p *person) record(ref string) (r record) {
	p.t.Helper()
	p.call("GET", "/v1/messages?ref="+url.QueryEscape(ref), nil, &r)
	return r
}

// reaches waits until a message of his is in a final state.
func (p *person) reaches(ref, state string, limit time.Duration) record {
	p.t.Helper()
	id := p.id(ref)
	eventually(p.t, limit, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.final[id] == "" {
			return fmt.Sprintf("%s is not final: %v", ref, p.states[id])
		}
		return ""
	})
	r := p.record(ref)
	if r.State != state {
		p.t.Fatalf("%s is %s, want %s; %+v", ref, r.State, state, r)
	}
	return r
}

// smscAPI is the simulator's HTTP interface.
type smscAPI struct{ api }

type handsetMessage struct{ From, Text string }

func (s smscAPI) send(number, to, text string) error {
	_, _, err := s.try(s.t.Context(), "POST", "/handsets/"+number+"/messages", map[string]string{"to": to, "text": text}, nil)
	return err
}

func (s smscAPI) received(number string) (all []handsetMessage) {
	s.t.Helper()
	s.call("GET", "/handsets/"+number+"/messages", nil, &all)
	return all
}

func (s smscAPI) texts(number string) (all []string) {
	s.t.Helper()
	for _, m := range s.received(number) {
		all = append(all, m.Text)
	}
	return all
}

func (s smscAPI) on(number string, on bool) {
	s.t.Helper()
	s.call("PUT", "/handsets/"+number, map[string]bool{"on": on}, nil)
}

type smscStats struct {
	Submitted  int
	Delivered  int
	Received   int `json:"received_texts"`
	MOQueued   int `json:"mo_queued"`
	MOAcked    int `json:"mo_acked"`
	MORefused  int `json:"mo_refused"`
	Sessions   int
	Duplicates int
}

func (s smscAPI) stats() (stats smscStats) {
	s.t.Helper()
	s.call("GET", "/stats", nil, &stats)
	return stats
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
