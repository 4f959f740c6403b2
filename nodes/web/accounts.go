package web

import (
	"net"
	"net/http"

	"github.com/ringway-im/ringway/nodes/hub"
)

func (s *Server) putUser(w http.ResponseWriter, r *http.Request, _ caller) error {
	var body struct {
		Password string `json:"password"`
	}
	if err := s.readJSON(w, r, &body); err != nil {
		return err
	}
	name := r.PathValue("name")
	created, err := s.hub.PutUser(r.Context(), name, body.Password)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return writeJSON(w, status, map[string]string{"user": name})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, _ caller) error {
	var body struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := s.readJSON(w, r, &body); err != nil {
		return err
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	token, expires, err := s.hub.Login(r.Context(), body.User, body.Password, address)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Token     string    `json:"token"`
		ExpiresAt timestamp `json:"expires_at"`
	}{token, timestamp(expires)})
}

func (s *Server) getPresence(w http.ResponseWriter, r *http.Request, _ caller) error {
	p, err := s.hub.Presence(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		User  string    `json:"user"`
		State string    `json:"state"`
		Since timestamp `json:"since,omitzero"`
	}{p.User, presenceState(p), timestamp(p.Since)})
}

func presenceState(p hub.Presence) string {
	if p.Online {
		return "online"
	}
	return "offline"
}
