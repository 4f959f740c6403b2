package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

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
	// What this hub has goes to others first, while it still answers; then the API ends,
	// then the hub, which must outlive it.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	answering, hush := context.WithCancel(context.WithoutCancel(ctx))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer hush()
		<-ctx.Done()
		drain(answering, h, log)
		return nil
	})
	group.Go(func() error {
		defer stop()
		return api.Serve(answering, listener)
	})
	group.Go(func() error { return h.Run(serving) })
	group.Go(func() error { return pki.Watch(ctx, log, metrics, cfg.Link.TLS.Cert, cfg.Link.TLS.CA) })
	return group.Wait()
}

// drainWithin is a part of the ten seconds in which a node has to end.
const drainWithin = 5 * time.Second

func drain(ctx context.Context, h *hub.Hub, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	if err := h.Drain(ctx); err != nil {
		log.Warn("not all was handed over: others take it when this hub has ended", zap.Error(err))
	}
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
