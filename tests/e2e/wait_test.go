package e2e

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// long skips what takes more than a few seconds, with RINGWAY_NO_SKIP too, which is about
// what a machine lacks: each such test has a target of make's, which sets the variable.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("RINGWAY_LONG") != "1" {
		t.Skip("it takes long: set RINGWAY_LONG=1")
	}
}

func isLong() bool { return os.Getenv("RINGWAY_LONG") == "1" }

// What only a target of make's runs, some target of make's does run.
func TestLongTestsHaveTargets(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var targets []*regexp.Regexp
	for _, m := range regexp.MustCompile(`(?m)^\tRINGWAY_(?:LONG|NO_SKIP)=1 .*'(\^[^']*)'`).FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, regexp.MustCompile(strings.ReplaceAll(m[1], "$$", "$")))
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if name, ok := call.Fun.(*ast.Ident); ok && slices.Contains([]string{"long", "isLong", "eachAndAll"}, name.Name) {
					found++
					if !slices.ContainsFunc(targets, func(r *regexp.Regexp) bool { return r.MatchString(f.Name.Name) }) {
						t.Errorf("no target of make's runs the long form of %s", f.Name.Name)
					}
				}
				return true
			})
		}
	}
	if found < 8 {
		t.Errorf("only %d long tests were found", found)
	}
}

// eventually polls until missing returns "", which is what there is still to
// wait for, or fails the test with it.
func eventually(t testing.TB, limit time.Duration, missing func() string) {
	t.Helper()
	if last := await(t.Context(), limit, missing); last != "" {
		t.Fatalf("after %v: %s", limit, last)
	}
}

func await(ctx context.Context, limit time.Duration, missing func() string) (last string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if last = missing(); last == "" {
			return ""
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// atLeast is for eventually.
func atLeast(what string, got, want int) string {
	if got >= want {
		return ""
	}
	return fmt.Sprintf("%s: %d of %d", what, got, want)
}

// sameSequence fails the test unless got is want: nothing lost, nothing
// doubled, in order.
func sameSequence(t testing.TB, who string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	count := map[string]int{}
	for _, text := range want {
		count[text]++
	}
	for _, text := range got {
		count[text]--
	}
	var lost, surplus int
	for _, n := range count {
		lost, surplus = lost+max(n, 0), surplus+max(-n, 0)
	}
	first := 0
	for first < min(len(got), len(want)) && got[first] == want[first] {
		first++
	}
	around := func(s []string) string {
		return fmt.Sprintf("%.400q", strings.Join(s[min(first, len(s)):min(first+3, len(s))], " | "))
	}
	t.Errorf("%s: got %d texts, want %d; lost %d, doubled or altered %d; first difference at %d:\n got %s\nwant %s",
		who, len(got), len(want), lost, surplus, first, around(got), around(want))
}
