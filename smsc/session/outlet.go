package session

import (
	"cmp"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/scheduler"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
)

// Unknown is what follows a submit that was never answered (I7).
type Unknown string

// The policies. Query asks the SMSC first where the protocol can. Neither of the
// two can: SMPP's query_sm and CIMD2's enquire name a message by the id that the
// response would have given. So Query is Resend, and the log says why.
const (
	Resend Unknown = "resend"
	GiveUp Unknown = "give_up"
	Query  Unknown = "query"
)

// OutletConfig is what an outlet needs.
type OutletConfig struct {
	SMSC     string // receipts are matched per SMSC
	Sessions []Config
	Inlet    *actor.PID // what the sessions receive goes there
	Journal  journal.Outlet
	Window   int     // parts of different recipients under way on one session; 1: stop and wait
	Rate     float64 // parts a second over all sessions, paced evenly; 0: as fast as they are answered
	Unknown  Unknown // "": Resend
	Encoding Encoding
	Validity time.Duration // of a message without a deadline; 0: for ever
	Receipts bool          // ask the SMSC for them
	// ReceiptsAfter is how long after a message's deadline its receipt is still
	// matched (24 h).
	ReceiptsAfter time.Duration
	Throttle      Backoff // of a session that the SMSC throttles, e.g. 1 s to 30 s
	Retry         Backoff // of a message refused for now, e.g. 30 s to 30 min
	RetryAttempts int     // refusals in a row after which it has failed; 0: only its deadline ends it
	RetryMessages int     // bound of the retry queue; what is beyond waits in its slot
	Respawn       Backoff // of a session actor that failed
	Jitter        func() float64
	// Now is the clock of deadlines and of what is stored and told; nil: time.Now. As
	// there, the difference of two readings does not see the clock being set.
	Now     func() time.Time
	Metrics Metrics
	Logger  *zap.Logger
}

const (
	// undefinedAttempts is how often a part is tried whose answers have a code that
	// neither the protocol nor the operator has defined: it may pass, or never.
	undefinedAttempts = 3

	// The log says once in this time that such a code came, of so many codes.
	alarmAgain = time.Hour
	maxAlarmed = 64
)

// Drain (edge root to outlet): submit nothing further, log out, and stop. The
// root sees Terminated.
type Drain struct{}

// line is a session as the outlet sees it.
type line struct {
	cfg       Config
	pid       *actor.PID
	up        bool
	sent      map[uint64]*job // given to the session, by ref
	recording int             // intents being made durable
	held      []*job          // go next, in this order: throttled, unsent, or further parts of a text begun
	paused    time.Time       // until; zero: not paused
	throttled int             // in a row
	heard     uint64          // throttled answers of its actor
	failures  int
}

func (l *line) load() int { return len(l.sent) + l.recording + len(l.held) }

// turn is what one commit makes durable, and what follows it.
type turn struct {
	step    journal.OutletStep
	submits []intent
	answers []answer
}

type intent struct {
	line *line
	job  *job
}

type answer struct {
	seq    uint64
	id     []byte
	result *messages.Result
}

func (t *turn) touch(task *journal.Task) {
	if !slices.Contains(t.step.Tasks, task) {
		t.step.Tasks = append(t.step.Tasks, task)
	}
}

func (t *turn) empty() bool {
	return len(t.step.Tasks)+len(t.step.Defer)+len(t.step.Ended)+len(t.step.Results)+len(t.step.Events) == 0
}

// The outlet's private messages. Those from the journal carry the outlet they
// are for: a restarted one does not take its predecessor's.
type (
	loaded struct {
		owner *outlet
		tasks []*journal.Task
		err   error
	}
	recorded struct {
		owner *outlet
		turn  *turn
		err   error
	}
	paceDue    struct{}
	pauseDue   struct{ name string }
	agendaDue  struct{ at time.Time }
	ended      struct{ pid *actor.PID } // a session actor is gone, and its last words have been heard
	respawnDue struct{ name string }
)

// outlet takes messages over from the mirror's slots and has the sessions submit
// them, part after part. It is the only one who decides what is submitted, and
// nothing is before its intent is durable.
//
//	loading ──loaded──▶ running ──Drain──▶ draining ──last session gone──▶ stopped
//
// When it is restarted, its sessions are stopped, it finds its tasks in the
// journal, and the slots have to hand on anew.
type outlet struct {
	cfg     OutletConfig
	root    *actor.RootContext
	self    *actor.PID
	plan    *plan
	lines   []*line
	slots   map[uint64]*actor.PID    // who waits for an answer, by sequence
	jobs    map[string]*job          // by id
	begun   map[string]*journal.Task // by id: found in the journal, not yet handed on anew
	early   []handOn                 // came while loading: at most one for each slot
	refs    uint64
	paceAt  time.Time            // earliest next submit
	pacing  bool                 // paceDue is on its way
	agenda  time.Time            // of the agendaDue that is on its way; zero: none
	retry   int                  // messages in the retry queue
	flying  int                  // parts given to sessions and not answered
	alarmed map[string]time.Time // undefined codes: when the log said so
	commits int                  // on their way
	turn    *turn                // that is being made; empty between two messages
	ready   bool
	drain   bool
}

type handOn struct {
	*messages.HandOn
	slot *actor.PID
}

// NewOutlet returns the props of an outlet. Its parent should stop and replace
// it when it fails, and have the mirror hand on anew. Like the sessions it runs
// on the goroutine that has news for it (see newSession), the store's committer
// among them: nothing in it may block.
func NewOutlet(cfg OutletConfig) *actor.Props {
	if cfg.Metrics == nil {
		cfg.Metrics = NoMetrics{}
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Jitter == nil {
		cfg.Jitter = rand.Float64
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Window = max(cfg.Window, 1)
	return actor.PropsFromProducer(func() actor.Actor {
		return &outlet{
			cfg: cfg, plan: newPlan(), turn: new(turn), slots: map[uint64]*actor.PID{}, jobs: map[string]*job{}, begun: map[string]*journal.Task{},
			alarmed: map[string]time.Time{},
		}
	}, actor.WithDispatcher(actor.NewSynchronizedDispatcher(300)), actor.WithSupervisor(actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })))
}

func (o *outlet) Receive(ctx actor.Context) {
	t := o.turn
	switch m := ctx.Message().(type) {
	case *actor.Started:
		o.onStarted(ctx)
	case loaded:
		o.onLoaded(ctx, t, m)
	case *messages.HandOn:
		o.onHandOn(t, handOn{m, ctx.Sender()})
	case sessionUp:
		o.line(m.name).up = true
	case sessionDown:
		o.close(o.line(m.name))
	case answered:
		o.onAnswered(t, m)
	case recorded:
		o.onRecorded(t, m)
	case paceDue:
		o.pacing = false
	case pauseDue:
		o.line(m.name).paused = time.Time{}
	case agendaDue:
		o.onAgendaDue(t, m)
	case *actor.Terminated: // overtakes the session's last words: wait for these
		ctx.Send(ctx.Self(), ended{m.Who})
	case ended:
		o.onEnded(t, m)
	case respawnDue:
		o.spawn(ctx, o.line(m.name))
	case Drain:
		o.onDrain()
	default:
		return
	}
	if !o.ready {
		return
	}
	o.fill(t)
	if !t.empty() {
		o.commits++
		o.turn = new(turn) // before the journal calls back
		o.record(t)
	}
	o.setAgenda()
	o.mayStop(ctx)
}

func (o *outlet) onStarted(ctx actor.Context) {
	o.root, o.self = ctx.ActorSystem().Root, ctx.Self()
	o.cfg.Metrics.InFlight(0)
	for _, cfg := range o.cfg.Sessions {
		o.lines = append(o.lines, &line{cfg: cfg, sent: map[uint64]*job{}})
	}
	o.cfg.Journal.LoadOutlet(func(tasks []*journal.Task, err error) { o.root.Send(o.self, loaded{o, tasks, err}) })
}

func (o *outlet) onLoaded(ctx actor.Context, t *turn, m loaded) {
	switch {
	case m.owner != o:
		return
	case m.err != nil:
		o.cfg.Logger.Error("the journal cannot be read; nothing is submitted", zap.String("smsc", o.cfg.SMSC), zap.Error(m.err))
		return
	}
	o.ready = true
	for _, task := range m.tasks {
		if !task.Deferred {
			o.begun[string(task.ID)] = task
			continue
		}
		o.retry++
		o.resume(t, &job{task: task, message: task.Message})
	}
	o.cfg.Metrics.Retrying(o.retry)
	for _, h := range o.early {
		o.onHandOn(t, h)
	}
	o.early = nil
	for _, l := range o.lines {
		o.spawn(ctx, l)
	}
}

func (o *outlet) spawn(ctx actor.Context, l *line) {
	if o.drain || l.pid != nil {
		return
	}
	l.heard = 0
	l.pid = ctx.Spawn(newSession(l.cfg, &o.cfg)) // fate: stopped when it fails, then replaced
	ctx.Watch(l.pid)
}

// onHandOn takes a message over from its slot. The same again means that the
// slot, or this actor, was restarted.
func (o *outlet) onHandOn(t *turn, m handOn) {
	if !o.ready {
		o.early = append(o.early, m)
		return
	}
	id := m.Message.GetId()
	_, known := o.slots[m.Seq]
	o.slots[m.Seq] = m.slot
	if known {
		return
	}
	result, found, err := o.cfg.Journal.Result(m.Seq, id)
	if err != nil {
		o.cfg.Logger.Error("the journal cannot be read; a message stays in its slot", zap.Uint64("sequence", m.Seq), zap.Error(err))
		delete(o.slots, m.Seq)
		return
	}
	if found {
		o.tell(answer{m.Seq, id, result})
		return
	}
	if j := o.jobs[string(id)]; j != nil { // under another sequence: the hub numbered anew
		if j.task.Deferred {
			o.answer(t, m.Seq, j, o.result(j, messages.State_DEFERRED, nil))
			return
		}
		delete(o.slots, j.task.Seq)
		j.task.Seq = m.Seq
		return
	}
	task := o.begun[string(id)]
	delete(o.begun, string(id))
	if task == nil {
		task = &journal.Task{ID: id, Reference: uint8(m.Seq)}
	}
	task.Seq = m.Seq
	o.resume(t, &job{task: task, message: m.Message})
}

// resume puts a new job, or one found in the journal, in its place.
func (o *outlet) resume(t *turn, j *job) {
	now := o.cfg.Now()
	j.expireAt(deadline(j.message, o.cfg.Validity, now), now)
	o.jobs[string(j.task.ID)] = j
	o.plan.add(j)
	if session := j.task.Intent; session != "" { // the process ended between intent and outcome
		if o.doubt(t, j, session, "the edge was restarted before the SMSC answered") {
			return
		}
	}
	switch {
	case j.expired(now):
		o.finish(t, j, messages.State_EXPIRED, &messages.Reason{Code: "expired", Text: "past its deadline before it was submitted"})
	case j.task.Refusals > 0 && j.lane.head() == j && !j.lane.busy && now.Before(j.task.RetryAt):
		// However far the clock was set back since, no refusal is longer ago than now.
		o.plan.hold(j, now.Add(min(j.task.RetryAt.Sub(now), o.cfg.Retry.After(int(j.task.Refusals)-1, 1))))
	case j.lane.held:
		o.deferJob(t, j)
	}
}

// fill gives every session that has room its next parts: the intents are part
// of the turn that is being made anyway.
func (o *outlet) fill(t *turn) {
	if o.drain {
		return
	}
	for progress := true; progress; { // one each in turn, so that the load spreads
		progress = false
		for _, l := range o.lines {
			if !l.up || !l.paused.IsZero() || len(l.sent)+l.recording >= o.cfg.Window || len(l.held) == 0 && l.load() >= o.cfg.Window {
				continue
			}
			if o.tooSoon() {
				return
			}
			var j *job
			if len(l.held) > 0 {
				j, l.held = l.held[0], l.held[1:]
			} else if j = o.plan.next(l.cfg.Name); j == nil {
				continue
			}
			progress = true
			o.intend(t, l, j)
		}
	}
}

// intend makes j's next part go out on l once that is durable.
func (o *outlet) intend(t *turn, l *line, j *job) {
	if j.expired(o.cfg.Now()) {
		o.finish(t, j, messages.State_EXPIRED, &messages.Reason{Code: "expired", Text: "past its deadline before it was submitted"})
		return
	}
	if !o.encode(t, j) {
		return
	}
	j.task.Intent = l.cfg.Name
	j.task.Attempts++
	t.touch(j.task)
	t.submits = append(t.submits, intent{l, j})
	l.recording++
	if o.cfg.Rate > 0 {
		every := time.Duration(float64(time.Second) / o.cfg.Rate)
		now := time.Now()
		if now.Sub(o.paceAt) > every { // there was nothing to send: what was missed is not made up for
			o.paceAt = now
		}
		o.paceAt = o.paceAt.Add(every)
	}
}

// tooSoon asks the pace, and sets the timer.
func (o *outlet) tooSoon() bool {
	if o.cfg.Rate <= 0 {
		return false
	}
	wait := time.Until(o.paceAt)
	if wait > 0 && !o.pacing {
		o.pacing = true
		o.after(wait, paceDue{})
	}
	return wait > 0
}

func (o *outlet) onAnswered(t *turn, m answered) {
	l := o.line(m.name)
	j := l.sent[m.ref]
	if j == nil {
		return // accounted for already
	}
	delete(l.sent, m.ref)
	o.fly(-1)
	if !m.sent {
		o.unsent(t, l, j)
		return
	}
	o.cfg.Metrics.Submitted(m.name, m.outcome.Fate, m.outcome.Status, m.took)
	o.outcome(t, l, j, m.outcome)
}

// unsent takes back what was intended and certainly not submitted.
func (o *outlet) unsent(t *turn, l *line, j *job) {
	j.task.Attempts--
	j.task.Intent = ""
	t.touch(j.task)
	o.keep(l, j)
}

// outcome decides what follows the outcome of j's next part.
func (o *outlet) outcome(t *turn, l *line, j *job, out smsc.Outcome) {
	now := o.cfg.Now()
	out.ID, out.Code, out.Text = clean(out.ID), clean(out.Code), clean(out.Text)
	if out.Fate != smsc.Unknown {
		j.task.Intent = ""
		t.touch(j.task)
	}
	if out.Class != smsc.CodeKnown {
		o.alarm(l, out, now)
	}
	switch out.Fate {
	case smsc.Accepted:
		l.throttled, l.failures = 0, 0
		if o.cfg.Receipts && out.ID != "" {
			t.step.Sent = append(t.step.Sent, o.expect(j, out.ID, now))
		}
		if !o.partDone(t, j, journal.PartDone{State: messages.State_PROCESSED, ID: out.ID}) {
			o.keep(l, j)
		}
	case smsc.Temporary:
		l.throttled = 0
		j.task.Refusals++
		if out.Class != smsc.CodeKnown {
			j.task.Undefined++
		}
		if o.cfg.RetryAttempts > 0 && int(j.task.Refusals) >= o.cfg.RetryAttempts || j.task.Undefined >= undefinedAttempts {
			o.reject(t, j, out)
			return
		}
		j.task.RetryAt = now.Add(o.cfg.Retry.After(int(j.task.Refusals)-1, o.cfg.Jitter()))
		o.plan.hold(j, j.task.RetryAt)
		for _, each := range slices.Clone(j.lane.jobs) {
			o.deferJob(t, each)
		}
	case smsc.Permanent:
		l.throttled = 0
		o.reject(t, j, out)
	case smsc.Throttled:
		l.heard++
		if l.paused.IsZero() { // one step for all that were under way
			pause := o.cfg.Throttle.After(l.throttled, o.cfg.Jitter())
			l.throttled++
			l.paused = now.Add(pause)
			o.cfg.Metrics.Throttled(l.cfg.Name, pause)
			o.after(pause, pauseDue{l.cfg.Name})
		}
		o.keep(l, j)
	case smsc.BadSession:
		l.up = false
		o.keep(l, j)
	case smsc.Unknown:
		if !o.doubt(t, j, l.cfg.Name, out.Text) {
			o.keep(l, j)
		}
	}
}

// alarm tells the operator that only he can find out what an answer meant.
func (o *outlet) alarm(l *line, out smsc.Outcome, now time.Time) {
	o.cfg.Metrics.Undefined(out.Class)
	code := out.Code
	if _, known := o.alarmed[code]; !known && len(o.alarmed) >= maxAlarmed {
		code = "" // one line for all that follow
	}
	if at, said := o.alarmed[code]; said && now.Sub(at) < alarmAgain {
		return
	}
	o.alarmed[code] = now
	o.cfg.Logger.Warn("the SMSC answers with a code that its protocol does not define: ask its operator what it means, and say so in smsc.quirks.fates",
		zap.String("smsc", o.cfg.SMSC), zap.String("session", l.cfg.Name), zap.String("code", out.Code), zap.Stringer("class", out.Class),
		zap.Stringer("taken_for", out.Fate), zap.String("text", out.Text))
}

// fly counts parts that wait for the SMSC's answer.
func (o *outlet) fly(more int) {
	o.flying += more
	o.cfg.Metrics.InFlight(o.flying)
}

// reject ends j: the SMSC has refused its next part for good, or often enough.
func (o *outlet) reject(t *turn, j *job, out smsc.Outcome) {
	j.task.Parts = append(j.task.Parts, journal.PartDone{State: messages.State_FAILED})
	o.finish(t, j, messages.State_FAILED, &messages.Reason{Code: "rejected", SmscCode: out.Code, Text: out.Text})
}

// keep puts j first again: on its session, or wherever it may go when that has closed.
func (o *outlet) keep(l *line, j *job) {
	if !l.up {
		o.plan.giveBack(j)
		return
	}
	at, _ := slices.BinarySearchFunc(l.held, j.task.Seq, func(j *job, seq uint64) int { return cmp.Compare(j.task.Seq, seq) })
	l.held = slices.Insert(l.held, at, j)
}

// partDone decides j's next part, and says whether j is finished with it.
func (o *outlet) partDone(t *turn, j *job, part journal.PartDone) (finished bool) {
	j.task.Parts = append(j.task.Parts, part)
	j.task.Refusals, j.task.Undefined, j.task.RetryAt = 0, 0, time.Time{}
	t.touch(j.task)
	if len(j.task.Parts) < len(j.parts) {
		return false
	}
	state, reason := messages.State_PROCESSED, (*messages.Reason)(nil)
	if slices.ContainsFunc(j.task.Parts, func(p journal.PartDone) bool { return p.State == messages.State_UNKNOWN }) {
		state, reason = messages.State_UNKNOWN, &messages.Reason{Code: "no_answer", Text: "the SMSC never answered whether it took the message"}
	}
	o.finish(t, j, state, reason)
	return true
}

// doubt: j's next part was submitted and nobody knows what became of it (I7). It
// says whether j is finished.
func (o *outlet) doubt(t *turn, j *job, session, why string) (finished bool) {
	again := o.cfg.Unknown != GiveUp
	if o.cfg.Unknown == Query {
		why += "; it has no id to query it by, so it is sent again"
	}
	o.cfg.Metrics.Doubt(session, again)
	o.cfg.Logger.Warn("a submit was never answered: the SMSC may have taken it or not", zap.String("smsc", o.cfg.SMSC),
		zap.String("session", session), zap.String("id", hex.EncodeToString(j.task.ID)), zap.Int("part", len(j.task.Parts)),
		zap.Bool("again", again), zap.String("why", why))
	t.step.Events = append(t.step.Events, &messages.Event{Id: j.task.ID, AtUnixMs: o.cfg.Now().UnixMilli(), What: &messages.Event_Doubt{Doubt: &messages.Doubt{
		Part: uint32(len(j.task.Parts)), Attempt: j.task.Attempts, Session: session, Again: again, Why: why,
	}}})
	j.task.Intent = ""
	t.touch(j.task)
	if again {
		j.task.Doubled = true
		return false
	}
	if !o.encode(t, j) {
		return true
	}
	return o.partDone(t, j, journal.PartDone{State: messages.State_UNKNOWN}) // the parts that follow still go
}

// encode cuts j into parts, once. Not ok: it cannot be, and is finished.
func (o *outlet) encode(t *turn, j *job) bool {
	if j.parts != nil {
		return true
	}
	var err error
	if j.parts, err = o.cfg.Encoding.cut(j.message, j.task.Reference, o.cfg.Receipts); err != nil {
		o.finish(t, j, messages.State_FAILED, &messages.Reason{Code: "not_encodable", Text: err.Error()})
		return false
	}
	return true
}

// deferJob moves j from its slot into the retry queue, if there is room;
// otherwise it is tried again from the slot.
func (o *outlet) deferJob(t *turn, j *job) {
	if j.task.Deferred || o.retry >= o.cfg.RetryMessages {
		return
	}
	o.retry++
	o.cfg.Metrics.Retrying(o.retry)
	j.task.Deferred, j.task.Message = true, j.message
	t.step.Defer = append(t.step.Defer, j.task)
	o.answer(t, j.task.Seq, j, o.result(j, messages.State_DEFERRED, nil))
}

// stateNames are those of results in metrics; messages.State's own String looks
// them up in descriptors.
var stateNames = func() map[messages.State]string {
	m := make(map[messages.State]string, len(messages.State_name))
	for n, name := range messages.State_name {
		m[messages.State(n)] = strings.ToLower(name)
	}
	return m
}()

// finish ends j for good.
func (o *outlet) finish(t *turn, j *job, state messages.State, reason *messages.Reason) {
	o.plan.end(j)
	delete(o.jobs, string(j.task.ID))
	t.step.Tasks = slices.DeleteFunc(t.step.Tasks, func(task *journal.Task) bool { return task == j.task })
	t.step.Ended = append(t.step.Ended, j.task)
	result := o.result(j, state, reason)
	o.cfg.Metrics.Finished(stateNames[state])
	if !j.task.Deferred {
		o.answer(t, j.task.Seq, j, result)
		return
	}
	o.retry--
	o.cfg.Metrics.Retrying(o.retry)
	t.step.Events = append(t.step.Events, &messages.Event{Id: j.task.ID, AtUnixMs: result.AtUnixMs, What: &messages.Event_Result{Result: result}})
}

func (o *outlet) result(j *job, state messages.State, reason *messages.Reason) *messages.Result {
	r := &messages.Result{
		State: state, Reason: reason, Attempts: j.task.Attempts,
		AtUnixMs: o.cfg.Now().UnixMilli(), PossibleDuplicate: j.task.Doubled,
	}
	for _, p := range j.task.Parts {
		r.Parts = append(r.Parts, &messages.PartState{State: p.State, SmscId: p.ID})
	}
	return r
}

func (o *outlet) answer(t *turn, seq uint64, j *job, r *messages.Result) {
	t.step.Results = append(t.step.Results, journal.SlotResult{Seq: seq, Result: r})
	t.answers = append(t.answers, answer{seq, j.task.ID, r})
}

// expect is what a receipt for j's next part will be matched with.
func (o *outlet) expect(j *job, id string, now time.Time) journal.Sent {
	until := now
	if j.deadline.After(now) {
		until = j.deadline
	}
	return journal.Sent{
		SMSC: o.cfg.SMSC, SMSCID: id, ID: j.task.ID, Part: uint32(len(j.task.Parts)), Parts: uint32(len(j.parts)),
		At: now, Until: until.Add(o.cfg.ReceiptsAfter),
	}
}

func (o *outlet) record(t *turn) {
	o.cfg.Journal.Record(t.step, func(err error) { o.root.Send(o.self, recorded{o, t, err}) })
}

// onRecorded does what waited for the commit.
func (o *outlet) onRecorded(t *turn, m recorded) {
	switch {
	case m.owner != o:
		return
	case m.err != nil: // nothing may follow: the process is about to end
		o.cfg.Logger.Error("the journal failed; nothing further is submitted", zap.String("smsc", o.cfg.SMSC), zap.Error(m.err))
		return
	}
	o.commits--
	for _, i := range m.turn.submits {
		i.line.recording--
		if i.line.pid == nil || !i.line.paused.IsZero() {
			o.unsent(t, i.line, i.job)
			continue
		}
		o.refs++
		i.line.sent[o.refs] = i.job
		o.fly(1)
		part := i.job.parts[len(i.job.task.Parts)]
		if !i.job.deadline.IsZero() {
			part.Validity = max(i.job.deadline.Sub(o.cfg.Now()), time.Second)
		}
		o.root.Send(i.line.pid, submit{o.refs, part, i.line.heard})
	}
	for _, a := range m.turn.answers {
		o.tell(a)
	}
}

// tell answers a slot: what it is told is durable.
func (o *outlet) tell(a answer) {
	if slot := o.slots[a.seq]; slot != nil {
		o.root.Send(slot, &messages.Answered{Seq: a.seq, ID: a.id, Result: a.result})
	}
	delete(o.slots, a.seq)
}

// close lets a session's messages go elsewhere. Those it has open follow, with
// their outcomes.
func (o *outlet) close(l *line) {
	l.up = false
	for _, j := range l.held {
		o.plan.giveBack(j)
	}
	l.held = nil
	o.plan.leave(l.cfg.Name)
}

// onEnded: a session's actor is gone. What it had open and did not account for
// is in doubt.
func (o *outlet) onEnded(t *turn, m ended) {
	i := slices.IndexFunc(o.lines, func(l *line) bool { return l.pid != nil && l.pid.Equal(m.pid) })
	if i < 0 {
		return
	}
	l := o.lines[i]
	l.pid = nil
	o.close(l)
	for ref, j := range l.sent {
		delete(l.sent, ref)
		o.fly(-1)
		o.outcome(t, l, j, smsc.Outcome{Fate: smsc.Unknown, Text: "the session failed"})
	}
	if !o.drain {
		pause := o.cfg.Respawn.After(l.failures, o.cfg.Jitter())
		l.failures++
		o.after(pause, respawnDue{l.cfg.Name})
	}
}

func (o *outlet) onAgendaDue(t *turn, m agendaDue) {
	if m.at.Equal(o.agenda) {
		o.agenda = time.Time{}
	}
	for {
		lane, expired := o.plan.fallen(o.cfg.Now())
		if lane == nil {
			return
		}
		for _, j := range expired {
			o.finish(t, j, messages.State_EXPIRED, &messages.Reason{Code: "expired", Text: "past its deadline before the SMSC took it"})
		}
	}
}

func (o *outlet) setAgenda() {
	next := o.plan.nextDue()
	if next.IsZero() || !o.agenda.IsZero() && !next.Before(o.agenda) {
		return
	}
	o.agenda = next
	o.after(next.Sub(o.cfg.Now()), agendaDue{next})
}

func (o *outlet) onDrain() {
	o.drain = true
	for _, l := range o.lines {
		if l.pid != nil {
			o.root.Send(l.pid, logout{})
		}
	}
}

func (o *outlet) mayStop(ctx actor.Context) {
	if o.drain && o.commits == 0 && !slices.ContainsFunc(o.lines, func(l *line) bool { return l.pid != nil }) {
		ctx.Stop(ctx.Self())
	}
}

func (o *outlet) line(name string) *line {
	return o.lines[slices.IndexFunc(o.lines, func(l *line) bool { return l.cfg.Name == name })]
}

// after: what is due at once needs no timer (and a timer of zero in a
// testing/synctest bubble crashes the race detector of Go 1.26).
func (o *outlet) after(pause time.Duration, message any) {
	if pause <= 0 {
		o.root.Send(o.self, message)
		return
	}
	scheduler.NewTimerScheduler(o.root).SendOnce(pause, o.self, message)
}
