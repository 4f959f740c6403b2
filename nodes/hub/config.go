package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/smsc/text"
)

// Config is hub.yaml, or the same written in Go: zero values take the file's
// defaults.
type Config = config.Hub

var (
	prefixPattern = regexp.MustCompile(`^\+[0-9]{0,15}$`)
	originPattern = regexp.MustCompile(`^\+?[0-9]{1,20}$`)
)

// withDefaults fills in what an embedder left out and checks what cannot be
// served; package config says it better for files.
func withDefaults(c Config) (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("hub: data_dir is empty: name a folder")
	}
	orElse(&c.Admin.TokenFile, filepath.Join(c.DataDir, "admin.token"))
	orElse(&c.Limits.Parts, 32)
	orElse(&c.Limits.BodyBytes, 1<<20)
	orElse(&c.Limits.LoginPerMinute, 10)
	if c.Limits.Parts < 1 || c.Limits.Parts > text.MaxParts {
		return c, fmt.Errorf("hub: limits.parts is %d: give 1 to %d", c.Limits.Parts, text.MaxParts)
	}
	ids, owner := map[string]bool{}, map[string]string{}
	c.Edges = slices.Clone(c.Edges)
	for i := range c.Edges {
		e := &c.Edges[i]
		orElse(&e.Ring.Slots, 255)
		orElse(&e.Queue.MaxMessages, 10_000_000)
		switch {
		case e.ID == "" || ids[e.ID]:
			return c, fmt.Errorf("hub: edges[%d].id is %q: each needs a name of its own", i, e.ID)
		case !originPattern.MatchString(e.Number):
			return c, fmt.Errorf("hub: edges[%d].number is %q: give the digits that handsets answer to", i, e.Number)
		}
		ids[e.ID] = true
		for _, p := range e.Prefixes {
			if !prefixPattern.MatchString(p) {
				return c, fmt.Errorf("hub: edges[%d].prefixes has %q: give '+' and digits", i, p)
			}
			if owner[p] != "" {
				return c, fmt.Errorf("hub: edges[%d].prefixes has %q, as edge %q does: give it to one", i, p, owner[p])
			}
			owner[p] = e.ID
		}
	}
	return c, nil
}

func orElse[T comparable](value *T, or T) {
	var zero T
	if *value == zero {
		*value = or
	}
}

// nameOf returns the hub's name, for people.
func nameOf(c Config) string {
	if c.Cluster != nil && c.Cluster.Name != "" {
		return c.Cluster.Name
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "hub"
}

// longestPrefix returns the edge with the longest prefix of number.
func (h *Hub) longestPrefix(number string) (edge string, ok bool) {
	longest := 0
	for _, e := range h.cfg.Edges {
		for _, p := range e.Prefixes {
			if len(p) > longest && strings.HasPrefix(number, p) {
				longest, edge = len(p), e.ID
			}
		}
	}
	return edge, longest > 0
}

func (h *Hub) edge(id string) (config.HubEdge, bool) {
	for _, e := range h.cfg.Edges {
		if e.ID == id {
			return e, true
		}
	}
	return config.HubEdge{}, false
}
