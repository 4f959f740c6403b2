package cluster_test

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	protoactor "github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/cluster/identitylookup/disthash"
	"github.com/asynkron/protoactor-go/remote"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/cluster"
)

// The provider by itself, for any protoactor cluster.
func ExampleProvider() {
	provider := cluster.NewProvider(cluster.ProviderConfig{
		Name:   "node-1",
		Label:  "orders",
		Listen: "0.0.0.0:7946",
		Join:   []string{"10.0.0.1:7946", "10.0.0.2:7946"},
		Watch:  func(members []cluster.Member) { fmt.Println(len(members), "members") },
	})
	config := protoactor.Configure("orders", provider, disthash.New(), remote.Configure("10.0.0.1", 7000))
	protoactor.New(actor.NewActorSystem(), config).StartMember()
}

// A node with grains of one kind. Leases and TLS are those of all nodes.
func ExampleStart() {
	var shared cluster.Config // Leases, TLS, KeyFile, Log
	config := shared
	config.Name, config.Cluster = "hub-1", "production"
	config.Listen, config.Remote = "10.0.0.1:7946", "10.0.0.1:7000"
	config.Join = []string{"10.0.0.2:7946", "10.0.0.3:7946"}
	config.Kinds = []cluster.Kind{{
		Name:     "ring",
		HandOver: true,
		Props: func(identity string, epoch uint64) *actor.Props {
			return actor.PropsFromFunc(func(ctx actor.Context) {
				switch m := ctx.Message().(type) {
				case *cluster.Leave: // bring it to an end, then
					ctx.Poison(ctx.Self())
				case *cluster.Fenced: // write and send nothing more
					_ = m
				}
			})
		},
	}}
	node, err := cluster.Start(config)
	if err != nil {
		zap.L().Fatal("cannot start", zap.Error(err))
	}
	defer func() { _ = node.Stop() }()
}
