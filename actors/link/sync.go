package link

import (
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
)

// rings is what both ends' synchronisation actors do with their two ring
// actors: ask where they stand, compare with the other side, wait until nothing
// is missing.
type rings struct {
	buffer, mirror *actor.PID
	sends          messages.Ring

	try     int
	views   [2]*messages.View // buffer's, mirror's
	synced  int
	agreed  int
	resent  int
	lastAt  time.Time // when the last of what was missing here was durable
	trouble error
}

// ask requests both views; viewArrived tells when both are there.
func (r *rings) ask(ctx actor.Context) {
	r.views = [2]*messages.View{}
	ctx.Request(r.buffer, &GetView{})
	ctx.Request(r.mirror, &GetView{})
}

func (r *rings) viewArrived(v *ViewIs) bool {
	if v.Ring == r.sends {
		r.views[0] = v.View
	} else {
		r.views[1] = v.View
	}
	return r.views[0] != nil && r.views[1] != nil
}

// downUp sorts the buffer's and the mirror's into down and up.
func (r *rings) downUp() (down, up *messages.View) {
	if r.sends == messages.Ring_DOWN {
		return r.views[0], r.views[1]
	}
	return r.views[1], r.views[0]
}

// resync gives each ring actor the other side's view of its ring.
func (r *rings) resync(ctx actor.Context, down, up *messages.View) {
	r.try++
	r.synced, r.agreed, r.resent, r.trouble, r.views = 0, 0, 0, nil, [2]*messages.View{}
	r.lastAt = time.Now()
	mine, theirs := down, up
	if r.sends == messages.Ring_UP {
		mine, theirs = up, down
	}
	ctx.Request(r.buffer, &Resync{Peer: mine, Try: r.try})
	ctx.Request(r.mirror, &Resync{Peer: theirs, Try: r.try})
}

// resynced reports whether both rings have answered; trouble says whether they fit.
func (r *rings) resynced(m *Resynced) bool {
	if m.Try != r.try {
		return false
	}
	r.synced++
	if m.Err != nil {
		r.trouble = m.Err
	}
	if m.Ring == r.sends {
		r.views[0], r.resent = m.View, m.Missing
	} else {
		r.views[1] = m.View
	}
	return r.synced == 2
}

// agree reports whether both rings lack nothing any more.
func (r *rings) agree(m *Agreed) bool {
	if m.Try != r.try {
		return false
	}
	r.agreed++
	if m.Ring != r.sends && m.At.After(r.lastAt) {
		r.lastAt = m.At
	}
	return r.agreed == 2
}
