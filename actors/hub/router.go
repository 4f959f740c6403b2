package hub

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

const (
	askAgainAfter  = 10 * time.Minute
	noticeValidity = 24 * time.Hour
)

// Deliveries is what the router needs of journal.Rings.
type Deliveries interface {
	Deliver(seq uint64, d journal.Delivery, done func(*messages.Result, error))
	Conversations(handset, number string) ([]journal.Conversation, error)
	Kept(handset string) ([]*messages.Message, error)
}

// RouterConfig is what the router of one edge needs. Routed may be nil.
type RouterConfig struct {
	Edge     string
	Service  string // the edge's number
	Suffixes bool   // each conversation gets a number of its own
	Rings    Deliveries
	// Exists says whether there is a user of that name (in lower case).
	Exists func(name string) (bool, error)
	Now    func() time.Time
	Routed func(Route) // for counting
	Log    *zap.Logger
}

// NewRouter takes messages.HandOn from the slots of the up mirror and answers
// with messages.Answered once the message stands where it belongs.
func NewRouter(cfg RouterConfig) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &router{cfg: cfg, slots: map[uint64]*actor.PID{}, waiting: map[string][]*messages.HandOn{}, asked: map[string]time.Time{}}
	})
}

// router finds out whom a handset's texts are for. One text of a handset at a
// time: what becomes of one decides the next. It is bounded by the mirror's
// slots, since a slot hands on one message.
type router struct {
	cfg RouterConfig

	slots   map[uint64]*actor.PID         // who waits for the answer, by sequence
	waiting map[string][]*messages.HandOn // by handset; the first is being delivered
	asked   map[string]time.Time          // open questions. Lost by a restart: the kept texts tell
}

// delivered is the store's word.
type delivered struct {
	handset string
	handOn  *messages.HandOn
	route   Route
	result  *messages.Result
	err     error
}

// routeDue: the store failed to answer a while ago.
type routeDue struct{ handset string }

func (r *router) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.HandOn:
		r.onHandOn(ctx, m)
	case *delivered:
		r.onDelivered(ctx, m)
	case routeDue:
		if len(r.waiting[m.handset]) > 0 {
			r.route(ctx, m.handset)
		}
	}
}

func (r *router) onHandOn(ctx actor.Context, m *messages.HandOn) {
	_, known := r.slots[m.Seq]
	r.slots[m.Seq] = ctx.Sender()
	if known {
		return // asked twice
	}
	handset := m.Message.GetFrom()
	r.waiting[handset] = append(r.waiting[handset], m)
	if len(r.waiting[handset]) == 1 {
		r.route(ctx, handset)
	}
}

// route decides about the handset's first waiting text and has it delivered.
func (r *router) route(ctx actor.Context, handset string) {
	m := r.waiting[handset][0]
	situation, kept, err := r.situation(m.Message)
	if err != nil {
		r.cfg.Log.Error("routing a handset's text", zap.String("edge", r.cfg.Edge), zap.Uint64("sequence", m.Seq), zap.Error(err))
		later(ctx, retryAfter, routeDue{handset})
		return
	}
	route := Decide(situation)
	d := journal.Delivery{Message: m.Message, User: route.User, Text: route.Text, Keep: route.User == "", Only: route.Only}
	if route.Release {
		for _, k := range kept {
			d.Release = append(d.Release, hex.EncodeToString(k.GetId()))
		}
	}
	if route.Ask {
		now := r.cfg.Now()
		d.Notice = &messages.Message{
			Kind: messages.Message_NOTICE, From: r.cfg.Service, To: handset, Originator: r.cfg.Service, Text: Question(situation),
			AcceptedUnixMs: now.UnixMilli(), DeadlineUnixMs: now.Add(noticeValidity).UnixMilli(),
		}
	}
	root, self := ctx.ActorSystem().Root, ctx.Self()
	r.cfg.Rings.Deliver(m.Seq, d, func(result *messages.Result, err error) {
		root.Send(self, &delivered{handset, m, route, result, err})
	})
}

func (r *router) situation(m *messages.Message) (s Situation, kept []*messages.Message, err error) {
	now := r.cfg.Now()
	s = Situation{Text: m.GetText(), To: m.GetTo(), Service: r.cfg.Service, Suffixes: r.cfg.Suffixes, At: now}
	if at := time.UnixMilli(m.GetAcceptedUnixMs()); m.GetAcceptedUnixMs() > 0 && at.Before(now) {
		s.At = at // while the link was cut the handset meant those of that time
	}
	if s.Text == "" && len(m.GetData()) > 0 {
		s.Text = fmt.Sprintf("%X", m.GetData()) // no text: octets, for people
	} else if name, _, _ := Address(s.Text); name != "" {
		exists, err := r.cfg.Exists(name)
		if err != nil {
			return s, nil, err
		}
		if exists {
			s.Named = name
		}
	}
	if s.Conversations, err = r.cfg.Rings.Conversations(m.GetFrom(), ""); err != nil {
		return s, nil, err
	}
	if s.ByNumber() { // it may be an older one than those
		if s.Answered, err = r.cfg.Rings.Conversations(m.GetFrom(), m.GetTo()); err != nil {
			return s, nil, err
		}
	}
	if kept, err = r.cfg.Rings.Kept(m.GetFrom()); err != nil {
		return s, nil, err
	}
	s.Kept = len(kept)
	s.Asked = r.openQuestion(m.GetFrom(), kept, now)
	return s, kept, nil
}

// openQuestion says whether the handset was asked lately and has not answered.
func (r *router) openQuestion(handset string, kept []*messages.Message, now time.Time) bool {
	if len(kept) == 0 {
		return false
	}
	if at, ok := r.asked[handset]; ok {
		return now.Sub(at) < askAgainAfter
	}
	for _, k := range kept { // asked before a restart
		if now.Sub(time.UnixMilli(k.GetAcceptedUnixMs())) < askAgainAfter {
			return true
		}
	}
	return false
}

func (r *router) onDelivered(ctx actor.Context, m *delivered) {
	if m.err != nil {
		r.onFailed(ctx, m)
		return
	}
	switch {
	case m.route.Ask:
		r.asked[m.handset] = r.cfg.Now()
		r.forget()
	case m.route.Release:
		delete(r.asked, m.handset)
	}
	if r.cfg.Routed != nil {
		r.cfg.Routed(m.route)
	}
	ctx.Send(r.slots[m.handOn.Seq], &messages.Answered{Seq: m.handOn.Seq, ID: m.handOn.Message.GetId(), Result: m.result})
	delete(r.slots, m.handOn.Seq)
	r.waiting[m.handset] = r.waiting[m.handset][1:]
	if len(r.waiting[m.handset]) == 0 {
		delete(r.waiting, m.handset)
		return
	}
	r.route(ctx, m.handset)
}

// onFailed leaves the slot without an answer: it stays in the ring. After a
// fence or a failed disk no retry can succeed here; whoever owns the rings next
// hands it on again.
func (r *router) onFailed(ctx actor.Context, m *delivered) {
	r.cfg.Log.Error("delivering a handset's text", zap.String("edge", r.cfg.Edge), zap.Uint64("sequence", m.handOn.Seq), zap.Error(m.err))
	if errors.Is(m.err, journal.ErrFenced) || errors.Is(m.err, journal.ErrFailed) {
		return
	}
	later(ctx, retryAfter, routeDue{m.handset})
}

// forget drops questions that count as unasked by now.
func (r *router) forget() {
	if len(r.asked) < 1024 {
		return
	}
	now := r.cfg.Now()
	for handset, at := range r.asked {
		if now.Sub(at) >= askAgainAfter {
			delete(r.asked, handset)
		}
	}
}
