package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/edge"
	"github.com/ringway-im/ringway/nodes/pki"
)

type edgeCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The edge's configuration."`
}

// Run serves until a signal.
func (c *edgeCmd) Run(to streams) error {
	cfg, err := loadEdge(c.Config)
	if err != nil {
		return err
	}
	log, err := newLogger(to.err, cfg.Log.Level)
	if err != nil {
		return err
	}
	return serve(log, func(ctx context.Context) error { return runEdge(ctx, *cfg, log) })
}

func runEdge(ctx context.Context, cfg config.Edge, log *zap.Logger) error {
	listener, err := net.Listen("tcp", cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("ringway edge: http.listen: %w; choose a free address", err)
	}
	metrics := registry()
	e, err := edge.New(cfg, edge.WithLogger(log), edge.WithRegisterer(metrics))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ready(log, zap.Stringer("http", listener.Addr()), zap.Strings("hubs", cfg.Hubs))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.Serve(ctx, listener, metrics) })
	group.Go(func() error { return e.Run(ctx) })
	group.Go(func() error { return pki.Watch(ctx, log, metrics, cfg.Link.TLS.Cert, cfg.Link.TLS.CA) })
	return group.Wait()
}
