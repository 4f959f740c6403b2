// Package demo puts the whole of Ringway into one process: a simulated SMSC
// with handsets, the edge beside it, an emulated WAN, and the hub with its API
// and console. The demo, the benchmarks and the end-to-end tests run on it; the
// sockets, the disks and the certificates are real.
//
//	simulator ◀─SMSC's protocol─ edge ──link──▶ relay (WAN) ──▶ hub ◀─HTTP, WebSocket─ people
//	    ▲
//	    └──────── relay (the same WAN) ◀── a direct client, for comparison
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/edge"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/simulator"
	"github.com/ringway-im/ringway/nodes/wan"
)

// What the demo's only edge is called and serves.
const (
	EdgeID   = "manila-1"
	Number   = "63917000"
	Prefix   = "+63917"
	smscUser = "ringway"
	smscWord = "secret"

	directUser = "direct" // another account of the same SMSC
)

// everyNumber is the edge's account's: whatever handsets send is for the edge, whoever
// else is logged in.
var everyNumber = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

// RigConfig says how the system is built.
type RigConfig struct {
	Dir      string // where certificates and data go
	Protocol string // cimd2 or smpp
	RTT      time.Duration
	Jitter   time.Duration
	Latency  time.Duration // of the SMSC for one message; 0: 1 ms
	Receipts bool
	Slots    int  // of the rings; 0: 255
	Stripes  int  // 0: 8
	Discard  bool // the simulator keeps counts only
	Window   int  // texts and receipts that the SMSC leaves unanswered; 0: 1
	Suffix   int  // digits of the number that each conversation of a handset gets
	Hub      func(*config.Hub)
	Edge     func(*config.Edge)
	HubOpts  []hub.Option
	Log      *zap.Logger
}

// Rig is a running system.
type Rig struct {
	SMSC  *simulator.Simulator
	WAN   *wan.Relay // between edge and hub
	Edge  *edge.Edge
	Hub   *hub.Hub
	Hubs  config.Hub
	Edges config.Edge

	HubMetrics, EdgeMetrics *prometheus.Registry

	cfg      RigConfig
	linkAddr string
}

// Start builds and starts everything. Close ends it.
func Start(cfg RigConfig) (r *Rig, err error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Latency == 0 {
		cfg.Latency = time.Millisecond
	}
	if cfg.Slots == 0 {
		cfg.Slots = 255
	}
	if cfg.Stripes == 0 {
		cfg.Stripes = 8
	}
	r = &Rig{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("demo: %w", err), r.Close())
		}
	}()
	certs := filepath.Join(cfg.Dir, "pki")
	if _, statErr := os.Stat(filepath.Join(certs, "ca.crt")); statErr != nil {
		if err := errors.Join(pki.Init(certs), pki.Hub(certs, "hub-1", nil), pki.Edge(certs, EdgeID)); err != nil {
			return nil, err
		}
	}
	simCfg := simulator.Config{
		Accounts: []simulator.Account{{User: smscUser, Password: smscWord, Numbers: everyNumber}, {User: directUser, Password: smscWord}},
		Latency:  cfg.Latency, Discard: cfg.Discard, Window: cfg.Window, Log: cfg.Log,
	}
	if cfg.Protocol == "smpp" {
		simCfg.SMPP = "127.0.0.1:0"
	} else {
		simCfg.CIMD2 = "127.0.0.1:0"
	}
	if r.SMSC, err = simulator.New(simCfg); err != nil {
		return r, err
	}
	if r.linkAddr, err = freeAddress(); err != nil {
		return r, err
	}
	if r.WAN, err = wan.New(wan.Config{Target: r.linkAddr, Listen: "127.0.0.1:0", RTT: cfg.RTT, Jitter: cfg.Jitter}); err != nil {
		return r, err
	}
	r.Hubs = config.Hub{
		DataDir: filepath.Join(cfg.Dir, "hub"),
		Link:    config.HubLink{Listen: r.linkAddr, TLS: tlsFiles(certs, "hub-1")},
		Edges: []config.HubEdge{{
			ID: EdgeID, Prefixes: []string{Prefix}, Number: Number, SuffixDigits: cfg.Suffix, Ring: config.Ring{Slots: cfg.Slots},
		}},
	}
	if cfg.Hub != nil {
		cfg.Hub(&r.Hubs)
	}
	r.Edges = config.Edge{
		ID: EdgeID, DataDir: filepath.Join(cfg.Dir, "edge"), Hubs: []string{r.WAN.Addr()},
		Link: config.EdgeLink{Stripes: cfg.Stripes, TLS: tlsFiles(certs, EdgeID)},
		Ring: config.Ring{Slots: cfg.Slots},
		SMSC: config.SMSC{
			Name: "demo", Protocol: cfg.Protocol, Window: 1, Receive: "push", Unknown: "resend", Validity: 24 * time.Hour,
			Receipts: cfg.Receipts, ResponseTimeout: 10 * time.Second, KeepAlive: 30 * time.Second,
			Binds: []config.Bind{{Address: r.SMSCAddr(), User: smscUser, Password: smscWord, Sessions: 1, Mode: "transceiver"}},
		},
		Spill: config.Spill{MaxMessages: 10_000_000},
		Retry: config.Retry{First: 5 * time.Second, Max: 10 * time.Minute, Messages: 1_000_000},
	}
	if cfg.Edge != nil {
		cfg.Edge(&r.Edges)
	}
	if err := r.StartHub(); err != nil {
		return r, err
	}
	return r, r.StartEdge()
}

// SMSCAddr is where the simulator speaks the SMSC's protocol.
func (r *Rig) SMSCAddr() string {
	if r.cfg.Protocol == "smpp" {
		return r.SMSC.SMPPAddr()
	}
	return r.SMSC.CIMD2Addr()
}

// StartHub opens the hub; again after StopHub.
func (r *Rig) StartHub() (err error) {
	r.HubMetrics = prometheus.NewRegistry()
	opts := append([]hub.Option{hub.WithLogger(r.cfg.Log.Named("hub")), hub.WithRegisterer(r.HubMetrics)}, r.cfg.HubOpts...)
	if r.Hub, err = hub.New(r.Hubs, opts...); err != nil {
		return err
	}
	return r.Hub.Start()
}

// StopHub closes the hub in an orderly way.
func (r *Rig) StopHub() error {
	h := r.Hub
	r.Hub = nil
	return h.Close()
}

// StartEdge opens the edge; again after StopEdge.
func (r *Rig) StartEdge() (err error) {
	r.EdgeMetrics = prometheus.NewRegistry()
	r.Edge, err = edge.New(r.Edges, edge.WithLogger(r.cfg.Log.Named("edge")), edge.WithRegisterer(r.EdgeMetrics))
	return err
}

// StopEdge closes the edge in an orderly way.
func (r *Rig) StopEdge() error {
	e := r.Edge
	r.Edge = nil
	return e.Close()
}

// Await waits until the link is up and the SMSC session is bound.
func (r *Rig) Await(ctx context.Context) error {
	for {
		err := r.Edge.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("demo: the edge is not ready: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Close ends what runs.
func (r *Rig) Close() error {
	var errs []error
	if r.WAN != nil {
		r.WAN.Restore()
	}
	if r.Edge != nil {
		errs = append(errs, r.Edge.Close())
	}
	if r.Hub != nil {
		errs = append(errs, r.Hub.Close())
	}
	if r.WAN != nil {
		errs = append(errs, r.WAN.Close())
	}
	if r.SMSC != nil {
		errs = append(errs, r.SMSC.Close())
	}
	return errors.Join(errs...)
}

func tlsFiles(dir, name string) config.TLS {
	return config.TLS{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"), CA: filepath.Join(dir, "ca.crt")}
}

// freeAddress finds a port for the hub's link: the relay has to know it before
// the hub listens, and the hub listens there again after a restart.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
