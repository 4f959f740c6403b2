package hub

import (
	"errors"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/smsc/text"
)

// Whatever an edge's quirks make of it, a text that was accepted can be cut into
// parts, and the longest that is accepted is not much shorter than it could be.
func TestAcceptedTextsCanBeCut(t *testing.T) {
	store, err := hubstore.Open(hubstore.Options{Dir: "store", FS: vfs.NewMem(), Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{
		DataDir: t.TempDir(), Limits: config.Limits{Parts: text.MaxParts},
		Edges: []config.HubEdge{{ID: "manila-1", Prefixes: []string{"+63917"}, Number: "63917000"}},
	}, WithStore(store))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	prepare := func(s string) error {
		return h.prepareNumber(&journal.Submission{To: "+639170000001", Text: s})
	}
	for _, test := range []struct {
		of    string
		units int // UTF-16
	}{{"x", 1}, {"é", 1}, {"€", 1}, {"ş", 1}, {"ж", 1}, {"字", 1}, {"ह", 1}, {"\uFEFF", 1}, {"😀", 2}, {"x😀", 3}} {
		n := sort.Search(text.MaxParts*160, func(n int) bool { return n > 0 && prepare(strings.Repeat(test.of, n)) != nil })
		refusal := new(Refusal)
		if err := prepare(strings.Repeat(test.of, n)); !errors.As(err, &refusal) || refusal.Code != CodeTooLong || refusal.Limit != text.MaxParts || refusal.Unit != "parts" {
			t.Errorf("%d times %q: %v", n, test.of, err)
		}
		longest := strings.Repeat(test.of, n-1)
		if units := (n - 1) * test.units; units < 64*text.MaxParts || units > 66*text.MaxParts {
			t.Errorf("%q: up to %d UTF-16 units are accepted", test.of, units)
		}
		all := []text.Encoded{{Coding: text.UCS2, Data: text.EncodeUCS2(longest)}}
		languages := [][]text.Language{nil}
		for _, name := range []string{"turkish", "hindi"} {
			language, ok := text.ParseLanguage(name)
			if !ok {
				t.Fatal(name)
			}
			languages = append(languages, []text.Language{language})
		}
		for _, national := range languages {
			e, err := text.EncodeFor(longest, national...)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
		for _, e := range all {
			for _, wide := range []bool{false, true} {
				if _, err := e.Split(text.Reference{Wide: wide}); err != nil {
					t.Errorf("%d times %q in %v, 16-bit references %v: %v", n-1, test.of, e.Coding, wide, err)
				}
			}
		}
	}
}
