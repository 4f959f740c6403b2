package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringway-im/ringway/messages"
)

// Directions of messages: to a handset, from a handset, from user to user of the hub.
const (
	Down  = "down"
	Up    = "up"
	Local = "local"
)

// passed counts messages by how far they have come. Each stage is counted at one end.
func passed(r prometheus.Registerer) *prometheus.CounterVec {
	return counter(r, "ringway_messages_total", "Messages that have reached a stage.", "edge", "direction", "stage")
}

// The stages at which a hub counts what becomes of a message, by final state.
var finals = map[messages.State]string{
	messages.State_DELIVERED: "delivered", messages.State_FAILED: "failed", messages.State_EXPIRED: "expired",
}

// Messages measures a hub's messages from acceptance to their end.
type Messages struct {
	passed *prometheus.CounterVec
	took   *prometheus.HistogramVec
}

// NewMessages returns the measurements of a hub with these edges.
func NewMessages(r prometheus.Registerer, edges []string) *Messages {
	m := &Messages{
		passed: passed(r),
		took: histogram(r, "ringway_message_end_to_end_seconds", "From acceptance to the final state.",
			[]float64{.01, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200, 86400, 259200}, "direction", "state"),
	}
	for _, state := range finals {
		for _, direction := range []string{Down, Up, Local} {
			if direction == Down || state == "delivered" {
				m.took.WithLabelValues(direction, state)
			}
		}
	}
	m.show("", Local, "accepted", "delivered")
	for _, edge := range edges {
		m.show(edge, Down, "accepted", "delivered", "failed", "expired")
		m.show(edge, Up, "delivered")
	}
	return m
}

func (m *Messages) show(edge, direction string, stages ...string) {
	for _, stage := range stages {
		m.passed.WithLabelValues(edge, direction, stage)
	}
}

// Accepted counts a message that is durable; edge "" is one from user to user.
func (m *Messages) Accepted(edge string) {
	direction := Down
	if edge == "" {
		direction = Local
	}
	m.passed.WithLabelValues(edge, direction, "accepted").Inc()
}

// Settled counts what became of a message for good; took is negative where it is not
// known.
func (m *Messages) Settled(edge string, toHandset bool, state messages.State, took time.Duration) {
	direction, name := Up, finals[state]
	switch {
	case edge == "":
		direction = Local
	case toHandset:
		direction = Down
	}
	if name == "" {
		name = strings.ToLower(state.String())
	}
	m.passed.WithLabelValues(edge, direction, name).Inc()
	if took >= 0 {
		m.took.WithLabelValues(direction, name).Observe(took.Seconds())
	}
}
