package simulator

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/ringway-im/ringway/smsc/text"
)

// maxBody holds the longest text, 255 parts, also if each of its characters is
// escaped.
const maxBody = 1 << 20

// Handler serves the handsets' HTTP API.
//
//	POST /handsets/{number}/messages   {"to","text"}: the handset sends; 202
//	GET  /handsets/{number}/messages   [{"from","text","at","parts"}]; ?after=N leaves out the first N
//	PUT  /handsets/{number}            {"on":false,"refuses":false}
//	GET  /stats
//	PUT  /faults, GET /faults          {"latency":"1ms",...rates}: rates left out are 0, latency left out stays
//
// Errors are RFC 9457 problem documents.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (status int, body any, err error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			status, body, err := f(r)
			if err != nil {
				status = statusOf(err)
				w.Header().Set("Content-Type", "application/problem+json")
				body = problem{"about:blank", http.StatusText(status), status, err.Error()}
			} else if body != nil {
				w.Header().Set("Content-Type", "application/json")
			}
			w.WriteHeader(status)
			if body != nil {
				_ = json.MarshalWrite(w, body) // the client has gone
			}
		})
	}
	handle("POST /handsets/{number}/messages", s.postMessage)
	handle("GET /handsets/{number}/messages", s.getMessages)
	handle("PUT /handsets/{number}", s.putHandset)
	handle("GET /stats", func(*http.Request) (int, any, error) { return http.StatusOK, s.Stats(), nil })
	handle("PUT /faults", s.putFaults)
	handle("GET /faults", func(*http.Request) (int, any, error) { return http.StatusOK, s.faultsBody(), nil })
	return mux
}

type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrOff):
		return http.StatusConflict
	case errors.Is(err, text.ErrTooLong), errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	default:
		return http.StatusBadRequest
	}
}

func read[T any](r *http.Request) (body T, err error) {
	if err := json.UnmarshalRead(r.Body, &body, json.RejectUnknownMembers(true)); err != nil {
		if semantic := (*json.SemanticError)(nil); errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic) {
			return body, fmt.Errorf("simulator: the body: field %q is unknown: leave it out", semantic.JSONPointer.LastToken())
		}
		return body, fmt.Errorf("simulator: the body: %w", err)
	}
	return body, nil
}

func (s *Simulator) postMessage(r *http.Request) (int, any, error) {
	h, err := s.Handset(r.PathValue("number"))
	if err != nil {
		return 0, nil, err
	}
	body, err := read[struct {
		To   string  `json:"to"`
		Text *string `json:"text"`
	}](r)
	if err != nil {
		return 0, nil, err
	}
	if body.Text == nil {
		return 0, nil, errors.New(`simulator: "text" is missing`)
	}
	return http.StatusAccepted, nil, h.Send(body.To, *body.Text)
}

func (s *Simulator) getMessages(r *http.Request) (int, any, error) {
	h, err := s.Handset(r.PathValue("number"))
	if err != nil {
		return 0, nil, err
	}
	after := 0
	if given := r.URL.Query().Get("after"); given != "" {
		if after, err = strconv.Atoi(given); err != nil || after < 0 {
			return 0, nil, fmt.Errorf("simulator: after=%q: give how many messages to leave out, 0 or more", given)
		}
	}
	messages := h.Messages(after)
	if messages == nil {
		messages = []Message{}
	}
	return http.StatusOK, messages, nil
}

func (s *Simulator) putHandset(r *http.Request) (int, any, error) {
	h, err := s.Handset(r.PathValue("number"))
	if err != nil {
		return 0, nil, err
	}
	body, err := read[struct {
		On      *bool `json:"on"`
		Refuses *bool `json:"refuses"`
	}](r)
	if err != nil {
		return 0, nil, err
	}
	if body.On == nil && body.Refuses == nil {
		return 0, nil, errors.New(`simulator: give "on" or "refuses", true or false`)
	}
	if body.Refuses != nil {
		h.SetRefuses(*body.Refuses)
	}
	if body.On != nil {
		h.SetOn(*body.On)
	}
	return http.StatusNoContent, nil, nil
}

type faultsBody struct {
	Latency latency `json:"latency"`
	Faults  `json:",inline"`
}

// latency is "1ms" in JSON. A number is taken for milliseconds.
type latency time.Duration

// MarshalText writes a duration as Go does.
func (l latency) MarshalText() ([]byte, error) { return []byte(time.Duration(l).String()), nil }

// UnmarshalJSON reads both forms.
func (l *latency) UnmarshalJSON(octets []byte) error {
	d, err := time.ParseDuration(strings.Trim(string(octets), `"`))
	if n, bad := strconv.ParseFloat(string(octets), 64); bad == nil {
		d, err = time.Duration(n*float64(time.Millisecond)), nil
	}
	if err != nil {
		return fmt.Errorf(`%s is no duration: give "1ms", say`, octets)
	}
	*l = latency(d)
	return nil
}

func (s *Simulator) faultsBody() faultsBody { return faultsBody{latency(s.Latency()), s.Faults()} }

func (s *Simulator) putFaults(r *http.Request) (int, any, error) {
	body, err := read[struct {
		Latency *latency `json:"latency"`
		Faults  `json:",inline"`
	}](r)
	if err != nil {
		return 0, nil, err
	}
	to := s.Latency()
	if body.Latency != nil {
		to = time.Duration(*body.Latency)
	}
	if err := errors.Join(checkLatency(to), body.check()); err != nil {
		return 0, nil, err
	}
	err = errors.Join(s.SetLatency(to), s.SetFaults(body.Faults))
	return http.StatusOK, s.faultsBody(), err
}
