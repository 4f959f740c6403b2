package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHandbookNamesTests: each line of docs/failures.md ends with the names of tests
// that exist, and there are 40 lines at least.
func TestHandbookNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				known[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	lines := 0
	for i, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| What happens |") {
			continue
		}
		lines++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("docs/failures.md:%d has %d cells; want 4", i+1, len(cells))
			continue
		}
		names := name.FindAllStringSubmatch(cells[3], -1)
		if len(names) == 0 {
			t.Errorf("docs/failures.md:%d names no test", i+1)
		}
		for _, n := range names {
			if !known[n[1]] {
				t.Errorf("docs/failures.md:%d: there is no %s", i+1, n[1])
			}
		}
	}
	if lines < 40 {
		t.Errorf("%d lines; want 40", lines)
	}
	t.Logf("%d lines", lines)
}
