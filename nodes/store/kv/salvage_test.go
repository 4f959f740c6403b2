package kv

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// worn makes a store with several tables, some of whose keys were written again, some
// deleted, some deleted as a range.
func worn(t *testing.T, fsys vfs.FS) (*DB, map[string]string) {
	t.Helper()
	db := open(t, Options{FS: fsys})
	write := func(f func(b *Batch)) {
		t.Helper()
		var b Batch
		f(&b)
		if err := db.Wait(func(done func(error)) { db.Commit(&b, done) }); err != nil {
			t.Fatal(err)
		}
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "%04d", i) }
	for round := range 3 {
		for i := 0; i < 1000; i += 1 + round {
			write(func(b *Batch) {
				b.Set(key(i), []byte(strings.Repeat(fmt.Sprint(round, " ", i, " "), 8)))
				if i%7 == round {
					b.Delete(key(i - 3))
				}
			})
		}
		write(func(b *Batch) { b.DeleteRange(key(100*round+50), key(100*round+80)) })
		if round < 2 {
			if err := db.inner.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db, contents(t, db)
}

func salvaged(t *testing.T, fsys vfs.FS) (found map[string]string, lost []Loss, err error) {
	t.Helper()
	lost, err = Salvage(Options{Dir: "mended", FS: fsys, Node: "hub"}, "data", func(Options, []Loss) ([]Loss, error) { return nil, nil })
	if err != nil {
		return nil, nil, err
	}
	db, err := Open(Options{Dir: "mended", FS: fsys, Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return contents(t, db), lost, nil
}

// Whatever bit flips: each record that is not said to be lost stands as it was, and
// most are not.
func TestSalvage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, closed := range []bool{true, false} {
		made := vfs.NewMem()
		db, all := worn(t, made)
		left := vfs.FS(made)
		if closed {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			left = clone(t, made) // as kill -9 leaves it
		}
		if _, _, err := salvaged(t, clone(t, left)); !errors.Is(err, ErrSound) {
			t.Errorf("closed %v, without damage: %v", closed, err)
		}
		kept, total := 0, 0
		hit := map[string]int{}
		for name, content := range files(t, left) {
			end := len(content)
			switch kind(name) {
			case "log":
				n, _ := strconv.Atoi(strings.TrimSuffix(name, ".log"))
				end = lastRecord(t, content, logFormat{wal: true, number: uint32(n)})
			case "sst":
			default:
				continue
			}
			for range 25 {
				if end == 0 {
					break
				}
				at := random.IntN(end)
				found, lost, err := salvaged(t, flipped(t, left, name, content, at, byte(1)<<random.IntN(8)))
				if errors.Is(err, ErrSound) {
					continue // these octets are not used
				}
				if err != nil {
					t.Fatalf("%s, octet %d of %d: %v", name, at, len(content), err)
				}
				hit[kind(name)]++
				may := func(k string) bool {
					for _, l := range lost {
						if l.May([]byte(k)) {
							return true
						}
					}
					return false
				}
				total += len(all)
				for k, v := range all {
					if found[k] == v {
						kept++
					} else if !may(k) {
						t.Fatalf("%s, octet %d: key %q is %.20q and was %.20q, and no word: %v", name, at, k, found[k], v, lost)
					}
				}
				for k := range found {
					if _, was := all[k]; !was && !may(k) {
						t.Fatalf("%s, octet %d: key %q was deleted and is there again, and no word: %v", name, at, k, lost)
					}
				}
			}
		}
		t.Logf("closed %v: hit %v, kept %.1f %%", closed, hit, 100*float64(kept)/float64(total))
		if hit["sst"] < 5 || !closed && hit["log"] < 5 || float64(kept) < 0.7*float64(total) {
			t.Errorf("closed %v: hit %v, kept %d of %d", closed, hit, kept, total)
		}
	}
}

// What cannot be repaired is refused, the damaged store stays as it is, and nothing is
// put where the new one was to be.
func TestSalvageRefuses(t *testing.T) {
	left := vfs.NewMem()
	db, _ := worn(t, left)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	settle := func(Options, []Loss) ([]Loss, error) { return nil, errors.New("not enough of it") }
	for name, content := range files(t, left) {
		var want string
		at := 20
		switch kind(name) {
		case "MANIFEST":
			want = "damaged"
		case "sst":
			want = "not enough of it"
		default:
			continue
		}
		fsys := flipped(t, left, name, content, at, 1)
		before := files(t, fsys)
		if _, err := Salvage(Options{Dir: "mended", FS: fsys, Node: "hub"}, "data", settle); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
		if after := files(t, fsys); !maps.EqualFunc(before, after, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("%s: the damaged store was changed", name)
		}
		if names, _ := fsys.List("mended"); len(names) > 0 {
			t.Errorf("%s: there is %v", name, names)
		}
	}
	if _, err := Salvage(Options{Dir: "data", FS: left, Node: "hub"}, "data", settle); err == nil || !strings.Contains(err.Error(), "move its data_dir away") {
		t.Errorf("in its own place: %v", err)
	}
	if _, err := Salvage(Options{Dir: "mended", FS: left, Node: "edge/a"}, "data", settle); err == nil || !strings.Contains(err.Error(), "belongs to node hub") {
		t.Errorf("another node's: %v", err)
	}
	if _, err := Salvage(Options{Dir: "mended", FS: left, Node: "hub"}, "nowhere", settle); err == nil || !strings.Contains(err.Error(), "no data directory") {
		t.Errorf("nothing: %v", err)
	}
}
