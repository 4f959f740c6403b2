package hub

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ringway-im/ringway/smsc/text"
)

// Config is what a hub needs to know. Zero values take the defaults named.
type Config struct {
	Name           string // of this hub, for people; default "hub"
	DataDir        string // made (mode 0700) if absent
	AdminTokenFile string // default admin.token in DataDir; made (mode 0600) if absent
	// SessionKeyFile signs logins; default session.key in DataDir, made if
	// absent. Hubs of one cluster share it, so that each knows the others' logins.
	SessionKeyFile string
	Edges          []EdgeConfig
	Limits         Limits
}

// EdgeConfig is one edge and what is reached through it.
type EdgeConfig struct {
	ID           string
	Prefixes     []string // of numbers, each '+' and digits; of all edges the longest wins
	Number       string   // service number: what handsets see and answer
	SuffixDigits int      // 0: all conversations have Number; else each its own, with this ending
	Slots        int      // of each ring; default 255
	QueueLimit   int      // messages waiting behind the ring; default 10,000,000
}

// Limits bound what one caller can cause.
type Limits struct {
	Parts          int // short messages a text may take; default and most 255
	TextBytes      int // a text to a user of the hub; default 65,536
	LoginPerMinute int // wrong passwords a user and an address; default 10
}

var (
	prefixPattern = regexp.MustCompile(`^\+[0-9]{1,15}$`)
	edgePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	originPattern = regexp.MustCompile(`^\+?[0-9]{1,20}$`)
)

// withDefaults fills in and checks.
func (c Config) withDefaults() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("hub: data_dir is empty: name a folder")
	}
	orElse(&c.Name, "hub")
	orElse(&c.AdminTokenFile, filepath.Join(c.DataDir, "admin.token"))
	orElse(&c.SessionKeyFile, filepath.Join(c.DataDir, "session.key"))
	orElse(&c.Limits.Parts, text.MaxParts)
	orElse(&c.Limits.TextBytes, 64<<10)
	orElse(&c.Limits.LoginPerMinute, 10)
	if c.Limits.Parts < 1 || c.Limits.Parts > text.MaxParts {
		return c, fmt.Errorf("hub: limits.parts is %d: give 1 to %d", c.Limits.Parts, text.MaxParts)
	}
	edges, owner := map[string]bool{}, map[string]string{}
	c.Edges = append([]EdgeConfig(nil), c.Edges...)
	for i := range c.Edges {
		e := &c.Edges[i]
		orElse(&e.Slots, 255)
		orElse(&e.QueueLimit, 10_000_000)
		switch {
		case !edgePattern.MatchString(e.ID):
			return c, fmt.Errorf("hub: edges[%d].id is %q: give lower-case letters, digits, '.', '_' or '-'", i, e.ID)
		case edges[e.ID]:
			return c, fmt.Errorf("hub: edges[%d].id is %q, as another edge's: each needs its own", i, e.ID)
		case !originPattern.MatchString(e.Number):
			return c, fmt.Errorf("hub: edges[%d].number is %q: give the digits that handsets answer to", i, e.Number)
		case e.SuffixDigits < 0 || e.SuffixDigits > 6:
			return c, fmt.Errorf("hub: edges[%d].suffix_digits is %d: give 0 to 6", i, e.SuffixDigits)
		case e.Slots < 1 || e.Slots > 65535:
			return c, fmt.Errorf("hub: edges[%d].ring.slots is %d: give 1 to 65535", i, e.Slots)
		case e.QueueLimit < 1:
			return c, fmt.Errorf("hub: edges[%d].queue.max_messages is %d: give at least 1", i, e.QueueLimit)
		}
		edges[e.ID] = true
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

// edgeOf returns the edge with the longest prefix of number.
func (c Config) edgeOf(number string) (edge string, ok bool) {
	longest := 0
	for _, e := range c.Edges {
		for _, p := range e.Prefixes {
			if len(p) > longest && strings.HasPrefix(number, p) {
				longest, edge = len(p), e.ID
			}
		}
	}
	return edge, longest > 0
}

func (c Config) edge(id string) (EdgeConfig, bool) {
	for _, e := range c.Edges {
		if e.ID == id {
			return e, true
		}
	}
	return EdgeConfig{}, false
}
