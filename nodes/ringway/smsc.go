package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/simulator"
	"github.com/ringway-im/ringway/smsc"
)

type smscCmd struct {
	CIMD2   string        `name:"cimd2" placeholder:"ADDR" help:"Serve CIMD2 there. Without --cimd2 and --smpp: 127.0.0.1:9971, SMPP on 127.0.0.1:2775, HTTP on 127.0.0.1:9990."`
	SMPP    string        `name:"smpp" placeholder:"ADDR" help:"Serve SMPP 3.4 there."`
	HTTP    string        `name:"http" placeholder:"ADDR" help:"Serve the handsets' HTTP API there."`
	TLSCert string        `name:"tls-cert" placeholder:"FILE" help:"Serve both by TLS with this certificate."`
	TLSKey  string        `name:"tls-key" placeholder:"FILE" help:"The certificate's key."`
	TLSCA   string        `name:"tls-ca" placeholder:"FILE" help:"Only ESMEs with a certificate of this CA."`
	Latency time.Duration `default:"1ms" help:"Time the SMSC takes for one message (${default})."`

	User        string   `default:"ringway" help:"The account that may log in (${default}); empty: any."`
	Password    string   `default:"secret" help:"Its password (${default})."`
	Account     []string `sep:"none" placeholder:"USER:PASSWORD[:NUMBER,...]" help:"A further account; what handsets send to numbers that begin so is its."`
	MaxSessions int      `placeholder:"N" help:"Refuse logins beyond so many; 0: no limit."`
	Sharing     string   `enum:"all,first,last" default:"all" help:"Which of an account's sessions gets what comes: all that have room (the default), the first, the last."`
	Window      int      `placeholder:"N" default:"1" help:"Delivers and receipts that a session may have unanswered (${default})."`
	Submits     int      `name:"submit-window" placeholder:"N" help:"Submits that a session may have unanswered; more are throttled, and CIMD2 refuses a login that asks for more. 0: what the protocol allows."`
	Retrieving  bool     `help:"CIMD2: deliver only when asked."`
	AnyNumber   bool     `help:"CIMD2: accept jumps in packet numbers instead of asking for the missing ones (NACK)."`
	NeedsSum    bool     `name:"require-checksum" help:"CIMD2: ask again for packets without a checksum."`
	NoSum       bool     `name:"no-checksum" help:"CIMD2: send packets without a checksum."`
	Banner      string   `placeholder:"LINE" help:"CIMD2: a line sent before anything else."`
	List        []string `sep:"none" placeholder:"NAME=NUMBER,..." help:"SMPP: a distribution list for submit_multi."`

	Validity   time.Duration `default:"24h" help:"Of a message that names none (${default})."`
	RetryAfter time.Duration `default:"1s" help:"Until what the ESME refused for now is offered again (${default})."`
	Timeout    time.Duration `default:"10s" help:"Of an ESME's response (${default})."`
	Inactivity time.Duration `help:"Silence that ends a session; 0: none."`
	KeepAlive  time.Duration `name:"keepalive" help:"Silence after which the line is probed (enquire_link, alive); 0: never."`

	Faults   string `placeholder:"JSON" help:"What goes wrong, as in PUT /faults."`
	Receipts string `placeholder:"JSON" help:"How receipts look, as in PUT /receipts."`
	Seed     uint64 `placeholder:"N" help:"Of what the faults' rates draw; 0: any."`
}

func (c *smscCmd) Run(to streams) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	log, err := newLogger(to.err, "info")
	if err != nil {
		return err
	}
	cfg.Log = log
	sim, err := simulator.New(cfg)
	if err != nil {
		return err
	}
	ready(log, zap.String("cimd2", sim.CIMD2Addr()), zap.String("smpp", sim.SMPPAddr()), zap.String("http", sim.HTTPAddr()))
	return serve(log, func(ctx context.Context) error { return sim.Run(ctx) })
}

func badFlag(flag, remedy, problem string, args ...any) error {
	return &config.Error{File: "command line", Key: "--" + flag, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

func (c *smscCmd) config() (cfg simulator.Config, err error) {
	if c.CIMD2 == "" && c.SMPP == "" {
		c.CIMD2, c.SMPP = "127.0.0.1:9971", "127.0.0.1:2775"
		if c.HTTP == "" {
			c.HTTP = "127.0.0.1:9990"
		}
	}
	for _, address := range []struct{ flag, value string }{{"cimd2", c.CIMD2}, {"smpp", c.SMPP}, {"http", c.HTTP}} {
		if _, _, err := net.SplitHostPort(address.value); address.value != "" && err != nil {
			return cfg, badFlag(address.flag, "give host:port, 127.0.0.1:2775 say", "%q is no address", address.value)
		}
	}
	if c.Latency < 0 || c.Latency > time.Hour {
		return cfg, badFlag("latency", "give 0s to 1h", "%v is out of range", c.Latency)
	}
	if c.Submits < 0 {
		return cfg, badFlag("submit-window", "give 1 or more, or 0 for what the protocol allows", "%d is out of range", c.Submits)
	}
	if c.Window < 1 || c.MaxSessions < 0 {
		return cfg, badFlag("window", "give at least 1, and --max-sessions 0 or more", "%d, and --max-sessions is %d", c.Window, c.MaxSessions)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"validity", c.Validity}, {"retry-after", c.RetryAfter}, {"timeout", c.Timeout}} {
		if d.value <= 0 {
			return cfg, badFlag(d.flag, "give more than 0s", "%v is out of range", d.value)
		}
	}
	cfg = simulator.Config{
		CIMD2: c.CIMD2, SMPP: c.SMPP, HTTP: c.HTTP, Latency: c.Latency, User: c.User, Password: c.Password,
		MaxSessions: c.MaxSessions, Window: c.Window, SubmitWindow: c.Submits, Retrieving: c.Retrieving, AnyNumber: c.AnyNumber, RequireChecksum: c.NeedsSum, NoChecksum: c.NoSum, Banner: c.Banner, Seed: c.Seed,
		Validity: c.Validity, RetryAfter: c.RetryAfter, ResponseTimeout: c.Timeout,
		InactivityTimeout: c.Inactivity, KeepAlive: c.KeepAlive, Sharing: simulator.Sharing(strings.TrimPrefix(c.Sharing, "all")),
	}
	if cfg.TLS, err = c.tls(); err != nil {
		return cfg, err
	}
	if cfg.Accounts, err = c.accounts(); err != nil {
		return cfg, err
	}
	if cfg.Lists, err = c.lists(); err != nil {
		return cfg, err
	}
	if c.Faults != "" {
		if cfg.Faults, err = simulator.ParseFaults(c.Faults); err != nil {
			return cfg, badFlag("faults", `give JSON, {"throttle_rate":0.1} say`, "%v", err)
		}
	}
	if c.Receipts != "" {
		if cfg.Receipts, err = simulator.ParseReceipts(c.Receipts); err != nil {
			return cfg, badFlag("receipts", `give JSON, {"receipt_id":"hex"} say`, "%v", err)
		}
	}
	return cfg, nil
}

func (c *smscCmd) tls() (*tls.Config, error) {
	switch {
	case c.TLSCert == "" && c.TLSKey == "" && c.TLSCA == "":
		return nil, nil
	case c.TLSCert == "" || c.TLSKey == "":
		return nil, badFlag("tls-cert", "give --tls-key too, both as PEM files", "certificate or key is missing")
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, badFlag("tls-cert", "give a certificate and its key as PEM files; ringway pki makes some", "%v", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.TLSCA == "" {
		return cfg, nil
	}
	content, err := os.ReadFile(c.TLSCA)
	cfg.ClientCAs, cfg.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if err == nil && !cfg.ClientCAs.AppendCertsFromPEM(content) {
		err = errors.New("it holds no PEM certificate")
	}
	if err != nil {
		return nil, badFlag("tls-ca", "give the CA's certificate as a PEM file", "%v", err)
	}
	return cfg, nil
}

func (c *smscCmd) accounts() (list []simulator.Account, err error) {
	for _, account := range c.Account {
		user, rest, ok := strings.Cut(account, ":")
		password, numbers, _ := strings.Cut(rest, ":")
		a := simulator.Account{User: user, Password: password}
		if numbers != "" {
			a.Numbers = strings.Split(numbers, ",")
		}
		if !ok || user == "" || user == c.User {
			return nil, badFlag("account", "give USER:PASSWORD or USER:PASSWORD:NUMBER,NUMBER, each user once", "%q will not do", account)
		}
		list = append(list, a)
	}
	return list, nil
}

func (c *smscCmd) lists() (map[string][]smsc.Address, error) {
	lists := map[string][]smsc.Address{}
	for _, list := range c.List {
		name, numbers, ok := strings.Cut(list, "=")
		if !ok || name == "" || numbers == "" {
			return nil, badFlag("list", "give NAME=NUMBER,NUMBER", "%q is no list", list)
		}
		for number := range strings.SplitSeq(numbers, ",") {
			lists[name] = append(lists[name], smsc.ParseAddress(number))
		}
	}
	return lists, nil
}
