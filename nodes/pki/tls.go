package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
// certificate of the CA. Certificate and key are looked at again at each handshake
// and read again when they have changed; while new ones cannot be read, the last
// good ones stay in use. A changed CA needs a restart. Errors are [*FileError].
func ServerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	own, pool, err := open(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get(), nil },
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      pool,
	}, nil
}

// ClientTLS is the configuration of who dials: TLS 1.3, and only servers with a
// certificate of the CA for the host that is dialled (ServerName). Certificate and
// key are read again as in [ServerTLS]. Errors are [*FileError].
func ClientTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	own, pool, err := open(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(), nil },
		RootCAs:              pool,
	}, nil
}

func open(certFile, keyFile, caFile string) (*pair, *x509.CertPool, error) {
	own := &pair{certFile: certFile, keyFile: keyFile}
	if err := own.refresh(); err != nil {
		return nil, nil, err
	}
	pool, err := loadPool(caFile)
	return own, pool, err
}

// pair is a certificate with its key as last read, read again when a file changes.
type pair struct {
	certFile, keyFile string

	mu   sync.Mutex // handshakes run side by side
	seen [2]stamp
	cert *tls.Certificate
}

// stamp changes when a file does.
type stamp struct {
	at   time.Time
	size int64
}

func (p *pair) get() *tls.Certificate {
	_ = p.refresh() // half of a new pair may be in place yet: the last good one serves on
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cert
}

func (p *pair) refresh() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var now [2]stamp
	for i, file := range []string{p.certFile, p.keyFile} {
		if info, err := os.Stat(file); err == nil {
			now[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	if p.cert != nil && now == p.seen {
		return nil
	}
	cert, err := loadPair(p.certFile, p.keyFile)
	if err != nil {
		return err
	}
	p.seen, p.cert = now, cert
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
