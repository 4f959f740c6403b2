package conn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ca is a certificate authority in a folder.
type ca struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{t: t, dir: t.TempDir()}
	c.cert, c.key = c.make("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return c
}

// make writes name.crt and name.key, signed by the CA or by itself.
func (c *ca) make(name string, with *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	with.SerialNumber, with.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	with.NotBefore = time.Now().Add(-time.Hour)
	if with.NotAfter.IsZero() {
		with.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = with, key
	}
	der, err := x509.CreateCertificate(rand.Reader, with, parent, &key.PublicKey, signer)
	if err != nil {
		c.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(c.file(name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert, key
}

func (c *ca) file(name string) string { return filepath.Join(c.dir, name) }

// listen serves TLS with name's certificate: it writes what it reads.
func (c *ca) listen(name string, asks tls.ClientAuthType) string {
	c.t.Helper()
	own, err := tls.LoadX509KeyPair(c.file(name+".crt"), c.file(name+".key"))
	if err != nil {
		c.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: asks, ClientCAs: pool})
	if err != nil {
		c.t.Fatal(err)
	}
	return echo(c.t, l, "")
}

// echo serves l: it greets, then writes what it reads.
func echo(t *testing.T, l net.Listener, greeting string) string {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			s, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer s.Close()
				if _, err := io.WriteString(s, greeting); err == nil {
					_, _ = io.Copy(s, s)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// meet opens a connection, says one line and returns what came of it.
func meet(t *testing.T, address string, with *TLS) (answer any, err error) {
	t.Helper()
	dial := Dialer(address)
	if with != nil {
		dial = TLSDialer(address, *with)
	}
	posted := make(chan any, 10)
	Open(Config{Dial: dial, Read: line, Post: func(m any) { posted <- m }})
	for {
		select {
		case m := <-posted:
			switch m := m.(type) {
			case Opened:
				m.Conn.Write([]byte("hi\n"))
				m.Conn.Flush()
			case Packet:
				answer = m.Packet
				m.Conn.Close()
			case Closed:
				return answer, m.Err
			}
		case <-time.After(20 * time.Second):
			t.Fatal("nothing came of it within 20 s")
		}
	}
}

func TestTLS(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	local := []net.IP{net.IPv4(127, 0, 0, 1)}
	ours.make("smsc", &x509.Certificate{IPAddresses: local})
	ours.make("named", &x509.Certificate{DNSNames: []string{"smsc.example.net"}})
	ours.make("old", &x509.Certificate{IPAddresses: local, NotAfter: time.Now().Add(-time.Minute)})
	ours.make("edge", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	theirs.make("edge", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	anyone, strict := ours.listen("smsc", tls.NoClientCert), ours.listen("smsc", tls.RequireAndVerifyClientCert)
	right := TLS{CA: ours.file("ca.crt")}
	signed := func(by *ca) *TLS {
		return &TLS{CA: ours.file("ca.crt"), Cert: by.file("edge.crt"), Key: by.file("edge.key")}
	}
	for _, c := range []struct {
		name    string
		address string
		with    *TLS
		remedy  string // "": it works
	}{
		{"right", anyone, &right, ""},
		{"wrong CA", anyone, &TLS{CA: theirs.file("ca.crt")}, "tls.ca"},
		{"the system's CAs", anyone, &TLS{}, "tls.ca"},
		{"wrong name", ours.listen("named", tls.NoClientCert), &right, "tls.server_name"},
		{"right name", ours.listen("named", tls.NoClientCert), &TLS{CA: right.CA, ServerName: "smsc.example.net"}, ""},
		{"expired", ours.listen("old", tls.NoClientCert), &right, "ask its operator"},
		{"client certificate", strict, signed(ours), ""},
		{"client certificate missing", strict, &right, "tls.cert"},
		{"client certificate of another CA", strict, signed(theirs), "tls.cert"},
		{"no TLS there", echo(t, plain, "CIMD2-A ConnectionInfo\n"), &right, "does not speak TLS"},
		{"file missing", anyone, &TLS{CA: ours.file("none.crt")}, "mend the file"},
		{"nobody there", "127.0.0.1:1", &right, "line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := meet(t, c.address, c.with)
			remedy := TLSRemedy(err)
			switch {
			case c.remedy == "":
				if answer != "hi" || remedy != "" || !errors.Is(err, ErrClosed) {
					t.Errorf("answer %v, %v, remedy %q", answer, err, remedy)
				}
			case c.remedy == "line":
				if err == nil || remedy != "" {
					t.Errorf("%v, remedy %q: it is a line that broke", err, remedy)
				}
			case answer != nil || !strings.Contains(remedy, c.remedy):
				t.Errorf("answer %v, %v, remedy %q, want %q", answer, err, remedy, c.remedy)
			}
		})
	}
}

// A certificate that is renewed counts from the next connection on.
func TestTLSFilesAreReadAgain(t *testing.T) {
	ours := newCA(t)
	ours.make("smsc", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	address := ours.listen("smsc", tls.NoClientCert)
	with := TLS{CA: filepath.Join(t.TempDir(), "ca.crt")}
	dial := TLSDialer(address, with)
	if _, err := dial(t.Context()); TLSRemedy(err) == "" {
		t.Fatalf("without the file: %v", err)
	}
	content, err := os.ReadFile(ours.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(with.CA, content, 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	socket.Close()
}

func TestTLSConfigSaysWhichFile(t *testing.T) {
	ours, other := newCA(t), newCA(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, with := range map[string]TLS{
		"ca":   {CA: empty},
		"cert": {Cert: ours.file("ca.crt"), Key: other.file("ca.key")},
		"key":  {Cert: ours.file("ca.crt")},
	} {
		_, err := with.Config("smsc.example.net:2775")
		if e := (*TLSError)(nil); !errors.As(err, &e) || e.Key != want {
			t.Errorf("%+v: %v, want a fault of %s", with, err, want)
		}
	}
	if cfg, err := (TLS{}).Config("smsc.example.net:2775"); err != nil || cfg.ServerName != "smsc.example.net" {
		t.Errorf("%v, %v", cfg, err)
	}
}
