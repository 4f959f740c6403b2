package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every key stands in the documentation.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	hubs, edges, _ := strings.Cut(string(page), "## The edge's file")
	for doc, of := range map[string]reflect.Type{hubs: reflect.TypeFor[Hub](), edges: reflect.TypeFor[Edge]()} {
		for _, key := range documented(of, "") {
			if !strings.Contains(doc, "`"+key+"`") {
				t.Errorf("docs/configuration.md does not name %s's %s", of.Name(), key)
			}
		}
	}
}

func documented(t reflect.Type, prefix string) (keys []string) {
	switch {
	case t.Kind() == reflect.Pointer:
		return documented(t.Elem(), prefix)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return documented(t.Elem(), prefix+"[]")
	case t.Kind() != reflect.Struct:
		return []string{prefix}
	}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "-" {
			keys = append(keys, documented(t.Field(i).Type, strings.TrimPrefix(prefix+"."+name, "."))...)
		}
	}
	return keys
}
