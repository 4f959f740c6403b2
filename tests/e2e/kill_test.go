package e2e

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Either node is killed (SIGKILL) in mid-flow and started again, in turn. Nothing
// that was acknowledged is lost; at the SMSC, which cannot be asked, at most one
// message is doubled for each edge killed (one session, stop and wait), and its
// history says unknown.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds, protocols := 1, []string{"smpp"}
	if isLong() {
		rounds, protocols = 10, []string{"cimd2", "smpp"}
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			dice := rand.New(rand.NewPCG(seed, 0))
			s := newSite(t)
			e := s.edge("manila-1", "+63917", protocol, false)
			s.launchSMSC(e).ready()
			hub := s.launchHub().ready()
			edge := s.launchEdge(e).ready()
			isReady(e.api(t), 20*time.Second)
			f := newFlow(s.admin(), e.smsc(t), e.number, 3, 15)
			f.meet()
			while := func() {
				f.load(time.Duration(100+dice.IntN(400))*time.Millisecond, 200)
			}
			for range rounds {
				while()
				hub.kill()
				while()
				hub = s.launchHub()
				while()
				hub.ready()
				while()
				edge.kill()
				while()
				edge = s.launchEdge(e)
				while()
				edge.ready()
			}
			while()
			f.settle(60 * time.Second)
			f.checkKilled(rounds)
			edge.stop()
			hub.stop()
			t.Logf("each side killed %d times: %d texts down, %d up", rounds, f.downs, f.ups)
		})
	}
}

// checkKilled is check that allows one double for each killed session.
func (f *flow) checkKilled(sessions int) {
	f.t.Helper()
	doubled := 0
	for i, number := range f.handsets {
		got, doubles := withoutDoubles(f.smsc.texts(number))
		sameSequence(f.t, "handset "+number, got, f.toHandset[number])
		doubled += len(doubles)
		for _, text := range doubles {
			if r := f.with(i).record(f.refs[text]); !slices.Contains(r.states(), "unknown") {
				f.t.Errorf("%q was doubled, and its history is %v: no unknown", text, r.states())
			}
		}
	}
	if doubled > sessions {
		f.t.Errorf("%d texts were doubled at the SMSC, want one for each of %d killed sessions at most", doubled, sessions)
	}
	f.checkPeople()
	f.t.Logf("%d doubled at the SMSC over %d killed sessions", doubled, sessions)
}
