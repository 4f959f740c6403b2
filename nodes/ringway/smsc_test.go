package main

import (
	"bytes"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ringway-im/ringway/nodes/simulator"
)

func TestSMSCRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		args   string
		status int
		err    string
	}{
		{"--smpp nowhere", exitConfig, "--smpp: \"nowhere\" is no address; give host:port"},
		{"--latency=-1ms", exitConfig, "--latency: -1ms is out of range"},
		{"--latency fast", exitConfig, "--latency"},
		{"--window 0", exitConfig, "--window: 0"},
		{"--any-number --submit-window=-1", exitConfig, "--submit-window: -1 is out of range"},
		{"--validity 0s", exitConfig, "--validity: 0s is out of range"},
		{"--sharing some", exitConfig, "--sharing"},
		{"--tls-cert a.pem", exitConfig, "--tls-cert: certificate or key is missing"},
		{"--tls-cert none.pem --tls-key none.pem", exitConfig, "none.pem: no such file"},
		{"--account bob", exitConfig, "--account: \"bob\""},
		{"--account ringway:x", exitConfig, "--account: \"ringway:x\""},
		{"--list all", exitConfig, "--list: \"all\" is no list"},
		{"--faults {\"boom\":1}", exitConfig, "--faults: simulator: field \"boom\" is unknown"},
		{"--faults {\"close_rate\":7}", exitConfig, "close_rate is 7"},
		{"--receipts {\"form\":\"verse\"}", exitConfig, "--receipts: simulator: form is \"verse\""},
		{"--cimd2 " + taken.Addr().String(), exitFailed, "address already in use; choose a free address"},
	}
	for _, tt := range tests {
		var out, errs bytes.Buffer
		status := run(append([]string{"smsc"}, strings.Fields(tt.args)...), streams{&out, &errs})
		if status != tt.status || !strings.Contains(errs.String(), tt.err) {
			t.Errorf("smsc %s: status %d, want %d: %s", tt.args, status, tt.status, &errs)
		}
	}
}

func TestSMSCConfig(t *testing.T) {
	c := smscCmd{
		SMPP: "127.0.0.1:0", User: "ringway", Window: 3, Submits: 7, AnyNumber: true, Validity: time.Hour, RetryAfter: time.Second, Timeout: time.Second, Sharing: "last",
		Account: []string{"bob:builder:6391,+49"}, List: []string{"all=1,+2"},
		Faults: `{"unbind_delay":"2s","ignore_unbind":true}`, Receipts: `{"receipt_id":"hex","omit":["sub"]}`,
	}
	cfg, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	want := simulator.Account{User: "bob", Password: "builder", Numbers: []string{"6391", "+49"}}
	if len(cfg.Accounts) != 1 || !reflect.DeepEqual(cfg.Accounts[0], want) || cfg.Sharing != simulator.ShareLast ||
		len(cfg.Lists["all"]) != 2 || cfg.Lists["all"][1].String() != "+2" || cfg.Faults != (simulator.Faults{UnbindDelay: 2 * time.Second, IgnoreUnbind: true}) ||
		cfg.Receipts.ReceiptID != "hex" || !reflect.DeepEqual(cfg.Receipts.Omit, []string{"sub"}) ||
		cfg.Window != 3 || cfg.SubmitWindow != 7 || !cfg.AnyNumber {
		t.Errorf("got %+v", cfg)
	}
}

func TestSMSCFlagsAreDocumented(t *testing.T) {
	octets, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&smscCmd{})
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parser.Model.Flags {
		if flag.Name != "help" && !strings.Contains(string(octets), "`--"+flag.Name+"`") {
			t.Errorf("docs/simulator.md does not have --%s", flag.Name)
		}
	}
}
