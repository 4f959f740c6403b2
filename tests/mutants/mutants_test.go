package main

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// TestMutantsApply keeps the mutants in step with the code: each changes one
// place, and what comes out is Go. (make mutants has them built and caught.)
func TestMutantsApply(t *testing.T) {
	if len(mutants) < 25 {
		t.Errorf("%d mutants", len(mutants))
	}
	names := map[string]bool{}
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("%q stands there twice", m.name)
		}
		names[m.name] = true
		changed, err := m.apply(filepath.Join("..", ".."))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, changed, 0); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if len(m.packages) == 0 {
			t.Errorf("%s: no suite is to catch it", m.name)
		}
	}
}
