package journal

import (
	"slices"
	"time"

	"github.com/ringway-im/ringway/messages"
)

const (
	maxSteps = 64  // of a history; further doubts are counted in Attempts only
	maxParts = 255 // TS 23.040 §9.2.3.24.1: one octet
)

// IsFinal says whether nothing of higher standing is expected after s.
func IsFinal(s messages.State) bool { return s >= messages.State_DELIVERED }

// Reach notes that the message got to state at that time. It stands in the
// history once, whatever its rank; State only rises. raised says whether it did.
func (r *Record) Reach(state messages.State, at time.Time) (raised bool) {
	if !slices.ContainsFunc(r.History, func(s Step) bool { return s.State == state }) {
		r.step(state, at)
	}
	if state <= r.State {
		return false
	}
	r.State, r.Final = state, IsFinal(state)
	failed := func(p *messages.PartState) bool { return p.State > messages.State_DELIVERED }
	if (state == messages.State_PROCESSED || state == messages.State_DELIVERED) && !slices.ContainsFunc(r.Parts, failed) {
		r.Reason = nil // why it was deferred or in doubt is over
	}
	return true
}

// Answer applies the result of a slot, or of a deferred message later.
func (r *Record) Answer(result *messages.Result) (raised bool) {
	for i, p := range result.Parts {
		r.part(i, len(result.Parts), p.State, p.SmscId)
	}
	r.Attempts = max(r.Attempts, result.Attempts)
	r.Doubled = r.Doubled || result.PossibleDuplicate
	at := time.UnixMilli(result.AtUnixMs)
	state := r.State
	raised = r.Reach(result.State, at)
	if result.Reason != nil && (raised || result.State == state && r.Reason == nil) {
		r.Reason = result.Reason
	}
	return r.whole(at) || raised
}

// Receive applies a receipt for one part: the message is delivered when all
// parts are, else failed or expired, by rank, when all are final.
func (r *Record) Receive(receipt *messages.Receipt, planned int, at time.Time) (raised bool) {
	parts := int(receipt.Parts)
	if parts == 0 {
		parts = max(planned, 1)
	}
	r.part(int(receipt.Part), parts, receipt.State, receipt.SmscId)
	if receipt.State > messages.State_DELIVERED && r.State <= messages.State_DELIVERED {
		code := "undeliverable"
		if receipt.State == messages.State_EXPIRED {
			code = "expired"
		}
		r.Reason = &messages.Reason{Code: code, SmscCode: receipt.SmscCode}
	}
	return r.whole(at)
}

// Doubt applies a submit that was never answered. Each stands in the history; why
// the last one is in doubt is the message's reason until more is known.
func (r *Record) Doubt(d *messages.Doubt, at time.Time) (raised bool) {
	r.Attempts = max(r.Attempts, d.Attempt)
	r.Doubled = r.Doubled || d.Again
	if len(r.History) < maxSteps && !r.toldByResult() {
		r.step(messages.State_UNKNOWN, at)
	}
	raised = r.Reach(messages.State_UNKNOWN, at)
	if r.State == messages.State_UNKNOWN && d.Why != "" {
		r.Reason = &messages.Reason{Code: "no_answer", Text: d.Why}
	}
	return raised
}

// toldByResult: where a doubt ends a part, the result says so too, and may overtake it.
func (r *Record) toldByResult() bool {
	parts, steps := 0, 0
	for _, p := range r.Parts {
		if p.State == messages.State_UNKNOWN {
			parts++
		}
	}
	for _, s := range r.History {
		if s.State == messages.State_UNKNOWN {
			steps++
		}
	}
	return !r.Doubled && parts > 0 && steps >= parts
}

// step puts a step at its place: before what happened later and ranks higher.
// Clocks of hub and edge differ, so that time alone does not say what came first.
func (r *Record) step(state messages.State, at time.Time) {
	i := len(r.History)
	for i > 0 && r.History[i-1].State > state && r.History[i-1].At.After(at) {
		i--
	}
	r.History = slices.Insert(r.History, i, Step{State: state, At: at})
}

func (r *Record) part(i, parts int, state messages.State, smscID string) {
	if i >= maxParts {
		return
	}
	for len(r.Parts) < max(i+1, min(parts, maxParts)) {
		r.Parts = append(r.Parts, &messages.PartState{})
	}
	p := r.Parts[i]
	p.State = max(p.State, state)
	if smscID != "" {
		p.SmscId = smscID
	}
}

// whole draws the conclusion from the parts: their highest, once all are final.
// (Failed before expired would depend on what is learnt first.)
func (r *Record) whole(at time.Time) (raised bool) {
	state := messages.State_DELIVERED
	for _, p := range r.Parts {
		if !IsFinal(p.State) {
			return false
		}
		state = max(state, p.State)
	}
	return len(r.Parts) > 0 && r.Reach(state, at)
}
