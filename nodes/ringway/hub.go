package main

import "errors"

type hubCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The hub's configuration."`
}

func (c *hubCmd) Run(streams) error {
	return errors.New("ringway hub: not built into this binary yet")
}
