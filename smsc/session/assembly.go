package session

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
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
	// Perhaps came just before and repeats the text before under this name. Where
	// this text's own part does not come, it was that.
	Perhaps *assembly `json:",omitempty"`
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

// filled is the text with what it perhaps has beside its own parts.
func (a *assembly) filled() *assembly {
	if a.Perhaps == nil {
		return a
	}
	full := &assembly{
		Since: a.Since, From: a.From, To: a.To, Pieces: slices.Clone(a.Pieces), Codings: slices.Clone(a.Codings), Doubled: a.Doubled,
	}
	for i, piece := range a.Perhaps.Pieces {
		if text.Place(a.Pieces, piece) == text.Added {
			full.add(smsc.Part{UDH: piece.UDH, Data: piece.Data, Coding: a.Perhaps.Codings[i]}, a.Perhaps.Doubled)
		}
	}
	return full
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

const (
	// repeatWithin is how long after a text was complete a part of it that comes
	// again is a repetition: the SMSC missed the answer. It is short because a sender
	// may use a reference again, some always use the same one: the same text sent
	// again on purpose with the same reference looks no different.
	repeatWithin = 10 * time.Minute
	// settleAfter is how far apart a text's parts may come and still help to tell it
	// from repetitions of the one before.
	settleAfter = time.Minute
)

// whole is what is remembered of a text that was complete. It is a note, too.
type whole struct {
	name  string
	At    time.Time // of its last part
	Parts []uint64  // hashes, by number
	Again *assembly `json:",omitempty"` // parts that came again: repetitions, or another text begins alike
}

// has says whether a part repeats one of the text's.
func (w *whole) has(p smsc.Part, c text.Concat, now time.Time) bool {
	return w != nil && now.Sub(w.At) < repeatWithin && int(c.Number) <= len(w.Parts) &&
		w.Parts[c.Number-1] == pieceHash(p.Coding, text.Piece{UDH: p.UDH, Data: p.Data})
}

func (w *whole) repeated(p smsc.Part, doubled bool, now time.Time) {
	if w.Again == nil || now.Sub(w.Again.Since) > settleAfter {
		w.Again = &assembly{Since: now}
	}
	if text.Place(w.Again.Pieces, text.Piece{UDH: p.UDH, Data: p.Data}) == text.Added {
		w.Again.add(p, doubled)
	}
	if w.Again.complete() { // no other text
		w.Again = nil
	}
}

// settling says whether the parts that came again may yet turn out to be another text's.
func (w *whole) settling(now time.Time) bool {
	return w.Again != nil && now.Sub(w.Again.Since) <= settleAfter
}

// texts are those in the making and those complete lately, at most so many of each.
type texts struct {
	open   map[string]*assembly
	wholes map[string]*whole
	order  []*whole // oldest first; some have been followed by a later one of their name
	most   int
}

func newTexts(most int) texts {
	return texts{open: map[string]*assembly{}, wholes: map[string]*whole{}, most: max(most, 1)}
}

// load takes over the texts among the journal's notes, and says which are bad. None
// of them is of later than now, whatever the clock showed then.
func (t *texts) load(notes map[string][]byte, now time.Time) (bad map[string]error) {
	past := func(at *time.Time) {
		if at.After(now) {
			*at = now
		}
	}
	bad = map[string]error{}
	for note, value := range notes {
		if name, ok := strings.CutPrefix(note, wholeNote); ok {
			w := &whole{name: name}
			if bad[note] = json.Unmarshal(value, w); bad[note] == nil {
				past(&w.At)
				if w.Again != nil {
					past(&w.Again.Since)
				}
				t.wholes[name] = w
				t.order = append(t.order, w)
			}
		} else if strings.HasPrefix(note, assemblyNote) {
			a := new(assembly)
			if bad[note] = json.Unmarshal(value, a); bad[note] == nil {
				past(&a.Since)
				t.open[note] = a
			}
		}
	}
	maps.DeleteFunc(bad, func(_ string, err error) bool { return err == nil })
	slices.SortFunc(t.order, func(a, b *whole) int { return a.At.Compare(b.At) })
	return bad
}

// filed is what follows a part.
type filed struct {
	passed []*assembly       // go on: whole, or as they are
	drop   []string          // notes to forget, before put
	put    map[string][]byte // notes
}

func (f *filed) note(name string, v any) {
	if f.put == nil {
		f.put = map[string][]byte{}
	}
	f.put[name] = encodeNote(v)
}

// add files one part of several. One that has come before is dropped, also when
// its text is whole; other content under the same number begins a new text, and
// the old one goes on as it is, as does the oldest when there are too many.
func (t *texts) add(p smsc.Part, c text.Concat, doubled bool, now time.Time) (f filed) {
	name := assemblyName(p, c)
	a, again := t.open[name], t.wholes[name].has(p, c, now)
	if a == nil && again {
		w := t.wholes[name]
		w.repeated(p, doubled, now)
		f.note(wholeNote+name, w)
		return f
	}
	if a != nil {
		switch place := text.Place(a.Pieces, text.Piece{UDH: p.UDH, Data: p.Data}); {
		case place == text.Duplicate:
			return f
		case place == text.Clash && again: // a late repetition; or a third text, begun like the first: its parts go to this one
			return f
		case place == text.Clash: // a later text under the same reference
			t.giveUp(&f, name, now)
			a = nil
		}
	}
	if a == nil {
		if len(t.open) >= t.most {
			t.giveUp(&f, t.oldest(), now)
		}
		a = &assembly{Since: now, From: clean(p.From.String()), To: clean(p.To.String())}
		t.open[name] = a
		if w := t.wholes[name]; w != nil && w.Again != nil {
			if w.settling(now) {
				a.Perhaps = w.Again
			}
			w.Again = nil
			f.note(wholeNote+name, w)
		}
	}
	a.add(p, doubled)
	if a.complete() {
		t.pass(&f, name, a, now)
	} else {
		f.note(name, a)
	}
	return f
}

// giveUp ends a text as it is.
func (t *texts) giveUp(f *filed, name string, now time.Time) {
	t.pass(f, name, t.open[name].filled(), now)
}

// pass ends a text, and remembers it if it is whole.
func (t *texts) pass(f *filed, name string, a *assembly, now time.Time) {
	f.passed = append(f.passed, a)
	f.drop = append(f.drop, name)
	delete(t.open, name)
	if !a.complete() {
		return
	}
	w := &whole{name: name, At: now, Parts: make([]uint64, len(a.Pieces))}
	for i, piece := range a.Pieces {
		c, _ := text.Concatenation(piece.UDH)
		w.Parts[c.Number-1] = pieceHash(a.Codings[i], piece)
	}
	if len(t.order) >= t.most {
		t.forget(f, max(slices.IndexFunc(t.order, func(w *whole) bool { return !w.settling(now) }), 0))
	}
	t.wholes[name] = w
	t.order = append(t.order, w)
	f.note(wholeNote+name, w)
}

// forget drops one of order.
func (t *texts) forget(f *filed, i int) {
	w := t.order[i]
	t.order = slices.Delete(t.order, i, i+1)
	if t.wholes[w.name] == w {
		delete(t.wholes, w.name)
		f.drop = append(f.drop, wholeNote+w.name)
	}
}

func (t *texts) oldest() (name string) {
	for each, a := range t.open {
		if name == "" || a.Since.Before(t.open[name].Since) {
			name = each
		}
	}
	return name
}

// due names the texts that were begun at that time or before, and those that
// have waited long enough for parts that were perhaps there.
func (t *texts) due(begun, now time.Time) (names []string) {
	for name, a := range t.open {
		if !a.Since.After(begun) || a.Perhaps != nil && now.Sub(a.Since) > settleAfter && a.filled().complete() {
			names = append(names, name)
		}
	}
	return names
}

// expire forgets what no repetition is expected of any more.
func (t *texts) expire(now time.Time) (f filed) {
	for len(t.order) > 0 && now.Sub(t.order[0].At) >= repeatWithin && !t.order[0].settling(now) {
		t.forget(&f, 0)
	}
	return f
}

func pieceHash(coding text.Coding, piece text.Piece) uint64 {
	h := fnv.New64a()
	for _, each := range [][]byte{{byte(coding)}, piece.UDH, piece.Data} { // UDH tells its length
		_, _ = h.Write(each)
	}
	return h.Sum64()
}

// name is what the text is filed under; parts with equal names belong together.
func assemblyName(p smsc.Part, c text.Concat) string {
	return fmt.Sprintf("%s%d/%t/%d/%s/%s", assemblyNote, c.Ref.Number, c.Ref.Wide, c.Total, clean(p.From.String()), clean(p.To.String()))
}

// Kinds of notes, by the beginnings of their names.
const (
	assemblyNote = "text/"
	wholeNote    = "whole/"
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
