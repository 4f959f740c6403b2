package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stream is standard output or error of a command that runs here.
type stream struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The demo is a long-running command like the others: JSON lines on standard error, ready
// among them, and an end with status 0 when it is asked to stop. What a person reads is
// on standard output.
func TestDemoLogsAsTheOthersDo(t *testing.T) {
	var out, errs stream
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"demo", "--listen", "127.0.0.1:0", "--rtt", "10ms", "--data", t.TempDir()}, streams{&out, &errs})
	}()
	http := ""
	for limit := time.Now().Add(20 * time.Second); http == "" || !strings.Contains(out.String(), "http://"+http+"/"); <-time.After(10 * time.Millisecond) {
		for line := range strings.Lines(errs.String()) {
			var entry struct{ Msg, HTTP string }
			if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "ready" {
				http = entry.HTTP
			}
		}
		select {
		case status := <-ended:
			t.Fatalf("it ended with status %d: %s", status, &errs)
		default:
		}
		if time.Now().After(limit) {
			t.Fatalf("not ready, or no address:\n%s\n%s", &errs, &out)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-ended:
		if status != exitOK {
			t.Errorf("status %d: %s", status, &errs)
		}
	case <-time.After(stopLimit + 5*time.Second):
		t.Fatal("it does not stop")
	}
	for line := range strings.Lines(errs.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == nil || entry["level"] == nil {
			t.Errorf("no log line: %s", line)
		}
	}
	for _, want := range []string{"wonderland", fmt.Sprintf("http://%s/", http), "Stopping."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not shown: %s", want, &out)
		}
	}
}
