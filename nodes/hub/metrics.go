package hub

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
)

type metrics struct {
	acceptedTotal *prometheus.CounterVec
	refusedTotal  *prometheus.CounterVec
	loginsTotal   *prometheus.CounterVec
	routedTotal   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ringway", Subsystem: "hub", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		acceptedTotal: counter("messages_accepted_total", "Messages accepted durably, by where they go: an edge's id, or user.", "to"),
		refusedTotal:  counter("messages_refused_total", "Submissions refused, by code.", "code"),
		loginsTotal:   counter("logins_total", "Logins: ok, wrong or limited.", "result"),
		routedTotal:   counter("handset_texts_total", "Texts from handsets: delivered, kept (nobody was named) or asked (kept, and the handset was asked).", "result"),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.acceptedTotal, m.refusedTotal, m.loginsTotal, m.routedTotal} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("hub: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) accept(s journal.Submission, a journal.Accepted) {
	switch {
	case a.Again:
	case s.Edge == "":
		m.acceptedTotal.WithLabelValues("user").Inc()
	default:
		m.acceptedTotal.WithLabelValues(s.Edge).Inc()
	}
}

func (m *metrics) refused(err error) {
	code := CodeUnavailable
	if r := new(Refusal); errors.As(err, &r) {
		code = r.Code
	}
	m.refusedTotal.WithLabelValues(string(code)).Inc()
}

func (m *metrics) login(result string) { m.loginsTotal.WithLabelValues(result).Inc() }

func (m *metrics) routed(r hubactors.Route) {
	switch {
	case r.Ask:
		m.routedTotal.WithLabelValues("asked").Inc()
	case r.User == "":
		m.routedTotal.WithLabelValues("kept").Inc()
	default:
		m.routedTotal.WithLabelValues("delivered").Inc()
	}
}
