package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	hubactors "github.com/ringway-im/ringway/actors/hub"
	"github.com/ringway-im/ringway/actors/journal"
)

// Errors of accounts and messages.
var (
	ErrNoUser      = errors.New("hub: no such user")
	ErrNoMessage   = errors.New("hub: no such message")
	ErrBadName     = errors.New("hub: a user's name is 2 to 32 of a-z, 0-9, '.', '_', '-' and begins with a letter")
	ErrBadPassword = errors.New("hub: a password has 1 to 72 bytes")
)

// PutUser creates a user or changes the password, which ends the user's
// logins. The error may be ErrBadName or ErrBadPassword.
func (h *Hub) PutUser(ctx context.Context, name, password string) (created bool, err error) {
	name = strings.ToLower(name)
	switch {
	case !hubactors.ValidName(name):
		return false, fmt.Errorf("%w: %q", ErrBadName, name)
	case len(password) < 1 || len(password) > 72: // bcrypt reads no more
		return false, ErrBadPassword
	}
	if err := h.logins.enter(ctx); err != nil {
		return false, err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), h.passwordCost)
	h.logins.leave()
	if err != nil {
		return false, fmt.Errorf("hub: password: %w", err)
	}
	return h.putUser(ctx, name, hash)
}

func (h *Hub) putUser(ctx context.Context, name string, hash []byte) (created bool, err error) {
	user, exists, err := h.store.User(name)
	if err != nil {
		return false, h.failed(err)
	}
	user.Name, user.Password = name, hash
	if !exists {
		user.Seen = h.now() // offline since there is such a user
	}
	err = h.wait(ctx, func(done func(error)) { h.store.PutUser(user, done) })
	return !exists, err
}

// wait calls a write of the store and waits until it is durable.
func (h *Hub) wait(ctx context.Context, write func(done func(error))) error {
	answer := make(chan error, 1)
	write(func(err error) { answer <- err })
	select {
	case err := <-answer:
		return h.failed(err)
	case <-ctx.Done():
		return fmt.Errorf("hub: waiting for the store: %w", ctx.Err())
	}
}

// Presence of a user.
type Presence struct {
	User   string
	Online bool
	Since  time.Time // who was never online: since the account exists
}

// Presence says whether a user has a stream. The error may be ErrNoUser.
func (h *Hub) Presence(ctx context.Context, name string) (Presence, error) {
	user, ok, err := h.store.User(strings.ToLower(name))
	if err != nil {
		return Presence{}, h.failed(err)
	}
	if !ok {
		return Presence{}, fmt.Errorf("%w: %q", ErrNoUser, name)
	}
	if h.cluster != nil {
		online, since, err := h.cluster.presence(ctx, user.Name)
		if err != nil {
			return Presence{}, fmt.Errorf("hub: presence of %q: %w", name, err)
		}
		if !online {
			since = user.Seen
		}
		return Presence{User: user.Name, Online: online, Since: since}, nil
	}
	answer, err := h.system.Root.RequestFuture(h.clients, &hubactors.Presence{User: user.Name}, 5*time.Second).Result()
	if err != nil {
		return Presence{}, fmt.Errorf("hub: presence of %q: %w", name, err)
	}
	is := answer.(*hubactors.PresenceIs)
	if is.Since.IsZero() {
		is.Since = user.Seen
	}
	return Presence{User: user.Name, Online: is.Online, Since: is.Since}, ctx.Err()
}

// Message returns all that is known of a message. A user sees what he sent or
// got, "" sees all. The error may be ErrNoMessage.
func (h *Hub) Message(user string, id []byte) (*journal.Record, error) {
	r, ok, err := h.store.Message(id)
	if err != nil {
		return nil, h.failed(err)
	}
	if !ok || user != "" && !concerns(r, user) {
		return nil, ErrNoMessage
	}
	return r, nil
}

// MessageByRef returns the message that a user sent under a ref.
func (h *Hub) MessageByRef(user, ref string) (*journal.Record, error) {
	r, ok, err := h.store.MessageByRef(user, ref)
	if err != nil {
		return nil, h.failed(err)
	}
	if !ok {
		return nil, ErrNoMessage
	}
	return r, nil
}

func concerns(r *journal.Record, user string) bool {
	return r.Message.GetFrom() == user || r.Message.GetTo() == user
}

// Inbox returns messages for a user after an event number, oldest first.
func (h *Hub) Inbox(user string, after uint64, limit int) ([]Event, error) {
	events, err := h.store.Inbox(user, after, limit)
	return events, h.failed(err)
}

// MarkReceived notes that one of the user's clients has taken a message. done
// runs once, when that is durable; its error may be ErrNoMessage.
func (h *Hub) MarkReceived(user, device string, id []byte, done func(error)) {
	h.store.Received(user, device, id, func(found bool, err error) {
		if err == nil && !found {
			err = ErrNoMessage
		}
		done(h.failed(err))
	})
}
