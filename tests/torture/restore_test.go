package torture

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
)

const (
	anna = "+639170000001"
	ben  = "+639170000002"
)

// A lost edge disk: after edge replace everything that was not final goes out again
// from the hub, and each that may have been submitted is counted as unknown.
func TestReplacedEdge(t *testing.T) {
	w := newWorld(t, nil)
	w.write(anna, "up", 10)
	w.has(w.inbox, "up", 10)
	w.send(anna, "done", 20)
	w.has(func() map[string]int { return w.received(anna) }, "done", 20)
	w.handset(ben).SetBusy(true)
	w.send(ben, "deferred", 5)
	w.until("five are deferred", func() bool { return w.states()[messages.State_DEFERRED] == 5 })
	w.must(w.SMSC.SetLatency(150 * time.Millisecond))
	w.send(anna, "flow", 60)
	w.until("the edge holds a ring full", func() bool { return w.states()[messages.State_CONFIRMED] >= 25 })

	w.must(w.StopEdge())
	w.lose(w.Edges.DataDir)
	w.must(w.SMSC.SetLatency(time.Millisecond))
	w.must(w.StartEdge())
	w.until("the new journal is refused, with the remedy", func() bool {
		for _, e := range w.logs.FilterMessage("edge refused").All() {
			if strings.Contains(e.ContextMap()["reason"].(string), "ringway edge replace manila-1") {
				return true
			}
		}
		return false
	})
	w.write(anna, "while refused", 3)
	w.must(w.Hub.ReplaceEdge("manila-1"))
	w.handset(ben).SetBusy(false)
	w.await()
	w.has(func() map[string]int { return w.received(anna) }, "flow", 60)
	w.has(func() map[string]int { return w.received(ben) }, "deferred", 5)
	w.write(anna, "later", 10)
	w.has(w.inbox, "up", 10)
	w.has(w.inbox, "while refused", 3)
	w.has(w.inbox, "later", 10)
	w.once(w.inbox())
	w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 85 })
	twice := w.onlyDoubtsTwice(anna) + w.onlyDoubtsTwice(ben)
	doubts := 0
	for text := range w.sent {
		if w.unknown(text) {
			doubts++
		}
		if strings.HasPrefix(text, "deferred") && !w.unknown(text) {
			t.Errorf("%q was with the lost edge, and its history has no unknown", text)
		}
		if strings.HasPrefix(text, "done") && w.unknown(text) {
			t.Errorf("%q was processed before, and is in doubt now", text)
		}
	}
	if doubts < 25 || doubts > 5+32+2 {
		t.Errorf("%d doubts; want those in the ring and the deferred ones", doubts)
	}
	t.Logf("%d doubts, %d came twice", doubts, twice)
}

// The same after a cut: the edge went on submitting, and the word of what it had stored
// never came to the hub, to which it was only Sent. That may have been submitted too.
func TestEdgeReplacedAfterACut(t *testing.T) {
	w := newWorld(t, nil)
	w.WAN.SetRTT(2 * time.Second)
	w.send(anna, "cut", 20)
	w.until("some have come", func() bool { return len(w.received(anna)) >= 8 })
	w.WAN.Cut() // Confirmed is on its way for most of a second yet
	if s := w.states(); s[messages.State_SENT] != 20 {
		t.Fatalf("the hub has heard of what the edge has: %v", s)
	}
	w.must(w.StopEdge())
	w.lose(w.Edges.DataDir)
	w.must(w.Hub.ReplaceEdge("manila-1"))
	w.until("the hub has given up the link", func() bool { return w.Hub.Rings()[0].Link != hub.LinkUp })
	w.WAN.SetRTT(0)
	w.WAN.Restore()
	w.must(w.StartEdge())
	w.await()
	w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 20 })
	if twice := w.onlyDoubtsTwice(anna); twice < 8 {
		t.Errorf("%d came twice, want 8 at least: what came before the cut", twice)
	}
}

// An edge restored from an old backup: what it had done since is not done again, as
// far as the hub knows, and its numbers go on above those it has forgotten.
func TestEdgeRestoredFromAnOldBackup(t *testing.T) {
	w := newWorld(t, nil)
	w.handset(ben).SetBusy(true)
	w.send(ben, "deferred", 3)
	w.send(anna, "before", 10)
	w.write(anna, "up before", 10)
	w.has(w.inbox, "up before", 10)
	w.has(func() map[string]int { return w.received(anna) }, "before", 10)
	w.until("three are deferred", func() bool { return w.states()[messages.State_DEFERRED] == 3 })
	w.must(w.SMSC.SetLatency(50 * time.Millisecond))
	w.send(anna, "under way", 20)
	w.until("the edge holds some", func() bool { return w.states()[messages.State_CONFIRMED] >= 10 })
	backup := filepath.Join(t.TempDir(), "backup")
	w.must(w.Edge.Backup(backup))
	w.must(w.SMSC.SetLatency(time.Millisecond))
	w.handset(ben).SetBusy(false)
	w.send(anna, "after", 40)
	w.has(func() map[string]int { return w.received(anna) }, "after", 40)
	w.has(func() map[string]int { return w.received(ben) }, "deferred", 3)
	w.write(anna, "up after", 10)
	w.has(w.inbox, "up after", 10)
	w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 73 })

	w.must(w.StopEdge())
	w.lose(w.Edges.DataDir)
	w.must(edgestore.Restore(backup, w.Edges.DataDir, w.Edges.ID))
	w.must(w.StopHub()) // nothing is submitted before a Welcome
	w.must(w.StartEdge())
	time.Sleep(time.Second)
	if s := w.Edge.Sessions(); len(s) != 0 {
		t.Errorf("the restored edge has sessions with the SMSC before it reached its hub: %v", s)
	}
	w.must(w.StartHub())
	w.await()
	w.send(anna, "new", 20)
	w.has(func() map[string]int { return w.received(anna) }, "new", 20)
	w.write(anna, "up new", 20)
	w.has(w.inbox, "up new", 20)
	w.once(w.inbox())
	w.once(w.received(anna)) // all was processed at the hub: nothing is done again
	w.once(w.received(ben))
	w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 93 })
}

// A hub restored from an old backup: the edge's numbers are ahead of it. What the
// edge holds is finished, what the hub still knows as open goes out again with a
// doubt, and both ways go on.
func TestHubRestoredFromAnOldBackup(t *testing.T) {
	w := newWorld(t, nil)
	w.send(anna, "before", 20)
	w.write(anna, "up before", 10)
	w.has(w.inbox, "up before", 10)
	w.has(func() map[string]int { return w.received(anna) }, "before", 20)
	w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 20 })
	w.must(w.SMSC.SetLatency(50 * time.Millisecond))
	w.send(anna, "open", 50) // in the ring and behind it
	backup := filepath.Join(t.TempDir(), "backup")
	w.must(w.Hub.Backup(backup))
	w.must(w.SMSC.SetLatency(time.Millisecond))
	w.has(func() map[string]int { return w.received(anna) }, "open", 50)
	known := len(w.sent)
	w.send(anna, "after", 40) // in no backup
	w.has(func() map[string]int { return w.received(anna) }, "after", 40)
	w.write(anna, "up after", 10)
	w.has(w.inbox, "up after", 10)
	w.must(w.SMSC.SetLatency(200 * time.Millisecond))
	w.send(anna, "held", 10) // in no backup, and with the edge
	w.until("the edge holds them", func() bool { return w.states()[messages.State_CONFIRMED] >= 8 })

	w.must(w.StopHub())
	w.lose(w.Hubs.DataDir)
	w.must(hubstore.Restore(backup, w.Hubs.DataDir, time.Now()))
	w.must(w.StartHub())
	w.must(w.SMSC.SetLatency(time.Millisecond))
	for text := range w.sent {
		if !strings.HasPrefix(text, "before") && !strings.HasPrefix(text, "open") {
			delete(w.sent, text) // the hub has forgotten that it accepted them
		}
	}
	w.await()
	w.has(func() map[string]int { return w.received(anna) }, "held", 10)
	w.send(anna, "new", 40)
	w.has(func() map[string]int { return w.received(anna) }, "new", 40)
	w.write(anna, "up new", 20)
	w.has(w.inbox, "up new", 20)
	w.until("all that the hub knows are processed", func() bool { return w.states()[messages.State_PROCESSED] == known+40 })
	got := w.received(anna)
	for text, n := range got {
		again := strings.HasPrefix(text, "open")
		if n > 2 || n == 2 && !again {
			t.Errorf("%q came %d times", text, n)
		}
	}
	w.once(w.inbox()) // "up after" is gone from it, or came again from the edge
}
