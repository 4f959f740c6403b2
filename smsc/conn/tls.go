package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// TLS names the files (PEM) of a session over TLS.
type TLS struct {
	CA         string // of the SMSC's certificate; empty: those that the system trusts
	Cert, Key  string // our own, where the SMSC asks for one; both or none
	ServerName string // that the SMSC's certificate must be for; empty: the host that is dialled
}

// TLSError is a file that will not do.
type TLSError struct {
	Key string // ca, cert or key
	Err error
}

func (e *TLSError) Error() string { return fmt.Sprintf("conn: tls.%s: %v", e.Key, e.Err) }

func (e *TLSError) Unwrap() error { return e.Err }

// Config reads the files. Errors are [*TLSError].
func (t TLS) Config(address string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("conn: %w", err)
		}
		cfg.ServerName = host
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, &TLSError{"ca", err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &TLSError{"ca", fmt.Errorf("%s holds no certificate", t.CA)}
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
		return cfg, nil
	case t.Cert == "":
		return nil, &TLSError{"cert", errors.New("missing beside key")}
	case t.Key == "":
		return nil, &TLSError{"key", errors.New("missing beside cert")}
	}
	for key, file := range map[string]string{"cert": t.Cert, "key": t.Key} {
		if _, err := os.Stat(file); err != nil {
			return nil, &TLSError{key, err}
		}
	}
	own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, &TLSError{"cert", err}
	}
	cfg.Certificates = []tls.Certificate{own}
	return cfg, nil
}

// TLSDialer is Dialer over TLS (1.2 or newer). The files are read at each dial,
// so that new ones count from the next connection on.
func TLSDialer(address string, t TLS) func(ctx context.Context) (net.Conn, error) {
	dial := Dialer(address)
	return func(ctx context.Context) (net.Conn, error) {
		cfg, err := t.Config(address)
		if err != nil {
			return nil, err
		}
		plain, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		socket := tls.Client(plain, cfg)
		if err := socket.HandshakeContext(ctx); err != nil {
			_ = plain.Close()
			return nil, fmt.Errorf("TLS with %s as %s: %w", address, cfg.ServerName, err)
		}
		return socket, nil
	}
}

// TLSRemedy says what a person has to do about an error of a connection that no
// repetition mends; "": it is none of those, but a line that broke.
func TLSRemedy(err error) string {
	var (
		file      *TLSError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		network   *net.OpError
	)
	switch {
	case errors.As(err, &file):
		return "mend the file that tls names"
	case errors.As(err, &host):
		return "set tls.server_name to a name that the SMSC's certificate is for"
	case errors.As(err, &authority):
		return "set tls.ca to the CA that signed the SMSC's certificate"
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "the SMSC's certificate will not do: ask its operator"
	case errors.As(err, &record):
		return "the SMSC does not speak TLS at this port: use its TLS port, or remove tls"
	case errors.As(err, &network) && network.Op == "remote error": // an alert of TLS (RFC 8446 §6)
		return "the SMSC refuses our side of TLS: set tls.cert and tls.key to a certificate that it accepts"
	}
	return ""
}
