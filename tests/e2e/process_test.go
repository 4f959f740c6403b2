package e2e

import (
	"testing"
	"time"
)

// Three SMSCs, two edges that dial in and one inside the hub's process: a
// message each way through each, then an orderly end.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	edges := []*siteEdge{
		s.edge("manila-1", "+63917", "cimd2", false),
		s.edge("cebu-1", "+63918", "smpp", false),
		s.edge("davao-1", "+63919", "smpp", true),
	}
	var nodes []*node // in the order in which they are stopped
	hub := s.launchHub().ready()
	for _, e := range edges {
		nodes = append(nodes, s.launchSMSC(e).ready())
		if !e.local {
			nodes = append(nodes, s.launchEdge(e).ready())
		}
	}
	nodes = append(nodes, hub)
	admin := s.admin()
	isReady(admin, 10*time.Second)
	ann := newPerson(admin, "ann").online()
	for _, e := range edges {
		if !e.local {
			isReady(e.api(t), 10*time.Second)
		}
		handset := e.prefix + "0000001"
		ref := ann.send(handset, "how is "+e.id+"?")
		if r := ann.reaches(ref, "delivered", 10*time.Second); r.Edge != e.id {
			t.Errorf("to %s by edge %s, want %s", handset, r.Edge, e.id)
		}
		got := e.smsc(t).received(handset)
		if len(got) != 1 || got[0].Text != "how is "+e.id+"?" || got[0].From != e.number {
			t.Errorf("%s got %+v", handset, got)
		}
		if err := e.smsc(t).send(handset, e.number, "well, "+e.id); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, func() string { return atLeast("answer by "+e.id, len(ann.got()[handset]), 1) })
		sameSequence(t, "ann from "+handset, ann.got()[handset], []string{"well, " + e.id})
	}
	for _, n := range nodes {
		n.stop()
	}
}
