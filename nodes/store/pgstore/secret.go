package pgstore

import (
	"context"
)

// Secret returns what stands under name, the same for all hubs: fresh if nothing did.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) (secret []byte, err error) {
	err = tryUntil(ctx, "reading secret "+name, s.answered, func(ctx context.Context) error {
		if _, err := s.pool.Exec(ctx, `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, fresh); err != nil {
			return err
		}
		return s.pool.QueryRow(ctx, `SELECT value FROM secrets WHERE name = $1`, name).Scan(&secret)
	})
	return secret, err
}
