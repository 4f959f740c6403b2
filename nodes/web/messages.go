package web

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/hub"
)

// submission is what a client says of a message, over HTTP and on a stream.
type submission struct {
	To       string `json:"to"`
	Text     string `json:"text"`
	Ref      string `json:"ref"`
	ValidFor string `json:"valid_for"`
	Class    *int64 `json:"class"`
}

// of makes it a user's.
func (b submission) of(user, sender string) (hub.Submission, error) {
	s := hub.Submission{From: user, To: b.To, Text: b.Text, Ref: b.Ref, Sender: sender}
	if b.To == "" {
		return s, badRequest("to is missing: give a user's name, or '+' and a number")
	}
	if b.ValidFor != "" {
		d, err := time.ParseDuration(b.ValidFor)
		if err != nil || d <= 0 {
			return s, badRequest("valid_for is %q: give a duration above 0, as 30s, 15m or 24h", b.ValidFor)
		}
		s.ValidFor = d
	}
	if b.Class != nil {
		if *b.Class < 0 || *b.Class > 2 {
			return s, badRequest("class is %d: give 0 (interactive), 1 (normal) or 2 (bulk)", *b.Class)
		}
		s.Class = hub.Interactive + hub.Class(*b.Class)
	}
	return s, nil
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request, c caller) error {
	var body submission
	if err := s.readJSON(w, r, &body); err != nil {
		return err
	}
	submission, err := body.of(c.user, "http "+r.RemoteAddr)
	if err != nil {
		return err
	}
	a, err := s.hub.Send(r.Context(), submission)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, struct {
		ID       string `json:"id"`
		State    string `json:"state"`
		Edge     string `json:"edge,omitempty"`
		Parts    int    `json:"parts,omitzero"`
		Encoding string `json:"encoding,omitempty"`
	}{hex.EncodeToString(a.ID), "accepted", a.Edge, a.Parts, a.Coding})
}

func messageID(r *http.Request) ([]byte, error) {
	id, err := hex.DecodeString(r.PathValue("id"))
	if err != nil || len(id) != 16 {
		return nil, newProblem(http.StatusNotFound, "not_found", "a message's id has 32 hexadecimal digits")
	}
	return id, nil
}

func (s *Server) postReceived(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := messageID(r)
	if err != nil {
		return err
	}
	device, err := deviceOf(r)
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	s.hub.MarkReceived(c.user, device, id, func(err error) { answer <- err })
	select {
	case err = <-answer:
	case <-r.Context().Done():
		err = r.Context().Err()
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) getMessage(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := messageID(r)
	if err != nil {
		return err
	}
	record, err := s.hub.Message(c.user, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, messageJSON(record))
}

type message struct {
	ID                string      `json:"id"`
	Ref               string      `json:"ref,omitempty"`
	From              string      `json:"from"`
	To                string      `json:"to"`
	Text              string      `json:"text"`
	State             string      `json:"state"`
	Final             bool        `json:"final"`
	Reason            *reason     `json:"reason,omitempty"`
	Attempts          uint32      `json:"attempts,omitzero"`
	PossibleDuplicate bool        `json:"possible_duplicate"`
	Parts             []partState `json:"parts,omitempty"`
	Encoding          string      `json:"encoding,omitempty"`
	History           []step      `json:"history"`
	Edge              string      `json:"edge,omitempty"`
	Ring              string      `json:"ring,omitempty"`
	Sequence          uint64      `json:"sequence,omitzero"`
	Address           *uint32     `json:"address,omitempty"`
}

type reason struct {
	Code     string `json:"code"`
	SMSCCode string `json:"smsc_code,omitempty"`
	Text     string `json:"text,omitempty"`
}

type partState struct {
	State  string `json:"state"`
	SMSCID string `json:"smsc_id,omitempty"`
}

type step struct {
	State string    `json:"state"`
	At    timestamp `json:"at"`
}

func stateName(s messages.State) string { return strings.ToLower(s.String()) }

func messageJSON(r *journal.Record) message {
	m := message{
		ID: hex.EncodeToString(r.Message.GetId()), Ref: r.Ref, From: r.Message.GetFrom(), To: r.Message.GetTo(), Text: r.Message.GetText(),
		State: stateName(r.State), Final: r.Final, Attempts: r.Attempts, PossibleDuplicate: r.Doubled || r.Message.GetPossibleDuplicate(),
		Encoding: r.Coding, Edge: r.Edge, History: []step{},
	}
	if r.Reason != nil {
		m.Reason = &reason{r.Reason.GetCode(), r.Reason.GetSmscCode(), r.Reason.GetText()}
	}
	for _, p := range r.Parts {
		m.Parts = append(m.Parts, partState{stateName(p.GetState()), p.GetSmscId()})
	}
	for _, h := range r.History {
		m.History = append(m.History, step{stateName(h.State), timestamp(h.At)})
	}
	if r.Seq > 0 {
		m.Ring, m.Sequence = "down", r.Seq
		if r.Slots > 0 {
			address := uint32(r.Seq % uint64(r.Slots))
			m.Address = &address
		}
	}
	return m
}

const (
	inboxLimit    = 100
	maxInboxLimit = 1000
	cursorPrefix  = "inbox:"
)

// listMessages answers ?ref= with one message and ?box=inbox with a page.
func (s *Server) listMessages(w http.ResponseWriter, r *http.Request, c caller) error {
	query := r.URL.Query()
	if query.Has("ref") {
		record, err := s.hub.MessageByRef(c.user, query.Get("ref"))
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, messageJSON(record))
	}
	if box := query.Get("box"); box != "inbox" && box != "" {
		return badRequest("box is %q: give box=inbox, or ref=REF for one message", box)
	}
	after, limit := uint64(0), inboxLimit
	if cursor := query.Get("after"); cursor != "" {
		var ok bool
		if after, ok = readCursor(cursor); !ok {
			return badRequest("after is no cursor of this inbox: give what an answer had as next, or leave it out")
		}
	}
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxInboxLimit {
			return badRequest("limit is %q: give 1 to %d", text, maxInboxLimit)
		}
	}
	events, err := s.hub.Inbox(c.user, after, limit)
	if err != nil {
		return err
	}
	page := struct {
		Messages []inboxMessage `json:"messages"`
		Next     string         `json:"next"`
	}{[]inboxMessage{}, ""}
	for _, e := range events {
		page.Messages = append(page.Messages, inboxMessageJSON(e))
		after = e.Number
	}
	page.Next = writeCursor(after)
	return writeJSON(w, http.StatusOK, page)
}

func writeCursor(after uint64) string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendUint([]byte(cursorPrefix), after, 10))
}

func readCursor(cursor string) (after uint64, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	number, ok := strings.CutPrefix(string(raw), cursorPrefix)
	if err != nil || !ok {
		return 0, false
	}
	after, err = strconv.ParseUint(number, 10, 64)
	return after, err == nil
}

// inboxMessage is a message for the user, in the inbox and on a stream.
type inboxMessage struct {
	Ev                string    `json:"ev,omitempty"` // on a stream
	Seq               uint64    `json:"seq"`
	ID                string    `json:"id"`
	From              string    `json:"from"`
	To                string    `json:"to"`
	Edge              string    `json:"edge,omitempty"`
	Text              string    `json:"text"`
	At                timestamp `json:"at"`
	PossibleDuplicate bool      `json:"possible_duplicate"`
	Received          bool      `json:"received,omitzero"`
}

func inboxMessageJSON(e hub.Event) inboxMessage {
	return inboxMessage{
		Seq: e.Number, ID: hex.EncodeToString(e.ID), From: e.From, To: e.To, Edge: e.Edge, Text: e.Text,
		At: timestamp(e.At), PossibleDuplicate: e.PossibleDuplicate, Received: e.Received,
	}
}
