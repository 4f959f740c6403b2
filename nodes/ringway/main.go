// Ringway is the one binary: hub, edge, simulator, demo and operator's commands.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/pki"
)

// version is set by the linker: -X main.version=v1.2.3.
var version string

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitConfig = 2 // the configuration or the command line will not do
)

// cli is the command line. Each command is in its own file.
type cli struct {
	Demo    demoCmd    `cmd:"" help:"Hub, edge and SMSC in one process, with a bad WAN between them."`
	Hub     hubGroup   `cmd:"" help:"Run a hub."`
	Edge    edgeGroup  `cmd:"" help:"Run the edge beside an SMSC."`
	SMSC    smscCmd    `cmd:"" name:"smsc" help:"Run a simulated SMSC with handsets."`
	Config  configCmd  `cmd:"" help:"Check configuration files."`
	Text    textCmd    `cmd:"" help:"Look at texts."`
	PKI     pkiCmd     `cmd:"" name:"pki" help:"Make the link's certificates."`
	Store   storeGroup `cmd:"" help:"Move what a hub has stored."`
	History historyCmd `cmd:"" name:"check-history" help:"Decide from records of what clients, hub, edge and SMSC saw whether the promise was kept."`
	Version bool       `help:"Print the version."`
}

// streams is where a command writes.
type streams struct{ out, err io.Writer }

func main() {
	// A goroutine that returns from an fsync waits for a turn; on one or two
	// cores, for long enough to be seen in a session that stops and waits.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0)))
	}
	os.Exit(run(os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// run is the whole program but for the process: it returns the exit status.
func run(args []string, to streams) (status int) {
	if len(args) == 1 && args[0] == "--version" {
		fmt.Fprintln(to.out, "ringway", versionString())
		return exitOK
	}
	var c cli
	type exited struct{ status int }
	defer func() { // kong ends the process after --help: here it ends run
		switch e := recover().(type) {
		case nil:
		case exited:
			status = e.status
		default:
			panic(e)
		}
	}()
	parser, err := kong.New(&c,
		kong.Name("ringway"),
		kong.Description("Carries short messages between people and handsets over networks that lose and cut."),
		kong.Writers(to.out, to.err),
		kong.Exit(func(status int) { panic(exited{status}) }),
	)
	if err != nil {
		panic(err) // the structures above are wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(to.err, "ringway: %v; see ringway --help\n", err)
		return exitConfig
	}
	if err := ctx.Run(to); err != nil {
		fmt.Fprintln(to.err, err)
		return exitStatus(err)
	}
	return exitOK
}

func exitStatus(err error) int {
	var inConfig *config.Error
	var inFile *pki.FileError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &inConfig), errors.As(err, &inFile):
		return exitConfig
	default:
		return exitFailed
	}
}

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(devel)"
}
