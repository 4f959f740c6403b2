package model

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInvariantsDocumented: docs/invariants.md has each sentence, each violation,
// and names only tests that exist.
func TestInvariantsDocumented(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "invariants.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, i := range Invariants {
		if !strings.Contains(text, "| "+i.Name+" | "+i.Sentence+" |") {
			t.Errorf("%s: its row is missing or has another sentence", i.Name)
		}
	}
	for _, v := range Violations {
		if !strings.Contains(text, v.Break[0]) {
			t.Errorf("%s: the violation %q is missing", v.Invariant, v.Break[0])
		}
	}
	exists := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(source), -1) {
			exists[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1) {
		if !exists[m[1]] {
			t.Errorf("%s is no test", m[1])
		}
	}
}
