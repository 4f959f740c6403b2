package web

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/hub"
)

const (
	streamProtocol = "ringway.v1"
	// maxUnderWay is how many frames of one client may be without an answer;
	// then its socket is not read until one is.
	maxUnderWay = 128
	// writeTimeout is how long a client may leave its socket full. What it has
	// not read it gets when it comes back: its position is in the store.
	writeTimeout = 10 * time.Second
	pingTimeout  = 20 * time.Second
	// answerTimeout is how long a stream that the hub ends waits for the store.
	answerTimeout = time.Second
)

// stream answers GET /v1/stream.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, c caller) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return newProblem(http.StatusUpgradeRequired, "upgrade_required", "open a WebSocket here, subprotocol %s", streamProtocol)
	}
	options, err := streamOptions(r)
	if err != nil {
		return err
	}
	if !s.enter() {
		p := newProblem(http.StatusServiceUnavailable, string(hub.CodeUnavailable), "the hub is shutting down: connect again")
		p.retry = time.Second
		return p
	}
	held := &holder{ResponseWriter: w}
	conn, err := websocket.Accept(held, r, &websocket.AcceptOptions{Subprotocols: []string{streamProtocol}, OriginPatterns: s.cfg.Origins})
	if err != nil {
		s.open.Done()
		s.log.Debug("no stream", zap.String("user", c.user), zap.Error(err))
		return held.problem(err)
	}
	client := &streamClient{
		server: s, caller: c, device: options.Device, conn: conn, name: "stream " + r.RemoteAddr,
		answers: make(chan any, maxUnderWay), underWay: make(chan struct{}, maxUnderWay),
	}
	go client.run(options) // the handler's own goroutine has grown a larger stack than a stream needs
	return errGone
}

// holder holds back what websocket.Accept answers to a handshake that it refuses: a
// line of text where the API has problem documents.
type holder struct {
	http.ResponseWriter
	switched bool // 101 has gone out
	refused  int  // status; 0: not
}

func (h *holder) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		h.refused = status
		return
	}
	h.switched = true
	h.ResponseWriter.WriteHeader(status)
}

func (h *holder) Write(b []byte) (int, error) {
	if h.refused > 0 {
		return len(b), nil
	}
	return h.ResponseWriter.Write(b)
}

// Unwrap lets the WebSocket library find the connection.
func (h *holder) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// problem is the answer in the API's terms.
func (h *holder) problem(err error) error {
	switch {
	case h.switched:
		return errGone
	case h.refused == http.StatusForbidden:
		return newProblem(h.refused, "forbidden", "%v", err)
	case h.refused == http.StatusUpgradeRequired:
		return newProblem(h.refused, "upgrade_required", "%v", err)
	case h.refused < http.StatusInternalServerError:
		return badRequest("%v", err)
	}
	return err
}

// run serves the stream until it ends: this goroutine reads, another writes.
func (c *streamClient) run(options hub.SubscribeOptions) {
	s := c.server
	defer s.open.Done()
	sub, err := s.hub.Subscribe(c.caller.user, options)
	if err != nil {
		_ = c.conn.Close(websocket.StatusGoingAway, "the hub is shutting down: connect again")
		return
	}
	c.sub = sub
	s.streams.Inc()
	ctx, cancel := context.WithCancel(context.Background())
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer cancel()
		c.write(ctx)
	}()
	stopPings := c.keepAlive(ctx, cancel)
	c.read(ctx)
	stopPings()
	cancel()
	<-written
	sub.Close()
	_ = c.conn.CloseNow()
	s.streams.Dec()
}

func streamOptions(r *http.Request) (o hub.SubscribeOptions, err error) {
	query := r.URL.Query()
	if query.Has("after") {
		o.Resume = true
		if o.After, err = strconv.ParseUint(query.Get("after"), 10, 64); err != nil {
			return o, badRequest("after is %q: give the seq of the last event you have seen, 0 for all", query.Get("after"))
		}
	}
	switch states := query.Get("states"); states {
	case "", "all":
	case "final":
		o.FinalOnly = true
	default:
		return o, badRequest("states is %q: give final, or leave it out", states)
	}
	o.Device, err = deviceOf(r)
	return o, err
}

func deviceOf(r *http.Request) (string, error) {
	device := r.URL.Query().Get("device")
	if len(device) > 64 {
		return "", badRequest("device has %d bytes: at most 64", len(device))
	}
	return device, nil
}

// streamClient is one open stream.
type streamClient struct {
	server *Server
	caller caller
	device string
	name   string
	conn   *websocket.Conn
	sub    *hub.Subscription

	answers  chan any      // never full: an answer has its place in underWay
	underWay chan struct{} // frames read and not yet answered on the socket
}

// frame is what a client sends.
type frame struct {
	Op   string         `json:"op"`
	OpID jsontext.Value `json:"op_id"`
	ID   string         `json:"id"`
	submission
}

type acceptedFrame struct {
	Ev       string         `json:"ev"`
	OpID     jsontext.Value `json:"op_id,omitzero"`
	Ref      string         `json:"ref,omitempty"`
	ID       string         `json:"id"`
	Edge     string         `json:"edge,omitempty"`
	Parts    int            `json:"parts,omitzero"`
	Encoding string         `json:"encoding,omitempty"`
}

type errorFrame struct {
	Ev         string         `json:"ev"`
	OpID       jsontext.Value `json:"op_id,omitzero"`
	Ref        string         `json:"ref,omitempty"`
	Code       string         `json:"code"`
	Message    string         `json:"message"`
	Limit      int64          `json:"limit,omitzero"`
	RetryAfter int            `json:"retry_after,omitzero"` // seconds
}

type stateFrame struct {
	Ev    string    `json:"ev"`
	Seq   uint64    `json:"seq"`
	ID    string    `json:"id"`
	Ref   string    `json:"ref,omitempty"`
	State string    `json:"state"`
	Final bool      `json:"final"`
	At    timestamp `json:"at"`
}

func errorFrameOf(f frame, err error) errorFrame {
	p := problemOf(err)
	e := errorFrame{Ev: "error", OpID: f.OpID, Ref: f.Ref, Code: p.Code, Message: p.Detail, Limit: p.Limit}
	if p.retry > 0 {
		e.RetryAfter = seconds(p.retry)
	}
	return e
}

func eventFrame(e hub.Event) any {
	if e.State == 0 {
		m := inboxMessageJSON(e)
		m.Ev, m.Received = "message", false
		return m
	}
	return stateFrame{"state", e.Number, hex.EncodeToString(e.ID), e.Ref, stateName(e.State), e.Final, timestamp(e.At)}
}

// closeFrame asks the writer to close after what stands before it.
type closeFrame struct {
	code   websocket.StatusCode
	reason string
}

// read takes the client's frames until the connection ends.
func (c *streamClient) read(ctx context.Context) {
	limit := int64(c.server.hub.Limits().BodyBytes)
	c.conn.SetReadLimit(-1) // the library's closes without an error frame
	for {
		kind, reader, err := c.conn.Reader(ctx)
		if err != nil {
			return
		}
		body, err := io.ReadAll(io.LimitReader(reader, limit+1))
		if err != nil {
			return
		}
		select {
		case c.underWay <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if int64(len(body)) > limit {
			c.answers <- errorFrame{Ev: "error", Code: string(hub.CodeTooLong), Message: fmt.Sprintf("the frame has more than %d bytes", limit), Limit: limit}
			select {
			case c.underWay <- struct{}{}:
				c.answers <- closeFrame{websocket.StatusMessageTooBig, fmt.Sprintf("frames have at most %d bytes", limit)}
			case <-ctx.Done():
			}
			<-ctx.Done()
			return
		}
		if kind != websocket.MessageText {
			c.answers <- errorFrameOf(frame{}, badRequest("frames are text, one JSON object each"))
			continue
		}
		c.handle(ctx, body)
	}
}

// handle answers one frame, now or when the store has.
func (c *streamClient) handle(ctx context.Context, body []byte) {
	var f frame
	if err := parse(body, &f); err != nil {
		c.answers <- errorFrameOf(pairing(body), err)
		return
	}
	if len(f.OpID) > 128 {
		c.answers <- errorFrameOf(frame{}, badRequest("op_id has %d bytes: at most 128", len(f.OpID)))
		return
	}
	switch f.Op {
	case "send":
		submission, err := f.of(c.caller.user, c.name)
		if err == nil && f.ID != "" {
			err = badRequest("field %q has no meaning in a send: the hub gives the id; leave it out", "id")
		}
		if err != nil {
			c.answers <- errorFrameOf(f, err)
			return
		}
		c.server.hub.Submit(ctx, submission, func(a hub.Accepted, err error) {
			if err != nil {
				c.answers <- errorFrameOf(f, err)
				return
			}
			c.answers <- acceptedFrame{"accepted", f.OpID, f.Ref, hex.EncodeToString(a.ID), a.Edge, a.Parts, a.Coding}
		})
	case "received":
		id, err := hex.DecodeString(f.ID)
		if err != nil || len(id) != 16 {
			c.answers <- errorFrameOf(f, badRequest("id is %q: give the message's 32 hexadecimal digits", f.ID))
			return
		}
		c.server.hub.MarkReceived(c.caller.user, c.device, id, func(err error) {
			if err != nil {
				c.answers <- errorFrameOf(f, err)
				return
			}
			c.answers <- nil // nothing to say
		})
	default:
		c.answers <- errorFrameOf(f, badRequest("op is %q: give send or received", f.Op))
	}
}

// pairing finds what it can of op_id and ref in a frame that was refused.
func pairing(body []byte) frame {
	var f struct {
		OpID jsontext.Value `json:"op_id"`
		Ref  string         `json:"ref"`
	}
	if json.Unmarshal(body, &f, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) != nil || len(f.OpID) > 128 || len(f.Ref) > 128 {
		return frame{}
	}
	return frame{OpID: f.OpID, submission: submission{Ref: f.Ref}}
}

// write is the only one that writes frames. The next batch of events is asked
// for when the one before is on the socket.
func (c *streamClient) write(ctx context.Context) {
	for {
		select {
		case answer := <-c.answers:
			<-c.underWay
			if end, ok := answer.(closeFrame); ok {
				_ = c.conn.Close(end.code, end.reason)
				return
			}
			if answer != nil && !c.send(ctx, answer) {
				return
			}
		case events, open := <-c.sub.C:
			if !open {
				c.leave(ctx, "the hub ends streams: connect again")
				return
			}
			for _, e := range events {
				if !c.send(ctx, eventFrame(e)) {
					return
				}
			}
			c.sub.More()
		case <-c.server.closing:
			c.leave(ctx, "the hub is shutting down: connect again")
			return
		case <-ctx.Done():
			return
		}
	}
}

// leave closes once what is under way is answered: who is to connect again would not
// know what became of it.
func (c *streamClient) leave(ctx context.Context, why string) {
	limit, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for len(c.underWay) > 0 && limit.Err() == nil {
		select {
		case answer := <-c.answers:
			<-c.underWay
			if _, end := answer.(closeFrame); end || answer != nil && !c.send(limit, answer) {
				cancel()
			}
		case <-limit.Done():
		}
	}
	_ = c.conn.Close(websocket.StatusGoingAway, why)
}

func (c *streamClient) send(ctx context.Context, frame any) bool {
	body, err := json.Marshal(frame)
	if err != nil {
		c.server.log.Error("a frame cannot be written", zap.Error(err))
		return false
	}
	limit, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := c.conn.Write(limit, websocket.MessageText, body); err != nil {
		if errors.Is(limit.Err(), context.DeadlineExceeded) {
			c.server.slow.Inc()
			c.server.log.Info("client does not read: stream dropped", zap.String("user", c.caller.user), zap.String("device", c.device))
		}
		return false
	}
	return true
}

// keepAlive pings while the stream is open: it finds dead connections, keeps
// those through NATs, and ends streams whose login has ended.
func (c *streamClient) keepAlive(ctx context.Context, drop func()) (stop func()) {
	var stopped atomic.Bool
	var timer *time.Timer
	started := make(chan struct{})
	timer = time.AfterFunc(c.server.cfg.PingEvery, func() {
		<-started
		if _, err := c.server.hub.Authenticate(c.caller.token); errors.Is(err, hub.ErrNotSignedIn) {
			_ = c.conn.Close(websocket.StatusPolicyViolation, "the login has ended: sign in again")
			drop()
			return
		}
		limit, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		if err := c.conn.Ping(limit); err != nil {
			drop()
			return
		}
		if !stopped.Load() {
			timer.Reset(c.server.cfg.PingEvery)
		}
	})
	close(started)
	return func() { stopped.Store(true); timer.Stop() }
}
