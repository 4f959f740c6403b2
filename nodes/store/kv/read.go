package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// Tx is what an Update may do. It is good until its function returns.
type Tx struct {
	a   *assembly
	err error // the first write's that failed; it undoes the update
}

// Get returns a copy of key's value as all earlier writes left it, f's own included.
func (tx *Tx) Get(key []byte) (value []byte, found bool, err error) {
	b, err := tx.a.indexed()
	if err != nil {
		return nil, false, fmt.Errorf("kv: get %x: %w", key, err)
	}
	return get(b, key)
}

// Scan is DB.Scan on what Get would see. What f writes during the scan is not in it.
func (tx *Tx) Scan(from, to []byte, f func(key, value []byte) bool) error {
	return tx.scan(from, to, false, f)
}

// ScanReverse is Scan from the highest key down.
func (tx *Tx) ScanReverse(from, to []byte, f func(key, value []byte) bool) error {
	return tx.scan(from, to, true, f)
}

func (tx *Tx) scan(from, to []byte, reverse bool, f func(key, value []byte) bool) error {
	b, err := tx.a.indexed()
	if err != nil {
		return fmt.Errorf("kv: scan from %x: %w", from, err)
	}
	return scan(b, from, to, reverse, f)
}

// Set writes value under key; both are copied.
func (tx *Tx) Set(key, value []byte) { tx.note(tx.a.b.Set(key, value, nil)) }

// Delete removes key; it need not exist.
func (tx *Tx) Delete(key []byte) { tx.note(tx.a.b.Delete(key, nil)) }

// DeleteRange removes the keys from <= key < to; nothing unless from < to.
func (tx *Tx) DeleteRange(from, to []byte) {
	if bytes.Compare(from, to) < 0 {
		tx.note(tx.a.b.DeleteRange(from, to, nil))
	}
}

func (tx *Tx) note(err error) {
	if err != nil && tx.err == nil {
		tx.err = fmt.Errorf("kv: update: %w", err)
	}
}

// Get returns a copy of key's value. It sees what is being made durable at this
// moment: decide in an Update, or after the callback, what must not be lost.
func (d *DB) Get(key []byte) (value []byte, found bool, err error) {
	if err := d.beginRead(); err != nil {
		return nil, false, err
	}
	defer d.readers.Done()
	return get(d.inner, key)
}

// Scan calls f for the keys from <= key < to in ascending order, as they were when
// it began, until f returns false; a nil to means to the last key. f may not keep
// key and value. Like Get it sees what is being made durable.
func (d *DB) Scan(from, to []byte, f func(key, value []byte) bool) error {
	if err := d.beginRead(); err != nil {
		return err
	}
	defer d.readers.Done()
	return scan(d.inner, from, to, false, f)
}

// ScanReverse is Scan from the highest key down.
func (d *DB) ScanReverse(from, to []byte, f func(key, value []byte) bool) error {
	if err := d.beginRead(); err != nil {
		return err
	}
	defer d.readers.Done()
	return scan(d.inner, from, to, true, f)
}

// PrefixEnd is the first key after all that begin with prefix, for use as to;
// nil, the end, if there is none.
func PrefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func (d *DB) beginRead() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refusal(); err != nil {
		return err
	}
	d.readers.Add(1)
	return nil
}

// reader is a pebble.DB or an indexed pebble.Batch.
type reader interface {
	Get(key []byte) ([]byte, io.Closer, error)
	NewIter(*pebble.IterOptions) (*pebble.Iterator, error)
}

func get(r reader, key []byte) ([]byte, bool, error) {
	value, closer, err := r.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("kv: get %x: %w", key, err)
	}
	value = append([]byte{}, value...)
	if err := closer.Close(); err != nil {
		return nil, false, fmt.Errorf("kv: get %x: %w", key, err)
	}
	return value, true, nil
}

func scan(r reader, from, to []byte, reverse bool, f func(key, value []byte) bool) (err error) {
	iter, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("kv: scan from %x: %w", from, err)
	}
	defer func() {
		if e := iter.Close(); e != nil && err == nil {
			err = fmt.Errorf("kv: scan from %x: %w", from, e)
		}
	}()
	first, next := iter.First, iter.Next
	if reverse {
		first, next = iter.Last, iter.Prev
	}
	for ok := first(); ok; ok = next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return fmt.Errorf("kv: scan at %x: %w", iter.Key(), err)
		}
		if !f(iter.Key(), value) {
			break
		}
	}
	return nil // iter.Close says what stopped it
}
