package embedding

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/hub"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/tests/pgtest"
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
		gossip := free(t)
		join = append(join, gossip)
		tls := config.TLS{
			Cert: filepath.Join(certificates, "hub.crt"), Key: filepath.Join(certificates, "hub.key"), CA: filepath.Join(certificates, "ca.crt"),
		}
		configs[i] = hub.Config{
			DataDir: t.TempDir(), Store: config.Store{Driver: "postgres", DSN: database},
			Cluster: &config.Cluster{Name: "hub-" + strconv.Itoa(i), Listen: gossip, Remote: free(t), TLS: tls, LeaseTTL: 2 * time.Second},
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
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range services {
		for s.Hub.Ready() != nil {
			select {
			case <-ctx.Done():
				t.Fatal(s.Hub.Ready())
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	_, err := services[0].Hub.PutUser(ctx, "ann", "secret")
	must(t, err)
	ask := func(through, hears *hub.Hub, who, text, want string) {
		t.Helper()
		sub, err := hears.Subscribe("ann", hub.SubscribeOptions{Device: "phone"})
		must(t, err)
		defer sub.Close()
		_, err = through.Send(ctx, hub.Submission{From: "ann", To: who, Text: text})
		must(t, err)
		for {
			select {
			case batch := <-sub.C:
				for _, e := range batch {
					if e.From == who && e.Text == want {
						hears.MarkReceived("ann", "phone", e.ID, func(error) {})
						return
					}
				}
				sub.More()
			case <-ctx.Done():
				t.Fatalf("no answer %q from %s", want, who)
			}
		}
	}
	ask(services[0].Hub, services[1].Hub, "long", "four", "4")
	ask(services[2].Hub, services[0].Hub, "loud", "hello", "HELLO")
	for _, s := range services {
		is, err := s.Hub.Presence(ctx, "echo")
		must(t, err)
		if !is.Online {
			t.Error("echo is not seen from everywhere")
		}
	}
	must(t, services[0].Stop()) // what it had is the others'
	ask(services[1].Hub, services[2].Hub, "loud", "still there", "STILL THERE")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// free is an address nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
