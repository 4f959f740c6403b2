package kv

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	memTable = 8 << 20

	// walBytes is how much of a new WAL is written with zeros before its use: a
	// little more than a memtable, after which Pebble begins another.
	walBytes = memTable + memTable/8
)

// walFS prepares new WALs: their blocks are written once, so that a later fsync
// finds data to write and no change of the file's size or extents. A file system
// with a journal (ext4, xfs) otherwise commits that journal at every fsync, and
// two stores on one disk wait for each other's commits. Pebble takes zeros for
// the end of a WAL, as it does with those it recycles.
type walFS struct {
	vfs.FS
	again func(err error) bool // once more, after a while? nil: no
}

// Create prepares a file that is named as a WAL; any other is the disk's.
func (w walFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") {
		return w.FS.Create(name, category)
	}
	for {
		f, err := w.prepare(name, category)
		if err == nil {
			return f, nil
		}
		_ = w.Remove(name) // others need the room
		if w.again == nil || !w.again(err) {
			return nil, err
		}
	}
}

func (w walFS) prepare(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 256<<10)
	for written := 0; written < walBytes && err == nil; written += len(zeros) {
		_, err = f.Write(zeros)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	return w.OpenReadWrite(name, category)
}
