package demo

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// total reads a counter with one label.
func total(from prometheus.Gatherer, name, label string) (uint64, error) {
	families, err := from.Gather()
	if err != nil {
		return 0, fmt.Errorf("demo: metrics: %w", err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); len(labels) == 1 && labels[0].GetValue() == label {
				return uint64(m.GetCounter().GetValue()), nil
			}
		}
	}
	return 0, nil // nothing was counted yet
}

// resyncs reads how many resynchronisations one end has seen, and how long they took together.
func resyncs(from prometheus.Gatherer) (n uint64, took time.Duration, err error) {
	families, err := from.Gather()
	if err != nil {
		return 0, 0, fmt.Errorf("demo: metrics: %w", err)
	}
	for _, f := range families {
		if f.GetName() == "ringway_link_resync_duration_seconds" {
			for _, m := range f.GetMetric() {
				n += m.GetHistogram().GetSampleCount()
				took += time.Duration(m.GetHistogram().GetSampleSum() * float64(time.Second))
			}
		}
	}
	return n, took, nil
}
