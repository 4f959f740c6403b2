package simulation

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

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
	cutAt     int  // commits until the power fails in the midst of one; 0: it does not
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
		case p.cutAt == 1, p.killIn == 1 && p.sim.chance(0.5): // at the sync or after it, and before anybody hears of it
			if p.cutAt == 1 {
				cut := p.sim.powerCut()
				p.disk.cut = &cut
			}
			p.mute = true
			commit()
			p.mute = false
			if p.disk.torn != nil {
				p.sim.happened("the power failed at a sync")
			}
			if p.disk.part {
				p.sim.happened("a log was torn")
			}
			p.kill(p.cutAt == 1 || p.sim.chance(0.3))
		default:
			commit()
			p.cutAt = max(0, p.cutAt-1)
			p.stepped()
		}
	}
	p.sim.after(p.sim.between(0, p.disk.latest), p.name+" commits", turn)
}

// stepped counts down to a kill at a chosen step.
func (p *process) stepped() {
	if h := p.host; h.killIn > 0 {
		if h.killIn--; h.killIn == 0 && !h.dead {
			h.kill(p.sim.chance(0.3))
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

// powerCut draws what is left of what was not synced: often nothing.
func (s *sim) powerCut() powerCut {
	cut := powerCut{seed: s.dice.Uint64(), first: s.chance(0.5)}
	if s.chance(0.6) {
		cut.kept = 1 + s.dice.IntN(99)
	}
	return cut
}

// die is kill -9, or the loss of what was not synced, of all or of a part.
func (p *process) die(lost bool) {
	if p.dead {
		return
	}
	p.dead = true
	p.sim.note("%s dies, life %d, power cut: %v", p.name, p.life, lost)
	if p.host != p {
		return
	}
	cut := powerCut{kept: 100} // the kernel has what was not synced
	if lost {
		cut = p.sim.powerCut()
	}
	p.disk.crash(cut)
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
