package port

import (
	"net"
	"sync"
	"testing"
)

// Whoever asks, at the same time as others, gets a port of his own at which he can listen.
func TestEachPortOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				at := Address(t)
				mu.Lock()
				if seen[at] {
					t.Errorf("%s was given out twice", at)
				}
				seen[at] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	l, err := net.Listen("tcp", Address(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := listen(l.Addr().(*net.TCPAddr).Port); err == nil {
		t.Error("a port at which somebody listens is free")
	}
}
