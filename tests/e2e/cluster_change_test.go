package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// caller is a program that knows all hubs: it sends texts to a handset one after the
// other by HTTP calls, and what fails again at the next hub under the same ref.
type caller struct {
	t       testing.TB
	h       *hubs
	token   string
	number  string
	end     chan struct{}
	running sync.WaitGroup

	sent    []string
	retries map[string]int
	longest time.Duration
}

// giveUp is when a call has failed for good.
const giveUp = 5 * time.Second

func (h *hubs) caller(number string, every time.Duration) *caller {
	h.t.Helper()
	c := &caller{t: h.t, h: h, token: newPerson(h.any(0), "caller").token, number: number, end: make(chan struct{}), retries: map[string]int{}}
	c.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-c.end:
				return
			case <-tick.C:
			}
			if !c.call(i) {
				return
			}
		}
	})
	return c
}

// call sends one text, at whichever hub takes it.
func (c *caller) call(i int) bool {
	text, begin := fmt.Sprint("call ", i), time.Now()
	body := map[string]string{"to": c.number, "text": text, "ref": fmt.Sprint("call-", i)}
	for at := i; ; at++ {
		n := c.h.nodes[at%len(c.h.nodes)]
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		status, _, err := api{t: c.t, base: "http://" + n.http, token: c.token}.try(ctx, "POST", "/v1/messages", body, nil)
		cancel()
		if status == http.StatusAccepted {
			c.sent = append(c.sent, text)
			c.longest = max(c.longest, time.Since(begin))
			return true
		}
		c.retries[failure(status, err)]++
		if time.Since(begin) > giveUp || c.t.Context().Err() != nil {
			c.t.Errorf("call %d failed at every hub for %v: %v", i, time.Since(begin), err)
			return false
		}
		if at-i >= len(c.h.nodes) {
			<-time.After(20 * time.Millisecond)
		}
	}
}

// inOrder is what a client meets of a hub that stops in order: its port is closed, and
// so are connections that the client has kept.
var inOrder = map[string]bool{"refused": true, "hung up": true}

// failure names why a call has to be tried again.
func failure(status int, err error) string {
	switch {
	case status != 0:
		return fmt.Sprint(status)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "server closed idle connection"):
		return "hung up"
	}
	return err.Error()
}

// judge ends the calls: each has reached the handset, once and in order, and no hub
// has answered one with an error, or late.
func (c *caller) judge(smsc smscAPI) {
	c.t.Helper()
	close(c.end)
	c.running.Wait()
	eventually(c.t, 30*time.Second, func() string { return atLeast("calls came", len(smsc.texts(c.number)), len(c.sent)) })
	sameSequence(c.t, "the callers' handset", smsc.texts(c.number), c.sent)
	for why, n := range c.retries {
		if !inOrder[why] {
			c.t.Errorf("%d calls had to be tried again for %q", n, why)
		}
	}
	c.t.Logf("%d calls, none failed; tried again at another hub: %v; the longest took %v", len(c.sent), c.retries, c.longest.Round(time.Millisecond))
}

// All hubs are restarted one after the other, under load, the edges 100 ms away.
func TestClusterRollingRestart(t *testing.T) {
	t.Parallel()
	long(t)
	h := newHubs(t, 3, 100*time.Millisecond)
	h.edge("manila-1", "+63917", "cimd2")
	h.edge("cebu-1", "+63918", "smpp")
	h.configured(6)
	h.start()
	eventually(t, 30*time.Second, func() string { return h.agree(8) })
	x := h.load(3, 3, 60*time.Millisecond)
	x.flow(20 * time.Second)
	c := h.caller("+639185550000", 50*time.Millisecond)
	calm := time.Now()
	<-time.After(5 * time.Second) // this is a measurement, not a wait for something
	down0, up0 := x.pauses(calm, time.Now())

	begin := time.Now()
	x.nobodySeesAnError(func() {
		for _, n := range h.nodes {
			at := time.Now()
			n.stop()
			stopped := time.Since(at)
			h.launch(n).ready()
			h.well(60 * time.Second)
			eventually(t, 30*time.Second, func() string { return h.agree(8) })
			t.Logf("%s stopped within %v; all is well again %v after that began", n.name, stopped.Round(time.Millisecond), time.Since(at).Round(time.Millisecond))
		}
		x.flow(20 * time.Second)
	})
	down, up := x.pauses(begin, time.Now())
	t.Logf("longest pause of a conversation: %v down, %v up; without restarts %v, %v", down, up, down0, up0)
	c.judge(h.edges[1].smsc(t))
	x.judge(60 * time.Second)
	h.neverTwice()
	if down > time.Second || up > time.Second {
		t.Errorf("a conversation paused for %v down, %v up, want a second at most; %v and %v without restarts", down, up, down0, up0)
	}
}

// Hubs come, under load: rings go to them, as few as must.
func TestClusterScale(t *testing.T) {
	t.Parallel()
	long(t)
	h := newHubs(t, 3, 0)
	h.edge("manila-1", "+63917", "cimd2")
	h.edge("cebu-1", "+63918", "smpp")
	h.configured(22)
	all := h.nodes
	h.nodes = all[:1]
	h.start()
	eventually(t, 30*time.Second, func() string { return h.agree(24) })
	x := h.load(3, 12, 50*time.Millisecond)
	for i := range 2 {
		before, err := h.owners(h.nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		h.nodes = all[:i+2]
		at := time.Now()
		n := h.launch(h.nodes[i+1])
		n.ready()
		var now map[string]string
		eventually(t, 30*time.Second, func() string {
			if missing := h.agree(24); missing != "" {
				return missing
			}
			if now, err = h.owners(n); err != nil {
				return err.Error()
			}
			return atLeast("rings moved to "+n.name, count(now)[n.name], 1)
		})
		took := time.Since(at)
		x.flow(20 * time.Second)
		if now, err = h.owners(n); err != nil {
			t.Fatal(err)
		}
		moved := 0
		for edge, owner := range now {
			if owner != before[edge] {
				moved++
				if owner != n.name {
					t.Errorf("the rings of %s went from %s to %s, which was there before", edge, before[edge], owner)
				}
			}
		}
		spread := count(now)
		t.Logf("%d hubs: %v; %d of 24 moved, %v after the start of %s", i+2, spread, moved, took.Round(time.Millisecond), n.name)
		for _, n := range h.nodes {
			if fair := 24 / len(h.nodes); spread[n.name] < fair/2 || spread[n.name] > 2*fair {
				t.Errorf("%s has %d of 24 edges' rings, its share is %d", n.name, spread[n.name], fair)
			}
		}
	}
	x.flow(20 * time.Second)
	x.judge(60 * time.Second)
	h.neverTwice()
}

func count(owners map[string]string) map[string]int {
	n := map[string]int{}
	for _, owner := range owners {
		n[owner]++
	}
	return n
}
