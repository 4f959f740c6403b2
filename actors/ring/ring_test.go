package ring

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// story is a ring and its mirror with what is durable on either side, for
// transcripts. Message n has the id n.
type story struct {
	ring   *Ring
	mirror *Mirror
	size   int

	last     Seq // assigned
	assigned map[Seq]ID
	released Seq
	kept     map[Seq]Restored
}

func id(n uint64) (id ID) {
	copy(id[:], fmt.Sprint(n))
	return id
}

func (s *story) begin(size int) {
	*s = story{ring: New(size), mirror: NewMirror(size), size: size, assigned: map[Seq]ID{}, kept: map[Seq]Restored{}}
}

func (s *story) restartRing() error {
	var held []Held
	for seq, i := range s.assigned {
		held = append(held, Held{Seq: seq, ID: i})
	}
	slices.SortFunc(held, func(a, b Held) int { return int(a.Seq) - int(b.Seq) })
	s.ring = New(s.size)
	return s.ring.Restore(s.last, held)
}

func (s *story) restartMirror() ([]Seq, error) {
	var held []Restored
	for _, h := range s.kept {
		held = append(held, h)
	}
	slices.SortFunc(held, func(a, b Restored) int { return int(a.Seq) - int(b.Seq) })
	s.mirror = NewMirror(s.size)
	return s.mirror.Restore(s.released, held)
}

func (s *story) forget(seqs []Seq) {
	s.released = s.mirror.Pointers().LastProcessed
	for _, seq := range seqs {
		delete(s.kept, seq)
	}
}

// slots prints addresses from 0 with sequence and flags; "." was never used.
func slots(all []Held) string {
	var b strings.Builder
	for _, h := range all {
		if h.Seq == 0 {
			b.WriteString(" .")
			continue
		}
		fmt.Fprintf(&b, " %d:%v", h.Seq, h.Flags)
	}
	return b.String()
}

type args struct {
	d *datadriven.TestData
	t *testing.T
}

func (a args) seq(key string) (n uint64) {
	if a.d.HasArg(key) {
		a.d.ScanArgs(a.t, key, &n)
	}
	return n
}

func (a args) more() (more []Seq) {
	for _, arg := range a.d.CmdArgs {
		if arg.Key != "more" {
			continue
		}
		for _, v := range arg.Vals {
			var n Seq
			fmt.Sscan(v, &n)
			more = append(more, n)
		}
	}
	return more
}

var verdicts = map[Verdict]string{Fresh: "fresh", Storing: "storing", Duplicate: "duplicate", Stale: "stale"}

// step runs one command of a transcript.
func (s *story) step(t *testing.T, d *datadriven.TestData) string {
	a := args{d, t}
	var out strings.Builder
	say := func(format string, v ...any) { fmt.Fprintf(&out, format+"\n", v...) }
	result := func(what string, seqs []Seq, err error) {
		if err != nil {
			say("error: %s", strings.ReplaceAll(err.Error(), strings.Repeat("00", 14), "…"))
			return
		}
		say("%s: %v", what, seqs)
	}
	side := ""
	switch d.Cmd {
	case "new":
		s.begin(int(a.seq("size")))
	case "retrieve":
		side = "ring"
		for range max(1, a.seq("n")) {
			if s.ring.Free() == 0 {
				say("full")
				break
			}
			s.last = s.ring.Next()
			s.assigned[s.last] = id(s.last)
			s.ring.Retrieve(id(s.last))
		}
	case "send":
		side = "ring"
		for range max(1, a.seq("n")) {
			if seq, ok := s.ring.Send(); ok {
				say("send %d", seq)
			} else {
				say("nothing to send")
			}
		}
	case "confirm":
		side = "ring"
		news, err := s.ring.Confirm(a.seq("last"), a.more())
		result("news", news, err)
	case "answered":
		side = "ring"
		i := a.seq("seq")
		if a.d.HasArg("id") {
			i = a.seq("id")
		}
		news, err := s.ring.Answered(a.seq("seq"), id(i))
		if err != nil {
			result("", nil, err)
		} else {
			say("news: %v", news)
		}
	case "process":
		side = "ring"
		say("news: %v", s.ring.Process(a.seq("seq")))
		delete(s.assigned, a.seq("seq"))
	case "unconfirmed":
		say("%v", s.ring.Unconfirmed())
	case "released":
		last, more := s.ring.Released()
		say("last %d more %v", last, more)
	case "accept":
		side = "mirror"
		i := a.seq("seq")
		if a.d.HasArg("id") {
			i = a.seq("id")
		}
		v, err := s.mirror.Accept(a.seq("seq"), id(i))
		if err != nil {
			result("", nil, err)
		} else {
			say("%s", verdicts[v])
		}
	case "store":
		side = "mirror"
		seq := a.seq("seq")
		s.kept[seq] = Restored{Held{Seq: seq, ID: id(seq)}, a.seq("after")}
		say("hand on: %v", s.mirror.Store(seq, a.seq("after")))
	case "handon":
		side = "mirror"
		s.mirror.HandOn(a.seq("seq"))
	case "answer":
		side = "mirror"
		h := s.kept[a.seq("seq")]
		h.Flags = Confirmed
		s.kept[a.seq("seq")] = h
		say("hand on: %v", s.mirror.Answer(a.seq("seq")))
	case "release":
		side = "mirror"
		forgotten, err := s.mirror.Release(a.seq("last"), a.more())
		s.forget(forgotten)
		result("forgotten", forgotten, err)
	case "stored":
		last, more := s.mirror.Stored()
		say("last %d more %v", last, more)
	case "blocked":
		say("hand on: %v", s.mirror.Blocked())
	case "resync": // both sides, each with the other's view from before
		rv, mv := s.ring.View(), s.mirror.View()
		resend, err := s.ring.Resync(mv)
		result("ring resends", resend, err)
		forgotten, missing, err := s.mirror.Resync(rv)
		s.forget(forgotten)
		result("mirror forgets", forgotten, err)
		if err == nil {
			say("mirror lacks: %v", missing)
		}
	case "restart":
		switch d.CmdArgs[0].Key {
		case "ring":
			if err := s.restartRing(); err != nil {
				result("", nil, err)
			}
		case "mirror":
			handOn, err := s.restartMirror()
			result("hand on", handOn, err)
		}
	case "lose": // a new disk
		switch d.CmdArgs[0].Key {
		case "ring":
			s.ring, s.last, s.assigned = New(s.size), 0, map[Seq]ID{}
		case "mirror":
			s.mirror, s.released, s.kept = NewMirror(s.size), 0, map[Seq]Restored{}
		}
	case "show":
	default:
		t.Fatalf("%s: no command %q", d.Pos, d.Cmd)
	}
	if side != "mirror" {
		say("ring   %v |%s", s.ring, slots(s.ring.slots))
	}
	if side != "ring" {
		say("mirror %v |%s", s.mirror, slots(s.mirror.slots))
	}
	return out.String()
}

func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var s story
		s.begin(3)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.step(t, d) })
	})
}

func TestNewPanicsOutsideItsSizes(t *testing.T) {
	for _, size := range []int{-1, 0, 65536} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%d) did not panic", size)
				}
			}()
			New(size)
		}()
	}
}

func TestRestoreRefusesWhatDoesNotFit(t *testing.T) {
	if err := New(3).Restore(10, []Held{{Seq: 7}}); err == nil {
		t.Error("ring: 7 to 10 fitted into 3 slots")
	}
	if err := New(3).Restore(5, []Held{{Seq: 9}}); err == nil {
		t.Error("ring: 9 is held, 5 were assigned")
	}
	for _, seq := range []Seq{4, 8} {
		if _, err := NewMirror(3).Restore(4, []Restored{{Held: Held{Seq: seq}}}); err == nil {
			t.Errorf("mirror: %d is held after 4 in 3 slots", seq)
		}
	}
}

func TestFlagsString(t *testing.T) {
	var b bytes.Buffer
	for f := range Flags(16) {
		fmt.Fprintf(&b, "%v ", f)
	}
	if want := "---- R--- -S-- RS-- --C- R-C- -SC- RSC- ---P R--P -S-P RS-P --CP R-CP -SCP RSCP "; b.String() != want {
		t.Errorf("%s", b.String())
	}
}
