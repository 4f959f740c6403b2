package edgestore

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestHubsAreKeptForTheirConfiguration(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	a, b := []string{"a:1"}, []string{"b:1", "a:1"}
	if got, err := s.Hubs(a); err != nil || got != nil {
		t.Errorf("a new edge knows %v %v", got, err)
	}
	s.SetHubs(a, b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs)
	if got, err := s.Hubs(a); err != nil || !slices.Equal(got, b) {
		t.Errorf("after a restart %v %v, want %v", got, err, b)
	}
	if got, err := s.Hubs(b); err != nil || got != nil {
		t.Errorf("an edge that is given other hubs still knows %v %v", got, err)
	}
}
