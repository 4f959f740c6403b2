package metrics

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringway-im/ringway/actors/link"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
)

// shows returns what a registry has under a name: "label=value ...: n", sorted; of a
// histogram how many were observed.
func shows(t *testing.T, r *prometheus.Registry, name string) []string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			n := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			all = append(all, fmt.Sprintf("%s: %v", strings.Join(labels, " "), n))
		}
	}
	slices.Sort(all)
	return all
}

func expect(t *testing.T, r *prometheus.Registry, name string, want ...string) {
	t.Helper()
	got := shows(t, r, name)
	got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, ": 0") && !slices.Contains(want, s) })
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got  %q\n want %q", name, got, want)
	}
}

// What the SMSC answered can be told apart, and from what it was taken for.
func TestResponsesBySMSCsStatus(t *testing.T) {
	r := prometheus.NewRegistry()
	m := NewSMSC(r, "manila-1", "globe", "smpp")
	for _, c := range []struct {
		fate   smsc.Fate
		status string
	}{
		{smsc.Throttled, "ESME_RTHROTTLED"},
		{smsc.Throttled, "ESME_RMSGQFUL"},
		{smsc.Accepted, "ESME_ROK"},
		{smsc.Accepted, "ESME_ROK"},
		{smsc.Temporary, "0x4A1"},
		{smsc.Permanent, "0x4A1"}, // a fate of the operator's
		{smsc.Unknown, ""},
	} {
		m.Submitted("globe-1-1", c.fate, c.status, time.Second)
	}
	expect(t, r, "ringway_smsc_responses_total",
		"fate=throttled smsc=globe status=ESME_RTHROTTLED: 1", "fate=throttled smsc=globe status=ESME_RMSGQFUL: 1",
		"fate=accepted smsc=globe status=ESME_ROK: 2", "fate=temporary smsc=globe status=0x4A1: 1",
		"fate=permanent smsc=globe status=0x4A1: 1", "fate=unknown smsc=globe status=none: 1")
	m.State("globe-1-1", "binding")
	m.State("globe-1-1", "bound")
	expect(t, r, "ringway_smsc_session_state", "protocol=smpp session=globe-1-1 smsc=globe state=bound: 1")
	m.Undefined(smsc.CodeVendor)
	expect(t, r, "ringway_smsc_undefined_codes_total", "class=vendor smsc=globe: 1", "class=undefined smsc=globe: 0")
	m.Receipt("matched")
	m.Receipt("parked")
	m.ReceiptMatched(time.Second)
	expect(t, r, "ringway_dlr_unmatched_total", "smsc=globe: 1")
	expect(t, r, "ringway_dlr_latency_seconds", "smsc=globe: 1")
	m.Received(2, 5)
	expect(t, r, "ringway_messages_total", "direction=up edge=manila-1 stage=accepted: 2")
}

// A hub and an edge in one process count each stage once.
func TestStagesOfBothEndsInOneProcess(t *testing.T) {
	r := prometheus.NewRegistry()
	hub, edge := Link(r, "a", Down), Link(r, "a", Up)
	for stage := range link.Stages {
		hub.Passed(link.Stage(stage), 1)
		edge.Passed(link.Stage(stage), 2)
	}
	var want []string
	for i, stage := range link.Stages {
		down, up := 1, 2
		if link.Stage(i) >= link.StageReceived {
			down, up = 2, 1
		}
		want = append(want, fmt.Sprintf("direction=down edge=a stage=%s: %d", stage, down), fmt.Sprintf("direction=up edge=a stage=%s: %d", stage, up))
	}
	expect(t, r, "ringway_messages_total", want...)
	hub.Unconfirmed(Down, 2*time.Second)
	edge.Unconfirmed(Up, 0)
	expect(t, r, "ringway_ring_oldest_unconfirmed_seconds", "direction=down edge=a: 2", "direction=up edge=a: 0")
}

func TestEndOfMessages(t *testing.T) {
	r := prometheus.NewRegistry()
	m := NewMessages(r, []string{"a"})
	m.Accepted("a")
	m.Accepted("")
	m.Settled("a", true, messages.State_DELIVERED, time.Second)
	m.Settled("a", true, messages.State_FAILED, -1) // accepted before a backup
	m.Settled("a", false, messages.State_DELIVERED, time.Second)
	m.Settled("", false, messages.State_DELIVERED, time.Second)
	expect(t, r, "ringway_messages_total",
		"direction=down edge=a stage=accepted: 1", "direction=local edge= stage=accepted: 1",
		"direction=down edge=a stage=delivered: 1", "direction=down edge=a stage=failed: 1",
		"direction=up edge=a stage=delivered: 1", "direction=local edge= stage=delivered: 1")
	expect(t, r, "ringway_message_end_to_end_seconds",
		"direction=down state=delivered: 1", "direction=up state=delivered: 1", "direction=local state=delivered: 1")
}

// Whoever has gone is shown no longer, and two of one name do not spoil the page.
func TestSampled(t *testing.T) {
	r := prometheus.NewRegistry()
	one, other := NewSampled(r, "ringway_x", "x", "of"), NewSampled(r, "ringway_x", "x", "of")
	remove := one.Add(func() float64 { return 1 }, "one")
	other.Add(func() float64 { return 2 }, "other")
	other.Add(func() float64 { return -1 }, "unknown")
	expect(t, r, "ringway_x", "of=one: 1", "of=other: 2")
	again := other.Add(func() float64 { return 1 }, "one")
	expect(t, r, "ringway_x", "of=one: 1", "of=other: 2")
	remove()
	again()
	expect(t, r, "ringway_x", "of=other: 2")
}

// The depth of a mailbox is looked at, also of the next actor with these props.
func TestMailboxesAndDeadLetters(t *testing.T) {
	r := prometheus.NewRegistry()
	system := actor.NewActorSystem()
	stop := DeadLetters(r, system)
	began, goOn := make(chan bool), make(chan bool)
	props, remove := NewMailboxes(r, "hub").Watch("a", "buffer", actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(int); ok {
			began <- true
			<-goOn
		}
	}))
	for range 2 {
		pid := system.Root.Spawn(props)
		for i := range 3 {
			system.Root.Send(pid, i)
		}
		<-began // the first is out of the mailbox
		expect(t, r, "ringway_actor_mailbox_depth", "actor=buffer edge=a node=hub: 2")
		goOn <- true
		for range 2 {
			<-began
			goOn <- true
		}
		if err := system.Root.StopFuture(pid).Wait(); err != nil {
			t.Fatal(err)
		}
		system.Root.Send(pid, "too late")
	}
	expect(t, r, "ringway_actor_mailbox_depth", "actor=buffer edge=a node=hub: 0")
	expect(t, r, "ringway_deadletters_total", ": 2")
	remove()
	stop()
	expect(t, r, "ringway_actor_mailbox_depth")
}

func BenchmarkSubmitted(b *testing.B) {
	m := NewSMSC(prometheus.NewRegistry(), "manila-1", "globe", "smpp")
	b.ReportAllocs()
	for b.Loop() {
		m.Submitted("globe-1-1", smsc.Accepted, "ESME_ROK", time.Millisecond)
		m.InFlight(1)
	}
}

func BenchmarkPassed(b *testing.B) {
	m := Link(prometheus.NewRegistry(), "a", Down)
	b.ReportAllocs()
	for b.Loop() {
		m.Passed(link.StageSent, 1)
	}
}
