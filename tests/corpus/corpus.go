// Package corpus reads messages that people really sent, for tests.
package corpus

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
)

// Texts returns those of the sample, or of all the files that RINGWAY_SMS_CORPUS
// names, with commas between them.
func Texts(t testing.TB, sample string) (texts []string) {
	t.Helper()
	names := []string{sample}
	if others := os.Getenv("RINGWAY_SMS_CORPUS"); others != "" {
		names = strings.Split(others, ",")
	}
	for _, name := range names {
		texts = append(texts, Read(t, name)...)
	}
	return texts
}

// Read returns the texts of a file: .jsonl or .jsonl.gz, a line {"text"}.
func Read(t testing.TB, name string) (texts []string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatalf("corpus: %v", err)
	}
	defer func() { _ = file.Close() }()
	var from io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if from, err = gzip.NewReader(file); err != nil {
			t.Fatalf("corpus: %s: %v", name, err)
		}
	}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Text == "" {
			t.Fatalf("corpus: %s: %q: %v", name, lines.Text(), err)
		}
		texts = append(texts, line.Text)
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("corpus: %s: %v", name, err)
	}
	return texts
}
