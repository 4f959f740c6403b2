package interop

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ringway-im/ringway/tests/need"
)

// The npm package smpp is an ESME at our simulator.
func TestNPMESME(t *testing.T) {
	for _, window := range []int{1, 10} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			testESME(t, window, func(t *testing.T, port string) *peer { return npmPeer(t, true, "esme", strconv.Itoa(window), port) })
		})
	}
}

// The npm package smpp is the SMSC of our edge.
func TestNPMSMSC(t *testing.T) {
	for _, window := range []int{1, 10} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			testSMSC(t, window, func(t *testing.T) *peer { return npmPeer(t, false, "smsc", strconv.Itoa(window)) })
		})
	}
}

func npmPeer(t *testing.T, isESME bool, args ...string) *peer {
	t.Helper()
	node, modules := program(t, "nodejs", "node"), npmModules(t)
	return startPeer(t, []string{"NODE_PATH=" + modules}, isESME, node, append([]string{"testdata/npm/peer.js"}, args...)...)
}

// npmModules installs what testdata/npm/package-lock.json names into the user's
// cache, unless it is there already, and returns the folder.
func npmModules(t *testing.T) string {
	t.Helper()
	npm := program(t, "npm", "npm")
	sum := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join("testdata/npm", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = content
		_, _ = sum.Write(content)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	parent := filepath.Join(cache, "ringway-interop")
	installed := filepath.Join(parent, fmt.Sprintf("%x", sum.Sum(nil)[:8]))
	modules := filepath.Join(installed, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(parent, "install-") //nolint:usetesting // renamed to where it stays: the same file system
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		need.Lack(t, "it needs the npm package smpp, and npm ci could not install it (is there a network?): %v\n%s", err, out)
	}
	if err := os.Rename(dir, installed); err != nil {
		if _, missing := os.Stat(modules); missing != nil { // else somebody was first
			t.Fatal(err)
		}
	}
	return modules
}
