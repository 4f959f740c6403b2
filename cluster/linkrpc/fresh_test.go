package linkrpc

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A path that comes back is tried by a connection that is young, the older ones are given up.
func TestFreshConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		back := began.Add(7200 * time.Millisecond)
		var dialled, givenUp int
		c, err := fresh(t.Context(), func(ctx context.Context) (net.Conn, error) {
			dialled++
			age := time.Now()
			for _, syn := range []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second} {
				select {
				case <-time.After(time.Until(age.Add(syn))):
				case <-ctx.Done():
					givenUp++
					return nil, ctx.Err()
				}
				if !time.Now().Before(back) {
					near, _ := net.Pipe()
					return syned{near, syn}, nil
				}
			}
			return nil, errors.New("no answer")
		})
		if err != nil {
			t.Fatal(err)
		}
		if syn := c.(syned).at; syn > time.Second {
			t.Errorf("the connection's SYN was sent again after %v: it begins with one packet", syn)
		}
		if took := time.Since(back); took > time.Second {
			t.Errorf("connected %v after the path was back, want a SYN a second", took)
		}
		synctest.Wait()
		if dialled != 5 || givenUp != 4 {
			t.Errorf("%d connections tried, %d given up; want 5 and 4", dialled, givenUp)
		}
	})
}

type syned struct {
	net.Conn
	at time.Duration
}

// One that is up too late is closed; an error, as a refusal is, ends it at once; so does the context.
func TestFreshEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late net.Conn
		first := true
		c, err := fresh(t.Context(), func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			if first {
				first, late = false, far
				time.Sleep(5 * time.Second) // does not look at its context
			}
			return near, nil
		})
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		if _, err := late.Read(make([]byte, 1)); err == nil || time.Now().Year() > 2000 {
			t.Errorf("the late connection: %v at %v, want it closed", err, time.Now())
		}

		refused := errors.New("refused")
		if _, err := fresh(t.Context(), func(context.Context) (net.Conn, error) { return nil, refused }); !errors.Is(err, refused) {
			t.Errorf("got %v, want the refusal", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err = fresh(ctx, func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}
