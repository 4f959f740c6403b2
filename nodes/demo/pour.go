package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/simulator"
)

const (
	pourers      = 20
	pourHandsets = 200
	pourEvery    = 25 * time.Millisecond
	pourPerTurn  = 50 // down: 2,000 a second at most
	upPerTurn    = 10 // up while nothing can come down
	// pourLimit ends a pour that was forgotten: it fills memory and disk.
	pourLimit  = 10 * time.Minute
	leastAhead = 100
	// smscAhead is how many parts wait in the SMSC at most; it keeps them in memory.
	smscAhead = 64
)

// pour is many people and handsets who write to each other, both ways through
// hub, link and edge, as fast as the system takes them and no further ahead
// than the bounds.
//
//	hub.Submit ─▶ down ─▶ handsets        @pourN text ─▶ SMSC ─▶ up ─▶ hub.Subscribe
type pour struct {
	rig         *Rig
	ahead       int            // accepted and not yet processed, either way
	aheadCut    int            // so many more while the link is cut
	drains      func() float64 // messages/s; then no further ahead than leastAhead or 2 s of it. nil: no matter
	arrived     func() uint64  // texts that have reached handsets through the system
	ledger      *ledger        // nil: nobody keeps count
	users       []string
	numbers     []string
	mine        map[string]bool // numbers
	handsets    []*simulator.Handset
	subscribers []*hub.Subscription

	until    atomic.Pointer[time.Time] // pouring until then; nil: not
	underWay atomic.Int64              // submitted and neither accepted nor refused
	received atomic.Uint64             // texts that reached people
	next     uint64                    // number of the next text
	answered uint64                    // of arrived at the last turn
	readers  sync.WaitGroup
}

func newPour(rig *Rig, b bounds, arrived func() uint64, ledger *ledger) (*pour, error) {
	p := &pour{rig: rig, ahead: b.ahead, aheadCut: b.aheadCut, arrived: arrived, ledger: ledger, next: firstText(), mine: map[string]bool{}}
	for i := range pourHandsets {
		number := fmt.Sprintf("+63917%07d", 1_000_000+i)
		h, err := rig.SMSC.Handset(number)
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
		p.numbers, p.handsets = append(p.numbers, number), append(p.handsets, h)
		p.mine[number] = true
	}
	for i := range pourers {
		p.users = append(p.users, fmt.Sprintf("pour%d", i+1))
	}
	return p, nil
}

// delivered is told each text that a handset has received, somebody else's too.
func (p *pour) delivered(number, text string) {
	if p.ledger != nil && p.mine[number] {
		p.ledger.arrive("down", number, text)
	}
}

// subscribe lets the people read; once they exist.
func (p *pour) subscribe() error {
	for _, user := range p.users {
		s, err := p.rig.Hub.Subscribe(user, hub.SubscribeOptions{Device: "pour", FinalOnly: true})
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		p.subscribers = append(p.subscribers, s)
		p.readers.Go(func() {
			for batch := range s.C {
				for _, e := range batch {
					if e.State == 0 {
						p.take(user, e)
					}
				}
				s.More()
			}
		})
	}
	return nil
}

func (p *pour) take(user string, e hub.Event) {
	p.received.Add(1)
	p.rig.Hub.MarkReceived(user, "pour", e.ID, func(error) {})
	if p.ledger != nil {
		p.ledger.arrive("up", user, e.Text)
	}
}

// close ends the subscriptions; the hub still runs.
func (p *pour) close() {
	for _, s := range p.subscribers {
		s.Close()
	}
	p.readers.Wait()
}

func (p *pour) set(on bool) {
	if !on {
		p.until.Store(nil)
		return
	}
	until := time.Now().Add(pourLimit)
	p.until.Store(&until)
}

func (p *pour) on() bool {
	until := p.until.Load()
	return until != nil && time.Now().Before(*until)
}

// run pours until ctx is done.
func (p *pour) run(ctx context.Context) {
	tick := time.NewTicker(pourEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if p.on() {
				down, up := p.room()
				p.down(ctx, min(down, pourPerTurn))
				p.up(up)
			}
		}
	}
}

// room is how many may be sent now, each way.
func (p *pour) room() (down, up int) {
	limit := p.ahead
	if p.drains != nil {
		limit = min(limit, max(leastAhead, int(2*p.drains())))
	}
	if p.rig.WAN.IsCut() {
		limit += p.aheadCut
	}
	if rings := p.rig.Hub.Rings(); len(rings) > 0 && rings[0].Hub.Down != nil {
		down = limit - waiting(rings[0].Hub.Down) - int(p.underWay.Load())
	}
	if _, ring, err := p.rig.Edge.Rings(false); err == nil {
		up = limit - waiting(ring)
	}
	smsc := p.rig.SMSC.Stats()
	up = min(up, smscAhead-int(smsc.MOQueued-smsc.MOAcked-smsc.MORefused))
	fair, arrived := upPerTurn, p.arrived() // handsets answer every other text
	if !p.rig.WAN.IsCut() {
		fair = max(1, int(arrived-p.answered)/2)
	}
	p.answered = arrived
	return down, min(up, fair)
}

func (p *pour) down(ctx context.Context, n int) {
	for range n {
		user, to, text := p.users[rand.IntN(pourers)], p.numbers[rand.IntN(pourHandsets)], p.text()
		if p.ledger != nil {
			p.ledger.submit("down", user, to, text)
		}
		p.underWay.Add(1)
		p.rig.Hub.Submit(ctx, hub.Submission{From: user, To: to, Text: text, Class: hub.Bulk, Sender: "pour " + user}, func(_ hub.Accepted, err error) {
			p.underWay.Add(-1)
			if err == nil && p.ledger != nil {
				p.ledger.accept("down", text)
			}
		})
	}
}

func (p *pour) up(n int) {
	for range n {
		user, i, text := p.users[rand.IntN(pourers)], rand.IntN(pourHandsets), p.text()
		if p.ledger != nil {
			p.ledger.submit("up", p.numbers[i], user, text)
		}
		// It fails while somebody has switched the handset off.
		if err := p.handsets[i].Send(Number, "@"+user+" "+text); err == nil && p.ledger != nil {
			p.ledger.accept("up", text)
		}
	}
}

func (p *pour) text() string {
	p.next++
	return textNumber(p.next)
}
