// Package metrics gives the actors' measurements their Prometheus names. Each
// family is registered once per registerer; two nodes in one process share it
// under different labels. What there is shows from the start, at 0: a rule must not
// take a name that is missing for one that never happened. docs/metrics.md lists all.
package metrics

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
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

// Sampled is a gauge whose values are asked for when somebody looks, and cost nothing
// until then.
type Sampled struct {
	desc   *prometheus.Desc
	labels int

	mu      sync.Mutex
	sources map[*source]struct{}
}

// source is where one value comes from.
type source struct {
	value  func() float64
	labels []string
}

// NewSampled returns the gauge of that name, which several may add to.
func NewSampled(r prometheus.Registerer, name, help string, labels ...string) *Sampled {
	return register(r, &Sampled{desc: prometheus.NewDesc(name, help, labels, nil), labels: len(labels), sources: map[*source]struct{}{}})
}

// Add has value asked, by any goroutine: it must not block. A negative one means that
// it is not known now, and is left out. remove ends it.
func (s *Sampled) Add(value func() float64, labels ...string) (remove func()) {
	from := &source{value, labels}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[from] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sources, from)
	}
}

// Describe implements prometheus.Collector.
func (s *Sampled) Describe(to chan<- *prometheus.Desc) { to <- s.desc }

// Collect implements prometheus.Collector.
func (s *Sampled) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	sources := make([]*source, 0, len(s.sources))
	for from := range s.sources {
		sources = append(sources, from)
	}
	s.mu.Unlock()
	seen := map[string]bool{} // an actor that is just being replaced
	for _, from := range sources {
		key := ""
		for _, l := range from.labels {
			key += l + "\x00"
		}
		if v := from.value(); v >= 0 && !seen[key] {
			seen[key] = true
			to <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, v, from.labels...)
		}
	}
}
