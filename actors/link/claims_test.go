package link

import (
	"errors"
	"testing"

	"github.com/ringway-im/ringway/messages"
)

// What journals are to adapt to leaves numbers for those who come after: a liar's word
// would be durable.
func TestClaimsOfWhoJoinsAnew(t *testing.T) {
	view := func(change func(*messages.View)) *messages.View {
		v := &messages.View{Slots: 4, LastRetrieved: 9, LastSent: 9, LastConfirmed: 8, LastProcessed: 7, Held: []*messages.SlotView{{Sequence: 9, Id: make([]byte, 16)}}}
		if change != nil {
			change(v)
		}
		return v
	}
	for name, c := range map[string]struct {
		hello *messages.Hello
		ok    bool
	}{
		"honest":             {&messages.Hello{Down: view(nil), Up: view(nil), EventsTrimmed: 3, EventsLast: 5}, true},
		"an empty journal":   {&messages.Hello{Down: &messages.View{Slots: 4}, Up: &messages.View{Slots: 4}}, true},
		"highest sequence":   {&messages.Hello{Down: view(func(v *messages.View) { v.LastRetrieved = 1<<64 - 1 }), Up: view(nil)}, false},
		"pointers backwards": {&messages.Hello{Down: view(nil), Up: view(func(v *messages.View) { v.LastProcessed = 9 })}, false},
		"held far ahead":     {&messages.Hello{Down: view(func(v *messages.View) { v.Held[0].Sequence = 1 << 63 }), Up: view(nil)}, false},
		"held long ago":      {&messages.Hello{Down: view(func(v *messages.View) { v.Held[0].Sequence = 1 }), Up: view(nil)}, false},
		"short id":           {&messages.Hello{Down: view(func(v *messages.View) { v.Held[0].Id = nil }), Up: view(nil)}, false},
		"trimmed ahead":      {&messages.Hello{Down: view(nil), Up: view(nil), EventsTrimmed: 6, EventsLast: 5}, false},
		"last event":         {&messages.Hello{Down: view(nil), Up: view(nil), EventsLast: 1<<64 - 1}, false},
	} {
		if err := checkClaims(c.hello); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]*messages.Rejoin{
		"epoch":     {Epoch: 1<<64 - 1},
		"sequences": {Epoch: 1, UpAbove: 1<<64 - 1},
		"events":    {Epoch: 1, EventsAbove: 1<<62 + 1},
		"open":      {Epoch: 1, Open: make([]uint64, 65536)},
	} {
		if err := CheckRejoin(r); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckRejoin(&messages.Rejoin{Epoch: 1_900_000_000, UpAbove: 1 << 40, EventsAbove: 1 << 40, Open: []uint64{1, 2}}); err != nil {
		t.Error(err)
	}
	if _, err := CheckWelcome(1<<63, 4); !errors.Is(err, ErrProtocol) {
		t.Errorf("a welcome of the highest epoch: %v", err)
	}
}
