package web

import (
	"errors"
	"net/http"

	"github.com/ringway-im/ringway/nodes/hub"
)

// What an operator asks of a hub that runs.

func (s *Server) replaceEdge(w http.ResponseWriter, r *http.Request, _ caller) error {
	id := r.PathValue("id")
	switch err := s.hub.ReplaceEdge(id); {
	case errors.Is(err, hub.ErrNoEdge):
		return newProblem(http.StatusNotFound, "not_found", "no edge %q is configured at this hub", id)
	case errors.Is(err, hub.ErrElsewhere):
		return newProblem(http.StatusConflict, "elsewhere", "%v", err)
	case err != nil:
		return failed(err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "replaced"})
}

func (s *Server) backup(w http.ResponseWriter, r *http.Request, _ caller) error {
	var body struct {
		Dir string `json:"dir"`
	}
	if err := s.readJSON(w, r, &body); err != nil {
		return err
	}
	if err := s.hub.Backup(body.Dir); err != nil {
		return newProblem(http.StatusBadRequest, "bad_request", "%v", err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "done"})
}

// failed tells an operator why, unless it passes.
func failed(err error) error {
	if errors.Is(err, hub.ErrAway) {
		return err
	}
	return newProblem(http.StatusInternalServerError, "failed", "%v", err)
}

// drain answers when this hub has given all it had to the others.
func (s *Server) drain(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := s.hub.Drain(r.Context()); err != nil {
		return newProblem(http.StatusServiceUnavailable, "not_drained", "%v", err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "drained"})
}

func (s *Server) undrain(w http.ResponseWriter, _ *http.Request, _ caller) error {
	if err := s.hub.Undrain(); err != nil {
		return failed(err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "serving"})
}
