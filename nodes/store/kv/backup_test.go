package kv

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestBackupAndRestore(t *testing.T) {
	mem := vfs.NewMem()
	db, all := filled(t, mem)
	if err := db.Backup("copies/one"); err != nil {
		t.Fatal(err)
	}
	if err := put(db, "later", "1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Backup("copies/one"); err == nil || !strings.Contains(err.Error(), "name a new folder") {
		t.Errorf("over another backup: %v", err)
	}
	marked := ""
	if err := restore(mem, "copies/one", "new", "hub", func(dir string) error {
		copied := open(t, Options{FS: mem, Dir: dir})
		marked = dir
		return errors.Join(put(copied, "restored", "yes"), copied.Close())
	}); err != nil {
		t.Fatal(err)
	}
	restored := open(t, Options{FS: mem, Dir: "new"})
	want(t, restored, "restored", "yes")
	got := contents(t, restored)
	delete(got, "restored")
	if !maps.Equal(got, all) {
		t.Errorf("%d keys; want the %d of the backup", len(got), len(all))
	}
	if _, err := mem.Stat(marked); err == nil {
		t.Errorf("%s is left over", marked)
	}
}

// Damage that nobody has met yet is met by a backup, which would seal it otherwise.
func TestBackupLooksAtEveryTable(t *testing.T) {
	made := vfs.NewMem()
	db, _ := filled(t, made)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	met := 0
	for name, content := range files(t, made) {
		if kind(name) != "sst" {
			continue
		}
		mem := flipped(t, made, name, content, 40, 4)
		counted := 0
		db, err := Open(Options{Dir: "data", FS: mem, Node: "hub", noStats: true, Corrupt: func() { counted++ }})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Backup("backup"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) || counted != 1 {
			t.Errorf("%s: %v; counted %d", name, err, counted)
		}
		if names, err := mem.List("backup"); err == nil {
			t.Errorf("%s: a backup is there: %v", name, names)
		}
		if err := db.Close(); err != nil {
			t.Logf("%s: %v", name, err)
		}
		met++
	}
	if met == 0 {
		t.Error("there are no tables")
	}
}

// A backup that is not whole, not as it was written, or another node's is refused,
// and so is a place that has a store.
func TestRestoreRefuses(t *testing.T) {
	fresh := func() vfs.FS {
		mem := vfs.NewMem()
		db, _ := filled(t, mem)
		if err := db.Backup("backup"); err != nil {
			t.Fatal(err)
		}
		return mem
	}
	never := func(string) error { t.Error("it was put together all the same"); return nil }
	refuses := func(mem vfs.FS, to, node, want string) {
		t.Helper()
		if err := restore(mem, "backup", to, node, never); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("restore to %s as %s: %v; want %q", to, node, err, want)
		}
	}
	refuses(fresh(), "data", "hub", "move its data_dir away")
	refuses(fresh(), "new", "edge/manila-1", "belongs to node hub")
	refuses(vfs.NewMem(), "new", "hub", "this is no backup")
	mem := fresh()
	if err := mem.Remove("backup/" + sealName); err != nil {
		t.Fatal(err)
	}
	refuses(mem, "new", "hub", "not finished")
	names, err := fresh().List("backup")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !belongs(name, true) {
			continue
		}
		mem := fresh()
		path := "backup/" + name
		content, err := readFile(mem, path)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) == 0 {
			continue
		}
		content[len(content)/2] ^= 4
		if err := writeFile(mem, "backup", name, content); err != nil {
			t.Fatal(err)
		}
		refuses(mem, "new", "hub", "has checksum")
		if err := mem.Remove(path); err != nil {
			t.Fatal(err)
		}
		refuses(mem, "new", "hub", "is missing")
	}
}
