package main

import (
	"errors"
	"time"
)

type smscCmd struct {
	CIMD2    string        `name:"cimd2" placeholder:"ADDR" help:"Serve CIMD2 there."`
	SMPP     string        `name:"smpp" placeholder:"ADDR" help:"Serve SMPP 3.4 there."`
	HTTP     string        `name:"http" placeholder:"ADDR" help:"Serve the handsets' HTTP API there."`
	Latency  time.Duration `default:"1ms" help:"Time the SMSC takes to answer."`
	User     string        `default:"ringway" help:"The account that may log in."`
	Password string        `default:"secret" help:"Its password."`
}

func (c *smscCmd) Run(streams) error {
	return errors.New("ringway smsc: not built into this binary yet")
}
