package link

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// An edge with a new disk, and either side after a restore from a backup, do not
// stand where the other remembers. Resynchronisation refuses that. Here the hub's
// synchronisation first has the hub's journal adapt to what the edge holds, then
// tells the edge how to go on; the edge takes that into its journal, starts its rings
// anew, and says an ordinary Hello.
//
//	edge                          hub
//	 │ ──── Hello ────────────────▶ │ does not go on where the journal does
//	 │                              │ what came up is answered; journal adapts; ring loaded anew
//	 │ ◀─── Refused{Rejoin} ─────── │
//	 │ journal, rings anew          │
//	 │ ──── Hello ────────────────▶ │

type (
	// Rejoin (synchronisation to the hub's buffer): Do changes the journal under the
	// ring, which is loaded anew then. The answer is Rejoined.
	Rejoin struct{ Do func(done func(error)) }
	// Rejoined: it is done, or not.
	Rejoined struct{ Err error }

	rejoined struct{ err error }

	// lookAgain (hub's synchronisation to itself): has all that came up been answered?
	lookAgain struct{ hello *messages.Hello }
)

// settleTime is between two looks at the hub's up ring: what was on its way to the
// disk when the edge said Hello has arrived meanwhile.
const settleTime = 100 // milliseconds

func (b *buffer) onRejoin(ctx actor.Context, m *Rejoin) {
	switch {
	case b.stopped:
		ctx.Respond(&Rejoined{errStopped})
	case b.rejoin != nil:
		ctx.Respond(&Rejoined{errors.New("link: the ring is being loaded anew already")})
	default:
		b.rejoin, b.rejoiner = m, ctx.Sender()
		if !b.retrieving {
			b.beginRejoin(ctx)
		}
	}
}

func (b *buffer) beginRejoin(ctx actor.Context) {
	b.retrieving = true // nothing is, until it is over
	root, self := ctx.ActorSystem().Root, ctx.Self()
	b.rejoin.Do(func(err error) { root.Send(self, &rejoined{err}) })
}

func (b *buffer) onRejoined(ctx actor.Context, m *rejoined) {
	b.rejoin, b.retrieving = nil, false
	if m.err == nil {
		for _, slot := range b.slots {
			ctx.Stop(slot)
		}
		b.ring, b.up, b.resync, b.sync = ring.New(b.cfg.Slots), false, nil, nil
		b.onStarted(ctx)
	} else {
		b.retrieve(ctx)
	}
	ctx.Send(b.rejoiner, &Rejoined{m.err})
}

// rejoins reports whether this Hello needs it, and begins it.
func (s *hubSync) rejoins(ctx actor.Context) bool {
	if s.cfg.Rejoin == nil {
		return false
	}
	standing, err := s.cfg.Standing()
	if err != nil {
		s.refuse(ctx, "storage", err.Error())
		return true
	}
	if standing.Replaced != nil && bytes.Equal(standing.Replaced, s.hello.Instance) {
		s.refuse(ctx, "other_instance", fmt.Sprintf("this data directory of edge %q was given up with ringway edge replace: what it holds went out again; start the edge with an empty one", s.cfg.Edge))
		return true
	}
	fresh := s.hello.HighestEpoch == 0
	if !s.hello.Restored && !standing.Behind && !(fresh && standing.Used) {
		return false
	}
	if err := checkClaims(s.hello); err != nil {
		s.refuse(ctx, "protocol", err.Error())
		return true
	}
	s.rejoining, s.looks = s.hello, 0
	s.cfg.Log.Info("the edge joins anew", zap.Bool("edge_restored", s.hello.Restored), zap.Bool("edge_new", fresh), zap.Bool("hub_restored", standing.Behind))
	ctx.Request(s.cfg.Mirror, &GetView{})
	return true
}

// checkClaims refuses a Hello that the journal is not to adapt to.
func checkClaims(h *messages.Hello) error {
	for _, v := range []*messages.View{h.Down, h.Up} {
		if err := viewIn(v).Check(); err != nil {
			return err
		}
		for _, held := range v.GetHeld() {
			if len(held.GetId()) != idOctets {
				return fmt.Errorf("%w: an id of %d octets", ErrProtocol, len(held.GetId()))
			}
		}
	}
	if h.EventsTrimmed > h.EventsLast || h.EventsLast > maxNumber {
		return fmt.Errorf("%w: a status log that is trimmed up to %d and ends at %d", ErrProtocol, h.EventsTrimmed, h.EventsLast)
	}
	return nil
}

// CheckRejoin is the edge's: what it is to take into its journal leaves room to go on.
func CheckRejoin(r *messages.Rejoin) error {
	if r.GetEpoch() > maxEpoch || r.GetUpAbove() > maxNumber || r.GetEventsAbove() > maxNumber || len(r.GetOpen()) > maxSlots {
		return fmt.Errorf("%w: rejoin with epoch %d, sequences above %d, events above %d, %d open", ErrProtocol, r.GetEpoch(), r.GetUpAbove(), r.GetEventsAbove(), len(r.GetOpen()))
	}
	return nil
}

// onView waits until everything that came up is answered: the edge will not ask for
// it any more. What is still being stored (a disk without room takes as long as it
// likes) has its sequence too, which the edge must not give to another message.
func (s *hubSync) onView(ctx actor.Context, is *ViewIs) {
	if s.rejoining == nil || s.rejoining != s.hello {
		return
	}
	s.looks++
	v, open := is.View, s.looks < 2 || is.Storing
	s.above = max(v.GetLastRetrieved(), v.GetLastProcessed())
	for _, h := range v.GetHeld() {
		s.above = max(s.above, h.Sequence)
		open = open || ring.Flags(h.Flags)&(ring.Confirmed|ring.Processed) == 0
	}
	if open {
		after(ctx, settleTime*1e6, lookAgain{s.hello})
		return
	}
	h, answer := s.hello, &s.answer
	what := journal.Rejoin{
		Instance: h.Instance, Restored: h.Restored || h.HighestEpoch == 0, Deferred: h.Deferred,
		EventsTrimmed: h.EventsTrimmed, LastRetrieved: max(h.Down.LastRetrieved, h.Down.LastProcessed),
	}
	for _, held := range h.Down.Held {
		what.Held = append(what.Held, journal.Held{Seq: held.GetSequence(), ID: held.GetId()})
	}
	ctx.Request(s.cfg.Buffer, &Rejoin{Do: func(done func(error)) {
		s.cfg.Rejoin(what, func(r journal.Rejoined, err error) {
			*answer = r // read after Rejoined has come
			done(err)
		})
	}})
}

func (s *hubSync) onRejoined(ctx actor.Context, m *Rejoined) {
	if s.rejoining == nil {
		return
	}
	same := s.rejoining == s.hello
	s.rejoining = nil
	switch {
	case !same: // the edge has begun anew meanwhile
		s.onHello(ctx)
	case m.Err != nil:
		s.refuse(ctx, "storage", m.Err.Error())
	default:
		a := s.answer
		s.cfg.Log.Warn("the edge joined anew", zap.Int("doubts", a.Doubts), zap.Int("queued_again", a.Requeued), zap.Int("adopted", a.Adopted))
		ctx.Send(s.cfg.Session, &SayRefused{Session: s.hello.Session, Refused: &messages.Refused{
			Code: "rejoin", Text: "this edge and the hub do not stand where the other remembers: it takes over the hub's numbers and connects again",
			Rejoin: &messages.Rejoin{Epoch: s.cfg.Epoch, UpAbove: s.above, EventsAbove: a.Applied, Settled: a.Settled, Open: a.Open},
		}})
	}
}

// RejoinError is how the edge has to go on.
type RejoinError struct{ Rejoin *messages.Rejoin }

func (e *RejoinError) Error() string {
	return "link: the hub has this edge take over its numbers and connect again"
}
