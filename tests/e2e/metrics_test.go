package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// promised are the names that operators' rules and dashboards are written against.
var promised = strings.Fields(`
	ringway_ring_slots ringway_ring_oldest_unconfirmed_seconds ringway_ring_full_total ringway_ring_owner_changes_total
	ringway_link_up ringway_link_rtt_seconds ringway_link_reconnects_total ringway_link_resync_duration_seconds
	ringway_link_resent_frames_total ringway_link_duplicate_frames_total ringway_link_gap_total ringway_link_epoch
	ringway_smsc_session_state ringway_smsc_submit_duration_seconds ringway_smsc_responses_total ringway_smsc_throttled_total
	ringway_smsc_unknown_outcome_total ringway_smsc_inflight ringway_dlr_unmatched_total ringway_dlr_latency_seconds
	ringway_messages_total ringway_message_end_to_end_seconds ringway_store_fsync_seconds ringway_store_corrupt_records_total
	ringway_cluster_members ringway_actor_mailbox_depth ringway_deadletters_total ringway_presence_users ringway_inbox_messages
	ringway_build_info`)

// family is a metric as a page of metrics has it, or the documentation.
type family struct{ kind, labels string }

var (
	sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? `)
	label  = regexp.MustCompile(`([a-z_]+)="(?:[^"\\]|\\.)*"`)
)

// families reads the page of a node's metrics. Those without a sample are not there.
func (a api) families() map[string]family {
	a.t.Helper()
	var text string
	a.call("GET", "/metrics", nil, &text)
	kinds, all := map[string]string{}, map[string]family{}
	for line := range strings.Lines(text) {
		if typed, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(typed), " ")
			kinds[name] = kind
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || !strings.HasPrefix(m[1], "ringway_") {
			continue
		}
		name := m[1]
		if kinds[name] == "" {
			name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		}
		var labels []string
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		all[name] = family{kinds[name], strings.Join(labels, ", ")}
	}
	return all
}

// documented reads docs/metrics.md: what a hub exports, and what an edge.
func documented(t *testing.T) (hub, edge map[string]family) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	hub, edge = map[string]family{}, map[string]family{}
	row := regexp.MustCompile("(?m)^\\| `(ringway_[a-z_]+)` \\| ([a-z]+) \\| ([a-z_, ]*)\\| ([a-z, ]+) \\| ")
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		labels := strings.Split(strings.TrimSpace(m[3]), ", ")
		slices.Sort(labels)
		f := family{m[2], strings.Join(labels, ", ")}
		if strings.Contains(m[4], "hub") {
			hub[m[1]] = f
		}
		if strings.Contains(m[4], "edge") {
			edge[m[1]] = f
		}
	}
	return hub, edge
}

// differences says what one has and the other has not.
func differences(exported, documented map[string]family) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if got := exported[name]; got != documented[name] {
			all = append(all, fmt.Sprintf("%s is exported as %q, documented as %q", name, got, documented[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(exported)) {
		if _, ok := documented[name]; !ok {
			all = append(all, fmt.Sprintf("%s is exported as %q and not documented", name, exported[name]))
		}
	}
	return strings.Join(all, "\n")
}

// What a hub and an edge export is what docs/metrics.md says, from the start, and has
// all names that were promised; an edge inside the hub's process shows its own there.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	atHub, atEdge := documented(t)
	for _, name := range promised {
		if atHub[name] == (family{}) && atEdge[name] == (family{}) {
			t.Errorf("%s was promised and is not in docs/metrics.md", name)
		}
	}
	s := newSite(t)
	e := s.edge("manila-1", "+63917", "smpp", false)
	s.launchSMSC(e).ready()
	hub, edge := s.launchHub().ready(), s.launchEdge(e).ready()
	isReady(s.admin(), time.Minute)
	isReady(e.api(t), time.Minute)
	// Some come with the first heartbeats.
	eventually(t, time.Minute, func() string {
		return cmp.Or(differences(s.admin().families(), atHub), differences(e.api(t).families(), atEdge))
	})

	// One message each way: what they count, at both ends.
	ann := newPerson(s.admin(), "ann").online()
	handset := e.prefix + "0000001"
	ann.reaches(ann.send(handset, "how are you?"), "delivered", time.Minute)
	if err := e.smsc(t).send(handset, e.number, "well"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() string { return atLeast("answer", len(ann.got()[handset]), 1) })
	stages := func(direction string, at api, names ...string) {
		for _, stage := range names {
			want := fmt.Sprintf(`direction="%s",edge="manila-1",stage="%s"`, direction, stage)
			eventually(t, time.Minute, func() string {
				if n := at.metric("ringway_messages_total", want); n != 1 {
					return fmt.Sprintf("%s at %s is %v, want 1", want, at.base, n)
				}
				return ""
			})
		}
	}
	stages("down", s.admin(), "accepted", "retrieved", "sent", "confirmed", "processed", "delivered")
	stages("down", e.api(t), "received", "answered")
	stages("up", e.api(t), "accepted", "retrieved", "sent", "confirmed", "processed")
	stages("up", s.admin(), "received", "answered", "delivered")
	for _, c := range []struct {
		at          api
		name, label string
		want        float64
	}{
		{e.api(t), "ringway_smsc_responses_total", `fate="accepted",smsc="manila-1",status="ESME_ROK"`, 1},
		{e.api(t), "ringway_smsc_session_state", `protocol="smpp"`, 1},
		{e.api(t), "ringway_smsc_inflight", "", 0},
		{e.api(t), "ringway_dlr_latency_seconds_count", "", 1},
		{e.api(t), "ringway_ring_oldest_unconfirmed_seconds", "", 0},
		{s.admin(), "ringway_message_end_to_end_seconds_count", `direction="down",state="delivered"`, 1},
		{s.admin(), "ringway_message_end_to_end_seconds_count", `direction="up",state="delivered"`, 1},
		{s.admin(), "ringway_presence_users", `state="online"`, 1},
		{s.admin(), "ringway_presence_users", `state="offline"`, 0},
		{s.admin(), "ringway_inbox_messages", "", 0},
		{s.admin(), "ringway_ring_owner_changes_total", "", 1},
		{s.admin(), "ringway_cluster_members", "", 1},
		{s.admin(), "ringway_store_corrupt_records_total", "", 0},
	} {
		if got := c.at.metric(c.name, c.label); got != c.want {
			t.Errorf("%s{%s} at %s is %v, want %v", c.name, c.label, c.at.base, got, c.want)
		}
	}
	ann.offline()
	eventually(t, time.Minute, func() string {
		if n := s.admin().metric("ringway_presence_users", `state="online"`); n != 0 {
			return fmt.Sprintf("%v online", n)
		}
		return ""
	})
	if n := s.admin().metric("ringway_store_fsync_seconds_count", `store="hub"`); n < 1 {
		t.Errorf("%v fsyncs at the hub", n)
	}
	if diff := differences(s.admin().families(), atHub) + differences(e.api(t).families(), atEdge); diff != "" {
		t.Errorf("after some traffic:\n%s", diff)
	}
	edge.stop()
	hub.stop()

	// The same edge inside the hub's process.
	e.local = true
	s.rewrite(e)
	s.launchHub().ready()
	isReady(s.admin(), time.Minute)
	both := maps.Clone(atHub)
	maps.Copy(both, atEdge)
	eventually(t, time.Minute, func() string { return differences(s.admin().families(), both) })
	if status, _, err := s.admin().try(t.Context(), "GET", "/metrics", nil, nil); status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}
}
