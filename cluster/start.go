//go:build !race

package cluster

import (
	"io"
	"os"

	"github.com/asynkron/protoactor-go/cluster"
	"google.golang.org/grpc/grpclog"
)

// startCluster starts protoactor's cluster as a client (see asMember). It panics when
// it cannot listen. On the way it silences gRPC's log for the whole process: gRPC's
// default is put back.
func startCluster(c *cluster.Cluster) {
	defer grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
	c.StartClient()
}
