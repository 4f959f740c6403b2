//go:build race

package cluster

import (
	"fmt"
	"net"
	"reflect"
	"unsafe"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
)

// startCluster does under the race detector what StartClient of protoactor's cluster
// does, less one line: remote.Start sets gRPC's global logger, which races with
// whatever gRPC does elsewhere in the process, and the detector would fail every test
// with two nodes. Nothing but such tests runs this.
func startCluster(c *cluster.Cluster) {
	c.Remote = remote.NewRemote(c.ActorSystem, c.Config.RemoteConfig)
	startRemote(c.Remote, c.ActorSystem, c.Config.RemoteConfig)
	c.IdentityLookup = c.Config.IdentityLookup
	c.IdentityLookup.Setup(c, c.GetClusterKinds(), true)
	if err := c.Config.ClusterProvider.StartClient(c); err != nil {
		panic(err)
	}
	c.PubSub.Start()
}

func startRemote(r *remote.Remote, system *actor.ActorSystem, cfg *remote.Config) {
	listener, err := net.Listen("tcp", cfg.Address())
	if err != nil {
		panic(fmt.Errorf("failed to listen: %w", err))
	}
	system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) { return remoteHandler(r, pid) })
	system.ProcessRegistry.Address = cfg.AdvertisedHost
	if cfg.AdvertisedHost == "" {
		system.ProcessRegistry.Address = listener.Addr().String()
	}
	manager := newEndpointManager(r)
	*(*unsafe.Pointer)(field(r, "edpManager").UnsafePointer()) = manager
	startEndpointManager(manager)
	server := grpc.NewServer(cfg.ServerOptions...)
	*(**grpc.Server)(field(r, "s").UnsafePointer()) = server
	reader := field(r, "edpReader")
	*(*unsafe.Pointer)(reader.UnsafePointer()) = newEndpointReader(r)
	remote.RegisterRemotingServer(server, reader.Elem().Interface().(remote.RemotingServer))
	go func() { _ = server.Serve(listener) }()
}

// field returns a pointer to a field of r.
func field(r *remote.Remote, name string) reflect.Value {
	f := reflect.ValueOf(r).Elem().FieldByName(name)
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr()))
}

//go:linkname newEndpointManager github.com/asynkron/protoactor-go/remote.newEndpointManager
func newEndpointManager(r *remote.Remote) unsafe.Pointer

//go:linkname startEndpointManager github.com/asynkron/protoactor-go/remote.(*endpointManager).start
func startEndpointManager(manager unsafe.Pointer)

//go:linkname newEndpointReader github.com/asynkron/protoactor-go/remote.newEndpointReader
func newEndpointReader(r *remote.Remote) unsafe.Pointer

//go:linkname remoteHandler github.com/asynkron/protoactor-go/remote.(*Remote).remoteHandler
func remoteHandler(r *remote.Remote, pid *actor.PID) (actor.Process, bool)
