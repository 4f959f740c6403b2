// Package kvtest damages stores, for tests.
package kvtest

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Flip flips n bits of a file.
func Flip(t testing.TB, fsys vfs.FS, path string, n int, random *rand.Rand) {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	octets, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for range n {
		octets[random.IntN(len(octets))] ^= 1 << random.IntN(8)
	}
	to, err := fsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = to.Write(octets)
	if err = errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
}
