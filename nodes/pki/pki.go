// Package pki makes and uses the link's private certificates.
//
// One CA signs hubs and edges. A certificate says who its holder is in a URI
// SAN, ringway://hub/NAME or ringway://edge/ID, and in nothing else: an edge's
// can only be a client and touches only its own rings, a hub's is server and
// client. Keys are ECDSA P-256. The CA lives ten years, the others two; who runs
// on a certificate sees a renewed file at the next handshake (see tls.go).
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Roles of a certificate.
const (
	RoleHub  = "hub"
	RoleEdge = "edge"
)

const (
	caYears   = 10
	leafYears = 2
	skew      = time.Hour // a clock may be behind by this much
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Init makes a CA: dir/ca.crt and dir/ca.key. It makes the folder too.
func Init(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	template, err := template("Ringway link CA", caYears)
	if err != nil {
		return err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return issue(dir, "ca", template, nil)
}

// Hub makes dir/name.crt and dir/name.key, valid for the hosts (names or
// addresses; 127.0.0.1 and localhost if none), signed by the CA in dir.
func Hub(dir, name string, hosts []string) error {
	if len(hosts) == 0 {
		hosts = []string{"127.0.0.1", "localhost"}
	}
	return leaf(dir, RoleHub, name, hosts, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// Edge makes dir/id.crt and dir/id.key, signed by the CA in dir.
func Edge(dir, id string) error {
	return leaf(dir, RoleEdge, id, nil, x509.ExtKeyUsageClientAuth)
}

// Identity says whose certificate it is: [RoleHub] or [RoleEdge], and the name.
// It trusts the certificate: verify it first, as a TLS handshake does.
func Identity(cert *x509.Certificate) (role, name string, err error) {
	if len(cert.URIs) != 1 {
		return "", "", fmt.Errorf("pki: certificate %s has %d URI SANs, one must name its role; make it with ringway pki", cert.SerialNumber, len(cert.URIs))
	}
	uri := cert.URIs[0]
	role, name = uri.Host, strings.TrimPrefix(uri.Path, "/")
	if role != RoleHub && role != RoleEdge || !validName.MatchString(name) || uri.String() != identity(role, name).String() {
		return "", "", fmt.Errorf("pki: certificate %s is of %q, neither ringway://hub/NAME nor ringway://edge/ID", cert.SerialNumber, uri)
	}
	return role, name, nil
}

func identity(role, name string) *url.URL {
	return &url.URL{Scheme: "ringway", Host: role, Path: "/" + name}
}

func template(name string, years int) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("pki: serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.AddDate(years, 0, 0),
	}, nil
}

func leaf(dir, role, name string, hosts []string, usage ...x509.ExtKeyUsage) error {
	if !validName.MatchString(name) || name == "ca" {
		return fmt.Errorf("pki: %q cannot name a certificate; use at most 63 of a-z, 0-9, dot, underscore and hyphen, a letter or digit first, and not ca", name)
	}
	template, err := template(name, leafYears)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usage
	template.URIs = []*url.URL{identity(role, name)}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if validHost.MatchString(host) {
			template.DNSNames = append(template.DNSNames, host)
		} else {
			return fmt.Errorf("pki: %q is no host; give a name or an IP address, without a port", host)
		}
	}
	ca, err := authority(dir)
	if err != nil {
		return err
	}
	return issue(dir, name, template, ca)
}

var validHost = regexp.MustCompile(`^(\*\.)?[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*$`)

// issuer is a CA that can sign.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func authority(dir string) (*issuer, error) {
	pair, err := loadPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("%w (is there a CA in %s? ringway pki init makes one)", err, dir)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("pki: %s is no CA of ringway pki init", filepath.Join(dir, "ca.crt"))
	}
	return &issuer{pair.Leaf, key}, nil
}

// issue writes dir/name.crt and dir/name.key. Without a CA it signs itself.
func issue(dir, name string, template *x509.Certificate, ca *issuer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("pki: key: %w", err)
	}
	if ca == nil {
		ca = &issuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return fmt.Errorf("pki: certificate of %s: %w", name, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("pki: key of %s: %w", name, err)
	}
	crtFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	if _, err := os.Lstat(crtFile); err == nil { // before the key is written
		return exists(crtFile)
	}
	if err := create(keyFile, 0o600, "PRIVATE KEY", pkcs8); err != nil {
		return err
	}
	return create(crtFile, 0o644, "CERTIFICATE", der)
}

// create never writes over a file.
func create(file string, mode fs.FileMode, kind string, der []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return exists(file)
	}
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("pki: writing %s: %w", file, err)
	}
	return nil
}

func exists(file string) error {
	return fmt.Errorf("pki: %s %w; it is never written over: move it away first, or take another folder", file, fs.ErrExist)
}
