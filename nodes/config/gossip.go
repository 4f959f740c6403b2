package config

import "fmt"

// HubGossip is the hub's part in gossip with edges over the WAN.
type HubGossip struct {
	Listen    string `yaml:"listen" need:"give the port for gossip with edges, UDP and TCP, as in listen: :7947" form:"listen"`
	Advertise string `yaml:"advertise" form:"address"` // where edges and other hubs reach Listen, if elsewhere
	Pools     string `yaml:"pools" default:"per_edge" oneof:"per_edge|shared"`
	KeyFile   string `yaml:"key_file" need:"it travels over the WAN; make one, the same at hubs and edges, with: head -c 32 /dev/urandom | base64 > FILE" form:"path"`
}

// EdgeGossip is the edge's.
type EdgeGossip struct {
	Listen    string   `yaml:"listen" need:"give the port for gossip, UDP and TCP, that hubs reach, as in listen: :7947; or leave gossip out" form:"listen"`
	Advertise string   `yaml:"advertise" form:"address"`
	Pools     string   `yaml:"pools" default:"per_edge" oneof:"per_edge|shared"` // as at the hubs
	Join      []string `yaml:"join" need:"name a hub's gossip address at least, as in join: [\"hub.example.net:7947\"]" form:"address"`
	KeyFile   string   `yaml:"key_file" need:"give the file that the hubs have" form:"path"`
}

// checkGossip applies what an edge inside a hub's process has not.
func (l *loader) checkGossip(local *Edge, key string) {
	if local.Gossip != nil {
		l.fail(key+".local", fmt.Sprintf("edge %s has gossip, but runs inside the hub", local.ID), "remove gossip from its file")
	}
}
