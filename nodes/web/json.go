package web

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// reserved fields of a message have a meaning to come.
var reserved = map[string]bool{"not_before": true, "via": true, "originator": true, "receipt": true, "data": true, "sms": true}

// readJSON reads a request's body, one JSON object, into a structure.
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	limit := int64(s.hub.Limits().BodyBytes)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		p := newProblem(http.StatusRequestEntityTooLarge, "too_long", "the body has more than %d bytes", limit)
		p.Limit, p.Unit = limit, "bytes"
		return p
	}
	if err != nil {
		return badRequest("the body could not be read: %v", err)
	}
	return parse(body, into)
}

// parse is strict: no unknown, doubled or differently written names, no
// invalid UTF-8 or half surrogate pairs. Its error is a *problem.
func parse(body []byte, into any) error {
	err := json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var (
		syntactic *jsontext.SyntacticError
		semantic  *json.SemanticError
	)
	switch {
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		name := semantic.JSONPointer.LastToken()
		if reserved[name] {
			return badRequest("field %q is reserved: it has no meaning yet; leave it out", name)
		}
		return badRequest("field %q is unknown: leave it out", name)
	case errors.As(err, &syntactic):
		return badRequest("the body is not JSON in UTF-8: %v at byte %d", syntactic.Err, syntactic.ByteOffset)
	case errors.As(err, &semantic) && semantic.JSONPointer == "":
		return badRequest("the body is not a JSON object")
	case errors.As(err, &semantic):
		return badRequest("field %q has a value of the wrong kind or size", strings.TrimPrefix(string(semantic.JSONPointer), "/"))
	}
	return badRequest("the body cannot be read: %v", err)
}

func writeJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	if err != nil {
		return errGone
	}
	return nil
}

// errGone: the client does not read the answer that has begun.
var errGone = errors.New("web: client has gone")

// timestamp writes UTC with milliseconds.
type timestamp time.Time

func (t timestamp) IsZero() bool { return time.Time(t).IsZero() }

func (t timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z07:00"), nil
}
