package hub

import (
	"slices"
	"strings"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
)

// This file is pure: it decides, router.go carries out.

// recent is how long a person whose message was accepted for a handset counts
// as one whom the handset may be answering.
const recent = 24 * time.Hour

// Situation is all that decides whom a text from a handset is for.
type Situation struct {
	Text          string
	To            string                 // the number that the handset addressed
	Service       string                 // the edge's number
	Suffixes      bool                   // each conversation gets a number of its own
	At            time.Time              // when the text was taken from the SMSC
	Named         string                 // the existing user whom the text names (Address); "": none
	Conversations []journal.Conversation // the handset's, latest first
	Answered      []journal.Conversation // where ByNumber: those whose number is To
	Kept          int                    // texts of this handset that wait for a name
	Asked         bool                   // the handset has an open question
}

// Route is the decision.
type Route struct {
	User    string // "": keep it
	Text    string // what User sees
	Release bool   // what was kept goes to User too, first
	Only    bool   // the text only names the person for what was kept
	Ask     bool   // ask the handset whom it is for
}

// Decide says where a text from a handset goes.
func Decide(s Situation) Route {
	if s.Named != "" {
		_, rest, more := Address(s.Text)
		switch {
		case more:
			return Route{User: s.Named, Text: rest, Release: s.Kept > 0}
		case s.Kept > 0:
			return Route{User: s.Named, Release: true, Only: true}
		}
		// A name alone that answers no question is a text like any other.
	}
	if user := conversation(s); user != "" {
		return Route{User: user, Text: s.Text}
	}
	return Route{Text: s.Text, Ask: !s.Asked}
}

// ByNumber reports whether the number that the handset addressed may say whose
// the text is: not that of all conversations.
func (s *Situation) ByNumber() bool { return s.Suffixes || !sameNumber(s.To, s.Service) }

// conversation returns the person of the conversation that the text belongs to.
// Where conversations have numbers of their own, nobody else's person is guessed
// from a number that is none of theirs.
func conversation(s Situation) string {
	lately := func(c journal.Conversation) bool { return s.At.Sub(c.At) <= recent }
	if s.ByNumber() {
		// The edge's number stands for all who wrote before there were suffixes.
		shared := sameNumber(s.To, s.Service)
		user, ok := only(s.Answered, func(c journal.Conversation) bool {
			return sameNumber(c.Number, s.To) && (!shared || lately(c))
		})
		if ok || s.Suffixes {
			return user
		}
	}
	user, _ := only(s.Conversations, lately)
	return user
}

// only returns the user of all conversations that fit, if it is one user.
func only(all []journal.Conversation, fits func(journal.Conversation) bool) (user string, ok bool) {
	for _, c := range all {
		if !fits(c) || c.User == user {
			continue
		}
		if user != "" {
			return "", false
		}
		user = c.User
	}
	return user, user != ""
}

// Address reads "@name rest" and "@name". The name is in lower case; it may be
// nobody's. more: a space and a text follow, rest is that text as it stands.
func Address(text string) (name, rest string, more bool) {
	after, ok := strings.CutPrefix(text, "@")
	if !ok {
		return "", "", false
	}
	name, rest, _ = strings.Cut(after, " ")
	if name = strings.ToLower(name); !ValidName(name) {
		return "", "", false
	}
	return name, rest, rest != ""
}

// ValidName reports whether name can be a user's: [a-z][a-z0-9._-]{1,31}.
func ValidName(name string) bool {
	if len(name) < 2 || len(name) > 32 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range []byte(name[1:]) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Question is the SMS that asks a handset whom its text is for. It names those
// who have written to it lately, as far as one short message has room.
func Question(s Situation) string {
	var names []string
	length := 0
	for _, c := range s.Conversations {
		if name := "@" + c.User; s.At.Sub(c.At) <= recent && !slices.Contains(names, name) && length+len(name)+4 <= 70 {
			names = append(names, name)
			length += len(name) + 4
		}
	}
	if len(names) == 0 {
		return "Whom is your message for? Answer with @ and the person's name, for example: @ann"
	}
	return "Whom is your message for? Answer with the name: " + strings.Join(names, " or ")
}

func sameNumber(a, b string) bool {
	return strings.TrimPrefix(a, "+") == strings.TrimPrefix(b, "+")
}
