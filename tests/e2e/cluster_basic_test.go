package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Three hubs, two edges: whoever is at whichever hub reaches everybody, sees who is
// there and where the rings stand, and goes on at another hub where he stood.
func TestClusterBasics(t *testing.T) {
	t.Parallel()
	const limit = time.Minute // hints between hubs may get lost: what is said again, or looked for, takes 20 s
	h := newHubs(t, 3, 0)
	manila, cebu := h.edge("manila-1", "+63917", "cimd2"), h.edge("cebu-1", "+63918", "smpp")
	h.knows(cebu, h.nodes[2]) // it hears of the others
	h.configured(6)
	h.start()

	t.Run("logins and presence", func(t *testing.T) {
		ann := newPerson(h.any(0), "ann").online()
		newPerson(h.any(1), "bob")
		for _, n := range h.nodes {
			at := api{t: t, base: "http://" + n.http, token: ann.token}
			want := map[string]string{"ann": "online", "bob": "offline"}
			eventually(t, limit, func() string {
				for name, state := range want {
					var is struct{ State string }
					if _, _, err := at.try(t.Context(), "GET", "/v1/presence/"+name, nil, &is); err != nil || is.State != state {
						return fmt.Sprintf("%s at %s is %q, want %s: %v", name, n.name, is.State, state, err)
					}
				}
				return ""
			})
		}
		// A new password counts everywhere, and ends the logins.
		h.api(h.nodes[1]).call("PUT", "/v1/users/bob", map[string]string{"password": "another one"}, nil)
		for _, n := range h.nodes {
			at := api{t: t, base: "http://" + n.http}
			at.call("POST", "/v1/login", map[string]string{"user": "bob", "password": "another one"}, nil)
			if status, _, err := at.try(t.Context(), "POST", "/v1/login", map[string]string{"user": "bob", "password": "correct horse"}, nil); status != http.StatusUnauthorized {
				t.Errorf("%s takes the old password: %d %v", n.name, status, err)
			}
		}
		ann.offline()
	})

	t.Run("metrics of a cluster", func(t *testing.T) {
		for _, n := range h.nodes {
			at := h.api(n)
			eventually(t, limit, func() string {
				if members := at.metric("ringway_cluster_members", ""); members != 3 {
					return fmt.Sprintf("%s counts %v members", n.name, members)
				}
				return ""
			})
			if n := at.metric("ringway_store_fsync_seconds_count", `store="postgres"`); n < 1 {
				t.Errorf("%v transactions were timed", n)
			}
			if got := at.families(); got["ringway_inbox_messages"].kind != "gauge" || got["ringway_presence_users"].kind != "gauge" {
				t.Errorf("%s does not say what the store holds", n.name)
			}
		}
	})

	t.Run("rings are the same everywhere and spread", func(t *testing.T) {
		eventually(t, 20*time.Second, func() string { return h.agree(8) })
		count := map[string]int{}
		owners, err := h.owners(h.nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, owner := range owners {
			count[owner]++
		}
		t.Logf("rings: %v", count)
	})

	t.Run("messages", func(t *testing.T) {
		// People at different hubs, each edge's rings at one of them.
		var people []*person
		for i := range 3 {
			people = append(people, newPerson(h.any(i), fmt.Sprint("user-", i+1)).online())
		}
		for i, p := range people {
			to := people[(i+1)%3]
			p.send(to.name, "from "+p.name)
			eventually(t, limit, func() string { return atLeast(to.name+" has", len(to.got()[p.name]), 1) })
			for _, e := range []*siteEdge{manila, cebu} {
				handset := fmt.Sprintf("%s000000%d", e.prefix, i)
				p.reaches(p.send(handset, "hello from "+p.name), "delivered", limit)
				if err := e.smsc(t).send(handset, e.number, "hello "+p.name); err != nil {
					t.Fatal(err)
				}
				eventually(t, limit, func() string { return atLeast(p.name+" has from "+handset, len(p.got()[handset]), 1) })
			}
		}
	})

	t.Run("a stream goes on at another hub", func(t *testing.T) {
		from, to := newPerson(h.any(0), "sender").online(), newPerson(h.any(1), "reader").online()
		var want []string
		for i := range 30 {
			text := fmt.Sprint("text ", i)
			want = append(want, text)
			from.send("reader", text)
			if i%10 == 5 { // his hub falls silent: he goes on at the next
				eventually(t, limit, func() string { return atLeast("read", len(to.got()["sender"]), i) })
				n := h.nodes[(1+i/10)%3]
				n.hang(true)
				defer n.hang(false)
				h.nodes[(i/10)%3].hang(false)
			}
		}
		eventually(t, limit, func() string { return atLeast("read", len(to.got()["sender"]), len(want)) })
		sameSequence(t, "reader", to.got()["sender"], want)
		if to.streams < 3 {
			t.Errorf("he had %d streams, want 3: he never moved", to.streams)
		}
	})
	for _, n := range h.nodes {
		n.stop()
	}
}

// agree says what is missing until all hubs say the same of so many rings, and each
// has an owner.
func (h *hubs) agree(edges int) string {
	var first map[string]string
	for _, n := range h.running() {
		owners, err := h.owners(n)
		if err != nil {
			return err.Error()
		}
		if first == nil {
			first = owners
		}
		if len(owners) != edges || fmt.Sprint(owners) != fmt.Sprint(first) {
			return fmt.Sprintf("%s says %v, want %d like %v", n.name, owners, edges, first)
		}
		for edge, owner := range owners {
			if owner == "" {
				return fmt.Sprintf("%s knows no owner of %s", n.name, edge)
			}
		}
	}
	return ""
}
