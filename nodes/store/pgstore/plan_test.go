package pgstore

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/tests/pgtest"
)

// Reads are planned without knowing the values, on tables that were empty when the
// server last looked: by key all the same.
func TestConversationsAreReadByTheirKey(t *testing.T) {
	s := open(t, Options{DSN: pgtest.Shared(t).Database(t)})
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{`SET plan_cache_mode = force_generic_plan`, `PREPARE conversations AS ` + selectConversations} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	rows, _ := conn.Query(t.Context(), `EXPLAIN EXECUTE conversations ('manila-1', '+639171234567', '', 200)`)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	plan := strings.Join(lines, "\n")
	if err != nil || !strings.Contains(plan, "conversations_pkey") || !strings.Contains(plan, "Index Cond: ((edge = $1) AND (handset = $2))") {
		t.Errorf("%v, planned as\n%s", err, plan)
	}
	t.Log(plan)
}
