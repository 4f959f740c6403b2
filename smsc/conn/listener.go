package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Listener takes connections that an SMSC dials (SMPP's outbind), and hands each
// to one session that waits for it in Dial. Peers that may not, and those whom no
// session waits for within a few seconds, are hung up on.
type Listener struct {
	l      net.Listener
	from   []netip.Prefix
	taken  chan net.Conn
	closed chan struct{}
	once   sync.Once
	Refuse func(peer net.Addr, why error) // told of each that is hung up on; nil: nobody is
}

// handOverLimit is how long an SMSC waits for a session: longer than one takes to
// come back after the last.
const handOverLimit = 5 * time.Second

// Listen opens the port; see ParsePeers for from. Call Serve then.
func Listen(address string, from []netip.Prefix) (*Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("conn: %w", err)
	}
	return &Listener{l: l, from: from, taken: make(chan net.Conn), closed: make(chan struct{})}, nil
}

// ParsePeers reads addresses and networks, "10.0.0.7" and "10.1.0.0/16".
func ParsePeers(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("conn: %q is neither an address nor a network", text)
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		all = append(all, network)
	}
	return all, nil
}

// Addr is where the listener listens.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Serve takes connections until Close.
func (l *Listener) Serve() {
	for {
		socket, err := l.l.Accept()
		if err != nil {
			select {
			case <-l.closed:
				return
			case <-time.After(100 * time.Millisecond): // out of file descriptors, say
				continue
			}
		}
		if err := l.handOver(socket); err != nil {
			_ = socket.Close()
			if l.Refuse != nil {
				l.Refuse(socket.RemoteAddr(), err)
			}
		}
	}
}

func (l *Listener) handOver(socket net.Conn) error {
	peer, err := netip.ParseAddrPort(socket.RemoteAddr().String())
	if err != nil || !slices.ContainsFunc(l.from, func(n netip.Prefix) bool { return n.Contains(peer.Addr().Unmap()) }) {
		return errors.New("conn: it is not among those that may dial")
	}
	wait := time.NewTimer(handOverLimit)
	defer wait.Stop()
	select {
	case l.taken <- socket:
		return nil
	case <-l.closed:
		return ErrClosed
	case <-wait.C:
		return errors.New("conn: no session is free for it")
	}
}

// Dial is a Config.Dial that waits for the SMSC.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	select {
	case socket := <-l.taken:
		return socket, nil
	case <-l.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("conn: the SMSC has not dialled: %w", ctx.Err())
	}
}

// Close ends Serve and Dial; what was handed over stays.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.l.Close()
}
