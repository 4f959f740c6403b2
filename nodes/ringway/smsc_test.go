package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
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
		{"--cimd2 " + taken.Addr().String(), exitFailed, "simulator: cimd2 on 127.0.0.1"},
	}
	for _, tt := range tests {
		var out, errs bytes.Buffer
		status := run(append([]string{"smsc"}, strings.Fields(tt.args)...), streams{&out, &errs})
		if status != tt.status || !strings.Contains(errs.String(), tt.err) {
			t.Errorf("smsc %s: status %d, want %d: %s", tt.args, status, tt.status, &errs)
		}
	}
}
