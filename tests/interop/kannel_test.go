package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"
	"unicode/utf16"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/simulator"
	"github.com/ringway-im/ringway/smsc/text"
	"github.com/ringway-im/ringway/tests/corpus"
	"github.com/ringway-im/ringway/tests/port"
)

// Kannel is an ESME at our simulator: 2,000 texts each way unchanged, a receipt
// for each that it asked for. The order of what handsets get is not checked:
// Kannel does not keep it (docs/interop.md).
func TestKannelESME(t *testing.T) {
	for _, c := range []struct {
		protocol string
		window   int
	}{{"cimd2", 1}, {"smpp", 1}, {"smpp", 10}} {
		t.Run(fmt.Sprintf("%s window %d", c.protocol, c.window), func(t *testing.T) {
			begin := time.Now()
			texts := corpus.Texts(t, sample)
			sim, rec := startSimulator(t, c.protocol, c.window)
			k := startKannel(t, c.protocol, rec.port(), c.window)
			eventually(t, 20*time.Second, func() string { return atLeast("sessions", sim.Stats().Sessions, 1) })

			sent := make(chan error, 1)
			go func() { sent <- k.sendAll(t.Context(), texts) }()
			handsetsSend(t, sim, texts)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			eventually(t, limit(texts), func() string {
				missing := k.missing(len(texts))
				if missing != "" && c.protocol == "cimd2" {
					if err := k.nudge(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if missing == "" {
					missing = atLeast("received by handsets", int(sim.Stats().ReceivedTexts), len(texts)+k.nudges)
				}
				return missing
			})
			k.stop()
			took := time.Since(begin)

			got := handsetsGot(t, sim)
			t.Logf("Kannel sent %d of %d texts to a handset before one that it was given earlier", overtaking(got, dealt(texts)), len(texts))
			same(t, "handset", ordered(got), ordered(dealt(texts)))
			same(t, "Kannel", k.got, dealt(texts))
			for i := range texts {
				if got := k.reports[i]; got[kannelDelivered] != 1 || got[kannelAccepted] != 1 || len(got) != 2 {
					t.Errorf("message %d: reports by type %v, want one of type %d and one of type %d", i, got, kannelAccepted, kannelDelivered)
				}
			}
			frames := rec.finish(t)
			passTshark(t, c.protocol, frames)
			t.Logf("%d texts each way in %.1f s, %d nudges", len(texts), took.Seconds(), k.nudges)
		})
	}
}

const (
	user     = "ringway"
	password = "secret"
	service  = "63917000" // the number that handsets write to
)

// slowPeer is how long a peer may take for an answer: the machine may be busy.
const slowPeer = time.Minute

// startSimulator starts our SMSC with a recorder before it.
func startSimulator(t *testing.T, protocol string, window int) (*simulator.Simulator, *recorder) {
	t.Helper()
	cfg := simulator.Config{User: user, Password: password, Window: window, SubmitWindow: window, ResponseTimeout: slowPeer}
	if os.Getenv("RINGWAY_LOG") == "1" {
		cfg.Log = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))
	}
	address := (*simulator.Simulator).CIMD2Addr
	if protocol == "smpp" {
		cfg.SMPP, address = "127.0.0.1:0", (*simulator.Simulator).SMPPAddr
	} else {
		cfg.CIMD2 = "127.0.0.1:0"
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim, record(t, protocol, func() string { return address(sim) })
}

// handsetsSend has the handsets write all texts to the service.
func handsetsSend(t *testing.T, sim *simulator.Simulator, texts []string) {
	t.Helper()
	for i, text := range texts {
		h, err := sim.Handset(handset(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Send(service, text); err != nil {
			t.Fatal(err)
		}
	}
}

// handsetsGot is what the handsets have received.
func handsetsGot(t *testing.T, sim *simulator.Simulator) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	for i := range handsets {
		h, err := sim.Handset(handset(i))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range h.Messages(0) {
			if m.From != service {
				t.Errorf("handset %s: %q is from %q, want %s", handset(i), m.Text, m.From, service)
			}
			got[handset(i)] = append(got[handset(i)], m.Text)
		}
	}
	return got
}

// Kannel's types of reports (dlr-mask).
const (
	kannelDelivered = 1
	kannelAccepted  = 8
	kannelAll       = 31
)

// kannel is a running bearerbox and smsbox, and the HTTP server to which they
// bring messages and reports.
type kannel struct {
	t        *testing.T
	sendsms  string
	client   *http.Client
	programs []*process // in the order of their start
	back     *httptest.Server

	mu      sync.Mutex
	got     map[string][]string
	gots    int
	nudges  int
	reports map[int]map[int]int // by message and type
	finals  int
	faults  []string
}

var kannelConfig = template.Must(template.New("").Parse(`group = core
admin-port = {{.AdminPort}}
admin-password = adm
admin-allow-ip = "127.0.0.1"
box-allow-ip = "127.0.0.1"
smsbox-port = {{.BoxPort}}
dlr-storage = internal
sms-resend-retry = 0

group = smsc
smsc-id = interop
host = 127.0.0.1
port = {{.Port}}
smsc-username = {{.User}}
smsc-password = {{.Password}}
reconnect-delay = 1
{{if eq .Protocol "smpp" -}}
smsc = smpp
transceiver-mode = true
system-type = ""
interface-version = 34
source-addr-ton = 0
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1
enquire-link-interval = 5
max-pending-submits = {{.Window}}
{{else -}}
smsc = cimd2
keepalive = 5
{{end}}
group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {{.SendPort}}
global-sender = {{.Service}}
max-pending-requests = 1

group = sendsms-user
username = t
password = t
max-messages = 255
concatenation = true
user-allow-ip = "127.0.0.1"

group = sms-service
keyword = default
catch-all = true
omit-empty = true
max-messages = 0
get-url = "{{.Back}}/message?from=%p&to=%P&coding=%c&udh=%u&text=%b"
`))

// startKannel starts Kannel as an ESME of the SMSC at a port. It ends with the test.
func startKannel(t *testing.T, protocol string, port, window int) *kannel {
	t.Helper()
	bearerbox, smsbox := program(t, "kannel", "bearerbox", "/usr/sbin/bearerbox"), program(t, "kannel", "smsbox", "/usr/sbin/smsbox")
	k := &kannel{t: t, client: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}, got: map[string][]string{}, reports: map[int]map[int]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /message", k.onMessage)
	mux.HandleFunc("GET /report", k.onReport)
	k.back = httptest.NewServer(mux)
	t.Cleanup(k.back.Close)
	t.Cleanup(k.client.CloseIdleConnections)

	ports := freePorts(t, 3)
	k.sendsms = fmt.Sprintf("http://127.0.0.1:%d/cgi-bin/sendsms", ports[2])
	dir := t.TempDir()
	path := filepath.Join(dir, "kannel.conf")
	var conf bytes.Buffer
	if err := kannelConfig.Execute(&conf, map[string]any{
		"AdminPort": ports[0], "BoxPort": ports[1], "SendPort": ports[2], "Port": port, "Protocol": protocol, "Window": window,
		"User": user, "Password": password, "Service": service, "Back": k.back.URL,
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, conf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	k.programs = append(k.programs, run(t, dir, bearerbox, "-v", "2", path))
	eventually(t, 20*time.Second, func() string { return listens(ports[1]) })
	k.programs = append(k.programs, run(t, dir, smsbox, "-v", "2", path))
	eventually(t, 20*time.Second, func() string { return connected(ports[0]) })
	eventually(t, 20*time.Second, func() string { return listens(ports[2]) })
	return k
}

// stop ends smsbox, then bearerbox, which logs out of the SMSC.
func (k *kannel) stop() {
	k.t.Helper()
	for i := len(k.programs) - 1; i >= 0; i-- {
		k.programs[i].stop()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fault := range k.faults {
		k.t.Error(fault)
	}
}

// sendAll has Kannel send all texts, over one connection because of their order.
func (k *kannel) sendAll(ctx context.Context, texts []string) error {
	for i, message := range texts {
		query := url.Values{
			"to": {handset(i)}, "charset": {"UTF-8"}, "text": {message},
			"dlr-mask": {strconv.Itoa(kannelAll)}, "dlr-url": {fmt.Sprintf("%s/report?message=%d&type=%%d&to=%%p", k.back.URL, i)},
		}
		if coding, _, err := text.Encode(message); err != nil {
			return err
		} else if coding == text.UCS2 {
			query.Set("coding", "2")
		}
		if err := k.send(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// nudge has Kannel send something, to a handset that does not count. Kannel's
// cimd2 leaves a packet that came together with the response to its last
// request in its buffer until it has another request to send.
func (k *kannel) nudge(ctx context.Context) error {
	k.nudges++
	return k.send(ctx, url.Values{"to": {demo.Prefix + "9999999"}, "text": {"nudge"}})
}

func (k *kannel) send(ctx context.Context, query url.Values) error {
	query.Set("username", "t")
	query.Set("password", "t")
	query.Set("from", service)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.sendsms+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("sendsms to %s: %s: %s", query.Get("to"), response.Status, body)
	}
	return err
}

// onMessage takes a text from a handset.
func (k *kannel) onMessage(_ http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	message := q.Get("text")
	if q.Get("coding") == "2" {
		message = utf16be(message)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if q.Get("to") != service || q.Get("udh") != "" || q.Get("coding") == "1" {
		k.faults = append(k.faults, "Kannel: unexpected message "+r.URL.RawQuery)
	}
	k.got[q.Get("from")] = append(k.got[q.Get("from")], message)
	k.gots++
}

// onReport takes what Kannel says of a message that it sent.
func (k *kannel) onReport(_ http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	message, err := strconv.Atoi(q.Get("message"))
	kind, err2 := strconv.Atoi(q.Get("type"))
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil || err2 != nil {
		k.faults = append(k.faults, "Kannel: unexpected report "+r.URL.RawQuery)
		return
	}
	if k.reports[message] == nil {
		k.reports[message] = map[int]int{}
	}
	k.reports[message][kind]++
	if kind == kannelDelivered {
		k.finals++
	}
}

func (k *kannel) missing(n int) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if missing := atLeast("received by Kannel", k.gots, n); missing != "" {
		return missing
	}
	return atLeast("reported by Kannel", k.finals, n)
}

func utf16be(octets string) string {
	units := make([]uint16, len(octets)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16([]byte(octets[2*i:]))
	}
	return string(utf16.Decode(units))
}

// freePorts returns ports at which nobody listens.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		p, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, p)
	}
	return ports
}

// connected says whether smsbox has reached bearerbox, whose administration
// listens at a port: until then bearerbox puts what comes aside, and loses its order.
func connected(port int) string {
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/status.txt?password=adm", port))
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	status, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(status), "smsbox:") {
		return fmt.Sprintf("bearerbox has no smsbox: %s %v", status, err)
	}
	return ""
}

// listens says why a port cannot be reached.
func listens(port int) string {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return err.Error()
	}
	_ = conn.Close()
	return ""
}
