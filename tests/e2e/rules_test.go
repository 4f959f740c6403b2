package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/demo"
)

// What is no longer worth anything is not submitted, wherever it waits: behind a
// cut link, behind a full ring, at the edge. Its sender learns that it expired.
func TestDeadlines(t *testing.T) {
	for _, protocol := range []string{"cimd2", "smpp"} {
		t.Run(protocol, func(t *testing.T) { deadlines(t, protocol) })
	}
}

func deadlines(t *testing.T, protocol string) {
	t.Parallel()
	s := start(t, demo.RigConfig{Protocol: protocol, RTT: 20 * time.Millisecond, Receipts: true, Slots: 4})
	ann := newPerson(s.hub, "ann").online()
	never := map[string][]string{} // handset: texts that must not come
	late := func(number, text, d string) (ref string) {
		never[number] = append(never[number], text)
		return ann.send(number, text, validFor(d))
	}

	// While the link is cut: in the ring, and behind it.
	s.WAN.Cut()
	var expired []string
	for i := range 10 {
		expired = append(expired, late(demo.Prefix+"0000001", fmt.Sprint("cut ", i), "300ms"))
	}
	kept := ann.send(demo.Prefix+"0000001", "this one is kept")
	ann.id(kept) // and so are those before it: from now on their time runs
	time.AfterFunc(600*time.Millisecond, s.WAN.Restore)
	for _, ref := range expired {
		ann.reaches(ref, "expired", 15*time.Second)
	}
	ann.reaches(kept, "delivered", 10*time.Second)

	// Behind a slow SMSC: the ring is full, the rest waits in the hub.
	s.smsc.call("PUT", "/faults", map[string]any{"latency": "500ms"}, nil)
	for i := range 4 {
		kept = ann.send(demo.Prefix+"0000002", fmt.Sprint("slow ", i))
	}
	waiting := late(demo.Prefix+"0000003", "too late", "300ms")
	ann.reaches(waiting, "expired", 20*time.Second)
	ann.reaches(kept, "delivered", 20*time.Second)
	s.smsc.call("PUT", "/faults", map[string]any{"latency": "1ms"}, nil)

	// At the SMSC, which has it and whose handset is off.
	s.smsc.on(demo.Prefix+"0000004", false)
	off := late(demo.Prefix+"0000004", "for a dead battery", "2s")
	ann.reaches(off, "expired", 15*time.Second)
	s.smsc.on(demo.Prefix+"0000004", true)
	after := ann.send(demo.Prefix+"0000004", "back again")
	ann.reaches(after, "delivered", 10*time.Second)

	for number, texts := range never {
		for _, got := range s.smsc.texts(number) {
			if slices.Contains(texts, got) {
				t.Errorf("%s got %q after its deadline", number, got)
			}
		}
	}
	sameSequence(t, "handset 1", s.smsc.texts(demo.Prefix+"0000001"), []string{"this one is kept"})
}

// At the entry of a full ring the lower class goes first.
func TestClasses(t *testing.T) {
	s := start(t, demo.RigConfig{Protocol: "smpp", RTT: 20 * time.Millisecond, Slots: 4, Receipts: true})
	s.smsc.call("PUT", "/faults", map[string]any{"latency": "20ms"}, nil)
	ann := newPerson(s.hub, "ann").online()
	var order []string
	s.SMSC.OnDelivered(func(_, _, text string) { order = append(order, text) })
	var last string
	var bulk, urgent []string
	for i := range 40 {
		bulk = append(bulk, fmt.Sprint("bulk ", i))
		last = ann.send(fmt.Sprintf("%s%07d", demo.Prefix, i), bulk[i], class(2))
	}
	ann.id(last)
	var refs []string
	for i := range 5 {
		urgent = append(urgent, fmt.Sprint("urgent ", i))
		refs = append(refs, ann.send(fmt.Sprintf("%s%07d", demo.Prefix, 100+i), urgent[i], class(0)))
	}
	for _, ref := range append(refs, last) {
		ann.reaches(ref, "delivered", 20*time.Second)
	}
	s.SMSC.OnDelivered(nil)
	var gotBulk, gotUrgent []string
	for i, text := range order {
		if strings.HasPrefix(text, "bulk") {
			gotBulk = append(gotBulk, text)
		} else if gotUrgent = append(gotUrgent, text); i > 30 {
			t.Errorf("%q is number %d of %d to come: it waited behind bulk", text, i+1, len(order))
		}
	}
	for _, texts := range [][]string{gotBulk, bulk, gotUrgent, urgent} { // all recipients differ: no order among them
		slices.Sort(texts)
	}
	sameSequence(t, "bulk", gotBulk, bulk)
	sameSequence(t, "urgent", gotUrgent, urgent)
}

// A person who is away finds all in the inbox; presence follows the stream;
// the stream goes on where it was.
func TestAway(t *testing.T) {
	s := start(t, demo.RigConfig{Protocol: "smpp", RTT: 20 * time.Millisecond, Receipts: true})
	ann, bob := newPerson(s.hub, "ann"), newPerson(s.hub, "bob").online()
	presence := func(name, want string) {
		t.Helper()
		eventually(t, 5*time.Second, func() string {
			var got struct{ User, State string }
			bob.call("GET", "/v1/presence/"+name, nil, &got)
			if got.State == want {
				return ""
			}
			return fmt.Sprintf("%s is %s, want %s", name, got.State, want)
		})
	}
	handset := demo.Prefix + "0000001"
	presence("ann", "offline")
	ann.online()
	presence("ann", "online")
	ann.reaches(ann.send(handset, "I leave"), "delivered", 10*time.Second)
	ann.offline()
	presence("ann", "offline")

	want := []string{"one", "two", "three"}
	for _, text := range want {
		if err := s.smsc.send(handset, demo.Number, text); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, func() string { return atLeast("in the inbox", len(bySender(ann.inboxPages())[handset]), 3) })
	ref := bob.send("ann", "are you there?")
	bob.id(ref)
	eventually(t, 5*time.Second, func() string {
		if r := bob.record(ref); r.State != "processed" { // in her inbox, not yet taken
			return "bob's message is " + r.State
		}
		return ""
	})
	ann.online()
	presence("ann", "online")
	eventually(t, 10*time.Second, func() string { return atLeast("on the stream", ann.gotAll(), 4) })
	sameSequence(t, "ann from the handset", ann.got()[handset], want)
	sameSequence(t, "ann from bob", ann.got()["bob"], []string{"are you there?"})
	bob.reaches(ref, "delivered", 10*time.Second) // she has taken it
}

// A text to a handset that is off waits at the SMSC.
func TestHandsetIsSwitchedOff(t *testing.T) {
	s := start(t, demo.RigConfig{Protocol: "cimd2", RTT: 20 * time.Millisecond, Receipts: true})
	ann := newPerson(s.hub, "ann").online()
	number := demo.Prefix + "0000001"
	handset, err := s.SMSC.Handset(number)
	if err != nil {
		t.Fatal(err)
	}
	handset.SetOn(false)
	ref := ann.send(number, "are you there?")
	ann.id(ref)
	eventually(t, 10*time.Second, func() string {
		if r := ann.record(ref); r.State != "processed" {
			return "it is " + r.State
		}
		return ""
	})
	if got := handset.Messages(0); len(got) != 0 {
		t.Errorf("it is off and has received %v", got)
	}
	handset.SetOn(true)
	ann.reaches(ref, "delivered", 10*time.Second)
	if got := handset.Messages(0); len(got) != 1 {
		t.Errorf("it has received %v", got)
	}
}

// Whom a handset's text is for: the only person of its conversation, the one
// whose number it answers, the one it names; else it is asked.
func TestAddressing(t *testing.T) {
	s := start(t, demo.RigConfig{Protocol: "cimd2", RTT: 20 * time.Millisecond, Suffix: 2, Receipts: true})
	ann, bob := newPerson(s.hub, "ann").online(), newPerson(s.hub, "bob").online()
	handset, other := demo.Prefix+"0000001", demo.Prefix+"0000002"
	ann.reaches(ann.send(handset, "ann here"), "delivered", 10*time.Second)
	bob.reaches(bob.send(handset, "bob here"), "delivered", 10*time.Second)
	from := map[string]string{} // text: number it came from
	for _, m := range s.smsc.received(handset) {
		from[m.Text] = m.From
		if !strings.HasPrefix(m.From, demo.Number) || len(m.From) != len(demo.Number)+2 {
			t.Errorf("%q came from %s, want %s and two digits", m.Text, m.From, demo.Number)
		}
	}
	if from["ann here"] == from["bob here"] {
		t.Fatalf("both conversations have the number %s", from["ann here"])
	}
	say := func(number, to, text string) {
		t.Helper()
		if err := s.smsc.send(number, to, text); err != nil {
			t.Fatal(err)
		}
	}
	say(handset, from["ann here"], "hi ann")
	say(handset, from["bob here"], "hi bob")
	say(handset, from["bob here"], "@ann you too")
	say(handset, from["bob here"], "@nobody is a user")
	say(other, demo.Number, "@bob from a stranger")
	eventually(t, 10*time.Second, func() string { return atLeast("ann", ann.gotAll(), 2) })
	eventually(t, 10*time.Second, func() string { return atLeast("bob", bob.gotAll(), 3) })
	sameSequence(t, "ann", ann.got()[handset], []string{"hi ann", "you too"})
	sameSequence(t, "bob", bob.got()[handset], []string{"hi bob", "@nobody is a user"})
	sameSequence(t, "bob from a stranger", bob.got()[other], []string{"from a stranger"})

	// Nobody knows whom this is for: it is kept and the handset is asked.
	stranger := demo.Prefix + "0000003"
	say(stranger, demo.Number, "who are you?")
	eventually(t, 10*time.Second, func() string { return atLeast("question to the stranger", len(s.smsc.received(stranger)), 1) })
	asked := s.smsc.received(stranger)[0]
	if !strings.Contains(asked.Text, "@") {
		t.Errorf("the handset was asked %q: it does not say how to answer", asked.Text)
	}
	if ann.gotAll() != 2 || bob.gotAll() != 3 {
		t.Error("somebody got what was not for them")
	}
	t.Logf("the handset is asked from %s: %q", asked.From, asked.Text)
}

// What the SMSC cannot take yet waits at the hub up to its bound; then the
// sender is told to come again, and nothing that was accepted is lost.
func TestQueueBound(t *testing.T) {
	s := start(t, demo.RigConfig{Protocol: "cimd2", RTT: 20 * time.Millisecond, Slots: 2, Receipts: true, Hub: func(c *config.Hub) {
		c.Edges[0].Queue.MaxMessages = 5
	}})
	ann := newPerson(s.hub, "ann").online()
	s.WAN.Cut()
	accepted, refused := 0, 0
	for i := range 20 {
		var answer struct{ ID string }
		status, header, err := ann.try(t.Context(), "POST", "/v1/messages", map[string]string{"to": demo.Prefix + "0000001", "text": fmt.Sprint(i)}, &answer)
		switch {
		case status == 202:
			accepted++
		case status == 503 && header.Get("Retry-After") != "":
			refused++
		default:
			t.Fatalf("status %d, %v", status, err)
		}
	}
	if accepted < 5 || accepted > 8 || accepted+refused != 20 {
		t.Errorf("accepted %d, refused %d, with 2 slots and room for 5 behind them", accepted, refused)
	}
	s.WAN.Restore()
	eventually(t, 10*time.Second, func() string { return atLeast("came", len(s.smsc.received(demo.Prefix+"0000001")), accepted) })
}
