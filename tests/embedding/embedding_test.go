package embedding

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/store/hubstore"
	"github.com/ringway-im/ringway/tests/pgtest"
	"github.com/ringway-im/ringway/tests/port"
	"github.com/ringway-im/ringway/tests/probe"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// A service's own actor is tested without a hub: its neighbours are probes.
func TestAnswererAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := probe.System(t)
		hub, asker := probe.New(t, system, "hub"), probe.New(t, system, "asker")
		answerer := system.Root.Spawn(NewAnswerer("echo", strings.ToUpper, func(_ string, r Reply) { system.Root.Send(hub.PID(), r) }))
		asker.Tell(answerer, Question{ID: []byte{1}, From: "ann", Text: "hello"})
		if r := probe.Expect[Reply](hub); r.To != "ann" || r.Text != "HELLO" {
			t.Errorf("reply %+v", r)
		}
		asker.Tell(answerer, Question{ID: []byte{2}, From: "ann", Text: "  "})
		hub.ExpectNothing(time.Hour)
		system.Root.Stop(answerer)
	})
}

// Three programs, each with a hub inside, are one cluster: whoever is asked through one
// of them answers through another, and one may go without anybody noticing.
func TestThreeServices(t *testing.T) {
	database := pgtest.Shared(t).Database(t)
	certificates := t.TempDir()
	must(t, pki.Init(certificates))
	must(t, pki.Hub(certificates, "hub", nil))
	var join []string
	configs := make([]hub.Config, 3)
	for i := range configs {
		gossip := port.Address(t)
		join = append(join, gossip)
		tls := config.TLS{
			Cert: filepath.Join(certificates, "hub.crt"), Key: filepath.Join(certificates, "hub.key"), CA: filepath.Join(certificates, "ca.crt"),
		}
		configs[i] = hub.Config{
			DataDir: t.TempDir(), Store: config.Store{Driver: "postgres", DSN: database},
			Cluster: &config.Cluster{Name: "hub-" + strconv.Itoa(i), Listen: gossip, Remote: port.Address(t), TLS: tls, LeaseTTL: 2 * time.Second},
		}
	}
	var services []*Service
	for i := range configs {
		configs[i].Cluster.Join = join
		names := []string{"echo", "loud", "long"}
		says := []func(string) string{strings.Clone, strings.ToUpper, func(s string) string { return strconv.Itoa(len(s)) }}
		s, err := Start(configs[i], names[i], says[i], hub.WithPasswordCost(bcrypt.MinCost))
		must(t, err)
		services = append(services, s)
		t.Cleanup(func() { _ = s.Stop() })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, s := range services {
		eventually(ctx, t, s.Hub.Ready)
	}
	eventually(ctx, t, func() error {
		_, err := services[0].Hub.PutUser(ctx, "ann", "secret")
		return err
	})
	asked := 0
	ask := func(through, hears *hub.Hub, who, text, want string) {
		t.Helper()
		sub, err := hears.Subscribe("ann", hub.SubscribeOptions{Device: "phone"})
		must(t, err)
		defer sub.Close()
		asked++
		eventually(ctx, t, func() error {
			_, err := through.Send(ctx, hub.Submission{From: "ann", To: who, Text: text, Ref: strconv.Itoa(asked)})
			return err
		})
		hear(ctx, t, sub, func(e hub.Event) bool {
			if e.From != who || e.Text != want {
				return false
			}
			hears.MarkReceived("ann", "phone", e.ID, func(error) {})
			return true
		})
	}
	ask(services[0].Hub, services[1].Hub, "long", "four", "4")
	ask(services[2].Hub, services[0].Hub, "loud", "hello", "HELLO")
	for _, s := range services {
		eventually(ctx, t, func() error { // hubs tell each other, and tell it again
			is, err := s.Hub.Presence(ctx, "echo")
			if err == nil && !is.Online {
				err = errors.New("echo is not seen from everywhere")
			}
			return err
		})
	}
	must(t, services[1].Hub.Drain(ctx)) // who listens there begins again
	must(t, services[1].Hub.Undrain())
	ask(services[0].Hub, services[2].Hub, "loud", "and now", "AND NOW")
	must(t, services[0].Stop()) // what it had is the others'
	ask(services[1].Hub, services[2].Hub, "loud", "still there", "STILL THERE")
}

// refusing is a store that takes nothing from one user until it is opened.
type refusing struct {
	journal.Hub
	from    string
	refused chan struct{} // once for each
	open    atomic.Bool
}

func (r *refusing) Accept(s journal.Submission, done func(journal.Accepted, error)) {
	if s.From != r.from || r.open.Load() {
		r.Hub.Accept(s, done)
		return
	}
	done(journal.Accepted{}, hub.ErrAway)
	r.refused <- struct{}{}
}

// A reply that could not be stored is sent when it can be, without another question.
func TestReplyWaitsForTheStore(t *testing.T) {
	embedded, err := hubstore.Open(hubstore.Options{Dir: "store", FS: vfs.NewMem(), Node: "hub"})
	must(t, err)
	store := &refusing{Hub: embedded, from: "echo", refused: make(chan struct{}, 100)}
	s, err := Start(hub.Config{DataDir: t.TempDir()}, "echo", strings.ToUpper, hub.WithStore(store), hub.WithPasswordCost(bcrypt.MinCost))
	must(t, err)
	t.Cleanup(func() { must(t, s.Stop()) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err = s.Hub.PutUser(ctx, "ann", "secret")
	must(t, err)
	sub, err := s.Hub.Subscribe("ann", hub.SubscribeOptions{Device: "phone"})
	must(t, err)
	defer sub.Close()
	_, err = s.Hub.Send(ctx, hub.Submission{From: "ann", To: "echo", Text: "hello"})
	must(t, err)
	select {
	case <-store.refused:
	case <-ctx.Done():
		t.Fatal("no reply was tried")
	}
	store.open.Store(true)
	hear(ctx, t, sub, func(e hub.Event) bool { return e.From == "echo" && e.Text == "HELLO" })
}

// hear reads until what is waited for has come.
func hear(ctx context.Context, t *testing.T, sub *hub.Subscription, waitedFor func(hub.Event) bool) {
	t.Helper()
	for {
		select {
		case batch, open := <-sub.C:
			if !open {
				t.Fatal("the subscription has ended")
			}
			if slices.ContainsFunc(batch, waitedFor) {
				return
			}
			sub.More()
		case <-ctx.Done():
			t.Fatal("what was waited for has not come")
		}
	}
}

func eventually(ctx context.Context, t *testing.T, missing func() error) {
	t.Helper()
	for {
		err := missing()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
