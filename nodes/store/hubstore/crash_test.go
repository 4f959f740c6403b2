package hubstore

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
)

// TestI5_Crash cuts the power in mid-flow: what was acknowledged is there, what
// a client has read stays as it read it, and events have no gaps.
func TestI5_Crash(t *testing.T) {
	const writers, each, crashes = 4, 60, 6
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	s := open(t, Options{FS: fs})
	for _, u := range []string{"anna", "ben"} {
		if err := s.wait(func(*tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		s.PutUser(journal.User{Name: u}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	r, err := s.Claim("manila-1")
	if err != nil {
		t.Fatal(err)
	}

	// What the world has been told.
	var mu sync.Mutex
	accepted := map[string]string{} // id by ref
	retrieved := map[uint64]string{}
	processed := map[uint64]string{}

	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				sub := journal.Submission{From: "anna", To: "ben", Text: "x", Ref: fmt.Sprint(w, "-", i), At: time.Now()}
				if i%2 == 0 {
					sub.To, sub.Edge, sub.Parts = "+1", "manila-1", 1
				}
				done := make(chan struct{})
				s.Accept(sub, func(a journal.Accepted, err error) {
					defer close(done)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					accepted[sub.Ref] = string(a.ID)
					mu.Unlock()
				})
				<-done
			}
		})
	}
	stop := make(chan struct{})
	var ring sync.WaitGroup
	ring.Go(func() {
		for seq := uint64(1); ; {
			done := make(chan int)
			r.Down().Retrieve(seq, 5, func(e []journal.Entry, err error) {
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, one := range e {
					retrieved[one.Seq] = string(one.Message.Id)
				}
				mu.Unlock()
				go func() {
					for _, one := range e {
						r.Down().Processed(one, &messages.Result{State: messages.State_PROCESSED}, func(err error) {
							if err != nil {
								t.Error(err)
							}
							mu.Lock()
							processed[one.Seq] = string(one.Message.Id)
							mu.Unlock()
						})
					}
					done <- len(e)
				}()
			})
			seq += uint64(<-done)
			select {
			case <-stop:
				return
			default:
			}
		}
	})

	check := func() {
		mu.Lock()
		acc, ret, pro := clone(accepted), clone(retrieved), clone(processed)
		mu.Unlock()
		seen := map[string][]journal.UserEvent{}
		for _, u := range []string{"anna", "ben"} {
			if seen[u], err = s.Events(u, 0, 100_000); err != nil {
				t.Fatal(err)
			}
		}
		image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
		after := open(t, Options{FS: image})
		defer after.Close()
		for ref, id := range acc {
			rec, ok, err := after.MessageByRef("anna", ref)
			if err != nil || !ok || string(rec.Message.Id) != id {
				t.Fatalf("message %s, %x, was acknowledged and is lost: %v, %v", ref, id, ok, err)
			}
		}
		for u, before := range seen {
			now, err := after.Events(u, 0, 100_000)
			if err != nil || len(now) < len(before) {
				t.Fatalf("%s has %d events of the %d he has seen, %v", u, len(now), len(before), err)
			}
			for i, e := range now {
				if e.Number != uint64(i)+1 {
					t.Fatalf("event %d of %s has number %d", i, u, e.Number)
				}
				if i < len(before) && !reflect.DeepEqual(e, before[i]) {
					t.Fatalf("event of %s was %+v and is %+v", u, before[i], e)
				}
			}
		}
		again, err := after.Claim("manila-1")
		if err != nil || again.Epoch() <= r.Epoch() {
			t.Fatalf("epoch %d after %d, %v", again.Epoch(), r.Epoch(), err)
		}
		state, err := again.Down().Load()
		if err != nil {
			t.Fatal(err)
		}
		held := map[uint64]string{}
		for _, e := range state.Held {
			held[e.Seq] = string(e.Message.Id)
		}
		for seq, id := range ret {
			rec, ok, err := after.Message([]byte(id))
			if err != nil || !ok || rec.Seq != seq || state.LastRetrieved < seq {
				t.Fatalf("sequence %d was given to %x: %+v, %v, last is %d", seq, id, rec, err, state.LastRetrieved)
			}
			switch _, done := pro[seq]; {
			case done && (held[seq] != "" || rec.State != messages.State_PROCESSED):
				t.Fatalf("sequence %d was processed, is %v, held %v", seq, rec.State, held[seq] != "")
			case !done && held[seq] != id && rec.State != messages.State_PROCESSED:
				t.Fatalf("sequence %d is %v and not held", seq, rec.State)
			}
		}
		// What waits is what was accepted and not retrieved, no more and no less.
		waiting := again.Down().Waiting()
		var rest int
		for done := make(chan int); ; {
			again.Down().Retrieve(state.LastRetrieved+1+uint64(rest), 7, func(e []journal.Entry, err error) {
				if err != nil {
					t.Error(err)
				}
				go func() { done <- len(e) }()
			})
			n := <-done
			if n == 0 {
				break
			}
			rest += n
		}
		if rest != waiting || again.Down().Waiting() != 0 {
			t.Fatalf("%d were said to wait, %d did", waiting, rest)
		}
	}
	for i := range crashes {
		check()
		for { // until some more is done
			mu.Lock()
			n := len(accepted)
			mu.Unlock()
			if n >= i*writers*each/crashes {
				break
			}
			_ = s.wait(func(*tx) error { return nil })
		}
	}
	work.Wait()
	check()
	close(stop)
	ring.Wait()
	check()
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
