package link

import (
	"errors"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// A planned move of an edge's rings makes before it breaks:
//
//	ring            session            edge's session         dialer        next hub
//	 │ ─── Move ─────▶ │ ─ Prepare ──────▶ │ ─── WarmHub ─────▶ │ ─ TCP, TLS ──▶ │
//	 │ ◀ MoveReady ─── │ ◀ Prepare ready ─ │ ◀── HubWarm ────── │               │
//	 │ ends the rings  │                   │                                    │ takes the rings over
//	 │ ─── Moved ────▶ │ ─── Moved ──────▶ │ supervisor, sync ─ Hello ────────▶ │
//
// All goes on over the old link up to Moved; an edge that knows no Prepare is sent on
// by Moved alone.

// errMoved ends the stripes of a session whose rings are given up.
var errMoved = errors.New("link: the rings of this edge are given up here")

// warmWithin bounds how long an edge connects to the next hub: longer than any hub
// waits for it, and a path that needs more is slow then as well.
const warmWithin = 5 * time.Second

// onMove is the hub's.
func (s *session) onMove(ctx actor.Context, m *Move) {
	s.moveReady(ctx, 0) // of one before
	s.move, s.mover = m, ctx.Sender()
	if s.phase != streaming || s.cfg.Dialer != nil || m.To == "" {
		s.moveReady(ctx, 0)
		return
	}
	s.sendOn(ctx, s.lines.choose(), &messages.Frame{Prepare: &messages.Prepare{Hub: m.To}})
	after(ctx, m.Within, moveOverdue{m})
}

// moveReady answers who waits for it, once.
func (s *session) moveReady(ctx actor.Context, stripes int) {
	if s.mover != nil {
		ctx.Send(s.mover, &MoveReady{Stripes: stripes})
	}
	s.move, s.mover = nil, nil
}

// onPrepare: the hub's word to the edge, or the edge's answer.
func (s *session) onPrepare(ctx actor.Context, m *messages.Prepare) {
	switch {
	case s.cfg.Dialer != nil && !m.Ready:
		ctx.Request(s.cfg.Dialer, &messages.WarmHub{Hub: m.Hub, Stripes: s.cfg.Stripes, Within: warmWithin})
	case s.cfg.Dialer == nil && m.Ready && s.move != nil && s.move.To == m.Hub:
		s.moveReady(ctx, int(min(m.Stripes, maxStripes)))
	}
}

// onMoved is the hub's last word. It goes out on every stripe, because any may be
// waiting for a lost packet.
func (s *session) onMoved(ctx actor.Context, m *Moved) {
	s.lastWord, s.movedTo = true, m.To
	s.moveReady(ctx, 0)
	if s.phase == streaming {
		s.cfg.Metrics.Up(false)
	}
	if s.hello != nil && m.To != "" {
		ctx.Send(s.hello.Conn, &messages.Frame{Redirect: &messages.Redirect{Hub: m.To}})
	}
	for i, c := range s.conns {
		if c != nil && m.To != "" && s.phase == streaming {
			s.sendOn(ctx, i, &messages.Frame{Moved: &messages.Moved{Hub: m.To}})
		}
	}
	s.hangup(ctx, errMoved)
	s.phase = down
}
