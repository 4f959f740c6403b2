package need_test

import (
	"runtime"
	"testing"

	"github.com/ringway-im/ringway/tests/need"
)

// verdict takes down how a test ends.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper() {}
func (v *verdict) Fatalf(string, ...any) {
	v.said = "fatal"
	runtime.Goexit()
}

func (v *verdict) Skipf(string, ...any) {
	v.said = "skip"
	runtime.Goexit()
}

func TestVerdicts(t *testing.T) {
	ask := func(do func(t testing.TB)) string {
		v := &verdict{TB: t, said: "goes on"}
		done := make(chan struct{})
		go func() {
			defer close(done)
			do(v)
		}()
		<-done
		return v.said
	}
	t.Setenv("RINGWAY_HAS", "x")
	for noSkip, without := range map[string]string{"": "skip", "1": "fatal"} {
		t.Setenv("RINGWAY_NO_SKIP", noSkip)
		for _, tt := range []struct {
			name, want string
			do         func(testing.TB)
		}{
			{"a program", "goes on", func(t testing.TB) { need.Program(t, "no-such-program", "go") }},
			{"no program", without, func(t testing.TB) { need.Program(t, "no-such-program") }},
			{"a variable", "goes on", func(t testing.TB) { need.Env(t, "RINGWAY_HAS") }},
			{"no variable", without, func(t testing.TB) { need.Env(t, "RINGWAY_HAS_NOT") }},
		} {
			if got := ask(tt.do); got != tt.want {
				t.Errorf("RINGWAY_NO_SKIP=%s, %s: %s, want %s", noSkip, tt.name, got, tt.want)
			}
		}
	}
}
