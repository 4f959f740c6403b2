package e2e

import (
	"net"
	"strings"
	"testing"
	"time"
)

// A process that cannot serve ends at once, with a message that names what is
// wrong and what to do.
func TestRefusesToStart(t *testing.T) {
	s := newSite(t)
	e := s.edge("manila-1", "+63917", "cimd2", false)
	other := s.edge("cebu-1", "+63918", "smpp", false)
	hub, edge := s.write("hub.yaml", s.hubYAML()), s.path("manila-1.yaml")
	// Folders of nodes that have run.
	for _, n := range []*node{s.launchHub().ready(), s.launchEdge(e).ready(), s.launchEdge(other).ready()} {
		n.stop()
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.write("file", "")
	hubYAML, edgeYAML := s.hubYAML(), s.edgeYAML(e)
	tests := []struct {
		name, command, yaml, old, new string
		status                        int
		want                          []string
	}{
		{"unknown key", "hub", hubYAML, "data_dir:", "datadir:", 2, []string{"x.yaml:1", "datadir", "did you mean data_dir"}},
		{"missing key", "edge", edgeYAML, "protocol: cimd2", "window: 1", 2, []string{"x.yaml:", "smsc.protocol", "cimd2 or smpp"}},
		{"no such file", "edge", "", "", "", 2, []string{"none.yaml", "no such file"}},
		{"hub's certificate missing", "hub", hubYAML, "pki/hub-1.crt", "pki/none.crt", 2, []string{"none.crt", "ringway pki"}},
		{"edge's certificate missing", "edge", edgeYAML, "pki/manila-1.crt", "pki/none.crt", 2, []string{"none.crt", "ringway pki"}},
		{"key of another certificate", "edge", edgeYAML, "pki/manila-1.key", "pki/cebu-1.key", 2, []string{"key"}},
		{"HTTP port in use", "hub", hubYAML, s.hubHTTP, taken.Addr().String(), 1, []string{"http.listen", taken.Addr().String(), "choose a free address"}},
		{"link port in use", "hub", hubYAML, s.link, taken.Addr().String(), 1, []string{"link.listen", taken.Addr().String(), "choose a free address"}},
		{"edge's port in use", "edge", edgeYAML, e.http, taken.Addr().String(), 1, []string{"http.listen", taken.Addr().String(), "choose a free address"}},
		{"hub's folder cannot be written", "hub", hubYAML, "./hub-data", "./file/hub", 1, []string{"data_dir", "/file"}},
		{"edge's folder cannot be written", "edge", edgeYAML, "./manila-1-data", "./file/edge", 1, []string{"data_dir", "/file"}},
		{"hub's folder for an edge", "edge", edgeYAML, "./manila-1-data", "./hub-data", 1, []string{"data_dir", "hub-data", "manila-1"}},
		{"another edge's folder", "edge", edgeYAML, "./manila-1-data", "./cebu-1-data", 1, []string{"data_dir", "cebu-1"}},
		{"edge's folder for a hub", "hub", hubYAML, "./hub-data", "./cebu-1-data", 1, []string{"data_dir", "cebu-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := s.path("none.yaml")
			if tt.yaml != "" {
				content := strings.Replace(tt.yaml, tt.old, tt.new, 1)
				if content == tt.yaml {
					t.Fatalf("%q is not in the file", tt.old)
				}
				file = s.write("x.yaml", content)
			}
			status, said := launch(t, tt.command, "--config", file).ends(15 * time.Second)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("it says nothing of %q:\n%s", want, said)
				}
			}
		})
	}
	// None of them has done harm.
	for file, command := range map[string]string{hub: "hub", edge: "edge"} {
		launch(t, command, "--config", file).ready().stop()
	}
}

// Whoever may not speak for an edge gets nowhere, is told why, and does not
// disturb the one who may.
func TestImpostors(t *testing.T) {
	s := newSite(t)
	e := s.edge("manila-1", "+63917", "cimd2", false)
	s.edge("cebu-1", "+63918", "smpp", false)
	s.launchSMSC(e).ready()
	hub := s.launchHub().ready()
	s.launchEdge(e).ready()
	isReady(e.api(t), 10*time.Second)
	ann := newPerson(s.admin(), "ann").online()
	fine := func(text string) {
		t.Helper()
		ann.reaches(ann.send("+639170000001", text), "delivered", 10*time.Second)
	}
	fine("before")
	edgeYAML := s.edgeYAML(e)
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(edgeYAML) }
	elsewhere := change("./manila-1-data", "./other-data", e.http, address(t), e.smscAt, address(t))

	t.Run("two processes on one folder", func(t *testing.T) {
		status, said := launch(t, "edge", "--config", s.write("same.yaml", change(e.http, address(t)))).ends(15 * time.Second)
		if status != 1 || !strings.Contains(said, "data_dir") || !strings.Contains(said, "process") {
			t.Errorf("status %d: %s", status, said)
		}
		status, said = launch(t, "hub", "--config", s.write("samehub.yaml", strings.NewReplacer(s.hubHTTP, address(t), s.link, address(t)).Replace(s.hubYAML()))).ends(15 * time.Second)
		if status != 1 || !strings.Contains(said, "data_dir") || !strings.Contains(said, "process") {
			t.Errorf("status %d: %s", status, said)
		}
		fine("two processes on one folder")
	})
	t.Run("two edges with one id", func(t *testing.T) {
		interruptions := func() float64 { return e.api(t).metric("ringway_link_reconnects_total", "") }
		before := interruptions()
		second := launch(t, "edge", "--config", s.write("second.yaml", elsewhere)).ready()
		second.says(15*time.Second, "refused")
		fine("two edges with one id")
		if n := interruptions() - before; n != 0 {
			t.Errorf("the first edge's link was interrupted %v times", n)
		}
		second.stop()
	})
	t.Run("another CA's certificate", func(t *testing.T) {
		s.pki("init", s.path("pki2"))
		s.pki("edge", s.path("pki2"), "manila-1")
		stranger := launch(t, "edge", "--config", s.write("stranger.yaml", strings.ReplaceAll(elsewhere, "pki/", "pki2/"))).ready()
		stranger.says(15*time.Second, "certificate")
		fine("another CA's certificate")
		stranger.stop()
	})
	t.Run("another CA's certificate, the right CA's trust", func(t *testing.T) {
		mixed := strings.NewReplacer("pki/manila-1", "pki2/manila-1").Replace(elsewhere)
		stranger := launch(t, "edge", "--config", s.write("mixed.yaml", mixed)).ready()
		stranger.says(15*time.Second, "certificate")
		hub.says(15*time.Second, "certificate")
		fine("another CA's certificate, the right CA's trust")
		stranger.stop()
	})
	t.Run("another edge's certificate", func(t *testing.T) {
		thief := launch(t, "edge", "--config", s.write("thief.yaml", strings.ReplaceAll(elsewhere, "pki/manila-1", "pki/cebu-1")))
		eventually(t, 15*time.Second, func() string {
			said := strings.Join(thief.log(), "\n")
			if strings.Contains(said, "cebu-1") && strings.Contains(said, "manila-1") {
				return ""
			}
			return "it does not say that the certificate is cebu-1's: " + said
		})
		fine("another edge's certificate")
		thief.kill()
	})
}
