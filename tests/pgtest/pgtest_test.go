//go:build unix

package pgtest

import (
	"net"
	"testing"
)

// Whoever has taken the port meanwhile, another server even, the new one gets one of
// its own; of one that is known already Start says that it is taken.
func TestPortIsTaken(t *testing.T) {
	other := New(t)
	s, err := place()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	if out, err := s.initdb().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.port = other.port
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	if s.port == other.port {
		t.Error("two servers have one port")
	}
	s.Stop()
	l, err := net.Listen("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil {
		t.Error("it runs at a port that is taken")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Error(err)
	}
}
