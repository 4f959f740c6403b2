package smpp

// window is how many of our requests may be unanswered. The SMSC's own limit is
// not negotiated (SMPP v3.4 knows no window): it shows when the SMSC throttles.
// Then the window is halved, and grows again by one after a long run of
// accepted requests.
type window struct {
	most, now int
	accepted  int    // since now last changed
	round     uint64 // how often it has shrunk: what went out before is old news
}

// growAfter is how many accepted requests for each one in the window make it grow by one.
const growAfter = 16

func newWindow(most int) window {
	most = max(most, 1)
	return window{most: most, now: most}
}

// throttled takes a throttled answer to a request that went out in this round.
// All requests of one round shrink it once.
func (w *window) throttled(round uint64) {
	w.accepted = 0
	if round == w.round && w.now > 1 {
		w.now /= 2
		w.round++
	}
}

// answered takes an accepting answer.
func (w *window) answered() {
	if w.now == w.most {
		return
	}
	if w.accepted++; w.accepted >= growAfter*w.now {
		w.now++
		w.accepted = 0
	}
}
