package main

// mutant is a known kind of bug as a replacement in one file. What is replaced
// stands there exactly once, so that a change of the code is noticed.
type mutant struct {
	name     string
	file     string
	old, new string
	packages []string // whose tests are to catch it, in this order
	first    string   // -run: the tests that should; the others run when these do not
}

const (
	ring      = "./actors/ring"
	links     = "./actors/link"
	journals  = "./actors/journal"
	session   = "./smsc/session"
	hubstore  = "./nodes/store/hubstore"
	edgestore = "./nodes/store/edgestore"
	kv        = "./nodes/store/kv"
	model     = "./tests/model"

	simulation = "./tests/simulation"
)

func in(packages ...string) []string { return packages }

// hanging are the names of mutants whose sign is that a test does not end.
var hanging = []string{}

var mutants = []mutant{
	// ---- rings

	{
		"slot free when confirmed", "actors/ring/ring.go",
		"return int(r.p.LastProcessed + r.size - r.p.LastRetrieved)", "return int(r.p.LastConfirmed + r.size - r.p.LastRetrieved)", in(ring), "TestI1",
	},
	{
		"off by one at the wrap: sender", "actors/ring/ring.go",
		"return int(r.p.LastProcessed + r.size - r.p.LastRetrieved)", "return int(r.p.LastProcessed + r.size + 1 - r.p.LastRetrieved)", in(ring), "TestI1|TestI12",
	},
	{
		"off by one at the wrap: receiver", "actors/ring/mirror.go",
		"if seq > m.p.LastProcessed+m.size {\n\t\timplied", "if seq > m.p.LastProcessed+m.size+1 {\n\t\timplied", in(ring), "TestI12|TestEverything",
	},
	{
		"s+N taken while s is not answered", "actors/ring/mirror.go",
		"h.Seq != s || h.Flags&Confirmed == 0 {", "h.Seq != s {", in(ring), "TestI12",
	},
	{
		"resend from the wrong pointer", "actors/ring/ring.go",
		"for seq := r.p.LastConfirmed + 1; seq <= r.p.LastSent; seq++ {\n\t\tif r.at(seq)", "for seq := r.p.LastConfirmed + 2; seq <= r.p.LastSent; seq++ {\n\t\tif r.at(seq)", in(ring), "TestI4",
	},
	{
		"what the receiver lost is not resent", "actors/ring/ring.go",
		"\t\t\ts.Flags &^= Confirmed\n", "", in(ring, model), "TestTranscripts",
	},
	{
		"sent before a restart, not resent", "actors/ring/ring.go",
		"\t\t\t\t\ts.Flags |= Sent\n\t\t\t\t\tresend = append(resend, between)\n", "\t\t\t\t\ts.Flags |= Sent | Confirmed\n", in(ring), "TestTranscripts",
	},
	{
		"gap skipped by LastConfirmed", "actors/ring/ring.go",
		"for r.p.LastConfirmed < r.p.LastSent && r.at(r.p.LastConfirmed+1).Flags&Confirmed != 0 {", "for r.p.LastConfirmed < r.p.LastSent {", in(ring), "TestI4",
	},
	{
		"gap skipped by what is stored", "actors/ring/mirror.go",
		"if s := m.at(*p + 1); s.Seq != *p+1 || s.Flags&flag == 0 {", "if s := m.at(*p + 1); s.Seq == *p+1 && s.Flags&flag == 0 {", in(ring), "TestI4",
	},
	{
		"dedup by address alone", "actors/ring/mirror.go",
		"if s := m.at(seq); s.Seq == seq {\n\t\tif s.ID != id {", "if s := m.at(seq); s.Seq != 0 {\n\t\tif s.Seq == seq && s.ID != id {", in(ring), "TestEverything",
	},
	{
		"dedup by sequence alone", "actors/ring/mirror.go",
		"if s := m.at(seq); s.Seq == seq {\n\t\tif s.ID != id {", "if s := m.at(seq); s.Seq == seq {\n\t\tif s.ID != id && seq == 0 {", in(ring), "TestI2",
	},
	{
		"release of what is not answered", "actors/ring/mirror.go",
		"(s.Seq != seq || s.Flags&Confirmed == 0) {\n\t\t\treturn fmt", "s.Seq != seq {\n\t\t\treturn fmt", in(ring), "TestTranscripts",
	},
	{
		"order key ignored by the mirror", "actors/ring/mirror.go",
		"if after == 0 || after >= seq || m.done(after) {", "if after == 0 || after <= seq || m.done(after) {", in(ring), "TestEverything",
	},
	{
		"answered before a restart, handed on again", "actors/ring/mirror.go",
		"if h.Flags&Confirmed == 0 && m.mayHandOn(h.Seq, h.After) {", "if m.mayHandOn(h.Seq, h.After) {", in(ring, links), "TestEverything",
	},
	{
		"confirmed before a restart, taken for a lie", "actors/ring/ring.go",
		"r.restored = lastRetrieved", "r.restored = first - 1", in(ring), "TestTranscripts",
	},

	// ---- link

	{
		"confirmed before sync", "actors/link/mirrorslot.go",
		"\t\ts.behavior.Become(s.storing)\n", "\t\ts.behavior.Become(s.storing)\n\t\tctx.Send(ctx.Parent(), &Stored{Seq: seq, After: s.entry.After})\n", in(links), "TestI5",
	},
	{
		"released before the result is durable", "actors/link/slot.go",
		"\ts.behavior.Become(s.recording)\n", "\ts.behavior.Become(s.recording)\n\tctx.Send(ctx.Parent(), &Processed{Seq: seq})\n", in(links), "TestI12",
	},
	{
		"nothing is retrieved while the link is interrupted", "actors/link/buffer.go",
		"\tif b.retrieving || b.stopped {\n", "\tif b.retrieving || b.stopped || !b.up {\n", in(links), "TestRetrievingGoesOn",
	},
	{
		"frame of an older epoch taken", "actors/link/fence.go",
		"if frame != epoch {", "if frame > epoch {", in(links), "TestFramesThatCloseTheLink/hub",
	},
	{
		"frame of a newer epoch taken", "actors/link/fence.go",
		"if frame != epoch {", "if frame < epoch {", in(links), "TestFramesThatCloseTheLink/hub",
	},
	{
		"modelled: frame of an older epoch taken", "actors/link/fence.go",
		"if frame != epoch {", "if frame > epoch {", in(model), "TestModel",
	},
	{
		"modelled: frame of a newer epoch taken", "actors/link/fence.go",
		"if frame != epoch {", "if frame < epoch {", in(model), "TestModel",
	},
	{
		"welcome of an older epoch taken", "actors/link/fence.go",
		"if epoch < highest {", "if epoch+1 < highest {", in(links), "TestEdgeRefusesALowerEpoch",
	},
	{
		"welcome taken before its epoch is durable", "actors/link/sync_edge.go",
		"\tif !store {\n", "\tif !store || m.Epoch > 0 {\n", in(links), "TestI8",
	},
	{
		"edge of a later epoch welcome", "actors/link/fence.go",
		"case h.HighestEpoch > epoch:", "case h.HighestEpoch > epoch+1:", in(links), "TestHubRefusesHello",
	},
	{
		"overtaken hello accepted", "actors/link/fence.go",
		"h.Number >= latest.GetNumber() ||", "h.Number > 0 ||", in(links), "TestOvertakenHello",
	},
	{
		"hellos begin anew with each start", "nodes/store/edgestore/edgestore.go",
		"\tb.Set(meta(\"hellos\"), be64(said+helloes))\n", "\tb.Set(meta(\"hellos\"), be64(0))\n", in(edgestore), "TestHellosAscend",
	},
	{
		"a repaired ring keeps a slot it has left", "nodes/store/hubstore/repair.go",
		"return seq > 0 && seq+uint64(m.slots(edge)) > m.seqs[edge]", "return seq > 0", in(hubstore), "TestRepairOf",
	},
	{
		"a repaired hub forgets who waited nowhere", "nodes/store/hubstore/repair.go",
		"missing[l] = append(missing[l], id)", "_ = l", in(hubstore), "TestRepairMakes",
	},
	{
		"a repaired hub does not doubt", "nodes/store/hubstore/repair.go",
		"missing[l] = append(missing[l], id)\n\t\t\tm.doubt(id)\n", "missing[l] = append(missing[l], id)\n", in(hubstore), "TestRepairMakes|TestRepairOf",
	},
	{
		"a repaired hub trusts old places", "nodes/store/hubstore/repair.go",
		"if w.wasInRing() || m.mayMiss(k) && m.mayMiss(key{'S'}.raw(id)) {", "if w.wasInRing() {", in(hubstore), "TestRepairOf",
	},
	{
		"stale stripe accepted", "actors/link/session.go",
		"\tif i < 0 {\n\t\treturn // of an earlier session\n", "\tif i < 0 {\n\t\ti = 0 // of an earlier session\n", in(links), "TestFramesOfAStranger",
	},
	{
		"an edge joins anew while the hub still stores", "actors/link/rejoin.go",
		"s.looks < 2 || is.Storing", "s.looks < 2", in("./tests/torture"), "TestEdgeReplacedWhileTheHubLacksRoom",
	},
	{
		"nothing resent for a dead stripe", "actors/link/stripes.go",
		"\t\tlost = append(lost, f.held)\n", "\t\t_ = f\n", in(links), "TestDeadStripe|TestStripes",
	},
	{
		"a new stripe's numbers begin anew", "actors/link/stripes.go",
		"&stripe{number: s.ended[i], lastIn: now}", "&stripe{lastIn: now}", in(links), "TestStripes",
	},
	{
		"dead stripe: wrong messages resent", "actors/link/buffer.go",
		"b.ring.Is(seq, ring.Sent, ring.Confirmed|ring.Processed) {\n\t\t\tb.transmitOne", "b.ring.Is(seq, ring.Confirmed, ring.Processed) {\n\t\t\tb.transmitOne", in(links), "TestWhatADeadStripe",
	},
	{
		"answers not repeated after an interruption", "actors/link/mirror.go",
		"\t\tif m.ring.Holds(h.Seq, ring.Confirmed) {\n", "\t\tif m.ring.Holds(h.Seq, ring.Processed) {\n", in(links), "TestCutInMidFlow",
	},
	{
		"status event skipped: gap", "actors/link/applier.go",
		"for n := a.applied + 1; a.waiting[n] != nil; n++ {\n", "for n := a.applied + 1; n <= a.applied+statusWindow; n++ {\n\t\tif a.waiting[n] == nil {\n\t\t\tcontinue\n\t\t}\n", in(links), "TestApplier",
	},
	{
		"status events trimmed before the hub has them", "actors/link/statuslog.go",
		"s.cfg.Journal.TrimEvents(s.applied)", "s.cfg.Journal.TrimEvents(s.sent)", in(links), "TestI13_Trimmed",
	},
	{
		"status events of a dead stripe lost", "actors/link/statuslog.go",
		"s.sent = min(s.sent, max(s.applied, m.From-1))", "s.sent = max(s.sent, m.From-1)", in(links), "TestI13_Trimmed",
	},

	// ---- what is known of a message

	{
		"rank replaced by a lower one", "actors/journal/record.go",
		"if state <= r.State {", "if state == r.State {", in(journals), "TestI13",
	},
	{
		"a part's rank replaced by a lower one", "actors/journal/record.go",
		"p.State = max(p.State, state)", "p.State = state", in(journals), "TestI13",
	},
	{
		"final before all parts are", "actors/journal/record.go",
		"\t\tif !IsFinal(p.State) {\n\t\t\treturn false\n\t\t}\n", "", in(journals), "TestI13|TestHistoryBounds",
	},

	// ---- SMSC

	{
		"submit before its intent is durable", "smsc/session/outlet.go",
		"o.cfg.Journal.Record(t.step, func(err error) { o.root.Send(o.self, recorded{o, t, err}) })",
		"o.cfg.Journal.Record(t.step, func(error) {})\n\to.root.Send(o.self, recorded{o, t, nil})", in(session), "TestReceipts|TestI15",
	},
	{
		"a retry waits as long as the clock was ahead", "smsc/session/outlet.go",
		"o.plan.hold(j, now.Add(min(", "o.plan.hold(j, now.Add(max(", in(session), "TestRetryAfter",
	},
	{
		"what rings write is refused while much waits", "nodes/store/kv/kv.go",
		"v.exempt = true", "v.exempt = false", in(kv, hubstore, edgestore), "TestExempt|TestOverload",
	},
	{
		"a doubt after a restart is not recorded", "smsc/session/outlet.go",
		"if session := j.task.Intent; session != \"\" {", "if session := j.task.Intent; session == \"-\" {", in(session), "TestI15",
	},
	{
		"a doubt is given up instead of resent", "smsc/session/outlet.go",
		"again := o.cfg.Unknown != GiveUp", "again := o.cfg.Unknown == Query", in(session), "TestI7",
	},
	{
		"two submits at a time", "smsc/session/outlet.go",
		"len(l.sent)+l.recording >= o.cfg.Window || len(l.held) == 0 && l.load() >= o.cfg.Window {",
		"len(l.sent)+l.recording > o.cfg.Window || len(l.held) == 0 && l.load() > o.cfg.Window {", in(session), "TestI7_DoubtIsBoundedByTheWindow",
	},
	{
		"a recipient changes its session", "smsc/session/plan.go",
		"if h.busy || h.session != \"\" && h.session != session {", "if h.busy {", in(session), "TestI9",
	},
	{
		"order key ignored by the outlet", "smsc/session/plan.go",
		"key := strconv.Itoa(int(j.message.Class)) + \"\\x00\" + j.message.To\n", "key := strconv.Itoa(int(j.task.Seq)) + \"\\x00\" + j.message.To\n", in(session), "TestDeferred",
	},
	{
		"the SMSC is answered before sync", "smsc/session/inlet.go",
		"n.cfg.Journal.Receive(in.Intake, func(err error) { n.root.Send(n.self, received{in, err}) })",
		"n.cfg.Journal.Receive(in.Intake, func(error) {})\n\tn.root.Send(n.self, received{in, nil})", in(session), "TestI5",
	},
	{
		"assembly without dedup", "smsc/session/assembly.go",
		"case place == text.Duplicate:\n\t\t\treturn f\n\t\tcase", "case", in(session), "TestReassembly|TestText",
	},
	{
		"a part that comes again begins a text anew", "smsc/session/assembly.go",
		"if a == nil && again {", "if a == nil && again && false {", in(session), "TestPartsOfAWholeText",
	},
	{
		"what waits in a session goes in the pause", "smsc/session/session.go",
		"\t\ts.throttled++\n\t\ts.returnSubmits(ctx)\n", "\t\ts.throttled++\n", in(session), "TestThrottling",
	},
	{
		"a redelivery is swallowed more than once", "smsc/session/inlet.go",
		"\t\t\t\tl.suspect = false\n", "", in(session), "TestI7",
	},
	{
		"receipt before its response is lost", "nodes/store/edgestore/smsc.go",
		"\tif s.parked > 0 {\n", "\tif s.parked > 1 {\n", in(session, edgestore), "TestReceipt",
	},

	// ---- stores

	{
		"acknowledged before sync", "nodes/store/kv/kv.go",
		"return d.inner.Apply(b, pebble.Sync)", "return d.inner.Apply(b, pebble.NoSync)", in(hubstore, kv), "TestI5_Crash|TestCrash",
	},
	{
		"a failed write is acknowledged", "nodes/store/kv/kv.go",
		"\t\t\tr.tell(r.err)\n\t\t} else {\n\t\t\tr.tell(err)\n", "\t\t\tr.tell(r.err)\n\t\t} else {\n\t\t\tr.tell(nil)\n", in(kv), "TestSyncErrorIsFatal|TestErrors|TestFail",
	},
	{
		"write without the fence", "nodes/store/hubstore/rings.go",
		"if r.epoch != r.e.epoch {", "if r.epoch > r.e.epoch {", in(hubstore), "TestConformance|TestRings",
	},
	{
		"a sequence assigned twice", "nodes/store/hubstore/rings.go",
		"\t\tif first <= e.last {\n", "\t\tif first+1 <= e.last {\n", in(hubstore), "TestConformance",
	},
	{
		"order key ignored by the hub", "nodes/store/hubstore/rings.go",
		"\t\t\tslot.after = e.tail[slot.order]\n", "", in(hubstore), "TestConformance",
	},
	{
		"delivered into the inbox twice", "nodes/store/hubstore/rings.go",
		"\t\tif t.message(slot.message.Id) == nil { // else", "\t\tif slot.message.Id != nil { // else", in(hubstore), "TestConformance",
	},
	{
		"what a lost edge had only been sent is no doubt", "nodes/store/hubstore/rejoin.go",
		"case m.State >= messages.State_SENT ||", "case m.State >= messages.State_CONFIRMED ||", in(hubstore), "TestConformance",
	},
	{
		"what an owner before sent and had not written is no doubt", "nodes/store/hubstore/rejoin.go",
		"|| seq <= j.found ||", "||", in(hubstore), "TestConformance",
	},
	{
		"a slot is delivered twice", "nodes/store/hubstore/rings.go",
		"\t\tif slot.result != nil {\n\t\t\tresult", "\t\tif slot.result != nil && seq == 0 {\n\t\t\tresult", in(hubstore), "TestConformance",
	},
	{
		"status events applied again", "nodes/store/hubstore/rings.go",
		"if ev.Number <= r.e.applied {", "if ev.Number == 0 {", in(hubstore), "TestConformance",
	},
	{
		"ref idempotency broken", "nodes/store/hubstore/accept.go",
		"\t\tif b, ok := t.get(ref); ok {\n", "\t\tif b, ok := t.get(ref); ok && len(b) == 0 {\n", in(hubstore), "TestConformance",
	},
	{
		"ref conflict not noticed", "nodes/store/hubstore/accept.go",
		"if !bytes.Equal(known[16:], s.Body[:]) {", "if !bytes.Equal(known[16:], s.Body[:]) && s.Ref == \"\" {", in(hubstore), "TestConformance",
	},
	{
		"spill order", "nodes/store/hubstore/edge.go",
		"if len(q.window) == q.count && q.count < maxWindow {", "if len(q.window) < maxWindow {", in(hubstore), "TestI14",
	},
	{
		"queue cursor skips one", "nodes/store/hubstore/edge.go",
		"append(key(nil), prefix...).number(q.head)", "append(key(nil), prefix...).number(q.head+1)", in(hubstore), "TestQueue|TestReopen",
	},
	{
		"event cursor skips one", "nodes/store/hubstore/users.go",
		"append(key(nil), k...).number(after+1)", "append(key(nil), k...).number(after+2)", in(hubstore), "TestConformance",
	},
	{
		"edge forgets the highest epoch", "nodes/store/edgestore/edgestore.go",
		"\t\tif epoch < highest {\n", "\t\tif epoch+1 < highest {\n", in(edgestore), "TestInstance",
	},
	{
		"order key ignored by the edge", "nodes/store/edgestore/rings.go",
		"e.After = s.last[orderKey(e.Message)]", "e.After = 0", in(edgestore), "TestI10",
	},
	{
		"retrieved and still in the queue", "nodes/store/edgestore/rings.go",
		"\t\tfor n := range taken {\n\t\t\ttx.Delete(numbered('q', s.head+1+n))\n\t\t}\n", "", in(edgestore), "TestI10",
	},
	{
		"a repaired queue keeps its holes", "nodes/store/edgestore/repair.go",
		"last-first+1 == count", "last-first+1 >= count", in(edgestore), "TestRepair",
	},
	{
		"a repaired status log keeps its holes", "nodes/store/edgestore/repair.go",
		"\t\t\tm.Set(numbered('e', next), number(nil, next))\n", "", in(edgestore), "TestRepair",
	},
	{
		"a repaired journal is not marked as restored", "nodes/store/edgestore/repair.go",
		"errors.Join(s.MarkRestored(), s.Close())", "s.Close()", in(edgestore), "TestRepair",
	},
	{
		"forgotten before Released", "nodes/store/edgestore/rings.go",
		"\tb.Set(meta(\"released\"), be64(released))\n", "\tb.Set(meta(\"released\"), be64(released+1))\n", in(edgestore), "TestDownMirror",
	},

	// ---- the same bug in histories of the whole pair

	{
		"simulated: confirmed before sync", "actors/link/mirrorslot.go",
		"\t\ts.behavior.Become(s.storing)\n", "\t\ts.behavior.Become(s.storing)\n\t\tctx.Send(ctx.Parent(), &Stored{Seq: seq, After: s.entry.After})\n", in(simulation), "TestHistories$",
	},
	{
		"simulated: the SMSC is answered before sync", "smsc/session/inlet.go",
		"n.cfg.Journal.Receive(in.Intake, func(err error) { n.root.Send(n.self, received{in, err}) })",
		"n.cfg.Journal.Receive(in.Intake, func(error) {})\n\tn.root.Send(n.self, received{in, nil})", in(simulation), "TestHistories$",
	},
	{
		"simulated: acknowledged before sync", "nodes/store/kv/kv.go",
		"return d.inner.Apply(b, pebble.Sync)", "return d.inner.Apply(b, pebble.NoSync)", in(simulation), "TestHistories$",
	},
	{
		"simulated: write without the fence", "nodes/store/hubstore/rings.go",
		"if r.epoch != r.e.epoch {", "if r.epoch > r.e.epoch {", in(simulation), "TestHistories$",
	},
	{
		"simulated: delivered into the inbox twice", "nodes/store/hubstore/rings.go",
		"\t\tm.Message.Text = d.Text\n\t\tt.intoInbox(m, now)\n", "\t\tm.Message.Text = d.Text\n\t\tt.intoInbox(m, now)\n\t\tt.intoInbox(m, now)\n",
		in(simulation), "TestHistories$",
	},
	{
		"simulated: what was in doubt at a restart has failed", "smsc/session/outlet.go",
		"\t\tif o.doubt(t, j, session, \"the edge was restarted before the SMSC answered\") {\n",
		"\t\tif j.task.Intent = \"\"; true {\n\t\t\to.finish(t, j, messages.State_FAILED, &messages.Reason{Code: \"rejected\", Text: session})\n",
		in(simulation), "TestHistories$",
	},
}
