package demo

import (
	"context"
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
// the hub's side of the WAN to the rig's SMSC at the other, by an account of its own.
// Its relay has the settings of the link's, is cut with it, and has no bandwidth that
// the two would share.
type direct struct {
	wan      *wan.Relay
	protocol smsc.Protocol
	log      *zap.Logger
	handset  *simulator.Handset // that it sends to

	pouring func() bool
	last    atomic.Int64 // when the handset got the last text, Unix nanoseconds
	next    uint64
	parts   []smsc.Part // of the text under way
}

func newDirect(rig *Rig, pouring func() bool) (d *direct, err error) {
	d = &direct{protocol: cimd2.Protocol, log: rig.cfg.Log.Named("direct"), pouring: pouring}
	if rig.cfg.Protocol == smpp.Protocol.Name {
		d.protocol = smpp.Protocol
	}
	if d.handset, err = rig.SMSC.Handset(directHandset); err == nil {
		d.wan, err = wan.New(wan.Config{Target: rig.SMSCAddr(), RTT: rig.cfg.RTT, Jitter: rig.cfg.Jitter})
	}
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return d, nil
}

func (d *direct) close() error { return d.wan.Close() }

// texts that have reached its handset, and when the last did.
func (d *direct) texts() (n uint64, last time.Time) {
	count, _ := d.handset.Received()
	if nanos := d.last.Load(); nanos != 0 {
		last = time.Unix(0, nanos)
	}
	return uint64(count), last
}

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
		User: directUser, Password: smscWord, Mode: "transmitter", Window: 1,
		KeepAlive: 30 * time.Second, ResponseTimeout: wait, LoginTimeout: wait, LogoutTimeout: time.Second,
	})
	posted := make(chan any, 128) // more than the connection's window: Post must not block
	due, gone := make(chan smsc.Timer), make(chan struct{})
	defer close(gone)
	timers := map[string]*time.Timer{}
	c := conn.Open(conn.Config{Dial: conn.Dialer(d.wan.Addr()), Read: d.protocol.Reader(), Post: func(m any) { posted <- m }})
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
