package web_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/ringway-im/ringway/nodes/web"
)

var mockListen = flag.String("mock", "", "serve the page with a mock of the demo at this address until interrupted")

// TestMock is for working on the page: go test ./nodes/web -run TestMock -mock 127.0.0.1:8099 -timeout 0.
// It serves static/ from the folder, so that a reload shows what was changed.
func TestMock(t *testing.T) {
	if *mockListen == "" {
		t.Skip("no -mock ADDRESS: nothing to serve")
	}
	listener, err := net.Listen("tcp", *mockListen)
	if err != nil {
		t.Fatal(err)
	}
	m := newMock(os.DirFS("static"))
	defer m.close()
	server := &http.Server{Handler: m}
	go server.Serve(listener)
	t.Logf("http://%s/", listener.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	server.Close()
}

// mock stands in for the demo process: what the page sees of it moves as the real thing does, but is only told.
type mock struct {
	http.Handler
	stop chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	now      time.Duration // since the start, advanced by step
	cut      bool
	cutAt    time.Duration
	syncTill time.Duration
	rtt      time.Duration
	jitter   time.Duration
	pouring  bool
	epoch    int
	down, up *mockRing
	handsets map[string]*mockHandset
	users    map[string]*mockUser
	messages map[string]*mockMessage
	order    []*mockMessage
	received map[string]bool // ids that a client said it has taken
	totals   struct{ Accepted, Delivered, Received int }
}

type mockHandset struct {
	off      bool
	received []map[string]any
	stored   []map[string]any
}

type mockUser struct {
	name    string
	seq     int
	events  []map[string]any
	inbox   []map[string]any
	streams map[chan struct{}]bool
}

type mockMessage struct {
	ID, Ref, From, To, Text, State string
	History                        []map[string]any
	slot                           *mockSlot
}

// mockSlot is one message in a ring: when it reaches which stage on the sender's side and in the mirror.
type mockSlot struct {
	sequence                                             int
	sender, mirror                                       byte
	arrives, answered, confirms, processes, mirrorLeaves time.Duration
	message                                              *mockMessage
}

type mockRing struct {
	slots    []*mockSlot // from the oldest not released
	leaving  []*mockSlot // released by the sender, not yet known to the mirror
	next     int
	queue    []*mockMessage // nil: traffic
	answered time.Duration
	released int
	taken    []time.Duration // when the last ones were released, for the rate
}

func newMock(files fs.FS) *mock {
	m := &mock{
		stop: make(chan struct{}), rtt: 300 * time.Millisecond, epoch: 3,
		down: &mockRing{next: 1}, up: &mockRing{next: 1},
		handsets: map[string]*mockHandset{}, users: map[string]*mockUser{}, messages: map[string]*mockMessage{}, received: map[string]bool{},
	}
	for _, name := range []string{"alice", "bob"} {
		m.users[name] = &mockUser{name: name, streams: map[chan struct{}]bool{}}
	}
	mux := http.NewServeMux()
	mux.Handle("/", web.StaticHandler(files))
	mux.HandleFunc("GET /demo/config", m.config)
	mux.HandleFunc("GET /demo/state", m.state)
	mux.HandleFunc("GET /demo/rings", m.rings)
	mux.HandleFunc("PUT /demo/wan", m.wan)
	mux.HandleFunc("POST /demo/cut", m.setCut)
	mux.HandleFunc("POST /demo/pour", m.pour)
	mux.HandleFunc("GET /demo/handsets/{number}/messages", m.handsetMessages)
	mux.HandleFunc("POST /demo/handsets/{number}/messages", m.handsetSends)
	mux.HandleFunc("PUT /demo/handsets/{number}", m.handsetPower)
	mux.HandleFunc("POST /v1/login", m.login)
	mux.HandleFunc("GET /v1/messages", m.inbox)
	mux.HandleFunc("GET /v1/messages/{id}", m.message)
	mux.HandleFunc("GET /v1/presence/{name}", m.presence)
	mux.HandleFunc("GET /v1/stream", m.stream)
	m.Handler = mux
	m.done.Go(func() {
		const tick = 10 * time.Millisecond
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-m.stop:
				return
			case <-ticker.C:
				m.mu.Lock()
				m.step(tick)
				m.mu.Unlock()
			}
		}
	})
	return m
}

// hangUp closes every stream without a word and gives how many there were.
func (m *mock) hangUp() (streams int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range m.users {
		for wake := range user.streams {
			close(wake)
			delete(user.streams, wake)
			streams++
		}
	}
	return streams
}

func (m *mock) close() {
	close(m.stop)
	m.done.Wait()
}

func (m *mock) step(tick time.Duration) {
	m.now += tick
	if m.pouring {
		for _, r := range []*mockRing{m.down, m.up} {
			for range 8 + rand.IntN(2) {
				if len(r.queue) < 20000 {
					r.queue = append(r.queue, nil)
				}
			}
		}
	}
	m.down.step(m)
	m.up.step(m)
}

func (m *mock) oneWay() time.Duration {
	delay := m.rtt/2 + time.Duration(rand.Float64()*float64(m.jitter))
	if rand.IntN(25) == 0 { // another stripe, a lost packet
		delay += 70 * time.Millisecond
	}
	return delay
}

func (r *mockRing) step(m *mock) {
	for len(r.slots)+len(r.leaving) < 255 && len(r.queue) > 0 {
		s := &mockSlot{sequence: r.next, sender: 'r', mirror: '.', message: r.queue[0]}
		r.next, r.queue = r.next+1, r.queue[1:]
		r.slots = append(r.slots, s)
		if s.message != nil {
			s.message.slot = s
			m.tell(s.message, "retrieved")
		}
	}
	for _, s := range r.slots {
		if s.sender == 'r' && !m.cut {
			s.sender, s.arrives = 's', m.now+m.oneWay()
			m.tell(s.message, "sent")
		}
		if s.mirror == '.' && s.arrives > 0 && m.now >= s.arrives && !m.cut {
			s.mirror = 'r'
			s.confirms = m.now + m.oneWay()
			r.answered = max(r.answered, m.now) + time.Millisecond
			s.answered = r.answered
		}
		if s.mirror == 'r' && m.now >= s.answered-2*time.Millisecond {
			s.mirror = 's'
		}
		if s.mirror == 's' && m.now >= s.answered {
			s.mirror, s.processes = 'c', m.now+m.oneWay()
		}
		if s.sender == 's' && s.confirms > 0 && m.now >= s.confirms && !m.cut {
			s.sender = 'c'
			m.tell(s.message, "confirmed")
		}
		if (s.sender == 's' || s.sender == 'c') && s.processes > 0 && m.now >= s.processes && !m.cut {
			s.sender, s.mirror = 'p', 'p'
			m.tell(s.message, "processed")
			m.handOver(s.message)
		}
	}
	for len(r.slots) > 0 && r.slots[0].sender == 'p' {
		s := r.slots[0]
		r.slots, r.released = r.slots[1:], s.sequence
		r.taken = append(r.taken, m.now)
		s.mirrorLeaves = m.now + m.rtt/4
		r.leaving = append(r.leaving, s)
	}
	r.leaving = slices.DeleteFunc(r.leaving, func(s *mockSlot) bool { return m.now >= s.mirrorLeaves })
	r.taken = slices.DeleteFunc(r.taken, func(at time.Duration) bool { return at < m.now-time.Second })
}

func (r *mockRing) side(of func(*mockSlot) byte, shown []*mockSlot) map[string]any {
	flags := []byte(strings.Repeat(".", 255))
	last := map[byte]int{'p': r.released, 'c': r.released, 's': r.released, 'r': r.released}
	for _, s := range shown {
		flags[s.sequence%255] = of(s)
	}
	for stage, reached := range map[byte]string{'p': "p", 'c': "pc", 's': "pcs", 'r': "pcsr"} {
		for _, s := range shown {
			if !strings.ContainsRune(reached, rune(of(s))) {
				break
			}
			last[stage] = max(last[stage], s.sequence)
		}
	}
	counted := func(flag string) int { return strings.Count(string(flags), flag) }
	return map[string]any{
		"slots": 255, "flags": string(flags), "queue": 0,
		"pointers": map[string]int{"last_retrieved": last['r'], "last_sent": last['s'], "last_confirmed": last['c'], "last_processed": last['p']},
		"counts":   map[string]int{"free": counted("."), "retrieved": counted("r"), "sent": counted("s"), "confirmed": counted("c"), "processed": counted("p")},
	}
}

func (r *mockRing) sides() (sender, mirror map[string]any) {
	sender = r.side(func(s *mockSlot) byte { return s.sender }, r.slots)
	sender["queue"] = len(r.queue)
	mirror = r.side(func(s *mockSlot) byte { return s.mirror }, slices.Concat(r.leaving, r.slots))
	return sender, mirror
}

// tell records a state and puts it on the sender's stream.
func (m *mock) tell(message *mockMessage, state string) {
	if message == nil {
		return
	}
	at := time.Now().UTC().Format(time.RFC3339Nano)
	message.State = state
	message.History = append(message.History, map[string]any{"state": state, "at": at})
	if user := m.users[message.From]; user != nil && state != "accepted" {
		user.event(map[string]any{"ev": "state", "id": message.ID, "ref": message.Ref, "state": state, "final": state == "delivered" || state == "failed", "at": at})
	}
}

func (m *mock) handOver(message *mockMessage) {
	if message == nil {
		m.totals.Accepted++
		m.totals.Delivered++
		return
	}
	if user := m.users[message.To]; user != nil {
		user.event(map[string]any{"ev": "message", "id": message.ID, "from": message.From, "to": message.To, "edge": "manila-1", "text": message.Text, "at": message.History[0]["at"]})
		user.inbox = append(user.inbox, map[string]any{"id": message.ID, "from": message.From, "to": message.To, "text": message.Text, "at": message.History[0]["at"], "state": "processed"})
		m.totals.Received++
		return
	}
	h := m.handset(message.To)
	sms := map[string]any{"from": "63917000", "text": message.Text, "at": time.Now().UTC(), "parts": 1 + len(message.Text)/161}
	if h.off {
		h.stored = append(h.stored, sms, map[string]any{"message": message})
		return
	}
	h.received = append(h.received, sms)
	m.tell(message, "delivered")
	m.totals.Delivered++
}

func (m *mock) handset(number string) *mockHandset {
	if m.handsets[number] == nil {
		m.handsets[number] = &mockHandset{}
	}
	return m.handsets[number]
}

func (u *mockUser) event(event map[string]any) {
	u.seq++
	event["seq"] = u.seq
	u.events = append(u.events, event)
	for wake := range u.streams {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func mockAnswer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func mockRefuse(w http.ResponseWriter, status int, detail string) {
	mockAnswer(w, status, map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

func mockRead[T any](w http.ResponseWriter, r *http.Request) (body T, ok bool) {
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		mockRefuse(w, http.StatusBadRequest, err.Error())
		return body, false
	}
	return body, true
}

func (m *mock) config(w http.ResponseWriter, _ *http.Request) {
	mockAnswer(w, 200, map[string]any{
		"users":    []map[string]string{{"user": "alice", "password": "wonderland"}, {"user": "bob", "password": "builder"}},
		"handsets": []string{"+639170000001", "+639170000002"}, "edge": "manila-1", "number": "63917000", "protocol": "cimd2",
	})
}

func (m *mock) state(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	direct := 0.0
	if m.pouring && !m.cut {
		direct = 1 / (m.rtt + time.Millisecond).Seconds()
	}
	mockAnswer(w, 200, map[string]any{
		"cut": m.cut, "rtt_ms": m.rtt.Milliseconds(), "jitter_ms": m.jitter.Milliseconds(), "pouring": m.pouring,
		"rates":  map[string]float64{"down": float64(len(m.down.taken)), "up": float64(len(m.up.taken)), "direct": direct},
		"totals": map[string]int{"accepted": m.totals.Accepted, "delivered": m.totals.Delivered, "received": m.totals.Received},
	})
}

func (m *mock) rings(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hubDown, edgeDown := m.down.sides()
	edgeUp, hubUp := m.up.sides()
	link, asOf := "up", time.Now()
	switch {
	case m.cut && m.now-m.cutAt > time.Second:
		link = "interrupted"
		asOf = asOf.Add(m.cutAt - m.now)
	case m.now < m.syncTill:
		link = "synchronising"
	}
	mockAnswer(w, 200, map[string]any{"edges": []any{map[string]any{
		"id": "manila-1", "link": link, "epoch": m.epoch, "edge_as_of": asOf.UTC(),
		"hub": map[string]any{"down": hubDown, "up": hubUp}, "edge": map[string]any{"down": edgeDown, "up": edgeUp},
	}}})
}

func (m *mock) wan(w http.ResponseWriter, r *http.Request) {
	body, ok := mockRead[struct {
		RTT    int `json:"rtt_ms"`
		Jitter int `json:"jitter_ms"`
	}](w, r)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rtt, m.jitter = time.Duration(body.RTT)*time.Millisecond, time.Duration(body.Jitter)*time.Millisecond
	w.WriteHeader(http.StatusNoContent)
}

func (m *mock) setCut(w http.ResponseWriter, r *http.Request) {
	body, ok := mockRead[struct{ Cut bool }](w, r)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut && !body.Cut {
		m.syncTill = m.now + 2*m.rtt + 100*time.Millisecond
	}
	m.cut, m.cutAt = body.Cut, m.now
	w.WriteHeader(http.StatusNoContent)
}

func (m *mock) pour(w http.ResponseWriter, r *http.Request) {
	body, ok := mockRead[struct{ On bool }](w, r)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pouring = body.On
	w.WriteHeader(http.StatusNoContent)
}

func (m *mock) handsetMessages(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	received := m.handset(r.PathValue("number")).received
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	mockAnswer(w, 200, received[min(max(after, 0), len(received)):])
}

func (m *mock) handsetSends(w http.ResponseWriter, r *http.Request) {
	body, ok := mockRead[struct{ To, Text string }](w, r)
	if !ok {
		return
	}
	if body.To != "63917000" {
		mockRefuse(w, http.StatusUnprocessableEntity, "simulator: no service answers "+body.To)
		return
	}
	to, text := "alice", body.Text
	if name, rest, found := strings.Cut(strings.TrimPrefix(body.Text, "@"), " "); found && strings.HasPrefix(body.Text, "@") {
		to, text = name, rest
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	message := m.accept(r.PathValue("number"), to, text, "")
	m.up.queue = slices.Insert(m.up.queue, 0, message)
	w.WriteHeader(http.StatusAccepted)
}

func (m *mock) handsetPower(w http.ResponseWriter, r *http.Request) {
	body, ok := mockRead[struct{ On bool }](w, r)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.handset(r.PathValue("number"))
	h.off = !body.On
	for i := 0; body.On && i+1 < len(h.stored); i += 2 {
		h.received = append(h.received, h.stored[i])
		m.tell(h.stored[i+1]["message"].(*mockMessage), "delivered")
	}
	if body.On {
		h.stored = nil
	}
	w.WriteHeader(http.StatusNoContent)
}

func (m *mock) accept(from, to, text, ref string) *mockMessage {
	message := &mockMessage{ID: fmt.Sprintf("%032x", len(m.order)+1), Ref: ref, From: from, To: to, Text: text}
	m.messages[message.ID] = message
	m.order = append(m.order, message)
	m.totals.Accepted++
	m.tell(message, "accepted")
	return message
}

func (m *mock) login(w http.ResponseWriter, r *http.Request) {
	body, ok := mockRead[struct{ User, Password string }](w, r)
	if !ok {
		return
	}
	want := map[string]string{"alice": "wonderland", "bob": "builder"}[body.User]
	if want == "" || body.Password != want {
		mockRefuse(w, http.StatusUnauthorized, "The user or the password is wrong.")
		return
	}
	mockAnswer(w, 200, map[string]any{"token": body.User, "expires_at": time.Now().Add(time.Hour).UTC()})
}

func (m *mock) user(r *http.Request) *mockUser {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	for protocol := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if t, found := strings.CutPrefix(strings.TrimSpace(protocol), "ringway.token."); found {
			token = t
		}
	}
	return m.users[token]
}

func (m *mock) inbox(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	user := m.user(r)
	if user == nil {
		mockRefuse(w, http.StatusUnauthorized, "Sign in first.")
		return
	}
	messages := user.inbox
	if r.URL.Query().Get("after") != "" {
		messages = nil
	}
	mockAnswer(w, 200, map[string]any{"messages": messages, "next": "end"})
}

func (m *mock) message(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	message := m.messages[r.PathValue("id")]
	if message == nil {
		mockRefuse(w, http.StatusNotFound, "No such message.")
		return
	}
	found := map[string]any{"id": message.ID, "ref": message.Ref, "from": message.From, "to": message.To, "text": message.Text, "state": message.State, "history": message.History, "edge": "manila-1", "ring": "down", "attempts": 1, "parts": []any{map[string]any{"state": message.State}}}
	if message.slot != nil {
		found["sequence"], found["address"] = message.slot.sequence, message.slot.sequence%255
	}
	mockAnswer(w, 200, found)
}

func (m *mock) presence(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	user := m.users[r.PathValue("name")]
	if user == nil {
		mockRefuse(w, http.StatusNotFound, "No such user.")
		return
	}
	state := "offline"
	if len(user.streams) > 0 {
		state = "online"
	}
	mockAnswer(w, 200, map[string]any{"user": user.name, "state": state, "since": time.Now().UTC()})
}

func (m *mock) stream(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	user := m.user(r)
	m.mu.Unlock()
	if user == nil {
		mockRefuse(w, http.StatusUnauthorized, "Sign in first.")
		return
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"ringway.v1"}})
	if err != nil {
		return
	}
	defer socket.CloseNow()
	position, _ := strconv.Atoi(r.URL.Query().Get("after"))
	wake := make(chan struct{}, 1)
	m.mu.Lock()
	user.streams[wake] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(user.streams, wake)
		m.mu.Unlock()
	}()
	go func() {
		defer socket.CloseNow()
		for {
			var frame struct {
				Op, Ref, To, Text, ID string

				OpID string `json:"op_id"`
			}
			if wsjson.Read(r.Context(), socket, &frame) != nil {
				return
			}
			switch frame.Op {
			case "received":
				m.mu.Lock()
				m.received[frame.ID] = true
				m.mu.Unlock()
			case "send":
				reply := m.onSend(user, frame.Ref, frame.OpID, frame.To, frame.Text)
				wsjson.Write(r.Context(), socket, reply)
			}
		}
	}()
	for {
		m.mu.Lock()
		events := slices.Clone(user.events[min(position, len(user.events)):])
		m.mu.Unlock()
		for _, event := range events {
			if wsjson.Write(r.Context(), socket, event) != nil {
				return
			}
			position++
		}
		select {
		case _, open := <-wake:
			if !open {
				return
			}
		case <-r.Context().Done():
			return
		case <-m.stop:
			return
		}
	}
}

func (m *mock) onSend(user *mockUser, ref, opID, to, text string) map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.order {
		if known.Ref == ref && known.From == user.name {
			return map[string]any{"ev": "accepted", "op_id": opID, "ref": ref, "id": known.ID}
		}
	}
	switch {
	case strings.HasPrefix(to, "+63917"):
		message := m.accept(user.name, to, text, ref)
		m.down.queue = slices.Insert(m.down.queue, 0, message)
		return map[string]any{"ev": "accepted", "op_id": opID, "ref": ref, "id": message.ID}
	case m.users[to] != nil:
		message := m.accept(user.name, to, text, ref)
		m.tell(message, "processed")
		m.handOver(message)
		if len(m.users[to].streams) > 0 {
			m.tell(message, "delivered")
		}
		return map[string]any{"ev": "accepted", "op_id": opID, "ref": ref, "id": message.ID}
	}
	return map[string]any{"ev": "error", "op_id": opID, "code": 422, "message": "No edge has a prefix for " + to + "."}
}
