package kv

import (
	"bytes"
	"errors"
)

// Mending changes the records of a salvaged copy until they fit each other: some are
// missing, some are older than others, and some were deleted. The first error stays, and
// nothing is done after it.
type Mending struct {
	Err error

	db    *DB
	batch Batch
	lost  []Loss
}

// Mend has f mend the store of opts, and returns what it gave up.
func Mend(opts Options, f func(m *Mending)) (lost []Loss, err error) {
	db, err := Open(opts)
	if err != nil {
		return nil, err
	}
	m := &Mending{db: db}
	f(m)
	m.Flush()
	if err := errors.Join(m.Err, db.Close()); err != nil {
		return nil, err
	}
	return m.lost, nil
}

// Each calls f with each record as it is on disk: Flush before, where that matters. f may
// change records, and must not keep what it is given.
func (m *Mending) Each(prefix []byte, f func(key, value []byte)) {
	if m.Err == nil {
		err := m.db.Scan(prefix, PrefixEnd(prefix), func(key, value []byte) bool {
			f(key, value)
			return m.Err == nil
		})
		m.Err = errors.Join(m.Err, err)
	}
}

// Get reads one record as it is on disk.
func (m *Mending) Get(key []byte) (value []byte, found bool) {
	value, found, err := m.db.Get(key)
	m.Err = errors.Join(m.Err, err)
	return value, found
}

// Set writes a record.
func (m *Mending) Set(key, value []byte) {
	if m.batch.Set(key, value); m.batch.Len() > 1<<20 {
		m.Flush()
	}
}

// Drop deletes a record that nobody misses.
func (m *Mending) Drop(key []byte) {
	if m.batch.Delete(key); m.batch.Len() > 1<<20 {
		m.Flush()
	}
}

// Give gives a record up, which is said.
func (m *Mending) Give(key []byte, why error) {
	m.Note(key, why)
	m.Drop(key)
}

// Note says that a record is lost.
func (m *Mending) Note(key []byte, why error) {
	m.lost = append(m.lost, Loss{File: OfRecord, From: bytes.Clone(key), To: After(key), Why: why.Error()})
}

// Flush puts on disk what was changed.
func (m *Mending) Flush() {
	if m.Err == nil {
		m.Err = m.db.Wait(func(done func(error)) { m.db.Commit(&m.batch, done) })
		m.batch.Reset()
	}
}
