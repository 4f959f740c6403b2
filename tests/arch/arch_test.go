package arch_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/ringway-im/ringway/tests/arch"
)

func TestTree(t *testing.T) {
	found, err := arch.Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range found {
		t.Error(violation)
	}
}

// Planted violations: each input is a file, each answer what is found in it.
func TestPlanted(t *testing.T) {
	datadriven.RunTest(t, "testdata/planted.txt", func(t *testing.T, d *datadriven.TestData) string {
		found, err := arch.CheckFile(d.CmdArgs[0].Key, []byte(d.Input))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			return "fine"
		}
		return strings.Join(found, "\n")
	})
}
