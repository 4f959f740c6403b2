package linkrpc

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// A frame of 4 MB can hold two million empty entries, which take a hundred times
// its size when they are decoded. So frames are looked through before: what a peer
// makes this side spend is in proportion to what it sends.
const (
	// maxEntries is of messages within a frame: both views of a Hello of 65,535 slots,
	// and the ids of all that the edge tries again.
	maxEntries = 2*65535 + journal.MaxDeferred + 1024

	// entryOctets is what an honest entry has at least: the state of one part of many.
	// A frame may have freeEntries smaller ones.
	entryOctets = 4
	freeEntries = 512

	maxNumbers = 4 * 65535 // in lists of numbers
)

// errCrowded: the peer is at fault.
var errCrowded = errors.New("linkrpc: more entries in a frame than any honest one has")

// codec looks through frames and leaves decoding to who takes them. It is gRPC's
// otherwise.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2. gRPC's has a buffer of 1 MB for whatever is above
// 32 kB.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*messages.Frame)
	if !ok || protobuf.Size(f) <= 32<<10 {
		return c.CodecV2.Marshal(v)
	}
	octets, err := protobuf.Marshal(f)
	return mem.BufferSlice{mem.SliceBuffer(octets)}, err
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	raw, ok := v.(*rawFrame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	var err error
	raw.octets = data.Materialize()
	raw.entries, raw.numbers, err = checkFrame(raw.octets)
	return err
}

var frameFields = (&messages.Frame{}).ProtoReflect().Descriptor()

// checkFrame counts what a frame holds without decoding it.
func checkFrame(frame []byte) (entries, numbers int, err error) {
	most := min(maxEntries, freeEntries+len(frame)/entryOctets)
	c := crowd{entries: most, numbers: maxNumbers}
	if c.count(frame, frameFields); c.entries < 0 || c.numbers < 0 {
		return 0, 0, fmt.Errorf("%w (it has %d octets)", errCrowded, len(frame))
	}
	return most - c.entries, maxNumbers - c.numbers, nil
}

// crowd is how many more may come.
type crowd struct{ entries, numbers int }

// count stops where the budget is spent, and where the octets are no message: the
// decoder says what is wrong with these.
func (c *crowd) count(b []byte, of protoreflect.MessageDescriptor) {
	for len(b) > 0 && c.entries >= 0 && c.numbers >= 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, wire, b); n < 0 {
			return
		}
		value := b[:n]
		b = b[n:]
		field := of.Fields().ByNumber(number)
		switch {
		case field == nil:
		case field.Kind() == protoreflect.MessageKind && wire == protowire.BytesType:
			c.entries--
			inner, _ := protowire.ConsumeBytes(value)
			c.count(inner, field.Message())
		case !field.IsList():
		case field.Kind() == protoreflect.BytesKind || field.Kind() == protoreflect.StringKind:
			c.entries--
		case wire == protowire.BytesType: // numbers one behind the other
			inner, _ := protowire.ConsumeBytes(value)
			for _, octet := range inner {
				if octet < 0x80 {
					c.numbers--
				}
			}
		default:
			c.numbers--
		}
	}
}
