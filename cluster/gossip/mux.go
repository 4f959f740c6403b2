package gossip

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

const (
	packetsWaiting = 256 // of a pool; more are dropped, as a socket would
	maxStreams     = 256 // whose label has not come yet
	labelWithin    = 10 * time.Second
)

// mux lets pools share one port: what comes goes to the pool that its label names, and
// what names none of them is dropped.
type mux struct {
	under memberlist.Transport
	log   *zap.Logger
	ip    net.IP // as others reach it
	port  int

	mu      sync.Mutex
	pools   map[string]*port
	strange map[string]bool // labels that were logged
	ctx     context.Context // until close
	end     context.CancelFunc
	running sync.WaitGroup
	streams chan struct{}
}

// newMux takes a transport over. advertise is the address at which others reach it;
// "": the transport's own.
func newMux(under memberlist.Transport, advertise string, log *zap.Logger) (*mux, error) {
	m := &mux{under: under, log: log, pools: map[string]*port{}, strange: map[string]bool{}, streams: make(chan struct{}, maxStreams)}
	ip, at, err := resolve(advertise)
	if err == nil {
		m.ip, m.port, err = under.FinalAdvertiseAddr(ip, at)
	}
	if err != nil {
		return nil, fmt.Errorf("gossip: the address at which others reach this node: %w; set gossip.advertise", err)
	}
	m.ctx, m.end = context.WithCancel(context.Background())
	m.running.Go(m.route)
	return m, nil
}

func (m *mux) address() string { return net.JoinHostPort(m.ip.String(), strconv.Itoa(m.port)) }

// resolve turns host:port into what memberlist wants; "" into nothing.
func resolve(address string) (ip string, port int, err error) {
	if address == "" {
		return "", 0, nil
	}
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return "", 0, err
	}
	if a.IP == nil || a.IP.IsUnspecified() || a.Port == 0 {
		return "", 0, fmt.Errorf("%s is no address that others could reach", address)
	}
	return a.IP.String(), a.Port, nil
}

func (m *mux) route() {
	for {
		select {
		case p := <-m.under.PacketCh():
			m.packet(p)
		case c := <-m.under.StreamCh():
			select {
			case m.streams <- struct{}{}:
				m.running.Go(func() {
					m.stream(c)
					<-m.streams
				})
			default:
				c.Close()
			}
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *mux) packet(p *memberlist.Packet) {
	buf, label, err := memberlist.RemoveLabelHeaderFromPacket(p.Buf)
	to := m.pool(label)
	if err != nil || to == nil {
		m.stranger(label, p.From)
		return
	}
	p.Buf = buf
	select {
	case to.packets <- p:
	default:
	}
}

func (m *mux) stream(c net.Conn) {
	defer closeAfter(m.ctx, c)() // who is silent does not hold up the end
	if c.SetReadDeadline(time.Now().Add(labelWithin)) != nil {
		c.Close()
		return
	}
	rest, label, err := memberlist.RemoveLabelHeaderFromStream(c)
	if err != nil {
		c.Close()
		return
	}
	to := m.pool(label)
	if to == nil || rest.SetReadDeadline(time.Time{}) != nil {
		m.stranger(label, c.RemoteAddr())
		c.Close()
		return
	}
	select {
	case to.streams <- rest:
	case <-to.ctx.Done():
		c.Close()
	}
}

// closeAfter closes c when ctx ends, until stop is called.
func closeAfter(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}

func (m *mux) pool(label string) *port {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pools[label]
}

// stranger says once for each of some labels that there is no such pool.
func (m *mux) stranger(label string, from net.Addr) {
	m.mu.Lock()
	known := m.strange[label]
	if len(m.strange) < 100 {
		m.strange[label] = true
	}
	full := len(m.strange) >= 100
	m.mu.Unlock()
	if !known && !full {
		m.log.Info("gossip for a pool that this node has not: an edge that it does not know, or gossip.pools is not the same at both ends", zap.String("pool", label), zap.Stringer("from", from))
	}
}

// open makes the port of one pool.
func (m *mux) open(label string) *port {
	p := &port{mux: m, label: label, packets: make(chan *memberlist.Packet, packetsWaiting), streams: make(chan net.Conn)}
	p.ctx, p.end = context.WithCancel(m.ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pools[label] = p
	return p
}

// close ends it all; the pools have shut down before.
func (m *mux) close() error {
	err := m.under.Shutdown() // which may wait for somebody to take what has come
	m.end()
	m.running.Wait()
	return err
}

// port is one pool's share of the transport. Outgoing labels are memberlist's.
type port struct {
	mux     *mux
	label   string
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // until Shutdown
	end     context.CancelFunc
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (p *port) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return p.mux.ip, p.mux.port, nil }

// WriteTo implements memberlist.Transport.
func (p *port) WriteTo(b []byte, addr string) (time.Time, error) { return p.mux.under.WriteTo(b, addr) }

// PacketCh implements memberlist.Transport.
func (p *port) PacketCh() <-chan *memberlist.Packet { return p.packets }

// DialTimeout implements memberlist.Transport. It gives up when the pool ends, and so
// does who waits for the peer's answer then.
func (p *port) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result, 1)
	go func() {
		conn, err := p.mux.under.DialTimeout(addr, timeout)
		dialled <- result{conn, err}
	}()
	select {
	case r := <-dialled:
		if r.err != nil {
			return nil, r.err
		}
		return outgoing{r.conn, closeAfter(p.ctx, r.conn)}, nil
	case <-p.ctx.Done():
		go func() {
			if r := <-dialled; r.conn != nil {
				r.conn.Close()
			}
		}()
		return nil, net.ErrClosed
	}
}

// outgoing is closed when its pool ends.
type outgoing struct {
	net.Conn
	keep func() bool
}

// Close implements net.Conn.
func (o outgoing) Close() error {
	o.keep()
	return o.Conn.Close()
}

// StreamCh implements memberlist.Transport.
func (p *port) StreamCh() <-chan net.Conn { return p.streams }

// Shutdown implements memberlist.Transport.
func (p *port) Shutdown() error {
	p.end()
	p.mux.mu.Lock()
	defer p.mux.mu.Unlock()
	if p.mux.pools[p.label] == p {
		delete(p.mux.pools, p.label)
	}
	return nil
}
