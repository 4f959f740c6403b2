package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const deadline = 20 * time.Second

// serve runs a demo and returns its URL.
func serve(t *testing.T, dir string) (base string, stop func()) {
	t.Helper()
	_, base, stop = serveWith(t, dir, "smpp")
	return base, stop
}

func serveWith(t *testing.T, dir, protocol string) (d *Demo, base string, stop func()) {
	t.Helper()
	d, err := newDemo(t.Context(), RigConfig{Dir: dir, Protocol: protocol, RTT: 20 * time.Millisecond}, bounds{100, 400}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return d, "http://" + l.Addr().String(), stop
}

// ask does one request; header is pairs of name and value.
func ask(t *testing.T, method, url, body string, header ...string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	octets, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(octets)
}

func get[T any](t *testing.T, url string) (body T) {
	t.Helper()
	status, answer := ask(t, "GET", url, "")
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", url, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), &body); err != nil {
		t.Fatalf("GET %s: %v: %s", url, err, answer)
	}
	return body
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	if !poll(t.Context(), deadline, so) {
		t.Fatalf("not within %v: %s", deadline, what)
	}
}

func change(t *testing.T, method, url, body string) {
	t.Helper()
	if status, answer := ask(t, method, url, body); status != http.StatusNoContent {
		t.Fatalf("%s %s %s: %d %s", method, url, body, status, answer)
	}
}

type ringsBody struct {
	Edges []struct {
		ID, Link  string
		Hub, Edge struct{ Down, Up ringView }
		EdgeAsOf  time.Time `json:"edge_as_of"`
	}
}

func TestAPI(t *testing.T) {
	base, _ := serve(t, t.TempDir())

	config := get[struct {
		Users                  []User
		Handsets               []string
		Edge, Number, Protocol string
	}](t, base+"/demo/config")
	if len(config.Users) != 2 || len(config.Handsets) != 2 || config.Edge != EdgeID || config.Number != Number || config.Protocol != "smpp" {
		t.Errorf("config: %+v", config)
	}
	for _, u := range config.Users {
		if status, answer := ask(t, "POST", base+"/v1/login", fmt.Sprintf(`{"user":%q,"password":%q}`, u.Name, u.Password)); status != http.StatusOK {
			t.Errorf("login of %s: %d %s", u.Name, status, answer)
		}
	}
	if status, answer := ask(t, "GET", base+"/", ""); status != http.StatusOK || !strings.Contains(answer, "<title>Ringway demo") {
		t.Errorf("page: %d %.80s", status, answer)
	}

	link := func() string { return get[ringsBody](t, base+"/demo/rings").Edges[0].Link }
	until(t, "the link is up", func() bool { return link() == "up" })
	change(t, "PUT", base+"/demo/wan", `{"rtt_ms":40,"jitter_ms":5}`)
	change(t, "POST", base+"/demo/pour", `{"on":true}`)
	until(t, "traffic all three ways", func() bool {
		s := get[state](t, base+"/demo/state")
		return s.Pouring && s.Rates.Down > 0 && s.Rates.Up > 0 && s.Rates.Direct > 0 &&
			s.Totals.Accepted > 100 && s.Totals.Delivered > 100 && s.Totals.Received > 0
	})
	if s := get[state](t, base+"/demo/state"); s.RTT != 40 || s.Jitter != 5 || s.Cut {
		t.Errorf("state: %+v", s)
	}

	change(t, "POST", base+"/demo/cut", `{"cut":true}`)
	before := get[state](t, base+"/demo/state")
	until(t, "both ends take in, nothing arrives, and the link is seen as interrupted", func() bool {
		e := get[ringsBody](t, base+"/demo/rings").Edges[0]
		down, up := e.Hub.Down, e.Edge.Up
		return e.Link != "up" && down.Counts["free"] == 0 && down.Queue > 50 && up.Counts["free"] < int(up.Slots) &&
			get[state](t, base+"/demo/state").Rates.Up == 0
	})
	if s := get[state](t, base+"/demo/state"); !s.Cut || s.Totals.Accepted <= before.Totals.Accepted {
		t.Errorf("cut: %+v, before %+v", s, before)
	}
	e := get[ringsBody](t, base+"/demo/rings").Edges[0]
	if e.ID != EdgeID || len(e.Edge.Down.Flags) != 255 || strings.Trim(e.Hub.Down.Flags, ".rscp") != "" || time.Since(e.EdgeAsOf) > deadline {
		t.Errorf("rings: %+v", e)
	}
	if p := e.Hub.Down.Pointers; p.LastProcessed > p.LastConfirmed || p.LastConfirmed > p.LastSent || p.LastSent > p.LastRetrieved || p.LastRetrieved == 0 {
		t.Errorf("pointers: %+v", p)
	}

	change(t, "POST", base+"/demo/pour", `{"on":false}`)
	change(t, "POST", base+"/demo/cut", `{"cut":false}`)
	until(t, "the rings and queues are empty, all is delivered", func() bool {
		e, s := get[ringsBody](t, base+"/demo/rings").Edges[0], get[state](t, base+"/demo/state")
		return e.Link == "up" && e.Hub.Down.Counts["free"] == 255 && e.Edge.Up.Counts["free"] == 255 && e.Hub.Down.Queue == 0 &&
			s.Totals.Delivered == s.Totals.Accepted && s.Rates == (rates{})
	})
}

// What the rate stands beside is a second session with the very SMSC that the edge
// serves, over a line with the same settings; it takes nothing that is for the edge, in
// CIMD2 neither, where every session receives.
func TestDirectIsAnotherSessionOfTheSameSMSC(t *testing.T) {
	for _, protocol := range []string{"cimd2", "smpp"} {
		t.Run(protocol, func(t *testing.T) {
			d, base, _ := serveWith(t, t.TempDir(), protocol)
			change(t, "POST", base+"/demo/pour", `{"on":true}`)
			until(t, "both submit to it, and handsets are heard", func() bool {
				through := map[string]uint64{}
				for _, s := range d.rig.SMSC.Sessions() {
					through[s.User] += s.Submitted
				}
				s := get[state](t, base+"/demo/state")
				return through[smscUser] > 20 && through[directUser] > 5 && s.Rates.Direct > 0 && s.Totals.Received > 20
			})
			for _, s := range d.rig.SMSC.Sessions() {
				if s.User == directUser && s.Delivered > 0 {
					t.Errorf("the direct session took %d that was not for it", s.Delivered)
				}
			}
			change(t, "PUT", base+"/demo/wan", `{"rtt_ms":40,"jitter_ms":5}`)
			change(t, "POST", base+"/demo/cut", `{"cut":true}`)
			if line, direct := d.rig.WAN, d.direct.wan; direct.RTT() != line.RTT() || !direct.IsCut() || !line.IsCut() {
				t.Errorf("round trip %v directly, %v on the link; cut %v, %v", direct.RTT(), line.RTT(), direct.IsCut(), line.IsCut())
			}
			change(t, "POST", base+"/demo/cut", `{"cut":false}`)
		})
	}
}

func TestHandsetsThroughTheDemo(t *testing.T) {
	base, _ := serve(t, t.TempDir())
	handset := base + "/demo/handsets/" + url.QueryEscape(Handsets[0]) // %2B
	if status, answer := ask(t, "POST", handset+"/messages", `{"to":"`+Number+`","text":"@alice hello"}`); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, answer)
	}
	_, answer := ask(t, "POST", base+"/v1/login", `{"user":"alice","password":"`+Users[0].Password+`"}`)
	var login struct{ Token string }
	if err := json.Unmarshal([]byte(answer), &login); err != nil {
		t.Fatal(err)
	}
	until(t, "alice has it", func() bool {
		_, inbox := ask(t, "GET", base+"/v1/messages?box=inbox", "", "Authorization", "Bearer "+login.Token)
		return strings.Contains(inbox, `"hello"`) && strings.Contains(inbox, Handsets[0])
	})
	for i := range 2 {
		text := fmt.Sprintf(`{"to":%q,"text":"answer %d"}`, Handsets[0], i)
		if status, answer := ask(t, "POST", base+"/v1/messages", text, "Authorization", "Bearer "+login.Token); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
	}
	until(t, "the handset has both", func() bool {
		return len(get[[]struct{ Text string }](t, handset+"/messages")) == 2
	})
	if second := get[[]struct{ Text, From string }](t, handset+"/messages?after=1"); len(second) != 1 || second[0].From != Number {
		t.Errorf("after=1: %+v", second)
	}
}

func TestRefusals(t *testing.T) {
	base, _ := serve(t, t.TempDir())
	for _, tt := range []struct {
		method, path, body, want string
		status                   int
	}{
		{"PUT", "/demo/wan", `{"rtt_ms":-1,"jitter_ms":0}`, "rtt_ms is -1: give 0 to 10000", 400},
		{"PUT", "/demo/wan", `{"rtt_ms":100}`, `give \"rtt_ms\" and \"jitter_ms\"`, 400},
		{"PUT", "/demo/wan", `{"rtt_ms":"1s","jitter_ms":0}`, "the body", 400},
		{"POST", "/demo/cut", `{}`, `give \"cut\"`, 400},
		{"POST", "/demo/cut", `{"cut":true,"for":1}`, "the body", 400},
		{"POST", "/demo/pour", `on`, "the body", 400},
		{"POST", "/demo/pour", `{"on":` + strings.Repeat(" ", 2000) + `true}`, "too large", 400},
		{"GET", "/demo/nothing", ``, "there is no GET /demo/nothing", 404},
	} {
		if status, answer := ask(t, tt.method, base+tt.path, tt.body); status != tt.status || !strings.Contains(answer, tt.want) {
			t.Errorf("%s %s %.40s: %d %s", tt.method, tt.path, tt.body, status, answer)
		}
	}
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		status, answer := ask(t, "POST", base+"/demo/cut", `{"cut":true}`, header...)
		if status != http.StatusForbidden || get[state](t, base+"/demo/state").Cut {
			t.Errorf("%v: %d %s", header, status, answer)
		}
		if status, _ := ask(t, "POST", base+"/demo/handsets/1/messages", `{"to":"1","text":"x"}`, header...); status != http.StatusForbidden {
			t.Errorf("handset, %v: %d", header, status)
		}
	}
	if status, answer := ask(t, "POST", base+"/demo/cut", `{"cut":false}`, "Origin", base); status != http.StatusNoContent {
		t.Errorf("the page's own origin: %d %s", status, answer)
	}
}

func TestStartsAgainWithWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	signIn := func(base string) string {
		_, answer := ask(t, "POST", base+"/v1/login", `{"user":"bob","password":"`+Users[1].Password+`"}`)
		var login struct{ Token string }
		if err := json.Unmarshal([]byte(answer), &login); err != nil || login.Token == "" {
			t.Fatalf("login: %v %s", err, answer)
		}
		return login.Token
	}
	base, stop := serve(t, dir)
	token := signIn(base)
	if status, answer := ask(t, "POST", base+"/v1/messages", `{"to":"alice","text":"until tomorrow","ref":"1"}`, "Authorization", "Bearer "+token); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, answer)
	}
	stop()
	base, _ = serve(t, dir)
	if status, answer := ask(t, "GET", base+"/v1/messages?ref=1", "", "Authorization", "Bearer "+token); status != http.StatusOK || !strings.Contains(answer, "until tomorrow") {
		t.Errorf("%d %s", status, answer)
	}
	signIn(base)
	until(t, "the link is up again", func() bool { return get[ringsBody](t, base+"/demo/rings").Edges[0].Link == "up" })
}

func TestCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 11 s each: left out under -short")
	}
	for _, protocol := range []string{"cimd2", "smpp"} {
		t.Run(protocol, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			r, err := Check(t.Context(), RigConfig{Dir: t.TempDir(), Protocol: protocol, RTT: 100 * time.Millisecond}, l)
			t.Logf("%+v", r)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Err(); err != nil {
				t.Error(err, r.Complaints)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if r.Accepted < 500 || r.Received != r.Accepted || r.CutMS < 3000 || r.ResyncMS <= 0 || r.Rate <= r.DirectRate || r.UpRate <= 0 || r.DirectRate <= 0 || r.Protocol != protocol || r.RTTMS != 100 {
				t.Errorf("%+v", r)
			}
		})
	}
}
