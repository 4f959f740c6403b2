package hub

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
)

// DeviceConfig is one stream of one user's client. Its functions are called by
// the device actor and must not block.
type DeviceConfig struct {
	Name  string // of the device: tells one user's clients apart
	After uint64 // with Resume: the number of the last event the client has seen
	// Resume: go on after After. Else begin with what is new from now on. Either
	// way the messages the device has not marked received come first.
	Resume    bool
	FinalOnly bool // leave out states that are not final

	// Attached is called first, with the PID that takes More. False stops the
	// device: nobody listens any more.
	Attached func(*actor.PID) bool
	// Deliver is called once at the beginning at most and then once for each
	// More, with at least one event; they ascend by number.
	Deliver func([]journal.UserEvent)
	// Detached is called last.
	Detached func()
}

// More (a subscriber to its device): what was delivered has been written to the
// socket; push on. This is the credit: one batch is under way at a time.
type More struct{}

// retryDue: the store could not be read a while ago.
type retryDue struct{}

const retryAfter = time.Second

func newDevice(cfg ClientsConfig, user string, stream DeviceConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &device{clients: cfg, user: user, cfg: stream, credit: true}
	})
}

// device reads one user's events for one stream, in order, as fast as the
// stream takes them.
//
//	pending: unreceived messages up to the start ──none left──▶ following: every event after position
type device struct {
	clients ClientsConfig
	user    string
	cfg     DeviceConfig

	begun    bool   // position and until are known
	caughtUp bool   // following
	position uint64 // following: events up to here are done with
	pending  uint64 // pending messages up to here are done with
	until    uint64 // pending ends here
	credit   bool
	read     time.Time // when it last asked the store
	resting  bool      // and when it asks again is set
}

// rest is how long a device lets events gather between two questions to the store:
// a busy sender's stream otherwise asks for each of his messages' states alone.
const rest = 10 * time.Millisecond

type rested struct{}

func (d *device) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Started:
		if !d.cfg.Attached(ctx.Self()) {
			ctx.Stop(ctx.Self())
			return
		}
		d.push(ctx)
	case More:
		d.credit = true
		d.pushRested(ctx)
	case wake:
		d.pushRested(ctx)
	case rested:
		d.resting = false
		d.push(ctx)
	case retryDue:
		d.push(ctx)
	case *actor.Stopped:
		d.cfg.Detached()
	}
}

// pushRested is push, not too soon after the last time.
func (d *device) pushRested(ctx actor.Context) {
	if d.resting {
		return
	}
	if wait := rest - time.Since(d.read); wait > 0 {
		d.resting = true
		later(ctx, wait, rested{})
		return
	}
	d.push(ctx)
}

// push delivers the next batch if there is credit for it and something to show.
func (d *device) push(ctx actor.Context) {
	if !d.credit {
		return
	}
	d.read = time.Now()
	events, again, err := d.next()
	if len(events) == d.clients.Batch {
		d.read = time.Time{} // there is more: no rest
	}
	if err != nil {
		d.clients.Log.Error("reading events", zap.String("user", d.user), zap.Error(err))
		later(ctx, retryAfter, retryDue{})
		return
	}
	if len(events) > 0 {
		d.credit = false
		d.cfg.Deliver(events)
	} else if again {
		ctx.Send(ctx.Self(), retryDue{})
	}
}

// next reads one batch. again: nothing in it was to be shown, but more may follow.
func (d *device) next() (events []journal.UserEvent, again bool, err error) {
	if err := d.begin(); err != nil {
		return nil, false, err
	}
	if !d.caughtUp { // asked even if there can be none: the store counts for a device from here on
		events, err = d.clients.Store.Pending(d.user, d.cfg.Name, d.pending, d.clients.Batch)
		if err != nil {
			return nil, false, err
		}
		for i, e := range events {
			if e.Number > d.until { // following has it
				events = events[:i]
				break
			}
		}
		if len(events) > 0 {
			d.pending = events[len(events)-1].Number
			return events, false, nil
		}
		d.caughtUp = true
	}
	events, err = d.clients.Store.Events(d.user, d.position, d.clients.Batch)
	if err != nil || len(events) == 0 {
		return nil, false, err
	}
	d.position = events[len(events)-1].Number
	if d.cfg.FinalOnly {
		shown := events[:0]
		for _, e := range events {
			if e.State == 0 || e.Final {
				shown = append(shown, e)
			}
		}
		events = shown
	}
	return events, len(events) == 0, nil
}

func (d *device) begin() error {
	if d.begun {
		return nil
	}
	last, err := d.clients.Store.LastEvent(d.user)
	if err != nil {
		return err
	}
	d.begun, d.position = true, last
	if d.cfg.Resume {
		d.position = min(d.cfg.After, last)
	}
	d.until = d.position
	return nil
}
