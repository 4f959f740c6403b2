package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringway-im/ringway/actors/link"
)

// The reasons of interruptions, as package link names them.
var reasons = []string{"broken", "moved", "protocol", "silent", "superseded"}

// Link measures one edge's link and rings at the end that sends the ring of a
// direction: a hub Down, an edge Up.
func Link(r prometheus.Registerer, edge, sends string) link.Metrics {
	other := Up
	if sends == Up {
		other = Down
	}
	rtt := []float64{.0005, .001, .005, .02, .05, .1, .2, .3, .4, .6, .8, 1.2, 2, 5}
	m := &linkMetrics{
		edge:       edge,
		up:         gauge(r, "ringway_link_up", "1 while the link streams.", "edge").WithLabelValues(edge),
		epoch:      gauge(r, "ringway_link_epoch", "Epoch under which the rings are owned.", "edge").WithLabelValues(edge),
		rtt:        histogram(r, "ringway_link_rtt_seconds", "Round trips of heartbeats.", rtt, "edge").WithLabelValues(edge),
		reconnects: counter(r, "ringway_link_reconnects_total", "Interruptions of the link, by reason.", "edge", "reason"),
		resync:     histogram(r, "ringway_link_resync_duration_seconds", "From the first stripe's TLS to the last missing message on disk here.", rtt, "edge").WithLabelValues(edge),
		resent:     counter(r, "ringway_link_resent_frames_total", "Data, one message each, put on the link again.", "edge").WithLabelValues(edge),
		duplicates: counter(r, "ringway_link_duplicate_frames_total", "Data, one message each, that came again and were recognised.", "edge").WithLabelValues(edge),
		gaps:       counter(r, "ringway_link_gap_total", "Messages missing for too long and asked for again: alert above 0.", "edge").WithLabelValues(edge),
		full:       counter(r, "ringway_ring_full_total", "Times that a message found no free slot.", "edge", "direction"),
		slots:      gauge(r, "ringway_ring_slots", "Slots by state.", "edge", "direction", "state"),
		waiting:    gauge(r, "ringway_ring_queue_messages", "Messages waiting behind the ring.", "edge", "direction"),
		oldest: gauge(r, "ringway_ring_oldest_unconfirmed_seconds",
			"How long the oldest message that the other end has not confirmed is in the ring, since the process began at most; 0: there is none.", "edge", "direction").WithLabelValues(edge, sends),
	}
	for _, reason := range reasons {
		m.reconnects.WithLabelValues(edge, reason)
	}
	m.full.WithLabelValues(edge, sends)
	stages := passed(r)
	for stage, name := range link.Stages {
		direction := sends
		if link.Stage(stage) >= link.StageReceived {
			direction = other
		}
		m.stages[stage] = stages.WithLabelValues(edge, direction, name)
	}
	return m
}

type linkMetrics struct {
	edge                     string
	up, epoch                prometheus.Gauge
	rtt, resync              prometheus.Observer
	resent, duplicates, gaps prometheus.Counter
	reconnects, full         *prometheus.CounterVec
	slots, waiting           *prometheus.GaugeVec
	oldest                   prometheus.Gauge
	stages                   [len(link.Stages)]prometheus.Counter
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

func (m *linkMetrics) Unconfirmed(_ string, oldest time.Duration) { m.oldest.Set(oldest.Seconds()) }

func (m *linkMetrics) Passed(stage link.Stage, n int) { m.stages[stage].Add(float64(n)) }
