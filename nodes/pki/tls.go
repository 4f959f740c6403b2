package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// FileError says which file of a TLS configuration will not do, and what to do.
type FileError struct {
	File string
	Err  error
	Hint string
}

func (e *FileError) Error() string { return fmt.Sprintf("pki: %s: %v; %s", e.File, e.Err, e.Hint) }

func (e *FileError) Unwrap() error { return e.Err }

// ServerTLS is the configuration of who accepts: TLS 1.3, and only clients with a
// certificate of one of the CAs in caFile. All files are looked at again at each
// handshake and read again when they have changed; while new ones cannot be read, the
// last good ones stay in use. Nothing is resumed: each handshake is held against the
// CAs of today. Errors are [*FileError].
func ServerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	own, pool, err := open(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	each := func() *tls.Config {
		return &tls.Config{
			MinVersion:             tls.VersionTLS13,
			GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get(), nil },
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              pool.get(),
			SessionTicketsDisabled: true,
		}
	}
	cfg := each()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return each(), nil }
	return cfg, nil
}

// ClientTLS is the configuration of who dials: TLS 1.3, and only servers with a
// certificate of one of the CAs in caFile for the host that is dialled (ServerName).
// Certificate and key are read again as in [ServerTLS], the CAs are not: who dials more
// than once takes [EachClientTLS]. Errors are [*FileError].
func ClientTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	each, err := EachClientTLS(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return each(), nil
}

// EachClientTLS makes a configuration as [ClientTLS] does for each connection, with what
// the files hold then.
func EachClientTLS(certFile, keyFile, caFile string) (each func() *tls.Config, err error) {
	own, pool, err := open(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return func() *tls.Config {
		return &tls.Config{
			MinVersion:           tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(), nil },
			RootCAs:              pool.get(),
		}
	}, nil
}

func open(certFile, keyFile, caFile string) (*current[*tls.Certificate], *current[*x509.CertPool], error) {
	own := &current[*tls.Certificate]{files: []string{certFile, keyFile}, read: func() (*tls.Certificate, error) { return loadPair(certFile, keyFile) }}
	pool := &current[*x509.CertPool]{files: []string{caFile}, read: func() (*x509.CertPool, error) { return loadPool(caFile) }}
	if err := own.refresh(); err != nil {
		return nil, nil, err
	}
	return own, pool, pool.refresh()
}

// current is what files hold, read again when one of them changes.
type current[T any] struct {
	files []string
	read  func() (T, error)

	mu    sync.Mutex // handshakes run side by side
	seen  []stamp    // nil: nothing was read yet
	value T
}

// stamp changes when a file does.
type stamp struct {
	at   time.Time
	size int64
}

func (c *current[T]) get() T {
	_ = c.refresh() // half of a new pair may be in place yet: the last good one serves on, and Watch tells
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

func (c *current[T]) refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := make([]stamp, len(c.files))
	for i, file := range c.files {
		if info, err := os.Stat(file); err == nil {
			now[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	if slices.Equal(now, c.seen) {
		return nil
	}
	value, err := c.read()
	if err != nil {
		return err
	}
	c.seen, c.value = now, value
	return nil
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &FileError{certFile, err, "it must be a PEM certificate whose key is " + keyFile}
	}
	if expired := pair.Leaf.NotAfter; time.Now().After(expired) {
		return nil, &FileError{certFile, fmt.Errorf("expired on %s", expired.Format(time.DateOnly)), "make a new one with ringway pki"}
	}
	return &pair, nil
}

func loadPool(file string) (*x509.CertPool, error) {
	content, err := readFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, &FileError{file, errors.New("holds no PEM certificate"), "name the ca.crt that ringway pki init made"}
	}
	return pool, nil
}

func readFile(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err == nil {
		return content, nil
	}
	hint := "let the user that runs this read it"
	if errors.Is(err, fs.ErrNotExist) {
		hint = "make it with ringway pki, or correct the path"
	}
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return nil, &FileError{file, err, hint}
}
