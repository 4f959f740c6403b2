package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup copies the store into a new folder while it is in use: all that is durable
// when it begins, with checksums of every file. On the same file system it links
// most of them.
func (d *DB) Backup(dir string) error {
	if err := d.beginRead(); err != nil {
		return err
	}
	defer d.readers.Done()
	fsys := d.opts.FS
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kv: backup to %s: it exists already, or cannot be looked at; name a new folder", dir)
	}
	if err := makeDir(fsys, fsys.PathDir(dir)); err != nil {
		return fmt.Errorf("kv: backup to %s: %w", dir, err)
	}
	err := d.inner.Checkpoint(dir) // what is durable is in the WAL's file
	var whose []byte
	if err == nil {
		whose, err = readFile(fsys, fsys.PathJoin(d.opts.Dir, identityName))
	}
	if err == nil {
		err = writeFile(fsys, dir, identityName, whose)
	}
	if err == nil {
		err = d.checkTables(dir)
	}
	if err == nil {
		err = seal(fsys, dir, true) // last: without it, it is no backup
	}
	if err != nil {
		return fmt.Errorf("kv: backup to %s: %w", dir, errors.Join(err, fsys.RemoveAll(dir)))
	}
	return nil
}

// checkTables reads each block of a backup: a seal would make damage look sound.
func (d *DB) checkTables(dir string) error {
	names, err := d.opts.FS.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		r, err := openTable(d.opts.FS, d.opts.FS.PathJoin(dir, name))
		if err == nil {
			err = errors.Join(r.ValidateBlockChecksums(), r.Close())
		}
		if err != nil {
			if d.opts.Corrupt != nil {
				d.opts.Corrupt()
			}
			return fmt.Errorf("%w: %s: %w (%s)", ErrDamaged, d.opts.FS.PathJoin(d.opts.Dir, name), err, remedyDamaged)
		}
	}
	return nil
}

// Restore copies a backup to where a node's store is to be. There must be none. It
// has mark open the copy, in a folder beside, and note that it is one: only then is
// it put in its place.
func Restore(backup, dir, node string, mark func(dir string) error) error {
	err := restore(vfs.Default, backup, dir, node, mark)
	if err != nil {
		return fmt.Errorf("kv: restore %s from %s: %w", dir, backup, err)
	}
	return nil
}

func restore(fsys vfs.FS, backup, dir, node string, mark func(dir string) error) error {
	f, err := fsys.Open(fsys.PathJoin(backup, identityName))
	if err != nil {
		return fmt.Errorf("this is no backup: %w", err)
	}
	if err := belongsTo(f, fsys.PathJoin(backup, identityName), backup, node); err != nil {
		return err
	}
	switch err := checkSeal(fsys, backup); {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("this is no backup, or one that was not finished: it has no file " + sealName)
	case err != nil:
		return err
	}
	return place(fsys, dir, func(stage string) error {
		names, err := fsys.List(backup)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := vfs.Copy(fsys, fsys.PathJoin(backup, name), fsys.PathJoin(stage, name)); err != nil {
				return err
			}
		}
		return mark(stage)
	})
}

// place has a store made in a folder beside the one where it is to be, and puts it
// there once it is whole.
func place(fsys vfs.FS, dir string, fill func(stage string) error) error {
	if desc, err := pebble.Peek(dir, fsys); err == nil && desc.Exists {
		return errors.New("there is a store already: stop the node and move its data_dir away first")
	}
	stage := dir + ".restoring"
	if err := errors.Join(fsys.RemoveAll(stage), makeDir(fsys, stage), makeDir(fsys, dir)); err != nil {
		return err
	}
	if err := fill(stage); err != nil {
		return err
	}
	names, err := fsys.List(stage)
	if err != nil {
		return err
	}
	for _, last := range []bool{false, true} { // without its identity it is no store yet
		for _, name := range names {
			if (name == identityName) == last && name != "LOCK" {
				if err := fsys.Rename(fsys.PathJoin(stage, name), fsys.PathJoin(dir, name)); err != nil {
					return err
				}
			}
		}
		if err := syncDir(fsys, dir); err != nil {
			return err
		}
	}
	return fsys.RemoveAll(stage)
}
