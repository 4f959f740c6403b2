package simulator

import (
	"container/heap"
	"time"
)

// appointment is something that the store has to do at a time: with a message,
// or with an item for the ESME.
type appointment struct {
	at      time.Time
	order   uint64 // of making: what is due at one time is done in it
	message *submitted
	item    *item
	index   int // in the agenda; -1: no longer
}

// agenda is a heap of appointments, the earliest first.
type agenda struct {
	list []*appointment
	made uint64
}

func (a *agenda) add(at time.Time, m *submitted, it *item) *appointment {
	a.made++
	p := &appointment{at: at, order: a.made, message: m, item: it}
	heap.Push(a, p)
	return p
}

func (a *agenda) remove(p *appointment) {
	if p != nil && p.index >= 0 {
		heap.Remove(a, p.index)
	}
}

// next takes the earliest appointment if it is due, else it is nil.
func (a *agenda) next(now time.Time) *appointment {
	if len(a.list) == 0 || now.Before(a.list[0].at) {
		return nil
	}
	return heap.Pop(a).(*appointment)
}

// Len is for package heap, as what follows.
func (a *agenda) Len() int { return len(a.list) }

func (a *agenda) Less(i, j int) bool {
	p, q := a.list[i], a.list[j]
	return p.at.Before(q.at) || p.at.Equal(q.at) && p.order < q.order
}

func (a *agenda) Swap(i, j int) {
	a.list[i], a.list[j] = a.list[j], a.list[i]
	a.list[i].index, a.list[j].index = i, j
}

// Push appends an *appointment.
func (a *agenda) Push(x any) {
	p := x.(*appointment)
	p.index = len(a.list)
	a.list = append(a.list, p)
}

// Pop takes the last.
func (a *agenda) Pop() any {
	last := len(a.list) - 1
	p := a.list[last]
	a.list[last] = nil
	a.list = a.list[:last]
	p.index = -1
	return p
}
