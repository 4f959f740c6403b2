package hub

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/tests/probe"
)

func TestWhereabouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		members := map[string]bool{"one": true, "two": true}
		asker := probe.New(t, system)
		grain := system.Root.Spawn(NewWhereabouts(WhereaboutsConfig{
			Now: time.Now, Member: func(hub string) bool { return members[hub] }, ForgetAfter: time.Minute,
		}))
		announce := func(hub string, since time.Time) {
			t.Helper()
			a := &messages.Announce{Hub: hub}
			if !since.IsZero() {
				a.SinceUnixMs = since.UnixMilli()
			}
			asker.Tell(grain, a)
			probe.Expect[*messages.Announced](asker)
		}
		check := func(online bool, since time.Time) {
			t.Helper()
			asker.Tell(grain, &messages.GetPresence{})
			p := probe.Expect[*messages.PresenceOf](asker)
			if p.Online != online || online && p.SinceUnixMs != since.UnixMilli() {
				t.Fatalf("presence %v; want %v since %v", p, online, since)
			}
		}
		first := time.Now()
		check(false, first)
		announce("one", first)
		time.Sleep(time.Second)
		second := time.Now()
		announce("two", second)
		check(true, first)
		members["one"] = false // the first hub is dead
		check(true, second)
		members["one"] = true
		check(true, second) // what a dead hub said is forgotten
		announce("two", time.Time{})
		check(false, second)

		announce("one", second)
		time.Sleep(30 * time.Second)
		announce("one", second)
		time.Sleep(59 * time.Second)
		check(true, second)
		time.Sleep(2 * time.Second)
		check(false, second) // not announced again
		asker.Watch(grain)
		asker.ExpectTerminated(grain, 2*time.Minute)
	})
}

func TestAnnouncer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		heard, asker := probe.New(t, system), probe.New(t, system)
		announcer := system.Root.Spawn(NewAnnouncer(AnnouncerConfig{
			Every: time.Minute, Announce: func(p IsPresent) { system.Root.Send(heard.PID(), p) },
		}))
		ann := IsPresent{"ann", time.Now()}
		asker.Tell(announcer, ann)
		expect := func(want IsPresent) {
			t.Helper()
			if got := probe.Expect[IsPresent](heard, 2*time.Minute); got != want {
				t.Fatalf("%v; want %v", got, want)
			}
		}
		expect(ann)
		expect(ann) // a minute later
		asker.Tell(announcer, AnnounceAll{})
		expect(ann)
		asker.Tell(announcer, IsPresent{User: "ann"})
		expect(IsPresent{User: "ann"})
		asker.Tell(announcer, AnnounceAll{})
		heard.ExpectNothing(time.Hour)
		system.Root.Stop(announcer)
	})
}
