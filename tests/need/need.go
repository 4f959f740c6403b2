// Package need skips tests that lack something of the machine, and says what.
// With RINGWAY_NO_SKIP=1, as make check sets it, what is missing fails the test:
// a suite that skipped half of itself must not look green.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Root is for tests that change the network or the clock of the machine.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Lack(t, "it needs root: run it with sudo")
	}
}

// Program returns the path of the first of these programs that is installed.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Lack(t, "it needs the program %v: install it", names)
	return ""
}

// Env returns a variable that names something outside, a database say.
func Env(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		Lack(t, "it needs %s: set it", name)
	}
	return value
}

// Lack skips the test, or fails it, for want of what the format says, and how to get it.
func Lack(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("RINGWAY_NO_SKIP") == "1" {
		t.Fatalf(format+" (RINGWAY_NO_SKIP=1 forbids to skip)", args...)
	}
	t.Skipf(format, args...)
}
