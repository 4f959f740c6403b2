package session

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// assembly is a text of several parts of which some have come. It is a note in
// the journal, as JSON.
type assembly struct {
	Since    time.Time
	From, To string
	Pieces   []text.Piece
	Codings  []text.Coding // of Pieces
	Doubled  bool          // a part may have come twice
}

func (a *assembly) add(p smsc.Part, doubled bool) {
	a.Pieces = append(a.Pieces, text.Piece{UDH: p.UDH, Data: p.Data})
	a.Codings = append(a.Codings, p.Coding)
	a.Doubled = a.Doubled || doubled
}

func (a *assembly) complete() bool {
	_, ok := text.Join(a.Pieces...)
	return ok
}

// message puts together what is there, in order of the parts' numbers. id and
// time of acceptance are the caller's to set.
func (a *assembly) message() *messages.Message {
	order := make([]int, len(a.Pieces))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int {
		x, _ := text.Concatenation(a.Pieces[i].UDH)
		y, _ := text.Concatenation(a.Pieces[k].UDH)
		return int(x.Number) - int(y.Number)
	})
	m := &messages.Message{From: a.From, To: a.To, Class: 1, PossibleDuplicate: a.Doubled}
	var body strings.Builder
	for len(order) > 0 { // neighbours written alike are decoded as a whole: a peer may cut within a character
		e := text.Encoded{Coding: a.Codings[order[0]], Shift: text.Shifted(a.Pieces[order[0]].UDH)}
		for len(order) > 0 && a.Codings[order[0]] == e.Coding && text.Shifted(a.Pieces[order[0]].UDH) == e.Shift {
			e.Data = append(e.Data, a.Pieces[order[0]].Data...)
			order = order[1:]
		}
		if e.Coding == text.Binary {
			m.Data = append(m.Data, e.Data...)
		} else {
			body.WriteString(e.String())
		}
	}
	m.Text = body.String()
	return m
}

// texts are those in the making, at most so many.
type texts struct {
	open map[string]*assembly
	most int
}

func newTexts(most int) texts { return texts{map[string]*assembly{}, max(most, 1)} }

// filed is what follows a part.
type filed struct {
	whole      *assembly         // nil: parts are missing
	incomplete []*assembly       // go on as they are
	drop       []string          // notes to forget, before put
	put        map[string][]byte // notes
}

// add files one part of several. One that has come before is dropped; other
// content under the same number begins a new text, and the old one goes on as it
// is, as does the oldest when there are too many.
func (t texts) add(p smsc.Part, c text.Concat, doubled bool, now time.Time) (f filed) {
	name := assemblyName(p, c)
	a := t.open[name]
	if a != nil {
		switch text.Place(a.Pieces, text.Piece{UDH: p.UDH, Data: p.Data}) {
		case text.Duplicate:
			return f
		case text.Clash: // a later text under the same reference
			f = t.giveUp(name)
			a = nil
		}
	}
	if a == nil {
		if len(t.open) >= t.most {
			oldest := t.giveUp(t.oldest())
			f.incomplete, f.drop = append(f.incomplete, oldest.incomplete...), append(f.drop, oldest.drop...)
		}
		a = &assembly{Since: now, From: clean(p.From.String()), To: clean(p.To.String())}
		t.open[name] = a
	}
	a.add(p, doubled)
	if a.complete() {
		delete(t.open, name)
		f.whole, f.drop = a, append(f.drop, name)
	} else {
		f.put = map[string][]byte{name: encodeNote(a)}
	}
	return f
}

// giveUp ends a text as it is.
func (t texts) giveUp(name string) (f filed) {
	f.incomplete, f.drop = []*assembly{t.open[name]}, []string{name}
	delete(t.open, name)
	return f
}

func (t texts) oldest() (name string) {
	for each, a := range t.open {
		if name == "" || a.Since.Before(t.open[name].Since) {
			name = each
		}
	}
	return name
}

// since names the texts that were begun at that time or before.
func (t texts) since(at time.Time) (names []string) {
	for name, a := range t.open {
		if !a.Since.After(at) {
			names = append(names, name)
		}
	}
	return names
}

// name is what the text is filed under; parts with equal names belong together.
func assemblyName(p smsc.Part, c text.Concat) string {
	return fmt.Sprintf("%s%d/%t/%d/%s/%s", assemblyNote, c.Ref.Number, c.Ref.Wide, c.Total, clean(p.From.String()), clean(p.To.String()))
}

// Kinds of notes, by the beginnings of their names.
const (
	assemblyNote = "text/"
	lastNote     = "last/"
)

// last is what a session handed over last: its answer may not have arrived, and
// then the SMSC hands it over again (I7).
type last struct {
	Key     string    // the protocol's; "": it has none
	Content uint64    // hash of addresses and user data
	suspect bool      // its connection is gone
	until   time.Time // of the doubt; zero: its session is not bound again yet
}

// maxDoubted is how many are remembered for a session beside the last one: each
// loss of its connection leaves one in doubt.
const maxDoubted = 16

func (l *last) doubted(now time.Time) bool {
	return l.suspect && (l.until.IsZero() || !now.After(l.until))
}

func encodeNote(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // plain data of ours
		panic("session: encode note: " + err.Error())
	}
	return b
}
