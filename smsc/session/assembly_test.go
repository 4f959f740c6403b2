package session

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// FuzzReassembler hands over parts as the octets say, some twice, with restarts
// between: no part is lost, nothing is passed on twice, the bound holds, and the
// notes are always those of the texts in the making.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte("\x00\x02\x01a\x00\x02\x02b"))
	f.Add([]byte("\x00\x02\x01a\x00\x02\x01b\x80\x02\x02c"))
	f.Add(bytes.Repeat([]byte("\x01\x03\x01a\x12\x02\x02\xe9\x23\x04\x01z\x40\x02\x01\xd8"), 4))
	f.Fuzz(func(t *testing.T, octets []byte) {
		if len(octets) > 120 {
			return // the engine would take a minute to make it smaller
		}
		const most = 3
		now := time.Unix(1000, 0)
		all := newTexts(most)
		notes := map[string][]byte{}
		given, duplicates := 0, 0
		passed := map[*assembly]bool{}
		out := 0
		pass := func(a *assembly) {
			if passed[a] {
				t.Fatalf("%+v is passed on twice", a)
			}
			passed[a] = true
			out += len(a.Pieces)
			if m := a.message(); !strings.Contains(m.From, "639") {
				t.Fatalf("%v", m)
			}
		}
		for ; len(octets) >= 4; octets = octets[4:] {
			how, total, number, content := octets[0], octets[1]%5, octets[2]%5, octets[3]
			p := smsc.Part{
				From: smsc.ParseAddress([]string{"+63917", "+63918"}[how&1]), To: smsc.ParseAddress("2929"), Coding: text.Coding(how >> 1 & 3),
				UDH: []byte{5, 0, 3, how >> 3 & 3, total, number}, Data: []byte{content, content},
			}
			c, ok := text.Concatenation(p.UDH)
			if !ok || c.Total < 2 {
				continue
			}
			if how&0x80 != 0 { // a restart: what is known stands in the notes
				all = newTexts(most)
				for name, note := range notes {
					a := new(assembly)
					if err := json.Unmarshal(note, a); err != nil {
						t.Fatal(err)
					}
					all.open[name] = a
				}
			}
			now = now.Add(time.Second)
			before := 0
			for _, a := range all.open {
				before += len(a.Pieces)
			}
			f := all.add(p, c, how&0x40 != 0, now)
			after := 0
			for _, name := range f.drop {
				delete(notes, name)
			}
			maps.Copy(notes, f.put)
			for _, a := range f.incomplete {
				pass(a)
				after += len(a.Pieces)
			}
			if f.whole != nil {
				if len(f.whole.Pieces) != int(c.Total) {
					t.Fatalf("a text of %d has %d parts", c.Total, len(f.whole.Pieces))
				}
				pass(f.whole)
				after += len(f.whole.Pieces)
			}
			for _, a := range all.open {
				after += len(a.Pieces)
			}
			given++
			if after == before {
				duplicates++
			} else if after != before+1 {
				t.Fatalf("%d parts before, %d after one more", before, after)
			}
			if len(all.open) > most || !slices.Equal(slices.Sorted(maps.Keys(notes)), slices.Sorted(maps.Keys(all.open))) {
				t.Fatalf("%d texts in the making, notes %v", len(all.open), slices.Sorted(maps.Keys(notes)))
			}
		}
		for _, name := range all.since(now) {
			for _, a := range all.giveUp(name).incomplete {
				pass(a)
			}
		}
		if out+duplicates != given || len(all.open) != 0 {
			t.Fatalf("%d parts came, %d went on, %d were duplicates, %d texts are left", given, out, duplicates, len(all.open))
		}
	})
}

// Several texts at a time, their parts in any order and some twice, come out as
// they were.
func TestReassembly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := newTexts(100)
		want := map[string]string{}
		var parts []smsc.Part
		for i := range rapid.IntRange(1, 4).Draw(t, "texts") {
			from := "+6391700000" + string(rune('0'+i))
			body := strings.Repeat(rapid.SampledFrom([]string{"abc€", "ж😀", "ş"}).Draw(t, "of"), rapid.IntRange(90, 200).Draw(t, "length"))
			e, err := text.EncodeFor(body, text.Turkish)
			if err != nil {
				t.Fatal(err)
			}
			pieces, err := e.Split(text.Reference{Number: 5, Wide: rapid.Bool().Draw(t, "wide")})
			if err != nil {
				t.Fatal(err)
			}
			if len(pieces) < 2 {
				continue
			}
			want[from] = body
			for _, p := range pieces {
				part := smsc.Part{From: smsc.ParseAddress(from), To: smsc.ParseAddress("2929"), Coding: e.Coding, UDH: p.UDH, Data: p.Data}
				parts = append(parts, part)
			}
		}
		got := map[string]string{}
		for i, p := range rapid.Permutation(parts).Draw(t, "order") {
			c, _ := text.Concatenation(p.UDH)
			for range 1 + i%2 { // each second one twice
				f := all.add(p, c, false, time.Unix(int64(i), 0))
				if f.whole != nil {
					m := f.whole.message()
					got[m.From] = m.Text
					break // again, it would begin a text anew
				}
			}
		}
		if !maps.Equal(got, want) || len(all.open) != 0 {
			t.Fatalf("%d texts came, want %d; %d are in the making", len(got), len(want), len(all.open))
		}
	})
}
