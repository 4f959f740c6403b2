package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store measures one store's disk or database.
type Store struct {
	fsync   prometheus.Observer
	corrupt prometheus.Counter
}

// NewStore returns the measurements of a store: "hub", "edge/manila-1", "postgres".
func NewStore(r prometheus.Registerer, store string) *Store {
	times := []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5}
	return &Store{
		fsync:   histogram(r, "ringway_store_fsync_seconds", "To write a group of commits and sync it; of PostgreSQL its transaction.", times, "store").WithLabelValues(store),
		corrupt: counter(r, "ringway_store_corrupt_records_total", "Damaged records, tables or files that were met: alert above 0.", "store").WithLabelValues(store),
	}
}

// Synced observes a group of commits.
func (s *Store) Synced(took time.Duration) { s.fsync.Observe(took.Seconds()) }

// Corrupt counts a damaged record.
func (s *Store) Corrupt() { s.corrupt.Inc() }
