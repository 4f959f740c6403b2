package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// ErrSound means that there is nothing to salvage.
var ErrSound = errors.New("nothing in it is damaged")

// OfRecord stands in Loss.File where one record is lost.
const OfRecord = "record"

// Loss is a place of a damaged store that cannot be read.
type Loss struct {
	File     string
	From, To []byte // what is missing has keys from <= key < to; both nil: any key
	Why      string
}

// May says whether the record of key may be missing.
func (l Loss) May(key []byte) bool {
	return l.From == nil && l.To == nil || bytes.Compare(l.From, key) <= 0 && bytes.Compare(key, l.To) < 0
}

// Touches says whether records whose keys begin with prefix may be missing.
func (l Loss) Touches(prefix []byte) bool {
	end := PrefixEnd(prefix)
	return l.From == nil && l.To == nil || bytes.Compare(prefix, l.To) < 0 && (end == nil || bytes.Compare(l.From, end) < 0)
}

// Salvage copies each record of a damaged store that can be read to where the store of
// opts is to be; of opts it needs Dir and Node, and FS if it is not the disk. There must
// be none; the damaged one stays as it is. A record whose last write is lost stands as an
// earlier write left it, or not at all. settle makes the copy, which is in a folder
// beside, one that its node can go on from, and returns what it had to give up itself;
// only then is it put in its place.
func Salvage(opts Options, damaged string, settle func(opts Options, lost []Loss) ([]Loss, error)) (lost []Loss, err error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	opts.ReserveBytes = -1
	if lost, err = salvage(opts, damaged, settle); err != nil {
		return nil, fmt.Errorf("kv: repair %s from %s: %w", opts.Dir, damaged, err)
	}
	return lost, nil
}

func salvage(opts Options, damaged string, settle func(opts Options, lost []Loss) ([]Loss, error)) (lost []Loss, err error) {
	fsys := opts.FS
	f, err := fsys.Open(fsys.PathJoin(damaged, identityName))
	if err != nil {
		return nil, fmt.Errorf("this is no data directory: %w", err)
	}
	if err := belongsTo(f, fsys.PathJoin(damaged, identityName), damaged, opts.Node); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(damaged, fsys)
	if err != nil {
		return nil, lockError(damaged, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	w := &wreck{fs: fsys, dir: damaged, newest: map[string]uint64{}}
	if err := w.survey(lock); err != nil {
		return nil, err
	}
	err = place(fsys, opts.Dir, func(stage string) error {
		opts := opts
		opts.Dir = stage
		if err := w.copy(opts); err != nil {
			return err
		}
		more, err := settle(opts, w.lost)
		if lost = append(w.lost, more...); err == nil && len(lost) == 0 {
			return ErrSound
		}
		return err
	})
	return lost, err
}

// wreck is a damaged store. It is read without Pebble's database, which ends at the
// first damage: tables one by one, from both ends up to the damage, logs record by
// record; the highest sequence number of a key says how it stands.
type wreck struct {
	fs     vfs.FS
	dir    string
	tables []pebble.SSTableInfo
	logs   []string // those whose records may be in no table
	newest map[string]uint64
	erased []erasure
	lost   []Loss
}

// erasure is a DeleteRange.
type erasure struct {
	from, to []byte
	seq      uint64
}

// survey finds what there is, and which write of each key is the last one.
func (w *wreck) survey(lock *pebble.Lock) error {
	if err := w.list(lock); err != nil {
		return err
	}
	for _, table := range w.tables {
		if err := w.erasures(table); err != nil {
			w.lose(table, nil, nil, err)
		}
	}
	return w.writes(true, func(key []byte, seq uint64, _ pebble.InternalKeyKind, _ []byte) error {
		if newest, found := w.newest[string(key)]; !found || seq > newest {
			w.newest[string(key)] = seq
		}
		return nil
	})
}

// list has Pebble say which tables and logs count. The list itself must be whole.
func (w *wreck) list(lock *pebble.Lock) (err error) {
	names, err := w.fs.List(w.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "MANIFEST-") {
			continue
		}
		manifest, err := readFile(w.fs, w.fs.PathJoin(w.dir, name))
		if err != nil {
			return err
		}
		if at, broken := (logFormat{}).broken(manifest); broken {
			return fmt.Errorf("%w: %s at octet %d says which files count: without it nothing can be repaired", ErrDamaged, name, at)
		}
	}
	watch := logWatch{FS: w.fs, read: map[string]bool{}}
	defer func() {
		if p := recover(); p != nil { // Fatalf
			err = fmt.Errorf("%w: %w", ErrDamaged, panicError(p))
		}
	}()
	db, err := pebble.Open(w.dir, &pebble.Options{
		FS: watch, Lock: lock, ReadOnly: true, DisableTableStats: true, FormatMajorVersion: pebbleFormat,
		Logger: quietLogger{&DB{log: zap.NewNop()}},
	})
	if err != nil {
		return err
	}
	levels, err := db.SSTables()
	for _, level := range levels {
		w.tables = append(w.tables, level...)
	}
	for name := range watch.read {
		w.logs = append(w.logs, name)
	}
	slices.Sort(w.logs)
	return errors.Join(err, db.Close())
}

// logWatch shows every log as an empty one, and notes which were asked for.
type logWatch struct {
	vfs.FS
	read map[string]bool
}

// Open implements vfs.FS.
func (w logWatch) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if strings.HasSuffix(name, ".log") {
		w.read[w.PathBase(name)] = true
		return vfs.NewMemFile(nil), nil
	}
	return w.FS.Open(name, opts...)
}

type eachWrite func(key []byte, seq uint64, kind pebble.InternalKeyKind, value []byte) error

// writes calls each for every write that can be read. What cannot is noted where note
// is set.
func (w *wreck) writes(note bool, each eachWrite) error {
	for _, table := range w.tables {
		first, last, damage, err := w.table(table, each)
		if err != nil {
			return err
		}
		if damage != nil && note {
			w.lose(table, first, last, damage)
		}
	}
	for _, name := range w.logs {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, ".log"), 10, 32)
		if err != nil {
			return err
		}
		log, err := readFile(w.fs, w.fs.PathJoin(w.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		damaged, err := logFormat{wal: true, number: uint32(n)}.records(log, func(record []byte) error { return w.batch(record, note, each) })
		if err != nil {
			return err
		}
		for _, at := range damaged {
			if note {
				w.lost = append(w.lost, Loss{File: name, Why: fmt.Sprintf("at octet %d, in the log of last writes", at)})
			}
		}
	}
	return nil
}

// lose notes what may stand between two keys that could be read; nil: none could. Of the
// second an earlier write may have been read.
func (w *wreck) lose(table pebble.SSTableInfo, first, last []byte, why error) {
	from, to := bytes.Clone(table.Smallest.UserKey), table.Largest.UserKey
	if first != nil {
		from = After(first)
	}
	if last != nil {
		to = last
	}
	w.lost = append(w.lost, Loss{File: tableName(table), From: from, To: After(to), Why: why.Error()})
}

// After is the first key behind key.
func After(key []byte) []byte { return append(bytes.Clone(key), 0) }

func tableName(table pebble.SSTableInfo) string { return table.BackingSSTNum.String() + ".sst" }

func (w *wreck) open(table pebble.SSTableInfo) (*sstable.Reader, error) {
	return openTable(w.fs, w.fs.PathJoin(w.dir, tableName(table)))
}

func openTable(fsys vfs.FS, path string) (*sstable.Reader, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	o := &pebble.Options{}
	o.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), readable, o.MakeReaderOptions())
	if err != nil {
		return nil, errors.Join(err, readable.Close())
	}
	return r, nil
}

// table reads from the beginning, and where it is damaged from the end, up to the
// damage: first and last are the keys around it, nil: there are none.
func (w *wreck) table(table pebble.SSTableInfo, each eachWrite) (first, last []byte, damage, err error) {
	r, damage := w.open(table)
	if damage != nil {
		return nil, nil, damage, nil
	}
	defer func() { _ = r.Close() }() // it is damaged, or it is read
	from := func(backwards bool) (reached []byte, damage, err error) {
		it, damage := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
		if damage != nil {
			return nil, damage, nil
		}
		defer func() { _ = it.Close() }() // Error said it
		begin, next := it.First, it.Next
		if backwards {
			begin, next = it.Last, it.Prev
		}
		for kv := begin(); kv != nil; kv = next() {
			value, _, damage := kv.Value(nil)
			if damage != nil {
				return reached, damage, nil
			}
			if err := each(kv.K.UserKey, uint64(kv.SeqNum()), kv.Kind(), value); err != nil {
				return nil, nil, err
			}
			reached = append(reached[:0], kv.K.UserKey...)
		}
		return reached, it.Error(), nil
	}
	if first, damage, err = from(false); damage != nil && err == nil {
		last, _, err = from(true)
	}
	return first, last, damage, err
}

// erasures notes the table's DeleteRanges.
func (w *wreck) erasures(table pebble.SSTableInfo) error {
	r, err := w.open(table)
	if err != nil {
		return nil //nolint:nilerr // writes says so
	}
	defer func() { _ = r.Close() }()
	it, err := r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return err
	}
	defer it.Close()
	span, err := it.First()
	for ; span != nil; span, err = it.Next() {
		for _, key := range span.Keys {
			w.erased = append(w.erased, erasure{bytes.Clone(span.Start), bytes.Clone(span.End), uint64(key.SeqNum())})
		}
	}
	return err
}

// batch reads a record of a log: writes with ascending sequence numbers.
func (w *wreck) batch(record []byte, note bool, each eachWrite) error {
	if _, ok := batchrepr.ReadHeader(record); !ok {
		return fmt.Errorf("%w: a log's record of %d octets is whole and no batch", ErrDamaged, len(record))
	}
	seq := uint64(batchrepr.ReadSeqNum(record))
	for r := batchrepr.Read(record); ; {
		kind, key, value, ok, err := r.Next()
		switch {
		case err != nil:
			return err
		case !ok:
			return nil
		case kind == pebble.InternalKeyKindLogData: // has no number
			continue
		case kind == pebble.InternalKeyKindRangeDelete && note:
			w.erased = append(w.erased, erasure{bytes.Clone(key), bytes.Clone(value), seq})
		case kind != pebble.InternalKeyKindRangeDelete:
			if err := each(key, seq, kind, value); err != nil {
				return err
			}
		}
		seq++
	}
}

// copy writes each key as its last write left it into a new store.
func (w *wreck) copy(opts Options) (err error) {
	db, err := Open(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var b Batch
	write := func() error {
		err := db.Wait(func(done func(error)) { db.Commit(&b, done) })
		b.Reset()
		return err
	}
	err = w.writes(false, func(key []byte, seq uint64, kind pebble.InternalKeyKind, value []byte) error {
		if kind != pebble.InternalKeyKindSet && kind != pebble.InternalKeyKindSetWithDelete || w.newest[string(key)] != seq || w.isErased(key, seq) {
			return nil
		}
		if b.Set(key, value); b.Len() < maxGroupBytes/4 {
			return nil
		}
		return write()
	})
	return errors.Join(err, write())
}

func (w *wreck) isErased(key []byte, seq uint64) bool {
	return slices.ContainsFunc(w.erased, func(e erasure) bool {
		return e.seq > seq && bytes.Compare(e.from, key) <= 0 && bytes.Compare(key, e.to) < 0
	})
}
