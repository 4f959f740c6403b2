// Package torture breaks the disks of whole nodes: they are lost, filled and restored.
// What is judged is what people and handsets got. Processes that are killed and
// stopped, and lines that are cut, are in package e2e (TestTorture).
package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/simulator"
)

const patience = 60 * time.Second

// world is a hub, an edge and an SMSC in this process, with sockets and disks.
type world struct {
	*demo.Rig
	t    *testing.T
	logs *observer.ObservedLogs
	sent map[string][]byte // id by text
}

func newWorld(t *testing.T, change func(*demo.RigConfig)) *world {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	cfg := demo.RigConfig{
		Dir: t.TempDir(), Protocol: "smpp", Slots: 32, Stripes: 2, Log: zap.New(core),
		HubOpts: []hub.Option{hub.WithPasswordCost(bcrypt.MinCost)},
		Hub:     func(c *config.Hub) { c.Messages.Keep, c.Events.Keep = time.Hour, time.Hour },
		Edge:    func(c *config.Edge) { c.Retry.First, c.Retry.Max = 200*time.Millisecond, 300*time.Millisecond },
	}
	if change != nil {
		change(&cfg)
	}
	rig, err := demo.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Rig: rig, t: t, logs: logs, sent: map[string][]byte{}}
	t.Cleanup(func() {
		_ = rig.Close()
		if t.Failed() {
			all := logs.All()
			for _, e := range all[max(0, len(all)-60):] {
				t.Log(e.Level, e.LoggerName, e.Message, e.ContextMap())
			}
		}
	})
	if _, err := w.Hub.PutUser(t.Context(), "ann", "secret"); err != nil {
		t.Fatal(err)
	}
	w.await()
	return w
}

func (w *world) await() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.Await(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// send has ann write n texts to a handset, beginning with a word.
func (w *world) send(handset, word string, n int) {
	w.t.Helper()
	for i := range n {
		text := fmt.Sprint(word, " ", i)
		a, err := w.Hub.Send(w.t.Context(), hub.Submission{From: "ann", To: handset, Text: text})
		w.must(err)
		w.sent[text] = a.ID
	}
}

func (w *world) handset(number string) *simulator.Handset {
	w.t.Helper()
	h, err := w.SMSC.Handset(number)
	w.must(err)
	return h
}

// write has a handset write n texts to ann.
func (w *world) write(handset, word string, n int) {
	w.t.Helper()
	for i := range n {
		w.must(w.handset(handset).Send(demo.Number, fmt.Sprint("@ann ", word, " ", i)))
	}
}

// received is how often each text came to a handset.
func (w *world) received(handset string) map[string]int {
	counts := map[string]int{}
	for _, m := range w.handset(handset).Messages(0) {
		counts[m.Text]++
	}
	return counts
}

// inbox is how often each text came to ann.
func (w *world) inbox() map[string]int {
	w.t.Helper()
	counts := map[string]int{}
	for after := uint64(0); ; {
		events, err := w.Hub.Inbox("ann", after, 1000)
		w.must(err)
		for _, e := range events {
			counts[e.Text]++
			after = e.Number
		}
		if len(events) == 0 {
			return counts
		}
	}
}

// states counts ann's messages by state.
func (w *world) states() map[messages.State]int {
	w.t.Helper()
	counts := map[messages.State]int{}
	for _, id := range w.sent {
		r, err := w.Hub.Message("", id)
		w.must(err)
		counts[r.State]++
	}
	return counts
}

// unknown says whether a doubt stands in a message's history.
func (w *world) unknown(text string) bool {
	w.t.Helper()
	r, err := w.Hub.Message("", w.sent[text])
	w.must(err)
	for _, s := range r.History {
		if s.State == messages.State_UNKNOWN {
			return true
		}
	}
	return false
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("not within %v: %s; states %v", patience, what, w.states())
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a system with a clock of its own
	}
}

// has waits until n texts with this word came, each once at least.
func (w *world) has(where func() map[string]int, word string, n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("all %d of %q", n, word), func() bool {
		got := where()
		for i := range n {
			if got[fmt.Sprint(word, " ", i)] == 0 {
				return false
			}
		}
		return true
	})
}

// onlyDoubtsTwice checks that what came twice is counted as unknown, and returns how
// many did.
func (w *world) onlyDoubtsTwice(handset string) (twice int) {
	w.t.Helper()
	for text, n := range w.received(handset) {
		if n > 1 {
			twice++
			if !w.unknown(text) {
				w.t.Errorf("%q came %d times to %s and its history has no unknown", text, n, handset)
			}
		}
	}
	return twice
}

func (w *world) once(counts map[string]int) {
	w.t.Helper()
	for text, n := range counts {
		if n != 1 {
			w.t.Errorf("%q came %d times", text, n)
		}
	}
}

// lose removes a data directory, as a broken disk does.
func (w *world) lose(dir string) {
	w.t.Helper()
	w.must(errors.Join(os.RemoveAll(dir)))
}
