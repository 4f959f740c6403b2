package linkrpc

import (
	"context"
	"net"
	"time"
)

// freshEvery is after what time without an answer another connection is tried beside
// the one under way. Linux sends a SYN again after 1, 3, 7 ... s, and begins with a
// window of one packet where it had to do so more than once, which costs TLS and
// Hello a round trip each. So there is a SYN a second from a connection that may
// begin at full speed, however long the path was cut.
const freshEvery = 1900 * time.Millisecond

// fresh dials until ctx is done: the first connection that is up, or the first error.
func fresh(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	again := time.NewTicker(freshEvery)
	defer again.Stop()
	for {
		go func() {
			conn, err := dial(ctx)
			select {
			case results <- result{conn, err}:
			case <-ctx.Done(): // another one was first
				if conn != nil {
					conn.Close()
				}
			}
		}()
		select {
		case r := <-results:
			return r.conn, r.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-again.C:
		}
	}
}
