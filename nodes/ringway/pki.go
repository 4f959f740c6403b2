package main

import (
	"fmt"
	"path/filepath"

	"github.com/ringway-im/ringway/nodes/pki"
)

type pkiCmd struct {
	Init pkiInitCmd `cmd:"" help:"Make a private CA: DIR/ca.crt, DIR/ca.key."`
	Hub  pkiHubCmd  `cmd:"" help:"Make a hub's certificate: DIR/NAME.crt, DIR/NAME.key."`
	Edge pkiEdgeCmd `cmd:"" help:"Make an edge's certificate: DIR/ID.crt, DIR/ID.key."`
}

type pkiInitCmd struct {
	Dir string `arg:"" help:"Folder of the CA; made if absent."`
}

type pkiHubCmd struct {
	Dir  string   `arg:"" help:"Folder of the CA."`
	Name string   `arg:"" help:"The hub's name."`
	Host []string `placeholder:"HOST" help:"Name or address that edges dial; repeat for more. 127.0.0.1 and localhost if none."`
}

type pkiEdgeCmd struct {
	Dir string `arg:"" help:"Folder of the CA."`
	ID  string `arg:"" name:"id" help:"The edge's id, as in its configuration."`
}

func (c *pkiInitCmd) Run(to streams) error { return made(to, c.Dir, "ca", pki.Init(c.Dir)) }

func (c *pkiHubCmd) Run(to streams) error {
	return made(to, c.Dir, c.Name, pki.Hub(c.Dir, c.Name, c.Host))
}

func (c *pkiEdgeCmd) Run(to streams) error { return made(to, c.Dir, c.ID, pki.Edge(c.Dir, c.ID)) }

func made(to streams, dir, name string, err error) error {
	if err == nil {
		fmt.Fprintf(to.out, "%s.crt\n%[1]s.key\n", filepath.Join(dir, name))
	}
	return err
}
