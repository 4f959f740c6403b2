package session

import (
	"cmp"
	"container/heap"
	"slices"
	"strconv"
	"time"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/smsc"
)

// job is one message on its way to the SMSC.
type job struct {
	task     *journal.Task
	message  *messages.Message
	parts    []smsc.Part // as cut; nil: not yet
	deadline time.Time   // zero: none
	look     time.Time   // when to see whether it is past
	lane     *lane
}

// expireAt sets the deadline, which is another machine's word. What waits does so by
// differences of this one's clock, which do not change when it is set.
func (j *job) expireAt(deadline, now time.Time) {
	if j.deadline = deadline; !deadline.IsZero() {
		j.look = now.Add(deadline.Sub(now))
	}
}

func (j *job) expired(now time.Time) bool { return !j.deadline.IsZero() && !now.Before(j.deadline) }

// lane holds the messages with one order key, ascending by sequence. Only the
// first may be with a session.
type lane struct {
	key, to string
	class   uint32
	jobs    []*job
	busy    bool      // jobs[0] is with a session
	held    bool      // jobs[0] was refused for now: nothing goes before retryAt
	retryAt time.Time // when held
	due     time.Time // place in the agenda
	index   int       // in the agenda; -1: not in it
}

func (l *lane) head() *job { return l.jobs[0] }

// home is where a recipient's messages go while it has unfinished ones (I9).
type home struct {
	session string // "": free to choose
	busy    bool   // one of its messages is with the session
	lanes   int
}

// plan decides which message goes next, and on which session. It holds every
// message that the outlet has taken over and not finished.
//
//	add ─▶ lane of its order key ─▶ ready ─next─▶ with a session ─▶ end
//	            ▲         │ hold        ▲              │ giveBack
//	            └ retryAt ┘             └──────────────┘
type plan struct {
	lanes  map[string]*lane
	homes  map[string]*home
	ready  []*lane // not busy, not held; lowest class first, then lowest sequence
	agenda agenda  // all lanes: when something falls due
}

func newPlan() *plan {
	return &plan{lanes: map[string]*lane{}, homes: map[string]*home{}}
}

// add puts j behind those of its key with lower sequences.
func (p *plan) add(j *job) {
	key := strconv.Itoa(int(j.message.Class)) + "\x00" + j.message.To
	l := p.lanes[key]
	if l == nil {
		l = &lane{key: key, to: j.message.To, class: j.message.Class, index: -1}
		p.lanes[key] = l
		h := p.homes[l.to]
		if h == nil {
			h = &home{}
			p.homes[l.to] = h
		}
		h.lanes++
	}
	p.unready(l)
	at, _ := slices.BinarySearchFunc(l.jobs, j.task.Seq, func(j *job, seq uint64) int { return cmp.Compare(j.task.Seq, seq) })
	if l.busy {
		at = max(at, 1)
	}
	l.jobs = slices.Insert(l.jobs, at, j)
	j.lane = l
	p.settle(l)
}

// next takes the first message that may go on this session; nil: none.
func (p *plan) next(session string) *job {
	for i, l := range p.ready {
		h := p.homes[l.to]
		if h.busy || h.session != "" && h.session != session {
			continue
		}
		p.ready = slices.Delete(p.ready, i, i+1)
		h.session, h.busy, l.busy = session, true, true
		return l.head()
	}
	return nil
}

// giveBack returns what next gave: it is first again.
func (p *plan) giveBack(j *job) {
	j.lane.busy = false
	p.homes[j.lane.to].busy = false
	p.settle(j.lane)
}

// hold makes j's lane wait until then.
func (p *plan) hold(j *job, until time.Time) {
	l := j.lane
	p.unready(l)
	if l.busy {
		l.busy = false
		p.homes[l.to].busy = false
	}
	l.held, l.retryAt = true, until
	p.settle(l)
}

// end forgets j: it is finished.
func (p *plan) end(j *job) {
	l := j.lane
	at := slices.Index(l.jobs, j)
	p.unready(l)
	l.jobs = slices.Delete(l.jobs, at, at+1)
	if at == 0 {
		if l.busy {
			p.homes[l.to].busy = false
		}
		l.busy, l.held = false, false
	}
	p.settle(l)
}

// leave lets the recipients of a session that has closed go elsewhere.
func (p *plan) leave(session string) {
	for _, h := range p.homes {
		if h.session == session {
			h.session = ""
		}
	}
}

// fallen returns a lane in which something has fallen due, with the lane's
// messages past their deadline, those with a session left out. End these, and
// call again until it returns nil.
func (p *plan) fallen(now time.Time) (l *lane, expired []*job) {
	if len(p.agenda) == 0 || now.Before(p.agenda[0].due) {
		return nil, nil
	}
	l = p.agenda[0]
	for i, j := range l.jobs {
		switch {
		case j.deadline.IsZero() || l.busy && i == 0:
		case j.expired(now):
			expired = append(expired, j)
		case !now.Before(j.look): // the clock was set back
			j.expireAt(j.deadline, now)
		}
	}
	if l.held && !now.Before(l.retryAt) {
		l.held = false
	}
	p.settle(l)
	return l, expired
}

// nextDue is when fallen has something; zero: never.
func (p *plan) nextDue() time.Time {
	if len(p.agenda) == 0 {
		return time.Time{}
	}
	return p.agenda[0].due
}

func (p *plan) unready(l *lane) {
	if i := slices.Index(p.ready, l); i >= 0 {
		p.ready = slices.Delete(p.ready, i, i+1)
	}
}

// settle puts a lane where its state says.
func (p *plan) settle(l *lane) {
	if l.index >= 0 {
		heap.Remove(&p.agenda, l.index)
	}
	if len(l.jobs) == 0 {
		delete(p.lanes, l.key)
		if h := p.homes[l.to]; h.lanes > 1 {
			h.lanes--
		} else {
			delete(p.homes, l.to)
		}
		return
	}
	p.unready(l)
	p.ready = insertLane(p.ready, l)
	l.due = time.Time{}
	if l.held {
		l.due = l.retryAt
	}
	for i, j := range l.jobs {
		if !j.deadline.IsZero() && !(l.busy && i == 0) && (l.due.IsZero() || j.look.Before(l.due)) {
			l.due = j.look
		}
	}
	if !l.due.IsZero() {
		heap.Push(&p.agenda, l)
	}
}

func insertLane(ready []*lane, l *lane) []*lane {
	if l.busy || l.held {
		return ready
	}
	at, _ := slices.BinarySearchFunc(ready, l, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.head().task.Seq, b.head().task.Seq))
	})
	return slices.Insert(ready, at, l)
}

// agenda is a heap of lanes, the one due first on top.
type agenda []*lane

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, k int) bool { return a[i].due.Before(a[k].due) }
func (a agenda) Swap(i, k int) {
	a[i], a[k] = a[k], a[i]
	a[i].index, a[k].index = i, k
}

func (a *agenda) Push(x any) {
	l := x.(*lane)
	l.index = len(*a)
	*a = append(*a, l)
}

func (a *agenda) Pop() any {
	old := *a
	l := old[len(old)-1]
	*a = old[:len(old)-1]
	l.index = -1
	return l
}
