package torture

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/nodes/store/kv"
)

// A journal of which one octet is damaged: what can be read of it goes on, the hub sends
// the rest of the way down again, and of the way up no more is missing than the damaged
// block held.
func TestRepairedEdge(t *testing.T) {
	for name, kind := range map[string]byte{"what says how far it was": 'm', "messages from handsets": 'q'} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.write(anna, "up", 10)
			w.has(w.inbox, "up", 10)
			w.handset(ben).SetBusy(true)
			w.send(ben, "deferred", 5)
			w.until("five are deferred", func() bool { return w.states()[messages.State_DEFERRED] == 5 })
			w.must(w.SMSC.SetLatency(150 * time.Millisecond))
			w.send(anna, "flow", 60)
			w.until("the edge holds a ring full", func() bool { return w.states()[messages.State_CONFIRMED] >= 25 })
			w.must(w.StopHub())
			for range 250 { // some 45 kB that do not compress: a block has 32 kB
				w.write(anna, rand.Text()+rand.Text()+rand.Text(), 1)
			}
			w.must(w.SMSC.SetLatency(time.Millisecond)) // what the edge holds, it submits
			w.until("the edge has taken them", func() bool { return w.SMSC.Stats().MOPending == 0 })
			w.must(w.StopEdge())

			damaged := w.Edges.DataDir + ".damaged"
			w.must(os.Rename(w.Edges.DataDir, damaged))
			var r edgestore.Repaired
			w.damage(damaged, w.Edges.DataDir, func() (_ bool, err error) {
				r, err = edgestore.Repair(damaged, w.Edges.DataDir, w.Edges.ID)
				return err == nil && len(r.Lost) == 1 && r.Anew == (kind == 'm') && r.Lost[0].Touches([]byte{kind}), err
			})
			w.handset(ben).SetBusy(false)
			w.must(w.StartEdge())
			w.must(w.StartHub())
			if r.Anew != (kind == 'm') {
				t.Errorf("anew: %v", r.Anew)
			}
			if r.Anew {
				w.until("the hub refuses it", func() bool { return w.logs.FilterMessage("edge refused").Len() > 0 })
				w.must(w.Hub.ReplaceEdge("manila-1"))
			}
			w.await()
			w.has(func() map[string]int { return w.received(anna) }, "flow", 60)
			w.has(func() map[string]int { return w.received(ben) }, "deferred", 5)
			w.write(anna, "later", 10)
			w.has(w.inbox, "later", 10)
			w.has(w.inbox, "up", 10)
			w.once(w.inbox())
			w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == 65 })
			twice := w.onlyDoubtsTwice(anna) + w.onlyDoubtsTwice(ben)
			came := len(w.inbox()) - 20
			for _, l := range r.Lost {
				t.Log(edgestore.Describe(l))
			}
			t.Logf("%d of 250 came up, %d came down twice", came, twice)
			if came < 50 {
				t.Errorf("%d of 250 came up, one block of 32 kB is damaged", came)
			}
		})
	}
}

// A hub's store of which one octet is damaged: the edge, which goes on meanwhile, joins it
// anew. What can be read goes on, what was on its way goes out again if the edge has not
// got it, and who is missing was named.
func TestRepairedHub(t *testing.T) {
	for name, kind := range map[string]byte{"messages": 'M', "how far they were": 'S'} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.send(anna, "before", 20)
			w.has(func() map[string]int { return w.received(anna) }, "before", 20)
			w.write(anna, "up", 20)
			w.has(w.inbox, "up", 20)
			w.handset(ben).SetBusy(true)
			w.send(ben, "deferred", 5)
			w.until("five are deferred", func() bool { return w.states()[messages.State_DEFERRED] == 5 })
			w.must(w.SMSC.SetLatency(100 * time.Millisecond))
			for range 300 { // they do not compress: a block has 32 kB
				w.send(anna, rand.Text()+rand.Text()+rand.Text(), 1)
			}
			w.until("the edge holds a ring full", func() bool { return w.states()[messages.State_CONFIRMED] >= 25 })
			w.must(w.StopHub())
			w.must(w.SMSC.SetLatency(time.Millisecond))
			w.write(anna, "meanwhile", 10)

			damaged := w.Hubs.DataDir + ".damaged"
			w.must(os.Rename(w.Hubs.DataDir, damaged))
			var lost []kv.Loss
			w.damage(damaged, w.Hubs.DataDir, func() (_ bool, err error) {
				lost, err = hubstore.Repair(damaged, w.Hubs.DataDir, func(string) uint32 { return 32 }, time.Now())
				return err == nil && lost[0].File != kv.OfRecord && lost[0].Touches([]byte{kind}) && !lost[0].Touches([]byte{'U'}), err
			})
			for _, l := range lost {
				t.Log(hubstore.Describe(l))
			}
			w.handset(ben).SetBusy(false)
			w.must(w.StartHub())
			w.await()
			gone := 0
			for text, id := range w.sent {
				if _, err := w.Hub.Message("", id); err == nil {
					continue
				}
				gone++
				delete(w.sent, text)
				if !lost[0].May(append([]byte{'M'}, id...)) && !lost[0].May(append([]byte{'S'}, id...)) {
					t.Errorf("%q is gone, and nobody says so", text)
				}
			}
			if w.send(anna, "new", 20); kind == 'S' && gone > 0 || gone > 200 {
				t.Errorf("%d are gone", gone)
			}
			w.until("all that are known have come", func() bool {
				got := w.received(anna)
				for text, n := range w.received(ben) {
					got[text] += n
				}
				for text := range w.sent {
					if got[text] == 0 {
						return false
					}
				}
				return true
			})
			w.has(w.inbox, "up", 20)
			w.has(w.inbox, "meanwhile", 10)
			w.once(w.inbox())
			w.until("all are processed", func() bool { return w.states()[messages.State_PROCESSED] == len(w.sent) })
			twice := 0
			for text, n := range w.received(anna) {
				if n < 2 {
					continue
				}
				if twice++; w.sent[text] == nil || !w.unknown(text) {
					t.Errorf("%q came %d times and its history has no unknown", text, n)
				}
			}
			t.Logf("%d of %d are gone, %d came twice", gone, len(w.sent)+gone, twice)
		})
	}
}

// damage flips one bit in a data directory, such that repair puts into dir what is wanted.
func (w *world) damage(damaged, dir string, repair func() (right bool, err error)) {
	w.t.Helper()
	tables, err := filepath.Glob(filepath.Join(damaged, "*.sst"))
	w.must(err)
	for _, table := range tables {
		octets, err := os.ReadFile(table)
		w.must(err)
		for at := 100; at < len(octets); at += max(200, len(octets)/50) {
			octets[at] ^= 1
			w.must(os.WriteFile(table, octets, 0o600))
			right, err := repair()
			if right {
				return
			}
			if err == nil {
				w.must(os.RemoveAll(dir))
			}
			octets[at] ^= 1
			w.must(os.WriteFile(table, octets, 0o600))
		}
	}
	w.t.Fatalf("no octet of %v is of the wanted kind", tables)
}
