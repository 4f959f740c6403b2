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
// With early set (the dialling end) the first read yields an empty SETTINGS
// frame of our own: HTTP/2 allows any number of them (RFC 9113 §6.5), and gRPC's
// client, which sends nothing before it has seen one, then opens its stream at
// once instead of a round trip later. The server's own SETTINGS follow and
// count as usual.
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
		conn = &earlyConn{Conn: conn, preface: []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}}
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

type earlyConn struct {
	net.Conn
	preface []byte
}

func (c *earlyConn) Read(b []byte) (int, error) {
	if len(c.preface) > 0 {
		n := copy(b, c.preface)
		c.preface = c.preface[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
