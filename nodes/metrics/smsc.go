package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/session"
)

// SMSC measures an edge's sessions with its SMSC, and knows their states.
type SMSC struct {
	smsc, protocol                    string
	state                             *prometheus.GaugeVec
	responses                         *prometheus.CounterVec
	took                              prometheus.Observer
	doubts                            *prometheus.CounterVec
	throttled                         prometheus.Counter
	retrying, inflight                prometheus.Gauge
	finished, refused, receipts       *prometheus.CounterVec
	received, redelivered, incomplete prometheus.Counter
	undefined                         *prometheus.CounterVec
	unmatched, accepted               prometheus.Counter
	latency                           prometheus.Observer
	last                              atomic.Pointer[response]

	mu       sync.Mutex
	sessions map[string]string
}

// response is a counter of ringway_smsc_responses_total: nearly all are of the same.
type response struct {
	fate   smsc.Fate
	status string
	count  prometheus.Counter
}

var _ session.Metrics = (*SMSC)(nil)

// NewSMSC returns the measurements of one SMSC, beside which the edge stands.
func NewSMSC(r prometheus.Registerer, edge, name, protocol string) *SMSC {
	times := []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}
	m := &SMSC{
		smsc: name, protocol: protocol, sessions: map[string]string{},
		state: gauge(r, "ringway_smsc_session_state", "1 for the state that the session is in.", "smsc", "protocol", "session", "state"),
		responses: counter(r, "ringway_smsc_responses_total",
			"Outcomes of submitted parts, by the SMSC's status (none: it did not answer, or was not asked) and what it was taken for.", "smsc", "status", "fate"),
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
		inflight:    gauge(r, "ringway_smsc_inflight", "Parts that are submitted and not answered, on all sessions.", "smsc").WithLabelValues(name),
		undefined:   counter(r, "ringway_smsc_undefined_codes_total", "Answers whose code the protocol does not define, or leaves to the vendor: ask the operator, set smsc.quirks.fates.", "smsc", "class"),
		unmatched:   counter(r, "ringway_dlr_unmatched_total", "Receipts of no message that was known when they came; one that is ahead of the response is matched later.", "smsc").WithLabelValues(name),
		latency: histogram(r, "ringway_dlr_latency_seconds", "From the SMSC's acceptance of a part to its receipt.",
			[]float64{.01, .1, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200, 86400, 259200}, "smsc").WithLabelValues(name),
		accepted: passed(r).WithLabelValues(edge, Up, "accepted"),
	}
	m.responses.WithLabelValues(name, "none", smsc.Unknown.String())
	for _, policy := range []string{"resend", "give_up"} {
		m.doubts.WithLabelValues(name, policy)
	}
	for _, class := range []smsc.CodeClass{smsc.CodeVendor, smsc.CodeUndefined} {
		m.undefined.WithLabelValues(name, class.String())
	}
	for _, fate := range []string{"matched", "parked", "passing", "forgotten"} {
		m.receipts.WithLabelValues(name, fate)
	}
	for _, what := range []string{"message", "receipt"} {
		m.refused.WithLabelValues(name, what)
	}
	for _, state := range []string{"processed", "unknown", "failed", "expired"} {
		m.finished.WithLabelValues(name, state)
	}
	return m
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
		m.state.WithLabelValues(m.smsc, m.protocol, name, old).Set(0)
	}
	m.sessions[name] = state
	m.state.WithLabelValues(m.smsc, m.protocol, name, state).Set(1)
}

// Submitted counts an outcome.
func (m *SMSC) Submitted(_ string, fate smsc.Fate, status string, took time.Duration) {
	last := m.last.Load()
	if last == nil || last.fate != fate || last.status != status {
		word := status
		if word == "" {
			word = "none"
		}
		last = &response{fate, status, m.responses.WithLabelValues(m.smsc, word, fate.String())}
		m.last.Store(last)
	}
	last.count.Inc()
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

// InFlight sets how many parts wait for the SMSC's answer.
func (m *SMSC) InFlight(parts int) { m.inflight.Set(float64(parts)) }

// Undefined counts an answer that the protocol does not define.
func (m *SMSC) Undefined(class smsc.CodeClass) {
	m.undefined.WithLabelValues(m.smsc, class.String()).Inc()
}

// Throttled counts a pause.
func (m *SMSC) Throttled(string, time.Duration) { m.throttled.Inc() }

// Retrying sets the length of the retry queue.
func (m *SMSC) Retrying(n int) { m.retrying.Set(float64(n)) }

// Finished counts a result.
func (m *SMSC) Finished(state string) { m.finished.WithLabelValues(m.smsc, state).Inc() }

// Received counts messages from handsets, and their parts.
func (m *SMSC) Received(messages, parts int) {
	m.accepted.Add(float64(messages))
	m.received.Add(float64(parts))
}

// Redelivered counts what came twice.
func (m *SMSC) Redelivered() { m.redelivered.Inc() }

// Refused counts what the SMSC has to keep.
func (m *SMSC) Refused(what string) { m.refused.WithLabelValues(m.smsc, what).Inc() }

// Receipt counts a receipt.
func (m *SMSC) Receipt(fate string) {
	if fate == "parked" {
		m.unmatched.Inc()
	}
	m.receipts.WithLabelValues(m.smsc, fate).Inc()
}

// ReceiptMatched observes how long a receipt took.
func (m *SMSC) ReceiptMatched(after time.Duration) { m.latency.Observe(after.Seconds()) }

// Incomplete counts a text without some of its parts.
func (m *SMSC) Incomplete(int) { m.incomplete.Inc() }
