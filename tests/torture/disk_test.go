package torture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/tests/need"
)

// A disk that fills stops new messages before anything breaks, finishes what was
// accepted, and takes new ones when there is room.
func TestHubDiskFills(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		need.Lack(t, "it needs to mount a tmpfs, as root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := newWorld(t, func(c *demo.RigConfig) {
		before := c.Hub
		c.Hub = func(h *config.Hub) {
			before(h)
			h.DataDir, h.Disk.ReserveMB = filepath.Join(dir, "hub"), 24
		}
	})
	w.must(w.SMSC.SetLatency(20 * time.Millisecond))
	w.send(anna, "before", 50)
	filler := filepath.Join(dir, "filler")
	var usage unix.Statfs_t
	w.must(unix.Statfs(dir, &usage))
	free := int64(usage.Bavail) * usage.Bsize
	w.must(os.WriteFile(filler, make([]byte, free-12<<20), 0o600)) // half the reserve is left
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
	w.must(os.Remove(filler))
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
