// Package metrics gives the actors' measurements their Prometheus names. Each
// family is registered once per registerer; two nodes in one process share it
// under different edge labels.
package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringway-im/ringway/actors/link"
)

// register adds a collector, or returns the one that is there already.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	var there prometheus.AlreadyRegisteredError
	if err := r.Register(c); errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	return c
}

func counter(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func gauge(r prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	return register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

func histogram(r prometheus.Registerer, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
}

// Link measures one edge's link and rings at this end.
func Link(r prometheus.Registerer, edge string) link.Metrics {
	rtt := []float64{.0005, .001, .005, .02, .05, .1, .2, .3, .4, .6, .8, 1.2, 2, 5}
	return &linkMetrics{
		edge:       edge,
		up:         gauge(r, "ringway_link_up", "1 while the link streams.", "edge").WithLabelValues(edge),
		epoch:      gauge(r, "ringway_link_epoch", "Epoch under which the rings are owned.", "edge").WithLabelValues(edge),
		rtt:        histogram(r, "ringway_link_rtt_seconds", "Round trips of heartbeats.", rtt, "edge").WithLabelValues(edge),
		reconnects: counter(r, "ringway_link_reconnects_total", "Interruptions of the link, by reason.", "edge", "reason"),
		resync:     histogram(r, "ringway_link_resync_duration_seconds", "From the first stripe's TLS to the last missing message on disk here.", rtt, "edge").WithLabelValues(edge),
		resent:     counter(r, "ringway_link_resent_messages_total", "Messages put on the link again.", "edge").WithLabelValues(edge),
		duplicates: counter(r, "ringway_link_duplicate_messages_total", "Messages that came again and were recognised.", "edge").WithLabelValues(edge),
		gaps:       counter(r, "ringway_link_gap_total", "Messages missing for too long and asked for again: alert above 0.", "edge").WithLabelValues(edge),
		full:       counter(r, "ringway_ring_full_total", "Times that a message found no free slot.", "edge", "direction"),
		slots:      gauge(r, "ringway_ring_slots", "Slots by state.", "edge", "direction", "state"),
		waiting:    gauge(r, "ringway_ring_queue_messages", "Messages waiting behind the ring.", "edge", "direction"),
	}
}

type linkMetrics struct {
	edge                     string
	up, epoch                prometheus.Gauge
	rtt, resync              prometheus.Observer
	resent, duplicates, gaps prometheus.Counter
	reconnects, full         *prometheus.CounterVec
	slots, waiting           *prometheus.GaugeVec
}

func (m *linkMetrics) Up(up bool) {
	if up {
		m.up.Set(1)
	} else {
		m.up.Set(0)
	}
}
func (m *linkMetrics) Epoch(n uint64)                    { m.epoch.Set(float64(n)) }
func (m *linkMetrics) RTT(d time.Duration)               { m.rtt.Observe(d.Seconds()) }
func (m *linkMetrics) Reconnected(reason string)         { m.reconnects.WithLabelValues(m.edge, reason).Inc() }
func (m *linkMetrics) Resynchronised(took time.Duration) { m.resync.Observe(took.Seconds()) }
func (m *linkMetrics) Resent(n int)                      { m.resent.Add(float64(n)) }
func (m *linkMetrics) Duplicate(n int)                   { m.duplicates.Add(float64(n)) }
func (m *linkMetrics) Gap()                              { m.gaps.Inc() }
func (m *linkMetrics) RingFull(direction string)         { m.full.WithLabelValues(m.edge, direction).Inc() }

func (m *linkMetrics) Slots(direction string, free, retrieved, sent, confirmed, processed int) {
	for state, n := range map[string]int{"free": free, "retrieved": retrieved, "sent": sent, "confirmed": confirmed, "processed": processed} {
		m.slots.WithLabelValues(m.edge, direction, state).Set(float64(n))
	}
}

func (m *linkMetrics) Waiting(direction string, n int) {
	m.waiting.WithLabelValues(m.edge, direction).Set(float64(n))
}
