package simulator

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/smpp"
	"github.com/ringway-im/ringway/smsc/text"
)

// call answers with status and body.
func call(t *testing.T, server, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, server+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer answer.Body.Close()
	octets, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(octets)
}

func TestHTTP(t *testing.T) {
	s := start(t, Config{})
	server := httptest.NewServer(http.StripPrefix("/demo", s.Handler()))
	t.Cleanup(server.Close)
	url := server.URL + "/demo"
	e := bind(t, s, smpp.Protocol, account)

	if status, body := call(t, url, "GET", "/handsets/"+subscriber+"/messages", ""); status != 200 || body != "[]" {
		t.Errorf("nothing received: %d %s", status, body)
	}
	for _, m := range []string{"one", "two ©漢"} {
		e.submit(parts(t, m, 0)[0])
	}
	status, body := call(t, url, "GET", "/handsets/"+subscriber+"/messages", "")
	var got []struct {
		From, Text string
		At         time.Time
		Parts      int
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || len(got) != 2 ||
		got[1].Text != "two ©漢" || got[0].From != service || got[0].Parts != 1 || got[0].At.IsZero() {
		t.Errorf("%d %s %v", status, body, err)
	}
	for path, want := range map[string]int{"?after=1": 1, "?after=2": 0, "?after=99": 0} {
		_, body := call(t, url, "GET", "/handsets/%2B639171234567/messages"+path, "")
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != want {
			t.Errorf("%s: %s, want %d messages", path, body, want)
		}
	}

	status, body = call(t, url, "POST", "/handsets/"+subscriber+"/messages", `{"to":"`+service+`","text":"hi 漢"}`)
	if status != 202 || body != "" {
		t.Errorf("send: %d %s", status, body)
	}
	if d := get(t, e.deliver, "deliver"); text.Decode(d.Coding, d.Data) != "hi 漢" || d.From.String() != subscriber {
		t.Errorf("got %+v", d)
	}

	if status, _ = call(t, url, "PUT", "/handsets/"+subscriber, `{"on":false}`); status != 204 {
		t.Errorf("off: %d", status)
	}
	if o := e.submit(parts(t, "kept", 0)[0]); o.Fate != smsc.Accepted || s.Stats().Delivered != 2 {
		t.Errorf("off: %+v", s.Stats())
	}
	if status, body = call(t, url, "POST", "/handsets/"+subscriber+"/messages", `{"to":"1","text":"x"}`); status != 409 {
		t.Errorf("sent while off: %d %s", status, body)
	}
	if status, _ = call(t, url, "PUT", "/handsets/"+subscriber, `{"on":true}`); status != 204 || s.Stats().Delivered != 3 {
		t.Errorf("on: %d, %+v", status, s.Stats())
	}

	_, body = call(t, url, "GET", "/stats", "")
	var stats map[string]int
	if err := json.Unmarshal([]byte(body), &stats); err != nil || stats["submitted"] != 3 || stats["delivered"] != 3 ||
		stats["sessions"] != 1 || stats["mo_queued"] != 1 || stats["max_unanswered"] != 1 {
		t.Errorf("stats: %s, %v", body, err)
	}
	for _, name := range []string{
		"throttled", "received_texts", "handset_messages", "receipts_sent", "receipts_pending", "mo_acked",
		"rejected", "dropped_responses", "duplicates", "logins_refused", "garbled",
	} {
		if _, ok := stats[name]; !ok {
			t.Errorf("stats lacks %s", name)
		}
	}

	status, body = call(t, url, "PUT", "/faults", `{"latency":"3ms","throttle_rate":1}`)
	if status != 200 || s.Latency() != 3*time.Millisecond || s.Faults() != (Faults{ThrottleRate: 1}) ||
		!strings.HasPrefix(body, `{"latency":"3ms","close_rate":0,"throttle_rate":1,"temporary_rate":0`) {
		t.Errorf("faults: %d %s, %v", status, body, s.Latency())
	}
	if o := e.submit(parts(t, "x", 0)[0]); o.Fate != smsc.Throttled {
		t.Errorf("throttle_rate 1: %+v", o)
	}
	want := Faults{ThrottleRate: 1, LateBy: 20 * time.Millisecond}
	if status, _ = call(t, url, "PUT", "/faults", `{"latency":2.5,"late_by":"20ms"}`); status != 200 || s.Latency() != 2500*time.Microsecond || s.Faults() != want {
		t.Errorf("what is left out stays: %d, %v, %+v", status, s.Latency(), s.Faults())
	}
	if _, body = call(t, url, "GET", "/faults", ""); !strings.Contains(body, `"latency":"2.5ms"`) || !strings.Contains(body, `"late_by":"20ms"`) {
		t.Errorf("faults: %s", body)
	}
	if status, _ = call(t, url, "DELETE", "/faults", ""); status != 204 || s.Faults() != (Faults{}) || s.Latency() != 2500*time.Microsecond {
		t.Errorf("no faults: %d, %+v", status, s.Faults())
	}

	status, body = call(t, url, "PUT", "/receipts", `{"form":"text","omit":["sub"]}`)
	if status != 200 || !strings.Contains(body, `"form":"text","omit":["sub"]`) {
		t.Errorf("receipts: %d %s", status, body)
	}
	if status, _ = call(t, url, "PUT", "/receipts", `{"twice":true}`); status != 200 || s.Receipts().Form != "text" || !s.Receipts().Twice {
		t.Errorf("what is left out stays: %d %+v", status, s.Receipts())
	}
	if status, _ = call(t, url, "DELETE", "/receipts", ""); status != 204 || s.Receipts().Form != "" {
		t.Errorf("receipts as specified: %d %+v", status, s.Receipts())
	}

	_, body = call(t, url, "GET", "/sessions", "")
	var sessions []Session
	if err := json.Unmarshal([]byte(body), &sessions); err != nil || len(sessions) != 1 || sessions[0].User != "ringway" ||
		sessions[0].Mode != "transceiver" || sessions[0].Submitted != 3 || sessions[0].Delivered != 1 || sessions[0].Peer != e.conn.LocalAddr().String() {
		t.Errorf("sessions: %s, %v", body, err)
	}
	if status, _ = call(t, url, "DELETE", "/stats", ""); status != 204 || s.Stats().Submitted != 0 || s.Stats().Sessions != 1 {
		t.Errorf("count anew: %d %+v", status, s.Stats())
	}
	if status, _ = call(t, url, "DELETE", "/sessions?politely=true", ""); status != 202 {
		t.Errorf("end sessions: %d", status)
	}
	if err := get(t, e.ended, "end"); err == nil || !strings.Contains(err.Error(), "unb") {
		t.Errorf("ended by %v, want an unbind", err)
	}
}

func TestHTTPBadInput(t *testing.T) {
	s := start(t, Config{Latency: time.Millisecond})
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	messages := "/handsets/" + subscriber + "/messages"
	tests := []struct {
		method, path, body string
		status             int
		detail             string
	}{
		{"GET", "/handsets/alice/messages", "", 400, "digits"},
		{"GET", "/handsets/+/messages", "", 400, "digits"},
		{"GET", "/handsets/123456789012345678901/messages", "", 400, "digits"},
		{"GET", messages + "?after=x", "", 400, "after"},
		{"GET", messages + "?after=-1", "", 400, "after"},
		{"POST", messages, "", 400, "body"},
		{"POST", messages, "{", 400, "body"},
		{"POST", messages, `{"to":"1"}`, 400, "text"},
		{"POST", messages, `{"text":"x"}`, 400, "digits"},
		{"POST", messages, `{"to":"alice","text":"x"}`, 400, "digits"},
		{"POST", messages, `{"to":"1","text":"x","when":1}`, 400, "when"},
		{"POST", messages, `{"to":"1","text":"` + "\xff" + `"}`, 400, "UTF-8"},
		{"POST", messages, `{"to":"1","text":"` + strings.Repeat("x", 255*153+1) + `"}`, 413, "255"},
		{"POST", messages, `{"to":"1","text":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too large"},
		{"PUT", "/handsets/" + subscriber, `{}`, 400, "on"},
		{"PUT", "/handsets/" + subscriber, `{"on":"no"}`, 400, "on"},
		{"PUT", "/handsets/bob", `{"on":true}`, 400, "digits"},
		{"PUT", "/faults", `{"throttle_rate":1.5}`, 400, "throttle_rate"},
		{"PUT", "/faults", `{"close_rate":-1,"latency":"7ms"}`, 400, "close_rate"},
		{"PUT", "/faults", `{"latency":"fast"}`, 400, "duration"},
		{"PUT", "/faults", `{"latency":"-1ms"}`, 400, "latency"},
		{"PUT", "/faults", `{"latency":true}`, 400, "duration"},
		{"PUT", "/faults", `{"explode_rate":1}`, 400, "explode_rate"},
		{"PUT", "/faults", `{"temporary_rate":2}`, 400, "temporary_rate"},
		{"PUT", "/faults", `{"window":-1}`, 400, "window"},
		{"PUT", "/faults", `{"unbind_delay":"2h"}`, 400, "unbind_delay"},
		{"PUT", "/receipts", `{"form":"verse"}`, 400, "form"},
		{"PUT", "/receipts", `{"omit":["date"]}`, 400, "date"},
		{"PUT", "/receipts", `{"id_digits":99}`, 400, "id_digits"},
		{"PUT", "/receipts", `{"bind":"that"}`, 400, "bind"},
		{"DELETE", "/sessions?politely=please", "", 400, "politely"},
		{"POST", "/outbind", `{"address":"127.0.0.1:1"}`, 400, "outbind"},
		{"POST", "/handsets/bob/alert", "", 400, "digits"},
		{"POST", "/stats", "", 405, ""},
		{"GET", "/nothing", "", 404, ""},
	}
	for _, tt := range tests {
		status, body := call(t, server.URL, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.detail) {
			t.Errorf("%s %s %.60s: %d %s, want %d and %q", tt.method, tt.path, tt.body, status, body, tt.status, tt.detail)
		}
	}
	if got := s.Stats(); got.MOQueued != 0 || s.Faults() != (Faults{}) || s.Latency() != time.Millisecond {
		t.Errorf("bad input had an effect: %+v, %+v, %v", got, s.Faults(), s.Latency())
	}
}

func TestHTTPListener(t *testing.T) {
	s, err := New(Config{HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if status, body := call(t, "http://"+s.HTTPAddr(), "GET", "/stats", ""); status != 200 || !strings.Contains(body, "submitted") {
		t.Errorf("%d %s", status, body)
	}
}
