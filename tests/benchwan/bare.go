package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/simulator"
	"github.com/ringway-im/ringway/nodes/wan"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// bare is a stop-and-wait client with nothing around it: one socket, the
// protocol's machine, one file.
//
//	down: submit ─▶ answer ─▶ append, sync ─▶ next submit
//	up:   deliver ─▶ append, sync ─▶ answer
//
// A receipt is appended when it comes and answered after the next message's
// sync: one sync a message, and no receipt is answered that is not on disk.
type bare struct {
	socket   net.Conn
	reader   *bufio.Reader
	protocol smsc.Protocol
	machine  smsc.Machine
	journal  *os.File
	answered bool
	held     []uint64 // receipts that wait for the next sync
	failed   error
}

// measureBare returns the messages a second of a bare client with a simulator
// of its own, over loopback or, with an RTT given, a relay.
func measureBare(ctx context.Context, o options, direction string, receipts bool, relayed bool, rtt time.Duration) (rate float64, err error) {
	cfg := simulator.Config{Latency: o.latency, Discard: true}
	if o.protocol == "smpp" {
		cfg.SMPP = "127.0.0.1:0"
	} else {
		cfg.CIMD2 = "127.0.0.1:0"
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	address := sim.CIMD2Addr() + sim.SMPPAddr() // one is empty
	if relayed {
		relay, err := wan.New(wan.Config{Target: address, RTT: rtt})
		if err != nil {
			return 0, err
		}
		defer func() { _ = relay.Close() }()
		address = relay.Addr()
	}
	const warmup = 500 * time.Millisecond
	limit := warmup + o.bare + 4*rtt + 20*time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("bare client: not done within %v", limit))
	defer cancel()
	b := &bare{protocol: protocolOf(o.protocol)}
	b.machine = b.protocol.New(smsc.Config{
		User: "bare", Password: "bare", Mode: "transceiver", Window: 1, KeepAlive: time.Hour, ResponseTimeout: time.Hour, LoginTimeout: time.Hour,
	})
	if b.journal, err = os.Create(filepath.Join(o.dir, "bare")); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.journal.Close(), os.Remove(b.journal.Name())) }()
	if b.socket, err = new(net.Dialer).DialContext(ctx, "tcp", address); err != nil {
		return 0, err
	}
	defer func() { _ = b.socket.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = b.socket.Close() }) // out of a read that hangs
	defer stop()
	b.reader = bufio.NewReader(b.socket)
	b.do(smsc.Connected{})
	for b.failed == nil && b.machine.State() != "bound" {
		b.receive()
	}
	if direction == "up" {
		if err := fillUp(ctx, o, sim); err != nil {
			return 0, err
		}
	}
	rate, err = b.measure(o, direction == "up", receipts, warmup+4*rtt)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return rate, err
}

func (b *bare) measure(o options, up, receipts bool, warmup time.Duration) (float64, error) {
	began, counted, counting := time.Now(), 0, false
	for i := 0; b.failed == nil; i++ {
		if up {
			b.answered = false
			for !b.answered && b.failed == nil {
				b.receive()
			}
		} else {
			b.submit(o, i, receipts)
		}
		switch took := time.Since(began); {
		case !counting && took >= warmup:
			began, counting = time.Now(), true
		case counting:
			counted++
			if took >= o.bare {
				return float64(counted) / took.Seconds(), nil
			}
		}
	}
	return 0, fmt.Errorf("bare client: %w", b.failed)
}

// submit sends one message and waits until its answer is on disk.
func (b *bare) submit(o options, i int, receipt bool) {
	coding, data, err := text.Encode(o.texts[i%len(o.texts)])
	if err != nil {
		b.failed = err
		return
	}
	b.answered = false
	b.do(smsc.Submit{Ref: uint64(i), Part: smsc.Part{
		From: smsc.ParseAddress(demo.Number), To: smsc.ParseAddress(number(i % o.recipients)),
		Coding: coding, Class: -1, Data: data, Validity: 24 * time.Hour, Report: receipt,
	}})
	for !b.answered && b.failed == nil {
		b.receive()
	}
	b.sync()
	held := b.held
	b.held = b.held[:0]
	for _, ref := range held {
		b.do(smsc.Accept{Ref: ref})
	}
}

func (b *bare) receive() {
	packet, err := b.protocol.Read(b.reader)
	if err != nil {
		b.fail(err)
		return
	}
	b.do(smsc.Received{Packet: packet})
}

func (b *bare) do(ev smsc.Event) {
	for _, effect := range b.machine.Handle(ev, nil) {
		switch e := effect.(type) {
		case smsc.Write:
			_, err := b.socket.Write(e.Octets)
			b.fail(err)
		case smsc.Answered:
			if e.Outcome.Fate != smsc.Accepted {
				b.fail(fmt.Errorf("submit: %v %s", e.Outcome.Fate, e.Outcome.Code))
			}
			b.answered = true
			b.append()
		case smsc.Reported:
			b.append()
			b.held = append(b.held, e.Ref)
		case smsc.Delivered:
			b.append()
			b.sync()
			b.do(smsc.Accept{Ref: e.Ref})
			b.answered = true
		case smsc.Close:
			b.fail(fmt.Errorf("the session ended: %w", e.Err))
		}
	}
}

var record [250]byte // of the journal: as long as a message with its addresses

func (b *bare) append() {
	_, err := b.journal.Write(record[:])
	b.fail(err)
}

func (b *bare) sync() { b.fail(b.journal.Sync()) }

// fail keeps the first error.
func (b *bare) fail(err error) {
	if b.failed == nil {
		b.failed = err
	}
}
