package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/nodes/store/pgstore"
)

// storeGroup is what stands under ringway store.
type storeGroup struct {
	Copy storeCopyCmd `cmd:"" help:"Copy a hub's embedded store into an empty PostgreSQL database. The hub must not run; its folder is not used again."`
}

type storeCopyCmd struct {
	From string `required:"" placeholder:"DIR" help:"The hub's data_dir."`
	To   string `required:"" placeholder:"DSN" help:"The database, as in store.dsn."`
}

// Run copies, then marks the folder.
func (c *storeCopyCmd) Run(to streams) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	where, err := pgx.ParseConfig(c.To)
	if err != nil {
		return fmt.Errorf("ringway store copy: --to: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.From, "RINGWAY")); err != nil {
		return fmt.Errorf("ringway store copy: --from: %s holds no hub's store: %w", c.From, err)
	}
	from, err := hubstore.Open(hubstore.Options{Dir: c.From, Node: hubstore.Node, ReserveBytes: -1})
	if err != nil {
		return fmt.Errorf("ringway store copy: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	written, err := pgstore.Copy(ctx, from, c.To, func() error {
		return hubstore.MarkMoved(c.From, fmt.Sprintf("copied to database %s at %s:%d, %s", where.Database, where.Host, where.Port, time.Now().UTC().Format(time.RFC3339)))
	})
	if err != nil {
		return fmt.Errorf("ringway store copy: %w", err)
	}
	for _, table := range slices.Sorted(maps.Keys(written)) {
		fmt.Fprintf(to.out, "%10d %s\n", written[table], table)
	}
	fmt.Fprintf(to.out, "copied: set store.driver to postgres and store.dsn to the database, then start the hub\n")
	return nil
}
