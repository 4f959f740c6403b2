package cluster

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	protocluster "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/cluster/identitylookup/disthash"
	"github.com/asynkron/protoactor-go/remote"
)

// TestProviderAlone: with protoactor's own lookup and start; draining members are
// out of its topology, clients never in it.
func TestProviderAlone(t *testing.T) {
	if slow > 1 {
		t.Skip("protoactor's gossip races with itself")
	}
	topologies := make(chan *protocluster.ClusterTopology, 64)
	var seeds []string
	start := func(name string, client bool) *Provider {
		p := NewProvider(ProviderConfig{Name: name, Label: "alone", Listen: "127.0.0.1:0", Join: seeds})
		system := actor.NewActorSystem(actorLog(p.log))
		c := protocluster.New(system, protocluster.Configure("alone", p, disthash.New(), remote.Configure("127.0.0.1", 0),
			protocluster.WithKinds(protocluster.NewKind("thing", actor.PropsFromFunc(func(actor.Context) {})))))
		if name == "a" {
			system.EventStream.Subscribe(func(event any) {
				if topology, ok := event.(*protocluster.ClusterTopology); ok {
					topologies <- topology
				}
			})
		}
		if client {
			c.StartClient()
		} else {
			c.StartMember()
		}
		t.Cleanup(func() {
			for range 2 {
				if err := p.Shutdown(true); err != nil {
					t.Error(err)
				}
			}
			c.Remote.Shutdown(false)
		})
		seeds = append(seeds, p.GossipAddress())
		return p
	}
	expect := func(members int) {
		t.Helper()
		got := <-topologies
		if len(got.Members) != members {
			t.Fatalf("%d members; want %d: %v", len(got.Members), members, got)
		}
		for _, m := range got.Members {
			if len(m.Kinds) != 1 || m.Kinds[0] != "thing" {
				t.Errorf("kinds of %s: %v", m.Id, m.Kinds)
			}
		}
	}
	start("a", false)
	expect(1)
	b := start("b", false)
	expect(2)
	client := start("c", true)
	eventually(t, "the client sees both", func() error {
		if len(client.Members()) != 2 {
			return errBroken
		}
		return nil
	})
	for _, draining := range []bool{true, false} {
		if err := b.SetDraining(draining); err != nil {
			t.Fatal(err)
		}
		if draining {
			expect(1)
		} else {
			expect(2) // under another id
		}
	}
	if err := b.SetAttributes(map[string]string{"http": string(make([]byte, 600))}); err == nil {
		t.Error("too many attributes are taken")
	}
	if err := b.Shutdown(true); err != nil {
		t.Fatal(err)
	}
	expect(1)
}
