package link

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/ringway-im/ringway/actors/ring"
	"github.com/ringway-im/ringway/messages"

	"google.golang.org/protobuf/proto"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func upStripes(n int) *stripes {
	s := &stripes{}
	for i := range n {
		s.up(i, noon)
	}
	return s
}

func TestStripesChooseTheOneLeastBehind(t *testing.T) {
	var s stripes
	if i := s.choose(); i != -1 {
		t.Fatalf("chose %d of none", i)
	}
	s.up(2, noon) // 0 and 1 never came up
	for range 3 {
		if i := s.choose(); i != 2 {
			t.Fatalf("chose %d, 2 is the only one", i)
		}
	}
	s = *upStripes(3)
	var order []int
	for range 6 {
		i := s.choose()
		s.sent(i, 100, carried{}, noon)
		order = append(order, i)
	}
	if !slices.Equal(order, []int{0, 1, 2, 0, 1, 2}) {
		t.Errorf("frames went to %v", order)
	}
	s.sent(1, 5000, carried{}, noon) // waits for a lost packet
	s.sent(0, 5000, carried{}, noon)
	for range 5 {
		i := s.choose()
		if i != 2 {
			t.Errorf("chose %d, which is behind", i)
		}
		s.sent(i, 10, carried{}, noon)
	}
	if i := s.choose(2); i == 2 || i < 0 {
		t.Errorf("chose %d for a copy of what stripe 2 carries", i)
	}
	if i := s.choose(0, 1, 2); i != -1 {
		t.Errorf("chose %d, all are taken", i)
	}
	s.received(2, 1, []uint64{99, 99, 99}, noon)
	if s.all[0].bytes != 0 || s.all[1].bytes != 0 || len(s.all[1].waiting) != 0 {
		t.Errorf("what was heard of counts still: %+v", *s.all[1])
	}
}

func TestStripesNumberFramesEach(t *testing.T) {
	s := upStripes(2)
	if a, b, c := s.sent(0, 1, carried{}, noon), s.sent(1, 1, carried{}, noon), s.sent(0, 1, carried{}, noon); a != 1 || b != 1 || c != 2 {
		t.Errorf("numbers %d %d %d", a, b, c)
	}
	s.received(1, 7, nil, at(5))
	s.received(1, 6, nil, at(6)) // a peer that counts backwards
	if h := s.heard(); !slices.Equal(h, []uint64{0, 7}) {
		t.Errorf("heard %v", h)
	}
}

func TestDeadStripeTellsWhatItTookAlong(t *testing.T) {
	s := upStripes(2)
	for seq := ring.Seq(1); seq <= 4; seq++ {
		s.sent(0, 10, carried{data: []ring.Seq{seq}}, noon)
	}
	s.received(1, 1, []uint64{2}, noon)
	lost := s.down(0)
	if len(lost) != 2 || lost[0].data[0] != 3 || lost[1].data[0] != 4 {
		t.Errorf("lost %v, want 3 and 4", lost)
	}
	if s.live() != 1 || s.down(0) != nil || s.down(99) != nil {
		t.Error("a stripe died twice")
	}
	s.received(0, 5, []uint64{9, 0, 0, 0, 0}, noon) // of a stripe that is gone, about stripes that never were
	s.received(99, 5, nil, noon)
}

func TestLateFramesMakeALinkLossy(t *testing.T) {
	for name, c := range map[string]struct {
		rtt     time.Duration
		later   int // ms after the frame that is not heard of
		lossy   bool
		sameOne bool
	}{
		"at once":                 {later: 10},
		"within the margin":       {later: 79},
		"clearly after it":        {later: 81, lossy: true},
		"long way, in the margin": {rtt: 300 * time.Millisecond, later: 99},
		"long way, after it":      {rtt: 300 * time.Millisecond, later: 101, lossy: true},
		"its own stripe":          {later: 500, sameOne: true},
	} {
		s := upStripes(2)
		s.rtt = c.rtt
		s.sent(0, 10, carried{}, at(0))
		heard := []uint64{0, 1}
		if c.sameOne {
			s.sent(0, 10, carried{}, at(c.later))
			heard = []uint64{2, 0}
		} else {
			s.sent(1, 10, carried{}, at(c.later))
		}
		s.received(1, 1, heard, at(1000))
		if got := at(1000).Before(s.lossy); got != c.lossy {
			t.Errorf("%s: lossy %v", name, got)
		}
		if c.lossy && at(1000).Add(lossyFor).Before(s.lossy) {
			t.Errorf("%s: lossy until %v", name, s.lossy)
		}
	}
}

func TestSilentStripes(t *testing.T) {
	s := upStripes(3)
	s.received(1, 1, nil, at(4000))
	if q := s.silent(3*time.Second, at(5000)); !slices.Equal(q, []int{0, 2}) {
		t.Errorf("silent: %v", q)
	}
	// A stripe that speaks and never hears carries nothing either, and what it is
	// remembered to have carried must not grow for ever.
	s = upStripes(2)
	s.sent(0, 10, carried{}, at(0))
	s.sent(1, 10, carried{}, at(0))
	end := 0
	for end = 1000; end <= 60000; end += 1000 {
		s.received(0, uint64(end), []uint64{0, 1}, at(end))
		s.received(1, uint64(end), []uint64{0, 1}, at(end))
	}
	if q := s.silent(3*time.Second, at(end)); !slices.Equal(q, []int{0}) {
		t.Errorf("deaf for a minute: %v", q)
	}
}

// ---- outbox

func data(seq uint64, octets int) outItem {
	return outItem{data: &messages.Data{Sequence: seq, Message: &messages.Message{Text: string(bytes.Repeat([]byte("x"), octets))}}}
}

func sequencesOf(frames []packed) (seqs []uint64) {
	for _, p := range frames {
		for _, d := range p.frame.Data {
			seqs = append(seqs, d.Sequence)
		}
	}
	return seqs
}

func TestOutboxPacksByOctets(t *testing.T) {
	var o outbox
	if frames := o.pack(false); len(frames) != 0 {
		t.Errorf("nothing made %d frames", len(frames))
	}
	for seq := range uint64(30) {
		o.items = append(o.items, data(seq+1, 500))
	}
	o.items = append(o.items, data(31, 3*maxFrame), data(32, 10))
	frames := o.pack(false)
	var all []uint64
	for i, p := range frames {
		n := len(p.frame.Data)
		if size := proto.Size(p.frame); size > maxFrame+64 && n > 1 {
			t.Errorf("frame %d has %d octets in %d entries", i, size, n)
		}
		var held []uint64
		for _, d := range p.frame.Data {
			held = append(held, d.Sequence)
		}
		if !slices.Equal(held, p.held.data) {
			t.Errorf("frame %d holds %v and is noted with %v", i, held, p.held.data)
		}
		all = append(all, held...)
	}
	if len(all) != 32 || !slices.IsSorted(all) {
		t.Errorf("packed %v", all)
	}
	if len(frames) < 5 || len(frames) > 8 {
		t.Errorf("%d frames", len(frames))
	}
	if len(o.pack(false)) != 0 {
		t.Error("the outbox is not empty")
	}
}

func TestOutboxPacksSinglePacketsOnALossyLink(t *testing.T) {
	o := outbox{items: []outItem{data(3, 500), data(2, 500), data(1, 500), data(4, 2*lossyFrame)}, released: &messages.Progress{Last: 5}, fresh: true}
	frames := o.pack(true)
	if !slices.Equal(sequencesOf(frames), []uint64{1, 2, 3, 4}) || len(frames) != 3 || len(frames[0].frame.Released) != 1 {
		t.Fatalf("packed %v", frames)
	}
	a, b := frames[0].copy(), frames[0].copy()
	a.Number, b.Number = 1, 2
	if a.Number == b.Number || len(b.Data) != 2 || len(b.Released) != 1 {
		t.Errorf("copies %v and %v", a, b)
	}
	if len(o.pack(true)) != 0 {
		t.Error("the outbox is not empty")
	}
}

func TestOutboxSaysTheLatestStateOnce(t *testing.T) {
	o := outbox{confirmed: &messages.Progress{Last: 1}, fresh: true, applied: 3}
	o.confirmed = &messages.Progress{Last: 2}
	frames := o.pack(false)
	if len(frames) != 1 || frames[0].frame.Confirmed[0].Last != 2 || frames[0].frame.EventsApplied != 3 {
		t.Errorf("state: %v", frames)
	}
	o.items = append(o.items, data(1, 1), outItem{answer: &messages.Answer{Sequence: 7}},
		outItem{event: &messages.Event{Number: 9}}, outItem{event: &messages.Event{Number: 8}})
	frames = o.pack(false)
	if len(frames) != 1 || frames[0].frame.Confirmed != nil || frames[0].frame.EventsApplied != 0 {
		t.Fatalf("state again: %v", frames)
	}
	if h := frames[0].held; !slices.Equal(h.answers, []uint64{7}) || h.firstEvent != 8 || !slices.Equal(h.data, []uint64{1}) {
		t.Errorf("noted as %+v", h)
	}
}

func TestProgressComesBackAsItWent(t *testing.T) {
	for _, more := range [][]uint64{nil, {6}, {7, 13}, {6, 7, 8, 255, 260}} {
		last, got := sequences(progressOf(messages.Ring_UP, 5, more))
		if last != 5 || !slices.Equal(got, more) {
			t.Errorf("%v came back as %d %v", more, last, got)
		}
	}
	if _, more := sequences(&messages.Progress{Bitmap: bytes.Repeat([]byte{255}, 1<<20)}); len(more) > 65536 {
		t.Errorf("a huge bitmap became %d sequences", len(more))
	}
}

// What several lost frames carried is sent again once: with one slot and stripes
// that keep dying it would else double with each of them.
func TestLostOnce(t *testing.T) {
	data, answers, event := gather([]carried{
		{data: []ring.Seq{3, 1}, answers: []ring.Seq{2}, firstEvent: 9},
		{data: []ring.Seq{1, 3}, answers: []ring.Seq{2, 1}, firstEvent: 7},
		{},
	})
	if !slices.Equal(data, []ring.Seq{1, 3}) || !slices.Equal(answers, []ring.Seq{1, 2}) || event != 7 {
		t.Errorf("data %v, answers %v, event %d", data, answers, event)
	}
}

// A path that lost packets before it was cut counts as lossy for as long as it had left,
// however long the cut and however many attempts fail; one that did not, does not.
func TestLossyOutlivesACut(t *testing.T) {
	began := time.Now()
	at := func(after time.Duration) time.Time { return began.Add(after) }
	s := stripes{rtt: 300 * time.Millisecond}
	s.up(0, began)
	s.lossy = at(20 * time.Second)
	s.received(0, 1, nil, at(5*time.Second))
	s.down(0)
	for _, attempt := range []time.Duration{time.Hour, 2 * time.Hour} {
		if s = s.anew(); s.rtt != 300*time.Millisecond || !s.lossy.IsZero() {
			t.Errorf("between two links: %+v", s)
		}
		s.up(1, at(attempt))
		s.up(0, at(attempt+time.Second))
		if want := at(attempt + 15*time.Second); !s.lossy.Equal(want) {
			t.Errorf("lossy until %v, want %v", s.lossy.Sub(began), want.Sub(began))
		}
	}
	s.received(0, 1, nil, at(3*time.Hour))
	s = s.anew()
	if s.up(0, at(4*time.Hour)); at(4 * time.Hour).Before(s.lossy) {
		t.Errorf("lossy until %v after a link that lost nothing", s.lossy.Sub(began))
	}
}
