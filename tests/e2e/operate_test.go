package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// An operator backs up, restores and replaces with the commands, and is told what
// is wrong and what to do where that cannot be.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := s.edge("manila-1", "+63917", "smpp", false)
	s.launchSMSC(e).ready()
	hubYAML, edgeYAML := s.write("hub.yaml", s.hubYAML()), s.path("manila-1.yaml")
	order := func(status int, words string, args ...string) {
		t.Helper()
		got, said := command(t, args...)
		if got != status || !strings.Contains(said, words) {
			t.Errorf("ringway %q: status %d, want %d, and %q in:\n%s", args, got, status, words, said)
		}
	}
	order(1, "did it ever run?", "hub", "backup", "--config", hubYAML, s.path("backup"))
	order(1, "did it ever run?", "edge", "backup", "--config", edgeYAML, s.path("backup"))
	hub, edge := s.launchHub().ready(), s.launchEdge(e).ready()
	isReady(e.api(t), 20*time.Second)
	ann := newPerson(s.admin(), "ann").online()
	handset := e.prefix + "0000001"
	delivered := func(text string) (ref string) {
		t.Helper()
		ref = ann.send(handset, text)
		ann.reaches(ref, "delivered", 20*time.Second)
		return ref
	}
	first := delivered("before the backup")

	// What the nodes' interfaces answer to those who may not, and to nonsense.
	refused := func(a api, status int, path string, body any) {
		t.Helper()
		if got, _, err := a.try(t.Context(), "POST", path, body, nil); got != status {
			t.Errorf("POST %s %v: status %d (%v), want %d", path, body, got, err, status)
		}
	}
	nobody, somebody, atEdge := s.admin(), ann.api, e.api(t)
	nobody.token = ""
	backup, replace := "/v1/admin/backup", "/v1/admin/edges/manila-1/replace"
	refused(nobody, 401, backup, map[string]string{"dir": s.path("stolen")})
	refused(nobody, 401, replace, nil)
	refused(somebody, 403, backup, map[string]string{"dir": s.path("stolen")})
	refused(somebody, 403, replace, nil)
	refused(atEdge, 401, backup, map[string]string{"dir": s.path("stolen")})
	refused(s.admin(), 400, backup, map[string]string{"dir": "relative"})
	refused(s.admin(), 400, backup, map[string]string{"folder": s.path("stolen")})
	token, err := os.ReadFile(s.path("manila-1-data/admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	atEdge.token = strings.TrimSpace(string(token))
	refused(atEdge, 400, backup, map[string]string{"dir": "relative"})
	refused(atEdge, 400, backup, "no object")
	refused(s.admin(), 404, "/v1/admin/edges/cebu-1/replace", nil)
	if _, err := os.Stat(s.path("stolen")); err == nil {
		t.Error("a backup was made for somebody who may not")
	}

	order(0, "done", "hub", "backup", "--config", hubYAML, s.path("hub-backup"))
	order(0, "done", "edge", "backup", "--config", edgeYAML, s.path("edge-backup"))
	order(1, "hub-backup", "hub", "backup", "--config", hubYAML, s.path("hub-backup"))
	order(1, "edge-backup", "edge", "backup", "--config", edgeYAML, s.path("edge-backup"))
	order(1, "hub-data", "hub", "restore", "--config", hubYAML, s.path("hub-backup"))
	order(1, "manila-1-data", "edge", "restore", "--config", edgeYAML, s.path("edge-backup"))
	order(1, "cebu-1", "edge", "replace", "--config", hubYAML, "cebu-1")
	order(2, "none.yaml", "hub", "backup", "--config", s.path("none.yaml"), s.path("backup"))
	delivered("after the backup")

	edge.stop()
	hub.stop()
	order(1, "must run", "hub", "backup", "--config", hubYAML, s.path("backup"))
	order(1, "must run", "edge", "backup", "--config", edgeYAML, s.path("backup"))
	order(1, "must run", "edge", "replace", "--config", hubYAML, "manila-1")
	lost := func(dir string) {
		t.Helper()
		if err := os.Rename(s.path(dir), s.path(dir+"-lost")); err != nil {
			t.Fatal(err)
		}
	}
	lost("hub-data")
	order(1, "no-backup", "hub", "restore", "--config", hubYAML, s.path("no-backup"))
	order(1, "edge-backup", "hub", "restore", "--config", hubYAML, s.path("edge-backup"))
	order(0, "start the hub", "hub", "restore", "--config", hubYAML, s.path("hub-backup"))
	hub = s.launchHub().ready()
	edge = s.launchEdge(e).ready()
	isReady(e.api(t), 30*time.Second)
	ann = newPerson(s.admin(), "ann").online() // the restored hub does not know her login
	if r := ann.record(first); r.State != "delivered" {
		t.Errorf("the restored hub has %+v of what was delivered before the backup", r)
	}
	ann.sent = 100 // her refs go on
	delivered("after the hub's restoration")

	edge.stop()
	lost("manila-1-data")
	order(0, "start the edge", "edge", "restore", "--config", edgeYAML, s.path("edge-backup"))
	edge = s.launchEdge(e).ready()
	isReady(e.api(t), 30*time.Second)
	delivered("after the edge's restoration")

	edge.stop()
	if err := os.Rename(s.path("manila-1-data"), s.path("manila-1-lost")); err != nil {
		t.Fatal(err)
	}
	edge = s.launchEdge(e).ready()
	hub.says(20*time.Second, "edge refused", "ringway edge replace manila-1")
	order(0, "replaced", "edge", "replace", "--config", hubYAML, "manila-1")
	isReady(e.api(t), 30*time.Second)
	delivered("after the edge's replacement")
	if got := e.smsc(t).texts(handset); len(got) != len(slices.Compact(got)) || len(got) != 5 {
		t.Errorf("the handset got %q", got)
	}
	edge.stop()
	hub.stop()
}
