package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/simulator"
)

type smscCmd struct {
	CIMD2    string        `name:"cimd2" placeholder:"ADDR" help:"Serve CIMD2 there. Without --cimd2 and --smpp: 127.0.0.1:9971, SMPP on 127.0.0.1:2775, HTTP on 127.0.0.1:9990."`
	SMPP     string        `name:"smpp" placeholder:"ADDR" help:"Serve SMPP 3.4 there."`
	HTTP     string        `name:"http" placeholder:"ADDR" help:"Serve the handsets' HTTP API there."`
	Latency  time.Duration `default:"1ms" help:"Time the SMSC takes for one message (${default})."`
	User     string        `default:"ringway" help:"The account that may log in (${default}); empty: any."`
	Password string        `default:"secret" help:"Its password (${default})."`
}

func (c *smscCmd) Run(to streams) error {
	if c.CIMD2 == "" && c.SMPP == "" {
		c.CIMD2, c.SMPP = "127.0.0.1:9971", "127.0.0.1:2775"
		if c.HTTP == "" {
			c.HTTP = "127.0.0.1:9990"
		}
	}
	for _, address := range []struct{ flag, value string }{{"cimd2", c.CIMD2}, {"smpp", c.SMPP}, {"http", c.HTTP}} {
		if _, _, err := net.SplitHostPort(address.value); address.value != "" && err != nil {
			return &config.Error{
				File: "command line", Key: "--" + address.flag,
				Problem: fmt.Sprintf("%q is no address", address.value), Remedy: "give host:port, 127.0.0.1:2775 say",
			}
		}
	}
	if c.Latency < 0 || c.Latency > time.Hour {
		return &config.Error{
			File: "command line", Key: "--latency",
			Problem: fmt.Sprintf("%v is out of range", c.Latency), Remedy: "give 0s to 1h",
		}
	}
	log, err := newLogger(to.err, "info")
	if err != nil {
		return err
	}
	sim, err := simulator.New(simulator.Config{
		CIMD2: c.CIMD2, SMPP: c.SMPP, HTTP: c.HTTP, Latency: c.Latency, User: c.User, Password: c.Password, Log: log,
	})
	if err != nil {
		return err
	}
	ready(log, zap.String("cimd2", sim.CIMD2Addr()), zap.String("smpp", sim.SMPPAddr()), zap.String("http", sim.HTTPAddr()))
	return serve(log, func(ctx context.Context) error { return sim.Run(ctx) })
}
