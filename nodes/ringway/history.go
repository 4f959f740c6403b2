package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/tests/history"
)

type historyCmd struct {
	Files  []string `arg:"" placeholder:"FILE" help:"Records, JSON lines (package tests/history); one file or several, - for standard input."`
	Window int      `default:"1" help:"Submits that a session at the SMSC may have unanswered (${default})."`
	GiveUp bool     `help:"The SMSC's policy leaves an unanswered submit as it is (unknown: give_up)."`
	// What may make a message fail or expire.
	Refusals  int           `default:"0" help:"Refusals for now after which a message has failed (retry.attempts); 0: never."`
	Skew      time.Duration `default:"0s" help:"How wrong the clocks of hub and edge may be, together."`
	NoGrounds bool          `help:"Do not judge what failed or expired: the records have no deadlines, fates or receipts."`
}

// errBroken: the records were read, and they show a broken promise.
var errBroken = errors.New("ringway: the history breaks its promises; see violations")

func (c *historyCmd) Run(to streams) error {
	if c.Window < 1 {
		return &config.Error{File: "command line", Key: "--window", Problem: fmt.Sprintf("%d is out of range", c.Window), Remedy: "give 1 or more"}
	}
	checker := history.New(history.Options{Window: c.Window, GiveUp: c.GiveUp, Refusals: c.Refusals, Skew: c.Skew, NoGrounds: c.NoGrounds})
	for _, name := range c.Files {
		if err := readHistory(checker, name); err != nil {
			return &config.Error{File: name, Key: "records", Problem: err.Error(), Remedy: "give files of history records"}
		}
	}
	v := checker.Verdict()
	if v.Records == 0 {
		return &config.Error{File: strings.Join(c.Files, " "), Key: "records", Problem: "no records", Remedy: "give files of history records: nothing says whether a promise was kept"}
	}
	out := json.NewEncoder(to.out)
	out.SetIndent("", "  ")
	if err := out.Encode(v); err != nil {
		return fmt.Errorf("ringway: %w", err)
	}
	if !v.OK {
		return errBroken
	}
	return nil
}

func readHistory(c *history.Checker, name string) error {
	if name == "-" {
		return c.Read(os.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.Read(f)
}
