package kv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

const (
	// Format is the version of what this program writes, Pebble's files included.
	Format = 1

	// pebbleFormat is fixed, so that another Pebble does not change the files in passing.
	pebbleFormat = pebble.FormatTableFormatV6

	identityName  = "RINGWAY"
	identityLimit = 4 << 10

	tellAgain   = 10 * time.Second // that the disk does not take what is to be flushed
	lookForRoom = 100 * time.Millisecond
)

// identity is the record in file RINGWAY: whose directory this is.
type identity struct {
	Format int    `json:"format"`
	Node   string `json:"node"`
}

// Open opens the store of one node, and creates it if there is none. It refuses,
// with an error that says what to do, a directory that another process uses, that
// belongs to another node or to a newer version, or that cannot be written.
func Open(opts Options) (*DB, error) {
	if opts.Dir == "" || opts.Node == "" {
		return nil, fmt.Errorf("kv: data directory %q of node %q: both must be given", opts.Dir, opts.Node)
	}
	if opts.FS == nil {
		opts.FS = walFS{FS: vfs.Default}
		dir, err := filepath.Abs(opts.Dir) // the lock within this process goes by name
		if err != nil {
			return nil, fmt.Errorf("kv: data directory %s: %w", opts.Dir, err)
		}
		opts.Dir = dir
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.CacheBytes <= 0 {
		opts.CacheBytes = defaultCacheBytes
	}
	if opts.QueueBytes <= 0 {
		opts.QueueBytes = defaultQueueBytes
	}
	if err := makeDir(opts.FS, opts.Dir); err != nil {
		return nil, unusable(opts.Dir, err)
	}
	lock, err := pebble.LockDirectory(opts.Dir, opts.FS)
	if err != nil {
		return nil, lockError(opts.Dir, err)
	}
	d := &DB{opts: opts, log: opts.Logger, lock: lock}
	if wal, ok := opts.FS.(walFS); ok {
		wal.again = d.awaitRoom
		d.opts.FS = wal
	}
	d.arrived = sync.NewCond(&d.mu)
	d.alarm = time.AfterFunc(time.Hour, func() {
		d.mu.Lock() // else it could pass between due and Wait
		defer d.mu.Unlock()
		d.arrived.Broadcast()
	})
	d.alarm.Stop()
	if err = identify(opts); err == nil {
		if err = unseal(opts.FS, opts.Dir); err != nil {
			err = unusable(opts.Dir, err)
		}
	}
	if err == nil {
		err = d.openPebble()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d.mu.Lock()
	d.open = true
	d.mu.Unlock()
	if !opts.Inline && opts.Defer == nil {
		d.committer.Go(d.commitLoop)
	}
	return d, nil
}

func (d *DB) openPebble() (err error) {
	defer func() {
		if p := recover(); p != nil { // Logger.Fatalf
			err = unusable(d.opts.Dir, panicError(p))
		}
	}()
	o := &pebble.Options{
		FS:                          d.opts.FS,
		Lock:                        d.lock,
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   d.opts.CacheBytes,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                256,
		Logger:                      quietLogger{d},
		EventListener:               d.listener(),
		DisableTableStats:           d.opts.noStats,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most ids looked up are new
	}
	if d.inner, err = pebble.Open(d.opts.Dir, o); err != nil {
		return unusable(d.opts.Dir, err)
	}
	return nil
}

// listener says aloud what Pebble would otherwise only count.
func (d *DB) listener() *pebble.EventListener {
	dir := zap.String("data_dir", d.opts.Dir)
	return &pebble.EventListener{
		BackgroundError: func(err error) { // it tries again, at once; a full disk ends in a write stall
			if d.tellNow() {
				d.log.Error("the store could not flush or compact, and tries again", dir, zap.String("error", err.Error()))
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if d.opts.Corrupt != nil {
				d.opts.Corrupt()
			}
			_ = d.fail(fmt.Errorf("%w: %s: %w (%s)", ErrDamaged, info.Path, info.Details, remedyDamaged))
		},
		WALCreated: func(info pebble.WALCreateInfo) {
			if info.Err != nil { // Pebble is about to panic beyond recovery
				_ = d.fail(fmt.Errorf("new WAL: %w", info.Err))
			}
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			d.log.Warn("the disk is slow", dir, zap.String("path", info.Path),
				zap.Stringer("op", info.OpType), zap.Duration("so_far", info.Duration))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			d.log.Warn("writes wait for the disk", dir, zap.String("reason", info.Reason))
		},
		WriteStallEnd: func() { d.log.Info("writes go on", dir) },
	}
}

// awaitRoom waits a little when there is no room for a new WAL: an error there is one
// that Pebble cannot return, nor anybody recover from. While the store is opened or
// closed it does not wait.
func (d *DB) awaitRoom(err error) bool {
	d.mu.Lock()
	wait := d.open && !d.closed && vfs.IsNoSpaceError(err)
	d.mu.Unlock()
	if wait {
		if d.tellNow() {
			d.log.Error("no room for a new log: nothing further is written until there is", zap.String("data_dir", d.opts.Dir), zap.Error(err))
		}
		<-time.After(lookForRoom)
	}
	return wait
}

// tellNow is true once in tellAgain.
func (d *DB) tellNow() bool {
	now, told := time.Now().UnixNano(), d.told.Load()
	return now-told >= int64(tellAgain) && d.told.CompareAndSwap(told, now)
}

// makeDir creates dir, readable to its owner only, and syncs the parents of what
// it created.
func makeDir(fsys vfs.FS, dir string) error {
	var missing []string
	for p := dir; ; p = fsys.PathDir(p) {
		info, err := fsys.Stat(p)
		if err == nil {
			if !info.IsDir() {
				return fmt.Errorf("%s is not a directory", p)
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, p)
		if fsys.PathDir(p) == p {
			break
		}
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range missing {
		if err := syncDir(fsys, fsys.PathDir(p)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	f, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// identify compares the directory's identity with the node's, and writes it if
// the directory is new.
func identify(opts Options) error {
	fsys, dir := opts.FS, opts.Dir
	path := fsys.PathJoin(dir, identityName)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if desc, err := pebble.Peek(dir, fsys); err != nil {
			return unusable(dir, err)
		} else if desc.Exists {
			return fmt.Errorf("kv: data directory %s holds a database but no file %s to say whose; "+
				"restore that file, or set data_dir to an empty directory", dir, identityName)
		}
		return writeIdentity(fsys, dir, identity{Format: Format, Node: opts.Node})
	}
	if err != nil {
		return unusable(dir, err)
	}
	return belongsTo(f, path, dir, opts.Node)
}

// belongsTo compares the identity in a file, which it closes, with the node's.
func belongsTo(f vfs.File, path, dir, node string) error {
	data, err := io.ReadAll(io.LimitReader(f, identityLimit))
	if err = errors.Join(err, f.Close()); err != nil {
		return unusable(dir, err)
	}
	var id identity
	switch err := json.Unmarshal(data, &id); {
	case err != nil || id.Format < 1 || id.Node == "":
		return fmt.Errorf("kv: %s does not say whose data directory this is (it reads %.80q); restore it from a backup", path, data)
	case id.Format > Format:
		return fmt.Errorf("kv: data directory %s has format %d, this version knows up to %d; "+
			"run the version that wrote it, or a later one", dir, id.Format, Format)
	case id.Node != node:
		return fmt.Errorf("kv: data directory %s belongs to node %s, this is %s; give each node its own data_dir", dir, id.Node, node)
	}
	return nil
}

func writeIdentity(fsys vfs.FS, dir string, id identity) error {
	data, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("kv: identity: %w", err)
	}
	if err := writeFile(fsys, dir, identityName, append(data, '\n')); err != nil {
		return unusable(dir, err)
	}
	return nil
}

// lockError tells a lock that is held from a lock file that cannot be written.
func lockError(dir string, err error) error {
	var path *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.As(err, &path):
		return unusable(dir, err)
	case errors.As(err, &errno):
		if errno == syscall.EAGAIN || errno == syscall.EACCES {
			return fmt.Errorf("kv: data directory %s is in use by another process; stop it or give this one its own data_dir: %w", dir, err)
		}
		return unusable(dir, err)
	case errors.Is(err, fs.ErrPermission):
		return unusable(dir, err)
	}
	return fmt.Errorf("kv: data directory %s is in use by this process; give each node its own data_dir: %w", dir, err)
}

func unusable(dir string, err error) error {
	remedy := "look at the disk and at the backup"
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("kv: data directory %s cannot be used: %w", dir, err)
	case errors.Is(err, pebble.ErrCorruption):
		remedy = remedyDamaged
	case errors.Is(err, fs.ErrPermission):
		remedy = "let this user write there, or set data_dir to a directory it may write"
	case errors.Is(err, syscall.EROFS):
		remedy = "the file system is read-only; set data_dir to another"
	case errors.Is(err, syscall.ENOSPC):
		remedy = "the disk is full; make room"
	}
	return fmt.Errorf("kv: data directory %s cannot be used: %w (%s)", dir, err, remedy)
}

// quietLogger passes what Pebble says on to zap, at debug.
type quietLogger struct{ db *DB }

func (l quietLogger) Infof(format string, args ...any) {
	if entry := l.db.log.Check(zap.DebugLevel, "pebble"); entry != nil {
		entry.Write(zap.String("text", fmt.Sprintf(format, args...)))
	}
}

func (l quietLogger) Errorf(format string, args ...any) {
	l.db.log.Warn("pebble", zap.String("text", fmt.Sprintf(format, args...)))
}

// Fatalf may not return: Pebble would go on with what it knows to be broken.
// Open and apply recover; in Pebble's background the process ends, after Fatal.
func (l quietLogger) Fatalf(format string, args ...any) {
	err := error(fatalError{text: fmt.Sprintf(format, args...)})
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = fatalError{text: err.Error(), cause: cause}
			break
		}
	}
	l.db.mu.Lock()
	open := l.db.open
	l.db.mu.Unlock()
	if open {
		err = l.db.fail(err)
	}
	panic(err)
}

// fatalError is Pebble's last words and what they are about.
type fatalError struct {
	text  string
	cause error // nil if Pebble gave none
}

func (e fatalError) Error() string { return e.text }
func (e fatalError) Unwrap() error { return e.cause }

func panicError(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	return fmt.Errorf("%v", p)
}
