package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestLossFlag(t *testing.T) {
	for _, tt := range []struct {
		flag string
		want []lossRate
		says string
	}{
		{"", []lossRate{{2, 0.8}, {5, 0.55}}, ""},
		{"off", nil, ""},
		{"2,5", []lossRate{{2, 0.8}, {5, 0.55}}, ""},
		{"5.0", []lossRate{{5, 0.55}}, ""},
		{"2:0.9,3:0.7", []lossRate{{2, 0.9}, {3, 0.7}}, ""},
		{"3", nil, "what passes at 3 % is not known: give a ratio to slots/RTT too, as in 3:0.5"},
		{"2:0", nil, "above 0"},
		{"2:", nil, "above 0"},
		{"2:NaN", nil, "above 0"},
		{"100:0.5", nil, "percent:ratio"},
		{"NaN:0.5", nil, "percent:ratio"},
		{"much", nil, "percent:ratio"},
	} {
		var args []string
		if tt.flag != "" {
			args = []string{"-loss", tt.flag}
		}
		o, err := parse(args)
		switch {
		case tt.says != "":
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("-loss %s: %v, want %s", tt.flag, err, tt.says)
			}
		case err != nil || !reflect.DeepEqual(o.loss.rates, tt.want):
			t.Errorf("-loss %s: %v %v, want %v", tt.flag, o.loss.rates, err, tt.want)
		}
	}
}

// The last line of the output is the report, and so is the file.
func TestReportIsJSON(t *testing.T) {
	r := report{CPUs: 2, Min: 0.9, Rows: []row{{Protocol: "cimd2", Direction: "up", Rate: 450}, {Protocol: "cimd2", Direction: "down", Loss: 2}}}
	var out bytes.Buffer
	out.WriteString("a table")
	file := filepath.Join(t.TempDir(), "results.json")
	if err := r.write(&out, file); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{lines[len(lines)-1], string(written)} {
		var got report
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
