package history_test

import (
	"slices"
	"strings"

	"github.com/ringway-im/ringway/tests/history"
)

var order = []string{"", "accepted", "retrieved", "sent", "confirmed", "deferred", "unknown", "processed", "delivered", "failed", "expired"}

func rank(state string) int { return slices.Index(order, state) }

// judge applies the rules as they are said, looking at every pair of records. It
// knows histories without pointers and numbered states.
func judge(opts history.Options, h []history.Record) map[history.Rule]int {
	count := map[history.Rule]int{}
	all := func(which func(r history.Record) bool) (at []int) {
		for i, r := range h {
			if which(r) {
				at = append(at, i)
			}
		}
		return at
	}
	of := func(kind history.Kind, msg string) []int {
		return all(func(r history.Record) bool { return r.Kind == kind && (msg == "" || r.Msg == msg) })
	}
	atRest := len(of(history.End, "")) > 0
	excused := map[string]int{}
	left := map[string]int{} // doubts of each session
	doubts := 0              // in all histories

	for _, i := range of(history.Taken, "") { // is there a copy before, and was it in doubt?
		same := func(r history.Record) bool {
			return r.Kind == history.Taken && r.Msg == h[i].Msg && r.Part == h[i].Part
		}
		before := all(same)
		before = before[:slices.Index(before, i)]
		if len(before) == 0 {
			continue
		}
		prior := before[len(before)-1]
		inSession := func(r history.Record) bool { return r.Session == h[prior].Session }
		later := 0
		for k := prior + 1; k < len(h); k++ {
			if inSession(h[k]) && (h[k].Kind == history.Taken || h[k].Kind == history.Refused) {
				later++
			}
		}
		ended := len(all(func(r history.Record) bool { return inSession(r) && r.Kind == history.Closed })) > 0
		doubt := h[prior].Unanswered || ended && later < opts.Window
		if doubt {
			left[h[prior].Session]++
		}
		if doubt && left[h[prior].Session] <= opts.Window {
			excused[h[i].Msg]++
		} else {
			count[history.Doubled]++
		}
	}

	for _, msg := range []string{"a", "b", "c"} {
		accepted, taken, acked := of(history.Accepted, msg), of(history.Taken, msg), of(history.Acked, msg)
		handed, inbox := of(history.Handed, msg), of(history.Inbox, msg)
		told := 0
		for _, i := range all(func(r history.Record) bool { return r.Kind == history.State && r.ID == "id"+msg }) {
			if rank(h[i].State) < told {
				count[history.Backwards]++
			}
			told = max(told, rank(h[i].State))
		}
		parts := map[int]bool{}
		for _, i := range taken {
			parts[h[i].Part] = true
		}
		whole := len(taken) > 0 && len(parts) == h[taken[0]].Parts
		failed := told >= rank("failed")
		lost := false
		switch {
		case len(accepted) > 0 && h[accepted[0]].To == "+1":
			lost = !whole && !failed && !(opts.GiveUp && told == rank("unknown"))
			if !whole && (told == rank("processed") || told == rank("delivered")) {
				count[history.Untrue]++
			}
		default:
			lost = len(inbox) == 0 && (len(accepted) > 0 && !failed || len(acked) > 0)
		}
		if lost && atRest {
			count[history.Lost]++
		}
		different, events := map[string]bool{}, map[string]map[uint64]bool{}
		for _, i := range inbox {
			key := h[i].By + " " + h[i].ID
			if different[key] = true; events[key] == nil {
				events[key] = map[uint64]bool{}
			}
			if h[i].N > 0 {
				events[key][h[i].N] = true
			}
		}
		for _, n := range events {
			if len(n) > 1 {
				count[history.Doubled] += len(n) - 1
			}
		}
		if len(different) > 1 && len(different) > max(len(handed), 1) {
			count[history.Doubled]++
		}
		histories := all(func(r history.Record) bool { return r.Kind == history.History && r.ID == "id"+msg })
		unknowns := func(i int) int { return strings.Count(strings.Join(h[i].States, " "), "unknown") }
		if n := excused[msg]; n > 0 && len(accepted) > 0 {
			if len(histories) == 0 && atRest || len(histories) > 0 && unknowns(histories[len(histories)-1]) < n {
				count[history.Uncounted]++
			}
		}
		if len(histories) > 0 {
			doubts += unknowns(histories[len(histories)-1])
		}

		if opts.NoGrounds || len(accepted) == 0 {
			continue
		}
		ends, said := map[int]bool{}, map[string]bool{}
		refusals := map[string]int{}
		size := 1
		for _, i := range all(func(r history.Record) bool { return r.Msg == msg }) {
			r := h[i]
			switch r.Kind {
			case history.Taken:
				size = max(size, r.Parts)
			case history.Refused:
				if refusals[r.Fate]++; r.Fate == "" || r.Fate == "permanent" {
					size, ends[r.Part] = max(size, r.Parts), true
				}
			case history.Receipt:
				size, ends[r.Part], said[r.State] = max(size, r.Parts), true, true
			}
		}
		heard := len(ends) == size
		wasTold := func(state string, within func(at int64) bool) bool {
			return len(all(func(r history.Record) bool {
				return r.ID == "id"+msg && (r.Kind == history.State && r.State == state && within(r.At) || r.Kind == history.History && slices.Contains(r.States, state) && within(0))
			})) > 0
		}
		some := func(int64) bool { return true }
		refused := refusals["permanent"]+refusals[""] > 0 || h[accepted[0]].Unfit || refusals["undefined"] >= 3 ||
			opts.Refusals > 0 && refusals["temporary"]+refusals["undefined"] >= opts.Refusals
		if wasTold("failed", some) && !refused && !(heard && said["failed"]) {
			count[history.Unfounded]++
		}
		until := h[accepted[0]].Until
		early := func(at int64) bool { return until == 0 || at > 0 && at < until-opts.Skew.Microseconds() }
		if wasTold("expired", some) && (until == 0 || wasTold("expired", early)) && !(heard && said["expired"]) {
			count[history.Unfounded]++
		}
	}
	sessions, ends := map[string]bool{}, map[string]bool{}
	for _, r := range h {
		switch r.Kind {
		case history.Closed:
			ends[r.Session] = true
			fallthrough
		case history.Taken, history.Refused:
			sessions[r.Session] = true
		}
	}
	if atRest && len(sessions) > 0 && doubts > len(ends)*opts.Window {
		count[history.Overcounted]++
	}

	// Order: each message of a conversation against the one before that came last.
	conversations := map[string][]string{}
	seen := map[string]bool{}
	for _, i := range of(history.Accepted, "") {
		if r := h[i]; !seen[r.Msg] {
			seen[r.Msg] = true
			conversations["down "+r.To] = append(conversations["down "+r.To], r.Msg)
		}
	}
	seen = map[string]bool{}
	for _, i := range of(history.Acked, "") {
		if r := h[i]; !seen[r.Msg] {
			seen[r.Msg] = true
			conversations["up"] = append(conversations["up"], r.Msg)
		}
	}
	for lane, msgs := range conversations {
		for k, msg := range msgs {
			for _, earlier := range msgs[:k] {
				if lane != "up" {
					a, b := of(history.Taken, earlier), of(history.Taken, msg)
					if len(a) > 0 && len(b) > 0 && b[0] < a[len(a)-1] {
						count[history.Disordered]++
						break
					}
				} else if a, b := of(history.Inbox, earlier), of(history.Inbox, msg); len(a) > 0 && len(b) > 0 && h[a[0]].By == h[b[0]].By && b[0] < a[0] {
					count[history.Disordered]++
					break
				}
			}
		}
	}
	return count
}
