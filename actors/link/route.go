package link

import (
	"errors"
	"net"
	"slices"
	"time"
)

// MaxKnownHubs bounds what an edge remembers of the hubs it has heard of.
const MaxKnownHubs = 16

const (
	maxRedirects = 3 // in a row

	// How long a hub that gave no answer is left out: the longer if others answer,
	// because these know when it is back and owns the rings.
	lateFor     = 10 * time.Second
	lateForLong = time.Minute
)

// route is which hub an edge tries next: pure. It goes round the hubs it knows, the
// one that worked last first, then those that are configured, then those heard of.
// A hub that sends it on is followed at once, but not in a circle. One that gave no
// answer in time, which takes long to find out, is left out for a while as long as
// there are others.
type route struct {
	hubs      []string
	redirect  string               // to be followed
	redirects int                  // in a row
	late      map[string]time.Time // when a hub was given up that had not answered
	lates     int                  // in a row
	rounds    int                  // without success

	// Of this round.
	next     int
	tried    int
	refused  int  // for what a person has to mend
	answered bool // a hub did, if only to refuse

	heard bool // one did in the round before
}

// pause is how long to wait before the next attempt.
type pause uint8

const (
	notAtAll pause = iota
	shortly        // the owner is just being changed
	longer         // the longer, the more rounds there were
	slowly         // a person has to act
)

// newRoute: known are hubs heard of, the one that worked last first.
func newRoute(configured, known []string, redirect string) *route {
	r := &route{redirect: redirect, late: map[string]time.Time{}}
	r.hear(configured, known)
	return r
}

// hear takes over what is known meanwhile, between two rounds.
func (r *route) hear(configured, known []string) {
	if r.tried == 0 {
		r.hubs = distinct(known[:min(len(known), 1)], configured, known)
	}
}

// distinct joins lists; of what occurs again the first stays.
func distinct(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		for _, hub := range list {
			if !slices.Contains(all, hub) {
				all = append(all, hub)
			}
		}
	}
	return all
}

// KnownHubs is what to remember after a hub has said Welcome: it first, then those
// it names, then those that were known before; at most MaxKnownHubs, and nothing that
// is no address.
func KnownHubs(worked string, named, before []string) []string {
	valid := slices.DeleteFunc(distinct([]string{worked}, named, before), func(hub string) bool {
		host, port, err := net.SplitHostPort(hub)
		return err != nil || host == "" || port == "" || len(hub) > 262
	})
	return valid[:min(len(valid), MaxKnownHubs)]
}

// choose returns the hub to try now.
func (r *route) choose(now time.Time) string {
	if hub := r.redirect; hub != "" {
		r.redirect = ""
		return hub
	}
	r.tried++
	for ; r.next < len(r.hubs); r.next++ {
		if hub := r.hubs[r.next]; !r.leftOut(hub, now) {
			r.next++
			return hub
		}
	}
	if len(r.hubs) == 0 {
		return "" // a dialer that knows its hub itself
	}
	return slices.MinFunc(r.hubs, func(a, b string) int { return r.late[a].Compare(r.late[b]) })
}

func (r *route) leftOut(hub string, now time.Time) bool {
	since, late := r.late[hub]
	if r.answered || r.heard {
		return late && now.Sub(since) < lateForLong
	}
	return late && now.Sub(since) < lateFor
}

func (r *route) note(hub string, late bool, now time.Time) {
	if late {
		r.late[hub] = now
		r.lates++
		return
	}
	delete(r.late, hub)
	r.lates = 0
}

// more reports whether a hub of this round is still to be tried.
func (r *route) more(now time.Time) bool {
	return slices.ContainsFunc(r.hubs[r.next:], func(hub string) bool { return !r.leftOut(hub, now) })
}

// failed notes how the attempt at a hub has ended and returns when to make the next
// one. late: it gave no answer for as long as it was waited for.
func (r *route) failed(hub string, err error, late bool, now time.Time) pause {
	var redirect *RedirectError
	var refused *RefusedError
	answered := errors.As(err, &redirect) || errors.As(err, &refused)
	r.note(hub, late && !answered, now)
	r.answered = r.answered || answered
	soon := false
	switch {
	case redirect != nil:
		if r.redirects < maxRedirects {
			r.redirects++
			r.redirect = redirect.Hub
			return notAtAll
		}
	case refused != nil && refused.Code == "older_hello" && r.redirects < maxRedirects:
		r.redirects++
		r.redirect = hub // which will take the next one
		return shortly
	case refused != nil:
		soon = refused.Code == "not_owner" || refused.Code == "older_hello"
		if !soon && refused.Code != "storage" { // that may come back by itself
			r.refused++
		}
	}
	pause := notAtAll
	if !r.more(now) {
		pause = longer
		if r.refused > 0 && r.refused >= r.tried {
			pause = slowly
		}
		r.rounds++
		r.next, r.tried, r.refused, r.redirects, r.heard, r.answered = 0, 0, 0, 0, r.answered, false
	}
	if soon {
		return shortly
	}
	return pause
}
