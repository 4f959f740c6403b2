package simulation

import (
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// disk is what outlives a process: a file system in memory that knows what was
// synced.
type disk struct {
	mem    *vfs.MemFS
	latest time.Duration // longest that a commit takes, for now
	space  atomic.Int64  // octets free; 0: no write succeeds
	sync   atomic.Bool   // the next fsync of a log fails
}

const (
	roomy  = 1 << 30
	narrow = 100 << 20 // less than the reserve of package kv
)

func newDisk() *disk {
	d := &disk{mem: vfs.NewCrashableMem(), latest: 2 * time.Millisecond}
	d.space.Store(roomy)
	return d
}

// fs is the disk as one process sees it.
func (d *disk) fs() *diskFS {
	f := &diskFS{disk: d}
	f.FS = errorfs.Wrap(d.mem, errorfs.InjectorFunc(f.fate))
	return f
}

type diskFS struct {
	vfs.FS
	disk *disk
	over atomic.Bool // the process is dead: only Pebble's end uses it
}

// fate is an error of an operation. Only logs fail while the store is open: where
// Pebble cannot return an error (a manifest, a new log) it ends the process, and
// that would be this one; package kv's tests have other processes for it.
func (f *diskFS) fate(op errorfs.Op) error {
	if f.over.Load() {
		return nil
	}
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if strings.HasSuffix(op.Path, ".log") && f.disk.sync.CompareAndSwap(true, false) {
			return syscall.EIO
		}
	case errorfs.OpFileWrite:
		if strings.HasSuffix(op.Path, ".log") && f.disk.space.Load() == 0 {
			return syscall.ENOSPC
		}
	}
	return nil
}

// GetDiskUsage is what package kv asks before something new is taken on.
func (f *diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	free := uint64(f.disk.space.Load())
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: 10 << 30, UsedBytes: 10<<30 - free}, nil
}
