package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/simulator"
	"github.com/ringway-im/ringway/smsc/text"
)

// feedEvery is how often what was delivered is made good at the other end.
const feedEvery = 20 * time.Millisecond

func fits(s string) bool {
	n := utf8.RuneCountInString(s)
	parts, _, err := text.Parts("@p15 " + s)
	return err == nil && parts == 1 && n >= 20 && n <= 150 && s[0] != '@'
}

// ticking calls f every feedEvery until ctx is done or f fails.
func ticking(ctx context.Context, f func() error) error {
	ticker := time.NewTicker(feedEvery)
	defer ticker.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// feedDown lets people send to handsets: o.ahead messages are accepted and not
// yet done.
func feedDown(ctx context.Context, o options, h *hub.Hub, done func() uint64) error {
	var sent uint64
	failed := make(chan error, 1)
	return ticking(ctx, func() error {
		for ; sent < done()+uint64(o.ahead); sent++ {
			i := int(sent)
			h.Submit(ctx, hub.Submission{
				From: person(i % people), To: number(i % o.recipients), Text: o.texts[i%len(o.texts)], Sender: "bench",
			}, func(_ hub.Accepted, err error) {
				if err != nil && ctx.Err() == nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
		}
		select {
		case err := <-failed:
			return err
		default:
			return nil
		}
	})
}

// feedUp lets handsets send to people: o.ahead messages wait in the SMSC.
func feedUp(ctx context.Context, o options, sim *simulator.Simulator) error {
	var sent uint64
	return ticking(ctx, func() error {
		for stats := sim.Stats(); sent < stats.MOAcked+uint64(o.ahead); sent++ {
			if err := sendUp(o, sim, int(sent)); err != nil {
				return err
			}
		}
		return nil
	})
}

// fillUp does so at once, for a client that takes no longer than o.bare.
func fillUp(ctx context.Context, o options, sim *simulator.Simulator) error {
	n := int((o.bare + 10*time.Second) / max(o.latency, 200*time.Microsecond))
	for i := 0; i < n && ctx.Err() == nil; i++ {
		if err := sendUp(o, sim, i); err != nil {
			return err
		}
	}
	return nil
}

func sendUp(o options, sim *simulator.Simulator, i int) error {
	handset, err := sim.Handset(number(i % o.recipients))
	if err != nil {
		return err
	}
	return handset.Send(demo.Number, "@"+person(i%people)+" "+o.texts[i%len(o.texts)])
}

// inboxes counts the messages in people's inboxes as their clients see them:
// the hub shows nothing that is not durable.
type inboxes struct {
	count atomic.Uint64
	subs  []*hub.Subscription
}

// open creates the people and signs them in.
func open(ctx context.Context, h *hub.Hub) (*inboxes, error) {
	in := &inboxes{}
	for i := range people {
		if _, err := h.PutUser(ctx, person(i), "correct horse"); err != nil {
			return nil, err
		}
		sub, err := h.Subscribe(person(i), hub.SubscribeOptions{Device: "bench", Resume: true, FinalOnly: true})
		if err != nil {
			return nil, err
		}
		in.subs = append(in.subs, sub)
		go func() {
			for events := range sub.C {
				for _, e := range events {
					if e.State == 0 {
						in.count.Add(1)
					}
				}
				sub.More()
			}
		}()
	}
	return in, nil
}

func (in *inboxes) close() {
	for _, s := range in.subs {
		s.Close()
	}
}

// await waits until count is at least n.
func await(ctx context.Context, count func() uint64, n uint64, within time.Duration) error {
	deadline := time.Now().Add(within)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for count() < n {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of the first %d messages were delivered within %v", count(), n, within)
		}
	}
	return nil
}
