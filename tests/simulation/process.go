package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// process is one life of a hub or an edge: its actors, its store, its disk. It
// ends by being killed.
type process struct {
	sim  *sim
	name string
	life int
	root *actor.RootContext

	dead, paused bool
	pids         []*actor.PID
	session      *actor.PID // of the link
	observe      func(*messages.RingState)
	wake         func() // a hub's: messages wait

	// host has the store and the disk: the process itself, or where a second hub
	// takes over, what both use.
	host      *process
	disk      *disk
	fs        *diskFS
	close     func() error // of the store
	kill      func(powerCut bool)
	mute      bool // nobody hears any more
	killIn    int  // steps until it is killed; 0: it is not
	killAtAck int  // acknowledgements until it is killed; 0: it is not
}

func (s *sim) start(name string, life int, host *process) *process {
	p := &process{sim: s, name: name, life: life, host: host}
	if host == nil {
		p.host = p
	}
	p.root = s.system.Root.Copy().WithSpawnMiddleware(p.spawning)
	return p
}

func (p *process) alive() bool { return p != nil && !p.dead }

// deaf: what is told now never arrives.
func (p *process) deaf() bool { return p.dead || p.host.dead || p.host.mute }

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
	if !p.deaf() {
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
			p.mute = true
			commit()
			p.mute = false
			p.kill(false)
		default:
			commit()
			p.stepped()
		}
	}
	p.sim.after(p.sim.between(0, p.disk.latest), p.name+" commits", turn)
}

// stepped counts down to a kill at a chosen step.
func (p *process) stepped() {
	if h := p.host; h.killIn > 0 {
		if h.killIn--; h.killIn == 0 && !h.dead {
			h.kill(false)
		}
	}
}

// acknowledged counts down to a kill just after an acknowledgement has left: what it
// said must be on disk by then, and a slow disk still has the rest.
func (p *process) acknowledged() {
	h := p.host
	if h.dead || h.killAtAck == 0 {
		return
	}
	if h.killAtAck--; h.killAtAck == 0 {
		p.sim.after(p.sim.between(0, 2*time.Millisecond), h.name+" killed", func() {
			if !h.dead {
				p.sim.happened("killed at an acknowledgement")
				h.kill(p.sim.chance(0.5))
			}
		})
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
	p.sim.note("%s dies, life %d, power cut: %v", p.name, p.life, powerCut)
	if p.host != p {
		return
	}
	kept := 100 // per cent of what was not synced: the kernel has it
	if powerCut {
		kept = 0
	}
	// Dice of its own: how often it throws them depends on goroutines of Pebble's.
	p.disk.mem = p.disk.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(1, 1))})
	p.fs.over.Store(true)
	if err := p.close(); err != nil && !errors.Is(err, kv.ErrFailed) && p.sim.failed == nil { // nobody sees it: ends the store's goroutines
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
