package config_test

import (
	"strings"
	"testing"

	"github.com/ringway-im/ringway/nodes/config"
)

const (
	hubGossip  = "gossip: {listen: ':7947', advertise: 'hub-1.example.net:7947', pools: shared, key_file: gossip.key}\n"
	edgeGossip = "gossip: {listen: ':7947', join: ['hub-1.example.net:7947'], key_file: gossip.key}\n"
)

func TestGossip(t *testing.T) {
	h, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", hubYAML+hubGossip))
	if err != nil {
		t.Fatal(err)
	}
	if g := h.Gossip; g == nil || g.Listen != ":7947" || g.Advertise != "hub-1.example.net:7947" || g.Pools != "shared" || !strings.HasSuffix(g.KeyFile, "/gossip.key") {
		t.Errorf("hub: %+v", g)
	}
	e, err := config.LoadEdge(write(t, t.TempDir(), "edge.yaml", edgeYAML+edgeGossip))
	if err != nil {
		t.Fatal(err)
	}
	if g := e.Gossip; g == nil || g.Listen != ":7947" || g.Pools != "per_edge" || len(g.Join) != 1 || !strings.HasSuffix(g.KeyFile, "/gossip.key") {
		t.Errorf("edge: %+v", g)
	}
	for _, yaml := range []string{hubYAML, edgeYAML} {
		if strings.Contains(yaml, "gossip") {
			t.Fatal("without it there is none: see the other tests")
		}
	}
	for _, c := range []struct{ yaml, old, new, want string }{
		{hubGossip, "listen: ':7947', ", "", "gossip.listen: missing; give the port"},
		{hubGossip, ", key_file: gossip.key", "", "gossip.key_file: missing; it travels over the WAN; make one"},
		{hubGossip, "shared", "all", `gossip.pools: "all" is not allowed; write per_edge, or shared`},
		{hubGossip, "hub-1.example.net:7947", ":7947", `gossip.advertise: ":7947" is no address to dial`},
		{hubGossip, "listen", "lisen", "gossip.lisen: unknown key"},
		{edgeGossip, "join: ['hub-1.example.net:7947'], ", "", "gossip.join: missing; name a hub's gossip address"},
		{edgeGossip, "'hub-1.example.net:7947'", "hub", `gossip.join[0]: "hub" is no address to dial`},
		{edgeGossip, "listen: ':7947', ", "", "gossip.listen: missing; give the port"},
		{edgeGossip, ", key_file: gossip.key", "", "gossip.key_file: missing; give the file that the hubs have"},
	} {
		text, err := strings.Replace(c.yaml, c.old, c.new, 1), error(nil)
		if c.yaml == hubGossip {
			_, err = config.LoadHub(write(t, t.TempDir(), "hub.yaml", hubYAML+text))
		} else {
			_, err = config.LoadEdge(write(t, t.TempDir(), "edge.yaml", edgeYAML+text))
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", text, err, c.want)
		}
	}
}

func TestEdgeInsideAHubDoesNotGossip(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "local.yaml", edgeYAML+edgeGossip)
	_, err := config.LoadHub(write(t, dir, "hub.yaml", strings.Replace(hubYAML, "number:", "local: local.yaml\n    number:", 1)))
	if err == nil || !strings.Contains(err.Error(), "edges[0].local: edge manila-1 has gossip, but runs inside the hub; remove gossip from its file") {
		t.Error(err)
	}
}
