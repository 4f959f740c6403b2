package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringway-im/ringway/tests/history"
)

// clean is a history in which all is well: two messages down of one
// conversation, the second of two parts and doubled after a doubt; one up; one
// between people.
func clean() []history.Record {
	const (
		smsc, hub, ann = "smsc/globe", "hub/hub-1", "client/ann"
		late           = 1_700_000_000_000_000
	)
	down := func(retrieved, sent, confirmed, processed uint64) history.Record {
		return history.Record{
			Kind: history.Pointers, By: hub, Ring: "down", Role: "sender", Life: 1, Slots: 4,
			Retrieved: retrieved, Sent: sent, Confirmed: confirmed, Processed: processed,
		}
	}
	return []history.Record{
		{Kind: history.Accepted, By: ann, Msg: "one", ID: "1", Conn: "ann/1", To: "+1"},
		{Kind: history.Accepted, By: ann, Msg: "two", ID: "2", Conn: "ann/1", To: "+1"},
		{Kind: history.Accepted, By: ann, Msg: "bob", ID: "3", Conn: "ann/1", To: "bob"},
		{Kind: history.Accepted, By: ann, Msg: "late", ID: "4", Conn: "ann/1", To: "+2", Until: late},
		{Kind: history.Accepted, By: ann, Msg: "no", ID: "5", Conn: "ann/1", To: "+2"},
		{Kind: history.Accepted, By: ann, Msg: "away", ID: "6", Conn: "ann/1", To: "+3"},
		{Kind: history.State, By: ann, ID: "1", State: "sent", N: 1},
		{Kind: history.State, By: ann, ID: "1", State: "processed", N: 2},
		{Kind: history.State, By: ann, ID: "1", State: "sent", N: 1}, // read again
		{Kind: history.State, By: ann, ID: "4", State: "expired", N: 3, At: late + 7},
		{Kind: history.State, By: ann, ID: "5", State: "failed", N: 4},
		{Kind: history.State, By: ann, ID: "6", State: "expired", N: 5, At: late - 7},
		{Kind: history.Taken, By: smsc, Msg: "one", Session: "s1"},
		{Kind: history.Refused, By: smsc, Msg: "two", Session: "s1", Fate: "temporary"},
		{Kind: history.Refused, By: smsc, Msg: "no", Part: 1, Parts: 2, Session: "s1", Fate: "permanent"},
		{Kind: history.Taken, By: smsc, Msg: "away", Part: 0, Parts: 2, Session: "s1"},
		{Kind: history.Taken, By: smsc, Msg: "away", Part: 1, Parts: 2, Session: "s1"},
		{Kind: history.Receipt, By: smsc, Msg: "away", Part: 0, Parts: 2, State: "delivered"},
		{Kind: history.Receipt, By: smsc, Msg: "away", Part: 1, Parts: 2, State: "expired"},
		{Kind: history.Taken, By: smsc, Msg: "two", Part: 0, Parts: 2, Session: "s1"},
		{Kind: history.Closed, By: smsc, Session: "s1"},
		{Kind: history.Taken, By: smsc, Msg: "two", Part: 0, Parts: 2, Session: "s2"},
		{Kind: history.Taken, By: smsc, Msg: "two", Part: 1, Parts: 2, Session: "s2"},
		{Kind: history.Handed, By: smsc, Msg: "hi", From: "+1", To: "100", Session: "s2"},
		{Kind: history.Acked, By: smsc, Msg: "hi", From: "+1", To: "100"},
		{Kind: history.Handed, By: smsc, Msg: "there", From: "+1", To: "100", Session: "s2"},
		{Kind: history.Acked, By: smsc, Msg: "there", From: "+1", To: "100"},
		{Kind: history.Inbox, By: ann, Msg: "hi", ID: "10", N: 6},
		{Kind: history.Inbox, By: ann, Msg: "there", ID: "11", N: 7},
		{Kind: history.Inbox, By: ann, Msg: "hi", ID: "10", N: 6}, // connected anew
		{Kind: history.Inbox, By: "client/bob", Msg: "bob", ID: "3"},
		down(1, 0, 0, 0), down(2, 2, 1, 0), down(5, 3, 2, 1),
		{Kind: history.History, By: hub, ID: "2", States: []string{"accepted", "retrieved", "unknown", "processed"}},
		{Kind: history.End, By: hub},
	}
}

func TestCleanHistoryPasses(t *testing.T) {
	v, err := history.Check(history.Options{}, clean())
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK || v.Doubts != 1 || v.Accepted != 6 || v.Taken != 6 || v.Acked != 2 || v.Inbox != 3 || !v.CameToRest {
		t.Errorf("%+v", v)
	}
}

// Planted faults: each alone is caught, and called by its name and no other.
func TestPlanted(t *testing.T) {
	is := func(kind history.Kind, msg string) func(history.Record) bool {
		return func(r history.Record) bool { return r.Kind == kind && (msg == "" || r.Msg == msg) }
	}
	without := func(h []history.Record, which func(history.Record) bool) []history.Record {
		return slices.DeleteFunc(h, which)
	}
	swap := func(h []history.Record, a, b func(history.Record) bool) []history.Record {
		i, j := slices.IndexFunc(h, a), slices.IndexFunc(h, b)
		h[i], h[j] = h[j], h[i]
		return h
	}
	again := func(h []history.Record, which func(history.Record) bool, change func(*history.Record)) []history.Record {
		r := h[slices.IndexFunc(h, which)]
		change(&r)
		return append(h, r)
	}
	change := func(h []history.Record, which func(history.Record) bool, f func(*history.Record)) []history.Record {
		f(&h[slices.IndexFunc(h, which)])
		return h
	}
	last := func(h []history.Record, f func(*history.Record)) []history.Record {
		pointers := slices.DeleteFunc(slices.Clone(h), func(r history.Record) bool { return r.Kind != history.Pointers })
		r := pointers[len(pointers)-1]
		f(&r)
		return append(h, r)
	}
	type plant = func(h []history.Record) []history.Record
	for name, test := range map[string]struct {
		rule  history.Rule
		plant plant
	}{
		"a message never came to the SMSC": {history.Lost, func(h []history.Record) []history.Record {
			return append(h, history.Record{Kind: history.Accepted, By: "client/ann", Msg: "gone", ID: "9", Conn: "ann/1", To: "+1"})
		}},
		"a part never came": {history.Lost, func(h []history.Record) []history.Record {
			return without(h, func(r history.Record) bool { return r.Kind == history.Taken && r.Msg == "two" && r.Part == 1 })
		}},
		"a handset's message is in no inbox":      {history.Lost, func(h []history.Record) []history.Record { return without(h, is(history.Inbox, "there")) }},
		"a message between people is in no inbox": {history.Lost, func(h []history.Record) []history.Record { return without(h, is(history.Inbox, "bob")) }},
		"nobody was told why": {history.Lost, func(h []history.Record) []history.Record {
			return without(h, func(r history.Record) bool { return r.State == "expired" && r.ID == "4" })
		}},
		"a copy without a doubt": {history.Doubled, func(h []history.Record) []history.Record {
			return again(h, func(r history.Record) bool { return r.Kind == history.Taken && r.Msg == "two" && r.Part == 1 }, func(*history.Record) {})
		}},
		"a copy of what was not the session's last": {history.Doubled, func(h []history.Record) []history.Record {
			i := slices.IndexFunc(h, is(history.Refused, "two"))
			return slices.Insert(h, i, history.Record{Kind: history.Taken, By: "smsc/globe", Msg: "one", Session: "s1"})
		}},
		"the session did not end": {history.Doubled, func(h []history.Record) []history.Record {
			h = without(h, is(history.Closed, ""))
			return append(h, history.Record{Kind: history.Closed, By: "smsc/globe", Session: "s3"}) // else there is a doubt too many as well
		}},
		"two doubts of one session": {history.Doubled, func(h []history.Record) []history.Record {
			swallowed := history.Record{Kind: history.Taken, By: "smsc/globe", Msg: "kept", Session: "s1", Unanswered: true}
			again := swallowed
			again.Session, again.Unanswered = "s2", false
			return append(h, swallowed, again)
		}},
		"an inbox got it in two events": {history.Doubled, func(h []history.Record) []history.Record {
			return again(h, is(history.Inbox, "there"), func(r *history.Record) { r.N = 8 })
		}},
		"a person got it twice": {history.Doubled, func(h []history.Record) []history.Record {
			return again(h, is(history.Inbox, "there"), func(r *history.Record) { r.ID = "12" })
		}},
		"a doubt that the history does not tell of": {history.Uncounted, func(h []history.Record) []history.Record {
			return change(h, is(history.History, ""), func(r *history.Record) { r.States = []string{"accepted", "processed"} })
		}},
		"a doubt without a history": {history.Uncounted, func(h []history.Record) []history.Record { return without(h, is(history.History, "")) }},
		"more doubts than sessions broke": {history.Overcounted, func(h []history.Record) []history.Record {
			return append(h, history.Record{Kind: history.History, By: "hub/hub-1", ID: "1", States: []string{"unknown"}})
		}},
		"failed, and nobody had refused it": {history.Unfounded, func(h []history.Record) []history.Record {
			return append(h, history.Record{Kind: history.State, By: "client/ann", ID: "1", State: "failed", N: 9})
		}},
		"failed, its history says": {history.Unfounded, func(h []history.Record) []history.Record {
			return append(h, history.Record{Kind: history.History, By: "hub/hub-1", ID: "1", States: []string{"processed", "failed"}})
		}},
		"failed, and was refused only for now": {history.Unfounded, func(h []history.Record) []history.Record {
			return change(h, is(history.Refused, "no"), func(r *history.Record) { r.Fate = "temporary" })
		}},
		"failed, and receipts say that it came": {history.Unfounded, func(h []history.Record) []history.Record {
			return append(h, history.Record{Kind: history.Receipt, By: "smsc/globe", Msg: "one", State: "delivered"},
				history.Record{Kind: history.State, By: "client/ann", ID: "1", State: "failed", N: 9})
		}},
		"expired without a deadline": {history.Unfounded, func(h []history.Record) []history.Record {
			return change(h, is(history.Accepted, "late"), func(r *history.Record) { r.Until = 0 })
		}},
		"expired before its time": {history.Unfounded, func(h []history.Record) []history.Record {
			return change(h, is(history.Accepted, "late"), func(r *history.Record) { r.Until += 8 })
		}},
		"expired, and not all receipts had come": {history.Unfounded, func(h []history.Record) []history.Record {
			return without(h, func(r history.Record) bool { return r.Kind == history.Receipt && r.State == "delivered" })
		}},
		"a conversation turned round on the way down": {history.Disordered, func(h []history.Record) []history.Record {
			return swap(h, is(history.Accepted, "one"), is(history.Accepted, "two"))
		}},
		"a conversation turned round on the way up": {history.Disordered, func(h []history.Record) []history.Record {
			return swap(h, is(history.Acked, "hi"), is(history.Acked, "there"))
		}},
		"a state of lower rank": {history.Backwards, func(h []history.Record) []history.Record {
			return append(h, history.Record{Kind: history.State, By: "client/ann", ID: "1", State: "confirmed", N: 9})
		}},
		"processed, they said": {history.Untrue, func(h []history.Record) []history.Record {
			h = append(h, history.Record{Kind: history.Accepted, By: "client/ann", Msg: "claim", ID: "9", Conn: "ann/1", To: "+1"},
				history.Record{Kind: history.State, By: "client/ann", ID: "9", State: "processed", N: 9})
			return without(h, is(history.End, "")) // else it is lost as well
		}},
		"a pointer ran backwards": {history.BadPointers, func(h []history.Record) []history.Record { return last(h, func(r *history.Record) { r.Sent = 2 }) }},
		"a durable pointer was lost": {history.BadPointers, func(h []history.Record) []history.Record {
			return last(h, func(r *history.Record) { r.Life, r.Processed = 2, 0 })
		}},
		"confirmed before sent":      {history.BadPointers, func(h []history.Record) []history.Record { return last(h, func(r *history.Record) { r.Confirmed = 4 }) }},
		"processed before confirmed": {history.BadPointers, func(h []history.Record) []history.Record { return last(h, func(r *history.Record) { r.Processed = 3 }) }},
		"more than the ring holds":   {history.BadPointers, func(h []history.Record) []history.Record { return last(h, func(r *history.Record) { r.Retrieved = 6 }) }},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := history.Check(history.Options{}, test.plant(clean()))
			if err != nil {
				t.Fatal(err)
			}
			if v.OK || len(v.Count) != 1 || v.Count[test.rule] == 0 || len(v.Violations) == 0 {
				t.Errorf("want %s alone, got %v", test.rule, v.Violations)
			}
		})
	}
}

func TestWhatADoubtExcuses(t *testing.T) {
	taken := func(session string, unanswered bool) history.Record {
		return history.Record{Kind: history.Taken, By: "smsc", Msg: "m", Session: session, Unanswered: unanswered}
	}
	other := history.Record{Kind: history.Taken, By: "smsc", Msg: "other", Session: "a"}
	closed := history.Record{Kind: history.Closed, By: "smsc", Session: "a"}
	for name, test := range map[string]struct {
		opts    history.Options
		records []history.Record
		ok      bool
	}{
		"the last of a session that ended":          {history.Options{}, []history.Record{taken("a", false), closed, taken("b", false)}, true},
		"the last but one, window 1":                {history.Options{}, []history.Record{taken("a", false), other, closed, taken("b", false)}, false},
		"the last but one, window 2":                {history.Options{Window: 2}, []history.Record{taken("a", false), other, closed, taken("b", false)}, true},
		"a response that the SMSC kept":             {history.Options{}, []history.Record{taken("a", true), taken("a", false)}, true},
		"twice after one doubt":                     {history.Options{}, []history.Record{taken("a", false), closed, taken("b", false), taken("b", false)}, false},
		"the same session's name at another's SMSC": {history.Options{}, []history.Record{taken("a", false), {Kind: history.Closed, By: "other", Session: "a"}, taken("b", false)}, false},
	} {
		v, err := history.Check(test.opts, test.records)
		if err != nil {
			t.Fatal(err)
		}
		if v.OK != test.ok {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// What else a message may fail or expire for, and what is not judged.
func TestGrounds(t *testing.T) {
	const until = 1_700_000_000_000_000
	refused := func(fate string) history.Record {
		return history.Record{Kind: history.Refused, By: "smsc", Msg: "m", Session: "s", Fate: fate}
	}
	accepted := history.Record{Kind: history.Accepted, By: "ann", Msg: "m", ID: "1", Conn: "c", To: "+1", Until: until}
	unfit := accepted
	unfit.Unfit = true
	failed := history.Record{Kind: history.State, By: "ann", ID: "1", State: "failed"}
	expired := history.Record{Kind: history.State, By: "ann", ID: "1", State: "expired", At: until - 1_000_000}
	someTime := expired
	someTime.At = 0
	for name, test := range map[string]struct {
		opts    history.Options
		records []history.Record
		ok      bool
	}{
		"no alphabet for it":                       {history.Options{}, []history.Record{unfit, failed}, true},
		"a refusal of which nobody knows the fate": {history.Options{}, []history.Record{accepted, refused(""), failed}, true},
		"throttled":                                {history.Options{}, []history.Record{accepted, refused("throttled"), failed}, false},
		"two refusals of two":                      {history.Options{Refusals: 2}, []history.Record{accepted, refused("temporary"), refused("temporary"), failed}, true},
		"two refusals of three":                    {history.Options{Refusals: 3}, []history.Record{accepted, refused("temporary"), refused("temporary"), failed}, false},
		"two undefined codes":                      {history.Options{}, []history.Record{accepted, refused("undefined"), refused("undefined"), failed}, false},
		"three undefined codes":                    {history.Options{}, []history.Record{accepted, refused("undefined"), refused("undefined"), refused("undefined"), failed}, true},
		"expired early by clocks that agree":       {history.Options{}, []history.Record{accepted, expired}, false},
		"expired early by clocks that do not":      {history.Options{Skew: time.Second}, []history.Record{accepted, expired}, true},
		"expired at a time that nobody noted":      {history.Options{}, []history.Record{accepted, someTime}, true},
		"records without grounds are not judged":   {history.Options{NoGrounds: true}, []history.Record{accepted, failed}, true},
		"of a message whose acceptance nobody saw": {history.Options{}, []history.Record{failed}, true},
	} {
		v, err := history.Check(test.opts, test.records)
		if err != nil {
			t.Fatal(err)
		}
		if v.OK != test.ok || !v.OK && v.Count[history.Unfounded] == 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestPolicyThatGivesUp(t *testing.T) {
	h := []history.Record{
		{Kind: history.Accepted, By: "ann", Msg: "m", ID: "1", Conn: "c", To: "+1"},
		{Kind: history.State, By: "ann", ID: "1", State: "unknown"},
		{Kind: history.End},
	}
	for _, giveUp := range []bool{false, true} {
		if v, err := history.Check(history.Options{GiveUp: giveUp}, h); err != nil || v.OK != giveUp {
			t.Errorf("give up %v: %+v, %v", giveUp, v, err)
		}
	}
}

// A receiver that starts again may know less: what was released out of order it
// has forgotten for good.
func TestReceiverStartsAgain(t *testing.T) {
	at := func(life int, retrieved, confirmed uint64) history.Record {
		return history.Record{
			Kind: history.Pointers, By: "edge", Ring: "down", Role: "receiver", Life: life, Slots: 8,
			Retrieved: retrieved, Sent: confirmed, Confirmed: confirmed, Processed: confirmed,
		}
	}
	for life, ok := range map[int]bool{1: false, 2: true} {
		if v, err := history.Check(history.Options{}, []history.Record{at(1, 5, 3), at(life, 4, 2)}); err != nil || v.OK != ok {
			t.Errorf("life %d: %+v, %v", life, v, err)
		}
	}
}

// What is on its way when nobody waited is not lost.
func TestUnfinishedHistory(t *testing.T) {
	h := slices.DeleteFunc(clean(), func(r history.Record) bool {
		return r.Kind == history.End || r.Kind == history.Inbox && r.Msg == "there"
	})
	if v, err := history.Check(history.Options{}, h); err != nil || !v.OK || v.Pending != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	w := history.NewWriter(&b)
	for _, r := range clean() {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	direct, err := history.Check(history.Options{}, clean())
	if err != nil {
		t.Fatal(err)
	}
	c := history.New(history.Options{})
	if err := c.Read(&b); err != nil {
		t.Fatal(err)
	}
	if read := c.Verdict(); fmt.Sprint(read) != fmt.Sprint(direct) {
		t.Errorf("read %+v\ndirect %+v", read, direct)
	}
}

func TestMalformed(t *testing.T) {
	for line, says := range map[string]string{
		`{"kind":"taken","by":"smsc","msg":"m"}`:                                   "lacks session",
		`{"kind":"taken","msg":"m","session":"s"}`:                                 "names no observer",
		`{"kind":"taken","by":"smsc","msg":"m","session":"s","part":3,"parts":2}`:  "part 3 of 2",
		`{"kind":"taken","by":"smsc","msg":"m","session":"s","part":0,"parts":-1}`: "part 0 of -1",
		`{"kind":"refused","by":"smsc","msg":"m","session":"s","fate":"maybe"}`:    `"maybe"`,
		`{"kind":"receipt","by":"smsc","msg":"m","state":"processed"}`:             `"processed"`,
		`{"kind":"tooken","by":"smsc"}`:                                            "no known kind",
		`{"kind":"state","by":"ann","id":"1","state":"gone"}`:                      `"gone"`,
		`{"kind":"history","by":"hub","id":"1","states":["was"]}`:                  `"was"`,
		`{"kind":"pointers","by":"hub","ring":"down","role":"owner"}`:              `"owner"`,
		`accepted`: "no JSON",
	} {
		err := history.New(history.Options{}).Read(strings.NewReader("\n" + line + "\n"))
		if !errors.Is(err, history.ErrRecord) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v; want %q of line 2", line, err, says)
		}
	}
}

// Whatever was recorded: the checker and a judge that looks at every pair agree.
func TestJudgesAgree(t *testing.T) {
	pick := func(t *rapid.T, of ...string) string { return rapid.SampledFrom(of).Draw(t, "pick") }
	states := []string{"accepted", "retrieved", "sent", "confirmed", "deferred", "unknown", "processed", "delivered", "failed", "expired"}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 25).Draw(t, "records")
		h := make([]history.Record, 0, n+1)
		for range n {
			msg := pick(t, "a", "b", "c")
			down := history.Record{By: pick(t, "ann", "bob"), Msg: msg, ID: "id" + msg, Conn: "c", To: pick(t, "+1", "bob")}
			part := func(r *history.Record) {
				if r.Parts = 1; msg == "c" {
					r.Parts, r.Part = 2, rapid.IntRange(0, 1).Draw(t, "part")
				}
			}
			at := history.Record{By: "smsc", Msg: msg, Session: pick(t, "s1", "s2"), From: "+1", To: "100"}
			switch rapid.IntRange(0, 12).Draw(t, "kind") {
			case 0, 1:
				down.Kind = history.Accepted
				down.Until, down.Unfit = int64(rapid.IntRange(0, 2).Draw(t, "until")), rapid.IntRange(0, 9).Draw(t, "unfit") == 0
				h = append(h, down)
			case 2, 3, 4:
				at.Kind, at.Unanswered = history.Taken, rapid.IntRange(0, 3).Draw(t, "swallow") == 0
				part(&at)
				h = append(h, at)
			case 5:
				at.Kind = pickKind(t, history.Closed, history.Handed)
				h = append(h, at)
			case 6:
				at.Kind = history.Acked
				h = append(h, at)
			case 7, 8:
				down.Kind, down.ID, down.N = history.Inbox, pick(t, "id", "other")+msg, uint64(rapid.IntRange(0, 3).Draw(t, "n"))
				h = append(h, down)
			case 9:
				h = append(h, history.Record{
					Kind: history.State, By: "ann", ID: "id" + msg, State: pick(t, states...), At: int64(rapid.IntRange(0, 2).Draw(t, "at")),
				})
			case 10:
				h = append(h, history.Record{Kind: history.History, By: "hub", ID: "id" + msg, States: []string{pick(t, "unknown", "sent", "expired")}})
			case 11:
				at.Kind, at.Fate = history.Refused, pick(t, "", "permanent", "temporary", "temporary", "undefined", "undefined", "throttled")
				part(&at)
				h = append(h, at)
			case 12:
				at.Kind, at.State = history.Receipt, pick(t, "delivered", "failed", "expired")
				part(&at)
				h = append(h, at)
			}
		}
		if rapid.Bool().Draw(t, "end") {
			h = append(h, history.Record{Kind: history.End})
		}
		opts := history.Options{
			Window: rapid.IntRange(1, 2).Draw(t, "window"), GiveUp: rapid.Bool().Draw(t, "give up"), Refusals: rapid.IntRange(0, 2).Draw(t, "refusals"),
			Skew: time.Duration(rapid.IntRange(0, 1).Draw(t, "skew")) * time.Microsecond, NoGrounds: rapid.IntRange(0, 5).Draw(t, "no grounds") == 0,
		}
		v, err := history.Check(opts, h)
		if err != nil {
			t.Fatal(err)
		}
		if want := judge(opts, h); !maps.Equal(v.Count, want) {
			t.Fatalf("checker: %v\n%v\njudge: %v", v.Count, v.Violations, want)
		}
	})
}

func pickKind(t *rapid.T, of ...history.Kind) history.Kind {
	return rapid.SampledFrom(of).Draw(t, "kind of")
}

// Many messages stay below 400 octets each.
func TestLean(t *testing.T) {
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := history.New(history.Options{})
	for i := range n {
		msg := fmt.Sprintf("text %d", i)
		for _, r := range []history.Record{
			{Kind: history.Accepted, By: "ann", Msg: msg, ID: fmt.Sprint(i), Conn: "c", To: fmt.Sprintf("+%d", i%1000)},
			{Kind: history.Taken, By: "smsc", Msg: msg, Session: "s"},
		} {
			if err := c.Add(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int64(after.HeapAlloc-before.HeapAlloc) / int64(n); each > 400 {
		t.Errorf("%d octets a message", each)
	} else {
		t.Logf("%d octets a message", each)
	}
	if v := c.Verdict(); !v.OK || v.Accepted != n {
		t.Errorf("%+v", v)
	}
}
