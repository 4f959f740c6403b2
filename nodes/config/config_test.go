package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
)

const hubYAML = `
data_dir: ./hub-data
http:  {listen: 127.0.0.1:8080}
link:
  listen: 127.0.0.1:7443
  tls: {cert: pki/hub-1.crt, key: pki/hub-1.key, ca: pki/ca.crt}
admin: {token_file: admin.token}
store: {driver: postgres, dsn: "postgres://x"}
edges:
  - id: manila-1
    prefixes: ["+63917", "+63918"]
    number: "63917000"
    suffix_digits: 2
    ring: {slots: 100}
    queue: {max_messages: 5}
cluster:
  name: hub-1
  listen: 10.0.0.1:7946
  remote: 10.0.0.1:8090
  join: ["10.0.0.1:7946", "10.0.0.2:7946"]
`

const edgeYAML = `
id: manila-1
data_dir: ./edge-data
hubs: ["127.0.0.1:7443"]
link:
  stripes: 8
  tls: {cert: pki/manila-1.crt, key: pki/manila-1.key, ca: pki/ca.crt}
smsc:
  protocol: cimd2
  binds:
    - {address: "127.0.0.1:9971", user: ringway, password: secret}
`

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestHub(t *testing.T) {
	dir := t.TempDir()
	h, err := config.LoadHub(write(t, dir, "hub.yaml", hubYAML))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want any }{
		{"relative path", h.DataDir, filepath.Join(dir, "hub-data")},
		{"nested path", h.Link.TLS.CA, filepath.Join(dir, "pki/ca.crt")},
		{"defaults of a section that is absent", h.Limits, config.Limits{Parts: 32, BodyBytes: 1 << 20, LoginPerMinute: 10}},
		{"default duration", h.Events.Keep, 168 * time.Hour},
		{"edge", fmt.Sprint(h.Edges), fmt.Sprint([]config.HubEdge{{ID: "manila-1", Prefixes: []string{"+63917", "+63918"}, Number: "63917000", SuffixDigits: 2, Ring: config.Ring{Slots: 100}, Queue: config.Queue{MaxMessages: 5}}})},
		{"cluster.tls is link.tls", h.Cluster.TLS, h.Link.TLS},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

func TestClusterWithEmbeddedStore(t *testing.T) {
	yaml := strings.Replace(hubYAML, `{driver: postgres, dsn: "postgres://x"}`, "{driver: embedded}", 1)
	if h, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", yaml)); err != nil || h.Cluster == nil {
		t.Errorf("a cluster section beside an embedded store: %v", err)
	}
}

func TestEdge(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pw", "secret2\n")
	e, err := config.LoadEdge(write(t, dir, "edge.yaml", strings.Replace(edgeYAML, "password: secret", "password_file: pw", 1)))
	if err != nil {
		t.Fatal(err)
	}
	s := e.SMSC
	if s.Name != "manila-1" || s.Window != 1 || s.Receive != "push" || s.Unknown != "resend" || !s.Receipts ||
		s.Validity != 24*time.Hour || s.ResponseTimeout != 10*time.Second || s.KeepAlive != 30*time.Second {
		t.Errorf("smsc defaults: %+v", s)
	}
	if b := s.Binds[0]; b.Password != "secret2" || b.Sessions != 1 || b.Mode != "transceiver" {
		t.Errorf("bind: %+v", b)
	}
	if e.Ring.Slots != 255 || e.Retry != (config.Retry{First: 5 * time.Second, Max: 10 * time.Minute, Messages: 100000}) || e.HTTP.Listen != "127.0.0.1:9080" {
		t.Errorf("defaults: %+v", e)
	}
}

func TestLocalEdge(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RINGWAY_DATA_DIR", "elsewhere") // the hub's, not the local edge's
	write(t, dir, "edge.yaml", "id: manila-1\nsmsc: {protocol: smpp, binds: [{address: 'a:1', user: u, password: ''}]}\n")
	h, err := config.LoadHub(write(t, dir, "hub.yaml", "edges: [{id: manila-1, prefixes: ['+'], number: 1, local: edge.yaml}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if e := h.Edges[0].LocalEdge; e == nil || e.DataDir != filepath.Join(dir, "edge-data") || h.DataDir != filepath.Join(dir, "elsewhere") {
		t.Errorf("hub in %s, local edge %+v", h.DataDir, e)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("RINGWAY_LINK_STRIPES", "16")
	t.Setenv("RINGWAY_HUBS", "a:1, b:2")
	t.Setenv("RINGWAY_SMSC_RECEIPTS", "false")
	t.Setenv("RINGWAY_RETRY_FIRST", "7s")
	t.Setenv("RINGWAY_LOG_LEVEL", "") // as if absent
	t.Setenv("RINGWAY_SMSC_RATE", "2.5")
	e, err := config.LoadEdge(write(t, t.TempDir(), "edge.yaml", edgeYAML))
	if err != nil {
		t.Fatal(err)
	}
	if e.Link.Stripes != 16 || strings.Join(e.Hubs, " ") != "a:1 b:2" || e.SMSC.Receipts || e.Retry.First != 7*time.Second || e.Log.Level != "info" || e.SMSC.Rate != 2.5 {
		t.Errorf("got %+v", e)
	}
	t.Setenv("RINGWAY_CLUSTER_LISTEN", "10.0.0.1:1")
	t.Setenv("RINGWAY_CLUSTER_REMOTE", "10.0.0.1:2")
	t.Setenv("RINGWAY_CLUSTER_NAME", "hub-9")
	h, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", hubYAML[:strings.Index(hubYAML, "cluster:")]))
	if err != nil || h.Cluster == nil || h.Cluster.Name != "hub-9" {
		t.Errorf("cluster from the environment: %v", err)
	}
	t.Setenv("RINGWAY_LINK_STRIPES", "many")
	t.Setenv("RINGWAY_HUBS", "nowhere")
	_, err = config.LoadEdge(write(t, t.TempDir(), "edge.yaml", edgeYAML))
	for _, want := range []string{
		`environment variable RINGWAY_LINK_STRIPES: link.stripes: "many" is no whole number; write digits`,
		`environment variable RINGWAY_HUBS: hubs[0]: "nowhere" is no address to dial`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestEntriesFromTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"RINGWAY_EDGES_0_NUMBER":               "63918000", // over the file's
		"RINGWAY_EDGES_0_PREFIXES":             "+63915, +63916",
		"RINGWAY_EDGES_0_RING_SLOTS":           "7",
		"RINGWAY_EDGES_0_SUFFIX_DIGITS":        "", // as if absent
		"RINGWAY_EDGES_1_ID":                   "cebu-1",
		"RINGWAY_EDGES_1_PREFIXES":             "+63922",
		"RINGWAY_EDGES_1_NUMBER":               "63922000",
		"RINGWAY_EDGES_7_ID":                   "",
		"RINGWAY_SMSC_BINDS_0_PASSWORD":        "hidden",
		"RINGWAY_SMSC_BINDS_1_ADDRESS":         "smsc:1",
		"RINGWAY_SMSC_BINDS_1_USER":            "second",
		"RINGWAY_SMSC_BINDS_1_PASSWORD":        "pw",
		"RINGWAY_SMSC_BINDS_1_SESSIONS":        "3",
		"RINGWAY_SMSC_BINDS_1_TLS_CA":          "",
		"RINGWAY_SMSC_BINDS_2_USER":            "third",
		"RINGWAY_SMSC_BINDS_2_PASSWORD":        "pw",
		"RINGWAY_SMSC_BINDS_2_ADDRESS":         "smsc:2",
		"RINGWAY_SMSC_BINDS_2_TLS_SERVER_NAME": "smsc.example",
	} {
		t.Setenv(name, value)
	}
	h, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", hubYAML))
	if err != nil {
		t.Fatal(err)
	}
	queue := config.Queue{MaxMessages: 10_000_000}
	want := []config.HubEdge{
		{ID: "manila-1", Prefixes: []string{"+63915", "+63916"}, Number: "63918000", SuffixDigits: 2, Ring: config.Ring{Slots: 7}, Queue: config.Queue{MaxMessages: 5}},
		{ID: "cebu-1", Prefixes: []string{"+63922"}, Number: "63922000", Ring: config.Ring{Slots: 255}, Queue: queue},
	}
	if !reflect.DeepEqual(h.Edges, want) {
		t.Errorf("edges: %+v, want %+v", h.Edges, want)
	}
	e, err := config.LoadEdge(write(t, t.TempDir(), "edge.yaml", edgeYAML))
	if err != nil {
		t.Fatal(err)
	}
	binds := []config.Bind{
		{Address: "127.0.0.1:9971", User: "ringway", Password: "hidden", Sessions: 1, Mode: "transceiver"},
		{Address: "smsc:1", User: "second", Password: "pw", Sessions: 3, Mode: "transceiver"},
		{Address: "smsc:2", User: "third", Password: "pw", Sessions: 1, Mode: "transceiver", TLS: &config.BindTLS{ServerName: "smsc.example"}},
	}
	if !reflect.DeepEqual(e.SMSC.Binds, binds) {
		t.Errorf("binds: %+v, want %+v", e.SMSC.Binds, binds)
	}

	// All of a hub's edges, or an edge's binds, may come from there.
	t.Setenv("RINGWAY_EDGES_0_ID", "manila-1")
	file := hubYAML[:strings.Index(hubYAML, "edges:")]
	if h, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", file)); err != nil || len(h.Edges) != 2 || h.Edges[0].SuffixDigits != 0 {
		t.Errorf("%+v: %v", h, err)
	}
}

func TestMistakesInEntriesFromTheEnvironment(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"RINGWAY_EDGES_0_RING_SLOTS", "many", `RINGWAY_EDGES_0_RING_SLOTS: edges[0].ring.slots: "many" is no whole number`},
		{"RINGWAY_EDGES_0_RING_SLOTS", "0", "RINGWAY_EDGES_0_RING_SLOTS: edges[0].ring.slots: 0 is out of range"},
		{"RINGWAY_EDGES_0_PREFIXES", "+63917,63", `RINGWAY_EDGES_0_PREFIXES: edges[0].prefixes[1]: "63" is no prefix`},
		{"RINGWAY_EDGES_1_ID", "cebu-1", "RINGWAY_EDGES_1_ID: edges[1].prefixes: missing; list the numbers"},
		{"RINGWAY_EDGES_2_ID", "cebu-1", "RINGWAY_EDGES_2_ID: edges[2]: there is no edges[1] before it; the next entry is RINGWAY_EDGES_1_...: leave no number out"},
		{"RINGWAY_EDGES_99999999999999999999_ID", "x", `"99999999999999999999" is no number of an entry`},
		{"RINGWAY_EDGES_ID", "cebu-1", `RINGWAY_EDGES_ID: edges: "ID" is no number of an entry; count from 0, as in RINGWAY_EDGES_0_ID`},
		{"RINGWAY_EDGES_01_ID", "cebu-1", `"01" is no number of an entry`},
		{"RINGWAY_EDGES_-1_ID", "cebu-1", `"-1" is no number of an entry`},
		{"RINGWAY_EDGES_0_RING_SLOT", "7", `RINGWAY_EDGES_0_RING_SLOT: edges[0]: unknown key "RING_SLOT"; did you mean RING_SLOTS?`},
		{"RINGWAY_EDGES_0_RING", "7", `unknown key "RING"`},
		{"RINGWAY_EDGES_0", "x", `unknown key`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			_, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", hubYAML))
			var e *config.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "environment variable "+tt.name) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// Each change to a good file must be refused with this line.
func TestMistakes(t *testing.T) {
	tests := []struct {
		base, old, new string
		want           string // FILE is left out
	}{
		{hubYAML, "http:  {", "htpp:  {", ":3: htpp: unknown key; did you mean http?"},
		{hubYAML, "token_file:", "zzzzzzzz:", ":7: admin.zzzzzzzz: unknown key; known here: token_file"},
		{hubYAML, "{slots: 100}", "{slots: many}", `:14: edges[0].ring.slots: "many" is no whole number; write digits only`},
		{hubYAML, "{slots: 100}", "{slots: 65536}", ":14: edges[0].ring.slots: 65536 is out of range; write 1 to 65535"},
		{hubYAML, "{slots: 100}", "{slots: 0}", ":14: edges[0].ring.slots: 0 is out of range"},
		{hubYAML, "{slots: 100}", "7", ":14: edges[0].ring: must hold keys; its keys are slots"},
		{hubYAML, "suffix_digits: 2", "suffix_digits: 7", ":13: edges[0].suffix_digits: 7 is out of range; write 0 to 6"},
		{hubYAML, `"63917000"`, `"1234567890123456789"`, ":13: edges[0].suffix_digits: number and suffix have 21 digits together"},
		{hubYAML, `number: "63917000"`, "", ":10: edges[0].number: missing; give the originator"},
		{hubYAML, `"63917000"`, `"+63917000"`, `:12: edges[0].number: "+63917000" is no originator number`},
		{hubYAML, `prefixes: ["+63917", "+63918"]`, "", ":10: edges[0].prefixes: missing; list the numbers"},
		{hubYAML, `"+63918"`, `"63918"`, `:11: edges[0].prefixes[1]: "63918" is no prefix`},
		{hubYAML, `"+63918"`, `""`, `:11: edges[0].prefixes[1]: "" is no prefix`},
		{hubYAML, `"+63918"`, `"+63917"`, ":11: edges[0].prefixes[1]: +63917 belongs to edge manila-1 already"},
		{hubYAML, `["+63917", "+63918"]`, `"+63917"`, ":11: edges[0].prefixes: must be a list"},
		{hubYAML, "id: manila-1", "id: Manila", `:10: edges[0].id: "Manila" is no name`},
		{hubYAML, "cluster:\n", "  - {id: manila-1, prefixes: ['+1'], number: 1}\ncluster:\n", ":16: edges[1].id: manila-1 is edges[0] already"},
		{hubYAML, "listen: 127.0.0.1:8080", "listen: '8080'", `:3: http.listen: "8080" is no address to listen on; write host:port`},
		{hubYAML, "listen: 127.0.0.1:8080", "listen: [a]", ":3: http.listen: must be a single value"},
		{hubYAML, "  listen: 127.0.0.1:7443\n", "", ":4: link.listen: missing, but edges dial in"},
		{hubYAML, "key: pki/hub-1.key, ", "", ":6: link.tls.key: missing; make one with ringway pki hub"},
		{hubYAML, "driver: postgres", "driver: oracle", `:8: store.driver: "oracle" is not allowed; write embedded, or postgres`},
		{hubYAML, `, dsn: "postgres://x"`, "", ":8: store.dsn: missing"},
		{hubYAML, "driver: postgres", "driver: embedded", ":8: store.dsn: an embedded store has none"},
		{hubYAML, "  remote: 10.0.0.1:8090\n", "", ":16: cluster.remote: missing"},
		{hubYAML, `"10.0.0.2:7946"`, `":7946"`, `:20: cluster.join[1]: ":7946" is no address to dial`},
		{hubYAML, "data_dir: ./hub-data", "data_dir: a\ndata_dir: b", ":3: data_dir: stands twice, first in line 2"},
		{hubYAML, "cluster:\n", "events: {keep: 7d}\ncluster:\n", `:16: events.keep: "7d" is no duration; write a number with its unit`},
		{hubYAML, "cluster:\n", "limits: {parts: 256}\ncluster:\n", ":16: limits.parts: 256 is out of range; write 1 to 255"},
		{hubYAML, "cluster:\n", "log: {level: loud}\ncluster:\n", `:16: log.level: "loud" is not allowed`},
		{hubYAML, "data_dir: ./hub-data", "data_dir: [", "mend the YAML"},
		{hubYAML, "cluster:\n", "---\ncluster:\n", "a second YAML document"},
		{hubYAML, "number:", "local: none.yaml\n    number:", "none.yaml: cannot be read: no such file or directory"},

		{edgeYAML, "id: manila-1", "", ":1: id: missing; give the edge its id"},
		{edgeYAML, "stripes: 8", "stripes: 65", ":6: link.stripes: 65 is out of range; write 1 to 64"},
		{edgeYAML, "stripes: 8", "congestion: 'b b'", `:6: link.congestion: "b b" is no name of a congestion control`},
		{edgeYAML, `hubs: ["127.0.0.1:7443"]`, "", ":1: hubs: missing; give the hubs' link addresses"},
		{edgeYAML, "ca: pki/ca.crt", "", ":7: link.tls.ca: missing; make one with ringway pki edge DIR manila-1"},
		{edgeYAML, "protocol: cimd2", "protocol: ucp", `:9: smsc.protocol: "ucp" is not allowed; write cimd2, or smpp`},
		{edgeYAML, "protocol: cimd2", "", ":8: smsc.protocol: missing"},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  window: 0", ":10: smsc.window: 0 is out of range; write 1 to 255"},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  rate: -1", ":10: smsc.rate: -1 is out of range"},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  rate: NaN", `:10: smsc.rate: "NaN" is no number`},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  receive: pull", `:10: smsc.receive: "pull" is not allowed; write push, or poll`},
		{edgeYAML, "protocol: cimd2", "protocol: smpp\n  receive: poll", ":10: smsc.receive: SMPP has no polling"},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  unknown: retry", `:10: smsc.unknown: "retry" is not allowed; write resend, or give_up, or query`},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  receipts: maybe", `:10: smsc.receipts: "maybe" is neither true nor false`},
		{edgeYAML, "protocol: cimd2", "protocol: cimd2\n  response_timeout: 0s", ":10: smsc.response_timeout: 0s is out of range; write 10ms to 10m"},
		{edgeYAML, "smsc:", "retry: {first: 1h}\nsmsc:", ":8: retry.first: 1h0m0s is more than retry.max"},
		{edgeYAML, "password: secret", "password: secret, password_file: pw", ":11: smsc.binds[0].password_file: password is given too; keep one"},
		{edgeYAML, ", password: secret", "", ":11: smsc.binds[0].password: missing"},
		{edgeYAML, "password: secret", "password_file: none", ":11: smsc.binds[0].password_file: cannot be read"},
		{edgeYAML, "user: ringway, ", "", ":11: smsc.binds[0].user: missing"},
		{edgeYAML, `"127.0.0.1:9971"`, "smsc", `:11: smsc.binds[0].address: "smsc" is no address to dial`},
		{edgeYAML, "user: ringway", "user: ringway, mode: transmitter", ":11: smsc.binds[0].mode: CIMD2 has no modes"},
		{edgeYAML, "user: ringway", "user: ringway, mode: both", `:11: smsc.binds[0].mode: "both" is not allowed; write transceiver, or transmitter, or receiver`},
		{edgeYAML, "user: ringway", "user: ringway, sessions: 0", ":11: smsc.binds[0].sessions: 0 is out of range"},
		{edgeYAML, "    - {address: \"127.0.0.1:9971\", user: ringway, password: secret}", "", ":8: smsc.binds: missing; name at least one"},
	}
	for _, tt := range tests {
		content := strings.Replace(tt.base, tt.old, tt.new, 1)
		if content == tt.base {
			t.Fatalf("%q is not in the file", tt.old)
		}
		file := write(t, t.TempDir(), "x.yaml", content)
		_, err := load(tt.base, file)
		var e *config.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q instead of %q:\n got %v\nwant %s", tt.new, tt.old, err, tt.want)
		}
	}
}

func load(base, file string) (any, error) {
	if base == edgeYAML {
		return config.LoadEdge(file)
	}
	return config.LoadHub(file)
}

func TestMistakesOfLocalEdges(t *testing.T) {
	dir := t.TempDir()
	edge := "id: %s\ndata_dir: %s\nsmsc: {protocol: smpp, binds: [{address: 'a:1', user: u, password: '', mode: %s}]}\n"
	hub := write(t, dir, "hub.yaml", "edges: [{id: a, prefixes: ['+1'], number: 1, local: edge.yaml}]\n")
	for _, tt := range []struct{ id, dataDir, mode, want string }{
		{"b", "x", "transceiver", "hub.yaml:1: edges[0].local: " + dir + "/edge.yaml is of edge b, not a"},
		{"a", "hub-data", "transceiver", "hub-data is the hub's data_dir too"},
		{"a", "x", "receiver", "edge.yaml:3: smsc.binds: all are receivers"},
	} {
		write(t, dir, "edge.yaml", fmt.Sprintf(edge, tt.id, tt.dataDir, tt.mode))
		if _, err := config.LoadHub(hub); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

func TestEveryMistakeIsTold(t *testing.T) {
	_, err := config.LoadHub(write(t, t.TempDir(), "hub.yaml", "a: 1\nb: 2\nevents: {keep: x}\n"))
	if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 3 {
		t.Errorf("got %q, want three lines", lines)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(hubYAML)
	f.Add(edgeYAML)
	f.Add("edges: [&a {id: x}, *a]")
	f.Add("? [a]\n: b")
	f.Fuzz(func(t *testing.T, content string) {
		file := write(t, t.TempDir(), "x.yaml", content)
		_, _ = config.LoadHub(file)
		_, _ = config.LoadEdge(file)
	})
}

// smscYAML is an edge's file with these lines under smsc, of protocol.
func smscYAML(protocol, lines string) string {
	s := strings.Replace(edgeYAML, "protocol: cimd2", "protocol: "+protocol, 1)
	return s + lines
}

func TestQuirks(t *testing.T) {
	standard := config.Quirks{ReceiptIDs: "text", Alphabet: "gsm", LongTexts: "udh", Numbers: "ton"}
	change := func(f func(*config.Quirks)) config.Quirks { q := standard; f(&q); return q }
	for _, c := range []struct {
		name, protocol, lines string
		want                  config.Quirks
	}{
		{"none", "smpp", "", standard},
		{"smpp33", "smpp", "  profile: smpp33", change(func(q *config.Quirks) { q.NoTLVs, q.ReceiptIDs = true, "hex_to_decimal" })},
		{"a key overrules the profile", "smpp", "  profile: smpp33\n  quirks: {no_tlvs: false}", change(func(q *config.Quirks) { q.ReceiptIDs = "hex_to_decimal" })},
		{"even with the default", "smpp", "  profile: smpp33\n  quirks: {receipt_ids: text}", change(func(q *config.Quirks) { q.NoTLVs = true })},
		{"aggregator", "smpp", "  profile: aggregator", change(func(q *config.Quirks) { q.LongTexts, q.Numbers = "sar", "plain" })},
		{"plain_cimd2", "cimd2", "  profile: plain_cimd2", change(func(q *config.Quirks) { q.NoChecksum, q.NoLogoutAnswer = true, true })},
		{"latin1", "cimd2", "  profile: latin1", change(func(q *config.Quirks) { q.Alphabet = "latin1" })},
		{"packed", "smpp", "  profile: packed", change(func(q *config.Quirks) { q.Packed = true })},
		{"hex_ids", "smpp", "  profile: hex_ids", change(func(q *config.Quirks) { q.ReceiptIDs = "hex_to_decimal" })},
		{"cimd2", "cimd2", "  quirks: {no_checksum: true, require_checksum: true, negative_delivers: true, trailing_at: true, cedilla: true}", change(func(q *config.Quirks) {
			q.NoChecksum, q.RequireChecksum, q.NegativeDelivers, q.TrailingAt, q.Cedilla = true, true, true, true, true
		})},
		{"single keys", "smpp", `  quirks:
    receipt_ids: decimal_to_hex
    long_texts: udh16
    national: [turkish, spanish]
    service_type: CMT
    fates: {0x45: permanent, 1024: throttled}`, change(func(q *config.Quirks) {
			q.ReceiptIDs, q.LongTexts, q.National, q.ServiceType = "decimal_to_hex", "udh16", []string{"turkish", "spanish"}, "CMT"
			q.Fates = map[string]string{"0x45": "permanent", "1024": "throttled"}
		})},
	} {
		e, err := config.LoadEdge(write(t, t.TempDir(), "edge.yaml", smscYAML(c.protocol, c.lines)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !reflect.DeepEqual(e.SMSC.Quirks, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, e.SMSC.Quirks, c.want)
		}
	}
}

func TestQuirksFromTheEnvironment(t *testing.T) {
	t.Setenv("RINGWAY_SMSC_QUIRKS_FATES", "0x45:permanent, 7:session")
	t.Setenv("RINGWAY_SMSC_QUIRKS_NO_TLVS", "false")
	e, err := config.LoadEdge(write(t, t.TempDir(), "edge.yaml", smscYAML("smpp", "  profile: smpp33")))
	if err != nil {
		t.Fatal(err)
	}
	if q := e.SMSC.Quirks; q.NoTLVs || !reflect.DeepEqual(q.Fates, map[string]string{"0x45": "permanent", "7": "session"}) {
		t.Errorf("%+v", q)
	}
}

// What does not go is refused, and the message says what does.
func TestSMSCRefused(t *testing.T) {
	for _, c := range []struct{ protocol, lines, key, says string }{
		{"smpp", "  profile: kannel", "smsc.profile", "standard, or smpp33, or hex_ids"},
		{"cimd2", "  profile: smpp33", "smsc.profile", "is for smpp"},
		{"smpp", "  profile: plain_cimd2", "smsc.profile", "is for cimd2"},
		{"smpp", "  quirks: {receipt_ids: octal}", "smsc.quirks.receipt_ids", "text, or hex_to_decimal, or decimal_to_hex, or hex, or decimal"},
		{"smpp", "  quirks: {alphabet: utf8}", "smsc.quirks.alphabet", "gsm, or latin1, or ascii"},
		{"smpp", "  quirks: {long_texts: tlv}", "smsc.quirks.long_texts", "udh, or udh16, or sar, or payload"},
		{"smpp", "  quirks: {numbers: national}", "smsc.quirks.numbers", "ton, or plus, or plain"},
		{"smpp", "  quirks: {national: [klingon]}", "smsc.quirks.national[0]", "turkish, or spanish, or portuguese"},
		{"smpp", "  quirks: {fates: {0x45: fatal}}", "smsc.quirks.fates.0x45", "temporary, or permanent, or throttled, or session"},
		{"smpp", "  quirks: {fates: {ESME_RSYSERR: temporary}}", "smsc.quirks.fates.ESME_RSYSERR", "write the number"},
		{"smpp", "  quirks: {fates: [0x45]}", "smsc.quirks.fates", "{a: b}"},
		{"smpp", "  quirks: {no_checksum: true}", "smsc.quirks.no_checksum", "is for cimd2"},
		{"smpp", "  quirks: {require_checksum: true}", "smsc.quirks.require_checksum", "is for cimd2"},
		{"smpp", "  quirks: {negative_delivers: true}", "smsc.quirks.negative_delivers", "is for cimd2"},
		{"smpp", "  quirks: {cedilla: true, alphabet: latin1}", "smsc.quirks.cedilla", "belongs to alphabet: gsm"},
		{"cimd2", "  quirks: {packed: true}", "smsc.quirks.packed", "is for smpp"},
		{"cimd2", "  quirks: {long_texts: sar}", "smsc.quirks.long_texts", "is for smpp"},
		{"smpp", "  quirks: {long_texts: sar, no_tlvs: true}", "smsc.quirks.long_texts", "no_tlvs"},
		{"smpp", "  quirks: {long_texts: payload, national: [turkish]}", "smsc.quirks.national", "user data header"},
		{"smpp", "  quirks: {packed: true, alphabet: latin1}", "smsc.quirks.packed", "alphabet: gsm"},
		{"smpp", "  quirks: {service_type: TOOLONG}", "smsc.quirks.service_type", "5"},
		{"cimd2", "  window: 200", "smsc.window", "128"},
		{"cimd2", "  zone: Atlantis/Capital", "smsc.zone", "as in Asia/Manila"},
		{"cimd2", "  zone: Local", "smsc.zone", "+05:30"},
		{"cimd2", "  zone: \"+25\"", "smsc.zone", "+05:30"},
		{"cimd2", "  quirks: {data_coding_1: true}", "smsc.quirks.data_coding_1", "is for smpp"},
		{"smpp", "  country: \"+63\"", "smsc.country", "calling code"},
		{"smpp", "  throttle: {first: 2m}", "smsc.throttle.first", "more than smsc.throttle.max"},
		{"smpp", "  redial: {first: 2m}", "smsc.redial.first", "more than smsc.redial.max"},
		{"smpp", "  redeliver_within: 99h", "smsc.redeliver_within", "0s to 48h"},
	} {
		_, err := config.LoadEdge(write(t, t.TempDir(), "edge.yaml", smscYAML(c.protocol, c.lines)))
		var e *config.Error
		if !errors.As(err, &e) || e.Key != c.key || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%s: %v, want %s: ...%s", c.lines, err, c.key, c.says)
		}
	}
}

func TestBinds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret", "much-too-long\n")
	write(t, dir, "empty.crt", "")
	const account = `- {address: "127.0.0.1:9971", user: ringway, password: secret}`
	for _, c := range []struct{ protocol, bind, key, says string }{
		{"smpp", `- {address: "a:1", user: u, password: ninechars}`, "smsc.binds[0].password", "has 9 octets, but SMPP carries at most 8"},
		{"smpp", `- {address: "a:1", user: u, password: eightchr}`, "", ""},
		{"smpp", `- {user: u, password: p}`, "smsc.binds[0].address", "or outbind"},
		{"smpp", `- {outbind: ":2776", from: ["10.0.0.7", "10.1.0.0/16"], user: u, password: p}
    - {address: "a:1", user: u, password: p, mode: transmitter}`, "", ""},
		{"smpp", `- {outbind: ":2776", from: ["10.0.0.7"], user: u, password: p}`, "smsc.binds", "all are receivers"},
		{"smpp", `- {outbind: ":2776", user: u, password: p}`, "smsc.binds[0].from", "name who may dial"},
		{"smpp", `- {outbind: ":2776", from: [globe], user: u, password: p}`, "smsc.binds[0].from[0]", "neither an address nor a network"},
		{"smpp", `- {outbind: ":2776", from: ["10.0.0.7"], user: u, password: p, mode: transmitter}`, "smsc.binds[0].mode", "receiver"},
		{"smpp", `- {outbind: ":2776", address: "a:1", user: u, password: p}`, "smsc.binds[0].outbind", "given too"},
		{"smpp", `- {address: "a:1", from: ["10.0.0.7"], user: u, password: p}`, "smsc.binds[0].outbind", "missing beside from"},
		{"cimd2", `- {outbind: ":2776", from: ["10.0.0.7"], user: u, password: p}`, "smsc.binds[0].outbind", "is for smpp"},
		{"cimd2", `- {address: "a:1", user: u, password: ninechars}`, "", ""},
		{"smpp", `- {address: "a:1", user: u, password_file: secret}`, "smsc.binds[0].password_file", "has 13 octets"},
		{"smpp", `- {address: "a:1", user: sixteen-letters-, password: p}`, "smsc.binds[0].user", "at most 15"},
		{"smpp", `- {address: "a:1", user: u, password: p, system_type: thirteen-char}`, "smsc.binds[0].system_type", "at most 12"},
		{"cimd2", `- {address: "a:1", user: u, password: p, system_type: x}`, "smsc.binds[0].system_type", "CIMD2 has none"},
		{"smpp", `- {address: "a:1", user: u, password: p, tls: {}}`, "", ""},
		{"smpp", `- {address: "a:1", user: u, password: p, tls: {ca: none.crt}}`, "smsc.binds[0].tls.ca", "no such file"},
		{"smpp", `- {address: "a:1", user: u, password: p, tls: {ca: empty.crt}}`, "smsc.binds[0].tls.ca", "holds no certificate"},
		{"smpp", `- {address: "a:1", user: u, password: p, tls: {cert: empty.crt}}`, "smsc.binds[0].tls.key", "missing beside cert"},
		{"smpp", `- {address: "a:1", user: u, password: p, tls: {name: x}}`, "smsc.binds[0].tls.name", "server_name"},
	} {
		yaml := strings.Replace(smscYAML(c.protocol, ""), account, c.bind, 1)
		_, err := config.LoadEdge(write(t, dir, "edge.yaml", yaml))
		var e *config.Error
		switch {
		case c.key == "":
			if err != nil {
				t.Errorf("%s: %v", c.bind, err)
			}
		case !errors.As(err, &e) || e.Key != c.key || !strings.Contains(e.Error(), c.says):
			t.Errorf("%s: %v, want %s: ...%s", c.bind, err, c.key, c.says)
		}
	}
}
