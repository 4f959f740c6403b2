package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/smsc/text"
)

func TestLedger(t *testing.T) {
	l := newLedger()
	for _, name := range []string{"one", "two", "three", "four", "refused"} {
		l.submit("down", "ann", "+1", name)
	}
	l.submit("down", "ann", "+2", "elsewhere")
	for _, name := range []string{"one", "three", "four", "elsewhere"} {
		l.accept("down", name)
	}
	l.arrive("down", "+1", "two") // before its acceptance is known
	l.accept("down", "two")
	l.arrive("down", "+1", "one") // after two: out of order
	l.arrive("down", "+1", "four")
	l.arrive("down", "+1", "four")
	l.arrive("down", "+1", "elsewhere") // it is for +2
	l.arrive("up", "+1", "three")       // another way
	c := checker{ledger: l}
	var r Result
	c.verdict(&r)
	if r.Accepted != 5 || r.Received != 3 || r.Lost != 2 || r.Doubled != 1 || r.Disordered != 1 || l.missing() != 2 || l.strays != 2 {
		t.Errorf("%+v, %d missing, %d strays", r, l.missing(), l.strays)
	}
	all := strings.Join(r.Complaints, "\n")
	for _, want := range []string{`lost, from ann to +1: "down three"`, `to +2: "down elsewhere"`, `came 2 times`, "1 came after", "sent him"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "2 lost, 1 doubled, 1 out of order") {
		t.Error(err)
	}
	if err := (Result{Accepted: 3, Received: 3}).Err(); err != nil {
		t.Error(err)
	}
}

func TestMeter(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	steady, seldom := meter{window: 2 * time.Second}, meter{window: 2 * time.Second}
	for ms := 0; ms <= 10_000; ms += 200 {
		steady.add(at(ms), uint64(ms/2), at(ms))
		seldom.add(at(ms), uint64(ms/600), at(ms/600*600)) // one each 600 ms
	}
	if got := steady.rate(); got != 500 {
		t.Errorf("500/s measured as %v", got)
	}
	if got := seldom.rate(); got < 1.66 || got > 1.67 {
		t.Errorf("1.67/s measured as %v", got)
	}
	for ms := 10_200; ms <= 13_000; ms += 200 {
		steady.add(at(ms), 5000, at(10_000))
	}
	if got := steady.rate(); got != 0 {
		t.Errorf("nothing for 2 s measured as %v", got)
	}
}

func TestTexts(t *testing.T) {
	seen, long, first := map[string]bool{}, 0, firstText()
	for n := range 3 * len(texts) {
		s := textNumber(first + uint64(n))
		parts, _, err := text.Parts(s)
		if err != nil || parts > 2 {
			t.Errorf("%q: %d parts, %v", s, parts, err)
		}
		if parts == 2 {
			long++
		}
		if seen[s] || strings.Contains(s, "{n}") {
			t.Errorf("%q is not unique, or has no number", s)
		}
		seen[s] = true
	}
	if long < 3 {
		t.Errorf("%d texts are long: a demo shows some", long)
	}
}
