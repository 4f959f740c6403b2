package simulator

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ringway-im/ringway/smsc"
	"github.com/ringway-im/ringway/smsc/cimd2"
	"github.com/ringway-im/ringway/smsc/smpp"
)

// Faults are what goes wrong at this SMSC. Rates are shares from 0 to 1, drawn
// for each message. The zero value is an SMSC without fault.
type Faults struct {
	// Of submits; at most one happens to each, the first that hits in this order.
	CloseRate        float64 `json:"close_rate"`         // connection closed instead of an answer; in half of the cases accepted before
	ThrottleRate     float64 `json:"throttle_rate"`      // refused because of congestion, whole session
	TemporaryRate    float64 `json:"temporary_rate"`     // refused for now, this recipient only
	RejectRate       float64 `json:"reject_rate"`        // refused for good
	DropResponseRate float64 `json:"drop_response_rate"` // accepted and never answered
	LateRate         float64 `json:"late_rate"`          // accepted and answered LateBy later; others overtake it
	GarbageRate      float64 `json:"garbage_rate"`       // accepted; octets that are no packet come before the answer

	// Of delivers and receipts.
	CorruptRate   float64 `json:"corrupt_rate"`   // CIMD2: the checksum is wrong; SMPP: a deliver_sm that ends too early goes ahead
	DuplicateRate float64 `json:"duplicate_rate"` // comes once more, though it was answered

	LateBy        time.Duration `json:"late_by"`
	Window        int           `json:"window"`         // submits that a session may have unanswered, more are throttled; 0: no limit
	ThrottleCode  uint32        `json:"throttle_code"`  // SMPP command_status or CIMD2 error of what is throttled; 0: RTHROTTLED, 10
	TemporaryCode uint32        `json:"temporary_code"` // of what is refused for now; 0: RX_T_APPN, 9
	RejectCode    uint32        `json:"reject_code"`    // of what is refused for good; 0: RINVDSTADR, 300

	RefuseLogins bool          `json:"refuse_logins"` // whatever the password
	UnbindDelay  time.Duration `json:"unbind_delay"`  // until an unbind or logout is dealt with
	IgnoreUnbind bool          `json:"ignore_unbind"` // an unbind or logout is never answered, and the connection stays
	Freeze       bool          `json:"freeze"`        // nothing is read or written, connections stay; it goes on when this is taken back
}

func (f *Faults) check() error {
	for _, r := range []struct {
		name string
		rate float64
	}{
		{"close_rate", f.CloseRate},
		{"throttle_rate", f.ThrottleRate},
		{"temporary_rate", f.TemporaryRate},
		{"reject_rate", f.RejectRate},
		{"drop_response_rate", f.DropResponseRate},
		{"late_rate", f.LateRate},
		{"garbage_rate", f.GarbageRate},
		{"corrupt_rate", f.CorruptRate},
		{"duplicate_rate", f.DuplicateRate},
	} {
		if !(r.rate >= 0 && r.rate <= 1) {
			return fmt.Errorf("simulator: %s is %v: give a share from 0 to 1", r.name, r.rate)
		}
	}
	if f.Window < 0 {
		return fmt.Errorf("simulator: window is %d: give how many submits may be unanswered, 0 for no limit", f.Window)
	}
	if err := checkTime("late_by", f.LateBy); err != nil {
		return err
	}
	return checkTime("unbind_delay", f.UnbindDelay)
}

func checkTime(name string, d time.Duration) error {
	if d < 0 || d > time.Hour {
		return fmt.Errorf("simulator: %s is %v: give 0s to 1h", name, d)
	}
	return nil
}

// verdict is what is to be done with a submit.
type verdict struct {
	outcome smsc.Outcome // to answer; Fate Unknown: with nothing
	accept  bool         // the message is taken
	close   bool
	garbage bool
	late    bool
}

// judge draws a verdict.
func (f *Faults) judge(protocol string, dice *rand.Rand) verdict {
	hit := func(rate float64) bool { return rate > 0 && dice.Float64() < rate }
	switch {
	case hit(f.CloseRate):
		return verdict{outcome: smsc.Outcome{Fate: smsc.Unknown}, accept: dice.IntN(2) == 0, close: true}
	case hit(f.ThrottleRate):
		return verdict{outcome: refusal(protocol, smsc.Throttled, f.ThrottleCode)}
	case hit(f.TemporaryRate):
		return verdict{outcome: refusal(protocol, smsc.Temporary, f.TemporaryCode)}
	case hit(f.RejectRate):
		return verdict{outcome: refusal(protocol, smsc.Permanent, f.RejectCode)}
	case hit(f.DropResponseRate):
		return verdict{outcome: smsc.Outcome{Fate: smsc.Unknown}, accept: true}
	case hit(f.LateRate):
		return verdict{accept: true, late: true}
	}
	return verdict{accept: true, garbage: hit(f.GarbageRate)}
}

// refusal is an outcome with the protocol's code; 0 is the usual one of the fate.
func refusal(protocol string, fate smsc.Fate, code uint32) smsc.Outcome {
	o := smsc.Outcome{Fate: fate}
	switch {
	case code == 0: // the protocol's machine knows the usual one
	case protocol == cimd2.Name:
		o.Code = cimd2.Error(code).String()
	default:
		o.Code = smpp.Status(code).String()
	}
	return o
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

// corrupt damages a request of the SMSC's as the line does it: in CIMD2 its
// checksum is wrong, so that the ESME asks for it again. Nothing in SMPP finds
// such damage, so there a PDU that ends amid a string goes ahead of the sound
// one, under a number of its own.
func corrupt(protocol string, packet []byte) []byte {
	if protocol == cimd2.Name {
		if i := len(packet) - 2; i > 0 { // the last digit of the checksum
			packet[i] = '0' + (packet[i]-'0'+1)%10
		}
		return packet
	}
	const header, strayNumber = 16, 0x7FFFFFFF
	if len(packet) < header+6 {
		return packet
	}
	stray := append([]byte(nil), packet[:header+6]...) // service_type, TON, NPI and the beginning of the address
	copy(stray[0:4], []byte{0, 0, 0, header + 6})
	copy(stray[12:16], []byte{strayNumber >> 24, strayNumber >> 16 & 0xFF, strayNumber >> 8 & 0xFF, strayNumber & 0xFF})
	return append(stray, packet...)
}

// isUnbind reports whether a packet asks for the end of its session.
func isUnbind(packet any) bool {
	switch p := packet.(type) {
	case *smpp.Unbind:
		return true
	case *cimd2.Packet:
		return p.Operation == cimd2.Logout
	}
	return false
}
