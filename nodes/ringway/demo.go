package main

import (
	"errors"
	"time"
)

type demoCmd struct {
	Listen   string        `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where the console is (${default})."`
	Protocol string        `default:"cimd2" enum:"cimd2,smpp" help:"What the SMSC speaks: cimd2 or smpp."`
	RTT      time.Duration `name:"rtt" default:"300ms" help:"Round-trip time of the WAN."`
	Jitter   time.Duration `default:"0s" help:"How much the delay varies."`
	Data     string        `placeholder:"DIR" help:"Keep the state there; a temporary folder if absent."`
	Check    bool          `help:"Exchange messages, cut the link and restore it, print the result as JSON, and end."`
}

func (c *demoCmd) Run(streams) error {
	return errors.New("ringway demo: not built into this binary yet")
}
