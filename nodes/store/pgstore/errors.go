package pgstore

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ringway-im/ringway/actors/journal"
)

// refusal: an answer, decided before anything was written.
func refusal(err error) bool {
	for _, e := range []error{journal.ErrFenced, journal.ErrFull, journal.ErrNoUser, journal.ErrRefConflict, journal.ErrNoLease, errBadCall, errStored} {
		if errors.Is(err, e) {
			return true
		}
	}
	return owned(err)
}

// lasting: the same will fail again, and not for want of a database. By the classes
// of PostgreSQL's manual, appendix A: what is not listed passes, with a connection,
// a server that starts or shuts down, a primary that became a standby, a full disk,
// a lock that was not had in time.
func lasting(err error) bool {
	if err == nil {
		return false
	}
	if refusal(err) || errors.Is(err, ErrNewer) || errors.Is(err, errShort) {
		return true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return false
	}
	switch pg.Code[:2] {
	case "0A", "21", "22", "23", "42": // not supported, cardinality, data, constraint, syntax or access
		return true
	}
	return false
}

// contended: two transactions were in each other's way; at once again.
func contended(err error) bool {
	switch code(err) {
	case "40001", "40P01", "55P03", "23505": // the last: both wrote the same ref; one will find the other's
		return true
	}
	return false
}

func code(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return ""
	}
	return pg.Code
}

// errStored: what is stored does not fit together.
var errStored = errors.New("pgstore: stored data is damaged")

// backoff is how long to wait after the given number of failures: up to half a second.
func backoff(failures int) time.Duration {
	most := min(500*time.Millisecond, 10*time.Millisecond<<min(failures, 6))
	return most/2 + rand.N(most/2)
}
