package journal

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/ringway-im/ringway/messages"
)

var t0 = time.UnixMilli(1_700_000_000_000)

// TestI13_AnyOrder: whatever the order in which results, receipts and doubts
// come, and however often, a message ends in the same state.
func TestI13_AnyOrder(t *testing.T) {
	results := []messages.State{messages.State_DEFERRED, messages.State_UNKNOWN, messages.State_PROCESSED, messages.State_FAILED, messages.State_EXPIRED}
	finals := []messages.State{messages.State_DELIVERED, messages.State_FAILED, messages.State_EXPIRED}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.IntRange(1, 4).Draw(t, "parts")
		var facts []func(r *Record)
		add := func(at time.Time, f func(r *Record, at time.Time) bool) {
			facts = append(facts, func(r *Record) {
				before := r.State
				raised := f(r, at)
				if r.State < before || raised != (r.State > before) || r.Final != IsFinal(r.State) {
					t.Fatalf("%v became %v, raised %v, final %v", before, r.State, raised, r.Final)
				}
				if !slices.ContainsFunc(r.History, func(s Step) bool { return s.State == r.State }) {
					t.Fatalf("%v is not in the history %v", r.State, r.History)
				}
			})
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "facts") {
			at := t0.Add(time.Duration(i) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				state := rapid.SampledFrom([]messages.State{messages.State_RETRIEVED, messages.State_SENT, messages.State_CONFIRMED}).Draw(t, "progress")
				add(at, func(r *Record, at time.Time) bool { return r.Reach(state, at) })
			case 1:
				res := &messages.Result{State: rapid.SampledFrom(results).Draw(t, "result"), AtUnixMs: at.UnixMilli(), Reason: &messages.Reason{Code: "c"}}
				for range parts {
					res.Parts = append(res.Parts, &messages.PartState{State: rapid.SampledFrom(results).Draw(t, "of part")})
				}
				add(at, func(r *Record, _ time.Time) bool { return r.Answer(res) })
			case 2:
				rec := &messages.Receipt{
					Part: uint32(rapid.IntRange(0, parts-1).Draw(t, "part")), Parts: uint32(parts),
					State: rapid.SampledFrom(finals).Draw(t, "receipt"),
				}
				add(at, func(r *Record, at time.Time) bool { return r.Receive(rec, 0, at) })
			case 3:
				add(at, func(r *Record, at time.Time) bool { return r.Doubt(&messages.Doubt{Attempt: uint32(i)}, at) })
			}
		}
		var a, b Record
		a.Reach(messages.State_ACCEPTED, t0)
		b.Reach(messages.State_ACCEPTED, t0)
		for _, f := range facts {
			f(&a)
		}
		for _, f := range rapid.Permutation(append(facts, facts[0])).Draw(t, "order") {
			f(&b)
		}
		same := slices.EqualFunc(a.Parts, b.Parts, func(x, y *messages.PartState) bool { return proto.Equal(x, y) })
		if a.State != b.State || a.Final != b.Final || a.Attempts != b.Attempts || !same {
			t.Fatalf("in order: %v %v %d; otherwise: %v %v %d", a.State, a.Parts, a.Attempts, b.State, b.Parts, b.Attempts)
		}
	})
}

func TestHistoryBounds(t *testing.T) {
	var r Record
	for i := range 1000 {
		r.Doubt(&messages.Doubt{Attempt: uint32(i)}, t0)
	}
	r.Receive(&messages.Receipt{Part: 1 << 31, Parts: 1 << 31, State: messages.State_DELIVERED}, 0, t0)
	r.Receive(&messages.Receipt{Part: 3, Parts: 1 << 31, State: messages.State_DELIVERED}, 0, t0)
	if len(r.History) > maxSteps || len(r.Parts) != maxParts || r.State != messages.State_UNKNOWN || r.Attempts != 999 {
		t.Errorf("%d steps, %d parts, %v, %d attempts", len(r.History), len(r.Parts), r.State, r.Attempts)
	}
}

// Each doubt stands in the history once, also where the result of the part that it
// ended came before it.
func TestDoubtsOvertaken(t *testing.T) {
	doubt := func(again bool) func(*Record) { return func(r *Record) { r.Doubt(&messages.Doubt{Again: again}, t0) } }
	result := func(states ...messages.State) func(*Record) {
		res := &messages.Result{State: messages.State_UNKNOWN}
		for _, s := range states {
			res.Parts = append(res.Parts, &messages.PartState{State: s})
		}
		return func(r *Record) { r.Answer(res) }
	}
	const unknown, processed = messages.State_UNKNOWN, messages.State_PROCESSED
	for name, test := range map[string]struct {
		facts []func(*Record)
		want  int
	}{
		"in order":              {[]func(*Record){doubt(false), result(unknown)}, 1},
		"overtaken":             {[]func(*Record){result(unknown), doubt(false)}, 1},
		"two, overtaken":        {[]func(*Record){result(unknown, processed, unknown), doubt(false), doubt(false)}, 2},
		"two, one overtaken":    {[]func(*Record){doubt(false), result(unknown, unknown), doubt(false)}, 2},
		"sent again, then not":  {[]func(*Record){doubt(true), doubt(false), result(unknown)}, 2},
		"sent again both times": {[]func(*Record){doubt(true), doubt(true), result(processed)}, 2},
	} {
		var r Record
		for _, f := range test.facts {
			f(&r)
		}
		got := 0
		for _, s := range r.History {
			if s.State == unknown {
				got++
			}
		}
		if got != test.want {
			t.Errorf("%s: %d doubts in the history %v; want %d", name, got, r.History, test.want)
		}
	}
}

// A clock at the edge that is late does not put what followed before its cause.
func TestHistoryOfTwoClocks(t *testing.T) {
	var r Record
	r.Reach(messages.State_ACCEPTED, t0)
	r.Reach(messages.State_SENT, t0.Add(time.Second))
	r.Reach(messages.State_DELIVERED, t0.Add(-time.Minute))
	r.Reach(messages.State_PROCESSED, t0.Add(-2*time.Minute))
	var got []messages.State
	for _, s := range r.History {
		got = append(got, s.State)
	}
	if want := []messages.State{messages.State_ACCEPTED, messages.State_SENT, messages.State_PROCESSED, messages.State_DELIVERED}; !slices.Equal(got, want) {
		t.Errorf("history %v; want %v", got, want)
	}
}

func TestReasonEnds(t *testing.T) {
	var r Record
	r.Answer(&messages.Result{State: messages.State_DEFERRED, Reason: &messages.Reason{Code: "busy"}})
	if r.Reason.GetCode() != "busy" {
		t.Errorf("deferred: %v", r.Reason)
	}
	r.Answer(&messages.Result{State: messages.State_PROCESSED})
	if r.Reason != nil {
		t.Errorf("processed: %v", r.Reason)
	}
	r.Receive(&messages.Receipt{Parts: 1, State: messages.State_FAILED, SmscCode: "27"}, 0, t0)
	if r.State != messages.State_FAILED || r.Reason.GetCode() != "undeliverable" || r.Reason.GetSmscCode() != "27" {
		t.Errorf("%v: %v", r.State, r.Reason)
	}
}

// Why a message is in doubt is its reason until more is known.
func TestDoubtSaysWhy(t *testing.T) {
	var r Record
	r.Doubt(&messages.Doubt{Attempt: 1, Why: "no response within 10s", Again: true}, t0)
	if r.Reason.GetCode() != "no_answer" || r.Reason.GetText() != "no response within 10s" {
		t.Errorf("%v", r.Reason)
	}
	r.Answer(&messages.Result{State: messages.State_PROCESSED, Attempts: 2, AtUnixMs: t0.UnixMilli()})
	r.Doubt(&messages.Doubt{Attempt: 1, Why: "no response within 10s", Again: true}, t0) // once more
	if r.Reason != nil {
		t.Errorf("processed, and still %v", r.Reason)
	}
}
