package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"

	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/web"
)

// Users of the demo, with passwords that it shows to everybody.
var Users = []User{{"alice", "wonderland"}, {"bob", "builder1"}}

// Handsets that the page shows.
var Handsets = []string{"+639170000001", "+639170000002"}

// User is a person of the demo.
type User struct {
	Name     string `json:"user"`
	Password string `json:"password"`
}

// rateWindow is over how long rates are means, sampled every sampleEvery.
const (
	rateWindow  = 2 * time.Second
	sampleEvery = 200 * time.Millisecond
)

// Demo is the rig with people, traffic on request, a rival for comparison, and
// an HTTP API for all that.
type Demo struct {
	cfg    RigConfig
	rig    *Rig
	pour   *pour
	direct *direct
	api    *web.Server
	line   sync.Mutex // both relays change together

	downRate, upRate, directRate meter
}

// bounds of a pour: see pour.
type bounds struct{ ahead, aheadCut int }

// New builds the system in cfg.Dir, or opens what an earlier one left there.
func New(ctx context.Context, cfg RigConfig) (*Demo, error) {
	return newDemo(ctx, cfg, bounds{2000, 20_000}, nil)
}

func newDemo(ctx context.Context, cfg RigConfig, b bounds, ledger *ledger) (d *Demo, err error) {
	cfg.Receipts = true
	// As SMSCs do: else receipts, one a message down, and texts up would wait for each other.
	// What goes to the SMSC is stop-and-wait all the same.
	cfg.Window = 8
	// What everybody is shown needs no slow hash.
	cfg.HubOpts = append(cfg.HubOpts, hub.WithPasswordCost(bcrypt.MinCost))
	rig, err := Start(cfg)
	if err != nil {
		return nil, err
	}
	d = &Demo{cfg: rig.cfg, rig: rig}
	for _, m := range []*meter{&d.downRate, &d.upRate, &d.directRate} {
		m.window = rateWindow
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.pour, err = newPour(rig, b, d.arrived, ledger); err != nil {
		return d, err
	}
	if ledger != nil { // what waits must arrive before the verdict, on a slow machine too
		d.pour.drains = d.downRate.rate
	}
	if d.direct, err = newDirect(rig, d.pour.on); err != nil {
		return d, err
	}
	rig.SMSC.OnDelivered(d.delivered)
	if err := d.addUsers(ctx); err != nil {
		return d, err
	}
	if err := d.pour.subscribe(); err != nil {
		return d, err
	}
	d.api, err = web.New(rig.Hub, web.Config{
		Gatherer: rig.HubMetrics, Registerer: rig.HubMetrics, Console: d.console(), Log: rig.cfg.Log.Named("web"),
	})
	return d, err
}

// addUsers creates those that an earlier run has not.
func (d *Demo) addUsers(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	add := func(name, password string) {
		group.Go(func() error {
			_, err := d.rig.Hub.Presence(ctx, name)
			if errors.Is(err, hub.ErrNoUser) {
				_, err = d.rig.Hub.PutUser(ctx, name, password)
			}
			if err != nil {
				return fmt.Errorf("demo: user %s: %w", name, err)
			}
			return nil
		})
	}
	for _, u := range Users {
		add(u.Name, u.Password)
	}
	for _, name := range d.pour.users {
		add(name, name)
	}
	return group.Wait()
}

// console has every path that the hub's API has not: the demo's API and the page.
func (d *Demo) console() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/demo/", d.handler())
	mux.Handle("/", web.StaticHandler(web.StaticFS()))
	return mux
}

// Serve answers on a listener until ctx is done. Close follows.
func (d *Demo) Serve(ctx context.Context, listener net.Listener) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // the hub outlives its API
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer stop()
		return d.api.Serve(ctx, listener)
	})
	group.Go(func() error { return d.rig.Hub.Run(serving) })
	group.Go(func() error { d.pour.run(ctx); return nil })
	group.Go(func() error { d.direct.run(ctx); return nil })
	group.Go(func() error { d.sample(ctx); return nil })
	group.Go(func() error { return d.watch(ctx) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// watch ends Serve where the edge's journal has failed: the disk is full, say.
func (d *Demo) watch(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- d.rig.Edge.Failed() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// sample feeds the rates until ctx is done.
func (d *Demo) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			d.downRate.add(now, d.arrived(), now)
			d.upRate.add(now, d.pour.received.Load(), now)
			count, last := d.direct.texts()
			d.directRate.add(now, count, last)
		}
	}
}

// delivered is told each text that a handset has received; the SMSC waits for it.
func (d *Demo) delivered(number, _, text string) {
	if number == directHandset {
		d.direct.last.Store(time.Now().UnixNano())
		return
	}
	d.pour.delivered(number, text)
}

// arrived is how many texts have reached handsets through hub and edge.
func (d *Demo) arrived() uint64 {
	directly, _ := d.direct.texts() // before the sum, which only grows
	return d.rig.SMSC.Stats().ReceivedTexts - directly
}

// Close ends everything; Serve has returned.
func (d *Demo) Close() error {
	var errs []error
	if d.pour != nil {
		d.pour.close()
	}
	if d.direct != nil {
		errs = append(errs, d.direct.close())
	}
	return errors.Join(append(errs, d.rig.Close())...)
}

// setCut cuts both lines or restores them.
func (d *Demo) setCut(cut bool) {
	d.line.Lock()
	defer d.line.Unlock()
	if cut {
		d.rig.WAN.Cut()
		d.direct.wan.Cut()
	} else {
		d.rig.WAN.Restore()
		d.direct.wan.Restore()
	}
}

// setWAN changes both lines.
func (d *Demo) setWAN(rtt, jitter time.Duration) {
	d.line.Lock()
	defer d.line.Unlock()
	d.rig.WAN.SetRTT(rtt)
	d.rig.WAN.SetJitter(jitter)
	d.direct.wan.SetRTT(rtt)
	d.direct.wan.SetJitter(jitter)
	d.cfg.Jitter = jitter
}

func (d *Demo) jitter() time.Duration {
	d.line.Lock()
	defer d.line.Unlock()
	return d.cfg.Jitter
}
