package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/demo"
	"github.com/ringway-im/ringway/tests/corpus"
	"github.com/ringway-im/ringway/tests/history"
)

// Every text of the corpus goes from people to handsets and from handsets to
// people, and comes unchanged, once, in each recipient's order.
func TestCorpus(t *testing.T) {
	texts := corpus.Texts(t, "../../smsc/text/testdata/nus-sms.jsonl")
	for _, protocol := range []string{"cimd2", "smpp"} {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, demo.RigConfig{Protocol: protocol, RTT: 20 * time.Millisecond, Receipts: true})
			s.smsc.call("PUT", "/faults", map[string]any{"latency": "0ms"}, nil)
			f := newFlow(s.hub, s.smsc, demo.Number, 4, 24)
			begin := time.Now()
			f.meet()
			for i, text := range texts {
				f.down(i%len(f.handsets), text)
			}
			for i, text := range texts {
				f.up((i*7)%len(f.handsets), text)
			}
			limit := 20*time.Second + time.Duration(len(texts))*40*time.Millisecond
			f.settle(limit)
			took := time.Since(begin)
			f.check()
			t.Logf("%d texts down and %d up, each unchanged and once, %.0f a second in all", f.downs, f.ups, float64(f.downs+f.ups)/took.Seconds())
		})
	}
}

// flow is traffic between people and handsets, each handset with one person.
type flow struct {
	t        testing.TB
	hub      api
	smsc     smscAPI
	number   string // that handsets answer
	people   []*person
	handsets []string

	downs, ups int
	toPerson   map[string][]string // by handset
}

func newFlow(hub api, smsc smscAPI, number string, people, handsets int) *flow {
	hub.t.Helper()
	return flowOf(hub, smsc, demo.Prefix, number, 0, people, handsets)
}

// flowOf has people from person first+1 on, and handsets with a prefix.
func flowOf(hub api, smsc smscAPI, prefix, number string, first, people, handsets int) *flow {
	hub.t.Helper()
	f := &flow{t: hub.t, hub: hub, smsc: smsc, number: number, toPerson: map[string][]string{}}
	for i := range people {
		p := newPerson(hub, fmt.Sprintf("person-%d", first+i+1)).online()
		f.people = append(f.people, p)
	}
	for i := range handsets {
		f.handsets = append(f.handsets, fmt.Sprintf("%s%07d", prefix, i+1))
	}
	return f
}

// with is who talks with a handset.
func (f *flow) with(handset int) *person { return f.people[handset%len(f.people)] }

// down has a handset's person send it a text.
func (f *flow) down(handset int, text string) {
	number := f.handsets[handset]
	f.with(handset).send(number, text)
	f.downs++
}

// up has a handset answer its person.
func (f *flow) up(handset int, text string) {
	f.t.Helper()
	if err := f.tryUp(handset, text); err != nil {
		f.t.Fatal(err)
	}
}

func (f *flow) tryUp(handset int, text string) error {
	number := f.handsets[handset]
	if err := f.smsc.send(number, f.number, text); err != nil {
		return err
	}
	f.toPerson[number] = append(f.toPerson[number], text)
	f.ups++
	return nil
}

// meet has each handset hear from its person first: then it is clear whom an
// answer is for.
func (f *flow) meet() {
	f.t.Helper()
	for i := range f.handsets {
		f.down(i, "hello")
	}
	eventually(f.t, 20*time.Second, func() string { return atLeast("accepted", f.accepted(), f.downs) })
	eventually(f.t, 20*time.Second, func() string { return atLeast("received by handsets", f.smsc.stats().Received, f.downs) })
}

func (f *flow) accepted() (n int) {
	for _, p := range f.people {
		n += p.accepted()
	}
	return n
}

func (f *flow) cameUp() (n int) {
	for _, p := range f.people {
		n += p.gotAll()
	}
	return n
}

func (f *flow) finals() (n int) {
	for _, p := range f.people {
		for _, k := range p.finals() {
			n += k
		}
	}
	return n
}

// settle waits until all has come, and everything is known of it.
func (f *flow) settle(limit time.Duration) {
	f.t.Helper()
	eventually(f.t, limit, func() string {
		if missing := atLeast("accepted", f.accepted(), f.downs); missing != "" {
			return missing
		}
		if missing := atLeast("came up", f.cameUp(), f.ups); missing != "" {
			return missing
		}
		if missing := atLeast("came down", f.smsc.stats().Received, f.downs); missing != "" {
			return missing
		}
		if missing := atLeast("final", f.finals(), f.downs); missing != "" {
			return missing
		}
		return f.idle()
	})
}

// idle says what is still under way: nothing waits, every slot is free, and the
// SMSC has nothing more to hand over.
func (f *flow) idle() string {
	type pointers struct {
		LastRetrieved uint64 `json:"last_retrieved"`
		LastProcessed uint64 `json:"last_processed"`
	}
	var rings struct {
		Edges []struct {
			ID        string
			Hub, Edge map[string]struct {
				Pointers pointers
				Queue    uint64
			}
		}
	}
	f.hub.call("GET", "/v1/rings", nil, &rings)
	for _, e := range rings.Edges {
		for side, of := range map[string]map[string]struct {
			Pointers pointers
			Queue    uint64
		}{"hub": e.Hub, "edge": e.Edge} {
			for direction, r := range of {
				if r.Queue > 0 || r.Pointers.LastRetrieved != r.Pointers.LastProcessed {
					return fmt.Sprintf("%s, %s, ring %s: %+v", e.ID, side, direction, r)
				}
			}
		}
	}
	if stats := f.smsc.stats(); stats.MOAcked+stats.MORefused < stats.MOQueued {
		return fmt.Sprintf("the SMSC still has %d of %d", stats.MOQueued-stats.MOAcked-stats.MORefused, stats.MOQueued)
	}
	return ""
}

// check judges what came to handsets and people: all of it once, unaltered and in
// order.
func (f *flow) check() {
	f.t.Helper()
	accepted, taken, acked, inbox := byTurn(), byTurn(), byTurn(), byTurn()
	var records []history.Record
	for _, number := range f.handsets {
		for _, text := range f.smsc.texts(number) {
			records = append(records, history.Record{Kind: history.Taken, By: "smsc", Session: "only", Msg: taken(true, number, text)})
		}
		for _, text := range f.toPerson[number] {
			records = append(records, history.Record{Kind: history.Acked, By: "smsc", Msg: acked(false, number, text), From: number, To: f.number})
		}
	}
	for _, p := range f.people {
		records = append(records, p.records(accepted, inbox)...)
		page := byTurn() // the inbox's pages say the same as the stream
		for _, m := range p.inboxPages() {
			records = append(records, history.Record{Kind: history.Inbox, By: "person/" + p.name, Msg: page(false, m.From, m.Text), ID: m.ID})
		}
		if finals := p.finals(); len(finals) != 1 || finals["delivered"] == 0 {
			f.t.Errorf("%s: final states %v, want delivered only", p.name, finals)
		}
	}
	v := mustHold(f.t, append(records, history.Record{Kind: history.End}))
	if v.Accepted != f.downs || v.Taken != f.downs || v.Acked != f.ups || v.Inbox != f.ups {
		f.t.Errorf("%d texts down and %d up became %+v", f.downs, f.ups, v)
	}
}
