package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringway-im/ringway/smsc/session"
)

// SMSC measures an edge's sessions with its SMSC, and knows their states.
type SMSC struct {
	smsc                              string
	state                             *prometheus.GaugeVec
	responses                         *prometheus.CounterVec
	took                              prometheus.Observer
	doubts                            *prometheus.CounterVec
	throttled                         prometheus.Counter
	retrying                          prometheus.Gauge
	finished, refused, receipts       *prometheus.CounterVec
	received, redelivered, incomplete prometheus.Counter

	mu       sync.Mutex
	sessions map[string]string
}

var _ session.Metrics = (*SMSC)(nil)

// NewSMSC returns the measurements of one SMSC.
func NewSMSC(r prometheus.Registerer, name string) *SMSC {
	times := []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}
	return &SMSC{
		smsc: name, sessions: map[string]string{},
		state:       gauge(r, "ringway_smsc_session_state", "1 for the state that the session is in.", "smsc", "session", "state"),
		responses:   counter(r, "ringway_smsc_responses_total", "Outcomes of submitted parts.", "smsc", "status"),
		took:        histogram(r, "ringway_smsc_submit_duration_seconds", "From submit to answer.", times, "smsc").WithLabelValues(name),
		doubts:      counter(r, "ringway_smsc_unknown_outcome_total", "Parts that were submitted and never answered, by what followed: resend or give_up.", "smsc", "policy"),
		throttled:   counter(r, "ringway_smsc_throttled_total", "Pauses that the SMSC asked for.", "smsc").WithLabelValues(name),
		retrying:    gauge(r, "ringway_smsc_retry_messages", "Messages whose recipient the SMSC refuses for now.", "smsc").WithLabelValues(name),
		finished:    counter(r, "ringway_smsc_results_total", "Results of messages for their senders, by state.", "smsc", "state"),
		received:    counter(r, "ringway_smsc_received_parts_total", "Parts of messages from handsets that are durable.", "smsc").WithLabelValues(name),
		redelivered: counter(r, "ringway_smsc_redelivered_total", "Identical redeliveries that were swallowed.", "smsc").WithLabelValues(name),
		refused:     counter(r, "ringway_smsc_refused_total", "What the SMSC has to keep because the edge is full.", "smsc", "what"),
		receipts:    counter(r, "ringway_dlr_total", "Delivery receipts: matched, parked (ahead of its response, or unknown), passing, forgotten.", "smsc", "fate"),
		incomplete:  counter(r, "ringway_smsc_incomplete_texts_total", "Texts passed on without their missing parts.", "smsc").WithLabelValues(name),
	}
}

// Sessions returns the state of each session.
func (m *SMSC) Sessions() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]string, len(m.sessions))
	for k, v := range m.sessions {
		all[k] = v
	}
	return all
}

// State implements session.Metrics, as do the methods that follow.
func (m *SMSC) State(name, state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.sessions[name]; ok {
		m.state.WithLabelValues(m.smsc, name, old).Set(0)
	}
	m.sessions[name] = state
	m.state.WithLabelValues(m.smsc, name, state).Set(1)
}

// Submitted counts an outcome.
func (m *SMSC) Submitted(_, fate string, took time.Duration) {
	m.responses.WithLabelValues(m.smsc, fate).Inc()
	if took > 0 {
		m.took.Observe(took.Seconds())
	}
}

// Doubt counts a submit without an answer.
func (m *SMSC) Doubt(_ string, again bool) {
	policy := "give_up"
	if again {
		policy = "resend"
	}
	m.doubts.WithLabelValues(m.smsc, policy).Inc()
}

// Throttled counts a pause.
func (m *SMSC) Throttled(string, time.Duration) { m.throttled.Inc() }

// Retrying sets the length of the retry queue.
func (m *SMSC) Retrying(n int) { m.retrying.Set(float64(n)) }

// Finished counts a result.
func (m *SMSC) Finished(state string) { m.finished.WithLabelValues(m.smsc, state).Inc() }

// Received counts parts from handsets.
func (m *SMSC) Received(parts int) { m.received.Add(float64(parts)) }

// Redelivered counts what came twice.
func (m *SMSC) Redelivered() { m.redelivered.Inc() }

// Refused counts what the SMSC has to keep.
func (m *SMSC) Refused(what string) { m.refused.WithLabelValues(m.smsc, what).Inc() }

// Receipt counts a receipt.
func (m *SMSC) Receipt(fate string) { m.receipts.WithLabelValues(m.smsc, fate).Inc() }

// Incomplete counts a text without some of its parts.
func (m *SMSC) Incomplete(int) { m.incomplete.Inc() }
