package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
)

// placement runs this node's grains: its children.
//
//	          asked, ours             acquired
//	(none) ─────────────▶ acquiring ───────────▶ running ──── another's, no hand-over, or fenced ──▶ stopping
//	   ▲                      │                    │ another's: Leave                                   │
//	   │◀──── refused ────────┘                    ▼                                                    │
//	   │                                        leaving ──── HandOverWithin ─────────────────────────▶  │
//	   │                                           │                                                    │
//	   │   released                                ▼ Terminated                                         │
//	   └──────────────── releasing ◀───────────────┴────────────────────────────────────────────────────┘
//
// The store is asked by goroutines, whose answers are messages. Released is only
// what has terminated; a grain that fails is stopped, and made anew under another
// epoch when it is asked for. While the node is fenced, all is stopped and nothing
// is released: the keeper ends the whole lease when nothing runs any more.
type placement struct {
	l      *Lookup
	grains map[key]*grain
	byID   map[string]*grain // by id of PID
	cached map[string]key    // watched elsewhere, by address and id

	term uint64        // of the lease, from the keeper
	done chan struct{} // while fenced: to be closed when nothing runs
	sems map[bool]chan struct{}
}

type grain struct {
	key
	kind    Kind
	stage   stage
	pid     *actor.PID
	epoch   uint64
	waiting []*actor.PID // who asked while it was being acquired
	moved   bool
}

type stage int

const (
	acquiring stage = iota
	running
	leaving
	stopping
	releasing
)

const (
	mostWaiting = 10_000 // for one grain
	storeCalls  = 32     // at a time, for kinds that hand over; as many for the others
	storeWithin = 2 * time.Second
	retryAfter  = 200 * time.Millisecond
)

// Messages to itself.
type (
	viewChanged struct{}
	watchRemote struct {
		key
		pid *actor.PID
	}
	acquired struct {
		key
		term  uint64
		epoch uint64
		err   error
	}
	released struct {
		key
		epoch uint64
		err   error
	}
	releaseDue struct {
		key
		epoch uint64
	}
	leaveDue struct{ pid *actor.PID }
	fence    struct{ done chan struct{} } // from the keeper: stop all, then close done
	stopDue  struct{ done chan struct{} }
	takeUp   struct{ term uint64 } // from the keeper: a lease runs
	healed   struct{ key }
)

func newPlacement(l *Lookup) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &placement{
			l: l, grains: map[key]*grain{}, byID: map[string]*grain{}, cached: map[string]key{},
			sems: map[bool]chan struct{}{true: make(chan struct{}, storeCalls), false: make(chan struct{}, storeCalls)},
		}
	}, actor.WithSupervisor(actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })))
}

func (p *placement) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		p.l.local.Clear()
	case *cluster.ActivationRequest:
		p.onActivationRequest(ctx, m)
	case acquired:
		p.onAcquired(ctx, m)
	case *actor.Terminated:
		p.onTerminated(ctx, m)
	case released:
		p.onReleased(ctx, m)
	case releaseDue:
		if g := p.grains[m.key]; g != nil && g.stage == releasing && g.epoch == m.epoch {
			p.release(ctx, g)
		}
	case healed:
		if g := p.grains[m.key]; g != nil && g.stage == releasing && g.pid == nil {
			delete(p.grains, m.key)
		}
	case viewChanged:
		for _, g := range p.grains {
			p.move(ctx, g)
		}
	case leaveDue:
		if g := p.byID[m.pid.Id]; g != nil && g.stage == leaving {
			p.l.log.Warn("a grain has not left in time and is poisoned", zap.String("kind", g.kind.Name), zap.String("identity", g.identity))
			p.poison(ctx, g)
		}
	case watchRemote:
		id := m.pid.Address + "/" + m.pid.Id
		if _, ok := p.cached[id]; !ok {
			p.cached[id] = m.key
			ctx.Watch(m.pid)
		}
	case fence:
		p.onFence(ctx, m)
	case stopDue:
		if m.done == p.done {
			for _, g := range p.byID {
				ctx.Stop(g.pid)
			}
		}
	case takeUp:
		p.term, p.done = m.term, nil
	}
	p.l.grains.Store(int64(len(p.grains)))
	if p.done != nil && len(p.grains) == 0 {
		close(p.done)
		p.done = nil
	}
}

func refuse(ctx actor.Context, who ...*actor.PID) {
	for _, pid := range who {
		if pid != nil {
			ctx.Send(pid, &cluster.ActivationResponse{Failed: true})
		}
	}
}

func (p *placement) onActivationRequest(ctx actor.Context, m *cluster.ActivationRequest) {
	if m.ClusterIdentity == nil {
		refuse(ctx, ctx.Sender())
		return
	}
	k := key{m.ClusterIdentity.Kind, m.ClusterIdentity.Identity}
	g := p.grains[k]
	switch {
	case g == nil && m.RequestId == forwarded:
		refuse(ctx, ctx.Sender())
		p.heal(ctx, k)
	case g == nil:
		p.acquire(ctx, k)
	case g.stage == acquiring && len(g.waiting) < mostWaiting:
		g.waiting = append(g.waiting, ctx.Sender())
	case g.stage == running || g.stage == leaving:
		if ctx.Sender() != nil {
			ctx.Send(ctx.Sender(), &cluster.ActivationResponse{Pid: g.pid})
		}
	default:
		refuse(ctx, ctx.Sender())
	}
}

// mine says whether this node is to own k, and may own anything.
func (p *placement) mine(k key) bool {
	m, ok := p.l.Owner(k.kind, k.identity)
	return ok && m.Self && p.term != 0 && p.l.keeper.term() == p.term
}

func (p *placement) acquire(ctx actor.Context, k key) {
	kind, known := p.l.kinds[k.kind]
	if !known || !p.mine(k) {
		refuse(ctx, ctx.Sender())
		return
	}
	p.grains[k] = &grain{key: k, kind: kind, stage: acquiring, waiting: []*actor.PID{ctx.Sender()}}
	leases, node, term := p.l.cfg.Leases, p.l.keeper.node, p.term
	p.call(ctx, k, func(c context.Context) any {
		epoch, err := leases.Acquire(c, k.kind, k.identity, node)
		return acquired{k, term, epoch, err}
	})
}

// call asks the store beside the actor; what it returns is told to the actor. What has
// to be handed over does not wait behind the many grains of other kinds.
func (p *placement) call(ctx actor.Context, k key, ask func(context.Context) any) {
	root, self, sem := p.l.system.Root, ctx.Self(), p.sems[p.l.kinds[k.kind].HandOver]
	go func() {
		sem <- struct{}{}
		defer func() { <-sem }()
		c, cancel := context.WithTimeout(context.Background(), storeWithin)
		defer cancel()
		root.Send(self, ask(c))
	}()
}

func (p *placement) onAcquired(ctx actor.Context, m acquired) {
	g := p.grains[m.key]
	if g == nil || g.stage != acquiring || m.term != p.term {
		if m.err == nil { // fenced meanwhile: gone with the lease, or at once
			p.releaseUnknown(ctx, m)
		}
		return
	}
	if m.err != nil {
		delete(p.grains, m.key)
		var owned *journal.OwnedError
		if errors.As(m.err, &owned) {
			p.forward(ctx, g, owned.Node)
			return
		}
		p.l.log.Info("a grain cannot be acquired", zap.String("kind", m.kind), zap.String("identity", m.identity), zap.Error(m.err))
		refuse(ctx, g.waiting...)
		return
	}
	g.epoch = m.epoch
	if !p.mine(m.key) {
		refuse(ctx, g.waiting...)
		g.waiting = nil
		p.release(ctx, g)
		return
	}
	if err := p.spawn(ctx, g); err != nil {
		p.l.log.Error("a grain cannot be started", zap.String("kind", m.kind), zap.String("identity", m.identity), zap.Error(err))
		refuse(ctx, g.waiting...)
		g.waiting = nil
		p.release(ctx, g)
		return
	}
	for _, who := range g.waiting {
		if who != nil {
			ctx.Send(who, &cluster.ActivationResponse{Pid: g.pid})
		}
	}
	g.waiting = nil
}

func (p *placement) spawn(ctx actor.Context, g *grain) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cluster: panic: %v", r)
		}
	}()
	props := g.kind.Props(g.identity, g.epoch)
	if props == nil {
		return errors.New("cluster: its kind gave no props")
	}
	// Another name in each epoch: what is sent to an old one never reaches the new.
	pid, err := ctx.SpawnNamed(props.Clone(actor.WithMailbox(newMailbox(p.l.system))), fmt.Sprintf("%s/%s@%d", g.kind.Name, g.identity, g.epoch))
	if err != nil {
		return err
	}
	g.pid, g.stage = pid, running
	p.byID[pid.Id] = g
	p.l.local.Store(g.key, pid)
	return nil
}

// forward passes who waits on to the node that owns the grain by the store's word:
// while the grain moves, it is still there.
func (p *placement) forward(ctx actor.Context, g *grain, node string) {
	for _, m := range p.l.state.Load().members {
		if !m.Self && nodeName(m.Name, m.ID) == node {
			for _, who := range g.waiting {
				ctx.RequestWithCustomSender(actor.NewPID(m.Address, placementName), activation(g.key, true), who)
			}
			return
		}
	}
	refuse(ctx, g.waiting...) // it died: its lease will
}

// heal releases what this node owns by the store's word and does not run: the
// answer to an Acquire was lost. Until then it is nobody's to acquire here.
func (p *placement) heal(ctx actor.Context, k key) {
	if p.term == 0 || p.done != nil || p.l.keeper.term() != p.term {
		return
	}
	p.grains[k] = &grain{key: k, stage: releasing}
	free := p.free(k)
	p.call(ctx, k, func(c context.Context) any {
		_ = free(c) // who asks next heals again
		return healed{k}
	})
}

// free returns what gives k back, under whatever epoch it is owned now. It may be called
// late: then it does not touch what the node owns under another tenure.
func (p *placement) free(k key) func(context.Context) error {
	leases, keeper, term := p.l.cfg.Leases, p.l.keeper, p.term
	return func(c context.Context) error {
		owner, epoch, err := leases.Owner(c, k.kind, k.identity)
		switch {
		case err != nil:
			return err
		case owner != keeper.node:
			return nil
		case keeper.term() != term: // only after Owner's answer is its epoch of this tenure for sure
			return errTenureOver
		}
		return leases.Release(c, k.kind, k.identity, owner, epoch)
	}
}

var errTenureOver = errors.New("cluster: the tenure is over: all is given back with the lease")

// move sees to it that a grain which another node is to own goes there. If nobody
// is to own it, it stays.
func (p *placement) move(ctx actor.Context, g *grain) {
	to, ok := p.l.Owner(g.key.kind, g.identity)
	if !ok || to.Self || g.stage != running || p.done != nil {
		return
	}
	g.moved = true
	if !g.kind.HandOver {
		p.poison(ctx, g)
		return
	}
	g.stage = leaving
	ctx.Send(g.pid, &Leave{To: to, Within: HandOverWithin})
	p.later(ctx, HandOverWithin, leaveDue{g.pid})
}

func (p *placement) later(ctx actor.Context, after time.Duration, message any) {
	root, self := p.l.system.Root, ctx.Self()
	time.AfterFunc(after, func() { root.Send(self, message) })
}

func (p *placement) poison(ctx actor.Context, g *grain) {
	g.stage = stopping
	p.l.local.Delete(g.key)
	ctx.Poison(g.pid)
}

func (p *placement) onTerminated(ctx actor.Context, m *actor.Terminated) {
	g := p.byID[m.Who.Id]
	if g == nil || m.Who.Address != p.l.system.Address() {
		id := m.Who.Address + "/" + m.Who.Id
		if k, ok := p.cached[id]; ok {
			delete(p.cached, id)
			p.l.forget(k, m.Who)
		}
		return
	}
	delete(p.byID, m.Who.Id)
	p.l.local.CompareAndDelete(g.key, any(g.pid))
	p.l.cluster.PidCache.RemoveByValue(g.identity, g.key.kind, g.pid)
	if p.done != nil {
		delete(p.grains, g.key) // the lease is ended for all
		return
	}
	p.release(ctx, g)
}

// release gives back what has terminated, again until it succeeds: nobody else
// could own it before. A fence ends it: then the whole lease is ended.
func (p *placement) release(ctx actor.Context, g *grain) {
	g.stage = releasing
	k, epoch, free := g.key, g.epoch, p.free(g.key)
	p.call(ctx, k, func(c context.Context) any {
		return released{k, epoch, free(c)}
	})
}

// releaseUnknown gives back an identity whose request was given up meanwhile.
func (p *placement) releaseUnknown(ctx actor.Context, m acquired) {
	leases, node := p.l.cfg.Leases, p.l.keeper.node
	p.call(ctx, m.key, func(c context.Context) any {
		_ = leases.Release(c, m.kind, m.identity, node, m.epoch) // who asks next heals it
		return nil
	})
}

func (p *placement) onReleased(ctx actor.Context, m released) {
	g := p.grains[m.key]
	if g == nil || g.stage != releasing || g.epoch != m.epoch {
		return
	}
	if m.err != nil {
		p.l.log.Info("a grain cannot be released yet", zap.String("kind", m.kind), zap.String("identity", m.identity), zap.Error(m.err))
		p.later(ctx, retryAfter, releaseDue{m.key, m.epoch})
		return
	}
	delete(p.grains, m.key)
	if g.moved && g.kind.HandOver && p.done == nil {
		p.l.activateElsewhere(m.key) // nobody need ask for it
	}
}

// onFence stops everything: grains are told first that they do nothing more.
func (p *placement) onFence(ctx actor.Context, m fence) {
	p.done, p.term = m.done, 0
	for k, g := range p.grains {
		switch g.stage {
		case acquiring:
			refuse(ctx, g.waiting...)
			delete(p.grains, k)
		case releasing:
			delete(p.grains, k)
		default:
			g.stage = stopping
			p.l.local.Delete(k)
			ctx.Send(g.pid, &Fenced{})
			ctx.Poison(g.pid)
		}
	}
	// Stopping overtakes messages, the two above too: it is for whom they do not reach.
	p.later(ctx, p.l.cfg.LeaseTTL/20, stopDue(m))
}
