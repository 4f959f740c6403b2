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
// that exist, and there are 40 lines at least. One of which there are several is named
// with its folder: `folder.TestName`.
func TestHandbookNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]int{} // how many there are of a name, and of one with its folder
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
				known[f.Name.Name]++
				known[filepath.Base(filepath.Dir(path))+"."+f.Name.Name]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`((?:[a-z0-9]+\\.)?Test[A-Za-z0-9_]+)`")
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
			switch {
			case known[n[1]] == 0:
				t.Errorf("docs/failures.md:%d: there is no %s", i+1, n[1])
			case known[n[1]] > 1:
				t.Errorf("docs/failures.md:%d: there are %d of %s: name the folder, too", i+1, known[n[1]], n[1])
			}
		}
	}
	if lines < 40 {
		t.Errorf("%d lines; want 40", lines)
	}
	t.Logf("%d lines", lines)
}
