package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/kv"

	"go.uber.org/zap"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("htpp: {listen: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("edges: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	postgres := filepath.Join(dir, "postgres.yaml")
	if err := os.WriteFile(postgres, []byte("store: {driver: postgres, dsn: 'postgres://127.0.0.1:1/x?sslmode=disable'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(dir, "local.yaml")
	contrary := "edges: [{id: e-1, prefixes: ['+63'], number: '63', local: contrary.yaml}]\n"
	if err := os.WriteFile(local, []byte(contrary), 0o600); err != nil {
		t.Fatal(err)
	}
	contrary = "id: e-1\nsmsc: {protocol: smpp, binds: [{address: '127.0.0.1:1', user: u, password: p}], quirks: {fates: {'0': temporary}}}\n"
	if err := os.WriteFile(filepath.Join(dir, "contrary.yaml"), []byte(contrary), 0o600); err != nil {
		t.Fatal(err)
	}
	edge := filepath.Join(dir, "edge.yaml")
	if err := os.WriteFile(edge, []byte("id: e-1\ndata_dir: "+filepath.Join(dir, "data")+"\nhubs: ['127.0.0.1:1']\nlink: {tls: {cert: e.crt, key: e.key, ca: ca.crt}}\nsmsc: {protocol: smpp, binds: [{address: '127.0.0.1:1', user: u, password: p}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sound := filepath.Join(dir, "sound")
	if s, err := edgestore.Open(edgestore.Options{KV: kv.Options{Dir: sound, Node: edgestore.Node("e-1")}}); err != nil || s.Close() != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "pki")
	tests := []struct {
		args     string
		status   int
		out, err string
	}{
		{"", 0, "Usage: ringway", ""},
		{"--help", 0, "config check", ""},
		{"--version", 0, "ringway ", ""},
		{"pki init " + ca, 0, "ca.crt", ""},
		{"pki init " + ca, 1, "", "never written over"},
		{"pki hub " + ca + " hub-1 --host a.example --host 10.0.0.1", 0, "hub-1.key", ""},
		{"pki edge " + ca + " Manila", 1, "", "cannot name a certificate"},
		{"config check --hub " + good, 0, "good.yaml: good", ""},
		{"config check --hub " + bad, 2, "", "bad.yaml:1: htpp: unknown key; did you mean http?"},
		{"config check --edge " + dir + "/none.yaml", 2, "", "no such file"},
		{"config check --hub " + local, 2, "", "contrary.yaml: smsc.binds[0]: smpp: status 0 is success"},
		{"hub --config " + local, 2, "", "contrary.yaml: smsc.binds[0]: smpp: status 0 is success"},
		{"config check", 2, "", "--hub=FILE or --edge=FILE"},
		{"edge repair --config " + edge + " " + dir, 1, "", "this is no data directory"},
		{"edge repair --config " + edge + " " + sound, 1, "", "nothing in it is damaged"},
		{"hub repair --config " + good + " " + dir, 1, "", "this is no data directory"},
		{"hub repair --config " + good + " " + sound, 1, "", "edge/e-1"},
		{"nonsense", 2, "", "nonsense"},
		{"demo --protocol ucp", 2, "", "must be one of"},
		{"hub", 2, "", "--config"},
		{"config check --hub " + postgres, 0, "postgres.yaml: good", ""},
		{"hub --config " + postgres, 1, "", "check store.dsn"},
	}
	for _, tt := range tests {
		var out, errs bytes.Buffer
		status := run(strings.Fields(tt.args), streams{&out, &errs})
		if status != tt.status || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.err) {
			t.Errorf("ringway %s: status %d, want %d\nout: %s\nerr: %s", tt.args, status, tt.status, &out, &errs)
		}
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("hidden")
	ready(log, zap.String("http", "127.0.0.1:8080"))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%s: %v", &out, err)
	}
	if line["msg"] != "ready" || line["level"] != "info" || line["http"] != "127.0.0.1:8080" {
		t.Errorf("got %v", line)
	}
	if _, err := newLogger(&out, "loud"); err == nil {
		t.Error("level loud was taken")
	}
}

func TestRunUntil(t *testing.T) {
	boom := errors.New("boom")
	hang := func(context.Context) error { <-time.After(time.Hour); return nil }
	tests := []struct {
		name string
		work func(context.Context) error
		want string // in the error
		took time.Duration
	}{
		{"ends by itself", func(context.Context) error { return nil }, "", 0},
		{"fails by itself", func(context.Context) error { return boom }, "boom", 0},
		{"stops when asked", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "", time.Minute},
		{"fails to stop well", func(ctx context.Context) error { <-ctx.Done(); return boom }, "boom", time.Minute},
		{"hangs", hang, "not stopped within 10s", time.Minute + stopLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				asked, stop := context.WithCancel(context.Background())
				defer stop()
				time.AfterFunc(time.Minute, stop)
				err := runUntil(asked, zap.NewNop(), stopLimit, tt.work)
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				<-time.After(2 * time.Hour) // what hangs must end inside the bubble
			})
		})
	}
}
