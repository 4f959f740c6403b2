package hubstore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
)

// TestI14_WhatSpillsStaysInOrder: messages accepted while part of the queue stands
// on disk only come behind that part.
func TestI14_WhatSpillsStaysInOrder(t *testing.T) {
	s := open(t, Options{FS: vfs.NewMem(), Inline: true})
	r, err := s.Claim("e")
	if err != nil {
		t.Fatal(err)
	}
	accepted, taken := 0, 0
	fill := func(n int) {
		for range n {
			accept(t, s, journal.Submission{From: "anna", To: "+1", Text: fmt.Sprint(accepted), Class: 1, Edge: "e"})
			accepted++
		}
	}
	take := func(n int) {
		t.Helper()
		r.Down().Retrieve(uint64(taken+1), n, func(e []journal.Entry, err error) {
			if err != nil || len(e) != n {
				t.Fatalf("retrieved %d of %d: %v", len(e), n, err)
			}
			for _, one := range e {
				if one.Message.Text != fmt.Sprint(taken) {
					t.Fatalf("retrieved %s, want %d", one.Message.Text, taken)
				}
				taken++
			}
		})
	}
	fill(maxWindow + 20)
	take(10)
	fill(30) // there is room in memory, but 20 wait on disk
	take(accepted - taken)
	fill(5)
	take(5)
}
