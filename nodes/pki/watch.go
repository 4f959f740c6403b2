package pki

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const (
	watchEvery = time.Hour
	warnBefore = 30 * 24 * time.Hour
)

// Watch keeps ringway_certificate_not_after_seconds of each PEM file that is named: when
// the first certificate in it runs out, in seconds since 1970. From 30 days before that on
// it says so in the log once a day, and it says when a file no longer holds a certificate
// (what was read before stays in use). r may be nil. It returns when ctx is done.
func Watch(ctx context.Context, log *zap.Logger, r prometheus.Registerer, files ...string) error {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ringway", Subsystem: "certificate", Name: "not_after_seconds",
		Help: "When the first certificate in the file runs out, in seconds since 1970.",
	}, []string{"file"})
	if r != nil {
		if err := r.Register(gauge); err != nil {
			return err
		}
		defer r.Unregister(gauge)
	}
	said := map[string]string{} // the last complaint of a file
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for _, file := range files {
			if file == "" {
				continue
			}
			notAfter, err := firstNotAfter(file)
			if err == nil {
				gauge.WithLabelValues(file).Set(float64(notAfter.Unix()))
			}
			complaint, fields := complain(notAfter, err, time.Now())
			if complaint != "" && complaint != said[file] {
				log.Warn(complaint, append(fields, zap.String("file", file))...)
			}
			said[file] = complaint
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// complain says what is wrong with a file's certificates, another thing each day.
func complain(notAfter time.Time, err error, now time.Time) (string, []zap.Field) {
	left := notAfter.Sub(now)
	switch {
	case err != nil:
		return "certificate cannot be read; what was read before stays in use", []zap.Field{zap.Error(err)}
	case left <= 0:
		return "certificate has run out: no link comes up any more; make a new one with ringway pki", []zap.Field{zap.Time("not_after", notAfter)}
	case left < warnBefore:
		return fmt.Sprintf("certificate runs out in %d days: make a new one with ringway pki, it is taken up without a restart", left/(24*time.Hour)), []zap.Field{zap.Time("not_after", notAfter)}
	}
	return "", nil
}

// firstNotAfter is when the first of a file's certificates runs out.
func firstNotAfter(file string) (first time.Time, err error) {
	content, err := readFile(file)
	if err != nil {
		return first, err
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return first, &FileError{file, err, "make it with ringway pki"}
		}
		if first.IsZero() || cert.NotAfter.Before(first) {
			first = cert.NotAfter
		}
	}
	if first.IsZero() {
		return first, &FileError{file, errors.New("holds no PEM certificate"), "make it with ringway pki"}
	}
	return first, nil
}
