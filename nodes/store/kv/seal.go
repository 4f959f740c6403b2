package kv

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble puts a checksum on every block it writes, and refuses a table's that does
// not fit. In its two kinds of log, though, what cannot be read is taken for a write
// that a crash tore, and everything behind it is forgotten without a word (in a WAL
// within 32 KB, in a MANIFEST wherever it is). So a closed directory is sealed:
// nothing stands in its WAL alone, and file SEAL says what the other files were.
// Where a crash left it, an intact record behind a broken one tells damage from a torn
// write, as each is synced before the next begins. Damage to the very last write before
// a crash cannot be told.

const sealName = "SEAL"

// ErrDamaged: a file is not as it was written. Only another copy helps: the error
// says which.
var ErrDamaged = errors.New("kv: a file is damaged")

// remedyDamaged is what to do about it.
const remedyDamaged = "the disk or a copy has damaged it: move data_dir away and run ringway edge repair or ringway hub repair, or put a backup in its place"

// sealed is the content of file SEAL, behind a line with its checksum.
type sealed struct {
	Files map[string]sealedFile `json:"files"`
}

type sealedFile struct {
	Size int64  `json:"size"`
	CRC  string `json:"crc32c,omitempty"` // of the content; absent where Pebble checks blocks itself
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli)) }

// seal describes the files of a directory that nobody writes to; with tables,
// Pebble's tables too, content and all.
func seal(fsys vfs.FS, dir string, tables bool) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	s := sealed{Files: map[string]sealedFile{}}
	for _, name := range names {
		if !belongs(name, tables) {
			continue
		}
		info, err := fsys.Stat(fsys.PathJoin(dir, name))
		if err != nil {
			return err
		}
		if info.IsDir() {
			continue
		}
		file := sealedFile{Size: info.Size()}
		if tables || !strings.HasSuffix(name, ".sst") {
			if file.CRC, err = checksumOf(fsys, fsys.PathJoin(dir, name)); err != nil {
				return err
			}
		}
		s.Files[name] = file
	}
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeFile(fsys, dir, sealName, append([]byte(checksum(body)+"\n"), body...))
}

// belongs says whether a seal describes the file: others may lie there too.
func belongs(name string, tables bool) bool {
	for _, prefix := range []string{"MANIFEST-", "OPTIONS-", "marker."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, ".sst") || tables && strings.HasSuffix(name, ".log")
}

// unseal compares the files with the seal and breaks it. No seal: a crash, or an
// earlier version, left the directory.
func unseal(fsys vfs.FS, dir string) error {
	if err := checkSeal(fsys, dir); errors.Is(err, fs.ErrNotExist) {
		return checkLogs(fsys, dir)
	} else if err != nil {
		return err
	}
	if err := fsys.Remove(fsys.PathJoin(dir, sealName)); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

// checkSeal compares; fs.ErrNotExist: there is no seal.
func checkSeal(fsys vfs.FS, dir string) error {
	data, err := readFile(fsys, fsys.PathJoin(dir, sealName))
	if err != nil {
		return err
	}
	sum, body, _ := bytes.Cut(data, []byte("\n"))
	var s sealed
	if string(sum) != checksum(body) || json.Unmarshal(body, &s) != nil {
		return fmt.Errorf("%w: %s (%s)", ErrDamaged, fsys.PathJoin(dir, sealName), remedyDamaged)
	}
	for name, was := range s.Files {
		path := fsys.PathJoin(dir, name)
		info, err := fsys.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is missing (%s)", ErrDamaged, path, remedyDamaged)
		}
		if err != nil {
			return err
		}
		if info.Size() != was.Size {
			return fmt.Errorf("%w: %s has %d octets, it was closed with %d (%s)", ErrDamaged, path, info.Size(), was.Size, remedyDamaged)
		}
		if was.CRC == "" {
			continue
		}
		if now, err := checksumOf(fsys, path); err != nil {
			return err
		} else if now != was.CRC {
			return fmt.Errorf("%w: %s has checksum %s, it was closed with %s (%s)", ErrDamaged, path, now, was.CRC, remedyDamaged)
		}
	}
	return nil
}

// checkLogs looks for intact records behind a broken one.
func checkLogs(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		var format logFormat
		if number, isWAL := strings.CutSuffix(name, ".log"); isWAL {
			n, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				continue // not Pebble's
			}
			format = logFormat{wal: true, number: uint32(n)}
		} else if !strings.HasPrefix(name, "MANIFEST-") {
			continue
		}
		path := fsys.PathJoin(dir, name)
		data, err := readFile(fsys, path)
		if err != nil {
			return err
		}
		if at, damaged := format.broken(data); damaged {
			return fmt.Errorf("%w: %s at octet %d (%s)", ErrDamaged, path, at, remedyDamaged)
		}
	}
	return nil
}

// logFormat is Pebble's (package record): blocks of 32 KB hold chunks of checksum (4
// octets), length (2), type (1) and payload. In a WAL a number (4), as WALs are used
// again, stands between type and payload, and in all but a store's first one up to
// where the log was synced (8): a lower bound, which is a block too low after each
// block, and is not used here. Both logs are written one synced record after the
// other, so that a record behind another proves that one whole.
type logFormat struct {
	wal    bool
	number uint32
}

const (
	logBlock  = 32 << 10
	logHeader = 19 // the longest
)

// chunk returns the length of the chunk at this place; 0: there is none. A first one
// begins a record.
func (f logFormat) chunk(log []byte, at int) (length int, first bool) {
	c := f.read(log, at)
	return c.length, c.first
}

// chunk is what read finds.
type chunk struct {
	length      int // with its header; 0: there is none
	first, last bool
	payload     []byte
}

func (f logFormat) read(log []byte, at int) (found chunk) {
	rest := log[at:min(len(log), at-at%logBlock+logBlock)]
	if len(rest) < 7 {
		return chunk{}
	}
	kind, header := rest[6], 7 // full, first, middle, last are 1 to 4 in a manifest,
	switch {
	case f.wal && kind >= 5 && kind <= 8: // and in WALs these
		kind, header = kind-4, 11
	case f.wal && kind >= 9 && kind <= 12: // or these
		kind, header = kind-8, logHeader
	case f.wal || kind < 1 || kind > 4:
		return chunk{}
	}
	length := header + int(binary.LittleEndian.Uint16(rest[4:]))
	if length > len(rest) || f.wal && binary.LittleEndian.Uint32(rest[7:]) != f.number {
		return chunk{}
	}
	c := crc32.Checksum(rest[6:length], castagnoli)
	if binary.LittleEndian.Uint32(rest) != (c>>15|c<<17)+0xa282ead8 { // masked, as in LevelDB
		return chunk{}
	}
	return chunk{length, kind <= 2, kind == 1 || kind == 4, rest[header:length]}
}

// records calls each for the records that are whole, and returns where damage begins
// that something stands behind: a record there cannot be read.
func (f logFormat) records(log []byte, each func(record []byte) error) (damaged []int, err error) {
	var record []byte
	inside := false
	for at := 0; at < len(log); {
		c := f.read(log, at)
		if left := logBlock - at%logBlock; c.length == 0 && left < logHeader {
			at += left
			continue
		}
		if c.length == 0 || !c.first && !inside {
			behind := at + max(c.length, 1)
			for behind < len(log) && !f.read(log, behind).first {
				behind++
			}
			if behind < len(log) {
				damaged = append(damaged, at)
			}
			at, inside = behind, false
			continue
		}
		at += c.length
		if c.first {
			record = record[:0]
		}
		record, inside = append(record, c.payload...), !c.last
		if c.last {
			if err := each(record); err != nil {
				return damaged, err
			}
		}
	}
	return damaged, nil
}

// broken returns where the first chunk is that cannot be read, and whether it once
// could: the log's end, and a torn write, could not. A block's rest that is too short
// for a header holds nothing.
func (f logFormat) broken(log []byte) (at int, damaged bool) {
	for at < len(log) {
		n, _ := f.chunk(log, at)
		if left := logBlock - at%logBlock; n == 0 && left < logHeader {
			n = left
		}
		if n == 0 {
			break
		}
		at += n
	}
	for behind := at + 1; behind < len(log); behind++ {
		if n, first := f.chunk(log, behind); n > 0 && first {
			return at, true
		}
	}
	return at, false
}

func checksumOf(fsys vfs.FS, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	sum := crc32.New(castagnoli)
	_, err = io.Copy(sum, f)
	return fmt.Sprintf("%08x", sum.Sum32()), errors.Join(err, f.Close())
}

func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

// writeFile writes a file whole or not at all, durably.
func writeFile(fsys vfs.FS, dir, name string, data []byte) error {
	path := fsys.PathJoin(dir, name)
	f, err := fsys.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(fsys, dir)
	}
	return err
}
