package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/cluster/view"
)

// keeper renews this node's lease and fences the node when it cannot. [view.Tenure]
// decides; the keeper asks the store, one call at a time, and tells the placement.
type keeper struct {
	l       *Lookup
	node    string // name of the lease; set by start
	log     *zap.Logger
	again   chan struct{} // the view has changed
	closing chan bool     // true: without a word to grains or store
	cancel  context.CancelFunc
	ctx     context.Context
	stopped <-chan struct{}
	ended   chan struct{}
	once    sync.Once
	running bool // start was called

	mu      sync.Mutex
	number  uint64    // of the tenure; 0 when there is none
	until   time.Time // of the tenure
	why     error     // why there is none
	counter uint64
}

func newKeeper(l *Lookup) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	return &keeper{
		l: l, log: l.log, again: make(chan struct{}, 1), closing: make(chan bool, 1),
		ctx: ctx, cancel: cancel, stopped: ctx.Done(), ended: make(chan struct{}),
		why: errors.New("cluster: the node has no lease yet"),
	}
}

func (k *keeper) start(node string) {
	k.mu.Lock()
	k.node, k.running = node, true
	k.mu.Unlock()
	go k.run()
}

// lookAgain has the store asked at once if the node waits for the majority.
func (k *keeper) lookAgain() {
	select {
	case k.again <- struct{}{}:
	default:
	}
}

func (k *keeper) valid() bool { return k.term() != 0 }

// term is the number of the tenure that runs at this moment, 0 if none does.
func (k *keeper) term() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !time.Now().Before(k.until) {
		return 0
	}
	return k.number
}

func (k *keeper) ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.number != 0 && !time.Now().Before(k.until) {
		return errors.New("cluster: the node's lease was not renewed in time")
	}
	return k.why
}

// set says what is so; Ready is called when it changes between an error and none.
func (k *keeper) set(number uint64, until time.Time, why error) {
	k.mu.Lock()
	was := k.why
	k.number, k.until, k.why = number, until, why
	k.mu.Unlock()
	if (was == nil) != (why == nil) && k.l.cfg.Ready != nil {
		k.l.cfg.Ready(why)
	}
}

func (k *keeper) close()   { k.end(false) }
func (k *keeper) abandon() { k.end(true) }

func (k *keeper) end(abandon bool) {
	k.once.Do(func() {
		k.mu.Lock()
		running := k.running
		k.mu.Unlock()
		if running {
			k.closing <- abandon
			<-k.ended
		}
		k.cancel()
	})
}

// answer of the store.
type answer struct {
	asked time.Time
	live  []string
	err   error
	ended bool // it was End that was asked for
}

// run is the keeper's loop: one timer, one call of the store at most.
func (k *keeper) run() {
	defer close(k.ended)
	ttl := k.l.cfg.LeaseTTL
	tenure := view.Tenure{Node: k.node, TTL: ttl}
	answers := make(chan answer, 1)
	asking := false
	var fenced chan struct{} // until the placement closes it: nothing runs any more
	var failed error         // of the last renewal
	closing := false
	due := time.Now() // when to renew next

	call := func(ask func(ctx context.Context) answer) {
		asking = true
		go func() {
			ctx, cancel := context.WithTimeout(k.ctx, ttl/2)
			defer cancel()
			answers <- ask(ctx)
		}()
	}
	renew := func() {
		ask := k.l.cfg.Leases.Renew
		if tenure.Holds() {
			ask = k.l.cfg.Leases.Prolong
		}
		call(func(ctx context.Context) answer {
			asked := time.Now()
			live, err := ask(ctx, k.node, ttl)
			return answer{asked: asked, live: live, err: err}
		})
	}
	end := func() {
		call(func(ctx context.Context) answer {
			return answer{err: k.l.cfg.Leases.End(ctx, k.node), ended: true}
		})
	}
	stop := func(why string) {
		k.log.Warn("this node owns nothing any more", zap.String("why", why))
		k.set(0, time.Time{}, fmt.Errorf("cluster: the node owns nothing: %s", why))
		fenced = make(chan struct{})
		k.l.system.Root.Send(k.l.placement, fence{fenced})
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		// First of all: a process that was paused may be past its lease. (The clock of a
		// machine that was suspended has stood still with it: the next renewal is refused.)
		if tenure.Holds() && !now.Before(tenure.Until()) {
			tenure.Lapse("the lease could not be renewed in time")
			stop(reason(tenure.Why(), failed))
		}
		if tenure.Holds() && k.superseded() {
			tenure.Lapse(superseded)
			stop(superseded)
		}
		wait := ttl
		switch {
		case fenced == nil && !asking && closing:
			return
		case fenced == nil && !asking:
			wait = max(time.Until(due), 0)
		}
		if tenure.Holds() {
			wait = min(wait, max(time.Until(tenure.Until()), 0))
		}
		timer.Reset(wait)

		select {
		case <-timer.C:
			if now := time.Now(); fenced == nil && !asking && !closing && !now.Before(due) && !(tenure.Holds() && !now.Before(tenure.Until())) {
				if due = now.Add(ttl / 5); !k.superseded() {
					renew()
				}
			}
		case <-k.again:
			if !tenure.Holds() && fenced == nil && !asking && failed == nil {
				due = time.Now()
			}
		case <-fenced:
			fenced = nil
			if asking { // its answer is of no use; ending comes after it
				a := <-answers
				asking, failed = false, a.err
			}
			end()
		case a := <-answers:
			asking = false
			if a.ended {
				due = time.Now().Add(ttl/5 + time.Duration(rand.Int64N(int64(ttl/10)))) //nolint:gosec // two nodes out of step
				if a.err != nil && !closing {
					due = time.Now().Add(ttl) // it may still be carried out: not upon a new lease
				}
				continue
			}
			if errors.Is(a.err, journal.ErrNoLease) { // whatever the clock here says
				if tenure.Holds() {
					tenure.Lapse("the lease had run out before it was renewed")
					stop(tenure.Why())
				}
				continue
			}
			if a.err != nil {
				if failed == nil {
					k.log.Warn("the lease cannot be renewed", zap.Error(a.err))
				}
				failed = a.err
				if !tenure.Holds() && fenced == nil {
					k.set(0, time.Time{}, fmt.Errorf("cluster: the node owns nothing: the lease store does not answer: %w", a.err))
				}
				due = time.Now().Add(ttl / 10)
				continue
			}
			failed = nil
			if fenced != nil || closing {
				continue
			}
			due = a.asked.Add(ttl / 5)
			held := tenure.Holds()
			switch tenure.Renewed(a.asked, time.Now(), a.live, k.seen()) {
			case view.Hold:
				if !held {
					k.counter++
					k.log.Info("this node may own things", zap.String("lease", k.node), zap.Strings("live", a.live))
					k.l.system.Root.Send(k.l.placement, takeUp{k.counter})
				}
				k.set(k.counter, tenure.Until(), nil)
			case view.Fence:
				stop(tenure.Why())
			case view.Wait:
				k.set(0, time.Time{}, fmt.Errorf("cluster: the node owns nothing: %s", tenure.Why()))
				end()
			}
		case abandon := <-k.closing:
			if abandon {
				k.set(0, time.Time{}, errors.New("cluster: the node was stopped"))
				return
			}
			closing = true
			tenure.Lapse("it is being stopped")
			if fenced == nil {
				stop(tenure.Why())
			}
		}
	}
}

func reason(why string, err error) string {
	if err != nil {
		return fmt.Sprintf("%s: %v", why, err)
	}
	return why
}

const superseded = "another node of the same name was started later: each needs a name of its own"

// superseded: a later incarnation has this node's name.
func (k *keeper) superseded() bool {
	return selfOf(k.l.state.Load().members, k.l.system.ID) == ""
}

// seen returns the names of the leases of all members, draining ones included.
func (k *keeper) seen() []string {
	members := k.l.state.Load().members
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = nodeName(m.Name, m.ID)
	}
	return names
}
