package linkrpc

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whenever a path comes back: it is tried within a second, and the connection that is
// taken had no more than one SYN sent again.
func TestFreshConnections(t *testing.T) {
	for _, again := range [][]time.Duration{{0, 1, 3, 7, 15, 31}, {0, 1, 2, 3, 4, 5, 7, 11, 19, 35}} {
		freshConnections(t, again)
	}
}

func freshConnections(t *testing.T, again []time.Duration) {
	const rtt = 300 * time.Millisecond
	for back := time.Duration(0); back < 20*time.Second; back += 50 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var dialled, left atomic.Int32
			c, err := fresh(t.Context(), func() {}, func(ctx context.Context) (net.Conn, error) {
				dialled.Add(1)
				born := time.Now()
				for _, syn := range again {
					syn *= time.Second
					select {
					case <-time.After(time.Until(born.Add(syn))):
					case <-ctx.Done():
						left.Add(1)
						return nil, ctx.Err()
					}
					if time.Since(began) < back {
						continue
					}
					time.Sleep(rtt)
					near, _ := net.Pipe()
					return syned{near, syn, &left}, nil
				}
				return nil, errors.New("no answer")
			})
			if err != nil {
				t.Fatalf("back after %v: %v", back, err)
			}
			if syn := c.(syned).at; syn > time.Second {
				t.Errorf("back after %v: the SYN of the connection was sent again after %v: it begins with one packet", back, syn)
			}
			if took := time.Since(began) - back; took > time.Second+2*rtt {
				t.Errorf("connected %v after the path was back, want a SYN a second", took)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if dialled.Load() != left.Load()+1 {
				t.Errorf("back after %v: %d connections were tried, %d are given up", back, dialled.Load(), left.Load())
			}
		})
	}
}

type syned struct {
	net.Conn
	at     time.Duration
	closed *atomic.Int32
}

func (s syned) Close() error {
	s.closed.Add(1)
	return s.Conn.Close()
}

// A handshake of TCP that takes seconds is taken for what it is, where none is faster.
func TestSlowPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, reached := time.Now(), time.Duration(0)
		_, err := fresh(t.Context(), func() { reached = time.Since(began) }, func(ctx context.Context) (net.Conn, error) {
			select {
			case <-time.After(5 * time.Second):
				near, _ := net.Pipe()
				return near, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		if err != nil || reached != 5*time.Second || time.Since(began) > 5*time.Second+freshWait {
			t.Errorf("%v after %v, reached after %v", err, time.Since(began), reached)
		}
	})
}

// One that is up too late is closed; an error, as a refusal is, ends it at once; so does the context.
func TestFreshEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan net.Conn, 1)
		var dialled atomic.Int32
		c, err := fresh(t.Context(), func() {}, func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			if dialled.Add(1) == 1 {
				late <- far
				time.Sleep(5 * time.Second) // does not look at its context
			}
			return near, nil
		})
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		if _, err := (<-late).Read(make([]byte, 1)); err == nil || time.Now().Year() > 2000 {
			t.Errorf("the late connection: %v at %v, want it closed", err, time.Now())
		}

		refused := errors.New("refused")
		if _, err := fresh(t.Context(), func() {}, func(context.Context) (net.Conn, error) { return nil, refused }); !errors.Is(err, refused) {
			t.Errorf("got %v, want the refusal", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err = fresh(ctx, func() {}, func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}
