package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The fields that tshark prints of each packet.
var tsharkFields = []string{"frame.number", "smpp.command_id", "cimd.opcode", "_ws.malformed", "_ws.expert.message", "_ws.col.Info"}

// dissect has tshark decode frames one by one, and returns what is wrong with them.
func dissect(t *testing.T, protocol string, frames []frame) (findings []string) {
	t.Helper()
	tshark := program(t, "tshark", "tshark")
	port := uint16(2775)
	dissector := protocol
	if protocol == "cimd2" {
		port, dissector = 9971, "cimd"
	}
	path := filepath.Join(t.TempDir(), "recorded.pcap")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := writePCAP(file, port, frames); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-n", "-r", path, "-d", fmt.Sprintf("tcp.port==%d,%s", port, dissector),
		"-o", "tcp.analyze_sequence_numbers:FALSE", // the handshake is not there
		"-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=;",
	}
	for _, field := range tsharkFields {
		args = append(args, "-e", field)
	}
	cmd := exec.CommandContext(t.Context(), tshark, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, complaints.String())
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(frames) {
		t.Fatalf("tshark decoded %d packets of %d", len(lines), len(frames))
	}
	for i, line := range lines {
		field := strings.SplitN(line, "\t", len(tsharkFields))
		if len(field) != len(tsharkFields) {
			t.Fatalf("tshark: %q has %d fields, not %d", line, len(field), len(tsharkFields))
		}
		for _, what := range judge(protocol, frames[i], field) {
			findings = append(findings, fmt.Sprintf("PDU %d, to the SMSC %v: %s\n% x", i+1, frames[i].toSMSC, what, frames[i].octets))
		}
	}
	return findings
}

// judge says what tshark's line finds wrong with a PDU. The dissectors' known
// faults (docs/interop.md) concern texts that they show, not marks: no mark is
// let through.
func judge(protocol string, f frame, field []string) (findings []string) {
	operation, malformed, expert, info := field[1], field[3], field[4], field[5]
	if protocol == "cimd2" {
		operation = field[2]
		if n, err := strconv.Atoi(operation); err == nil {
			operation = fmt.Sprintf("%02d", n)
		}
	}
	if want := f.operation(protocol); operation != want {
		findings = append(findings, fmt.Sprintf("decoded as %q, not %s", operation, want))
	}
	if malformed != "" {
		findings = append(findings, "malformed: "+malformed)
	}
	for mark := range strings.SplitSeq(expert, ";") {
		if mark != "" {
			findings = append(findings, "expert mark: "+mark)
		}
	}
	if strings.Contains(info, "invalid checksum") || strings.Contains(info, "Malformed") {
		findings = append(findings, "info: "+info)
	}
	return findings
}

// passTshark fails the test unless tshark finds nothing wrong with what was recorded.
func passTshark(t *testing.T, protocol string, frames []frame) {
	t.Helper()
	findings := dissect(t, protocol, frames)
	for _, what := range findings[:min(len(findings), 20)] {
		t.Error(what)
	}
	if len(findings) > 20 {
		t.Errorf("and %d more", len(findings)-20)
	}
	count := map[string]int{}
	for _, f := range frames {
		count[f.operation(protocol)]++
	}
	t.Logf("tshark: %d PDUs recorded, %d decoded, %d findings; %v", len(frames), len(frames), len(findings), count)
}

// What the check of this package rests on: tshark sees these faults, each as one.
func TestTsharkSeesFaults(t *testing.T) {
	good := map[string][]byte{
		"cimd2": []byte("\x0203:053\t021:+358407654321\t023:12345\t056:14\t055:0\t044:0\t033:With report\t14\x03"),
		"smpp":  []byte("\x00\x00\x00\x1b\x80\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x021234567890\x00"),
	}
	for _, c := range []struct {
		name, protocol string
		octets         []byte
		want           string // part of a finding; "": none
	}{
		{"as it should be", "cimd2", good["cimd2"], ""},
		{"as it should be", "smpp", good["smpp"], ""},
		{"checksum", "cimd2", []byte(strings.Replace(string(good["cimd2"]), "\t14\x03", "\t15\x03", 1)), "invalid checksum"},
		{"another operation", "cimd2", []byte("\x02xx:025\t\x03"), "decoded as"},
		{"text too short", "smpp", []byte("\x00\x00\x00\x1b\x80\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x0212345678901"), "alformed"},
		{"TLV too long", "smpp", []byte("\x00\x00\x00\x1b\x80\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x021\x00\x00\x1e\x00\x30abcde"), "alformed"},
	} {
		t.Run(c.protocol+" "+c.name, func(t *testing.T) {
			findings := dissect(t, c.protocol, []frame{{stream: 1, octets: good[c.protocol]}, {stream: 1, octets: c.octets}})
			if c.want == "" && len(findings) == 0 {
				return
			}
			if c.want == "" || len(findings) == 0 || !strings.Contains(strings.Join(findings, "\n"), c.want) {
				t.Errorf("findings %q, want %q", findings, c.want)
			}
		})
	}
}
