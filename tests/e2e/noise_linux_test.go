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

// goesLast lets all others go before a process that has begun.
func goesLast(t testing.TB, pid int) {
	t.Helper()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // of this process: 20 - nice
	if err != nil {
		t.Fatal(err)
	}
	nice := min(20-raw+15, 19)
	for range 2 { // a thread has the priority of the one that made it, which may just have done so
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, nice) // it may have ended
		}
	}
}

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
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, "@on", strconv.Itoa(first)}
}

// This program becomes the one that it is to start: what holds for the thread that init
// runs on holds for the process that exec makes of it.
func init() {
	if len(os.Args) < 4 || os.Args[1] != "@on" {
		return
	}
	var set unix.CPUSet
	n, err := strconv.Atoi(os.Args[2])
	if err == nil {
		set.Set(n)
		err = unix.SchedSetaffinity(0, &set)
	}
	if err == nil {
		err = unix.Exec(os.Args[3], os.Args[3:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%q: %v\n", os.Args, err)
	os.Exit(1)
}
