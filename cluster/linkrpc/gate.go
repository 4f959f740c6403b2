package linkrpc

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What strangers can make this side spend before a certificate has been seen, and
// what the holders of one can.
const (
	// maxHandshakes are under way at once; one costs some 40 kB and a descriptor. Who
	// has most of them gives way, so that a crowd at one address keeps nobody else out.
	maxHandshakes = 512
	handshakeTime = 15 * time.Second // for TLS and the HTTP/2 preface

	// New connections of one address: a burst is 100 edges of 8 stripes behind one NAT
	// that all come back, the rate some 3 % of one core in handshakes.
	newPerSecond = 100
	newAtOnce    = 1000

	// maxPerPeer is of connections with one certificate's name: twice the stripes that a
	// session takes, because a new session's come up before the old one's have ended.
	maxPerPeer = 128

	idleTime = 10 * time.Second // a connection without a stream
)

var (
	errCrowd = errors.New("linkrpc: too many TLS handshakes at once: the oldest one of the address that has most is ended")
	errPeers = fmt.Errorf("linkrpc: more than %d connections with one certificate", maxPerPeer)
)

// gate counts connections: those in a TLS handshake by address, those behind it by
// certificate.
type gate struct {
	handshakes, perPeer int
	rate                rate.Limit
	burst               int

	mu      sync.Mutex
	waiting map[net.Conn]*handshake
	under   int // those that go on
	at      map[netip.Addr]*address
	pruneAt int
	peers   map[string]*account
	turn    uint64
}

type handshake struct {
	from netip.Addr
	turn uint64
	out  bool // it gave way
}

type address struct {
	limit   *rate.Limiter
	waiting int
}

func newGate() *gate {
	return &gate{
		handshakes: maxHandshakes, perPeer: maxPerPeer, rate: newPerSecond, burst: newAtOnce,
		waiting: map[net.Conn]*handshake{}, at: map[netip.Addr]*address{}, peers: map[string]*account{},
	}
}

// listener passes on the connections that the gate lets in.
type gateListener struct {
	net.Listener
	gate *gate
}

func (l gateListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.gate.enter(conn, time.Now()) {
			return conn, nil
		}
		conn.Close()
	}
}

// enter notes a connection whose handshake begins, unless its address has had too
// many lately. Where too many are under way at once, one gives way.
func (g *gate) enter(conn net.Conn, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := addressOf(conn)
	a := g.at[from]
	if a == nil {
		g.prune(now)
		a = &address{limit: rate.NewLimiter(g.rate, g.burst)}
		g.at[from] = a
	}
	if !a.limit.AllowN(now, 1) {
		return false
	}
	g.turn++
	g.waiting[conn] = &handshake{from: from, turn: g.turn}
	a.waiting++
	if g.under++; g.under > g.handshakes {
		g.giveWay()
	}
	return true
}

// giveWay ends the oldest handshake of the address that has most.
func (g *gate) giveWay() {
	var most netip.Addr
	n := 0
	for from, a := range g.at {
		if a.waiting > n || a.waiting == n && from.Less(most) {
			most, n = from, a.waiting
		}
	}
	var oldest net.Conn
	for conn, h := range g.waiting {
		if h.from == most && !h.out && (oldest == nil || h.turn < g.waiting[oldest].turn) {
			oldest = conn
		}
	}
	if oldest != nil {
		g.waiting[oldest].out = true
		g.at[most].waiting--
		g.under--
		oldest.Close()
	}
}

// leave is said when a handshake has ended; it returns why, where the gate knows.
func (g *gate) leave(conn net.Conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.waiting[conn]
	delete(g.waiting, conn)
	switch {
	case h == nil:
		return nil
	case h.out:
		return errCrowd
	}
	g.at[h.from].waiting--
	g.under--
	return nil
}

// admit counts a connection with a verified certificate until it is closed.
func (g *gate) admit(conn net.Conn, peer string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.peers[peer]
	if a == nil {
		a = newAccount()
		g.peers[peer] = a
	}
	if a.conns >= g.perPeer {
		return nil, fmt.Errorf("%w: %s", errPeers, peer)
	}
	a.conns++
	return &admitted{Conn: conn, account: a, out: func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if a.conns--; a.conns == 0 {
			delete(g.peers, peer)
		}
	}}, nil
}

// prune forgets addresses that have not come for a while.
func (g *gate) prune(now time.Time) {
	if len(g.at) < g.pruneAt {
		return
	}
	for from, a := range g.at {
		if a.waiting == 0 && a.limit.TokensAt(now) >= float64(g.burst) {
			delete(g.at, from)
		}
	}
	g.pruneAt = max(1024, 2*len(g.at))
}

// addressOf is who is at the other end: an IPv4 address, or the /64 that one
// customer has of IPv6.
func addressOf(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	from := at.Addr().Unmap()
	if from.Is6() {
		if prefix, err := from.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return from
}

// peerOf names the holder of a verified certificate for counting.
func peerOf(identity func(*x509.Certificate) (role, name string, err error), chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return ""
	}
	role, name, err := identity(chain[0])
	if err != nil {
		return ""
	}
	return role + " " + name
}
