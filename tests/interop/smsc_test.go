package interop

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/tests/corpus"
)

// testSMSC has a peer be the SMSC of our edge: each text both ways between a
// person at the hub and handsets unchanged, once and in order, and each message
// delivered by the word of the SMSC's receipts.
func testSMSC(t *testing.T, window int, start func(t *testing.T) *peer) {
	t.Helper()
	begin := time.Now()
	texts := corpus.Texts(t, sample)
	p := start(t)
	p.when(20*time.Second, func() string { return atLeast("port", p.port, 1) })
	rec := record(t, "smpp", func() string { return fmt.Sprintf("127.0.0.1:%d", p.port) })
	rig, err := demo.Start(demo.RigConfig{
		Dir: t.TempDir(), Protocol: "smpp", RTT: 20 * time.Millisecond, Receipts: true,
		HubOpts: []hub.Option{hub.WithPasswordCost(bcrypt.MinCost)},
		Edge: func(e *config.Edge) {
			e.SMSC.Binds[0].Address, e.SMSC.Window, e.SMSC.ResponseTimeout = rec.addr(), window, slowPeer
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			if err := rig.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	defer stop()
	eventually(t, 20*time.Second, func() string {
		if err := rig.Edge.Ready(); err != nil {
			return err.Error()
		}
		return ""
	})
	ann := meetPerson(t, rig.Hub)
	defer ann.leave()

	// Handsets hear from the person first: then it is clear whom they answer.
	want := map[string][]string{}
	for i := range handsets {
		want[handset(i)] = []string{"hello"}
		ann.send(handset(i), "hello")
	}
	p.when(20*time.Second, func() string { return atLeast("greeted", p.gots, handsets) })
	var up []message
	for i, text := range texts {
		up = append(up, message{ID: i, From: handset(i), To: service, Text: text})
		want[handset(i)] = append(want[handset(i)], text)
		ann.send(handset(i), text)
	}
	p.send(up)
	p.when(limit(texts), func() string {
		if missing := atLeast("received by handsets", p.gots, handsets+len(texts)); missing != "" {
			return missing
		}
		if missing := atLeast("accepted from handsets", len(p.accepted), len(texts)); missing != "" {
			return missing
		}
		return ann.missing(len(texts), handsets+len(texts))
	})
	took := time.Since(begin)
	stop()
	p.end()

	same(t, "handset", p.got, want)
	same(t, "person", ann.got, dealt(texts))
	once(t, "accepted", p.accepted, len(texts))
	for ref, state := range ann.finals {
		if state != messages.State_DELIVERED {
			t.Errorf("message %s: %v, want delivered", ref, state)
		}
	}
	for _, fault := range ann.faults {
		t.Error(fault)
	}
	passTshark(t, "smpp", rec.finish(t))
	t.Logf("%d texts each way in %.1f s", len(texts), took.Seconds())
}

// person is a user of the hub.
type person struct {
	t    *testing.T
	hub  *hub.Hub
	sub  *hub.Subscription
	sent int
	read sync.WaitGroup

	mu     sync.Mutex
	got    map[string][]string // by handset
	gots   int
	finals map[string]messages.State // by ref
	faults []string
}

const personName = "ann"

func meetPerson(t *testing.T, h *hub.Hub) *person {
	t.Helper()
	if _, err := h.PutUser(t.Context(), personName, "correct horse"); err != nil {
		t.Fatal(err)
	}
	sub, err := h.Subscribe(personName, hub.SubscribeOptions{FinalOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, hub: h, sub: sub, got: map[string][]string{}, finals: map[string]messages.State{}}
	p.read.Go(func() {
		for events := range sub.C {
			for _, e := range events {
				p.hear(e)
			}
			sub.More()
		}
	})
	return p
}

func (p *person) hear(e hub.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.State == messages.State_STATE_UNSPECIFIED:
		p.got[e.From] = append(p.got[e.From], e.Text)
		p.gots++
	case p.finals[e.Ref] != messages.State_STATE_UNSPECIFIED:
		p.faults = append(p.faults, fmt.Sprintf("message %s: final twice, %v and %v", e.Ref, p.finals[e.Ref], e.State))
	default:
		p.finals[e.Ref] = e.State
	}
}

// send sends a text, after all that were sent before.
func (p *person) send(to, text string) {
	p.sent++
	p.hub.Submit(p.t.Context(), hub.Submission{From: personName, To: to, Text: text, Ref: strconv.Itoa(p.sent), Sender: "1"}, func(_ hub.Accepted, err error) {
		if err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.faults = append(p.faults, err.Error())
		}
	})
}

func (p *person) missing(messages, finals int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if missing := atLeast("received by the person", p.gots, messages); missing != "" {
		return missing
	}
	return atLeast("final", len(p.finals), finals)
}

// leave ends the person's subscription.
func (p *person) leave() {
	p.sub.Close()
	p.read.Wait()
}
