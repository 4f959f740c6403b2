package link

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"
)

// hostile draws frames from the protocol's own descriptors, so that a field that is
// added is drawn too.
type hostile struct {
	epoch uint64
	slots uint64
	last  uint64 // both rings stand here
	ids   [][]byte
	set   map[protoreflect.FullName]int // how often each field was drawn
}

// frame has one to three of Frame's own fields, and of these any of theirs.
func (h *hostile) frame(t *rapid.T) *messages.Frame {
	f := &messages.Frame{Epoch: h.epoch}
	m := f.ProtoReflect()
	fields := m.Descriptor().Fields()
	for range rapid.IntRange(1, 3).Draw(t, "fields") {
		h.field(t, m, fields.Get(rapid.IntRange(0, fields.Len()-1).Draw(t, "field")), 0)
	}
	return f
}

func (h *hostile) fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if rapid.IntRange(0, 4).Draw(t, "present") > 0 {
			h.field(t, m, fields.Get(i), depth)
		}
	}
}

func (h *hostile) field(t *rapid.T, m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) {
	h.set[fd.FullName()]++
	one := func() protoreflect.Value {
		if fd.Kind() == protoreflect.MessageKind {
			inner := m.NewField(fd)
			if fd.IsList() {
				inner = inner.List().NewElement()
			}
			if depth < 4 {
				h.fill(t, inner.Message(), depth+1)
			}
			return inner
		}
		return h.scalar(t, fd)
	}
	switch {
	case fd.IsMap():
		t.Fatalf("%s is a map: draw it", fd.FullName())
	case fd.IsList():
		list := m.Mutable(fd).List()
		n := rapid.SampledFrom([]int{0, 1, 1, 1, 2, 3, 70}).Draw(t, "entries")
		if depth > 1 {
			n = min(n, 3)
		}
		for range n {
			list.Append(one())
		}
	default:
		m.Set(fd, one())
	}
}

func (h *hostile) scalar(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.Uint64Kind:
		near := []uint64{0, 1, h.epoch, h.epoch + 1, h.last - 1, h.last, h.last, h.last + 1, h.last + 1, h.last + 2, h.last + h.slots, h.last + h.slots + 1, 1 << 32, 1 << 63, 1<<64 - 1}
		if fd.Name() == "epoch" {
			near = append(near, h.epoch, h.epoch, h.epoch, h.epoch, h.epoch, h.epoch)
		}
		return protoreflect.ValueOfUint64(rapid.SampledFrom(near).Draw(t, "uint64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.SampledFrom([]uint32{0, 1, 2, 3, uint32((h.last + 1) % h.slots), uint32(h.slots), 15, 63, 64, 255, 65535, 65536, 1 << 31, 1<<32 - 1}).Draw(t, "uint32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.SampledFrom([]int64{0, 1, -1, 1000, 1 << 40, 1<<63 - 1, -1 << 63}).Draw(t, "int64"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.SampledFrom([]int32{0, 1, -1, 1<<31 - 1, -1 << 31}).Draw(t, "int32"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(rapid.SampledFrom([]protoreflect.EnumNumber{1, 2, 1, 2, 0, 3, 4, -1, 1<<31 - 1}).Draw(t, "enum"))
	case protoreflect.BytesKind:
		some := append([][]byte{nil, {0}, bytes.Repeat([]byte{0xff}, 15), make([]byte, 16), []byte("instance"), bytes.Repeat([]byte{0xff}, 17), bytes.Repeat([]byte{0x55}, 9000)}, h.ids...)
		return protoreflect.ValueOfBytes(rapid.SampledFrom(some).Draw(t, "bytes"))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.SampledFrom([]string{"", "e", "rejoin", "to", "+63917", strings.Repeat("x", 5000), "\x00\n"}).Draw(t, "string"))
	}
	t.Fatalf("%s is of kind %v: draw it", fd.FullName(), fd.Kind())
	return protoreflect.Value{}
}

// entries is how many things in a frame may move a ring.
func entries(f *messages.Frame) int {
	return len(f.Data) + len(f.Answers) + len(f.Confirmed) + len(f.Released) + len(f.Events)
}

// Any field of any frame has any value, before and after Welcome, at either end: no
// actor fails, no ring holds more than it has slots, its pointers keep their order, a
// frame that closes the link has moved nothing, and where nothing was moved the link
// works on.
func TestEveryFieldOutOfRange(t *testing.T) {
	h := &hostile{slots: 4, set: map[protoreflect.FullName]int{}}
	n := 30
	if os.Getenv("RINGWAY_LONG") == "1" {
		n = 2000
	}
	refused, whole, moved, pairs := 0, 0, 0, 0
	for seed := 0; seed < n || seed < 10*n && len(h.missing()) > 0; seed++ {
		pairs++
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, time.Millisecond)
			p.slots = int(h.slots)
			p.start()
			const k = 6
			for i := range k {
				p.hubDown.put("to", fmt.Sprint(i))
				p.edgeUp.put("to", fmt.Sprint(i))
			}
			early := seed%4 == 0
			if early { // a stripe is up, Hello is under way
				time.Sleep(2*time.Millisecond + time.Microsecond)
			} else {
				p.within(time.Minute, "all arrive", func() bool { return p.count(&p.atSMSC) == k && p.count(&p.atInbox) == k && p.kept() == 0 })
			}
			h.epoch, h.last, h.ids = p.epoch, k, nil
			for _, m := range append(p.atSMSC[:len(p.atSMSC):len(p.atSMSC)], p.atInbox...) {
				h.ids = append(h.ids, m.Id)
			}
			unmoved := !early
			for i, f := range rapid.SliceOfN(rapid.Custom(h.frame), 3, 3).Example(seed) {
				toHub := (seed+i)%2 == 0
				before, learnt, cuts := p.standing(), p.learnt(), p.cuts()
				sends := messages.Ring_UP
				if toHub {
					sends = messages.Ring_DOWN
				}
				malformed := CheckEntries(f, sends, uint32(h.slots)) // such a frame counts for nothing, however much is in it
				p.hit(toHub, f)
				time.Sleep(5 * time.Second)
				after := p.standing()
				p.inBounds(after)
				if t.Failed() {
					t.Fatalf("seed %d, frame %d, to the hub %v: %v", seed, i, toHub, f)
				}
				if early {
					break
				}
				same := fmt.Sprint(before) == fmt.Sprint(after) && learnt == p.learnt()
				if !same {
					unmoved = false
					moved++
				}
				if p.cuts() > cuts {
					refused++
					if malformed != nil {
						whole++
					}
					if (malformed != nil || entries(f) <= 1) && !same {
						t.Fatalf("seed %d, frame %d, to the hub %v, closed the link and moved a ring: %v\n%v\n%v", seed, i, toHub, f, before, after)
					}
				}
				if !unmoved {
					break // what a peer may say moved the rings as it said: they need not fit any more
				}
			}
			if unmoved {
				p.within(2*time.Minute, fmt.Sprintf("seed %d: the link is up again", seed), func() bool {
					return p.link(p.hubSession).State == "up" && p.link(p.edgeSession).State == "up"
				})
				p.hubDown.put("to1", fmt.Sprint(k))
				p.edgeUp.put("to1", fmt.Sprint(k))
				p.within(time.Minute, "one more arrives", func() bool { return p.count(&p.atSMSC) == k+1 && p.count(&p.atInbox) == k+1 })
				check(t, p.atSMSC, k+1)
				check(t, p.atInbox, k+1)
			}
			p.stop()
			time.Sleep(2 * time.Minute) // timers that are set find nobody
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d pairs of nodes: %d frames closed the link, %d of them were refused as a whole, %d moved a ring", pairs, refused, whole, moved)
	if refused < n/10 || whole < n/20 {
		t.Errorf("only %d frames closed the link, %d as a whole", refused, whole)
	}
	if missing := h.missing(); len(missing) > 0 {
		t.Errorf("never drawn: %v", missing)
	}
}

// missing are the fields that no frame has had.
func (h *hostile) missing() (names []string) {
	everyField((&messages.Frame{}).ProtoReflect().Descriptor(), map[protoreflect.FullName]bool{}, func(fd protoreflect.FieldDescriptor) {
		if h.set[fd.FullName()] == 0 {
			names = append(names, string(fd.FullName()))
		}
	})
	return names
}

func everyField(md protoreflect.MessageDescriptor, been map[protoreflect.FullName]bool, visit func(protoreflect.FieldDescriptor)) {
	if been[md.FullName()] {
		return
	}
	been[md.FullName()] = true
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		visit(fd)
		if fd.Kind() == protoreflect.MessageKind {
			everyField(fd.Message(), been, visit)
		}
	}
}

// hit has a peer send a frame: on a stripe that is up, and what begins a stripe as
// the first of a new one too.
func (p *pair) hit(toHub bool, f *messages.Frame) {
	if toHub && (f.Hello != nil || f.Join != nil) {
		nobody := p.spawn(actor.PropsFromFunc(func(actor.Context) {}))
		p.system.Root.Send(p.hubSession, &messages.StripeUp{Conn: nobody, Stripe: f.GetHello().GetStripe() + f.GetJoin().GetStripe(), First: f, TLSAt: time.Now()})
	}
	p.inject(toHub, f, proto.Clone(f).(*messages.Frame))
}

// standing is where the four rings stand.
func (p *pair) standing() [4]*messages.View {
	var all [4]*messages.View
	for i, pid := range []*actor.PID{p.hubAttach.Buffer, p.hubAttach.Mirror, p.edgeAttach.Buffer, p.edgeAttach.Mirror} {
		all[i] = viewOfActor(p.t, p.system, pid)
	}
	return all
}

// learnt is what else each side has on disk by what the other said.
func (p *pair) learnt() string {
	trimmed := p.edge.trimmed()
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(len(p.applied), p.edge.epoch, trimmed)
}

func (p *pair) cuts() int {
	return p.link(p.hubSession).Interruptions + p.link(p.edgeSession).Interruptions
}

func (p *pair) inBounds(all [4]*messages.View) {
	p.t.Helper()
	for i, v := range all {
		if len(v.Held) > p.slots {
			p.t.Errorf("ring %d holds %d", i, len(v.Held))
		}
		if v.LastProcessed > v.LastConfirmed || v.LastConfirmed > v.LastSent || v.LastSent > v.LastRetrieved || v.LastRetrieved > v.LastProcessed+uint64(p.slots) {
			p.t.Errorf("ring %d: pointers out of order: %v", i, v)
		}
	}
}
