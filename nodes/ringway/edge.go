package main

import "errors"

type edgeCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The edge's configuration."`
}

func (c *edgeCmd) Run(streams) error {
	return errors.New("ringway edge: not built into this binary yet")
}
