package linkrpc

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// repeat makes a frame of a field with this value as often as fits in MaxFrame.
func repeat(field protowire.Number, value []byte) []byte {
	one := protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), value)
	return bytes.Repeat(one, MaxFrame/len(one))
}

// spent is what decoding a frame takes from the heap.
func spent(frame []byte) (octets uint64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	raw := &rawFrame{}
	if err = newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(frame)}, raw); err == nil {
		err = proto.Unmarshal(raw.octets, &messages.Frame{})
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

func TestFrameOfManyEntriesIsRefusedUndecoded(t *testing.T) {
	empty := []byte{}
	data := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), empty) // an empty message in an entry
	slots := repeat(6, empty)[:1<<20]
	for name, frame := range map[string][]byte{
		"data": repeat(9, empty), "messages in data": repeat(9, data), "confirmed": repeat(10, empty), "answers": repeat(12, empty), "events": repeat(13, empty),
		"slots of a view":   repeat(4, protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), slots)),
		"deferred ids":      repeat(4, protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), empty)),
		"heard, packed":     repeat(3, make([]byte, 1<<20)),
		"heard, one by one": bytes.Repeat([]byte{3 << 3, 1}, MaxFrame/2),
	} {
		octets, err := spent(frame)
		if !errors.Is(err, errCrowded) {
			t.Errorf("%s: %v", name, err)
		}
		if octets > 2*MaxFrame {
			t.Errorf("%s: %d octets were spent on a frame of %d", name, octets, len(frame))
		}
	}
}

// What is let through costs a bounded multiple of its size.
func TestFrameThatIsLetThroughCostsInProportion(t *testing.T) {
	entry := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), make([]byte, 0))
	entry = append(entry, protowire.AppendBytes(protowire.AppendTag(nil, 100, protowire.BytesType), make([]byte, 60))...)
	frame := repeat(9, entry)
	octets, err := spent(frame)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d octets took %d", len(frame), octets)
	if octets > 80<<20 {
		t.Errorf("%d octets were spent on a frame of %d", octets, len(frame))
	}
}

func TestHonestFramesAreLetThrough(t *testing.T) {
	view := func() *messages.View {
		v := &messages.View{Slots: 65535}
		for i := range 65535 {
			v.Held = append(v.Held, &messages.SlotView{Sequence: 1<<40 + uint64(i), Id: make([]byte, 16), Flags: 3})
		}
		return v
	}
	rings := &messages.RingState{Sequences: make([]uint64, 65535), Flags: make([]byte, 65535)}
	small := &messages.Frame{Heard: make([]uint64, 64)}
	for range 255 {
		small.Answers = append(small.Answers, &messages.Answer{Ring: 1, Sequence: 1, Id: make([]byte, 16), Result: &messages.Result{State: 1, Parts: []*messages.PartState{{State: 1, SmscId: "1"}}}})
	}
	for _, f := range []*messages.Frame{
		{Hello: &messages.Hello{Down: view(), Up: view(), Deferred: slices.Repeat([][]byte{make([]byte, 16)}, journal.MaxDeferred)}},
		{Heartbeat: &messages.Heartbeat{Rings: []*messages.RingState{rings, rings}}},
		small,
		{},
	} {
		b, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := checkFrame(b); err != nil {
			t.Errorf("%d octets: %v", len(b), err)
		}
	}
}

func FuzzCheckFrame(f *testing.F) {
	f.Add(repeat(9, nil)[:1024])
	f.Add([]byte{0x4a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := checkFrame(b); err != nil {
			return
		}
		frame := &messages.Frame{}
		if proto.Unmarshal(b, frame) == nil {
			if n := len(frame.Data) + len(frame.Answers) + len(frame.Events) + len(frame.Confirmed); n > freeEntries+len(b)/entryOctets {
				t.Errorf("%d entries in %d octets", n, len(b))
			}
		}
	})
}
