package simulation

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/messages"
)

// process is one life of a hub or an edge: its actors, its store, its disk. It
// ends by being killed.
type process struct {
	sim  *sim
	name string
	life int
	disk *disk
	root *actor.RootContext

	dead, paused bool
	pids         []*actor.PID
	close        func() error // of the store
	killIn       int          // steps until it is killed; 0: it is not
	kill         func()
	observe      func(*messages.RingState)
}

// disk is what outlives a process.
type disk struct {
	fs     *vfs.MemFS
	latest time.Duration // longest that a commit takes, for now
}

func newDisk() *disk { return &disk{fs: vfs.NewCrashableMem(), latest: 2 * time.Millisecond} }

func (s *sim) start(name string, life int, d *disk) *process {
	p := &process{sim: s, name: name, life: life, disk: d}
	p.root = s.system.Root.Copy().WithSpawnMiddleware(p.spawning)
	return p
}

// spawning gives every actor of the process, and its children in turn, a mailbox
// of the simulation.
func (p *process) spawning(next actor.SpawnFunc) actor.SpawnFunc {
	return func(system *actor.ActorSystem, id string, props *actor.Props, parent actor.SpawnerContext) (*actor.PID, error) {
		p.sim.boxes++
		name := id[strings.LastIndexByte(id, '/')+1:]
		if i := strings.IndexByte(name, '$'); i >= 0 {
			name = name[:i]
		}
		b := &mailbox{process: p, number: p.sim.boxes, name: name}
		pid, err := next(system, id, props.Clone(
			actor.WithMailbox(func() actor.Mailbox { return b }), actor.WithSpawnMiddleware(p.spawning),
		), parent)
		if err == nil {
			p.pids = append(p.pids, pid)
		}
		return pid, err
	}
}

func (p *process) spawn(props *actor.Props, name string) *actor.PID {
	return p.root.SpawnPrefix(props, name)
}

func (p *process) tell(pid *actor.PID, message any) {
	if !p.dead {
		p.sim.system.Root.Send(pid, message)
	}
}

// commit is the store's Defer: the disk takes its time.
func (p *process) commit(commit func()) {
	var turn func()
	turn = func() {
		switch {
		case p.dead:
		case p.paused:
			p.sim.after(10*time.Millisecond, "commit, later", turn)
		case p.killIn == 1 && p.sim.chance(0.5): // after the sync, and before anybody hears of it
			p.dead = true
			commit()
			p.dead = false
			p.kill()
		default:
			commit()
			p.stepped()
		}
	}
	p.sim.after(p.sim.between(0, p.disk.latest), p.name+" commits", turn)
}

// stepped counts down to a kill at a chosen step.
func (p *process) stepped() {
	if p.killIn > 0 {
		if p.killIn--; p.killIn == 0 && !p.dead {
			p.kill()
		}
	}
}

func (p *process) seen(message any) {
	if _, m, _ := actor.UnwrapEnvelope(message); m != nil && p.observe != nil {
		if state, ok := m.(*messages.RingState); ok {
			p.observe(state)
		}
	}
}

// die is kill -9, or with powerCut the loss of all that was not synced.
func (p *process) die(powerCut bool) {
	if p.dead {
		return
	}
	p.dead = true
	kept := 100 // per cent of what was not synced: the kernel has it
	if powerCut {
		kept = 0
	}
	old := p.disk.fs
	p.disk.fs = old.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: p.sim.dice})
	p.sim.note("%s dies, life %d, power cut: %v", p.name, p.life, powerCut)
	if err := p.close(); err != nil && p.sim.failed == nil { // nobody sees it: ends the store's goroutines
		p.sim.failed = fmt.Errorf("simulation: closing a dead store: %w", err)
	}
}

// forget takes the actors out of the system, which outlives the history.
func (p *process) forget() {
	for _, pid := range p.pids {
		p.sim.system.ProcessRegistry.Remove(pid)
	}
}

var errUnreachable = errors.New("simulation: nobody answers")
