package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tenure is a time in which a process ran an edge's rings: from before the actors were
// made until they had ended, or the process.
type tenure struct {
	edge, hub string
	epoch     uint64
	from, to  time.Time
}

func (x tenure) String() string {
	return fmt.Sprintf("%s by %s under epoch %d from %s to %s", x.edge, x.hub, x.epoch, x.from.Format("15:04:05.000"), x.to.Format("15:04:05.000"))
}

// tenures reads the logs of all processes.
func (h *hubs) tenures() (all []tenure) {
	h.t.Helper()
	for _, n := range append(h.past[:len(h.past):len(h.past)], h.nodes...) {
		if n.node == nil {
			continue
		}
		open := map[string]*tenure{}
		end := n.until
		if end.IsZero() {
			end = time.Now()
		}
		for _, line := range n.log() {
			if !strings.Contains(line, "rings are") {
				continue
			}
			var l struct {
				Msg, Edge string
				TS        time.Time
				Epoch     uint64
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				h.t.Fatalf("%s: %v: %s", n.name, err, line)
			}
			key := fmt.Sprint(l.Edge, l.Epoch)
			switch l.Msg {
			case "rings are served here":
				open[key] = &tenure{l.Edge, n.name, l.Epoch, l.TS, end}
			case "rings are no longer served here":
				if open[key] != nil {
					open[key].to = l.TS
				}
			}
		}
		for _, one := range open {
			all = append(all, *one)
		}
	}
	slices.SortFunc(all, func(a, b tenure) int { return a.from.Compare(b.from) })
	return all
}

// neverTwice fails the test if two processes ran an edge's rings at one instant, or
// one under an epoch that was not higher than all before.
func (h *hubs) neverTwice() {
	h.t.Helper()
	last := map[string]tenure{}
	all := h.tenures()
	for _, now := range all {
		before, was := last[now.edge]
		if was && now.from.Before(before.to) {
			h.t.Errorf("two at once for %v: %v; %v", before.to.Sub(now.from), before, now)
		}
		if was && now.epoch <= before.epoch {
			h.t.Errorf("the epoch did not grow: %v; %v", before, now)
		}
		last[now.edge] = now
	}
	if len(all) == 0 {
		h.t.Error("no hub says that it served rings")
	}
	h.t.Logf("%d times an edge's rings were taken up, never by two at once", len(all))
}
