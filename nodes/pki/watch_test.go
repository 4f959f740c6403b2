package pki_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringway-im/ringway/nodes/pki"
)

// The metric says when a certificate runs out; the log says so once a day in the last
// 30 days, and a renewed file is seen.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := folder(t)
		file := dir + "/manila-1.crt"
		time.Sleep(time.Until(read(t, file).NotAfter) - 32*24*time.Hour)
		core, logs := observer.New(zap.InfoLevel)
		metrics := prometheus.NewRegistry()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- pki.Watch(ctx, zap.New(core), metrics, file, "", dir+"/ca.crt") }()
		notAfter := func(of string) float64 {
			t.Helper()
			synctest.Wait()
			families, err := metrics.Gather()
			if err != nil || len(families) != 1 || families[0].GetName() != "ringway_certificate_not_after_seconds" {
				t.Fatalf("%v %v", families, err)
			}
			for _, m := range families[0].Metric {
				if m.Label[0].GetValue() == of {
					return m.Gauge.GetValue()
				}
			}
			return 0
		}
		said := func() (lines []string) {
			synctest.Wait()
			for _, l := range logs.TakeAll() {
				lines = append(lines, l.Message+" "+l.ContextMap()["file"].(string))
			}
			return lines
		}
		for _, f := range []string{file, dir + "/ca.crt"} {
			if got, want := notAfter(f), float64(read(t, f).NotAfter.Unix()); got != want {
				t.Errorf("%s: %v, want %v", f, got, want)
			}
		}
		time.Sleep(time.Until(read(t, file).NotAfter) - 30*24*time.Hour - 2*time.Hour)
		if lines := said(); len(lines) != 0 {
			t.Errorf("more than 30 days before: %q", lines)
		}
		time.Sleep(72 * time.Hour)
		lines := said()
		if len(lines) != 3 || !strings.Contains(lines[0], "runs out in 29 days") || !strings.HasSuffix(lines[0], "manila-1.crt") {
			t.Errorf("in the three days after: %q", lines)
		}
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		put := func(content []byte) {
			t.Helper()
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour)
		}
		put([]byte("half"))
		if lines := said(); len(lines) != 1 || !strings.Contains(lines[0], "cannot be read") {
			t.Errorf("with a broken file: %q", lines)
		}
		put(whole)
		time.Sleep(time.Until(read(t, file).NotAfter) + 48*time.Hour)
		if lines := said(); len(lines) != 28 || !strings.Contains(lines[27], "has run out") {
			t.Errorf("%d lines in the last days: %q", len(lines), lines)
		}
		for _, err := range []error{os.Remove(file), os.Remove(dir + "/manila-1.key")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := pki.Edge(dir, "manila-1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if lines := said(); len(lines) != 0 {
			t.Errorf("with a new one: %q", lines)
		}
		if got, want := notAfter(file), float64(read(t, file).NotAfter.Unix()); got != want {
			t.Errorf("the new one: %v, want %v", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
