package hub

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/smsc/text"
)

// Submission is a message that a user asks to be sent.
type Submission struct {
	From     string // user
	To       string // user's name, or '+' and a number
	Text     string
	Ref      string        // the sender's own name for it; "": none. At most 128 bytes
	ValidFor time.Duration // afterwards it is worth nothing; 0: no end
	Class    Class
	Sender   string // the connection; order is kept for what one sends to one recipient
}

// Class of a message: at every entry to a ring the most urgent goes first.
type Class int8

// The zero value is Normal.
const (
	Interactive Class = -1
	Normal      Class = 0
	Bulk        Class = 1
)

// Accepted is the answer to a submission once it is durable.
type Accepted = journal.Accepted

// Code names the kind of a refusal, for programs.
type Code string

// The codes that the hub gives.
const (
	CodeBadRequest  Code = "bad_request"  // the submission's own fault
	CodeUnknownUser Code = "unknown_user" // no such recipient
	CodeNoRoute     Code = "no_route"     // no edge has a prefix of the number
	CodeTooLong     Code = "too_long"
	CodeRefConflict Code = "ref_conflict" // the ref was used for another message
	CodeQueueFull   Code = "queue_full"   // try again later
	CodeRefused     Code = "refused"      // by the filter
	CodeDiskFull    Code = "disk_full"    // try again later
	CodeUnavailable Code = "unavailable"  // the hub cannot store anything now
)

// Refusal is the error of a submission that was not accepted.
type Refusal struct {
	Code   Code
	Detail string // for people; says what to do
	Limit  int    // too_long: most that is allowed
	Actual int    // too_long: what it was
	Unit   string // too_long: "parts", "bytes"
	Retry  time.Duration
	Err    error // what is behind it, for logs
}

func (r *Refusal) Error() string { return fmt.Sprintf("hub: %s: %s", r.Code, r.Detail) }
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

const (
	maxRef          = 128
	maxUserText     = 64 << 10 // bytes of a text to a user of the hub
	queueRetryAfter = 5 * time.Second
)

var numberPattern = regexp.MustCompile(`^\+[0-9]{3,15}$`)

// Send submits a message and waits until it is durable. The error is a
// *Refusal, or ctx's: then it may have been accepted all the same.
func (h *Hub) Send(ctx context.Context, s Submission) (Accepted, error) {
	type answer struct {
		accepted Accepted
		err      error
	}
	answers := make(chan answer, 1)
	h.Submit(ctx, s, func(a Accepted, err error) { answers <- answer{a, err} })
	select {
	case a := <-answers:
		return a.accepted, a.err
	case <-ctx.Done():
		return Accepted{}, fmt.Errorf("hub: waiting for the store: %w", ctx.Err())
	}
}

// Submit is Send that does not wait: done runs once, possibly before Submit
// returns, and must not block. What one goroutine submits is accepted in the
// order of the calls.
func (h *Hub) Submit(ctx context.Context, s Submission, done func(Accepted, error)) {
	record, err := h.prepare(ctx, s)
	if err != nil {
		h.metrics.refused(err)
		done(Accepted{}, err)
		return
	}
	h.store.Accept(record, func(a journal.Accepted, err error) {
		if err != nil {
			err = h.refusal(record, err)
			h.metrics.refused(err)
		} else {
			h.metrics.accept(record, a)
		}
		done(a, err)
	})
}

// prepare checks a submission and finds its way.
func (h *Hub) prepare(ctx context.Context, s Submission) (journal.Submission, error) {
	var none journal.Submission
	if h.filter != nil {
		if err := h.filter(ctx, &s); err != nil {
			if refusal := new(Refusal); errors.As(err, &refusal) {
				return none, refusal
			}
			return none, &Refusal{Code: CodeRefused, Detail: err.Error(), Err: err}
		}
	}
	now := h.now()
	r := journal.Submission{
		From: s.From, To: s.To, Text: s.Text, Ref: s.Ref, Class: uint32(s.Class - Interactive),
		Sender: s.Sender, At: now, Body: bodyHash(s),
	}
	switch {
	case s.Text == "":
		return none, refuse(CodeBadRequest, "text is empty: give at least one character")
	case strings.ContainsRune(s.Text, 0):
		return none, refuse(CodeBadRequest, "text holds the character U+0000, which no handset shows: leave it out")
	case !utf8.ValidString(s.Text):
		return none, refuse(CodeBadRequest, "text is not valid UTF-8")
	case len(s.Ref) > maxRef:
		return none, refuse(CodeBadRequest, "ref has %d bytes: at most %d", len(s.Ref), maxRef)
	case strings.ContainsRune(s.Ref, 0) || !utf8.ValidString(s.Ref):
		return none, refuse(CodeBadRequest, "ref is not valid UTF-8, or holds U+0000")
	case s.ValidFor < 0:
		return none, refuse(CodeBadRequest, "valid_for is %v: give a duration above 0, as 30s or 24h", s.ValidFor)
	case s.Class < Interactive || s.Class > Bulk:
		return none, refuse(CodeBadRequest, "class is %d: give 0 (interactive), 1 (normal) or 2 (bulk)", s.Class-Interactive)
	}
	if s.ValidFor > 0 {
		r.Until = now.Add(s.ValidFor)
	}
	switch {
	case strings.HasPrefix(s.To, "+"):
		return r, h.prepareNumber(&r)
	case strings.ContainsRune(s.To, ':'):
		return none, refuse(CodeBadRequest, "to is %q: schemes are reserved; give a user's name, or '+' and a number", s.To)
	}
	if r.To = strings.ToLower(s.To); !hubactors.ValidName(r.To) {
		return none, refuse(CodeBadRequest, "to is %q: give a user's name, or '+' and 3 to 15 digits", s.To)
	}
	if len(s.Text) > maxUserText {
		return none, &Refusal{
			Code: CodeTooLong, Limit: maxUserText, Actual: len(s.Text), Unit: "bytes",
			Detail: fmt.Sprintf("text has %d bytes: at most %d", len(s.Text), maxUserText),
		}
	}
	return r, nil
}

func (h *Hub) prepareNumber(r *journal.Submission) error {
	if !numberPattern.MatchString(r.To) {
		return refuse(CodeBadRequest, "to is %q: a number is '+' and 3 to 15 digits, nothing between them", r.To)
	}
	id, ok := h.route(r.To)
	if !ok {
		return refuse(CodeNoRoute, "no edge serves %s: no prefix of it is configured", r.To)
	}
	edge, ok := h.edge(id)
	if !ok {
		return refuse(CodeNoRoute, "the router gives edge %q for %s, which is not configured", id, r.To)
	}
	parts, coding, err := text.Parts(r.Text)
	if errors.Is(err, text.ErrTooLong) {
		parts, err = text.MaxParts+1, nil
	}
	if err != nil {
		return &Refusal{Code: CodeBadRequest, Detail: err.Error(), Err: err}
	}
	if parts > h.cfg.Limits.Parts {
		return &Refusal{
			Code: CodeTooLong, Limit: h.cfg.Limits.Parts, Actual: parts, Unit: "parts",
			Detail: fmt.Sprintf("text takes %d or more short messages in %v: at most %d", parts, coding, h.cfg.Limits.Parts),
		}
	}
	if tooLong := anyEdgeCuts(r.Text); tooLong != nil {
		return tooLong
	}
	r.Parts, r.Coding = parts, coding.String() // an estimate: how this edge's SMSC takes texts, the edge knows
	r.Edge, r.Number, r.SuffixDigits, r.QueueLimit = edge.ID, edge.Number, edge.SuffixDigits, edge.Queue.MaxMessages
	return nil
}

// anyEdgeCuts refuses a text that an edge could not cut into parts. Most parts takes
// UCS2, the way out where an SMSC's alphabet lacks a character, with 16-bit references.
func anyEdgeCuts(s string) error {
	// A part holds 66 UTF-16 units, and one less before a surrogate pair that would
	// be cut; a text has no more units than octets in UTF-8.
	if len(s) <= 65*text.MaxParts {
		return nil
	}
	if _, err := text.Split(text.UCS2, text.EncodeUCS2(s), text.Reference{Wide: true}); err != nil {
		return &Refusal{
			Code: CodeTooLong, Limit: text.MaxParts, Unit: "parts", Err: err,
			Detail: fmt.Sprintf("text takes more than %d short messages where an SMSC needs them in UCS2 with 16-bit references: cut it", text.MaxParts),
		}
	}
	return nil
}

// refusal says in the sender's terms why the store would not.
func (h *Hub) refusal(r journal.Submission, err error) error {
	switch {
	case errors.Is(err, journal.ErrNoUser):
		return &Refusal{Code: CodeUnknownUser, Detail: fmt.Sprintf("there is no user %q", r.To), Err: err}
	case errors.Is(err, journal.ErrRefConflict):
		return &Refusal{Code: CodeRefConflict, Detail: fmt.Sprintf("ref %q was used for a message with another body", r.Ref), Err: err}
	case errors.Is(err, journal.ErrSpace):
		return &Refusal{Code: CodeDiskFull, Detail: "the hub's disk is nearly full: try again later", Retry: queueRetryAfter, Err: err}
	case errors.Is(err, journal.ErrFull):
		detail := "too many writes wait for the hub's disk: try again later"
		if r.Edge != "" {
			detail = fmt.Sprintf("too many messages wait for edge %s (%d at most), or too many writes for the hub's disk: try again later", r.Edge, r.QueueLimit)
		}
		return &Refusal{Code: CodeQueueFull, Detail: detail, Retry: queueRetryAfter, Err: err}
	}
	if !errors.Is(err, ErrAway) { // of which the store tells once
		h.log.Error("accepting a message", zap.String("from", r.From), zap.Error(err))
	}
	return &Refusal{Code: CodeUnavailable, Detail: "the message could not be stored: try again later", Retry: queueRetryAfter, Err: h.failed(err)}
}

// bodyHash covers what must be the same under the same ref.
func bodyHash(s Submission) (sum [32]byte) {
	hash := sha256.New()
	for _, field := range []string{strings.ToLower(s.To), s.Text} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		hash.Write(size[:])
		hash.Write([]byte(field))
	}
	var rest [9]byte
	binary.BigEndian.PutUint64(rest[:], uint64(s.ValidFor))
	rest[8] = byte(s.Class)
	hash.Write(rest[:])
	hash.Sum(sum[:0])
	return sum
}
