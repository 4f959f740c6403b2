package hub

import (
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/smsc/text"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func wrote(user, number string, ago time.Duration) journal.Conversation {
	return journal.Conversation{User: user, Number: number, At: noon.Add(-ago)}
}

func TestDecide(t *testing.T) {
	const service = "63917000"
	ann, bob := wrote("ann", service, time.Hour), wrote("bob", service, 2*time.Hour)
	for _, test := range []struct {
		name string
		in   Situation
		want Route
	}{
		{"a name and a text", Situation{Text: "@ann hello", Named: "ann"}, Route{User: "ann", Text: "hello"}},
		{"only one space is the name's", Situation{Text: "@ann  hi ", Named: "ann"}, Route{User: "ann", Text: " hi "}},
		{"a text of a space", Situation{Text: "@ann  ", Named: "ann"}, Route{User: "ann", Text: " "}},
		{"the name goes before the conversation", Situation{Text: "@bob hi", Named: "bob", Conversations: []journal.Conversation{ann}}, Route{User: "bob", Text: "hi"}},
		{"nobody's name is text", Situation{Text: "@zoe hi", Conversations: []journal.Conversation{ann}}, Route{User: "ann", Text: "@zoe hi"}},
		{"a name alone without a question is text", Situation{Text: "@ann", Named: "ann", Conversations: []journal.Conversation{bob}}, Route{User: "bob", Text: "@ann"}},
		{"a name alone answers", Situation{Text: "@ann", Named: "ann", Kept: 2, Asked: true}, Route{User: "ann", Release: true, Only: true}},
		{"a name and a space answer too", Situation{Text: "@ann ", Named: "ann", Kept: 2}, Route{User: "ann", Release: true, Only: true}},
		{"a name and a text answer", Situation{Text: "@ann hi", Named: "ann", Kept: 1}, Route{User: "ann", Text: "hi", Release: true}},

		{"the only person", Situation{Text: " ", Conversations: []journal.Conversation{ann}}, Route{User: "ann", Text: " "}},
		{"the same person twice", Situation{Text: "x", Conversations: []journal.Conversation{ann, wrote("ann", service, 3*time.Hour)}}, Route{User: "ann", Text: "x"}},
		{"two persons", Situation{Text: "x", Conversations: []journal.Conversation{ann, bob}}, Route{Text: "x", Ask: true}},
		{"two persons, asked already", Situation{Text: "x", Conversations: []journal.Conversation{ann, bob}, Kept: 1, Asked: true}, Route{Text: "x"}},
		{"nobody", Situation{Text: "x"}, Route{Text: "x", Ask: true}},
		{"24 hours count", Situation{Text: "x", Conversations: []journal.Conversation{wrote("ann", service, 24*time.Hour)}}, Route{User: "ann", Text: "x"}},
		{"more do not", Situation{Text: "x", Conversations: []journal.Conversation{wrote("ann", service, 24*time.Hour+1)}}, Route{Text: "x", Ask: true}},
		{"an old one leaves the new one alone", Situation{Text: "x", Conversations: []journal.Conversation{ann, wrote("bob", service, 25*time.Hour)}}, Route{User: "ann", Text: "x"}},

		{"another number without endings", Situation{Text: "x", To: "2917", Conversations: []journal.Conversation{ann}}, Route{User: "ann", Text: "x"}},
		{"another number without endings, two persons", Situation{Text: "x", To: "2917", Conversations: []journal.Conversation{ann, bob}}, Route{Text: "x", Ask: true}},
		{"an ending of the time when there were some", Situation{Text: "x", To: service + "01", Conversations: []journal.Conversation{bob, wrote("ann", service+"01", 90*24*time.Hour)}}, Route{User: "ann", Text: "x"}},

		{"number with an ending", Situation{Text: "x", Suffixes: true, To: service + "02", Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour), wrote("bob", service+"02", 90*24*time.Hour)}}, Route{User: "bob", Text: "x"}},
		{"written with a plus", Situation{Text: "x", Suffixes: true, To: "+" + service + "01", Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour), wrote("bob", service+"02", time.Hour)}}, Route{User: "ann", Text: "x"}},
		{"unknown ending", Situation{Text: "x", Suffixes: true, To: service + "99", Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour)}}, Route{Text: "x", Ask: true}},
		{"unknown ending, asked already", Situation{Text: "x", Suffixes: true, To: service + "99", Kept: 1, Asked: true, Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour)}}, Route{Text: "x"}},
		{"unknown ending, two persons", Situation{Text: "x", Suffixes: true, To: service + "99", Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour), wrote("bob", service+"02", time.Hour)}}, Route{Text: "x", Ask: true}},
		{"unknown ending and a name", Situation{Text: "@bob x", Suffixes: true, To: service + "99", Named: "bob", Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour)}}, Route{User: "bob", Text: "x"}},
		{"no number at all where there are endings", Situation{Text: "x", Suffixes: true, To: "+", Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour)}}, Route{Text: "x", Ask: true}},
		{"service number where there are endings: it is nobody's", Situation{Text: "x", Suffixes: true, Conversations: []journal.Conversation{wrote("ann", service+"01", time.Hour)}}, Route{Text: "x", Ask: true}},
		{"who wrote before there were endings", Situation{Text: "x", Suffixes: true, Conversations: []journal.Conversation{wrote("bob", service+"01", time.Hour), ann}}, Route{User: "ann", Text: "x"}},
		{"who wrote before there were endings, long ago", Situation{Text: "x", Suffixes: true, Conversations: []journal.Conversation{wrote("ann", service, 25*time.Hour)}}, Route{Text: "x", Ask: true}},
		{"two wrote before there were endings", Situation{Text: "x", Suffixes: true, Conversations: []journal.Conversation{ann, bob}}, Route{Text: "x", Ask: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.in.Service, test.in.At = service, noon
			if test.in.To == "" {
				test.in.To = service
			}
			for _, c := range test.in.Conversations { // as the store gives them
				if test.in.ByNumber() && sameNumber(c.Number, test.in.To) {
					test.in.Answered = append(test.in.Answered, c)
				}
			}
			if got := Decide(test.in); got != test.want {
				t.Errorf("Decide(%+v)\n got %+v\nwant %+v", test.in, got, test.want)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for _, test := range []struct {
		text, name, rest string
		more             bool
	}{
		{"@ann hi", "ann", "hi", true},
		{"@ANN hi", "ann", "hi", true},
		{"@ann", "ann", "", false},
		{"@ann ", "ann", "", false},
		{"@ann\nhi", "", "", false},
		{"@a hi", "", "", false},
		{" @ann hi", "", "", false},
		{"ann hi", "", "", false},
		{"@", "", "", false},
		{"", "", "", false},
		{"@63917 hi", "", "", false},
		{"@ann. hi", "ann.", "hi", true},
		{"@" + strings.Repeat("a", 33) + " hi", "", "", false},
	} {
		name, rest, more := Address(test.text)
		if name != test.name || more != test.more || (more && rest != test.rest) {
			t.Errorf("Address(%q) = %q, %q, %v; want %q, %q, %v", test.text, name, rest, more, test.name, test.rest, test.more)
		}
	}
}

func TestQuestionIsOneShortMessage(t *testing.T) {
	s := Situation{At: noon}
	for i := range 26 {
		s.Conversations = append(s.Conversations, wrote(strings.Repeat(string(rune('a'+i)), 2+i%31), "1", time.Hour))
		if parts, coding, err := text.Parts(Question(s)); err != nil || parts != 1 || coding != text.GSM7 {
			t.Fatalf("%d persons: %d parts, %v, %v: %s", i+1, parts, coding, err, Question(s))
		}
	}
	if q := Question(Situation{At: noon, Conversations: []journal.Conversation{wrote("ann", "1", 0), wrote("bob", "1", 0)}}); !strings.Contains(q, "@ann or @bob") {
		t.Error(q)
	}
}
