package hub

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// newKeeper returns the props of the actor that sees to it that each edge whose rings
// belong to this hub has them here, without anybody asking for them.
func newKeeper(c *member) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &keeper{cluster: c, asking: map[string]bool{}} })
}

type keeper struct {
	cluster *member
	asking  map[string]bool // edges whose rings are being activated
}

// look (the cluster to the keeper): members have changed.
type look struct{}

type lookDue struct{}

type activated struct {
	edge string
	err  error
}

const (
	lookEvery      = time.Second
	activateWithin = 5 * time.Second
)

func (k *keeper) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started, lookDue:
		k.look(ctx)
		root, self := ctx.ActorSystem().Root, ctx.Self()
		time.AfterFunc(lookEvery, func() { root.Send(self, lookDue{}) })
	case look:
		k.look(ctx)
	case activated:
		delete(k.asking, m.edge)
		if m.err != nil {
			k.cluster.hub.log.Debug("rings are not here yet", zap.String("edge", m.edge), zap.Error(m.err))
		}
	}
}

func (k *keeper) look(ctx actor.Context) {
	for _, cfg := range k.cluster.hub.cfg.Edges {
		id := cfg.ID
		if k.asking[id] || !k.cluster.lacks(id) {
			continue
		}
		k.asking[id] = true
		root, self := ctx.ActorSystem().Root, ctx.Self()
		go func() {
			within, cancel := context.WithTimeout(context.Background(), activateWithin)
			defer cancel()
			root.Send(self, activated{id, k.cluster.activate(within, id)})
		}()
	}
}
