package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/pki"
)

// folder is a CA with hub-1 and manila-1.
func folder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	for _, err := range []error{pki.Init(dir), pki.Hub(dir, "hub-1", nil), pki.Edge(dir, "manila-1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificates(t *testing.T) {
	dir := folder(t)
	ca, hub, edge := read(t, dir+"/ca.crt"), read(t, dir+"/hub-1.crt"), read(t, dir+"/manila-1.crt")

	years := func(c *x509.Certificate) int { return c.NotAfter.Year() - c.NotBefore.Add(2*time.Hour).Year() }
	if !ca.IsCA || years(ca) != 10 || years(hub) != 2 || years(edge) != 2 {
		t.Errorf("CA %v, years %d, %d, %d; want 10, 2, 2", ca.IsCA, years(ca), years(hub), years(edge))
	}
	if hub.IsCA || edge.IsCA {
		t.Error("a leaf is a CA")
	}
	for _, tt := range []struct {
		cert       *x509.Certificate
		role, name string
		uses       []x509.ExtKeyUsage
	}{
		{hub, pki.RoleHub, "hub-1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}},
		{edge, pki.RoleEdge, "manila-1", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		role, name, err := pki.Identity(tt.cert)
		if err != nil || role != tt.role || name != tt.name {
			t.Errorf("identity %s %s, %v; want %s %s", role, name, err, tt.role, tt.name)
		}
		if len(tt.cert.ExtKeyUsage) != len(tt.uses) {
			t.Errorf("%s: uses %v, want %v", name, tt.cert.ExtKeyUsage, tt.uses)
		}
	}
	if len(hub.IPAddresses) != 1 || !hub.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) || len(hub.DNSNames) != 1 || hub.DNSNames[0] != "localhost" {
		t.Errorf("hub's hosts %v %v", hub.IPAddresses, hub.DNSNames)
	}
	if len(edge.IPAddresses)+len(edge.DNSNames) != 0 {
		t.Errorf("edge's hosts %v %v", edge.IPAddresses, edge.DNSNames)
	}
	for _, name := range []string{"ca", "hub-1", "manila-1"} {
		info, err := os.Stat(filepath.Join(dir, name+".key"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s.key: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestNeverWritesOver(t *testing.T) {
	dir := folder(t)
	before := read(t, dir+"/hub-1.crt")
	for name, err := range map[string]error{"ca": pki.Init(dir), "hub-1": pki.Hub(dir, "hub-1", nil), "manila-1": pki.Edge(dir, "manila-1")} {
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !before.Equal(read(t, dir+"/hub-1.crt")) {
		t.Error("hub-1.crt has changed")
	}
	if err := os.Remove(dir + "/hub-1.crt"); err != nil { // the key alone is kept as well
		t.Fatal(err)
	}
	if err := pki.Hub(dir, "hub-1", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("with a key left: %v", err)
	}
}

func TestRefusedNames(t *testing.T) {
	dir := folder(t)
	for _, name := range []string{"", "Manila", "../x", ".x", "a/b", "ca", strings.Repeat("a", 64)} {
		if err := pki.Edge(dir, name); err == nil || !strings.Contains(err.Error(), "cannot name a certificate") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, host := range []string{"", "host:7443", "a b", "-x"} {
		if err := pki.Hub(dir, "hub-2", []string{host}); err == nil || !strings.Contains(err.Error(), "is no host") {
			t.Errorf("host %q: %v", host, err)
		}
	}
	if err := pki.Edge(t.TempDir(), "manila-2"); err == nil || !strings.Contains(err.Error(), "pki init") {
		t.Errorf("without a CA: %v", err)
	}
}

func TestIdentityRefuses(t *testing.T) {
	for _, uris := range [][]string{
		{},
		{"ringway://hub/a", "ringway://edge/a"},
		{"https://hub/a"},
		{"ringway://root/a"},
		{"ringway://edge/"},
		{"ringway://edge/a/b"},
		{"ringway://edge/A"},
		{"ringway://edge/a?x=1"},
		{"ringway://x@edge/a"},
		{"ringway:hub/a"},
		{"ringway://edge/a#b"},
	} {
		cert := &x509.Certificate{}
		for _, u := range uris {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, parsed)
		}
		if role, name, err := pki.Identity(cert); err == nil {
			t.Errorf("%v is %s %s", uris, role, name)
		}
	}
}

func files(dir, name string) (cert, key, ca string) {
	return filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"), filepath.Join(dir, "ca.crt")
}

// handshake over a pipe; the certificates that each side saw.
func handshake(t *testing.T, server, client *tls.Config) (ofServer, ofClient *x509.Certificate, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	deadline := time.Now().Add(10 * time.Second)
	_, _ = a.SetDeadline(deadline), b.SetDeadline(deadline)
	s, c := tls.Server(a, server), tls.Client(b, client)
	accepted := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		if err != nil {
			a.Close()
		}
		accepted <- err
	}()
	// In TLS 1.3 the client learns from its first read whether it is accepted.
	_, errClient := c.Read(make([]byte, 1))
	if errClient != nil {
		b.Close()
	}
	errServer := <-accepted
	if err := errors.Join(errClient, errServer); err != nil {
		return nil, nil, err
	}
	if s.ConnectionState().DidResume {
		t.Error("a session was resumed: it is not held against the CAs of today")
	}
	if s.ConnectionState().Version != tls.VersionTLS13 {
		t.Error("not TLS 1.3")
	}
	return c.ConnectionState().PeerCertificates[0], s.ConnectionState().PeerCertificates[0], nil
}

func configs(t *testing.T, serverDir, server, clientDir, client, host string) (s, c *tls.Config) {
	t.Helper()
	s, err := pki.ServerTLS(files(serverDir, server))
	if err != nil {
		t.Fatal(err)
	}
	c, err = pki.ClientTLS(files(clientDir, client))
	if err != nil {
		t.Fatal(err)
	}
	c.ServerName = host
	return s, c
}

func TestHandshake(t *testing.T) {
	dir, foreign := folder(t), folder(t)
	tests := []struct {
		name                      string
		serverDir, server         string
		clientDir, client, toHost string
		want                      string // in the error; empty: it succeeds
	}{
		{"by address", dir, "hub-1", dir, "manila-1", "127.0.0.1", ""},
		{"by name", dir, "hub-1", dir, "manila-1", "localhost", ""},
		{"hub to hub", dir, "hub-1", dir, "hub-1", "localhost", ""},
		{"another address", dir, "hub-1", dir, "manila-1", "127.0.0.2", "127.0.0.2"},
		{"another name", dir, "hub-1", dir, "manila-1", "example.net", "example.net"},
		{"a client of another CA", dir, "hub-1", foreign, "manila-1", "localhost", "unknown authority"},
		{"an edge as server", dir, "manila-1", dir, "manila-1", "localhost", "certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := configs(t, tt.serverDir, tt.server, tt.clientDir, tt.client, tt.toHost)
			ofServer, ofClient, err := handshake(t, s, c)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want an error with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ofServer.Subject.CommonName != tt.server || ofClient.Subject.CommonName != tt.client {
				t.Fatalf("met %v and %v", ofServer.Subject, ofClient.Subject)
			}
		})
	}
}

func TestHandshakeRefusesForeignClient(t *testing.T) {
	dir, foreign := folder(t), folder(t)
	s, c := configs(t, dir, "hub-1", foreign, "manila-1", "localhost")
	_, _, ca := files(dir, "")
	trusting, err := pki.ClientTLS(filepath.Join(foreign, "manila-1.crt"), filepath.Join(foreign, "manila-1.key"), ca)
	if err != nil {
		t.Fatal(err)
	}
	c.RootCAs = trusting.RootCAs
	if _, _, err := handshake(t, s, c); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Fatalf("a client of another CA: %v", err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	if _, _, err := handshake(t, s, c); err == nil {
		t.Fatal("a client without a certificate was let in")
	}
	c.MaxVersion, c.MinVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err := handshake(t, s, c); err == nil {
		t.Fatal("TLS 1.2 was let in")
	}
}

// A renewed certificate is used from the next handshake on; a broken one never.
func TestRotation(t *testing.T) {
	dir := folder(t)
	s, c := configs(t, dir, "hub-1", dir, "manila-1", "localhost")
	first, _, err := handshake(t, s, c)
	if err != nil {
		t.Fatal(err)
	}
	renew := func(name string, make func() error) {
		t.Helper()
		for _, f := range []string{name + ".crt", name + ".key"} {
			if err := os.Remove(filepath.Join(dir, f)); err != nil {
				t.Fatal(err)
			}
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Minute) // where the file system's clock is coarse
		if err := os.Chtimes(filepath.Join(dir, name+".crt"), later, later); err != nil {
			t.Fatal(err)
		}
	}
	renew("hub-1", func() error { return pki.Hub(dir, "hub-1", nil) })
	renew("manila-1", func() error { return pki.Edge(dir, "manila-1") })
	second, client, err := handshake(t, s, c)
	if err != nil {
		t.Fatal(err)
	}
	if second.Equal(first) || !second.Equal(read(t, dir+"/hub-1.crt")) {
		t.Error("the hub still shows its old certificate")
	}
	if !client.Equal(read(t, dir+"/manila-1.crt")) {
		t.Error("the edge still shows its old certificate")
	}

	if err := os.WriteFile(dir+"/hub-1.crt", []byte("half a certifi"), 0o600); err != nil {
		t.Fatal(err)
	}
	third, _, err := handshake(t, s, c)
	if err != nil || !third.Equal(second) {
		t.Errorf("with a broken file: %v", err)
	}
}

// The CA changes in three steps, each without a restart: both CAs are trusted,
// certificates of the new one are used, the old one is trusted no more.
func TestRotationOfTheCA(t *testing.T) {
	dir, next := folder(t), folder(t)
	crt, key, ca := files(dir, "hub-1")
	s, err := pki.ServerTLS(crt, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	crt, key, ca = files(dir, "manila-1")
	each, err := pki.EachClientTLS(crt, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	sessions := tls.NewLRUClientSessionCache(4)
	meet := func() (hub, edge *x509.Certificate, err error) {
		c := each()
		c.ServerName, c.ClientSessionCache = "localhost", sessions
		return handshake(t, s, c)
	}
	step := 0
	put := func(name string, from ...string) { // as an operator does: written elsewhere, then renamed
		t.Helper()
		var content []byte
		for _, f := range from {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			content = append(content, b...)
		}
		step++
		later := time.Now().Add(time.Duration(step) * time.Second)
		fresh := filepath.Join(dir, "fresh")
		for _, err := range []error{os.WriteFile(fresh, content, 0o600), os.Chtimes(fresh, later, later), os.Rename(fresh, filepath.Join(dir, name))} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	works := func(when string, hub, edge string) {
		t.Helper()
		ofHub, ofEdge, err := meet()
		if err != nil || !ofHub.Equal(read(t, hub)) || !ofEdge.Equal(read(t, edge)) {
			t.Errorf("%s: %v", when, err)
		}
	}
	oldCA, oldCrt, oldKey := filepath.Join(dir, "old.ca"), filepath.Join(dir, "old.crt"), filepath.Join(dir, "old.key")
	put("old.ca", dir+"/ca.crt")
	put("old.crt", dir+"/manila-1.crt")
	put("old.key", dir+"/manila-1.key")
	put("old.hub", dir+"/hub-1.crt")
	works("before", dir+"/hub-1.crt", dir+"/manila-1.crt")
	put("ca.crt", oldCA, next+"/ca.crt")
	works("both CAs", dir+"/hub-1.crt", dir+"/manila-1.crt")
	put("hub-1.crt", next+"/hub-1.crt")
	works("half of a new pair: the old one serves on", dir+"/old.hub", dir+"/manila-1.crt")
	put("hub-1.key", next+"/hub-1.key")
	works("the hub's is new", next+"/hub-1.crt", dir+"/manila-1.crt")
	put("manila-1.key", next+"/manila-1.key")
	put("manila-1.crt", next+"/manila-1.crt")
	works("the edge's is new", next+"/hub-1.crt", next+"/manila-1.crt")
	put("ca.crt", next+"/ca.crt")
	works("the old CA is gone", next+"/hub-1.crt", next+"/manila-1.crt")
	put("ca.crt", next+"/hub-1.key")
	works("a broken bundle: the last good one stays", next+"/hub-1.crt", next+"/manila-1.crt")
	put("manila-1.key", oldKey)
	put("manila-1.crt", oldCrt)
	if _, _, err := meet(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a certificate of the old CA: %v", err)
	}
}

func TestFileErrors(t *testing.T) {
	dir := folder(t)
	crt, key, ca := files(dir, "hub-1")
	_, edgeKey, _ := files(dir, "manila-1")
	for _, tt := range []struct{ crt, key, ca, file, hint string }{
		{dir + "/gone.crt", key, ca, dir + "/gone.crt", "ringway pki"},
		{crt, dir + "/gone.key", ca, dir + "/gone.key", "ringway pki"},
		{crt, key, dir + "/gone.crt", dir + "/gone.crt", "ringway pki"},
		{crt, edgeKey, ca, crt, "whose key is"},
		{crt, key, key, key, "ringway pki init"},
	} {
		_, err := pki.ServerTLS(tt.crt, tt.key, tt.ca)
		var fileErr *pki.FileError
		if !errors.As(err, &fileErr) || fileErr.File != tt.file || !strings.Contains(err.Error(), tt.hint) {
			t.Errorf("%s %s %s: %v", tt.crt, tt.key, tt.ca, err)
		}
		if _, err := pki.ClientTLS(tt.crt, tt.key, tt.ca); !errors.As(err, &fileErr) {
			t.Errorf("client: %v", err)
		}
	}
}
