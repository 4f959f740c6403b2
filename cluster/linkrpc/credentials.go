package linkrpc

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// Credentials wraps TLS 1.3 for either end. It notes when the handshake was
// done, from which a resynchronisation is timed.
//
// With early set (the dialling end) the stream is opened at once: see earlyConn.
func Credentials(cfg *tls.Config, early bool) credentials.TransportCredentials {
	return creds{credentials.NewTLS(cfg), early}
}

type creds struct {
	credentials.TransportCredentials
	early bool
}

type authInfo struct {
	credentials.TLSInfo
	at   time.Time
	conn net.Conn
}

func (c creds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	if c.early {
		conn = newEarlyConn(conn)
	}
	return conn, authInfo{info.(credentials.TLSInfo), time.Now(), conn}, nil
}

func (c creds) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return conn, authInfo{info.(credentials.TLSInfo), time.Now(), conn}, nil
}

func (c creds) Clone() credentials.TransportCredentials {
	return creds{c.TransportCredentials.Clone(), c.early}
}
