package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckHistory(t *testing.T) {
	const accepted = `{"kind":"accepted","by":"ann","msg":"m","id":"1","conn":"c","to":"+1"}` + "\n"
	const taken = `{"kind":"taken","by":"smsc","msg":"m","session":"s"}` + "\n"
	const failed = `{"kind":"state","by":"ann","id":"1","state":"failed"}` + "\n"
	const end = `{"kind":"end"}` + "\n"
	for name, test := range map[string]struct {
		files  []string
		status int
		says   string
	}{
		"kept":      {[]string{accepted, taken + end}, exitOK, `"ok": true`},
		"lost":      {[]string{accepted + end}, exitFailed, `"rule": "lost"`},
		"unfounded": {[]string{accepted, failed + end}, exitFailed, `"rule": "unfounded"`},
		"empty":     {[]string{"", ""}, exitConfig, "no records"},
		"malformed": {[]string{`{"kind":"accepted"}`}, exitConfig, "names no observer"},
	} {
		var out, err bytes.Buffer
		args := []string{"check-history"}
		for i, content := range test.files {
			path := filepath.Join(t.TempDir(), string(rune('a'+i)))
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
		}
		if status := run(args, streams{&out, &err}); status != test.status || !strings.Contains(out.String()+err.String(), test.says) {
			t.Errorf("%s: status %d, %s%s; want %d with %q", name, status, out.String(), err.String(), test.status, test.says)
		}
	}
}
