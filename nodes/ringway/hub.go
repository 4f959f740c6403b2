package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/web"
)

type hubCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The hub's configuration."`
}

// Run serves until a signal.
func (c *hubCmd) Run(to streams) error {
	cfg, err := loadHub(c.Config)
	if err != nil {
		return err
	}
	log, err := newLogger(to.err, cfg.Log.Level)
	if err != nil {
		return err
	}
	if cfg.Store.Driver == "postgres" {
		return &config.Error{File: c.Config, Key: "store.driver", Problem: "this release has no postgres store", Remedy: "write embedded"}
	}
	if cfg.Cluster != nil {
		log.Warn("cluster: this release runs a hub alone; the section is read and checked, nothing else", zap.String("file", c.Config))
	}
	return serve(log, func(ctx context.Context) error { return runHub(ctx, *cfg, log) })
}

func runHub(ctx context.Context, cfg config.Hub, log *zap.Logger) error {
	listener, err := net.Listen("tcp", cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("ringway hub: http.listen: %w; choose a free address", err)
	}
	metrics := registry()
	h, err := hub.New(cfg, hub.WithLogger(log), hub.WithRegisterer(metrics))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	api, err := web.New(h, web.Config{Gatherer: metrics, Registerer: metrics, Log: log})
	if err == nil {
		err = h.Start()
	}
	if err != nil {
		return errors.Join(err, h.Close(), listener.Close())
	}
	fields := []zap.Field{zap.Stringer("http", listener.Addr())}
	if at := h.LinkAddr(); at != nil {
		fields = append(fields, zap.Stringer("link", at))
	}
	ready(log, fields...)
	// The API ends first: the hub must outlive it.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer stop()
		return api.Serve(ctx, listener)
	})
	group.Go(func() error { return h.Run(serving) })
	group.Go(func() error { return pki.Watch(ctx, log, metrics, cfg.Link.TLS.Cert, cfg.Link.TLS.CA) })
	return group.Wait()
}

// registry holds a node's metrics, the process's own among them.
func registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ringway_build_info", Help: "1, with the version."}, []string{"version"})
	build.WithLabelValues(versionString()).Set(1)
	r.MustRegister(build)
	return r
}
