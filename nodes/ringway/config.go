package main

import (
	"errors"
	"fmt"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/edge"
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
		_, err = loadHub(file)
	} else {
		file = c.Edge
		_, err = loadEdge(file)
	}
	if err == nil {
		fmt.Fprintf(to.out, "%s: good\n", file)
	}
	return err
}

// loadEdge reads an edge's file and asks its SMSC's protocol about it.
func loadEdge(file string) (*config.Edge, error) {
	cfg, err := config.LoadEdge(file)
	if err != nil {
		return nil, err
	}
	return cfg, inFile(file, edge.Check(*cfg))
}

// loadHub reads a hub's file and those of the edges in its process.
func loadHub(file string) (*config.Hub, error) {
	cfg, err := config.LoadHub(file)
	if err != nil {
		return nil, err
	}
	for _, e := range cfg.Edges {
		if e.LocalEdge == nil {
			continue
		}
		if err := inFile(e.Local, edge.Check(*e.LocalEdge)); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

func inFile(file string, err error) error {
	var bad *config.Error
	if errors.As(err, &bad) {
		bad.File = file
	}
	return err
}
