package linkrpc

import (
	"context"
	"net"
	"time"
)

// Linux sends a SYN again after 1, 3, 7 ... s (6.18: after 1, 2, 3, 4, 5, 7, 11 ... s), and
// begins with a window of one packet where it had to do so more than once, which costs
// TLS and Hello a round trip each.
// So another connection is tried beside the one under way before that happens, and one
// that is up in spite of its age gives a new one the time of a round trip: there is a
// SYN a second, and the link begins at full speed, however long the path was cut.
const (
	freshEvery = 1900 * time.Millisecond
	slowAfter  = 2 * time.Second
	freshWait  = time.Second
)

// fresh dials until ctx is done: the first connection that is up, or the first error.
// reached is called when one is, though it may not be the one that is returned.
func fresh(ctx context.Context, reached func(), dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	type result struct {
		conn  net.Conn
		err   error
		began time.Time
	}
	results := make(chan result)
	start := func() {
		began := time.Now()
		conn, err := dial(ctx)
		select {
		case results <- result{conn, err, began}:
		case <-ctx.Done(): // another one was taken
			if conn != nil {
				conn.Close()
			}
		}
	}
	again := time.NewTicker(freshEvery)
	defer again.Stop()
	var slow net.Conn
	var overdue <-chan time.Time
	go start()
	for {
		select {
		case r := <-results:
			if r.err == nil {
				reached()
			}
			switch old := r.err == nil && time.Since(r.began) >= slowAfter; {
			case old && slow != nil:
				r.conn.Close()
				continue
			case old:
				slow, overdue = r.conn, time.After(freshWait)
				again.Stop()
				go start()
				continue
			case slow != nil && r.err != nil:
				return slow, nil
			case slow != nil:
				slow.Close()
			}
			return r.conn, r.err
		case <-overdue:
			return slow, nil
		case <-again.C:
			go start()
		case <-ctx.Done():
			if slow != nil {
				return slow, nil
			}
			return nil, context.Cause(ctx)
		}
	}
}
