package simulator

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// Every field of the HTTP API is in its description.
func TestDocumented(t *testing.T) {
	octets, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{Faults{}, Receipts{}, Stats{}, Session{}, Message{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			name := f.Tag.Get("json")
			if name == "" || !strings.Contains(string(octets), "`"+name+"`") && !strings.Contains(string(octets), `"`+name+`"`) {
				t.Errorf("docs/simulator.md does not say what %s (%T) is", name, v)
			}
		}
	}
}
