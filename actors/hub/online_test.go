package hub

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/ringway-im/ringway/tests/probe"
)

// A user counts as online once, however many devices there are, until the last has
// gone or all ends.
func TestOnlineIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		var online atomic.Int64
		p := &people{t: t, book: &book{}, system: system, asker: probe.New(t, system, "asker")}
		p.clients = system.Root.Spawn(NewClients(ClientsConfig{
			Store: p.book, Now: time.Now, Batch: 2, IdleAfter: time.Minute, SweepEvery: time.Hour, Log: zap.NewNop(),
			Online: func(change int) { online.Add(int64(change)) },
		}))
		want := func(n int64) {
			t.Helper()
			synctest.Wait()
			if got := online.Load(); got != n {
				t.Errorf("%d online, want %d", got, n)
			}
		}
		want(0)
		_, phone := p.device(DeviceConfig{Name: "phone"})
		want(1)
		_, desk := p.device(DeviceConfig{Name: "desk"})
		want(1)
		system.Root.Stop(phone)
		want(1)
		system.Root.Stop(desk)
		want(0)
		time.Sleep(2 * time.Minute) // the client is gone too
		want(0)
		p.device(DeviceConfig{Name: "phone"})
		want(1)
		if err := system.Root.StopFuture(p.clients).Wait(); err != nil {
			t.Error(err)
		}
		want(0)
	})
}
