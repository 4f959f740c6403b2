package pgstore

import (
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/store/conformance"
	"github.com/ringway-im/ringway/tests/pgtest"
)

func TestLeasesConform(t *testing.T) {
	server := pgtest.Shared(t)
	conformance.RunLeases(t, func(t *testing.T) (journal.Leases, func(time.Duration)) {
		s := open(t, Options{DSN: server.Database(t), Node: "a"})
		return s, func(d time.Duration) { // the database's clock is everybody's
			_, err := s.pool.Exec(t.Context(), `UPDATE leases SET until = until - $1 * interval '1 microsecond'`, d.Microseconds())
			must(t, err)
		}
	})
}
