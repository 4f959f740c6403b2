package e2e

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/edge"
	"github.com/ringway-im/ringway/nodes/pki"
)

// A hub process with 100 edges, connected over 8 stripes each and idle.
func TestScaleEdges(t *testing.T) {
	long(t)
	const edges = 100
	s := newSite(t)
	sim := &siteEdge{protocol: "smpp", smscAt: address(t), smscHTTP: address(t)}
	s.launchSMSC(sim).ready()
	for i := range edges {
		s.edges = append(s.edges, &siteEdge{id: fmt.Sprintf("edge-%d", i), prefix: fmt.Sprintf("+63%03d", i), number: fmt.Sprintf("63%03d000", i)})
	}
	hub := s.launchHub().ready()
	empty := footprint(t, hub, s.admin())
	for _, e := range s.edges {
		if err := pki.Edge(s.path("pki"), e.id); err != nil {
			t.Fatal(err)
		}
		file := func(suffix string) string { return filepath.Join(s.path("pki"), e.id+suffix) }
		node, err := edge.New(config.Edge{
			ID: e.id, DataDir: s.path(e.id), Hubs: []string{s.link},
			Link: config.EdgeLink{Stripes: 8, TLS: config.TLS{Cert: file(".crt"), Key: file(".key"), CA: s.path("pki/ca.crt")}},
			Ring: config.Ring{Slots: 255}, Spill: config.Spill{MaxMessages: 1000}, Retry: config.Retry{First: time.Second, Max: time.Minute, Messages: 1000},
			SMSC: config.SMSC{
				Name: e.id, Protocol: "smpp", Window: 1, Receive: "push", Unknown: "resend", Validity: time.Hour, Receipts: true,
				ResponseTimeout: 10 * time.Second, KeepAlive: 30 * time.Second,
				Binds: []config.Bind{{Address: sim.smscAt, User: "ringway", Password: "secret", Sessions: 1, Mode: "transceiver"}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = node.Close() })
		eventually(t, 20*time.Second, func() string {
			if err := node.Ready(); err != nil {
				return e.id + ": " + err.Error()
			}
			return ""
		})
	}
	if up := s.admin().metric("ringway_link_up", ""); up != edges {
		t.Fatalf("%v links are up, want %d", up, edges)
	}
	full := footprint(t, hub, s.admin())
	t.Logf("hub with no edge connected: %v", empty)
	t.Logf("hub with %d edges, 8 stripes each: %v, that is %.0f kB RSS and %.0f kB heap an edge", edges, full,
		(full.rss-empty.rss)/edges/1024, (full.heap-empty.heap)/edges/1024)
	if full.rss > 1<<30 || full.cpu > 0.9 {
		t.Errorf("%v for %d idle edges", full, edges)
	}
}

// A hub process with 2,000 people online and idle.
func TestScalePeople(t *testing.T) {
	long(t)
	const count = 2000
	s := newSite(t)
	s.edge("manila-1", "+63917", "smpp", false)
	hub := s.launchHub().ready()
	admin := s.admin()
	empty := footprint(t, hub, admin)
	people := make([]*person, count)
	var making sync.WaitGroup
	for worker := range 4 { // passwords cost the hub some 60 ms of processor each
		making.Go(func() {
			for i := worker; i < count; i += 4 {
				people[i] = newPerson(admin, fmt.Sprintf("person-%d", i))
			}
		})
	}
	making.Wait()
	signedIn := footprint(t, hub, admin)
	for _, p := range people {
		p.online()
	}
	eventually(t, time.Minute, func() string { return atLeast("streams", int(admin.metric("ringway_hub_streams", "")), count) })
	full := footprint(t, hub, admin)
	// They are more than idle connections: everyone hears from his neighbour.
	begin := time.Now()
	for i, p := range people {
		p.send(people[(i+1)%count].name, "hello")
	}
	eventually(t, time.Minute, func() string {
		heard := 0
		for _, p := range people {
			heard += p.gotAll()
		}
		return atLeast("heard", heard, count)
	})
	t.Logf("everyone has heard from somebody after %v", time.Since(begin).Round(time.Millisecond))
	t.Logf("hub with nobody: %v; %d people signed in: %v; all online: %v, that is %.0f kB RSS and %.0f kB heap a person", empty, count, signedIn, full,
		(full.rss-signedIn.rss)/count/1024, (full.heap-signedIn.heap)/count/1024)
	if full.rss > 1<<30 || full.cpu > 0.9 {
		t.Errorf("%v for %d idle people", full, count)
	}
}

// usage of a process: memory in bytes, cores in use while idle.
type usage struct{ rss, heap, cpu, goroutines float64 }

func (u usage) String() string {
	return fmt.Sprintf("%.0f MB RSS, %.0f MB heap, %.0f goroutines, %.2f of a core", u.rss/(1<<20), u.heap/(1<<20), u.goroutines, u.cpu)
}

// footprint measures for 10 s.
func footprint(t *testing.T, n *node, a api) usage {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	cpu := func() float64 { return a.metric("process_cpu_seconds_total", "") }
	before, at := cpu(), time.Now()
	<-time.After(10 * time.Second) // this is a measurement, not a wait for something
	u := usage{
		cpu:  (cpu() - before) / time.Since(at).Seconds(),
		heap: a.metric("go_memstats_heap_inuse_bytes", ""), goroutines: a.metric("go_goroutines", ""),
	}
	u.rss = memoryOf(t, n, "VmRSS:")
	return u
}
