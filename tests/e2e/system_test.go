package e2e

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/web"
)

// system is hub, WAN, edge and SMSC in this process, with the interfaces of hub
// and SMSC on sockets.
type system struct {
	*demo.Rig
	t    *testing.T
	hub  api // the administrator's
	smsc smscAPI

	serving func() // ends the hub's HTTP server
}

// start builds a system and waits until it is ready. It ends with the test.
func start(t *testing.T, cfg demo.RigConfig) *system {
	t.Helper()
	cfg.Dir = t.TempDir()
	if os.Getenv("RINGWAY_LOG") == "1" {
		cfg.Log = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))
	}
	cfg.HubOpts = append(cfg.HubOpts, hub.WithPasswordCost(bcrypt.MinCost))
	rig, err := demo.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{Rig: rig, t: t, hub: api{t: t}}
	t.Cleanup(func() {
		if s.serving != nil {
			s.serving()
		}
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	handsets := httptest.NewServer(rig.SMSC.Handler())
	t.Cleanup(handsets.Close)
	s.smsc = smscAPI{api{t: t, base: handsets.URL}}
	s.serve()
	token, err := os.ReadFile(s.Hubs.DataDir + "/admin.token")
	if err != nil {
		t.Fatal(err)
	}
	s.hub.token = strings.TrimSpace(string(token))
	s.ready()
	return s
}

func (s *system) ready() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Await(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// serve gives the hub its HTTP interface, after a restart at the same address.
func (s *system) serve() {
	s.t.Helper()
	address := "127.0.0.1:0"
	if s.hub.base != "" {
		address = s.hub.base[len("http://"):]
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.hub.base = "http://" + listener.Addr().String()
	server, err := web.New(s.Hub, web.Config{Gatherer: s.HubMetrics, Registerer: s.HubMetrics})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	s.serving = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
}

func (s *system) restartHub() {
	s.t.Helper()
	s.serving()
	s.serving = nil
	if err := s.StopHub(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.StartHub(); err != nil {
		s.t.Fatal(err)
	}
	s.serve()
}

func (s *system) restartEdge() {
	s.t.Helper()
	if err := s.StopEdge(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.StartEdge(); err != nil {
		s.t.Fatal(err)
	}
}

// value is a metric of a registry, all labels summed; of a histogram count and sum.
func value(t testing.TB, of *prometheus.Registry, name string) (count uint64, sum float64) {
	t.Helper()
	families, err := of.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			count += m.GetHistogram().GetSampleCount()
			sum += m.GetHistogram().GetSampleSum() + m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return count, sum
}
