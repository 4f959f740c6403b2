package torture

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/store/edgestore"
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
			r := w.damage(damaged, kind)
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

// damage flips one bit in a data directory so that records of this kind are lost, and has
// what can be read put in its place.
func (w *world) damage(damaged string, kind byte) (r edgestore.Repaired) {
	w.t.Helper()
	tables, err := filepath.Glob(filepath.Join(damaged, "*.sst"))
	w.must(err)
	for _, table := range tables {
		octets, err := os.ReadFile(table)
		w.must(err)
		for at := 100; at < len(octets); at += 200 {
			octets[at] ^= 1
			w.must(os.WriteFile(table, octets, 0o600))
			r, err = edgestore.Repair(damaged, w.Edges.DataDir, w.Edges.ID)
			if err == nil && len(r.Lost) == 1 && r.Anew == (kind == 'm') && r.Lost[0].Touches([]byte{kind}) {
				return r
			}
			if err == nil {
				w.must(os.RemoveAll(w.Edges.DataDir))
			}
			octets[at] ^= 1
			w.must(os.WriteFile(table, octets, 0o600))
		}
	}
	w.t.Fatalf("no octet of %v is of kind %c", tables, kind)
	return r
}
