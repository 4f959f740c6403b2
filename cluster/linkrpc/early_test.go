package linkrpc

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// spoken notes what is written, and reads what it is told to.
type spoken struct {
	net.Conn
	mu     sync.Mutex
	writes []string
	err    error
}

func (s *spoken) Read(b []byte) (int, error) { return copy(b, "SETTINGS"), nil }

func (s *spoken) Write(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, string(b))
	return len(b), nil
}

// What is written before the server has spoken goes out together, what comes later at once.
func TestEarlyOctetsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := &spoken{}
		c := newEarlyConn(under)
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			under.mu.Lock()
			defer under.mu.Unlock()
			if len(under.writes) != len(want) {
				t.Fatalf("written: %q, want %q", under.writes, want)
			}
			for i := range want {
				if under.writes[i] != want[i] {
					t.Fatalf("written: %q, want %q", under.writes, want)
				}
			}
		}
		write := func(text string) {
			t.Helper()
			if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatal(n, err)
			}
		}
		b := make([]byte, 100)
		if n, err := c.Read(b); string(b[:n]) != "\x00\x00\x00\x04\x00\x00\x00\x00\x00" || err != nil {
			t.Fatalf("read first %q, %v", b[:n], err)
		}
		write("PRI")
		write(" HEADERS")
		expect()
		time.Sleep(gathered)
		expect("PRI HEADERS")
		write("Hello")
		expect("PRI HEADERS")
		if n, err := c.Read(b); string(b[:n]) != "SETTINGS" || err != nil {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		expect("PRI HEADERS", "Hello")
		write("data")
		expect("PRI HEADERS", "Hello", "data")
		time.Sleep(time.Second)
		expect("PRI HEADERS", "Hello", "data")
	})
}

// A write that failed is told by the next one.
func TestEarlyWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &spoken{err: errors.New("broken pipe")}
		c := newEarlyConn(broken)
		if _, err := c.Write([]byte("PRI")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(gathered)
		synctest.Wait()
		if _, err := c.Write([]byte("Hello")); !errors.Is(err, broken.err) {
			t.Errorf("got %v, want %v", err, broken.err)
		}
	})
}
