// Package arch keeps the import diagram of ARCHITECTURE.md: it parses every Go
// file, so that neither build tags nor the test cache hide one.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/ringway-im/ringway/"

// pure packages decide and do nothing else.
var pure = []string{"actors/ring", "actors/journal", "smsc", "smsc/smpp", "smsc/cimd2", "smsc/text", "cluster/view"}

// apart packages meet by PID and messages, never by import.
var apart = []string{"actors/link", "actors/hub", "smsc/session", "cluster"}

// impure are the parts of the standard library that do something, or wait.
var impure = []string{"net", "os", "sync", "log", "syscall", "unsafe", "plugin", "runtime", "database", "testing"}

// clock is what package time has beyond durations and dates.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// Check returns a line for each violation in the tree, sorted by file.
func Check(tree fs.FS) ([]string, error) {
	var found []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name != "." && strings.HasPrefix(d.Name(), ".") || name == "node_modules" || name == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		violations, err := CheckFile(name, source)
		found = append(found, violations...)
		return err
	})
	return found, err
}

// CheckFile returns a line for each violation in one file, named by its path in
// the tree.
func CheckFile(name string, source []byte) ([]string, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("arch: %w", err)
	}
	c := checker{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), set: set}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("arch: %s: %w", name, err)
		}
		c.at = spec.Pos()
		if ours, ok := strings.CutPrefix(imported, module); ok {
			c.checkOurs(ours)
		} else if c.isPure() {
			c.checkPureImport(imported, spec)
		}
	}
	if c.isPure() {
		c.checkPureCode(file)
	}
	return c.found, nil
}

type checker struct {
	name, pkg string
	test      bool
	set       *token.FileSet
	at        token.Pos
	clock     string // what package time is called in this file
	found     []string
}

// isPure leaves out tests, and what stands in a folder below, a conformance suite say.
func (c *checker) isPure() bool { return !c.test && slices.Contains(pure, c.pkg) }

func (c *checker) say(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s:%d: ", c.name, c.set.Position(c.at).Line)+fmt.Sprintf(format, args...))
}

func (c *checker) checkOurs(imported string) {
	layer := top(c.pkg)
	switch {
	case c.pkg == "actors/journal" && imported == "messages": // its records are those messages: see ARCHITECTURE.md
	case c.isPure() && !slices.Contains(pure, imported):
		c.say("%s is pure and must not import %s", c.pkg, imported)
	case layer == "messages" && !c.test:
		c.say("messages must import nothing of ours, but imports %s", imported)
	case top(imported) == "tests" && layer != "tests" && !c.test && (c.pkg != "nodes/ringway" || !within(imported, "tests/history")):
		c.say("only tests may lean on %s", imported)
	case top(imported) == "nodes" && layer != "nodes" && layer != "tests" && !c.test:
		c.say("%s is below nodes and must not import %s", c.pkg, imported)
	}
	own, other := group(c.pkg), group(imported)
	if own != "" && other != "" && own != other && imported != "cluster/view" && !c.test {
		c.say("%s and %s meet by PID and messages, not by import of %s", own, other, imported)
	}
}

func (c *checker) checkPureImport(imported string, spec *ast.ImportSpec) {
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case strings.Contains(first, "."):
		c.say("%s is pure and must not import %s", c.pkg, imported)
	case slices.Contains(impure, first):
		c.say("%s is pure and must not import %s: it decides, others act", c.pkg, imported)
	case imported == "time":
		c.clock = "time"
		if spec.Name != nil {
			c.clock = spec.Name.Name
		}
		if c.clock == "." {
			c.say("%s is pure and must name package time, so that its use can be checked", c.pkg)
		}
	}
}

func (c *checker) checkPureCode(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.at = n.Pos()
			c.say("%s is pure and must start no goroutine", c.pkg)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && c.clock != "" && x.Name == c.clock && slices.Contains(clock, n.Sel.Name) {
				c.at = n.Pos()
				c.say("%s is pure and must not look at the clock: take the time as an argument instead of time.%s", c.pkg, n.Sel.Name)
			}
		}
		return true
	})
}

func top(pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	return first
}

func within(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

// group is which of the apart packages it belongs to.
func group(pkg string) string {
	for _, a := range apart {
		if within(pkg, a) {
			return a
		}
	}
	return ""
}
