package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
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

	cut  *powerCut // the power fails at the next fsync of a log, before it
	torn *vfs.MemFS
	part bool // torn has of a log what was written last, and not all of it
}

// powerCut says what is left of what was not synced: so much per cent, the first part
// or any sectors.
type powerCut struct {
	kept  int
	first bool
	seed  uint64
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
		if cut := f.disk.cut; cut != nil && f.disk.torn == nil && strings.HasSuffix(op.Path, ".log") {
			f.disk.torn = f.disk.left(*cut)
		}
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

// crash is the end of a process: the disk is as its machine leaves it.
func (d *disk) crash(cut powerCut) {
	if d.torn == nil {
		d.torn = d.left(cut)
	}
	d.mem, d.cut, d.torn, d.part = d.torn, nil, nil, false
}

const sector = 512 // octets that a disk writes whole or not at all

// left is the disk after a power cut. MemFS's own dice fall in the order of a map:
// here a sector's name decides, so that a seed is a history.
func (d *disk) left(cut powerCut) *vfs.MemFS {
	synced := d.mem.CrashClone(vfs.CrashCloneCfg{})
	if cut.kept == 0 {
		return synced
	}
	all := d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	if cut.kept == 100 {
		return all
	}
	keep := func(path string, sector int) bool {
		h := fnv.New64a()
		fmt.Fprint(h, cut.seed, path, sector)
		return h.Sum64()%100 < uint64(cut.kept)
	}
	var overlay func(dir string)
	overlay = func(dir string) {
		for _, name := range must(all.List(dir)) {
			path := all.PathJoin(dir, name)
			info, err := synced.Stat(path)
			known := err == nil
			switch {
			case !known && !keep(path, -1): // nor is it in its directory
			case known && info.IsDir(), !known && must(all.Stat(path)).IsDir():
				must(0, synced.MkdirAll(path, 0o700))
				overlay(path)
			default:
				var old []byte
				if known {
					old = contents(synced, path)
				}
				left, written := slices.Clone(old), contents(all, path)
				if cut.first && bytes.HasPrefix(written, old) {
					left = written[:len(old)+(len(written)-len(old))*cut.kept/100]
				}
				for at := 0; !cut.first && at < len(written); at += sector {
					if part := written[at:min(at+sector, len(written))]; keep(path, at/sector) {
						left = append(left, make([]byte, max(0, at+len(part)-len(left)))...)
						copy(left[at:], part)
					}
				}
				d.part = d.part || strings.HasSuffix(path, ".log") && !bytes.Equal(left, old) && !bytes.Equal(left, written)
				if !known || !bytes.Equal(left, old) {
					f := must(synced.Create(path, vfs.WriteCategoryUnspecified))
					must(f.Write(left))
					must(0, errors.Join(f.Sync(), f.Close()))
				}
			}
		}
		f := must(synced.OpenDir(dir))
		must(0, errors.Join(f.Sync(), f.Close()))
	}
	overlay("")
	return synced
}

func contents(fs vfs.FS, path string) []byte {
	f := must(fs.Open(path))
	defer func() { _ = f.Close() }()
	return must(io.ReadAll(f))
}

// must is of a file system in memory, which has no reason to fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("simulation: a disk in memory: %v", err))
	}
	return v
}

// GetDiskUsage is what package kv asks before something new is taken on.
func (f *diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	free := uint64(f.disk.space.Load())
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: 10 << 30, UsedBytes: 10<<30 - free}, nil
}
