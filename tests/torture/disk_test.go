package torture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/tests/need"
)

// reserve is what must be free on the disks that fill, in MB.
const reserve = 24

// smallDisk mounts a file system in memory, and returns what leaves half the reserve of
// it, and what makes room again.
func smallDisk(t *testing.T) (dir string, fill, empty func()) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		need.Lack(t, "it needs to mount a tmpfs, as root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(dir, "filler")
	fill = func() {
		t.Helper()
		var usage unix.Statfs_t
		must(unix.Statfs(dir, &usage))
		must(os.WriteFile(filler, make([]byte, int64(usage.Bavail)*usage.Bsize-reserve<<20/2), 0o600))
	}
	return dir, fill, func() {
		t.Helper()
		must(os.Remove(filler))
	}
}

// hubOn puts a hub's data there.
func hubOn(dir string) func(*demo.RigConfig) {
	return func(c *demo.RigConfig) {
		before := c.Hub
		c.Hub = func(h *config.Hub) {
			before(h)
			h.DataDir, h.Disk.ReserveMB = filepath.Join(dir, "hub"), reserve
		}
	}
}

// A disk that fills stops new messages before anything breaks, finishes what was
// accepted, and takes new ones when there is room.
func TestHubDiskFills(t *testing.T) {
	dir, fill, empty := smallDisk(t)
	w := newWorld(t, hubOn(dir))
	w.must(w.SMSC.SetLatency(20 * time.Millisecond))
	w.send(anna, "before", 50)
	fill()
	var refusal *hub.Refusal
	w.until("it is refused", func() bool {
		_, err := w.Hub.Send(t.Context(), hub.Submission{From: "ann", To: anna, Text: "too late"})
		return errors.As(err, &refusal)
	})
	if refusal.Code != hub.CodeDiskFull || refusal.Retry == 0 {
		t.Errorf("refused with %+v", refusal)
	}
	if err := w.Hub.Ready(); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("ready: %v", err)
	}
	w.has(func() map[string]int { return w.received(anna) }, "before", 50)
	w.write(anna, "up", 3) // the hub does not say Confirmed: the edge keeps them
	empty()
	w.until("it is accepted again", func() bool {
		_, err := w.Hub.Send(t.Context(), hub.Submission{From: "ann", To: anna, Text: "again 0"})
		return err == nil
	})
	w.has(func() map[string]int { return w.received(anna) }, "again", 1)
	w.has(w.inbox, "up", 3)
	w.once(w.inbox())
	if err := w.Hub.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}

// The same at an edge: the SMSC keeps what handsets write, the hub what goes to them,
// what the edge has it finishes, and all goes on when there is room.
func TestEdgeDiskFills(t *testing.T) {
	dir, fill, empty := smallDisk(t)
	w := newWorld(t, func(c *demo.RigConfig) {
		before := c.Edge
		c.Edge = func(e *config.Edge) {
			before(e)
			e.DataDir, e.Disk.ReserveMB = filepath.Join(dir, "edge"), reserve
		}
	})
	w.must(w.SMSC.SetLatency(50 * time.Millisecond))
	w.send(anna, "before", 20)
	w.until("the edge has them", func() bool { s := w.states(); return s[messages.State_CONFIRMED]+s[messages.State_PROCESSED] == 20 })
	fill()
	w.until("it says so", func() bool {
		err := w.Edge.Ready()
		return err != nil && strings.Contains(err.Error(), "make room")
	})
	w.must(w.SMSC.SetLatency(time.Millisecond))
	w.has(func() map[string]int { return w.received(anna) }, "before", 20) // and their outcomes are on disk
	w.until("what the edge had is processed", func() bool { return w.states()[messages.State_PROCESSED] == 20 })
	w.send(anna, "later", 10)
	w.write(anna, "up", 5)
	w.until("the hub has sent them", func() bool { return w.states()[messages.State_SENT] == 10 })
	w.until("the SMSC has been refused", func() bool { return refused(w) > 0 })
	if s := w.SMSC.Stats(); s.MOAcked != 0 || s.MOPending != 5 || w.states()[messages.State_SENT] != 10 || w.received(anna)["later 0"] != 0 {
		t.Errorf("the edge took something on: %+v; states %v", s, w.states())
	}
	empty()
	began := time.Now()
	w.has(func() map[string]int { return w.received(anna) }, "later", 10)
	t.Logf("all has come %v after there was room", time.Since(began).Round(time.Millisecond))
	w.has(w.inbox, "up", 5)
	w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 30 })
	w.once(w.received(anna))
	w.once(w.inbox())
	w.must(w.Edge.Ready())
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v after there was room", took)
	}
}

// refused counts what the edge left to its SMSC.
func refused(w *world) (n float64) {
	w.t.Helper()
	families, err := w.EdgeMetrics.Gather()
	w.must(err)
	for _, f := range families {
		if f.GetName() == "ringway_smsc_refused_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// The hub's disk is nearly full and the edge's is lost: what the hub had no room for has
// its place in the ring up, and the new edge's messages get others.
func TestEdgeReplacedWhileTheHubLacksRoom(t *testing.T) {
	dir, fill, empty := smallDisk(t)
	onIt := hubOn(dir)
	w := newWorld(t, func(c *demo.RigConfig) { onIt(c); c.Stripes = 1 })
	w.send(anna, "hello", 1) // whom answers are for
	w.has(func() map[string]int { return w.received(anna) }, "hello", 1)
	fill()
	w.until("it says so", func() bool { return w.Hub.Ready() != nil })
	w.write(anna, "held", 5)
	var told []time.Time // by the heartbeats of one stripe: what was sent before the last but one is there
	w.until("the hub has them", func() bool {
		e := w.Hub.Rings()[0]
		if e.Edge.Up != nil && e.Edge.Up.LastSent == 5 && (len(told) == 0 || e.EdgeAsOf.After(told[len(told)-1])) {
			told = append(told, e.EdgeAsOf)
		}
		return len(told) == 3
	})
	w.must(w.StopEdge())
	w.lose(w.Edges.DataDir)
	w.must(w.Hub.ReplaceEdge("manila-1"))
	w.must(w.StartEdge())
	w.until("it joins anew", func() bool { return w.logs.FilterMessage("the edge joins anew").Len() > 0 })
	time.Sleep(500 * time.Millisecond) // for what it must not do: join before the hub knows where it stands
	empty()
	w.write(anna, "new", 5)
	w.await()
	w.has(w.inbox, "held", 5)
	w.has(w.inbox, "new", 5)
	w.once(w.inbox())
}
