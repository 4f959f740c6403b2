package demo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/simulator"
	"github.com/ringway-im/ringway/nodes/wan"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/conn"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

const (
	directHandset = "+639179999999"
	directRedial  = 500 * time.Millisecond
)

// direct is how it is done without an edge: one session with stop-and-wait from
// the hub's side of the WAN to an SMSC at the other. Its SMSC is a second one of
// the same kind: the sessions of one account share what handsets send, and this
// one would take texts that are for the edge.
type direct struct {
	smsc     *simulator.Simulator
	wan      *wan.Relay
	protocol smsc.Protocol
	log      *zap.Logger

	pouring func() bool
	count   atomic.Uint64 // texts that reached the handset
	last    atomic.Int64  // when the last did, Unix nanoseconds
	next    uint64
	parts   []smsc.Part // of the text under way
}

func newDirect(cfg RigConfig, pouring func() bool) (d *direct, err error) {
	d = &direct{protocol: cimd2.Protocol, log: cfg.Log.Named("direct"), pouring: pouring}
	sim := simulator.Config{User: smscUser, Password: smscWord, Latency: cfg.Latency, Discard: true, Log: cfg.Log.Named("direct")}
	if cfg.Protocol == smpp.Protocol.Name {
		d.protocol, sim.SMPP = smpp.Protocol, "127.0.0.1:0"
	} else {
		sim.CIMD2 = "127.0.0.1:0"
	}
	if d.smsc, err = simulator.New(sim); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	d.smsc.OnDelivered(func(_, _, _ string) {
		d.count.Add(1)
		d.last.Store(time.Now().UnixNano())
	})
	target := d.smsc.CIMD2Addr() + d.smsc.SMPPAddr() // one of them is empty
	if d.wan, err = wan.New(wan.Config{Target: target, RTT: cfg.RTT, Jitter: cfg.Jitter}); err != nil {
		return nil, errors.Join(fmt.Errorf("demo: %w", err), d.smsc.Close())
	}
	return d, nil
}

func (d *direct) close() error { return errors.Join(d.wan.Close(), d.smsc.Close()) }

// run logs in again and again until ctx is done.
func (d *direct) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.session(ctx)
		if ctx.Err() != nil {
			return
		}
		d.log.Info("the direct session ended", zap.Error(err))
		select {
		case <-ctx.Done():
		case <-time.After(directRedial):
		}
	}
}

// session is one login, until it breaks or ctx is done. This goroutine owns the machine.
func (d *direct) session(ctx context.Context) error {
	const wait = 10 * time.Second
	machine := d.protocol.New(smsc.Config{
		User: smscUser, Password: smscWord, Mode: "transmitter", Window: 1,
		KeepAlive: 30 * time.Second, ResponseTimeout: wait, LoginTimeout: wait, LogoutTimeout: time.Second,
	})
	posted := make(chan any, 128) // more than the connection's window: Post must not block
	due, gone := make(chan smsc.Timer), make(chan struct{})
	defer close(gone)
	timers := map[string]*time.Timer{}
	c := conn.Open(conn.Config{Dial: conn.Dialer(d.wan.Addr()), Read: d.protocol.Read, Post: func(m any) { posted <- m }})
	handle := func(ev smsc.Event) {
		for _, effect := range machine.Handle(ev, nil) {
			switch e := effect.(type) {
			case smsc.Write:
				c.Write(e.Octets)
			case smsc.SetTimer:
				if old := timers[e.Timer.Name]; old != nil {
					old.Stop()
				}
				timers[e.Timer.Name] = time.AfterFunc(e.After, func() {
					select {
					case due <- e.Timer:
					case <-gone:
					}
				})
			case smsc.StopTimer:
				if old := timers[e.Name]; old != nil {
					old.Stop()
				}
			case smsc.Close:
				c.Close()
			}
		}
		c.Flush()
	}
	look := time.NewTicker(100 * time.Millisecond) // for a pour that begins
	defer look.Stop()
	stop := ctx.Done()
	for {
		if machine.Ready() > 0 && d.pouring() {
			handle(smsc.Submit{Part: d.part()})
		}
		select {
		case m := <-posted:
			switch m := m.(type) {
			case conn.Opened:
				handle(smsc.Connected{})
			case conn.Packet:
				c.Taken()
				handle(smsc.Received{Packet: m.Packet})
			case conn.Garbled:
				c.Taken()
				handle(smsc.Garbled{Err: m.Err})
			case conn.Closed:
				handle(smsc.Disconnected{Err: m.Err})
				return m.Err
			}
		case t := <-due:
			handle(smsc.Due{Timer: t})
		case <-look.C:
		case <-stop:
			stop = nil
			c.Close()
		}
	}
}

// part is the next to submit; long texts take several.
func (d *direct) part() smsc.Part {
	for len(d.parts) == 0 {
		d.next++
		coding, data, err := text.Encode(textNumber(d.next))
		if err != nil {
			continue
		}
		pieces, _ := text.Split(coding, data, text.Reference{Number: uint16(d.next)})
		for _, p := range pieces {
			d.parts = append(d.parts, smsc.Part{
				From: smsc.ParseAddress(Number), To: smsc.ParseAddress(directHandset),
				Coding: coding, Class: -1, UDH: p.UDH, Data: p.Data, Validity: 24 * time.Hour,
			})
		}
	}
	p := d.parts[0]
	d.parts = d.parts[1:]
	return p
}
