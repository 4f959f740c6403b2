package linkrpc

import (
	"context"
	"net"
)

// Listen opens the link port with the asked congestion control ("": default).
func Listen(addr, congestionControl string) (net.Listener, error) {
	lc := net.ListenConfig{Control: congestion(congestionControl)}
	return lc.Listen(context.Background(), "tcp", addr)
}
