// Command mutants plants known kinds of bug, one at a time, and says which test
// catches each. The tree is left alone: the compiler sees a changed copy of one
// file in its place (go build -overlay). A mutant that does not compile, or that
// no test catches, is a failure; so is a suite that fails without one, and one that
// hangs where the list does not say that this is the mutant's sign.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "regular expression: only mutants whose name, file or package it matches")
	list := flag.Bool("list", false, "print their names and do nothing")
	trust := flag.Bool("trust", false, "do not run the suites without a mutant first")
	histories := flag.Int("histories", 0, "have the simulation alone look for each, in so many histories, and say in which it was found")
	within := flag.Duration("within", 3*time.Minute, "bound of one package's tests")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants: -only:", err)
		os.Exit(2)
	}
	var chosen []mutant
	for _, m := range mutants {
		if wanted.MatchString(m.name) || wanted.MatchString(m.file) || wanted.MatchString(strings.Join(m.packages, " ")) {
			chosen = append(chosen, m)
		}
	}
	if *list {
		for _, m := range chosen {
			fmt.Println(m.name)
		}
		return
	}
	if *histories > 0 {
		err = simulate(chosen, *histories, *within)
	} else {
		err = run(chosen, *within, *trust)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(chosen []mutant, within time.Duration, trust bool) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	began := time.Now()
	var packages []string
	for _, m := range chosen {
		for _, p := range m.packages {
			if !trust && !slices.Contains(packages, p) {
				packages = append(packages, p)
			}
		}
	}
	for _, p := range packages { // without a mutant all must pass
		caught, out, err := suite(dir, "", p, "", within)
		if err != nil {
			return fmt.Errorf("%s without a mutant: %w", p, err)
		}
		if caught != "" {
			out, _, _ = strings.Cut(out, "\ngoroutine ")
			return fmt.Errorf("%s fails without a mutant: %s\n%s", p, caught, out[max(0, len(out)-4000):])
		}
	}
	fmt.Printf("%d suites pass without a mutant (%.0f s)\n", len(packages), time.Since(began).Seconds())
	survivors, hung := 0, 0
	for _, m := range chosen {
		at := time.Now()
		by, err := m.try(dir, within)
		hangs, expected := strings.Contains(by, " "+hangsIn), slices.Contains(hanging, m.name)
		switch {
		case err != nil:
			survivors++
			by = "NOT TRIED: " + err.Error()
		case by == "":
			survivors++
			by = "SURVIVES " + strings.Join(m.packages, " ")
		case hangs && !expected: // no test has said anything; it may have been slow
			hung++
			by = "HANGS, and is not listed so: " + by
		case expected && !hangs:
			hung++
			by = "is to hang: " + by
		}
		fmt.Printf("%-48s %-64s %5.1f s\n", m.name, by, time.Since(at).Seconds())
	}
	fmt.Printf("%d mutants, %d not caught, %d whose tests do not end as listed, %.0f s\n", len(chosen), survivors, hung, time.Since(began).Seconds())
	if survivors+hung > 0 {
		return fmt.Errorf("of %d mutants %d are not caught: a test is missing; of %d the tests hang, or end, other than the list says", len(chosen), survivors, hung)
	}
	return nil
}

// simulate has histories of the whole pair look for each mutant. Not all can show
// there: what an interruption mends, nobody misses.
func simulate(chosen []mutant, histories int, within time.Duration) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	found, began := 0, time.Now()
	for _, m := range chosen {
		overlay, err := m.plant(dir)
		if err != nil {
			return err
		}
		binary, err := build(dir, overlay, simulation)
		if err != nil {
			return err
		}
		at := time.Now()
		_, out, err := tests(binary, simulation, []string{
			"-test.v", "-test.timeout=" + within.String(), "-test.run=^TestHistories$", "-seeds", strconv.Itoa(histories), "-most", "1",
		}, within)
		took, how := time.Since(at).Seconds(), "not in "+strconv.Itoa(histories)
		switch seed := inHistory.FindStringSubmatch(out); {
		case seed != nil:
			found++
			how = "in history " + seed[1] + ": " + strings.TrimSpace(seed[2]+" "+seed[3])
		case err != nil:
			how = "NOT TRIED: " + err.Error()
		case strings.Contains(out, "panic: "):
			found++
			how = "panics or hangs"
		}
		fmt.Printf("%-48s %5.1f s  %.150s\n", m.name, took, how)
	}
	fmt.Printf("%d mutants, %d found in up to %d histories, %.0f s\n", len(chosen), found, histories, time.Since(began).Seconds())
	return nil
}

var inHistory = regexp.MustCompile(`(?m)^\s+sim_test\.go:\d+: seed (\d+): (.*)\n\s+(.*)$`)

// try returns the package and the test that caught m; "": none.
func (m mutant) try(dir string, within time.Duration) (string, error) {
	overlay, err := m.plant(dir)
	if err != nil {
		return "", err
	}
	for _, p := range m.packages {
		caught, _, err := suite(dir, overlay, p, m.first, within)
		if err != nil {
			return "", err
		}
		if caught != "" {
			return strings.TrimPrefix(p, "./") + " " + caught, nil
		}
	}
	return "", nil
}

// plant writes the changed file, and what tells the compiler of it.
func (m mutant) plant(dir string) (overlay string, err error) {
	changed, err := m.apply(".")
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "changed.go")
	overlay = filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	paths, err := json.Marshal(map[string]map[string]string{"Replace": {original: copied}})
	if err := errors.Join(err, os.WriteFile(copied, changed, 0o600), os.WriteFile(overlay, paths, 0o600)); err != nil {
		return "", err
	}
	return overlay, nil
}

// apply returns the changed file.
func (m mutant) apply(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s has %d places like %q, not one: the code has changed, change the mutant", m.file, n, m.old)
	}
	return bytes.Replace(source, []byte(m.old), []byte(m.new), 1), nil
}

var (
	failed  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	running = regexp.MustCompile(`(?m)^=== RUN\s+(\S+)`)
)

// hangsIn begins what is said of a test that was running when the time was over.
const hangsIn = "hangs in "

// suite builds a package's tests and runs them until one fails, those that first
// matches before all; "": all pass.
func suite(dir, overlay, pkg, first string, within time.Duration) (caught, out string, err error) {
	binary, err := build(dir, overlay, pkg)
	if err != nil {
		return "", "", err
	}
	args := []string{"-test.v", "-test.failfast", "-test.timeout=" + within.String()}
	if code, err := os.ReadFile(binary); err == nil && bytes.Contains(code, []byte("rapid.nofailfile")) {
		args = append(args, "-rapid.nofailfile", "-rapid.shrinktime=1s") // what fails here is not to be tried again in the tree
	}
	if first != "" {
		if caught, out, err = tests(binary, pkg, append(args, "-test.run="+first), within); caught != "" || err != nil {
			return caught, out, err
		}
	}
	return tests(binary, pkg, args, within)
}

func build(dir, overlay, pkg string) (binary string, err error) {
	binary = filepath.Join(dir, "suite.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary, "-overlay="+overlay, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s does not build: %w\n%s", pkg, err, said)
	}
	return binary, nil
}

func tests(binary, pkg string, args []string, within time.Duration) (caught, out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within+10*time.Second)
	defer cancel()
	test := exec.CommandContext(ctx, binary, args...)
	test.Dir = pkg
	said, err := test.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", "", nil
	case !errors.As(err, &exit):
		return "", "", err
	}
	out = string(said)
	if m := failed.FindAllStringSubmatch(out, -1); m != nil {
		caught = m[0][1]
		for _, other := range m { // the innermost says most
			if strings.HasPrefix(other[1], caught) {
				caught = other[1]
			}
		}
		return caught, out, nil
	}
	how := "panic in "
	if strings.Contains(out, "panic: test timed out") {
		how = hangsIn
	}
	if m := running.FindAllStringSubmatch(out, -1); m != nil {
		return how + m[len(m)-1][1], out, nil
	}
	return "", "", fmt.Errorf("%s: %w\n%s", pkg, err, out)
}
