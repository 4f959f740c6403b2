package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migration is one numbered file. They only add: a hub of the version before works
// on beside one that has applied the next.
type migration struct {
	version int
	sql     string
}

func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("pgstore: migrations: %w", err)
	}
	var all []migration
	for i, name := range names { // in lexical order
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("pgstore: migration %s is number %d: give it that number", name, i+1)
		}
		sql, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("pgstore: migration %s: %w", name, err)
		}
		all = append(all, migration{version, string(sql)})
	}
	return all, nil
}

// migrate brings the tables to this version: one hub at a time, by the lock of a
// row. All of it is done or nothing.
//
// schema.oldest is the lowest version that can work with these tables: a migration
// that takes something away raises it, one release after nothing needs it any more.
func migrate(ctx context.Context, pool *pgxpool.Pool, all []migration) error {
	for try := 0; ; try++ {
		err := migrateOnce(ctx, pool, all)
		if err == nil || lasting(err) && !made(err) || try >= 20 || ctx.Err() != nil {
			return err
		}
		select { // two hubs may make the first table at once, and one is refused
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// made: another hub made the same at the same moment.
func made(err error) bool {
	switch code(err) {
	case "23505", "42710", "42P07":
		return true
	}
	return false
}

func migrateOnce(ctx context.Context, pool *pgxpool.Pool, all []migration) error {
	if _, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS schema (one integer PRIMARY KEY, version integer NOT NULL, oldest integer NOT NULL)`); err != nil {
		return fmt.Errorf("pgstore: making the first table: %w", err)
	}
	if _, err := pool.Exec(ctx, `INSERT INTO schema (one, version, oldest) VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING`); err != nil {
		return fmt.Errorf("pgstore: reading the version of the tables: %w", err)
	}
	known := len(all)
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var version, oldest int
		if err := tx.QueryRow(ctx, `SELECT version, oldest FROM schema WHERE one = 1 FOR UPDATE`).Scan(&version, &oldest); err != nil {
			return fmt.Errorf("pgstore: reading the version of the tables: %w", err)
		}
		if oldest > known {
			return fmt.Errorf("%w: they are version %d and need a hub that knows version %d, this one knows %d: start a newer one", ErrNewer, version, oldest, known)
		}
		for _, m := range all[min(version, known):] {
			if _, err := tx.Exec(ctx, m.sql); err != nil {
				return fmt.Errorf("pgstore: migration %d: %w", m.version, err)
			}
		}
		if version < known {
			if _, err := tx.Exec(ctx, `UPDATE schema SET version = $1 WHERE one = 1`, known); err != nil {
				return fmt.Errorf("pgstore: noting version %d: %w", known, err)
			}
		}
		return nil
	})
}

// ErrNewer: the tables were made by a later version with which this one cannot work.
var ErrNewer = errors.New("pgstore: these tables are too new")
