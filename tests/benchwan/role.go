package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/edge"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/simulator"
)

// hubHost is where wanem puts its first host.
const (
	hubHost    = "10.77.1.1"
	hubAddress = hubHost + ":7443"
)

// serveRole is hub or edge until its input ends.
func serveRole(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	cfg := zap.NewProductionConfig()
	cfg.DisableStacktrace = true
	log, err := cfg.Build()
	if err != nil {
		return err
	}
	switch o.loss.role {
	case "hub":
		return serveHub(ctx, o, log)
	case "edge":
		return serveEdge(ctx, o, log)
	}
	return fmt.Errorf("-role is %q: give hub or edge", o.loss.role)
}

func tlsFiles(o options, name string) config.TLS {
	certs := filepath.Join(o.dir, "pki")
	return config.TLS{Cert: filepath.Join(certs, name+".crt"), Key: filepath.Join(certs, name+".key"), CA: filepath.Join(certs, "ca.crt")}
}

func serveHub(ctx context.Context, o options, log *zap.Logger) (err error) {
	h, err := hub.New(config.Hub{
		DataDir: filepath.Join(o.dir, "hub"),
		Link:    config.HubLink{Listen: hubAddress, TLS: tlsFiles(o, "hub-1")},
		Edges: []config.HubEdge{{
			ID: demo.EdgeID, Prefixes: []string{demo.Prefix}, Number: demo.Number, Ring: config.Ring{Slots: o.slots},
		}},
	}, hub.WithLogger(log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := h.Start(); err != nil {
		return err
	}
	in, err := open(ctx, h)
	if err != nil {
		return err
	}
	defer in.close()
	load := func(context.Context) error { return nil }
	if o.directions[0] == "down" {
		load = func(ctx context.Context) error {
			return feedDown(ctx, o, h, func() uint64 {
				view, _ := h.Ring(demo.EdgeID, messages.Ring_DOWN)
				return view.Hub.Down.GetLastProcessed()
			})
		}
	}
	return work(ctx, load, in.count.Load)
}

func serveEdge(ctx context.Context, o options, log *zap.Logger) (err error) {
	simCfg := simulator.Config{Latency: o.latency, Discard: true}
	if o.protocol == "smpp" {
		simCfg.SMPP = "127.0.0.1:0"
	} else {
		simCfg.CIMD2 = "127.0.0.1:0"
	}
	sim, err := simulator.New(simCfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	e, err := edge.New(config.Edge{
		ID: demo.EdgeID, DataDir: filepath.Join(o.dir, "edge"), Hubs: []string{hubAddress},
		Link: config.EdgeLink{Stripes: o.stripes, TLS: tlsFiles(o, demo.EdgeID)},
		Ring: config.Ring{Slots: o.slots},
		SMSC: config.SMSC{
			Name: "bench", Protocol: o.protocol, Window: 1, Receive: "push", Unknown: "resend", Validity: 24 * time.Hour,
			Receipts: o.receipts[0], ResponseTimeout: 10 * time.Second, KeepAlive: 30 * time.Second,
			Binds: []config.Bind{{
				Address: sim.CIMD2Addr() + sim.SMPPAddr(), User: "bench", Password: "secret", Sessions: o.loss.sessions, Mode: "transceiver",
			}},
		},
		Spill: config.Spill{MaxMessages: 10_000_000},
		Retry: config.Retry{First: 5 * time.Second, Max: 10 * time.Minute, Messages: 1_000_000},
	}, edge.WithLogger(log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	load := func(context.Context) error { return nil }
	if o.directions[0] == "up" {
		load = func(ctx context.Context) error { return feedUp(ctx, o, sim) }
	}
	return work(ctx, load, func() uint64 { return sim.Stats().ReceivedTexts })
}

// work runs the load and writes samples until ctx is done or the load fails.
func work(ctx context.Context, load func(context.Context) error, count func() uint64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return load(ctx) })
	group.Go(func() error {
		out := json.NewEncoder(os.Stdout)
		return ticking(ctx, func() error { return out.Encode(sample{time.Now(), count(), cpuTimes().own}) })
	})
	return group.Wait()
}
