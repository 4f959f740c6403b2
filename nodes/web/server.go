// Package web serves a hub over HTTP and WebSocket, as docs/openapi.yaml
// describes it.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/docs"
	"github.com/ringway-im/ringway/nodes/hub"
)

// Config of a Server; the zero value serves.
type Config struct {
	// Origins are further origins whose pages may open streams, as
	// https://chat.example.com; the server's own always may.
	Origins    []string
	Gatherer   prometheus.Gatherer   // what /metrics shows; nil: there is no /metrics
	Registerer prometheus.Registerer // takes the server's own metrics; nil: none
	Console    http.Handler          // takes every path that the API has not; nil: 404
	Log        *zap.Logger           // nil: none
	PingEvery  time.Duration         // of an open stream, whose login is looked at too; 0: 20 s
}

// Server is the HTTP API of one hub.
type Server struct {
	hub      *hub.Hub
	cfg      Config
	log      *zap.Logger
	mux      *http.ServeMux
	requests *prometheus.CounterVec
	streams  prometheus.Gauge
	slow     prometheus.Counter

	mu      sync.Mutex
	closing chan struct{}  // closed under mu when streams must end
	open    sync.WaitGroup // grows under mu, not after closing
}

// New makes the API of a hub.
func New(h *hub.Hub, cfg Config) (*Server, error) {
	s := &Server{
		hub: h, cfg: cfg, log: cfg.Log, mux: http.NewServeMux(), closing: make(chan struct{}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "ringway", Subsystem: "http", Name: "requests_total", Help: "HTTP requests by route and status.",
		}, []string{"route", "method", "status"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "ringway", Subsystem: "hub", Name: "streams", Help: "Open WebSocket streams.",
		}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ringway", Subsystem: "hub", Name: "slow_streams_total", Help: "Streams dropped because the client did not read.",
		}),
	}
	if s.cfg.PingEvery == 0 {
		s.cfg.PingEvery = 20 * time.Second
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if cfg.Registerer != nil {
		for _, c := range []prometheus.Collector{s.requests, s.streams, s.slow} {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("web: metrics: %w", err)
			}
		}
	}
	for path, methods := range s.routes() {
		s.mux.HandleFunc(path, s.dispatch(path, methods))
	}
	if cfg.Gatherer != nil {
		s.mux.Handle("/metrics", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{}))
	}
	s.mux.HandleFunc("/v1/", s.nothingHere)
	if cfg.Console != nil {
		s.mux.Handle("/", cfg.Console)
	} else {
		s.mux.HandleFunc("/", s.nothingHere)
	}
	return s, nil
}

func (s *Server) nothingHere(w http.ResponseWriter, r *http.Request) {
	s.writeError(w, r, newProblem(http.StatusNotFound, "not_found", "there is no %s; the API is described at /openapi.yaml", r.URL.Path))
}

// call is one method of one path.
type call struct {
	who    access
	handle func(w http.ResponseWriter, r *http.Request, c caller) error
}

// access says who may call.
type access uint8

const (
	anybody access = iota
	users
	admin
	usersAndAdmin
)

// caller is who calls: a user, or the administrator.
type caller struct {
	user  string // "" for the administrator
	token string
}

func (s *Server) routes() map[string]map[string]call {
	return map[string]map[string]call{
		"/v1/users/{name}":             {"PUT": {admin, s.putUser}},
		"/v1/login":                    {"POST": {anybody, s.login}},
		"/v1/messages":                 {"POST": {users, s.postMessage}, "GET": {users, s.listMessages}},
		"/v1/messages/{id}":            {"GET": {usersAndAdmin, s.getMessage}},
		"/v1/messages/{id}/received":   {"POST": {users, s.postReceived}},
		"/v1/presence/{name}":          {"GET": {usersAndAdmin, s.getPresence}},
		"/v1/stream":                   {"GET": {users, s.stream}},
		"/v1/rings":                    {"GET": {admin, s.getRings}},
		"/v1/rings/{edge}/{direction}": {"GET": {admin, s.getRing}},
		"/v1/admin/edges/{id}/replace": {"POST": {admin, s.replaceEdge}},
		"/v1/admin/backup":             {"POST": {admin, s.backup}},
		"/v1/admin/drain":              {"POST": {admin, s.drain}, "DELETE": {admin, s.undrain}},
		"/healthz":                     {"GET": {anybody, s.alive}},
		"/livez":                       {"GET": {anybody, s.alive}},
		"/readyz":                      {"GET": {anybody, s.ready}},
		"/openapi.yaml":                {"GET": {anybody, s.openAPI}},
	}
}

func (s *Server) dispatch(path string, methods map[string]call) http.HandlerFunc {
	var allowed []string
	for method := range methods {
		allowed = append(allowed, method)
		if method == "GET" {
			allowed = append(allowed, "HEAD")
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		recorder := &recorder{ResponseWriter: w, status: http.StatusOK}
		var err error
		if call, ok := methods[method]; !ok {
			p := newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "%s is not allowed here: use %s", r.Method, allow)
			p.allow = allow
			err = p
		} else if c, denied := s.authorise(r, call.who); denied != nil {
			err = denied
		} else {
			err = call.handle(recorder, r, c)
		}
		if err != nil && !errors.Is(err, errGone) {
			s.writeError(recorder, r, err)
		}
		if _, known := methods[method]; !known {
			method = "other" // a label must not be the client's to choose
		}
		s.requests.WithLabelValues(path, method, fmt.Sprint(recorder.status)).Inc()
	}
}

// recorder notes the status for the metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the WebSocket library find the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// tokenProtocol before a token makes it a WebSocket subprotocol: browsers can
// set no header there. Tokens are never part of a URL, which logs keep.
const tokenProtocol = "ringway.token."

func token(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for protocol := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(protocol), tokenProtocol); ok {
				return token
			}
		}
	}
	return ""
}

func (s *Server) authorise(r *http.Request, who access) (caller, error) {
	if who == anybody {
		return caller{}, nil
	}
	token := token(r)
	if token == "" {
		return caller{}, newProblem(http.StatusUnauthorized, "unauthorized", "give a token: Authorization: Bearer TOKEN")
	}
	if s.hub.IsAdmin(token) {
		if who == users {
			return caller{}, newProblem(http.StatusForbidden, "forbidden", "the administrator is no user: sign in as one")
		}
		return caller{token: token}, nil
	}
	user, err := s.hub.Authenticate(token)
	if err != nil {
		return caller{}, err
	}
	if who == admin {
		return caller{}, newProblem(http.StatusForbidden, "forbidden", "this needs the administrator's token")
	}
	return caller{user: user, token: token}, nil
}

// Handler is the API as a handler, for a server of the caller's. CloseStreams
// ends its streams.
func (s *Server) Handler() http.Handler { return s.mux }

// CloseStreams ends all streams with status 1001 and waits until they are gone
// or ctx is done. New ones are refused. Call it once.
func (s *Server) CloseStreams(ctx context.Context) error {
	s.mu.Lock()
	close(s.closing)
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() { s.open.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("web: streams are still open: %w", ctx.Err())
	}
}

// Serve answers on a listener until ctx is done, then lets requests finish,
// ends the streams and returns nil; it takes 8 s at most. The hub must outlive it.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(s.log),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("web: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	requests := make(chan error, 1)
	go func() { requests <- server.Shutdown(limit) }()
	return errors.Join(s.CloseStreams(limit), <-requests)
}

// enter counts a stream unless they are ending; open.Done takes it back.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		return false
	default:
		s.open.Add(1)
		return true
	}
}

func (s *Server) alive(w http.ResponseWriter, _ *http.Request, _ caller) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request, _ caller) error {
	err := s.hub.Ready()
	if err == nil {
		return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	}
	p := newProblem(http.StatusServiceUnavailable, "not_ready", "see reasons")
	p.Reasons = strings.Split(err.Error(), "\n")
	p.retry = time.Second
	return p
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request, _ caller) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(docs.OpenAPI)
	return nil
}
