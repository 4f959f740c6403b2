package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"pgregory.net/rapid"
)

var errDown = errors.New("connection refused")

func TestKnownHubs(t *testing.T) {
	got := KnownHubs("b:1", []string{"c:1", "a:1", "b:1", "nonsense", ":7", "x:", strings.Repeat("x", 300) + ":1"}, []string{"d:1", "a:1"})
	if want := []string{"b:1", "c:1", "a:1", "d:1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("h%d:1", i))
	}
	if n := len(KnownHubs("b:1", many, many)); n != MaxKnownHubs {
		t.Errorf("%d are kept", n)
	}
	if got := KnownHubs("local", nil, nil); len(got) != 0 {
		t.Errorf("%v is no address", got)
	}
}

func TestRouteGoesRoundTheHubs(t *testing.T) {
	r := newRoute([]string{"a:1", "b:1"}, []string{"c:1", "d:1", "a:1"}, "")
	var order []string
	for i := range 8 {
		hub := r.choose(noon)
		order = append(order, hub)
		if p := r.failed(hub, errDown, false, noon); (p == longer) != (i%4 == 3) || p == slowly {
			t.Errorf("after attempt %d: %v", i, p)
		}
	}
	if want := []string{"c:1", "a:1", "b:1", "d:1"}; !slices.Equal(order, append(want, want...)) {
		t.Errorf("tried %v", order)
	}
}

// What is heard of counts from the next round on.
func TestRouteHearsOfHubs(t *testing.T) {
	r := newRoute([]string{"a:1", "b:1"}, nil, "")
	r.failed(r.choose(noon), errDown, false, noon)
	r.hear([]string{"a:1", "b:1"}, []string{"a:1", "c:1"})
	var order []string
	for range 4 {
		hub := r.choose(noon)
		order = append(order, hub)
		r.failed(hub, errDown, false, noon)
		r.hear([]string{"a:1", "b:1"}, []string{"a:1", "c:1"})
	}
	if want := []string{"b:1", "a:1", "b:1", "c:1"}; !slices.Equal(order, want) {
		t.Errorf("tried %v, want %v", order, want)
	}
}

func TestRouteFollowsRedirectsButNotInACircle(t *testing.T) {
	r := newRoute([]string{"a:1", "b:1"}, nil, "z:1")
	if hub := r.choose(noon); hub != "z:1" {
		t.Fatalf("the link moved to z:1, tried is %s", hub)
	}
	r.failed("z:1", errDown, false, noon)
	from, to, followed := r.choose(noon), "b:1", 0
	for r.failed(from, &RedirectError{to}, false, noon) == notAtAll && followed < 10 {
		followed++
		if from = r.choose(noon); from != to {
			if followed != maxRedirects+1 {
				t.Errorf("after %d redirects: %s, sent to %s", followed, from, to)
			}
			break // the next of the round
		}
		to = map[string]string{"a:1": "b:1", "b:1": "a:1"}[to]
	}
	if p := r.failed(from, errDown, false, noon); p != longer {
		t.Errorf("a circle is followed again: %v", p)
	}
}

func TestRoutePauses(t *testing.T) {
	refused := func(code string) error { return &RefusedError{Code: code} }
	for name, c := range map[string]struct {
		errs []error // of two hubs
		want []pause
	}{
		"refused for a person":         {[]error{refused("unknown_edge"), refused("unknown_edge")}, []pause{notAtAll, slowly}},
		"one is only down":             {[]error{refused("unknown_edge"), errDown}, []pause{notAtAll, longer}},
		"the owner is being changed":   {[]error{refused("not_owner"), refused("not_owner")}, []pause{shortly, shortly}},
		"one does not know this edge":  {[]error{refused("unknown_edge"), refused("not_owner")}, []pause{notAtAll, shortly}},
		"its hello was overtaken":      {[]error{refused("older_hello"), refused("older_hello")}, []pause{shortly, shortly}},
		"the store is away":            {[]error{refused("storage"), refused("storage")}, []pause{notAtAll, longer}},
		"a rejoin without taking over": {[]error{&RejoinError{}, &RejoinError{}}, []pause{notAtAll, longer}},
	} {
		r := newRoute([]string{"a:1", "b:1"}, nil, "")
		for i, err := range c.errs {
			if p := r.failed(r.choose(noon), err, false, noon); p != c.want[i] {
				t.Errorf("%s: after attempt %d pause %d, want %d", name, i, p, c.want[i])
			}
		}
	}
}

// A hub that gives no answer costs its time once, not in each round.
func TestRouteLeavesOutTheSilent(t *testing.T) {
	r := newRoute([]string{"a:1", "b:1", "c:1"}, nil, "")
	now, tried := noon, map[string]int{}
	for now.Before(noon.Add(50 * time.Second)) {
		hub := r.choose(now)
		tried[hub]++
		now = now.Add(time.Second)
		var err error = &RefusedError{Code: "not_owner"}
		if hub == "a:1" {
			err = errors.New("no connection in time")
		}
		r.failed(hub, err, hub == "a:1", now)
	}
	if tried["a:1"] != 1 || tried["b:1"] < 20 || tried["c:1"] < 20 {
		t.Errorf("tried %v", tried)
	}
	r = newRoute([]string{"a:1", "b:1", "c:1"}, nil, "") // all are silent: all are tried
	tried = map[string]int{}
	for range 9 {
		hub := r.choose(now)
		tried[hub]++
		now = now.Add(3 * time.Second)
		r.failed(hub, errors.New("no connection in time"), true, now)
	}
	if tried["a:1"] != 3 || tried["b:1"] != 3 || tried["c:1"] != 3 {
		t.Errorf("all silent: tried %v", tried)
	}
}

// Whatever the hubs do, each that is not left out is tried again and again, and
// nobody is asked without end and without pause.
func TestRouteProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "hubs")
		var hubs []string
		for i := range n {
			hubs = append(hubs, fmt.Sprintf("h%d:1", i))
		}
		r := newRoute(hubs, nil, "")
		now, atOnce, tried := noon, 0, map[string]int{}
		for range 300 {
			hub := r.choose(now)
			if !slices.Contains(hubs, hub) {
				t.Fatalf("tried %s", hub)
			}
			tried[hub]++
			kind := rapid.IntRange(0, 4).Draw(t, "outcome")
			var err error
			switch kind {
			case 0, 1:
				err = errDown
			case 2:
				err = &RefusedError{Code: rapid.SampledFrom([]string{"not_owner", "storage", "unknown_edge"}).Draw(t, "code")}
			case 3:
				err = &RedirectError{rapid.SampledFrom(hubs).Draw(t, "to")}
			case 4:
				err, now = errors.New("late"), now.Add(3*time.Second)
			}
			switch r.failed(hub, err, kind == 4, now) {
			case notAtAll:
				if atOnce++; atOnce > n+maxRedirects+1 {
					t.Fatalf("%d attempts without a pause", atOnce)
				}
			case slowly:
				now, atOnce = now.Add(5*time.Second), 0
			default:
				now, atOnce = now.Add(100*time.Millisecond), 0
			}
		}
		for _, hub := range hubs {
			if tried[hub] == 0 {
				t.Fatalf("%s was never tried: %v", hub, tried)
			}
		}
	})
}

// ---- the synchronisation actor on it, in virtual time

// aHub is what one that is dialled does, now.
type aHub func(c *Connect) (after time.Duration, answer any)

const roundTrip = 100 * time.Millisecond

func dead(*Connect) (time.Duration, any) { return roundTrip, &ConnectFailed{errDown} }
func blackHole(c *Connect) (time.Duration, any) {
	return c.Within, &ConnectFailed{errors.New("no connection in time")}
}

func noOwner(*Connect) (time.Duration, any) {
	return 3*roundTrip + 2*time.Second, &ConnectFailed{&RefusedError{Code: "not_owner"}}
}
func owner(*Connect) (time.Duration, any) { return 3 * roundTrip, &messages.Welcome{Epoch: 6} }
func sendsTo(hub string) aHub {
	return func(*Connect) (time.Duration, any) { return 3 * roundTrip, &ConnectFailed{&RedirectError{hub}} }
}

// hubs stands in the session's place and answers for all hubs; nil: dead. The ring
// actors are in it too.
type hubs struct {
	at       map[string]aHub
	moved    string
	tried    []string
	learnt   []string
	welcomed string
	done     chan struct{}
}

func (h *hubs) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Synchronise:
		ctx.Respond(&Synchronising{Hub: h.moved})
	case *Connect:
		h.tried = append(h.tried, m.Hub)
		behaves := h.at[m.Hub]
		if behaves == nil {
			behaves = dead
		}
		wait, answer := behaves(m)
		root, sync := ctx.ActorSystem().Root, ctx.Sender()
		time.AfterFunc(wait, func() { root.Send(sync, answer) })
	case *Resync:
		ctx.Respond(&Resynced{Try: m.Try, View: &messages.View{}})
	case *Established:
		h.welcomed = h.tried[len(h.tried)-1]
		close(h.done)
	}
}

// reach returns how long it takes to be welcomed, and by which hub.
func (h *hubs) reach(t *testing.T, configured, known []string) (took time.Duration, hub string) {
	t.Helper()
	system := probe.System(t)
	h.done, h.tried = make(chan struct{}), nil
	session := system.Root.Spawn(actor.PropsFromFunc(h.Receive))
	began := time.Now()
	sync := system.Root.Spawn(NewEdgeSync(EdgeSyncConfig{
		Edge: "e", Hubs: configured, Session: session, Buffer: session, Mirror: session, Journal: &edgeMemory{epoch: 6}, Metrics: Nop{}, Log: zap.NewNop(),
		Jitter: func() float64 { return 0.999 },
		Known:  func() []string { return known }, Learn: func(hubs []string) { h.learnt = hubs },
	}))
	select {
	case <-h.done:
	case <-time.After(time.Hour):
		t.Errorf("no hub took this edge within an hour; tried %d times", len(h.tried))
	}
	system.Root.StopFuture(sync).Wait()
	system.Root.StopFuture(session).Wait()
	return time.Since(began), h.welcomed
}

func TestEdgeFindsItsHub(t *testing.T) {
	for name, c := range map[string]struct {
		at                map[string]aHub
		configured, known []string
		moved             string
		hub               string
		within            time.Duration
		first             string
	}{
		"the one that worked last": {map[string]aHub{"a:1": owner, "b:1": owner}, []string{"a:1"}, []string{"b:1"}, "", "b:1", 3 * roundTrip, "b:1"},
		"is gone: the configured":  {map[string]aHub{"a:1": owner}, []string{"a:1"}, []string{"b:1"}, "", "a:1", 4 * roundTrip, "b:1"},
		"configured gone: learnt":  {map[string]aHub{"d:1": owner}, []string{"a:1"}, []string{"b:1", "c:1", "d:1"}, "", "d:1", 6 * roundTrip, "b:1"},
		"a black hole":             {map[string]aHub{"a:1": blackHole, "b:1": owner}, []string{"a:1", "b:1"}, nil, "", "b:1", 3*time.Second + 3*roundTrip, "a:1"},
		"sent on":                  {map[string]aHub{"a:1": sendsTo("c:1"), "c:1": owner}, []string{"a:1", "b:1"}, nil, "", "c:1", 6 * roundTrip, "a:1"},
		"sent on after failures":   {map[string]aHub{"b:1": sendsTo("c:1"), "c:1": owner}, []string{"a:1", "b:1"}, nil, "", "c:1", 7 * roundTrip, "a:1"},
		"moved":                    {map[string]aHub{"c:1": owner}, []string{"a:1"}, nil, "c:1", "c:1", 3 * roundTrip, "c:1"},
		"moved to one that died":   {map[string]aHub{"b:1": owner}, []string{"a:1", "b:1"}, nil, "c:1", "b:1", 5 * roundTrip, "c:1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hubs{at: c.at, moved: c.moved}
				took, hub := h.reach(t, c.configured, c.known)
				if hub != c.hub || took > c.within+time.Millisecond || h.tried[0] != c.first {
					t.Errorf("welcome of %s after %v, want %s within %v; tried %v", hub, took, c.hub, c.within, h.tried)
				}
				if len(h.learnt) == 0 || h.learnt[0] != c.hub {
					t.Errorf("learnt %v", h.learnt)
				}
			})
		})
	}
}

// The hub that owned the rings was killed; the two others find out between them who
// goes on. Whenever that is settled, the edge is back within a second.
func TestEdgeIsBackSoonAfterANewOwnerIsReady(t *testing.T) {
	for name, old := range map[string]aHub{"killed": dead, "its machine is off": blackHole} {
		for ms := 0; ms < 9000; ms += 370 {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ready := began.Add(time.Duration(ms) * time.Millisecond)
				const hello = 5 * roundTrip / 2 // TCP, TLS, and half of one for Hello to get there
				asked := func(then aHub) aHub { // waits up to two seconds for the owner to be known
					return func(c *Connect) (time.Duration, any) {
						wait := time.Until(ready) - hello
						if wait > 2*time.Second {
							return noOwner(c)
						}
						d, answer := then(c)
						return max(0, wait) + d, answer
					}
				}
				h := &hubs{at: map[string]aHub{"a:1": old, "b:1": asked(sendsTo("c:1")), "c:1": asked(owner)}}
				took, hub := h.reach(t, []string{"a:1", "b:1", "c:1"}, []string{"a:1"})
				late := took - time.Duration(ms)*time.Millisecond
				found := time.Duration(0) // when the old one is known to be gone
				if name != "killed" {
					found = 3*time.Second + 6*roundTrip
				}
				if hub != "c:1" || late > time.Second && took > found {
					t.Errorf("%s, ready after %v: welcome of %s %v later; tried %v", name, ready.Sub(began), hub, late, h.tried)
				}
			})
		}
	}
}

func TestRefusalsForAPersonAreNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		refuses := func(*Connect) (time.Duration, any) {
			n++
			if n > 20 {
				return 0, &messages.Welcome{Epoch: 6}
			}
			return 0, &ConnectFailed{&RefusedError{Code: "unknown_edge"}}
		}
		h := &hubs{at: map[string]aHub{"a:1": refuses, "b:1": refuses}}
		if took, _ := h.reach(t, []string{"a:1", "b:1"}, nil); took < 25*time.Second || took > 50*time.Second {
			t.Errorf("20 refusals took %v", took)
		}
	})
}
