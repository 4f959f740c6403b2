package session

import (
	"bytes"
	"fmt"
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
// and sweeps between: no part is lost, also where it might have been a repetition
// and another text begins so, none is passed on more often than it came, parts that
// only repeat what was whole give nothing, the bounds hold, and the notes are always
// those of the texts that are known.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte("\x00\x02\x01a\x00\x02\x02b"))
	f.Add([]byte("\x00\x02\x01a\x00\x02\x01b\x80\x02\x02c"))
	f.Add(bytes.Repeat([]byte("\x01\x03\x01a\x12\x02\x02\xe9\x23\x04\x01z\x40\x02\x01\xd8"), 4))
	f.Add([]byte("\x00\x02\x01a\x00\x02\x02b\x80\x02\x02b\x00\x02\x01a\x20\x02\x01a"))                                                // again after it is whole
	f.Add([]byte("\x00\x02\x01a\x00\x02\x02b\x00\x02\x01a\x00\x02\x02c\x20\x02\x02b\xa0\x02\x02d\x00\x02\x01a"))                      // the next one begins alike
	again := "\x00\x02\x01a\x00\x02\x02b"                                                                                             // what it begins with begins another one,
	f.Add([]byte(again + "\x21\x02\x01x\x21\x02\x01x\x21\x02\x01x\x00\x02\xf6a\x00\x84\x34c"))                                        // while it grows too old to be known
	f.Add([]byte(again + "\x01\x02\x01a\x01\x02\x02b\x08\x02\x01a\x08\x02\x02b\x00\x02\x01a\x09\x02\x01a\x09\x02\x02b\x00\x02\x02c")) // and others become whole
	f.Fuzz(func(t *testing.T, octets []byte) {
		if len(octets) > 120 {
			return // the engine would take a minute to make it smaller
		}
		const most = 3
		type whole struct {
			at    time.Time
			parts map[byte]string
			quiet bool // nothing but repetitions since
			since time.Time
			again map[byte]bool // numbers of these, since then
		}
		var (
			now    = time.Unix(1000, 0)
			all    = newTexts(most)
			notes  = map[string][]byte{}
			given  = map[string]int{} // by name, number and data
			passed = map[string]int{}
			wholes = map[string]*whole{} // by name
			recent []*whole
			begun  = map[string]map[byte]bool{} // numbers that a text in the making has to have, by name
		)
		settling := func(w *whole) bool { return len(w.again) > 0 && now.Sub(w.since) <= settleAfter }
		content := func(coding text.Coding, data []byte) string { return fmt.Sprint(coding, string(data)) }
		follow := func(f filed) {
			for _, name := range f.drop {
				delete(notes, name)
			}
			maps.Copy(notes, f.put)
			for _, a := range f.passed {
				c, _ := text.Concatenation(a.Pieces[0].UDH)
				name := assemblyName(smsc.Part{From: smsc.ParseAddress(a.From), To: smsc.ParseAddress(a.To)}, c)
				if w := wholes[name]; w != nil && w.quiet {
					t.Fatalf("%+v is passed on: repetitions of a text that was", a)
				}
				w := &whole{at: now, parts: map[byte]string{}, quiet: true}
				for i, piece := range a.Pieces {
					c, _ := text.Concatenation(piece.UDH)
					w.parts[c.Number] = content(a.Codings[i], piece.Data)
					key := fmt.Sprint(name, c.Number, string(piece.Data))
					if passed[key]++; passed[key] > given[key] {
						t.Fatalf("%s came %d times and is passed on again", key, given[key])
					}
				}
				if len(w.parts) != len(a.Pieces) {
					t.Fatalf("%+v has a part twice", a)
				}
				for number := range begun[name] {
					if w.parts[number] == "" {
						t.Fatalf("%+v is passed on: part %d, which came just before, is lost", a, number)
					}
				}
				delete(begun, name)
				if a.complete() {
					if len(recent) == most {
						i := max(slices.IndexFunc(recent, func(w *whole) bool { return !settling(w) }), 0)
						recent = slices.Delete(recent, i, i+1)
					}
					wholes[name], recent = w, append(recent, w)
				}
			}
			known := slices.Collect(maps.Keys(all.open))
			for name := range all.wholes {
				known = append(known, wholeNote+name)
			}
			slices.Sort(known)
			if len(all.open) > most || len(all.wholes) > most || len(all.order) > most || !slices.Equal(slices.Sorted(maps.Keys(notes)), known) {
				t.Fatalf("known are %v, notes %v", known, slices.Sorted(maps.Keys(notes)))
			}
		}
		sweep := func(within time.Duration) {
			for _, name := range all.due(now.Add(-within), now) {
				var f filed
				all.giveUp(&f, name, now)
				follow(f)
				now = now.Add(1) // no two are as old
			}
			follow(all.expire(now))
		}
		for ; len(octets) >= 4; octets = octets[4:] {
			how, total, number, letter := octets[0], octets[1]%5, octets[2]%5, octets[3]
			p := smsc.Part{
				From: smsc.ParseAddress([]string{"+63917", "+63918"}[how&1]), To: smsc.ParseAddress("2929"), Coding: text.Coding(how >> 1 & 3),
				UDH: []byte{5, 0, 3, how >> 3 & 3, total, number}, Data: []byte{letter, letter},
			}
			c, ok := text.Concatenation(p.UDH)
			if !ok || c.Total < 2 {
				continue
			}
			now = now.Add(time.Duration(1+octets[2]/5) * time.Second)
			if how&0x20 != 0 {
				now = now.Add(3 * time.Minute)
			}
			if how&0x20 != 0 || octets[1]&0x80 != 0 {
				sweep(20 * time.Minute)
			}
			if how&0x80 != 0 { // a restart: what is known stands in the notes
				all = newTexts(most)
				if bad := all.load(notes, now); len(bad) > 0 {
					t.Fatal(bad)
				}
				recent = slices.DeleteFunc(recent, func(w *whole) bool { return !slices.Contains(slices.Collect(maps.Values(wholes)), w) })
			}
			name, part := assemblyName(p, c), content(p.Coding, p.Data)
			given[fmt.Sprint(name, number, string(p.Data))]++
			if w := wholes[name]; w != nil && w.quiet {
				w.quiet = slices.Contains(recent, w) && now.Sub(w.at) < repeatWithin && w.parts[number] == part
				switch {
				case w.quiet:
					if !settling(w) {
						w.since, w.again = now, map[byte]bool{}
					}
					if w.again[number] = true; len(w.again) == len(w.parts) {
						w.again = nil
					}
				case slices.Contains(recent, w) && settling(w): // all are another text's
					begun[name], w.again = w.again, nil
				}
			}
			follow(all.add(p, c, how&0x40 != 0, now))
			if w := wholes[name]; w != nil && w.parts[number] != part { // it has ended that one, and begins the next
				w.quiet = false
			}
		}
		for range 2 { // what the first one makes whole is remembered
			now = now.Add(24 * time.Hour)
			sweep(24 * time.Hour)
		}
		for key := range given {
			if passed[key] == 0 {
				t.Fatalf("%s is lost", key)
			}
		}
		if len(all.open)+len(all.wholes)+len(all.order)+len(notes) > 0 {
			t.Fatalf("two days later %+v is left", all)
		}
	})
}

// Several texts at a time, their parts in any order and some again at any time,
// come out as they were, once.
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
		got, n := map[string]string{}, 0
		repeated := parts[:rapid.IntRange(0, len(parts)).Draw(t, "repeated")]
		now := time.Unix(0, 0)
		for _, p := range rapid.Permutation(append(slices.Clone(parts), repeated...)).Draw(t, "order") {
			c, _ := text.Concatenation(p.UDH)
			now = now.Add(time.Second)
			for _, a := range all.add(p, c, false, now).passed {
				m := a.message()
				got[m.From], n = m.Text, n+1
			}
		}
		if !maps.Equal(got, want) || n != len(want) || len(all.open) != 0 {
			t.Fatalf("%d texts came, %d of them different, want %d; %d are in the making", n, len(got), len(want), len(all.open))
		}
	})
}

// What is passed on when parts come again and references are used again, at once
// and with the sweeps of a day.
func TestTextsUnderOneReference(t *testing.T) {
	const minute = time.Minute
	type step struct {
		after time.Duration
		parts string // content of parts 1 and 2; "-": that one does not come
		want  []string
	}
	for name, steps := range map[string][]step{
		"a part again":                          {{0, "ab", []string{"ab"}}, {minute, "-b", nil}, {minute, "a-", nil}},
		"and again for long":                    {{0, "ab", []string{"ab"}}, {9 * minute, "-b", nil}, {12 * time.Hour, "cd", []string{"cd"}}},
		"all again, and the next one":           {{0, "ab", []string{"ab"}}, {minute, "ab", nil}, {0, "cd", []string{"cd"}}},
		"the same, long after":                  {{0, "ab", []string{"ab"}}, {11 * minute, "ab", []string{"ab"}}},
		"the next ends alike":                   {{0, "ab", []string{"ab"}}, {minute, "cb", []string{"cb"}}},
		"the next begins alike":                 {{0, "ab", []string{"ab"}}, {minute, "ac", nil}, {2 * minute, "--", []string{"ac"}}},
		"a part again within the next":          {{0, "ab", []string{"ab"}}, {minute, "c-", nil}, {0, "a-", nil}, {0, "-d", []string{"cd"}}},
		"again, then the next":                  {{0, "ab", []string{"ab"}}, {0, "-b", nil}, {0, "c-", nil}, {0, "-d", []string{"cd"}}},
		"all again, then a part of one":         {{0, "ab", []string{"ab"}}, {minute, "ab", nil}, {0, "c-", nil}, {24 * time.Hour, "--", []string{"c"}}},
		"again, and one that begins so":         {{0, "ab", []string{"ab"}}, {0, "a-", nil}, {5 * minute, "ac", nil}, {2 * minute, "--", []string{"ac"}}},
		"again at last, and one that begins so": {{0, "ab", []string{"ab"}}, {10*minute - 4*time.Second, "a-", nil}, {4 * time.Second, "-c", nil}, {2 * minute, "--", []string{"ac"}}},
		"a third one begins like the first":     {{0, "ab", []string{"ab"}}, {minute, "c-", nil}, {minute, "a-", nil}, {0, "-d", []string{"cd"}}}, // no different from the one above
		"again, then a part of the next":        {{0, "ab", []string{"ab"}}, {0, "a-", nil}, {5 * minute, "-d", nil}, {24 * time.Hour, "--", []string{"d"}}},
	} {
		t.Run(name, func(t *testing.T) {
			all := newTexts(10)
			now := time.Unix(0, 0)
			notes := map[string][]byte{}
			for _, s := range append(steps, step{25 * time.Hour, "--", nil}) {
				var got []string
				follow := func(f filed) {
					for _, name := range f.drop {
						delete(notes, name)
					}
					maps.Copy(notes, f.put)
					for _, a := range f.passed {
						got = append(got, a.message().Text)
					}
					all = newTexts(10) // the edge is restarted each time
					if bad := all.load(notes, now); len(bad) > 0 {
						t.Fatal(bad)
					}
				}
				for end := now.Add(s.after); now.Before(end); {
					now = now.Add(min(sweepEvery, end.Sub(now)))
					for _, name := range all.due(now.Add(-24*time.Hour), now) {
						var f filed
						all.giveUp(&f, name, now)
						follow(f)
					}
					follow(all.expire(now))
				}
				for i, letter := range s.parts {
					if letter != '-' {
						now = now.Add(time.Second)
						p := smsc.Part{From: smsc.ParseAddress("+63917"), To: smsc.ParseAddress("2929"), UDH: []byte{5, 0, 3, 7, 2, byte(i + 1)}, Data: []byte(string(letter))}
						c, _ := text.Concatenation(p.UDH)
						follow(all.add(p, c, false, now))
					}
				}
				if !slices.Equal(got, s.want) {
					t.Errorf("after %v and %q: %q is passed on, want %q", s.after, s.parts, got, s.want)
				}
			}
			if len(all.open)+len(all.wholes)+len(notes) > 0 {
				t.Errorf("a day later %v is left", notes)
			}
		})
	}
}

func TestRepetitionsAreKnownForTenMinutes(t *testing.T) {
	for after, want := range map[time.Duration]int{repeatWithin - 1: 0, repeatWithin: 1} {
		all, begun := newTexts(10), time.Unix(0, 0)
		add := func(number byte, at time.Time) {
			p := smsc.Part{From: smsc.ParseAddress("+63917"), To: smsc.ParseAddress("2929"), UDH: []byte{5, 0, 3, 7, 2, number}, Data: []byte("a")}
			c, _ := text.Concatenation(p.UDH)
			all.add(p, c, false, at)
		}
		add(1, begun)
		add(2, begun)
		if add(1, begun.Add(after)); len(all.open) != want {
			t.Errorf("after %v: %d texts in the making, want %d", after, len(all.open), want)
		}
	}
}
