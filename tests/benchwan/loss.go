package main

import (
	"context"
	"errors"
	"flag"
)

type lossOptions struct {
	percent []float64
	runs    int
	role    string
}

func (l *lossOptions) flags(f *flag.FlagSet) {}
func (l *lossOptions) check() error          { return nil }

func measureLoss(ctx context.Context, o options, r *report) error { return errors.New("todo") }
func serveRole(ctx context.Context, o options) error              { return errors.New("todo") }
