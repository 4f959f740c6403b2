package web

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/hub"
)

// problem is an RFC 9457 problem document and the error that handlers return.
type problem struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail,omitempty"`
	Code    string   `json:"code"` // as in the stream's error frames
	Limit   int64    `json:"limit,omitzero"`
	Actual  int64    `json:"actual,omitzero"`
	Unit    string   `json:"unit,omitempty"`
	Reasons []string `json:"reasons,omitempty"`

	retry time.Duration
	allow string
}

func (p *problem) Error() string { return fmt.Sprintf("web: %d %s: %s", p.Status, p.Code, p.Detail) }

var titles = map[string]string{
	"bad_request":        "The request cannot be understood",
	"unauthorized":       "Sign in first",
	"forbidden":          "Not allowed",
	"not_found":          "There is no such thing",
	"method_not_allowed": "The method is not allowed here",
	"too_many_logins":    "Too many wrong passwords",
	"upgrade_required":   "This is a WebSocket",
	"not_ready":          "Not ready",
	"elsewhere":          "Ask another hub",
	"not_drained":        "Not drained",
	"failed":             "It failed",
	"internal":           "The hub has failed",

	string(hub.CodeUnknownUser): "There is no such user",
	string(hub.CodeNoRoute):     "No edge serves this number",
	string(hub.CodeTooLong):     "Too long",
	string(hub.CodeRefConflict): "The ref stands for another message",
	string(hub.CodeQueueFull):   "The queue is full",
	string(hub.CodeRefused):     "Refused",
	string(hub.CodeDiskFull):    "The disk is nearly full",
	string(hub.CodeUnavailable): "Not available now",
}

func newProblem(status int, code, format string, args ...any) *problem {
	title := titles[code]
	if title == "" {
		title = http.StatusText(status)
	}
	return &problem{Type: "urn:ringway:problem:" + code, Title: title, Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *problem {
	return newProblem(http.StatusBadRequest, "bad_request", format, args...)
}

var statusOf = map[hub.Code]int{
	hub.CodeBadRequest:  http.StatusBadRequest,
	hub.CodeUnknownUser: http.StatusNotFound,
	hub.CodeNoRoute:     http.StatusUnprocessableEntity,
	hub.CodeTooLong:     http.StatusRequestEntityTooLarge,
	hub.CodeRefConflict: http.StatusConflict,
	hub.CodeQueueFull:   http.StatusServiceUnavailable,
	hub.CodeRefused:     http.StatusForbidden,
	hub.CodeDiskFull:    http.StatusServiceUnavailable,
	hub.CodeUnavailable: http.StatusServiceUnavailable,
}

// problemOf puts the hub's errors into the API's terms.
func problemOf(err error) *problem {
	var (
		p       *problem
		refusal *hub.Refusal
		logins  *hub.ErrTooManyLogins
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		status, ok := statusOf[refusal.Code]
		if !ok { // the filter's own
			status = http.StatusForbidden
		}
		p = newProblem(status, string(refusal.Code), "%s", refusal.Detail)
		p.Limit, p.Actual, p.Unit, p.retry = int64(refusal.Limit), int64(refusal.Actual), refusal.Unit, refusal.Retry
		return p
	case errors.As(err, &logins):
		p = newProblem(http.StatusTooManyRequests, "too_many_logins", "wait %d seconds", seconds(logins.Retry))
		p.retry = logins.Retry
		return p
	case errors.Is(err, hub.ErrWrongPassword):
		return newProblem(http.StatusUnauthorized, "unauthorized", "user or password is wrong")
	case errors.Is(err, hub.ErrNotSignedIn):
		return newProblem(http.StatusUnauthorized, "unauthorized", "the token is unknown or has expired: sign in again with POST /v1/login")
	case errors.Is(err, hub.ErrNoUser):
		return newProblem(http.StatusNotFound, string(hub.CodeUnknownUser), "there is no such user")
	case errors.Is(err, hub.ErrNoMessage):
		return newProblem(http.StatusNotFound, "not_found", "there is no such message, or it is somebody else's")
	case errors.Is(err, hub.ErrBadName), errors.Is(err, hub.ErrBadPassword):
		return badRequest("%v", err)
	case errors.Is(err, hub.ErrAway):
		p = newProblem(http.StatusServiceUnavailable, string(hub.CodeUnavailable), "the hub's database does not answer: try again")
		p.retry = time.Second
		return p
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = newProblem(http.StatusServiceUnavailable, string(hub.CodeUnavailable), "the hub did not answer in time: try again")
		p.retry = time.Second
		return p
	}
	return newProblem(http.StatusInternalServerError, "internal", "the hub could not do it; its log says why")
}

// writeError answers with a problem document.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.log.Error("request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	}
	header := w.Header()
	if p.retry > 0 {
		header.Set("Retry-After", strconv.Itoa(seconds(p.retry)))
	}
	if p.allow != "" {
		header.Set("Allow", p.allow)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="ringway"`)
	case http.StatusUpgradeRequired:
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "websocket")
	}
	header.Set("Content-Type", "application/problem+json")
	body, _ := json.Marshal(p)
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}

// seconds rounds up: who waits that long has waited enough.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
