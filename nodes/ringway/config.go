package main

import (
	"fmt"

	"github.com/ringway-im/ringway/nodes/config"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read a file as hub or edge would, and say what is wrong."`
}

type configCheckCmd struct {
	Hub  string `xor:"file" required:"" placeholder:"FILE" help:"A hub's file (and those of its local edges)."`
	Edge string `xor:"file" required:"" placeholder:"FILE" help:"An edge's file."`
}

func (c *configCheckCmd) Run(to streams) error {
	file := c.Hub
	var err error
	if file != "" {
		_, err = config.LoadHub(file)
	} else {
		file = c.Edge
		_, err = config.LoadEdge(file)
	}
	if err == nil {
		fmt.Fprintf(to.out, "%s: good\n", file)
	}
	return err
}
