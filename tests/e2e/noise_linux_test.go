package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// In life a hub, those who are not to be disturbed and those who make noise have machines
// of their own. Here they share a few processors, so the hub gets one of them and no
// more, and who makes noise gets what the others leave: what is measured is then what the
// hub spends on the noise, not what the noise takes to make.

// last starts a program that others go before.
func last(t testing.TB) []string { return on(t, "last") }

// oneProcessor starts a program on one processor, where there are several.
func oneProcessor(t testing.TB) []string {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	if set.Count() < 2 {
		return nil
	}
	first := 0
	for !set.IsSet(first) {
		first++
	}
	return on(t, strconv.Itoa(first))
}

func on(t testing.TB, where string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, "@on", where}
}

// This program becomes the one that it is to start: what holds for the thread that init
// runs on holds for the process that exec makes of it.
func init() {
	if len(os.Args) < 4 || os.Args[1] != "@on" {
		return
	}
	var err error
	if os.Args[2] == "last" {
		var nice int
		if nice, err = unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil { // 20 - nice
			err = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-nice+15)
		}
	} else {
		var set unix.CPUSet
		n, _ := strconv.Atoi(os.Args[2])
		set.Set(n)
		err = unix.SchedSetaffinity(0, &set)
	}
	if err == nil {
		err = unix.Exec(os.Args[3], os.Args[3:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%q: %v\n", os.Args, err)
	os.Exit(1)
}
