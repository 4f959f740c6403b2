// Package port gives out ports of the loopback address to tests that must name one
// before its server listens, or keep it while the server is away.
package port

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Clients get theirs from 32768 on (Linux) or 49152 (RFC 6335 §6): none of them takes
// one of these.
const first, last = 20000, 31999

var given struct {
	mu    sync.Mutex
	ports map[int]bool
}

// Free returns a port at which nobody listens, TCP or UDP; each port once in a process.
func Free() (int, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	if given.ports == nil {
		given.ports = map[int]bool{}
	}
	var busy error
	for range 1000 {
		p := first + rand.IntN(last-first+1)
		if given.ports[p] {
			continue
		}
		if busy = listen(p); busy == nil {
			given.ports[p] = true
			return p, nil
		}
	}
	return 0, fmt.Errorf("port: none of %d to %d is free, %d are given out: %w", first, last, len(given.ports), busy)
}

func listen(p int) error {
	at := fmt.Sprintf("127.0.0.1:%d", p)
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", at)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(u.Close(), l.Close())
}

// Address is the loopback address with a port of Free.
func Address(t testing.TB) string {
	t.Helper()
	p, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", p)
}
