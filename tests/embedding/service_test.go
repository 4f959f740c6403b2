// Package embedding shows how another program has a hub inside its own process, and
// several of them as a cluster: docs/embedding.md goes through it.
package embedding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/ringway-im/ringway/nodes/hub"
)

// Service is a program of somebody's own: it answers messages to the user "clock", say,
// by an actor. The hub runs in its process and in its actor system.
type Service struct {
	Hub    *hub.Hub
	Answer *actor.PID

	cancel context.CancelFunc
	ended  chan error
	stop   sync.Once
}

// Start starts the hub, makes the service's user, and has its actor answer.
func Start(cfg hub.Config, user string, answer func(text string) string, options ...hub.Option) (*Service, error) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	h, err := hub.New(cfg, append(options, hub.WithActorSystem(system))...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{Hub: h, cancel: cancel, ended: make(chan error, 1)}
	if err := h.Start(); err != nil {
		cancel()
		return nil, errors.Join(err, h.Close())
	}
	go func() { s.ended <- h.Run(ctx) }()
	if _, err := h.PutUser(ctx, user, "a password of its own"); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	s.Answer = system.Root.Spawn(NewAnswerer(user, answer, Outgoing(ctx, h)))
	go s.listen(ctx, user)
	return s, nil
}

// listen passes the user's messages to the actor: a subscription is all it takes. It
// ends when the hub drains; the next one begins with what was not marked received.
func (s *Service) listen(ctx context.Context, user string) {
	root := s.Hub.System().Root
	for ctx.Err() == nil {
		sub, err := s.Hub.Subscribe(user, hub.SubscribeOptions{Device: "service"})
		if err != nil { // it drains, or is closed
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		for batch := range sub.C {
			for _, e := range batch {
				if e.State == 0 { // a message, not a state of one
					root.Send(s.Answer, Question{ID: e.ID, From: e.From, Text: e.Text})
				}
			}
			sub.More()
		}
	}
}

// Stop gives what this hub has to the others, if there are any, and ends it.
func (s *Service) Stop() (err error) {
	s.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Hub.Drain(ctx) // else they take it when it has ended
		s.cancel()
		err = <-s.ended
	})
	return err
}

// What the service's actor takes and gives.
type (
	Question struct {
		ID         []byte
		From, Text string
	}
	Reply struct {
		To, Text string
		Question []byte // its id: the reply's ref, so that it is sent once
	}
)

// NewAnswerer answers each question by a function; replies go to out.
func NewAnswerer(user string, answer func(text string) string, out func(user string, r Reply)) *actor.Props {
	return actor.PropsFromFunc(func(ctx actor.Context) {
		if q, ok := ctx.Message().(Question); ok && strings.TrimSpace(q.Text) != "" {
			out(user, Reply{To: q.From, Text: answer(q.Text), Question: q.ID})
		}
	})
}

// Outgoing sends replies through the hub, and marks the question as received once the
// reply is durable: a service that dies in between is asked again, and says the same.
// What the hub cannot store for now is submitted again, under the same ref, until ctx
// ends; what it refuses for good will not be answered.
func Outgoing(ctx context.Context, h *hub.Hub) func(user string, r Reply) {
	return func(user string, r Reply) {
		s := hub.Submission{From: user, To: r.To, Text: r.Text, Ref: fmt.Sprintf("re-%x", r.Question)}
		var submit func()
		submit = func() {
			if ctx.Err() != nil {
				return
			}
			h.Submit(ctx, s, func(_ hub.Accepted, err error) {
				var refusal *hub.Refusal
				if errors.As(err, &refusal) && refusal.Retry > 0 {
					time.AfterFunc(refusal.Retry, submit)
					return
				}
				h.MarkReceived(user, "service", r.Question, func(error) {}) // if that fails, it comes again
			})
		}
		submit()
	}
}
