package hub

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"
)

// rings keeps what the router has delivered, as the store would; done runs when
// the test says so.
type rings struct {
	conversations []journal.Conversation
	kept          []*messages.Message
	fail          error

	delivered chan journal.Delivery
	dones     chan func()
}

func newRings() *rings {
	return &rings{delivered: make(chan journal.Delivery, 16), dones: make(chan func(), 16)}
}

func (r *rings) Deliver(_ uint64, d journal.Delivery, done func(*messages.Result, error)) {
	r.delivered <- d
	r.dones <- func() {
		if r.fail != nil {
			done(nil, r.fail)
			return
		}
		if d.Keep {
			r.kept = append(r.kept, d.Message)
		}
		if len(d.Release) > 0 {
			r.kept = nil
		}
		done(&messages.Result{State: messages.State_PROCESSED}, nil)
	}
}

// Conversations is cut at two, as the store's is at 200.
func (r *rings) Conversations(_, number string) (found []journal.Conversation, err error) {
	for _, c := range r.conversations {
		if number == "" || sameNumber(c.Number, number) {
			found = append(found, c)
		}
	}
	return found[:min(len(found), 2)], nil
}

func (r *rings) Kept(string) ([]*messages.Message, error) { return slices.Clone(r.kept), nil }

const handset = "+639171234567"

type routing struct {
	t      *testing.T
	rings  *rings
	slot   *probe.Probe
	router *actor.PID
	seq    uint64
	to     string // the number that the handset addresses
}

// inRouting runs a test with a router whose users are ann and bob.
func inRouting(t *testing.T, test func(r *routing)) { inRoutingWith(t, false, test) }

func inRoutingWith(t *testing.T, suffixes bool, test func(r *routing)) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		r := &routing{t: t, rings: newRings(), slot: probe.New(t, system, "slot"), to: "63917000"}
		r.router = system.Root.Spawn(NewRouter(RouterConfig{
			Edge: "manila-1", Service: "63917000", Suffixes: suffixes, Rings: r.rings, Now: time.Now, Log: zap.NewNop(),
			Exists: func(name string) (bool, error) { return name == "ann" || name == "bob", nil },
		}))
		test(r)
	})
}

// says has the slot hand a text of the handset on.
func (r *routing) says(text string) {
	r.seq++
	r.slot.Tell(r.router, &messages.HandOn{Seq: r.seq, Message: &messages.Message{
		Id: []byte{byte(r.seq)}, From: handset, To: r.to, Text: text, AcceptedUnixMs: time.Now().UnixMilli(),
	}})
}

// expect takes the next delivery, lets it become durable and waits for the answer.
func (r *routing) expect(want string) {
	r.t.Helper()
	got := r.deliver()
	if got != want {
		r.t.Fatalf("got %s, want %s", got, want)
	}
	(<-r.rings.dones)()
	if a := probe.Expect[*messages.Answered](r.slot); a.Result.GetState() != messages.State_PROCESSED {
		r.t.Fatalf("answered %v", a)
	}
}

func (r *routing) deliver() string {
	d := <-r.rings.delivered
	s := fmt.Sprintf("%s %q", d.User, d.Text)
	if d.Keep {
		s = fmt.Sprintf("kept %q", d.Text)
	}
	if len(d.Release) > 0 {
		s += fmt.Sprintf(" after %v", d.Release)
	}
	if d.Notice != nil {
		s += " and asks"
		if d.Notice.Kind != messages.Message_NOTICE || d.Notice.To != handset || d.Notice.Originator != "63917000" || d.Notice.Text == "" {
			r.t.Errorf("question %v", d.Notice)
		}
	}
	return s
}

func TestOneQuestionForWhatIsKept(t *testing.T) {
	inRouting(t, func(r *routing) {
		r.says("one")
		r.expect(`kept "one" and asks`)
		r.says("two")
		r.expect(`kept "two"`)
		time.Sleep(askAgainAfter - time.Second) // virtual
		r.says("three")
		r.expect(`kept "three"`)
		time.Sleep(time.Second)
		r.says("four")
		r.expect(`kept "four" and asks`)
		r.says("@ann five")
		r.expect(`ann "five" after [01 02 03 04]`)
		r.says("six")
		r.expect(`kept "six" and asks`) // the question before was answered
		r.says("@Bob")
		r.expect(`bob "" after [06]`)
		r.says("@bob")
		r.expect(`kept "@bob" and asks`) // nothing to release: a text like any other
	})
}

func TestQuestionSurvivesRestart(t *testing.T) {
	inRouting(t, func(r *routing) {
		r.rings.kept = []*messages.Message{{Id: []byte{9}, From: handset, AcceptedUnixMs: time.Now().Add(-time.Minute).UnixMilli()}}
		r.says("one")
		r.expect(`kept "one"`)
	})
}

func TestNextTextWaitsForTheOneBefore(t *testing.T) {
	inRouting(t, func(r *routing) {
		r.says("for whom")
		r.says("@ann")
		if got := r.deliver(); got != `kept "for whom" and asks` {
			t.Fatal(got)
		}
		r.slot.ExpectNothing(time.Minute) // neither is answered before it is durable
		select {
		case d := <-r.rings.delivered:
			t.Fatalf("decided before the text before was kept: %+v", d)
		default:
		}
		(<-r.rings.dones)()
		probe.Expect[*messages.Answered](r.slot)
		r.expect(`ann "" after [01]`)
	})
}

func TestHandedOnTwice(t *testing.T) {
	inRouting(t, func(r *routing) {
		r.says("@ann hi")
		r.seq--
		r.says("@ann hi")
		r.expect(`ann "hi"`)
		r.slot.ExpectNothing(time.Minute)
		if len(r.rings.delivered) > 0 {
			t.Error("delivered twice")
		}
	})
}

func TestDeliveryThatFails(t *testing.T) {
	inRouting(t, func(r *routing) {
		r.rings.fail = errors.New("for now")
		r.says("@ann hi")
		r.deliver()
		(<-r.rings.dones)()
		r.slot.ExpectNothing(retryAfter - 1)
		r.rings.fail = nil
		r.expect(`ann "hi"`) // tried again
		r.rings.fail = journal.ErrFenced
		r.says("@ann ho")
		r.deliver()
		(<-r.rings.dones)()
		r.slot.ExpectNothing(time.Hour) // another owner's
	})
}

// Where conversations have numbers of their own, the number says whose the answer
// is, however old the conversation; a number that none has says nothing.
func TestAnswerToAnEnding(t *testing.T) {
	inRoutingWith(t, true, func(r *routing) {
		r.rings.conversations = []journal.Conversation{
			{User: "cat", Number: "6391700002", At: time.Now()},
			{User: "bob", Number: "6391700001", At: time.Now()},
			{User: "ann", Number: "6391700000", At: time.Now().Add(-90 * 24 * time.Hour)},
		}
		r.to = "+6391700000"
		r.says("for ann")
		r.expect(`ann "for ann"`)
		r.rings.conversations = r.rings.conversations[1:2]
		r.says("for whom")
		r.expect(`kept "for whom" and asks`)
		r.to = "63917000" // as the question's
		r.says("for whom else")
		r.expect(`kept "for whom else"`)
		r.says("@ann")
		r.expect(`ann "" after [02 03]`)
	})
}

func TestTextOfTheTimeBeforeTheCut(t *testing.T) {
	inRouting(t, func(r *routing) {
		r.rings.conversations = []journal.Conversation{{User: "ann", Number: "63917000", At: time.Now()}}
		r.slot.Tell(r.router, &messages.HandOn{Seq: 1, Message: &messages.Message{Id: []byte{1}, From: handset, To: "63917000", Text: "yes", AcceptedUnixMs: time.Now().UnixMilli()}})
		r.expect(`ann "yes"`)
		at := time.Now()
		time.Sleep(30 * time.Hour)
		r.slot.Tell(r.router, &messages.HandOn{Seq: 2, Message: &messages.Message{Id: []byte{2}, From: handset, To: "63917000", Text: "late", AcceptedUnixMs: at.UnixMilli()}})
		r.expect(`ann "late"`)
		r.says("too late")
		r.expect(`kept "too late" and asks`)
	})
}
