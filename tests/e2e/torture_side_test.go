package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/ringway-im/ringway/tests/history"
)

// side is an edge under torture, with its SMSC, its handsets and the people that talk with them.
type side struct {
	*torment
	number int // of its texts: those of the first begin at 0
	edge   *siteEdge
	flow   *flow
	tap    *tap
	disk   *smallDisk // nil: none to fill

	node, smsc *node
	downs, ups int     // texts; ups as they were given to the SMSC
	acked      int     // by it, since the run began
	metric     float64 // doubts that the edge counted before it was killed, all its lives
}

const (
	peopleOfSide   = 3
	handsetsOfSide = 30
	textsOfSide    = 10_000_000
)

func (s *side) start() {
	s.startSMSC()
	s.node = s.site.launchEdge(s.edge).ready()
	isReady(s.edge.api(s.t), 30*time.Second)
	s.flow = flowOf(s.site.admin(), s.edge.smsc(s.t), s.edge.prefix, s.edge.number, s.number*peopleOfSide, peopleOfSide, handsetsOfSide)
	s.downs, s.ups = s.number*textsOfSide, s.number*textsOfSide
	for i := range s.flow.handsets { // whom their answers are for
		s.flow.down(i, fmt.Sprintf("d0-%d hello", s.downs+i))
	}
	s.downs += len(s.flow.handsets)
}

// again kills the edge and starts it.
func (s *side) again() {
	s.kill(s.node)
	s.node = s.site.launchEdge(s.edge)
}

// startSMSC: it takes longer for a message than a disk does, and lets the edge wait
// as long again after it has taken every other one: the edge always waits for an
// answer, and what it waits for is taken or not.
func (s *side) startSMSC() {
	s.smsc = s.site.launchSMSC(s.edge, "--latency", slow, "--faults", `{"late_rate":0.5,"late_by":"15ms"}`, "--retry-after", "50ms").ready()
}

const slow, fast = "15ms", "1ms"

func (s *side) latency(d string) {
	s.flow.smsc.call("PUT", "/faults", map[string]string{"latency": d, "late_by": d}, nil)
}

// feedDown sees that people have as many texts under way as they like to.
func (s *side) feedDown() {
	people := s.flow.people
	for i, p := range people {
		for n := p.unsettled(); n < underWay; n++ {
			s.downs++
			handset := i + len(people)*(s.downs%(len(s.flow.handsets)/len(people)))
			name := fmt.Sprintf("d%d-%d", s.round.Load(), s.downs)
			text := name + " to you"
			if s.downs%16 == 0 { // in two parts of 153 septets at most, each with its name
				text = fmt.Sprintf("%-153s%s/1 the end", name+"/0 begins", name)
			}
			s.flow.down(handset, text)
		}
	}
}

// feedUp sees that the SMSC has texts from handsets to hand over.
func (s *side) feedUp() {
	var stats smscStats
	smsc := s.flow.smsc
	if _, _, err := smsc.try(s.t.Context(), "GET", "/stats", nil, &stats); err != nil || stats.MOQueued-stats.MOAcked-stats.MORefused > underWay {
		return
	}
	for range 10 {
		s.ups++
		handset := s.flow.handsets[s.ups%len(s.flow.handsets)]
		_ = smsc.send(handset, s.edge.number, fmt.Sprintf("u%d-%d to you", s.round.Load(), s.ups)) // the SMSC may be away
	}
}

// unsettled is how many of its people's messages are neither processed nor final.
func (s *side) unsettled() (n int) {
	for _, p := range s.flow.people {
		p.accepted() // complains of what was refused
		n += p.unsettled()
	}
	return n
}

// doubtsCounted is the edge's counter, 0 while it does not answer.
func (s *side) doubtsCounted() float64 {
	var text string
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	if _, _, err := s.edge.api(s.t).try(ctx, "GET", "/metrics", nil, &text); err != nil {
		return 0
	}
	return sumOf(s.t, text, "ringway_smsc_unknown_outcome_total", "")
}

// saw is what people, the SMSC and the line to it saw since it was asked last.
func (s *side) saw() (records []history.Record) {
	lines := s.tap.crossed()
	for _, c := range lines {
		if c.what == "deliver" && c.ok {
			s.acked++
		}
	}
	// What has not come ten seconds after all else never will.
	await(s.t.Context(), 10*time.Second, func() string { return atLeast("came up", s.flow.cameUp(), s.acked) })
	for _, p := range s.flow.people {
		records = append(records, p.records(byName, byName)...)
	}
	records = append(records, s.crossings(lines)...)
	return append(records, s.doubts(lines, records)...)
}

// crossings makes records of what went over the line to the SMSC. What it did not
// answer it may have taken: what handsets have says. An SMSC that was killed has
// taken it to its grave; then it counts as not taken, and has to come again.
func (s *side) crossings(lines []*crossing) (records []history.Record) {
	here := map[string]int{} // whole texts at handsets of the SMSC's present life
	for _, number := range s.flow.handsets {
		var got []handsetMessage
		s.flow.smsc.call("GET", fmt.Sprintf("/handsets/%s/messages?after=%d", number, s.tap.seen[number]), nil, &got)
		s.tap.seen[number] += len(got)
		for _, m := range got {
			here[byName(true, number, m.Text)]++
		}
	}
	sure, maybe := map[string]int{}, map[string]int{}
	for _, c := range lines {
		if c.what != "submit" || c.life != s.tap.life || c.parts > 1 {
			continue
		}
		switch name := byName(true, c.to, c.text); {
		case c.ok:
			sure[name]++
		case !c.answered:
			maybe[name]++
		}
	}
	for name, n := range sure {
		if here[name] < n || here[name] > n+maybe[name] {
			s.t.Errorf("%q came to its handset %d times; %d answered, %d not", name, here[name], n, maybe[name])
		}
	}
	for _, c := range lines {
		session := fmt.Sprint(s.edge.id, " ", c.session)
		switch c.what {
		case "submit":
			name := byName(true, c.to, c.text)
			r := history.Record{Kind: history.Refused, By: "smsc", At: c.at.UnixMicro(), Msg: name, Session: session, Part: c.part, Parts: c.parts}
			switch {
			case c.ok:
				r.Kind = history.Taken
			case c.answered || c.life != s.tap.life:
			case c.parts > 1 && here[name] > 0:
				r.Kind, r.Unanswered = history.Taken, true
			case c.parts == 1 && here[name] > sure[name]:
				sure[name]++
				r.Kind, r.Unanswered = history.Taken, true
			}
			if r.Kind == history.Refused {
				r.Fate = cmp.Or(c.fate, "bad_session") // not taken, and never answered
			}
			records = append(records, r)
		case "deliver":
			r := history.Record{Kind: history.Handed, By: "smsc", At: c.at.UnixMicro(), Msg: byName(false, c.from, c.text), From: c.from, To: c.to, Session: session}
			records = append(records, r)
			if r.Kind, r.Session = history.Acked, ""; c.ok {
				records = append(records, r)
			}
		case "closed":
			records = append(records, history.Record{Kind: history.Closed, By: "smsc", At: c.at.UnixMicro(), Session: session})
		}
	}
	return records
}

// doubts reads the histories of what may be in doubt. Each session that broke may
// leave one, whose message says so; what it never answered is one.
func (s *side) doubts(lines []*crossing, seen []history.Record) (records []history.Record) {
	t := s.t
	ids, suspects := map[string]string{}, map[string]bool{}
	for _, r := range seen {
		switch {
		case r.Kind == history.Accepted:
			ids[r.Msg] = r.ID
		case r.Kind == history.State && r.State == "unknown":
			suspects[r.ID] = true
		}
	}
	last := map[int]*crossing{} // by session
	broken := 0
	for _, c := range lines {
		switch c.what {
		case "submit":
			last[c.session] = c
		case "closed":
			broken++
			r := s.roundAt(c.at)
			r.Broken++
			l := last[c.session]
			if l == nil {
				continue
			}
			id := ids[byName(true, l.to, l.text)]
			suspects[id] = true
			r.Between = r.Between || !l.answered && r.Victim == "edge" && r.Edge == s.edge.id && r.Accident != "SMSC killed" && c.began.Before(r.at)
		}
	}
	delete(suspects, "")
	unknowns := map[string]int{}
	total := 0
	for id := range suspects {
		var m record
		s.flow.hub.call("GET", "/v1/messages/"+id, nil, &m)
		states := m.states()
		for _, state := range states {
			if state == "unknown" {
				unknowns[id]++
				total++
			}
		}
		if unknowns[id] > 0 && !m.PossibleDuplicate {
			t.Errorf("seed %d: %s (%.20q) has been unknown and is no possible duplicate: %v", s.seed, id, m.Text, states)
		}
		records = append(records, history.Record{Kind: history.History, By: "hub", ID: id, States: states})
	}
	// To which round each belongs.
	left := maps.Clone(unknowns)
	for _, c := range lines {
		if l := last[c.session]; c.what == "closed" && l != nil {
			id := ids[byName(true, l.to, l.text)]
			if left[id] > 0 {
				left[id]--
				s.roundAt(c.at).Doubts++
			} else if !l.answered && id != "" {
				t.Errorf("seed %d: session %d broke before the answer to %q, and its history has %d doubts", s.seed, c.session, l.text, unknowns[id])
			}
		}
	}
	if total > broken {
		t.Errorf("seed %d: %s: %d doubts, want one for each of %d sessions that broke at most", s.seed, s.edge.id, total, broken)
	}
	s.all.Doubts += total
	return records
}
