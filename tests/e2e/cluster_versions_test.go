package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/tests/need"
)

// released builds the version that testdata/released names and returns its binary.
func released(t testing.TB) string {
	t.Helper()
	named, err := os.ReadFile("testdata/released")
	if err != nil {
		t.Fatal(err)
	}
	var commit string
	for line := range strings.Lines(string(named)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			commit = line
		}
	}
	if err := exec.Command("git", "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		need.Lack(t, "it needs the repository's history back to commit %s: clone it whole", commit)
	}
	dir := t.TempDir()
	unpack := exec.Command("sh", "-c", `git -C "$(git rev-parse --show-toplevel)" archive "$0" | tar -x -C "$1"`, commit, dir)
	if output, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	binary := filepath.Join(dir, "released")
	build := exec.Command("go", "build", "-o", binary, "./nodes/ringway")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Logf("beside commit %s", commit)
	return binary
}

// Hubs of the version that was released last are replaced by the present one, one
// after the other, under load; one goes back. Edges are of the present one.
func TestClusterVersions(t *testing.T) {
	t.Parallel()
	long(t)
	old := inside{by: []string{"sh", "-c", `shift; exec "` + released(t) + `" "$@"`, "sh"}}
	h := newHubs(t, 3, 0)
	h.edge("manila-1", "+63917", "cimd2")
	h.edge("cebu-1", "+63918", "smpp")
	h.configured(6)
	for _, n := range h.nodes {
		n.in = old
	}
	h.start()
	x := h.load(3, 12, 50*time.Millisecond)
	replace := func(n *hubNode, by inside, which string) {
		n.stop()
		n.in = by
		h.launch(n).ready()
		h.well(60 * time.Second)
		eventually(t, 30*time.Second, func() string { return h.agree(8) })
		x.flow(30 * time.Second)
		t.Logf("%s is of the %s version now", n.name, which)
	}
	for _, n := range h.nodes {
		replace(n, inside{}, "present")
	}
	replace(h.nodes[1], old, "released")
	x.judge(60 * time.Second)
	h.neverTwice()
}
