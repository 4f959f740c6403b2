package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// stopLimit is how long a command may take to stop after a signal.
const stopLimit = 10 * time.Second

// newLogger logs JSON lines, one an entry: level, ts, msg and fields. The level
// is one of debug, info, warn and error, as config checks it.
func newLogger(to io.Writer, level string) (*zap.Logger, error) {
	at, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("ringway: log level: %w", err)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.Lock(zapcore.AddSync(to)), at)), nil
}

// ready says that the journal is open and the command listens; fields say where.
func ready(log *zap.Logger, fields ...zap.Field) {
	log.Info("ready", fields...)
}

// serve runs a long-running command until it ends by itself or SIGTERM or SIGINT
// asks it to. work must return soon after its context is done; one that takes
// longer than the stop limit is left behind with an error. Being asked to stop is
// no error.
func serve(log *zap.Logger, work func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return runUntil(ctx, log, stopLimit, work)
}

func runUntil(ctx context.Context, log *zap.Logger, limit time.Duration, work func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		log.Info("stopping")
		select {
		case err = <-done:
		case <-time.After(limit):
			return fmt.Errorf("ringway: not stopped within %v of the signal; what is on disk is complete", limit)
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}
