package simulator

import (
	"fmt"
	"math/rand/v2"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
)

// Faults are what goes wrong at this SMSC: the share of submits, 0 to 1, that
// each happens to.
type Faults struct {
	ThrottleRate     float64 `json:"throttle_rate"`      // refused because of congestion, whole session
	RejectRate       float64 `json:"reject_rate"`        // refused for good
	DropResponseRate float64 `json:"drop_response_rate"` // accepted and never answered
	CloseRate        float64 `json:"close_rate"`         // connection closed instead of an answer; in half of the cases accepted before
	GarbageRate      float64 `json:"garbage_rate"`       // accepted; octets that are no packet come before the answer
}

func (f Faults) check() error {
	for _, r := range []struct {
		name string
		rate float64
	}{
		{"throttle_rate", f.ThrottleRate},
		{"reject_rate", f.RejectRate},
		{"drop_response_rate", f.DropResponseRate},
		{"close_rate", f.CloseRate},
		{"garbage_rate", f.GarbageRate},
	} {
		if !(r.rate >= 0 && r.rate <= 1) {
			return fmt.Errorf("simulator: %s is %v: give a share from 0 to 1", r.name, r.rate)
		}
	}
	return nil
}

// verdict is what is to be done with a submit.
type verdict struct {
	outcome smsc.Outcome // to answer; Fate Unknown: with nothing
	accept  bool         // the message is taken
	close   bool
	garbage bool
}

// judge draws a verdict.
func (f Faults) judge(dice *rand.Rand) verdict {
	hit := func(rate float64) bool { return rate > 0 && dice.Float64() < rate }
	switch {
	case hit(f.CloseRate):
		return verdict{outcome: smsc.Outcome{Fate: smsc.Unknown}, accept: dice.IntN(2) == 0, close: true}
	case hit(f.ThrottleRate):
		return verdict{outcome: smsc.Outcome{Fate: smsc.Throttled}}
	case hit(f.RejectRate):
		return verdict{outcome: smsc.Outcome{Fate: smsc.Permanent}}
	case hit(f.DropResponseRate):
		return verdict{outcome: smsc.Outcome{Fate: smsc.Unknown}, accept: true}
	}
	return verdict{accept: true, garbage: hit(f.GarbageRate)}
}

// garbage returns octets that no reader of the protocol takes for a packet:
// what looks like a packet with a wrong checksum in CIMD2, a length of over
// 2 GB in SMPP, behind which framing is lost.
func garbage(protocol string, dice *rand.Rand) []byte {
	octets := make([]byte, 16+dice.IntN(48))
	for i := range octets {
		octets[i] = 'a' + byte(dice.IntN(26))
	}
	if protocol == cimd2.Name {
		octets[0], octets[len(octets)-1] = 0x02, 0x03
	} else {
		octets[0] = 0xFF
	}
	return octets
}
