package edgestore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// A record whose octets the disk gave back as they were written, but which are none of
// ours: the process ends and says what to do, and the repaired journal is read.
func TestDamagedRecordEndsTheProcess(t *testing.T) {
	garbage, cut := []byte("\xff\xff\xff"), []byte("{")
	now := time.Unix(1_700_000_000, 0)
	for name, c := range map[string]struct {
		write func(b *kv.Batch)
		read  func(s *Store) error
	}{
		"ring down": {
			func(b *kv.Batch) { b.Set(numbered('d', 1), garbage) },
			func(s *Store) error { _, err := s.Down().Load(); return err },
		},
		"ring up": {
			func(b *kv.Batch) { b.Set(numbered('q', 1), garbage) },
			func(s *Store) error {
				return wait(func(done func(error)) {
					s.Up().Retrieve(1, 10, func(_ []journal.Entry, err error) { done(err) })
				})
			},
		},
		"task": {
			func(b *kv.Batch) { b.Set(named('t', []byte("id")), garbage) },
			func(s *Store) error { return loadOutlet(s) },
		},
		"message of a task": {
			func(b *kv.Batch) {
				b.Set(named('t', []byte("id")), encodeTask(&journal.Task{ID: []byte("id"), Deferred: true}))
			},
			func(s *Store) error { return loadOutlet(s) },
		},
		"receipt ahead of its part": {
			func(b *kv.Batch) {
				key := append(correlation('p', "globe", "7"), be64(1)...)
				b.Set(key, cut)
				b.Set(expiry('y', now.Add(time.Hour), key), key)
			},
			func(s *Store) error {
				return wait(func(done func(error)) {
					s.Record(journal.OutletStep{Sent: []journal.Sent{{SMSC: "globe", SMSCID: "7", At: now, Until: now}}}, done)
				})
			},
		},
		"status event": {
			func(b *kv.Batch) { b.Set(numbered('e', 1), garbage) },
			func(s *Store) error {
				_, err := s.EventsAfter(0, 10)
				return errors.Join(err, journal.ErrFailed)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			var b kv.Batch
			b.Set(meta("epoch"), be64(1))
			c.write(&b)
			must(t, func(done func(error)) { s.db.Commit(&b, done) })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			var said []string
			counted := 0
			s, err := Open(Options{KV: kv.Options{
				Dir: "edge", FS: fs, Node: Node("manila-1"),
				Fatal: func(err error) { said = append(said, err.Error()) }, Corrupt: func() { counted++ },
			}})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.read(s); !errors.Is(err, journal.ErrFailed) {
				t.Errorf("who reads it hears %v", err)
			}
			if len(said) != 1 || !strings.Contains(said[0], "`ringway edge repair`") || counted != 1 {
				t.Errorf("the process ends with %q, %d are counted", said, counted)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := repair(kv.Options{Dir: "new", FS: fs, Node: Node("manila-1")}, "edge"); err != nil {
				t.Fatal(err)
			}
			said = nil
			if s, err = Open(Options{KV: kv.Options{Dir: "new", FS: fs, Node: Node("manila-1"), Fatal: func(err error) { said = append(said, err.Error()) }}}); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := c.read(s); err != nil && name != "status event" || len(said) > 0 {
				t.Errorf("when it is repaired: %v, %q", err, said)
			}
		})
	}
}

// A write that is refused because of what is in it is no damage.
func TestUnwritableRecordIsNoDamage(t *testing.T) {
	s, err := Open(Options{KV: kv.Options{Dir: "edge", FS: vfs.NewMem(), Node: Node("manila-1"), Fatal: func(err error) { t.Errorf("the process ends: %v", err) }}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = wait(func(done func(error)) {
		s.Receive(journal.Intake{Messages: []*messages.Message{{Text: "\xff"}}}, done)
	})
	if !errors.Is(err, journal.ErrFailed) {
		t.Errorf("got %v", err)
	}
}

func loadOutlet(s *Store) error {
	return wait(func(done func(error)) { s.LoadOutlet(func(_ []*journal.Task, err error) { done(err) }) })
}
