package simulator

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ringway-im/ringway/smsc/text"
)

// maxBody holds the longest text, 255 parts, also if each of its characters is
// escaped.
const maxBody = 1 << 20

// Handler serves the handsets' HTTP API.
//
//	POST   /handsets/{number}/messages   {"to","text"}: the handset sends; 202
//	GET    /handsets/{number}/messages   [{"from","text","at","parts"}]; ?after=N leaves out the first N
//	PUT    /handsets/{number}            {"on","refuses","busy","barred"}
//	POST   /handsets/{number}/alert      alert_notification to the SMPP sessions; 202
//	GET    /stats, DELETE /stats         DELETE: count anew
//	GET    /sessions, DELETE /sessions   DELETE: close them; ?politely=true: unbind or log out first
//	POST   /outbind                      {"address","user","password"}: dial an ESME and ask it to bind; 202
//	GET    /faults, PUT, DELETE          {"latency":"1ms",...}: what is left out stays; DELETE: no faults
//	GET    /receipts, PUT, DELETE        the same for how receipts look
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
				_ = json.MarshalWrite(w, body, durations) // the client has gone
			}
		})
	}
	handle("POST /handsets/{number}/messages", s.postMessage)
	handle("GET /handsets/{number}/messages", s.getMessages)
	handle("PUT /handsets/{number}", s.putHandset)
	handle("POST /handsets/{number}/alert", s.postAlert)
	handle("GET /stats", func(*http.Request) (int, any, error) { return http.StatusOK, s.Stats(), nil })
	handle("DELETE /stats", func(*http.Request) (int, any, error) {
		s.ResetStats()
		return http.StatusNoContent, nil, nil
	})
	handle("GET /sessions", func(*http.Request) (int, any, error) { return http.StatusOK, s.Sessions(), nil })
	handle("DELETE /sessions", s.deleteSessions)
	handle("POST /outbind", s.postOutbind)
	handle("GET /faults", func(*http.Request) (int, any, error) { return http.StatusOK, s.faultsBody(), nil })
	handle("PUT /faults", s.putFaults)
	handle("DELETE /faults", func(*http.Request) (int, any, error) {
		return http.StatusNoContent, nil, s.SetFaults(Faults{})
	})
	handle("GET /receipts", func(*http.Request) (int, any, error) { return http.StatusOK, s.Receipts(), nil })
	handle("PUT /receipts", s.putReceipts)
	handle("DELETE /receipts", func(*http.Request) (int, any, error) {
		return http.StatusNoContent, nil, s.SetReceipts(Receipts{})
	})
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

// read reads a body into what is there already.
func read(r *http.Request, into any) error {
	octets, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("simulator: the body: %w", err)
	}
	if err := decode(octets, into); err != nil {
		return fmt.Errorf("simulator: the body: %w", err)
	}
	return nil
}

func decode(octets []byte, into any) error {
	err := json.Unmarshal(octets, into, json.RejectUnknownMembers(true), durations)
	if semantic := (*json.SemanticError)(nil); errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic) {
		return fmt.Errorf("field %q is unknown: leave it out", semantic.JSONPointer.LastToken())
	}
	return err
}

// ParseFaults reads what PUT /faults does, but for the latency.
func ParseFaults(body string) (f Faults, err error) {
	if err := decode([]byte(body), &f); err != nil {
		return f, fmt.Errorf("simulator: %w", err)
	}
	return f, f.check()
}

// ParseReceipts reads what PUT /receipts does.
func ParseReceipts(body string) (r Receipts, err error) {
	if err := decode([]byte(body), &r); err != nil {
		return r, fmt.Errorf("simulator: %w", err)
	}
	return r, r.check()
}

// durations are "1ms" in JSON. A number is taken for milliseconds.
var durations = json.JoinOptions(
	json.WithMarshalers(json.MarshalToFunc(func(to *jsontext.Encoder, d time.Duration) error {
		return to.WriteToken(jsontext.String(d.String()))
	})),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(from *jsontext.Decoder, d *time.Duration) error {
		value, err := from.ReadValue()
		if err != nil {
			return err
		}
		if n, bad := strconv.ParseFloat(string(value), 64); bad == nil {
			*d = time.Duration(n * float64(time.Millisecond))
			return nil
		}
		if *d, err = time.ParseDuration(strings.Trim(string(value), `"`)); err != nil {
			return fmt.Errorf(`%s is no duration: give "1ms", say`, value)
		}
		return nil
	})),
)

func (s *Simulator) postMessage(r *http.Request) (int, any, error) {
	h, err := s.Handset(r.PathValue("number"))
	if err != nil {
		return 0, nil, err
	}
	var body struct {
		To   string  `json:"to"`
		Text *string `json:"text"`
	}
	if err := read(r, &body); err != nil {
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
	var body struct {
		On      *bool `json:"on"`
		Refuses *bool `json:"refuses"`
		Busy    *bool `json:"busy"`
		Barred  *bool `json:"barred"`
	}
	if err := read(r, &body); err != nil {
		return 0, nil, err
	}
	said := false
	for _, switches := range []struct {
		to  *bool
		set func(bool)
	}{{body.Refuses, h.SetRefuses}, {body.Busy, h.SetBusy}, {body.Barred, h.SetBarred}, {body.On, h.SetOn}} {
		if switches.to != nil {
			switches.set(*switches.to)
			said = true
		}
	}
	if !said {
		return 0, nil, errors.New(`simulator: give "on", "refuses", "busy" or "barred", true or false`)
	}
	return http.StatusNoContent, nil, nil
}

func (s *Simulator) postAlert(r *http.Request) (int, any, error) {
	h, err := s.Handset(r.PathValue("number"))
	if err != nil {
		return 0, nil, err
	}
	h.Alert()
	return http.StatusAccepted, nil, nil
}

func (s *Simulator) deleteSessions(r *http.Request) (int, any, error) {
	switch politely := r.URL.Query().Get("politely"); politely {
	case "", "false", "true":
		s.EndSessions(politely == "true")
		return http.StatusAccepted, nil, nil
	default:
		return 0, nil, fmt.Errorf("simulator: politely=%q: give true or false", politely)
	}
}

func (s *Simulator) postOutbind(r *http.Request) (int, any, error) {
	var body struct {
		Address  string `json:"address"`
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := read(r, &body); err != nil {
		return 0, nil, err
	}
	return http.StatusAccepted, nil, s.Outbind(r.Context(), body.Address, body.User, body.Password)
}

type faultsBody struct {
	Latency time.Duration `json:"latency"`
	Faults  `json:",inline"`
}

func (s *Simulator) faultsBody() faultsBody { return faultsBody{s.Latency(), s.Faults()} }

func (s *Simulator) putFaults(r *http.Request) (int, any, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	body := s.faultsBody()
	if err := read(r, &body); err != nil {
		return 0, nil, err
	}
	if err := errors.Join(checkTime("latency", body.Latency), body.check()); err != nil {
		return 0, nil, err
	}
	err := errors.Join(s.SetLatency(body.Latency), s.SetFaults(body.Faults))
	return http.StatusOK, s.faultsBody(), err
}

func (s *Simulator) putReceipts(r *http.Request) (int, any, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	body := s.Receipts()
	body.Omit = slices.Clone(body.Omit)
	if err := read(r, &body); err != nil {
		return 0, nil, err
	}
	if err := s.SetReceipts(body); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.Receipts(), nil
}
