package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// filled makes a store whose content is in tables and in the WAL, and returns it.
func filled(t *testing.T, fsys vfs.FS) (*DB, map[string]string) {
	t.Helper()
	db := open(t, Options{FS: fsys})
	for i := range 300 {
		if err := put(db, fmt.Sprintf("%04d", i), strings.Repeat(fmt.Sprint(i), 20)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 50 {
			if err := db.inner.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db, contents(t, db)
}

// look opens a store and reads everything: what is there, or the refusal.
func look(fsys vfs.FS) (found map[string]string, err error) {
	db, err := Open(Options{Dir: "data", FS: fsys, Node: "hub", noStats: true})
	if err != nil {
		return nil, err
	}
	found = map[string]string{}
	err = db.Scan(nil, nil, func(k, v []byte) bool { found[string(k)] = string(v); return true })
	if closed := db.Close(); err == nil {
		err = closed
	}
	return found, err
}

func clone(t testing.TB, from vfs.FS) vfs.FS {
	t.Helper()
	to := vfs.NewMem()
	if _, err := vfs.Clone(from, to, "data", "data"); err != nil {
		t.Fatal(err)
	}
	return to
}

// Every bit that flips in the files of a closed store is harmless or refused
// with a text that says what to do: nothing is lost without a word.
func TestFlippedBitsAreNeverSilent(t *testing.T) {
	closed := vfs.NewMem()
	db, all := filled(t, closed)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refused, harmless := map[string]int{}, map[string]int{}
	for name, content := range files(t, closed) {
		flips := 16
		if kind(name) == "sst" {
			flips = 4 // a failed store never closes, and goes on compacting
		}
		for i := range flips {
			if len(content) == 0 {
				break
			}
			at, bit := random.IntN(len(content)), byte(1)<<random.IntN(8)
			if i == 0 {
				at = len(content) - 1
			}
			found, err := look(flipped(t, closed, name, content, at, bit))
			switch {
			case err != nil && !strings.HasPrefix(err.Error(), "kv: "):
				t.Errorf("%s, octet %d, bit %#x: %v", name, at, bit, err)
			case err != nil:
				refused[kind(name)]++
			case !maps.Equal(found, all):
				t.Errorf("%s, octet %d, bit %#x: %d keys of %d are there, and no word", name, at, bit, len(found), len(all))
			default:
				harmless[kind(name)]++
			}
		}
	}
	t.Logf("refused %v, harmless %v", refused, harmless)
	for _, k := range []string{"MANIFEST", "sst", "SEAL"} {
		if refused[k] == 0 {
			t.Errorf("no flip in a file of kind %s was refused", k)
		}
	}
}

// After a crash there is no seal. What stands behind the damage tells it from a
// torn write; only the last record of a log cannot be told.
func TestFlippedBitsAfterACrash(t *testing.T) {
	live := vfs.NewMem()
	_, all := filled(t, live)
	killed := clone(t, live) // as kill -9 leaves it
	if found, err := look(clone(t, killed)); err != nil || !maps.Equal(found, all) {
		t.Fatalf("without damage: %d keys, %v", len(found), err)
	}
	told := map[string]int{}
	for name, content := range files(t, killed) {
		end := 0
		switch kind(name) {
		case "MANIFEST":
			end = lastRecord(t, content, logFormat{})
		case "log":
			n, err := strconv.Atoi(strings.TrimSuffix(name, ".log"))
			if err != nil {
				t.Fatal(err)
			}
			end = lastRecord(t, content, logFormat{wal: true, number: uint32(n)})
		}
		for i := range 40 {
			if end == 0 {
				break
			}
			at := end * i / 40
			found, err := look(flipped(t, killed, name, content, at, 0x10))
			switch {
			case err != nil:
				told[kind(name)]++
			case !maps.Equal(found, all):
				t.Errorf("%s, octet %d of %d: %d keys of %d are there, and no word", name, at, len(content), len(found), len(all))
			}
		}
	}
	t.Logf("refused %v", told)
	if told["log"] == 0 || told["MANIFEST"] == 0 {
		t.Errorf("refused %v; want some of both logs", told)
	}
}

// A log whose last write is torn opens: that write was never acknowledged.
func TestTornWriteIsNoDamage(t *testing.T) {
	live := vfs.NewMem()
	filled(t, live)
	all := files(t, live)
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(all))) {
		content := all[name]
		if kind(name) != "log" {
			continue
		}
		n, _ := strconv.Atoi(strings.TrimSuffix(name, ".log"))
		last := lastRecord(t, content, logFormat{wal: true, number: uint32(n)})
		if last == 0 {
			continue
		}
		found, err := look(flipped(t, live, name, content, last+25, 1))
		if err != nil || len(found) != 299 {
			t.Errorf("%d keys, %v; want all but the last", len(found), err)
		}
		return // older ones hold nothing that is not in a table
	}
}

// lastRecord returns where the last record of a log begins; 0: there are fewer than two.
func lastRecord(t *testing.T, log []byte, format logFormat) (last int) {
	t.Helper()
	for at := 0; at < len(log); {
		n, first := format.chunk(log, at)
		if left := logBlock - at%logBlock; n == 0 && left < logHeader {
			at += left
			continue
		}
		if n == 0 {
			break
		}
		if first {
			last = at
		}
		at += n
	}
	return last
}

func files(t *testing.T, fsys vfs.FS) map[string][]byte {
	t.Helper()
	names, err := fsys.List("data")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		octets, err := readFile(fsys, "data/"+name)
		if errors.Is(err, fs.ErrNotExist) { // an open store clears away logs of the one before
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		all[name] = octets
	}
	return all
}

func kind(name string) string {
	if before, _, ok := strings.Cut(name, "-"); ok {
		return before
	}
	if _, after, ok := strings.Cut(name, "."); ok {
		return after
	}
	return name
}

func flipped(t *testing.T, fsys vfs.FS, name string, content []byte, at int, bit byte) vfs.FS {
	t.Helper()
	fsys = clone(t, fsys)
	content = bytes.Clone(content)
	content[at] ^= bit
	f, err := fsys.Create("data/"+name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(content)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return fsys
}

// disk is a file system with a settable amount of free space.
type disk struct {
	vfs.FS
	free uint64
}

func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free, TotalBytes: 10 << 30}, nil
}

func TestSpaceHasAReserve(t *testing.T) {
	d := &disk{FS: vfs.NewMem(), free: 300 << 20}
	db := open(t, Options{FS: d})
	later := func() { db.space.looked = db.space.looked.Add(-lookAtSpace) }
	if err := db.Space(); err != nil {
		t.Errorf("300 MB free: %v", err)
	}
	d.free = 255 << 20
	if err := db.Space(); err != nil {
		t.Errorf("it looked again at once: %v", err)
	}
	later()
	if err := db.Space(); !errors.Is(err, ErrSpace) || !strings.Contains(err.Error(), "data has 255 MB free, the reserve is 256 MB: make room") {
		t.Errorf("255 MB free: %v", err)
	}
	if err := db.Space(); errors.Is(err, ErrScarce) {
		t.Errorf("255 MB free: %v", err)
	}
	d.free = 127 << 20
	later()
	if err := db.Space(); !errors.Is(err, ErrSpace) || !errors.Is(err, ErrScarce) {
		t.Errorf("127 MB free: %v", err)
	}
	if err := put(db, "what was taken on", "is finished"); err != nil {
		t.Error(err)
	}
	d.free = 257 << 20 // not at each octet
	later()
	if err := db.Space(); !errors.Is(err, ErrSpace) {
		t.Errorf("257 MB free: %v", err)
	}
	d.free = 300 << 20
	later()
	if err := db.Space(); err != nil {
		t.Errorf("300 MB free: %v", err)
	}
	if err := open(t, Options{FS: vfs.NewMem(), Dir: "other"}).Space(); err != nil {
		t.Errorf("a file system that cannot tell: %v", err)
	}
	if err := open(t, Options{FS: &disk{FS: vfs.NewMem()}, Dir: "none", ReserveBytes: -1}).Space(); err != nil {
		t.Errorf("no reserve: %v", err)
	}
}

// A block's rest that is too short for a chunk's header is filled with zeros, and is
// no damage; what is damaged before and behind it is found. A store's first WAL has
// shorter headers than those it begins later.
func TestBlocksThatEndShort(t *testing.T) {
	for _, header := range []int{11, 19} {
		for rest := range header + 3 {
			testBlockThatEndsShort(t, header, rest)
		}
	}
}

func testBlockThatEndsShort(t *testing.T, header, rest int) {
	t.Helper()
	live := vfs.NewMem()
	db := open(t, Options{FS: live})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if header == 19 {
		must(db.Close())
		db = open(t, Options{FS: live})
	}
	must(put(db, "first", "1"))
	_, log, format := onlyLog(t, live)
	written, _ := format.broken(log)
	// A batch has a header of 12 octets, and a record in it a kind, and two lengths.
	must(put(db, "long", strings.Repeat("x", logBlock-written-rest-header-12-1-1-len("long")-3)))
	_, log, _ = onlyLog(t, live)
	if n, first := format.chunk(log, written); !first || written == 0 || written+n != logBlock-rest {
		t.Fatalf("headers of %d, rest %d: the first chunk ends at %d, the block's last at %d", header, rest, written, written+n)
	}
	must(put(db, "behind", "2"))
	must(put(db, "last", "3"))
	all := contents(t, db)
	name, log, _ := onlyLog(t, live)
	if at, damaged := format.broken(log); damaged || at != len(log) {
		t.Errorf("headers of %d, rest %d: undamaged, it is said to be broken at %d of %d: %v", header, rest, at, len(log), damaged)
	}
	killed := clone(t, live)
	if found, err := look(clone(t, killed)); err != nil || !maps.Equal(found, all) {
		t.Errorf("headers of %d, rest %d: undamaged: %d keys of %d, %v", header, rest, len(found), len(all), err)
	}
	for _, at := range []int{5, written + 1, written + 100, logBlock - rest - 1, logBlock, logBlock + header} {
		if found, err := look(flipped(t, killed, name, log, at, 0x10)); !errors.Is(err, ErrDamaged) {
			t.Errorf("headers of %d, rest %d: a flipped bit at %d of %d: %d keys of %d are there, %v", header, rest, at, len(log), len(found), len(all), err)
		}
	}
}

// onlyLog returns the WAL that has something in it.
func onlyLog(t *testing.T, fsys vfs.FS) (name string, content []byte, format logFormat) {
	t.Helper()
	for file, octets := range files(t, fsys) {
		if kind(file) == "log" && len(octets) > len(content) {
			n, err := strconv.ParseUint(strings.TrimSuffix(file, ".log"), 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			name, content, format = file, octets, logFormat{wal: true, number: uint32(n)}
		}
	}
	return name, content, format
}

// Damage that is met while the store is open is counted, and the store ends.
func TestDamageIsCounted(t *testing.T) {
	live := vfs.NewMem()
	filled(t, live)
	killed := clone(t, live) // without a seal
	counted, flips := 0, 0
	for name, content := range files(t, killed) {
		if kind(name) != "sst" {
			continue
		}
		flips++
		db, err := Open(Options{
			Dir: "data", FS: flipped(t, killed, name, content, 20, 0x10), Node: "hub", noStats: true,
			Corrupt: func() { counted++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Scan(nil, nil, func(_, _ []byte) bool { return true })
		if closed := db.Close(); err == nil && !errors.Is(closed, ErrFailed) {
			t.Errorf("%s: read without an error, closed with %v", name, closed)
		}
	}
	if flips == 0 || counted < flips {
		t.Errorf("%d tables were damaged, %d counted", flips, counted)
	}
}

// Each group says how long it took.
func TestGroupsAreTimed(t *testing.T) {
	var timed []time.Duration
	db := open(t, Options{FS: vfs.NewMem(), Inline: true, Synced: func(took time.Duration) { timed = append(timed, took) }})
	for i := range 3 {
		if err := put(db, fmt.Sprint(i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	var sum time.Duration
	for _, took := range timed {
		sum += took
	}
	if s := db.Stats(); len(timed) != 3 || s.Groups != 3 || s.Writing != sum {
		t.Errorf("timed %v, of %+v", timed, s)
	}
}
