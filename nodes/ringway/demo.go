package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
)

type demoCmd struct {
	Listen   string        `placeholder:"ADDR" help:"Where the page and the API are (127.0.0.1:8080; with --check any free port)."`
	Protocol string        `default:"cimd2" enum:"cimd2,smpp" help:"What the SMSC speaks: cimd2 or smpp."`
	RTT      time.Duration `name:"rtt" default:"300ms" help:"Round-trip time of the WAN (${default})."`
	Jitter   time.Duration `default:"0s" help:"How much the delay varies."`
	Data     string        `placeholder:"DIR" help:"Keep the state there; a temporary folder if absent."`
	Check    bool          `help:"Exchange messages, cut the link and restore it, print the result as JSON, and end within 20 s."`
}

// Run shows the demo until a signal, or checks it.
func (c *demoCmd) Run(to streams) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	dir := c.Data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "ringway-demo-"); err != nil {
			return fmt.Errorf("ringway demo: %w; name a folder with --data", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ringway demo: --data: %w", err)
	}
	level := "info"
	if c.Check { // it is short, and its result says what was
		level = "error"
	}
	log, err := newLogger(to.err, level)
	if err != nil {
		return err
	}
	cfg := demo.RigConfig{Dir: dir, Protocol: c.Protocol, RTT: c.RTT, Jitter: c.Jitter, Log: log}
	return serve(log, func(ctx context.Context) error {
		if c.Check {
			return check(ctx, cfg, listener, to)
		}
		return c.show(ctx, cfg, listener, to)
	})
}

func (c *demoCmd) validate() error {
	limit := 10 * time.Second
	if c.Check {
		limit = time.Second // more cannot be cut, restored and drained in time
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"rtt", c.RTT}, {"jitter", c.Jitter}} {
		if d.value < 0 || d.value > limit {
			return &config.Error{
				File: "command line", Key: "--" + d.flag,
				Problem: fmt.Sprintf("%v is out of range", d.value), Remedy: fmt.Sprintf("give 0s to %v", limit),
			}
		}
	}
	if _, _, err := net.SplitHostPort(c.Listen); c.Listen != "" && err != nil {
		return &config.Error{
			File: "command line", Key: "--listen",
			Problem: fmt.Sprintf("%q is no address", c.Listen), Remedy: "give host:port, 127.0.0.1:8080 say",
		}
	}
	return nil
}

func (c *demoCmd) listen() (net.Listener, error) {
	address := c.Listen
	if address == "" && c.Check {
		address = "127.0.0.1:0"
	} else if address == "" {
		address = "127.0.0.1:8080"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ringway demo: %w; choose another port: ringway demo --listen 127.0.0.1:8081", err)
	}
	return l, nil
}

func (c *demoCmd) show(ctx context.Context, cfg demo.RigConfig, listener net.Listener, to streams) error {
	d, err := demo.New(ctx, cfg)
	if err != nil {
		return err
	}
	ready(cfg.Log, zap.Stringer("http", listener.Addr()))
	c.welcome(to, listener.Addr())
	err = d.Serve(ctx, listener)
	fmt.Fprintln(to.out, "Stopping.")
	return errors.Join(err, d.Close())
}

func (c *demoCmd) welcome(to streams, addr net.Addr) {
	var people []string
	for _, u := range demo.Users {
		people = append(people, fmt.Sprintf("%s (password %s)", u.Name, u.Password))
	}
	state := "Nothing is kept; --data DIR keeps the state."
	if c.Data != "" {
		state = fmt.Sprintf("The state is kept in %s.", c.Data)
	}
	fmt.Fprintf(to.out, `
  Ringway demo: an SMSC (%s) with handsets, %v away from its hub. Open

      http://%s/

  Sign in as %s.
  Write to %s and answer from the handset. Pour traffic.
  Cut the link, go on writing at both ends, restore it: nothing is lost.
  %s Stop with ^C.
  The log goes to standard error: 2>demo.log keeps it off the screen.

`, strings.ToUpper(c.Protocol), c.RTT, addr, strings.Join(people, " or "), demo.Handsets[0], state)
}

// check prints the result, whatever it is; what is wrong goes to stderr.
func check(ctx context.Context, cfg demo.RigConfig, listener net.Listener, to streams) error {
	r, err := demo.Check(ctx, cfg, listener)
	out, jsonErr := json.Marshal(r)
	fmt.Fprintf(to.out, "%s\n", out)
	for _, line := range r.Complaints {
		cfg.Log.Error(line)
	}
	return errors.Join(err, jsonErr, r.Err())
}
