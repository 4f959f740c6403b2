package edge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ringway-im/ringway/actors/journal"
	"github.com/ringway-im/ringway/messages"
	"github.com/ringway-im/ringway/nodes/config"
	"github.com/ringway-im/ringway/nodes/pki"
	"github.com/ringway-im/ringway/nodes/simulator"
)

// eventually waits for something beyond this process's goroutines.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// alone starts an edge whose hub cannot be reached.
func alone(t *testing.T, s config.SMSC, more ...Option) *Edge {
	t.Helper()
	s.Name, s.Window, s.Validity, s.ResponseTimeout = "globe", 1, time.Hour, 5*time.Second
	s.Redial.First, s.Refused.First = 10*time.Millisecond, 10*time.Millisecond
	for i := range s.Binds {
		s.Binds[i].User, s.Binds[i].Password, s.Binds[i].Sessions = "ringway", "secret", 1
	}
	nobody := actor.PropsFromFunc(func(actor.Context) {})
	e, err := New(config.Edge{
		ID: "manila-1", DataDir: t.TempDir(), Hubs: []string{"nobody:1"}, SMSC: s, Ring: config.Ring{Slots: 15}, Spill: config.Spill{MaxMessages: 100},
		Retry: config.Retry{First: time.Second, Max: time.Second, Messages: 10},
	}, append(more, WithDialer(nobody))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func simulated(t *testing.T, cfg simulator.Config) *simulator.Simulator {
	t.Helper()
	cfg.User, cfg.Password = "ringway", "secret"
	s, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// submit has the edge's mirror keep a message and its outlet submit it.
func submit(t *testing.T, e *Edge, to, text string) {
	t.Helper()
	m := &messages.Message{Id: []byte("0123456789abcdef"), From: "maria", To: to, Text: text, Originator: "63917000", AcceptedUnixMs: time.Now().UnixMilli()}
	kept := make(chan error, 1)
	e.store.Down().Keep(journal.Entry{Seq: 1, Message: m}, func(err error) { kept <- err })
	if err := <-kept; err != nil {
		t.Fatal(err)
	}
	// The mirror may have found it in the journal, and handed it on already.
	e.system.Root.RequestWithCustomSender(e.outlet, &messages.HandOn{Seq: 1, Message: m}, e.system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {})))
	eventually(t, "the SMSC's answer is on disk", func() bool {
		r, found, err := e.store.Result(1, m.Id)
		return err == nil && found && r.State == messages.State_PROCESSED
	})
}

// receive has a handset send, and waits until the edge has it on disk.
func receive(t *testing.T, s *simulator.Simulator) {
	t.Helper()
	h, err := s.Handset("+639170000001")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Send("63917000", "salamat"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge answers a handset's message", func() bool { return s.Stats().MOAcked == 1 })
}

// Both protocols over TLS, with a certificate of our own and the name that the
// SMSC's is for; a wrong name gets nowhere.
func TestSMSCOverTLS(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{pki.Init(dir), pki.Hub(dir, "smsc", []string{"smsc.example.net"}), pki.Edge(dir, "manila-1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := pki.ServerTLS(dir+"/smsc.crt", dir+"/smsc.key", dir+"/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"smpp", "cimd2"} {
		s := simulated(t, simulator.Config{SMPP: "127.0.0.1:0", CIMD2: "127.0.0.1:0", TLS: server})
		address := map[string]string{"smpp": s.SMPPAddr(), "cimd2": s.CIMD2Addr()}[protocol]
		bind := func(name string) config.SMSC {
			return config.SMSC{Protocol: protocol, Binds: []config.Bind{{
				Address: address, TLS: &config.BindTLS{CA: dir + "/ca.crt", Cert: dir + "/manila-1.crt", Key: dir + "/manila-1.key", ServerName: name},
			}}}
		}
		other := alone(t, bind("other.example.net"))
		e := alone(t, bind("smsc.example.net"))
		submit(t, e, "+639170000001", "kumusta")
		receive(t, s)
		if h, _ := s.Handset("+639170000001"); len(h.Messages(0)) != 1 || h.Messages(0)[0].Text != "kumusta" {
			t.Errorf("%s: the handset has %v", protocol, h.Messages(0))
		}
		if got := s.Stats().Logins; got != 1 || other.Sessions()["globe-1-1"] == "bound" {
			t.Errorf("%s: %d logins, with a wrong name %v", protocol, got, other.Sessions())
		}
	}
}

// An SMSC that dials: it says by an outbind whom it wants, and hands over what it
// has; again after it has hung up. Others are hung up on.
func TestOutbind(t *testing.T) {
	s := simulated(t, simulator.Config{SMPP: "127.0.0.1:0"})
	for _, c := range []struct{ from, password, refused string }{
		{"127.0.0.0/8", "please", ""},
		{"127.0.0.0/8", "wrong", "outbind from \"globe\" refused"},
		{"10.0.0.7", "please", "not among those that may dial"},
	} {
		core, logs := observer.New(zap.WarnLevel)
		e := alone(t, config.SMSC{Protocol: "smpp", Binds: []config.Bind{
			{Outbind: "127.0.0.1:0", From: []string{c.from}, Mode: "receiver", OutbindUser: "globe", OutbindPassword: "please"},
		}}, WithLogger(zap.New(core)))
		dial := func() {
			if err := s.Outbind(t.Context(), e.outbinds[0].Addr().String(), "globe", c.password); err != nil {
				t.Fatal(err)
			}
		}
		if c.refused != "" {
			dial()
			eventually(t, c.refused, func() bool {
				return len(logs.Filter(func(l observer.LoggedEntry) bool {
					return strings.Contains(fmt.Sprint(l.ContextMap()["error"]), c.refused)
				}).All()) > 0
			})
			if state := e.Sessions()["globe-1-1"]; state == "bound" {
				t.Errorf("%+v: %s", c, state)
			}
			continue
		}
		for range 2 {
			dial()
			eventually(t, "bound", func() bool { return e.Sessions()["globe-1-1"] == "bound" })
			s.ResetStats()
			receive(t, s)
			s.EndSessions(true)
			eventually(t, "gone", func() bool { return e.Sessions()["globe-1-1"] != "bound" })
		}
	}
}

// An SMSC that hands over everything twice: each text from a handset goes up once,
// and nothing is left that would go up later.
func TestEachLongTextOnceThoughItsPartsComeTwice(t *testing.T) {
	for _, kind := range []string{"smpp", "cimd2"} {
		t.Run(kind, func(t *testing.T) {
			s := simulated(t, simulator.Config{
				SMPP: "127.0.0.1:0", CIMD2: "127.0.0.1:0", RetryAfter: 20 * time.Millisecond, Faults: simulator.Faults{DuplicateRate: 1},
			})
			address := map[string]string{"smpp": s.SMPPAddr(), "cimd2": s.CIMD2Addr()}[kind]
			e := alone(t, config.SMSC{Protocol: kind, Binds: []config.Bind{{Address: address}}})
			h, err := s.Handset("+639170000001")
			if err != nil {
				t.Fatal(err)
			}
			const texts, parts = 5, 3
			for i := range texts {
				if err := h.Send("63917000", strings.Repeat(fmt.Sprint(i, " "), 200)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "each part has come twice", func() bool {
				stats := s.Stats()
				return stats.Redelivered == texts*parts && stats.MOPending == 0
			})
			state, err := e.store.Up().Load()
			if err != nil {
				t.Fatal(err)
			}
			if n := int(state.LastRetrieved) + e.store.Up().Waiting(); n != texts {
				t.Errorf("%d texts go up, want %d", n, texts)
			}
			left := make(chan string, 1)
			e.store.LoadInlet(func(notes map[string][]byte, err error) {
				var names []string
				for name := range notes {
					if strings.HasPrefix(name, "text/") {
						names = append(names, name)
					}
				}
				left <- fmt.Sprint(names, err)
			})
			if got := <-left; got != "[] <nil>" {
				t.Errorf("in the making are %s", got)
			}
		})
	}
}
