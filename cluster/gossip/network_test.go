package gossip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// network is a WAN in memory: packets are late and some are lost, streams are late.
type network struct {
	mu      sync.Mutex
	rng     *rand.Rand
	rtt     time.Duration
	loss    float64
	reaches func(from, to string) bool // by address; nil: all
	nodes   map[string]*transport
	sent    int
}

func newNetwork(seed uint64, rtt time.Duration, loss float64) *network {
	return &network{rng: rand.New(rand.NewPCG(seed, 0)), rtt: rtt, loss: loss, nodes: map[string]*transport{}}
}

// oneWay is how long it takes there; lost: it does not arrive.
func (n *network) oneWay(from, to string) (late time.Duration, at *transport, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	late = n.rtt/2 + time.Duration(n.rng.Float64()*0.2*float64(n.rtt/2)) + time.Microsecond
	at = n.nodes[to]
	return late, at, n.rng.Float64() < n.loss || at == nil || n.reaches != nil && !n.reaches(from, to)
}

func (n *network) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// transport is one node's port.
type transport struct {
	net     *network
	addr    net.TCPAddr
	packets chan *memberlist.Packet
	streams chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (n *network) open(ip string) *transport {
	t := &transport{net: n, addr: net.TCPAddr{IP: net.ParseIP(ip), Port: 7946}, packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[t.addr.String()] = t
	return t
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.IP, t.addr.Port, nil
}
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	late, at, lost := t.net.oneWay(t.addr.String(), addr)
	if !lost && !t.ended() {
		p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: &t.addr}
		time.AfterFunc(late, func() {
			p.Timestamp = time.Now()
			select {
			case at.packets <- p:
			default:
			}
		})
	}
	return time.Now(), nil
}

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if t.ended() {
		time.Sleep(timeout)
		return nil, net.ErrClosed
	}
	late, at, lost := t.net.oneWay(t.addr.String(), addr)
	if lost && at != nil { // once more after a second, as TCP does
		time.Sleep(time.Second)
		late, at, lost = t.net.oneWay(t.addr.String(), addr)
	}
	if lost {
		time.Sleep(timeout)
		return nil, errors.New("no connection in time")
	}
	time.Sleep(2 * late)
	here, there := net.Pipe()
	select {
	case at.streams <- slow{there, t.net, &t.addr}:
		return slow{here, t.net, &at.addr}, nil
	case <-at.closed:
		return nil, errors.New("refused")
	case <-time.After(timeout):
		return nil, errors.New("no connection in time")
	}
}

func (t *transport) ended() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// Shutdown is a machine's end as well: nothing says so to the others.
func (t *transport) Shutdown() error {
	t.once.Do(func() {
		close(t.closed)
		t.net.mu.Lock()
		defer t.net.mu.Unlock()
		delete(t.net.nodes, t.addr.String())
	})
	return nil
}

// slow is a stream: what is written takes its time.
type slow struct {
	net.Conn
	net    *network
	remote net.Addr
}

func (s slow) RemoteAddr() net.Addr { return s.remote }

func (s slow) Write(b []byte) (int, error) {
	late, _, _ := s.net.oneWay("", "")
	time.Sleep(late)
	return s.Conn.Write(b)
}

func edgeIP(i int) string { return fmt.Sprintf("10.1.%d.%d", i/250, i%250+1) }
