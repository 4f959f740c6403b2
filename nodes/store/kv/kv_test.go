package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"
)

const helperEnv = "RINGWAY_KV_TEST_HELPER"

// TestMain is also the second process of the tests that need one.
func TestMain(m *testing.M) {
	switch mode, dir, _ := strings.Cut(os.Getenv(helperEnv), ":"); mode {
	case "":
		os.Exit(m.Run())
	case "open":
		if _, err := Open(Options{Dir: dir, Node: "hub"}); err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
	case "manifest", "wal":
		part, kinds := "MANIFEST", []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData}
		if mode == "wal" {
			part, kinds = ".log", []errorfs.OpKind{errorfs.OpCreate, errorfs.OpReuseForWrite}
		}
		var armed atomic.Bool
		db, err := Open(Options{
			Dir: dir, Node: "hub", FS: failing(vfs.NewMem(), &armed, part, kinds...),
			Fatal: func(err error) { fmt.Println(err); os.Exit(7) },
		})
		if err != nil {
			panic(err)
		}
		armed.Store(true)
		for i := range 100 { // fills the first memtable, 256 KB, several times
			_ = put(db, fmt.Sprint(i), strings.Repeat("x", 50_000))
		}
		_ = db.inner.Flush()
	}
	os.Exit(0)
}

func helper(t *testing.T, mode, dir string) (string, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+mode+":"+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func open(t testing.TB, opts Options) *DB {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = "data"
	}
	if opts.Node == "" {
		opts.Node = "hub"
	}
	db, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// put commits one key and waits.
func put(db *DB, key, value string) error {
	var b Batch
	b.Set([]byte(key), []byte(value))
	return commit(db, &b)
}

func commit(db *DB, b *Batch) error {
	done := make(chan error, 1)
	db.Commit(b, func(err error) { done <- err })
	return <-done
}

func want(t testing.TB, db *DB, key, value string) {
	t.Helper()
	got, found, err := db.Get([]byte(key))
	if err != nil || !found || string(got) != value {
		t.Errorf("Get(%q) = %q, %v, %v; want %q", key, got, found, err, value)
	}
}

func contents(t testing.TB, db *DB) map[string]string {
	t.Helper()
	m := map[string]string{}
	if err := db.Scan(nil, nil, func(k, v []byte) bool { m[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	return m
}

// blocked holds the committer until release is called, so that what is submitted
// meanwhile becomes one group.
func blocked(db *DB) (release func()) {
	in, out := make(chan struct{}), make(chan struct{})
	go db.Update(func(*Tx) error { close(in); <-out; return nil }, nil) // with Lead it waits
	<-in
	return func() { close(out) }
}

// failing injects errors into operations of these kinds on files whose name
// contains part, once armed.
func failing(inner vfs.FS, armed *atomic.Bool, part string, kinds ...errorfs.OpKind) vfs.FS {
	return errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && slices.Contains(kinds, op.Kind) && strings.Contains(filepath.Base(op.Path), part) {
			return errorfs.ErrInjected
		}
		return nil
	}))
}

func TestSetGetDeleteScan(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem()})
	var b Batch
	for _, k := range []string{"a/1", "a/2", "a/3", "b/1", "c"} {
		b.Set([]byte(k), []byte("v"+k))
	}
	b.Set([]byte("empty"), nil)
	b.Delete([]byte("c"))
	b.Delete([]byte("never was"))
	if err := commit(db, &b); err != nil {
		t.Fatal(err)
	}
	want(t, db, "a/1", "va/1")
	want(t, db, "empty", "")
	if _, found, err := db.Get([]byte("c")); found || err != nil {
		t.Errorf("a deleted key: found %v, %v", found, err)
	}
	keys := func(scan func(from, to []byte, f func(k, v []byte) bool) error, from, to []byte, most int) string {
		var got []string
		if err := scan(from, to, func(k, _ []byte) bool { got = append(got, string(k)); return len(got) < most }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
	prefix := []byte("a/")
	for _, test := range []struct{ got, want string }{
		{keys(db.Scan, nil, nil, 9), "a/1 a/2 a/3 b/1 empty"},
		{keys(db.ScanReverse, nil, nil, 9), "empty b/1 a/3 a/2 a/1"},
		{keys(db.Scan, prefix, PrefixEnd(prefix), 9), "a/1 a/2 a/3"},
		{keys(db.ScanReverse, prefix, PrefixEnd(prefix), 9), "a/3 a/2 a/1"},
		{keys(db.Scan, []byte("a/2"), []byte("b/1"), 9), "a/2 a/3"},
		{keys(db.Scan, prefix, nil, 2), "a/1 a/2"},
	} {
		if test.got != test.want {
			t.Errorf("scanned %q; want %q", test.got, test.want)
		}
	}
	b.Reset()
	b.DeleteRange([]byte("a/1"), []byte("a/3"))
	b.DeleteRange([]byte("z"), []byte("a")) // nothing
	if err := commit(db, &b); err != nil {
		t.Fatal(err)
	}
	if got := keys(db.Scan, nil, nil, 9); got != "a/3 b/1 empty" {
		t.Errorf("after DeleteRange: %q", got)
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, end := range map[string]string{"a": "b", "a\xff": "b", "a\x00": "a\x01", "\xff\xff": "", "": ""} {
		if got := PrefixEnd([]byte(prefix)); string(got) != end || (end == "") != (got == nil) {
			t.Errorf("PrefixEnd(%q) = %q; want %q", prefix, got, end)
		}
	}
}

func TestUpdateSeesItsGroupAndItself(t *testing.T) {
	for _, inline := range []bool{false, true} {
		t.Run(fmt.Sprintf("inline=%v", inline), func(t *testing.T) {
			db := open(t, Options{FS: vfs.NewMem(), Inline: inline})
			release := func() {}
			if !inline {
				release = blocked(db)
			}
			var wg sync.WaitGroup
			done := func(err error) {
				if err != nil {
					t.Error(err)
				}
				wg.Done()
			}
			wg.Add(3)
			var b Batch
			b.Set([]byte("n"), []byte("1"))
			db.Commit(&b, done)
			double := func(tx *Tx) error {
				v, found, err := tx.Get([]byte("n"))
				if err != nil || !found {
					return fmt.Errorf("get: %v, %w", found, err)
				}
				tx.Set([]byte("n"), append(v, v...))
				if v, _, _ = tx.Get([]byte("n")); len(v)%2 != 0 {
					return fmt.Errorf("own write not seen: %q", v)
				}
				return nil
			}
			db.Update(double, done)
			db.Update(double, done)
			release()
			wg.Wait()
			want(t, db, "n", "1111")
		})
	}
}

func TestFailedUpdateUndoesOnlyItself(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem()})
	if err := put(db, "old", "1"); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	release := blocked(db)
	var got []error
	var wg sync.WaitGroup
	done := func(err error) { got = append(got, err); wg.Done() }
	wg.Add(4)
	var b Batch
	b.Set([]byte("batch"), []byte("1"))
	db.Commit(&b, done)
	db.Update(func(tx *Tx) error { tx.Set([]byte("first"), []byte("1")); return nil }, done)
	db.Update(func(tx *Tx) error {
		tx.Set([]byte("first"), []byte("2"))
		tx.Set([]byte("second"), []byte("2"))
		tx.DeleteRange([]byte("a"), []byte("z"))
		return refused
	}, done)
	db.Update(func(tx *Tx) error {
		if _, found, _ := tx.Get([]byte("old")); !found {
			return errors.New("sees what was undone")
		}
		tx.Set([]byte("third"), []byte("3"))
		return nil
	}, done)
	release()
	wg.Wait()
	if !slices.Equal(got, []error{nil, nil, refused, nil}) {
		t.Errorf("told %v", got)
	}
	if m := contents(t, db); !maps.Equal(m, map[string]string{"old": "1", "batch": "1", "first": "1", "third": "3"}) {
		t.Errorf("holds %v", m)
	}
	if s := db.Stats(); s.Groups != 2 {
		t.Errorf("%d groups; want 2", s.Groups)
	}
}

// Whatever sequence of writes: the store is what a map would be, before and after
// a crash with everything unsynced lost.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		db, err := Open(Options{Dir: "data", FS: mem, Node: "hub", Lead: rapid.Bool().Draw(t, "lead")})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		key := rapid.StringMatching(`[a-f]{1,2}`)
		model := map[string]string{}
		type writer interface {
			Set(k, v []byte)
			Delete(k []byte)
			DeleteRange(from, to []byte)
		}
		write := func(w writer, m map[string]string, op int, k, k2 string) {
			switch op {
			case 0, 1, 2:
				w.Set([]byte(k), []byte(k2))
				m[k] = k2
			case 3:
				w.Delete([]byte(k))
				delete(m, k)
			case 4:
				w.DeleteRange([]byte(k), []byte(k2))
				maps.DeleteFunc(m, func(x, _ string) bool { return k <= x && x < k2 })
			}
		}
		var wg sync.WaitGroup
		release := func() {}
		steps := rapid.IntRange(1, 30).Draw(t, "steps")
		for i := range steps {
			if i%7 == 0 {
				release()
				release = blocked(db)
			}
			n := rapid.IntRange(0, 4).Draw(t, "writes")
			ops := make([]func(writer, map[string]string), n)
			for j := range ops {
				op, k, k2 := rapid.IntRange(0, 4).Draw(t, "op"), key.Draw(t, "key"), key.Draw(t, "other")
				ops[j] = func(w writer, m map[string]string) { write(w, m, op, k, k2) }
			}
			next := maps.Clone(model)
			wg.Add(1)
			switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); kind {
			case 0:
				b := new(Batch)
				for _, op := range ops {
					op(b, next)
				}
				model = next
				db.Commit(b, func(err error) {
					if err != nil {
						t.Error(err)
					}
					wg.Done()
				})
			default:
				for _, op := range ops {
					op(new(Batch), next)
				}
				var verdict error
				expect := next
				if kind == 2 {
					verdict = errors.New("undo")
				} else {
					model = next
				}
				db.Update(func(tx *Tx) error {
					for _, op := range ops {
						op(tx, map[string]string{})
					}
					seen := map[string]string{}
					if err := tx.Scan(nil, nil, func(k, v []byte) bool { seen[string(k)] = string(v); return true }); err != nil {
						return err
					}
					if !maps.Equal(seen, expect) {
						return fmt.Errorf("update sees %v; want %v", seen, expect)
					}
					return verdict
				}, func(err error) {
					if err != verdict { //nolint:errorlint // as it is
						t.Errorf("told %v; want %v", err, verdict)
					}
					wg.Done()
				})
			}
		}
		release()
		wg.Wait()
		after, err := Open(Options{Dir: "data", FS: mem.CrashClone(vfs.CrashCloneCfg{}), Node: "hub"})
		if err != nil {
			t.Fatal(err)
		}
		defer after.Close()
		for name, db := range map[string]*DB{"before": db, "after": after} {
			got := map[string]string{}
			if err := db.Scan(nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, model) {
				t.Fatalf("%s the crash it holds %v; want %v", name, got, model)
			}
		}
	})
}

// A crash at any moment: what was acknowledged is there, and nothing is there
// without everything written before it.
func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 12 {
		mem := vfs.NewCrashableMem()
		db := open(t, Options{FS: mem})
		var acked atomic.Int64 // highest number acknowledged; callbacks run in order
		var wg sync.WaitGroup
		total, padding := 50+rng.IntN(1500), make([]byte, rng.IntN(2000))
		crashAt := int64(rng.IntN(total))
		crash := make(chan struct{})
		wg.Go(func() {
			for i := 1; i <= total; i++ {
				wg.Add(1)
				key := fmt.Appendf(nil, "%08d", i)
				done := func(err error) {
					defer wg.Done()
					if err != nil {
						t.Errorf("write %d: %v", i, err)
					}
					if previous := acked.Swap(int64(i)); previous != int64(i-1) {
						t.Errorf("write %d acknowledged after %d", i, previous)
					}
					if int64(i-1) == crashAt {
						close(crash)
					}
				}
				if i%5 == 0 {
					db.Update(func(tx *Tx) error { tx.Set(key, padding); return nil }, done)
					continue
				}
				b := new(Batch)
				b.Set(key, padding)
				db.Commit(b, done)
			}
		})
		<-crash
		atLeast := acked.Load()
		unsynced := rng.IntN(3) * 50
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
		wg.Wait()
		after := open(t, Options{FS: clone})
		n := int64(0)
		if err := after.Scan(nil, nil, func(k, v []byte) bool {
			n++
			if string(k) != fmt.Sprintf("%08d", n) || len(v) != len(padding) {
				t.Errorf("round %d: entry %d after the crash is %s with %d bytes", round, n, k, len(v))
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if n < atLeast {
			t.Errorf("round %d: %d of %d acknowledged writes survived (%d %% of the unsynced)", round, n, atLeast, unsynced)
		}
		_ = after.Close()
		_ = db.Close()
	}
}

// A crash while the directory is being created leaves one that opens.
func TestCrashWhileCreating(t *testing.T) {
	for stop := 1; ; stop++ {
		mem := vfs.NewCrashableMem()
		var ops int
		var clone *vfs.MemFS
		var mu sync.Mutex
		db, err := Open(Options{Dir: "var/lib/data", Node: "hub", FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if ops++; ops == stop {
				clone = mem.CrashClone(vfs.CrashCloneCfg{})
			}
			return nil
		}))})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if clone == nil {
			t.Logf("crashed after each of %d operations", stop-1)
			return
		}
		after := open(t, Options{Dir: "var/lib/data", FS: clone})
		if err := put(after, "a", "1"); err != nil {
			t.Fatalf("after a crash at operation %d: %v", stop, err)
		}
		_ = after.Close()
	}
}

func TestOneFsyncForAGroup(t *testing.T) {
	var syncs atomic.Int64
	db := open(t, Options{FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			syncs.Add(1)
		}
		return nil
	}))})
	release := blocked(db)
	before := syncs.Load()
	var wg sync.WaitGroup
	for i := range 255 {
		wg.Add(1)
		b := new(Batch)
		b.Set(fmt.Appendf(nil, "%d", i), []byte("x"))
		db.Commit(b, func(error) { wg.Done() })
	}
	release()
	wg.Wait()
	if s := db.Stats(); s.Groups != 1 || s.Commits != 256 || s.QueuedBytes != 0 {
		t.Errorf("%+v; want 256 commits in 1 group", s)
	}
	if got := syncs.Load() - before; got != 1 {
		t.Errorf("%d fsyncs of the WAL; want 1", got)
	}
}

func TestBusy(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem(), QueueBytes: 10_000})
	release := blocked(db)
	told := make(chan error, 20)
	value := make([]byte, 1000)
	for i := range 20 {
		var b Batch
		b.Set([]byte{byte(i)}, value)
		db.Commit(&b, func(err error) { told <- err })
	}
	var busy int
	for range len(told) { // refusals come at once
		if err := <-told; !errors.Is(err, ErrBusy) {
			t.Errorf("told %v", err)
		}
		busy++
	}
	if busy != 12 { // an update counts 1,024, a batch 1,000 and its header
		t.Errorf("%d of 20 refused; want 12", busy)
	}
	release()
	for range 20 - busy {
		if err := <-told; err != nil {
			t.Error(err)
		}
	}
	if err := put(db, "again", "1"); err != nil {
		t.Error(err)
	}
	if err := put(db, "larger than the queue", strings.Repeat("x", 20_000)); err != nil {
		t.Errorf("alone: %v", err)
	}
	if got := len(contents(t, db)); got != 10 {
		t.Errorf("%d keys; want 10", got)
	}
}

// What is exempt is taken while all else is refused, in its order, and counts.
func TestExempt(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem(), QueueBytes: 10_000})
	exempt := db.Spaced(time.Millisecond).Exempt()
	release := blocked(db)
	var order []string
	told := make(chan struct{}, 100)
	note := func(name string) func(error) {
		return func(err error) {
			if order = append(order, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			told <- struct{}{}
		}
	}
	var want []string
	for i := range 40 {
		name := fmt.Sprint(i)
		want = append(want, name)
		if i%2 == 0 {
			b := new(Batch)
			b.Set([]byte(name), nil)
			exempt.Commit(b, note(name))
		} else {
			exempt.Update(func(tx *Tx) error { tx.Set([]byte(name), nil); return nil }, note(name))
		}
	}
	refused := errors.New("not told")
	db.Update(func(*Tx) error { return nil }, func(err error) { refused = err })
	if !errors.Is(refused, ErrBusy) {
		t.Errorf("what is not exempt: %v; want ErrBusy", refused)
	}
	release()
	for range want {
		<-told
	}
	if !slices.Equal(order, want) {
		t.Errorf("told %v", order)
	}
	if got := len(contents(t, db)); got != len(want) {
		t.Errorf("%d keys; want %d", got, len(want))
	}
}

func TestCloseCommitsWhatWaits(t *testing.T) {
	mem := vfs.NewMem()
	db := open(t, Options{FS: mem})
	release := blocked(db)
	told := make(chan error, 100)
	for i := range 100 {
		b := new(Batch)
		b.Set([]byte{byte(i)}, nil)
		db.Commit(b, func(err error) { told <- err })
	}
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := <-told; err != nil {
			t.Error(err)
		}
	}
	if err := put(db, "late", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("commit after Close: %v", err)
	}
	if _, _, err := db.Get([]byte("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("get after Close: %v", err)
	}
	if err := db.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if got := len(contents(t, open(t, Options{FS: mem}))); got != 100 {
		t.Errorf("%d keys; want 100", got)
	}
}

func TestSyncErrorIsFatal(t *testing.T) {
	for _, kinds := range [][]errorfs.OpKind{
		{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo},
		{errorfs.OpFileWrite},
	} {
		var armed atomic.Bool
		var fatal []error
		mem := vfs.NewCrashableMem()
		var db *DB
		db = open(t, Options{
			FS: failing(mem, &armed, ".log", kinds...),
			Fatal: func(err error) {
				fatal = append(fatal, err)
				_ = db.Close() // must not hang
			},
		})
		if err := put(db, "good", "1"); err != nil {
			t.Fatal(err)
		}
		release := blocked(db)
		armed.Store(true)
		told := make(chan error, 3)
		for i := range 3 {
			db.Update(func(tx *Tx) error { tx.Set([]byte{byte(i)}, nil); return nil }, func(err error) { told <- err })
		}
		release()
		for range 3 {
			if err := <-told; !errors.Is(err, ErrFailed) || !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("told %v; want ErrFailed and the cause", err)
			}
		}
		armed.Store(false) // too late
		if err := put(db, "bad", "1"); !errors.Is(err, ErrFailed) {
			t.Errorf("commit after a failure: %v", err)
		}
		if _, _, err := db.Get([]byte("good")); !errors.Is(err, ErrFailed) {
			t.Errorf("get after a failure: %v", err)
		}
		if err := db.Close(); !errors.Is(err, ErrFailed) {
			t.Errorf("close after a failure: %v", err)
		}
		if len(fatal) != 1 || !errors.Is(fatal[0], ErrFailed) {
			t.Errorf("Fatal was called with %v; want once", fatal)
		}
		want(t, open(t, Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})}), "good", "1")
	}
}

// Pebble's background, and a commit that must begin another WAL, cannot fail
// otherwise than with the process: Fatal comes first.
func TestErrorsPebbleCannotReturnAreFatal(t *testing.T) {
	for _, mode := range []string{"manifest", "wal"} {
		out, code := helper(t, mode, "data")
		if code != 7 || !strings.Contains(out, ErrFailed.Error()) || !strings.Contains(out, "injected error") || strings.Contains(out, "panic") {
			t.Errorf("%s: the process exited with %d and said %s; want 7 from Fatal", mode, code, out)
		}
	}
}

// What a full disk does not take is tried again and again, and said once in a while.
func TestFlushThatFailsDoesNotFillTheLog(t *testing.T) {
	var full atomic.Bool
	var tries atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			tries.Add(1)
			return syscall.ENOSPC
		}
		return nil
	}))
	core, logs := observer.New(zap.InfoLevel)
	db := open(t, Options{FS: fs, Logger: zap.New(core)})
	if err := put(db, "key", "value"); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	flushed, err := db.inner.AsyncFlush()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); tries.Load() < 10; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d tries", tries.Load())
		}
	}
	if err := put(db, "other", "value"); err != nil { // what fits into the log is taken all the same
		t.Fatal(err)
	}
	full.Store(false)
	<-flushed
	if said := logs.FilterMessageSnippet("could not flush").All(); len(said) != 1 || said[0].ContextMap()["error"] == nil {
		t.Errorf("said %d times in %d tries: %v", len(said), tries.Load(), said)
	}
}

// A full disk that has no room for the next log, either, holds writes up until it has.
func TestNewLogWaitsForRoom(t *testing.T) {
	var full atomic.Bool
	var tries atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".log") {
			tries.Add(1)
			return syscall.ENOSPC
		}
		return nil
	}))
	core, logs := observer.New(zap.InfoLevel)
	db := open(t, Options{FS: walFS{FS: fs}, Logger: zap.New(core), Fatal: func(err error) { t.Error(err) }})
	if err := put(db, "key", "value"); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	rotated := make(chan error, 1)
	go func() {
		flushed, err := db.inner.AsyncFlush()
		if err == nil {
			<-flushed
		}
		rotated <- err
	}()
	for end := time.Now().Add(30 * time.Second); tries.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d tries", tries.Load())
		}
	}
	if value, found, err := db.Get([]byte("key")); err != nil || !found || string(value) != "value" {
		t.Errorf("meanwhile: %q, %v, %v", value, found, err)
	}
	full.Store(false)
	if err := <-rotated; err != nil {
		t.Error(err)
	}
	if err := put(db, "other", "value"); err != nil {
		t.Error(err)
	}
	if said := logs.FilterMessageSnippet("no room for a new log").Len(); said != 1 {
		t.Errorf("said %d times", said)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	db := open(t, Options{Dir: dir})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %v, %v; want 0700", info.Mode(), err)
	}
	if out, code := helper(t, "open", dir); code != 3 ||
		!strings.Contains(out, "kv: data directory "+dir+" is in use by another process; stop it or give this one its own data_dir") {
		t.Errorf("the second process exited with %d and said %q", code, out)
	}
	t.Chdir(filepath.Dir(dir))
	if _, err := Open(Options{Dir: "b", Node: "hub"}); err == nil || !strings.Contains(err.Error(), "in use by this process") {
		t.Errorf("second open in this process: %v", err)
	}
	if err := put(db, "still", "works"); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := helper(t, "open", dir); code != 0 {
		t.Errorf("after Close the second process exited with %d and said %q", code, out)
	}
	want(t, open(t, Options{Dir: "b"}), "still", "works")
}

func TestIdentity(t *testing.T) {
	mem := vfs.NewMem()
	db := open(t, Options{FS: mem, Node: "edge/manila-1"})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		f, err := mem.Create("data/"+identityName, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.Write([]byte(text))
		_ = f.Close()
	}
	refuses := func(node string, parts ...string) {
		t.Helper()
		_, err := Open(Options{Dir: "data", FS: mem, Node: node})
		for _, part := range parts {
			if err == nil || !strings.HasPrefix(err.Error(), "kv: ") || !strings.Contains(err.Error(), part) {
				t.Errorf("open as %s: %v; want %q", node, err, part)
			}
		}
	}
	refuses("edge/manila-2", "belongs to node edge/manila-1", "this is edge/manila-2", "data_dir")
	write(`{"format":2,"node":"edge/manila-1","more":true}`)
	refuses("edge/manila-1", "format 2", "up to 1")
	for _, bad := range []string{"", "{", `{"node":"edge/manila-1"}`, `{"format":1}`} {
		write(bad)
		refuses("edge/manila-1", "does not say whose")
	}
	if err := mem.Remove("data/" + identityName); err != nil {
		t.Fatal(err)
	}
	refuses("edge/manila-1", "holds a database but no file RINGWAY")
	write(`{"format":1,"node":"edge/manila-1"}`)
	db = open(t, Options{FS: mem, Node: "edge/manila-1"}) // no refusal kept the lock
	if err := put(db, "a", "1"); err != nil {
		t.Error(err)
	}
}

func TestUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	denied := func(kind errorfs.OpKind, cause error) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == kind {
				return &fs.PathError{Op: "open", Path: op.Path, Err: cause}
			}
			return nil
		}))
	}
	for _, test := range []struct {
		opts Options
		want string
	}{
		{Options{}, "must be given"},
		{Options{Dir: file}, "is not a directory"},
		{Options{Dir: file + "/below"}, "not a directory"},
		{Options{FS: denied(errorfs.OpMkdirAll, syscall.EACCES)}, "let this user write there"},
		{Options{FS: denied(errorfs.OpLock, syscall.EACCES)}, "let this user write there"},
		{Options{FS: denied(errorfs.OpLock, syscall.EROFS)}, "read-only"},
		{Options{FS: denied(errorfs.OpCreate, syscall.ENOSPC)}, "make room"},
		{Options{FS: denied(errorfs.OpFileSync, syscall.EIO)}, "input/output error"},
	} {
		if test.opts.FS != nil {
			test.opts.Dir = "data"
		}
		if test.want != "must be given" {
			test.opts.Node = "hub"
		}
		db, err := Open(test.opts)
		if err == nil {
			db.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "kv: data directory "+test.opts.Dir) && test.opts.Dir != "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v; want %q", test.opts, err, test.want)
		}
	}
}

func TestInlineIsDoneBeforeItReturns(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem(), Inline: true})
	var trace bytes.Buffer
	var b, nested Batch
	b.Set([]byte("a"), []byte("1"))
	nested.Set([]byte("b"), []byte("2"))
	db.Commit(&b, func(err error) {
		fmt.Fprint(&trace, "outer ", err, "; ")
		db.Commit(&nested, func(err error) { fmt.Fprint(&trace, "nested ", err, "; ") })
	})
	db.Update(func(tx *Tx) error { tx.Delete([]byte("a")); return fs.ErrExist }, func(err error) { fmt.Fprint(&trace, err) })
	if got := trace.String(); got != "outer <nil>; nested <nil>; file already exists" {
		t.Errorf("ran %q", got)
	}
	want(t, db, "a", "1")
	want(t, db, "b", "2")
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// Whoever finds nobody writing writes; who comes meanwhile does not wait, and is
// told afterwards.
func TestLead(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem(), Lead: true})
	var trace []string // in the order of the callbacks, which no two run at a time
	note := func(name string) func(error) {
		return func(err error) { trace = append(trace, fmt.Sprint(name, err)) }
	}
	begun, release, led := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(led)
		db.Update(func(*Tx) error { close(begun); <-release; return nil }, func(error) {
			note("leader ")(nil)
			var nested Batch
			nested.Set([]byte("b"), []byte("2"))
			db.Commit(&nested, note("nested ")) // queued: its turn is not yet over
		})
	}()
	<-begun
	var b Batch
	b.Set([]byte("a"), []byte("1"))
	db.Commit(&b, note("follower "))
	close(release)
	<-led
	if err := db.Close(); err != nil { // waits for both
		t.Fatal(err)
	}
	if got := strings.Join(trace, "; "); got != "leader <nil>; follower <nil>; nested <nil>" {
		t.Errorf("told %q", got)
	}

	db = open(t, Options{FS: vfs.NewMem(), Lead: true})
	done := false
	var alone Batch
	alone.Set([]byte("c"), []byte("3"))
	db.Commit(&alone, func(error) { done = true })
	if !done {
		t.Error("a lone write was not done by its caller")
	}
}

// A scan sees one moment, and Close waits for it.
func TestScanIsASnapshot(t *testing.T) {
	db := open(t, Options{FS: vfs.NewMem()})
	for _, k := range []string{"a", "b", "c"} {
		if err := put(db, k, "1"); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	closed := make(chan error, 1)
	err := db.Scan(nil, nil, func(k, v []byte) bool {
		if len(got) == 0 {
			_ = put(db, "b", "2")
			_ = put(db, "d", "2")
			go func() { closed <- db.Close() }()
		}
		got = append(got, string(k)+string(v))
		return true
	})
	if err != nil || strings.Join(got, " ") != "a1 b1 c1" {
		t.Errorf("scanned %v, %v", got, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// BenchmarkCommit keeps so many commits of 300 bytes outstanding on the disk that
// TMPDIR is on.
func BenchmarkCommit(b *testing.B) {
	for _, outstanding := range []int{1, 8, 64, 255} {
		b.Run(fmt.Sprint(outstanding), func(b *testing.B) {
			db := open(b, Options{Dir: b.TempDir()})
			value := make([]byte, 300)
			tokens := make(chan struct{}, outstanding)
			var n int
			for b.Loop() {
				tokens <- struct{}{}
				n++
				batch := new(Batch)
				batch.Set(fmt.Appendf(nil, "%012d", n), value)
				db.Commit(batch, func(err error) {
					if err != nil {
						b.Error(err)
					}
					<-tokens
				})
			}
			for range outstanding {
				tokens <- struct{}{}
			}
			b.StopTimer()
			s := db.Stats()
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(s.Commits)/float64(s.Groups), "commits/fsync")
			b.ReportMetric(float64(s.Writing.Microseconds())/float64(s.Groups), "µs/group")
		})
	}
}
