package link

import (
	"bytes"
	"fmt"

	"github.com/ringway-im/ringway/messages"
)

// What follows decides who may speak (invariants I4, I8): pure, so that a search over
// all states can ask the same questions as the actors.

// CheckFrame refuses a frame of another epoch than this link's.
func CheckFrame(frame, epoch uint64) error {
	if frame != epoch {
		return fmt.Errorf("%w: %d, here is %d", ErrOldEpoch, frame, epoch)
	}
	return nil
}

// CheckEntries refuses a frame that no honest peer can send, whatever the rings hold: a
// frame that it refuses changes nothing. Whether an entry fits where a ring stands only
// that ring knows; an entry that does not closes the link, and what stood before it in
// the frame counts, as if it had come in a frame of its own. sends is this side's ring;
// slots 0: unknown.
func CheckEntries(f *messages.Frame, sends messages.Ring, slots uint32) error {
	if len(f.Heard) > maxStripes || len(f.Confirmed) > 1 || len(f.Released) > 1 || len(f.Heartbeat.GetRings()) > 2 {
		return fmt.Errorf("%w: a frame that hears %d stripes, confirms %d times, releases %d times and shows %d rings",
			ErrProtocol, len(f.Heard), len(f.Confirmed), len(f.Released), len(f.Heartbeat.GetRings()))
	}
	theirs := messages.Ring_UP + messages.Ring_DOWN - sends
	for _, d := range f.Data {
		if d.GetRing() != theirs {
			return fmt.Errorf("%w: data of ring %v", ErrProtocol, d.GetRing())
		}
		if err := checkData(d, slots); err != nil {
			return err
		}
	}
	for _, p := range f.Confirmed {
		if p.GetRing() != sends {
			return fmt.Errorf("%w: confirmed of ring %v", ErrProtocol, p.GetRing())
		}
	}
	for _, a := range f.Answers {
		if a.GetRing() != sends || a.GetResult() == nil || a.GetSequence() == 0 || len(a.GetId()) != idOctets {
			return fmt.Errorf("%w: answer of ring %v to %d with an id of %d octets", ErrProtocol, a.GetRing(), a.GetSequence(), len(a.GetId()))
		}
	}
	for _, p := range f.Released {
		if p.GetRing() != theirs {
			return fmt.Errorf("%w: released of ring %v", ErrProtocol, p.GetRing())
		}
	}
	for _, e := range f.Events {
		if e.GetNumber() == 0 {
			return fmt.Errorf("%w: status event 0", ErrProtocol)
		}
	}
	for _, r := range f.Heartbeat.GetRings() {
		if len(r.GetFlags()) > maxSlots || len(r.GetSequences()) > maxSlots {
			return fmt.Errorf("%w: a picture of a ring with %d slots", ErrProtocol, max(len(r.GetFlags()), len(r.GetSequences())))
		}
	}
	return nil
}

func checkData(d *messages.Data, slots uint32) error {
	switch {
	case d.GetMessage() == nil, len(d.Message.Id) != idOctets, d.Sequence == 0, d.After >= d.Sequence,
		slots > 0 && uint64(d.Address) != d.Sequence%uint64(slots):
		return fmt.Errorf("%w: malformed entry: sequence %d, address %d, after %d", ErrProtocol, d.GetSequence(), d.GetAddress(), d.GetAfter())
	}
	return nil
}

const (
	idOctets = 16
	maxSlots = 65535

	// Nobody gets so far in good faith; who said more once would leave no numbers for
	// those who come after him.
	maxEpoch  = 1 << 40 // an epoch a second since 1970 is far below
	maxNumber = 1 << 62 // of sequences and status events
)

// CheckWelcome is the edge's: it refuses an epoch below the highest it has
// stored. A higher one is to be stored before the Welcome is taken.
func CheckWelcome(epoch, highest uint64) (store bool, err error) {
	if epoch > maxEpoch {
		return false, fmt.Errorf("%w: welcome of epoch %d", ErrProtocol, epoch)
	}
	if epoch < highest {
		return false, fmt.Errorf("%w: welcome of epoch %d, this edge has seen %d", ErrOldEpoch, epoch, highest)
	}
	return epoch > highest, nil
}

// CheckOwner is the edge's, of a Welcome with the highest epoch that it has stored: an
// epoch has one owner. One that was not stored along yet is to be (hubs of releases
// before do not name it).
func CheckOwner(epoch uint64, owner, stored []byte) (store bool, err error) {
	if len(owner) > maxOwner {
		return false, fmt.Errorf("%w: a welcome whose owner's name has %d octets", ErrProtocol, len(owner))
	}
	if len(owner) > 0 && len(stored) > 0 && !bytes.Equal(owner, stored) {
		return false, fmt.Errorf("%w: welcome of epoch %d, under which another hub had the rings", ErrOldEpoch, epoch)
	}
	return len(owner) > 0 && len(stored) == 0, nil
}

const maxOwner = 64 // octets

// OlderHello is the hub's: a Hello that was long on its way, of a process perhaps that
// lives no more, neither ends the session that the edge has begun since nor takes the
// rings back to where they stood. Whose is not numbered counts when it comes. nil: go on.
//
// An edge that lives and is refused so (its journal is older than the one it had) goes on
// above the number that it is told.
func OlderHello(h, latest *messages.Hello) *messages.Refused {
	if h.Number == 0 || h.Number >= latest.GetNumber() || latest.GetNumber() > maxNumber || !bytes.Equal(h.Instance, latest.Instance) {
		return nil
	}
	return &messages.Refused{Code: "older_hello", Number: latest.Number, Text: fmt.Sprintf("hello %d of this edge came behind its hello %d: it connects again", h.Number, latest.Number)}
}

// CheckHello is the hub's, which holds the rings under epoch; nil: go on.
func CheckHello(h *messages.Hello, epoch uint64) *messages.Refused {
	switch {
	case h.Version != Version:
		return &messages.Refused{Code: "wrong_version", Text: fmt.Sprintf("the edge speaks version %d of the link, this hub %d: bring both to the same release", h.Version, Version)}
	case h.HighestEpoch > epoch:
		return &messages.Refused{Code: "older_epoch", Text: fmt.Sprintf("the edge has seen epoch %d, this hub holds its rings under %d only: another hub, or this one before it lost its data, owned them later; run that hub with its data, or start this edge with a new id, certificate and data_dir", h.HighestEpoch, epoch)}
	case h.Number > maxNumber, len(h.Session) != 16 || len(h.Instance) == 0 || len(h.Instance) > 64 || h.Down == nil || h.Up == nil:
		return &messages.Refused{Code: "protocol", Text: "malformed hello"}
	}
	return nil
}
