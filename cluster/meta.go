package cluster

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/ringway-im/ringway/messages"
)

// Member is a node of the cluster as this one sees it.
type Member = messages.Member

// meta is what a node tells the others about itself through gossip: the metadata of
// a memberlist node, whose name is the rest ([nodeName]). JSON, so that versions may
// add what others do not know.
type meta struct {
	Address    string            `json:"a"`
	Kinds      []string          `json:"k,omitempty"`
	Started    int64             `json:"s"` // Unix milliseconds, by its own clock
	Draining   bool              `json:"d,omitempty"`
	Client     bool              `json:"c,omitempty"` // sees members and is none
	Attributes map[string]string `json:"x,omitempty"`
}

func (m meta) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cluster: metadata of this node: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("cluster: this node has %d octets of metadata, gossip carries %d: give it fewer or shorter attributes (it has %d)", len(b), memberlist.MetaMaxSize, len(m.Attributes))
	}
	return b, nil
}

// nodeName is a node's name in memberlist and of its lease. It is another one in
// each incarnation, so that nobody has to wait for an old one to be forgotten, and a
// paused process is not taken for the one that was started in its stead.
func nodeName(name, id string) string { return name + "/" + id }

// decodeMember reads what memberlist knows about a node. The error is the peer's fault.
func decodeMember(node string, b []byte) (m Member, d meta, err error) {
	i := strings.LastIndexByte(node, '/')
	if i < 1 || i == len(node)-1 {
		return m, d, fmt.Errorf("cluster: node %q is not named NAME/ID", node)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return m, d, fmt.Errorf("cluster: metadata of node %q: %w", node, err)
	}
	if d.Address == "" {
		return m, d, fmt.Errorf("cluster: metadata of node %q has no address", node)
	}
	return Member{
		Name: node[:i], ID: node[i+1:], Address: d.Address,
		Kinds: d.Kinds, Attributes: d.Attributes, Draining: d.Draining,
	}, d, nil
}
