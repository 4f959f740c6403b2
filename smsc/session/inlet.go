package session

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/scheduler"
	"go.uber.org/zap"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/text"
)

// InletConfig is what an inlet needs.
type InletConfig struct {
	SMSC    string // receipts are matched per SMSC
	Journal journal.Edge
	// SpillMessages is how many messages may wait behind the up ring, and
	// SpillEvents how many status events for the hub; then the SMSC keeps the rest.
	SpillMessages, SpillEvents int
	Space                      func() error  // an error while the disk is nearly full; the same then, and of receipts while it is journal.ErrScarce; nil: it never is
	AssembleWithin             time.Duration // then a text goes on without its missing parts (24 h)
	// MaxTexts is how many texts may be in the making; beyond it the oldest goes on
	// as it is. Of the last so many that became whole the inlet knows for 10 minutes
	// a part that comes again.
	MaxTexts int
	// Damaged hears of a note of the journal that cannot be read; then nothing is taken
	// from the SMSC. nil: nobody asks.
	Damaged func(error)
	// RedeliverWithin is how long after a session is bound again an identical
	// redelivery of its last deliver is swallowed; 0: not at all. SMPP has no
	// timestamp to tell a redelivery from a person who says the same again.
	RedeliverWithin time.Duration
	Numbers         Numbers       // of the handsets
	ParkReceipts    time.Duration // how long a receipt waits for its part (validity and 24 h)
	MaxParked       int
	NewID           func() []byte    // 16 octets; nil: random
	Now             func() time.Time // as OutletConfig.Now
	Metrics         Metrics
	Logger          *zap.Logger
}

// linked (session to inlet): a connection is bound, or gone.
type linked struct {
	name string
	up   bool
}

type (
	notesLoaded struct {
		owner *inlet
		notes map[string][]byte
		err   error
	}
	received struct { // an intake's commit is over
		intake *intake
		err    error
	}
	reportKept struct {
		report   reported
		reported journal.Reported
		err      error
	}
	intakeAgain struct{ intake *intake }
	reportAgain struct{ report reported }
	sweepDue    struct{}
)

// intake is a commit and what follows it.
type intake struct {
	journal.Intake
	from  *actor.PID // session that is told; nil: nobody
	taken taken
	parts int // of the messages
}

// inlet takes over what comes from the handsets. Whatever it accepts is durable
// before the SMSC hears of it; what the edge has no room for, the SMSC keeps.
//
//	delivered ─▶ redelivery? ─▶ one of several parts? ─▶ assembly ─▶ whole? ─▶ up queue ─ sync ─▶ taken
//	reported  ─▶ redelivery? ─▶ final? ─▶ its part known: status event, else parked ─── sync ─▶ taken
type inlet struct {
	cfg   InletConfig
	root  *actor.RootContext
	self  *actor.PID
	texts texts
	lasts map[string][]*last // by session, newest first; behind the newest only what is in doubt
	early []any              // came while loading: bounded by the sessions' windows
	ready bool
	purge time.Time
}

const (
	sweepEvery = time.Minute
	purgeEvery = 10 * time.Minute
)

// busyPause is how long to wait when the journal takes nothing further just now.
const busyPause = 100 * time.Millisecond

// NewInlet returns the props of an inlet. It may be restarted: what it had not
// answered, the SMSC hands over again.
func NewInlet(cfg InletConfig) *actor.Props {
	if cfg.Metrics == nil {
		cfg.Metrics = NoMetrics{}
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Space == nil {
		cfg.Space = func() error { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = func() []byte {
			id := make([]byte, 16)
			_, _ = rand.Read(id) // never fails (crypto/rand)
			return id
		}
	}
	return actor.PropsFromProducer(func() actor.Actor {
		return &inlet{cfg: cfg, texts: newTexts(cfg.MaxTexts), lasts: map[string][]*last{}}
	})
}

func (n *inlet) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		n.root, n.self = ctx.ActorSystem().Root, ctx.Self()
		n.load()
	case notesLoaded:
		n.onLoaded(ctx, m)
	case linked, delivered, reported:
		if !n.ready {
			n.early = append(n.early, m)
			return
		}
		n.take(m)
	case received:
		n.onReceived(m)
	case intakeAgain:
		n.renew(m.intake)
		n.keep(m.intake)
	case reportKept:
		n.onReportKept(m)
	case reportAgain:
		n.report(m.report)
	case sweepDue:
		n.onSweepDue()
	}
}

func (n *inlet) load() {
	n.cfg.Journal.LoadInlet(func(notes map[string][]byte, err error) { n.root.Send(n.self, notesLoaded{n, notes, err}) })
}

func (n *inlet) onLoaded(ctx actor.Context, m notesLoaded) {
	if m.owner != n {
		return
	}
	if m.err != nil {
		n.cfg.Logger.Error("the journal cannot be read; nothing is taken from the SMSC", zap.String("smsc", n.cfg.SMSC), zap.Error(m.err))
		return
	}
	bad := n.texts.load(m.notes, n.cfg.Now())
	for name, note := range m.notes {
		if session, ok := strings.CutPrefix(name, lastNote); ok {
			var all []*last
			if err := json.Unmarshal(note, &all); err != nil {
				bad[name] = err
			}
			for _, l := range all {
				l.suspect = true
			}
			n.lasts[session] = all
		}
	}
	for name, err := range bad { // it may hold parts that were acknowledged
		n.cfg.Logger.Error("a note of the journal cannot be read; nothing is taken from the SMSC", zap.String("note", name), zap.Error(err))
		if n.cfg.Damaged != nil {
			n.cfg.Damaged(fmt.Errorf("session: note %q: %w", name, err))
		}
	}
	if len(bad) > 0 {
		return
	}
	n.ready = true
	for _, e := range n.early {
		n.take(e)
	}
	n.early = nil
	n.onSweepDue()
}

func (n *inlet) take(m any) {
	switch m := m.(type) {
	case linked:
		n.onLinked(m)
	case delivered:
		n.onDelivered(m)
	case reported:
		n.onReported(m)
	}
}

func (n *inlet) onLinked(m linked) {
	for i, l := range n.lasts[m.name] {
		switch {
		case !m.up && i == 0:
			l.suspect, l.until = true, time.Time{}
		case m.up && l.suspect && l.until.IsZero():
			l.until = n.cfg.Now().Add(n.cfg.RedeliverWithin)
		}
	}
}

// again says whether this is the redelivery of something whose answer may not
// have arrived: surely (swallow it) or possibly. It may come on another session.
func (n *inlet) again(key string, content uint64) (surely, possibly bool) {
	if n.cfg.RedeliverWithin <= 0 {
		return false, false
	}
	now := n.cfg.Now()
	for _, all := range n.lasts {
		for _, l := range all {
			switch {
			case !l.doubted(now):
			case key != "" && key == l.Key:
				l.suspect = false
				return true, false
			case key == "" && l.Key == "" && content == l.Content:
				possibly = true
			}
		}
	}
	return false, possibly
}

// note remembers what a session handed over last, in the commit that takes it
// over. What is in doubt stays remembered: after a new login the SMSC may send
// something else before the redelivery.
func (n *inlet) note(session, key string, content uint64) map[string][]byte {
	now := n.cfg.Now()
	all := []*last{{Key: clean(key), Content: content}}
	for _, l := range n.lasts[session] {
		if l.doubted(now) && len(all) <= maxDoubted {
			all = append(all, l)
		}
	}
	n.lasts[session] = all
	return map[string][]byte{lastNote + session: encodeNote(all)}
}

func (n *inlet) onDelivered(m delivered) {
	in := &intake{from: m.session, taken: taken{m.round, m.ref, true}}
	part, content := m.deliver.Part, hash(m.deliver)
	part.From = n.cfg.Numbers.handset(part.From)
	surely, possibly := n.again(clean(m.deliver.Key), content)
	if surely {
		n.cfg.Metrics.Redelivered()
		n.keep(in) // done when the first one is durable
		return
	}
	if n.cfg.Journal.Up().Waiting() >= n.cfg.SpillMessages || n.cfg.Space() != nil {
		n.cfg.Metrics.Refused("message")
		n.root.Send(m.session, taken{m.round, m.ref, false})
		return
	}
	c, several := text.Concatenation(part.UDH)
	if several && c.Total > 1 {
		n.assemble(in, part, c, possibly)
	} else {
		a := &assembly{From: clean(part.From.String()), To: clean(part.To.String())}
		a.add(part, possibly)
		n.pass(in, a)
	}
	in.Put = merge(in.Put, n.note(m.name, m.deliver.Key, content))
	n.keep(in)
}

// assemble adds a part to its text, and passes on what that makes whole or ends.
func (n *inlet) assemble(in *intake, part smsc.Part, c text.Concat, possibly bool) {
	f := n.texts.add(part, c, possibly, n.cfg.Now())
	n.passed(in, f)
}

func (n *inlet) passed(in *intake, f filed) {
	in.Put, in.Drop = merge(in.Put, f.put), append(in.Drop, f.drop...)
	for _, a := range f.passed {
		if !a.complete() {
			n.cfg.Metrics.Incomplete(len(a.Pieces))
		}
		n.pass(in, a)
	}
}

func (n *inlet) pass(in *intake, a *assembly) {
	m := a.message()
	m.Id, m.AcceptedUnixMs = n.cfg.NewID(), n.cfg.Now().UnixMilli()
	in.Messages = append(in.Messages, m)
	in.parts += len(a.Pieces)
}

func (n *inlet) keep(in *intake) {
	n.cfg.Journal.Receive(in.Intake, func(err error) { n.root.Send(n.self, received{in, err}) })
}

// renew has an intake that was refused put the notes as they are now: what came after
// it may be durable already.
func (n *inlet) renew(in *intake) {
	put := map[string][]byte{}
	for _, name := range slices.AppendSeq(slices.Clone(in.Drop), maps.Keys(in.Put)) {
		session, isLast := strings.CutPrefix(name, lastNote)
		complete, isWhole := strings.CutPrefix(name, wholeNote)
		switch {
		case isLast:
			put[name] = encodeNote(n.lasts[session])
		case isWhole && n.texts.wholes[complete] != nil:
			put[name] = encodeNote(n.texts.wholes[complete])
		case n.texts.open[name] != nil:
			put[name] = encodeNote(n.texts.open[name])
		}
	}
	in.Put = put
}

func (n *inlet) onReceived(m received) {
	switch {
	case errors.Is(m.err, journal.ErrFull): // the disk is slow
		n.after(busyPause, intakeAgain{m.intake})
		return
	case m.err != nil: // no answer: the SMSC keeps it
		n.cfg.Logger.Error("the journal failed; nothing further is taken from the SMSC", zap.String("smsc", n.cfg.SMSC), zap.Error(m.err))
		return
	}
	if len(m.intake.Messages) > 0 {
		n.cfg.Metrics.Received(len(m.intake.Messages), m.intake.parts)
	}
	if m.intake.from != nil {
		n.root.Send(m.intake.from, m.intake.taken)
	}
}

func (n *inlet) onReported(m reported) {
	surely, _ := n.again(clean(m.receipt.Key), 0)
	switch {
	case surely:
		n.cfg.Metrics.Redelivered()
		n.keep(&intake{from: m.session, taken: taken{m.round, m.ref, true}})
	case !m.receipt.State.Final():
		n.cfg.Metrics.Receipt("passing")
		n.root.Send(m.session, taken{m.round, m.ref, true})
	case n.cfg.Journal.EventsKept() >= n.cfg.SpillEvents, errors.Is(n.cfg.Space(), journal.ErrScarce):
		n.cfg.Metrics.Refused("receipt")
		n.root.Send(m.session, taken{m.round, m.ref, false})
	default:
		n.report(m)
	}
}

func (n *inlet) report(m reported) {
	now := n.cfg.Now()
	n.cfg.Journal.Report(journal.Report{
		SMSC: n.cfg.SMSC, SMSCID: clean(m.receipt.ID), State: finalState(m.receipt.State), Code: clean(m.receipt.Code),
		At: now, Until: now.Add(n.cfg.ParkReceipts), MaxParked: n.cfg.MaxParked,
		Put: n.note(m.name, m.receipt.Key, 0),
	}, func(r journal.Reported, err error) { n.root.Send(n.self, reportKept{m, r, err}) })
}

func (n *inlet) onReportKept(m reportKept) {
	switch {
	case errors.Is(m.err, journal.ErrFull):
		n.after(busyPause, reportAgain{m.report})
		return
	case m.err != nil:
		n.cfg.Logger.Error("the journal failed; nothing further is taken from the SMSC", zap.String("smsc", n.cfg.SMSC), zap.Error(m.err))
		return
	case m.reported.Matched:
		n.cfg.Metrics.Receipt("matched")
		n.cfg.Metrics.ReceiptMatched(m.reported.After)
	default:
		n.cfg.Metrics.Receipt("parked")
	}
	for range m.reported.Forgotten {
		n.cfg.Metrics.Receipt("forgotten")
	}
	n.root.Send(m.report.session, taken{m.report.round, m.report.ref, true})
}

// onSweepDue passes on texts whose parts never came, and has the journal forget
// what nobody will ask for.
func (n *inlet) onSweepDue() {
	now := n.cfg.Now()
	for _, name := range n.texts.due(now.Add(-n.cfg.AssembleWithin), now) {
		if n.cfg.Journal.Up().Waiting() < n.cfg.SpillMessages {
			in, f := &intake{}, filed{}
			n.texts.giveUp(&f, name, now)
			n.passed(in, f)
			n.keep(in)
		}
	}
	if f := n.texts.expire(now); len(f.drop) > 0 {
		in := &intake{}
		n.passed(in, f)
		n.keep(in)
	}
	if !now.Before(n.purge) {
		n.purge = now.Add(purgeEvery)
		n.cfg.Journal.Purge(now, func(int, error) {}) // what is not forgotten now is later
	}
	n.after(sweepEvery, sweepDue{})
}

func (n *inlet) after(pause time.Duration, message any) {
	scheduler.NewTimerScheduler(n.root).SendOnce(pause, n.self, message)
}

func finalState(s smsc.ReceiptState) messages.State {
	switch s {
	case smsc.ReceiptDelivered:
		return messages.State_DELIVERED
	case smsc.ReceiptExpired:
		return messages.State_EXPIRED
	default: // deleted, undeliverable, rejected
		return messages.State_FAILED
	}
}

func hash(d smsc.Deliver) uint64 {
	h := fnv.New64a()
	for _, part := range [][]byte{[]byte(d.From.String()), []byte(d.To.String()), d.UDH, d.Data} {
		_, _ = h.Write(part)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

func merge(a, b map[string][]byte) map[string][]byte {
	if a == nil {
		return b
	}
	for k, v := range b {
		a[k] = v
	}
	return a
}
