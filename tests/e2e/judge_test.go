package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ringway-im/ringway/tests/history"
)

// What observers saw becomes records that tests/history judges.

// namer names a text for all observers alike. down says which way it goes.
type namer func(down bool, handset, text string) string

// byTurn names texts that may occur several times, of which every observer sees the
// first before the second. Each kind of observer has one of its own.
func byTurn() namer {
	turn := map[string]int{}
	return func(down bool, handset, text string) string {
		key := fmt.Sprint(down, " ", handset, " ", text)
		turn[key]++
		return fmt.Sprint(key, " #", turn[key])
	}
}

// byName takes a text's first word up to a slash: who wrote it saw to it that no
// other begins so.
func byName(_ bool, _, text string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	name, _, _ = strings.Cut(name, "/")
	return name
}

// records takes out what a person saw since.
func (p *person) records(accepted, inbox namer) []history.Record {
	p.mu.Lock()
	saw := p.saw
	p.saw = nil
	p.mu.Unlock()
	for i := range saw {
		switch r := &saw[i]; r.Kind {
		case history.Accepted:
			r.Msg = accepted(true, r.To, r.Msg)
		case history.Inbox:
			name, named := p.named[r.ID]
			if !named { // else it was read again
				name = inbox(false, r.From, r.Msg)
				p.named[r.ID] = name
			}
			r.Msg = name
		}
	}
	return saw
}

// mustHold fails the test with what is violated.
func mustHold(t testing.TB, records []history.Record) history.Verdict {
	t.Helper()
	v, err := history.Check(history.Options{}, records)
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range v.Violations {
		t.Error(violation)
	}
	return v
}
